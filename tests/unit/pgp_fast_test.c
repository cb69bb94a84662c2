/* SPDX-License-Identifier: Apache-2.0 */
/* The fast engine on messages made by a real gpg: what it accepts must be the plaintext to the byte, and
 * everything that is not plain it must decline. */
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
#include <unistd.h>

#include "fsx.h"
#include "openpgp.h"
#include "pgp_fast.h"
#include "str.h"

#define PASSPHRASE "correct horse"

static char home[] = "/tmp/pgp-fast-XXXXXX";
static struct pgp_secret *secret;
static char *key_ids[2];

#define GPG                                                                                                  \
        "gpg $OLD --homedir . --batch --no-tty --pinentry-mode loopback --passphrase-file pass "             \
        "--trust-model "                                                                                     \
        "always "
#define OPEN_GPG "gpg --homedir . --batch --passphrase '' --pinentry-mode loopback "

/* A shell command in the test's folder; its output is dropped. */
static int sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *format, ...)
{
        char command[4096], all[4500];
        va_list ap;
        va_start(ap, format);
        vsnprintf(command, sizeof(command), format, ap);
        va_end(ap);
        snprintf(all, sizeof(all),
                "cd %s && OLD=$(gpg --dump-options | grep -xe --allow-old-cipher-algos); { %s; } >log 2>&1",
                home, command); /* 3DES, since 2.4 */
        return system(all);
}

static char *slurp(const char *name, size_t *ret_n)
{
        char path[128], *p = NULL;
        snprintf(path, sizeof(path), "%s/%s", home, name);
        assert_int_equal(read_file_at(AT_FDCWD, path, 64 * MIB, &p, ret_n), 0);
        return p;
}

static int read_keys(const char *passphrase, const char *export, struct pgp_secret **ret)
{
        size_t n;
        _cleanup_free_ char *p = slurp(export, &n);
        _cleanup_secret_ struct secret s = {};
        assert_int_equal(secret_alloc(64, &s), 0);
        snprintf(s.p, 64, "%s", passphrase);
        s.len = strlen(passphrase);
        struct error e = {};
        return pgp_secret_read(p, n, &s, key_ids, 1, ret, &e);
}

static int setup(void **state)
{
        (void)state;
        if (!mkdtemp(home))
                return -1;
        if (sh("umask 077; echo '" PASSPHRASE "' > pass; : > none; "
               "echo 'allow-loopback-pinentry\nmax-cache-ttl 0' > gpg-agent.conf") ||
                sh(GPG "--quick-gen-key 'czar <czar@example.org>' rsa2048 cert,sign 0 && "
                       "F=$(gpg --homedir . --with-colons --list-keys czar | awk -F: '/^fpr/{print "
                       "$10;exit}') && " GPG "--quick-add-key $F rsa2048 encr 0") ||
                sh(OPEN_GPG "--quick-gen-key 'other <o@example.org>' rsa2048 cert 0 && "
                            "F=$(gpg --homedir . --with-colons --list-keys other | awk -F: '/^fpr/{print "
                            "$10;exit}') && " OPEN_GPG "--quick-add-key $F rsa2048 encr 0") ||
                sh("gpg --homedir . --with-colons --list-keys czar | awk -F: '/^sub/{printf \"%%s\", $5}' > "
                   "keyid") ||
                sh(GPG "--export-secret-keys -o export czar"))
                return -1;
        key_ids[0] = slurp("keyid", NULL);
        return pgp_secret_init() < 0 || read_keys(PASSPHRASE, "export", &secret) < 0 ||
                               pgp_secret_count(secret) != 1
                       ? -1
                       : 0;
}

static int teardown(void **state)
{
        (void)state;
        pgp_secret_free(secret);
        free(key_ids[0]);
        sh("gpgconf --homedir . --kill all");
        char command[128];
        snprintf(command, sizeof(command), "rm -rf %s", home);
        return system(command);
}

