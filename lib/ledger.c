/* SPDX-License-Identifier: Apache-2.0 */
typedef int ledger_is_to_come;
