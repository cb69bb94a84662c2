/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "ledger_internal.h"
#include "str.h"
#include "timespan.h"

struct fixture {
        char dir[64];
        struct ledger *l;
};

static void remove_dir(const char *dir)
{
        _cleanup_closedir_ DIR *d = opendir(dir);
        for (struct dirent *e; d && (e = readdir(d));)
                (void)unlinkat(dirfd(d), e->d_name, 0);
        (void)rmdir(dir);
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        strcpy(f->dir, "/tmp/czard-ledger-XXXXXX");
        if (!mkdtemp(f->dir) || ledger_open(f->dir, &f->l, NULL) < 0)
                return -1;
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        ledger_free(f->l);
        remove_dir(f->dir);
        free(f);
        return 0;
}

static char *path_in(const struct fixture *f, const char *name)
{
        char *p = str_printf("%s/%s", f->dir, name);
        assert_non_null(p);
        return p;
}

static int reopen(struct fixture *f, struct error *e)
{
        f->l = ledger_free(f->l);
        return ledger_open(f->dir, &f->l, e);
}

/* Runs SQL behind the ledger's back, as a damaged or hostile file would have it. */
static void meddle(struct fixture *f, const char *sql)
{
        _cleanup_free_ char *path = path_in(f, "ledger.db");
        sqlite3 *db;
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        int on = 1;
        sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
        char *message = NULL;
        if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
                fail_msg("%s: %s", sql, message);
        sqlite3_close(db);
}

static struct ledger_object an_object(const char *key, const char *etag)
{
        struct ledger_object o = {.size = 100, .last_modified = 1720000000, .category = CATEGORY_EVENTS};
        strcpy(o.bucket, "edx-course-data");
        snprintf(o.key, sizeof(o.key), "%s", key);
        snprintf(o.etag, sizeof(o.etag), "%s", etag);
        strcpy(o.org, "universityx");
        strcpy(o.site, "edx");
        strcpy(o.date, "2024-07-07");
        return o;
}

