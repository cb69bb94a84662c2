/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger_fixture.h"
#include "ledger_report.h"

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
        assert_int_equal(sqlite3_prepare_v2(f->l->sql.db,
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

static struct ledger_object spelling(const char *key, int64_t uploaded)
{
        struct ledger_object o = an_object(key, "\"1\"");
        o.category = CATEGORY_EMAIL_OPT_IN;
        strcpy(o.org, "ux");
        strcpy(o.date, "2024-07-06");
        o.last_modified = uploaded;
        return o;
}

static void the_later_spelling_wins(void **state)
{
        struct fixture *f = *state;
        struct ledger_object a = spelling("email-opt-in/a.zip", 100), b = spelling("email-opt-in/b.zip", 200);
        assert_true(ledger_is_beaten_by(&a, &b));
        assert_false(ledger_is_beaten_by(&b, &a));
        assert_false(ledger_is_beaten_by(&b, &b));
        b.last_modified = 100;
        assert_true(ledger_is_beaten_by(&a, &b));
        assert_false(ledger_is_beaten_by(&b, &a));
        b.last_modified = 200;
        strcpy(b.date, "2024-07-13");
        assert_false(ledger_is_beaten_by(&a, &b));
        strcpy(b.date, a.date);
        b.state = OBJECT_GONE;
        assert_false(ledger_is_beaten_by(&a, &b));
        strcpy(b.staged_etag, b.etag);
        assert_true(ledger_is_beaten_by(&a, &b));
        b.state = OBJECT_PRUNED;
        assert_false(ledger_is_beaten_by(&a, &b));
        /* the same, asked of the ledger */
        enum listed got;
        bool beaten = true;
        assert_int_equal(ledger_listed(f->l, &a, 1, &got, NULL), 0);
        assert_int_equal(ledger_is_beaten(f->l, &a, &beaten, NULL), 0);
        assert_false(beaten);
        b = spelling("email-opt-in/b.zip", 200);
        assert_int_equal(ledger_listed(f->l, &b, 1, &got, NULL), 0);
        assert_int_equal(ledger_is_beaten(f->l, &a, &beaten, NULL), 0);
        assert_true(beaten);
        assert_int_equal(ledger_is_beaten(f->l, &b, &beaten, NULL), 0);
        assert_false(beaten);
}

static int count_rows(const struct report_row *row, void *arg)
{
        (void)row;
        ++*(int *)arg;
        return 0;
}

/* Sizes are what others say: their sum may be more than a number holds. */
static void sums_of_what_others_say(void **state)
{
        struct fixture *f = *state;
        static const enum report reports[] = {REPORT_COUNTS, REPORT_STORAGE};
        uint64_t n, bytes;
        list(f, "a", "1", 1, LISTED_NEW);
        list(f, "b", "2", 1, LISTED_NEW);
        meddle(f, "UPDATE object SET size = 9223372036854775807, plain_size = 9223372036854775807, "
                  "state = 3, staged_etag = etag, path = key");
        struct error e = {};
        if (ledger_count(f->l, &(struct ledger_filter){}, &n, &bytes, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(n, 2);
        assert_true(bytes >= INT64_C(9000000000000000000));
        for (size_t i = 0; i < ELEMENTSOF(reports); i++) {
                int rows = 0;
                if (report_each(f->l, reports[i], NULL, NULL, count_rows, &rows, &e) < 0)
                        fail_msg("%s", e.text);
                assert_int_equal(rows, 1);
        }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(filters),
                T(the_later_spelling_wins),
                T(due_objects_are_found_by_index),
                T(sums_of_what_others_say),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
