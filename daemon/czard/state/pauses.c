/* SPDX-License-Identifier: Apache-2.0 */
#include "pauses.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "journal.h"
#include "key_command.h"
#include "limits.h"
#include "outcome.h"
#include "str.h"
#include "timespan.h"

/* A disk that was full while min_free is free must have got more room before it is tried again; at times it
 * is tried anyway: a quota shows nowhere. */
#define MORE_ROOM (1 * MIB)
#define FULL_AGAIN_USEC (1 * USEC_PER_HOUR)
/* A volume may be the one we know, and be read-only: the kernel does that to a file system that it does not
 * trust any more. And a disk may look well from here, and fail whatever is done on it: that is not tried
 * again and again. */
#define STAGING_AGAIN_USEC (30 * USEC_PER_SEC)
/* Of a bucket whose credentials were refused. */
#define BLOCK_USEC (1 * USEC_PER_HOUR)
#define REPEAT_USEC (1 * USEC_PER_DAY) /* that they were is said again */

/* A bucket whose credentials were refused. */
struct bucket_block {
        char bucket[BUCKET_SIZE];
        uint64_t until_usec, said_usec;
        struct bucket_block *next;
};

struct pauses {
        const struct staging *staging;
        const char *staging_id;
        const struct config *config;
        unsigned now, ended;
        char text[PAUSE_MAX][256]; /* why */
        bool ever;
        /* The disk was full with so little free: until there is more, or (CLOCK_BOOTTIME) a while has passed.
         */
        uint64_t full_until_bytes, full_until_usec;
        uint64_t staging_left_usec; /* CLOCK_BOOTTIME: when PAUSE_STAGING ended the last time; 0: never */
        struct bucket_block *blocks;
        bool renew;
};

static const char *const names[PAUSE_MAX] = {
        [PAUSE_SPACE] = "space",
        [PAUSE_KEY] = "key",
        [PAUSE_STAGING] = "staging",
        [PAUSE_STATE] = "state",
        [PAUSE_STATE_SPACE] = "state-space",
        [PAUSE_ADMIN] = "admin",
};

const char *pause_name(enum pause p)
{
        return names[p];
}

struct pauses *pauses_new(const struct staging *staging, const char *staging_id)
{
        struct pauses *s = calloc(1, sizeof(*s));
        if (s)
                *s = (struct pauses){.staging = staging, .staging_id = staging_id};
        return s;
}

struct pauses *pauses_free(struct pauses *s)
{
        while (s && s->blocks) {
                struct bucket_block *b = s->blocks;
                s->blocks = b->next;
                free(b);
        }
        free(s);
        return NULL;
}

void pauses_configure(struct pauses *s, const struct config *config)
{
        s->config = config;
}

static void remember_full(struct pauses *s)
{
        uint64_t bytes;
        s->full_until_bytes = 0;
        if (staging_free_bytes(s->staging, &bytes, NULL) < 0 || bytes < s->config->staging.min_free)
                return;
        s->full_until_bytes = bytes + MORE_ROOM;
        s->full_until_usec = now_usec(CLOCK_BOOTTIME) + FULL_AGAIN_USEC;
}

static bool is_full(const struct pauses *s, uint64_t bytes)
{
        return bytes < s->full_until_bytes && now_usec(CLOCK_BOOTTIME) < s->full_until_usec;
}

/* What the table of causes says is of the staging volume, and of its bytes. */
static const char *advice_for(const struct pauses *s, enum pause p, enum cause cause)
{
        uint64_t inodes;
        if (cause != CAUSE_SPACE)
                return cause_advice(cause);
        if (p == PAUSE_STATE || p == PAUSE_STATE_SPACE)
                return "make room in state_dir (df, and df -i for its inodes)";
        if (p == PAUSE_KEY)
                return KEY_NO_ROOM;
        if (staging_free_inodes(s->staging, &inodes, NULL) == 0 && inodes == 0)
                return "no inodes are left: remove files there, or give it a file system with more of them "
                       "(df -i); min_free is not the matter";
        return cause_advice(cause);
}

void pauses_enter(struct pauses *s, enum pause p, enum cause cause, const char *text)
{
        s->ever = true;
        if (s->now & BIT(p))
                return;
        s->now |= BIT(p);
        snprintf(s->text[p], sizeof(s->text[p]), "%s", text);
        if (p == PAUSE_SPACE)
                remember_full(s);
        const char *advice = advice_for(s, p, cause);
        journal_event(EVENT_PAUSED,
                &(struct journal_fields){.cause = cause, .priority = p == PAUSE_ADMIN ? LOG_NOTICE : 0},
                "fetching pauses (%s): %s%s%s", names[p], text, *advice ? "; " : "", advice);
}

void pauses_leave(struct pauses *s, enum pause p)
{
        if (!(s->now & BIT(p)))
                return;
        s->now &= ~BIT(p);
        s->ended |= BIT(p);
        journal_event(EVENT_RESUMED, NULL, "fetching goes on (%s)", names[p]);
}

static void look_at_space(struct pauses *s)
{
        struct error e = {};
        uint64_t bytes = 0;
        if (staging_free_bytes(s->staging, &bytes, &e) < 0) {
                pauses_enter(s, PAUSE_STAGING, e.cause, e.text);
                return;
        }
        if (bytes >= s->config->staging.min_free) {
                if (!is_full(s, bytes))
                        pauses_leave(s, PAUSE_SPACE);
                return;
        }
        char have[BYTES_SIZE], want[BYTES_SIZE];
        error_set(&e, CAUSE_SPACE, ENOSPC, "%s free on %s, min_free is %s",
                size_format(bytes, have, sizeof(have)), s->config->staging.path,
                size_format(s->config->staging.min_free, want, sizeof(want)));
        pauses_enter(s, PAUSE_SPACE, CAUSE_SPACE, e.text);
}

