/* SPDX-License-Identifier: Apache-2.0 */
/* What a string of the configuration, or one word of a list, may be. Each returns 0 or -EINVAL with e saying
 * what was found and what was expected. */
#pragma once

#include "config_table.h"

/* The error itself: `what` was found; k->expected says what was expected, or else `expected`. */
int config_bad(const struct config_key *k, struct error *e, const char *what, const char *expected);
/* The same, naming the text: for types whose text is no secret. */
int config_bad_value(const struct config_key *k, struct error *e, const char *text, const char *expected);

/* s is written anew where two texts mean one thing: a path without doubled or last slashes, an endpoint
 * without its last one. */
int config_check_string(const struct config_key *k, char *s, struct error *e);
int config_check_word(const struct config_key *k, const char *word, struct error *e);
