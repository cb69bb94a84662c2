/* SPDX-License-Identifier: Apache-2.0 */
typedef int credentials_is_to_come;
