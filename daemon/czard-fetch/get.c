/* SPDX-License-Identifier: Apache-2.0 */
/* A GET from top to bottom.
 *
 *   NEW -> [PARTS] -> BODY -> [FLUSH] -> FINISHED
 *                     |  ^
 *                     v  |
 *                    PAUSE
 *
 * PARTS asks how large the parts of a multipart upload are, to be able to check its ETag. BODY is a request
 * that runs; the pipe may hold it up. PAUSE waits before the next try, which goes on at pos with Range and
 * If-Match. FLUSH: all bytes came, the reader has not taken them yet. In FINISHED the owner is told, in the
 * next turn of the loop, and closes the pipe: not before, or the reader's word of a body that ends too early
 * may be heard before ours, which has the cause.
 *
 * What always holds: pos bytes were put into the pipe and into the digests, in order, all of one ETag. */
#include "fetch.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "answer.h"
#include "httpval.h"
#include "limits.h"
#include "loop.h"
#include "str.h"
#include "terms.h"
#include "verify.h"

enum get_state { GET_NEW, GET_PARTS, GET_BODY, GET_PAUSE, GET_FLUSH, GET_FINISHED, GET_STATE_MAX };

static const unsigned edges[GET_STATE_MAX] _unused_ = {
        [GET_NEW] = BIT(GET_PARTS) | BIT(GET_BODY) | BIT(GET_FINISHED),
        [GET_PARTS] = BIT(GET_PARTS) | BIT(GET_BODY) | BIT(GET_FINISHED),
        [GET_BODY] = BIT(GET_PAUSE) | BIT(GET_FLUSH) | BIT(GET_FINISHED),
        [GET_PAUSE] = BIT(GET_BODY) | BIT(GET_FINISHED),
        [GET_FLUSH] = BIT(GET_FINISHED),
        [GET_FINISHED] = 0,
};

struct get {
        struct s3 *s3;
        const struct credentials *credentials;
        char *bucket, *key, *etag;
        uint64_t offset, length, size;
        bool whole;

        enum get_state state;
        struct s3_call *call;
        struct outpipe *out;
        struct alarm *alarm; /* PAUSE: the next try; FINISHED: tell the owner */
        struct verify *verify;
        struct heal heal;
        uint64_t pos, pos_at_start; /* of length; pos_at_start: when the running try began */
        char range[64];
        uint64_t part_size;   /* 0: not known */
        unsigned parts;       /* of the upload, as its ETag says */
        unsigned part;        /* PARTS: the one that is asked for */
        uint64_t part_length; /* ... and how long it is; 0: not told */
        char part_text[16];
        struct sigv4_pair part_query[1];

        const char *doubt;    /* why the answer that runs may be somebody else's than S3's, or NULL */
        struct s3_result sum; /* of all calls; its error is how it ends */
        uint32_t checks;      /* ONE_ETAG until an answer came without one */
        char new_etag[LIMIT_ETAG + 1];
        fetch_done_fn *done;
        void *arg;
};

static void enter(struct get *g, enum get_state next)
{
        assert(edges[g->state] & BIT(next));
        g->state = next;
}

/* --- the end --- */

static void finish(struct get *g)
{
        enter(g, GET_FINISHED);
        g->call = s3_cancel(g->call);
        alarm_set(g->alarm, 0);
}

/* What only looks like a bad object is none: a captive portal, a proxy that packs what it passes on. */
static void fail(struct get *g, const struct error *e)
{
        g->sum.error = *e;
        if (g->doubt && cause_remedy(e->cause) == REMEDY_LIMITED) {
                g->sum.error.cause = CAUSE_PROTOCOL;
                error_prefix(&g->sum.error, "an answer with %s", g->doubt);
        }
        finish(g);
}

static void fail_errno(struct get *g, int err)
{
        struct error e;
        if (err == -EPIPE)
                error_set(&e, CAUSE_CANCELLED, EPIPE, "the reader closed the pipe");
        else
                error_set(&e, CAUSE_INTERNAL, -err, "GET: %s", strerror(-err));
        fail(g, &e);
}

static void tell(struct get *g)
{
        struct proto_done done = fetch_done(&g->sum, g->credentials);
        done.bytes = g->pos;
        done.checks = done.outcome.cause == CAUSE_NONE ? g->checks : 0;
        done.new_etag = g->new_etag;
        g->done(g->arg, &done);
}

