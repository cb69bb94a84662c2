/* SPDX-License-Identifier: Apache-2.0 */
/* Following the audit record: each of its lines is handed to feed_event.c once and in order, which says what
 * it means; feed_file.c writes that down. feed_position has the number of the last line that was followed. A
 * line that the file has already (it was written, and a crash came before the tables were committed) is not
 * written again: it would be the same.
 *
 * A feed that was lost is made again from the first line of the record, beside the old one, and renamed into
 * its place. The other way round, a feed may have more lines than the record gives: the record was restored
 * from an older copy, or cut. Whoever follows has read them, so their numbers are taken. They are entered
 * into the record, as "told", before anything new is: so the numbers go on behind them, and the record can
 * still make all of the feed again. */
#include "feed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "feed_internal.h"
#include "feed_reader.h"
#include "fsx.h"
#include "macro.h"
#include "staging_internal.h"

#define BEHIND_MSEC 100 /* between two looks at a file that is behind */
#define BEHIND_LOOKS 20
#define AGAIN "czard makes it again at its next poll, or when it is started, with the same numbers"

struct feed {
        struct audit *audit;
        struct feed_file file;
        struct feed_snapshot snapshot;
        uint64_t position;  /* as the tables had it after the last call */
        off_t audit_offset; /* of the line after the last that was followed; 0: to be looked for */
        bool checked;
        uint64_t lines; /* of the record that were read */
        void (*on_piece)(void *arg);
        void *arg;
};

static int read_position(struct feed *f, uint64_t *ret)
{
        int64_t seq = 0;
        int r = sql_get_i64(&f->file.l->sql, "SELECT seq FROM feed_position", NULL, 0, &seq, f->file.e);
        *ret = r < 0 ? 0 : (uint64_t)seq;
        return MIN(r, 0);
}

static int save_position(struct feed *f, uint64_t seq)
{
        return sql_run(&f->file.l->sql, "INSERT OR REPLACE INTO feed_position (id, seq) VALUES (1, ?1)",
                VALUES(V(seq)), f->file.e);
}

/* Nothing of this call counts: the next one begins where the tables say. */
static void forget_progress(struct feed *f)
{
        f->audit_offset = 0;
        feed_file_forget(&f->file);
}

static int on_line(const char *p, size_t len, uint64_t number, void *arg)
{
        struct feed *f = arg;
        if (++f->lines % FEED_PIECE == 0 && f->on_piece)
                f->on_piece(f->arg);
        return feed_event_line(&f->snapshot, p, len, number);
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
                r = feed_snapshot_forget(&f->snapshot);
        if (r == 0)
                r = audit_each_after(
                        f->snapshot.state_fd, &end, last.seq, &f->audit_offset, on_line, f, f->file.e);
        /* Members whose archive comes later are read once more, with it. */
        if (r == 0 && f->snapshot.first) {
                end = f->snapshot.first - 1;
                f->audit_offset = 0;
        }
        if (r == 0)
                r = feed_file_leave(&f->file); /* none stays open for writing: the volume can be remounted */
        if (r == 0 && end != position)
                r = save_position(f, end);
        f->position = end;
        return r;
}

/* --- a feed that was lost --- */

typedef int org_fn(struct feed *f, const char *org, uint64_t seq);

static int each_org(struct feed *f, org_fn *each)
{
        struct known {
                char org[ORG_SIZE];
                uint64_t seq;
        } known;
        static const struct sql_column columns[] = {
                COLUMN(TEXT, struct known, org), COLUMN(NUMBER, struct known, seq)};
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        struct sql *c = &f->file.l->sql;
        int r = sql_prepare(c, "SELECT org, seq FROM feed ORDER BY org", NULL, &s, f->file.e);
        while (r == 0 && (r = sql_next(c, s, columns, ELEMENTSOF(columns), &known, f->file.e)) == 1)
                r = each(f, known.org, known.seq);
        return r;
}

static int look_if_lost(struct feed *f, const char *org, uint64_t seq)
{
        uint64_t end;
        int r = feed_file_end(&f->file, org, &end);
        f->file.lost |= r == 0 && end < seq;
        return r;
}

static int put_in_place(struct feed *f, const char *org, uint64_t seq)
{
        return feed_file_put(&f->file, org, seq);
}

static int remove_remade(struct feed *f, const char *org, uint64_t seq)
{
        (void)seq;
        return feed_file_remove_remade(&f->file, org);
}

