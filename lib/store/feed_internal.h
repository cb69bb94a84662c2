/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the feed. Only feed*.c include this. */
#pragma once

#include "audit_read.h"
#include "ledger.h"
#include "ledger_internal.h"
#include "limits.h"
#include "staging.h"
#include "str.h"
#include "timespan.h"

/* --- feed_file.c: one organisation's file, ORG/CHANGES.jsonl. Lines are appended to the file of one
 * organisation at a time; what the file has already is not written again, and what is wrong with the file is
 * mended, or said by `lost`: then it must be made again. --- */

/* One line of the feed; NULL and -1: null. */
struct change {
        const char *op, *path, *category, *site, *date, *course, *table, *etag, *reason, *base;
        bool has_base; /* the key is there, if only as null */
        const uint8_t *sha256, *was;
        int64_t size;
        const char *time;
};

/* A line, with its line break. 0 or -errno. */
typedef int feed_line_fn(const char *org, const char *line, size_t len, uint64_t seq, void *arg);

struct feed_file {
        struct ledger *l;
        struct staging *s;
        struct error *e; /* of the call */
        bool remaking;   /* lines go to a hidden file that will take the place of the one that was lost */
        /* not NULL: lines go there, and no file is touched */
        feed_line_fn *instead;
        void *arg;
        bool lost; /* it is not there, or ends before what the tables say */
        /* the organisation whose file is open; "" none */
        char org[ORG_SIZE];
        int fd;
        uint64_t seq;      /* of its last line, as the tables have it */
        uint64_t file_seq; /* of its last line, as the file has it */
        struct strbuf out; /* lines to be written */
        bool unsynced;
};

/* Adds the next line of org. 0 or -errno. */
int feed_file_add(struct feed_file *f, const char *org, const struct change *c);
/* The same with a line that was told before, without its line break: it gets the next number. */
int feed_file_add_told(struct feed_file *f, const char *org, const char *line);
/* Makes durable what was added, notes the number of the last line, and closes the file. */
int feed_file_leave(struct feed_file *f);
/* Forgets what was added since the last feed_file_leave(). */
void feed_file_forget(struct feed_file *f);

/* The number of the last line of org, as the tables have it; 0: none. */
int feed_file_known(struct feed_file *f, const char *org, uint64_t *ret);
/* The number of the last whole line in the file; 0: none, or there is no file, or it is none of ours. */
int feed_file_end(struct feed_file *f, const char *org, uint64_t *ret);
/* Is there a file of ours, and does its first line speak of that organisation? A copy of an organisation's
 * folder, or the folder under another name, is somebody's. */
bool feed_file_is_of(struct feed_file *f, const char *org);
/* The one that was made again, with seq lines, takes the place of the file, unless that has as many. */
int feed_file_put(struct feed_file *f, const char *org, uint64_t seq);
int feed_file_remove_remade(struct feed_file *f, const char *org);
/* The file loses its name. */
int feed_file_set_aside(struct feed_file *f, const char *org);

/* --- feed_snapshot.c: a line of the audit record, taken apart --- */

#define VALUE_SIZE 4200

/* The object of a line. */
struct feed_said {
        char bucket[BUCKET_SIZE], key[KEY_SIZE], org[ORG_SIZE], site[SITE_SIZE], date[DATE_SIZE],
                etag[ETAG_SIZE], path[STAGED_PATH_SIZE], category[CATEGORY_SIZE], time[32],
                reason[VALUE_SIZE];
        enum category c;
        bool is_archive;
        uint8_t sha256[SHA256_SIZE];
        bool has_sha256, has_latest, has_manifest;
        char latest[DATE_SIZE]; /* what `latest` named before */
        int64_t size;
};

/* False: it speaks of no object. */
bool said_read(struct audit_line *l, struct feed_said *s);
/* A line of the feed about it, with the words of s, which must live as long. */
struct change said_change(const struct feed_said *s, const char *op);

/* --- and what a snapshot says. Of its members only what differs from the one that it is compared with: the
 * one that `latest` named; where none is staged that it named, the one that was told last. --- */

struct feed_snapshot {
        struct feed_file *file; /* borrowed, as state_fd */
        int state_fd;
        /* the archive whose members are being told */
        uint64_t first; /* number of the first member's line; 0: none is being told */
        bool rejected;
};

/* The members that were told so far are of no archive. */
int feed_snapshot_forget(struct feed_snapshot *f);
/* "member", or "member-rejected", of an archive that is to come. */
int feed_snapshot_member(struct feed_snapshot *f, struct audit_line *l, uint64_t number, bool rejected);
/* These were its members: the archive is staged. */
int feed_snapshot_say(struct feed_snapshot *f, const struct feed_said *o, uint64_t number);
/* It is not staged any more, or nobody knows its members. */
int feed_snapshot_drop(struct feed_snapshot *f, const struct feed_said *o);
/* `latest` was pinned to that date, "": it is not any more. */
int feed_snapshot_pin(struct feed_snapshot *f, const struct feed_said *o);

/* --- feed_event.c: what one line of the audit record says to the feed --- */

/* One line of the audit record, in order; number is its own. 0 or -errno. */
int feed_event_line(struct feed_snapshot *f, const char *line, size_t len, uint64_t number);
