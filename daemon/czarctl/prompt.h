/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the person at the terminal. */
#pragma once

#include <stdbool.h>

#include "secret.h"

/* Is there one? */
bool prompt_possible(void);
/* A line with echo. 0 or -errno; "" is possible. */
int prompt_line(const char *text, char *ret, size_t size);
/* A passphrase without echo; twice: asks again until both are equal. 0 or -errno. */
int prompt_passphrase(const char *text, bool twice, struct secret *ret);
