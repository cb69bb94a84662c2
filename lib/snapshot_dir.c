/* SPDX-License-Identifier: Apache-2.0 */
typedef int snapshot_dir_is_to_come;
