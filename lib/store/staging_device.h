/* SPDX-License-Identifier: Apache-2.0 */
/* Is the staging directory on an encrypted device? */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct staging;

enum encrypted { ENCRYPTED_YES, ENCRYPTED_NO, ENCRYPTED_UNKNOWN };
/* Is the device below a dm-crypt one (through LVM and partitions, by /sys)? detail names what was found. */
enum encrypted staging_encrypted(const struct staging *s, char *detail, size_t size);
/* The same of one device, sysfs opened by the caller. */
enum encrypted staging_device_encrypted(int sys_fd, dev_t dev, char *detail, size_t size);
