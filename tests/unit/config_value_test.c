/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "config_internal.h"

/* Both kinds of base, since a row's offset is into one of them. */
static union {
        struct config config;
        struct config_package package;
} base;

static const struct config_key *row(const char *section, const char *name)
{
        const struct config_key *k = config_find_key(section, name);
        assert_non_null(k);
        return k;
}

static void expect_taken(const char *section, const char *name, const char *text)
{
        const struct config_key *k = row(section, name);
        struct error e = {};
        memset(&base, 0, sizeof(base));
        int r = config_value_set(k, &base, text, &e);
        if (r < 0)
                print_error("%s = %s: %s\n", name, text, e.text);
        assert_int_equal(r, 0);
        config_value_free(k, &base);
}

/* Refused, with an expectation, the field untouched, and the value not in the message unless `shown`. */
static void expect_refused(const char *section, const char *name, const char *text, bool shown)
{
        const struct config_key *k = row(section, name);
        static unsigned char before[sizeof(base)];
        struct error e = {};
        memset(&base, 0, sizeof(base));
        memcpy(before, &base, sizeof(base));
        int r = config_value_set(k, &base, text, &e);
        if (r == 0)
                print_error("%s = %s was taken\n", name, text);
        assert_int_equal(r, -EINVAL);
        assert_int_equal(e.cause, CAUSE_CONFIG);
        assert_non_null(strstr(e.text, "; expected "));
        assert_memory_equal(before, &base, sizeof(base));
        if (*text && !shown && strstr(e.text, text))
                fail_msg("%s: the message shows \"%s\"", name, text);
        if (*text && shown)
                assert_non_null(strstr(e.text, text));
}

#define TAKEN(section, name, ...)                                                                            \
        do {                                                                                                 \
                static const char *const v[] = {__VA_ARGS__};                                                \
                for (size_t i = 0; i < ELEMENTSOF(v); i++)                                                   \
                        expect_taken(section, name, v[i]);                                                   \
        } while (0)
#define REFUSED(section, name, shown, ...)                                                                   \
        do {                                                                                                 \
                static const char *const v[] = {__VA_ARGS__};                                                \
                for (size_t i = 0; i < ELEMENTSOF(v); i++)                                                   \
                        expect_refused(section, name, v[i], shown);                                          \
        } while (0)

static void numbers(void **state)
{
        (void)state;
        TAKEN("daemon", "poll_interval", "100ms", "1s", "15min", "1h 30min", "365d", "90");
        REFUSED("daemon", "poll_interval", true, "0", "99ms", "366d", "infinity", "-1s", "5 parsecs", "all");
        REFUSED("daemon", "poll_interval", false, "");
        TAKEN("staging", "keep_replaced", "0", "30d", "all");
        TAKEN("staging", "keep_days", "1", "36500", "all");
        REFUSED("staging", "keep_days", true, "0", "36501", "30d", "1.5", "ALL");
        TAKEN("staging", "keep_snapshots", "1", "all");
        REFUSED("staging", "keep_snapshots", true, "0", "none", "+1");
        TAKEN("staging", "min_free", "0", "10G", "512M", "1");
        REFUSED("staging", "min_free", true, "-1", "10X", "10 %", "99999999E");
        REFUSED("limits", "max_plaintext", true, "0");
        TAKEN("limits", "max_name", "1", "255");
        REFUSED("limits", "max_name", true, "0", "256");
        TAKEN("s3", "max_transfers", "1", "64");
        REFUSED("s3", "max_transfers", true, "0", "65", "0x8", "8 8", "18446744073709551616");
        TAKEN("daemon", "workers", "auto", "1", "64");
        REFUSED("daemon", "workers", true, "0", "65", "automatic", "-1");
}

static void modes(void **state)
{
        (void)state;
        TAKEN("staging", "file_mode", "0440", "440", "0400", "0640");
        REFUSED("staging", "file_mode", false, "0444", "0441", "0040", "2440", "4440", "0540", "0550");
        REFUSED("staging", "file_mode", true, "rw-r--", "44", "00440", "0o440", "0480", "u=r");
        TAKEN("staging", "dir_mode", "0750", "750", "0700", "0770");
        REFUSED("staging", "dir_mode", false, "0755", "0751", "0550", "2750", "1750", "0070");
}

