/* SPDX-License-Identifier: Apache-2.0 */
/* gpg itself, which decrypts one message. GPGME would be in between: its loop over descriptors takes more
 * time than the cipher does, it does not tell how gpg ended, and it gives up where gpg does not (1.24, a
 * message to a passphrase and to a key). */
#pragma once

#include "sink.h"

struct gpg_call {
        const char *home;
        const char *session_key; /* "ALGORITHM:HEX", a secret; NULL: gpg asks the agent */
        source_fn *feed;         /* the message; an error of either, of which nothing is said here: give up */
        sink_fn *drain;          /* the plaintext */
        void (*status)(void *arg, const char *keyword, const char *args);
        void *arg;
};

/* Runs it to its end. SIGPIPE must be ignored. 0 and its exit status (-1: a signal, or it was given up), or
 * -errno: it could not be run. */
int gpg_call(const struct gpg_call *c, int *ret_status, struct error *e);