/* What the engine says of the message in file `name`. */
static int decrypt(const char *name, struct fast_plaintext *ret)
{
        size_t n, n_recipients;
        _cleanup_free_ char *p = slurp(name, &n);
        struct fast_session session;
        char recipients[8][17];
        int r = fast_open_session(secret, (const uint8_t *)p, n, &session, recipients, 8, &n_recipients);
        return r < 0 ? r : fast_decrypt(&session, (const uint8_t *)p, n, ret);
}

static void expect_plain(const char *name)
{
        size_t n;
        _cleanup_free_ char *want = slurp("plain", &n);
        struct fast_plaintext got = {};
        int r = decrypt(name, &got);
        if (r < 0)
                fail_msg("%s: %s", name, strerror(-r));
        assert_int_equal(got.len, n);
        assert_memory_equal(got.p, want, n);
        fast_plaintext_done(&got);
}

static void expect_declined(const char *name)
{
        struct fast_plaintext got = {};
        if (decrypt(name, &got) == 0)
                fail_msg("%s was accepted", name);
        assert_null(got.p);
}

static void plain_messages_of_all_sizes(void **state)
{
        (void)state;
        static const char *const sizes[] = {"0", "1", "100", "8191", "65536", "300000"};
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                assert_int_equal(sh("head -c %s /dev/urandom > plain", sizes[i]), 0);
                assert_int_equal(sh(GPG "-r other -r czar -o m1 --yes -e plain"), 0);
                assert_int_equal(sh(GPG "-r czar -r other -o m2 --yes -e < plain"), 0); /* partial lengths */
                expect_plain("m1");
                expect_plain("m2");
        }
}

static void ciphers_and_compressions(void **state)
{
        (void)state;
        static const char *const options[] = {"--cipher-algo AES", "--cipher-algo AES192",
                "--cipher-algo AES256", "-z 0", "--compress-algo zip", "--compress-algo zlib",
                "--compress-algo bzip2", "-z 9"};
        assert_int_equal(sh("seq 1 40000 > plain"), 0);
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                assert_int_equal(sh(GPG "%s -r other -r czar -o m --yes -e plain", options[i]), 0);
                expect_plain("m");
                assert_int_equal(sh("cat plain | " GPG "%s -r other -r czar -o m --yes -e", options[i]), 0);
                expect_plain("m");
        }
}

static void what_is_not_plain_is_declined(void **state)
{
        (void)state;
        static const char *const options[] = {"-a -r czar -e", "-s -u czar -r czar -e", "-R czar -e",
                "-r other -e", "-c", "--cipher-algo 3DES -r czar -e", "--cipher-algo CAMELLIA256 -r czar -e",
                "--textmode -r czar -e", "-c -r czar -e", "--for-your-eyes-only -r czar -e", "-s -u czar",
                "--store"};
        assert_int_equal(sh("seq 1 1000 > plain"), 0);
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                assert_int_equal(sh(GPG "-o m --yes %s plain", options[i]), 0);
                expect_declined("m");
        }
        assert_int_equal(sh("head -c 20000000 /dev/zero > plain && " GPG "-r czar -o m --yes -e plain"), 0);
        expect_declined("m"); /* grows beyond what is kept in memory */
}

/* Every single-byte change anywhere in a message is declined: what is not covered by the MDC is structure. */
static void no_altered_message_is_accepted(void **state)
{
        (void)state;
        size_t n;
        assert_int_equal(sh("seq 1 50 > plain && " GPG "-r other -r czar -o m --yes -e plain"), 0);
        _cleanup_free_ char *good = slurp("m", &n);
        _cleanup_free_ char *bad = malloc(n + 1);
        char recipients[8][17];
        size_t n_recipients;
        for (size_t i = 0; i < n; i += i < 600 ? 7 : 1) {
                memcpy(bad, good, n);
                bad[i] ^= 1;
                struct fast_session s;
                struct fast_plaintext got = {};
                int r = fast_open_session(secret, (const uint8_t *)bad, n, &s, recipients, 8, &n_recipients);
                if (r == 0)
                        r = fast_decrypt(&s, (const uint8_t *)bad, n, &got);
                /* A change of the foreign recipient's packet hurts nobody: gpg accepts it too. */
                if (r == 0) {
                        assert_true(i < 272);
                        fast_plaintext_done(&got);
                }
        }
        for (size_t cut = 0; cut < n; cut += 5) {
                struct fast_session s;
                struct fast_plaintext got = {};
                int r = fast_open_session(
                        secret, (const uint8_t *)good, cut, &s, recipients, 8, &n_recipients);
                if (r == 0)
                        r = fast_decrypt(&s, (const uint8_t *)good, cut, &got);
                assert_int_not_equal(r, 0);
        }
        memcpy(bad, good, n);
        bad[n] = 0;
        struct fast_session s;
        struct fast_plaintext got = {};
        assert_int_equal(
                fast_open_session(secret, (const uint8_t *)bad, n + 1, &s, recipients, 8, &n_recipients), 0);
        assert_int_not_equal(fast_decrypt(&s, (const uint8_t *)bad, n + 1, &got), 0);
}

