/* SPDX-License-Identifier: Apache-2.0 */
/* Both engines side by side on one GnuPG home, and what they say of one message. No cmocka: fuzzers use it
 * too. Whatever goes wrong here aborts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pgp.h"
#include "pgp_secret.h"

struct pgp_pair {
        char home[32];
        struct pgp *fast, *reference;
        struct pgp_secret *secret; /* as the fast engine has it */
        uint8_t key_id[8], other_id[8];
        uint8_t modulus[256];
        size_t modulus_len;
};

/* A home in /tmp with two RSA keys: czar (rsa1024, ours) and other (its secret key is not in the engines'
 * home).
 */
void pgp_pair_open(struct pgp_pair *p);
void pgp_pair_close(struct pgp_pair *p);
/* Another engine on the same home, for pgp_close(). */
struct pgp *pgp_pair_engine(const struct pgp_pair *p, enum pgp_engine engine);
/* A shell command in the home; aborts unless it ends well. $G is a gpg that knows both public keys. */
void pgp_pair_run(const struct pgp_pair *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct answer {
        bool good;
        uint8_t *p; /* owned; only when good */
        size_t len, size;
        struct pgp_verdict verdict;
};
void answer_done(struct answer *a);

void pgp_pair_ask(struct pgp *engine, const void *message, size_t n, struct answer *ret);

/* Does the fast engine itself take it? 1 yes: *ret is its plaintext; 0 declined; -1 it says that it is
 * damaged.
 */
int pgp_pair_fast(const struct pgp_pair *p, const void *message, size_t n, struct answer *ret);

enum agreement { AGREE_GOOD, AGREE_BAD, AGREE_DECLINED };
/* Asks the fast engine alone; when it has an opinion, or everything is wanted, gpg too and the two together.
 * NULL when they agree, else what is wrong. */
const char *pgp_pair_compare(
        struct pgp_pair *p, const void *message, size_t n, bool everything, enum agreement *ret);