static void words(void **state)
{
        (void)state;
        TAKEN("staging", "deduplicate", "yes", "no", "true", "off", "1");
        REFUSED("staging", "deduplicate", true, "maybe", "YES", "2");
        TAKEN("s3", "addressing", "auto", "path", "virtual");
        REFUSED("s3", "addressing", true, "host", "Path");
        TAKEN("package", "since", "2024-02-29", "1970-01-01", "");
        REFUSED("package", "since", true, "2023-02-29", "2024-2-1", "2024-01-01 ", "yesterday", "20240101",
                "2024-01-01T00:00:00Z");
        struct error e = {};
        assert_int_equal(config_value_set(row("openpgp", "signatures"), &base, "requird", &e), -EINVAL);
        assert_string_equal(
                e.text, "\"requird\"; expected none, optional or required; did you mean \"required\"?");
}

static void names(void **state)
{
        (void)state;
        TAKEN("staging", "group", "edx-data", "_x", "Group_1", "");
        REFUSED("staging", "group", false, "two words", "a:b", "-x", "abcdefghijklmnopqrstuvwxyz0123456");
        TAKEN("s3", "region", "us-east-1", "cn-north-1");
        REFUSED("s3", "region", false, "", "US", "us east", "us/east", "-x", "us-east-1a");
        TAKEN("package", "org", "universityx", "x", "university.x-1_2", "3x");
        REFUSED("package", "org", false, "UniversityX", "-x", "a/b", ".x", "x y", "\xc3\xa9");
        struct error e = {};
        assert_int_equal(config_value_set(row("package", "org"), &base, "UniversityX", &e), -EINVAL);
        assert_non_null(strstr(e.text, "did you mean \"universityx\"?"));
}

static void paths(void **state)
{
        (void)state;
        TAKEN("staging", "path", "/srv/x", "/", "/srv/with blank", "/srv/x/", "/srv/..x");
        REFUSED("staging", "path", false, "srv", "./srv", "~/srv", "/srv/../etc", "/srv/./x", "/srv/..");
        char longest[4098] = "/";
        memset(longest + 1, 'x', 4095);
        expect_refused("staging", "path", longest, false);
        longest[4095] = 0;
        expect_taken("staging", "path", longest);
        longest[108] = 0; /* sun_path has 108 bytes with its NUL */
        expect_refused("daemon", "socket", longest, false);
        longest[107] = 0;
        expect_taken("daemon", "socket", longest);
        memset(&base, 0, sizeof(base));
        assert_int_equal(config_value_set(row("staging", "path"), &base, "//srv///x//", NULL), 0);
        assert_string_equal(base.config.staging.path, "/srv/x");
        assert_int_equal(config_value_set(row("staging", "path"), &base, "///", NULL), 0);
        assert_string_equal(base.config.staging.path, "/");
        config_value_free(row("staging", "path"), &base);
        assert_null(base.config.staging.path);
}

static void urls(void **state)
{
        (void)state;
        TAKEN("s3", "endpoint", "https://s3.example.org", "https://s3.example.org:9000", "http://127.0.0.1:1",
                "http://[::1]:9000", "https://[2001:db8::1]", "https://s3.example.org/",
                "https://localhost:65535", "");
        REFUSED("s3", "endpoint", false, "s3.example.org", "ftp://s3.example.org", "https://",
                "https://user:secret@host", "https://host/bucket", "https://host:9000/a/b",
                "https://host?x=y", "https://host#x", "https://host:0", "https://host:65536",
                "https://host:x", "https://host:", "https://ho st", "https://-host", "https://.host",
                "https://[::1", "https://[]:1", "https://[::g]", "HTTPS://host", "https://host,other",
                "https:///", "https://h\xc3\xb6st");
        TAKEN("s3", "proxy", "http://proxy:3128", "https://proxy", "");
        REFUSED("s3", "proxy", false, "http://user:secret@proxy:3128", "http://user@proxy", "proxy:3128",
                "socks5://proxy:1080");
        struct error e = {};
        assert_int_equal(
                config_value_set(row("s3", "proxy"), &base, "http://user:secret@proxy:1", &e), -EINVAL);
        assert_non_null(strstr(e.text, "czard.proxy"));
        assert_null(strstr(e.text, "secret"));
        assert_null(strstr(e.text, "user:"));
}

