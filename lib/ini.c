/* SPDX-License-Identifier: Apache-2.0 */
typedef int ini_is_to_come;
