/* SPDX-License-Identifier: Apache-2.0 */
/* What an event says. The table feed_staged holds what is staged as the feed knows it: path, and of a file
 * its hash; and the days that are staged by course too: path, and the hash of SHA256SUMS. What only the feed
 * itself tells of (see note_told()) has no bucket, and its path for a key. */
#include <errno.h>
#include <stdlib.h>

#include "feed_internal.h"
#include "staging_internal.h"

#define TOLD_SIZE 65536 /* of a line of the feed */

/* --- what is staged, as the feed knows it --- */

enum kind { STAGED_OBJECT, STAGED_DAY };

struct staged {
        bool is_known, is_missing, has_sha256;
        char path[STAGED_PATH_SIZE];
        uint8_t sha256[SHA256_SIZE];
};

/* What was told is known by its path only, and in the other events_format (.log, .log.gz) it is the same. */
#define WHICH                                                                                                \
        " kind = ?1 AND ((bucket = ?2 AND key = ?3) OR (bucket = '' AND key IN "                             \
        "(?4, ?4 || '.gz', substr(?4, 1, length(?4) - length('.gz')))))"
#define WHICH_VALUES(kind, o) VALUES(V(kind), V((o)->bucket), V((o)->key), V((o)->path))

static int get_staged(struct feed_file *f, enum kind kind, const struct feed_said *o, struct staged *ret)
{
        static const struct sql_column columns[] = {COLUMN(TEXT, struct staged, path),
                COLUMN(SHA256, struct staged, sha256, .has = offsetof(struct staged, has_sha256)),
                COLUMN(NUMBER, struct staged, is_missing, .max = 1)};
        *ret = (struct staged){};
        int r = sql_get(&f->l->sql,
                "SELECT path, sha256, missing FROM feed_staged WHERE" WHICH " ORDER BY bucket DESC LIMIT 1",
                WHICH_VALUES(kind, o), columns, ELEMENTSOF(columns), ret, f->e);
        ret->is_known = r == 1;
        return MIN(r, 0);
}

static int drop_staged(struct feed_file *f, enum kind kind, const struct feed_said *o)
{
        return sql_run(&f->l->sql, "DELETE FROM feed_staged WHERE" WHICH, WHICH_VALUES(kind, o), f->e);
}

static int set_staged(struct feed_file *f, enum kind kind, const struct feed_said *o)
{
        int r = drop_staged(f, kind, o);
        return r < 0 ? r
                     : sql_run(&f->l->sql,
                               "INSERT INTO feed_staged (kind, bucket, key, path, sha256, missing) VALUES "
                               "(?1, ?2, ?3, ?4, ?5, 0)",
                               VALUES(V(kind), V(o->bucket), V(o->key), V(o->path),
                                       V(o->has_sha256 ? o->sha256 : NULL)),
                               f->e);
}

static int set_missing(struct feed_file *f, enum kind kind, const struct feed_said *o)
{
        return sql_run(
                &f->l->sql, "UPDATE feed_staged SET missing = 1 WHERE" WHICH, WHICH_VALUES(kind, o), f->e);
}

static bool is_same(const struct staged *before, const struct feed_said *o)
{
        return before->has_sha256 && o->has_sha256 && streq(before->path, o->path) &&
               memcmp(before->sha256, o->sha256, SHA256_SIZE) == 0;
}

/* --- events --- */

/* What the other spelling of its key had staged there is not there any more. */
static int drop_others(struct feed_file *f, const struct feed_said *o)
{
        return sql_run(&f->l->sql, "DELETE FROM feed_staged WHERE path = ?1 AND kind = 0 AND key <> ?2",
                VALUES(V(o->path), V(o->key)), f->e);
}

static int on_snapshot(struct feed_snapshot *f, struct feed_said *o, uint64_t number)
{
        struct staged before;
        int r = get_staged(f->file, STAGED_OBJECT, o, &before);
        struct change back = said_change(o, "restored");
        if (r == 0 && before.is_missing)
                r = feed_file_add(f->file, o->org, &back);
        if (r == 0)
                r = feed_snapshot_say(f, o, number);
        if (r == 0)
                r = drop_others(f->file, o);
        o->has_sha256 = false;
        return r < 0 ? r : set_staged(f->file, STAGED_OBJECT, o);
}

