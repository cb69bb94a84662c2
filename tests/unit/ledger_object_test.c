/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger_fixture.h"
#include "limits.h"

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
        /* the row went with a transaction that was undone, and its number is another object's now */
        o.size = 1;
        strcpy(o.key, "another");
        assert_int_equal(ledger_save(f->l, &o, NULL), -ENOENT);
        assert_int_equal(ledger_get(f->l, o.id, &o, NULL), 0);
        assert_string_equal(o.key, back.key);
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

static int mark_gone(
        struct fixture *f, const char *bucket, const char *prefix, int64_t generation, uint64_t *ret_n)
{
        const struct ledger_listing of = {
                .bucket = bucket, .prefix = prefix, .org = "universityx", .category = CATEGORY_EVENTS};
        return ledger_mark_gone(f->l, &of, generation, ret_n, NULL);
}

static int last_key(struct fixture *f, const char *bucket, const char *prefix, char ret[KEY_SIZE])
{
        const struct ledger_listing of = {
                .bucket = bucket, .prefix = prefix, .org = "universityx", .category = CATEGORY_EVENTS};
        return ledger_last_key(f->l, &of, ret, NULL);
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
        assert_int_equal(mark_gone(f, "edx-course-data", "p/", 2, &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(state_of(f, "p/staged"), OBJECT_GONE);
        assert_int_equal(state_of(f, "p/plain"), OBJECT_GONE);
        assert_int_equal(state_of(f, "p/kept"), OBJECT_NEW);
        assert_int_equal(state_of(f, "q/other"), OBJECT_NEW);
        assert_int_equal(state_of(f, "p/missing"), OBJECT_MISSING);
        assert_int_equal(mark_gone(f, "other-bucket", "q/", 2, &n), 0);
        assert_int_equal(n, 0);
        assert_int_equal(mark_gone(f, "edx-course-data", "p/", 2, &n), 0);
        assert_int_equal(n, 0);

        assert_int_equal(list(f, "p/staged", "\"1\"", 3, LISTED_SAME).state, OBJECT_PUBLISHED);
        assert_int_equal(list(f, "p/plain", "\"1\"", 3, LISTED_NEW).state, OBJECT_NEW);
}

static void the_same_content_with_another_time(void **state)
{
        struct fixture *f = *state;
        enum listed got;
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW), again = an_object("k", "\"1\"");
        again.last_modified += 5;
        assert_int_equal(ledger_listed(f->l, &again, 2, &got, NULL), 0);
        assert_int_equal(again.last_modified, o.last_modified + 5);
        publish(f, &again);
        struct ledger_object copied = an_object("k", "\"1\"");
        copied.last_modified += 500;
        assert_int_equal(ledger_listed(f->l, &copied, 3, &got, NULL), 0);
        assert_int_equal(got, LISTED_SAME);
        assert_int_equal(copied.state, OBJECT_PUBLISHED);
        assert_int_equal(copied.last_modified, o.last_modified + 5); /* as the staged file has it */
}

static void the_same_etag_with_another_size(void **state)
{
        struct fixture *f = *state;
        enum listed got;
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW);
        publish(f, &o);
        struct ledger_object grown = an_object("k", "\"1\"");
        grown.size++;
        assert_int_equal(ledger_listed(f->l, &grown, 2, &got, NULL), 0);
        assert_int_equal(got, LISTED_REPLACED);
        assert_int_equal(grown.state, OBJECT_NEW);
}

/* An incremental listing must neither mark nor write. */
static void generation_zero_marks_nothing(void **state)
{
        struct fixture *f = *state;
        list(f, "p/a", "\"1\"", 5, LISTED_NEW);
        int before = sqlite3_total_changes(f->l->sql.db);
        list(f, "p/a", "\"1\"", 0, LISTED_SAME);
        assert_int_equal(sqlite3_total_changes(f->l->sql.db), before);
        uint64_t n = 99;
        assert_int_equal(mark_gone(f, "edx-course-data", "p/", 5, &n), 0);
        assert_int_equal(n, 0);
        assert_int_equal(mark_gone(f, "edx-course-data", "", 6, &n), 0);
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
        char key[KEY_SIZE];
        assert_int_equal(last_key(f, "edx-course-data", "a/", key), 0);
        assert_string_equal(key, "");
        list(f, "a/2024-01-01", "\"1\"", 1, LISTED_NEW);
        list(f, "a/2024-01-02", "\"1\"", 1, LISTED_NEW);
        list(f, "a0", "\"1\"", 1, LISTED_NEW);
        list(f, "b/2", "\"1\"", 1, LISTED_NEW);
        assert_int_equal(last_key(f, "edx-course-data", "a/", key), 0);
        assert_string_equal(key, "a/2024-01-02");
        assert_int_equal(last_key(f, "edx-course-data", "", key), 0);
        assert_string_equal(key, "b/2");
        assert_int_equal(last_key(f, "none", "", key), 0);
        assert_string_equal(key, "");
}

static struct ledger_object list_at(
        struct fixture *f, const char *key, int64_t last_modified, enum listed want)
{
        struct ledger_object o = an_object(key, "\"1\"");
        enum listed got;
        o.last_modified = last_modified;
        assert_int_equal(ledger_listed(f->l, &o, 0, &got, NULL), 0);
        assert_int_equal(got, want);
        return o;
}

