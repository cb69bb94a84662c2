/* SPDX-License-Identifier: Apache-2.0 */
/* Which event gives which lines, and writing them. The tables feed_* hold what the feed has said so far:
 *
 *   feed           the number of the last line of each organisation
 *   feed_position  the last line of the audit record that was followed
 *   feed_object    what is staged: path, and of a file its hash
 *   feed_day       of these the days that are staged by course too: path, and the hash of SHA256SUMS
 *   feed_member    members: SET_BASE, of the snapshot that the last one was compared with; SET_NEW, of the
 *                  archive whose members are being told; SET_LAST, of the last one that was published
 *   feed_base      the dates of these two snapshots, and the one an admin pinned
 *
 * A line that the file has already (it was written, and a crash came before the tables were committed) is not
 * written again: it would be the same. */
#include "feed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit.h"
#include "fsx.h"
#include "json.h"
#include "ledger_internal.h"
#include "limits.h"
#include "staging_internal.h"
#include "str.h"
#include "timespan.h"

#define FEED_MODE 0640
#define FEED_REMADE ".CHANGES.jsonl.new"
#define TAIL_SIZE 65536
#define FLUSH_SIZE 262144
#define VALUE_SIZE 4200

enum { SET_BASE, SET_NEW, SET_LAST, SET_NONE };

struct feed {
        struct ledger *l;
        struct staging *s;
        const struct audit *audit;
        int state_fd;
        size_t max_name;
        uint64_t position;  /* as the tables had it after the last call */
        off_t audit_offset; /* of the line after the last that was followed; 0: to be looked for */
        bool remaking, checked;
        /* the organisation whose file is open */
        char org[64];
        int fd;
        uint64_t seq;      /* of its last line, as the tables have it */
        uint64_t file_seq; /* of its last line, as the file has it */
        struct strbuf out; /* lines to be written */
        bool unsynced;
        /* the archive whose members are being told */
        bool rejected;
        struct error *e; /* of the call */
};

/* One line of the audit record. */
struct line {
        const char *p;
        size_t len;
};

/* One line of the feed; NULL and -1: null. */
struct change {
        const char *op, *path, *category, *site, *date, *course, *table, *etag, *reason, *base;
        bool has_base; /* the key is there, if only as null */
        const uint8_t *sha256, *was;
        int64_t size;
        const char *time;
};

/* --- statements --- */

static int prepare(struct feed *f, const char *sql, sqlite3_stmt **ret)
{
        if (sqlite3_prepare_v2(f->l->db, sql, -1, ret, NULL) != SQLITE_OK)
                return ledger_fail(f->l, "reading the schema", f->e);
        return 0;
}

static int step_write(struct feed *f, sqlite3_stmt *s, const struct ledger_bind *b)
{
        return b->err ? error_set(f->e, CAUSE_INTERNAL, -b->err, "the ledger cannot hold that value")
                      : ledger_step(f->l, s, "writing the feed's tables", f->e);
}

static int run_org(struct feed *f, const char *sql, const char *org, int64_t category)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f, sql, &s);
        struct ledger_bind b = {.s = s};
        if (r == 0) {
                ledger_bind_text(&b, org);
                ledger_bind_i64(&b, category);
        }
        return r < 0 ? r : step_write(f, s, &b);
}

/* --- the file --- */

static int fail(int err, const char *org, const char *what, struct error *e)
{
        return error_set(e, cause_from_errno(err), err, "%s/" FEED_FILE ": %s: %s", org, what, strerror(err));
}

/* The number of the last whole line; what stands behind it is cut off. */
static int read_end(struct feed *f, int fd, uint64_t *ret)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return fail(errno, f->org, "looking", f->e);
        size_t n = (size_t)MIN(st.st_size, (off_t)TAIL_SIZE);
        _cleanup_free_ char *tail = malloc(n + 1);
        if (!tail)
                return error_set(f->e, CAUSE_IO, ENOMEM, "out of memory");
        ssize_t got = pread(fd, tail, n, st.st_size - (off_t)n);
        if (got != (ssize_t)n)
                return fail(got < 0 ? errno : EIO, f->org, "reading", f->e);
        tail[n] = 0;
        char *end = n ? memrchr(tail, '\n', n) : NULL;
        off_t whole = end ? st.st_size - (off_t)n + (end - tail) + 1 : st.st_size - (off_t)n;
        if (whole < st.st_size && ftruncate(fd, whole) < 0)
                return fail(errno, f->org, "cutting a torn line", f->e);
        *ret = 0;
        if (!end)
                return 0;
        *end = 0;
        char *start = memrchr(tail, '\n', (size_t)(end - tail)), text[24];
        start = start ? start + 1 : tail;
        if (audit_field(start, (size_t)(end - start), "seq", text, sizeof(text)) < 0 ||
                parse_u64(text, INT64_MAX, ret) < 0)
                *ret = 0; /* none of ours: it is made again */
        return 0;
}

