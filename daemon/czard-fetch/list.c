/* SPDX-License-Identifier: Apache-2.0 */
/* A LIST from top to bottom: start_page -> s3_start -> on_body -> page_done -> the owner -> start_page ...
 * A page is handed on only when it came whole and was checked; a page that failed is asked for again where
 * heal_next() says so. Keys are always asked for URL-encoded: without that, one odd key makes the XML
 * invalid. */
#include "fetch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "answer.h"
#include "limits.h"
#include "loop.h"
#include "str.h"

#define STR(x) #x
#define XSTR(x) STR(x)
#define QUERY_MAX 6

enum list_state { LIST_NEW, LIST_PAGE, LIST_WAIT, LIST_PAUSE, LIST_FINISHED, LIST_STATE_MAX };

static const unsigned edges[LIST_STATE_MAX] _unused_ = {
        [LIST_NEW] = BIT(LIST_PAGE) | BIT(LIST_FINISHED),
        [LIST_PAGE] = BIT(LIST_PAGE) | BIT(LIST_WAIT) | BIT(LIST_PAUSE) | BIT(LIST_FINISHED),
        [LIST_WAIT] = BIT(LIST_PAGE) | BIT(LIST_FINISHED),
        [LIST_PAUSE] = BIT(LIST_PAGE) | BIT(LIST_FINISHED),
        [LIST_FINISHED] = 0,
};

struct list {
        struct s3 *s3;
        const struct credentials *credentials;
        char *bucket, *prefix, *start_after;
        char *token; /* of the next page, NULL: the first one */

        enum list_state state;
        struct s3_call *call;
        struct s3xml_list *xml; /* of the page that comes */
        struct sigv4_pair query[QUERY_MAX];
        size_t n_query;
        struct alarm *alarm; /* PAUSE: the next try; FINISHED: tell the owner */
        struct heal heal;
        unsigned pages;
        char *landmark; /* the token of a page that is a power of two: a loop comes by it again */

        struct s3_result sum; /* of all calls; its error is how it ends */
        list_page_fn *page;
        fetch_done_fn *done;
        void *arg;
};

static void enter(struct list *l, enum list_state next)
{
        assert(edges[l->state] & BIT(next));
        l->state = next;
}

static void finish(struct list *l, const struct error *e)
{
        enter(l, LIST_FINISHED);
        if (e)
                l->sum.error = *e;
        alarm_set(l->alarm, 0);
}

static void fail_errno(struct list *l, int err)
{
        struct error e;
        error_set(&e, CAUSE_INTERNAL, -err, "LIST: %s", strerror(-err));
        finish(l, &e);
}

static void tell(struct list *l)
{
        const struct proto_done done = fetch_done(&l->sum, l->credentials);
        l->done(l->arg, &done);
}

/* --- one page --- */

static int on_head(void *arg, const struct transfer *t, struct error *e)
{
        (void)arg;
        unsigned status = http_status(t);
        if (http_is_encoded(t))
                return error_set(e, CAUSE_PROTOCOL, EPROTO,
                        "a listing with a Content-Encoding, for which nobody asked: a proxy that packs?");
        return status == 200 ? 0 : error_set(e, CAUSE_PROTOCOL, EPROTO, "a listing with status %u", status);
}

static int on_body(void *arg, const void *p, size_t n, struct error *e)
{
        struct list *l = arg;
        return s3xml_list_feed(l->xml, p, n, e);
}

/* Keys are what was asked for, and there is a way on that is not the way back. */
static int check_page(const struct list *l, const struct s3xml_page *page, struct error *e)
{
        for (size_t i = 0; i < page->n; i++) {
                const char *key = page->objects[i].key;
                if (!str_after(key, l->prefix))
                        return error_set(e, CAUSE_PROTOCOL, EPROTO, "a listed key is not below the prefix");
                if (*l->start_after && strcmp(key, l->start_after) <= 0)
                        return error_set(e, CAUSE_PROTOCOL, EPROTO, "a listed key is not behind start-after");
        }
        if (!page->truncated)
                return 0;
        if (!page->next_token)
                return error_set(
                        e, CAUSE_PROTOCOL, EPROTO, "a page says there are more, but not how to go on");
        if ((l->token && streq(l->token, page->next_token)) ||
                (l->landmark && streq(l->landmark, page->next_token)))
                return error_set(e, CAUSE_PROTOCOL, EPROTO, "the continuation token repeats");
        if (l->pages >= LIMIT_LIST_PAGES)
                return error_set(e, CAUSE_PROTOCOL, EPROTO, "a listing without end");
        return 0;
}

static void start_page(struct list *l);

/* Of an entry whose key cannot be told the owner hears by the prefix as its key, without an ETag. There is
 * room: what was left out had a place. */
