/* SPDX-License-Identifier: Apache-2.0 */
/* What a line of the audit record says of its object, and, where that is a snapshot, what the feed tells of
 * it. These tables hold what was told of snapshots:
 *
 *   feed_snapshot  of each one that is staged, which lines of the audit record tell its members
 *   feed_member    members: SET_BASE, of the one that the next one will most likely be compared with;
 *                  SET_NEW, of the archive whose members are being told
 *   feed_base      the date of the first of these; what `latest` names as far as records of before tell
 *                  it; and which one an admin pinned
 *
 * When another one is to be compared with than SET_BASE has, its members are read from the record once more.
 */
#include "feed_internal.h"
#include "staging_internal.h"

#define NAME_MOST 255 /* of [limits] max_name: what is told must not depend on the configuration */

enum { SET_BASE, SET_NEW };

/* --- a line of the audit record --- */

bool said_read(struct audit_line *l, struct feed_said *s)
{
        if (!audit_text(l, "bucket", s->bucket, sizeof(s->bucket)) ||
                !audit_text(l, "key", s->key, sizeof(s->key)) ||
                !audit_text(l, "org", s->org, sizeof(s->org)))
                return false;
        audit_text(l, "site", s->site, sizeof(s->site));
        audit_text(l, "date", s->date, sizeof(s->date));
        audit_text(l, "etag", s->etag, sizeof(s->etag));
        audit_text(l, "path", s->path, sizeof(s->path));
        audit_text(l, "category", s->category, sizeof(s->category));
        audit_text(l, "time", s->time, sizeof(s->time));
        audit_text(l, "reason", s->reason, sizeof(s->reason));
        s->c = category_from_name(s->category);
        s->is_archive =
                (s->c == CATEGORY_DATABASE || s->c == CATEGORY_EMAIL_OPT_IN) && str_ends(s->key, ".zip");
        s->has_sha256 = audit_sha256(l, "sha256", s->sha256);
        s->size = audit_number(l, "size", -1);
        char manifest[SHA256_HEX];
        s->has_manifest = audit_text(l, "manifest", manifest, sizeof(manifest));
        s->has_latest = audit_text(l, "latest", s->latest, sizeof(s->latest));
        /* the folder that the file is in has that name */
        return s->c != CATEGORY_MAX && staging_check_path(s->org, NULL) == 0 && !strchr(s->org, '/');
}

struct change said_change(const struct feed_said *s, const char *op)
{
        return (struct change){.op = op,
                .path = *s->path ? s->path : NULL,
                .category = s->category,
                .site = *s->site ? s->site : NULL,
                .date = *s->date ? s->date : NULL,
                .etag = *s->etag ? s->etag : NULL,
                .time = s->time,
                .size = -1};
}

/* --- the tables --- */

/* The one whose members SET_BASE has; the one that is pinned; and what `latest` names where the record does
 * not say so; "" none. */
struct base {
        char date[DATE_SIZE], pin[DATE_SIZE], latest[DATE_SIZE];
};

static const struct sql_column base_columns[] = {
        COLUMN(TEXT, struct base, date), COLUMN(TEXT, struct base, pin), COLUMN(TEXT, struct base, latest)};

static int get_base(struct feed_snapshot *f, const struct feed_said *o, struct base *ret)
{
        *ret = (struct base){};
        int r = sql_get(&f->file->l->sql,
                "SELECT date, pin, latest FROM feed_base WHERE org = ?1 AND category = ?2",
                VALUES(V(o->org), V(o->c)), base_columns, ELEMENTSOF(base_columns), ret, f->file->e);
        return MIN(r, 0);
}

static int set_base(struct feed_snapshot *f, const struct feed_said *o, const struct base *base)
{
        return sql_put(&f->file->l->sql,
                "INSERT OR REPLACE INTO feed_base (date, pin, latest, org, category) VALUES (?1, ?2, ?3, ?4, "
                "?5)",
                base_columns, ELEMENTSOF(base_columns), base, VALUES(V(o->org), V(o->c)), f->file->e);
}

int feed_snapshot_forget(struct feed_snapshot *f)
{
        f->rejected = false;
        f->first = 0;
        return sql_exec(&f->file->l->sql, "DELETE FROM feed_member WHERE kind = 1", f->file->e);
}

static int drop_base(struct feed_snapshot *f, const struct feed_said *o)
{
        return sql_run(&f->file->l->sql,
                "DELETE FROM feed_member WHERE kind = 0 AND org = ?1 AND category = ?2",
                VALUES(V(o->org), V(o->c)), f->file->e);
}

int feed_snapshot_drop(struct feed_snapshot *f, const struct feed_said *o)
{
        struct base base;
        int r = get_base(f, o, &base);
        if (r == 0)
                r = sql_run(&f->file->l->sql,
                        "DELETE FROM feed_snapshot WHERE org = ?1 AND category = ?2 AND date = ?3",
                        VALUES(V(o->org), V(o->c), V(o->date)), f->file->e);
        if (r < 0 || !streq(base.date, o->date))
                return r;
        base.date[0] = 0;
        r = drop_base(f, o);
        return r < 0 ? r : set_base(f, o, &base);
}

