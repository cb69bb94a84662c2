/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the person at the terminal. */
#pragma once

#include <stdbool.h>

#include "secret.h"

#define PROMPT_TRIES 3 /* of a question, before we give up */

/* Is there one? */
bool prompt_possible(void);
/* A line with echo. 0 or -errno; -ENODATA: end of input (ctrl-D). "" is possible. */
int prompt_line(const char *text, char *ret, size_t size);
/* A passphrase of at least so many bytes without echo; twice: asks again until both are equal. A signal finds
 * the terminal as it was. 0 or -errno; -ENODATA: end of input, -ECANCELED: none was good in PROMPT_TRIES
 * tries. *ret is replaced, on failure untouched. */
int prompt_passphrase(const char *text, size_t least, bool twice, struct secret *ret);
/* What a person is told of an error of the two. */
const char *prompt_error(int r);
