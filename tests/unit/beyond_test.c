/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger_fixture.h"

#include "keep.h"

static char org[] = "universityx";
static struct config_package package = {.spec = {.org = org, .categories = BIT(CATEGORY_DATABASE)}};
static struct config config = {.packages = &package, .n_packages = 1};

static struct ledger_object archive(const char *date, const char *etag)
{
        char key[64];
        snprintf(key, sizeof(key), "universityx-%s.zip", date);
        struct ledger_object o = an_object(key, etag);
        o.category = CATEGORY_DATABASE;
        o.is_zip = true;
        o.site[0] = 0;
        snprintf(o.date, sizeof(o.date), "%s", date);
        return o;
}

/* courses: separated by blanks, as the directory has them; NULL: it was not read. */
static struct ledger_object add(
        struct fixture *f, const char *date, const char *courses, enum object_state state)
{
        struct ledger_object o = archive(date, "e1");
        enum listed what;
        assert_int_equal(ledger_listed(f->l, &o, 1, &what, NULL), 0);
        if (courses) {
                _cleanup_(strv_done) struct strv v = {};
                assert_int_equal(strv_split(&v, courses), 0);
                assert_int_equal(beyond_learn(f->l, &o, &v, NULL), 0);
        }
        if (state == OBJECT_PUBLISHED || state == OBJECT_GONE)
                strcpy(o.staged_etag, o.etag);
        o.state = state;
        assert_int_equal(ledger_save(f->l, &o, NULL), 0);
        return o;
}

static enum beyond look_with(
        struct fixture *f, const struct ledger_object *o, const struct ledger_object *listed, size_t n)
{
        enum beyond b = (enum beyond)99;
        struct error e = {};
        if (beyond_look(f ? f->l : NULL, &config, o, listed, n, &b, &e) < 0)
                fail_msg("%s", e.text);
        return b;
}

static enum beyond look(struct fixture *f, const struct ledger_object *o)
{
        return look_with(f, o, NULL, 0);
}

static int setup_beyond(void **state)
{
        config.staging.keep_snapshots = 1;
        package.courses = (struct strv){};
        return setup(state);
}

static void test_newest_are_kept(void **state)
{
        struct fixture *f = *state;
        struct ledger_object old = add(f, "2024-06-30", "A", OBJECT_NEW);
        assert_int_equal(look(f, &old), BEYOND_NO);
        add(f, "2024-07-07", "A", OBJECT_PUBLISHED);
        assert_int_equal(look(f, &old), BEYOND_YES);
        config.staging.keep_snapshots = 2;
        assert_int_equal(look(f, &old), BEYOND_NO);
        config.staging.keep_snapshots = CONFIG_ALL;
        assert_int_equal(look(f, &old), BEYOND_NO);
        config.staging.keep_snapshots = 1;
        /* what is staged stays up to date; a single file is no snapshot */
        strcpy(old.staged_etag, "e0");
        assert_int_equal(look(f, &old), BEYOND_NO);
        old.staged_etag[0] = 0;
        old.is_zip = false;
        assert_int_equal(look(f, &old), BEYOND_NO);
}

static void test_dates_are_counted(void **state)
{
        struct fixture *f = *state;
        struct ledger_object old = add(f, "2024-06-30", "A", OBJECT_NEW);
        config.staging.keep_snapshots = 2;
        add(f, "2024-07-07", "A", OBJECT_PRUNED);
        assert_int_equal(look(f, &old), BEYOND_NO);
        /* a second key of that date is no second snapshot, one of another organisation none at all */
        struct ledger_object twin = archive("2024-07-07", "e1"), other = archive("2024-07-14", "e1");
        strcpy(twin.key, "other-key.zip");
        strcpy(other.org, "otherx");
        struct ledger_object listed[] = {twin, other};
        assert_int_equal(look_with(f, &old, listed, 2), BEYOND_NO);
        add(f, "2024-07-14", "A", OBJECT_FORGOTTEN);
        /* both count, and hold no copy of anything any more */
        assert_int_equal(look(f, &old), BEYOND_LAST_COPY);
}

static void test_last_copy(void **state)
{
        struct fixture *f = *state;
        struct ledger_object old = add(f, "2024-06-30", "C A B A", OBJECT_NEW);
        add(f, "2024-07-07", "B A D", OBJECT_PUBLISHED);
        assert_int_equal(look(f, &old), BEYOND_LAST_COPY);
        /* gone from S3, it is staged all the same */
        add(f, "2024-07-14", "C", OBJECT_GONE);
        assert_int_equal(look(f, &old), BEYOND_YES);
        /* and what is missing from the disk is not */
        struct ledger_object third = archive("2024-07-14", "e1");
        assert_int_equal(ledger_find(f->l, third.bucket, third.key, &third, NULL), 0);
        third.state = OBJECT_MISSING;
        assert_int_equal(ledger_save(f->l, &third, NULL), 0);
        assert_int_equal(look(f, &old), BEYOND_LAST_COPY);
        /* only of courses that are wanted */
        char all[] = "*", not_c[] = "!C";
        package.courses = (struct strv){.v = (char *[]){all, not_c, NULL}, .n = 2};
        assert_int_equal(look(f, &old), BEYOND_YES);
        package.courses = (struct strv){};
        /* and one that is fetched again may be */
        assert_int_equal(ledger_enter(f->l, &third, OBJECT_NEW, NULL), 0);
        assert_int_equal(look(f, &old), BEYOND_WAITS);
}

