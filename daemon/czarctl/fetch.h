/* SPDX-License-Identifier: Apache-2.0 */
/* czard-fetch for one command: listings only. */
#pragma once

#include "ctl.h"
#include "limits.h"
#include "sync_helper.h"

/* In prepare: when the credentials are where only root may read them, systemd starts a czard-fetch with them,
 * as a transient unit with a user of its own. Otherwise nothing is done, and fetch_open() starts it as a
 * child. */
int fetch_prepare(struct ctl *c);

struct fetch {
        struct sync_helper helper;
        uint32_t last_id;
        char source[256]; /* where its credentials came from */
};
/* config_path NULL: the one of c. Waits until it serves. 0 or -errno. */
int fetch_open(struct ctl *c, const char *config_path, struct fetch *ret, struct error *e);
void fetch_close(struct fetch *f);

/* Asks for a listing; the answers come by fetch_next(). *ret_id: its number. */
int fetch_list(struct fetch *f, const char *bucket, const char *prefix, const char *start_after,
        uint32_t *ret_id, struct error *e);
/* The next LISTED or DONE. */
int fetch_next(struct fetch *f, struct message *ret, struct error *e);
/* The first page of one listing; only whether it works and how. */
struct fetch_result {
        enum cause cause;
        char detail[DETAIL_SIZE], access_key_id[ACCESS_KEY_ID_SIZE];
        int64_t skew_sec;
        uint64_t n;
        bool more; /* n is not all */
};
int fetch_try(
        struct fetch *f, const char *bucket, const char *prefix, struct fetch_result *ret, struct error *e);
