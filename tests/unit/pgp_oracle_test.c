/* SPDX-License-Identifier: Apache-2.0 */
/* No oracle: whoever sends messages and watches cannot tell a session-key packet that is wrong inside
 * (padding, checksum, algorithm, length) from one that is right but holds another key, nor either from a
 * wrong MDC: the same verdict in the same words, and the same time, for all messages that are decrypted
 * whole. Bleichenbacher 1998; Klíma and Rosa 2002; RFC 4880, 14.
 *
 * CZARD_ORACLE_RUNS=1000 takes each message so often (default 12), CZARD_ORACLE_SHOW=1 prints the times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "pgp_fast.h"
#include "pgp_recipe.h"
#include "str.h"

#define RUNS_MOST 10000

static struct pgp_pair pair;

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

/* What RSA encrypts, wrong in one way (D_SESSION, see encode() in pgp_recipe.c); or right with another key.
 */
enum fault {
        WRONG_MDC,
        OTHER_KEY,
        BLOCK_TYPE,
        ZERO_AT_START,
        ZERO_IN_PADDING,
        NO_ZERO,
        SHIFTED,
        SUM,
        LENGTH,
        FAULTS
};
static const struct {
        const char *name;
        uint8_t session;
} faults[FAULTS] = {
        [WRONG_MDC] = {"wrong MDC", 0},
        [OTHER_KEY] = {"another key", 0},
        [BLOCK_TYPE] = {"block type 1", 8},
        [ZERO_AT_START] = {"a zero at the start of the padding", 15},
        [ZERO_IN_PADDING] = {"a zero in the padding", 9},
        [NO_ZERO] = {"no zero after the padding", 13},
        [SHIFTED] = {"one byte longer", 14},
        [SUM] = {"wrong checksum", 10},
        [LENGTH] = {"an algorithm with another key length", 11},
};

struct shape {
        const char *name;
        size_t len;            /* of the content */
        uint8_t around, frame; /* D_AROUND, D_FRAME */
        uint8_t data;          /* D_DATA */
        bool by_gpg;           /* its time is not ours */
};

struct sample {
        uint8_t *p;
        size_t n, runs;
        double msec[RUNS_MOST];
        struct pgp_verdict verdict;
};

static size_t first_packet(const uint8_t *p)
{
        assert_int_equal(p[0], 0xc1); /* of a 1024-bit key: one byte of length */
        assert_true(p[1] < 192);
        return 2 + (size_t)p[1];
}

static void make(const struct shape *shape, enum fault fault, struct sample *ret)
{
        size_t n = DECISIONS + shape->len;
        _cleanup_free_ uint8_t *d = calloc(1, n);
        assert_non_null(d);
        d[D_SESSION] = faults[fault].session;
        d[D_AROUND] = shape->around;
        d[D_FRAME] = shape->frame;
        d[D_DATA] = fault == WRONG_MDC && !shape->data ? 0xe4 : shape->data;
        d[D_LENGTH] = 255; /* that of the rest */
        d[D_CONTENT] = 2;  /* noise */
        recipe_make(&pair, d, n, &ret->p, &ret->n);
        if (fault != OTHER_KEY)
                return;
        uint8_t *other;
        size_t other_n, head = first_packet(ret->p), rest = ret->n - head;
        d[D_CIPHER] = 3; /* AES-256 too */
        recipe_make(&pair, d, n, &other, &other_n);
        size_t other_head = first_packet(other);
        uint8_t *spliced = malloc(other_head + rest);
        assert_non_null(spliced);
        memcpy(spliced, other, other_head);
        memcpy(spliced + other_head, ret->p + head, rest);
        free(other);
        free(ret->p);
        ret->p = spliced;
        ret->n = other_head + rest;
}

/* Of this process and of each gpg that it has waited for: others on the machine do not count. */
static double now_msec(void)
{
        struct timespec t;
        struct rusage children;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        getrusage(RUSAGE_CHILDREN, &children);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6 +
               (double)(children.ru_utime.tv_sec + children.ru_stime.tv_sec) * 1e3 +
               (double)(children.ru_utime.tv_usec + children.ru_stime.tv_usec) / 1e3;
}

static int by_size(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return x < y ? -1 : x > y;
}

/* The lower quartile: what else runs on the machine makes the others longer, and never shorter. */
static double typical(struct sample *s)
{
        qsort(s->msec, s->runs, sizeof(s->msec[0]), by_size);
        return s->msec[s->runs / 4];
}

static void ask(struct sample *s)
{
        struct answer a;
        double before = now_msec();
        pgp_pair_ask(pair.fast, s->p, s->n, &a);
        s->msec[s->runs++] = now_msec() - before;
        assert_false(a.good);
        s->verdict = a.verdict;
        answer_done(&a);
}

