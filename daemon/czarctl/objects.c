/* SPDX-License-Identifier: Apache-2.0 */
/* Objects, one row each. list: those that are known, by filter, and with --member the members that match.
 * plan: what a poll would fetch. Every prefix is listed through czard-fetch as czard's poll does it, and what
 * is listed is compared with the ledger without writing to it; what is due in the ledger already comes on
 * top. */
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "helpers.h"
#include "keep.h"
#include "ledger_report.h"
#include "macro.h"
#include "rows.h"
#include "str.h"
#include "wants.h"

/* --- one object --- */

static enum colour colour_of(enum object_state s)
{
        switch (s) {
        case OBJECT_PUBLISHED:
                return GREEN;
        case OBJECT_RETRY:
        case OBJECT_MISSING:
                return YELLOW;
        case OBJECT_REJECTED:
                return RED;
        case OBJECT_IGNORED:
        case OBJECT_GONE:
        case OBJECT_FORGOTTEN:
        case OBJECT_PRUNED:
                return DIM;
        case OBJECT_NEW:
        case OBJECT_FETCHING:
        case OBJECT_DECRYPTING:
        case OBJECT_STATE_MAX:
                break;
        }
        return PLAIN;
}

#define OBJECT_COLUMNS "state|date|org|category|site|>size|>plain_size=PLAIN|what=OBJECT OR PATH|cause"

/* more: the caller adds members in JSON and calls rows_end_item(). */
static void object_row(struct rows *r, const struct ledger_object *o, bool more)
{
        char checks[256], hex[SHA256_HEX];
        bool staged = *o->staged_etag && *o->path;
        const char *cause = o->cause != CAUSE_NONE ? cause_name(o->cause) : NULL;
        hex_encode(o->sha256, SHA256_SIZE, hex);
        rows_begin_item(
                r, FIELDS(F_TEXT("bucket", o->bucket), F_TEXT("key", o->key), F_TEXT("etag", o->etag),
                           F_BYTES("size", o->size), F_TIME("last_modified", o->last_modified),
                           F_TEXT("category", category_name(o->category)), F_TEXT("org", o->org),
                           F_NAME("site", o->site), F_NAME("date", o->date),
                           F_TEXT("state", object_state_name(o->state), .colour = colour_of(o->state)),
                           F_TEXT("path", staged ? o->path : NULL), F_BYTES("plain_size", o->plain_size),
                           F_TEXT("sha256", o->has_sha256 && !o->is_zip ? hex : NULL),
                           F_TEXT("verified",
                                   o->checks ? checks_format(o->checks, checks, sizeof(checks)) : NULL),
                           F_NAME("cause", cause, .colour = RED), F_NUMBER("attempts", o->attempts),
                           F_TIME("next_try", o->next_try), F_CELL("what", staged ? o->path : o->key)));
        if (!more)
                rows_end_item(r);
}

/* --- list --- */

struct list {
        struct ctl *c;
        const char *member;
        bool rejected; /* --state REJECTED: of objects that are staged, the members that were rejected */
        struct rows rows;
        /* of the object whose members are looked at */
        const struct ledger_object *object;
        bool opened;
};

static bool matches(const struct list *l, const struct ledger_member *m)
{
        if (l->rejected)
                return m->state == OBJECT_REJECTED;
        return fnmatch(l->member, m->path, 0) == 0 || fnmatch(l->member, m->name, 0) == 0;
}

/* In JSON members stand in their object; in the table each is a row, with --state REJECTED among objects. */
static void member_row(struct list *l, const struct ledger_member *m)
{
        const struct ledger_object *o = l->object;
        char hex[SHA256_HEX];
        hex_encode(m->sha256, SHA256_SIZE, hex);
        _cleanup_free_ char *what = str_printf(
                "%s%s%s", o->path, *o->path ? "/" : "", l->rejected && !*m->path ? m->name : m->path);
        const char *cause = m->cause != CAUSE_NONE ? cause_name(m->cause) : NULL;
        const struct ctl_field *f = FIELDS(F_TEXT("name", m->name), F_TEXT("path", m->path),
                F_NAME("course", m->course), F_NAME("table", m->table), F_BOOL("failed_at_source", m->failed),
                F_TEXT("state", object_state_name(m->state), .colour = colour_of(m->state)),
                F_BYTES("size", m->size), F_BYTES("plain_size", m->plain_size),
                F_TEXT("sha256", m->has_sha256 ? hex : NULL), F_NAME("cause", cause, .colour = RED),
                F_CELL("date", o->date), F_CELL("org", o->org),
                F_CELL("category", category_name(o->category)), F_CELL("site", "-"), F_CELL("what", what));
        if (l->c->json)
                json_object(&l->rows.json, NULL, f);
        else
                rows_add(&l->rows, f);
}