static struct ledger_object list(
        struct fixture *f, const char *key, const char *etag, int64_t generation, enum listed want)
{
        struct ledger_object o = an_object(key, etag);
        enum listed got = (enum listed)99;
        struct error e = {};
        if (ledger_listed(f->l, &o, generation, &got, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(got, want);
        return o;
}

static enum object_state state_of(struct fixture *f, const char *key)
{
        struct ledger_object o;
        assert_int_equal(ledger_find(f->l, "edx-course-data", key, &o, NULL), 0);
        return o.state;
}

/* Makes a listed object PUBLISHED. */
static void publish(struct fixture *f, struct ledger_object *o)
{
        assert_int_equal(ledger_enter(f->l, o, OBJECT_FETCHING, NULL), 0);
        assert_int_equal(ledger_enter(f->l, o, OBJECT_DECRYPTING, NULL), 0);
        strcpy(o->staged_etag, o->etag);
        snprintf(o->path, sizeof(o->path), "universityx/%s", o->date);
        assert_int_equal(ledger_enter(f->l, o, OBJECT_PUBLISHED, NULL), 0);
}

static void names_and_numbers_of_states_stay(void **state)
{
        (void)state;
        /* the numbers stand in ledgers out there */
        static const char *const want[] = {"NEW", "FETCHING", "DECRYPTING", "PUBLISHED", "RETRY", "REJECTED",
                "IGNORED", "GONE", "MISSING", "FORGOTTEN", "PRUNED"};
        assert_int_equal(OBJECT_STATE_MAX, ELEMENTSOF(want));
        for (unsigned i = 0; i < ELEMENTSOF(want); i++) {
                assert_string_equal(object_state_name((enum object_state)i), want[i]);
                assert_int_equal(object_state_from_name(want[i]), i);
        }
        assert_int_equal(object_state_from_name("new"), OBJECT_STATE_MAX);
}

static void edges(void **state)
{
        (void)state;
        static const struct {
                enum object_state from, to;
                bool may;
        } rows[] = {
                {OBJECT_NEW, OBJECT_FETCHING, true},
                {OBJECT_FETCHING, OBJECT_DECRYPTING, true},
                {OBJECT_DECRYPTING, OBJECT_PUBLISHED, true},
                {OBJECT_FETCHING, OBJECT_PUBLISHED, false},
                {OBJECT_RETRY, OBJECT_FETCHING, true},
                {OBJECT_RETRY, OBJECT_PUBLISHED, false},
                {OBJECT_REJECTED, OBJECT_FETCHING, false},
                {OBJECT_PUBLISHED, OBJECT_MISSING, true},
                {OBJECT_PUBLISHED, OBJECT_FETCHING, false},
                {OBJECT_PUBLISHED, OBJECT_REJECTED, false},
                {OBJECT_MISSING, OBJECT_FETCHING, false},
                {OBJECT_MISSING, OBJECT_PUBLISHED, true},
                {OBJECT_MISSING, OBJECT_GONE, false},
                {OBJECT_FORGOTTEN, OBJECT_GONE, false},
                {OBJECT_PRUNED, OBJECT_FETCHING, false},
                {OBJECT_GONE, OBJECT_PUBLISHED, true},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(object_may_enter(rows[i].from, rows[i].to), rows[i].may);
        for (enum object_state s = 0; s < OBJECT_STATE_MAX; s++) {
                assert_true(object_may_enter(s, OBJECT_NEW));
                assert_true(object_may_enter(s, OBJECT_FORGOTTEN));
                assert_false(object_may_enter(s, OBJECT_STATE_MAX));
        }
}

static void checks_in_words(void **state)
{
        (void)state;
        char text[200];
        assert_string_equal(checks_format(0, text, sizeof(text)), "");
        assert_string_equal(
                checks_format(CHECK_TLS | CHECK_INTEGRITY | CHECK_NO_CHECKSUM | CHECK_NO_SIGNATURE, text,
                        sizeof(text)),
                "tls integrity (not: checksum signature)");
        assert_string_equal(checks_format(CHECK_NO_ETAG, text, sizeof(text)), "(not: etag)");
        assert_string_equal(checks_format(CHECK_TLS | CHECK_SIZE, text, 6), "tls s");
}

static void every_field_comes_back(void **state)
{
        struct fixture *f = *state;
        struct ledger_object o = list(f, "universityx/edx/a", "\"e1\"", 1, LISTED_NEW), back;
        assert_true(o.id > 0 && o.first_seen > 0);
        assert_int_equal(o.state, OBJECT_NEW);
        assert_int_equal(o.plain_size, -1);
        o.is_zip = true;
        strcpy(o.request, "req-1");
        strcpy(o.path, "universityx/database/2024-07-07");
        o.plain_size = 12345;
        o.has_sha256 = true;
        memset(o.sha256, 0xa5, sizeof(o.sha256));
        o.checks = CHECK_TLS | CHECK_NO_SIGNATURE;
        strcpy(o.fingerprint, "0123456789ABCDEF");
        strcpy(o.staged_etag, "\"e0\"");
        o.cause = CAUSE_BAD_MDC;
        strcpy(o.detail, "why; 'quoted' \"text\" ü");
        o.attempts = 7;
        o.next_try = 1720000001;
        o.published_at = 1720000002;
        o.size = INT64_MAX;
        assert_int_equal(ledger_save(f->l, &o, NULL), 0);
        assert_int_equal(reopen(f, NULL), 0);
        assert_int_equal(ledger_get(f->l, o.id, &back, NULL), 0);
        assert_memory_equal(&back, &o, sizeof(o));
        assert_int_equal(ledger_find(f->l, o.bucket, o.key, &back, NULL), 0);
        assert_int_equal(back.id, o.id);
        assert_int_equal(ledger_get(f->l, o.id + 1, &back, NULL), -ENOENT);
        assert_int_equal(ledger_find(f->l, "other", o.key, &back, NULL), -ENOENT);
        o.size = (uint64_t)INT64_MAX + 1;
        assert_int_equal(ledger_save(f->l, &o, NULL), -ERANGE);
}

static void listed_again_and_replaced(void **state)
{
        struct fixture *f = *state;
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW), again;
        publish(f, &o);
        again = list(f, "k", "\"1\"", 2, LISTED_SAME);
        assert_int_equal(again.state, OBJECT_PUBLISHED);
        assert_int_equal(again.id, o.id);

        o.attempts = 3;
        o.cause = CAUSE_TIMEOUT;
        o.next_try = 99;
        assert_int_equal(ledger_save(f->l, &o, NULL), 0);
        again = list(f, "k", "\"2\"", 3, LISTED_REPLACED);
        assert_int_equal(again.state, OBJECT_NEW);
        assert_string_equal(again.etag, "\"2\"");
        assert_string_equal(again.staged_etag, "\"1\"");
        assert_string_equal(again.path, o.path);
        assert_int_equal(again.attempts, 0);
        assert_int_equal(again.next_try, 0);
        assert_int_equal(again.cause, CAUSE_NONE);
        list(f, "k", "\"2\"", 4, LISTED_SAME);
}

static void forgotten_and_pruned_stay_when_replaced(void **state)
{
        struct fixture *f = *state;
        struct ledger_object a = list(f, "a", "\"1\"", 1, LISTED_NEW),
                             b = list(f, "b", "\"1\"", 1, LISTED_NEW);
        assert_int_equal(ledger_enter(f->l, &a, OBJECT_FORGOTTEN, NULL), 0);
        assert_int_equal(ledger_enter(f->l, &b, OBJECT_PRUNED, NULL), 0);
        a = list(f, "a", "\"2\"", 2, LISTED_REPLACED);
        b = list(f, "b", "\"2\"", 2, LISTED_REPLACED);
        assert_int_equal(a.state, OBJECT_FORGOTTEN);
        assert_int_equal(b.state, OBJECT_PRUNED);
        assert_string_equal(a.etag, "\"2\"");
}

static void gone_and_back(void **state)
{
        struct fixture *f = *state;
        struct ledger_object staged = list(f, "p/staged", "\"1\"", 1, LISTED_NEW);
        publish(f, &staged);
        list(f, "p/plain", "\"1\"", 1, LISTED_NEW);
        list(f, "p/kept", "\"1\"", 1, LISTED_NEW);
        list(f, "q/other", "\"1\"", 1, LISTED_NEW);
        struct ledger_object m = list(f, "p/missing", "\"1\"", 1, LISTED_NEW);
        publish(f, &m);
        assert_int_equal(ledger_enter(f->l, &m, OBJECT_MISSING, NULL), 0);

        uint64_t n = 99;
        list(f, "p/kept", "\"1\"", 2, LISTED_SAME);
        assert_int_equal(ledger_mark_gone(f->l, "edx-course-data", "p/", 2, &n, NULL), 0);
        assert_int_equal(n, 2);
        assert_int_equal(state_of(f, "p/staged"), OBJECT_GONE);
        assert_int_equal(state_of(f, "p/plain"), OBJECT_GONE);
        assert_int_equal(state_of(f, "p/kept"), OBJECT_NEW);
        assert_int_equal(state_of(f, "q/other"), OBJECT_NEW);
        assert_int_equal(state_of(f, "p/missing"), OBJECT_MISSING);
        assert_int_equal(ledger_mark_gone(f->l, "other-bucket", "q/", 2, &n, NULL), 0);
        assert_int_equal(n, 0);
        assert_int_equal(ledger_mark_gone(f->l, "edx-course-data", "p/", 2, &n, NULL), 0);
        assert_int_equal(n, 0);

        assert_int_equal(list(f, "p/staged", "\"1\"", 3, LISTED_SAME).state, OBJECT_PUBLISHED);
        assert_int_equal(list(f, "p/plain", "\"1\"", 3, LISTED_NEW).state, OBJECT_NEW);
}

/* An incremental listing must neither mark nor write. */
static void generation_zero_marks_nothing(void **state)
{
        struct fixture *f = *state;
        list(f, "p/a", "\"1\"", 5, LISTED_NEW);
        int before = sqlite3_total_changes(f->l->db);
        list(f, "p/a", "\"1\"", 0, LISTED_SAME);
        assert_int_equal(sqlite3_total_changes(f->l->db), before);
        uint64_t n = 99;
        assert_int_equal(ledger_mark_gone(f->l, "edx-course-data", "p/", 5, &n, NULL), 0);
        assert_int_equal(n, 0);
        assert_int_equal(ledger_mark_gone(f->l, "edx-course-data", "", 6, &n, NULL), 0);
        assert_int_equal(n, 1);
}

static void prefix_ends(void **state)
{
        (void)state;
        char end[LEDGER_PREFIX_END];
        ledger_prefix_end("abc", end);
        assert_string_equal(end, "abd");
        ledger_prefix_end("a\x7f", end);
        assert_string_equal(end, "a\x80");
        ledger_prefix_end("a\xff\xff", end);
        assert_string_equal(end, "b");
        ledger_prefix_end("", end);
        assert_true(strcmp("\xf4\x8f\xbf\xbf", end) < 0);
}

static void last_key_of_a_prefix(void **state)
{
        struct fixture *f = *state;
        char key[1025];
        assert_int_equal(ledger_last_key(f->l, "edx-course-data", "a/", key, NULL), 0);
        assert_string_equal(key, "");
        list(f, "a/2024-01-01", "\"1\"", 1, LISTED_NEW);
        list(f, "a/2024-01-02", "\"1\"", 1, LISTED_NEW);
        list(f, "a0", "\"1\"", 1, LISTED_NEW);
        list(f, "b/2", "\"1\"", 1, LISTED_NEW);
        assert_int_equal(ledger_last_key(f->l, "edx-course-data", "a/", key, NULL), 0);
        assert_string_equal(key, "a/2024-01-02");
        assert_int_equal(ledger_last_key(f->l, "edx-course-data", "", key, NULL), 0);
        assert_string_equal(key, "b/2");
        assert_int_equal(ledger_last_key(f->l, "none", "", key, NULL), 0);
        assert_string_equal(key, "");
}

struct walk {
        struct ledger *l;
        char keys[2000];
        int stop_at, n;
};

static int collect(struct ledger_object *o, void *arg)
{
        struct walk *w = arg;
        strcat(w->keys, o->key);
        strcat(w->keys, " ");
        if (++w->n == w->stop_at)
                return 42;
        /* saving what is shown, in the very column that the walk filters by, must not disturb it */
        return o->state == OBJECT_NEW ? ledger_enter(w->l, o, OBJECT_FETCHING, NULL) : 0;
}

static const char *walk_keys(struct fixture *f, struct ledger_filter filter, struct walk *w)
{
        *w = (struct walk){.l = f->l};
        assert_int_equal(ledger_each(f->l, &filter, collect, w, NULL), 0);
        return w->keys;
}

static void filters(void **state)
{
        struct fixture *f = *state;
        static const struct {
                const char *key, *date, *site, *org;
                enum category category;
        } rows[] = {
                {"a", "2024-01-01", "edx", "ux", CATEGORY_EVENTS},
                {"b", "2024-01-03", "edge", "ux", CATEGORY_EVENTS},
                {"c", "2024-01-02", "", "ux", CATEGORY_DATABASE},
                {"d/1", "", "", "vx", CATEGORY_RDX},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                struct ledger_object o = an_object(rows[i].key, "\"1\"");
                strcpy(o.date, rows[i].date);
                strcpy(o.site, rows[i].site);
                strcpy(o.org, rows[i].org);
                o.category = rows[i].category;
                o.size = i + 1;
                enum listed got;
                assert_int_equal(ledger_listed(f->l, &o, 1, &got, NULL), 0);
        }
        struct walk w;
        assert_string_equal(
                walk_keys(f, (struct ledger_filter){.states = BIT(OBJECT_NEW)}, &w), "a b c d/1 ");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.states = BIT(OBJECT_NEW)}, &w), "");
        assert_string_equal(
                walk_keys(f, (struct ledger_filter){.states = BIT(OBJECT_NEW) | BIT(OBJECT_FETCHING)}, &w),
                "a b c d/1 ");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.newest_first = true}, &w), "b c a d/1 ");
        assert_string_equal(
                walk_keys(f, (struct ledger_filter){.categories = BIT(CATEGORY_EVENTS) | BIT(CATEGORY_RDX)},
                        &w),
                "a b d/1 ");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.org = "vx"}, &w), "d/1 ");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.site = "edge"}, &w), "b ");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.since = "2024-01-02"}, &w), "b c ");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.until = "2024-01-02"}, &w), "a c ");
        assert_string_equal(
                walk_keys(f, (struct ledger_filter){.since = "2024-01-02", .until = "2024-01-02"}, &w), "c ");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.key_glob = "[ad]*"}, &w), "a d/1 ");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.bucket = "none"}, &w), "");
        assert_string_equal(walk_keys(f, (struct ledger_filter){.org = "x' OR 1 --"}, &w), "");

        w = (struct walk){.l = f->l, .stop_at = 2};
        assert_int_equal(ledger_each(f->l, &(struct ledger_filter){}, collect, &w, NULL), 42);
        assert_string_equal(w.keys, "a b ");

        uint64_t n, bytes;
        assert_int_equal(ledger_count(f->l, &(struct ledger_filter){}, &n, &bytes, NULL), 0);
        assert_int_equal(n, 4);
        assert_int_equal(bytes, 10);
        assert_int_equal(
                ledger_count(f->l, &(struct ledger_filter){.key_glob = "[ad]*"}, &n, &bytes, NULL), 0);
        assert_int_equal(n, 2);
        assert_int_equal(bytes, 5);
        assert_int_equal(ledger_count(f->l, &(struct ledger_filter){.org = "no"}, &n, &bytes, NULL), 0);
        assert_int_equal(n, 0);
        assert_int_equal(bytes, 0);
}