int feed_start_over(struct ledger *l, struct error *e)
{
        return sql_exec(&l->sql,
                "DELETE FROM feed; DELETE FROM feed_position; DELETE FROM feed_staged; "
                "DELETE FROM feed_snapshot; DELETE FROM feed_member; DELETE FROM feed_base;",
                e);
}

static int on_first(const char *p, size_t len, uint64_t number, void *arg)
{
        (void)p;
        (void)len;
        *(uint64_t *)arg = number;
        return -ECANCELED;
}

/* Without what was moved elsewhere nobody knows the numbers, and what follows is said. -ENODATA. */
static int check_begins(struct feed *f, const char *record, const char *follows)
{
        uint64_t end = 0, first = 1;
        off_t offset = 0;
        int r = audit_each_after(f->snapshot.state_fd, &end, INT64_MAX, &offset, on_first, &first, f->file.e);
        if (r < 0 && r != -ECANCELED)
                return r;
        return first == 1 ? 0
                          : error_set(f->file.e, CAUSE_IO, ENODATA, "%s begins with entry %llu, and %s",
                                    record, (unsigned long long)first, follows);
}

static int remake(struct feed *f)
{
        int r = check_begins(f, "the audit record",
                "the feed cannot be made again from it: put what was moved elsewhere back into state_dir");
        if (r == 0)
                r = each_org(f, remove_remade);
        if (r == 0)
                r = feed_start_over(f->file.l, f->file.e);
        forget_progress(f);
        f->file.lost = false;
        f->file.remaking = true;
        if (r == 0)
                r = follow(f);
        f->file.remaking = false;
        if (r == 0)
                r = each_org(f, put_in_place);
        return r;
}

static int follow_or_remake(struct feed *f)
{
        int r = f->file.lost ? 0 : follow(f);
        return f->file.lost ? remake(f) : r;
}

/* --- lines that the record does not know --- */

struct telling {
        struct feed *f;
        const char *org;
        uint64_t last;
        bool any;
};

static int tell_line(const char *line, size_t len, uint64_t seq, void *arg)
{
        struct telling *t = arg;
        _cleanup_free_ char *text = strndup(line, len);
        const struct audit_entry entry = {
                .event = "told", .org = t->org, .reason = text, .size = -1, .mtime = -1, .uid = -1};
        if (!text)
                return error_set(t->f->file.e, CAUSE_IO, ENOMEM, "out of memory");
        if (seq != t->last + 1 || strlen(text) != len)
                return error_set(t->f->file.e, CAUSE_IO, EBADMSG,
                        "%s/" FEED_FILE ": damaged behind line %llu", t->org, (unsigned long long)t->last);
        t->last = seq;
        t->any = true;
        return audit_append(t->f->audit, &entry, t->f->file.e);
}

/* A file with a hole in it is none: it is kept aside, and made again up to there. */
static int tell_org(struct telling *t, const char *org)
{
        struct feed *f = t->f;
        uint64_t end;
        int r = feed_file_known(&f->file, org, &t->last);
        if (r == 0)
                r = feed_file_end(&f->file, org, &end);
        if (r < 0 || end <= t->last)
                return r;
        struct feed_reader *reader = NULL;
        t->org = org;
        r = feed_reader_new(f->file.s->path, org, t->last, &reader, f->file.e);
        if (r == 0)
                r = feed_reader_each(reader, tell_line, t, f->file.e);
        feed_reader_free(reader);
        if (r != -EBADMSG)
                return r;
        f->file.lost = true;
        return feed_file_set_aside(&f->file, org);
}

static bool has_feed(struct feed *f, const char *name)
{
        return strlen(name) < ORG_SIZE && staging_check_path(name, NULL) == 0 &&
               feed_file_is_of(&f->file, name);
}

/* What each feed has behind what the record gives. */
static int tell_unknown(struct feed *f, bool *ret)
{
        struct telling t = {.f = f};
        _cleanup_(strv_done) struct strv names = {};
        int r = list_dir_at(f->file.s->root_fd, ".", &names);
        if (r < 0)
                return error_errno(f->file.e, -r, "%s", f->file.s->path);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                r = has_feed(f, names.v[i]) ? tell_org(&t, names.v[i]) : 0;
        *ret = t.any;
        return r == 0 && t.any ? audit_sync(f->audit, f->file.e) : r;
}

/* --- calls --- */

