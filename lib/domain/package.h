/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of the edX data package: object keys and zip member names to what they are and where they are
 * staged. Strict about neighbours, tolerant about what may grow. Source: the edX research guide, "Data
 * package". */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"

enum category { CATEGORY_EVENTS, CATEGORY_DATABASE, CATEGORY_EMAIL_OPT_IN, CATEGORY_RDX, CATEGORY_MAX };

/* "events" "database" "email-opt-in" "rdx" */
const char *category_name(enum category c);
/* The category of that name or CATEGORY_MAX. */
enum category category_from_name(const char *s);

/* s3://bucket/prefix; prefix "" or without a leading slash. */
struct s3_location {
        char *bucket, *prefix;
};
int s3_location_parse(const char *url, struct s3_location *ret, struct error *e);
void s3_location_done(struct s3_location *l);

/* What a package section says about where its objects are. */
struct package_spec {
        char *org;                           /* lower case */
        struct strv sites;                   /* edx edge ... */
        unsigned categories;                 /* BIT(CATEGORY_...) of the chosen ones */
        struct s3_location at[CATEGORY_MAX]; /* bucket NULL when not given */
};

/* One listing that a poll has to make. The key of every object of that category (and site, and year) begins
 * with prefix. Prefixes are derived from the configured one: where its last components are already the first
 * ones of the grammar ("s3://b/org/", "s3://b/org/edx/events", "s3://b/email-opt-in"), they are not repeated.
 */
struct package_prefix {
        enum category category;
        const char *site;   /* events only, else NULL; borrowed from spec */
        const char *bucket; /* borrowed from spec */
        char *prefix;       /* owned */
};
/* All listings of the spec, without the year for events. The caller frees with package_prefixes_free(). */
int package_prefixes(const struct package_spec *spec, struct package_prefix **ret, size_t *ret_n);
void package_prefixes_free(struct package_prefix *p, size_t n);

/* Exactly what czar's policy allows to read for this spec: is this key below one of the listings? czard-fetch
 * asks. */
bool package_may_read(const struct package_spec *spec, const char *bucket, const char *key);

/* Does the location of that category make sense for the spec? 0; -EINVAL: no object can be there, e says why;
 * -EEXIST: it names a site while sites has others, worth a warning. */
int package_location_check(const struct package_spec *spec, enum category c, struct error *e);

/* What one key is. */
struct package_item {
        enum category category;
        char site[SITE_SIZE];       /* events only, else "" */
        char date[DATE_SIZE];       /* YYYY-MM-DD verbatim; "" for rdx */
        char request[REQUEST_SIZE]; /* rdx only */
        bool legacy;                /* {date}-{org}-tracking.tar: IGNORED */
        bool is_zip;                /* an archive with members */
        /* Relative to the staging root: the file, or for an archive its folder. With events_format=gzip. */
        char path[STAGED_PATH_SIZE];
};

/* 0: ours. -ENOENT: a neighbour's or none of ours. -EBADMSG: ours by its name but unsafe (cause and text say
 * why). */
int package_parse_key(const struct package_spec *spec, const char *bucket, const char *key,
        struct package_item *ret, struct error *e);

/* --- member.c: what one member of a snapshot is. Strings are copies. --- */
struct package_member {
        char path[STAGED_PATH_SIZE]; /* below the snapshot's folder: without "{org}-{date}/" and without
                                        ".gpg" */
        char course[COURSE_SIZE]; /* "{Org}-{course}-{run}[-ccx-id]", "" when organisation-wide or unknown */
        char table[TABLE_SIZE];   /* "auth_user", "ora/assessment_peerworkflow", "forum", "course",
                                   * "course_structure",   the extension-less rest when unknown */
        char env[32];             /* "prod", "edge", "prod-edge"; "" when unknown */
        bool failed;              /* ".failed.gpg": the export failed at edX */
        bool encrypted;           /* had ".gpg" */
};
/* top: the folder "{org}-{date}" expected as the first component, or NULL for an opt-in archive (any one
 * folder, or none, is cut). max_name: bytes of one component. Refuses (-EBADMSG, CAUSE_UNSAFE_NAME or
 * CAUSE_LIMIT) absolute names, "." and "..", empty components, backslashes, NUL and control characters, bytes
 * that are not UTF-8, hidden components (leading dot) and the names SHA256SUMS, MANIFEST.jsonl, REJECTED and
 * latest at the top. Unknown tables and extensions pass. A folder entry (trailing slash) gives -EISDIR. */
int package_parse_member(
        const char *top, const char *name, size_t max_name, struct package_member *ret, struct error *e);
