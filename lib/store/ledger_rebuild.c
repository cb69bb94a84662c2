/* SPDX-License-Identifier: Apache-2.0 */
/* From the audit record to a ledger. The record is outside input: a line that cannot be read, or does not
 * fit, is passed over and counted.
 *
 * The lines of an archive's members stand right before the line of its publication. After a crash between
 * them they may stand there without it. So the record is walked twice: first for the objects, noting which
 * lines are the members of what each object has staged now; then for these. */
#include "ledger_rebuild.h"

#include <stdlib.h>

#include "keep.h"
#include "ledger_facts.h"
#include "ledger_internal.h"
#include "limits.h"
#include "macro.h"
#include "outcome.h"
#include "staging.h"
#include "str.h"
#include "timespan.h"

#define VALUE_SIZE 4200

/* Lines first to end - 1 are the members of what the object has staged. */
struct span {
        uint64_t first, end;
        int64_t object_id;
};

struct rebuild {
        struct ledger *l;
        size_t max_name;
        uint64_t after; /* lines up to this number are in the ledger already */
        struct ledger_rebuilt count;
        struct error *e;
        /* member lines since the last line of another kind or object */
        uint64_t batch_first;
        char batch_bucket[BUCKET_SIZE], batch_key[KEY_SIZE], batch_etag[ETAG_SIZE];
        struct span *spans; /* by first, one an object at most: earlier ones have object_id 0 */
        size_t n_spans, at;
        struct ledger_object o; /* of the span that is being filled */
};

static int64_t field_time(struct audit_line *l, const char *name)
{
        char text[32];
        int64_t v = 0;
        if (audit_text(l, name, text, sizeof(text)) && time_parse_rfc3339(text, &v) < 0)
                l->bad = true;
        return v;
}

/* When we wrote the line: no clock of ours was before 1970. */
static int64_t field_written(struct audit_line *l)
{
        int64_t v = field_time(l, "time");
        l->bad |= v < 0;
        return MAX(v, 0);
}

static int set_fact(struct rebuild *b, const char *name, const char *value)
{
        return ledger_meta_set(b->l, name, value, b->e);
}

/* --- objects --- */

/* What the grammar of keys says, as far as the ledger wants to know it. */
static void derive(struct ledger_object *o)
{
        char path[sizeof(o->path)], *part, *rest = path;
        o->is_zip = (o->category == CATEGORY_DATABASE || o->category == CATEGORY_EMAIL_OPT_IN) &&
                    str_ends(o->key, ".zip");
        if (o->category != CATEGORY_RDX || *o->request)
                return;
        /* ORG/rdx/REQUEST/FILE */
        snprintf(path, sizeof(path), "%s", o->path);
        for (int i = 0; (part = strsep(&rest, "/")) && rest; i++)
                if (i == 2 && strlen(part) < sizeof(o->request))
                        snprintf(o->request, sizeof(o->request), "%s", part);
}

/* Which object the line is about: its row, made when it is new. 1: it is about none. */
static int find_object(
        struct rebuild *b, struct audit_line *l, struct ledger_object *ret, struct ledger_object *said)
{
        char category[CATEGORY_SIZE];
        memset(said, 0, sizeof(*said));
        if (!audit_text(l, "bucket", said->bucket, sizeof(said->bucket)) ||
                !audit_text(l, "key", said->key, sizeof(said->key)) || !*said->bucket || !*said->key)
                return 1;
        audit_text(l, "etag", said->etag, sizeof(said->etag));
        audit_text(l, "org", said->org, sizeof(said->org));
        audit_text(l, "site", said->site, sizeof(said->site));
        audit_text(l, "date", said->date, sizeof(said->date));
        audit_text(l, "path", said->path, sizeof(said->path));
        audit_text(l, "category", category, sizeof(category));
        said->category = category_from_name(category);
        said->last_modified = field_time(l, "mtime");
        said->size = (uint64_t)audit_number(l, "object_size", 0);
        if (l->bad || said->category == CATEGORY_MAX || !*said->org) {
                l->bad = true;
                return 1;
        }
        derive(said);
        int r = ledger_find(b->l, said->bucket, said->key, ret, NULL);
        if (r != -ENOENT)
                return r < 0 ? error_set(b->e, CAUSE_IO, -r, "the new ledger cannot be read") : 0;
        enum listed what;
        *ret = *said;
        ret->path[0] = 0; /* only what is staged has one */
        r = ledger_listed(b->l, ret, 0, &what, b->e);
        ret->first_seen = field_written(l);
        b->count.objects++;
        return r;
}

