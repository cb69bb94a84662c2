/* SPDX-License-Identifier: Apache-2.0 */
/* Room for an archive, guessed from the one before: how much larger its members were decrypted, and what
 * share of it was new (the rest shared storage with an earlier snapshot). The first one is taken at
 * FIRST_EXPANSION. */
#include "room.h"

#include <stdio.h>
#include <unistd.h>

#include "limits.h"
#include "record.h"
#include "str.h"
#include "timespan.h"

#define FIRST_EXPANSION                                                                                      \
        400       /* percent: conservative enough for tables in text, not so that a first sync never starts */
#define SLACK 110 /* percent */
/* An archive that does not fit is looked at again after this: a look at the disk, no request. */
#define ROOM_LOOK_USEC (1 * USEC_PER_MINUTE)

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

/* How much larger members become, in percent: as last time, or as those that are staged already, if that is
 * more. */
static double expansion(const struct snapshot *s)
{
        double seen = s->staged_size ? (double)s->plain_bytes * 100 / (double)s->staged_size : 0;
        return MAX((double)fact(s, "expansion", FIRST_EXPANSION), seen);
}

static double expected_bytes(const struct snapshot *s)
{
        double expected = (double)s->wanted_size / 100 * expansion(s);
        if (s->deduplicate)
                expected = expected / 100 * (double)fact(s, "new-share", 100);
        return expected / 100 * SLACK;
}

static bool fits(struct director *d, double bytes, uint64_t *ret_have)
{
        /* What cannot be told here, pauses_look_at_staging() tells. */
        if (staging_free_bytes(d->staging, ret_have, NULL) < 0)
                return true;
        return bytes <= (double)*ret_have - (double)d->config->staging.min_free;
}

/* --- what waits for room --- */

/* ETag and bytes of an archive that did not fit, and which czard said so. */
struct shortage {
        char etag[LIMIT_ETAG + 1];
        unsigned long long bytes;
        int pid;
};

static void shortage_name(const struct ledger_object *o, char ret[64])
{
        snprintf(ret, 64, "no-room:%lld", (long long)o->id);
}

static bool shortage_get(struct director *d, const struct ledger_object *o, struct shortage *ret)
{
        char name[64], text[256];
        shortage_name(o, name);
        return ledger_meta_get(d->ledger, name, text, sizeof(text), NULL) >= 0 && *text &&
               sscanf(text, "%llu %d %128s", &ret->bytes, &ret->pid, ret->etag) == 3 &&
               streq(ret->etag, o->etag);
}

static void wait_for_room(struct director *d, struct ledger_object *o, unsigned long long need, uint64_t have)
{
        struct shortage said;
        char name[64], text[256], size[2][32];
        bool first = !shortage_get(d, o, &said) || said.pid != getpid();
        shortage_name(o, name);
        snprintf(text, sizeof(text), "%llu %d %s", need, getpid(), o->etag);
        ledger_meta_set(d->ledger, name, text, NULL);
        snprintf(text, sizeof(text), "it needs about %s, and %s are free above min_free",
                size_format(need, size[0], sizeof(size[0])),
                size_format(have > d->config->staging.min_free ? have - d->config->staging.min_free : 0,
                        size[1], sizeof(size[1])));
        if (first) {
                struct journal_fields f = object_fields(o);
                f.cause = CAUSE_SPACE;
                journal_event(EVENT_PAUSED, &f, "%s is not started: %s; it is started once there is room; %s",
                        o->key, text, cause_advice(CAUSE_SPACE));
        }
        record_wait(d, o, CAUSE_SPACE, text, ROOM_LOOK_USEC);
}

bool room_still_short(struct director *d, struct ledger_object *o)
{
        struct shortage before;
        uint64_t have;
        if (!shortage_get(d, o, &before) || fits(d, (double)before.bytes, &have))
                return false;
        wait_for_room(d, o, before.bytes, have);
        return true;
}

bool room_for(struct snapshot *s)
{
        struct director *d = s->job.d;
        struct ledger_object *o = &s->job.o;
        struct shortage before;
        char name[64];
        uint64_t have;
        double bytes = expected_bytes(s);
        if (!fits(d, bytes, &have)) {
                wait_for_room(d, o, (unsigned long long)bytes, have);
                return false;
        }
        if (shortage_get(d, o, &before)) {
                struct journal_fields f = object_fields(o);
                journal_event(EVENT_RESUMED, &f, "%s is started: there is room now", o->key);
                shortage_name(o, name);
                ledger_meta_set(d->ledger, name, "", NULL);
        }
        return true;
}

void room_learn(const struct snapshot *s)
{
        if (s->staged_size == 0 || s->plain_bytes == 0)
                return;
        double plain = (double)s->plain_bytes;
        learn(s, "expansion", (uint64_t)(plain * 100 / (double)s->staged_size) + 1);
        learn(s, "new-share", (uint64_t)((plain - (double)s->linked_bytes) * 100 / plain) + 1);
}
