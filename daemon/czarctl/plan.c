/* SPDX-License-Identifier: Apache-2.0 */
/* plan: what a poll would fetch. Every prefix is listed through czard-fetch as czard's poll does it, and what
 * is listed is compared with the ledger without writing to it; what is due in the ledger already comes on
 * top. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fetch.h"
#include "objects.h"
#include "plan.h"
#include "runs.h"
#include "str.h"
#include "timespan.h"
#include "wants.h"

#define LISTINGS_MOST 4096
#define LOOK_BACK_DAYS 30

struct listing {
        const struct config_package *package;
        enum category category;
        char bucket[64], prefix[1025], start_after[1025];
        uint32_t id;
        bool over;
};

struct plan {
        struct ctl *c;
        struct listing *listings;
        size_t n_listings, n_failed;
        struct ledger_object *due; /* grows */
        size_t n_due, size;
        bool full, no_credentials;
        int64_t now;
        struct error *e;
};

static int add_due(struct plan *p, const struct ledger_object *o)
{
        if (p->n_due == p->size) {
                size_t size = p->size ? 2 * p->size : 64;
                struct ledger_object *due = reallocarray(p->due, size, sizeof(*due));
                if (!due)
                        return error_set(p->e, CAUSE_INTERNAL, ENOMEM, "out of memory");
                p->due = due;
                p->size = size;
        }
        p->due[p->n_due++] = *o;
        return 0;
}

static bool is_wanted(const struct plan *p, const struct ledger_object *o)
{
        return wants_object(p->c->config, o, p->now, NULL);
}

/* --- what the ledger has --- */

static int on_ledger_due(struct ledger_object *o, void *arg)
{
        struct plan *p = arg;
        return is_wanted(p, o) ? add_due(p, o) : 0;
}

static int add_ledger_due(struct plan *p)
{
        struct ledger_filter f = {.states = BIT(OBJECT_NEW) | BIT(OBJECT_RETRY) | BIT(OBJECT_FETCHING) |
                                            BIT(OBJECT_DECRYPTING) | BIT(OBJECT_IGNORED),
                .newest_first = true};
        return p->c->ledger ? ledger_each(p->c->ledger, &f, on_ledger_due, p, p->e) : 0;
}

/* --- what is listed --- */

static int take_object(struct plan *p, const struct listing *l, const struct proto_object *from)
{
        struct package_item item;
        struct ledger_object o, known = {};
        if (package_parse_key(&l->package->spec, l->bucket, from->key, &item, NULL) < 0)
                return 0;
        if (p->c->ledger && ledger_find(p->c->ledger, l->bucket, from->key, &known, NULL) == 0) {
                /* The same one: then the ledger has said already whether it is due. */
                if (streq(known.etag, from->etag) && known.state != OBJECT_GONE)
                        return 0;
                if (known.state == OBJECT_FORGOTTEN || known.state == OBJECT_PRUNED ||
                        (known.state == OBJECT_GONE && streq(known.staged_etag, from->etag)))
                        return 0;
                for (size_t i = 0; i < p->n_due; i++)
                        if (p->due[i].id == known.id) {
                                p->due[i].size = from->size;
                                return 0;
                        }
        }
        o = (struct ledger_object){.size = from->size,
                .last_modified = from->last_modified,
                .category = item.category,
                .is_zip = item.is_zip,
                .plain_size = -1};
        snprintf(o.bucket, sizeof(o.bucket), "%s", l->bucket);
        snprintf(o.key, sizeof(o.key), "%s", from->key);
        snprintf(o.etag, sizeof(o.etag), "%s", from->etag);
        snprintf(o.org, sizeof(o.org), "%s", l->package->spec.org);
        snprintf(o.site, sizeof(o.site), "%s", item.site);
        snprintf(o.date, sizeof(o.date), "%s", item.date);
        snprintf(o.request, sizeof(o.request), "%s", item.request);
        snprintf(o.staged_etag, sizeof(o.staged_etag), "%s", known.staged_etag);
        return is_wanted(p, &o) ? add_due(p, &o) : 0;
}

