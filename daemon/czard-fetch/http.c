/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl multi on libuv.
 *
 *   struct http --> CURLM --> sockets, each a struct socket_watch (uv_poll_t)
 *      |               `----> one deadline (struct alarm)
 *      `--> transfers --> CURL
 *
 * What always holds: curl's callbacks only record, or pass bytes on; messages are read in a loop after every
 * socket action; on_done runs from there, never inside a callback of curl. A transfer that rests (its reader
 * or the shared rate has no room) does not count as stalled. */
#include "http.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "limits.h"
#include "loop.h"
#include "macro.h"
#include "str.h"

#define STALL_TICK_USEC (1 * USEC_PER_SEC)
#define RATE_TICK_USEC (50 * USEC_PER_MSEC)
#define BUFFER_BYTES (64 * 1024L)

enum flow { FLOW_RUNS, FLOW_WAITS_FOR_READER, FLOW_WAITS_FOR_RATE };

struct transfer {
        struct http *http;
        CURL *easy;
        struct curl_slist *headers;
        const struct http_ops *ops;
        void *arg;
        enum flow flow;
        bool head_seen;
        CURLcode broken;    /* failed outside of a socket action: ended by `late` */
        uint64_t last_msec; /* when the last byte came, or the wait ended */
        char why[CURL_ERROR_SIZE];
        TAILQ_ENTRY(transfer) entry;
};

struct http {
        uv_loop_t *loop;
        struct http_config config;
        CURLM *multi;
        struct alarm *deadline; /* curl's */
        struct alarm *tick;     /* looks for stalled transfers, while there are any */
        struct alarm *refill;   /* of the rate, while transfers wait for it */
        struct alarm *late;     /* ends what broke outside of a socket action */
        struct rate_limit rate;
        bool closing;
        TAILQ_HEAD(, transfer) transfers;
};

/* One socket of curl's. */
struct socket_watch {
        uv_poll_t poll;
        struct http *http;
        curl_socket_t fd;
};

/* --- results --- */

static enum cause cause_of(const struct transfer *t, CURLcode code)
{
        long connect_status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
        if (t->http->config.proxy &&
                (code == CURLE_COULDNT_CONNECT || (connect_status != 0 && connect_status / 100 != 2)))
                return CAUSE_PROXY;
        switch (code) {
        case CURLE_OK:
                return CAUSE_NONE;
        case CURLE_COULDNT_RESOLVE_HOST:
                return CAUSE_DNS;
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_PROXY:
                return CAUSE_PROXY;
        case CURLE_OPERATION_TIMEDOUT:
                return CAUSE_TIMEOUT;
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
        case CURLE_USE_SSL_FAILED:
                return CAUSE_TLS;
        case CURLE_COULDNT_CONNECT:
        case CURLE_GOT_NOTHING:
        case CURLE_SEND_ERROR:
        case CURLE_RECV_ERROR:
        case CURLE_PARTIAL_FILE:
                return CAUSE_NETWORK;
        case CURLE_OUT_OF_MEMORY:
                /* also of a header line of more than 100 KB (CURL_MAX_HTTP_HEADER) */
                return http_status(t) > 0 ? CAUSE_PROTOCOL : CAUSE_INTERNAL;
        case CURLE_FAILED_INIT:
        case CURLE_BAD_FUNCTION_ARGUMENT:
                return CAUSE_INTERNAL;
        default:
                return CAUSE_PROTOCOL;
        }
}

static void wipe_headers(struct curl_slist *list)
{
        for (struct curl_slist *l = list; l; l = l->next)
                explicit_bzero(l->data, strlen(l->data));
        curl_slist_free_all(list);
}

static struct transfer *transfer_free(struct transfer *t)
{
        TAILQ_REMOVE(&t->http->transfers, t, entry);
        if (TAILQ_EMPTY(&t->http->transfers))
                alarm_stop(t->http->tick);
        curl_multi_remove_handle(t->http->multi, t->easy);
        curl_easy_cleanup(t->easy);
        wipe_headers(t->headers);
        free(t);
        return NULL;
}

