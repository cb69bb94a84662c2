/* SPDX-License-Identifier: Apache-2.0 */
/* list: objects by filter, and with --member the members that match. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "ledger_report.h"
#include "objects.h"
#include "runs.h"
#include "str.h"
#include "timespan.h"

/* --- one object --- */

static void str_or_null(struct json *j, const char *name, const char *s)
{
        json_str(j, name, *s ? s : NULL);
}

static void i64_or_null(struct json *j, const char *name, bool known, int64_t v)
{
        if (known)
                json_i64(j, name, v);
        else
                json_null(j, name);
}

static void json_hash(struct json *j, bool has, const uint8_t *sha256)
{
        char hex[SHA256_HEX];
        if (has)
                hex_encode(sha256, SHA256_SIZE, hex);
        json_str(j, "sha256", has ? hex : NULL);
}

void object_json(struct json *j, const struct ledger_object *o)
{
        char checks[256];
        bool staged = *o->staged_etag;
        json_open(j, NULL, '{');
        json_str(j, "bucket", o->bucket);
        json_str(j, "key", o->key);
        json_str(j, "etag", o->etag);
        json_u64(j, "size", o->size);
        json_time(j, "last_modified", o->last_modified);
        json_str(j, "category", category_name(o->category));
        json_str(j, "org", o->org);
        str_or_null(j, "site", o->site);
        str_or_null(j, "date", o->date);
        json_str(j, "state", object_state_name(o->state));
        json_str(j, "path", staged && *o->path ? o->path : NULL);
        i64_or_null(j, "plain_size", o->plain_size >= 0, o->plain_size);
        json_hash(j, o->has_sha256 && !o->is_zip, o->sha256);
        json_str(j, "verified", o->checks ? checks_format(o->checks, checks, sizeof(checks)) : NULL);
        json_str(j, "cause", o->cause != CAUSE_NONE ? cause_name(o->cause) : NULL);
        json_u64(j, "attempts", o->attempts);
        if (o->next_try)
                json_time(j, "next_try", o->next_try);
        else
                json_null(j, "next_try");
}

struct table *object_table(void)
{
        return table_new("STATE|DATE|ORG|CATEGORY|SITE|>SIZE|>PLAIN|OBJECT OR PATH|CAUSE");
}

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

void object_row(struct table *t, const struct ledger_object *o)
{
        char size[32], plain[32];
        table_cell(t, colour_of(o->state), "%s", object_state_name(o->state));
        table_cell(t, PLAIN, "%s", *o->date ? o->date : "-");
        table_cell(t, PLAIN, "%s", o->org);
        table_cell(t, PLAIN, "%s", category_name(o->category));
        table_cell(t, PLAIN, "%s", *o->site ? o->site : "-");
        table_cell(t, PLAIN, "%s", bytes_text((int64_t)o->size, size));
        table_cell(t, PLAIN, "%s", bytes_text(o->plain_size, plain));
        table_cell(t, PLAIN, "%s", *o->staged_etag && *o->path ? o->path : o->key);
        table_cell(t, RED, "%s", o->cause != CAUSE_NONE ? cause_name(o->cause) : "");
}

/* --- the command --- */

