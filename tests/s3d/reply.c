/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: headers, error documents, the line in the log. Everything goes through reply_send(), where the
 * behaviour has the last word. */
#include "request.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <strings.h>

time_t request_now(const struct request *q)
{
        return time(NULL) + (q->behaviour ? (time_t)q->behaviour->date_skew : 0);
}

static void drop_header(struct reply *r, const char *name)
{
        size_t n = 0;
        for (size_t i = 0; i < r->n_headers; i++) {
                if (strcasecmp(r->headers[i].name, name) == 0) {
                        free(r->headers[i].name);
                        free(r->headers[i].value);
                } else
                        r->headers[n++] = r->headers[i];
        }
        r->n_headers = n;
}

static void add_header(struct reply *r, const char *name, char *value)
{
        r->headers = reallocarray(r->headers, r->n_headers + 1, sizeof(*r->headers));
        if (!r->headers)
                abort();
        r->headers[r->n_headers++] = (struct name_value){.name = text_dup(name), .value = value};
}

void reply_header(struct request *q, const char *name, const char *format, ...)
{
        va_list ap;
        char *value = NULL;
        va_start(ap, format);
        int n = vasprintf(&value, format, ap);
        va_end(ap);
        if (n < 0)
                abort();
        add_header(&q->reply, name, value);
}

/* The headers that every answer of S3 has:
 * https://docs.aws.amazon.com/AmazonS3/latest/API/RESTCommonResponseHeaders.html */
static void add_common_headers(struct request *q)
{
        static uint64_t counter;
        char date[HTTP_DATE_SIZE];
        uint64_t id = __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED);
        reply_header(q, "Date", "%s", date_http(request_now(q), date));
        reply_header(q, "Server", "s3d");
        reply_header(q, "x-amz-request-id", "%016" PRIX64, id);
        reply_header(q, "x-amz-id-2", "s3d%016" PRIx64, id);
}

static void apply_headers(struct request *q)
{
        for (size_t i = 0; q->behaviour && i < q->behaviour->n_headers; i++)
                drop_header(&q->reply, q->behaviour->headers[i].name);
        for (size_t i = 0; q->behaviour && i < q->behaviour->n_headers; i++)
                if (*q->behaviour->headers[i].value)
                        add_header(&q->reply, q->behaviour->headers[i].name,
                                text_dup(q->behaviour->headers[i].value));
}

enum MHD_Result reply_send(struct request *q)
{
        struct reply *r = &q->reply;
        add_common_headers(q);
        apply_headers(q);
        q->status = r->status;
        struct MHD_Response *response = body_response(q);
        if (!response)
                return MHD_NO;
        for (size_t i = 0; i < r->n_headers; i++)
                if (*r->headers[i].value)
                        MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
        /* Logged before the client can have seen the answer; a body logs its end itself. */
        if (r->length == 0 || text_eq(q->method, "HEAD"))
                request_log(q);
        enum MHD_Result done = MHD_queue_response(q->connection, (unsigned)r->status, response);
        MHD_destroy_response(response);
        return done;
}

enum MHD_Result reply_text(struct request *q, int status, const char *content_type, char *body, size_t n)
{
        content_free(q->reply.content);
        q->reply.content = content_new_text(body, n, n);
        q->reply.status = status;
        q->reply.start = 0;
        q->reply.length = n;
        reply_header(q, "Content-Type", "%s", content_type);
        return reply_send(q);
}

/* REST error responses: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
 * That of a HEAD has no body, only the status:
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html */
enum MHD_Result reply_error(
        struct request *q, int status, const char *code, const char *message, const char *extra)
{
        struct text t;
        q->code = code;
        if (text_eq(q->method, "HEAD"))
                return reply_text(q, status, "application/xml", NULL, 0);
        text_open(&t);
        fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>", t.f);
        xml_escape(t.f, code);
        fputs("</Code><Message>", t.f);
        xml_escape(t.f, message);
        fprintf(t.f, "</Message>%s<Resource>", extra ? extra : "");
        xml_escape(t.f, q->target);
        fputs("</Resource><RequestId>s3d</RequestId><HostId>s3d</HostId></Error>", t.f);
        char *s = text_close(&t);
        return reply_text(q, status, "application/xml", s, t.n);
}

static void log_word(FILE *f, const char *name, const char *value)
{
        if (!value)
                return;
        fprintf(f, " %s=", name);
        uri_encode(f, value, true);
}

static void log_field(FILE *f, const char *value)
{
        fputc(' ', f);
        if (value && *value)
                uri_encode(f, value, true);
        else
                fputc('-', f);
}

static void log_range(FILE *f, const struct request *q)
{
        const char *range = request_header(q, "Range"), *part = request_param(q, "partNumber");
        if (!range && part)
                fputs(" part=", f);
        else
                fputc(' ', f);
        for (const char *p = range ? range : part ? part : "-"; *p; p++)
                if ((unsigned char)*p > ' ')
                        fputc(*p, f);
}

static uintptr_t connection_number(const struct request *q)
{
        return (uintptr_t)MHD_get_connection_info(q->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
                ->socket_context;
}

static unsigned gets_under_way;

void request_count(struct request *q)
{
        if (q->op == OP_GET)
                q->at_once = __atomic_add_fetch(&gets_under_way, 1, __ATOMIC_RELAXED);
}

void request_log(struct request *q)
{
        if (q->logged || !q->method)
                return;
        q->logged = true;
        if (q->at_once)
                __atomic_sub_fetch(&gets_under_way, 1, __ATOMIC_RELAXED);
        if (q->server->log_fd < 0)
                return;
        struct text t;
        text_open(&t);
        fputs(q->method, t.f);
        log_field(t.f, q->bucket);
        log_field(t.f, q->op == OP_LIST ? request_param(q, "prefix") : q->key);
        fprintf(t.f, " %s", op_name(q->op));
        log_range(t.f, q);
        fprintf(t.f, " %d %" PRIu64, q->status, q->sent);
        log_word(t.f, "code", q->code);
        log_word(t.f, "behaviour", q->behaviour ? q->behaviour->file : NULL);
        log_word(t.f, "if_match", request_header(q, "If-Match"));
        log_word(t.f, "start_after", request_param(q, "start-after"));
        log_word(t.f, "continued", request_param(q, "continuation-token") ? "yes" : NULL);
        log_word(t.f, "access_key", q->who ? q->who->access : NULL);
        fprintf(t.f, " connection=%" PRIuPTR, connection_number(q));
        if (q->at_once)
                fprintf(t.f, " at_once=%u", q->at_once);
        fputc('\n', t.f);
        _cleanup_free_ char *line = text_close(&t);
        if (write(q->server->log_fd, line, t.n) != (ssize_t)t.n)
                fprintf(stderr, "s3d: log: %m\n");
}
