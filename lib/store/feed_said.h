/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the feed: a line of the audit record, taken apart. */
#pragma once

#include "audit_read.h"
#include "feed_file.h"
#include "limits.h"
#include "timespan.h"

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
