/* SPDX-License-Identifier: Apache-2.0 */
/* Text files as people's programs save them. */
#pragma once

#include <stddef.h>

/* Turns what is at p into UTF-8 without a byte-order mark, in place: UTF-16 of either order (with its mark,
 * or plain ASCII in it without one) is read; a character that needs more room than it had becomes '?'.
 * Returns the new length, not more than n. */
size_t textfile_to_utf8(char *p, size_t n);

/* Takes away what a mail program put in front of each line, from the one with begin on ("> ", blanks), in
 * place. Returns the new length. */
size_t textfile_unquote(char *p, size_t n, const char *begin);