static void facts(void **state)
{
        struct fixture *f = *state;
        char value[65];
        assert_int_equal(ledger_meta_get(f->l, "staging-id", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "");
        assert_int_equal(ledger_meta_set(f->l, "staging-id", "abc", NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "staging-id", "abcd", NULL), 0);
        assert_int_equal(reopen(f, NULL), 0);
        assert_int_equal(ledger_meta_get(f->l, "staging-id", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "abcd");
        assert_int_equal(ledger_meta_get(f->l, "staging-id", value, 4, NULL), -EUCLEAN);
}

static void transactions_nest_and_roll_back(void **state)
{
        struct fixture *f = *state;
        char value[8];
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", "1", NULL), 0);
        assert_int_equal(ledger_commit(f->l, NULL), 0);
        ledger_rollback(f->l);
        assert_int_equal(ledger_meta_get(f->l, "x", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "");

        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", "2", NULL), 0);
        assert_int_equal(ledger_commit(f->l, NULL), 0);
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", "3", NULL), 0);
        assert_int_equal(reopen(f, NULL), 0); /* closed in the middle: nothing of it */
        assert_int_equal(ledger_meta_get(f->l, "x", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "2");
}

static struct ledger_member a_member(int64_t object, const char *path, uint8_t sha, int64_t size)
{
        struct ledger_member m = {.object_id = object,
                .state = OBJECT_PUBLISHED,
                .size = 10,
                .plain_size = size,
                .has_sha256 = true};
        snprintf(m.name, sizeof(m.name), "ux-2024-07-07/%s.gpg", path);
        snprintf(m.path, sizeof(m.path), "%s", path);
        memset(m.sha256, sha, sizeof(m.sha256));
        return m;
}

struct seen_members {
        struct ledger *l;
        struct ledger_member m[4];
        int n;
};

static int keep_member(struct ledger_member *m, void *arg)
{
        struct seen_members *s = arg;
        assert_in_range(s->n, 0, 3);
        s->m[s->n++] = *m;
        m->attempts++;
        return ledger_member_save(s->l, m, NULL);
}

static void members(void **state)
{
        struct fixture *f = *state;
        struct ledger_object o = list(f, "z.zip", "\"1\"", 1, LISTED_NEW);
        struct ledger_member b = a_member(o.id, "b.sql", 1, 5), a = a_member(o.id, "a.sql", 2, 6),
                             c = a_member(o.id, "ora/c.sql", 3, 7);
        c.has_sha256 = false;
        memset(c.sha256, 0, sizeof(c.sha256));
        c.state = OBJECT_REJECTED;
        c.cause = CAUSE_BAD_MDC;
        c.failed = true;
        strcpy(c.course, "UX-c-r");
        strcpy(c.table, "ora/c");
        strcpy(c.detail, "d");
        c.plain_size = -1;
        c.checks = CHECK_ZIP;
        assert_int_equal(ledger_member_save(f->l, &b, NULL), 0);
        assert_int_equal(ledger_member_save(f->l, &c, NULL), 0);
        assert_int_equal(ledger_member_save(f->l, &a, NULL), 0);
        b.plain_size = 50;
        assert_int_equal(ledger_member_save(f->l, &b, NULL), 0);

        struct seen_members seen = {.l = f->l};
        assert_int_equal(ledger_members(f->l, o.id, keep_member, &seen, NULL), 0);
        assert_int_equal(seen.n, 3);
        assert_memory_equal(&seen.m[0], &a, sizeof(a));
        assert_memory_equal(&seen.m[1], &b, sizeof(b));
        assert_memory_equal(&seen.m[2], &c, sizeof(c));
        seen.n = 0;
        assert_int_equal(ledger_members(f->l, o.id, keep_member, &seen, NULL), 0);
        assert_int_equal(seen.m[0].attempts, 1);

        assert_int_equal(ledger_members_delete(f->l, o.id, NULL), 0);
        seen.n = 0;
        assert_int_equal(ledger_members(f->l, o.id, keep_member, &seen, NULL), 0);
        assert_int_equal(seen.n, 0);
        a.object_id = o.id + 1; /* of no object */
        assert_true(ledger_member_save(f->l, &a, NULL) < 0);
}

static void plaintext_is_found_only_where_it_is_staged(void **state)
{
        struct fixture *f = *state;
        char path[1024];
        uint8_t sha[SHA256_SIZE];
        memset(sha, 9, sizeof(sha));
        struct ledger_object o = list(f, "z.zip", "\"1\"", 1, LISTED_NEW);
        struct ledger_member m = a_member(o.id, "ora/m.sql", 9, 77);
        assert_int_equal(ledger_member_save(f->l, &m, NULL), 0);
        enum category c = CATEGORY_EVENTS;
        const char *org = "universityx";
        /* not published yet */
        assert_int_equal(ledger_find_plaintext(f->l, org, c, sha, 77, path, NULL), -ENOENT);
        publish(f, &o);
        assert_int_equal(ledger_find_plaintext(f->l, org, c, sha, 77, path, NULL), 0);
        assert_string_equal(path, "universityx/2024-07-07/ora/m.sql");
        assert_int_equal(ledger_find_plaintext(f->l, "other", c, sha, 77, path, NULL), -ENOENT);
        assert_int_equal(ledger_find_plaintext(f->l, org, CATEGORY_RDX, sha, 77, path, NULL), -ENOENT);
        assert_int_equal(ledger_find_plaintext(f->l, org, c, sha, 78, path, NULL), -ENOENT);
        sha[31] = 0;
        assert_int_equal(ledger_find_plaintext(f->l, org, c, sha, 77, path, NULL), -ENOENT);
        sha[31] = 9;
        /* of several the newest snapshot */
        static const char *const dates[] = {"2024-06-30", "2024-07-14"};
        for (size_t i = 0; i < ELEMENTSOF(dates); i++) {
                struct ledger_object other = list(f, dates[i], "\"1\"", 1, LISTED_NEW);
                strcpy(other.date, dates[i]);
                struct ledger_member same = a_member(other.id, "same.sql", 9, 77);
                assert_int_equal(ledger_member_save(f->l, &same, NULL), 0);
                publish(f, &other);
                assert_int_equal(ledger_find_plaintext(f->l, org, c, sha, 77, path, NULL), 0);
                assert_string_equal(path,
                        i == 0 ? "universityx/2024-07-07/ora/m.sql" : "universityx/2024-07-14/same.sql");
                if (i == 1)
                        assert_int_equal(ledger_enter(f->l, &other, OBJECT_MISSING, NULL), 0);
        }
        assert_int_equal(ledger_find_plaintext(f->l, org, c, sha, 77, path, NULL), 0);
        assert_string_equal(path, "universityx/2024-07-07/ora/m.sql");
        struct ledger_object june;
        assert_int_equal(ledger_find(f->l, "edx-course-data", dates[0], &june, NULL), 0);
        assert_int_equal(ledger_enter(f->l, &june, OBJECT_PRUNED, NULL), 0);
        /* replaced: the rows may speak of the new one's partial folder */
        o = list(f, "z.zip", "\"2\"", 2, LISTED_REPLACED);
        assert_int_equal(ledger_find_plaintext(f->l, org, c, sha, 77, path, NULL), -ENOENT);
        publish(f, &o);
        m.state = OBJECT_REJECTED;
        assert_int_equal(ledger_member_save(f->l, &m, NULL), 0);
        assert_int_equal(ledger_find_plaintext(f->l, org, c, sha, 77, path, NULL), -ENOENT);
}

static void a_damaged_ledger_is_told_and_set_aside(void **state)
{
        struct fixture *f = *state;
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        f->l = ledger_free(f->l);
        meddle(f, "PRAGMA wal_checkpoint(TRUNCATE)");
        _cleanup_free_ char *path = path_in(f, "ledger.db");
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "this is no database, not at all", 31, 0), 31);
        struct error e = {};
        assert_int_equal(ledger_open(f->dir, &f->l, &e), -EUCLEAN);
        assert_non_null(strstr(e.text, "ledger.db"));
        assert_int_equal(ledger_set_aside(f->dir, NULL), 0);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(ledger_open(f->dir, &f->l, &e), 0);
        struct ledger_object o;
        assert_int_equal(ledger_find(f->l, "edx-course-data", "k", &o, NULL), -ENOENT);
        unsigned kept = 0;
        _cleanup_closedir_ DIR *d = opendir(f->dir);
        for (struct dirent *x; (x = readdir(d));)
                kept += strstr(x->d_name, ".damaged-") != NULL;
        assert_in_range(kept, 1, 3);
}

/* Damage inside a page, behind a good header. */
static void a_damaged_page_is_told(void **state)
{
        struct fixture *f = *state;
        for (int i = 0; i < 200; i++) {
                char key[16];
                snprintf(key, sizeof(key), "k%d", i);
                list(f, key, "\"1\"", 1, LISTED_NEW);
        }
        assert_int_equal(ledger_check(f->l, NULL), 0);
        f->l = ledger_free(f->l);
        meddle(f, "PRAGMA wal_checkpoint(TRUNCATE)");
        _cleanup_free_ char *path = path_in(f, "ledger.db");
        _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        static const char junk[4096];
        for (off_t at = 8 * 4096; at + 4096 <= st.st_size; at += 4096)
                assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
        struct error e = {};
        int r = ledger_open(f->dir, &f->l, &e);
        if (r == 0) {
                struct walk w = {.l = f->l, .stop_at = 0};
                uint64_t n, bytes;
                assert_int_equal(ledger_check(f->l, &e), -EUCLEAN);
                r = ledger_count(f->l, &(struct ledger_filter){.key_glob = "x"}, &n, &bytes, &e);
                (void)w;
        }
        assert_int_equal(r, -EUCLEAN);
}

static void hostile_rows_are_refused(void **state)
{
        struct fixture *f = *state;
        static const char *const sql[] = {
                "UPDATE object SET state = 11",
                "UPDATE object SET state = -1",
                "UPDATE object SET category = 4",
                "UPDATE object SET size = -1",
                "UPDATE object SET plain_size = -2",
                "UPDATE object SET sha256 = x'00'",
                "UPDATE object SET sha256 = zeroblob(33)",
                "UPDATE object SET is_zip = 2",
                "UPDATE object SET checks = 4294967296",
                "UPDATE object SET attempts = -1",
                "UPDATE object SET org = printf('%.*c', 64, 'x')",
                "UPDATE object SET date = '2024-07-071'",
                "UPDATE object SET path = 'a' || char(0) || 'b'",
                "UPDATE object SET detail = printf('%.*c', 512, 'x')",
                "UPDATE object SET cause = printf('%.*c', 100, 'x')",
        };
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW), back;
        for (size_t i = 0; i < ELEMENTSOF(sql); i++) {
                meddle(f, sql[i]);
                struct error e = {};
                int r = ledger_get(f->l, o.id, &back, &e);
                if (r != -EUCLEAN)
                        fail_msg("%s: %d %s", sql[i], r, e.text);
                assert_int_equal(ledger_save(f->l, &o, NULL), 0);
                assert_int_equal(ledger_get(f->l, o.id, &back, NULL), 0);
        }
        /* a cause that a newer czard knows is no damage */
        meddle(f, "UPDATE object SET cause = 'from-the-future'");
        assert_int_equal(ledger_get(f->l, o.id, &back, NULL), 0);
        assert_int_equal(back.cause, CAUSE_INTERNAL);
}

static void a_newer_ledger_is_refused(void **state)
{
        struct fixture *f = *state;
        f->l = ledger_free(f->l);
        meddle(f, "PRAGMA user_version = 1000");
        struct error e = {};
        assert_int_equal(ledger_open(f->dir, &f->l, &e), -EPROTONOSUPPORT);
        assert_non_null(strstr(e.text, "version 1000"));
        assert_int_equal(ledger_open_readonly(f->dir, &f->l, &e), -EPROTONOSUPPORT);
}

static void tables_of_another_program_are_refused(void **state)
{
        struct fixture *f = *state;
        f->l = ledger_free(f->l);
        meddle(f, "PRAGMA user_version = 0");
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), -EUCLEAN);
}