/* It is of the folder's group, and who may pass the folder may read it. */
static int give_away(struct feed *f, int dir_fd, int fd)
{
        struct stat st;
        if (fstat(dir_fd, &st) < 0)
                return fail(errno, f->org, "looking", f->e);
        if (fchown(fd, (uid_t)-1, st.st_gid) < 0 || fchmod(fd, FEED_MODE) < 0)
                return fail(errno, f->org, "setting group and mode", f->e);
        int r = staging_let_read(fd, dir_fd);
        return r < 0 ? fail(-r, f->org, "setting its access list", f->e) : 0;
}

/* 0, -ENOENT (make is false), or -errno. */
static int open_file(struct feed *f, const char *name, bool make, int *ret_fd)
{
        _cleanup_close_ int dir = staging_open_dir(f->s, f->s->root_fd, f->org, make, (gid_t)-1, f->e);
        if (dir < 0)
                return dir;
        int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
        _cleanup_close_ int fd = open_beneath(dir, name, flags, 0);
        struct stat st;
        if (fd >= 0 && fstat(fd, &st) < 0)
                return fail(errno, f->org, "looking", f->e);
        /* What somebody put at this name is not written to: it loses the name. */
        if (fd >= 0 && (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)) {
                int r = staging_remove_at(dir, name, f->e);
                if (r < 0)
                        return r;
                close_fd(fd);
                fd = -ENOENT;
        }
        /* Lost under us: a new file would begin in the middle. The next call makes it again from the first
         * line. */
        if (fd == -ENOENT && make && !f->remaking && f->seq > 0) {
                f->checked = false;
                return fail(ENOENT, f->org, "opening", f->e);
        }
        if (fd == -ENOENT && make) {
                /* whoever waits for the name may read the file as soon as it has it */
                fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, FEED_MODE);
                int r = fd < 0 ? fail(errno, f->org, "making", f->e) : give_away(f, dir, fd);
                if (r == 0 && (r = link_fd(fd, dir, name)) < 0)
                        r = fail(-r, f->org, "making", f->e);
                if (r == 0 && fsync(dir) < 0)
                        r = fail(errno, f->org, "making durable", f->e);
                if (r < 0)
                        return r;
        }
        if (fd == -ENOENT)
                return fd;
        if (fd < 0)
                return fail(-fd, f->org, "opening", f->e);
        *ret_fd = take_fd(&fd);
        return 0;
}

static int flush(struct feed *f, bool durable)
{
        if (f->out.err)
                return error_set(f->e, CAUSE_IO, ENOMEM, "out of memory");
        if (f->out.len > 0) {
                struct stat before;
                if (fstat(f->fd, &before) < 0)
                        return fail(errno, f->org, "looking", f->e);
                int r = write_all(f->fd, f->out.s, f->out.len);
                if (r < 0) {
                        /* nothing of a line that was not written whole */
                        if (ftruncate(f->fd, before.st_size) < 0)
                                f->fd = close_fd(f->fd);
                        return fail(-r, f->org, "writing", f->e);
                }
                f->out.len = 0;
                f->unsynced = true;
        }
        if (durable && f->unsynced && fdatasync(f->fd) < 0)
                return fail(errno, f->org, "making durable", f->e);
        f->unsynced &= !durable;
        return 0;
}

static int save_seq(struct feed *f)
{
        return *f->org ? run_org(f, "INSERT OR REPLACE INTO feed (org, seq) VALUES (?1, ?2)", f->org,
                                 (int64_t)f->seq)
                       : 0;
}

static int leave_org(struct feed *f)
{
        int r = *f->org ? flush(f, true) : 0;
        if (r == 0)
                r = save_seq(f);
        f->fd = close_fd(f->fd);
        f->org[0] = 0;
        return r;
}

static int read_seq(struct feed *f, const char *org, uint64_t *ret)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f, "SELECT seq FROM feed WHERE org = ?1", &s);
        struct ledger_bind b = {.s = s};
        if (r == 0)
                ledger_bind_text(&b, org);
        r = r < 0 ? r : ledger_step(f->l, s, "reading", f->e);
        *ret = r == 1 ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
        return MIN(r, 0);
}

static int enter_org(struct feed *f, const char *org)
{
        if (streq(f->org, org) && f->fd >= 0)
                return 0;
        int r = leave_org(f);
        if (r < 0)
                return r;
        snprintf(f->org, sizeof(f->org), "%s", org);
        r = read_seq(f, org, &f->seq);
        if (r == 0)
                r = open_file(f, f->remaking ? FEED_REMADE : FEED_FILE, true, &f->fd);
        if (r == 0)
                r = read_end(f, f->fd, &f->file_seq);
        /* Cut under us: a line more would leave a hole. The next call makes it again. */
        if (r == 0 && !f->remaking && f->file_seq < f->seq) {
                f->checked = false;
                r = fail(ESTALE, org, "it was cut short", f->e);
        }
        if (r < 0) {
                f->fd = close_fd(f->fd);
                f->org[0] = 0;
        }
        return r;
}