/* All bytes are in the pipe. */
static void succeed(struct get *g)
{
        struct error e = {};
        g->checks |= CHECK_SIZE | (s3_is_tls(g->s3) ? CHECK_TLS : 0);
        if (g->verify && verify_finish(g->verify, &g->checks, &e) < 0)
                fail(g, &e);
        else
                finish(g);
}

/* --- the answer --- */

/* Is it the object we know? S3 checks If-Match; a server that ignores it gives itself away here. */
static int check_etag(struct get *g, const struct transfer *t, struct error *e)
{
        const char *etag = http_header(t, "ETag");
        struct httpval_etag strong;
        if (!etag) {
                g->checks &= ~CHECK_ONE_ETAG;
                g->doubt = "no ETag";
        }
        if (!etag || httpval_etag_equal(etag, g->etag))
                return 0;
        if (httpval_etag(etag, &strong) < 0)
                return error_set(e, CAUSE_PROTOCOL, EPROTO, "an answer with a weak or malformed ETag");
        snprintf(g->new_etag, sizeof(g->new_etag), "%s", strlen(etag) <= LIMIT_ETAG ? etag : "");
        return error_set(e, CAUSE_REPLACED, ESTALE, "the object has another ETag now");
}

/* A 206 must be exactly what was asked for, of an object of the size we know. */
static int check_partial(const struct get *g, const struct transfer *t, struct error *e)
{
        struct httpval_range r;
        const char *v = http_header(t, "Content-Range");
        if (http_status(t) != 206)
                return error_set(e, CAUSE_PROTOCOL, EPROTO,
                        "asked for a range, got status %u: a proxy that drops Range?", http_status(t));
        if (!v || httpval_content_range(v, &r) < 0 || !r.satisfied)
                return error_set(e, CAUSE_PROTOCOL, EPROTO, "a partial answer without a Content-Range");
        if (r.has_total && r.total != g->size) /* with the ETag that was listed: one of the two is a lie */
                return error_set(e, CAUSE_PROTOCOL, EPROTO,
                        "a Content-Range of %" PRIu64 " bytes, listed were %" PRIu64 " with the same ETag",
                        r.total, g->size);
        if (r.first != g->offset + g->pos || r.last != g->offset + g->length - 1)
                return error_set(e, CAUSE_PROTOCOL, EPROTO, "another range than asked for");
        return 0;
}

static int check_whole(const struct get *g, const struct transfer *t, struct error *e)
{
        uint64_t n;
        const char *v = http_header(t, "Content-Length");
        if (http_status(t) != 200)
                return error_set(
                        e, CAUSE_PROTOCOL, EPROTO, "asked for the whole, got status %u", http_status(t));
        if (!v || http_header(t, "Transfer-Encoding")) /* it does not count there; what comes is counted */
                return 0;
        if (httpval_u64(v, INT64_MAX, &n) < 0)
                return error_set(e, CAUSE_PROTOCOL, EPROTO, "a bad Content-Length");
        if (n != g->size)
                return error_set(e, CAUSE_PROTOCOL, EPROTO, /* and costs no more than a head to ask again */
                        "the object has %" PRIu64 " bytes, listed were %" PRIu64, n, g->size);
        return 0;
}

/* The digests begin with the body. Headers are copied: http_header() keeps only one at a time. */
static int begin_verify(struct get *g, const struct transfer *t)
{
        static const char *const names[] = {"x-amz-server-side-encryption",
                "x-amz-server-side-encryption-customer-algorithm", "x-amz-checksum-type"};
        char value[ELEMENTSOF(names) + VERIFY_CHECKSUMS][96] = {};
        for (size_t i = 0; i < ELEMENTSOF(value); i++) {
                const char *v = http_header(
                        t, i < ELEMENTSOF(names) ? names[i] : verify_checksum_header[i - ELEMENTSOF(names)]);
                if (v && strlen(v) < sizeof(value[0]))
                        strcpy(value[i], v);
        }
        struct verify_headers h = {
                .encryption = value[0], .customer_key = value[1], .checksum_type = value[2]};
        for (size_t i = 0; i < VERIFY_CHECKSUMS; i++)
                h.checksum[i] = value[ELEMENTSOF(names) + i];
        return verify_begin(g->verify, &h);
}

static int on_head(void *arg, const struct transfer *t, struct error *e)
{
        struct get *g = arg;
        if (http_is_encoded(t))
                g->doubt = "a Content-Encoding";
        int r = check_etag(g, t, e);
        if (r == 0)
                r = g->range[0] ? check_partial(g, t, e) : check_whole(g, t, e);
        if (r == 0 && g->verify && g->pos == 0 && begin_verify(g, t) < 0)
                r = error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        return r;
}