static int list_member(struct ledger_member *m, void *arg)
{
        struct list *l = arg;
        if (!matches(l, m))
                return 0;
        if (l->c->json && !l->opened) {
                object_row(&l->rows, l->object, true);
                json_open(&l->rows.json, "members", '[');
        }
        l->opened = true;
        member_row(l, m);
        return 0;
}

static int add_members(struct list *l, const struct ledger_object *o, struct error *e)
{
        l->object = o;
        l->opened = false;
        int r = ledger_members(l->c->ledger, o->id, list_member, l, e);
        if (l->c->json && l->opened) {
                json_close(&l->rows.json, ']');
                rows_end_item(&l->rows);
        }
        return r;
}

static int list_object(struct ledger_object *o, void *arg)
{
        struct list *l = arg;
        struct error e = {};
        if (!l->member)
                object_row(&l->rows, o, false);
        return l->member && o->is_zip ? add_members(l, o, &e) : 0;
}

struct member_filter {
        struct list *list;
        const struct ledger_filter *filter;
        int64_t last; /* object: the report has a row for each cause */
        struct error *e;
};

static bool passes(const struct ledger_filter *f, const struct ledger_object *o)
{
        return (!f->org || streq(f->org, o->org)) && (!f->categories || f->categories & BIT(o->category)) &&
               (!f->since || strcmp(o->date, f->since) >= 0) &&
               (!f->until || strcmp(o->date, f->until) <= 0) && (!f->site || streq(f->site, o->site));
}

static int list_snapshot(const struct report_row *row, void *arg)
{
        struct member_filter *m = arg;
        struct list *l = m->list;
        struct ledger_object o;
        if (row->number[6] == m->last)
                return 0;
        m->last = row->number[6];
        int r = ledger_get(l->c->ledger, m->last, &o, m->e);
        if (r < 0 || !passes(m->filter, &o))
                return r;
        return add_members(l, &o, m->e);
}

/* Snapshots that are staged without some of their members: these are rejected, too. */
static int add_rejected_members(struct list *l, const struct ledger_filter *f, struct error *e)
{
        struct member_filter m = {.list = l, .filter = f, .e = e};
        l->rejected = true;
        return report_each(l->c->ledger, REPORT_MEMBERS_REJECTED, NULL, NULL, list_snapshot, &m, e);
}

/* A list of states, separated by commas or blanks. */
static int parse_states(const struct ctl *c, unsigned *ret)
{
        const char *v = ctl_flag(c, "state");
        char text[256];
        *ret = 0;
        if (!v)
                return 0;
        snprintf(text, sizeof(text), "%s", v);
        for (char *save = NULL, *word = strtok_r(text, ", ", &save); word;
                word = strtok_r(NULL, ", ", &save)) {
                for (char *p = word; *p; p++)
                        if (*p >= 'a' && *p <= 'z')
                                *p = (char)(*p - 'a' + 'A');
                enum object_state s = object_state_from_name(word);
                if (s == OBJECT_STATE_MAX)
                        return ctl_usage(c,
                                "--state: '%.32s' is no state; expected NEW FETCHING DECRYPTING PUBLISHED "
                                "RETRY REJECTED IGNORED GONE MISSING FORGOTTEN PRUNED",
                                word);
                *ret |= BIT(s);
        }
        return 0;
}

static const char *say_none(const struct ctl *c)
{
        bool filtered = false;
        for (const struct flag *f = c->command->flags; f->name && !filtered; f++)
                filtered = ctl_flag(c, f->name);
        return !filtered               ? "No objects are known yet: no poll found any."
               : ctl_flag(c, "member") ? "No members match."
                                       : "No objects match.";
}

