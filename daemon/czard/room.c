/* SPDX-License-Identifier: Apache-2.0 */
/* Room for an archive, guessed from the one before: how much larger its members were decrypted, and what
 * share of it was new (the rest shared storage with an earlier snapshot). The first one is taken at
 * FIRST_EXPANSION. */
#include "room.h"

#include <errno.h>
#include <stdlib.h>

#include "str.h"
#include "timespan.h"

#define FIRST_EXPANSION                                                                                      \
        400       /* percent: conservative enough for tables in text, not so that a first sync never starts */
#define SLACK 110 /* percent */

static void fact_name(const struct snapshot *s, const char *what, char *ret, size_t size)
{
        snprintf(ret, size, "%s:%s:%s", what, s->job.o.org, category_name(s->job.o.category));
}

static uint64_t fact(const struct snapshot *s, const char *what, uint64_t otherwise)
{
        char name[160], value[32];
        uint64_t v;
        fact_name(s, what, name, sizeof(name));
        if (ledger_meta_get(s->job.d->ledger, name, value, sizeof(value), NULL) < 0 || !*value ||
                parse_u64(value, UINT32_MAX, &v) < 0)
                return otherwise;
        return v;
}

static void learn(const struct snapshot *s, const char *what, uint64_t v)
{
        char name[160], value[32];
        fact_name(s, what, name, sizeof(name));
        snprintf(value, sizeof(value), "%llu", (unsigned long long)v);
        ledger_meta_set(s->job.d->ledger, name, value, NULL);
}

int room_for(const struct snapshot *s, struct error *e)
{
        const struct config_staging *c = &s->job.d->config->staging;
        uint64_t have, packed = 0;
        int r = staging_free_bytes(s->job.d->staging, &have, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < s->n_members; i++)
                if (s->members[i].step == MEMBER_WANTED)
                        packed += s->members[i].entry.size;
        double expected = (double)packed / 100 * (double)fact(s, "expansion", FIRST_EXPANSION);
        if (s->deduplicate)
                expected = expected / 100 * (double)fact(s, "new-share", 100);
        expected = expected / 100 * SLACK;
        double room = (double)have - (double)c->min_free;
        if (expected <= room)
                return 0;
        char need[32], free_bytes[32], least[32];
        return error_set(e, CAUSE_SPACE, ENOSPC,
                "it needs about %s, and %s are free on %s of which min_free keeps %s",
                size_format((uint64_t)expected, need, sizeof(need)),
                size_format(have, free_bytes, sizeof(free_bytes)), c->path,
                size_format(c->min_free, least, sizeof(least)));
}

void room_learn(const struct snapshot *s)
{
        uint64_t packed = 0, plain = 0, linked = 0;
        for (size_t i = 0; i < s->n_members; i++) {
                const struct member *m = &s->members[i];
                if (m->step != MEMBER_STAGED)
                        continue;
                packed += m->entry.size;
                plain += (uint64_t)m->plain_size;
                linked += m->linked ? (uint64_t)m->plain_size : 0;
        }
        if (packed == 0 || plain == 0)
                return;
        learn(s, "expansion", (uint64_t)((double)plain * 100 / (double)packed) + 1);
        learn(s, "new-share", (uint64_t)((double)(plain - linked) * 100 / (double)plain) + 1);
}