/* --- a line --- */

static void add_hex(struct json *j, const char *name, const uint8_t *sha256)
{
        char hex[SHA256_HEX];
        if (sha256)
                hex_encode(sha256, SHA256_SIZE, hex);
        json_str(j, name, sha256 ? hex : NULL);
}

static int add_line(struct feed *f, const char *org, const struct change *c)
{
        int r = enter_org(f, org);
        if (r < 0)
                return r;
        f->seq++;
        if (f->seq <= f->file_seq)
                return 0;
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_u64(&j, "seq", f->seq);
        json_str(&j, "time", c->time);
        json_str(&j, "op", c->op);
        json_str(&j, "path", c->path);
        add_hex(&j, "sha256", c->sha256);
        add_hex(&j, "was", c->was);
        if (c->size >= 0)
                json_i64(&j, "size", c->size);
        else
                json_null(&j, "size");
        json_str(&j, "category", c->category);
        json_str(&j, "site", c->site);
        json_str(&j, "date", c->date);
        json_str(&j, "course", c->course);
        json_str(&j, "table", c->table);
        json_str(&j, "etag", c->etag);
        json_str(&j, "reason", c->reason);
        if (c->has_base)
                json_str(&j, "base", c->base);
        json_close(&j, '}');
        strbuf_add(&j.out, "\n");
        if (j.out.err)
                return error_set(f->e, CAUSE_IO, ENOMEM, "out of memory");
        strbuf_add_n(&f->out, j.out.s, j.out.len);
        f->file_seq = f->seq;
        return f->out.len > FLUSH_SIZE ? flush(f, false) : 0;
}

/* --- what the record says --- */

static bool field(const struct line *l, const char *name, char *ret, size_t size)
{
        if (audit_field(l->p, l->len, name, ret, size) == 0)
                return true;
        ret[0] = 0;
        return false;
}

static bool field_sha256(const struct line *l, uint8_t ret[SHA256_SIZE])
{
        char text[SHA256_HEX];
        return field(l, "sha256", text, sizeof(text)) && hex_decode(text, ret, SHA256_SIZE) == 0;
}

static int64_t field_size(const struct line *l)
{
        char text[32];
        uint64_t v;
        return field(l, "size", text, sizeof(text)) && parse_u64(text, INT64_MAX, &v) == 0 ? (int64_t)v : -1;
}

/* The object of a line. */
struct said {
        char bucket[BUCKET_SIZE], key[KEY_SIZE], org[64], site[64], date[11], etag[ETAG_SIZE],
                path[STAGED_PATH_SIZE], category[32], time[32], reason[VALUE_SIZE];
        enum category c;
        bool is_archive;
        uint8_t sha256[SHA256_SIZE];
        bool has_sha256, has_latest;
        char latest[11]; /* what `latest` named before */
        int64_t size;
};

static bool read_said(const struct line *l, struct said *s)
{
        if (!field(l, "bucket", s->bucket, sizeof(s->bucket)) || !field(l, "key", s->key, sizeof(s->key)) ||
                !field(l, "org", s->org, sizeof(s->org)))
                return false;
        field(l, "site", s->site, sizeof(s->site));
        field(l, "date", s->date, sizeof(s->date));
        field(l, "etag", s->etag, sizeof(s->etag));
        field(l, "path", s->path, sizeof(s->path));
        field(l, "category", s->category, sizeof(s->category));
        field(l, "time", s->time, sizeof(s->time));
        field(l, "reason", s->reason, sizeof(s->reason));
        s->c = category_from_name(s->category);
        s->is_archive =
                (s->c == CATEGORY_DATABASE || s->c == CATEGORY_EMAIL_OPT_IN) && str_ends(s->key, ".zip");
        s->has_sha256 = field_sha256(l, s->sha256);
        s->size = field_size(l);
        s->has_latest = field(l, "latest", s->latest, sizeof(s->latest));
        /* the folder that the file is in has that name */
        return s->c != CATEGORY_MAX && staging_check_path(s->org, NULL) == 0 && !strchr(s->org, '/');
}

static struct change change_of(const struct said *s, const char *op)
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

/* --- what is staged, as the feed knows it --- */

struct staged {
        bool is_known, is_missing, has_sha256;
        char path[STAGED_PATH_SIZE];
        uint8_t sha256[SHA256_SIZE];
};

