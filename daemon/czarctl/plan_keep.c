/* SPDX-License-Identifier: Apache-2.0 */
/* What of a plan is not fetched after all, by the rules of czard's queue. Which courses an archive has czard
 * leaves in the ledger as "courses:ID": its ETag, then one course a line. */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"

#define COURSES_SIZE (256 * KIB)

struct due {
        struct ctl *c;
        const struct ledger_object *v;
        size_t n;
};

/* --- keep_snapshots --- */

/* Of an archive: which newer dates there are, which of the newer ones are staged, and is one still to come?
 * What is pruned or forgotten counts as a date, it was a snapshot of its week. */
struct newer {
        const struct ledger_object *o;
        struct strv dates;
        int64_t *staged;
        size_t n_staged;
        bool waiting;
};

static int on_newer(struct ledger_object *other, void *arg)
{
        struct newer *n = arg;
        if (strcmp(other->date, n->o->date) <= 0)
                return 0;
        n->waiting |= other->state == OBJECT_NEW || other->state == OBJECT_RETRY ||
                      other->state == OBJECT_FETCHING || other->state == OBJECT_DECRYPTING;
        if (*other->staged_etag && (other->state == OBJECT_PUBLISHED || other->state == OBJECT_GONE)) {
                int64_t *staged = reallocarray(n->staged, n->n_staged + 1, sizeof(*staged));
                if (!staged)
                        return -ENOMEM;
                n->staged = staged;
                n->staged[n->n_staged++] = other->id;
        }
        return strv_has(&n->dates, other->date) ? 0 : strv_add(&n->dates, other->date);
}

static int find_newer(const struct due *d, struct newer *n)
{
        struct ledger_filter f = {.categories = BIT(n->o->category), .org = n->o->org, .since = n->o->date};
        int r = d->c->ledger ? ledger_each(d->c->ledger, &f, on_newer, n, NULL) : 0;
        for (size_t i = 0; r >= 0 && i < d->n; i++)
                if (d->v[i].category == n->o->category && streq(d->v[i].org, n->o->org))
                        r = on_newer((struct ledger_object *)(uintptr_t)&d->v[i], n);
        return r;
}

/* --- the last copy of a course --- */

/* The ETag first; nothing when it is not known. */
static int read_courses(struct ctl *c, int64_t id, struct strv *ret)
{
        char name[64];
        _cleanup_free_ char *text = malloc(COURSES_SIZE);
        snprintf(name, sizeof(name), "courses:%lld", (long long)id);
        if (!text)
                return -ENOMEM;
        if (!c->ledger || ledger_meta_get(c->ledger, name, text, COURSES_SIZE, NULL) < 0)
                return 0;
        int r = 0;
        char *save = NULL;
        for (char *line = strtok_r(text, "\n", &save); r >= 0 && line; line = strtok_r(NULL, "\n", &save))
                r = strv_add(ret, line);
        return r;
}

enum keep { KEEP_NO, KEEP_YES, KEEP_UNDECIDED };

/* Has it a wanted course that no newer staged one has? 0 or -ENOMEM. */
static int find_last_copy(struct ctl *c, const struct newer *n, enum keep *ret)
{
        const struct config_package *p = config_find_package(c->config, n->o->org);
        _cleanup_(strv_done) struct strv own = {}, others = {};
        int r = n->o->id ? read_courses(c, n->o->id, &own) : 0;
        *ret = KEEP_UNDECIDED;
        if (r < 0 || own.n == 0 || !streq(own.v[0], n->o->etag) || n->waiting)
                return MIN(r, 0);
        for (size_t i = 0; r >= 0 && i < n->n_staged; i++)
                r = read_courses(c, n->staged[i], &others);
        *ret = KEEP_NO;
        for (size_t i = 1; r >= 0 && i < own.n; i++)
                if (p && config_wants_course(p, own.v[i]) && !strv_has(&others, own.v[i]))
                        *ret = KEEP_YES;
        return MIN(r, 0);
}

static int judge(const struct due *d, const struct ledger_object *o, enum keep *ret)
{
        uint64_t keep = d->c->config->staging.keep_snapshots;
        struct newer n = {.o = o};
        *ret = KEEP_YES;
        /* one that is staged stays up to date as long as it is there */
        if (keep == CONFIG_ALL || !o->is_zip || *o->staged_etag)
                return 0;
        int r = find_newer(d, &n);
        if (r >= 0 && n.dates.n >= keep) {
                *ret = KEEP_NO;
                if (o->category == CATEGORY_DATABASE)
                        r = find_last_copy(d->c, &n, ret);
        }
        strv_done(&n.dates);
        free(n.staged);
        return r;
}

/* --- one date in two spellings --- */

static bool is_beaten(const struct due *d, const struct ledger_object *o)
{
        bool beaten = false;
        if (d->c->ledger)
                ledger_is_beaten(d->c->ledger, o, &beaten, NULL);
        for (size_t i = 0; i < d->n; i++)
                beaten |= ledger_is_beaten_by(o, &d->v[i]);
        return beaten;
}

int plan_drop(struct ctl *c, struct ledger_object *due, size_t *n, struct plan_undecided *ret)
{
        struct due d = {c, due, *n};
        _cleanup_free_ enum keep *keep = calloc(*n + 1, sizeof(*keep));
        size_t kept = 0;
        int r = keep ? 0 : -ENOMEM;
        for (size_t i = 0; r >= 0 && i < *n; i++)
                if (!is_beaten(&d, &due[i]))
                        r = judge(&d, &due[i], &keep[i]);
        for (size_t i = 0; r >= 0 && i < *n; i++)
                if (keep[i] == KEEP_YES)
                        due[kept++] = due[i];
                else if (keep[i] == KEEP_UNDECIDED) {
                        ret->n++;
                        ret->bytes += due[i].size;
                }
        if (r >= 0)
                *n = kept;
        return MIN(r, 0);
}
