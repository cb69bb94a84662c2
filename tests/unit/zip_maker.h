/* SPDX-License-Identifier: Apache-2.0 */
/* Zips made byte by byte, so that tests can make them wrong. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zip_maker {
        uint8_t *p; /* the archive */
        size_t n, size;
        uint8_t *directory;
        size_t directory_n, directory_size;
        unsigned count;
        size_t directory_at, eocd_at; /* set by zip_end() */
};

struct zip_member {
        const char *name;
        size_t name_len; /* 0: strlen(name) */
        const void *data;
        size_t len;
        bool deflate, descriptor, zip64;
        uint16_t flags; /* besides the descriptor's */
        uint32_t mode;
        const char *extra; /* of the local header, extra_len bytes */
        size_t extra_len;
        const char *record_extra, *comment; /* of the directory's record */
        size_t record_extra_len, comment_len;
};

/* Returns the offset of the local header. */
size_t zip_add(struct zip_maker *z, const struct zip_member *m);
void zip_bytes(struct zip_maker *z, const void *p, size_t n);
/* Directory and end record(s). */
void zip_end(struct zip_maker *z, bool zip64, const char *comment);
void zip_free(struct zip_maker *z);
