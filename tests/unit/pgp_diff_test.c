/* SPDX-License-Identifier: Apache-2.0 */
/* The two engines agree: on what gpg 1.4 and gpg 2.2 make in all their ways, and on messages that are made
 * wrong on purpose (pgp_recipe.h). Byte for byte the same result, or the fast engine declines; never one
 * accepts what the other refuses.
 *
 * CZARD_DIFF_RUNS=100000 takes so many random messages (default 250), CZARD_DIFF_SEED=N others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsx.h"
#include "pgp_recipe.h"
#include "str.h"

static struct pgp_pair pair;
static unsigned counts[3];

static int setup(void **state)
{
        (void)state;
        pgp_pair_open(&pair);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        pgp_pair_close(&pair);
        return 0;
}

static uint8_t *slurp(const char *name, size_t *ret_n)
{
        char path[128], *p = NULL;
        snprintf(path, sizeof(path), "%s/%s", pair.home, name);
        assert_int_equal(read_file_at(AT_FDCWD, path, 64 * MIB, &p, ret_n), 0);
        return (uint8_t *)p;
}

static enum agreement agree(const uint8_t *p, size_t n, bool everything, const char *what)
{
        enum agreement a;
        const char *text = pgp_pair_compare(&pair, p, n, everything, &a);
        if (text)
                fail_msg("%s: %s", what, text);
        counts[a]++;
        return a;
}

/* The message in the file `name`; plain: what must come out of both, NULL: anything. */
static enum agreement agree_file(const char *name, const char *plain)
{
        size_t n, n_plain;
        _cleanup_free_ uint8_t *p = slurp(name, &n);
        enum agreement a = agree(p, n, true, name);
        if (!plain)
                return a;
        _cleanup_free_ uint8_t *want = slurp(plain, &n_plain);
        struct answer got;
        pgp_pair_ask(pair.fast, p, n, &got);
        assert_true(got.good);
        assert_int_equal(got.len, n_plain);
        assert_memory_equal(got.p, want, n_plain);
        answer_done(&got);
        return a;
}

static void lengths(void **state)
{
        (void)state;
        static const unsigned sizes[] = {0, 1, 100, 184, 185, 191, 192, 193, 511, 512, 513, 4096, 8185, 8191,
                8192, 8193, 8378, 8383, 8384, 16384, 65535, 65536, 70000};
        pgp_pair_run(&pair, "mkdir -p one; gpg1 --homedir one --batch -q --import czar.pub other.pub");
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                pgp_pair_run(&pair,
                        "head -c %u /dev/urandom > plain; R='-r other@x.org -r czar@x.org'; "
                        "O=\"gpg1 --homedir one --batch -q --yes --trust-model always --cipher-algo AES256 "
                        "--force-mdc $R\"; $G $R -o m1 -e plain; $G $R -z 0 -o m2 -e plain; "
                        "$G $R -o m3 -e < plain; $G $R -z 0 -o m4 -e < plain; $O -o m5 -e plain; "
                        "$O -z 0 -o m6 -e < plain",
                        sizes[i]);
                for (char m = '1'; m <= '6'; m++)
                        assert_int_equal(agree_file((char[]){'m', m, 0}, "plain"), AGREE_GOOD);
        }
}

static void algorithms(void **state)
{
        (void)state;
        static const char *const ciphers[] = {"AES", "AES192", "AES256", "3DES", "CAST5", "BLOWFISH",
                "TWOFISH", "CAMELLIA128", "CAMELLIA256"};
        static const char *const compressions[] = {"none", "zip", "zlib", "bzip2"};
        pgp_pair_run(&pair, "seq 1 3000 > plain");
        for (size_t i = 0; i < ELEMENTSOF(ciphers); i++)
                for (size_t k = 0; k < ELEMENTSOF(compressions); k++) {
                        pgp_pair_run(&pair,
                                "%s --cipher-algo %s --compress-algo %s -r czar@x.org -o m -e plain", "$G",
                                ciphers[i], compressions[k]);
                        assert_int_equal(agree_file("m", "plain"), i < 3 ? AGREE_GOOD : AGREE_DECLINED);
                }
        for (unsigned level = 1; level <= 9; level++) {
                pgp_pair_run(&pair, "$G -z %u --bzip2-compress-level %u -r czar@x.org -o m -e plain", level,
                        level);
                assert_int_equal(agree_file("m", "plain"), AGREE_GOOD);
        }
}