static int get_staged(struct feed *f, const struct said *o, struct staged *ret)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        *ret = (struct staged){};
        int r = prepare(
                f, "SELECT path, sha256, missing FROM feed_object WHERE bucket = ?1 AND key = ?2", &s);
        struct ledger_bind b = {.s = s};
        if (r == 0) {
                ledger_bind_text(&b, o->bucket);
                ledger_bind_text(&b, o->key);
                r = ledger_step(f->l, s, "reading", f->e);
        }
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ret->is_known = true;
        ledger_row_text(&row, ret->path, sizeof(ret->path));
        ret->has_sha256 = ledger_row_sha256(&row, ret->sha256);
        ret->is_missing = ledger_row_i64(&row, 0, 1);
        return row.err ? error_set(f->e, CAUSE_IO, -row.err, "the ledger is damaged: the feed's tables") : 0;
}

static int set_staged(struct feed *f, const struct said *o, bool is_missing)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f,
                "INSERT INTO feed_object (bucket, key, path, sha256, missing) VALUES (?1, ?2, ?3, ?4, ?5) "
                "ON CONFLICT (bucket, key) DO UPDATE SET path = excluded.path, sha256 = excluded.sha256, "
                "missing = excluded.missing",
                &s);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, o->bucket);
        ledger_bind_text(&b, o->key);
        ledger_bind_text(&b, o->path);
        ledger_bind_sha256(&b, o->has_sha256, o->sha256);
        ledger_bind_i64(&b, is_missing);
        return step_write(f, s, &b);
}

static int set_missing(struct feed *f, const struct said *o)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f, "UPDATE feed_object SET missing = 1 WHERE bucket = ?1 AND key = ?2", &s);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, o->bucket);
        ledger_bind_text(&b, o->key);
        return step_write(f, s, &b);
}

/* Also of the other spelling of its key. */
static int drop_staged(struct feed *f, const char *sql, const char *one, const char *two)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f, sql, &s);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, one);
        ledger_bind_text(&b, two);
        return step_write(f, s, &b);
}

/* --- days by course --- */

/* is_known is false when it is not staged by course. */
static int get_day(struct feed *f, const struct said *o, struct staged *ret)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        *ret = (struct staged){};
        int r = prepare(f, "SELECT path, sha256 FROM feed_day WHERE bucket = ?1 AND key = ?2", &s);
        struct ledger_bind b = {.s = s};
        if (r == 0) {
                ledger_bind_text(&b, o->bucket);
                ledger_bind_text(&b, o->key);
                r = ledger_step(f->l, s, "reading", f->e);
        }
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ret->is_known = true;
        ledger_row_text(&row, ret->path, sizeof(ret->path));
        ret->has_sha256 = ledger_row_sha256(&row, ret->sha256);
        return row.err ? error_set(f->e, CAUSE_IO, -row.err, "the ledger is damaged: the feed's tables") : 0;
}

static int on_day(struct feed *f, const struct said *o)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        struct staged before;
        int r = get_day(f, o, &before);
        if (r < 0 || (before.has_sha256 && o->has_sha256 && streq(before.path, o->path) &&
                             memcmp(before.sha256, o->sha256, SHA256_SIZE) == 0))
                return r;
        struct change c = change_of(o, "day-complete");
        c.sha256 = o->has_sha256 ? o->sha256 : NULL;
        c.was = before.has_sha256 ? before.sha256 : NULL;
        c.size = o->size;
        r = add_line(f, o->org, &c);
        if (r == 0)
                r = prepare(f,
                        "INSERT OR REPLACE INTO feed_day (bucket, key, path, sha256) VALUES (?1, ?2, ?3, ?4)",
                        &s);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, o->bucket);
        ledger_bind_text(&b, o->key);
        ledger_bind_text(&b, o->path);
        ledger_bind_sha256(&b, o->has_sha256, o->sha256);
        return step_write(f, s, &b);
}

static int on_day_gone(struct feed *f, const struct said *o)
{
        struct staged before;
        int r = get_day(f, o, &before);
        if (r < 0 || !before.is_known)
                return r;
        struct change c = change_of(o, "removed");
        c.path = before.path;
        c.was = before.has_sha256 ? before.sha256 : NULL;
        c.reason = *o->reason ? o->reason : NULL;
        r = add_line(f, o->org, &c);
        return r < 0 ? r
                     : drop_staged(
                               f, "DELETE FROM feed_day WHERE bucket = ?1 AND key = ?2", o->bucket, o->key);
}

/* --- snapshots --- */

/* Whose members the tables have, SET_BASE and SET_LAST, and which one is pinned; "" none. */
struct base {
        char date[11], pin[11], last[11];
};

