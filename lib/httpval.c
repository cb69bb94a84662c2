/* SPDX-License-Identifier: Apache-2.0 */
typedef int httpval_is_to_come;
