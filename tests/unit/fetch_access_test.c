/* SPDX-License-Identifier: Apache-2.0 */
/* Who may read what, as whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "fsx.h"

static char dir[64];

static void write_file(const char *name, mode_t mode, const char *text)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        unlink(path);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static void write_key(const char *name, const char *id)
{
        char text[128];
        snprintf(text, sizeof(text), "Access Key Id,Secret Access Key\n%s,secret\n", id);
        write_file(name, 0400, text);
}

/* Two organisations whose names begin alike; the second may have a data czar of its own. */
static void load(const char *general, const char *own, struct config **config, struct access **access)
{
        char text[2048], path[128];
        struct error e = {};
        struct strv more = {};
        snprintf(text, sizeof(text),
                "[s3]\n%s%s%s%s\n[staging]\npath = %s/staging\n"
                "[package mitx]\nevents = s3://edx-course-data/mitx/\nrdx = s3://edx-course-data/mitx/\n"
                "database = s3://course-data/\nemail_opt_in = s3://course-data/email-opt-in/\n"
                "[package mitx-pro]\nevents = s3://edx-course-data/mitx-pro/\n"
                "rdx = s3://edx-course-data/mitx-pro/\n"
                "database = s3://course-data/\nemail_opt_in = s3://course-data/email-opt-in/\n%s%s%s%s\n",
                general ? "credentials = " : "", general ? dir : "", general ? "/" : "",
                general ? general : "", dir, own ? "credentials = " : "", own ? dir : "", own ? "/" : "",
                own ? own : "");
        write_file("czard.ini", 0600, text);
        snprintf(path, sizeof(path), "%s/czard.ini", dir);
        int r = config_load(path, config, &e, &more);
        if (r < 0)
                print_error("%s\n", e.text);
        assert_int_equal(r, 0);
        assert_int_equal(access_new(*config, access, &e), 0);
        strv_done(&more);
}

static void done(struct config *config, struct access *access)
{
        access_free(access);
        config_free(config);
}

static int setup(void **state)
{
        (void)state;
        snprintf(dir, sizeof(dir), "/tmp/czard-access-XXXXXX");
        assert_non_null(mkdtemp(dir));
        unsetenv("CREDENTIALS_DIRECTORY");
        write_key("general.csv", "AKIAGENERAL");
        write_key("own.csv", "AKIAOWN");
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        char line[128];
        snprintf(line, sizeof(line), "rm -r %s", dir);
        return system(line);
}

static const char *id_for_list(const struct access *a, const char *bucket, const char *prefix)
{
        const struct credentials *c = NULL;
        struct error e = {};
        int r = access_list(a, bucket, prefix, &c, &e);
        assert_int_equal(r, c ? 0 : -EACCES);
        return c ? c->access_key_id : cause_name(e.cause);
}

static const char *id_for_get(const struct access *a, const char *bucket, const char *key)
{
        const struct credentials *c = NULL;
        struct error e = {};
        int r = access_get(a, bucket, key, &c, &e);
        assert_int_equal(r, c ? 0 : -EACCES);
        return c ? c->access_key_id : cause_name(e.cause);
}

static void each_package_with_its_own_key(void **state)
{
        (void)state;
        struct config *config;
        struct access *a;
        load("general.csv", "own.csv", &config, &a);
        assert_string_equal(id_for_list(a, "edx-course-data", "mitx/edx/events/"), "AKIAGENERAL");
        assert_string_equal(id_for_list(a, "edx-course-data", "mitx/edx/events/2024/"), "AKIAGENERAL");
        assert_string_equal(id_for_list(a, "edx-course-data", "mitx-pro/edx/events/"), "AKIAOWN");
        /* "mitx-" is a prefix of "mitx-pro-": the longer one decides */
        assert_string_equal(id_for_list(a, "course-data", "mitx-"), "AKIAGENERAL");
        assert_string_equal(id_for_list(a, "course-data", "mitx-pro-"), "AKIAOWN");
        assert_string_equal(id_for_get(a, "course-data", "mitx-2024-07-07.zip"), "AKIAGENERAL");
        assert_string_equal(id_for_get(a, "course-data", "mitx-pro-2024-07-07.zip"), "AKIAOWN");
        assert_non_null(strstr(access_source(a), "general.csv"));
        assert_non_null(strstr(access_source(a), "own.csv"));
        done(config, a);
}

static void nothing_else(void **state)
{
        (void)state;
        struct config *config;
        struct access *a;
        load("general.csv", NULL, &config, &a);
        static const char *const prefixes[] = {"", "m", "mitx", "mitx/", "mitx/edx/", "mit/edx/events/",
                "harvardx/edx/events/", "/mitx/edx/events/"};
        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                assert_string_equal(id_for_list(a, "edx-course-data", prefixes[i]), "access-denied");
        assert_string_equal(id_for_list(a, "other", "mitx/edx/events/"), "access-denied");
        assert_string_equal(id_for_get(a, "edx-course-data", "harvardx/edx/events/2024/x"), "access-denied");
        assert_string_equal(id_for_get(a, "course-data", "harvardx-2024-07-07.zip"), "access-denied");
        done(config, a);
}

static void the_credential_stands_in_for_the_general_file(void **state)
{
        (void)state;
        struct config *config;
        struct access *a;
        write_key("czard.s3", "AKIACREDENTIAL");
        setenv("CREDENTIALS_DIRECTORY", dir, 1);
        load("general.csv", "own.csv", &config, &a);
        assert_string_equal(id_for_list(a, "course-data", "mitx-"), "AKIACREDENTIAL");
        assert_string_equal(id_for_list(a, "course-data", "mitx-pro-"), "AKIAOWN");
        assert_non_null(strstr(access_source(a), "czard.s3 (it wins"));
        done(config, a);
        /* a bad one is not passed over for an older file */
        write_file("czard.s3", 0400, "nonsense\n");
        load("general.csv", NULL, &config, &a);
        assert_string_equal(id_for_list(a, "course-data", "mitx-"), "no-credentials");
        done(config, a);
}

static void missing_or_open_files(void **state)
{
        (void)state;
        struct config *config;
        struct access *a;
        load(NULL, "own.csv", &config, &a);
        assert_string_equal(id_for_list(a, "course-data", "mitx-"), "no-credentials");
        assert_string_equal(id_for_list(a, "course-data", "mitx-pro-"), "AKIAOWN");
        done(config, a);
        load("absent.csv", NULL, &config, &a);
        assert_string_equal(id_for_list(a, "course-data", "mitx-"), "no-credentials");
        assert_non_null(strstr(access_source(a), "absent.csv"));
        done(config, a);
        char path[128];
        snprintf(path, sizeof(path), "%s/general.csv", dir);
        assert_int_equal(chmod(path, 0440), 0);
        load("general.csv", NULL, &config, &a);
        assert_string_equal(id_for_list(a, "course-data", "mitx-"), "no-credentials");
        done(config, a);
        /* but modes inside $CREDENTIALS_DIRECTORY are systemd's */
        setenv("CREDENTIALS_DIRECTORY", dir, 1);
        load("general.csv", NULL, &config, &a);
        assert_string_equal(id_for_list(a, "course-data", "mitx-"), "AKIAGENERAL");
        done(config, a);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(each_package_with_its_own_key),
                T(nothing_else),
                T(the_credential_stands_in_for_the_general_file),
                T(missing_or_open_files),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
