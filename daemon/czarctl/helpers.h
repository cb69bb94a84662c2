/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of czard for one command, started and spoken to without an event loop. */
#pragma once

#include "ctl.h"
#include "launch.h"
#include "limits.h"
#include "proto.h"
#include "scratch.h"
#include "secret.h"
#include "str.h"

struct sync_helper {
        pid_t pid; /* 0: none */
        int sock;  /* -1: none */
        struct said said;
};
#define HELPER_NONE                                                                                          \
        {                                                                                                    \
                .pid = 0, .sock = -1, .said.fd = -1                                                          \
        }

/* Closes the channel and waits a moment; then it is killed with its group. */
void sync_helper_stop(struct sync_helper *h);

/* --- czard-fetch: listings only --- */

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

/* --- a czard-decrypt worker --- */

struct decrypt_helper {
        struct sync_helper helper;
        char home[SCRATCH_SIZE];
        struct strv usable; /* fingerprints of the primary keys that open */
        char warning[TEXT_SIZE];
};
/* Starts a worker on a copy of the GnuPG home, with the passphrase (p NULL: none). 0 once the key can be
 * used; else -errno with its cause: CAUSE_NO_KEY, CAUSE_PASSPHRASE, ... */
int decrypt_open(struct ctl *c, const char *homedir, const struct secret *passphrase,
        struct decrypt_helper *ret, struct error *e);
void decrypt_close(struct decrypt_helper *d);
/* Decrypts the message in fd (from its beginning) into *ret. 0, or -errno with the cause of its verdict in e.
 */
int decrypt_message(struct decrypt_helper *d, int fd, struct secret *ret, struct error *e);