static void migration_copies_first_and_is_whole(void **state)
{
        struct fixture *f = *state;
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        struct ledger_step steps[LEDGER_VERSION + 2] = {};
        steps[LEDGER_VERSION] = (struct ledger_step){"ALTER TABLE object ADD COLUMN extra TEXT"};
        steps[LEDGER_VERSION + 1] = (struct ledger_step){"CREATE TABLE t (x); CREATE TABLE broken (x"};
        char name[32];
        snprintf(name, sizeof(name), "ledger.db.v%d", LEDGER_VERSION);
        _cleanup_free_ char *copy = path_in(f, name);

        struct error e = {};
        assert_true(ledger_migrate(f->l, steps, LEDGER_VERSION + 2, &e) < 0);
        assert_int_equal(access(copy, R_OK), 0);
        /* as it was: the first step was undone too */
        assert_int_equal(reopen(f, &e), 0);
        assert_int_equal(state_of(f, "k"), OBJECT_NEW);
        assert_int_equal(unlink(copy), 0);

        assert_int_equal(ledger_migrate(f->l, steps, LEDGER_VERSION + 1, &e), 0);
        f->l = ledger_free(f->l);
        assert_int_equal(ledger_open(f->dir, &f->l, &e), -EPROTONOSUPPORT);
        /* the copy is the ledger of before, and an older czard can go on with it */
        struct stat st;
        assert_int_equal(stat(copy, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        _cleanup_free_ char *db = path_in(f, "ledger.db");
        assert_int_equal(rename(copy, db), 0);
        assert_int_equal(ledger_open(f->dir, &f->l, &e), 0);
        assert_int_equal(state_of(f, "k"), OBJECT_NEW);
}

static void backup_stands_alone(void **state)
{
        struct fixture *f = *state;
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        char other[] = "/tmp/czard-ledger-XXXXXX";
        assert_non_null(mkdtemp(other));
        _cleanup_free_ char *file = str_printf("%s/ledger.db", other);
        assert_int_equal(ledger_backup(f->l, file, NULL), 0);
        assert_int_equal(ledger_backup(f->l, file, NULL), 0); /* replaces */
        list(f, "later", "\"1\"", 1, LISTED_NEW);
        struct ledger *l;
        struct ledger_object o;
        assert_int_equal(ledger_open_readonly(other, &l, NULL), 0);
        assert_int_equal(ledger_find(l, "edx-course-data", "k", &o, NULL), 0);
        assert_int_equal(ledger_find(l, "edx-course-data", "later", &o, NULL), -ENOENT);
        ledger_free(l);
        assert_true(ledger_backup(f->l, "/nonexistent/x", NULL) < 0);
        remove_dir(other);
}

static mode_t mode_of(struct fixture *f, const char *name)
{
        _cleanup_free_ char *path = path_in(f, name);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        return st.st_mode & 07777;
}

static int read_as_group(const char *dir, gid_t gid)
{
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct ledger *l = NULL;
                struct ledger_object o;
                struct error e = {};
                if (setgroups(1, &gid) < 0 || setresgid(65534, 65534, 65534) < 0 ||
                        setresuid(65534, 65534, 65534) < 0)
                        _exit(90);
                if (ledger_open_readonly(dir, &l, &e) < 0) {
                        fprintf(stderr, "reader: %s\n", e.text);
                        _exit(91);
                }
                if (ledger_find(l, "edx-course-data", "k", &o, &e) < 0) {
                        fprintf(stderr, "reader: %s\n", e.text);
                        _exit(92);
                }
                /* and cannot write */
                int r = ledger_meta_set(l, "x", "y", &e);
                ledger_free(l);
                _exit(r < 0 ? o.state : 93);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

/* A reader that can write neither the files nor the folder, while the writer runs and after it closed. */
static void a_reader_of_the_group(void **state)
{
        struct fixture *f = *state;
        gid_t gid = 54321;
        if (geteuid() != 0)
                skip();
        assert_int_equal(chown(f->dir, 0, gid), 0);
        assert_int_equal(chmod(f->dir, 02750), 0);
        static const char *const names[] = {"ledger.db", "ledger.db-wal", "ledger.db-shm"};
        f->l = ledger_free(f->l);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = path_in(f, names[i]);
                (void)unlink(path);
        }
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(mode_of(f, names[i]), 0640);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_NEW);
        assert_int_equal(ledger_enter(f->l, &o, OBJECT_FETCHING, NULL), 0);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        f->l = ledger_free(f->l);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        /* opened and closed once more: the WAL is empty now */
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
        f->l = ledger_free(f->l);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(mode_of(f, names[i]), 0640);
        /* a copy without WAL files */
        for (size_t i = 1; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = path_in(f, names[i]);
                assert_int_equal(unlink(path), 0);
        }
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
        assert_int_equal(ledger_enter(f->l, &o, OBJECT_DECRYPTING, NULL), 0);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_DECRYPTING);
}

