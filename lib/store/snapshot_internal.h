/* SPDX-License-Identifier: Apache-2.0 */
/* Inside a snapshot's folder: snapshot_dir.c builds it and gives it its name, snapshot_publish.c sees to what
 * is in it. */
#pragma once

#include "staging.h"

#define SNAPSHOT_NAME 256

struct snapshot_dir {
        struct staging *s; /* borrowed */
        char *path, *tag;
        const char *name;                                   /* the last part of path */
        char partial[SNAPSHOT_NAME], record[SNAPSHOT_NAME]; /* names beside it */
        int parent_fd, fd;                                  /* the folder that it is in; the partial one */
        struct staging_attr attr;
        gid_t gid;                        /* which group its files have */
        bool spent;                       /* it has its name; the record goes when this is freed */
        char kept_as[SNAPSHOT_NAME + 32]; /* where the old folder goes that somebody else has a part in, "" */
};

/* 0 or -errno. rows: line breaks. */
int snapshot_read_content(int fd, uint8_t ret_sha256[SHA256_SIZE], uint64_t *ret_size, uint64_t *ret_rows);
/* The folder as it is gets group, mode and time, is made durable, and has its name. keep_as: unless kept_as
 * is set. */
int snapshot_show(struct snapshot_dir *d, const char *keep_as, struct error *e);
/* "2024-07-07" of ".2024-07-07.partial" and ".2024-07-07.partial.tag"; false when it is neither. */
bool snapshot_name_of(const char *entry, char *ret, size_t size);