static int get_base(struct feed *f, const struct said *o, struct base *ret)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        *ret = (struct base){};
        int r = prepare(f, "SELECT date, pin, last FROM feed_base WHERE org = ?1 AND category = ?2", &s);
        struct ledger_bind b = {.s = s};
        if (r == 0) {
                ledger_bind_text(&b, o->org);
                ledger_bind_i64(&b, o->c);
                r = ledger_step(f->l, s, "reading", f->e);
        }
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ledger_row_text(&row, ret->date, sizeof(ret->date));
        ledger_row_text(&row, ret->pin, sizeof(ret->pin));
        ledger_row_text(&row, ret->last, sizeof(ret->last));
        return row.err ? error_set(f->e, CAUSE_IO, -row.err, "the ledger is damaged: the feed's tables") : 0;
}

static int set_base(struct feed *f, const struct said *o, const struct base *base)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f,
                "INSERT OR REPLACE INTO feed_base (org, category, date, pin, last) VALUES (?1, ?2, ?3, ?4, "
                "?5)",
                &s);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, o->org);
        ledger_bind_i64(&b, o->c);
        ledger_bind_text(&b, base->date);
        ledger_bind_text(&b, base->pin);
        ledger_bind_text(&b, base->last);
        return step_write(f, s, &b);
}

/* The set `to` of the organisation becomes what `from` is; without one it is empty. */
static int move_set(struct feed *f, const struct said *o, int from, int to)
{
        static const char *const empty[] = {
                [SET_BASE] = "DELETE FROM feed_member WHERE kind = 0 AND org = ?1 AND category = ?2",
                [SET_LAST] = "DELETE FROM feed_member WHERE kind = 2 AND org = ?1 AND category = ?2",
        };
        char sql[160];
        int r = run_org(f, empty[to], o->org, o->c);
        if (r < 0 || from == SET_NONE)
                return r;
        snprintf(sql, sizeof(sql),
                "UPDATE feed_member SET kind = %d, org = ?1, category = ?2 WHERE kind = %d%s", to, from,
                from == SET_NEW ? "" : " AND org = ?1 AND category = ?2");
        return run_org(f, sql, o->org, o->c);
}

/* It is not staged any more. */
static int drop_base(struct feed *f, const struct said *o)
{
        struct base base;
        int r = get_base(f, o, &base);
        bool is_base = streq(base.date, o->date), is_last = streq(base.last, o->date);
        if (r < 0 || (!is_base && !is_last))
                return r;
        if (is_base) {
                base.date[0] = 0;
                r = move_set(f, o, SET_NONE, SET_BASE);
        }
        if (r == 0 && is_last) {
                base.last[0] = 0;
                r = move_set(f, o, SET_NONE, SET_LAST);
        }
        return r < 0 ? r : set_base(f, o, &base);
}

/* "members": those of an earlier archive, of which nothing came, are no more. */
static int on_members(struct feed *f)
{
        f->rejected = false;
        return ledger_exec(f->l, "DELETE FROM feed_member WHERE kind = 1", "writing the feed's tables", f->e);
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

static int on_member(struct feed *f, const struct line *l)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        struct package_member parsed;
        char name[1100], path[1100], top[128];
        uint8_t sha256[SHA256_SIZE];
        if (!field(l, "member", name, sizeof(name)) || !field(l, "path", path, sizeof(path)) ||
                !field_sha256(l, sha256))
                return 0;
        const char *below = below_folder(path);
        if (!below || strlen(below) >= 512)
                return 0;
        snprintf(top, sizeof(top), "%.*s", (int)strcspn(name, "/"), name);
        bool known =
                package_parse_member(strchr(name, '/') ? top : NULL, name, f->max_name, &parsed, NULL) == 0;
        int r = ledger_prepared(f->l, SQL_FEED_MEMBER, &s, f->e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, below);
        ledger_bind_sha256(&b, true, sha256);
        ledger_bind_i64(&b, field_size(l));
        ledger_bind_text(&b, known ? parsed.course : "");
        ledger_bind_text(&b, known ? parsed.table : "");
        return step_write(f, s, &b);
}

/* ?1 org, ?2 category. What is other than in the base: also what was there and is not any more. */
static const char differs_sql[] =
        "SELECT n.path, n.sha256, n.size, n.course, n.\"table\", b.sha256 FROM feed_member n "
        "LEFT JOIN feed_member b ON b.kind = 0 AND b.org = ?1 AND b.category = ?2 AND b.path = n.path "
        "WHERE n.kind = 1 AND b.sha256 IS NOT n.sha256 UNION ALL "
        "SELECT b.path, NULL, -1, b.course, b.\"table\", b.sha256 FROM feed_member b WHERE b.kind = 0 AND "
        "b.org = ?1 AND b.category = ?2 AND NOT EXISTS (SELECT 1 FROM feed_member n WHERE n.kind = 1 AND "
        "n.org = '' AND n.category = 0 AND n.path = b.path) ORDER BY 1";

