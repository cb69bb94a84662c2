/* SPDX-License-Identifier: Apache-2.0 */
/* Polling. A poll is a set of listings; each listing is one prefix and ends well, or fails for this poll.
 * Pages go to the ledger as they come; when the last listing has ended the queue looks at what is due. */
#include "poller.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "journal.h"
#include "ledger.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"
#include "wants.h"

#define LIST_TRIES 5
/* A server that wants us to wait for longer gets its wish at the next poll: the other listings shall not wait
 * for this one. */
#define LIST_WAIT_USEC (1 * USEC_PER_MINUTE)
/* A row of the ledger without its key, with its entries in indexes. */
#define ROW_BYTES 512
/* Of one listing so many are kept by name; all are counted as a listing that was not whole. */
#define UNREADABLE_MOST 1000
#define MEMORY_WAIT_MSEC 1000 /* there was none for a request */

static const struct retry_policy list_retry = {500 * USEC_PER_MSEC, 20 * USEC_PER_SEC};

struct listing {
        struct poller *poll;
        const struct config_package *package; /* in force: a new one drops the listing (poller_restart()) */
        enum category category;
        char bucket[BUCKET_SIZE], prefix[KEY_SIZE], start_after[KEY_SIZE];
        char from[KEY_SIZE]; /* start_after of the first request */
        bool whole;          /* everything below prefix: what is not listed is gone */
        bool one_object;     /* poller_object(): not part of a poll */
        bool found;          /* of one object: it is there */
        bool over;           /* more than [limits] allow: the rest of it is not taken */
        bool keyless;        /* an entry had no key: nobody knows which object is there still */
        uint64_t listed;
        uint64_t unreadable; /* entries without a key, ETag, size or date */
        unsigned tries;
        uint32_t request;
        uv_timer_t again;
        struct listing *next;
};

struct poller {
        const struct job_env *on;
        const struct queue *queue; /* asked which objects are in work */
        bool begun, has_ended;
        struct poll_ended ended;
        struct listing *listings; /* of the poll that runs, and of single objects */
        unsigned running;         /* of the poll */
        bool full, again, again_full, complete, lost, stopped;
        bool due_full; /* the last full one failed: the next is full too */
        int64_t generation;
        unsigned losses; /* record_losses() when it began: what was listed may not be in the ledger */
        uint64_t started_usec, last_full_usec; /* CLOCK_BOOTTIME */
        uint64_t requests, listed, fresh, fresh_bytes;
        uint64_t growth;    /* about so many bytes of rows are new in the ledger */
        uint64_t next_usec; /* CLOCK_BOOTTIME, 0: none planned */
        int timer_fd;       /* CLOCK_BOOTTIME: the loop's own timers stand still while the machine sleeps */
        uv_poll_t timer;
};

static void finish_poll(struct poller *p);

/* --- one listing --- */

static void on_again_closed(uv_handle_t *h)
{
        free(h->data);
}

static void listing_free(struct listing *l)
{
        for (struct listing **at = &l->poll->listings; *at; at = &(*at)->next)
                if (*at == l) {
                        *at = l->next;
                        break;
                }
        if (l->request)
                fetcher_forget(l->poll->on->flow.fetcher, l->request);
        uv_close((uv_handle_t *)&l->again, on_again_closed);
}

static void listing_ended(struct listing *l)
{
        struct poller *p = l->poll;
        bool part = !l->one_object;
        listing_free(l);
        if (!part) {
                p->has_ended = p->ended.plan = true;
        } else if (--p->running == 0) {
                finish_poll(p);
        }
}

/* Without an ETag nobody knows what it is; but it is there. */
static void take_as_there(const struct listing *l, const char *key)
{
        const struct poller *p = l->poll;
        struct error e = {};
        record_open(p->on->record);
        if (ledger_still_there(p->on->ledger, l->bucket, key, p->generation, &e) < 0)
                record_trouble(p->on->record, &e);
}