struct list {
        struct ctl *c;
        const char *member;
        bool rejected; /* --state REJECTED: of objects that are staged, the members that were rejected */
        struct json json;
        struct table *table;
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

static void open_object(struct list *l)
{
        if (l->opened)
                return;
        l->opened = true;
        if (!l->c->json)
                return;
        object_json(&l->json, l->object);
        json_open(&l->json, "members", '[');
}

/* In the table of objects. */
static void member_row(struct list *l, const struct ledger_member *m)
{
        const struct ledger_object *o = l->object;
        char size[32];
        table_cell(l->table, colour_of(m->state), "%s", object_state_name(m->state));
        table_cell(l->table, PLAIN, "%s", *o->date ? o->date : "-");
        table_cell(l->table, PLAIN, "%s", o->org);
        table_cell(l->table, PLAIN, "%s", category_name(o->category));
        table_cell(l->table, PLAIN, "-");
        table_cell(l->table, PLAIN, "%s", bytes_text((int64_t)m->size, size));
        table_cell(l->table, PLAIN, "-");
        table_cell(l->table, PLAIN, "%s/%s", o->path, *m->path ? m->path : m->name);
        table_cell(l->table, RED, "%s", m->cause != CAUSE_NONE ? cause_name(m->cause) : "");
}

static int on_member(struct ledger_member *m, void *arg)
{
        struct list *l = arg;
        char size[32];
        if (!matches(l, m))
                return 0;
        open_object(l);
        if (!l->c->json && l->rejected) {
                member_row(l, m);
                return 0;
        }
        if (!l->c->json) {
                table_cell(l->table, colour_of(m->state), "%s", object_state_name(m->state));
                table_cell(l->table, PLAIN, "%s", l->object->date);
                table_cell(l->table, PLAIN, "%s", m->course);
                table_cell(l->table, PLAIN, "%s", m->table);
                table_cell(l->table, PLAIN, "%s", bytes_text(m->plain_size, size));
                table_cell(l->table, PLAIN, "%s%s%s", l->object->path, *l->object->path ? "/" : "", m->path);
                table_cell(l->table, RED, "%s", m->cause != CAUSE_NONE ? cause_name(m->cause) : "");
                return 0;
        }
        struct json *j = &l->json;
        json_open(j, NULL, '{');
        json_str(j, "name", m->name);
        json_str(j, "path", m->path);
        str_or_null(j, "course", m->course);
        str_or_null(j, "table", m->table);
        json_bool(j, "failed_at_source", m->failed);
        json_str(j, "state", object_state_name(m->state));
        json_u64(j, "size", m->size);
        i64_or_null(j, "plain_size", m->plain_size >= 0, m->plain_size);
        json_hash(j, m->has_sha256, m->sha256);
        json_str(j, "cause", m->cause != CAUSE_NONE ? cause_name(m->cause) : NULL);
        json_close(j, '}');
        return 0;
}

static int on_object(struct ledger_object *o, void *arg)
{
        struct list *l = arg;
        struct error e = {};
        l->object = o;
        l->opened = false;
        if (!l->member && l->c->json) {
                object_json(&l->json, o);
                json_close(&l->json, '}');
                return 0;
        }
        if (!l->member) {
                object_row(l->table, o);
                return 0;
        }
        if (!o->is_zip)
                return 0;
        int r = ledger_members(l->c->ledger, o->id, on_member, l, &e);
        if (r == 0 && l->opened && l->c->json) {
                json_close(&l->json, ']');
                json_close(&l->json, '}');
        }
        return r;
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

static int on_snapshot(const struct report_row *row, void *arg)
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
        l->object = &o;
        l->opened = false;
        r = ledger_members(l->c->ledger, o.id, on_member, l, m->e);
        if (r == 0 && l->opened && l->c->json) {
                json_close(&l->json, ']');
                json_close(&l->json, '}');
        }
        return r;
}

/* Snapshots that are staged without some of their members: these are rejected, too. */
static int add_rejected_members(struct list *l, const struct ledger_filter *f, struct error *e)
{
        struct member_filter m = {.list = l, .filter = f, .e = e};
        l->rejected = true;
        return report_each(l->c->ledger, REPORT_MEMBERS_REJECTED, NULL, NULL, on_snapshot, &m, e);
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
                                "RETRY "
                                "REJECTED "
                                "IGNORED GONE MISSING FORGOTTEN PRUNED",
                                word);
                *ret |= BIT(s);
        }
        return 0;
}

static void say_none(const struct ctl *c)
{
        bool filtered = false;
        for (const struct flag *f = c->command->flags; f->name && !filtered; f++)
                filtered = ctl_flag(c, f->name);
        puts(!filtered                  ? "No objects are known yet: no poll found any."
                : ctl_flag(c, "member") ? "No members match."
                                        : "No objects match.");
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
        if (c->json) {
                answer_open(&l.json);
                json_open(&l.json, "objects", '[');
        } else {
                l.table = l.member ? table_new("STATE|DATE|COURSE|TABLE|>PLAIN|PATH|CAUSE") : object_table();
        }
        int r = ledger_each(c->ledger, &f, on_object, &l, &e);
        if (r >= 0 && !l.member && (f.states & BIT(OBJECT_REJECTED)))
                r = add_rejected_members(&l, &f, &e);
        if (c->json) {
                json_close(&l.json, ']');
                status = r < 0 ? ctl_fail(c, &e) : answer_print(&l.json);
        } else {
                if (!table_print(l.table) && r == 0)
                        say_none(c);
                status = r < 0 ? ctl_fail(c, &e) : 0;
        }
        json_done(&l.json);
        return status;
}
