/* SPDX-License-Identifier: Apache-2.0 */
/* One archive of members, inside czard: what the snapshot_*.c files share.
 *
 *   snapshot.c          life: directory -> prepare -> runs -> publish
 *   snapshot_members.c  which members are wanted, which are there already, and do the others fit?
 *   snapshot_run.c      a run of wanted neighbours: one GET, one worker, batches of members
 *   snapshot_publish.c  the folder, its record, what changed, `latest`
 *
 * The members themselves are rows of a temporary database (lib/store/members.h). */
#pragma once

#include <stdatomic.h>

#include "job.h"
#include "limits.h"
#include "members.h"
#include "wants.h"

/* Members that a worker may hold at once, and how many are sent in one message: two batches keep it busy. */
#define MEMBERS_A_WORKER PROTO_RUN_MAX
#define MEMBERS_A_BATCH (MEMBERS_A_WORKER / 2)
/* So many members that our key does not open, and not one that it opens: it is the key. */
#define HELD_MOST 64

enum snapshot_state { SNAPSHOT_DIRECTORY, SNAPSHOT_PREPARING, SNAPSHOT_RUNS, SNAPSHOT_PUBLISHING };

struct snapshot_run;

/* Against the snapshot before: courses and tables that appeared, vanished, shrank by more than half, or are
 * empty. */
struct snapshot_change {
        struct strbuf text; /* "": nothing */
        bool loss;          /* something vanished or shrank */
};

struct snapshot {
        struct object_job job;
        enum snapshot_state state;
        struct staging_attr attr;
        struct staging_top org;
        char top[128]; /* the folder expected in the archive; "" any */
        uint64_t max_name, max_members;
        bool keep_replaced, deduplicate, hold_incomplete;

        struct flow directory; /* SNAPSHOT_DIRECTORY */
        uint64_t window_start;
        bool second_read; /* of a longer directory: there is no third */
        bool read_again;  /* from the beginning, for what was read made no sense */
        struct proto_directory_done directory_done;

        struct members *members; /* while working the thread's */
        uint64_t n_told;         /* by czard-index */
        /* Before the directory, before the runs (how much is wanted), and again once it is published. */
        struct members_sums sums;
        size_t n_staged, n_rejected; /* so far */
        unsigned n_held;             /* members that our key does not open, while none is staged */
        enum cause held_cause;       /* why */
        char held_detail[DETAIL_SIZE];
        struct share *shares; /* to be linked when it is published */
        bool progress;        /* something was staged by this attempt */

        int64_t before; /* the staged snapshot that this one is compared with when it is published; 0: none */
        struct snapshot_change change;

        struct snapshot_dir *dir;
        struct snapshot_run *runs;
        unsigned n_runs;
        int64_t run_id; /* of the last one that was begun */
        /* The first run that failed: no more are started, and the snapshot fails once the others have ended.
         */
        enum cause cause;
        char detail[DETAIL_SIZE];
        uint64_t retry_after_usec;

        uv_work_t work; /* at the end of DIRECTORY, PREPARING, PUBLISHING */
        void (*body)(struct snapshot *s);
        struct error work_error, remove_error;
        bool working, replaces;
        bool news;             /* a thread or a run has ended: for the next step */
        atomic_bool cancelled; /* the thread looks at it */
        char keep_as[PLACE_KEEP_SIZE];
        char old_path[STAGED_PATH_SIZE];
};

/* snapshot_members.c, in this order */
/* Adds a page of the archive's directory, in any order. 0 or -errno: czard-index broke its word (more than
 * max_members), or our state cannot be written. */
int snapshot_take_entries(struct snapshot *s, const struct proto_entries *page, struct error *e);
/* Those that their names (or their likes) keep out are told: in the ledger and in the journal. 0 or -errno.
 */
int snapshot_tell_refused(struct snapshot *s, struct error *e);
/* It is REJECTED, for its cause and detail: in the ledger and in the journal. */
void snapshot_rejected(struct snapshot *s, const struct member *m);
/* Its row in the ledger. */
void snapshot_save_member(struct snapshot *s, const struct member *m);
/* This attempt fails once what is under way has ended. The first cause counts. (Where it is the disk of
 * state_dir that is full, the ledger finds that out by itself, and pauses.) */
void snapshot_trouble(struct snapshot *s, enum cause cause, const char *detail);
/* The partial folder, as it was left or new. 0 or -errno. */
int snapshot_open_folder(struct snapshot *s, struct error *e);
/* In a thread: looks at what earlier attempts staged, and how much is wanted then; s->work_error. */
void snapshot_look_at_known(struct snapshot *s);
/* Compares what the wanted members will take with what is free above min_free. false: it does not fit; said
 * once, and the object waits (the caller drops the job). */
bool room_for(struct snapshot *s);
/* It did not fit before and still does not: it goes on waiting, and nothing is fetched for it. */
bool room_still_short(const struct job_env *env, struct ledger_object *o);
/* An archive was published: what it took is what the next one is judged by. */
void room_learn(const struct snapshot *s);

/* snapshot_run.c */
/* No run is left: what was held back is tried again where others could be decrypted; else it is the key that
 * is wrong. */
void snapshot_judge_held(struct snapshot *s);
/* Starts runs while there is room and something wanted. */
void snapshot_start_runs(struct snapshot *s);
/* The attempt fails: the runs of which a member was refused count for nothing, so that the next attempt asks
 * for them whole. Which of their members were refused is a worker's word. */
void snapshot_forget_refused(struct snapshot *s);
/* Drops and frees all runs; what they staged stays in the partial folder, but for that of a run of which a
 * member was refused. */
void snapshot_cancel_runs(struct snapshot *s);

/* snapshot_publish.c */
/* What is to be known before. -errno: an incomplete one is held back (incomplete_snapshots=hold). */
int snapshot_prepare_publishing(struct snapshot *s, struct error *e);
/* In a thread: gives the folder its name; s->work_error. */
void snapshot_publish_folder(struct snapshot *s);
/* It has its name: that is recorded, and `latest` moves. */
void snapshot_record_published(struct snapshot *s);
