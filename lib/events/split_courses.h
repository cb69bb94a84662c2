/* SPDX-License-Identifier: Apache-2.0 */
/* The courses of one split: by key, with what was collected for each and what was written of it. */
#pragma once

#include "cleanup.h"
#include "split.h"
#include "split_room.h"

struct split_course {
        struct course_key key;
        uint64_t lines, bytes, size;                           /* size: of its file so far */
        uint8_t sha256[SHA256_SIZE], file_sha256[SHA256_SIZE]; /* once split_courses_end() was called */
        char file[SPLIT_FILE_MAX];                             /* and its name */
        /* of split_courses.c */
        struct digest *digest, *file_digest;
        uint64_t hash;
        uint32_t first, last; /* its blocks; 0: none */
        uint32_t waiting;     /* bytes in them */
        uint32_t number;      /* its file's name while it is written */
};

struct split_courses;

/* memory: bytes that may be collected. room: borrowed. 0 or -ENOMEM. */
int split_courses_new(int dir_fd, size_t memory, struct split_room *room, struct split_courses **ret);
struct split_courses *split_courses_free(struct split_courses *c);
DEFINE_CLEANUP(struct split_courses, split_courses, split_courses_free)

size_t split_courses_count(const struct split_courses *c);
/* The course of that key, or NULL. Good until the next split_courses_add(). */
struct split_course *split_courses_find(struct split_courses *c, const struct course_key *key);
/* One that is not there yet. 0 or -ENOMEM. */
int split_courses_add(struct split_courses *c, const struct course_key *key, struct split_course **ret);
/* n bytes more for it. 0, or -errno with the cause in e. */
int split_courses_write(
        struct split_courses *c, struct split_course *course, const char *p, size_t n, struct error *e);
/* Removes the files that were written so far. 0, or -errno with the cause in e. */
int split_courses_remove(struct split_courses *c, struct error *e);
/* No more comes: writes what was collected, gives the files their names. *ret: all of them by names of their
 * files. 0, or -errno with the cause in e. */
int split_courses_end(struct split_courses *c, struct split_course **ret, size_t *ret_n, struct error *e);
