/* SPDX-License-Identifier: Apache-2.0 */
/* One LIST: all keys below a prefix, page by page (ListObjectsV2). */
#pragma once

#include <uv.h>

#include "credentials.h"
#include "proto.h"
#include "s3.h"
#include "s3xml.h"

struct list;

/* page: checked objects, good until it returns. 0: go on; -EAGAIN: wait for list_continue(); -errno: it
 * cannot be taken, the LIST fails. */
typedef int list_page_fn(void *arg, const struct s3xml_page *page);
/* Exactly once, from the loop, never before list_start() returns. The owner frees the list, in there or
 * later. */
typedef void list_done_fn(void *arg, const struct proto_done *done);

/* spec is copied; credentials are borrowed. 0 or -errno. */
int list_new(uv_loop_t *loop, struct s3 *s3, const struct credentials *credentials,
        const struct proto_list *spec, list_page_fn *page, list_done_fn *done, void *arg, struct list **ret);
void list_start(struct list *l);
void list_continue(struct list *l);
/* Ends it; nothing is called any more. Returns NULL. */
struct list *list_free(struct list *l);
