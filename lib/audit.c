/* SPDX-License-Identifier: Apache-2.0 */
typedef int audit_is_to_come;
