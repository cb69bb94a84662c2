/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "credentials.h"
#include "fsx.h"
#include "str.h"

#define ID "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

static int parse(const char *csv, struct credentials *ret, struct error *e)
{
        _cleanup_secret_ struct secret s = {};
        assert_int_equal(secret_alloc(strlen(csv), &s), 0);
        memcpy(s.p, csv, strlen(csv) + 1);
        s.len = strlen(csv);
        return credentials_parse(&s, ret, e);
}

static void what_edx_sends_in_all_its_forms(void **state)
{
        (void)state;
        static const char *const good[] = {
                "User Name,Access Key Id,Secret Access Key\n\"name@email.org\"," ID "," SECRET "\n",
                "User Name,Access Key Id,Secret Access Key\r\n\"a \"\"b\"\", c\"," ID "," SECRET "\r\n\r\n",
                "\xef\xbb\xbf\"Access key ID\",\"Secret access key\"\r\n\"" ID "\",\"" SECRET "\"",
                "secret_access_key , access_key_id,x\n " SECRET " ," ID "\n",
                "\n\naws_access_key_id,aws_secret_access_key\n,\n" ID "," SECRET,
                "Access Key Id,Secret Access Key,Console login link\n" ID "," SECRET ",https://x/?a=1\n",
                "User Name,Access Key Id,Secret Access Key\r\"n\"," ID "," SECRET "\r",
                "User Name;Access key ID;Secret access key\n\"Doe; J\";" ID ";" SECRET "\n",
                "User Name\tAccess key ID\tSecret access key\nDoe, J\t" ID "\t" SECRET "\n",
                "sep=;\r\nUser Name;Access key ID;Secret access key\r\nx;" ID ";" SECRET "\r\n",
                "Access key ID,Secret access key,\n" ID "," SECRET ",,\n",
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_credentials_ struct credentials c = {};
                struct error e = {};
                assert_int_equal(parse(good[i], &c, &e), 0);
                assert_string_equal(c.access_key_id, ID);
                assert_string_equal(c.secret_key.p, SECRET);
                assert_int_equal(c.secret_key.len, strlen(SECRET));
                assert_int_equal(c.session_token.len, 0);
        }
}

static void other_encodings_are_read(void **state)
{
        (void)state;
        static const char csv[] = "User Name,Access Key Id,Secret Access Key\r\nn," ID "," SECRET "\r\n";
        for (int big = 0; big < 2; big++) {
                _cleanup_credentials_ struct credentials c = {};
                _cleanup_secret_ struct secret s = {};
                struct error e = {};
                assert_int_equal(secret_alloc(2 + 2 * strlen(csv), &s), 0);
                memcpy(s.p, big ? "\xfe\xff" : "\xff\xfe", 2);
                for (size_t i = 0; csv[i]; i++)
                        s.p[2 + 2 * i + (size_t)big] = csv[i];
                s.len = 2 + 2 * strlen(csv);
                assert_int_equal(credentials_parse(&s, &c, &e), 0);
                assert_string_equal(c.access_key_id, ID);
                assert_string_equal(c.secret_key.p, SECRET);
        }
}

static void a_fault_is_named(void **state)
{
        (void)state;
        static const struct {
                const char *csv, *says;
        } rows[] = {
                {"User Name,Access key ID,Secret access key\nDoe, J," ID "," SECRET "\n",
                        "line 2, column 29: more values than the header line has columns"},
                {"User Name;Access key ID;Secret access key\nDoe; J;" ID ";" SECRET "\n",
                        "must stand in quotes"},
                {"User Name Access key ID Secret access key\nx " ID " " SECRET "\n", "must name"},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_credentials_ struct credentials c = {};
                struct error e = {};
                assert_int_equal(parse(rows[i].csv, &c, &e), -EINVAL);
                if (!strstr(e.text, rows[i].says))
                        print_error("%s\n", e.text);
                assert_non_null(strstr(e.text, rows[i].says));
                assert_null(strstr(e.text, ID));
        }
}

static void a_key_id_of_swift(void **state)
{
        (void)state;
        _cleanup_credentials_ struct credentials c = {};
        struct error e = {};
        assert_int_equal(parse("Access Key Id,Secret Access Key\ntenant:user," SECRET "\n", &c, &e), 0);
        assert_string_equal(c.access_key_id, "tenant:user");
}

static void a_session_token(void **state)
{
        (void)state;
        static const char *const good[] = {
                "Session Token,Access Key Id,Secret Access Key\nFQoG/+==," ID "," SECRET "\n",
                "aws_access_key_id,aws_secret_access_key,aws_session_token\n" ID "," SECRET ",FQoG/+==",
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_credentials_ struct credentials c = {};
                assert_int_equal(parse(good[i], &c, NULL), 0);
                assert_string_equal(c.session_token.p, "FQoG/+==");
        }
}

