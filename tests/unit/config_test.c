/* SPDX-License-Identifier: Apache-2.0 */
/* Files, sections and keys; values are config_value_test's, the whole is config_check_test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#include "config_fixture.h"

static void defaults(void **state)
{
        (void)state;
        struct config *c = load_good(STAGING PACKAGE);
        assert_int_equal(c->poll_interval_usec, 15 * USEC_PER_MINUTE);
        assert_int_equal(c->full_list_interval_usec, USEC_PER_DAY);
        assert_string_equal(c->state_dir, "/var/lib/czard");
        assert_null(c->socket);
        assert_int_equal(c->workers, CONFIG_AUTO);
        assert_int_equal(c->log_level, LOG_INFO);
        assert_null(c->s3.endpoint);
        assert_string_equal(c->s3.region, "us-east-1");
        assert_int_equal(c->s3.addressing, ADDRESSING_VIRTUAL);
        assert_null(c->s3.credentials);
        assert_int_equal(c->s3.max_transfers, 8);
        assert_int_equal(c->s3.bandwidth_limit, 0);
        assert_null(c->s3.ca_file);
        assert_null(c->s3.proxy);
        assert_false(c->s3.allow_http);
        assert_int_equal(c->s3.stall_timeout_usec, USEC_PER_MINUTE);
        assert_string_equal(c->openpgp.homedir, "/var/lib/czard/gnupg");
        assert_null(c->openpgp.passphrase_file);
        assert_int_equal(c->openpgp.signatures, SIGNATURES_OPTIONAL);
        assert_int_equal(c->openpgp.signers.n, 0);
        assert_int_equal(c->openpgp.engine, ENGINE_AUTO);
        assert_string_equal(c->staging.path, "/srv/x");
        assert_null(c->staging.groups.all);
        assert_int_equal(c->staging.file_mode, 0440);
        assert_int_equal(c->staging.dir_mode, 0750);
        assert_int_equal(c->staging.min_free, 10 * GIB);
        assert_int_equal(c->staging.events_format, EVENTS_GZIP);
        assert_int_equal(c->staging.encrypted_device, DEVICE_WARN);
        assert_true(c->staging.keep_snapshots == CONFIG_ALL);
        assert_true(c->staging.keep_days_usec == CONFIG_ALL);
        assert_int_equal(c->staging.keep_replaced_usec, 30 * USEC_PER_DAY);
        assert_true(c->staging.deduplicate);
        assert_int_equal(c->staging.incomplete_snapshots, INCOMPLETE_PUBLISH);
        assert_int_equal(c->limits.max_plaintext, 500 * GIB);
        assert_int_equal(c->limits.max_ratio, 2000);
        assert_int_equal(c->limits.max_members, 200000);
        assert_int_equal(c->limits.max_name, 255);
        assert_int_equal(c->limits.max_listed, 1000000);
        assert_int_equal(c->limits.max_growth, 1 * GIB);
        assert_int_equal(c->state_min_free, 64 * MIB);
        assert_int_equal(c->n_packages, 1);
        const struct config_package *p = &c->packages[0];
        assert_string_equal(p->name, "universityx");
        assert_string_equal(p->spec.org, "universityx");
        assert_int_equal(p->spec.sites.n, 2);
        assert_string_equal(p->spec.sites.v[0], "edx");
        assert_string_equal(p->spec.sites.v[1], "edge");
        assert_int_equal(p->spec.categories, BIT(CATEGORY_MAX) - 1);
        assert_int_equal(p->since, INT_MIN);
        assert_int_equal(p->courses.n, 0);
        assert_string_equal(p->homedir, "/var/lib/czard/gnupg");
        assert_null(p->credentials);
        assert_int_equal(c->warnings.n, 0);
        config_free(c);
}

static void every_key_is_taken(void **state)
{
        (void)state;
        struct config *c =
                load_good("[daemon]\npoll_interval = 5min\nfull_list_interval = 12h\nstate_dir = /var/s/\n"
                          "socket = /run/x\nworkers = 3\nlog_level = debug\n"
                          "[s3]\nendpoint = https://s3.example.org:9000/\nregion = eu-west-1\n"
                          "credentials = /c.csv\nmax_transfers = 2\nbandwidth_limit = 1M\nca_file = /ca\n"
                          "proxy = http://proxy:3128\nallow_http = no\nstall_timeout = 30\n"
                          "[openpgp]\nhomedir = /h\npassphrase_file = /p\nsignatures = required\n"
                          "signers = 0123456789abcdef0123456789abcdef01234567\nengine = gnupg\n"
                          "[staging]\npath = /srv//x/\ngroup = g\nevents_group = ge\nfile_mode = 400\n"
                          "dir_mode = 0700\nmin_free = 0\nevents_format = plain\n"
                          "encrypted_device = require\nkeep_snapshots = 4\nkeep_days = 400\n"
                          "keep_replaced = all\ndeduplicate = no\nincomplete_snapshots = hold\n"
                          "[limits]\nmax_plaintext = 1T\nmax_ratio = 100\nmax_members = 10\nmax_name = "
                          "99\nmax_listed = 7\nmax_growth = 2M\n"
                          "[package P]\norg = px\nsites = edge\ncategories = email-opt-in events\n"
                          "events = s3://ddd/e/\nemail_opt_in = s3://ooo\nsince = 2020-02-29\n"
                          "courses = PX-* !*-ccx-*\n  Other-*\ntables = auth_user\ncredentials = /pc\n"
                          "homedir = /ph\nrdx_group = pr\n");
        assert_int_equal(c->poll_interval_usec, 5 * USEC_PER_MINUTE);
        assert_int_equal(c->full_list_interval_usec, 12 * USEC_PER_HOUR);
        assert_string_equal(c->state_dir, "/var/s");
        assert_string_equal(c->socket, "/run/x");
        assert_int_equal(c->workers, 3);
        assert_int_equal(c->log_level, LOG_DEBUG);
        assert_string_equal(c->s3.endpoint, "https://s3.example.org:9000");
        assert_string_equal(c->s3.region, "eu-west-1");
        assert_int_equal(c->s3.addressing, ADDRESSING_PATH);
        assert_string_equal(c->s3.credentials, "/c.csv");
        assert_int_equal(c->s3.max_transfers, 2);
        assert_int_equal(c->s3.bandwidth_limit, MIB);
        assert_string_equal(c->s3.ca_file, "/ca");
        assert_string_equal(c->s3.proxy, "http://proxy:3128");
        assert_int_equal(c->s3.stall_timeout_usec, 30 * USEC_PER_SEC);
        assert_string_equal(c->openpgp.homedir, "/h");
        assert_string_equal(c->openpgp.passphrase_file, "/p");
        assert_int_equal(c->openpgp.signatures, SIGNATURES_REQUIRED);
        assert_string_equal(c->openpgp.signers.v[0], "0123456789ABCDEF0123456789ABCDEF01234567");
        assert_int_equal(c->openpgp.engine, ENGINE_GNUPG);
        assert_string_equal(c->staging.path, "/srv/x");
        assert_int_equal(c->staging.file_mode, 0400);
        assert_int_equal(c->staging.dir_mode, 0700);
        assert_int_equal(c->staging.min_free, 0);
        assert_int_equal(c->staging.events_format, EVENTS_PLAIN);
        assert_int_equal(c->staging.encrypted_device, DEVICE_REQUIRE);
        assert_int_equal(c->staging.keep_snapshots, 4);
        assert_int_equal(c->staging.keep_days_usec, 400 * USEC_PER_DAY);
        assert_true(c->staging.keep_replaced_usec == CONFIG_ALL);
        assert_false(c->staging.deduplicate);
        assert_int_equal(c->staging.incomplete_snapshots, INCOMPLETE_HOLD);
        assert_int_equal(c->limits.max_plaintext, 1024 * GIB);
        assert_int_equal(c->limits.max_ratio, 100);
        assert_int_equal(c->limits.max_members, 10);
        assert_int_equal(c->limits.max_name, 99);
        assert_int_equal(c->limits.max_listed, 7);
        assert_int_equal(c->limits.max_growth, 2 * MIB);
        const struct config_package *p = &c->packages[0];
        assert_string_equal(p->name, "P");
        assert_string_equal(p->spec.org, "px");
        assert_int_equal(p->spec.sites.n, 1);
        assert_int_equal(p->spec.categories, BIT(CATEGORY_EVENTS) | BIT(CATEGORY_EMAIL_OPT_IN));
        assert_string_equal(p->spec.at[CATEGORY_EVENTS].bucket, "ddd");
        assert_string_equal(p->spec.at[CATEGORY_EVENTS].prefix, "e/");
        assert_null(p->spec.at[CATEGORY_RDX].bucket);
        assert_int_equal(p->since, 18321); /* date -ud 2020-02-29 +%s, / 86400 */
        assert_int_equal(p->courses.n, 3);
        assert_string_equal(p->courses.v[2], "Other-*");
        assert_int_equal(p->tables.n, 1);
        assert_string_equal(p->credentials, "/pc");
        assert_string_equal(p->homedir, "/ph");
        assert_string_equal(config_group(p, CATEGORY_RDX), "pr");
        assert_string_equal(config_group(p, CATEGORY_EVENTS), "ge");
        assert_string_equal(config_group(p, CATEGORY_DATABASE), "g");
        config_free(c);
}

