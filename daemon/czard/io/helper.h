/* SPDX-License-Identifier: Apache-2.0 */
/* A helper at the other end of a message channel on the event loop: a process of ours, which is started,
 * killed with its process group and reaped; or one that a service manager started. */
#pragma once

#include <uv.h>

#include "proto.h"

struct helper;

/* m: one valid message, to be read before the function returns; descriptors it takes it sets to -1. */
typedef void helper_message_fn(void *arg, struct message *m);
/* The process is gone, or the channel of one that is not ours: comes once, from the loop, after every message
 * it had sent; the receiver calls helper_free(). e->text says how it ended. */
typedef void helper_gone_fn(void *arg, const struct error *e);

/* Starts libexec program `name` ("czard-fetch") with argv[1...] = args (NULL-terminated) and "--channel 3",
 * in its own process group, stdin and stdout from and to /dev/null, stderr ours, environment: only what
 * launch.c lists. */
int helper_start(uv_loop_t *loop, const char *name, const char *const *args, helper_message_fn *on_message,
        helper_gone_fn *on_gone, void *arg, struct helper **ret, struct error *e);
/* The same for one that listens at a socket: nobody of ours to be killed or reaped. */
int helper_connect(uv_loop_t *loop, const char *path, helper_message_fn *on_message, helper_gone_fn *on_gone,
        void *arg, struct helper **ret, struct error *e);
/* Sends m, its descriptors borrowed. A peer that does not read for a second counts as gone: -EPIPE. 0 or
 * -errno. */
int helper_send(struct helper *h, const struct message *m);
/* Kills the whole group; on_gone still comes. */
void helper_kill(struct helper *h);
/* Closes the channel of one that has nothing to do, so that it ends by itself and cleans up; one that does
 * not within two seconds is killed. Nothing is called any more. Returns NULL. */
struct helper *helper_retire(struct helper *h);
/* Kills it if it still runs; nothing is called any more. Returns NULL. */
struct helper *helper_free(struct helper *h);
/* Calls reaped, once, when the process is reaped and what it left in its group is killed: also of one that
 * was freed before. Before helper_free() and helper_retire(). */
void helper_when_reaped(struct helper *h, void (*reaped)(void *arg), void *arg);
