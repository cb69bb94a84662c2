/* SPDX-License-Identifier: Apache-2.0 */
/* Days of events that are staged by course, and those that could not be split. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "not_split.h"
#include "report_data.h"
#include "rows.h"

static int count_failed(void *arg, const struct ledger_split *row, const struct ledger_object *o)
{
        (void)row;
        (void)o;
        ++*(uint64_t *)arg;
        return 0;
}

int report_not_split(struct report_data *r)
{
        uint64_t n = 0;
        int e = not_split(r->c, count_failed, &n, r->e);
        json_u64(&r->j, "days_not_split", n);
        r->look |= n > 0;
        return e;
}

/* --- those that could not be split, by cause --- */

struct split_causes {
        struct {
                uint64_t n;
                char example[STAGED_PATH_SIZE], detail[DETAIL_SIZE];
        } of[CAUSE_MAX];
};

static int count_cause(void *arg, const struct ledger_split *row, const struct ledger_object *o)
{
        struct split_causes *c = arg;
        if (row->cause >= CAUSE_MAX)
                return 0;
        if (c->of[row->cause].n++ == 0) {
                snprintf(c->of[row->cause].example, STAGED_PATH_SIZE, "%s", o->path);
                snprintf(c->of[row->cause].detail, DETAIL_SIZE, "%s", row->detail);
        }
        return 0;
}

int report_split_failures(struct report_data *r)
{
        _cleanup_free_ struct split_causes *c = calloc(1, sizeof(*c));
        int e = c ? not_split(r->c, count_cause, c, r->e) : -ENOMEM;
        for (enum cause cause = CAUSE_NONE; e == 0 && cause < CAUSE_MAX; cause++)
                if (c->of[cause].n > 0)
                        json_object(&r->j, NULL,
                                FIELDS(F_NUMBER("count", c->of[cause].n), F_TEXT("state", NULL),
                                        F_TEXT("cause", cause_name(cause)),
                                        F_TEXT("example", c->of[cause].example),
                                        F_TEXT("detail", c->of[cause].detail),
                                        F_TEXT("advice", not_split_advice(cause))));
        return e;
}

/* --- what they take --- */

void report_storage(struct json *j, const char *org, const char *what, int64_t bytes, int64_t on_disk)
{
        int64_t saved = bytes > 0 ? (bytes - on_disk) * 100 / bytes : 0;
        json_object(j, NULL,
                FIELDS(F_TEXT("org", org), F_TEXT("category", what), F_NUMBER("bytes", bytes),
                        F_NUMBER("bytes_on_disk", on_disk), F_NUMBER("saved_percent", saved)));
}

struct taken {
        struct json *j;
        char org[ORG_SIZE]; /* rows come by path, so those of an organisation come together */
        uint64_t bytes;
};

static void add_taken(struct taken *t)
{
        int64_t bytes = (int64_t)MIN(t->bytes, (uint64_t)INT64_MAX);
        if (*t->org)
                report_storage(t->j, t->org, "events by course", bytes, bytes);
}

static int sum_taken(const struct ledger_split *row, void *arg)
{
        struct taken *t = arg;
        size_t n = strcspn(row->path, "/");
        if (n == 0 || n >= sizeof(t->org))
                return 0;
        if (strncmp(t->org, row->path, n) != 0 || t->org[n]) {
                add_taken(t);
                *t = (struct taken){.j = t->j};
                memcpy(t->org, row->path, n);
        }
        t->bytes += row->files_size;
        return 0;
}

int report_split_storage(struct report_data *r)
{
        struct taken t = {.j = &r->j};
        int e = ledger_splits(r->c->ledger, sum_taken, &t, r->e);
        add_taken(&t);
        return e;
}
