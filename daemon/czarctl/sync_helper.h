/* SPDX-License-Identifier: Apache-2.0 */
/* A helper of czard, started and spoken to without an event loop. */
#pragma once

#include "ctl.h"
#include "proto.h"
#include "said.h"

struct sync_helper {
        pid_t pid; /* 0: none */
        int sock;  /* -1: none */
        struct said said;
};
#define HELPER_NONE                                                                                          \
        {                                                                                                    \
                .pid = 0, .sock = -1, .said.fd = -1                                                          \
        }

/* What a child of h is to have as standard error, see said_open(). */
int sync_helper_said(struct sync_helper *h);
/* Starts libexec program `name` with args (NULL-terminated) and "--channel 3". 0 or -errno. */
int sync_helper_start(const char *name, const char *const *args, struct sync_helper *ret, struct error *e);
int sync_helper_send(struct sync_helper *h, const struct message *m, struct error *e);
/* The next message within that time; the caller calls message_done(). 0 or -errno. */
int sync_helper_receive(struct sync_helper *h, unsigned seconds, struct message *ret, struct error *e);
/* Closes the channel and waits a moment; then it is killed with its group. */
void sync_helper_stop(struct sync_helper *h);
