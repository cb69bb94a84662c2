/* SPDX-License-Identifier: Apache-2.0 */
/* The members of one archive, as rows of a temporary database of their own (SQLite, in a file of state_dir
 * that has no name): what its directory says of each, what became of it, and what the ledger, which is
 * attached for reading, has of it. So memory does not grow with them, and what can be asked of them is SQL.
 * Whatever ends czard, nothing is left, and nothing but this attempt is lost: a spill file that cannot be
 * written undoes no turn of the ledger. One thread at a time. After an error nothing more can be asked. */
#pragma once

#include "ledger.h"
#include "limits.h"
#include "str.h"
#include "terms.h"

struct members;

/* Where the temporary databases of this process are, and every other temporary file of SQLite: folder, into
 * which it is tried to write. Before the first database is opened. 0 or -errno. */
int members_set_folder(const char *folder, struct error *e);

enum member_step {
        MEMBER_WANTED,
        MEMBER_TAKEN, /* a run has it */
        MEMBER_STAGED,
        MEMBER_REJECTED,
        MEMBER_IGNORED, /* a filter leaves it out; or it is a folder, or a double: these have no path */
        MEMBER_STEP_MAX
};

struct member {
        int64_t number;
        char *name;                 /* as in the archive; owned */
        struct archive_entry entry; /* its name is the one above */
        enum member_step step;
        /* What its name says, parsed once, when it was added: as in struct package_member, and the site
         * ("edx", "edge", "" where it tells none). path "": it has none. */
        char path[STAGED_PATH_SIZE], course[COURSE_SIZE], table[TABLE_SIZE], site[8];
        bool failed_at_source;
        bool linked;   /* shares its storage with an earlier snapshot's */
        bool filtered; /* not wanted any more, but published */
        unsigned tries;
        enum cause cause; /* why it was rejected, or, of one that is TAKEN, what its verdict was */
        char detail[DETAIL_SIZE];
        int64_t plain_size; /* -1: unknown */
        uint64_t rows;      /* of one that is STAGED: its line breaks */
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE];
        uint32_t checks;
};
void member_done(struct member *m);
#define _cleanup_member_ _cleanup_(member_done)
/* What the ledger has of it. */
void member_to_ledger(const struct member *m, int64_t object_id, struct ledger_member *ret);

int members_open(struct ledger *l, struct members **ret, struct error *e);
struct members *members_free(struct members *m);

/* --- from the directory --- */

struct members_rules {
        const char *top; /* the folder expected in the archive; NULL: any */
        size_t max_name;
        /* Does a filter let it through? */
        bool (*wants)(void *arg, const char *course, const char *table);
        void *arg;
};
/* Each becomes WANTED, IGNORED or REJECTED. Forgets what was added before: begins anew. */
int members_begin(struct members *m, struct error *e);
int members_add(struct members *m, const struct archive_entry *entry, const struct members_rules *rules,
        struct error *e);
/* All are there, the directory begins at end: a record that stands twice counts once, members that are in
 * each other's way are refused (folds_case: also when their paths differ in case alone), and each gets its
 * extent. 0; -EBADMSG with CAUSE_BAD_ZIP: they do not fit into the archive, or there are none; or -errno. */
int members_complete(struct members *m, uint64_t end, bool folds_case, struct error *e);
/* Writes what is in memory only: the walks by name and by path that follow need no room on the disk. */
int members_settle(struct members *m, struct error *e);
/* Adds the courses that it has, each once, failed exports left out. */
int members_courses(struct members *m, struct strv *ret, struct error *e);
/* Takes over hash, size and checks that the ledger has of members of that object, which may be staged
 * already; of ignored ones only when same_version: what is published is this very archive. Until
 * members_staged() says so they count as not staged. */
int members_take_known(struct members *m, int64_t object_id, bool same_version, struct error *e);
/* Those of which members_staged() was not called are as if the ledger had not known them. */
int members_drop_known(struct members *m, struct error *e);