/* After kill -9 of the writer the WAL still holds what was committed. */
static void a_reader_after_a_crash(void **state)
{
        struct fixture *f = *state;
        gid_t gid = 54321;
        if (geteuid() != 0)
                skip();
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        f->l = ledger_free(f->l);
        assert_int_equal(chown(f->dir, 0, gid), 0);
        assert_int_equal(chmod(f->dir, 0750), 0);
        static const char *const names[] = {"ledger.db", "ledger.db-wal", "ledger.db-shm"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = path_in(f, names[i]);
                assert_int_equal(chown(path, 0, gid), 0);
        }
        pid_t pid = fork();
        if (pid == 0) {
                struct ledger *l;
                struct ledger_object o;
                if (ledger_open(f->dir, &l, NULL) < 0 ||
                        ledger_find(l, "edx-course-data", "k", &o, NULL) < 0 ||
                        ledger_enter(l, &o, OBJECT_FETCHING, NULL) < 0 || ledger_begin(l, NULL) < 0 ||
                        ledger_enter(l, &o, OBJECT_DECRYPTING, NULL) < 0)
                        _exit(1);
                _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
        assert_int_equal(state_of(f, "k"), OBJECT_FETCHING);
}

/* A write that fails takes the whole transaction with it, and says so. */
static void a_failed_write_undoes_all(void **state)
{
        struct fixture *f = *state;
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW);
        _cleanup_free_ char *wal = path_in(f, "ledger.db-wal");
        struct stat st;
        assert_int_equal(stat(wal, &st), 0);
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit old, small;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        small = old;
        small.rlim_cur = (rlim_t)st.st_size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        int r = ledger_begin(f->l, NULL);
        if (r == 0)
                r = ledger_enter(f->l, &o, OBJECT_FETCHING, NULL);
        if (r == 0)
                r = ledger_meta_set(f->l, "x", "1", NULL);
        struct error e = {};
        int commit = ledger_commit(f->l, &e);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(r, 0);
        assert_true(commit < 0);
        assert_non_null(strstr(e.text, "ledger.db"));
        assert_int_equal(state_of(f, "k"), OBJECT_NEW);
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", "1", NULL), 0);
        assert_int_equal(ledger_commit(f->l, NULL), 0);
        assert_int_equal(reopen(f, NULL), 0);
        assert_int_equal(state_of(f, "k"), OBJECT_NEW);
}

