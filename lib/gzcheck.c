/* SPDX-License-Identifier: Apache-2.0 */
typedef int gzcheck_is_to_come;