static void what_was_refused_and_is_written_anew(void **state)
{
        struct fixture *f = *state;
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW);
        int64_t then = o.last_modified;
        o.cause = CAUSE_ETAG;
        o.attempts = 5;
        o.refusals = 7;
        o.next_try = then + 500;
        assert_int_equal(ledger_enter(f->l, &o, OBJECT_REJECTED, NULL), 0);
        assert_int_equal(list_at(f, "k", then, LISTED_SAME).state, OBJECT_REJECTED);
        assert_int_equal(list_at(f, "k", then - 1, LISTED_SAME).state, OBJECT_REJECTED);
        o = list_at(f, "k", then + 1, LISTED_REPLACED);
        assert_int_equal(o.state, OBJECT_NEW);
        assert_int_equal(o.cause, CAUSE_NONE);
        assert_int_equal(o.attempts + o.refusals, 0);
        assert_int_equal(o.next_try, 0);
        assert_int_equal(ledger_enter(f->l, &o, OBJECT_FORGOTTEN, NULL), 0);
        assert_int_equal(list_at(f, "k", then + 2, LISTED_SAME).state, OBJECT_FORGOTTEN);
}

static void an_archive_with_members_that_were_refused(void **state)
{
        struct fixture *f = *state;
        for (unsigned refused = 0; refused < 2; refused++) {
                const char *key = refused ? "refused.zip" : "whole.zip";
                struct ledger_object o = list(f, key, "\"1\"", 1, LISTED_NEW);
                struct ledger_member good = a_member(o.id, "a", 1, 1), bad = a_member(o.id, "b", 2, 1);
                bad.state = refused ? OBJECT_REJECTED : OBJECT_PUBLISHED;
                assert_int_equal(ledger_member_save(f->l, &good, NULL), 0);
                assert_int_equal(ledger_member_save(f->l, &bad, NULL), 0);
                o.is_zip = true;
                publish(f, &o);
                struct ledger_object again =
                        list_at(f, key, o.last_modified + 9, refused ? LISTED_REPLACED : LISTED_SAME);
                assert_int_equal(again.state, refused ? OBJECT_NEW : OBJECT_PUBLISHED);
                assert_int_equal(again.last_modified, o.last_modified + (refused ? 9 : 0));
                assert_string_equal(again.staged_etag, "\"1\""); /* what is staged stays */
        }
}

static void one_more_try_when_its_time_has_come(void **state)
{
        struct fixture *f = *state;
        static const int64_t next[] = {0, 100, 101};
        static const char *const keys[] = {"never", "now", "later"};
        for (size_t i = 0; i < ELEMENTSOF(next); i++) {
                struct ledger_object o = list(f, keys[i], "\"1\"", 1, LISTED_NEW);
                o.next_try = next[i];
                o.attempts = 1;
                o.refusals = 5;
                assert_int_equal(ledger_enter(f->l, &o, OBJECT_REJECTED, NULL), 0);
        }
        struct ledger_object o = list(f, "waits", "\"1\"", 1, LISTED_NEW);
        o.next_try = 50;
        assert_int_equal(ledger_enter(f->l, &o, OBJECT_RETRY, NULL), 0);
        assert_int_equal(ledger_reconsider(f->l, 100, NULL), 0);
        assert_int_equal(state_of(f, "never"), OBJECT_REJECTED);
        assert_int_equal(state_of(f, "later"), OBJECT_REJECTED);
        assert_int_equal(state_of(f, "waits"), OBJECT_RETRY);
        assert_int_equal(ledger_find(f->l, "edx-course-data", "now", &o, NULL), 0);
        assert_int_equal(o.state, OBJECT_NEW);
        assert_int_equal(o.attempts, 0);
        assert_int_equal(o.refusals, 5); /* the next refusal is the sixth */
}

/* A prefix that begins another organisation's keys, or those of another category, is not about them. */
static void a_prefix_is_not_an_organisation(void **state)
{
        struct fixture *f = *state;
        static const struct {
                const char *key, *org;
                enum category category;
        } objects[] = {{"mitx-2024-01-07.zip", "mitx", CATEGORY_DATABASE},
                {"mitx-pro-2024-06-30.zip", "mitx-pro", CATEGORY_DATABASE},
                {"mitx-x/mitx-2024-09-01.zip", "mitx", CATEGORY_EMAIL_OPT_IN}};
        for (size_t i = 0; i < ELEMENTSOF(objects); i++) {
                struct ledger_object o = an_object(objects[i].key, "e");
                enum listed what;
                strcpy(o.org, objects[i].org);
                o.category = objects[i].category;
                assert_int_equal(ledger_listed(f->l, &o, 1, &what, NULL), 0);
        }
        const struct ledger_listing mitx = {
                .bucket = "edx-course-data", .prefix = "mitx-", .org = "mitx", .category = CATEGORY_DATABASE};
        char key[KEY_SIZE];
        uint64_t n = 0;
        assert_int_equal(ledger_last_key(f->l, &mitx, key, NULL), 0);
        assert_string_equal(key, "mitx-2024-01-07.zip");
        assert_int_equal(ledger_mark_gone(f->l, &mitx, 2, &n, NULL), 0);
        assert_int_equal(n, 1);
        assert_int_equal(state_of(f, objects[0].key), OBJECT_GONE);
        assert_int_equal(state_of(f, objects[1].key), OBJECT_NEW);
        assert_int_equal(state_of(f, objects[2].key), OBJECT_NEW);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(every_field_comes_back),
                T(listed_again_and_replaced),
                T(forgotten_and_pruned_stay_when_replaced),
                T(gone_and_back),
                T(the_same_content_with_another_time),
                T(the_same_etag_with_another_size),
                T(generation_zero_marks_nothing),
                cmocka_unit_test(prefix_ends),
                T(last_key_of_a_prefix),
                T(what_was_refused_and_is_written_anew),
                T(an_archive_with_members_that_were_refused),
                T(one_more_try_when_its_time_has_come),
                T(a_prefix_is_not_an_organisation),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
