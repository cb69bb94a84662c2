/* SPDX-License-Identifier: Apache-2.0 */
/* Room for an archive, guessed from the one before: how much larger its members were decrypted, and what
 * share of it was new (the rest shared storage with an earlier snapshot). The first one is taken at
 * FIRST_EXPANSION. */
#include "snapshot_job.h"

#include <stdio.h>
#include <unistd.h>

#include "ledger_facts.h"
#include "record.h"
#include "str.h"
#include "timespan.h"

#define FIRST_EXPANSION                                                                                      \
        400       /* percent: conservative enough for tables in text, not so that a first sync never starts */
#define SLACK 110 /* percent */
/* An archive that does not fit is looked at again after this: a look at the disk, no request. */
#define ROOM_LOOK_USEC (1 * USEC_PER_MINUTE)

static struct ledger_growth growth(const struct snapshot *s)
{
        struct ledger_growth g = {};
        const struct ledger_object *o = &s->job.o;
        (void)ledger_growth(s->job.env->ledger, o->org, o->category, &g, NULL);
        return g;
}

static double expected_bytes(const struct snapshot *s)
{
        /* How much larger members become, in percent: as last time, or as those that are staged already, if
         * that is more. */
        const struct ledger_growth g = growth(s);
        double seen =
                s->sums.staged_size ? (double)s->sums.plain_bytes * 100 / (double)s->sums.staged_size : 0;
        double expected = (double)s->sums.wanted_size / 100 *
                          MAX(g.expansion ? (double)g.expansion : FIRST_EXPANSION, seen);
        if (s->deduplicate && g.new_share)
                expected = expected / 100 * (double)g.new_share;
        return expected / 100 * SLACK;
}

static bool fits(const struct job_env *env, double bytes, uint64_t *ret_have)
{
        /* What cannot be told here, pauses_look_at_staging() tells. */
        if (staging_free_bytes(env->staging, ret_have, NULL) < 0)
                return true;
        return bytes <= (double)*ret_have - (double)env->config->staging.min_free;
}

/* --- what waits for room --- */

static bool shortage_get(
        const struct job_env *env, const struct ledger_object *o, struct ledger_shortage *ret)
{
        return ledger_shortage(env->ledger, o->id, ret, NULL) >= 0 && *ret->etag && streq(ret->etag, o->etag);
}

static void wait_for_room(
        const struct job_env *env, struct ledger_object *o, unsigned long long need, uint64_t have)
{
        struct ledger_shortage said, now = {.bytes = need, .pid = getpid()};
        char text[256], size[2][32];
        bool first = !shortage_get(env, o, &said) || said.pid != getpid();
        snprintf(now.etag, sizeof(now.etag), "%s", o->etag);
        record_open(env->record);
        ledger_set_shortage(env->ledger, o->id, &now, NULL);
        snprintf(text, sizeof(text), "it needs about %s, and %s are free above min_free",
                size_format(need, size[0], sizeof(size[0])),
                size_format(have > env->config->staging.min_free ? have - env->config->staging.min_free : 0,
                        size[1], sizeof(size[1])));
        if (first) {
                struct journal_fields f = object_fields(o);
                f.cause = CAUSE_SPACE;
                journal_event(EVENT_PAUSED, &f, "%s is not started: %s; it is started once there is room; %s",
                        o->key, text, cause_advice(CAUSE_SPACE));
        }
        record_wait(env->record, o, CAUSE_SPACE, text, ROOM_LOOK_USEC);
}

bool room_still_short(const struct job_env *env, struct ledger_object *o)
{
        struct ledger_shortage before;
        uint64_t have;
        if (!shortage_get(env, o, &before) || fits(env, (double)before.bytes, &have))
                return false;
        wait_for_room(env, o, before.bytes, have);
        return true;
}

bool room_for(struct snapshot *s)
{
        const struct job_env *env = s->job.env;
        struct ledger_object *o = &s->job.o;
        struct ledger_shortage before;
        uint64_t have;
        double bytes = expected_bytes(s);
        if (!fits(env, bytes, &have)) {
                wait_for_room(env, o, (unsigned long long)bytes, have);
                return false;
        }
        if (shortage_get(env, o, &before)) {
                struct journal_fields f = object_fields(o);
                journal_event(EVENT_RESUMED, &f, "%s is started: there is room now", o->key);
                record_open(env->record);
                ledger_set_shortage(env->ledger, o->id, NULL, NULL);
        }
        return true;
}

void room_learn(const struct snapshot *s)
{
        if (s->sums.staged_size == 0 || s->sums.plain_bytes == 0)
                return;
        double plain = (double)s->sums.plain_bytes;
        const struct ledger_growth g = {
                .expansion = (uint64_t)(plain * 100 / (double)s->sums.staged_size) + 1,
                .new_share = (uint64_t)((plain - (double)s->sums.linked_bytes) * 100 / plain) + 1,
        };
        ledger_set_growth(s->job.env->ledger, s->job.o.org, s->job.o.category, &g, NULL);
}