/* A reader that has the writer's rights may neither remove the WAL files nor fold them in. */
static void a_reader_leaves_the_files_alone(void **state)
{
        struct fixture *f = *state;
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        f->l = ledger_free(f->l);
        struct ledger *l;
        assert_int_equal(ledger_open_readonly(f->dir, &l, NULL), 0);
        ledger_free(l);
        assert_int_equal(mode_of(f, "ledger.db-wal"), 0640);
        assert_int_equal(mode_of(f, "ledger.db-shm"), 0640);
        char none[] = "/tmp/czard-ledger-XXXXXX";
        assert_non_null(mkdtemp(none));
        assert_int_equal(ledger_open_readonly(none, &l, NULL), -ENOENT);
        assert_int_equal(rmdir(none), 0);
}

static int count_only(struct ledger_object *o, void *arg)
{
        (void)o;
        (*(int *)arg)++;
        return 0;
}

static void fill(struct fixture *f, int objects, int members)
{
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        for (int i = 0; i < objects; i++) {
                char key[64];
                snprintf(key, sizeof(key), "universityx/edx/events/%06d.log.gz.gpg", i);
                struct ledger_object o = an_object(key, "\"0123456789abcdef0123456789abcdef\"");
                snprintf(o.date, sizeof(o.date), "%s", date_format(i, (char[11]){0}));
                enum listed what;
                assert_int_equal(ledger_listed(f->l, &o, 1, &what, NULL), 0);
                if (i >= 40)
                        publish(f, &o);
        }
        for (int i = 0; i < members; i++) {
                char path[100];
                snprintf(path, sizeof(path), "UniversityX-course%d-2024-auth_user-prod-analytics.sql", i);
                struct ledger_member m = a_member(1 + i / 10000, path, (uint8_t)i, i);
                assert_int_equal(ledger_member_save(f->l, &m, NULL), 0);
        }
        assert_int_equal(ledger_commit(f->l, NULL), 0);
}

