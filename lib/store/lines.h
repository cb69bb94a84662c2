/* SPDX-License-Identifier: Apache-2.0 */
/* Files of lines whose numbers only grow: the audit record, and the feed. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The number of a line, without its line break; 0: it has none. */
typedef uint64_t lines_number_fn(const char *line, size_t len);

/* *ret: where a line begins that is not behind the one after number `after`, and so near to it that the rest
 * may as well be read: n bytes, the size of buf. Where two lines are longer than a quarter of that it gives
 * up early. 0 or -errno. */
int lines_seek(int fd, char *buf, size_t n, lines_number_fn *number, uint64_t after, off_t *ret);
