/* SPDX-License-Identifier: Apache-2.0 */
typedef int digest_is_to_come;
