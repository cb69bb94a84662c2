/* SPDX-License-Identifier: Apache-2.0 */
/* What one request does, step by step, so that the loop goes on turning: control.c owns the connection. */
#pragma once

#include "config.h"
#include "control_msg.h"
#include "keep.h"
#include "pauses.h"
#include "poller.h"
#include "queue.h"
#include "record.h"
#include "splitting.h"
#include "steward.h"

/* What requests look at and act upon; all borrowed. */
struct request_env {
        const struct job_env *on;
        struct audit *audit;
        struct feed *feed;
        struct queue *queue;
        struct poller *poll;
        struct splitting *splitting;
        bool resync_all; /* set by a request; whoever does what SIGUSR1 does takes it back */
};

/* Sends one message to the peer; false: it has gone. */
typedef bool control_tell_fn(void *arg, const struct strv *message);

struct control_job {
        struct request_env *env;
        const struct control_kind *kind; /* NULL: not begun */
        struct strv request;
        uid_t uid;
        control_tell_fn *tell;
        void *arg;
        bool gone; /* nobody listens any more; what was begun is done all the same */

        int64_t *ids; /* FORGET, RESYNC with names */
        size_t n, next;
        struct keep_list list; /* PRUNE */
        bool waiting;          /* RESYNC --wait: done when these are */
        bool holding;          /* FORGET, PRUNE: nothing is started meanwhile */
        bool over;
        int status;
        char text[TEXT_SIZE];
};

/* Takes the request. 0, or -errno with a text: that is all of it. */
int control_job_begin(struct control_job *j, struct error *e);
/* Some milliseconds of it. Sets over, status and text at the end. */
void control_job_step(struct control_job *j);
void control_job_done(struct control_job *j);
