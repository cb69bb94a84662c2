/* SPDX-License-Identifier: Apache-2.0 */
/* GetObject and HeadObject: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html and
 * API_HeadObject.html. get_object() finds the object, checks the conditions, chooses the bytes, then says
 * what they are. */
#include "request.h"

#include <inttypes.h>
#include <strings.h>

/* "a positive integer between 1 and 10,000" */
#define MAX_PART_NUMBER 10000

struct selection {
        uint64_t start, length;
        bool partial; /* 206 */
        bool is_part;
};

/* One ETag of a list, with or without quotes. */
static bool etag_listed(const char *list, const char *etag)
{
        _cleanup_free_ char *copy = text_dup(list);
        char *rest = copy, *p;
        while ((p = strsep(&rest, ","))) {
                p += strspn(p, " \t\"");
                p[strcspn(p, " \t\"")] = 0;
                if (text_eq(p, "*") || text_eq(p, etag))
                        return true;
        }
        return false;
}

/* If-Match: another ETag is 412 (precondition failed). If-None-Match: the same is 304 (not modified). */
static int check_conditions(struct request *q, const struct object *o)
{
        const char *match = request_header(q, "If-Match"), *none = request_header(q, "If-None-Match");
        if (match && !(q->behaviour && q->behaviour->ignore_if_match) && !etag_listed(match, o->etag))
                return 412;
        return none && etag_listed(none, o->etag) ? 304 : 0;
}

/* bytes=A-B, bytes=A-, bytes=-N. 0, -EINVAL (to be ignored, as HTTP says and as more than one range is), or
 * -ERANGE. */
static int parse_range(const char *s, uint64_t size, struct selection *ret)
{
        uint64_t first, last = UINT64_MAX;
        if (strncasecmp(s, "bytes=", 6) != 0)
                return -EINVAL;
        const char *dash = strchr(s + 6, '-');
        if (!dash || strchr(s, ','))
                return -EINVAL;
        _cleanup_free_ char *a = text_dup_n(s + 6, (size_t)(dash - s - 6));
        if (dash[1] && parse_number(dash + 1, &last) < 0)
                return -EINVAL;
        if (!*a) {
                if (!dash[1])
                        return -EINVAL;
                if (last == 0 || size == 0)
                        return -ERANGE;
                first = size - MIN(last, size);
                last = size - 1;
        } else if (parse_number(a, &first) < 0 || first > last)
                return -EINVAL;
        if (first >= size)
                return -ERANGE;
        *ret = (struct selection){.start = first, .length = MIN(last, size - 1) - first + 1, .partial = true};
        return 0;
}

/* An object that was not uploaded in parts has one part. */
static int parse_part(const char *s, const struct object *o, struct selection *ret)
{
        uint64_t part;
        if (parse_number(s, &part) < 0 || part < 1 || part > MAX_PART_NUMBER)
                return -EINVAL;
        if (part > MAX(o->parts, UINT64_C(1)))
                return -ERANGE;
        uint64_t part_size = o->parts ? o->meta.part_size : o->size;
        uint64_t start = (part - 1) * part_size;
        *ret = (struct selection){
                .start = start,
                .length = MIN(part_size, o->size - start),
                .partial = o->size > 0,
                .is_part = true,
        };
        return 0;
}

static void shift(const struct request *q, uint64_t size, struct selection *s)
{
        if (!q->behaviour || !q->behaviour->shift_range || !s->partial)
                return;
        int64_t n = q->behaviour->shift_range;
        uint64_t start =
                n < 0 ? s->start - MIN(s->start, (uint64_t)-n) : MIN(s->start + (uint64_t)n, size - 1);
        s->start = start;
        s->length = MIN(s->length, size - start);
}

static enum MHD_Result range_error(struct request *q, const struct object *o, const char *range)
{
        struct text t;
        text_open(&t);
        fputs("<RangeRequested>", t.f);
        xml_escape(t.f, range);
        fprintf(t.f, "</RangeRequested><ActualObjectSize>%" PRIu64 "</ActualObjectSize>", o->size);
        _cleanup_free_ char *extra = text_close(&t);
        reply_header(q, "Content-Range", "bytes */%" PRIu64, o->size);
        return reply_error(q, 416, "InvalidRange", "The requested range is not satisfiable", extra);
}

static void wrong_checksum(char *s)
{
        *s = *s == 'A' ? 'B' : 'A';
}