/* The path is the archive's folder, ORG/CATEGORY/DATE, and the member's below. */
static const char *below_folder(const char *path)
{
        for (int i = 0; i < 3 && path; i++) {
                path = strchr(path, '/');
                path += path != NULL;
        }
        return path && *path ? path : NULL;
}

/* o NULL: of the archive whose members are being told; else of the base of that organisation. */
static int add_member(struct feed_snapshot *f, struct audit_line *l, const struct feed_said *o)
{
        struct package_member parsed;
        char name[1100], path[1100], top[128];
        uint8_t sha256[SHA256_SIZE];
        if (!audit_text(l, "member", name, sizeof(name)) || !audit_text(l, "path", path, sizeof(path)) ||
                !audit_sha256(l, "sha256", sha256))
                return 0;
        const char *below = below_folder(path);
        if (!below || strlen(below) >= 512)
                return 0;
        snprintf(top, sizeof(top), "%.*s", (int)strcspn(name, "/"), name);
        bool known =
                package_parse_member(strchr(name, '/') ? top : NULL, name, NAME_MOST, &parsed, NULL) == 0;
        return sql_run(&f->file->l->sql,
                "INSERT OR REPLACE INTO feed_member (kind, org, category, path, sha256, size, course, "
                "\"table\") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                VALUES(V(o ? SET_BASE : SET_NEW), V(o ? o->org : ""), V(o ? o->c : 0), V(below), V(sha256),
                        V(audit_number(l, "size", -1)), V(known ? parsed.course : ""),
                        V(known ? parsed.table : "")),
                f->file->e);
}

int feed_snapshot_member(struct feed_snapshot *f, struct audit_line *l, uint64_t number, bool rejected)
{
        f->first = f->first ? f->first : number;
        f->rejected |= rejected;
        return rejected ? 0 : add_member(f, l, NULL);
}

/* ?1 org, ?2 category. What is other than in the base: also what was there and is not any more. */
static const char differs_sql[] =
        "SELECT n.path, n.sha256, n.size, n.course, n.\"table\", b.sha256 FROM feed_member n "
        "LEFT JOIN feed_member b ON b.kind = 0 AND b.org = ?1 AND b.category = ?2 AND b.path = n.path "
        "WHERE n.kind = 1 AND b.sha256 IS NOT n.sha256 UNION ALL "
        "SELECT b.path, NULL, -1, b.course, b.\"table\", b.sha256 FROM feed_member b WHERE b.kind = 0 AND "
        "b.org = ?1 AND b.category = ?2 AND NOT EXISTS (SELECT 1 FROM feed_member n WHERE n.kind = 1 AND "
        "n.org = '' AND n.category = 0 AND n.path = b.path) ORDER BY 1";

static int say_differences(struct feed_snapshot *f, const struct feed_said *o)
{
        struct difference {
                char path[STAGED_PATH_SIZE], course[COURSE_SIZE], table[TABLE_SIZE];
                bool now, before;
                uint8_t sha256[SHA256_SIZE], was[SHA256_SIZE];
                int64_t size;
        } d;
        static const struct sql_column columns[] = {COLUMN(TEXT, struct difference, path),
                COLUMN(SHA256, struct difference, sha256, .has = offsetof(struct difference, now)),
                COLUMN(NUMBER, struct difference, size, .min = -1), COLUMN(TEXT, struct difference, course),
                COLUMN(TEXT, struct difference, table),
                COLUMN(SHA256, struct difference, was, .has = offsetof(struct difference, before))};
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        struct sql *sql = &f->file->l->sql;
        int r = sql_prepare(sql, differs_sql, VALUES(V(o->org), V(o->c)), &s, f->file->e);
        while (r == 0 && (r = sql_next(sql, s, columns, ELEMENTSOF(columns), &d, f->file->e)) == 1) {
                char full[1100];
                struct change c = said_change(o, !d.now ? "removed" : d.before ? "replaced" : "published");
                snprintf(full, sizeof(full), "%s/%s", o->path, d.path);
                c.path = full;
                c.size = d.size;
                c.sha256 = d.now ? d.sha256 : NULL;
                c.was = d.before ? d.was : NULL;
                c.course = *d.course ? d.course : NULL;
                c.table = *d.table ? d.table : NULL;
                r = feed_file_add(f->file, o->org, &c);
        }
        return r;
}

struct load {
        struct feed_snapshot *f;
        const struct feed_said *o;
        uint64_t lines;
};

static int on_base_member(const char *p, size_t len, uint64_t number, void *arg)
{
        struct load *load = arg;
        struct audit_line l = {.p = p, .len = len};
        (void)number;
        load->lines++;
        return add_member(load->f, &l, load->o);
}

