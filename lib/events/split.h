/* SPDX-License-Identifier: Apache-2.0 */
/* The events of one day, split by course: a folder with one file of gzip for each course, SHA256SUMS and
 * MANIFEST.jsonl. Any number of courses with one open file at a time and as much memory as is given here:
 * what goes to a course is collected and appended to its file as a member of gzip of its own when there is
 * much of it, or when memory is full. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "error.h"
#include "event.h"

#define SPLIT_COURSES_MAX 20000      /* learners can invent courses */
#define SPLIT_MEMORY_MAX (64 * MIB)  /* bytes of lines that are not yet written */
#define SPLIT_COUNTED_MAX (1U << 19) /* keys that are counted at once where there are too many courses */
#define SPLIT_FILE_ENDING ".log.gz"
#define SPLIT_FILE_MAX                                                                                       \
        (COURSE_NAME_MAX + 17 + sizeof(SPLIT_FILE_ENDING)) /* bytes of a file's name, with NUL */
#define SPLIT_SUMS "SHA256SUMS"
#define SPLIT_MANIFEST "MANIFEST.jsonl"

struct split_options {
        enum event_rule rule;
        bool gzip;                 /* the source is gzip, else plain */
        uint64_t room, room_files; /* that it may take of the file system: bytes, files; 0: any number */
        size_t memory, courses_max, counted_max;    /* 0: the bounds above; smaller ones are for tests */
        void (*on_read)(void *arg, uint64_t bytes); /* of the source; may be NULL */
        /* Every file that was made, at the end, in the order of their names. 0, or -errno with the cause in
         * e. */
        int (*on_file)(void *arg, const char *name, uint64_t size, struct error *e);
        void *arg;
};

/* What became of the lines. lines_in is the sum of the others; split_events() fails when it is not. */
struct split_totals {
        uint64_t lines_in, lines_of_courses, no_course, invalid, unparsed;
        uint64_t courses, files_size; /* files_size: of all files together */
        uint64_t courses_left_out;    /* more than there may be; their lines are invalid */
        uint8_t source_sha256[SHA256_SIZE], sums_sha256[SHA256_SIZE];
};

/* Splits the file source_fd into the empty folder dir_fd. 0, or -errno with the cause in e; then the folder
 * is of no use. Nothing is made durable. CAUSE_SPACE: also when it takes more than its room. */
int split_events(int source_fd, int dir_fd, const struct split_options *options, struct split_totals *ret,
        struct error *e);
