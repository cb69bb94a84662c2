/* SPDX-License-Identifier: Apache-2.0 */
/* The table of requests. One row lives from its LIST or GET message to its DONE. A GET starts at once: czard
 * sends no more of them than may run. LISTs wait in order of arrival until one may run.
 *
 *   channel -> on_message -> take_request -> row (a LIST waits) -> start_due -> list.c
 *                                         -> row (a GET) --------------------> get.c
 *   channel <- DONE, LISTED <--------------------------------------------------- on_done, on_page
 *
 * What the configuration does not allow never becomes a row: it is answered at once. */
#include "fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "loop.h"
#include "macro.h"

#define LISTS_AT_ONCE 4
/* A czard that asks for more at once is not the one we know. */
#define ROWS_MAX 1024
/* Messages are filled up to here: what goes around the objects fits into the rest. */
#define LISTED_BYTES (PROTO_MESSAGE_MAX - 64)

struct row {
        struct desk *desk;
        uint32_t id;
        struct list *list; /* or */
        struct get *get;
        bool list_runs;
        uint64_t told; /* bytes of the GET that czard knows of */
        TAILQ_ENTRY(row) entry;
};

#define BEAT_USEC USEC_PER_SEC

struct desk {
        uv_loop_t *loop;
        struct desk_config config;
        struct peer *channel;
        TAILQ_HEAD(, row) rows;
        unsigned n_rows, lists_running;
        struct alarm *beat; /* while there are rows: tells czard that we are alive */
        bool closed;
};

/* --- answers --- */

/* pipe (-1: none) ends after that: who reads it to its end finds that czard was told how the GET ended. Else
 * a worker's word of a message that ends too early could come first. */
static void send_done(struct desk *d, uint32_t id, const struct proto_done *done, int pipe)
{
        struct message m = {.type = PROTO_DONE, .id = id, .done = *done};
        peer_send(d->channel, &m, pipe);
}

static void send_refused(struct desk *d, uint32_t id, const struct error *e, int pipe)
{
        send_done(d, id,
                &(struct proto_done){
                        .outcome = {.cause = e->cause, .detail = e->text},
                        .access_key_id = "",
                        .new_etag = "",
                },
                pipe);
}

static void row_free(struct row *row)
{
        struct desk *d = row->desk;
        TAILQ_REMOVE(&d->rows, row, entry);
        d->n_rows--;
        d->lists_running -= row->list_runs;
        if (TAILQ_EMPTY(&d->rows))
                alarm_stop(d->beat);
        row->list = list_free(row->list);
        row->get = get_free(row->get);
        free(row);
}

static void start_due(struct desk *d)
{
        struct row *row;
        TAILQ_FOREACH(row, &d->rows, entry)
        {
                if (!row->list || row->list_runs || d->lists_running >= LISTS_AT_ONCE)
                        continue;
                row->list_runs = true;
                d->lists_running++;
                list_start(row->list);
        }
}

static void on_done(void *arg, const struct proto_done *done)
{
        struct row *row = arg;
        struct desk *d = row->desk;
        send_done(d, row->id, done, row->get ? get_take_pipe(row->get) : -1);
        row_free(row);
        start_due(d);
}

/* One page in as many messages as it takes. */
static int on_page(void *arg, const struct s3xml_page *page)
{
        struct row *row = arg;
        struct peer *channel = row->desk->channel;
        struct proto_object *objects = calloc(page->n + 1, sizeof(*objects));
        struct message m = {.type = PROTO_LISTED, .id = row->id};
        size_t bytes = 0;
        if (!objects)
                return -ENOMEM;
        for (size_t i = 0; i < page->n; i++) {
                const struct s3xml_object *o = &page->objects[i];
                const struct proto_object p = {o->key, o->etag ? o->etag : "", o->size, o->last_modified};
                size_t size = proto_object_size(&p);
                if (bytes + size > LISTED_BYTES) {
                        m.listed.objects = objects;
                        peer_send(channel, &m, -1);
                        m.listed.n = bytes = 0;
                }
                objects[m.listed.n++] = p;
                bytes += size;
        }
        m.listed.objects = objects;
        if (m.listed.n > 0)
                peer_send(channel, &m, -1);
        free(objects);
        return peer_is_full(channel) ? -EAGAIN : 0;
}

/* --- requests --- */

static struct row *find(struct desk *d, uint32_t id)
{
        struct row *row;
        TAILQ_FOREACH(row, &d->rows, entry)
        if (row->id == id)
                return row;
        return NULL;
}

static struct row *row_new(struct desk *d, uint32_t id)
{
        struct row *row = calloc(1, sizeof(*row));
        if (!row)
                return NULL;
        *row = (struct row){.desk = d, .id = id};
        TAILQ_INSERT_TAIL(&d->rows, row, entry);
        d->n_rows++;
        return row;
}

/* Does the range make sense? */
static int check_range(const struct proto_get *g, struct error *e)
{
        bool inside = g->offset <= g->size && g->length <= g->size - g->offset;
        bool fits = g->whole ? g->offset == 0 && g->length == g->size : g->length > 0;
        return inside && fits ? 0
                              : error_set(e, CAUSE_INTERNAL, EINVAL, "czard-fetch: asked for no such range");
}