static void errors_name_file_line_and_key(void **state)
{
        (void)state;
        expect_error("[daemon]\npol_interval = 1h\n" STAGING PACKAGE, 2,
                "[daemon] pol_interval: unknown key; did you mean \"poll_interval\"?");
        expect_error("[daemon]\n\nendpoint = http://x\n" STAGING PACKAGE, 3,
                "[daemon] endpoint: unknown key; did you mean \"[s3] endpoint\"?");
        expect_error("[daemon]\norg = x\n" STAGING PACKAGE, 2, "\"[package NAME] org\"");
        expect_error("[daemon]\nfrobnicate = x\n" STAGING PACKAGE, 2, "unknown key; expected");
        expect_error(STAGING PACKAGE "catagories = rdx\n", 8, "did you mean \"categories\"?");
        expect_error("[stagng]\n" STAGING PACKAGE, 1, "[stagng]: unknown section");
        expect_error("[stagng]\n" STAGING PACKAGE, 1, "did you mean \"[staging]\"?");
        expect_error("[packages x]\n" STAGING PACKAGE, 1, "unknown section");
        expect_error("[nothing of the kind]\nx = y\n" STAGING PACKAGE, 1, "unknown section; expected daemon");
        expect_error("[package]\n" STAGING PACKAGE, 1, "expected [package NAME]");
        expect_error("[package a/b]\n" STAGING PACKAGE, 1, "expected [package NAME]");
        expect_error("[package ..]\n" STAGING PACKAGE, 1, "expected [package NAME]");
        expect_error("[daemon]\nworkers = 2\nlog_level = info\nworkers = 2\n" STAGING PACKAGE, 4,
                "[daemon] workers: set twice in this file; expected once, see line 2");
        expect_error("[daemon]\nworkers = 2\n[daemon]\nworkers = 2\n" STAGING PACKAGE, 4, "set twice");
        expect_error(STAGING PACKAGE "[daemon]\nworkers = 2\n  3\n", 9, "not a list");
        expect_error("key = 1\n" STAGING PACKAGE, 1, "before the first [section]");
        expect_error("[s3]\nregion\n" STAGING PACKAGE, 2, "[s3]: neither");
}

