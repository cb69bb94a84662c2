/* SPDX-License-Identifier: Apache-2.0 */
typedef int retry_is_to_come;
