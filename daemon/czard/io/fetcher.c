/* SPDX-License-Identifier: Apache-2.0 */
/* czard's end of czard-fetch. A request is a row in a table until its DONE came; a connection is a
 * czard-fetch that serves some of them. After fetcher_renew() an old connection drains while a new one takes
 * the new requests; nobody else notices. */
#include "fetcher.h"

#include <errno.h>
#include <stdlib.h>

#include "answers.h"
#include "cleanup.h"
#include "helper.h"
#include "journal.h"
#include "str.h"

/* A czard-fetch that dies at once is not started again at full speed. */
#define RESTART_USEC (1 * USEC_PER_SEC)
/* One with requests says something every second. */
#define SILENCE_USEC (60 * USEC_PER_SEC)
#define TICK_MSEC 5000

struct connection {
        struct fetcher *fetcher;
        struct helper *helper; /* a child, or a unit of its own */
        unsigned running;
        bool draining, greeted; /* greeted: HELLO came, which is said once, and first */
        uint64_t heard_usec;    /* of the loop's clock */
        struct connection *next;
};

struct request {
        uint32_t id;
        enum request_kind kind;
        struct connection *connection; /* NULL: it failed before it was sent; done is to come */
        struct error failed;
        fetch_listed_fn *listed;     /* of a LIST */
        fetch_progress_fn *progress; /* of a GET */
        fetch_done_fn *done;         /* NULL: forgotten */
        void *arg;
        struct request *next;
};

struct fetcher {
        uv_loop_t *loop;
        struct fetcher_spec spec;
        uint32_t last_id;
        unsigned running;
        uint64_t last_start_usec;
        struct connection *connections; /* the first one that does not drain takes new requests */
        struct request *requests;
        unsigned open_handles;
        uv_timer_t tick;    /* while requests run: looks for a silent czard-fetch */
        uv_timer_t deliver; /* fires at once: failures are reported from the loop, not from fetcher_get() */
};

static uint64_t loop_usec(const struct fetcher *f)
{
        return uv_now(f->loop) * USEC_PER_MSEC;
}

static void finish(struct fetcher *f, struct request **at, const struct proto_done *done)
{
        struct request *r = *at;
        *at = r->next;
        if (--f->running == 0)
                uv_timer_stop(&f->tick);
        if (r->done)
                r->done(r->arg, done);
        if (r->connection)
                r->connection
                        ->running--; /* not before: the callback may renew, and it must stay until here */
        free(r);
}

static void finish_failed(struct fetcher *f, struct request **at, const struct error *e)
{
        struct proto_done done = {
                .outcome = {.cause = e->cause, .detail = e->text}, .access_key_id = "", .new_etag = ""};
        finish(f, at, &done);
}

static struct request **find(struct fetcher *f, uint32_t id)
{
        for (struct request **at = &f->requests; *at; at = &(*at)->next)
                if ((*at)->id == id)
                        return at;
        return NULL;
}

static void connection_free(struct connection *c)
{
        for (struct connection **at = &c->fetcher->connections; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        break;
                }
        c->helper = helper_free(c->helper);
        free(c);
}

/* A drained connection is closed; czard-fetch sees that and exits. */
static void close_if_drained(struct connection *c)
{
        if (c->draining && c->running == 0)
                connection_free(c);
}

static void give_up(struct connection *c, const char *why);

static void on_hello(struct connection *c, const struct proto_hello *hello)
{
        if (c->greeted) {
                give_up(c, "said hello twice");
                return;
        }
        c->greeted = true;
        if (!str_empty(hello->credentials_source))
                journal_event(EVENT_NOTE, NULL, "czard-fetch: %s", hello->credentials_source);
        if (!str_empty(hello->warning))
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING},
                        "czard-fetch: %s", hello->warning);
}

