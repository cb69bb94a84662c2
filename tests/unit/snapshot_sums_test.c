/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "digest.h"
#include "fault_readdir.h"
#include "snapshot_fixture.h"

/* Sums as sha256sum reads them, and rejections. */
static void sums_are_what_sha256sum_accepts(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        uint8_t x[SHA256_SIZE], y[SHA256_SIZE];
        struct snapshot_dir *d = begin(f, "t");
        add(f, d, "b", "x");
        add(f, d, "B", "y");
        add(f, d, "a b", "x");
        add(f, d, "ora/z", "y");
        add(f, d, "ora.txt", "x");
        add(f, d, "back\\slash", "y");
        add(f, d, "\xc3\xbc", "x");
        assert_int_equal(digest_once(DIGEST_SHA256, "x", 1, x), 0);
        assert_int_equal(digest_once(DIGEST_SHA256, "y", 1, y), 0);
        struct sum sums[] = {{"b", x, NULL}, {"\xc3\xbc", x, NULL}, {"B", y, NULL}, {"a b", x, NULL},
                {"z rejected", NULL, "bad-integrity"}, {"ora/z", y, NULL}, {"ora.txt", x, NULL},
                {"back\\slash", y, NULL}, {"../evil\n\x1b[2J", NULL, "unsafe-name"}};
        assert_int_equal(publish_all(d, sums, ELEMENTSOF(sums), NULL, &e), 0);
        snapshot_free(d);
#define X "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
#define Y "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa"
        assert_content(f, PATH "/SHA256SUMS",
                Y "  B\n" X "  a b\n" X "  b\n\\" Y "  back\\\\slash\n" X "  ora.txt\n" Y "  ora/z\n" X
                  "  \xc3\xbc\n");
        assert_content(f, PATH "/REJECTED", "unsafe-name\t../evil\\x0a\\x1b[2J\nbad-integrity\tz rejected\n");
        _cleanup_free_ char *command =
                str_printf("cd %s/" PATH " && sha256sum --strict --quiet -c SHA256SUMS", f->dir);
        assert_int_equal(system(command), 0);
}

static void the_manifest_tells_each(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        uint8_t x[SHA256_SIZE];
        struct snapshot_dir *d = begin(f, "t");
        add(f, d, "b\"c.sql", "x");
        add(f, d, "a.mongo", "x");
        add(f, d, "ora/z.sql", "x");
        assert_int_equal(digest_once(DIGEST_SHA256, "x", 1, x), 0);
        struct sum sums[] = {{.name = "b\"c.sql",
                                     .sha256 = x,
                                     .course = "X-y-z",
                                     .table = "auth_user",
                                     .site = "edx",
                                     .size = 1,
                                     .rows = 7},
                {.name = "a.mongo",
                        .sha256 = x,
                        .course = "",
                        .table = "",
                        .site = "",
                        .size = 1ULL << 40,
                        .rows = 9},
                {.name = "ora/z.sql", .sha256 = x, .table = "ora/z", .site = "edge", .size = 1},
                {.name = "no", .cause = "bad-zip"}};
        assert_int_equal(publish_all(d, sums, ELEMENTSOF(sums), NULL, &e), 0);
        snapshot_free(d);
        assert_content(f, PATH "/MANIFEST.jsonl",
                "{\"path\":\"a.mongo\",\"course\":null,\"table\":null,\"site\":null,\"size\":1099511627776,"
                "\"sha256\":\"" X "\",\"rows\":null}\n"
                "{\"path\":\"b\\\"c.sql\",\"course\":\"X-y-z\",\"table\":\"auth_user\",\"site\":\"edx\","
                "\"size\":1,\"sha256\":\"" X "\",\"rows\":7}\n"
                "{\"path\":\"ora/z.sql\",\"course\":null,\"table\":\"ora/"
                "z\",\"site\":\"edge\",\"size\":1,\"sha256\":\"" X "\",\"rows\":0}\n");
}

static void what_does_not_belong_is_removed(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        uint8_t sha256[SHA256_SIZE] = {};
        struct snapshot_dir *d = begin(f, "t");
        add(f, d, "member", "x");
        add(f, d, "rejected", "x");
        add(f, d, "old/deep/er", "x");
        add(f, d, "SHA256SUMS", "x");
        add(f, d, "MANIFEST.jsonl", "x");
        add(f, d, "REJECTED", "x");
        add(f, d, "keep/m", "x");
        add(f, d, "keep/n", "x");
        assert_int_equal(symlinkat("/etc", at(f), PARTIAL "/link"), 0);
        assert_int_equal(mkfifoat(at(f), PARTIAL "/.czard-tmp-1", 0600), 0);
        struct sum sums[] = {
                {"member", sha256, NULL}, {"keep/m", sha256, NULL}, {"rejected", NULL, "bad-zip"}};
        assert_int_equal(publish_all(d, sums, 3, NULL, &e), 0);
        snapshot_free(d);
        assert_int_equal(count_entries(f, PATH), 5);
        assert_int_equal(count_entries(f, PATH "/keep"), 1);
        assert_content(f, PATH "/REJECTED", "bad-zip\trejected\n");
}

