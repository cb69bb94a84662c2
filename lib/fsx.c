/* SPDX-License-Identifier: Apache-2.0 */
typedef int fsx_is_to_come;
