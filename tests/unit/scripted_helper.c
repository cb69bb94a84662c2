/* SPDX-License-Identifier: Apache-2.0 */
#include "scripted_helper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fsx.h"

struct helper {
        uv_poll_t channel;
        int sock; /* -1: closed */
        helper_gone_fn *on_gone;
        helper_message_fn *on_message;
        void *arg;
        struct scripted *script;
};

struct scripted scripted[SCRIPTED_MAX];
size_t n_scripted;

static void reap(struct scripted *s)
{
        if (s->reaped)
                s->reaped(s->reaped_arg);
        s->reaped = NULL;
}

static void free_helper(uv_handle_t *handle)
{
        free(handle->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        struct helper *h = poll->data;
        struct error e = {};
        (void)status;
        (void)events;
        for (int r; h->sock >= 0;) {
                struct message m = {};
                r = proto_recv(h->sock, &m, &e);
                if (r == -EAGAIN)
                        return;
                if (r < 0) {
                        if (r == -EPIPE)
                                error_set(&e, CAUSE_HELPER, EPIPE, "closed its channel");
                        uv_poll_stop(poll);
                        h->sock = close_fd(h->sock);
                        h->script->gone = true;
                        reap(h->script);
                        h->on_gone(h->arg, &e);
                        return;
                }
                h->on_message(h->arg, &m);
                message_done(&m);
        }
}

int helper_start(uv_loop_t *loop, const char *name, const char *const *args, helper_message_fn *message,
        helper_gone_fn *gone, void *arg, struct helper **ret, struct error *e)
{
        (void)args;
        if (n_scripted == SCRIPTED_MAX)
                return error_set(e, CAUSE_HELPER, EAGAIN, "cannot start %s: there are too many", name);
        int pair[2];
        struct helper *h = calloc(1, sizeof(*h));
        assert_non_null(h);
        assert_int_equal(proto_pair(pair), 0);
        assert_true(fd_nonblock(pair[1], 1) >= 0);
        *h = (struct helper){.sock = pair[0],
                .on_gone = gone,
                .on_message = message,
                .arg = arg,
                .script = &scripted[n_scripted]};
        scripted[n_scripted++] = (struct scripted){.program = name, .helper = h, .sock = pair[1]};
        assert_true(fd_nonblock(pair[0], 1) >= 0);
        assert_int_equal(uv_poll_init(loop, &h->channel, pair[0]), 0);
        h->channel.data = h;
        uv_poll_start(&h->channel, UV_READABLE, on_readable);
        *ret = h;
        return 0;
}

int helper_connect(uv_loop_t *loop, const char *path, helper_message_fn *message, helper_gone_fn *gone,
        void *arg, struct helper **ret, struct error *e)
{
        return helper_start(loop, path, NULL, message, gone, arg, ret, e);
}

int helper_send(struct helper *h, const struct message *m)
{
        return h->sock < 0 ? -EPIPE : proto_send(h->sock, m);
}

void helper_kill(struct helper *h)
{
        h->script->killed = true; /* script_reap() makes it true */
}

void helper_when_reaped(struct helper *h, void (*reaped)(void *arg), void *arg)
{
        h->script->reaped = reaped;
        h->script->reaped_arg = arg;
}

struct helper *helper_retire(struct helper *h)
{
        h->script->retired = true;
        return helper_free(h);
}

struct helper *helper_free(struct helper *h)
{
        if (!h)
                return NULL;
        h->script->killed |= !h->script->retired && !h->script->gone;
        h->script->helper = NULL;
        uv_poll_stop(&h->channel);
        h->sock = close_fd(h->sock);
        uv_close((uv_handle_t *)&h->channel, free_helper);
        return NULL;
}

void script_reset(void)
{
        for (size_t i = 0; i < n_scripted; i++) {
                assert_null(scripted[i].helper);
                reap(&scripted[i]);
                message_done(&scripted[i].last);
                close_fd(scripted[i].sock);
        }
        n_scripted = 0;
}

void script_receive(struct scripted *s, enum proto_type type)
{
        struct error e = {};
        message_done(&s->last);
        s->last = (struct message){};
        if (proto_recv(s->sock, &s->last, &e) < 0)
                fail_msg("nothing came, %d was expected: %s", type, e.text);
        assert_int_equal(s->last.type, type);
}

void script_receive_none(struct scripted *s)
{
        struct message m = {};
        assert_int_equal(proto_recv(s->sock, &m, NULL), -EAGAIN);
}

void script_turn(uv_loop_t *loop)
{
        for (unsigned i = 0; i < 4; i++)
                uv_run(loop, UV_RUN_NOWAIT);
}

void script_send(uv_loop_t *loop, struct scripted *s, struct message m, uint32_t id)
{
        m.id = id;
        assert_int_equal(proto_send(s->sock, &m), 0);
        script_turn(loop);
}

void script_reap(uv_loop_t *loop, struct scripted *s)
{
        s->sock = close_fd(s->sock);
        script_turn(loop);
        reap(s);
}