static int tell_unreadable(const struct list *l, struct s3xml_page *page)
{
        if (page->n_unreadable == 0 || !*l->prefix)
                return 0;
        char *key = strdup(l->prefix);
        if (!key)
                return -ENOMEM;
        memmove(page->objects + 1, page->objects, page->n * sizeof(page->objects[0]));
        page->objects[0] = (struct s3xml_object){.key = key};
        page->n++;
        return 0;
}

/* The page came whole: check it, hand it on, go on. */
static void take_page(struct list *l)
{
        struct s3xml_page page = {};
        struct error e = {};
        int r = s3xml_list_finish(l->xml, &page, &e);
        l->xml = s3xml_list_free(l->xml);
        l->pages++;
        if (r == 0)
                r = check_page(l, &page, &e);
        if (r < 0) {
                s3xml_page_done(&page);
                finish(l, &e);
                return;
        }
        free(l->token);
        l->token = page.truncated ? take_ptr(&page.next_token) : NULL;
        if (l->token && (l->pages & (l->pages - 1)) == 0) {
                free(l->landmark);
                l->landmark = strdup(l->token); /* without it a loop only goes on for longer */
        }
        r = tell_unreadable(l, &page);
        if (r == 0)
                r = l->page(l->arg, &page);
        s3xml_page_done(&page);
        if (r < 0 && r != -EAGAIN)
                fail_errno(l, r);
        else if (!l->token)
                finish(l, NULL);
        else if (r == 0)
                start_page(l);
        else
                enter(l, LIST_WAIT);
}

/* A status that means something for an object only: no S3 answers a LIST with it. */
static bool is_of_an_object(enum cause cause)
{
        return cause == CAUSE_GONE || cause == CAUSE_REPLACED || cause == CAUSE_SIZE;
}

static void page_done(void *arg, const struct s3_result *r)
{
        struct list *l = arg;
        uint64_t delay;
        l->call = NULL;
        s3_result_add(&l->sum, r);
        if (r->error.cause == CAUSE_NONE) {
                l->heal = (struct heal){};
                take_page(l);
        } else if (heal_next(&l->heal, r->error.cause, l->pages, 0, r->retry_after_usec, &delay) == 0) {
                enter(l, LIST_PAUSE);
                alarm_set(l->alarm, delay);
        } else {
                struct error e = r->error;
                if (is_of_an_object(e.cause))
                        e.cause = CAUSE_PROTOCOL;
                finish(l, &e);
        }
}

static void add_query(struct list *l, const char *name, const char *value)
{
        if (!str_empty(value))
                l->query[l->n_query++] = (struct sigv4_pair){name, value};
}

static void start_page(struct list *l)
{
        static const struct s3_ops ops = {.on_head = on_head, .on_body = on_body, .on_done = page_done};
        enter(l, LIST_PAGE);
        l->n_query = 0;
        add_query(l, "list-type", "2");
        add_query(l, "encoding-type", "url");
        add_query(l, "max-keys", XSTR(LIMIT_LIST_PAGE_KEYS));
        add_query(l, "prefix", l->prefix);
        add_query(l, "start-after", l->start_after);
        add_query(l, "continuation-token", l->token);
        l->xml = s3xml_list_free(l->xml);
        const struct s3_request request = {
                .credentials = l->credentials,
                .bucket = l->bucket,
                .query = l->query,
                .n_query = l->n_query,
                .ops = &ops,
                .arg = l,
        };
        int r = s3xml_list_new(&l->xml);
        if (r == 0)
                r = s3_start(l->s3, &request, &l->call);
        if (r < 0)
                fail_errno(l, r);
}

/* --- the whole --- */

static void on_alarm(void *arg)
{
        struct list *l = arg;
        if (l->state == LIST_FINISHED)
                tell(l);
        else
                start_page(l);
}

void list_start(struct list *l)
{
        start_page(l);
}

void list_continue(struct list *l)
{
        if (l->state == LIST_WAIT)
                start_page(l);
}

int list_new(uv_loop_t *loop, struct s3 *s3, const struct credentials *credentials,
        const struct proto_list *spec, list_page_fn *page, fetch_done_fn *done, void *arg, struct list **ret)
{
        struct list *l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        *l = (struct list){.s3 = s3, .credentials = credentials, .page = page, .done = done, .arg = arg};
        l->bucket = strdup(spec->bucket);
        l->prefix = strdup(spec->prefix);
        l->start_after = strdup(spec->start_after);
        int r = l->bucket && l->prefix && l->start_after ? alarm_new(loop, on_alarm, l, &l->alarm) : -ENOMEM;
        if (r < 0) {
                list_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

struct list *list_free(struct list *l)
{
        if (!l)
                return NULL;
        l->call = s3_cancel(l->call);
        l->xml = s3xml_list_free(l->xml);
        l->alarm = alarm_free(l->alarm);
        free(l->bucket);
        free(l->prefix);
        free(l->start_after);
        free(l->token);
        free(l->landmark);
        free(l);
        return NULL;
}
