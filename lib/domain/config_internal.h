/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the configuration. Only config*.c and the tests look in here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "limits.h"

/* --- config_table.c: its table as data --- */

/* In this order: types of one kind follow each other. */
enum config_type {
        /* char * */
        CONFIG_PATH,
        CONFIG_GROUP_NAME,
        CONFIG_REGION,
        CONFIG_ORG,
        CONFIG_ENDPOINT,
        CONFIG_PROXY,
        CONFIG_TEXT,
        /* uint64_t, between min and max */
        CONFIG_SPAN,
        CONFIG_SPAN_OR_ALL,
        CONFIG_SIZE,
        CONFIG_NUMBER,
        CONFIG_NUMBER_OR_ALL,
        CONFIG_DAYS_OR_ALL,
        /* unsigned */
        CONFIG_WORKERS,
        CONFIG_CATEGORIES,
        /* int or an enum */
        CONFIG_CHOICE,
        CONFIG_SINCE,
        /* bool, mode_t */
        CONFIG_BOOL,
        CONFIG_FILE_MODE,
        CONFIG_DIR_MODE,
        /* struct strv */
        CONFIG_SITES,
        CONFIG_PATTERNS,
        CONFIG_DELIVERED_COURSES,
        CONFIG_DELIVERED_TABLES,
        CONFIG_FINGERPRINTS,
        /* struct s3_location */
        CONFIG_LOCATION,
        /* struct config_dates */
        CONFIG_DATES,
};

struct config_choice {
        const char *name; /* NULL ends the list */
        int value;
};

/* One row. offset is into struct config, for [package NAME] into struct config_package,
 * for [deliver NAME] into struct config_delivery. */
struct config_key {
        const char *section, *name, *full; /* full: "section.name" */
        size_t offset;
        enum config_type type;
        const char *def;   /* as text; "" means none, then an empty value is allowed as well */
        bool reload;       /* column R */
        uint64_t min, max; /* of a number; of a path: bytes at most, 0: PATH_MAX */
        const struct config_choice *choices;
        const char *expected; /* after "expected "; NULL: what the type says */
};

#define CONFIG_PACKAGE_SECTION "package"
#define CONFIG_DELIVER_SECTION "deliver"

extern const struct config_key config_keys[];
extern const size_t config_n_keys;

/* The row, or NULL. section: as a row or as a file has it, "package" or "package NAME"; likewise below. */
const struct config_key *config_find_key(const char *section, const char *name);
bool config_is_section(const char *section);
/* Is there one of it for each NAME? */
bool config_is_named(const char *section);
/* The nearest known name as a person should write it ("endpoint", "[s3] endpoint"), or NULL. Static storage.
 */
const char *config_nearest_key(const char *section, const char *name, char *ret, size_t size);
const char *config_nearest_section(const char *section);

/* Is it a list, which may go on in indented lines? */
bool config_is_list(const struct config_key *k);

/* --- config_value.c: what a value may be --- */

/* Reads text into the field at base + offset, replacing what is there; untouched on failure. 0, -ENOMEM, or
 * -EINVAL and e->text "what is wrong; expected ..." without any value that may be a secret. */
int config_value_set(const struct config_key *k, void *base, const char *text, struct error *e);
void config_value_free(const struct config_key *k, void *base);
bool config_value_equal(const struct config_key *k, const void *a, const void *b);
/* NULL is the same as NULL only. */
static inline bool config_same_text(const char *a, const char *b)
{
        return a && b ? streq(a, b) : a == b;
}

/* --- a configuration that is being read, and what is said of it --- */

/* Where something stands. line 0: nowhere. */
struct origin {
        size_t file; /* index into loader.files */
        unsigned line;
};

/* What was read into struct config (GENERAL, all its sections), into package i (i + 1), or into delivery i
 * (DELIVERY(i)). */
struct scope {
        struct origin at; /* the first [package NAME] line */
        struct {
                struct origin at;      /* the key's last line */
                struct origin section; /* its section's first line */
                bool bad;              /* the value was refused, and said so */
        } * keys;                      /* by row of the table */
};
#define GENERAL ((size_t)0)
#define DELIVERY(i) ((size_t)1 + LIMIT_CONFIG_PACKAGES + (i))
#define SCOPES DELIVERY(LIMIT_CONFIG_DELIVERIES)
#define NO_SCOPE SIZE_MAX

struct loader {
        struct config *config;
        struct strv files;
        size_t file;                 /* being read */
        struct scope scopes[SCOPES]; /* keys NULL: there is none */
        struct error *e;
        struct strv *more; /* may be NULL */
        size_t n_errors;
        int result; /* 0, -EINVAL once there is an error, -ENOMEM */
};

/* "FILE:LINE: [section] key: ..."; section and key may be "". */
void loader_error(struct loader *l, struct origin at, const char *section, const char *key,
        const char *format, ...) _printf_(5, 6);
/* The same of a key of that scope: its line, else its section's. */
void config_error(struct loader *l, size_t scope, const char *section, const char *key, const char *format,
        ...) _printf_(5, 6);
void config_warning(struct loader *l, size_t scope, const char *section, const char *key, const char *format,
        ...) _printf_(5, 6);
/* Was its value refused, so that nothing more needs to be said? */
bool config_is_refused(const struct loader *l, size_t scope, const char *section, const char *key);

/* --- config_check.c --- */

/* Fills in what follows from other keys, and complains about what does not fit together. */
void loader_check(struct loader *l);
