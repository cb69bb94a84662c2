/* SPDX-License-Identifier: Apache-2.0 */
typedef int proto_is_to_come;