static void staged_object(struct ledger_object *o, const struct ledger_object *said, struct audit_line *l)
{
        snprintf(o->staged_etag, sizeof(o->staged_etag), "%s", o->etag);
        snprintf(o->path, sizeof(o->path), "%s", said->path);
        if (*said->request)
                snprintf(o->request, sizeof(o->request), "%s", said->request);
        audit_text(l, "fingerprint", o->fingerprint, sizeof(o->fingerprint));
        o->plain_size = audit_number(l, "size", -1);
        o->checks = (uint32_t)(audit_number(l, "checks", 0) & UINT32_MAX);
        o->has_sha256 = audit_sha256(l, o->is_zip ? "manifest" : "sha256", o->sha256);
        o->published_at = field_written(l);
        l->bad |= !*said->path;
        o->state = OBJECT_PUBLISHED;
}

/* refusals: that the lines before tell of the same bytes */
static void failed(struct ledger_object *o, unsigned refusals, struct audit_line *l)
{
        char cause[64];
        audit_text(l, "cause", cause, sizeof(cause));
        o->cause = cause_from_name(cause);
        if (o->cause == CAUSE_MAX)
                o->cause = CAUSE_INTERNAL;
        audit_text(l, "reason", o->detail, sizeof(o->detail));
        o->attempts = 1;
        o->state = OBJECT_REJECTED;
        if (cause_remedy(o->cause) != REMEDY_LIMITED)
                return;
        const struct outcome_case c = {.cause = o->cause,
                .refusals = MAX(refusals, OUTCOME_LIMITED_TRIES - 1U),
                .now_usec = (uint64_t)field_written(l) * USEC_PER_SEC};
        struct outcome_decision d = outcome_of(&c);
        o->refusals = d.refusals;
        o->next_try = d.at;
}

/* The members of what the object has staged are those of the lines before this one, or none any more. */
static int set_span(struct rebuild *b, const struct ledger_object *o, uint64_t first, uint64_t end)
{
        for (size_t i = b->n_spans; i-- > 0;)
                if (b->spans[i].object_id == o->id) {
                        b->spans[i].object_id = 0;
                        break;
                }
        if (first == end)
                return 0;
        if (ARRAY_ROOM(b->spans, b->n_spans) < 0)
                return error_set(b->e, CAUSE_IO, ENOMEM, "out of memory");
        b->spans[b->n_spans++] = (struct span){.first = first, .end = end, .object_id = o->id};
        return 0;
}

static bool is_batch_of(const struct rebuild *b, const struct ledger_object *said)
{
        return b->batch_first != 0 && streq(b->batch_bucket, said->bucket) &&
               streq(b->batch_key, said->key) && streq(b->batch_etag, said->etag);
}

enum event { PUBLISHED, ADOPTED, REJECTED, FORGOTTEN, PRUNED, MISSING, RESYNC, OTHER };

static enum event event_of(const char *name)
{
        static const struct {
                const char *name;
                enum event event;
        } events[] = {
                {"published", PUBLISHED},
                {"replaced", PUBLISHED},
                {"adopted", ADOPTED},
                {"rejected", REJECTED},
                {"forgotten", FORGOTTEN},
                {"pruned", PRUNED},
                {"missing", MISSING},
                {"resync", RESYNC},
        };
        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                if (streq(events[i].name, name))
                        return events[i].event;
        return OTHER;
}