/* It may be given up: c is freed then. */
static void on_answer(struct connection *c, struct message *m)
{
        struct fetcher *f = c->fetcher;
        struct error e = {};
        struct request **at = find(f, m->id);
        if (!c->greeted || !at || (*at)->connection != c) {
                give_up(c, "sent an answer without being asked");
        } else if (answer_check((*at)->kind, m, &e) < 0) {
                give_up(c, e.text);
        } else if (m->type == PROTO_PROGRESS) {
                if ((*at)->done)
                        (*at)->progress((*at)->arg, m->progress.bytes);
        } else if (m->type == PROTO_LISTED) {
                if ((*at)->done)
                        (*at)->listed((*at)->arg, &m->listed);
        } else {
                /* A name that does not resolve: perhaps resolv.conf is another file now, which its sandbox
                 * does not know. Where a new one is no help, not one after the other is made. */
                if (m->done.outcome.cause == CAUSE_DNS &&
                        uv_now(f->loop) * USEC_PER_MSEC >= f->last_start_usec + RESTART_USEC)
                        c->draining = true;
                finish(f, at, &m->done);
                close_if_drained(c);
        }
}

static void on_message(void *arg, struct message *m)
{
        struct connection *c = arg;
        c->heard_usec = loop_usec(c->fetcher);
        if (m->type == PROTO_HELLO)
                on_hello(c, &m->hello);
        else if (m->type != PROTO_PROGRESS || m->id != 0) /* id 0: only that it is alive */
                on_answer(c, m);
}

/* Its requests fail, and it is freed. */
static void drop(struct connection *c, const struct error *e)
{
        struct fetcher *f = c->fetcher;
        struct error failed;
        error_set(&failed, CAUSE_HELPER, EIO, "czard-fetch %s", e->text);
        /* Callbacks may start new requests: these get a connection of their own, never this one. */
        c->draining = true;
        for (struct request **at = &f->requests; *at;) {
                if ((*at)->connection == c) {
                        finish_failed(f, at, &failed);
                        at = &f->requests;
                } else {
                        at = &(*at)->next;
                }
        }
        connection_free(c);
}

static void on_gone(void *arg, const struct error *e)
{
        struct connection *c = arg;
        if (!c->draining || c->running > 0)
                journal_event(EVENT_HELPER_DIED, &(struct journal_fields){.cause = CAUSE_HELPER},
                        "czard-fetch %s; what it was doing is tried again", e->text);
        drop(c, e);
}

/* As a child it is killed; as a unit it is left, and the service manager's watchdog sees to it. */
static void give_up(struct connection *c, const char *why)
{
        struct error e = {};
        error_set(&e, CAUSE_HELPER, EIO, "%s", why);
        journal_event(EVENT_HELPER_KILLED, &(struct journal_fields){.cause = CAUSE_HELPER},
                "czard-fetch %s: given up; what it was doing is tried again", why);
        drop(c, &e);
}

static struct connection *connection_for_new(struct fetcher *f, struct error *e)
{
        for (struct connection *c = f->connections; c; c = c->next)
                if (!c->draining)
                        return c;
        uint64_t now = uv_now(f->loop) * USEC_PER_MSEC;
        if (f->last_start_usec != 0 && now < f->last_start_usec + RESTART_USEC) {
                error_set(e, CAUSE_HELPER, EAGAIN, "czard-fetch ended just now");
                return NULL;
        }
        struct connection *c = calloc(1, sizeof(*c));
        if (!c) {
                error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
                return NULL;
        }
        *c = (struct connection){.fetcher = f, .next = f->connections};
        const char *args[] = {"--config", f->spec.config_path, NULL};
        int r = f->spec.socket_path
                        ? helper_connect(f->loop, f->spec.socket_path, on_message, on_gone, c, &c->helper, e)
                        : helper_start(f->loop, "czard-fetch", args, on_message, on_gone, c, &c->helper, e);
        f->last_start_usec = now;
        if (r < 0) {
                free(c);
                return NULL;
        }
        return f->connections = c;
}

static void on_tick(uv_timer_t *timer)
{
        struct fetcher *f = timer->data;
        for (struct connection *c = f->connections, *next; c; c = next) {
                next = c->next;
                if (c->running > 0 && loop_usec(f) > c->heard_usec + SILENCE_USEC) {
                        give_up(c, "said nothing for a minute");
                        break; /* callbacks may have changed the list; the next tick looks again */
                }
        }
}

static void on_deliver(uv_timer_t *timer)
{
        struct fetcher *f = timer->data;
        for (struct request **at = &f->requests; *at;) {
                if (!(*at)->connection) {
                        struct error failed = (*at)->failed;
                        finish_failed(f, at, &failed);
                        at = &f->requests;
                } else {
                        at = &(*at)->next;
                }
        }
}