/* Whatever the fast engine does with them: it agrees. */
static void shapes(void **state)
{
        (void)state;
        static const char *const good[] = {"-r czar@x.org -e", "-r czar@x.org -r other@x.org -e",
                "-R czar@x.org -e", "-R other@x.org -r czar@x.org -e", "-r czar@x.org -R other@x.org -e",
                "--throw-keyids -r other@x.org -r czar@x.org -e", "-a -r czar@x.org -e",
                "-a --comment x -r czar@x.org -e", "--textmode -r czar@x.org -e",
                "--set-filename '' -r czar@x.org -e", "--set-filename _CONSOLE -r czar@x.org -e",
                "--for-your-eyes-only -r czar@x.org -e", "--passphrase x -c -r czar@x.org -e"};
        static const char *const bad[] = {
                "-r other@x.org -e", "-R other@x.org -e", "--passphrase x -c", "--store"};
        pgp_pair_run(&pair, "printf 'a\\r\\nb \\n' > plain; seq 1 500 >> plain");
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                pgp_pair_run(&pair, "%s %s -o m plain", "$G", good[i]);
                agree_file("m", strstr(good[i], "textmode") || strstr(good[i], "-c") ? NULL : "plain");
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                pgp_pair_run(&pair, "%s %s -o m plain", "$G", bad[i]);
                assert_int_equal(agree_file("m", NULL), AGREE_DECLINED);
        }
        pgp_pair_run(&pair,
                "O='gpg1 --homedir one --batch -q --yes --trust-model always -r czar@x.org --cipher-algo "
                "AES256'; "
                "$O --disable-mdc -o m0 -e plain; $O -o m1 -e plain; $G -r czar@x.org -o m -e plain; "
                "cat m m > m2; (cat m; echo more) > m3; (echo hello; cat m) > m4; (printf '\\312\\003PGP'; "
                "cat m) > m5; "
                "(cat m; printf '\\312\\003PGP') > m6; $G -r czar@x.org -o m7 -e m; head -c 300000 m > m8; : "
                "> m9");
        for (char m = '0'; m <= '9'; m++)
                agree_file((char[]){'m', m, 0}, m == '7' ? "m" : m == '8' ? "plain" : NULL);
}

/* More than is kept of a message. */
static void large_messages(void **state)
{
        (void)state;
        static const char *const options[] = {"", "-z 0", "-z 9", "--compress-algo zlib",
                "--compress-algo bzip2", "--cipher-algo AES192", "--cipher-algo 3DES", "--textmode",
                "--for-your-eyes-only", "-R czar@x.org", "-a"};
        pgp_pair_run(&pair, "head -c 1500000 /dev/urandom | base64 > plain; yes | head -c 500000 >> plain");
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                pgp_pair_run(&pair, "O='%s'; $G $O -r other@x.org -r czar@x.org -o m -e %s plain", options[i],
                        i % 2 ? "<" : "");
                agree_file("m", streq(options[i], "--textmode") ? NULL : "plain");
        }
        pgp_pair_run(&pair, "$G -r other@x.org -r czar@x.org -o m -e plain; (cat m; echo) > m1; "
                            "head -c 1500000 m > m2; (head -c 1500000 m; echo; tail -c +1500002 m) > m3; "
                            "(head -c -1 m; echo) > m4; head -c -1 m > m5; head -c -23 m > m6; cat m m > m7");
        for (char m = '1'; m <= '7'; m++)
                agree_file((char[]){'m', m, 0}, NULL);
}

static uint8_t *make_large(unsigned decision, unsigned value, size_t *ret_n)
{
        enum { REST = 700000 };
        uint8_t *d = calloc(1, DECISIONS + REST), *m;
        assert_non_null(d);
        d[D_LENGTH] = 0xff; /* as long as the rest */
        d[D_CONTENT] = 2;
        d[D_COMPRESS] = decision == D_COMPRESS_FRAME || decision == D_COMPRESS_FAULT ? 1 + value % 3 : 0;
        d[decision] = (uint8_t)value;
        recipe_make(&pair, d, DECISIONS + REST, &m, ret_n);
        free(d);
        return m;
}

static void faults_of_large_messages(void **state)
{
        (void)state;
        static const struct {
                unsigned decision, first, last;
        } faults[] = {{D_SESSION, 8, 15}, {D_FRAME, 0, 7}, {D_DATA, 0xe1, 0xe9}, {D_DATA, 0xf5, 0xf5},
                {D_MDC, 0xe1, 0xe8}, {D_AROUND, 0xe1, 0xe7}, {D_COMPRESS_FRAME, 0, 7}, {D_FORMAT, 0, 3},
                {D_LITERAL_FRAME, 0, 7}, {D_INSIDE, 0xe1, 0xe2}};
        for (size_t i = 0; i < ELEMENTSOF(faults); i++)
                for (unsigned v = faults[i].first; v <= faults[i].last; v++) {
                        char what[64];
                        size_t n;
                        uint8_t *m = make_large(faults[i].decision, v, &n);
                        snprintf(what, sizeof(what), "large: decision %u = %u", faults[i].decision, v);
                        agree(m, n, true, what);
                        free(m);
                }
}

/* What is wrong behind the place up to which a message is looked at before it is begun: it is not called bad,
 * but tried again, and then gpg is asked. */
