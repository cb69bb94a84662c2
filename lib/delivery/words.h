/* SPDX-License-Identifier: Apache-2.0 */
/* What the feed said last of an input that is not as it was. */
#pragma once

#include "due.h"

struct words;

/* All borrowed. path: of the staging directory. Reads nothing yet. */
int words_new(
        const char *path, const struct staging *s, const char *org, struct words **ret, struct error *e);
struct words *words_free(struct words *w);
/* For due_query; w: struct words. The first question reads the feed. */
enum input_word words_of(void *w, const char *path);
/* Could the feed be read, if it was asked? 0, or -errno: nothing that was answered may be relied on. */
int words_error(const struct words *w, struct error *e);
