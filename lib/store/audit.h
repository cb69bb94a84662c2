/* SPDX-License-Identifier: Apache-2.0 */
/* state_dir/audit.jsonl: append-only, one JSON object a line, each with the SHA-256 of the line before
 * (without its newline; 64 zeros for the first). It is never rebuilt. A file that was moved to audit-*.jsonl
 * beside it is continued: numbers and hashes go on. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "audit_read.h"

struct audit;

/* What one line says. NULL and -1 mean "does not apply". */
struct audit_entry {
        const char *event; /* "start" "stop" "published" "replaced" "rejected" "member" "forgotten" "pruned"
                            * "missing" "admin" ... */
        const char *bucket, *key, *etag, *member;
        const uint8_t *sha256; /* SHA256_SIZE bytes */
        int64_t size;          /* plaintext bytes, -1: none */
        int64_t mtime;         /* Last-Modified of the object, seconds, -1: none */
        const char *path;      /* relative to the staging root */
        const char *group, *fingerprint, *cause, *config_sha256, *reason, *category, *org, *site, *date;
        int64_t uid; /* of the admin who asked, -1: none */
        /* What a lost ledger could not be rebuilt without. */
        const char *staging_id;  /* of the volume: "start", "adopt" */
        uint64_t object_size;    /* in S3, or in the archive; 0: does not apply */
        uint32_t checks;         /* CHECK_... bits of ledger.h; 0: none */
        uint64_t left_out;       /* members of an archive that a filter left out */
        const uint8_t *manifest; /* of the MANIFEST.jsonl of an archive, or of a day by course */
        const char *latest;      /* the date that `latest` named before an archive was published, "": none */
        /* Of czard-deliver's own record (lib/delivery/delivery_record.h). */
        const char *delivery, *purpose, *until, *recipients, *course, *inputs, *supersedes;
};

/* Opens or creates the file (0640) in dir_fd, and reads sequence and head. What a crash left at its end is
 * passed over, and cut off by the first append. 0 or -errno. */
int audit_open(int dir_fd, struct audit **ret, struct error *e);
/* The last line. */
void audit_tail(const struct audit *a, struct audit_tail *ret);
/* Before the first append: is the line that the ledger remembers (seq 0: none) still there? -EBADMSG and a
 * text: lines at the end were cut off, or the record was written anew. */
int audit_check_tail(struct audit *a, const struct audit_tail *known, struct error *e);
/* Appends one line (time and sequence are added). Not durable before audit_sync(). After an error nothing of
 * the line stays in the file. 0 or -errno. */
int audit_append(struct audit *a, const struct audit_entry *entry, struct error *e);
/* Where the record stands, and back to there: what was appended since is no more, unless it was made durable
 * in between. */
struct audit_mark {
        off_t size;
        struct audit_tail tail;
        bool synced;
};
struct audit_mark audit_mark(const struct audit *a);
void audit_take_back(struct audit *a, const struct audit_mark *mark);
/* Is there room for some lines more? 0 or -errno. */
int audit_probe(struct audit *a, struct error *e);
/* fdatasync, unless nothing was appended since the last one. 0 or -errno. */
int audit_sync(struct audit *a, struct error *e);
/* Hex SHA-256 of the last line. Valid until the next append. */
const char *audit_head(const struct audit *a);
/* Of the last line that no crash takes back, "" as long as there is none: CZARD_AUDIT_HEAD. The address stays
 * the same as long as a lives, audit_sync() changes what stands there. */
const char *audit_durable_head(const struct audit *a);
struct audit *audit_free(struct audit *a);