/* What is due is found without reading what is not: by the query plan, which no busy machine changes. */
static void due_objects_are_found_by_index(void **state)
{
        struct fixture *f = *state;
        fill(f, 2000, 2000);
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        assert_int_equal(sqlite3_prepare_v2(f->l->db,
                                 "EXPLAIN QUERY PLAN SELECT id, key FROM object WHERE 1 AND state IN (0,4) "
                                 "ORDER BY date DESC, key, bucket",
                                 -1, &s, NULL),
                SQLITE_OK);
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        assert_non_null(
                strstr((const char *)sqlite3_column_text(s, 3), "SEARCH object USING INDEX object_state"));
        int n = 0;
        struct ledger_filter due = {.states = BIT(OBJECT_NEW) | BIT(OBJECT_RETRY), .newest_first = true};
        assert_int_equal(ledger_each(f->l, &due, count_only, &n, NULL), 0);
        assert_int_equal(n, 40);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_and_numbers_of_states_stay),
                cmocka_unit_test(edges),
                cmocka_unit_test(checks_in_words),
                cmocka_unit_test(prefix_ends),
                T(every_field_comes_back),
                T(listed_again_and_replaced),
                T(forgotten_and_pruned_stay_when_replaced),
                T(gone_and_back),
                T(generation_zero_marks_nothing),
                T(last_key_of_a_prefix),
                T(filters),
                T(facts),
                T(transactions_nest_and_roll_back),
                T(members),
                T(plaintext_is_found_only_where_it_is_staged),
                T(a_damaged_ledger_is_told_and_set_aside),
                T(a_damaged_page_is_told),
                T(hostile_rows_are_refused),
                T(a_newer_ledger_is_refused),
                T(tables_of_another_program_are_refused),
                T(migration_copies_first_and_is_whole),
                T(backup_stands_alone),
                T(a_reader_of_the_group),
                T(a_reader_after_a_crash),
                T(a_failed_write_undoes_all),
                T(a_reader_leaves_the_files_alone),
                T(due_objects_are_found_by_index),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