static void take_request(struct desk *d, struct message *m)
{
        const struct credentials *credentials;
        const bool is_get = m->type == PROTO_GET;
        int pipe = is_get ? take_fd(&m->fds[0]) : -1;
        struct error e = {};
        int r = is_get ? check_range(&m->get, &e) : 0;
        if (r == 0)
                r = is_get ? access_get(d->config.access, m->get.bucket, m->get.key, &credentials, &e)
                           : access_list(d->config.access, m->list.bucket, m->list.prefix, &credentials, &e);
        if (r < 0) {
                send_refused(d, m->id, &e, pipe);
                return;
        }
        struct row *row = row_new(d, m->id);
        if (row && is_get)
                r = get_new(
                        d->loop, d->config.s3, credentials, &m->get, take_fd(&pipe), on_done, row, &row->get);
        else if (row)
                r = list_new(d->loop, d->config.s3, credentials, &m->list, on_page, on_done, row, &row->list);
        if (row && r == 0) {
                if (is_get)
                        get_start(row->get);
                return;
        }
        if (row)
                row_free(row);
        error_set(&e, CAUSE_INTERNAL, ENOMEM, "czard-fetch: %s",
                is_get ? "no memory or descriptors left" : "out of memory");
        send_refused(d, m->id, &e, pipe);
}

static void take_cancel(struct desk *d, uint32_t id)
{
        struct row *row = find(d, id);
        struct error e;
        if (!row)
                return; /* it was done just now */
        error_set(&e, CAUSE_CANCELLED, ECANCELED, "cancelled");
        send_refused(d, id, &e, -1); /* who cancels does not wait for the pipe */
        row_free(row);
}

static void close_desk(struct desk *d, const struct error *e)
{
        if (d->closed)
                return;
        d->closed = true;
        d->config.closed(d->config.arg, e);
}

/* A LIST carries no descriptor, a GET one pipe; ids are not used twice at a time. */
static bool is_welcome(struct desk *d, const struct message *m)
{
        switch (m->type) {
        case PROTO_LIST:
                return m->n_fds == 0 && !find(d, m->id) && d->n_rows < ROWS_MAX;
        case PROTO_GET:
                return m->n_fds == 1 && !find(d, m->id) && d->n_rows < ROWS_MAX;
        case PROTO_CANCEL:
                return m->n_fds == 0;
        default:
                return false;
        }
}

static void on_message(void *arg, struct message *m)
{
        struct desk *d = arg;
        struct error e;
        if (d->closed)
                return;
        if (!is_welcome(d, m)) {
                error_set(&e, CAUSE_HELPER, EPROTO, "an unexpected message of type %d", (int)m->type);
                close_desk(d, &e);
                return;
        }
        if (m->type == PROTO_CANCEL) {
                take_cancel(d, m->id);
        } else {
                take_request(d, m);
                alarm_set(d->beat, BEAT_USEC);
        }
        start_due(d);
}

static void send_progress(struct desk *d, uint32_t id, uint64_t bytes)
{
        struct message m = {.type = PROTO_PROGRESS, .id = id, .progress = {.bytes = bytes}};
        peer_send(d->channel, &m, -1);
}

/* A czard-fetch with requests that says nothing is taken for stuck. Nothing is sent when there is nothing to
 * do. */
static void on_beat(void *arg)
{
        struct desk *d = arg;
        struct row *row;
        bool said = peer_is_full(d->channel); /* it will hear of us */
        TAILQ_FOREACH(row, &d->rows, entry)
        {
                uint64_t bytes = row->get ? get_bytes(row->get) : 0;
                if (bytes == row->told || peer_is_full(d->channel))
                        continue;
                row->told = bytes;
                send_progress(d, row->id, bytes);
                said = true;
        }
        if (!said)
                send_progress(d, 0, 0);
        alarm_set(d->beat, BEAT_USEC);
}

/* czard has read everything: the listings go on. */
static void on_drained(void *arg)
{
        struct desk *d = arg;
        struct row *row;
        TAILQ_FOREACH(row, &d->rows, entry)
        if (row->list)
                list_continue(row->list);
}

static void on_closed(void *arg, const struct error *e)
{
        close_desk(arg, e);
}

int desk_new(uv_loop_t *loop, int fd, const struct desk_config *config, struct desk **ret)
{
        static const struct peer_ops ops = {
                .on_message = on_message, .on_drained = on_drained, .on_closed = on_closed};
        struct desk *d = calloc(1, sizeof(*d));
        if (!d) {
                close_fd(fd);
                return -ENOMEM;
        }
        *d = (struct desk){.loop = loop, .config = *config};
        TAILQ_INIT(&d->rows);
        int r = alarm_new(loop, on_beat, d, &d->beat);
        if (r < 0)
                close_fd(fd);
        else
                r = peer_new(loop, fd, &ops, d, &d->channel);
        if (r < 0) {
                d->beat = alarm_free(d->beat);
                free(d);
                return r;
        }
        struct message hello = {
                .type = PROTO_HELLO,
                .hello = {.version = PROTO_VERSION,
                        .credentials_source = config->source,
                        .warning = config->warning},
        };
        peer_send(d->channel, &hello, -1);
        *ret = d;
        return 0;
}

struct desk *desk_free(struct desk *d)
{
        if (!d)
                return NULL;
        for (struct row *row; (row = TAILQ_FIRST(&d->rows));)
                row_free(row);
        d->channel = peer_free(d->channel);
        d->beat = alarm_free(d->beat);
        free(d);
        return NULL;
}
