/* SPDX-License-Identifier: Apache-2.0 */
/* One archive of members, inside czard: what the snapshot_*.c files share.
 *
 *   snapshot.c          life: directory -> prepare -> runs -> publish
 *   snapshot_facts.c    what of each member is not in memory
 *   snapshot_members.c  from the archive's directory to members: wanted, ignored, rejected, already there
 *   snapshot_run.c      a run of wanted neighbours: one GET, one worker, batches of members
 *   snapshot_known.c    members that earlier attempts staged are taken over
 *   snapshot_publish.c  the folder, its record, what changed, `latest`
 */
#pragma once

#include <stdatomic.h>

#include "flow.h"
#include "place.h"
#include "queue.h"
#include "shelf.h"

/* Members that a worker may hold at once, and how many are sent in one message: two batches keep it busy. */
#define MEMBERS_A_WORKER PROTO_RUN_MAX
#define MEMBERS_A_BATCH (MEMBERS_A_WORKER / 2)
/* A member of a range has no ETag to tell a broken transfer from a broken file: it is fetched twice before it
 * is rejected. */
#define MEMBER_TRIES 2

/* Up to this size an equal file is compared and linked between two turns of the loop. */
#define SHARED_AT_ONCE ((int64_t)(32 * MIB))

enum member_step { MEMBER_WANTED, MEMBER_TAKEN, MEMBER_STAGED, MEMBER_REJECTED, MEMBER_IGNORED };

/* What of a member is in memory: there may be very many. */
struct member {
        struct archive_place place;
        uint64_t facts_at; /* on the shelf */
        uint16_t name_len;
        enum member_step step : 8;
        enum cause cause : 8;
        unsigned tries : 8;
        unsigned named : 1; /* it has a path below the snapshot's folder: its name was not refused */
        unsigned deep : 1;  /* in a folder there */
        unsigned failed_at_source : 1;
        unsigned linked : 1;     /* shares its storage with an earlier snapshot's */
        unsigned filtered : 1;   /* not wanted any more, but published */
        unsigned has_sha256 : 1; /* its facts have; and plain_size and checks */
        unsigned twin : 1;       /* its path is another's too */
};

/* What of a member lies on the shelf, as it lies there. */
struct facts {
        uint64_t packed, size;
        int64_t plain_size;
        uint64_t detail_at; /* on the shelf as well */
        uint32_t crc, mode, checks;
        uint16_t method, flags, detail_len;
        uint8_t sha256[SHA256_SIZE];
        char name[];
};
#define SNAPSHOT_DETAIL 512

enum snapshot_state { SNAPSHOT_DIRECTORY, SNAPSHOT_PREPARING, SNAPSHOT_RUNS, SNAPSHOT_PUBLISHING };

struct run;

struct snapshot {
        struct job job;
        enum snapshot_state state;
        struct staging_attr attr;
        struct staging_top org;
        char top[128]; /* the folder expected in the archive; "" any */
        uint64_t max_name, max_members;
        bool keep_replaced, deduplicate, hold_incomplete;

        struct flow directory; /* SNAPSHOT_DIRECTORY */
        uint64_t window_start;
        bool second_read; /* of a longer directory: there is no third */
        struct proto_directory_done directory_done;

        struct shelf *shelf;
        struct member *members; /* once all are there: in the order of their offsets */
        size_t n_members, n_staged, n_rejected;
        /* Of what was WANTED before the runs: bytes in the archive, and unpacked, of the encrypted members.
         */
        uint64_t wanted_bytes, wanted_size;
        uint64_t staged_size, plain_bytes; /* of the staged ones, before and after decryption */
        uint64_t linked_bytes;             /* of plain_bytes */
        struct share *shares;              /* to be linked when it is published */
        uint32_t staged_checks;            /* of any of them */
        size_t n_wanted, next;             /* next: where the next run begins to look */
        bool progress;                     /* something was staged by this attempt */

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
        char keep_as[PLACE_KEEP_SIZE];
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

/* snapshot_facts.c. Only the loop adds and puts. When that cannot be done, s->cause says that this attempt is
 * to fail. */
int snapshot_facts_add(
        struct snapshot *s, const struct archive_entry *entry, struct member *m, struct error *e);
/* The caller frees it; NULL and e: it cannot be had. */
struct facts *snapshot_facts(const struct snapshot *s, const struct member *m, struct error *e);
/* All but the name. */
int snapshot_facts_put(struct snapshot *s, const struct member *m, const struct facts *f, struct error *e);
/* Why it was rejected. Puts f too. */
void snapshot_detail_put(struct snapshot *s, const struct member *m, struct facts *f, const char *detail);
/* "" when there is none. */
int snapshot_detail(
        const struct snapshot *s, const struct facts *f, char ret[SNAPSHOT_DETAIL], struct error *e);
/* As czard-decrypt is told of it; its name is that of f. */
struct archive_entry snapshot_entry(const struct member *m, const struct facts *f);
/* What its name says, as package_parse_member() has it. */
int snapshot_parse(
        const struct snapshot *s, const struct facts *f, struct package_member *ret, struct error *e);

/* snapshot_members.c */
/* Adds a page of the archive's directory, in any order. 0 or -errno: the worker broke its word (more than
 * max_members), there is no memory, or our state cannot be written. */
int snapshot_take_entries(struct snapshot *s, const struct proto_entries *page, struct error *e);
/* All entries are there: puts them in order. 0, or -errno: they do not fit into the archive. */
int snapshot_place_members(struct snapshot *s, struct error *e);
/* Each becomes WANTED, IGNORED or REJECTED, and the sums for the progress are made. 0 or -errno. */
int snapshot_classify(struct snapshot *s, struct error *e);
/* Adds the courses that it has, failed exports left out; doubles are possible. 0 or -errno. */
int snapshot_courses(const struct snapshot *s, struct strv *ret);
/* REJECTED, in the ledger and in the journal. */
void snapshot_reject_member(
        struct snapshot *s, struct member *m, struct facts *f, enum cause cause, const char *detail);
/* n_wanted, wanted_bytes and wanted_size: it is one of them; it is not any more. */
void snapshot_count_wanted(struct snapshot *s, const struct member *m, const struct facts *f);
void snapshot_discount_wanted(struct snapshot *s, const struct member *m, const struct facts *f);
/* It is there, with the hash of f: counts it. */
void snapshot_count_staged(struct snapshot *s, struct member *m, const struct facts *f);
/* What the ledger is to have of it, as it is now. 0 or -errno. */
int snapshot_row(const struct snapshot *s, const struct member *m, const struct facts *f,
        struct ledger_member *ret, struct error *e);
/* Its row in the ledger. */
void snapshot_save_member(struct snapshot *s, const struct member *m, const struct facts *f);
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