/* A folder that cannot be read to its end may hold anything. */
static void what_was_not_looked_at_is_not_published(void **state)
{
        struct fixture *f = *state;
        uint8_t sha256[SHA256_SIZE] = {};
        struct snapshot_dir *d = begin(f, "t");
        add(f, d, "member", "x");
        add(f, d, "keep/m", "x");
        add(f, d, "keep/of-another-run", "x");
        for (int n = 1;; n++) {
                struct sum sums[] = {{"member", sha256, NULL}, {"keep/m", sha256, NULL}};
                struct error e = {};
                fail_readdir = n;
                int r = publish_all(d, sums, 2, NULL, &e);
                bool reached = fail_readdir == 0;
                fail_readdir = 0;
                if (!reached) {
                        assert_int_equal(r, 0);
                        assert_true(n > 4);
                        break;
                }
                assert_true(r < 0);
                assert_non_null(strstr(e.text, "tidying"));
                assert_false(is_there(f, PATH));
        }
        snapshot_free(d);
        assert_int_equal(count_entries(f, PATH), 4); /* and the two lists */
        assert_int_equal(count_entries(f, PATH "/keep"), 1);
}

static void a_missing_member_is_not_published(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        uint8_t sha256[SHA256_SIZE] = {};
        struct snapshot_dir *d = begin(f, "t");
        add(f, d, "a", "x");
        assert_int_equal(symlinkat("a", at(f), PARTIAL "/b"), 0);
        struct sum sums[] = {{"a", sha256, NULL}, {"b", sha256, NULL}, {"a", sha256, NULL}};
        assert_int_equal(publish_all(d, sums, 3, NULL, &e), -EINVAL); /* twice */
        struct sum two[] = {{"a", sha256, NULL}, {"b", sha256, NULL}};
        assert_int_equal(publish_all(d, two, 2, NULL, &e), -ENOENT);
        assert_non_null(strstr(e.text, "member b"));
        assert_false(is_there(f, PATH));
        struct sum outside[] = {{"../../x", sha256, NULL}, {"a", sha256, NULL}};
        assert_int_equal(publish_all(d, outside, 2, NULL, &e), -EINVAL);
        struct sum one[] = {{"a", sha256, NULL}};
        assert_int_equal(publish_all(d, one, 1, "../x", &e), -EINVAL);
        /* and it can still be */
        assert_int_equal(publish_all(d, one, 1, NULL, &e), 0);
        snapshot_free(d);
        assert_int_equal(count_entries(f, PATH), 3);
}

/* A name that was refused may be one that stands there. */
static void rejected_names_may_be_any(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        uint8_t sha256[SHA256_SIZE] = {};
        struct snapshot_dir *d = begin(f, "t");
        add(f, d, "a", "x");
        struct sum sums[] = {{"a", NULL, "bad-zip"}, {"b", NULL, NULL}, {"a", sha256, NULL},
                {"a", NULL, "over-limit"}, {"", NULL, "unsafe-name"}};
        assert_int_equal(publish_all(d, sums, ELEMENTSOF(sums), NULL, &e), 0);
        snapshot_free(d);
        assert_int_equal(count_entries(f, PATH), 4);
        assert_content(f, PATH "/REJECTED", "unsafe-name\t\nbad-zip\ta\nover-limit\ta\nunknown\tb\n");
}

static void what_cannot_be_told_is_not_published(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        uint8_t sha256[SHA256_SIZE] = {};
        struct snapshot_dir *d = begin(f, "t");
        add(f, d, "a", "x");
        struct sum sums[] = {{"a", sha256, NULL}, {"unreadable", NULL, NULL}};
        assert_int_equal(publish_all(d, sums, 2, NULL, &e), -EIO);
        assert_string_equal(e.text, "cannot read");
        assert_false(is_there(f, PATH));
        snapshot_free(d);
}

static void many_members_in_order(void **state)
{
        enum { MANY = 5000 };
        struct fixture *f = *state;
        struct error e = {};
        uint8_t sha256[SHA256_SIZE];
        struct snapshot_dir *d = begin(f, "t");
        struct sum *sums = calloc(MANY, sizeof(*sums));
        assert_int_equal(digest_once(DIGEST_SHA256, "x", 1, sha256), 0);
        for (size_t i = 0; i < MANY; i++) {
                char *name = str_printf("%s%05zu", i % 2 ? "ora/" : "", i * 7 % MANY);
                add(f, d, name, "x");
                sums[i] = (struct sum){.name = name, .sha256 = sha256};
        }
        assert_int_equal(publish_all(d, sums, MANY, NULL, &e), 0);
        snapshot_free(d);
        for (size_t i = 0; i < MANY; i++)
                free((void *)(uintptr_t)sums[i].name);
        free(sums);
        _cleanup_free_ char *command =
                str_printf("cd %s/" PATH " && sha256sum --strict --quiet -c SHA256SUMS && test $(wc -l "
                           "<SHA256SUMS) = 5000 && cut -c 67- SHA256SUMS | LC_ALL=C sort -c",
                        f->dir);
        assert_int_equal(system(command), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(the_manifest_tells_each),
                T(sums_are_what_sha256sum_accepts),
                T(what_does_not_belong_is_removed),
                T(what_was_not_looked_at_is_not_published),
                T(a_missing_member_is_not_published),
                T(rejected_names_may_be_any),
                T(what_cannot_be_told_is_not_published),
                T(many_members_in_order),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