static void sections_merge_by_name(void **state)
{
        (void)state;
        struct config *c =
                load_good("[package a]\ncategories = rdx\n" STAGING "[ package   a ]\nrdx = s3://bbb\n"
                          "[package b]\ncategories = rdx\nrdx = s3://bbb\n[daemon]\n[daemon]\nworkers = 1\n");
        assert_int_equal(c->n_packages, 2);
        assert_string_equal(c->packages[0].spec.at[CATEGORY_RDX].bucket, "bbb");
        assert_string_equal(c->packages[1].spec.org, "b");
        config_free(c);
}

static void a_long_list(void **state)
{
        (void)state;
        _cleanup_strbuf_ struct strbuf b = {}, one = {};
        strbuf_add(&b, STAGING PACKAGE "courses =");
        strbuf_add(&one, b.s);
        for (unsigned i = 0; i < 200; i++) {
                strbuf_printf(&b, "%s UniversityX-CS%u-*", i % 8 == 0 ? "\n" : "", i);
                strbuf_printf(&one, " UniversityX-CS%u-*", i);
        }
        strbuf_add(&b, "\nsince = 2024-01-01\n");
        struct config *c = load_good(b.s);
        assert_int_equal(c->packages[0].courses.n, 200);
        assert_string_equal(c->packages[0].courses.v[0], "UniversityX-CS0-*");
        assert_string_equal(c->packages[0].courses.v[199], "UniversityX-CS199-*");
        assert_int_not_equal(c->packages[0].since, INT_MIN);
        config_free(c);
        expect_error(one.s, 8, "go on in indented lines");
}