/* Its key: the prefix, where that is what is missing. */
static void take_unreadable(struct listing *l, const struct ledger_object *o)
{
        const struct poller *p = l->poll;
        const char *key = o->key;
        struct error e = {};
        record_open(p->on->record);
        if (l->unreadable < UNREADABLE_MOST && !l->one_object &&
                ledger_unreadable_add(p->on->ledger, o, p->generation, &e) < 0)
                record_trouble(p->on->record, &e);
        record_incomplete(p->on->record);
        if (l->unreadable++ == 0)
                journal_event(EVENT_NOTE,
                        &(struct journal_fields){.priority = LOG_WARNING,
                                .org = l->package->spec.org,
                                .category = category_name(l->category),
                                .bucket = l->bucket,
                                .object = key,
                                .cause = CAUSE_PROTOCOL},
                        "s3://%s/%s%s is listed without %s that can be read; it is left alone until it has, "
                        "the others go on; %s",
                        l->bucket, key, streq(key, l->prefix) ? "..." : "",
                        streq(key, l->prefix) ? "a key" : "an ETag, a size or a date",
                        cause_advice(CAUSE_PROTOCOL));
}

static void take_keyless(struct listing *l)
{
        struct ledger_object o = {.category = l->category};
        snprintf(o.bucket, sizeof(o.bucket), "%s", l->bucket);
        snprintf(o.key, sizeof(o.key), "%s", l->prefix);
        snprintf(o.org, sizeof(o.org), "%s", l->package->spec.org);
        l->keyless = true;
        take_unreadable(l, &o);
}

static void take_object(struct listing *l, const struct proto_object *from)
{
        struct poller *p = l->poll;
        struct ledger_object o;
        enum listed what;
        struct error e = {};
        if (!*from->etag && streq(from->key, l->prefix) && !l->one_object) {
                take_keyless(l);
                return;
        }
        /* one that is ours, but unsafe, the queue rejects */
        if (listings_object(&l->package->spec, l->category, l->bucket, from->key, &o) == -ENOENT)
                return;
        p->listed++;
        if (!*from->etag) {
                take_as_there(l, o.key);
                if (wants_object(p->on->config, &o, (int64_t)time(NULL), NULL, NULL))
                        take_unreadable(l, &o);
                return;
        }
        record_open(p->on->record);
        snprintf(o.etag, sizeof(o.etag), "%s", from->etag);
        o.size = from->size;
        o.last_modified = from->last_modified;
        if (ledger_listed(p->on->ledger, &o, p->generation, &what, &e) < 0) {
                record_trouble(p->on->record, &e);
                return;
        }
        if (what != LISTED_SAME) {
                p->growth += ROW_BYTES + strlen(o.key);
                p->fresh++;
                p->fresh_bytes += o.size;
        }
}

/* A server, or a czard-fetch in other hands, that lists without an end fills neither disk nor ledger. */
static bool is_over(struct listing *l, uint64_t n)
{
        const struct config_limits *limits = &l->poll->on->config->limits;
        l->listed += n;
        l->over |= l->listed > limits->max_listed || l->poll->growth > limits->max_growth;
        return l->over;
}

/* What listing_failed() says of it, into ret. */
static void tell_over(const struct listing *l, char *ret, size_t size)
{
        const struct config_limits *limits = &l->poll->on->config->limits;
        char most[32];
        if (l->listed > limits->max_listed)
                snprintf(ret, size, "more objects than [limits] max_listed, which is %llu",
                        (unsigned long long)limits->max_listed);
        else
                snprintf(ret, size,
                        "what this poll has listed anew takes more of the ledger than [limits] max_growth, "
                        "which is %s",
                        size_format(limits->max_growth, most, sizeof(most)));
}

static void on_listed(void *arg, const struct proto_listed *page)
{
        struct listing *l = arg;
        if (l->over)
                return;
        if (is_over(l, page->n)) {
                fetcher_cancel(l->poll->on->flow.fetcher, l->request);
                return;
        }
        for (size_t i = 0; i < page->n; i++) {
                bool is_it = l->one_object && streq(page->objects[i].key, l->prefix);
                if (l->one_object && !is_it)
                        continue;
                l->found |= is_it;
                take_object(l, &page->objects[i]);
        }
        if (page->n > 0 && strcmp(page->objects[page->n - 1].key, l->start_after) > 0)
                snprintf(l->start_after, sizeof(l->start_after), "%s", page->objects[page->n - 1].key);
}

static void send_list(struct listing *l);

static void on_again(uv_timer_t *timer)
{
        send_list(timer->data);
}

