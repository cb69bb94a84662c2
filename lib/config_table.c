/* SPDX-License-Identifier: Apache-2.0 */
typedef int config_table_is_to_come;