static int see_head(struct transfer *t)
{
        if (t->head_seen)
                return 0;
        t->head_seen = true;
        return t->ops->on_head(t->arg, t);
}

/* The one end of every transfer that is not cancelled. */
static void transfer_end(struct transfer *t, CURLcode code)
{
        struct http_result r = {.status = http_status(t)};
        if (code == CURLE_OK && see_head(t) < 0)
                code = CURLE_WRITE_ERROR;
        if (code != CURLE_OK)
                error_set(&r.error, cause_of(t, code), EIO, "%s%s",
                        t->why[0] ? t->why : curl_easy_strerror(code),
                        code == CURLE_OUT_OF_MEMORY ? ", or a header that is too long" : "");
        t->ops->on_done(t->arg, t, &r);
        transfer_free(t);
}

static void drain(struct http *h)
{
        CURLMsg *m;
        for (int left; (m = curl_multi_info_read(h->multi, &left));) {
                struct transfer *t = NULL;
                CURLcode code = m->data.result;
                curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
                if (m->msg == CURLMSG_DONE)
                        transfer_end(t, code);
        }
}

static void act(struct http *h, curl_socket_t fd, int events)
{
        int running;
        curl_multi_socket_action(h->multi, fd, events, &running);
        drain(h);
}

/* --- sockets and timers --- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
        struct socket_watch *w = poll->data;
        int flags = status < 0 ? CURL_CSELECT_ERR : 0;
        if (events & UV_READABLE)
                flags |= CURL_CSELECT_IN;
        if (events & UV_WRITABLE)
                flags |= CURL_CSELECT_OUT;
        act(w->http, w->fd, flags);
        /* w may be gone now */
}

static void on_watch_closed(uv_handle_t *handle)
{
        free(handle->data);
}

static struct socket_watch *socket_watch_new(struct http *h, curl_socket_t fd)
{
        struct socket_watch *w = calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        *w = (struct socket_watch){.http = h, .fd = fd};
        if (uv_poll_init(h->loop, &w->poll, fd) < 0) {
                free(w);
                return NULL;
        }
        w->poll.data = w;
        curl_multi_assign(h->multi, fd, w);
        return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
        (void)easy;
        struct http *h = user;
        struct socket_watch *w = socket_user;
        if (what == CURL_POLL_REMOVE) {
                if (!w)
                        return 0;
                /* Stopped at once: curl may close the descriptor and get the same number again. */
                uv_poll_stop(&w->poll);
                uv_close((uv_handle_t *)&w->poll, on_watch_closed);
                curl_multi_assign(h->multi, fd, NULL);
                return 0;
        }
        if (h->closing)
                return 0;
        if (!w)
                w = socket_watch_new(h, fd);
        if (!w)
                return -1;
        int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
        return uv_poll_start(&w->poll, events, on_poll) < 0 ? -1 : 0;
}

static void on_deadline(void *arg)
{
        act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long msec, void *user)
{
        (void)multi;
        struct http *h = user;
        if (h->closing)
                return 0;
        if (msec < 0)
                alarm_stop(h->deadline);
        else
                alarm_set(h->deadline, (uint64_t)msec * USEC_PER_MSEC); /* 0: in the next turn of the loop */
        return 0;
}

/* Ends one transfer for which pick says so, and looks again from the start: on_done may have changed the
 * list. */
static void end_where(struct http *h, bool (*pick)(const struct transfer *t), CURLcode code, const char *why)
{
        struct transfer *t = TAILQ_FIRST(&h->transfers);
        while (t) {
                if (!pick(t)) {
                        t = TAILQ_NEXT(t, entry);
                        continue;
                }
                if (why)
                        snprintf(t->why, sizeof(t->why), "%s", why);
                transfer_end(t, t->broken != CURLE_OK ? t->broken : code);
                t = TAILQ_FIRST(&h->transfers);
        }
}

static bool is_stalled(const struct transfer *t)
{
        const struct http *h = t->http;
        return t->flow == FLOW_RUNS &&
               (uv_now(h->loop) - t->last_msec) * USEC_PER_MSEC >= h->config.stall_usec;
}

