/* SPDX-License-Identifier: Apache-2.0 */
/* Passphrases belong to GnuPG homes: where one is looked for, and where a new one is stored, so that it is
 * found there first. Storing one never locks another key that opens today. */
#pragma once

#include "ctl.h"
#include "secret.h"

struct key_home {
        const char *dir;             /* of the configuration, borrowed */
        const char *passphrase_file; /* NULL: none */
        bool own; /* the file is this package's own: the credential does not take its place */
};
/* Of the package that --package names, else of [openpgp]. 0 or an exit status after a text. */
int key_home_chosen(const struct ctl *c, struct key_home *ret);
struct key_home key_home_general(const struct ctl *c);
struct key_home key_home_of(const struct config_package *p);

/* In prepare: opens what only root may open, and announces where a new passphrase would go (owner.h). 0 or an
 * exit status. */
int passphrase_prepare(struct ctl *c, bool may_store);

/* The passphrase as czard finds it. 0 with p NULL when there is none. *ret_source: where from, "" none. */
int passphrase_find(struct ctl *c, const struct key_home *h, struct secret *ret, char ret_source[TEXT_SIZE],
        struct error *e);
/* --passphrase-file, checked. 0 with p NULL when it was not given; or -errno. */
int passphrase_given(struct ctl *c, struct secret *ret, struct error *e);
/* Would a key that opens today not open any more if this one were stored for h? 0, or -EBUSY: which, and what
 * to do. */
int passphrase_check_others(
        struct ctl *c, const struct key_home *h, const struct secret *fresh, struct error *e);
/* Stores it; where there is no place for it, that is said. 0 or an exit status. */
int passphrase_store(struct ctl *c, const struct secret *s);
