/* SPDX-License-Identifier: Apache-2.0 */
/* The two XML documents S3 answers with: a page of ListObjectsV2 and an error. The input is hostile: entity
 * declarations, deep nesting and long values stop the parser. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "limits.h"

struct s3xml_object {
        char *key, *etag; /* the key decoded; the ETag with its quotes, NULL: it, the size or the date cannot
                             be read */
        uint64_t size;
        int64_t last_modified; /* seconds */
};

struct s3xml_page {
        struct s3xml_object *objects;
        size_t n;
        size_t n_unreadable; /* without a key, or with one that cannot be (a NUL in it): left out */
        bool truncated;
        char *next_token; /* NULL: none */
};

/* Reads one page as it arrives. */
struct s3xml_list;
int s3xml_list_new(struct s3xml_list **ret);
/* 0, or -EBADMSG/-ENOMEM with e filled; after an error only s3xml_list_free() may follow. */
int s3xml_list_feed(struct s3xml_list *l, const void *p, size_t n, struct error *e);
/* The document must be whole. ret belongs to the caller. 0, -EBADMSG or -ENOMEM. */
int s3xml_list_finish(struct s3xml_list *l, struct s3xml_page *ret, struct error *e);
struct s3xml_list *s3xml_list_free(struct s3xml_list *l);
void s3xml_page_done(struct s3xml_page *p);

/* What an error document says; "" where it says nothing. Text is as the server sent it: not for a terminal
 * without str_visible(). */
struct s3xml_error {
        char code[64], message[256], region[64], server_time[40];
        char host[HOST_SIZE]; /* of the request as the server got it: with SignatureDoesNotMatch */
};
/* 0, or -EBADMSG when it is not an error document of S3. */
int s3xml_error(const void *p, size_t n, struct s3xml_error *ret);