static void apply(
        struct ledger_object *o, const struct ledger_object *said, enum event event, struct audit_line *l)
{
        unsigned refusals = streq(o->etag, said->etag) ? o->refusals : 0;
        snprintf(o->etag, sizeof(o->etag), "%s", said->etag);
        o->last_modified = said->last_modified;
        if (said->size > 0)
                o->size = said->size;
        o->cause = CAUSE_NONE;
        o->detail[0] = 0;
        o->attempts = o->refusals = 0;
        o->next_try = 0;
        switch (event) {
        case PUBLISHED:
        case ADOPTED:
                staged_object(o, said, l);
                break;
        case REJECTED:
                failed(o, refusals, l);
                break;
        case FORGOTTEN:
                ledger_forget(o);
                o->state = OBJECT_FORGOTTEN;
                break;
        case PRUNED:
                o->path[0] = o->staged_etag[0] = 0;
                o->state = OBJECT_PRUNED;
                break;
        case MISSING:
                o->state = OBJECT_MISSING;
                break;
        case RESYNC:
                o->state = OBJECT_NEW;
                break;
        case OTHER:
                break;
        }
}

/* Which members a filter left out the record does not tell, only that there are some. */
static int note_left_out(struct rebuild *b, struct audit_line *l, const struct ledger_object *o)
{
        return o->is_zip ? ledger_set_left_out(b->l, o->id, audit_number(l, "left_out", 0) > 0, b->e) : 0;
}

/* What another key had staged there was replaced by this one. */
static int take_place(struct rebuild *b, const struct ledger_object *o, uint64_t number)
{
        struct ledger_object other;
        int r = ledger_other_staged(b->l, o, o->path, &other, b->e);
        if (r == 0)
                r = ledger_give_way(b->l, &other, b->e);
        if (r == 0)
                r = set_span(b, &other, number, number);
        return r == -ENOENT ? 0 : r;
}

static int on_object(struct rebuild *b, struct audit_line *l, enum event event, uint64_t number)
{
        struct ledger_object o, said;
        int r = find_object(b, l, &o, &said);
        if (r != 0)
                return MIN(r, 0);
        if ((event == MISSING || event == ADOPTED) && o.state == OBJECT_REJECTED && *said.etag &&
                streq(said.etag, o.staged_etag))
                return 0; /* of what is staged from before: see history_missing() */
        apply(&o, &said, event, l);
        if (l->bad)
                return 0;
        r = ledger_save(b->l, &o, b->e);
        if (r == 0 && event == PUBLISHED)
                r = take_place(b, &o, number);
        if (r == 0 && event == PUBLISHED)
                r = note_left_out(b, l, &o);
        if (r == 0 && event == PUBLISHED)
                r = set_span(b, &o, is_batch_of(b, &said) ? b->batch_first : number, number);
        else if (r == 0 && event == FORGOTTEN)
                r = set_span(b, &o, number, number);
        if (r == 0 && event == FORGOTTEN)
                r = ledger_members_delete(b->l, o.id, b->e);
        return r;
}

/* A day by course, of the file that is staged by then. How many lines it had the record does not tell, and
 * its MANIFEST.jsonl does. */
static int on_day(struct rebuild *b, struct audit_line *l, bool made)
{
        struct ledger_object o, said;
        char rule[16];
        int r = find_object(b, l, &o, &said);
        if (r != 0)
                return MIN(r, 0);
        if (!made)
                return ledger_split_delete(b->l, o.id, b->e);
        struct ledger_split day = {.object_id = o.id};
        audit_text(l, "reason", rule, sizeof(rule));
        day.rule = event_rule_from_name(rule);
        l->bad |= day.rule == EVENT_RULE_MAX || !audit_sha256(l, "sha256", day.sums_sha256) || !o.has_sha256;
        day.has_manifest = audit_sha256(l, "manifest", day.manifest_sha256);
        snprintf(day.path, sizeof(day.path), "%s", said.path);
        memcpy(day.source_sha256, o.sha256, SHA256_SIZE);
        day.files_size = (uint64_t)MAX(audit_number(l, "size", 0), 0);
        return l->bad ? 0 : ledger_split_save(b->l, &day, b->e);
}

