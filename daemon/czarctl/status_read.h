/* SPDX-License-Identifier: Apache-2.0 */
/* What status tells: what the ledger counts, and what somebody should look at. */
#pragma once

#include "days.h"
#include "facts.h"
#include "key_command.h"
#include "limits.h"
#include "timespan.h"

#define STATUS_LINES 512
#define STATUS_PROBLEMS 64

struct status_line {
        char org[ORG_SIZE], site[SITE_SIZE], date[DATE_SIZE], newest[DATE_SIZE], path[STAGED_PATH_SIZE];
        enum category category;
        int64_t staged_at;
        uint64_t n[OBJECT_STATE_MAX], bytes[OBJECT_STATE_MAX];
        int64_t plain;
        uint64_t members_rejected; /* of staged snapshots */
};

struct status_problem {
        const char *what; /* for scripts */
        char text[640], fix[2 * KEY_COMMAND_SIZE];
        uint64_t n;
};

struct member_trouble {
        char org[ORG_SIZE], example[600];
        enum category category;
        enum cause cause;
        uint64_t n;
};

struct status_facts {
        struct ctl *c;
        struct facts facts;
        struct status_line *lines;
        size_t n_lines;
        struct status_problem problems[STATUS_PROBLEMS];
        size_t n_problems;
        struct member_trouble member_troubles[STATUS_PROBLEMS];
        size_t n_member_troubles;
        struct days days;
};

/* Objects of that line that are to be fetched, and their bytes. */
uint64_t status_line_due(const struct status_line *l);
uint64_t status_line_due_bytes(const struct status_line *l);

/* *ret: once it was read, else NULL. CTL_WELL, CTL_FOUND: there are problems; or another exit status after a
 * text. */
int status_read(struct ctl *c, struct status_facts **ret);
struct status_facts *status_free(struct status_facts *s);
