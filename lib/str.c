/* SPDX-License-Identifier: Apache-2.0 */
typedef int str_is_to_come;
