/* SPDX-License-Identifier: Apache-2.0 */
/* Where the link "latest" of an organisation and category should point. */
#pragma once

#include "config.h"
#include "ledger.h"
#include "staging.h"
#include "timespan.h"

/* Two weekly snapshots that latest did not follow. */
#define LATEST_FROZEN_DAYS 14

struct latest_state {
        char date[DATE_SIZE], newest[DATE_SIZE]; /* where it points, the newest staged snapshot; "" none */
        bool pinned;
        int behind_days; /* the newest is newer by that; 0 when it points there */
};
/* Where latest of that organisation and category is, against what is staged. 0 or -errno. */
int latest_look(
        struct ledger *l, const char *org, enum category c, struct latest_state *ret, struct error *e);

/* The pinned date, else the greatest date whose staged snapshot has no rejected member and lost no course
 * that was still alive (a course whose tables did not change any more may leave); "" when there is none. 0 or
 * -errno. */
int latest_choose(struct ledger *l, const char *org, enum category c, char ret[DATE_SIZE], bool *ret_pinned,
        struct error *e);
/* The patterns of the filter that choose something (not "!...") and match nothing in that staged snapshot,
 * neither what is staged of it nor what was left out; added to ret as "courses PATTERN" or "tables PATTERN".
 * Of an organisation without a section, and of other categories, there are none. 0 or -errno. */
int latest_unmatched(struct ledger *l, const struct config *config, const char *org, enum category c,
        const char *date, struct strv *ret, struct error *e);
/* Points the link to it, unless a pattern matches nothing there: that was meant otherwise, and nobody is led
 * to what is left. ret then has these patterns as latest_unmatched() gives them. Where there is none, a link
 * to what is not there any more is taken away. 0 or -errno (-ENOENT: the folder it would stand in is not
 * there).
 */
int latest_move(struct ledger *l, struct staging *s, const struct config *config, const char *org,
        enum category c, struct strv *ret, struct error *e);