static void lists(void **state)
{
        (void)state;
        TAKEN("package", "sites", "edx", "edx edge patches", " edx   edge ");
        REFUSED("package", "sites", false, "", "edx,edge", "edx, edge");
        REFUSED("package", "sites", true, "Edx", "..", "a/b");
        TAKEN("package", "categories", "events", "rdx email-opt-in database events");
        REFUSED("package", "categories", false, "", "events,rdx", "events email_opt_in");
        REFUSED("package", "categories", true, "event");
        TAKEN("package", "courses", "*", "UniversityX-CS* !*-ccx-*", "!*", "");
        REFUSED("package", "courses", false, "a,b", "! x");
        TAKEN("openpgp", "signers", "", "0123456789abcdefABCDEF0123456789abcdef01",
                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        REFUSED("openpgp", "signers", false, "0123456789abcdef", "0x0123456789abcdefABCDEF0123456789abcdef",
                "0123456789abcdefABCDEF0123456789abcdef0g", "someone@example.org");
        struct error e = {};
        assert_int_equal(config_value_set(row("package", "sites"), &base, "edx,edge", &e), -EINVAL);
        assert_string_equal(e.text, "a comma; expected white space between the entries of a list");
        assert_int_equal(config_value_set(row("package", "sites"), &base, "edx edge edx", &e), -EINVAL);
        assert_non_null(strstr(e.text, "once"));
        assert_int_equal(config_value_set(row("package", "categories"), &base, "email_opt_in", &e), -EINVAL);
        assert_non_null(strstr(e.text, "did you mean \"email-opt-in\"?"));
}

static void deliveries(void **state)
{
        (void)state;
        TAKEN("deliver", "purpose", "", "IRB 2026-113, agreement of 2026-05-04", "Universit\xc3\xa4t");
        REFUSED("deliver", "purpose", false, "a\x1b[2J", "a\tb", "\xff");
        TAKEN("deliver", "dates", "", "2024-01-01..2024-12-31", "2024-01-01..", "..2024-12-31", "..",
                "2024-02-29..2024-02-29");
        REFUSED("deliver", "dates", true, "2024-01-01", "2024-01-01...", "2024-01-01..2024-13-01",
                "2024-02-01..2024-01-31", "2024-1-1..", "x..y");
        TAKEN("deliver", "courses", "UniversityX-C1-*", "course-v1:UniversityX+C1+1T2024",
                "UniversityX/C1/1T2024", "!*-ccx-*", "*");
        REFUSED("deliver", "courses", true, "course-v1:UniversityX+*+1T2024", "UniversityX/C1/*", "a.sql");
        TAKEN("deliver", "tables", "events grades_* auth_user forum ora/assessment_rubric *", "!auth_user",
                "!ora/*", "email_opt_in");
        REFUSED("deliver", "tables", true, "auth_*", "auth_user*", "certificates_?", "ora/*", "forum*",
                "email_opt_in*", "auth_user.sql");
}

static void rules(void **state)
{
        (void)state;
        TAKEN("package", "events_by_course", "none", "edx", "edx+url");
        REFUSED("package", "events_by_course", true, "yes", "url", "EDX", "edx url");
}

static void locations(void **state)
{
        (void)state;
        TAKEN("package", "events", "s3://edx-course-data", "s3://edx-course-data/universityx/", "");
        REFUSED("package", "events", false, "edx-course-data", "https://edx-course-data",
                "s3://AKIA:secret@x/y", "s3://bucket//x");
}

/* Each row's own default is one of its values, and equal to itself and not to another. */
static void every_row_can_be_set_compared_and_freed(void **state)
{
        (void)state;
        static const char *const others[] = {"2h", "7", "1G", "no", "yes", "plain", "none", "gnupg", "0400",
                "0700", "/elsewhere", "word", "rdx", "hold", "require", "debug", "path", "https://x",
                "edx+url", "s3://other", "2024-01-01", "2024-01-01..", "once",
                "0123456789abcdef0123456789abcdef01234567"};
        for (size_t i = 0; i < config_n_keys; i++) {
                const struct config_key *k = &config_keys[i];
                static union {
                        struct config config;
                        struct config_package package;
                        struct config_delivery delivery;
                } a, b;
                memset(&a, 0, sizeof(a));
                memset(&b, 0, sizeof(b));
                assert_int_equal(config_value_set(k, &a, k->def, NULL), 0);
                assert_int_equal(config_value_set(k, &b, k->def, NULL), 0);
                assert_true(config_value_equal(k, &a, &b));
                bool changed = false;
                for (size_t j = 0; j < ELEMENTSOF(others) && !changed; j++)
                        changed = config_value_set(k, &b, others[j], NULL) == 0 &&
                                  !config_value_equal(k, &a, &b);
                if (!changed)
                        print_error("%s\n", k->full);
                assert_true(changed);
                config_value_free(k, &a);
                config_value_free(k, &b);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(numbers),
                cmocka_unit_test(modes),
                cmocka_unit_test(words),
                cmocka_unit_test(rules),
                cmocka_unit_test(deliveries),
                cmocka_unit_test(names),
                cmocka_unit_test(paths),
                cmocka_unit_test(urls),
                cmocka_unit_test(lists),
                cmocka_unit_test(locations),
                cmocka_unit_test(every_row_can_be_set_compared_and_freed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
