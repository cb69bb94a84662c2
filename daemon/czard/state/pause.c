/* SPDX-License-Identifier: Apache-2.0 */
/* Why nothing is started. Polling goes on; each pause has one entry when it begins and one when it ends.
 * Space and staging are looked at before anything is started and every minute while they pause us. */
#include <errno.h>
#include <time.h>

#include "director.h"
#include "poll.h"
#include "queue.h"
#include "rebuild.h"
#include "record.h"
#include "str.h"
#include "timespan.h"

static const char *const names[PAUSE_MAX] = {
        [PAUSE_SPACE] = "space",
        [PAUSE_KEY] = "key",
        [PAUSE_STAGING] = "staging",
        [PAUSE_STATE] = "state",
        [PAUSE_ADMIN] = "admin",
};

const char *pause_name(enum pause p)
{
        return names[p];
}

/* A disk that was full while min_free is free must have got more room before it is tried again; at times it
 * is tried anyway: a quota shows nowhere. */
#define MORE_ROOM (1 * MIB)
#define FULL_AGAIN_USEC (1 * USEC_PER_HOUR)

static void remember_full(struct director *d)
{
        uint64_t bytes;
        d->full_until_bytes = 0;
        if (staging_free_bytes(d->staging, &bytes, NULL) < 0 || bytes < d->config->staging.min_free)
                return;
        d->full_until_bytes = bytes + MORE_ROOM;
        d->full_until_usec = now_usec(CLOCK_BOOTTIME) + FULL_AGAIN_USEC;
}

static bool is_full(const struct director *d, uint64_t bytes)
{
        return bytes < d->full_until_bytes && now_usec(CLOCK_BOOTTIME) < d->full_until_usec;
}

void pause_enter(struct director *d, enum pause p, enum cause cause, const char *text)
{
        director_status(d, STATUS_INCOMPLETE);
        if (d->pauses & BIT(p))
                return;
        d->pauses |= BIT(p);
        if (p == PAUSE_SPACE)
                remember_full(d);
        /* what the table says is of the staging volume */
        const char *advice =
                p == PAUSE_STATE && cause == CAUSE_SPACE ? "make room in state_dir" : cause_advice(cause);
        journal_event(EVENT_PAUSED,
                &(struct journal_fields){.cause = cause, .priority = p == PAUSE_ADMIN ? LOG_NOTICE : 0},
                "fetching pauses (%s): %s%s%s", names[p], text, *advice ? "; " : "", advice);
        queue_watch_pause(d->queue);
}

void pause_leave(struct director *d, enum pause p)
{
        if (!(d->pauses & BIT(p)))
                return;
        d->pauses &= ~BIT(p);
        journal_event(EVENT_RESUMED, NULL, "fetching goes on (%s)", names[p]);
        queue_plan(d->queue);
        /* What was listed meanwhile could not be written down. */
        if (p == PAUSE_STATE && !d->options.once)
                poll_now(d->poll, true);
}

static void check_space(struct director *d)
{
        struct error e = {};
        uint64_t bytes = 0;
        if (staging_free_bytes(d->staging, &bytes, &e) < 0) {
                pause_enter(d, PAUSE_STAGING, e.cause, e.text);
                return;
        }
        if (bytes >= d->config->staging.min_free) {
                if (!is_full(d, bytes))
                        pause_leave(d, PAUSE_SPACE);
                return;
        }
        char have[32], want[32];
        error_set(&e, CAUSE_SPACE, ENOSPC, "%s free on %s, min_free is %s",
                size_format(bytes, have, sizeof(have)), d->config->staging.path,
                size_format(d->config->staging.min_free, want, sizeof(want)));
        pause_enter(d, PAUSE_SPACE, CAUSE_SPACE, e.text);
}

/* A volume may be the one we know, and be read-only: the kernel does that to a file system that it does not
 * trust any more. And a disk may look well from here, and fail whatever is done on it: that is not tried
 * again and again. */
#define STAGING_AGAIN_USEC (30 * USEC_PER_SEC)

static void leave_staging(struct director *d)
{
        if (!(d->pauses & BIT(PAUSE_STAGING)))
                return;
        uint64_t now = now_usec(CLOCK_BOOTTIME);
        if ((d->staging_left_usec && now < d->staging_left_usec + STAGING_AGAIN_USEC) ||
                staging_probe(d->staging, NULL) < 0)
                return;
        d->staging_left_usec = now;
        pause_leave(d, PAUSE_STAGING);
}

static void check_identity(struct director *d)
{
        struct error e = {};
        char id[STAGING_ID_SIZE];
        int r = staging_read_id(d->staging, id, &e);
        if (r >= 0 && streq(id, d->staging_id)) {
                leave_staging(d);
                return;
        }
        if (r >= 0)
                error_set(&e, CAUSE_STAGING, ENODEV,
                        "%s is not the staging volume this czard knows (.czard-id is %s): is it mounted?",
                        d->config->staging.path, *id ? "another one" : "missing");
        pause_enter(d, PAUSE_STAGING, CAUSE_STAGING, e.text);
}

/* Can our own state be written again? What is left of working states in the ledger goes back to NEW with it.
 */
static void check_state(struct director *d)
{
        struct error e = {};
        if (!(d->pauses & BIT(PAUSE_STATE)))
                return;
        rebuild_if_damaged(d);
        if (d->stopping || record_flush(d->record) < 0 || audit_probe(d->audit, &e) < 0 ||
                audit_sync(d->audit, &e) < 0 || ledger_begin(d->ledger, &e) < 0)
                return;
        char when[21];
        int r = ledger_meta_set(d->ledger, "probe", time_format((int64_t)time(NULL), when), &e);
        if (r >= 0)
                r = queue_recover(d->queue);
        if (r < 0)
                ledger_rollback(d->ledger);
        else if (ledger_commit(d->ledger, &e) >= 0)
                pause_leave(d, PAUSE_STATE);
}

bool pause_check(struct director *d)
{
        check_identity(d);
        if (!(d->pauses & BIT(PAUSE_STAGING)))
                check_space(d);
        check_state(d);
        return d->pauses == 0;
}
