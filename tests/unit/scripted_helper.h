/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for io/helper.c: helpers without processes, whose other end of the channel the test holds. */
#pragma once

#include "helper.h"

struct scripted {
        const char *program;
        struct helper *helper; /* NULL: freed */
        int sock;              /* the helper's end */
        bool killed, retired, gone;
        void (*reaped)(void *arg); /* NULL: nobody waits for it, or it was called */
        void *reaped_arg;
        struct message last; /* that script_receive() took */
};
#define SCRIPTED_MAX 32
/* In the order in which they were started. When there are so many, no more can be started. */
extern struct scripted scripted[SCRIPTED_MAX];
extern size_t n_scripted;

/* Reaps and forgets those that were started; all must have been freed. */
void script_reset(void);
/* The next message that was sent to it, of that type, is script->last. */
void script_receive(struct scripted *s, enum proto_type type);
/* Nothing was sent to it. */
void script_receive_none(struct scripted *s);
/* Answers with that id, and lets the loop take it. */
void script_send(uv_loop_t *loop, struct scripted *s, struct message m, uint32_t id);
/* Lets the loop do what there is to do. */
void script_turn(uv_loop_t *loop);
/* One that was killed is reaped, or it dies by itself. */
void script_reap(uv_loop_t *loop, struct scripted *s);
