/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the configuration: its table as data (config_table.c) and what a value may be (config_value.c). Only
 * config*.c and the tests look in here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

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

/* The row, or NULL. */
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

/* Reads text into the field at base + offset, replacing what is there; untouched on failure. 0, -ENOMEM, or
 * -EINVAL and e->text "what is wrong; expected ..." without any value that may be a secret. */
int config_value_set(const struct config_key *k, void *base, const char *text, struct error *e);
void config_value_free(const struct config_key *k, void *base);
bool config_value_equal(const struct config_key *k, const void *a, const void *b);