static bool is_broken(const struct transfer *t)
{
        return t->broken != CURLE_OK;
}

static void on_tick(void *arg)
{
        struct http *h = arg;
        end_where(h, is_stalled, CURLE_OPERATION_TIMEDOUT, "no byte within stall_timeout");
        if (!TAILQ_EMPTY(&h->transfers))
                alarm_set(h->tick, MIN(STALL_TICK_USEC, h->config.stall_usec));
}

static void on_late(void *arg)
{
        end_where(arg, is_broken, CURLE_OK, NULL);
}

/* --- the body --- */

static void go_on(struct transfer *t)
{
        t->flow = FLOW_RUNS;
        t->last_msec = uv_now(t->http->loop);
        /* May call on_write at once; a failure there is not reported as a message by curl. */
        CURLcode code = curl_easy_pause(t->easy, CURLPAUSE_CONT);
        if (code != CURLE_OK) {
                t->broken = code;
                alarm_set(t->http->late, 0);
        }
}

void http_resume(struct transfer *t)
{
        if (t->flow == FLOW_WAITS_FOR_READER && t->broken == CURLE_OK)
                go_on(t);
}

static struct transfer *first_waiting_for_rate(struct http *h)
{
        struct transfer *t;
        TAILQ_FOREACH(t, &h->transfers, entry)
        if (t->flow == FLOW_WAITS_FOR_RATE && t->broken == CURLE_OK)
                return t;
        return NULL;
}

static void on_refill(void *arg)
{
        struct http *h = arg;
        struct transfer *t;
        while (rate_has_room(&h->rate, uv_now(h->loop)) && (t = first_waiting_for_rate(h))) {
                /* To the end of the queue, so that each has its turn. */
                TAILQ_REMOVE(&h->transfers, t, entry);
                TAILQ_INSERT_TAIL(&h->transfers, t, entry);
                go_on(t);
        }
        if (first_waiting_for_rate(h))
                alarm_set(h->refill, RATE_TICK_USEC);
}

static size_t on_write(char *p, size_t size, size_t n, void *arg)
{
        struct transfer *t = arg;
        struct http *h = t->http;
        (void)size; /* always 1 */
        t->last_msec = uv_now(h->loop);
        if (see_head(t) < 0)
                return CURL_WRITEFUNC_ERROR;
        if (!rate_has_room(&h->rate, uv_now(h->loop))) {
                t->flow = FLOW_WAITS_FOR_RATE;
                alarm_set(h->refill, RATE_TICK_USEC);
                return CURL_WRITEFUNC_PAUSE;
        }
        int r = t->ops->on_body(t->arg, p, n);
        if (r == HTTP_WAIT) {
                t->flow = FLOW_WAITS_FOR_READER;
                return CURL_WRITEFUNC_PAUSE;
        }
        if (r < 0)
                return CURL_WRITEFUNC_ERROR;
        rate_take(&h->rate, n);
        return n;
}

/* --- requests --- */

static CURLcode set_security(CURL *c, const struct http_config *config)
{
        CURLcode r = curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, config->allow_http ? "https,http" : "https");
        if (r == CURLE_OK)
                r = curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        if (r == CURLE_OK)
                r = curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
        if (r == CURLE_OK)
                r = curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
        if (r == CURLE_OK && config->ca_file)
                r = curl_easy_setopt(c, CURLOPT_CAINFO, config->ca_file);
        if (r == CURLE_OK && config->ca_file)
                r = curl_easy_setopt(c, CURLOPT_CAPATH, NULL); /* only these, not the system's beside them */
        if (r == CURLE_OK)
                r = curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
        /* Empty, not unset: so libcurl does not look into the environment. */
        if (r == CURLE_OK)
                r = curl_easy_setopt(c, CURLOPT_PROXY, config->proxy ? config->proxy : "");
        if (r == CURLE_OK)
                r = curl_easy_setopt(c, CURLOPT_NOPROXY, "");
        return r;
}

