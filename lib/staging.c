/* SPDX-License-Identifier: Apache-2.0 */
typedef int staging_is_to_come;
