/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: typed, validated, immutable once read. czard.ini(5) is the contract; config_table.c is
 * its table as data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "package.h"
#include "str.h"
#include "terms.h"

enum addressing { ADDRESSING_AUTO, ADDRESSING_PATH, ADDRESSING_VIRTUAL };
enum events_format { EVENTS_GZIP, EVENTS_PLAIN };
enum device_policy { DEVICE_WARN, DEVICE_REQUIRE, DEVICE_IGNORE };
enum incomplete_policy { INCOMPLETE_PUBLISH, INCOMPLETE_HOLD };
enum delivery_mode { DELIVERY_FOLLOW, DELIVERY_ONCE };

#define CONFIG_ALL UINT64_MAX /* keep_*: "all" */
#define CONFIG_AUTO 0         /* workers: "auto" */

struct config_s3 {
        char *endpoint; /* NULL: AWS; else scheme://host[:port] without a path */
        char *region;
        enum addressing addressing; /* never AUTO once read */
        char *credentials;          /* path or NULL */
        uint64_t max_transfers;
        uint64_t bandwidth_limit; /* bytes a second, 0 = none */
        char *ca_file, *proxy;    /* NULL: none */
        bool allow_http;
        uint64_t stall_timeout_usec;
};

struct config_openpgp {
        char *homedir, *passphrase_file; /* homedir never NULL; passphrase_file may be */
        enum signature_policy signatures;
        struct strv signers; /* fingerprints, upper-case hex */
        enum pgp_engine engine;
};

struct config_groups {
        char *all, *category[CATEGORY_MAX]; /* group names, NULL: none given */
        char *by_course;                    /* of events by course; of a package: resolved, too */
};

struct config_staging {
        char *path;
        struct config_groups groups;
        mode_t file_mode, dir_mode;
        uint64_t min_free;
        enum events_format events_format;
        enum device_policy encrypted_device;
        uint64_t keep_snapshots;                     /* count or CONFIG_ALL */
        uint64_t keep_days_usec, keep_replaced_usec; /* or CONFIG_ALL */
        bool deduplicate;
        enum incomplete_policy incomplete_snapshots;
};

struct config_limits {
        uint64_t max_plaintext, max_ratio, max_members, max_name;
        uint64_t max_listed; /* objects of a listing */
        uint64_t max_growth; /* bytes of the ledger, by what a poll lists anew */
};

struct config_package {
        char *name; /* as in [package NAME] */
        struct package_spec spec;
        struct strv courses, tables; /* patterns as written, "!glob" excludes; empty means all */
        enum event_rule events_by_course;
        int since; /* days since the epoch, INT_MIN: none */
        /* Resolved: the package's own or the general one. */
        char *credentials, *homedir;
        char *passphrase_file; /* NULL: none */
        bool own_passphrase; /* said in this section: the credential czard.passphrase does not take its place
                              */
        struct config_groups groups;
};

/* From and to, both inclusive; days since the epoch, INT_MIN and INT_MAX: open. */
struct config_dates {
        int from, to;
};

struct config_delivery {
        char *name; /* as in [deliver NAME] */
        char *org;  /* that of a package */
        char *purpose;
        int until;              /* days since the epoch: from then on nothing is delivered */
        struct strv recipients; /* fingerprints of primary keys, upper-case hex */
        struct strv courses;    /* patterns or full keys */
        struct strv tables;     /* patterns; "events" is one of them only by its name */
        struct config_dates dates;
        enum delivery_mode mode;
        char *path, *group; /* the outbox; group NULL: none */
        uint64_t keep_usec; /* of ciphertext in the outbox, or CONFIG_ALL */
};

struct config {
        uint64_t poll_interval_usec, full_list_interval_usec;
        char *state_dir, *socket; /* socket NULL: runtime directory + "/control" */
        uint64_t state_min_free;  /* of the file system of state_dir */
        unsigned workers;         /* CONFIG_AUTO or a number */
        int log_level;            /* LOG_ERR ... LOG_DEBUG of syslog.h */
        struct config_s3 s3;
        struct config_openpgp openpgp;
        struct config_staging staging;
        struct config_limits limits;
        struct config_package *packages;
        size_t n_packages;
        struct config_delivery *deliveries;
        size_t n_deliveries;
        char *path;           /* the file that was read */
        char sha256[65];      /* of all files read, in order, each with its name: for the audit */
        struct strv warnings; /* not errors: what an admin should know, each with file:line */
};

/* Reads path and then path's drop-ins PATH.d/ *.ini in byte order of their names. Reads these files only: no
 * other disk, network, user data base or privilege. 0, or -EINVAL/-errno with e->text "FILE:LINE: KEY: what
 * is wrong; what was expected (did you mean ...?)". All errors of a file are found at once when more is not
 * NULL: the first in e, the others added to more. */
int config_load(const char *path, struct config **ret, struct error *e, struct strv *more);
struct config *config_free(struct config *c);
DEFINE_CLEANUP(struct config, config, config_free)

/* NULL when the two differ only in keys that reload takes over, else the first "section.key" that needs a
 * restart (static storage). */
const char *config_needs_restart(const struct config *old, const struct config *new);

/* The group name for the files of that package and category: category's own, else package's, else staging's,
 * else NULL. */
const char *config_group(const struct config_package *p, enum category category);

/* The package section of that organisation, or NULL. */
const struct config_package *config_find_package(const struct config *c, const char *org);
/* How the events of that organisation are split by course; of one without a section they are not. */
enum event_rule config_event_rule(const struct config *c, const char *org);

/* Does the package want this course and this table? Patterns by fnmatch(3), case-sensitive; a list of only
 * "!glob" entries means all but these. */
bool config_wants_course(const struct config_package *p, const char *course);
bool config_wants_table(const struct config_package *p, const char *table);

/* Does the delivery hand out this table of a course? Tables with names of people, and events, only where they
 * are listed by their names. */
bool config_delivers_table(const struct config_delivery *d, const char *table);
/* The delivery of that name, or NULL. */
const struct config_delivery *config_find_delivery(const struct config *c, const char *name);
/* "study, other", or "none". */
void config_name_deliveries(const struct config *c, struct strbuf *ret);

#define CONFIG_DEFAULT_PATH "/etc/czard/czard.ini"
