/* SPDX-License-Identifier: Apache-2.0 */
typedef int package_is_to_come;
