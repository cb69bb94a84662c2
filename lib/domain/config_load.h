/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the configuration: what config_read.c and config_check.c (what fits together) share. */
#pragma once

#include <stddef.h>

#include "config.h"
#include "config_table.h"
#include "limits.h"

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
void loader_warning(struct loader *l, struct origin at, const char *section, const char *key,
        const char *format, ...) _printf_(5, 6);

/* Fills in what follows from other keys, and complains about what does not fit together. */
void loader_check(struct loader *l);