static void listing_failed(struct listing *l, const struct proto_done *done)
{
        const struct job_env *on = l->poll->on;
        enum cause cause = done->outcome.cause;
        if (cause == CAUSE_SKEW && done->skew_sec != 0)
                record_skew(on->record, done->skew_sec);
        bool no_entry = cause_remedy(cause) == REMEDY_CREDENTIALS;
        if (no_entry)
                record_credentials_refused(
                        on->record, cause, l->bucket, done->access_key_id, done->outcome.detail);
        bool worth_it = cause_remedy(cause) == REMEDY_RETRY && cause != CAUSE_SKEW &&
                        done->retry_after_usec <= LIST_WAIT_USEC;
        if (worth_it && ++l->tries < LIST_TRIES && !l->poll->stopped) {
                uint64_t wait =
                        retry_delay_usec(&list_retry, l->tries, done->retry_after_usec, retry_random());
                uv_timer_start(&l->again, on_again, wait / USEC_PER_MSEC + 1, 0);
                return;
        }
        if (!l->one_object) {
                l->poll->complete = false;
                l->poll->due_full |= l->poll->full;
        }
        if (!no_entry)
                journal_event(EVENT_RETRY,
                        &(struct journal_fields){.org = l->package->spec.org,
                                .category = category_name(l->category),
                                .bucket = l->bucket,
                                .cause = cause,
                                .attempt = l->tries},
                        "listing s3://%s/%s failed: %s; tried again at the next poll; %s", l->bucket,
                        l->prefix, done->outcome.detail, cause_advice(cause));
        listing_ended(l);
}

/* A GET of it was answered with 404. What waits still, after it was listed, is not another version. */
static void judge_lost(const struct listing *l)
{
        const struct job_env *on = l->poll->on;
        struct ledger_object o;
        struct error e = {};
        int r = ledger_find(on->ledger, l->bucket, l->prefix, &o, &e);
        if (r < 0 && r != -ENOENT)
                record_trouble(on->record, &e);
        if (r < 0 || o.state != OBJECT_RETRY || o.cause != CAUSE_GONE || queue_busy(l->poll->queue, o.id))
                return;
        if (l->found)
                record_lost(on->record, &o);
        else
                record_gone(on->record, &o);
}

static void on_done(void *arg, const struct proto_done *done)
{
        struct listing *l = arg;
        struct poller *p = l->poll;
        l->request = 0;
        p->requests += done->requests;
        if (l->over || done->outcome.cause != CAUSE_NONE) {
                struct proto_done end = *done;
                char text[192];
                if (l->over) {
                        tell_over(l, text, sizeof(text));
                        end.outcome = (struct outcome){CAUSE_LIMIT, text};
                }
                listing_failed(l, &end);
                return;
        }
        if (l->one_object)
                judge_lost(l);
        const struct ledger_listing of = {.bucket = l->bucket,
                .prefix = l->prefix,
                .org = l->package->spec.org,
                .category = l->category};
        struct error e = {};
        if (!l->one_object && record_losses(p->on->record) == p->losses) {
                record_open(p->on->record);
                if (ledger_unreadable_settle(p->on->ledger, &of, l->from, p->generation, &e) < 0)
                        record_trouble(p->on->record, &e);
        }
        if (l->whole && !l->keyless && record_losses(p->on->record) == p->losses) {
                uint64_t gone = 0;
                if (ledger_mark_gone(p->on->ledger, &of, p->generation, &gone, &e) < 0)
                        record_trouble(p->on->record, &e);
                else if (gone > 0)
                        journal_event(EVENT_NOTE, &(struct journal_fields){.bucket = l->bucket},
                                "%llu objects below s3://%s/%s are not there any more; what is staged stays",
                                (unsigned long long)gone, l->bucket, l->prefix);
        }
        listing_ended(l);
}

static void send_list(struct listing *l)
{
        struct proto_list list = {.bucket = l->bucket, .prefix = l->prefix, .start_after = l->start_after};
        l->request = fetcher_list(l->poll->on->flow.fetcher, &list, on_listed, on_done, l);
        if (l->request == 0)
                uv_timer_start(&l->again, on_again, MEMORY_WAIT_MSEC, 0);
}