static int check(struct feed *f)
{
        bool told = false;
        f->file.lost = false;
        int r = each_org(f, look_if_lost);
        if (r == 0)
                r = follow_or_remake(f);
        if (r == 0)
                r = tell_unknown(f, &told);
        if (r == 0 && (told || f->file.lost))
                r = follow_or_remake(f);
        return r;
}

static int call(struct feed *f, int (*what)(struct feed *), struct error *e)
{
        f->file.e = e;
        f->file.lost = false;
        int r = ledger_begin(f->file.l, e);
        if (r < 0)
                return r;
        r = sql_exec(&f->file.l->sql, "SAVEPOINT feed", e);
        if (r == 0)
                r = what(f);
        f->checked |= what == check && r == 0;
        if (r < 0)
                forget_progress(f);
        /* Of the caller's transaction nothing is undone for the sake of a feed that cannot be made again. */
        const char *end = r == -ENODATA ? "ROLLBACK TO feed; RELEASE feed" : "RELEASE feed";
        if ((r >= 0 || r == -ENODATA) && sql_exec(&f->file.l->sql, end, r < 0 ? NULL : e) == 0) {
                int err = ledger_commit(f->file.l, r < 0 ? NULL : e);
                return err < 0 ? err : r;
        }
        ledger_rollback(f->file.l);
        return r < 0 ? r : -EIO;
}

/* A feed that cannot be made again holds up nothing else: what happens meanwhile follows once it can, and
 * feed_look() tells. */
static int call_if_it_can_be(struct feed *f, int (*what)(struct feed *), struct error *e)
{
        int r = call(f, what, e);
        if (r != -ENODATA)
                return r;
        if (e)
                *e = (struct error){};
        return 0;
}

int feed_check(struct feed *f, struct error *e)
{
        return f->checked ? 0 : call_if_it_can_be(f, check, e);
}

int feed_follow(struct feed *f, struct error *e)
{
        return call_if_it_can_be(f, f->checked ? follow_or_remake : check, e);
}

static int look(struct feed *f)
{
        int r = each_org(f, look_if_lost);
        bool lost = r == 0 && f->file.lost;
        if (lost)
                r = remake(f);
        return r < 0 ? r : lost;
}

int feed_look(struct feed *f, struct error *e)
{
        return call(f, f->checked ? look : check, e);
}

int feed_new(struct ledger *l, struct audit *a, struct staging *s, int state_fd, struct feed **ret,
        struct error *e)
{
        struct feed *f = calloc(1, sizeof(*f));
        if (!f)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        *f = (struct feed){
                .audit = a, .file = {.l = l, .s = s, .fd = -1}, .snapshot = {.state_fd = state_fd}};
        f->snapshot.file = &f->file;
        *ret = f;
        return 0;
}

void feed_each_piece(struct feed *f, void (*on_piece)(void *arg), void *arg)
{
        f->on_piece = on_piece;
        f->arg = arg;
}

int feed_says_missing(struct ledger *l, const struct ledger_object *o, struct error *e)
{
        int64_t missing = 0;
        int r = sql_get_i64(&l->sql,
                "SELECT coalesce(max(missing), 0) FROM feed_staged WHERE kind = 0 AND ((bucket = ?1 AND key "
                "= ?2) OR path = "
                "?3)",
                VALUES(V(o->bucket), V(o->key), V(o->path)), 0, &missing, e);
        return r < 0 ? r : missing > 0;
}

void feed_latest(const struct feed *f, const char *org, enum category c, char ret[DATE_SIZE])
{
        _cleanup_free_ char *dir = str_printf("%s/%s", org, category_name(c));
        int day;
        ret[0] = 0;
        if (!dir || staging_read_latest(f->file.s, dir, ret, 11) < 0 || strlen(ret) != 10 ||
                date_parse(ret, &day) < 0)
                ret[0] = 0;
}

struct feed *feed_free(struct feed *f)
{
        if (!f)
                return NULL;
        close_fd(f->file.fd);
        strbuf_done(&f->file.out);
        free(f);
        return NULL;
}

/* --- the feeds against the audit record. Each is read beside the lines that the record gives. czard may go
 * on meanwhile: lines behind those are none of ours, and one that the record has first is waited for --- */

