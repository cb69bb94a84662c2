/* SPDX-License-Identifier: Apache-2.0 */
/* One archive of members, inside czard: what the snapshot_*.c files share.
 *
 *   snapshot.c          life: directory -> prepare -> runs -> publish
 *   snapshot_members.c  from the archive's directory to members: wanted, ignored, rejected, already there
 *   snapshot_run.c      a run of wanted neighbours: one GET, one worker, batches of members
 *   snapshot_known.c    members that earlier attempts staged are taken over
 *   snapshot_publish.c  the folder, its record, what changed, `latest`
 */
#pragma once

#include <stdatomic.h>

#include "flow.h"
#include "queue.h"

/* Members that a worker may hold at once, and how many are sent in one message: two batches keep it busy. */
#define MEMBERS_A_WORKER PROTO_RUN_MAX
#define MEMBERS_A_BATCH (MEMBERS_A_WORKER / 2)
/* A member of a range has no ETag to tell a broken transfer from a broken file: it is fetched twice before it
 * is rejected. */
#define MEMBER_TRIES 2

enum member_step { MEMBER_WANTED, MEMBER_TAKEN, MEMBER_STAGED, MEMBER_REJECTED, MEMBER_IGNORED };

struct member {
        struct proto_entry entry; /* name owned */
        char *path;               /* below the snapshot's folder; owned; NULL when its name is refused */
        enum member_step step;
        unsigned tries;
        bool failed_at_source;
        bool linked;   /* shares its storage with an earlier snapshot's */
        bool filtered; /* not wanted any more, but published */
        enum cause cause;
        char *detail; /* owned; NULL: none */
        int64_t plain_size;
        uint32_t checks;
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE];
};

enum snapshot_state { SNAPSHOT_DIRECTORY, SNAPSHOT_PREPARING, SNAPSHOT_RUNS, SNAPSHOT_PUBLISHING };

struct run;

struct snapshot {
        struct job job;
        enum snapshot_state state;
        struct pool *pool;
        struct staging_attr attr;
        struct staging_top org;
        char top[128]; /* the folder expected in the archive; "" any */
        uint64_t max_name, max_members;
        bool keep_replaced, deduplicate, hold_incomplete;

        struct flow directory; /* SNAPSHOT_DIRECTORY */
        uint64_t window_start;
        struct proto_directory_done directory_done;

        struct member *members; /* in the order of their offsets */
        size_t n_members, n_staged, n_rejected;
        uint64_t wanted_bytes, plain_bytes;
        size_t n_wanted, next; /* next: where the next run begins to look */
        bool progress;         /* something was staged by this attempt */

        struct snapshot_dir *dir;
        struct run *runs;
        unsigned n_runs;
        /* The first run that failed: no more are started, and the snapshot fails once the others have ended.
         */
        enum cause cause;
        char detail[512];
        uint64_t retry_after_usec;

        uv_work_t work; /* PREPARING, PUBLISHING */
        struct error work_error, remove_error;
        bool working, replaces;
        atomic_bool cancelled; /* the thread looks at it */
        char keep_as[REPLACED_NAME_SIZE];
        char old_path[512];
};

/* snapshot.c */
/* Called after each change of a run: starts more runs, or, when none is left, publishes or fails. May free s.
 */
void snapshot_step(struct snapshot *s);
/* Records how it failed and ends the job: s is freed. */
void snapshot_fail(struct snapshot *s, enum cause cause, const char *detail);
/* Ends the job, whose end is recorded already: s is freed. */
void snapshot_finish(struct snapshot *s);

/* snapshot_members.c */
/* Adds a page of the archive's directory, in the order of offsets. 0 or -errno: the worker broke its word
 * (more than max_members, another order), or there is no memory. */
int snapshot_take_entries(struct snapshot *s, const struct proto_entries *page, struct error *e);
/* All entries are there: each becomes WANTED, IGNORED or REJECTED, and the sums for the progress are made. 0
 * or -errno. */
int snapshot_classify(struct snapshot *s, struct error *e);
/* Adds the courses that it has, failed exports left out; doubles are possible. 0 or -ENOMEM. */
int snapshot_courses(const struct snapshot *s, struct strv *ret);
/* REJECTED, in the ledger and in the journal. */
void snapshot_reject_member(struct snapshot *s, struct member *m, enum cause cause, const char *detail);
/* Its row in the ledger, as it is now. */
void snapshot_save_member(struct snapshot *s, struct member *m);
void snapshot_members_free(struct snapshot *s);

/* snapshot_known.c */
/* Looks, in a thread, at what earlier attempts staged; then calls snapshot_step(). */
void snapshot_prepare(struct snapshot *s);

/* snapshot_run.c */
/* Starts runs while there is room and something wanted. */
void snapshot_start_runs(struct snapshot *s);
/* Drops and frees all runs; what they staged stays in the partial folder. */
void snapshot_cancel_runs(struct snapshot *s);

/* snapshot_publish.c */
/* Gives the folder its name, in a thread, then records it and ends the job; or holds an incomplete one back
 * (incomplete_snapshots=hold), which ends it at once. */
void snapshot_publish_all(struct snapshot *s);
/* `latest` of that organisation and category, by the rule in interface.md. */
void snapshot_move_latest(struct director *d, const char *org, enum category c);
/* Of all of them: a crash, or a disk that failed, may have come between a snapshot and the link to it. */
void snapshot_move_all_latest(struct director *d);
