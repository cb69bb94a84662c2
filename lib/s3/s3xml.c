/* SPDX-License-Identifier: Apache-2.0 */
/* expat with limits. Both documents are read by one small machine, struct reader: it keeps the path of open
 * elements and the text of the innermost one, and calls leaf() when an element closes. Errors inside expat's
 * callbacks are stored in the reader and stop the parser; the caller of XML_Parse() delivers them.
 *
 *   struct s3xml_list -> struct reader -> XML_Parser
 *                     -> struct s3xml_page (being filled)
 *
 * Source: AWS, S3 API reference, "ListObjectsV2" and "Error responses". */
#include "s3xml.h"

#include <errno.h>
#include <expat.h>
#include <stdlib.h>

#include "httpval.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"

#define NAME_MAX_BYTES 48
#define TEXT_MAX_BYTES LIMIT_LIST_TOKEN
_Static_assert(TEXT_MAX_BYTES >= LIMIT_S3_KEY * 3, "a key with each byte escaped fits");
/* What stands between "<" and ">". Until that ends expat reads it anew from its beginning with each piece
 * that comes. */
#define TAG_MAX_BYTES ((XML_Index)(64 * KIB))

struct reader {
        XML_Parser parser;
        const char *root; /* the only root element that is accepted */
        char path[LIMIT_XML_DEPTH][NAME_MAX_BYTES];
        unsigned depth;
        char text[TEXT_MAX_BYTES + 1]; /* of the innermost element */
        size_t len;
        int64_t fed, parsed;   /* bytes */
        bool long_text_is_cut; /* else it is an error */
        int (*leaf)(struct reader *r, void *arg);
        void *arg;
        struct error error; /* error.err 0: none yet */
};

static void fail(struct reader *r, const char *what)
{
        if (r->error.err == 0)
                error_set(&r->error, CAUSE_PROTOCOL, EBADMSG, "bad XML: %s", what);
        XML_StopParser(r->parser, XML_FALSE);
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
        (void)attributes;
        struct reader *r = arg;
        if (r->depth == 0 && !streq(name, r->root))
                return fail(r, "not the document expected");
        if (r->depth == LIMIT_XML_DEPTH)
                return fail(r, "too deep");
        /* Longer names are none that we look for; cut, they match nothing. */
        snprintf(r->path[r->depth++], NAME_MAX_BYTES, "%s", name);
        r->len = 0;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
        (void)name;
        struct reader *r = arg;
        r->text[r->len] = 0;
        if (r->error.err == 0 && r->leaf(r, r->arg) < 0)
                XML_StopParser(r->parser, XML_FALSE);
        r->depth--;
        r->len = 0;
}

static void XMLCALL on_text(void *arg, const XML_Char *s, int n)
{
        struct reader *r = arg;
        size_t want = (size_t)n, room = TEXT_MAX_BYTES - r->len;
        if (want > room && !r->long_text_is_cut)
                return fail(r, "a value is too long");
        want = MIN(want, room);
        memcpy(r->text + r->len, s, want);
        r->len += want;
}

static void XMLCALL on_doctype(
        void *arg, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id, int internal)
{
        (void)name, (void)system_id, (void)public_id, (void)internal;
        fail(arg, "a document type declaration");
}

static int reader_init(
        struct reader *r, const char *root, int (*leaf)(struct reader *r, void *arg), void *arg)
{
        r->parser = XML_ParserCreate(NULL);
        if (!r->parser)
                return -ENOMEM;
        r->root = root;
        r->leaf = leaf;
        r->arg = arg;
        XML_SetUserData(r->parser, r);
        XML_SetElementHandler(r->parser, on_start, on_end);
        XML_SetCharacterDataHandler(r->parser, on_text);
        XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
        return 0;
}

static void reader_done(struct reader *r)
{
        if (r->parser)
                XML_ParserFree(r->parser);
        r->parser = NULL;
}

/* How many bytes are dealt with; -1 when it waits for more before it looks at what has come (from 2.6 on).
 * The older function is deprecated from 2.9 on; 2.5 has no other. */
static int64_t parsed(XML_Parser parser)
{
#if XML_MAJOR_VERSION > 2 || XML_MINOR_VERSION >= 9
        return XML_GetCurrentByteIndex64(parser);
#else
        return XML_GetCurrentByteIndex(parser);
#endif
}

