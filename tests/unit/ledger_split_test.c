/* SPDX-License-Identifier: Apache-2.0 */
/* Which days are due to be split by course, and what is kept of them. */
#include "ledger_fixture.h"

#include "ledger_facts.h"

/* A staged file of events; its hash is of `version`. */
static struct ledger_object day(struct fixture *f, const char *date, uint8_t version)
{
        struct ledger_object o = {
                .category = CATEGORY_EVENTS, .size = 1, .plain_size = 2, .last_modified = 3};
        enum listed listed;
        struct error e = {};
        strcpy(o.bucket, "b");
        strcpy(o.org, "ux");
        strcpy(o.site, "edx");
        strcpy(o.date, date);
        snprintf(o.key, sizeof(o.key), "ux/edx/events/%s", date);
        snprintf(o.etag, sizeof(o.etag), "\"%u\"", version);
        assert_int_equal(ledger_listed(f->l, &o, 0, &listed, &e), 0);
        o.has_sha256 = true;
        memset(o.sha256, version, sizeof(o.sha256));
        memcpy(o.staged_etag, o.etag, sizeof(o.staged_etag));
        o.state = OBJECT_PUBLISHED;
        assert_int_equal(ledger_save(f->l, &o, &e), 0);
        return o;
}

static struct ledger_split made_of(const struct ledger_object *o, enum event_rule rule)
{
        struct ledger_split s = {.object_id = o->id,
                .rule = rule,
                .lines_in = 10,
                .lines_of_courses = 4,
                .no_course = 3,
                .invalid = 2,
                .unparsed = 1,
                .courses = 2,
                .courses_left_out = 5,
                .files_size = 99};
        snprintf(s.path, sizeof(s.path), "ux/events-by-course/edx/%s", o->date);
        memcpy(s.source_sha256, o->sha256, sizeof(s.source_sha256));
        memset(s.sums_sha256, 0xaa, sizeof(s.sums_sha256));
        memset(s.manifest_sha256, 0xbb, sizeof(s.manifest_sha256));
        s.has_manifest = true;
        return s;
}

/* "DATE DATE " of what is due at `now`, newest first. */
static void assert_due(
        struct fixture *f, enum event_rule rule, int64_t now, const char *want, int64_t want_next)
{
        _cleanup_free_ int64_t *ids = NULL;
        _cleanup_strbuf_ struct strbuf b = {};
        size_t n;
        int64_t next = 0;
        struct error e = {};
        assert_int_equal(ledger_splits_due(f->l, "ux", rule, now, &ids, &n, &next, &e), 0);
        strbuf_add(&b, "");
        for (size_t i = 0; i < n; i++) {
                struct ledger_object o;
                assert_int_equal(ledger_get(f->l, ids[i], &o, &e), 0);
                strbuf_printf(&b, "%s ", o.date);
        }
        assert_string_equal(b.s, want);
        assert_int_equal(next, want_next);
}

