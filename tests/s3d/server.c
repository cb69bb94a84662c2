/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a request: libmicrohttpd calls on_target() with the raw request line, on_request() with headers,
 * upload and end, on_completed() at last. handle() below reads top to bottom in the order in which S3
 * decides. */
#include "server.h"

#include <arpa/inet.h>
#include <stdarg.h>

#include "request.h"

static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
        (void)connection;
        return request_new(cls, target);
}

static void on_completed(
        void *cls, struct MHD_Connection *connection, void **ret, enum MHD_RequestTerminationCode why)
{
        (void)cls;
        (void)connection;
        (void)why;
        struct request *q = *ret;
        if (q)
                request_log(q);
        *ret = request_free(q);
}

/* Numbers the connections, from 1. */
static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
        enum MHD_ConnectionNotificationCode what)
{
        static uintptr_t last;
        (void)cls;
        (void)connection;
        if (what == MHD_CONNECTION_NOTIFY_STARTED)
                *context = (void *)__atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

/* 0, or -EINVAL with *ret_problem. */
static int find_behaviour(struct request *q, char **ret_problem)
{
        _cleanup_(sv_auth_done) struct sv_auth a = {};
        const char *authorization = request_header(q, "Authorization");
        if (authorization)
                (void)sv_auth_parse(authorization, &a);
        const struct behaviour_query query = {
                .method = q->method,
                .op = op_name(q->op),
                .bucket = q->bucket,
                .key = q->op == OP_LIST ? (request_param(q, "prefix") ? request_param(q, "prefix") : "")
                                        : q->key,
                .access_key = a.access,
                .range = request_header(q, "Range") != NULL,
                .part = request_param(q, "partNumber") != NULL,
        };
        int r = behaviour_match(q->server->behaviour_dir, &query, &q->behaviour, ret_problem);
        struct behaviour *b = q->behaviour;
        char **files[] = {b ? &b->body : NULL, b ? &b->body_head : NULL, b ? &b->body_tail : NULL,
                b ? &b->replace_with : NULL};
        for (size_t i = 0; b && i < ELEMENTSOF(files); i++)
                if (*files[i] && **files[i] != '/') {
                        char *path = text_printf("%s/%s", q->server->behaviour_dir, *files[i]);
                        free(*files[i]);
                        *files[i] = path;
                }
        return r;
}

/* What a behaviour does to the world before the request is looked at. */
static void act_before(struct request *q)
{
        const struct behaviour *b = q->behaviour;
        int r = 0;
        if (!b)
                return;
        if (b->delay_msec)
                (void)request_wait(q, b->delay_msec * USEC_PER_MSEC);
        if (q->key && b->remove)
                r = store_remove(&q->server->store, q->bucket, q->key);
        if (q->key && b->replace_with && b->replace_after.kind == AMOUNT_NONE)
                r = store_replace(&q->server->store, q->bucket, q->key, b->replace_with);
        if (r < 0)
                fprintf(stderr, "s3d: %s: %s\n", b->file, strerror(-r));
}

/* "301 PermanentRedirect: The bucket that you are attempting to access must be addressed using the specified
 * endpoint" and x-amz-bucket-region: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html */
static enum MHD_Result redirect(struct request *q)
{
        const struct behaviour *b = q->behaviour;
        int status = b->redirect_status ? (int)b->redirect_status : 301;
        _cleanup_free_ char *region = xml_element("Region", b->redirect_region);
        if (status != 400 || text_eq(q->method, "HEAD"))
                reply_header(q, "x-amz-bucket-region", "%s", b->redirect_region);
        if (b->location)
                reply_header(q, "Location", "%s", b->location);
        if (status == 400)
                return reply_error(q, 400, "AuthorizationHeaderMalformed",
                        "The authorization header is malformed; the region is wrong", region);
        _cleanup_free_ char *extra =
                text_printf("<Endpoint>%s.s3.%s.amazonaws.com</Endpoint><Bucket>%s</Bucket>", q->bucket,
                        b->redirect_region, q->bucket);
        return reply_error(q, status, status == 307 ? "TemporaryRedirect" : "PermanentRedirect",
                "The bucket you are attempting to access must be addressed using the specified endpoint. "
                "Please send all "
                "future requests to this endpoint.",
                extra);
}

/* 0, or 1 when an answer was queued with *ret. */
static int authenticate(struct request *q, enum MHD_Result *ret)
{
        const struct sv_request r = {
                .method = q->method, .target = q->target, .headers = q->headers, .n_headers = q->n_headers};
        struct auth_context c = {
                .credentials = &q->credentials, .region = q->server->region, .now = request_now(q)};
        _cleanup_(s3_error_done) struct s3_error e = {};
        _cleanup_free_ char *region = auth_region(&r);
        const char *other = q->behaviour ? q->behaviour->redirect_region : NULL;
        if (other && region && text_eq(region, other))
                c.region = other;
        if (credentials_read(q->server->credentials, q->server->policy, &q->credentials) < 0) {
                *ret = reply_error(q, 500, "InternalError", "The credentials file cannot be read", NULL);
                return 1;
        }
        if (auth_check(&r, &c, &q->who, &e) < 0) {
                /* so that a HEAD, which has no body, tells too */
                if (text_eq(q->method, "HEAD") && e.extra && strncmp(e.extra, "<Region>", 8) == 0)
                        reply_header(q, "x-amz-bucket-region", "%s", q->server->region);
                *ret = reply_error(q, e.status, e.code, e.message, e.extra);
                return 1;
        }
        if (other && !text_eq(region, other)) {
                *ret = redirect(q);
                return 1;
        }
        return 0;
}

static const char *default_code(int status)
{
        return status == 503   ? "SlowDown"
               : status == 404 ? "NoSuchKey"
               : status == 403 ? "AccessDenied"
                               : "InternalError";
}

static enum MHD_Result reply_file(struct request *q)
{
        const struct behaviour *b = q->behaviour;
        char *s = NULL;
        size_t n = 0;
        if (read_whole(b->body, UINT64_C(1) << 30, &s, &n) < 0)
                return reply_error(q, 500, "BehaviourFile", "body= cannot be read", NULL);
        uint64_t repeat = b->body_repeat == UINT64_MAX || (n && b->body_repeat > UINT64_MAX / n)
                                  ? UINT64_MAX
                                  : b->body_repeat * n;
        struct content *c = q->reply.content = content_new_text(s, n, n ? repeat : 0);
        if (b->body_head && read_whole(b->body_head, GIB, &s, &n) == 0)
                content_set_head(c, s, n);
        if (b->body_tail && read_whole(b->body_tail, GIB, &s, &n) == 0)
                content_set_tail(c, s, n);
        q->reply.status = b->status ? (int)b->status : 200;
        q->reply.length = content_size(c);
        reply_header(q, "Content-Type", "%s", b->content_type ? b->content_type : "application/xml");
        return reply_send(q);
}

/* An error or a body that the behaviour puts in the place of the answer. 0, or 1 with *ret. */
static int answer_instead(struct request *q, enum MHD_Result *ret)
{
        const struct behaviour *b = q->behaviour;
        if (!b)
                return 0;
        if (b->drop) {
                request_log(q);
                request_reset(q);
                *ret = MHD_NO;
                return 1;
        }
        if (b->retry_after)
                reply_header(q, "Retry-After", "%s", b->retry_after);
        if (b->body) {
                *ret = reply_file(q);
                return 1;
        }
        if (!b->status)
                return 0;
        const char *code = b->code ? b->code : default_code((int)b->status);
        *ret = reply_error(q, (int)b->status, code, b->message ? b->message : "Made by a behaviour", NULL);
        return 1;
}

static enum MHD_Result operate(struct request *q)
{
        switch (q->op) {
        case OP_LIST:
                return list_objects(q);
        case OP_GET:
        case OP_HEAD:
                return get_object(q);
        case OP_PUT:
                return put_begin(q);
        case OP_DELETE:
                return delete_object(q);
        case OP_BUCKET: /* https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html */
                reply_header(q, "x-amz-bucket-region", "%s", q->server->region);
                q->reply.status = 200;
                return reply_send(q);
        case OP_OTHER:
                break;
        }
        return reply_error(q, 501, "NotImplemented", "This operation is not played here", NULL);
}

static enum MHD_Result handle(struct request *q, int parsed)
{
        enum MHD_Result result = MHD_NO;
        _cleanup_free_ char *problem = NULL;
        request_count(q);
        if (parsed < 0)
                return reply_error(q, 400, "InvalidURI", "Couldn't parse the specified URI.", NULL);
        if (find_behaviour(q, &problem) < 0) {
                fprintf(stderr, "s3d: %s\n", problem);
                return reply_error(q, 500, "BehaviourFile", problem, NULL);
        }
        act_before(q);
        if (authenticate(q, &result))
                return result;
        if (!policy_allows(q))
                return reply_error(q, 403, "AccessDenied", "Access Denied", NULL);
        if (answer_instead(q, &result))
                return result;
        if (q->bucket && !store_has_bucket(&q->server->store, q->bucket))
                return reply_error(q, 404, "NoSuchBucket", "The specified bucket does not exist", NULL);
        return operate(q);
}

/* Called with the headers, then for each piece of an upload, then once with none. All but PUT are answered in
 * the last call: an answer before the end of the request would cost the connection. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
        const char *method, const char *version, const char *data, size_t *data_n, void **ret)
{
        (void)cls;
        (void)url;
        (void)version;
        struct request *q = *ret;
        if (!q->started) {
                q->started = true;
                q->connection = connection;
                q->parsed = request_parse(q, method);
                return q->parsed == 0 && q->op == OP_PUT ? handle(q, 0) : MHD_YES;
        }
        if (*data_n > 0) {
                if (q->upload)
                        put_data(q, data, *data_n);
                *data_n = 0;
                return MHD_YES;
        }
        return q->upload ? put_end(q) : handle(q, q->parsed);
}

/* Nothing is to be unescaped behind our back. */
static size_t keep_escaped(void *cls, struct MHD_Connection *connection, char *s)
{
        (void)cls;
        (void)connection;
        return strlen(s);
}

/* libmicrohttpd reports each fault that a behaviour has it commit; only what it says while it is started is
 * news. */
static _Thread_local bool starting;

__attribute__((format(printf, 2, 0))) static void on_message(void *cls, const char *format, va_list ap)
{
        (void)cls;
        if (starting)
                vfprintf(stderr, format, ap);
}

struct MHD_Daemon *server_start(
        struct server *s, unsigned port, const char *cert, const char *key, const char *tls_priorities)
{
        struct sockaddr_in address = {.sin_family = AF_INET,
                .sin_port = htons((uint16_t)port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
                         MHD_USE_SUPPRESS_DATE_NO_CLOCK | MHD_USE_ERROR_LOG;
        struct MHD_OptionItem tls[] = {
                {.option = MHD_OPTION_HTTPS_MEM_CERT, .ptr_value = (void *)(uintptr_t)cert},
                {.option = MHD_OPTION_HTTPS_MEM_KEY, .ptr_value = (void *)(uintptr_t)key},
                {.option = MHD_OPTION_HTTPS_PRIORITIES, .ptr_value = (void *)(uintptr_t)tls_priorities},
                {.option = MHD_OPTION_END},
        };
        if (cert)
                flags |= MHD_USE_TLS;
        else
                tls[0] = (struct MHD_OptionItem){.option = MHD_OPTION_END};
        starting = true;
        struct MHD_Daemon *d = MHD_start_daemon(flags, (uint16_t)port, NULL, NULL, on_request, s,
                MHD_OPTION_EXTERNAL_LOGGER, on_message, NULL, MHD_OPTION_SOCK_ADDR, &address,
                MHD_OPTION_URI_LOG_CALLBACK, on_target, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL, MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped,
                NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(128 * KIB), MHD_OPTION_ARRAY, tls,
                MHD_OPTION_END);
        starting = false;
        return d;
}
