/* SPDX-License-Identifier: Apache-2.0 */
/* Encrypting to exactly the pinned recipients of one delivery. Their public keys, and no others, lie in a
 * GnuPG home of our own that is gone afterwards; there is no secret key, no agent, no key server, no network.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "str.h"

struct seal;

/* run_dir: where the home is made. keys_dir: *.asc. recipients: fingerprints of primary keys. 0, or -errno:
 * -ENOKEY when the delivery has to stand still because of a key, e says which and what to do. */
int seal_new(const char *run_dir, const char *keys_dir, const struct strv *recipients, struct seal **ret,
        struct error *e);
/* Removes the home. */
struct seal *seal_free(struct seal *s);
/* When nobody can encrypt to the first of them any more; 0: never. */
int64_t seal_expires(const struct seal *s);

/* Fills to with up to n bytes; 0: the end; -errno. */
typedef ssize_t seal_read_fn(void *arg, void *to, size_t n);
/* Encrypts what read gives into out_fd, and looks at what came out: one message with integrity protection,
 * with a session key for a subkey of each recipient and for nobody else. compress: it is not packed yet. What
 * read failed with is returned, and e is left to it. */
int seal_encrypt(struct seal *s, seal_read_fn *read, void *arg, int out_fd, bool compress, struct error *e);

/* Removes homes that a crash left. */
void seal_sweep(const char *run_dir);