/* --- czard itself --- */

static int on_fact(struct rebuild *b, struct audit_line *l, const char *event)
{
        char value[VALUE_SIZE], org[ORG_SIZE], category[CATEGORY_SIZE];
        int r = 0;
        /* The filters that were in force: another configuration looks at what they left out. */
        if (audit_text(l, "config_sha256", value, sizeof(value)) && strlen(value) < SHA256_HEX)
                r = set_fact(b, LEDGER_FILTERED_BY, value);
        if (r < 0)
                return r;
        if (audit_text(l, "staging_id", value, sizeof(value)) &&
                strlen(value) < sizeof(b->count.staging_id)) {
                snprintf(b->count.staging_id, sizeof(b->count.staging_id), "%s", value);
                return set_fact(b, "staging-id", value);
        }
        if (streq(event, "pause") || streq(event, "unpause")) {
                audit_text(l, "reason", value, sizeof(value));
                return set_fact(b, "paused", streq(event, "pause") ? value : "");
        }
        if (streq(event, "latest") && audit_text(l, "org", org, sizeof(org)) &&
                audit_text(l, "category", category, sizeof(category))) {
                enum category c = category_from_name(category);
                char date[DATE_SIZE];
                audit_text(l, "date", date, sizeof(date));
                return c == CATEGORY_MAX || l->bad ? 0 : ledger_set_pin(b->l, org, c, date, b->e);
        }
        return 0;
}

/* --- the two walks --- */

/* head: of which object the members are that follow. Each of them said it itself once. */
static void on_batch(struct rebuild *b, struct audit_line *l, uint64_t number, bool head)
{
        struct ledger_object said;
        if (!audit_text(l, "bucket", said.bucket, sizeof(said.bucket)) && !head)
                return;
        number += head;
        audit_text(l, "key", said.key, sizeof(said.key));
        audit_text(l, "etag", said.etag, sizeof(said.etag));
        if (!head && is_batch_of(b, &said))
                return;
        b->batch_first = number;
        memcpy(b->batch_bucket, said.bucket, sizeof(b->batch_bucket));
        memcpy(b->batch_key, said.key, sizeof(b->batch_key));
        memcpy(b->batch_etag, said.etag, sizeof(b->batch_etag));
}

static int first_walk(const char *p, size_t len, uint64_t number, void *arg)
{
        struct rebuild *b = arg;
        struct audit_line l = {.p = p, .len = len};
        char event[EVENT_SIZE];
        int r = 0;
        if (b->after && audit_number(&l, "seq", 0) <= (int64_t)b->after)
                return 0;
        b->count.lines++;
        bool known = audit_text(&l, "event", event, sizeof(event));
        bool head = known && streq(event, "members");
        if (head || (known && (streq(event, "member") || streq(event, "member-rejected")))) {
                on_batch(b, &l, number, head);
                return 0;
        }
        enum event what = event_of(event);
        bool day_made = known && streq(event, "day-complete");
        if (known && what != OTHER)
                r = on_object(b, &l, what, number);
        else if (day_made || (known && (streq(event, "day-removed") || streq(event, "day-missing"))))
                r = on_day(b, &l, day_made);
        else if (known)
                r = on_fact(b, &l, event);
        b->batch_first = 0;
        b->count.unreadable += !known || l.bad;
        return r;
}

static void top_of(const struct ledger_object *o, char *ret, size_t size)
{
        ret[0] = 0;
        if (o->category == CATEGORY_DATABASE)
                snprintf(ret, size, "%s-%s", o->org, o->date);
}

