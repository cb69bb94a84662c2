/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for passphrases and keys: locked where the limit allows, never in a core dump, wiped when freed. */
#pragma once

#include <stddef.h>

#include "cleanup.h"
#include "error.h"

struct secret {
        char *p; /* NUL-terminated, len bytes before it */
        size_t len;
        size_t size; /* of the mapping */
};

/* A locked, dump-free buffer for size bytes and a NUL. 0 or -ENOMEM. */
int secret_alloc(size_t size, struct secret *ret);
void secret_done(struct secret *s);
#define _cleanup_secret_ _cleanup_(secret_done)

/* The first line of the file (without CR, LF), at most max bytes. Checks nothing of its mode: see
 * check_owner_mode(). 0 or -errno. */
int secret_read_line(int fd, size_t max, struct secret *ret);
/* What of a passphrase its owner may not have meant, as text for a person; NULL: nothing. It tells nothing
 * else of it. */
const char *secret_oddity(const struct secret *s);
/* Why secret_read_line() failed. err > 0. */
const char *secret_line_error(int err);
/* The same of the regular file at path. trusted: whatever its owner and mode (a credential of systemd); else
 * it must be ours or root's and nobody else's to read. 0 or -errno with CAUSE_PASSPHRASE or
 * CAUSE_UNSAFE_MODE. */
int secret_load_line(const char *path, size_t max, bool trusted, struct secret *ret, struct error *e);
/* The whole file. 0 or -errno, -EFBIG. */
int secret_read_all(int fd, size_t max, struct secret *ret);

/* A sealed memfd that holds the secret, to hand on by descriptor. A descriptor (close-on-exec) or -errno. */
int secret_to_fd(const struct secret *s);

/* Locks the stack of the first thread, now and as it grows, where the limit allows, and keeps it out of core
 * dumps: ciphers keep intermediate numbers there while they work. */
void secret_lock_stack(void);

/* Not dumpable, RLIMIT_CORE 0, no_new_privs, no io_uring: first thing in each program that sees data, before
 * it has threads or an event loop. */
void process_harden(void);
