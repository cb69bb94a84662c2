/* SPDX-License-Identifier: Apache-2.0 */
typedef int sigv4_is_to_come;