static void leave_staging(struct pauses *s)
{
        if (!(s->now & BIT(PAUSE_STAGING)))
                return;
        uint64_t now = now_usec(CLOCK_BOOTTIME);
        if ((s->staging_left_usec && now < s->staging_left_usec + STAGING_AGAIN_USEC) ||
                staging_probe(s->staging, NULL) < 0)
                return;
        s->staging_left_usec = now;
        pauses_leave(s, PAUSE_STAGING);
}

static void look_at_identity(struct pauses *s)
{
        struct error e = {};
        char id[STAGING_ID_SIZE];
        if (staging_expect_id(s->staging, s->staging_id, "is it mounted?", id, &e) == 0) {
                leave_staging(s);
                return;
        }
        pauses_enter(s, PAUSE_STAGING, CAUSE_STAGING, e.text);
}

/* Before ledger and audit record fill it: what happens must be written down. */
static void look_at_state_space(struct pauses *s)
{
        struct statvfs v;
        if (statvfs(s->config->state_dir, &v) < 0)
                return; /* PAUSE_STATE tells, once something cannot be written */
        uint64_t bytes = (uint64_t)v.f_bavail * v.f_frsize, least = s->config->state_min_free;
        bool no_inodes = v.f_files != 0 && v.f_favail == 0;
        if (bytes >= least && !no_inodes) {
                pauses_leave(s, PAUSE_STATE_SPACE);
                return;
        }
        struct error e = {};
        char have[BYTES_SIZE], want[BYTES_SIZE];
        if (no_inodes)
                error_set(&e, CAUSE_SPACE, ENOSPC, "no inodes are left on the file system of %s",
                        s->config->state_dir);
        else
                error_set(&e, CAUSE_SPACE, ENOSPC, "%s free on %s, [daemon] min_free is %s",
                        size_format(bytes, have, sizeof(have)), s->config->state_dir,
                        size_format(least, want, sizeof(want)));
        pauses_enter(s, PAUSE_STATE_SPACE, CAUSE_SPACE, e.text);
}

void pauses_look_at_staging(struct pauses *s)
{
        look_at_state_space(s);
        look_at_identity(s);
        if (!(s->now & BIT(PAUSE_STAGING)))
                look_at_space(s);
}

void pauses_room_again(struct pauses *s)
{
        s->full_until_bytes = 0;
}

unsigned pauses_now(const struct pauses *s)
{
        return s->now;
}

unsigned pauses_take_ended(struct pauses *s)
{
        unsigned ended = s->ended;
        s->ended = 0;
        return ended;
}

void pauses_text(const struct pauses *s, char *ret, size_t size)
{
        size_t n = 0;
        *ret = 0;
        for (enum pause p = 0; p < PAUSE_MAX && n < size; p++)
                if (s->now & BIT(p))
                        n += (size_t)snprintf(
                                ret + n, size - n, "%s%s: %s", n ? "; " : "", names[p], s->text[p]);
}

bool pauses_ever(const struct pauses *s)
{
        return s->ever;
}

/* --- buckets --- */

static struct bucket_block *block_of(const struct pauses *s, const char *bucket)
{
        for (struct bucket_block *b = s->blocks; b; b = b->next)
                if (streq(b->bucket, bucket))
                        return b;
        return NULL;
}

void pauses_refuse_bucket(
        struct pauses *s, enum cause cause, const char *bucket, const char *key_id, const char *detail)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        struct bucket_block *b = block_of(s, bucket);
        if (!b) {
                b = calloc(1, sizeof(*b));
                if (!b)
                        return;
                snprintf(b->bucket, sizeof(b->bucket), "%s", bucket);
                b->next = s->blocks;
                s->blocks = b;
        }
        /* The next czard-fetch reads the file as it is then. */
        if ((outcome_of(&(struct outcome_case){.cause = cause}).also & OUTCOME_RENEW) && now >= b->until_usec)
                s->renew = true;
        b->until_usec = now + BLOCK_USEC;
        if (b->said_usec != 0 && now < b->said_usec + REPEAT_USEC)
                return;
        b->said_usec = now;
        journal_event(EVENT_CREDENTIALS_REFUSED,
                &(struct journal_fields){
                        .bucket = bucket, .access_key_id = *key_id ? key_id : NULL, .cause = cause},
                "%s%s%s for bucket %s: %s; tried again hourly and on SIGUSR1; %s",
                cause == CAUSE_NO_CREDENTIALS ? "no usable credentials" : "S3 refuses the credentials",
                *key_id ? " " : "", key_id, bucket, detail, cause_advice(cause));
}

bool pauses_bucket_blocked(const struct pauses *s, const char *bucket)
{
        const struct bucket_block *b = block_of(s, bucket);
        return b && now_usec(CLOCK_MONOTONIC) < b->until_usec;
}

void pauses_unblock_buckets(struct pauses *s)
{
        for (struct bucket_block *b = s->blocks; b; b = b->next)
                b->until_usec = 0;
}

void pauses_new_credentials(struct pauses *s)
{
        pauses_unblock_buckets(s);
        for (struct bucket_block *b = s->blocks; b; b = b->next)
                b->said_usec = 0;
}

bool pauses_take_renew(struct pauses *s)
{
        bool renew = s->renew;
        s->renew = false;
        return renew;
}
