/* SPDX-License-Identifier: Apache-2.0 */
/* The feed against a life of events: what it says, and that it says the same after whatever went wrong. */
#include "feed.h"
#include "feed_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "fsx.h"
#include "history.h"
#include "ledger_facts.h"
#include "ledger_fixture.h"
#include "staging.h"

struct place {
        struct fixture *f;
        char root[96];
        int state_fd;
        struct audit *a;
        struct staging *s;
        struct feed *feed;
};

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void open_feed(struct place *p)
{
        struct error e = {};
        assert_int_equal(feed_new(p->f->l, p->a, p->s, p->state_fd, &p->feed, &e), 0);
}

static void open_place(struct place *p, struct fixture *f)
{
        struct error e = {};
        *p = (struct place){.f = f, .state_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        snprintf(p->root, sizeof(p->root), "%s-staging", f->dir);
        assert_int_equal(mkdir(p->root, 0750), 0);
        assert_int_equal(staging_open(p->root, 0440, 0750, &p->s, &e), 0);
        assert_int_equal(audit_open(p->state_fd, &p->a, NULL), 0);
        open_feed(p);
}

static void close_place(struct place *p)
{
        p->feed = feed_free(p->feed);
        p->a = audit_free(p->a);
        p->s = staging_free(p->s);
        close(p->state_fd);
        nftw(p->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static char *content(struct place *p)
{
        char *text = NULL;
        size_t n;
        _cleanup_free_ char *path = str_printf("%s/ux/" FEED_FILE, p->root);
        if (read_file_at(AT_FDCWD, path, 1 << 20, &text, &n) < 0)
                return strdup("");
        return text;
}

static void overwrite(struct place *p, const char *text)
{
        _cleanup_free_ char *path = str_printf("%s/ux/" FEED_FILE, p->root);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_TRUNC);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

/* "op path base" of each line, the numbers checked. */
static void assert_lines(struct place *p, const char *const *want, size_t n)
{
        _cleanup_free_ char *text = content(p);
        size_t i = 0;
        for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
                line = strtok_r(NULL, "\n", &save), i++) {
                char seq[24], op[32], path[256], base[32] = "", said[400];
                size_t len = strlen(line);
                assert_int_equal(audit_field(line, len, "seq", seq, sizeof(seq)), 0);
                assert_int_equal(atoi(seq), i + 1);
                assert_int_equal(audit_field(line, len, "op", op, sizeof(op)), 0);
                assert_int_equal(audit_field(line, len, "path", path, sizeof(path)), 0);
                bool has_base = audit_field(line, len, "base", base, sizeof(base)) == 0;
                snprintf(said, sizeof(said), "%s %s%s%s", op, path, has_base ? " " : "", base);
                if (i >= n || !streq(said, want[i]))
                        fail_msg("line %zu: %s, not %s", i + 1, said, i < n ? want[i] : "none");
        }
        assert_int_equal(i, n);
}

/* What happened to the feed's name since: 0 when all who may read it could do so from its first moment on. */
static uint32_t changes_of_mode(int inotify)
{
        char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        uint32_t seen = 0;
        ssize_t n;
        while ((n = read(inotify, buf, sizeof(buf))) > 0)
                for (ssize_t at = 0; at < n;) {
                        const struct inotify_event *event = (const void *)(buf + at);
                        if (event->len > 0 && streq(event->name, FEED_FILE))
                                seen |= event->mask;
                        at += (ssize_t)(sizeof(*event) + event->len);
                }
        assert_true(seen & (IN_CREATE | IN_MOVED_TO));
        return seen & IN_ATTRIB;
}

static struct history history(struct place *p, bool live)
{
        return (struct history){.ledger = p->f->l, .audit = p->a, .uid = -1, .feed = live ? p->feed : NULL};
}

static struct ledger_object object(struct place *p, const char *key, enum category c, const char *date)
{
        struct ledger_object o = list(p->f, key, "\"1\"", 1, LISTED_NEW);
        o.category = c;
        o.is_zip = c == CATEGORY_DATABASE;
        strcpy(o.org, "ux");
        strcpy(o.site, o.is_zip ? "" : "edx");
        strcpy(o.date, date);
        snprintf(o.path, sizeof(o.path), o.is_zip ? "ux/database/%s" : "ux/events/edx/2024/%s.log.gz", date);
        assert_int_equal(ledger_save(p->f->l, &o, NULL), 0);
        return o;
}

static void stage_file(const struct history *h, struct ledger_object *o, uint8_t content_byte)
{
        struct error e = {};
        o->has_sha256 = true;
        memset(o->sha256, content_byte, sizeof(o->sha256));
        o->plain_size = content_byte;
        o->state = OBJECT_DECRYPTING;
        if (history_staged(h, *o->staged_etag ? "replaced" : "published", o, NULL, &e) < 0)
                fail_msg("%s", e.text);
}

/* members: "NAME=BYTE ...", "!NAME" was rejected */
static void stage_snapshot(const struct history *h, struct ledger_object *o, const char *members)
{
        struct error e = {};
        _cleanup_(strv_done) struct strv words = {};
        assert_int_equal(strv_split(&words, members), 0);
        struct audit_mark mark;
        assert_int_equal(history_members(h, o, &mark, &e), 0);
        for (size_t i = 0; i < words.n; i++) {
                const char *word = words.v[i];
                struct ledger_member m = {.object_id = o->id, .state = OBJECT_PUBLISHED, .has_sha256 = true};
                if (*word == '!') {
                        m.state = OBJECT_REJECTED;
                        word++;
                }
                size_t n = strcspn(word, "=");
                snprintf(m.name, sizeof(m.name), "ux-%s/%.*s.sql.gpg", o->date, (int)n, word);
                snprintf(m.path, sizeof(m.path), "%.*s.sql", (int)n, word);
                memset(m.sha256, word[n] ? word[n + 1] : 0, sizeof(m.sha256));
                assert_int_equal(history_member(h, o, &m, &e), 0);
        }
        o->state = OBJECT_DECRYPTING;
        if (history_staged(h, *o->staged_etag ? "replaced" : "published", o, &mark, &e) < 0)
                fail_msg("%s", e.text);
}

static const char *const life_lines[] = {
        "published ux/events/edx/2024/2024-07-01.log.gz",
        "published ux/database/2024-06-30/a.sql",
        "published ux/database/2024-06-30/b.sql",
        "snapshot-complete ux/database/2024-06-30 null",
        "replaced ux/events/edx/2024/2024-07-01.log.gz",
        "replaced ux/database/2024-07-07/a.sql",
        "removed ux/database/2024-07-07/b.sql",
        "published ux/database/2024-07-07/c.sql",
        "snapshot-complete ux/database/2024-07-07 2024-06-30",
        "missing ux/events/edx/2024/2024-07-01.log.gz",
        "restored ux/events/edx/2024/2024-07-01.log.gz",
        "replaced ux/database/2024-07-14/a.sql",
        "snapshot-complete ux/database/2024-07-14 2024-07-07",
        "published ux/database/2024-07-21/d.sql",
        "snapshot-complete ux/database/2024-07-21 2024-07-07",
        "removed ux/database/2024-06-30",
        "removed ux/events/edx/2024/2024-07-01.log.gz",
        "published ux/events/edx/2024/2024-07-02.log.gz",
        "removed ux/events/edx/2024/2024-07-02.log.gz",
        "published ux/events/edx/2024/2024-07-02.log",
        "day-complete ux/events-by-course/edx/2024/2024-07-02",
        "day-complete ux/events-by-course/edx/2024/2024-07-02",
        "removed ux/events-by-course/edx/2024/2024-07-02",
        "day-complete ux/events-by-course/edx/2024/2024-07-02",
        "removed ux/events/edx/2024/2024-07-02.log",
        "removed ux/events-by-course/edx/2024/2024-07-02",
};

/* `latest` names that one from now on. */
static void point(struct place *p, const char *date)
{
        struct error e = {};
        _cleanup_free_ char *org = str_printf("%s/ux", p->root), *dir = str_printf("%s/database", org);
        assert_true(mkdir(org, 0750) == 0 || errno == EEXIST);
        assert_true(mkdir(dir, 0750) == 0 || errno == EEXIST);
        if (staging_latest(p->s, "ux/database", date, &e) < 0)
                fail_msg("%s", e.text);
}

static void split(const struct history *h, const struct ledger_object *o, uint8_t content_byte)
{
        struct error e = {};
        struct ledger_split made = {.object_id = o->id, .rule = EVENT_RULE_EDX, .files_size = content_byte};
        snprintf(made.path, sizeof(made.path), "ux/events-by-course/edx/2024/%s", o->date);
        memset(made.sums_sha256, content_byte, sizeof(made.sums_sha256));
        if (history_day(h, o, &made, &e) < 0)
                fail_msg("%s", e.text);
}

static void live(struct place *p, const struct history *h)
{
        struct error e = {};
        struct ledger_object day = object(p, "day", CATEGORY_EVENTS, "2024-07-01"),
                             day2 = object(p, "day2", CATEGORY_EVENTS, "2024-07-02"),
                             first = object(p, "a.zip", CATEGORY_DATABASE, "2024-06-30"),
                             second = object(p, "b.zip", CATEGORY_DATABASE, "2024-07-07"),
                             bad = object(p, "c.zip", CATEGORY_DATABASE, "2024-07-14"),
                             third = object(p, "d.zip", CATEGORY_DATABASE, "2024-07-21");
        stage_file(h, &day, 1);
        stage_snapshot(h, &first, "a=1 b=1");
        point(p, first.date);
        stage_file(h, &day, 2);
        stage_file(h, &day, 2); /* the same once more: no line */
        stage_snapshot(h, &second, "a=2 c=1");
        point(p, second.date);
        day.state = OBJECT_PUBLISHED;
        assert_int_equal(history_missing(h, &day, "missing", &e), 0);
        assert_int_equal(history_staged(h, "adopted", &day, NULL, &e), 0);
        stage_snapshot(h, &bad, "a=3 c=1 !x"); /* not whole: nobody is compared with it */
        stage_snapshot(h, &third, "a=2 c=1 d=1");
        first.state = day.state = OBJECT_PUBLISHED;
        assert_int_equal(history_removed(h, &first, OBJECT_PRUNED, first.path, &e), 0);
        assert_int_equal(history_removed(h, &day, OBJECT_FORGOTTEN, day.path, &e), 0);
        stage_file(h, &day2, 3);
        strcpy(day2.path, "ux/events/edx/2024/2024-07-02.log");
        stage_file(h, &day2, 4);
        split(h, &day2, 5);
        split(h, &day2, 5); /* the same once more: no line */
        split(h, &day2, 6);
        static const char day_path[] = "ux/events-by-course/edx/2024/2024-07-02";
        assert_int_equal(history_day_removed(h, &day2, day_path, &e), 0);
        split(h, &day2, 6);
        day2.state = OBJECT_PUBLISHED;
        assert_int_equal(history_removed(h, &day2, OBJECT_PRUNED, day2.path, &e), 0);
}

static void remove_object(const struct history *h, struct ledger_object *o)
{
        struct error e = {};
        o->state = OBJECT_PUBLISHED;
        if (history_removed(h, o, OBJECT_PRUNED, o->path, &e) < 0)
                fail_msg("%s", e.text);
}

/* Who waits for the name opens the file at once: it must not get its group and mode only afterwards. */
static void readable_from_its_first_moment(void **state)
{
        struct place p;
        open_place(&p, *state);
        const struct history h = history(&p, true);
        struct ledger_object day = object(&p, "day", CATEGORY_EVENTS, "2024-07-01");
        _cleanup_free_ char *org = str_printf("%s/ux", p.root);
        assert_int_equal(mkdir(org, 0750), 0);
        _cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        assert_true(inotify_add_watch(inotify, org, IN_CREATE | IN_MOVED_TO | IN_ATTRIB) >= 0);
        stage_file(&h, &day, 1);
        assert_int_equal(changes_of_mode(inotify), 0);
        close_place(&p);
}

static void a_life(void **state)
{
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        struct history h = history(&p, true);
        live(&p, &h);
        assert_lines(&p, life_lines, ELEMENTSOF(life_lines));
        _cleanup_free_ char *whole = content(&p);
        /* nothing new: nothing is written */
        assert_int_equal(feed_follow(p.feed, &e), 0);
        _cleanup_free_ char *again = content(&p);
        assert_string_equal(again, whole);
        close_place(&p);
}

/* It may stay back though a newer snapshot has no rejected member, and an admin may choose another one. */
static void compared_with_what_latest_named(void **state)
{
        static const char *const want[] = {
                "published ux/database/2024-06-30/a.sql",
                "published ux/database/2024-06-30/b.sql",
                "snapshot-complete ux/database/2024-06-30 null",
                "removed ux/database/2024-07-07/b.sql",
                "snapshot-complete ux/database/2024-07-07 2024-06-30",
                "replaced ux/database/2024-07-14/a.sql",
                "snapshot-complete ux/database/2024-07-14 2024-06-30",
                "replaced ux/database/2024-07-21/b.sql",
                "snapshot-complete ux/database/2024-07-21 2024-07-14",
                "removed ux/database/2024-07-21/b.sql",
                "published ux/database/2024-07-21/c.sql",
                "snapshot-complete ux/database/2024-07-21 2024-07-21",
                "replaced ux/database/2024-07-28/a.sql",
                "removed ux/database/2024-07-28/b.sql",
                "snapshot-complete ux/database/2024-07-28 2024-06-30",
                "removed ux/database/2024-07-28",
                "replaced ux/database/2024-08-04/c.sql",
                "snapshot-complete ux/database/2024-08-04 2024-07-21",
                "removed ux/database/2024-08-04",
                "removed ux/database/2024-07-21",
                "replaced ux/database/2024-08-11/a.sql",
                "published ux/database/2024-08-11/c.sql",
                "snapshot-complete ux/database/2024-08-11 2024-07-14",
        };
        static const char *const dates[] = {"2024-06-30", "2024-07-07", "2024-07-14", "2024-07-21",
                "2024-07-28", "2024-08-04", "2024-08-11"};
        struct place p;
        struct error e = {};
        struct ledger_object o[ELEMENTSOF(dates)];
        open_place(&p, *state);
        struct history h = history(&p, true);
        for (size_t i = 0; i < ELEMENTSOF(dates); i++) {
                _cleanup_free_ char *key = str_printf("%s.zip", dates[i]);
                o[i] = object(&p, key, CATEGORY_DATABASE, dates[i]);
        }
        stage_snapshot(&h, &o[0], "a=1 b=1");
        point(&p, dates[0]);
        stage_snapshot(&h, &o[1], "a=1"); /* a course is lost */
        stage_snapshot(&h, &o[2], "a=2 b=1");
        point(&p, dates[2]);
        stage_snapshot(&h, &o[3], "a=2 b=2");
        point(&p, dates[3]);
        stage_snapshot(&h, &o[3], "a=2 c=1"); /* written anew */
        point(&p, dates[0]);                  /* an admin, back to one of long ago */
        stage_snapshot(&h, &o[4], "a=2");
        point(&p, dates[4]);
        remove_object(&h, &o[4]);
        point(&p, dates[3]);
        stage_snapshot(&h, &o[5], "a=2 c=2");
        remove_object(&h, &o[5]);
        remove_object(&h, &o[3]);
        /* `latest` names one that is not there any more: compared with the last one that is */
        stage_snapshot(&h, &o[6], "a=3 b=1 c=1");
        assert_lines(&p, want, ELEMENTSOF(want));
        /* with the links of today the same comes of the record */
        _cleanup_free_ char *whole = content(&p), *path = str_printf("%s/ux/" FEED_FILE, p.root);
        assert_int_equal(unlink(path), 0);
        feed_free(p.feed);
        open_feed(&p);
        assert_int_equal(feed_check(p.feed, &e), 0);
        _cleanup_free_ char *again = content(&p);
        assert_string_equal(again, whole);
        close_place(&p);
}

/* All of it at once, as after an update, gives the same. */
static void followed_later(void **state)
{
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        struct history h = history(&p, false);
        live(&p, &h);
        assert_int_equal(feed_check(p.feed, &e), 0);
        assert_lines(&p, life_lines, ELEMENTSOF(life_lines));
        close_place(&p);
}

/* Cut anywhere, also to nothing, or torn behind its end: the next start makes the same of it. */
static void lost_or_cut(void **state)
{
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        struct history h = history(&p, true);
        live(&p, &h);
        _cleanup_free_ char *whole = content(&p);
        size_t n = strlen(whole);
        for (size_t k = 0; k <= n + 8; k += k + 40 < n ? 37 : 1) {
                _cleanup_free_ char *text = str_printf("%.*s%s", (int)k, whole, k > n ? "{\"seq\":99" : "");
                overwrite(&p, text);
                feed_free(p.feed);
                open_feed(&p);
                assert_int_equal(feed_follow(p.feed, &e), 0);
                _cleanup_free_ char *now = content(&p);
                assert_string_equal(now, whole);
        }
        _cleanup_free_ char *path = str_printf("%s/ux/" FEED_FILE, p.root);
        assert_int_equal(unlink(path), 0);
        feed_free(p.feed);
        open_feed(&p);
        assert_int_equal(feed_follow(p.feed, &e), 0);
        _cleanup_free_ char *now = content(&p);
        assert_string_equal(now, whole);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        close_place(&p);
}

/* Somebody cuts it, or removes it, while czard runs: the next event makes all of it again, and its own line
 * is there once. */
static void lost_under_us(void **state)
{
        struct place p;
        open_place(&p, *state);
        struct history h = history(&p, true);
        live(&p, &h);
        _cleanup_free_ char *path = str_printf("%s/ux/" FEED_FILE, p.root);
        for (int i = 0; i < 2; i++) {
                _cleanup_free_ char *whole = content(&p), *key = str_printf("2024-09-0%d", i + 1);
                _cleanup_free_ char *text = str_printf("%.*s", (int)(strchr(whole, '\n') + 1 - whole), whole);
                struct ledger_object late = object(&p, key, CATEGORY_EVENTS, key);
                if (i == 0)
                        overwrite(&p, text);
                else
                        assert_int_equal(unlink(path), 0);
                stage_file(&h, &late, 9);
                _cleanup_free_ char *now = content(&p);
                assert_memory_equal(now, whole, strlen(whole));
                assert_non_null(strstr(now + strlen(whole), key));
                assert_ptr_equal(strchr(now + strlen(whole), '\n'), now + strlen(now) - 1);
        }
        close_place(&p);
}

/* And when no event comes, it is looked at. */
static void looked_at(void **state)
{
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        struct history h = history(&p, true);
        live(&p, &h);
        _cleanup_free_ char *whole = content(&p), *path = str_printf("%s/ux/" FEED_FILE, p.root);
        for (int i = 0; i < 3; i++) {
                if (i == 1)
                        assert_int_equal(unlink(path), 0);
                else if (i == 2)
                        assert_int_equal(truncate(path, (off_t)strlen(whole) / 2), 0);
                assert_int_equal(feed_look(p.feed, &e), i > 0);
                _cleanup_free_ char *now = content(&p);
                assert_string_equal(now, whole);
        }
        close_place(&p);
}

struct faults {
        unsigned n;
        char what[16], text[300];
};

static void on_fault(void *arg, const char *path, const char *what, const char *text)
{
        struct faults *f = arg;
        assert_string_equal(path, "ux/" FEED_FILE);
        if (!what)
                return;
        snprintf(f->what, sizeof(f->what), "%s", what);
        snprintf(f->text, sizeof(f->text), "%s", text);
        f->n++;
}

/* "WHAT: TEXT" of the one fault that the feed has with that content, NULL: removed; or "". */
static void assert_fault(struct place *p, const char *text, const char *want)
{
        struct error e = {};
        struct faults f = {};
        _cleanup_free_ char *path = str_printf("%s/ux/" FEED_FILE, p->root), *said = NULL;
        if (text)
                overwrite(p, text);
        else
                assert_int_equal(unlink(path), 0);
        if (feed_verify(p->s, p->state_fd, on_fault, &f, &e) < 0)
                fail_msg("%s", e.text);
        said = str_printf("%s: %s", f.what, f.text);
        if (f.n != (*want != 0) || (f.n > 0 && !str_after(said, want)))
                fail_msg("%u: %s, not %s", f.n, said, want);
}

/* Any byte that is another one, any line too many or too few is seen, and by its number. */
static void compared_with_the_record(void **state)
{
        struct place p;
        open_place(&p, *state);
        struct history h = history(&p, true);
        live(&p, &h);
        char want[64];
        _cleanup_free_ char *whole = content(&p), *more = str_printf("%s{\"seq\":27}\n{", whole),
                            *without_first = strdup(strchr(whole, '\n') + 1);
        unsigned line = 1;
        assert_fault(&p, whole, "");
        for (size_t i = 0; whole[i]; line += whole[i++] == '\n') {
                if ((i % 23 != 0 && whole[i] != '\n') || !whole[i + 1])
                        continue;
                _cleanup_free_ char *other = strdup(whole);
                other[i] ^= 1;
                snprintf(want, sizeof(want), "altered: line %u is not what", line);
                assert_fault(&p, other, want);
        }
        assert_fault(&p, without_first, "altered: line 1 is not what");
        assert_fault(&p, more, ""); /* the record may have more by now */
        char *last = strrchr(whole, '{');
        *last = 0;
        assert_fault(&p, whole, "altered: it ends with line 25, and the audit record gives 26");
        assert_fault(&p, NULL, "missing: ");
        close_place(&p);
}

/* What begins in the middle gives other numbers: nothing is said of the feed then. */
static void compared_with_a_part_of_the_record(void **state)
{
        struct place p;
        struct error e = {};
        struct faults f = {};
        open_place(&p, *state);
        struct history h = history(&p, true);
        live(&p, &h);
        _cleanup_free_ char *record = path_in(p.f, "audit.jsonl"), *part = path_in(p.f, "audit-2024.jsonl"),
                            *away = path_in(p.f, "away");
        p.feed = feed_free(p.feed);
        p.a = audit_free(p.a);
        assert_int_equal(rename(record, part), 0);
        assert_int_equal(audit_open(p.state_fd, &p.a, &e), 0);
        open_feed(&p);
        h = history(&p, true);
        struct ledger_object late = object(&p, "late", CATEGORY_EVENTS, "2024-09-01");
        stage_file(&h, &late, 3);
        assert_int_equal(feed_verify(p.s, p.state_fd, on_fault, &f, &e), 0);
        assert_int_equal(rename(part, away), 0);
        assert_int_equal(feed_verify(p.s, p.state_fd, on_fault, &f, &e), -ENODATA);
        assert_non_null(strstr(e.text, "begins with entry"));
        assert_int_equal(f.n, 0);
        close_place(&p);
}

/* Nobody knows the numbers then: all else goes on, and the feed once the record is whole again. */
static void lost_while_a_part_is_elsewhere(void **state)
{
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        struct history h = history(&p, true);
        live(&p, &h);
        _cleanup_free_ char *record = path_in(p.f, "audit.jsonl"), *part = path_in(p.f, "audit-2024.jsonl"),
                            *away = path_in(p.f, "away"), *path = str_printf("%s/ux/" FEED_FILE, p.root);
        p.feed = feed_free(p.feed);
        p.a = audit_free(p.a);
        assert_int_equal(rename(record, part), 0);
        assert_int_equal(audit_open(p.state_fd, &p.a, &e), 0);
        open_feed(&p);
        h = history(&p, true);
        struct ledger_object first = object(&p, "first", CATEGORY_EVENTS, "2024-09-01"),
                             late = object(&p, "late", CATEGORY_EVENTS, "2024-09-02");
        stage_file(&h, &first, 3);
        _cleanup_free_ char *whole = content(&p);
        assert_int_equal(rename(part, away), 0);
        size_t n = strlen(whole) - 1;
        while (whole[n - 1] != '\n')
                n--;
        assert_int_equal(truncate(path, (off_t)n), 0);
        assert_int_equal(feed_look(p.feed, &e), -ENODATA);
        assert_non_null(strstr(e.text, "put what was moved elsewhere back"));
        stage_file(&h, &late, 3);
        _cleanup_free_ char *cut = content(&p);
        assert_int_equal(strlen(cut), n);
        assert_int_equal(rename(away, part), 0);
        assert_int_equal(feed_look(p.feed, &e), 1);
        _cleanup_free_ char *now = content(&p);
        assert_int_equal(strncmp(now, whole, strlen(whole)), 0);
        assert_non_null(strstr(now + strlen(whole), "2024-09-02"));
        close_place(&p);
}

/* What somebody put at its name is kept aside; a group and a mode that somebody set are set again. */
static void meddled_with(void **state)
{
        struct place p;
        struct stat before, st;
        open_place(&p, *state);
        struct history h = history(&p, true);
        live(&p, &h);
        _cleanup_free_ char *path = str_printf("%s/ux/" FEED_FILE, p.root),
                            *other = str_printf("%s/other", p.root), *below = str_printf("%s/x", path),
                            *aside = str_printf("%s/ux/.CHANGES.jsonl.aside/x", p.root);
        assert_int_equal(stat(path, &before), 0);
        for (int i = 0; i < 4; i++) {
                _cleanup_free_ char *whole = content(&p), *key = str_printf("2024-09-0%d", i + 1);
                struct ledger_object late = object(&p, key, CATEGORY_EVENTS, key);
                if (i < 2)
                        assert_int_equal(unlink(path), 0);
                if (i == 0)
                        assert_int_equal(symlink(other, path), 0);
                else if (i == 1)
                        assert_true(mkdir(path, 0750) == 0 && mkdir(below, 0750) == 0);
                else if (i == 2)
                        assert_int_equal(chmod(path, 0), 0);
                else
                        assert_true(chmod(path, 0666) == 0 && (geteuid() != 0 || chown(path, 0, 1) == 0));
                stage_file(&h, &late, 9);
                _cleanup_free_ char *now = content(&p);
                assert_memory_equal(now, whole, strlen(whole));
                assert_non_null(strstr(now + strlen(whole), key));
                assert_int_equal(lstat(path, &st), 0);
                assert_int_equal(st.st_mode, S_IFREG | 0640);
                assert_int_equal(st.st_gid, before.st_gid);
        }
        assert_true(access(other, F_OK) < 0 && access(aside, F_OK) == 0);
        close_place(&p);
}

/* A snapshot that was found missing and is fetched again. */
static void restored_by_fetching(void **state)
{
        static const char *const want[] = {
                "published ux/database/2024-06-30/a.sql",
                "snapshot-complete ux/database/2024-06-30 null",
                "missing ux/database/2024-06-30",
                "restored ux/database/2024-06-30",
                "snapshot-complete ux/database/2024-06-30 2024-06-30",
                "replaced ux/database/2024-06-30/a.sql",
                "snapshot-complete ux/database/2024-06-30 2024-06-30",
        };
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        struct history h = history(&p, true);
        struct ledger_object o = object(&p, "a.zip", CATEGORY_DATABASE, "2024-06-30");
        stage_snapshot(&h, &o, "a=1");
        point(&p, o.date);
        o.state = OBJECT_PUBLISHED;
        assert_int_equal(history_missing(&h, &o, "not there", &e), 0);
        stage_snapshot(&h, &o, "a=1");
        stage_snapshot(&h, &o, "a=2");
        assert_lines(&p, want, ELEMENTSOF(want));
        close_place(&p);
}

static void day_missing(const struct history *h, const struct ledger_object *o)
{
        struct error e = {};
        _cleanup_free_ char *path = str_printf("ux/events-by-course/edx/2024/%s", o->date);
        if (history_day_missing(h, o, path, "altered", &e) < 0)
                fail_msg("%s", e.text);
}

/* A day by course that is not as it was made, and is made again. */
static void a_day_by_course_is_lost(void **state)
{
        static const char *const want[] = {
                "published ux/events/edx/2024/2024-07-01.log.gz",
                "day-complete ux/events-by-course/edx/2024/2024-07-01",
                "missing ux/events-by-course/edx/2024/2024-07-01",
                "restored ux/events-by-course/edx/2024/2024-07-01",
                "missing ux/events-by-course/edx/2024/2024-07-01",
                "day-complete ux/events-by-course/edx/2024/2024-07-01",
                "missing ux/events-by-course/edx/2024/2024-07-01",
                "removed ux/events/edx/2024/2024-07-01.log.gz",
                "removed ux/events-by-course/edx/2024/2024-07-01",
        };
        struct place p;
        open_place(&p, *state);
        struct history h = history(&p, true);
        struct ledger_object day = object(&p, "day", CATEGORY_EVENTS, "2024-07-01");
        stage_file(&h, &day, 1);
        split(&h, &day, 5);
        day_missing(&h, &day);
        day_missing(&h, &day); /* known */
        split(&h, &day, 5);
        split(&h, &day, 5);
        day_missing(&h, &day);
        split(&h, &day, 6);
        day_missing(&h, &day);
        remove_object(&h, &day);
        assert_lines(&p, want, ELEMENTSOF(want));
        close_place(&p);
}

static void reopen_record(struct place *p)
{
        struct error e = {};
        p->feed = feed_free(p->feed);
        p->a = audit_free(p->a);
        assert_int_equal(audit_open(p->state_fd, &p->a, &e), 0);
        open_feed(p);
        if (history_open(p->f->l, p->a, p->state_fd, 255, &e) < 0 || feed_check(p->feed, &e) < 0)
                fail_msg("%s", e.text);
}

/* The record is put back from an older copy, the ledger with it (or it is lost) or not: what was told stays
 * told, what comes has the next number, and is told against what whoever follows has. */
static void put_back_older(void **state, bool with_ledger)
{
        static const char *const want[] = {
                "published ux/events/edx/2024/2024-07-01.log.gz",
                "published ux/events/edx/2024/2024-07-02.log.gz",
                "removed ux/events/edx/2024/2024-07-01.log.gz",
                "published ux/database/2024-06-30/a.sql",
                "snapshot-complete ux/database/2024-06-30 null",
                "published ux/events/edx/2024/2024-09-01.log.gz",
                "missing ux/events/edx/2024/2024-07-02.log.gz",
        };
        struct place p;
        struct error e = {};
        size_t size;
        open_place(&p, *state);
        _cleanup_free_ char *record = path_in(p.f, "audit.jsonl"), *old = NULL;
        struct history h = history(&p, true);
        struct ledger_object day2 = object(&p, "day2", CATEGORY_EVENTS, "2024-07-02"),
                             day = object(&p, "day", CATEGORY_EVENTS, "2024-07-01");
        stage_file(&h, &day, 1);
        assert_int_equal(read_file_at(AT_FDCWD, record, 1 << 20, &old, &size), 0);
        stage_file(&h, &day2, 2);
        remove_object(&h, &day);
        struct ledger_object first = object(&p, "a.zip", CATEGORY_DATABASE, "2024-06-30");
        stage_snapshot(&h, &first, "a=1");
        _cleanup_free_ char *whole = content(&p);

        _cleanup_close_ int fd = open(record, O_WRONLY | O_TRUNC);
        assert_int_equal(write_all(fd, old, size), 0);
        if (with_ledger) {
                assert_int_equal(feed_start_over(p.f->l, &e), 0);
                assert_int_equal(ledger_set_audit_tail(p.f->l, &(struct audit_tail){}, &e), 0);
        }
        reopen_record(&p);
        _cleanup_free_ char *same = content(&p);
        assert_string_equal(same, whole);
        h = history(&p, true);
        /* what is staged already is fetched once more: nobody needs to know */
        stage_file(&h, &day2, 2);
        /* and what was removed is found not to be there */
        day.state = OBJECT_PUBLISHED;
        assert_int_equal(history_missing(&h, &day, "not there", &e), 0);
        _cleanup_free_ char *still = content(&p);
        assert_string_equal(still, whole);
        struct ledger_object late = object(&p, "late", CATEGORY_EVENTS, "2024-09-01");
        stage_file(&h, &late, 3);
        day2.state = OBJECT_PUBLISHED;
        assert_int_equal(history_missing(&h, &day2, "not there", &e), 0);
        assert_lines(&p, want, ELEMENTSOF(want));
        _cleanup_free_ char *all = content(&p), *path = str_printf("%s/ux/" FEED_FILE, p.root);
        assert_memory_equal(all, whole, strlen(whole));
        /* the record alone gives all of it */
        assert_int_equal(unlink(path), 0);
        reopen_record(&p);
        _cleanup_free_ char *again = content(&p);
        assert_string_equal(again, all);
        /* lines that do not follow each other are nobody's */
        _cleanup_free_ char *holed = str_printf("%s{\"seq\":99,\"op\":\"removed\"}\n", all);
        overwrite(&p, holed);
        reopen_record(&p);
        _cleanup_free_ char *mended = content(&p);
        assert_string_equal(mended, all);
        close_place(&p);
}

/* What only the feed knew is known by its place: in the other events_format it is the same file; a day by
 * course that was restored is one. */
static void told_and_then_changed(void **state)
{
        static const char *const want[] = {
                "published ux/events/edx/2024/2024-07-01.log.gz",
                "day-complete ux/events-by-course/edx/2024/2024-07-01",
                "missing ux/events-by-course/edx/2024/2024-07-01",
                "restored ux/events-by-course/edx/2024/2024-07-01",
                "removed ux/events/edx/2024/2024-07-01.log.gz",
                "published ux/events/edx/2024/2024-07-01.log",
                "missing ux/events-by-course/edx/2024/2024-07-01",
                "removed ux/events/edx/2024/2024-07-01.log",
                "removed ux/events-by-course/edx/2024/2024-07-01",
        };
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        _cleanup_free_ char *record = path_in(p.f, "audit.jsonl");
        struct history h = history(&p, true);
        struct ledger_object day = object(&p, "day", CATEGORY_EVENTS, "2024-07-01");
        stage_file(&h, &day, 1);
        split(&h, &day, 5);
        day_missing(&h, &day);
        split(&h, &day, 5);
        /* the record and what the ledger had of it are lost */
        assert_int_equal(truncate(record, 0), 0);
        assert_int_equal(feed_start_over(p.f->l, &e), 0);
        assert_int_equal(ledger_set_audit_tail(p.f->l, &(struct audit_tail){}, &e), 0);
        reopen_record(&p);
        h = history(&p, true);
        strcpy(day.path, "ux/events/edx/2024/2024-07-01.log");
        stage_file(&h, &day, 4);
        day_missing(&h, &day);
        remove_object(&h, &day);
        assert_lines(&p, want, ELEMENTSOF(want));
        close_place(&p);
}

/* An organisation whose folder had another name: the lines in it are about the other one, and none of its
 * own is taken for one that is there already. */
static void a_folder_of_another_name(void **state)
{
        struct place p;
        char line[256];
        open_place(&p, *state);
        struct history h = history(&p, true);
        struct ledger_object day = object(&p, "day", CATEGORY_EVENTS, "2024-07-01"),
                             mine = object(&p, "mine", CATEGORY_EVENTS, "2024-07-02");
        stage_file(&h, &day, 1);
        stage_file(&h, &day, 2);
        snprintf(line, sizeof(line), "cd %s && cp -a ux uy", p.root);
        assert_int_equal(system(line), 0);
        for (int i = 0; i < 2; i++) {
                /* at once, and once more as a feed that was lost and is made again */
                strcpy(mine.org, "uy");
                strcpy(mine.path, "uy/events/edx/2024/2024-07-02.log.gz");
                if (i == 0)
                        stage_file(&h, &mine, 3);
                snprintf(line, sizeof(line),
                        "cd %s && test $(wc -l <uy/" FEED_FILE ") = 1 && grep -q "
                        "'^{\"seq\":1,.*\"published\".*uy/events' uy/" FEED_FILE " && cp ux/" FEED_FILE
                        " uy/" FEED_FILE,
                        p.root);
                if (system(line) != 0)
                        fail_msg("round %d: %s", i, line);
                reopen_record(&p);
                h = history(&p, true);
        }
        close_place(&p);
}

/* Who copies an organisation's folder beside it makes no organisation of that name. */
static void a_copy_of_the_folder(void **state)
{
        struct place p;
        char line[256];
        size_t before, after;
        open_place(&p, *state);
        struct history h = history(&p, true);
        struct ledger_object day = object(&p, "day", CATEGORY_EVENTS, "2024-07-01");
        stage_file(&h, &day, 1);
        _cleanup_free_ char *record = path_in(p.f, "audit.jsonl"), *whole = content(&p), *old = NULL,
                            *new = NULL;
        assert_int_equal(read_file_at(AT_FDCWD, record, 1 << 20, &old, &before), 0);
        snprintf(line, sizeof(line), "cd %s && cp -a ux ux.old && cp -a ux uxx", p.root);
        assert_int_equal(system(line), 0);
        reopen_record(&p);
        assert_int_equal(read_file_at(AT_FDCWD, record, 1 << 20, &new, &after), 0);
        assert_int_equal(after, before);
        _cleanup_free_ char *same = content(&p);
        assert_string_equal(same, whole);
        snprintf(line, sizeof(line), "cd %s && cmp ux/" FEED_FILE " ux.old/" FEED_FILE, p.root);
        assert_int_equal(system(line), 0);
        close_place(&p);
}

static void an_older_record(void **state)
{
        put_back_older(state, false);
}

static void an_older_record_and_its_ledger(void **state)
{
        put_back_older(state, true);
}

/* A crash, or a ledger that gave up, came after the file was written and before the tables were: what is
 * there already is not said again, and what comes has the next number. */
static void the_tables_are_behind(void **state)
{
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        struct history h = history(&p, true);
        struct ledger_object a = object(&p, "a", CATEGORY_EVENTS, "2024-07-01"),
                             b = object(&p, "b", CATEGORY_EVENTS, "2024-07-02");
        static const char *const want[] = {"published ux/events/edx/2024/2024-07-01.log.gz",
                "published ux/events/edx/2024/2024-07-02.log.gz"};
        assert_int_equal(ledger_begin(p.f->l, &e), 0);
        stage_file(&h, &a, 1);
        ledger_rollback(p.f->l);
        assert_lines(&p, want, 1);
        /* it goes on, and publishes the file once more */
        a.staged_etag[0] = 0;
        stage_file(&h, &a, 1);
        assert_lines(&p, want, 1);
        assert_int_equal(ledger_begin(p.f->l, &e), 0);
        ledger_rollback(p.f->l);
        feed_free(p.feed);
        open_feed(&p);
        h.feed = p.feed;
        assert_int_equal(feed_check(p.feed, &e), 0);
        assert_lines(&p, want, 1);
        stage_file(&h, &b, 1);
        assert_lines(&p, want, 2);
        close_place(&p);
}

/* What the czard before this feed wrote: members without a line before them. */
static void a_record_of_the_version_before(void **state)
{
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        _cleanup_free_ char *data = NULL, *file = path_in(p.f, "audit.jsonl");
        size_t n = 0;
        p.feed = feed_free(p.feed);
        p.a = audit_free(p.a);
        assert_int_equal(read_file_at(AT_FDCWD, FIXTURES "/audit-v1.jsonl", 1 << 20, &data, &n), 0);
        _cleanup_close_ int fd = open(file, O_WRONLY | O_TRUNC);
        assert_int_equal(write_all(fd, data, n), 0);
        assert_int_equal(audit_open(p.state_fd, &p.a, &e), 0);
        open_feed(&p);
        if (feed_check(p.feed, &e) < 0)
                fail_msg("%s", e.text);
        char *text = NULL;
        _cleanup_free_ char *path = str_printf("%s/universityx/" FEED_FILE, p.root);
        assert_int_equal(read_file_at(AT_FDCWD, path, 1 << 20, &text, &n), 0);
        size_t complete = 0, lines = 0;
        for (const char *at = text; (at = strchr(at, '\n')); at++)
                lines++;
        for (const char *at = text; (at = strstr(at, "\"snapshot-complete\"")); at++)
                complete++;
        free(text);
        /* four archives were published, one of them twice; each said its two or three tables of a course */
        assert_int_equal(complete, 4);
        assert_true(lines > complete);
        close_place(&p);
}

static void count(void *arg)
{
        ++*(unsigned *)arg;
}

/* Whoever waits for it hears that it goes on. */
static void made_in_pieces(void **state)
{
        struct place p;
        struct error e = {};
        unsigned n = 0;
        open_place(&p, *state);
        const struct history h = history(&p, true);
        live(&p, &h);
        const struct audit_entry entry = {.event = "poll", .size = -1, .mtime = -1, .uid = -1};
        for (int i = 0; i < 3 * FEED_PIECE; i++)
                assert_int_equal(audit_append(p.a, &entry, &e), 0);
        assert_int_equal(audit_sync(p.a, &e), 0);
        overwrite(&p, "");
        feed_each_piece(p.feed, count, &n);
        assert_int_equal(feed_look(p.feed, &e), 1);
        assert_true(n >= 3);
        close_place(&p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_life, setup, teardown),
                cmocka_unit_test_setup_teardown(readable_from_its_first_moment, setup, teardown),
                cmocka_unit_test_setup_teardown(compared_with_what_latest_named, setup, teardown),
                cmocka_unit_test_setup_teardown(followed_later, setup, teardown),
                cmocka_unit_test_setup_teardown(lost_or_cut, setup, teardown),
                cmocka_unit_test_setup_teardown(lost_under_us, setup, teardown),
                cmocka_unit_test_setup_teardown(compared_with_the_record, setup, teardown),
                cmocka_unit_test_setup_teardown(compared_with_a_part_of_the_record, setup, teardown),
                cmocka_unit_test_setup_teardown(lost_while_a_part_is_elsewhere, setup, teardown),
                cmocka_unit_test_setup_teardown(looked_at, setup, teardown),
                cmocka_unit_test_setup_teardown(made_in_pieces, setup, teardown),
                cmocka_unit_test_setup_teardown(meddled_with, setup, teardown),
                cmocka_unit_test_setup_teardown(restored_by_fetching, setup, teardown),
                cmocka_unit_test_setup_teardown(a_day_by_course_is_lost, setup, teardown),
                cmocka_unit_test_setup_teardown(told_and_then_changed, setup, teardown),
                cmocka_unit_test_setup_teardown(a_folder_of_another_name, setup, teardown),
                cmocka_unit_test_setup_teardown(a_copy_of_the_folder, setup, teardown),
                cmocka_unit_test_setup_teardown(an_older_record, setup, teardown),
                cmocka_unit_test_setup_teardown(an_older_record_and_its_ledger, setup, teardown),
                cmocka_unit_test_setup_teardown(the_tables_are_behind, setup, teardown),
                cmocka_unit_test_setup_teardown(a_record_of_the_version_before, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
