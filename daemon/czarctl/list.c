/* SPDX-License-Identifier: Apache-2.0 */
/* list: objects by filter, and with --member the members that match. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "ledger_report.h"
#include "objects.h"
#include "runs.h"
#include "str.h"

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

void object_row(struct rows *r, const struct ledger_object *o, bool more)
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

/* --- the command --- */

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