/* Each line that the audit record gives, in order, with nothing written. */
static int replay(int state_fd, feed_line_fn *each, void *arg, struct error *e)
{
        struct ledger *l = NULL;
        uint64_t end = 0;
        off_t offset = 0;
        int r = ledger_open_memory(&l, e);
        if (r < 0)
                return r;
        struct feed f = {.file = {.l = l, .e = e, .fd = -1, .instead = each, .arg = arg},
                .snapshot = {.state_fd = state_fd}};
        f.snapshot.file = &f.file;
        r = ledger_begin(l, e);
        if (r == 0)
                r = check_begins(
                        &f, "it", "the feeds cannot be compared with it: put what was moved elsewhere back");
        if (r == 0)
                r = audit_each_after(state_fd, &end, INT64_MAX, &offset, on_line, &f, e);
        strbuf_done(&f.file.out);
        ledger_free(l);
        return r;
}

struct compared {
        char org[ORG_SIZE];
        FILE *file; /* NULL: it is not there */
        char *line;
        size_t size;
        uint64_t n, given; /* lines that are the same; lines that the record gives */
        bool is_altered;
};

struct comparison {
        struct staging *s;
        struct compared *v;
        size_t n;
        struct error *e;
};

static struct compared *find(struct comparison *c, const char *org)
{
        for (size_t i = 0; i < c->n; i++)
                if (streq(c->v[i].org, org))
                        return &c->v[i];
        if (ARRAY_ROOM(c->v, c->n) < 0)
                return NULL;
        struct compared *o = &c->v[c->n++];
        *o = (struct compared){};
        snprintf(o->org, sizeof(o->org), "%s", org);
        _cleanup_free_ char *path = str_printf("%s/" FEED_FILE, org);
        int fd = path ? staging_open_file(c->s, path) : -ENOMEM;
        o->file = fd >= 0 ? fdopen(fd, "r") : NULL;
        if (fd >= 0 && !o->file)
                close_fd(fd);
        return o;
}

/* The next whole line, with its line break; -1: there is none yet. */
static ssize_t next_line(struct compared *o)
{
        off_t at = ftello(o->file);
        ssize_t n = getline(&o->line, &o->size, o->file);
        if (n > 0 && o->line[n - 1] == '\n')
                return n;
        clearerr(o->file);
        (void)fseeko(o->file, at, SEEK_SET);
        return -1;
}

static int compare_line(const char *org, const char *line, size_t len, uint64_t seq, void *arg)
{
        struct comparison *c = arg;
        struct compared *o = find(c, org);
        if (!o)
                return error_set(c->e, CAUSE_IO, ENOMEM, "out of memory");
        bool is_next = o->file && !o->is_altered && o->n + 1 == seq;
        ssize_t n = is_next ? next_line(o) : -1;
        o->given = seq;
        o->is_altered |= n >= 0 && ((size_t)n != len || memcmp(o->line, line, len) != 0);
        o->n += n >= 0 && !o->is_altered;
        return 0;
}

/* The record had lines that the file has by now. */
static void wait_for(struct compared *o)
{
        const struct timespec moment = {.tv_nsec = BEHIND_MSEC * 1000000L};
        for (int i = 0; o->n < o->given && i < BEHIND_LOOKS; i++) {
                nanosleep(&moment, NULL);
                while (o->n < o->given && next_line(o) >= 0)
                        o->n++;
        }
}

static void judge(struct compared *o, feed_verify_fn *each, void *arg)
{
        char path[ORG_SIZE + sizeof("/" FEED_FILE)], text[256];
        unsigned long long n = o->n, given = o->given;
        snprintf(path, sizeof(path), "%s/" FEED_FILE, o->org);
        if (!o->file) {
                each(arg, path, "missing", "the feed: " AGAIN);
                return;
        }
        if (!o->is_altered)
                wait_for(o);
        if (o->is_altered)
                snprintf(text, sizeof(text),
                        "line %llu is not what the audit record gives: remove the file; " AGAIN, n + 1);
        else
                snprintf(text, sizeof(text),
                        "it ends with line %llu, and the audit record gives %llu: " AGAIN, n, given);
        each(arg, path, o->is_altered || o->n < o->given ? "altered" : NULL, text);
}

int feed_verify(struct staging *s, int state_fd, feed_verify_fn *each, void *arg, struct error *e)
{
        struct comparison c = {.s = s, .e = e};
        int r = replay(state_fd, compare_line, &c, e);
        for (size_t i = 0; i < c.n; i++) {
                if (r == 0)
                        judge(&c.v[i], each, arg);
                if (c.v[i].file)
                        fclose(c.v[i].file);
                free(c.v[i].line);
        }
        free(c.v);
        return r;
}
