/* SPDX-License-Identifier: Apache-2.0 */
/* Why nothing is started, at all or of one bucket. A pause has one journal entry when it begins and one when
 * it ends; polling goes on meanwhile. Owns which pauses last, and what is remembered to end them; whoever
 * reacts to an end asks pauses_take_ended(). */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "error.h"
#include "staging.h"

enum pause { PAUSE_SPACE, PAUSE_KEY, PAUSE_STAGING, PAUSE_STATE, PAUSE_STATE_SPACE, PAUSE_ADMIN, PAUSE_MAX };

/* "space", "key", ... as the journal and czarctl say it. */
const char *pause_name(enum pause p);

struct pauses;

/* staging and its known identity are borrowed for ever. NULL: out of memory. */
struct pauses *pauses_new(const struct staging *staging, const char *staging_id);
struct pauses *pauses_free(struct pauses *s);
/* The configuration in force; borrowed until the next call. */
void pauses_configure(struct pauses *s, const struct config *config);

/* From now on nothing is started for this reason; what runs goes on. Does nothing while it lasts. */
void pauses_enter(struct pauses *s, enum pause p, enum cause cause, const char *text);
/* The reason is gone. Does nothing when there is no such pause. */
void pauses_leave(struct pauses *s, enum pause p);
/* Is the staging volume the one we know, and is there room above min_free, there and in state_dir? Enters or
 * leaves these three accordingly. */
void pauses_look_at_staging(struct pauses *s);

/* What had filled the disk is not there any more: PAUSE_SPACE ends once min_free is free. */
void pauses_room_again(struct pauses *s);

/* BIT(PAUSE_...) of those that last; 0: work may start. */
unsigned pauses_now(const struct pauses *s);
/* Those that ended since it was last asked. */
unsigned pauses_take_ended(struct pauses *s);
#define PAUSES_TEXT_SIZE 512 /* enough for a text of each */
/* "space: text; key: text" of those that last, into ret; "" none. */
void pauses_text(const struct pauses *s, char *ret, size_t size);
/* Was there any in this run? */
bool pauses_ever(const struct pauses *s);

/* S3 refused the credentials (key_id: "" unknown) of a bucket: it is left alone for an hour, and that is
 * said, at most once a day. */
void pauses_refuse_bucket(
        struct pauses *s, enum cause cause, const char *bucket, const char *key_id, const char *detail);
bool pauses_bucket_blocked(const struct pauses *s, const char *bucket);
void pauses_unblock_buckets(struct pauses *s);
/* After a reload: the credentials may be others, and another refusal is news. */
void pauses_new_credentials(struct pauses *s);
/* The next czard-fetch is to read the credentials anew; told once. */
bool pauses_take_renew(struct pauses *s);