static void large_messages_that_end_oddly(void **state)
{
        (void)state;
        static const struct {
                unsigned decision, value;
        } ends[] = {{D_INSIDE, 0xe3}, {D_INSIDE, 0xe4}, {D_INSIDE, 0xe6}, {D_LITERAL_FAULT, 0xe1},
                {D_LITERAL_FAULT, 0xe2}, {D_COMPRESS_FAULT, 0xe3}};
        for (size_t i = 0; i < ELEMENTSOF(ends); i++) {
                size_t n;
                char what[64];
                struct answer first;
                struct pgp *before = pair.fast;
                uint8_t *m = make_large(ends[i].decision, ends[i].value, &n);
                snprintf(what, sizeof(what), "large: decision %u = %u", ends[i].decision, ends[i].value);
                pair.fast = pgp_pair_engine(&pair, ENGINE_AUTO);
                pgp_pair_ask(pair.fast, m, n, &first);
                assert_false(first.good);
                assert_int_equal(first.verdict.error.cause, CAUSE_HELPER);
                answer_done(&first);
                agree(m, n, true, what);
                pgp_close(pair.fast);
                pair.fast = before;
                free(m);
        }
}

/* The first of each kind and those at the end; what is between repeats them. */
static bool means_something(unsigned decision, unsigned value)
{
        if (decision == D_OTHERS)
                return (value & 0xc0) && !(value & 0x30);
        if (decision == D_OTHER_BYTE)
                return value < 40 || value >= 0xe0;
        if (decision == D_LENGTH)
                return value < 40;
        return value > 0 && (value < 16 || value >= 0xe0 || (decision == D_PKESK && value % 16 == 0));
}

/* Each decision alone, in all its values; the rest is plain. */
static void one_decision_at_a_time(void **state)
{
        (void)state;
        for (unsigned i = 0; i < DECISIONS; i++)
                for (unsigned value = 0; value < 256; value++) {
                        if (!means_something(i, value))
                                continue;
                        uint8_t d[DECISIONS + 40] = {}, *m;
                        char what[64];
                        size_t n;
                        d[i] = (uint8_t)value;
                        if (i == D_OTHER_BYTE)
                                d[D_OTHERS] = 0x40;
                        if (i == D_LEVEL || i == D_COMPRESS_FRAME || i == D_COMPRESS_FAULT)
                                d[D_COMPRESS] = 1 + value % 3;
                        snprintf(what, sizeof(what), "decision %u = %u", i, value);
                        recipe_make(&pair, d, sizeof(d), &m, &n);
                        agree(m, n, value % 4 == 0, what);
                        free(m);
                }
}

/* gpg skips them: the number counts, not how long it was written. */
static void leading_zeroes(void **state)
{
        (void)state;
        uint8_t d[DECISIONS + 40] = {}, *m;
        size_t n;
        d[D_PKESK] = 14;
        recipe_make(&pair, d, sizeof(d), &m, &n);
        assert_int_equal(agree(m, n, true, "a session key behind leading zeroes"), AGREE_GOOD);
        free(m);
}

static uint64_t next_random(uint64_t *x)
{
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        return *x >> 11;
}

/* Most decisions plain, a few not, and now and then a byte of the whole altered or cut off. */
static void random_messages(void **state)
{
        (void)state;
        const char *runs_text = getenv("CZARD_DIFF_RUNS"), *seed = getenv("CZARD_DIFF_SEED");
        unsigned long runs = runs_text ? strtoul(runs_text, NULL, 10) : 250;
        uint64_t x = seed ? strtoul(seed, NULL, 10) * 0x9e3779b97f4a7c15u + 1 : 88172645463325252u;
        for (unsigned long run = 0; run < runs; run++) {
                uint8_t d[DECISIONS + 300] = {}, *m;
                char what[1200] = "";
                size_t n, rest = next_random(&x) % 300;
                for (unsigned k = (unsigned)(next_random(&x) % 6); k > 0; k--) {
                        uint64_t v = next_random(&x);
                        d[next_random(&x) % DECISIONS] = (uint8_t)(v % 3 == 0 ? 0xe0 | v >> 8 : v >> 8);
                }
                for (size_t i = 0; i < rest; i++)
                        d[DECISIONS + i] = (uint8_t)next_random(&x);
                hex_encode(d, DECISIONS + rest, what);
                recipe_make(&pair, d, DECISIONS + rest, &m, &n);
                if (next_random(&x) % 4 == 0)
                        m[next_random(&x) % n] ^= (uint8_t)(1 + next_random(&x) % 255);
                agree(m, n, next_random(&x) % 8 == 0, what);
                free(m);
        }
}

static void enough_was_compared(void **state)
{
        (void)state;
        print_message("accepted by both %u, refused by both %u, declined %u\n", counts[AGREE_GOOD],
                counts[AGREE_BAD], counts[AGREE_DECLINED]);
        assert_true(counts[AGREE_GOOD] > 200 && counts[AGREE_BAD] > 30);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lengths),
                cmocka_unit_test(algorithms),
                cmocka_unit_test(shapes),
                cmocka_unit_test(large_messages),
                cmocka_unit_test(faults_of_large_messages),
                cmocka_unit_test(large_messages_that_end_oddly),
                cmocka_unit_test(one_decision_at_a_time),
                cmocka_unit_test(leading_zeroes),
                cmocka_unit_test(random_messages),
                cmocka_unit_test(enough_was_compared),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