static int say_differences(struct feed *f, const struct said *o)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f, differs_sql, &s);
        struct ledger_bind b = {.s = s};
        if (r == 0) {
                ledger_bind_text(&b, o->org);
                ledger_bind_i64(&b, o->c);
        }
        while (r == 0 && (r = ledger_step(f->l, s, "reading", f->e)) == 1) {
                char path[STAGED_PATH_SIZE], course[COURSE_SIZE], table[TABLE_SIZE], full[1100];
                uint8_t sha256[SHA256_SIZE], was[SHA256_SIZE];
                struct ledger_row row = {.s = s};
                struct change c = change_of(o, "published");
                ledger_row_text(&row, path, sizeof(path));
                bool now = ledger_row_sha256(&row, sha256);
                c.size = ledger_row_i64(&row, -1, INT64_MAX);
                ledger_row_text(&row, course, sizeof(course));
                ledger_row_text(&row, table, sizeof(table));
                bool before = ledger_row_sha256(&row, was);
                if (row.err)
                        return error_set(
                                f->e, CAUSE_IO, -row.err, "the ledger is damaged: the feed's tables");
                c.op = !now ? "removed" : before ? "replaced" : "published";
                snprintf(full, sizeof(full), "%s/%s", o->path, path);
                c.path = full;
                c.sha256 = now ? sha256 : NULL;
                c.was = before ? was : NULL;
                c.course = *course ? course : NULL;
                c.table = *table ? table : NULL;
                r = add_line(f, o->org, &c);
        }
        return r;
}

/* The line says what `latest` named before: with that one it is compared, as long as its members are known;
 * else with none. */
static int choose_base(struct feed *f, const struct said *o, struct base *base)
{
        if (streq(o->latest, base->date))
                return 0;
        bool is_last = *o->latest && streq(o->latest, base->last);
        int r = move_set(f, o, is_last ? SET_LAST : SET_NONE, SET_BASE);
        snprintf(base->date, sizeof(base->date), "%s", is_last ? o->latest : "");
        if (is_last)
                base->last[0] = 0;
        return r;
}

/* Its members are known from now on. Records of before `latest` stood there: the base is the newest one
 * without a rejected member, or the pinned one. */
static int keep_members(struct feed *f, const struct said *o, struct base *base)
{
        bool moves =
                *base->pin ? streq(base->pin, o->date) : !f->rejected && strcmp(o->date, base->date) >= 0;
        if (streq(o->date, base->date) || (!o->has_latest && moves)) {
                snprintf(base->date, sizeof(base->date), "%s", o->date);
                return move_set(f, o, SET_NEW, SET_BASE);
        }
        snprintf(base->last, sizeof(base->last), "%s", o->date);
        return move_set(f, o, SET_NEW, SET_LAST);
}

static int on_snapshot(struct feed *f, struct said *o)
{
        struct base base;
        int r = get_base(f, o, &base);
        if (r == 0 && o->has_latest)
                r = choose_base(f, o, &base);
        if (r == 0)
                r = say_differences(f, o);
        if (r < 0)
                return r;
        struct change c = change_of(o, "snapshot-complete");
        c.has_base = true;
        c.base = *base.date ? base.date : NULL;
        c.size = o->size;
        r = add_line(f, o->org, &c);
        if (r == 0)
                r = keep_members(f, o, &base);
        if (r == 0)
                r = set_base(f, o, &base);
        if (r == 0)
                r = drop_staged(f, "DELETE FROM feed_object WHERE path = ?1 AND key <> ?2", o->path, o->key);
        o->has_sha256 = false;
        if (r == 0)
                r = set_staged(f, o, false);
        return r;
}

/* --- events --- */

static int on_file(struct feed *f, struct said *o)
{
        struct staged before;
        int r = get_staged(f, o, &before);
        if (r < 0)
                return r;
        bool same_path = before.is_known && streq(before.path, o->path);
        bool same = same_path && before.has_sha256 && o->has_sha256 &&
                    memcmp(before.sha256, o->sha256, SHA256_SIZE) == 0;
        struct change c = change_of(o, same ? "restored" : same_path ? "replaced" : "published");
        if (before.is_known && !same_path) {
                /* another events_format */
                struct change gone = change_of(o, "removed");
                gone.path = before.path;
                gone.was = before.has_sha256 ? before.sha256 : NULL;
                r = add_line(f, o->org, &gone);
        }
        c.sha256 = o->has_sha256 ? o->sha256 : NULL;
        c.was = same_path && before.has_sha256 ? before.sha256 : NULL;
        c.size = o->size;
        if (r == 0 && (!same || before.is_missing))
                r = add_line(f, o->org, &c);
        return r < 0 ? r : set_staged(f, o, false);
}

