/* SPDX-License-Identifier: Apache-2.0 */
typedef int archive_is_to_come;
