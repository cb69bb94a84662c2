/* SPDX-License-Identifier: Apache-2.0 */
/* Access lists of folders that several groups pass. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The folder of an organisation, first part of each path: of one group, and let through by others, those of
 * the categories. */
#define STAGING_THROUGH_MAX 8
struct staging_top {
        gid_t gid; /* (gid_t)-1: none */
        gid_t through[STAGING_THROUGH_MAX];
        size_t n_through;
};
/* Adds the groups of top to those whom a folder of that mode lets through. */
int staging_let_through(int fd, mode_t mode, const struct staging_top *top);
/* Whoever may pass the folder may read the file: its access list is made from the folder's. */
int staging_let_read(int fd, int dir_fd);
/* Do mode and access list of that folder let the group's members through? */
bool staging_lets_through(int fd, gid_t gid);
