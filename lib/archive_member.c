/* SPDX-License-Identifier: Apache-2.0 */
typedef int archive_member_is_to_come;
