/* SPDX-License-Identifier: Apache-2.0 */
typedef int secret_is_to_come;