static int on_file(struct feed_file *f, struct feed_said *o)
{
        struct staged before;
        int r = get_staged(f, STAGED_OBJECT, o, &before);
        if (r < 0)
                return r;
        bool same_path = before.is_known && streq(before.path, o->path), same = is_same(&before, o);
        struct change c = said_change(o, same ? "restored" : same_path ? "replaced" : "published");
        if (before.is_known && !same_path) {
                /* another events_format */
                struct change gone = said_change(o, "removed");
                gone.path = before.path;
                gone.was = before.has_sha256 ? before.sha256 : NULL;
                r = feed_file_add(f, o->org, &gone);
        }
        c.sha256 = o->has_sha256 ? o->sha256 : NULL;
        c.was = same_path && before.has_sha256 ? before.sha256 : NULL;
        c.size = o->size;
        if (r == 0 && (!same || before.is_missing))
                r = feed_file_add(f, o->org, &c);
        return r < 0 ? r : set_staged(f, STAGED_OBJECT, o);
}

static int on_adopted(struct feed_file *f, struct feed_said *o)
{
        struct staged before;
        int r = get_staged(f, STAGED_OBJECT, o, &before);
        if (r < 0 || !o->is_archive)
                return r < 0 ? r : on_file(f, o);
        struct change c = said_change(o, before.is_known ? "restored" : "snapshot-complete");
        c.has_base = !before.is_known;
        if (!before.is_known || before.is_missing)
                r = feed_file_add(f, o->org, &c);
        return r < 0 ? r : set_staged(f, STAGED_OBJECT, o);
}

static int on_day(struct feed_file *f, const struct feed_said *o)
{
        struct staged before;
        int r = get_staged(f, STAGED_DAY, o, &before);
        bool same = is_same(&before, o);
        /* A czard that did not tell of MANIFEST.jsonl took a day with the same SHA256SUMS for the same day.
         */
        if (r < 0 || (same && !before.is_missing && !o->has_manifest))
                return r;
        struct change c = said_change(o, same && before.is_missing ? "restored" : "day-complete");
        c.sha256 = o->has_sha256 ? o->sha256 : NULL;
        c.was = before.has_sha256 ? before.sha256 : NULL;
        c.size = o->size;
        r = feed_file_add(f, o->org, &c);
        return r < 0 ? r : set_staged(f, STAGED_DAY, o);
}

static int say_gone(
        struct feed_file *f, const char *op, const struct feed_said *o, const struct staged *before)
{
        struct change c = said_change(o, op);
        c.path = before->path;
        c.was = before->has_sha256 ? before->sha256 : NULL;
        c.reason = *o->reason ? o->reason : NULL;
        return feed_file_add(f, o->org, &c);
}

static int on_missing(struct feed_file *f, enum kind kind, const struct feed_said *o)
{
        struct staged before;
        int r = get_staged(f, kind, o, &before);
        if (r < 0 || !before.is_known || before.is_missing)
                return r;
        r = say_gone(f, "missing", o, &before);
        return r < 0 ? r : set_missing(f, kind, o);
}

static int on_removed(struct feed_file *f, enum kind kind, const struct feed_said *o)
{
        struct staged before;
        int r = get_staged(f, kind, o, &before);
        if (r < 0 || !before.is_known)
                return r;
        r = say_gone(f, "removed", o, &before);
        return r < 0 ? r : drop_staged(f, kind, o);
}

/* Forgotten or pruned, with what was made of it. */
static int on_gone(struct feed_snapshot *f, const struct feed_said *o)
{
        int r = on_removed(f->file, STAGED_OBJECT, o);
        if (r < 0 || o->is_archive)
                return r < 0 ? r : feed_snapshot_drop(f, o);
        struct feed_said day = *o;
        snprintf(day.path, sizeof(day.path), "%s/events-by-course/%s/%.4s/%s", o->org, o->site, o->date,
                o->date);
        return on_removed(f->file, STAGED_DAY, &day);
}

static int on_pin(struct feed_snapshot *f, struct audit_line *l)
{
        struct feed_said o = {};
        audit_text(l, "org", o.org, sizeof(o.org));
        audit_text(l, "category", o.category, sizeof(o.category));
        audit_text(l, "date", o.date, sizeof(o.date));
        o.c = category_from_name(o.category);
        return o.c == CATEGORY_MAX ? 0 : feed_snapshot_pin(f, &o);
}

/* --- what the feed had told, and the record did not know --- */