/* As poll.c: the same name 30 days before sorts before everything that may have come late. */
static void look_back(char *name)
{
        size_t n = strlen(name);
        for (size_t i = n; i-- > 0;) {
                int days;
                if (i + 10 <= n && date_parse(name + i, &days) >= 0) {
                        char date[11];
                        date_format(days - LOOK_BACK_DAYS, date);
                        memcpy(name + i, date, 10);
                        name[i + 10] = 0;
                        return;
                }
        }
        *name = 0;
}

static void add_listing(struct plan *p, const struct config_package *package,
        const struct package_prefix *prefix, const char *year, bool from_newest)
{
        if (p->n_listings == LISTINGS_MOST)
                return;
        struct listing *l = &p->listings[p->n_listings++];
        *l = (struct listing){.package = package, .category = prefix->category};
        snprintf(l->bucket, sizeof(l->bucket), "%s", prefix->bucket);
        snprintf(l->prefix, sizeof(l->prefix), "%s%s%s", prefix->prefix, year, *year ? "/" : "");
        if (from_newest && p->c->ledger &&
                ledger_last_key(p->c->ledger, l->bucket, l->prefix, l->start_after, NULL) >= 0)
                look_back(l->start_after);
}

static void add_prefix(
        struct plan *p, const struct config_package *package, const struct package_prefix *prefix)
{
        char first[1025] = "";
        if (prefix->category != CATEGORY_EVENTS) {
                add_listing(p, package, prefix, "", prefix->category == CATEGORY_DATABASE && !p->full);
                return;
        }
        /* Without any known name the first poll lists everything. */
        bool known = p->c->ledger &&
                     ledger_last_key(p->c->ledger, prefix->bucket, prefix->prefix, first, NULL) >= 0 &&
                     *first;
        if (p->full || !known) {
                add_listing(p, package, prefix, "", false);
                return;
        }
        time_t now = (time_t)p->now;
        struct tm tm;
        gmtime_r(&now, &tm);
        char year[8];
        snprintf(year, sizeof(year), "%04d", tm.tm_year + 1900);
        add_listing(p, package, prefix, year, false);
        snprintf(year, sizeof(year), "%04d", tm.tm_year + 1899);
        add_listing(p, package, prefix, year, true);
}

static int add_listings(struct plan *p)
{
        const struct config *c = p->c->config;
        p->listings = calloc(LISTINGS_MOST, sizeof(*p->listings));
        if (!p->listings)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_packages; i++) {
                struct package_prefix *prefixes = NULL;
                size_t n = 0;
                if (package_prefixes(&c->packages[i].spec, &prefixes, &n) < 0)
                        return -ENOMEM;
                for (size_t k = 0; k < n; k++)
                        add_prefix(p, &c->packages[i], &prefixes[k]);
                package_prefixes_free(prefixes, n);
        }
        return 0;
}

static void listing_over(struct plan *p, struct listing *l, const struct proto_done *done)
{
        l->over = true;
        if (done->outcome.cause == CAUSE_NONE)
                return;
        p->n_failed++;
        /* One reason for all of them is said once. */
        if (done->outcome.cause == CAUSE_NO_CREDENTIALS && p->no_credentials)
                return;
        p->no_credentials |= done->outcome.cause == CAUSE_NO_CREDENTIALS;
        fprintf(stderr, "czarctl: listing s3://%s/%s failed: %s; %s\n", l->bucket, l->prefix,
                done->outcome.detail, cause_advice((enum cause)done->outcome.cause));
}

static int take_answer(struct plan *p, const struct message *m)
{
        struct listing *l = NULL;
        int r = 0;
        for (size_t i = 0; i < p->n_listings && !l; i++)
                if (p->listings[i].id == m->id && !p->listings[i].over)
                        l = &p->listings[i];
        if (!l)
                return 0;
        for (size_t i = 0; m->type == PROTO_LISTED && r == 0 && i < m->listed.n; i++)
                r = take_object(p, l, &m->listed.objects[i]);
        if (m->type == PROTO_DONE)
                listing_over(p, l, &m->done);
        return r;
}