struct members_sums {
        uint64_t n[MEMBER_STEP_MAX];
        uint64_t wanted_bytes, wanted_size; /* of the WANTED: in the archive, and unpacked */
        uint64_t staged_size, plain_bytes;  /* of the STAGED, before and after decryption */
        uint64_t linked_bytes;              /* of plain_bytes */
        uint64_t not_encrypted;             /* how many of the STAGED */
        uint32_t checks; /* of the STAGED: what was checked of all, what was missing of any */
};
int members_sums(struct members *m, struct members_sums *ret, struct error *e);

/* --- walks --- */

#define MEMBERS_LARGE_BYTES (32 * MIB)
/* Not 0 ends the walk and is returned. It may write the row that it is told of. */
typedef int member_fn(const struct member *m, void *arg, struct error *e);
enum members_list {
        MEMBERS_BY_NAME,     /* all but folders and doubles */
        MEMBERS_BY_PATH,     /* STAGED */
        MEMBERS_REJECTED,    /* by name */
        MEMBERS_KNOWN,       /* by members_take_known(), not STAGED yet; in no order */
        MEMBERS_LARGE,       /* STAGED with more than MEMBERS_LARGE_BYTES, in no order */
        MEMBERS_UNENCRYPTED, /* STAGED without integrity protection, by name */
        MEMBERS_LIST_MAX
};
int members_each(struct members *m, enum members_list list, member_fn *each, void *arg, struct error *e);
/* Is a STAGED one's path? 1, 0 or -errno. */
int members_has_path(struct members *m, const char *path, struct error *e);

/* What is different from the members that the ledger has of another object, by courses and tables. */
enum members_change {
        COURSES_NEW,
        COURSES_GONE,
        TABLES_NEW, /* of courses that both have */
        TABLES_GONE,
        TABLES_SHRUNK, /* to less than half */
        TABLES_EMPTY,
        MEMBERS_CHANGE_MAX
};
/* table NULL: of courses. In order. */
typedef void members_change_fn(void *arg, enum members_change change, const char *course, const char *table);
int members_compare(
        struct members *m, int64_t object_id, members_change_fn *each, void *arg, struct error *e);

/* --- runs: members_run.c --- */

struct members_run {
        int64_t id; /* chosen by the caller, another for each run */
        uint64_t offset, length;
        size_t n;
};
struct members_limits {
        size_t members;
        uint64_t bytes;
        uint64_t gap;   /* of unwanted bytes between two */
        unsigned waste; /* all gaps together: at most one part in so many */
};
/* The first wanted one and those that follow it closely become TAKEN. 1; 0: nothing is wanted; or -errno.
 * run->id is the caller's. */
int members_take_run(
        struct members *m, const struct members_limits *limits, struct members_run *run, struct error *e);
bool members_any_wanted(struct members *m);
/* The next of the run, at most n, whose offset is `from` or more, in order. How many, or -errno. The caller
 * frees each with member_done(). */
int members_batch(struct members *m, int64_t run, uint64_t from, struct member *v, size_t n, struct error *e);
/* It is staged, with plain_size, rows, sha256, checks, linked of v. */
int members_staged(struct members *m, const struct member *v, struct error *e);
/* A bad verdict, which counts once its GET is known to be good. */
int members_judged(struct members *m, int64_t number, enum cause cause, const char *detail, struct error *e);
/* The first of the run that has a bad verdict. 1, 0: none, or -errno. */
int members_next_judged(struct members *m, int64_t run, struct member *ret, struct error *e);
/* For one more reading by its run, WANTED again, or REJECTED with cause and detail of v. */
int members_leave(struct members *m, const struct member *v, struct error *e);
int members_again(struct members *m, const struct member *v, struct error *e);
int members_reject(struct members *m, const struct member *v, struct error *e);
/* What the run staged is WANTED again, as if it had not been read: each is told first. 0, or what each
 * returned.
 */
int members_undo(struct members *m, int64_t run, member_fn *each, void *arg, struct error *e);
/* The same, of all runs of which a member was REJECTED. */
int members_undo_refused(struct members *m, member_fn *each, void *arg, struct error *e);
/* No run has it, and its verdict is kept: members_next_judged() and members_release() of MEMBERS_HELD. */
#define MEMBERS_HELD 0
int members_hold(struct members *m, const struct member *v, struct error *e);
/* What the run still has is WANTED again. */
int members_release(struct members *m, int64_t run, struct error *e);
