/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the feed: one organisation's file, ORG/CHANGES.jsonl. Lines are appended to the file of one
 * organisation at a time; what the file has already is not written again, and what is wrong with the file is
 * mended, or said by `lost`: then it must be made again. Only feed*.c include this. */
#pragma once

#include "ledger.h"
#include "ledger_internal.h"
#include "limits.h"
#include "staging.h"
#include "str.h"

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

/* feed.c: each line that the audit record gives, in order, with nothing written. */
int feed_replay(int state_fd, feed_line_fn *each, void *arg, struct error *e);

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
