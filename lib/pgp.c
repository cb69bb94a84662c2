/* SPDX-License-Identifier: Apache-2.0 */
typedef int pgp_is_to_come;
