/* SPDX-License-Identifier: Apache-2.0 */
typedef int s3xml_is_to_come;