int run_list(struct ctl *c)
{
        struct list l = {.c = c, .member = ctl_flag(c, "member")};
        struct ledger_filter f = {.org = ctl_flag(c, "org"), .site = ctl_flag(c, "site")};
        const char *category = ctl_flag(c, "category");
        struct error e = {};
        if (ctl_date_flag(c, "since", &f.since) || ctl_date_flag(c, "until", &f.until) ||
                parse_states(c, &f.states))
                return CTL_USAGE;
        if (category && category_from_name(category) == CATEGORY_MAX)
                return ctl_usage(c, "--category: expected events, database, email-opt-in or rdx");
        if (category)
                f.categories = BIT(category_from_name(category));
        int status = ctl_open_ledger(c);
        if (status)
                return status;
        rows_open(&l.rows, c, "objects",
                l.member ? "state|date|course|table|>plain_size=PLAIN|what=PATH|cause" : OBJECT_COLUMNS);
        int r = ledger_each(c->ledger, &f, list_object, &l, &e);
        if (r >= 0 && !l.member && (f.states & BIT(OBJECT_REJECTED)))
                r = add_rejected_members(&l, &f, &e);
        rows_end(&l.rows, r < 0 ? NULL : say_none(c));
        return rows_finish(&l.rows, r, &e);
}

/* --- plan --- */

struct listing {
        const struct config_package *package;
        enum category category;
        char bucket[BUCKET_SIZE], prefix[KEY_SIZE], start_after[KEY_SIZE];
        uint32_t id;
        bool over;
};

struct plan {
        struct ctl *c;
        struct listing *listings;
        size_t n_listings, n_failed;
        struct ledger_object *due; /* grows */
        size_t n_due;
        bool full, no_credentials;
        int64_t now;
        struct error *e;
};