/* One session-key packet in 256 is a byte shorter: sizes are compared with those of their messages. */
static void same_words(
        const struct shape *shape, enum fault fault, const struct sample *x, const struct sample *y)
{
        const struct pgp_verdict *a = &x->verdict, *b = &y->verdict;
        if (a->error.cause != b->error.cause || !streq(a->error.text, b->error.text) ||
                a->error.err != b->error.err || a->again != b->again || a->checks != b->checks ||
                a->warnings != b->warnings || !streq(a->fingerprint, b->fingerprint) ||
                !streq(a->recipients, b->recipients) || x->n - a->cipher_size != y->n - b->cipher_size)
                fail_msg("%s, %s: \"%s\" instead of \"%s\"", shape->name, faults[fault].name, b->error.text,
                        a->error.text);
}

/* More than what a busy machine does; what is left out (RSA, the cipher) or done besides (gpg) is more. */
#define FACTOR 1.4
#define ROUNDS 5

static const char *which_differs(const struct shape *shape, struct sample *samples)
{
        static char text[160];
        double reference = typical(&samples[OTHER_KEY]);
        const char *ret = NULL;
        for (enum fault f = 0; f < FAULTS; f++) {
                double t = typical(&samples[f]);
                if (getenv("CZARD_ORACLE_SHOW"))
                        print_message("%-18s %-36s %7.3f ms  %s\n", shape->name, faults[f].name, t,
                                samples[f].verdict.error.text);
                if (t <= reference * FACTOR && t >= reference / FACTOR)
                        continue;
                snprintf(text, sizeof(text), "%s, %s: %.3f ms instead of %.3f ms", shape->name,
                        faults[f].name, t, reference);
                ret = text;
        }
        return ret;
}

static void compare(const struct shape *shape)
{
        static struct sample samples[FAULTS];
        const char *wanted = getenv("CZARD_ORACLE_RUNS"), *differs = "";
        size_t runs =
                MAX(MIN(wanted ? strtoul(wanted, NULL, 10) : 12, (unsigned long)(RUNS_MOST / ROUNDS)), 1UL);
        for (enum fault f = 0; f < FAULTS; f++) {
                samples[f] = (struct sample){};
                make(shape, f, &samples[f]);
        }
        for (unsigned round = 0; round < ROUNDS && differs; round++) {
                for (size_t i = 0; i < runs; i++)
                        for (enum fault f = 0; f < FAULTS; f++) {
                                enum fault now = (f + i) % FAULTS;
                                ask(&samples[now]);
                                same_words(shape, now, &samples[i ? OTHER_KEY : now], &samples[now]);
                        }
                differs = which_differs(shape, samples);
                if (shape->by_gpg)
                        differs = NULL;
        }
        for (enum fault f = 0; f < FAULTS; f++)
                free(samples[f].p);
        if (differs)
                fail_msg("%s", differs);
}

static void no_oracle(void **state)
{
        (void)state;
        static const struct shape shapes[] = {
                {.name = "small", .len = 100},
                {.name = "partial lengths", .len = 5000, .frame = 2},
                {.name = "of one buffer", .len = 300000},
                {.name = "more behind it", .len = 5000, .around = 0xe5},
                {.name = "garbage behind it", .len = 5000, .around = 0xe6},
                {.name = "cut off", .len = 5000, .data = 0xe8},
                {.name = "another version", .len = 5000, .data = 0xe2, .by_gpg = true},
                {.name = "too short", .len = 5000, .data = 0xff},
        };
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++)
                compare(&shapes[i]);
}

static void session_of(const struct sample *s, struct fast_session *ret)
{
        char recipients[4][17];
        size_t n;
        assert_int_equal(fast_open_session(pair.secret, s->p, s->n, ret, recipients, 4, &n), 0);
        assert_int_equal(ret->len, FAST_SESSION_KEY);
        assert_int_equal(ret->key[0], 9);
}

/* Who sends a packet twice sees the same twice, as with a right one. */
static void what_is_taken_instead_is_always_the_same(void **state)
{
        (void)state;
        static const struct shape small = {.name = "small", .len = 100};
        static struct sample samples[FAULTS];
        struct fast_session first[FAULTS], again;
        for (enum fault f = 0; f < FAULTS; f++) {
                make(&small, f, &samples[f]);
                session_of(&samples[f], &first[f]);
                session_of(&samples[f], &again);
                assert_memory_equal(first[f].key, again.key, sizeof(again.key));
                assert_int_equal(first[f].random, f >= BLOCK_TYPE);
                for (enum fault g = 0; g < f; g++)
                        assert_memory_not_equal(first[f].key, first[g].key, sizeof(again.key));
        }
        for (enum fault f = 0; f < FAULTS; f++)
                free(samples[f].p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_oracle),
                cmocka_unit_test(what_is_taken_instead_is_always_the_same),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