static int add_member(struct rebuild *b, struct audit_line *l)
{
        const struct ledger_object *o = &b->o;
        struct ledger_member m = {.object_id = o->id, .attempts = 1};
        struct package_member parsed;
        char event[EVENT_SIZE], path[1100], top[128], cause[64];
        audit_text(l, "event", event, sizeof(event));
        audit_text(l, "member", m.name, sizeof(m.name));
        audit_text(l, "path", path, sizeof(path));
        top_of(o, top, sizeof(top));
        bool known = package_parse_member(*top ? top : NULL, m.name, b->max_name, &parsed, NULL) == 0;
        if (known) {
                memcpy(m.course, parsed.course, sizeof(m.course));
                memcpy(m.table, parsed.table, sizeof(m.table));
                memcpy(m.path, parsed.path, sizeof(m.path));
                m.failed = parsed.failed;
        }
        m.size = (uint64_t)audit_number(l, "object_size", 0);
        m.plain_size = audit_number(l, "size", -1);
        m.checks = (uint32_t)(audit_number(l, "checks", 0) & UINT32_MAX);
        m.has_sha256 = audit_sha256(l, "sha256", m.sha256);
        m.state = streq(event, "member") ? OBJECT_PUBLISHED : OBJECT_REJECTED;
        if (audit_text(l, "cause", cause, sizeof(cause)))
                m.cause = cause_from_name(cause) == CAUSE_MAX ? CAUSE_INTERNAL : cause_from_name(cause);
        if (m.state == OBJECT_PUBLISHED) {
                /* where it was put then counts, not what its name would give today */
                const char *below = str_after(path, o->path);
                if (!below || *below++ != '/' || !*below || strlen(below) >= sizeof(m.path))
                        l->bad = true;
                else
                        snprintf(m.path, sizeof(m.path), "%s", below);
        }
        if (l->bad || !*m.name)
                return 1;
        b->count.members++;
        return ledger_member_save(b->l, &m, b->e);
}

static int second_walk(const char *p, size_t len, uint64_t number, void *arg)
{
        struct rebuild *b = arg;
        struct audit_line l = {.p = p, .len = len};
        while (b->at < b->n_spans && (b->spans[b->at].end <= number || b->spans[b->at].object_id == 0))
                b->at++;
        if (b->at == b->n_spans)
                return 1;
        const struct span *span = &b->spans[b->at];
        if (number < span->first)
                return 0;
        if (b->o.id != span->object_id) {
                int r = ledger_get(b->l, span->object_id, &b->o, b->e);
                if (r == 0)
                        r = ledger_members_delete(b->l, span->object_id, b->e);
                if (r < 0)
                        return r;
        }
        int r = add_member(b, &l);
        b->count.unreadable += r == 1;
        return MIN(r, 0);
}

static int learn_courses(struct ledger_object *o, void *arg)
{
        struct rebuild *b = arg;
        return o->is_zip && *o->staged_etag ? beyond_learn_staged(b->l, o, b->e) : 0;
}

int ledger_is_lost(struct ledger *l, const struct audit *a, struct error *e)
{
        char id[STAGING_ID_SIZE];
        const char *head = audit_head(a);
        int r = ledger_meta_get(l, "staging-id", id, sizeof(id), e);
        return r < 0 ? r : !*id && head[strspn(head, "0")] != 0;
}

int ledger_rebuild(
        struct ledger *l, int state_fd, size_t max_name, struct ledger_rebuilt *ret, struct error *e)
{
        return ledger_catch_up(l, state_fd, 0, max_name, ret, e);
}

int ledger_catch_up(struct ledger *l, int state_fd, uint64_t after, size_t max_name,
        struct ledger_rebuilt *ret, struct error *e)
{
        struct rebuild b = {.l = l, .after = after, .max_name = max_name, .e = e};
        int r = ledger_begin(l, e);
        if (r < 0)
                return r;
        r = audit_each(state_fd, first_walk, &b, e);
        if (r >= 0 && b.n_spans > 0)
                r = audit_each(state_fd, second_walk, &b, e); /* 1: no span is left */
        const struct ledger_filter archives = {.categories = BIT(CATEGORY_DATABASE)};
        if (r >= 0)
                r = ledger_each(l, &archives, learn_courses, &b, e);
        free(b.spans);
        r = ledger_end(l, MIN(r, 0), e);
        if (r == 0)
                *ret = b.count;
        return r;
}
