/* SPDX-License-Identifier: Apache-2.0 */
typedef int timespan_is_to_come;