/* The lines of the record from first to last. 1; 0: they are not there any more; or -errno. */
static int load_base(struct feed_snapshot *f, const struct feed_said *o, uint64_t first, uint64_t last)
{
        struct load load = {.f = f, .o = o};
        uint64_t at = first - 1;
        off_t offset = 0;
        int r = drop_base(f, o);
        if (r == 0)
                r = audit_each_after(f->state_fd, &at, last, &offset, on_base_member, &load, f->file->e);
        if (r == 0 && load.lines != last - first + 1)
                return drop_base(f, o);
        return r < 0 ? r : 1;
}

/* The snapshot of that date, or the one that was told last (date ""): 1 and its date and lines, 0 or -errno.
 */
static int find_snapshot(struct feed_snapshot *f, const struct feed_said *o, const char *date,
        char ret[DATE_SIZE], uint64_t lines[2])
{
        struct told {
                char date[DATE_SIZE];
                uint64_t first, last;
        } told;
        static const struct sql_column columns[] = {COLUMN(TEXT, struct told, date),
                COLUMN(NUMBER, struct told, first, .min = 1), COLUMN(NUMBER, struct told, last, .min = 1)};
        int r = sql_get(&f->file->l->sql,
                "SELECT date, first, last FROM feed_snapshot WHERE org = ?1 AND category = ?2 AND "
                "(?3 = '' OR date = ?3) ORDER BY last DESC LIMIT 1",
                VALUES(V(o->org), V(o->c), V(date)), columns, ELEMENTSOF(columns), &told, f->file->e);
        if (r == 1) {
                memcpy(ret, told.date, sizeof(told.date));
                lines[0] = told.first;
                lines[1] = told.last;
        }
        return r;
}

/* SET_BASE becomes the members of the snapshot that this one is compared with. */
static int choose_base(struct feed_snapshot *f, const struct feed_said *o, struct base *base)
{
        const char *named = o->has_latest ? o->latest : base->latest;
        char date[DATE_SIZE];
        uint64_t lines[2];
        int r = *named ? find_snapshot(f, o, named, date, lines) : 0;
        if (r == 0)
                r = find_snapshot(f, o, "", date, lines);
        if (r <= 0 || streq(date, base->date))
                return MIN(r, 0);
        r = load_base(f, o, lines[0], lines[1]);
        snprintf(base->date, sizeof(base->date), "%s", r == 1 ? date : "");
        return MIN(r, 0);
}

/* The newer one is what the next one is most likely compared with: also while older ones are fetched. */
static int keep_newer(struct feed_snapshot *f, const struct feed_said *o, struct base *base)
{
        if (strcmp(o->date, base->date) < 0)
                return 0;
        snprintf(base->date, sizeof(base->date), "%s", o->date);
        int r = drop_base(f, o);
        return r < 0 ? r
                     : sql_run(&f->file->l->sql,
                               "UPDATE feed_member SET kind = 0, org = ?1, category = ?2 WHERE kind = 1",
                               VALUES(V(o->org), V(o->c)), f->file->e);
}

/* Records of before `latest` stood there: it names the newest one without a rejected member, or the pinned
 * one. */
static void note_latest(const struct feed_snapshot *f, const struct feed_said *o, struct base *base)
{
        if (*base->pin ? streq(base->pin, o->date) : !f->rejected && strcmp(o->date, base->latest) >= 0)
                snprintf(base->latest, sizeof(base->latest), "%s", o->date);
}

/* Where its members are told, those of an archive without any in its own line, which tells none. */
static int note_lines(struct feed_snapshot *f, const struct feed_said *o, uint64_t number)
{
        return sql_run(&f->file->l->sql,
                "INSERT OR REPLACE INTO feed_snapshot (org, category, date, first, last) VALUES (?1, ?2, ?3, "
                "?4, ?5)",
                VALUES(V(o->org), V(o->c), V(o->date), V(f->first ? f->first : number),
                        V(f->first ? number - 1 : number)),
                f->file->e);
}

int feed_snapshot_say(struct feed_snapshot *f, const struct feed_said *o, uint64_t number)
{
        struct base base;
        int r = get_base(f, o, &base);
        if (r == 0)
                r = choose_base(f, o, &base);
        if (r == 0)
                r = say_differences(f, o);
        if (r < 0)
                return r;
        struct change c = said_change(o, "snapshot-complete");
        c.has_base = true;
        c.base = *base.date ? base.date : NULL;
        c.size = o->size;
        r = feed_file_add(f->file, o->org, &c);
        note_latest(f, o, &base);
        if (r == 0)
                r = keep_newer(f, o, &base);
        if (r == 0)
                r = set_base(f, o, &base);
        return r < 0 ? r : note_lines(f, o, number);
}

int feed_snapshot_pin(struct feed_snapshot *f, const struct feed_said *o)
{
        struct base base;
        int r = get_base(f, o, &base);
        if (r < 0)
                return r;
        snprintf(base.pin, sizeof(base.pin), "%s", o->date);
        return set_base(f, o, &base);
}