/* like: its callbacks, which are copied. */
static uint32_t request(struct fetcher *f, struct message *m, const struct request *like)
{
        struct request *r = calloc(1, sizeof(*r));
        if (!r)
                return 0;
        if (++f->last_id == 0)
                f->last_id = 1;
        *r = *like;
        r->id = f->last_id;
        r->kind = request_kind_of(m);
        r->next = f->requests;
        f->requests = r;
        f->running++;
        m->id = r->id;
        struct connection *c = connection_for_new(f, &r->failed);
        int err = c ? helper_send(c->helper, m) : 0;
        if (c && err >= 0) {
                r->connection = c;
                if (c->running++ == 0)
                        c->heard_usec = loop_usec(f);
                if (!uv_is_active((uv_handle_t *)&f->tick))
                        uv_timer_start(&f->tick, on_tick, TICK_MSEC, TICK_MSEC);
        } else {
                if (c)
                        error_set(&r->failed, CAUSE_HELPER, -err, "czard-fetch does not take requests: %s",
                                strerror(-err));
                uv_timer_start(&f->deliver, on_deliver, 0, 0);
        }
        return r->id;
}

uint32_t fetcher_list(struct fetcher *f, const struct proto_list *list, fetch_listed_fn *listed,
        fetch_done_fn *done, void *arg)
{
        struct message m = {.type = PROTO_LIST, .list = *list};
        return request(f, &m, &(struct request){.listed = listed, .done = done, .arg = arg});
}

uint32_t fetcher_get(struct fetcher *f, const struct proto_get *get, int pipe_fd, fetch_progress_fn *progress,
        fetch_done_fn *done, void *arg)
{
        struct message m = {.type = PROTO_GET, .get = *get, .fds = {pipe_fd}, .n_fds = 1};
        return request(f, &m, &(struct request){.progress = progress, .done = done, .arg = arg});
}

void fetcher_cancel(struct fetcher *f, uint32_t id)
{
        struct request **at = find(f, id);
        struct connection *c = at ? (*at)->connection : NULL;
        if (!c)
                return;
        struct message m = {.type = PROTO_CANCEL, .id = id};
        helper_send(c->helper, &m);
}

void fetcher_forget(struct fetcher *f, uint32_t id)
{
        struct request **at = find(f, id);
        if (at)
                (*at)->done = NULL;
        fetcher_cancel(f, id);
}

void fetcher_renew(struct fetcher *f)
{
        for (struct connection *c = f->connections, *next; c; c = next) {
                next = c->next;
                c->draining = true;
                close_if_drained(c);
        }
        f->last_start_usec = 0;
}

/* Callbacks may start another one: that does not drain. */
void fetcher_break(struct fetcher *f, const char *why)
{
        for (struct connection *c = f->connections; c; c = c->next)
                c->draining = true;
        for (struct connection *c = f->connections; c;) {
                bool broken = c->draining && c->running > 0;
                if (broken)
                        give_up(c, why);
                c = broken ? f->connections : c->next;
        }
}

unsigned fetcher_running(const struct fetcher *f)
{
        return f->running;
}

int fetcher_new(uv_loop_t *loop, const struct fetcher_spec *spec, struct fetcher **ret)
{
        struct fetcher *f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        *f = (struct fetcher){.loop = loop, .spec = *spec};
        uv_timer_init(loop, &f->deliver);
        uv_timer_init(loop, &f->tick);
        f->deliver.data = f->tick.data = f;
        f->open_handles = 2;
        *ret = f;
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        struct fetcher *f = h->data;
        if (--f->open_handles == 0)
                free(f);
}

struct fetcher *fetcher_free(struct fetcher *f)
{
        if (!f)
                return NULL;
        while (f->connections)
                connection_free(f->connections);
        while (f->requests) {
                struct request *r = f->requests;
                f->requests = r->next;
                free(r);
        }
        uv_close((uv_handle_t *)&f->deliver, on_timer_closed);
        uv_close((uv_handle_t *)&f->tick, on_timer_closed);
        return NULL;
}
