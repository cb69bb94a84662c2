# SPDX-License-Identifier: Apache-2.0
"""What czard's end-to-end tests share: packages of the real shape, S3 servers, and a czard to run on them."""