static int add_due(struct plan *p, const struct ledger_object *o)
{
        if (ARRAY_ROOM(p->due, p->n_due) < 0)
                return error_set(p->e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        p->due[p->n_due++] = *o;
        return 0;
}

static bool plan_wants(const struct plan *p, const struct ledger_object *o)
{
        struct error unsafe;
        return wants_object(p->c->config, o, p->now, NULL, &unsafe) && unsafe.cause == CAUSE_NONE;
}

/* --- what the ledger has --- */

static int on_ledger_due(struct ledger_object *o, void *arg)
{
        struct plan *p = arg;
        return plan_wants(p, o) ? add_due(p, o) : 0;
}

static int add_ledger_due(struct plan *p)
{
        struct ledger_filter f = {.states = OBJECT_STATES_DUE | BIT(OBJECT_IGNORED), .newest_first = true};
        return p->c->ledger ? ledger_each(p->c->ledger, &f, on_ledger_due, p, p->e) : 0;
}

/* --- what is listed --- */

static int take_object(struct plan *p, const struct listing *l, const struct proto_object *from)
{
        struct ledger_object o, known = {};
        if (!*from->etag || listings_object(&l->package->spec, l->category, l->bucket, from->key, &o) < 0)
                return 0;
        if (p->c->ledger && ledger_find(p->c->ledger, l->bucket, from->key, &known, NULL) == 0) {
                /* The same one: then the ledger has said already whether it is due. */
                bool same = streq(known.etag, from->etag) && known.size == from->size;
                if (same && known.state != OBJECT_GONE)
                        return 0;
                if (known.state == OBJECT_FORGOTTEN || known.state == OBJECT_PRUNED ||
                        (same && streq(known.staged_etag, from->etag)))
                        return 0;
                for (size_t i = 0; i < p->n_due; i++)
                        if (p->due[i].id == known.id) {
                                p->due[i].size = from->size;
                                return 0;
                        }
        }
        snprintf(o.etag, sizeof(o.etag), "%s", from->etag);
        o.size = from->size;
        o.last_modified = from->last_modified;
        snprintf(o.staged_etag, sizeof(o.staged_etag), "%s", known.staged_etag);
        return plan_wants(p, &o) ? add_due(p, &o) : 0;
}

struct package_listings {
        struct plan *plan;
        const struct config_package *package;
};

static int add_listing(const struct listing_spec *spec, void *arg)
{
        const struct package_listings *of = arg;
        struct plan *p = of->plan;
        if (ARRAY_ROOM(p->listings, p->n_listings) < 0)
                return -ENOMEM;
        struct listing *l = &p->listings[p->n_listings++];
        *l = (struct listing){.package = of->package, .category = spec->category};
        snprintf(l->bucket, sizeof(l->bucket), "%s", spec->bucket);
        memcpy(l->prefix, spec->prefix, sizeof(l->prefix));
        memcpy(l->start_after, spec->start_after, sizeof(l->start_after));
        return 0;
}

static int add_listings(struct plan *p)
{
        const struct config *c = p->c->config;
        int r = 0;
        for (size_t i = 0; r == 0 && i < c->n_packages; i++) {
                struct package_listings of = {p, &c->packages[i]};
                r = listings_each(p->c->ledger, of.package, p->full, p->now, add_listing, &of);
        }
        return r;
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
        shown_print(stderr, "czarctl: listing s3://%s/%s failed: %s; %s\n", l->bucket, l->prefix,
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
        struct progress_line progress = {.what = "listing", .total = left};
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

/* --- what is not fetched after all --- */

/* Snapshots beyond keep_snapshots of which only their directory tells whether they hold the last copy of a
 * course. */
struct plan_undecided {
        size_t n;
        uint64_t bytes;
};

/* One date in two spellings. */
static bool is_beaten(const struct plan *p, const struct ledger_object *o)
{
        bool beaten = false;
        if (p->c->ledger)
                ledger_is_beaten(p->c->ledger, o, &beaten, NULL);
        for (size_t i = 0; i < p->n_due; i++)
                beaten |= ledger_is_beaten_by(o, &p->due[i]);
        return beaten;
}

/* Takes out of due what czard would not fetch after all, by the rules of its queue: snapshots beyond
 * keep_snapshots, unless one is the last copy of a course, and of one date in two spellings the older. */
static int drop(struct plan *p, struct plan_undecided *ret)
{
        struct ledger_object *due = p->due;
        _cleanup_free_ enum beyond *beyond = calloc(p->n_due + 1, sizeof(*beyond));
        size_t kept = 0;
        int r = beyond ? 0 : error_set(p->e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        for (size_t i = 0; r >= 0 && i < p->n_due; i++)
                if (is_beaten(p, &due[i]))
                        beyond[i] = BEYOND_YES;
                else
                        r = beyond_look(p->c->ledger, p->c->config, &due[i], due, p->n_due, &beyond[i], p->e);
        for (size_t i = 0; r >= 0 && i < p->n_due; i++)
                switch (beyond[i]) {
                case BEYOND_NO:
                case BEYOND_LAST_COPY:
                        due[kept++] = due[i];
                        break;
                case BEYOND_UNREAD:
                case BEYOND_WAITS:
                        ret->n++;
                        ret->bytes += due[i].size;
                        break;
                case BEYOND_YES:
                        break;
                }
        if (r >= 0)
                p->n_due = kept;
        return MIN(r, 0);
}

/* --- showing --- */

static int show_plan(struct plan *p, bool listed, const struct plan_undecided *u)
{
        struct ctl *c = p->c;
        uint64_t total = 0;
        char size[BYTES_SIZE];
        for (size_t i = 0; i < p->n_due; i++)
                total += p->due[i].size;
        struct rows rows;
        rows_open(&rows, c, "objects", OBJECT_COLUMNS);
        for (size_t i = 0; i < p->n_due; i++)
                object_row(&rows, &p->due[i], false);
        rows_end(&rows, NULL);
        if (c->json)
                json_fields(&rows.json,
                        FIELDS(F_BYTES("total_bytes", total), F_BOOL("listed", listed),
                                F_NUMBER("failed_listings", p->n_failed), F_NUMBER("undecided", u->n),
                                F_BYTES("undecided_bytes", u->bytes)));
        int status = rows_finish(&rows, 0, NULL);
        if (status || c->json)
                return status;
        shown_print(stdout, "%zu objects, %s to fetch%s\n", p->n_due, bytes_text((int64_t)total, size),
                listed ? "" : "; as the last poll left it: nothing was listed now");
        if (p->n_failed > 0)
                shown_print(stderr, "czarctl: %zu of %zu listings failed: more may be due\n", p->n_failed,
                        p->n_listings);
        if (u->n > 0)
                shown_print(stdout,
                        "%zu older %s beyond keep_snapshots, %s: czard first reads what %s, and fetches the "
                        "last copy of a course\n",
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
                r = drop(&p, &undecided);
        int status = r < 0 ? ctl_fail(&e) : show_plan(&p, !offline, &undecided);
        free(p.listings);
        free(p.due);
        return status ? status : p.n_failed ? CTL_CANNOT : CTL_WELL;
}
