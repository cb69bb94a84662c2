/* SPDX-License-Identifier: Apache-2.0 */
#include "beyond.h"

#include <errno.h>
#include <stdlib.h>

#include "ledger_facts.h"
#include "ledger_report.h"
#include "limits.h"
#include "macro.h"
#include "str.h"

/* --- which courses an archive has --- */

int beyond_learn(struct ledger *l, const struct ledger_object *o, struct strv *courses, struct error *e)
{
        strv_unique(courses);
        return ledger_set_courses(l, o->id, o->etag, courses, e);
}

static int on_course(const struct report_row *row, void *arg)
{
        return strv_add(arg, row->text[0]);
}

static int staged_courses(struct ledger *l, int64_t id, struct strv *courses, struct error *e)
{
        char text[24];
        snprintf(text, sizeof(text), "%lld", (long long)id);
        int r = report_each(l, REPORT_COURSES, text, NULL, on_course, courses, e);
        return r == -ENOMEM ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

int beyond_learn_staged(struct ledger *l, const struct ledger_object *o, struct error *e)
{
        _cleanup_(strv_done) struct strv courses = {};
        int r = staged_courses(l, o->id, &courses, e);
        return r < 0 ? r : beyond_learn(l, o, &courses, e);
}

/* --- what there is that is newer --- */

struct newer {
        const struct ledger_object *o;
        struct strv dates;
        int64_t *staged; /* ids */
        size_t n_staged;
        bool waiting; /* one is still to come */
};

static void newer_done(struct newer *n)
{
        strv_done(&n->dates);
        free(n->staged);
}

static int on_newer(struct ledger_object *other, void *arg)
{
        struct newer *n = arg;
        if (other->category != n->o->category || !streq(other->org, n->o->org) ||
                strcmp(other->date, n->o->date) <= 0)
                return 0;
        n->waiting |= (BIT(other->state) & OBJECT_STATES_DUE) != 0;
        if (*other->staged_etag && (other->state == OBJECT_PUBLISHED || other->state == OBJECT_GONE)) {
                if (ARRAY_ROOM(n->staged, n->n_staged) < 0)
                        return -ENOMEM;
                n->staged[n->n_staged++] = other->id;
        }
        return strv_has(&n->dates, other->date) ? 0 : strv_add(&n->dates, other->date);
}

static int find_newer(struct ledger *l, const struct ledger_object *listed, size_t n_listed, struct newer *n,
        struct error *e)
{
        const struct ledger_object *o = n->o;
        struct ledger_filter f = {.categories = BIT(o->category), .org = o->org, .since = o->date};
        int r = l ? ledger_each(l, &f, on_newer, n, e) : 0;
        for (size_t i = 0; r >= 0 && i < n_listed; i++) {
                struct ledger_object other = listed[i];
                r = on_newer(&other, n);
        }
        return r == -ENOMEM ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

/* --- the verdict --- */

/* Has it a wanted course that no newer staged one has? */
static int compare(struct ledger *l, const struct config_package *p, const struct newer *n, enum beyond *ret,
        struct error *e)
{
        _cleanup_(strv_done) struct strv own = {}, others = {};
        char etag[ETAG_SIZE] = "";
        int r = l && n->o->id ? ledger_courses(l, n->o->id, etag, &own, e) : 0;
        if (r >= 0 && !streq(etag, n->o->etag)) {
                *ret = BEYOND_UNREAD;
                return 0;
        }
        for (size_t i = 0; r >= 0 && l && i < n->n_staged; i++) {
                char known[ETAG_SIZE];
                r = ledger_courses(l, n->staged[i], known, &others, e);
                if (r >= 0 && !*known)
                        r = staged_courses(l, n->staged[i], &others, e);
        }
        if (r < 0)
                return r;
        strv_unique(&others);
        *ret = BEYOND_YES;
        for (size_t i = 0; i < own.n; i++)
                if (p && config_wants_course(p, own.v[i]) && !strv_sorted_has(&others, own.v[i]))
                        *ret = BEYOND_LAST_COPY;
        return 0;
}

int beyond_look(struct ledger *l, const struct config *c, const struct ledger_object *o,
        const struct ledger_object *listed, size_t n_listed, enum beyond *ret, struct error *e)
{
        uint64_t keep = c->staging.keep_snapshots;
        *ret = BEYOND_NO;
        /* One that is staged stays up to date as long as it is there. */
        if (keep == CONFIG_ALL || !o->is_zip || *o->staged_etag)
                return 0;
        *ret = BEYOND_WAITS;
        _cleanup_(newer_done) struct newer n = {.o = o};
        int r = find_newer(l, listed, n_listed, &n, e);
        if (r < 0)
                return r;
        if (n.dates.n < keep)
                *ret = BEYOND_NO;
        else if (o->category != CATEGORY_DATABASE)
                *ret = BEYOND_YES;
        else if (!n.waiting)
                return compare(l, config_find_package(c, o->org), &n, ret, e);
        return 0;
}
