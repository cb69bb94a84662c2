/* SPDX-License-Identifier: Apache-2.0 */
/* czard's end of czard-fetch: requests out, answers in. Hides whether czard-fetch is a child or a
 * socket-activated unit, and that it can die: every request gets exactly one `done`, from the loop, with
 * CAUSE_HELPER when czard-fetch went away under it. */
#pragma once

#include <uv.h>

#include "proto.h"

struct fetcher;

typedef void fetch_listed_fn(void *arg, const struct proto_listed *page);
typedef void fetch_done_fn(void *arg, const struct proto_done *done);
/* So many bytes of the GET came; at most once a second, and only when there are more than before. */
typedef void fetch_progress_fn(void *arg, uint64_t bytes);

struct fetcher_spec {
        const char *config_path; /* borrowed for ever */
        const char *socket_path; /* NULL: start a child */
};
int fetcher_new(uv_loop_t *loop, const struct fetcher_spec *spec, struct fetcher **ret);

/* Both return the request's id, or 0 when out of memory: then `done` never runs. pipe_fd is borrowed: the
 * caller closes it right after. */
uint32_t fetcher_list(struct fetcher *f, const struct proto_list *list, fetch_listed_fn *listed,
        fetch_done_fn *done, void *arg);
uint32_t fetcher_get(struct fetcher *f, const struct proto_get *get, int pipe_fd, fetch_progress_fn *progress,
        fetch_done_fn *done, void *arg);
/* The request ends soon with CAUSE_CANCELLED (or however it ended before). Unknown ids are ignored. */
void fetcher_cancel(struct fetcher *f, uint32_t id);
/* From now on `id` calls nothing: for an owner that goes away. */
void fetcher_forget(struct fetcher *f, uint32_t id);

/* Finishes what runs on the present czard-fetch and has the next request start a new one: after a reload. */
void fetcher_renew(struct fetcher *f);
/* Gives up each czard-fetch that has requests: they fail with CAUSE_HELPER before this returns. */
void fetcher_break(struct fetcher *f, const char *why);
/* How many requests run. */
unsigned fetcher_running(const struct fetcher *f);
struct fetcher *fetcher_free(struct fetcher *f);