static int list_all(struct plan *p, struct fetch *f)
{
        size_t left = p->n_listings;
        int r = 0;
        for (size_t i = 0; r == 0 && i < p->n_listings; i++)
                r = fetch_list(f, p->listings[i].bucket, p->listings[i].prefix, p->listings[i].start_after,
                        &p->listings[i].id, p->e);
        struct progress progress = {.what = "listing", .total = left};
        while (r == 0 && left > 0) {
                struct message m = {};
                r = fetch_next(f, &m, p->e);
                if (r < 0)
                        break;
                r = take_answer(p, &m);
                left -= m.type == PROTO_DONE;
                progress_to(&progress, p->n_listings - left);
                message_done(&m);
        }
        progress_end(&progress);
        return r;
}

/* --- showing --- */

static int show(struct plan *p, bool listed, const struct plan_undecided *u)
{
        struct ctl *c = p->c;
        uint64_t total = 0;
        char size[32];
        for (size_t i = 0; i < p->n_due; i++)
                total += p->due[i].size;
        if (c->json) {
                _cleanup_json_ struct json j = {};
                answer_open(&j);
                json_open(&j, "objects", '[');
                for (size_t i = 0; i < p->n_due; i++) {
                        object_json(&j, &p->due[i]);
                        json_close(&j, '}');
                }
                json_close(&j, ']');
                json_u64(&j, "total_bytes", total);
                json_bool(&j, "listed", listed);
                json_u64(&j, "failed_listings", p->n_failed);
                json_u64(&j, "undecided", u->n);
                json_u64(&j, "undecided_bytes", u->bytes);
                return answer_print(&j);
        }
        struct table *t = object_table();
        for (size_t i = 0; i < p->n_due; i++)
                object_row(t, &p->due[i]);
        table_print(t);
        printf("%zu objects, %s to fetch%s\n", p->n_due, bytes_text((int64_t)total, size),
                listed ? "" : "; as the last poll left it: nothing was listed now");
        if (p->n_failed > 0)
                fprintf(stderr, "czarctl: %zu of %zu listings failed: more may be due\n", p->n_failed,
                        p->n_listings);
        if (u->n > 0)
                printf("%zu older %s beyond keep_snapshots, %s: czard first reads what %s, and fetches the "
                       "last "
                       "copy of a course\n",
                        u->n, u->n == 1 ? "snapshot" : "snapshots", bytes_text((int64_t)u->bytes, size),
                        u->n == 1 ? "is in it" : "is in them");
        return 0;
}

int prepare_plan(struct ctl *c)
{
        return ctl_flag(c, "offline") ? 0 : fetch_prepare(c);
}

int run_plan(struct ctl *c)
{
        struct error e = {};
        struct plan p = {.c = c, .full = ctl_flag(c, "full"), .now = (int64_t)time(NULL), .e = &e};
        bool offline = ctl_flag(c, "offline"), has_ledger;
        if (c->config_is_partial)
                return ctl_fail_text(
                        "the configuration has errors, and a plan goes by it: %s", c->config_error);
        has_ledger = ctl_open_state(c, &e) >= 0 && faccessat(c->state_fd, "ledger.db", F_OK, 0) == 0;
        if ((has_ledger || offline) && ctl_open_ledger(c))
                return CTL_CANNOT;
        e = (struct error){};
        int r = add_ledger_due(&p);
        if (r == 0 && !offline) {
                struct fetch f = {.helper = HELPER_NONE};
                r = add_listings(&p);
                if (r == 0)
                        r = fetch_open(c, NULL, &f, &e);
                if (r == 0)
                        r = list_all(&p, &f);
                fetch_close(&f);
        }
        struct plan_undecided undecided = {};
        if (r == 0)
                r = plan_drop(c, p.due, &p.n_due, &undecided);
        int status = r < 0 ? (e.cause ? ctl_fail(c, &e) : ctl_fail_text("out of memory"))
                           : show(&p, !offline, &undecided);
        free(p.listings);
        free(p.due);
        return status ? status : p.n_failed ? CTL_CANNOT : CTL_WELL;
}