static void all_errors_at_once(void **state)
{
        (void)state;
        static const char text[] = "[daemon]\nworkers = many\nlog_level = loud\n[nope]\n";
        struct config *c = NULL;
        struct error e = {};
        _cleanup_(strv_done) struct strv more = {};
        assert_int_equal(load_bytes(text, strlen(text), &c, &e, &more), -EINVAL);
        assert_non_null(strstr(e.text, ":2: [daemon] workers: \"many\"; expected auto"));
        assert_int_equal(more.n, 4);
        assert_non_null(strstr(more.v[0], ":3: [daemon] log_level: \"loud\""));
        assert_non_null(strstr(more.v[1], ":4: [nope]"));
        assert_non_null(strstr(more.v[2], "[staging] path: not set"));
        assert_non_null(strstr(more.v[3], "no [package NAME] section"));
        assert_int_equal(load_bytes(text, strlen(text), &c, &e, NULL), -EINVAL);
        assert_int_equal(load_bytes(text, strlen(text), &c, NULL, NULL), -EINVAL);
        assert_null(c);
}

static void errors_have_a_limit(void **state)
{
        (void)state;
        _cleanup_strbuf_ struct strbuf b = {};
        _cleanup_(strv_done) struct strv more = {};
        struct config *c = NULL;
        struct error e = {};
        for (unsigned i = 0; i < 1000; i++)
                strbuf_add(&b, "nonsense\n");
        assert_int_equal(load_bytes(b.s, b.len, &c, &e, &more), -EINVAL);
        assert_non_null(strstr(e.text, ":1: "));
        assert_int_equal(more.n, 99);
}

static void one_fault_is_said_once(void **state)
{
        (void)state;
        expect_error("[staging]\npath = srv\n" PACKAGE, 2, "absolute");
        expect_error("[staging]\npath = \"/srv\"\n" PACKAGE, 2, "quotes");
        expect_error(
                STAGING "[package x]\norg = X\ncategories = rdx\nrdx = s3://bbb\n", 4, "did you mean \"x\"?");
        expect_error(STAGING "[package x]\ncategories = rdx\nrdx = bbb\n", 5, "s3://bucket/prefix");
        expect_error(STAGING "[package x]\ncategories = rxd\nrdx = s3://bbb\n", 4, "did you mean \"rdx\"?");
        /* what stands below a section line that cannot be read belongs nowhere, not to the section before */
        expect_error(STAGING PACKAGE "[daemon\nsites = edx\nworkers = 1\n", 8, "without ]");
        expect_error(STAGING PACKAGE "courses = \"a\n  b\n", 8, "quotes");
}

/* --- files --- */

struct folder {
        char path[64];
        int fd;
};

static struct folder make_folder(void)
{
        struct folder f = {.path = "/tmp/config_test.XXXXXX"};
        assert_non_null(mkdtemp(f.path));
        f.fd = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f.fd >= 0);
        return f;
}