static struct listing *listing_new(struct poller *p, const struct config_package *package,
        enum category category, const char *bucket, const char *prefix)
{
        struct listing *l = calloc(1, sizeof(*l));
        if (!l)
                return NULL;
        *l = (struct listing){.poll = p, .package = package, .category = category, .next = p->listings};
        snprintf(l->bucket, sizeof(l->bucket), "%s", bucket);
        snprintf(l->prefix, sizeof(l->prefix), "%s", prefix);
        uv_timer_init(p->on->loop, &l->again);
        l->again.data = l;
        p->listings = l;
        return l;
}

/* --- what to list --- */

struct package_listings {
        struct poller *poll;
        const struct config_package *package;
};

static int add_listing(const struct listing_spec *spec, void *arg)
{
        const struct package_listings *of = arg;
        struct poller *p = of->poll;
        if (pauses_bucket_blocked(p->on->pauses, spec->bucket)) {
                p->complete = false;
                return 0;
        }
        struct listing *l = listing_new(p, of->package, spec->category, spec->bucket, spec->prefix);
        if (!l)
                return -ENOMEM;
        memcpy(l->start_after, spec->start_after, sizeof(l->start_after));
        memcpy(l->from, spec->start_after, sizeof(l->from));
        l->whole = !*l->start_after;
        p->running++;
        return 0;
}

static void add_package(struct poller *p, const struct config_package *package)
{
        struct package_listings of = {p, package};
        if (listings_each(p->on->ledger, package, p->full, (int64_t)time(NULL), add_listing, &of) < 0)
                p->complete = false;
}

/* --- polls --- */

static void finish_poll(struct poller *p)
{
        const struct job_env *on = p->on;
        uint64_t now = now_usec(CLOCK_BOOTTIME), took = now - p->started_usec;
        struct error e = {};
        /* Nothing is started from rows that may yet be undone. */
        bool lost = record_flush(on->record) < 0 || record_losses(on->record) != p->losses;
        p->lost = lost;
        if (lost) {
                p->complete = false;
                p->due_full |= p->full;
        }
        if (p->full && p->complete) {
                p->last_full_usec = now;
                p->due_full = false;
        }
        if (!p->complete)
                record_incomplete(on->record);
        record_open(on->record);
        if (p->full && p->complete && ledger_unreadable_settle_all(on->ledger, p->generation, &e) < 0)
                record_trouble(on->record, &e);
        char generation[32], when[TIME_SIZE];
        snprintf(generation, sizeof(generation), "%lld", (long long)p->generation);
        if (ledger_meta_set(on->ledger, "generation", generation, &e) < 0 ||
                ledger_meta_set(on->ledger, p->complete ? "last-poll" : "last-poll-incomplete",
                        time_format((int64_t)time(NULL), when), &e) < 0)
                record_trouble(on->record, &e);
        record_took(on->record, "poll", took);
        char bytes[32];
        journal_event(EVENT_POLL_DONE,
                &(struct journal_fields){.size = &p->fresh_bytes, .duration_usec = &took},
                "poll%s done: %llu requests, %llu listed, %llu new, %s to fetch%s", p->full ? " (full)" : "",
                (unsigned long long)p->requests, (unsigned long long)p->listed, (unsigned long long)p->fresh,
                size_format(p->fresh_bytes, bytes, sizeof(bytes)),
                p->complete ? "" : "; some listings failed");
        p->has_ended = p->ended.poll = true;
        p->ended.full |= p->full && !lost;
        p->ended.plan |= !lost;
        if (p->again && !p->stopped) {
                p->again = false;
                poller_now(p, p->again_full);
        }
}

bool poller_take_ended(struct poller *p, struct poll_ended *ret)
{
        if (!p->has_ended)
                return false;
        *ret = p->ended;
        p->has_ended = false;
        p->ended = (struct poll_ended){};
        return true;
}

void poller_now(struct poller *p, bool full)
{
        if (p->stopped)
                return;
        p->begun = true;
        if (p->running > 0) {
                p->again = true;
                p->again_full |= full;
                return;
        }
        pauses_look_at_staging(p->on->pauses);
        p->losses = record_losses(p->on->record);
        p->again_full = false;
        p->full = full || p->due_full;
        p->complete = true;
        p->generation++;
        p->started_usec = now_usec(CLOCK_BOOTTIME);
        p->requests = p->listed = p->fresh = p->fresh_bytes = p->growth = 0;
        p->running = 1; /* held until all are started */
        for (size_t i = 0; i < p->on->config->n_packages; i++)
                add_package(p, &p->on->config->packages[i]);
        for (struct listing *l = p->listings; l; l = l->next)
                if (!l->one_object && !l->request)
                        send_list(l);
        if (--p->running == 0)
                finish_poll(p);
}

