/* SPDX-License-Identifier: Apache-2.0 */
typedef int config_is_to_come;