static int reader_feed(struct reader *r, const void *p, size_t n, bool final)
{
        if (r->error.err == 0 && XML_Parse(r->parser, p, (int)n, final) != XML_STATUS_OK)
                fail(r, XML_ErrorString(XML_GetErrorCode(r->parser)));
        r->fed += (int64_t)n;
        r->parsed = MAX(r->parsed, parsed(r->parser));
        if (!final && r->fed - r->parsed > TAG_MAX_BYTES)
                fail(r, "a tag is too long");
        return -r->error.err;
}

/* Is the innermost open element this one, below the root (and below parent when that is given)? */
static bool at(const struct reader *r, const char *parent, const char *name)
{
        if (parent)
                return r->depth == 3 && streq(r->path[1], parent) && streq(r->path[2], name);
        return r->depth == 2 && streq(r->path[1], name);
}

/* --- a page of a listing --- */

enum field { FIELD_KEY = BIT(0), FIELD_SIZE = BIT(1), FIELD_ETAG = BIT(2), FIELD_MODIFIED = BIT(3) };
#define FIELDS_ALL (FIELD_KEY | FIELD_SIZE | FIELD_ETAG | FIELD_MODIFIED)

struct s3xml_list {
        struct reader reader;
        struct s3xml_page page;
        struct s3xml_object object; /* being read */
        unsigned fields;            /* of it, that have been seen */
        size_t bytes;
        bool encoded; /* keys are URL-encoded */
};

static int bad_value(struct reader *r, const char *what)
{
        char shown[64];
        return error_set(&r->error, CAUSE_PROTOCOL, EBADMSG, "bad XML: %s \"%s\"", what,
                str_visible(r->text, shown, sizeof(shown)));
}

static int set_text(struct reader *r, char **ret)
{
        char *s = strdup(r->text);
        if (!s)
                return error_set(&r->error, CAUSE_INTERNAL, ENOMEM, "out of memory");
        free(*ret);
        *ret = s;
        return 0;
}

static void object_done(struct s3xml_object *o)
{
        free(o->key);
        free(o->etag);
        *o = (struct s3xml_object){};
}

/* </Contents>: the object goes to the page. One odd entry costs that entry, not the page: what it lacks is
 * seen by its ETag, which is NULL, or by its key. */
static int add_object(struct s3xml_list *l)
{
        struct s3xml_page *page = &l->page;
        if (l->fields != FIELDS_ALL) {
                free(l->object.etag);
                l->object.etag = NULL;
        }
        if (page->n == LIMIT_LIST_PAGE_KEYS)
                return error_set(&l->reader.error, CAUSE_PROTOCOL, EBADMSG, "bad XML: more keys than asked");
        if (!page->objects)
                page->objects = calloc(LIMIT_LIST_PAGE_KEYS, sizeof(page->objects[0]));
        if (!page->objects)
                return error_set(&l->reader.error, CAUSE_INTERNAL, ENOMEM, "out of memory");
        page->objects[page->n++] = l->object;
        l->object = (struct s3xml_object){};
        l->fields = 0;
        return 0;
}

/* With its quotes, or without: but not nothing. */
static bool is_etag(const struct reader *r)
{
        return r->len > 0 && r->len <= LIMIT_ETAG && !streq(r->text, "\"\"");
}

static int object_field(struct s3xml_list *l)
{
        struct reader *r = &l->reader;
        if (at(r, "Contents", "Key")) {
                l->fields |= FIELD_KEY;
                return set_text(r, &l->object.key);
        }
        if (at(r, "Contents", "ETag")) {
                if (is_etag(r))
                        l->fields |= FIELD_ETAG;
                return set_text(r, &l->object.etag);
        }
        if (at(r, "Contents", "Size")) {
                if (parse_u64(r->text, INT64_MAX, &l->object.size) == 0)
                        l->fields |= FIELD_SIZE;
                return 0;
        }
        if (at(r, "Contents", "LastModified")) {
                if (time_parse_rfc3339(r->text, &l->object.last_modified) == 0)
                        l->fields |= FIELD_MODIFIED;
                return 0;
        }
        return 0;
}

static int list_leaf(struct reader *r, void *arg)
{
        struct s3xml_list *l = arg;
        if (at(r, NULL, "Contents"))
                return add_object(l);
        if (at(r, NULL, "EncodingType")) {
                l->encoded = streq(r->text, "url");
                return l->encoded ? 0 : bad_value(r, "EncodingType");
        }
        if (at(r, NULL, "IsTruncated")) {
                l->page.truncated = streq(r->text, "true");
                return l->page.truncated || streq(r->text, "false") ? 0 : bad_value(r, "IsTruncated");
        }
        if (at(r, NULL, "NextContinuationToken"))
                return r->len == 0 || r->len > LIMIT_LIST_TOKEN ? bad_value(r, "token")
                                                                : set_text(r, &l->page.next_token);
        return object_field(l);
}

