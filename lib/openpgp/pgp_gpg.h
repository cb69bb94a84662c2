/* SPDX-License-Identifier: Apache-2.0 */
/* gpg itself. For messages whose session key is known already and that are not for the fast engine within:
 * with GPGME between, its loop over descriptors takes more time than the cipher does. And for those that
 * GPGME gives up where gpg does not. */
#pragma once

#include <sys/types.h>

#include "error.h"

struct gpg_call {
        const char *home;
        const char *session_key; /* "ALGORITHM:HEX", a secret; NULL: gpg asks the agent */
        /* Up to n bytes of the message into p: how many, 0 at the end, -1: give up. */
        ssize_t (*feed)(void *arg, void *p, size_t n);
        /* Takes n bytes of plaintext. -1: give up. */
        ssize_t (*drain)(void *arg, const void *p, size_t n);
        void (*status)(void *arg, const char *keyword, const char *args);
        void *arg;
};

/* Runs it to its end. SIGPIPE must be ignored. 0 and its exit status (-1: a signal, or it was given up), or
 * -errno: it could not be run. */
int gpg_call(const struct gpg_call *c, int *ret_status, struct error *e);