static int on_adopted(struct feed *f, struct said *o)
{
        struct staged before;
        int r = get_staged(f, o, &before);
        if (r < 0 || !o->is_archive)
                return r < 0 ? r : on_file(f, o);
        struct change c = change_of(o, before.is_known ? "restored" : "snapshot-complete");
        c.has_base = !before.is_known;
        if (!before.is_known || before.is_missing)
                r = add_line(f, o->org, &c);
        return r < 0 ? r : set_staged(f, o, false);
}

static int on_gone(struct feed *f, const struct said *o, bool is_missing)
{
        struct staged before;
        int r = get_staged(f, o, &before);
        if (r < 0 || !before.is_known || (is_missing && before.is_missing))
                return r;
        struct change c = change_of(o, is_missing ? "missing" : "removed");
        c.path = before.path;
        c.was = before.has_sha256 ? before.sha256 : NULL;
        c.reason = *o->reason ? o->reason : NULL;
        r = add_line(f, o->org, &c);
        if (r == 0 && is_missing)
                return set_missing(f, o);
        if (r == 0)
                r = o->is_archive ? drop_base(f, o) : on_day_gone(f, o);
        return r < 0 ? r
                     : drop_staged(f, "DELETE FROM feed_object WHERE bucket = ?1 AND key = ?2", o->bucket,
                               o->key);
}

static int on_pin(struct feed *f, const struct line *l)
{
        struct said o = {};
        struct base base;
        field(l, "org", o.org, sizeof(o.org));
        field(l, "category", o.category, sizeof(o.category));
        field(l, "date", o.date, sizeof(o.date));
        o.c = category_from_name(o.category);
        int r = o.c == CATEGORY_MAX ? 0 : get_base(f, &o, &base);
        if (r < 0 || o.c == CATEGORY_MAX)
                return r;
        snprintf(base.pin, sizeof(base.pin), "%s", o.date);
        return set_base(f, &o, &base);
}

static int on_line(const char *p, size_t len, uint64_t number, void *arg)
{
        struct feed *f = arg;
        const struct line l = {p, len};
        char event[64];
        struct said o = {};
        (void)number;
        field(&l, "event", event, sizeof(event));
        if (streq(event, "member"))
                return on_member(f, &l);
        if (streq(event, "member-rejected")) {
                f->rejected = true;
                return 0;
        }
        if (streq(event, "members"))
                return on_members(f);
        if (streq(event, "latest"))
                return on_pin(f, &l);
        bool published = streq(event, "published") || streq(event, "replaced");
        bool adopted = streq(event, "adopted"), missing = streq(event, "missing");
        bool removed = streq(event, "forgotten") || streq(event, "pruned");
        bool day = streq(event, "day-complete"), day_gone = streq(event, "day-removed");
        int r = 0;
        if ((published || adopted || missing || removed || day || day_gone) && read_said(&l, &o)) {
                if (published)
                        r = o.is_archive ? on_snapshot(f, &o) : on_file(f, &o);
                else if (adopted)
                        r = on_adopted(f, &o);
                else if (day)
                        r = on_day(f, &o);
                else if (day_gone)
                        r = on_day_gone(f, &o);
                else
                        r = on_gone(f, &o, missing);
        }
        /* members that an older czard told, without "members" before them, and that were never published */
        return r < 0 ? r : on_members(f);
}

/* --- following --- */

static int read_position(struct feed *f, uint64_t *ret)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f, "SELECT seq FROM feed_position", &s);
        if (r == 0)
                r = ledger_step(f->l, s, "reading", f->e);
        *ret = r == 1 ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
        return MIN(r, 0);
}

static int save_position(struct feed *f, uint64_t seq)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f, "INSERT OR REPLACE INTO feed_position (id, seq) VALUES (1, ?1)", &s);
        struct ledger_bind b = {.s = s};
        if (r == 0)
                ledger_bind_i64(&b, (int64_t)seq);
        return r < 0 ? r : step_write(f, s, &b);
}

/* Nothing of this call counts: the next one begins where the tables say. */
static void forget_progress(struct feed *f)
{
        f->audit_offset = 0;
        f->out.len = 0;
        f->fd = close_fd(f->fd);
        f->org[0] = 0;
}

static int follow(struct feed *f)
{
        struct audit_tail last;
        audit_tail(f->audit, &last);
        uint64_t position, end;
        int r = read_position(f, &position);
        /* The transaction that the last call was part of was undone. */
        if (r == 0 && position != f->position)
                forget_progress(f);
        end = position;
        if (r == 0)
                r = audit_each_after(f->state_fd, &end, last.seq, &f->audit_offset, on_line, f, f->e);
        if (r == 0)
                r = leave_org(f); /* no file stays open for writing: the volume can be remounted */
        if (r == 0 && end != position)
                r = save_position(f, end);
        f->position = end;
        return r;
}