static int on_body(void *arg, const void *p, size_t n, struct error *e)
{
        struct get *g = arg;
        if (outpipe_full(g->out))
                return HTTP_WAIT;
        if (n > g->length - g->pos)
                return error_set(e, CAUSE_SIZE, EMSGSIZE, "more than %" PRIu64 " bytes came", g->length);
        int r = outpipe_put(g->out, p, n);
        if (r == -EPIPE)
                return error_set(e, CAUSE_CANCELLED, EPIPE, "the reader closed the pipe");
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "writing to the pipe: %s", strerror(-r));
        if (g->verify)
                verify_update(g->verify, p, n);
        g->pos += n;
        return 0;
}

/* The reader has taken what waited, or is gone. */
static void on_room(void *arg, int status)
{
        struct get *g = arg;
        if (g->state == GET_FINISHED)
                return;
        if (status < 0)
                fail_errno(g, status);
        else if (g->state == GET_FLUSH)
                succeed(g);
        else if (g->call)
                s3_resume(g->call);
}

/* --- tries --- */

static void body_done(void *arg, const struct s3_result *r);

static void start_body(struct get *g)
{
        static const struct s3_ops ops = {.on_head = on_head, .on_body = on_body, .on_done = body_done};
        enter(g, GET_BODY);
        bool all = g->offset == 0 && g->length == g->size && g->pos == 0;
        g->range[0] = 0;
        if (!all)
                snprintf(g->range, sizeof(g->range), "bytes=%" PRIu64 "-%" PRIu64, g->offset + g->pos,
                        g->offset + g->length - 1);
        g->pos_at_start = g->pos;
        g->doubt = NULL;
        const struct s3_request request = {
                .credentials = g->credentials,
                .bucket = g->bucket,
                .key = g->key,
                .checksums = g->whole,
                .if_match = g->etag,
                .range = g->range,
                .ops = &ops,
                .arg = g,
        };
        int r = s3_start(g->s3, &request, &g->call);
        if (r < 0)
                fail_errno(g, r);
}

/* Also when the connection ended badly behind the last byte. */
static bool all_came(const struct get *g, enum cause cause)
{
        return g->pos == g->length && (cause == CAUSE_NONE || (g->length > 0 && heal_passes(cause)));
}

static void body_done(void *arg, const struct s3_result *r)
{
        struct get *g = arg;
        struct error e = r->error;
        uint64_t delay;
        g->call = NULL;
        s3_result_add(&g->sum, r);
        if (all_came(g, e.cause)) {
                enter(g, GET_FLUSH);
                if (!outpipe_full(g->out))
                        succeed(g);
                return;
        }
        if (e.cause == CAUSE_NONE)
                error_set(&e, CAUSE_TRUNCATED, EIO, "the body ended after %" PRIu64 " of %" PRIu64 " bytes",
                        g->pos, g->length);
        if (heal_next(&g->heal, e.cause, g->pos, g->pos - g->pos_at_start, r->retry_after_usec, &delay) < 0) {
                fail(g, &e);
                return;
        }
        enter(g, GET_PAUSE);
        alarm_set(g->alarm, delay);
}

/* --- the parts of a multipart upload --- */

/* Only an answer that is about a part tells: a server without partNumber describes the whole object. */
static int on_parts_head(void *arg, const struct transfer *t, struct error *e)
{
        (void)e;
        struct get *g = arg;
        struct httpval_range r = {};
        uint64_t n = 0;
        const char *v = http_header(t, "Content-Range");
        bool is_part = http_status(t) == 206 && v && httpval_content_range(v, &r) == 0 && r.satisfied &&
                       r.first == (g->part - 1) * g->part_size && r.has_total && r.total == g->size;
        if (is_part)
                n = r.last + 1 - r.first;
        v = http_header(t, "x-amz-mp-parts-count");
        if (!is_part && v && (v = http_header(t, "Content-Length")) && httpval_u64(v, INT64_MAX, &n) < 0)
                n = 0;
        g->part_length = n < g->size ? n : 0;
        return 0;
}

static int on_parts_body(void *arg, const void *p, size_t n, struct error *e)
{
        (void)arg, (void)p, (void)n;
        return error_set(e, CAUSE_PROTOCOL, EPROTO, "a HEAD with a body");
}