static void test_must_be_read(void **state)
{
        struct fixture *f = *state;
        struct ledger_object old = add(f, "2024-06-30", NULL, OBJECT_NEW);
        add(f, "2024-07-07", "A", OBJECT_PUBLISHED);
        assert_int_equal(look(f, &old), BEYOND_UNREAD);
        _cleanup_(strv_done) struct strv courses = {};
        assert_int_equal(strv_add(&courses, "A"), 0);
        assert_int_equal(beyond_learn(f->l, &old, &courses, NULL), 0);
        assert_int_equal(look(f, &old), BEYOND_YES);
        /* replaced: what it had says nothing of what it has */
        strcpy(old.etag, "e2");
        assert_int_equal(look(f, &old), BEYOND_UNREAD);
        /* no course at all is a fact as well */
        strv_done(&courses);
        assert_int_equal(beyond_learn(f->l, &old, &courses, NULL), 0);
        assert_int_equal(look(f, &old), BEYOND_YES);
        /* however many there are */
        for (unsigned i = 0; i < 30000; i++) {
                char name[32];
                snprintf(name, sizeof(name), "course-%u", i);
                assert_int_equal(strv_add(&courses, name), 0);
        }
        assert_int_equal(beyond_learn(f->l, &old, &courses, NULL), 0);
        assert_int_equal(look(f, &old), BEYOND_LAST_COPY);
        strv_done(&courses);
}

/* Without a fact, as of a ledger of old, the members tell. */
static void test_only_what_is_staged_is_a_copy(void **state)
{
        struct fixture *f = *state;
        struct ledger_object old = add(f, "2024-06-30", "A", OBJECT_NEW);
        struct ledger_object newer = add(f, "2024-07-07", NULL, OBJECT_PUBLISHED);
        assert_int_equal(look(f, &old), BEYOND_LAST_COPY);
        struct ledger_member m = a_member(newer.id, "A.sql", 1, 1);
        strcpy(m.course, "A");
        m.state = OBJECT_REJECTED;
        assert_int_equal(ledger_member_save(f->l, &m, NULL), 0);
        assert_int_equal(look(f, &old), BEYOND_LAST_COPY);
        m.state = OBJECT_PUBLISHED;
        m.failed = true; /* edX could not export it: the file holds an error */
        assert_int_equal(ledger_member_save(f->l, &m, NULL), 0);
        assert_int_equal(look(f, &old), BEYOND_LAST_COPY);
        m.failed = false;
        assert_int_equal(ledger_member_save(f->l, &m, NULL), 0);
        assert_int_equal(look(f, &old), BEYOND_YES);
        /* its directory has more than could be staged of it */
        _cleanup_(strv_done) struct strv courses = {};
        assert_int_equal(strv_split(&courses, "A B"), 0);
        assert_int_equal(beyond_learn(f->l, &newer, &courses, NULL), 0);
        struct ledger_object older = add(f, "2024-06-23", "B", OBJECT_NEW);
        old.state = OBJECT_IGNORED;
        assert_int_equal(ledger_save(f->l, &old, NULL), 0);
        assert_int_equal(look(f, &older), BEYOND_YES);
        assert_int_equal(beyond_learn_staged(f->l, &newer, NULL), 0);
        assert_int_equal(look(f, &older), BEYOND_LAST_COPY);
        assert_int_equal(look(f, &old), BEYOND_YES);
}

/* Only a database archive has courses: of the others the newest are kept, and no more. */
static void test_other_categories(void **state)
{
        struct fixture *f = *state;
        struct ledger_object old = archive("2024-06-30", "e1"), newer = archive("2024-07-07", "e1");
        old.category = newer.category = CATEGORY_EMAIL_OPT_IN;
        assert_int_equal(look_with(f, &old, &newer, 1), BEYOND_YES);
}

/* czarctl plan: what was listed a moment ago is not in the ledger, or is there as it was. */
static void test_listed(void **state)
{
        struct fixture *f = *state;
        struct ledger_object listed[] = {archive("2024-06-30", "e1"), archive("2024-07-07", "e1")};
        assert_int_equal(look_with(NULL, &listed[0], listed, 2), BEYOND_WAITS);
        assert_int_equal(look_with(NULL, &listed[1], listed, 2), BEYOND_NO);
        listed[1].state = OBJECT_IGNORED;
        assert_int_equal(look_with(NULL, &listed[0], listed, 2), BEYOND_UNREAD);
        /* staged, and replaced just now */
        struct ledger_object old = add(f, "2024-06-30", "A", OBJECT_NEW);
        struct ledger_object newer = add(f, "2024-07-07", "A", OBJECT_PUBLISHED);
        assert_int_equal(look(f, &old), BEYOND_YES);
        newer.id = 0;
        newer.state = OBJECT_NEW;
        strcpy(newer.etag, "e2");
        assert_int_equal(look_with(f, &old, &newer, 1), BEYOND_WAITS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_newest_are_kept, setup_beyond, teardown),
                cmocka_unit_test_setup_teardown(test_dates_are_counted, setup_beyond, teardown),
                cmocka_unit_test_setup_teardown(test_last_copy, setup_beyond, teardown),
                cmocka_unit_test_setup_teardown(test_must_be_read, setup_beyond, teardown),
                cmocka_unit_test_setup_teardown(test_only_what_is_staged_is_a_copy, setup_beyond, teardown),
                cmocka_unit_test_setup_teardown(test_other_categories, setup_beyond, teardown),
                cmocka_unit_test_setup_teardown(test_listed, setup_beyond, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
