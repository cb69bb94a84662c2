/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked: method, headers, bucket, key, parameters and operation, from the raw request line.
 * Path-style and virtual-hosted-style:
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html */
#include "request.h"

#include <arpa/inet.h>

struct request *request_new(struct server *s, const char *raw_target)
{
        struct request *q = text_alloc(sizeof(*q));
        q->server = s;
        /* the absolute form, as a client sends it to a proxy: only the path counts, as for Host */
        const char *scheme = strstr(raw_target, "://");
        if (*raw_target != '/' && scheme) {
                const char *path = strchr(scheme + 3, '/');
                raw_target = path ? path : "/";
        }
        q->target = text_dup(raw_target);
        q->op = OP_OTHER;
        return q;
}

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
        (void)kind;
        struct request *q = cls;
        q->headers = reallocarray(q->headers, q->n_headers + 1, sizeof(*q->headers));
        if (!q->headers)
                abort();
        q->headers[q->n_headers++] = (struct sv_header){.name = name, .value = value ? value : ""};
        return MHD_YES;
}

const char *request_header(const struct request *q, const char *name)
{
        const struct sv_request r = {.headers = q->headers, .n_headers = q->n_headers};
        return sv_header_get(&r, name);
}

const char *request_param(const struct request *q, const char *name)
{
        for (size_t i = 0; i < q->n_params; i++)
                if (text_eq(q->params[i].name, name))
                        return q->params[i].value;
        return NULL;
}

static int parse_params(struct request *q)
{
        const char *p = strchr(q->target, '?');
        for (p = p ? p + 1 : ""; *p;) {
                size_t n = strcspn(p, "&"), name_n = strcspn(p, "=&");
                if (n) {
                        q->params = reallocarray(q->params, q->n_params + 1, sizeof(*q->params));
                        if (!q->params)
                                abort();
                        struct name_value *v = &q->params[q->n_params++];
                        v->name = uri_decode(p, name_n, true);
                        v->value =
                                name_n < n ? uri_decode(p + name_n + 1, n - name_n - 1, true) : text_dup("");
                        if (!v->name || !v->value)
                                return -EINVAL;
                }
                p += n;
                p += *p == '&';
        }
        return 0;
}

/* The bucket that the Host header names: all before some dot, when there is a bucket of that name. */
static char *virtual_bucket(const struct request *q)
{
        const char *host = request_header(q, "Host");
        if (!host)
                return NULL;
        _cleanup_free_ char *name = text_dup_n(host, strcspn(host, ":"));
        struct in_addr ip;
        if (inet_pton(AF_INET, name, &ip) == 1)
                return NULL;
        for (char *dot; (dot = strrchr(name, '.'));) {
                *dot = 0;
                if (store_has_bucket(&q->server->store, name))
                        return take_ptr(&name);
        }
        return NULL;
}

static int parse_path(struct request *q)
{
        size_t n = strcspn(q->target, "?");
        const char *p = q->target + (*q->target == '/');
        const char *end = q->target + n;
        q->bucket = virtual_bucket(q);
        if (!q->bucket && p < end) {
                const char *slash = memchr(p, '/', (size_t)(end - p));
                const char *stop = slash ? slash : end;
                q->bucket = uri_decode(p, (size_t)(stop - p), false);
                if (!q->bucket)
                        return -EINVAL;
                p = slash ? slash + 1 : end;
        }
        if (p >= end)
                return 0;
        q->key = uri_decode(p, (size_t)(end - p), false);
        return q->key && strlen(q->key) <= 1024 ? 0 : -EINVAL;
}

/* Anything with a sub-resource (?acl, ?versions, ?attributes, ...) is OP_OTHER. */
static bool only_params(const struct request *q, const char *const *names)
{
        for (size_t i = 0; i < q->n_params; i++) {
                bool known =
                        strncmp(q->params[i].name, "response-", 9) == 0 || text_eq(q->params[i].name, "x-id");
                for (size_t k = 0; names[k] && !known; k++)
                        known = text_eq(q->params[i].name, names[k]);
                if (!known)
                        return false;
        }
        return true;
}

static enum op find_op(const struct request *q)
{
        static const char *const list_params[] = {"list-type", "prefix", "start-after", "continuation-token",
                "max-keys", "delimiter", "encoding-type", "fetch-owner", NULL};
        static const char *const object_params[] = {"partNumber", NULL};
        static const char *const no_params[] = {NULL};
        bool get = text_eq(q->method, "GET"), head = text_eq(q->method, "HEAD");
        if (!q->bucket)
                return OP_OTHER;
        if (!q->key && get && only_params(q, list_params))
                return OP_LIST;
        if (!q->key && head && q->n_params == 0)
                return OP_BUCKET;
        if (q->key && (get || head) && only_params(q, object_params))
                return get ? OP_GET : OP_HEAD;
        if (q->key && text_eq(q->method, "PUT") && only_params(q, no_params))
                return OP_PUT;
        if (q->key && text_eq(q->method, "DELETE") && only_params(q, no_params))
                return OP_DELETE;
        return OP_OTHER;
}

int request_parse(struct request *q, const char *method)
{
        q->method = text_dup(method);
        MHD_get_connection_values(q->connection, MHD_HEADER_KIND, add_header, q);
        int r = parse_params(q);
        if (r == 0)
                r = parse_path(q);
        if (r == 0)
                q->op = find_op(q);
        return r;
}

const char *op_name(enum op op)
{
        switch (op) {
        case OP_LIST:
                return "list";
        case OP_GET:
                return "get";
        case OP_HEAD:
                return "head";
        case OP_PUT:
                return "put";
        case OP_DELETE:
                return "delete";
        case OP_BUCKET:
                return "bucket";
        case OP_OTHER:
                break;
        }
        return "other";
}

struct request *request_free(struct request *q)
{
        if (!q)
                return NULL;
        free(q->target);
        free(q->method);
        free(q->headers);
        free(q->bucket);
        free(q->key);
        for (size_t i = 0; i < q->n_params; i++) {
                free(q->params[i].name);
                free(q->params[i].value);
        }
        free(q->params);
        for (size_t i = 0; i < q->reply.n_headers; i++) {
                free(q->reply.headers[i].name);
                free(q->reply.headers[i].value);
        }
        free(q->reply.headers);
        content_free(q->reply.content);
        credentials_done(&q->credentials);
        behaviour_free(q->behaviour);
        upload_free(q->upload);
        free(q);
        return NULL;
}