static void recipients_are_told(void **state)
{
        (void)state;
        size_t n, n_recipients = 0;
        assert_int_equal(sh("echo x > plain && " GPG "-r other -r czar -o m --yes -e plain"), 0);
        _cleanup_free_ char *p = slurp("m", &n);
        struct fast_session s;
        char recipients[8][17];
        assert_int_equal(
                fast_open_session(secret, (const uint8_t *)p, n, &s, recipients, 8, &n_recipients), 0);
        assert_int_equal(n_recipients, 2);
        assert_string_equal(recipients[1], key_ids[0]);
        assert_false(s.random);
}

static void a_wrong_passphrase_is_told(void **state)
{
        (void)state;
        struct pgp_secret *s = NULL;
        assert_int_equal(read_keys("wrong", "export", &s), -EACCES);
        assert_null(s);
}

static void keys_without_passphrase(void **state)
{
        (void)state;
        struct pgp_secret *s = NULL;
        char *before = key_ids[0];
        assert_int_equal(sh("gpg --homedir . --batch --export-secret-keys -o export2 other && "
                            "gpg --homedir . --with-colons --list-keys other | awk -F: '/^sub/{printf "
                            "\"%%s\", $5}' > keyid2"),
                0);
        key_ids[0] = slurp("keyid2", NULL);
        assert_int_equal(read_keys("", "export2", &s), 0);
        assert_int_equal(pgp_secret_count(s), 1);
        pgp_secret_free(s);
        free(key_ids[0]);
        key_ids[0] = before;
}

/* The size of a key is that of its modulus, not of how it was written. */
static void numbers_lose_their_leading_zeroes(void **state)
{
        (void)state;
        static const struct {
                uint8_t in[6];
                size_t size, len;
                uint8_t first;
        } rows[] = {
                {{0, 16, 0x80, 1}, 4, 2, 0x80},
                {{0, 16, 0, 1}, 4, 1, 1},
                {{0, 32, 0, 0, 2, 3}, 6, 2, 2},
                {{0, 16, 0, 0}, 4, 0, 0},
                {{0, 0}, 2, 0, 0},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                struct cursor c = {.p = rows[i].in, .left = rows[i].size};
                const uint8_t *p;
                size_t n;
                assert_int_equal(cursor_mpi(&c, &p, &n), 0);
                assert_int_equal(c.left, 0);
                assert_int_equal(n, rows[i].len);
                assert_true(n == 0 || *p == rows[i].first);
        }
        struct cursor cut = {.p = rows[0].in, .left = 3};
        const uint8_t *p;
        size_t n;
        assert_int_equal(cursor_mpi(&cut, &p, &n), -EBADMSG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(plain_messages_of_all_sizes),
                cmocka_unit_test(ciphers_and_compressions),
                cmocka_unit_test(what_is_not_plain_is_declined),
                cmocka_unit_test(no_altered_message_is_accepted),
                cmocka_unit_test(recipients_are_told),
                cmocka_unit_test(a_wrong_passphrase_is_told),
                cmocka_unit_test(keys_without_passphrase),
                cmocka_unit_test(numbers_lose_their_leading_zeroes),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