static void due_and_done(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct ledger_object a = day(f, "2024-01-01", 1), b = day(f, "2024-01-02", 2);
        assert_due(f, EVENT_RULE_EDX, 100, "2024-01-02 2024-01-01 ", 0);
        struct ledger_split s = made_of(&b, EVENT_RULE_EDX), got;
        assert_int_equal(ledger_split_save(f->l, &s, &e), 0);
        assert_due(f, EVENT_RULE_EDX, 100, "2024-01-01 ", 0);
        assert_int_equal(ledger_split_get(f->l, b.id, &got, &e), 0);
        assert_memory_equal(&got, &s, sizeof(s));
        assert_int_equal(ledger_split_get(f->l, a.id, &got, &e), -ENOENT);
        assert_true(ledger_split_is_done(&s, &b, EVENT_RULE_EDX));
        assert_false(ledger_split_is_done(&s, &b, EVENT_RULE_EDX_URL));
        assert_false(ledger_split_is_done(&s, &a, EVENT_RULE_EDX));
        uint64_t courses;
        assert_int_equal(ledger_splits_courses(f->l, "ux", "edx", &courses, &e), 0);
        assert_int_equal(courses, 2);
        assert_int_equal(ledger_splits_courses(f->l, "ux", "edge", &courses, &e), 0);
        assert_int_equal(courses, 0);
        /* whatever stands there */
        assert_false(ledger_split_is_again(&s));
        assert_int_equal(ledger_split_again(f->l, b.id, &e), 0);
        assert_due(f, EVENT_RULE_EDX, 100, "2024-01-02 2024-01-01 ", 0);
        assert_int_equal(ledger_split_get(f->l, b.id, &got, &e), 0);
        assert_string_equal(got.path, s.path);
        assert_true(ledger_split_is_again(&got));
        assert_int_equal(ledger_split_save(f->l, &s, &e), 0);
        /* by another rule, of another file, and not at all once it is not staged */
        assert_due(f, EVENT_RULE_EDX_URL, 100, "2024-01-02 2024-01-01 ", 0);
        b = day(f, "2024-01-02", 3);
        assert_due(f, EVENT_RULE_EDX, 100, "2024-01-02 2024-01-01 ", 0);
        /* also when it is gone from S3, or refused when it was replaced; not when it is missing or removed */
        static const struct {
                enum object_state state;
                bool due;
        } states[] = {{OBJECT_GONE, true}, {OBJECT_REJECTED, true}, {OBJECT_IGNORED, true},
                {OBJECT_NEW, true}, {OBJECT_MISSING, false}};
        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                b.state = states[i].state;
                assert_int_equal(ledger_save(f->l, &b, &e), 0);
                assert_due(
                        f, EVENT_RULE_EDX, 100, states[i].due ? "2024-01-02 2024-01-01 " : "2024-01-01 ", 0);
        }
        b.staged_etag[0] = 0;
        b.state = OBJECT_PRUNED;
        assert_int_equal(ledger_save(f->l, &b, &e), 0);
        assert_due(f, EVENT_RULE_EDX, 100, "2024-01-01 ", 0);
        assert_int_equal(ledger_split_delete(f->l, b.id, &e), 0);
        assert_int_equal(ledger_split_get(f->l, b.id, &got, &e), -ENOENT);
        assert_int_equal(ledger_split_delete(f->l, b.id, &e), 0);
}

static void failed(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct ledger_object a = day(f, "2024-01-01", 1), b = day(f, "2024-01-02", 2);
        struct ledger_split s = {.object_id = a.id,
                .tried_rule = EVENT_RULE_EDX,
                .cause = CAUSE_IO,
                .attempts = 1,
                .next_try = 500};
        memcpy(s.tried_sha256, a.sha256, sizeof(s.tried_sha256));
        strcpy(s.detail, "no luck");
        assert_int_equal(ledger_split_save(f->l, &s, &e), 0);
        assert_due(f, EVENT_RULE_EDX, 100, "2024-01-02 ", 500);
        assert_due(f, EVENT_RULE_EDX, 500, "2024-01-02 2024-01-01 ", 0);
        s.next_try = 0; /* not again with this file and rule */
        s.cause = CAUSE_BAD_GZIP;
        assert_int_equal(ledger_split_save(f->l, &s, &e), 0);
        assert_due(f, EVENT_RULE_EDX, 1000, "2024-01-02 ", 0);
        assert_due(f, EVENT_RULE_EDX_URL, 1000, "2024-01-02 2024-01-01 ", 0);
        day(f, "2024-01-01", 9);
        assert_due(f, EVENT_RULE_EDX, 1000, "2024-01-02 2024-01-01 ", 0);
        (void)b;
}

static int count(const struct ledger_split *s, void *arg)
{
        assert_true(s->object_id > 0);
        return ++*(int *)arg == 2 ? 7 : 0;
}

static void walked(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        int n = 0;
        for (unsigned i = 1; i <= 3; i++) {
                char date[11];
                snprintf(date, sizeof(date), "2024-01-%02u", i);
                struct ledger_object o = day(f, date, (uint8_t)i);
                struct ledger_split s = made_of(&o, EVENT_RULE_EDX);
                assert_int_equal(ledger_split_save(f->l, &s, &e), 0);
        }
        assert_int_equal(ledger_splits(f->l, count, &n, &e), 7);
        assert_int_equal(n, 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(due_and_done, setup, teardown),
                cmocka_unit_test_setup_teardown(failed, setup, teardown),
                cmocka_unit_test_setup_teardown(walked, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