static void ask_part(struct get *g, unsigned part);

/* The first says how long they all are; of three or more the last says whether that is so: parts may be of
 * different sizes. */
static bool next_part(struct get *g)
{
        if (g->part == 1) {
                g->part_size = g->part_length;
                return g->part_size > 0 && g->parts > 2;
        }
        uint64_t before = (g->parts - 1) * g->part_size;
        if (before >= g->size || g->part_length != g->size - before)
                g->part_size = 0;
        return false;
}

/* However it went, the GET follows: where it is refused too, its answer says more than that of a HEAD. */
static void parts_done(void *arg, const struct s3_result *r)
{
        struct get *g = arg;
        g->call = NULL;
        s3_result_add(&g->sum, r);
        if (next_part(g)) {
                ask_part(g, g->parts);
                return;
        }
        int err = verify_new(g->etag, g->size, g->part_size, &g->verify);
        if (err < 0)
                fail_errno(g, err);
        else
                start_body(g);
}

static void ask_part(struct get *g, unsigned part)
{
        static const struct s3_ops ops = {
                .on_head = on_parts_head, .on_body = on_parts_body, .on_done = parts_done};
        enter(g, GET_PARTS);
        g->part = part;
        g->part_length = 0;
        snprintf(g->part_text, sizeof(g->part_text), "%u", part);
        g->part_query[0] = (struct sigv4_pair){"partNumber", g->part_text};
        const struct s3_request request = {
                .credentials = g->credentials,
                .bucket = g->bucket,
                .key = g->key,
                .head = true,
                .if_match = g->etag,
                .query = g->part_query,
                .n_query = ELEMENTSOF(g->part_query),
                .ops = &ops,
                .arg = g,
        };
        int r = s3_start(g->s3, &request, &g->call);
        if (r < 0)
                fail_errno(g, r);
}

/* --- the whole --- */

static void on_alarm(void *arg)
{
        struct get *g = arg;
        if (g->state == GET_FINISHED)
                tell(g);
        else
                start_body(g);
}

void get_start(struct get *g)
{
        struct httpval_etag etag = {};
        struct error e;
        int r = httpval_etag(g->etag, &etag);
        if (r < 0) {
                error_set(&e, CAUSE_PROTOCOL, EINVAL, "the listed ETag is none that If-Match could compare");
                fail(g, &e);
        } else if (g->whole && etag.is_md5 && etag.parts > 1) {
                g->parts = etag.parts;
                ask_part(g, 1);
        } else {
                if (g->whole)
                        r = verify_new(g->etag, g->size, 0, &g->verify);
                if (r < 0)
                        fail_errno(g, r);
                else
                        start_body(g);
        }
}

int get_new(uv_loop_t *loop, struct s3 *s3, const struct credentials *credentials,
        const struct proto_get *spec, int pipe_fd, fetch_done_fn *done, void *arg, struct get **ret)
{
        struct get *g = calloc(1, sizeof(*g));
        if (!g) {
                close_fd(pipe_fd);
                return -ENOMEM;
        }
        *g = (struct get){.s3 = s3, .credentials = credentials, .done = done, .arg = arg};
        g->offset = spec->offset;
        g->length = spec->length;
        g->size = spec->size;
        g->whole = spec->whole;
        g->checks = CHECK_ONE_ETAG;
        g->bucket = strdup(spec->bucket);
        g->key = strdup(spec->key);
        g->etag = strdup(spec->etag);
        int r = outpipe_new(loop, pipe_fd, on_room, g, &g->out);
        if (r == 0 && (!g->bucket || !g->key || !g->etag))
                r = -ENOMEM;
        if (r == 0)
                r = alarm_new(loop, on_alarm, g, &g->alarm);
        if (r < 0) {
                get_free(g);
                return r;
        }
        *ret = g;
        return 0;
}

int get_take_pipe(struct get *g)
{
        int fd = outpipe_free(g->out);
        g->out = NULL;
        return fd;
}

uint64_t get_bytes(const struct get *g)
{
        return g->pos;
}

struct get *get_free(struct get *g)
{
        if (!g)
                return NULL;
        g->call = s3_cancel(g->call);
        close_fd(outpipe_free(g->out));
        g->alarm = alarm_free(g->alarm);
        g->verify = verify_free(g->verify);
        free(g->bucket);
        free(g->key);
        free(g->etag);
        free(g);
        return NULL;
}
