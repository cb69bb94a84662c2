/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the feed: a line of the audit record, taken apart. */
#pragma once

#include "feed_file.h"
#include "limits.h"

#define VALUE_SIZE 4200

struct feed_line {
        const char *p;
        size_t len;
};

/* The value of a field; false and "" when it is not there. */
bool line_field(const struct feed_line *l, const char *name, char *ret, size_t size);
bool line_sha256(const struct feed_line *l, uint8_t ret[SHA256_SIZE]);
/* -1: none. */
int64_t line_size(const struct feed_line *l);

/* The object of a line. */
struct feed_said {
        char bucket[BUCKET_SIZE], key[KEY_SIZE], org[64], site[64], date[11], etag[ETAG_SIZE],
                path[STAGED_PATH_SIZE], category[32], time[32], reason[VALUE_SIZE];
        enum category c;
        bool is_archive;
        uint8_t sha256[SHA256_SIZE];
        bool has_sha256, has_latest, has_manifest;
        char latest[11]; /* what `latest` named before */
        int64_t size;
};

/* False: it speaks of no object. */
bool said_read(const struct feed_line *l, struct feed_said *s);
/* A line of the feed about it, with the words of s, which must live as long. */
struct change said_change(const struct feed_said *s, const char *op);
