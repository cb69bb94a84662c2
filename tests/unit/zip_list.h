/* SPDX-License-Identifier: Apache-2.0 */
/* A directory as tests want it: all entries at once. */
#pragma once

#include "archive.h"

struct zip_list {
        struct archive_entry *entries; /* in the order of the directory; their names belong to the list */
        size_t n;
        uint64_t offset, need_start; /* as in struct archive_directory */
};

/* archive_directory() over tail, which holds bytes [start, size) and comes bit by bit. memory: as there. */
int zip_list(const void *tail, uint64_t start, uint64_t size, size_t memory,
        const struct archive_limits *limits, struct zip_list *ret, struct error *e);
/* The same from a source that has only the first n bytes of the tail. */
int zip_list_cut(const void *tail, uint64_t n, uint64_t start, uint64_t size, size_t memory,
        const struct archive_limits *limits, struct zip_list *ret, struct error *e);
/* Sorts the entries by offset and sets their extents. 0 or -EBADMSG. */
int zip_list_extents(struct zip_list *l, struct error *e);
void zip_list_done(struct zip_list *l);
#define _cleanup_zip_list_ _cleanup_(zip_list_done)