static void arm(struct poller *p, uint64_t after_usec)
{
        p->next_usec = now_usec(CLOCK_BOOTTIME) + after_usec;
        struct itimerspec at = {.it_value = {.tv_sec = (time_t)(p->next_usec / USEC_PER_SEC),
                                        .tv_nsec = (long)(p->next_usec % USEC_PER_SEC * 1000)}};
        timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void on_timer(uv_poll_t *timer, int status, int events)
{
        struct poller *p = timer->data;
        uint64_t expirations;
        (void)status;
        (void)events;
        if (read(p->timer_fd, &expirations, sizeof(expirations)) < 0)
                return; /* armed anew since */
        uint64_t now = now_usec(CLOCK_BOOTTIME), interval = p->on->config->poll_interval_usec;
        bool full = now >= p->last_full_usec + p->on->config->full_list_interval_usec;
        uint64_t spread = interval / 10;
        arm(p, interval - spread + (spread ? retry_random() % (2 * spread) : 0));
        poller_now(p, full);
}

void poller_schedule(struct poller *p)
{
        p->begun = true;
        arm(p, 0);
        uv_poll_start(&p->timer, UV_READABLE, on_timer);
}

static void drop_listings(struct poller *p)
{
        while (p->listings)
                listing_free(p->listings);
        p->running = 0;
}

void poller_restart(struct poller *p)
{
        drop_listings(p);
        p->again = p->again_full = false;
        if (p->next_usec != 0)
                poller_schedule(p); /* with the new interval */
        p->due_full = true;
        if (p->next_usec == 0 && p->begun)
                poller_now(p, true);
}

void poller_stop(struct poller *p)
{
        p->stopped = true;
        uv_poll_stop(&p->timer);
        drop_listings(p);
}

bool poller_running(const struct poller *p)
{
        return p->listings != NULL;
}

bool poller_was_lost(const struct poller *p)
{
        return p->lost;
}

bool poller_was_complete(const struct poller *p)
{
        return p->complete;
}

int64_t poller_next(const struct poller *p)
{
        uint64_t now = now_usec(CLOCK_BOOTTIME);
        if (p->next_usec == 0)
                return -1;
        return p->next_usec > now ? (int64_t)((p->next_usec - now) / USEC_PER_SEC) : 0;
}

void poller_object(struct poller *p, const struct ledger_object *o)
{
        const struct config_package *package = config_find_package(p->on->config, o->org);
        for (struct listing *l = p->listings; l; l = l->next)
                if (l->one_object && streq(l->bucket, o->bucket) && streq(l->prefix, o->key))
                        return;
        struct listing *l =
                package && !p->stopped ? listing_new(p, package, o->category, o->bucket, o->key) : NULL;
        if (!l)
                return;
        l->one_object = true;
        send_list(l);
}

int poller_new(const struct job_env *env, const struct queue *queue, struct poller **ret)
{
        struct poller *p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        *p = (struct poller){
                .on = env, .queue = queue, .due_full = true}; /* the first poll of a run is a full one */
        char generation[32] = "";
        struct error e = {};
        int r = ledger_meta_get(env->ledger, "generation", generation, sizeof(generation), &e);
        if (r < 0) {
                free(p);
                return r;
        }
        p->generation = atoll(generation);
        p->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
        r = p->timer_fd < 0 ? -errno : uv_poll_init(env->loop, &p->timer, p->timer_fd);
        if (r < 0) {
                close_fd(p->timer_fd);
                free(p);
                return r;
        }
        p->timer.data = p;
        *ret = p;
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        struct poller *p = h->data;
        close_fd(p->timer_fd);
        free(p);
}

struct poller *poller_free(struct poller *p)
{
        if (!p)
                return NULL;
        poller_stop(p);
        uv_close((uv_handle_t *)&p->timer, on_timer_closed);
        return NULL;
}
