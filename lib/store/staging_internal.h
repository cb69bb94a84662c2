/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the staging directory: the steps that staging*.c and snapshot_*.c are made of. staging_folder.c has
 * those that need no more than this. Nothing else includes it but feed*.c, the tests, and
 * czarctl check, which asks whom a folder lets through. */
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "error.h"

struct staging_attr;

struct staging {
        char *path;
        int root_fd;
        mode_t file_mode, dir_mode;
        bool leases; /* staging_try_leases() found that they work */
};

#define STAGING_DEPTH 32                  /* folders below the root that a walk goes down */
#define STAGING_ID_FILE_UPPER ".CZARD-ID" /* the same file where the file system folds case */

/* A hidden name of our own, new each time, for what has no name yet or none any more. */
#define STAGING_HIDDEN ".czard-tmp-"
#define STAGING_HIDDEN_SIZE 32
int staging_hidden_name(char ret[STAGING_HIDDEN_SIZE]);
/* Is it such a name, or one that fsx.h makes (".NAME.czard-tmp-*")? */
bool staging_is_hidden(const char *name);

/* Fills e with "path: what: why" and returns -err. */
int staging_fail(int err, const char *what, const char *path, struct error *e);

/* Relative, no empty part, no "." or "..", no control characters, no part over 255 bytes. 0 or -EINVAL. */
int staging_check_path(const char *path, struct error *e);
/* The part after the last slash. */
const char *staging_base_name(const char *path);

bool staging_is_ours(const struct stat *st); /* or root's */
/* Is it a folder, and root's or ours? What another user planted is never used. 0 or -EPERM, -ENOTDIR. */
int staging_check_dir(int fd, const char *path, struct error *e);
/* Opens the folder path ("" is at_fd itself), every part of it checked. With make, missing parts are made
 * with dir_mode and gid. A descriptor or -errno; e is not set for -ENOENT without make. */
int staging_open_dir(
        const struct staging *s, int at_fd, const char *path, bool make, gid_t gid, struct error *e);
/* Whoever may pass the folder may read the file: its access list is made from the folder's. */
int staging_let_read(int fd, int dir_fd);
/* Makes the folder `part`, whole before it has its name; these groups get through, too. Its descriptor,
 * -EEXIST or -errno. */
int staging_make_part(
        const struct staging *s, int at_fd, const char *part, gid_t gid, const gid_t *through, size_t n);
/* The folder that path is in. */
int staging_open_parent(
        const struct staging *s, int at_fd, const char *path, bool make, gid_t gid, struct error *e);

/* What has the name in dir_fd goes to keep_as (relative to dir_fd, folders made; gid -1: of its own group),
 * in place of what was kept under that name before, which is older; keep_as "" or NULL: it is removed. */
int staging_move_aside(const struct staging *s, int dir_fd, const char *name, const char *keep_as, gid_t gid,
        struct error *e);
/* Removes whatever has that name, links never followed, folders with all below. 0, also when there is none.
 */
int staging_remove_at(int dir_fd, const char *name, struct error *e);
/* Do mode and access list of that folder let the group's members through? */
bool staging_lets_through(int fd, gid_t gid);

/* --- staging.c --- */

/* Time, group, mode; in this order, for each may undo the one after. */
int staging_set_attr(int fd, mode_t mode, const struct staging_attr *attr, const char *path, struct error *e);
/* Gives the file fd (nameless, or O_PATH) the name; a regular file of root or ours that has it is replaced in
 * one rename. Not durable. */
int staging_link(int fd, int dir_fd, const char *name, struct error *e);