static CURLcode set_request(struct transfer *t, const struct http_request *request)
{
        CURL *c = t->easy;
        for (size_t i = 0; i < request->n_headers; i++) {
                struct curl_slist *l = curl_slist_append(t->headers, request->headers[i]);
                if (!l)
                        return CURLE_OUT_OF_MEMORY;
                t->headers = l;
        }
        CURLcode r = curl_easy_setopt(c, CURLOPT_URL, request->url);
        if (r == CURLE_OK)
                r = curl_easy_setopt(c, CURLOPT_USERAGENT, "czard/" CZARD_VERSION);
        if (r != CURLE_OK)
                return r;
        curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
        curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(c, request->head ? CURLOPT_NOBODY : CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
        /* A name server that does not answer must not hold up the loop when the transfer is given up. */
        curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
        curl_easy_setopt(c, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write);
        curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
        curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->why);
        curl_easy_setopt(c, CURLOPT_PRIVATE, t);
        return CURLE_OK;
}

int http_start(struct http *h, const struct http_request *request, struct transfer **ret)
{
        assert(!h->closing);
        struct transfer *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        *t = (struct transfer){.http = h, .ops = request->ops, .arg = request->arg};
        /* The loop's idea of now may be old: the request comes from a callback that took its time. */
        uv_update_time(h->loop);
        t->last_msec = uv_now(h->loop);
        t->easy = curl_easy_init();
        bool first = TAILQ_EMPTY(&h->transfers);
        TAILQ_INSERT_TAIL(&h->transfers, t, entry);
        if (!t->easy || set_security(t->easy, &h->config) != CURLE_OK ||
                set_request(t, request) != CURLE_OK || curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) {
                transfer_free(t);
                return -ENOMEM;
        }
        if (first)
                alarm_set(h->tick, MIN(STALL_TICK_USEC, h->config.stall_usec));
        *ret = t;
        return 0;
}

struct transfer *http_cancel(struct transfer *t)
{
        return t ? transfer_free(t) : NULL;
}

unsigned http_status(const struct transfer *t)
{
        long status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        return status > 0 && status <= 999 ? (unsigned)status : 0;
}

const char *http_header(const struct transfer *t, const char *name)
{
        struct curl_header *found;
        if (curl_easy_header(t->easy, name, 0, CURLH_HEADER, -1, &found) != CURLHE_OK)
                return NULL;
        return strlen(found->value) <= LIMIT_HTTP_HEADER ? found->value : NULL;
}

bool http_is_encoded(const struct transfer *t)
{
        const char *encoding = http_header(t, "Content-Encoding");
        return encoding && strcasecmp(encoding, "identity") != 0;
}

bool http_header_repeats(const struct transfer *t, const char *name)
{
        struct curl_header *found;
        return curl_easy_header(t->easy, name, 1, CURLH_HEADER, -1, &found) == CURLHE_OK;
}

/* --- the whole --- */

int http_new(uv_loop_t *loop, const struct http_config *config, struct http **ret, struct error *e)
{
        struct http *h = calloc(1, sizeof(*h));
        if (!h)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        *h = (struct http){.loop = loop, .config = *config};
        TAILQ_INIT(&h->transfers);
        rate_init(&h->rate, config->bytes_per_second, uv_now(loop));
        h->multi = curl_multi_init();
        if (!h->multi || alarm_new(loop, on_deadline, h, &h->deadline) < 0 ||
                alarm_new(loop, on_tick, h, &h->tick) < 0 || alarm_new(loop, on_refill, h, &h->refill) < 0 ||
                alarm_new(loop, on_late, h, &h->late) < 0) {
                http_free(h);
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        }
        curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
        curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
        curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)config->max_connections);
        *ret = h;
        return 0;
}

struct http *http_free(struct http *h)
{
        if (!h)
                return NULL;
        assert(TAILQ_EMPTY(&h->transfers));
        h->closing = true; /* curl calls on_socket and on_timer while it cleans up */
        if (h->multi)
                curl_multi_cleanup(h->multi);
        h->deadline = alarm_free(h->deadline);
        h->tick = alarm_free(h->tick);
        h->refill = alarm_free(h->refill);
        h->late = alarm_free(h->late);
        free(h);
        return NULL;
}