int s3xml_list_new(struct s3xml_list **ret)
{
        struct s3xml_list *l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        int r = reader_init(&l->reader, "ListBucketResult", list_leaf, l);
        if (r < 0) {
                free(l);
                return r;
        }
        *ret = l;
        return 0;
}

int s3xml_list_feed(struct s3xml_list *l, const void *p, size_t n, struct error *e)
{
        if (n > LIMIT_LIST_PAGE_BYTES - l->bytes)
                return error_set(e, CAUSE_PROTOCOL, EBADMSG, "a listing page of more than %ju bytes",
                        (uintmax_t)LIMIT_LIST_PAGE_BYTES);
        l->bytes += n;
        int r = reader_feed(&l->reader, p, n, false);
        if (r < 0 && e)
                *e = l->reader.error;
        return r;
}

/* Decodes the keys, which the server may announce only behind them, and drops what cannot be held. */
static void decode_keys(struct s3xml_list *l)
{
        struct s3xml_page *page = &l->page;
        size_t kept = 0;
        for (size_t i = 0; i < page->n; i++) {
                struct s3xml_object o = page->objects[i];
                page->objects[i] = (struct s3xml_object){};
                int r = o.key && l->encoded ? httpval_urldecode(o.key) : 0;
                if (r == 0 && o.key && strlen(o.key) >= 1 && strlen(o.key) <= LIMIT_S3_KEY) {
                        page->objects[kept++] = o;
                        continue;
                }
                object_done(&o);
                page->n_unreadable++;
        }
        page->n = kept;
}

int s3xml_list_finish(struct s3xml_list *l, struct s3xml_page *ret, struct error *e)
{
        int r = reader_feed(&l->reader, "", 0, true);
        if (r < 0) {
                if (e)
                        *e = l->reader.error;
                return r;
        }
        decode_keys(l);
        *ret = l->page;
        l->page = (struct s3xml_page){};
        return 0;
}

struct s3xml_list *s3xml_list_free(struct s3xml_list *l)
{
        if (!l)
                return NULL;
        reader_done(&l->reader);
        object_done(&l->object);
        s3xml_page_done(&l->page);
        free(l);
        return NULL;
}

void s3xml_page_done(struct s3xml_page *p)
{
        /* All slots: while keys are decoded those behind n may still be filled. */
        for (size_t i = 0; p->objects && i < LIMIT_LIST_PAGE_KEYS; i++)
                object_done(&p->objects[i]);
        free(p->objects);
        free(p->next_token);
        *p = (struct s3xml_page){};
}

/* --- an error --- */

/* The line "host:VALUE" of a canonical request. */
static void take_host(const char *canonical, struct s3xml_error *e)
{
        const char *line = strstr(canonical, "\nhost:");
        if (!line)
                return;
        line += strlen("\nhost:");
        snprintf(e->host, sizeof(e->host), "%.*s", (int)MIN(strcspn(line, "\n"), sizeof(e->host) - 1), line);
}

static int error_leaf(struct reader *r, void *arg)
{
        struct s3xml_error *e = arg;
        if (at(r, NULL, "Code"))
                snprintf(e->code, sizeof(e->code), "%s", r->text);
        else if (at(r, NULL, "Message"))
                snprintf(e->message, sizeof(e->message), "%s", r->text);
        else if (at(r, NULL, "Region"))
                snprintf(e->region, sizeof(e->region), "%s", r->text);
        else if (at(r, NULL, "CanonicalRequest"))
                take_host(r->text, e);
        else if (at(r, NULL, "ServerTime"))
                snprintf(e->server_time, sizeof(e->server_time), "%s", r->text);
        return 0;
}

int s3xml_error(const void *p, size_t n, struct s3xml_error *ret)
{
        if (n > LIMIT_ERROR_BODY)
                return -EBADMSG;
        struct s3xml_error v = {};
        struct reader *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        int e = reader_init(r, "Error", error_leaf, &v);
        r->long_text_is_cut = true;
        if (e == 0)
                e = reader_feed(r, p, n, true);
        reader_done(r);
        free(r);
        if (e == 0)
                *ret = v;
        return e;
}