/* x-amz-checksum-mode: ENABLED asks for them; they are of the whole object, so a range comes without. */
static void checksum_headers(struct request *q, const struct object *o, const struct selection *s)
{
        const char *mode = request_header(q, "x-amz-checksum-mode");
        bool wrong = q->behaviour && q->behaviour->checksum_wrong, any = false;
        if (q->server->no_checksums || !mode || strcasecmp(mode, "ENABLED") != 0 || s->length != o->size)
                return;
        for (size_t i = 0; i < CHECKSUM_MAX; i++) {
                if (!o->checksums[i])
                        continue;
                _cleanup_free_ char *name = text_printf("x-amz-checksum-%s", checksum_names[i]);
                _cleanup_free_ char *value = text_dup(o->checksums[i]);
                if (wrong)
                        wrong_checksum(value);
                reply_header(q, name, "%s", value);
                any = true;
        }
        if (!any && wrong)
                reply_header(
                        q, "x-amz-checksum-sha256", "%s", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        if (any)
                reply_header(q, "x-amz-checksum-type", "%s", o->checksum_type);
}

static void object_headers(struct request *q, const struct object *o, const struct selection *s)
{
        char date[HTTP_DATE_SIZE];
        const char *etag = q->behaviour && q->behaviour->etag ? q->behaviour->etag : o->etag;
        reply_header(q, "Last-Modified", "%s", date_http(o->last_modified, date));
        reply_header(q, "ETag", *etag == '"' ? "%s" : "\"%s\"", etag);
        reply_header(q, "Accept-Ranges", "bytes");
        reply_header(
                q, "Content-Type", "%s", o->meta.content_type ? o->meta.content_type : "binary/octet-stream");
        if (s->partial)
                reply_header(q, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, s->start,
                        s->start + s->length - 1,
                        q->behaviour && q->behaviour->range_total ? q->behaviour->range_total : o->size);
        /* "This value is only returned if you specify partNumber in your request and the object was uploaded
         * as a multipart upload." */
        if (s->is_part && o->parts)
                reply_header(q, "x-amz-mp-parts-count", "%" PRIu64, o->parts);
        if (text_eq(o->meta.sse, "aws:kms"))
                reply_header(q, "x-amz-server-side-encryption-aws-kms-key-id", "%s",
                        "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab");
        reply_header(q, "x-amz-server-side-encryption", "%s", o->meta.sse ? o->meta.sse : "AES256");
        checksum_headers(q, o, s);
}

/* Which bytes. 0, or the status of an error that was queued with *ret_result. */
static int select_bytes(
        struct request *q, const struct object *o, struct selection *s, enum MHD_Result *ret_result)
{
        const char *range = request_header(q, "Range"), *part = request_param(q, "partNumber");
        *s = (struct selection){.length = o->size};
        if (q->server->no_part_number)
                part = NULL;
        if (q->behaviour && q->behaviour->full_for_range)
                range = NULL;
        if (range && part) {
                *ret_result = reply_error(q, 400, "InvalidRequest",
                        "Cannot specify both Range header and partNumber query parameter", NULL);
                return 400;
        }
        int r = range ? parse_range(range, o->size, s) : part ? parse_part(part, o, s) : 0;
        if (range && r == -ERANGE) {
                *ret_result = range_error(q, o, range);
                return 416;
        }
        if (part && r == -ERANGE) {
                *ret_result = reply_error(
                        q, 416, "InvalidPartNumber", "The requested partnumber is not satisfiable", NULL);
                return 416;
        }
        if (part && r == -EINVAL) {
                *ret_result = reply_error(q, 400, "InvalidArgument",
                        "Part number must be an integer between 1 and 10000, inclusive", NULL);
                return 400;
        }
        shift(q, o->size, s);
        return 0;
}

static enum MHD_Result not_found(struct request *q)
{
        if (!policy_shows_absence(q))
                return reply_error(q, 403, "AccessDenied", "Access Denied", NULL);
        _cleanup_free_ char *extra = xml_element("Key", q->key);
        return reply_error(q, 404, "NoSuchKey", "The specified key does not exist.", extra);
}

enum MHD_Result get_object(struct request *q)
{
        _cleanup_(object_done) struct object o = {};
        struct selection s;
        enum MHD_Result result = MHD_NO;
        int r = store_open(&q->server->store, q->bucket, q->key, &o);
        if (r == -ENOENT)
                return not_found(q);
        if (r < 0)
                return reply_error(
                        q, 500, "InternalError", "This object's file or meta data cannot be read", NULL);
        int status = check_conditions(q, &o);
        if (status == 412)
                return reply_error(q, 412, "PreconditionFailed",
                        "At least one of the pre-conditions you specified did not hold",
                        "<Condition>If-Match</Condition>");
        if (status == 304) {
                q->reply.status = 304;
                reply_header(q, "ETag", "\"%s\"", o.etag);
                return reply_send(q);
        }
        if (select_bytes(q, &o, &s, &result) != 0)
                return result;
        object_headers(q, &o, &s);
        q->reply.status = s.partial ? 206 : 200;
        q->reply.content = take_ptr(&o.content);
        q->reply.start = s.start;
        q->reply.length = s.length;
        return reply_send(q);
}
