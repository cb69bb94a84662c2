/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger_fixture.h"

struct seen_members {
        struct ledger *l;
        struct ledger_member m[4];
        int n;
};

static int keep_member(struct ledger_member *m, void *arg)
{
        struct seen_members *s = arg;
        assert_uint_in_range(s->n, 0, 3);
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
        assert_int_equal(ledger_members_from(f->l, o.id, b.path, keep_member, &seen, NULL), 0);
        assert_int_equal(seen.n, 2);
        assert_string_equal(seen.m[0].path, b.path);
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

static int count_member(struct ledger_member *m, void *arg)
{
        (void)m;
        ++*(unsigned *)arg;
        return 0;
}

/* They go in parts; those of another object stay. */
static void very_many_are_deleted(void **state)
{
        struct fixture *f = *state;
        struct ledger_object one = list(f, "z.zip", "\"1\"", 1, LISTED_NEW), other;
        other = list(f, "y.zip", "\"1\"", 1, LISTED_NEW);
        char name[16];
        unsigned n = 0;
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        for (unsigned i = 0; i < 2500; i++) {
                snprintf(name, sizeof(name), "%u.sql", i);
                struct ledger_member m = a_member(one.id, name, 1, i);
                assert_int_equal(ledger_member_save(f->l, &m, NULL), 0);
                m.object_id = other.id;
                assert_int_equal(ledger_member_save(f->l, &m, NULL), 0);
        }
        assert_int_equal(ledger_members_delete(f->l, one.id, NULL), 0);
        assert_int_equal(ledger_commit(f->l, NULL), 0);
        assert_int_equal(ledger_members(f->l, one.id, count_member, &n, NULL), 0);
        assert_int_equal(n, 0);
        assert_int_equal(ledger_members(f->l, other.id, count_member, &n, NULL), 0);
        assert_int_equal(n, 2500);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(members),
                T(very_many_are_deleted),
                T(plaintext_is_found_only_where_it_is_staged),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