static void bad_files_are_refused_without_quoting_them(void **state)
{
        (void)state;
#define HEADER "Access Key Id,Secret Access Key\n"
        static const struct {
                const char *csv, *where;
        } bad[] = {
                {"", "line 1, column 1: the file has no header"},
                {"\n\n", "line 1, column 1: the file has no header"},
                {"-----BEGIN PGP MESSAGE-----\n\nhQ\n", "the file is still encrypted"},
                {"\xef\xbb\xbfHello,\n\n> -----BEGIN PGP MESSAGE-----\n", "the file is still encrypted"},
                {"\r\nUser Name,Access Key Id,Secret Access Key\r\n", "line 3, column 1: "},
                {"User Name,Access Key Id\nx," ID "\n", "line 1, column 1: the header"},
                {"\xef\xbb\xbf\na,b,c\nx," ID "," SECRET "\n", "line 2, column 1: the header"},
                {HEADER ID "\n", "line 2, column 1: the secret"},
                {HEADER "AKIA,\n", "line 2, column 6: the secret"},
                {HEADER "," SECRET "\n", "line 2, column 1: the access key id"},
                {HEADER "AK IA," SECRET "\n", "line 2, column 1: the access key id"},
                {"User,\"Access Key Id\",Secret Access Key\n\"a \"\"b\"\", c\",\"AKIA\",\"" SECRET " x\"\n",
                        "line 2, column 21: the secret"},
                {"User,Access Key Id,Secret Access Key\n\"a\nb\"\t,AKIA," SECRET " x\n",
                        "line 2, column 10: the secret"},
                {HEADER "AKIA,\"" SECRET "\n\n", "line 2, column 6: a quoted value without an end"},
                {HEADER "AKIA,\"\" x\n", "line 2, column 9: neither"},
                {HEADER ID "," SECRET "\nAKIAOTHER," SECRET "\n", "line 3, column 1: another key"},
                {HEADER ID "," SECRET "\n\"\"x", "line 3, column 3: neither"},
                {"Access Key Id,Access Key Id,Secret Access Key\n" ID "," ID "," SECRET "\n",
                        "line 1, column 15: the header names a column twice"},
                {",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\n" ID "," SECRET "\n",
                        "line 1, column 33: too many columns"},
                {HEADER "AKIA," SECRET ",\xc3\n" ID "\"\n", "line 3, column"},
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct credentials c = {};
                struct error e = {};
                assert_int_equal(parse(bad[i].csv, &c, &e), -EINVAL);
                assert_int_equal(e.cause, CAUSE_NO_CREDENTIALS);
                if (!str_after(e.text, bad[i].where))
                        fail_msg("%zu: %s, not %s", i, e.text, bad[i].where);
                assert_null(strstr(e.text, SECRET));
                assert_null(strstr(e.text, ID));
                assert_null(c.secret_key.p);
        }
}

static void a_file_must_be_private_unless_trusted(void **state)
{
        (void)state;
        char dir[] = "/tmp/czard-credentials-XXXXXX";
        const char *csv = "Access Key Id,Secret Access Key\n" ID "," SECRET "\n";
        assert_non_null(mkdtemp(dir));
        _cleanup_close_ int d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int fd = openat(d, "s3.csv", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write_all(fd, csv, strlen(csv)), 0);
        struct error e = {};
        for (int mode = 0; mode < 3; mode++) {
                _cleanup_credentials_ struct credentials c = {};
                bool open_to_group = mode > 0, trusted = mode == 2;
                assert_int_equal(fchmod(fd, open_to_group ? 0640 : 0400), 0);
                int r = credentials_load(d, "s3.csv", trusted, &c, &e);
                assert_int_equal(r, open_to_group && !trusted ? -EPERM : 0);
                if (r == 0)
                        assert_string_equal(c.secret_key.p, SECRET);
        }
        struct credentials c = {};
        assert_int_equal(credentials_load(d, "none", false, &c, &e), -ENOENT);
        assert_non_null(strstr(e.text, "none"));
        unlinkat(d, "s3.csv", 0);
        rmdir(dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_edx_sends_in_all_its_forms),
                cmocka_unit_test(other_encodings_are_read),
                cmocka_unit_test(a_fault_is_named),
                cmocka_unit_test(a_key_id_of_swift),
                cmocka_unit_test(a_session_token),
                cmocka_unit_test(bad_files_are_refused_without_quoting_them),
                cmocka_unit_test(a_file_must_be_private_unless_trusted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
