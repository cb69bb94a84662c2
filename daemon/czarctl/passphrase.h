/* SPDX-License-Identifier: Apache-2.0 */
/* Passphrases belong to GnuPG homes: where one is looked for, and where a new one is stored, so that it is
 * found there first. Storing one never locks another key that opens today. And asking the person at the
 * terminal, for one or for a line. */
#pragma once

#include <stdbool.h>

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

/* --- asking a person --- */

#define PROMPT_TRIES 3 /* of a question, before we give up */

/* Is there a terminal? */
bool prompt_possible(void);
/* A line with echo. 0 or -errno; -ENODATA: end of input (ctrl-D). "" is possible. */
int prompt_line(const char *text, char *ret, size_t size);
/* A passphrase of at least so many bytes without echo; twice: asks again until both are equal. A signal finds
 * the terminal as it was. 0 or -errno; -ENODATA: end of input, -ECANCELED: none was good in PROMPT_TRIES
 * tries. *ret is replaced, on failure untouched. */
int prompt_passphrase(const char *text, size_t least, bool twice, struct secret *ret);
/* What a person is told of an error of the two. */
const char *prompt_error(int r);
/* Asks for the passphrase of a key until it opens it, at most PROMPT_TRIES times; *ret is the last one. What
 * the prompt itself says gets the cause `prompts`. 0 or -errno. */
typedef int passphrase_opens_fn(void *arg, const struct secret *passphrase, struct error *e);
int passphrase_ask(
        passphrase_opens_fn *opens, void *arg, enum cause prompts, struct secret *ret, struct error *e);