/* Of members nothing is kept in mind: which ones the snapshot has is told when it is staged once more. */
static int note_told(struct feed_snapshot *f, struct audit_line *l)
{
        char op[32], slashes = 0;
        struct feed_said o = {};
        audit_text(l, "op", op, sizeof(op));
        audit_text(l, "path", o.path, sizeof(o.path));
        audit_text(l, "category", o.category, sizeof(o.category));
        audit_text(l, "date", o.date, sizeof(o.date));
        o.c = category_from_name(o.category);
        o.has_sha256 = audit_sha256(l, "sha256", o.sha256);
        snprintf(o.org, sizeof(o.org), "%.*s", (int)strcspn(o.path, "/"), o.path);
        for (const char *p = o.path; *p; p++)
                slashes += *p == '/' && slashes < 3;
        bool is_snapshot = o.c == CATEGORY_DATABASE || o.c == CATEGORY_EMAIL_OPT_IN;
        if (!*o.path || (is_snapshot && slashes > 2))
                return 0;
        bool missing = streq(op, "missing"), gone = streq(op, "removed"), back = streq(op, "restored");
        if (is_snapshot && !missing && !back) {
                int r = feed_snapshot_drop(f, &o);
                if (r < 0)
                        return r;
        }
        const char *sql = missing               ? "UPDATE feed_staged SET missing = 1 WHERE path = ?1"
                          : is_snapshot && back ? "UPDATE feed_staged SET missing = 0 WHERE path = ?1"
                                                : "DELETE FROM feed_staged WHERE path = ?1";
        int r = sql_run(&f->file->l->sql, sql, VALUES(V(o.path)), f->file->e);
        if (r < 0 || missing || gone || (is_snapshot && back))
                return r;
        snprintf(o.key, sizeof(o.key), "%s", o.path);
        bool is_day = str_after(o.path + strlen(o.org), "/events-by-course/");
        return set_staged(f->file, is_day ? STAGED_DAY : STAGED_OBJECT, &o);
}

static int on_told(struct feed_snapshot *f, struct audit_line *l)
{
        char org[ORG_SIZE];
        _cleanup_free_ char *text = malloc(TOLD_SIZE);
        if (!text)
                return error_set(f->file->e, CAUSE_IO, ENOMEM, "out of memory");
        if (!audit_text(l, "org", org, sizeof(org)) || !audit_text(l, "reason", text, TOLD_SIZE) ||
                staging_check_path(org, NULL) < 0 || strchr(org, '/'))
                return 0;
        struct audit_line told = {.p = text, .len = strlen(text)};
        int r = feed_file_add_told(f->file, org, text);
        return r < 0 ? r : note_told(f, &told);
}

/* --- one line --- */

static int on_object(struct feed_snapshot *f, const char *event, struct feed_said *o, uint64_t number)
{
        if (streq(event, "published") || streq(event, "replaced"))
                return o->is_archive ? on_snapshot(f, o, number) : on_file(f->file, o);
        if (streq(event, "adopted"))
                return on_adopted(f->file, o);
        if (streq(event, "missing"))
                return on_missing(f->file, STAGED_OBJECT, o);
        if (streq(event, "forgotten") || streq(event, "pruned"))
                return on_gone(f, o);
        if (streq(event, "day-complete"))
                return on_day(f->file, o);
        if (streq(event, "day-missing"))
                return on_missing(f->file, STAGED_DAY, o);
        return streq(event, "day-removed") ? on_removed(f->file, STAGED_DAY, o) : 0;
}

int feed_event_line(struct feed_snapshot *f, const char *p, size_t len, uint64_t number)
{
        struct audit_line l = {.p = p, .len = len};
        char event[EVENT_SIZE];
        struct feed_said o = {};
        int r = 0;
        audit_text(&l, "event", event, sizeof(event));
        bool is_member = streq(event, "member"), is_rejected = streq(event, "member-rejected");
        if (is_member || is_rejected)
                return feed_snapshot_member(f, &l, number, is_rejected);
        if (streq(event, "latest"))
                return on_pin(f, &l);
        if (streq(event, "told"))
                return on_told(f, &l);
        if (said_read(&l, &o))
                r = on_object(f, event, &o, number);
        /* members of an archive that was not published: an older czard left them, or "members" begins anew */
        return r < 0 ? r : feed_snapshot_forget(f);
}
