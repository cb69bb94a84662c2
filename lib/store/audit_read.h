/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the audit record: its lines, and what one says of its place in the chain. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "digest.h"
#include "error.h"

#define AUDIT_FILE "audit.jsonl"
#define AUDIT_ARCHIVED "audit-" /* what the name of a file that was moved away begins with */
#define AUDIT_LINE_MAX                                                                                       \
        65536 /* bytes: a key, a member and a path with every byte escaped need a third of it */

/* Was the file of that name moved away? */
bool audit_is_archived(const char *name);

/* One line's place in the chain. */
struct audit_tail {
        uint64_t seq; /* its number, 0: there is none */
        char head[SHA256_HEX];
};

struct audit_seal {
        uint64_t seq;
        char prev[SHA256_HEX]; /* what the line says of the one before */
        char own[SHA256_HEX];  /* its own hash */
};
/* Strict: exactly as audit_append() writes. 0 or -EBADMSG, -ENOMEM. */
int audit_seal_read(const char *line, size_t len, struct audit_seal *ret);

/* Walks the whole record. head: NULL, or a hash that some line must have (then lines after it are fine).
 * known: NULL, or what the ledger remembers, read before this. 0: the chain holds, *ret_lines is the number
 * of its last line. -EBADMSG: e says at which line it breaks, that head was not found, or what was cut off.
 */
int audit_verify(
        int dir_fd, const char *head, const struct audit_tail *known, uint64_t *ret_lines, struct error *e);

/* Calls each for every whole line in order, also of the files that were moved to audit-*.jsonl, counted from
 * 1; a non-zero return ends the walk and is returned. The line is NUL-terminated without its newline. */
typedef int audit_line_fn(const char *line, size_t len, uint64_t number, void *arg);
int audit_each(int dir_fd, audit_line_fn *each, void *arg, struct error *e);

/* The lines from the one after *seq to `until`, each with its number; *seq becomes that of the last one.
 * *offset: 0, or what the last call left there, which saves looking for the place. */
int audit_each_after(int dir_fd, uint64_t *seq, uint64_t until, off_t *offset, audit_line_fn *each, void *arg,
        struct error *e);

/* The value of one member of a line, a string without its escapes or a number as it stands, into ret. 0,
 * -ENOENT (not in the line), -EBADMSG (no flat JSON object) or -ENOBUFS. */
int audit_field(const char *line, size_t len, const char *name, char *ret, size_t size);

/* A line that is taken apart field by field: what does not fit or cannot be read is told by `bad`, once. */
struct audit_line {
        const char *p;
        size_t len;
        bool bad;
};
/* False and "": the field is not there, or bad. */
bool audit_text(struct audit_line *l, const char *name, char *ret, size_t size);
/* Not negative; `absent` where there is none. */
int64_t audit_number(struct audit_line *l, const char *name, int64_t absent);
/* False and zeros: there is none. */
bool audit_sha256(struct audit_line *l, const char *name, uint8_t ret[SHA256_SIZE]);
/* The number of a line of the record, or of a feed; 0: it has none. */
uint64_t audit_seq(const char *line, size_t len);

/* Files of lines whose numbers only grow: the record, and the feed. *ret: where a line begins that is not
 * behind the one after number `after`, and so near to it that the rest may as well be read: n bytes, the size
 * of buf. Where two lines are longer than a quarter of that it gives up early. 0 or -errno. */
int audit_seek(int fd, char *buf, size_t n, uint64_t after, off_t *ret);