static void put(const struct folder *f, const char *name, const char *text)
{
        _cleanup_close_ int fd = openat(f->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static const char *file_in(const struct folder *f, const char *name)
{
        static char path[128];
        snprintf(path, sizeof(path), "%s/%s", f->path, name);
        return path;
}

static void remove_folder(struct folder *f)
{
        static const char *const names[] = {"c.ini", "c.ini.d/10.ini", "c.ini.d/9.ini", "c.ini.d/A.ini",
                "c.ini.d/.hidden.ini", "c.ini.d/20.ini.bak", "c.ini.d/30.ini"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                unlinkat(f->fd, names[i], 0);
        unlinkat(f->fd, "c.ini.d/30.ini", AT_REMOVEDIR);
        unlinkat(f->fd, "c.ini.d", AT_REMOVEDIR);
        close_fd(f->fd);
        assert_int_equal(rmdir(f->path), 0);
}

static void drop_ins_replace_in_byte_order(void **state)
{
        (void)state;
        struct folder f = make_folder();
        struct config *c = NULL;
        struct error e = {};
        put(&f, "c.ini", STAGING PACKAGE "[daemon]\nworkers = 1\npoll_interval = 1h\nlog_level = err\n");
        assert_int_equal(mkdirat(f.fd, "c.ini.d", 0700), 0);
        put(&f, "c.ini.d/10.ini", "[daemon]\nworkers = 10\n[package universityx]\nsites = edx\n");
        put(&f, "c.ini.d/9.ini",
                "[daemon]\nworkers = 9\n[package other]\ncategories = rdx\nrdx = s3://bbb\n");
        put(&f, "c.ini.d/A.ini", "[daemon]\nlog_level = debug\n");
        put(&f, "c.ini.d/.hidden.ini", "[nonsense]\n");
        put(&f, "c.ini.d/20.ini.bak", "[nonsense]\n");
        assert_int_equal(config_load(file_in(&f, "c.ini"), &c, &e, NULL), 0);
        assert_int_equal(c->workers, 9); /* "10.ini" comes before "9.ini" */
        assert_int_equal(c->poll_interval_usec, USEC_PER_HOUR);
        assert_int_equal(c->log_level, LOG_DEBUG);
        assert_int_equal(c->n_packages, 2);
        assert_int_equal(c->packages[0].spec.sites.n, 1);
        assert_string_equal(c->path, file_in(&f, "c.ini"));
        config_free(c);
        c = NULL;
        put(&f, "c.ini.d/A.ini", "\n[daemon]\nlog_level = loud\n");
        assert_int_equal(config_load(file_in(&f, "c.ini"), &c, &e, NULL), -EINVAL);
        assert_non_null(strstr(e.text, "c.ini.d/A.ini:3: [daemon] log_level"));
        remove_folder(&f);
}

static void the_hash_covers_names_and_contents(void **state)
{
        (void)state;
        struct folder f = make_folder();
        char sums[4][65];
        static const char *const drop_in[] = {NULL, "c.ini.d/9.ini", "c.ini.d/10.ini", NULL};
        put(&f, "c.ini", STAGING PACKAGE);
        assert_int_equal(mkdirat(f.fd, "c.ini.d", 0700), 0);
        for (size_t i = 0; i < ELEMENTSOF(sums); i++) {
                struct config *c = NULL;
                if (drop_in[i])
                        put(&f, drop_in[i], "[daemon]\n");
                assert_int_equal(config_load(file_in(&f, "c.ini"), &c, NULL, NULL), 0);
                memcpy(sums[i], c->sha256, sizeof(sums[i]));
                assert_int_equal(strlen(sums[i]), 64);
                config_free(c);
                if (drop_in[i])
                        unlinkat(f.fd, drop_in[i], 0);
        }
        assert_string_not_equal(sums[0], sums[1]);
        assert_string_not_equal(sums[1], sums[2]);
        assert_string_equal(sums[0], sums[3]);
        remove_folder(&f);
}

static void files_that_cannot_be_read(void **state)
{
        (void)state;
        struct folder f = make_folder();
        struct config *c = NULL;
        struct error e = {};
        assert_int_equal(config_load(file_in(&f, "c.ini"), &c, &e, NULL), -ENOENT);
        assert_int_equal(e.cause, CAUSE_CONFIG);
        assert_non_null(strstr(e.text, "c.ini: "));
        assert_int_equal(config_load(f.path, &c, &e, NULL), -EISDIR);
        put(&f, "c.ini", STAGING PACKAGE);
        assert_int_equal(mkdirat(f.fd, "c.ini.d", 0700), 0);
        assert_int_equal(mkdirat(f.fd, "c.ini.d/30.ini", 0700), 0);
        assert_int_equal(config_load(file_in(&f, "c.ini"), &c, &e, NULL), -EISDIR);
        assert_non_null(strstr(e.text, "30.ini"));
        assert_null(c);
        remove_folder(&f);

        _cleanup_free_ char *big = malloc(MIB + 2);
        memset(big, '\n', MIB + 1);
        assert_int_equal(load_bytes(big, MIB + 1, &c, &e, NULL), -EFBIG);
        assert_null(c);
}

static void too_many_packages(void **state)
{
        (void)state;
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_add(&b, STAGING);
        for (unsigned i = 0; i < 256; i++)
                strbuf_printf(&b, "[package p%u]\ncategories = rdx\nrdx = s3://bbb\n", i);
        struct config *c = load_good(b.s);
        assert_int_equal(c->n_packages, 256);
        config_free(c);
        strbuf_add(&b, "[package p256]\ncategories = rdx\nrdx = s3://bbb\n");
        expect_error(b.s, 2 + 256 * 3 + 1, "at most 256");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(defaults),
                cmocka_unit_test(every_key_is_taken),
                cmocka_unit_test(errors_name_file_line_and_key),
                cmocka_unit_test(sections_merge_by_name),
                cmocka_unit_test(a_long_list),
                cmocka_unit_test(all_errors_at_once),
                cmocka_unit_test(errors_have_a_limit),
                cmocka_unit_test(one_fault_is_said_once),
                cmocka_unit_test(drop_ins_replace_in_byte_order),
                cmocka_unit_test(the_hash_covers_names_and_contents),
                cmocka_unit_test(files_that_cannot_be_read),
                cmocka_unit_test(too_many_packages),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