int feed_follow(struct feed *f, struct error *e)
{
        if (!f->checked)
                return feed_check(f, e);
        f->e = e;
        int r = ledger_begin(f->l, e);
        if (r < 0)
                return r;
        r = follow(f);
        if (r == 0)
                return ledger_commit(f->l, e);
        forget_progress(f);
        ledger_rollback(f->l);
        return r;
}

/* --- a feed that was lost --- */

typedef int org_fn(struct feed *f, const char *org, uint64_t seq, bool *ret);

static int each_org(struct feed *f, org_fn *each, bool *ret)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(f, "SELECT org, seq FROM feed ORDER BY org", &s);
        while (r == 0 && (r = ledger_step(f->l, s, "reading", f->e)) == 1) {
                char org[64];
                struct ledger_row row = {.s = s};
                ledger_row_text(&row, org, sizeof(org));
                uint64_t seq = (uint64_t)ledger_row_i64(&row, 0, INT64_MAX);
                r = row.err ? error_set(f->e, CAUSE_IO, -row.err, "the ledger is damaged: the feed's tables")
                            : each(f, org, seq, ret);
        }
        return r;
}

static int is_lost(struct feed *f, const char *org, uint64_t seq, bool *ret)
{
        _cleanup_close_ int fd = -1;
        uint64_t end = 0;
        snprintf(f->org, sizeof(f->org), "%s", org);
        int r = open_file(f, FEED_FILE, false, &fd);
        if (r == 0)
                r = read_end(f, fd, &end);
        f->org[0] = 0;
        *ret |= r == -ENOENT || end < seq;
        return r == -ENOENT ? 0 : r;
}

/* Renames the new one into its place. */
static int put_in_place(struct feed *f, const char *org, uint64_t seq, bool *ret)
{
        (void)seq;
        (void)ret;
        _cleanup_close_ int dir = staging_open_dir(f->s, f->s->root_fd, org, false, (gid_t)-1, f->e);
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        if (renameat(dir, FEED_REMADE, dir, FEED_FILE) < 0 || fsync(dir) < 0)
                return fail(errno, org, "renaming", f->e);
        return 0;
}

static int remove_remade(struct feed *f, const char *org, uint64_t seq, bool *ret)
{
        (void)seq;
        (void)ret;
        _cleanup_close_ int dir = staging_open_dir(f->s, f->s->root_fd, org, false, (gid_t)-1, f->e);
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        return unlinkat(dir, FEED_REMADE, 0) < 0 && errno != ENOENT ? fail(errno, org, "removing", f->e) : 0;
}

static int remake(struct feed *f)
{
        bool unused;
        int r = each_org(f, remove_remade, &unused);
        if (r == 0)
                r = ledger_exec(f->l,
                        "DELETE FROM feed; DELETE FROM feed_position; DELETE FROM feed_object; "
                        "DELETE FROM feed_day; "
                        "DELETE FROM feed_member; DELETE FROM feed_base;",
                        "emptying the feed's tables", f->e);
        forget_progress(f);
        f->remaking = true;
        if (r == 0)
                r = follow(f);
        if (r == 0)
                r = leave_org(f);
        if (r == 0)
                r = each_org(f, put_in_place, &unused);
        f->remaking = false;
        forget_progress(f);
        return r;
}

int feed_check(struct feed *f, struct error *e)
{
        bool lost = false;
        f->e = e;
        int r = ledger_begin(f->l, e);
        if (r < 0)
                return r;
        r = each_org(f, is_lost, &lost);
        if (r == 0 && lost)
                r = remake(f);
        if (r == 0)
                r = follow(f);
        f->checked = r == 0;
        if (r == 0)
                return ledger_commit(f->l, e);
        forget_progress(f);
        ledger_rollback(f->l);
        return r;
}

int feed_new(struct ledger *l, const struct audit *a, struct staging *s, int state_fd, size_t max_name,
        struct feed **ret, struct error *e)
{
        struct feed *f = calloc(1, sizeof(*f));
        if (!f)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        *f = (struct feed){.l = l, .audit = a, .s = s, .state_fd = state_fd, .max_name = max_name, .fd = -1};
        *ret = f;
        return 0;
}

void feed_latest(const struct feed *f, const char *org, enum category c, char ret[11])
{
        _cleanup_free_ char *dir = str_printf("%s/%s", org, category_name(c));
        int day;
        ret[0] = 0;
        if (!dir || staging_read_latest(f->s, dir, ret, 11) < 0 || strlen(ret) != 10 ||
                date_parse(ret, &day) < 0)
                ret[0] = 0;
}

struct feed *feed_free(struct feed *f)
{
        if (!f)
                return NULL;
        close_fd(f->fd);
        strbuf_done(&f->out);
        free(f);
        return NULL;
}
