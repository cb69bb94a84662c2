/* SPDX-License-Identifier: Apache-2.0 */
typedef int journal_is_to_come;
