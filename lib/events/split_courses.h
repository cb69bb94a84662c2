/* SPDX-License-Identifier: Apache-2.0 */
/* The courses of one split: by key, with what was collected for each and what was written of it, within the
 * room that a day may take; and who stays when there are too many. */
#pragma once

#include <stdint.h>

#include "cleanup.h"
#include "error.h"
#include "split.h"

/* What a day may take of its file system, counted as that counts: every file has whole blocks, an inode and a
 * name. 20,000 courses of one line each are 1 MB of gzip and 80 MB of disk. */
struct split_room {
        uint64_t block;        /* bytes */
        uint64_t bytes, files; /* that are left */
        uint64_t files_made;
};

/* bytes, files: that may be taken below dir_fd; 0: any number. 0, or -errno with the cause in e. */
int split_room_open(struct split_room *r, int dir_fd, uint64_t bytes, uint64_t files, struct error *e);
/* A file goes from so many bytes to so many; from 0, it is a new one. 0, or -ENOSPC with the cause in e. */
int split_room_take(struct split_room *r, uint64_t before, uint64_t after, struct error *e);

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

/* Which courses stay when a day has more of them than there may be: those with the most lines, of equal ones
 * those that came first. Keys are counted in as many passes over the day as memory needs. */
struct tally;

/* stay: how many are chosen; counted: how many keys may be counted in one pass. 0 or -ENOMEM. */
int tally_new(size_t stay, size_t counted, struct tally **ret);
struct tally *tally_free(struct tally *t);

/* Before each pass over the lines; false: no more are needed, tally_stays() may be asked. */
bool tally_pass(struct tally *t);
/* The course of line `line`. */
int tally_line(struct tally *t, const struct course_key *key, uint64_t line);
/* Is it one of those that stay? 1, 0 or -ENOMEM. */
int tally_stays(const struct tally *t, const struct course_key *key);
/* How many do not. */
uint64_t tally_left_out(const struct tally *t);
