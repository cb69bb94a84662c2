/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "gzcheck.h"
#include "str.h"

static struct strbuf out;

static int collect(void *arg, const void *p, size_t n, struct error *e)
{
        (void)e;
        if (arg)
                strbuf_add_n(arg, p, n);
        return 0;
}

static int refuse(void *arg, const void *p, size_t n, struct error *e)
{
        (void)arg;
        (void)p;
        (void)n;
        return error_set(e, CAUSE_SPACE, ENOSPC, "full");
}

/* One gzip member. */
static size_t pack(const void *p, size_t n, uint8_t *ret, size_t size)
{
        z_stream z = {};
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        z.next_in = (Bytef *)(uintptr_t)p;
        z.avail_in = (uInt)n;
        z.next_out = ret;
        z.avail_out = (uInt)size;
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        size_t len = size - z.avail_out;
        deflateEnd(&z);
        return len;
}

/* In pieces; what comes out is in `out`. */
static enum cause check(const uint8_t *p, size_t n, size_t piece, bool unpack, struct expansion limit)
{
        struct gzcheck *g = NULL;
        struct error e = {};
        strbuf_done(&out);
        out = (struct strbuf){};
        assert_int_equal(gzcheck_new(unpack, &limit, collect, &out, &g), 0);
        int r = 0;
        for (size_t i = 0; r == 0 && i < n; i += piece)
                r = gzcheck_write(g, p + i, MIN(piece, n - i), &e);
        if (r < 0) {
                struct error again = {};
                assert_true(gzcheck_end(g, &again) < 0); /* once broken, never whole */
        } else {
                r = gzcheck_end(g, &e);
        }
        gzcheck_free(g);
        assert_int_equal(r < 0, e.cause != CAUSE_NONE);
        return e.cause;
}

static const char text[] = "the quick brown fox jumps over the lazy dog; the quick brown fox jumps again";

static void expect(const uint8_t *p, size_t n, enum cause cause, const char *plain)
{
        for (size_t piece = 1; piece <= n + 1; piece = piece * 2 + 1) {
                assert_int_equal(check(p, n, piece, false, (struct expansion){}), cause);
                if (cause == CAUSE_NONE) {
                        assert_int_equal(out.len, n);
                        assert_memory_equal(out.s, p, n);
                }
                assert_int_equal(check(p, n, piece, true, (struct expansion){}), cause);
                if (cause == CAUSE_NONE)
                        assert_string_equal(out.s ? out.s : "", plain);
        }
}

static void whole_streams(void **state)
{
        (void)state;
        uint8_t p[1024] = {};
        char twice[2 * sizeof(text)];
        size_t n = pack(text, strlen(text), p, sizeof(p));
        expect(p, n, CAUSE_NONE, text);
        expect(p, n + 512, CAUSE_NONE, text); /* zeroes behind it */
        size_t m = n + pack(text, strlen(text), p + n, sizeof(p) - n);
        strcpy(twice, text);
        strcat(twice, text);
        expect(p, m, CAUSE_NONE, twice);
        n = pack("", 0, p, sizeof(p));
        expect(p, n, CAUSE_NONE, "");
}

static void faulty_streams(void **state)
{
        (void)state;
        uint8_t good[1024] = {}, p[1024];
        size_t n = pack(text, strlen(text), good, sizeof(good));
        if (n > sizeof(p) / 2) {
                fail();
                return;
        }
        for (size_t cut = 0; cut < n; cut++)
                assert_int_equal(check(good, cut, cut + 1, true, (struct expansion){}), CAUSE_BAD_GZIP);
        /* any one bit of data, CRC-32 or length; only the padding of the last byte of data holds nothing */
        unsigned harmless = 0;
        for (size_t at = 10; at < n; at++) {
                memcpy(p, good, sizeof(p));
                p[at] ^= 4;
                if (check(p, n, 7, true, (struct expansion){}) == CAUSE_NONE) {
                        assert_string_equal(out.s, text);
                        assert_int_equal(at, n - 9);
                        harmless++;
                }
        }
        assert_true(harmless <= 1);
        memcpy(p, good, sizeof(p));
        p[n] = 'x';
        expect(p, n + 1, CAUSE_BAD_GZIP, NULL);
        p[n] = 0;
        p[n + 100] = 1;
        expect(p, n + 101, CAUSE_BAD_GZIP, NULL); /* zeroes and then something */
        expect((const uint8_t *)"plain text", 10, CAUSE_BAD_GZIP, NULL);
        expect((const uint8_t *)"\0\0\0\0", 4, CAUSE_BAD_GZIP, NULL);
}

/* RFC 1952, 2.3: what may stand before the data. */
enum { FHCRC = 2, FEXTRA = 4, FNAME = 8, FCOMMENT = 16 };

static size_t with_header(uint8_t *ret, size_t size, uint8_t method, uint8_t flags, unsigned crc_error)
{
        uint8_t packed[256];
        size_t n = 0, len = pack(text, strlen(text), packed, sizeof(packed)) - 10;
        const uint8_t fixed[10] = {0x1f, 0x8b, method, flags, 1, 2, 3, 4, 0, 3};
        memcpy(ret, fixed, sizeof(fixed));
        n += sizeof(fixed);
        if (flags & FEXTRA) {
                memcpy(ret + n,
                        "\x05\x00"
                        "ab\x01\x00x",
                        7);
                n += 7;
        }
        if (flags & FNAME) {
                memcpy(ret + n, "a name", 7);
                n += 7;
        }
        if (flags & FCOMMENT) {
                memcpy(ret + n, "a comment", 10);
                n += 10;
        }
        if (flags & FHCRC) {
                unsigned long crc = crc32(0, ret, (uInt)n) ^ crc_error;
                ret[n++] = (uint8_t)crc;
                ret[n++] = (uint8_t)(crc >> 8);
        }
        assert_true(n + len <= size);
        memcpy(ret + n, packed + 10, len);
        return n + len;
}

static void headers(void **state)
{
        (void)state;
        uint8_t p[512];
        for (unsigned flags = 0; flags < 256; flags++) {
                size_t n = with_header(p, sizeof(p), 8, (uint8_t)flags, 0);
                expect(p, n, flags & 0xe0 ? CAUSE_BAD_GZIP : CAUSE_NONE, text);
                if (!(flags & FHCRC))
                        continue;
                n = with_header(p, sizeof(p), 8, (uint8_t)flags, 1);
                expect(p, n, CAUSE_BAD_GZIP, NULL);
        }
        expect(p, with_header(p, sizeof(p), 7, 0, 0), CAUSE_BAD_GZIP, NULL);
        /* one behind the other, each with all there is */
        size_t n = with_header(p, sizeof(p), 8, 30, 0);
        n += with_header(p + n, sizeof(p) - n, 8, 30, 0);
        char twice[2 * sizeof(text)];
        strcpy(twice, text);
        strcat(twice, text);
        expect(p, n, CAUSE_NONE, twice);
}

/* The trailer has 32 bits for the length: the rest of it is not looked at. */
static void more_than_four_gib(void **state)
{
        (void)state;
        enum { CHUNKS = 66 };
        static const uint8_t header[10] = {0x1f, 0x8b, 8}, end[2] = {3, 0};
        size_t size = 64 * MIB, room = 128 * KIB;
        uint8_t *zeroes = calloc(1, size), *chunk = malloc(room), trailer[8];
        assert_non_null(zeroes);
        assert_non_null(chunk);
        z_stream z = {.next_in = zeroes, .avail_in = (uInt)size, .next_out = chunk, .avail_out = (uInt)room};
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FULL_FLUSH), Z_OK);
        size_t n = room - z.avail_out;
        deflateEnd(&z);
        unsigned long one = crc32(0, zeroes, (uInt)size), crc = 0;
        for (int i = 0; i < CHUNKS; i++)
                crc = crc32_combine(crc, one, (long)size);
        for (unsigned i = 0; i < 4; i++) {
                trailer[i] = (uint8_t)(crc >> 8 * i);
                trailer[4 + i] = (uint8_t)((uint64_t)CHUNKS * size >> 8 * i);
        }
        for (int good = 0; good < 2; good++) {
                struct gzcheck *g = NULL;
                struct error e = {};
                trailer[7] ^= 1; /* wrong, and right again */
                assert_int_equal(gzcheck_new(true, &(struct expansion){}, collect, NULL, &g), 0);
                assert_int_equal(gzcheck_write(g, header, sizeof(header), &e), 0);
                for (int i = 0; i < CHUNKS; i++)
                        assert_int_equal(gzcheck_write(g, chunk, n, &e), 0);
                assert_int_equal(gzcheck_write(g, end, sizeof(end), &e), 0);
                assert_int_equal(gzcheck_write(g, trailer, sizeof(trailer), &e), good ? 0 : -EBADMSG);
                assert_int_equal(gzcheck_end(g, &e), good ? 0 : -EBADMSG);
                gzcheck_free(g);
        }
        free(zeroes);
        free(chunk);
}

static void limits(void **state)
{
        (void)state;
        size_t big = 80 * MIB;
        uint8_t *zeroes = calloc(1, big), *p = malloc(MIB);
        assert_non_null(zeroes);
        assert_non_null(p);
        size_t n = pack(zeroes, big, p, MIB);
        struct gzcheck *g = NULL;
        struct error e = {};
        assert_int_equal(gzcheck_new(true, &(struct expansion){.max_ratio = 100}, collect, NULL, &g), 0);
        assert_true(gzcheck_write(g, p, n, &e) < 0);
        assert_int_equal(e.cause, CAUSE_LIMIT);
        gzcheck_free(g);
        assert_int_equal(gzcheck_new(true, &(struct expansion){.max_ratio = 2000}, collect, NULL, &g), 0);
        assert_int_equal(gzcheck_write(g, p, n, &e), 0);
        assert_int_equal(gzcheck_end(g, &e), 0);
        gzcheck_free(g);
        /* also when nothing is unpacked: max_plaintext is about what the file would become */
        assert_int_equal(check(p, n, n, false, (struct expansion){.max_plaintext = big - 1}), CAUSE_LIMIT);
        assert_int_equal(check(p, n, n, false, (struct expansion){.max_plaintext = big}), CAUSE_NONE);
        free(zeroes);
        free(p);
}

static void errors_of_the_sink_are_told(void **state)
{
        (void)state;
        uint8_t p[1024];
        size_t n = pack(text, strlen(text), p, sizeof(p));
        for (int unpack = 0; unpack < 2; unpack++) {
                struct gzcheck *g = NULL;
                struct error e = {};
                assert_int_equal(gzcheck_new(unpack, &(struct expansion){}, refuse, NULL, &g), 0);
                assert_int_equal(gzcheck_write(g, p, n, &e), -ENOSPC);
                assert_int_equal(e.cause, CAUSE_SPACE);
                gzcheck_free(g);
        }
}

static int clean(void **state)
{
        (void)state;
        strbuf_done(&out);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whole_streams),
                cmocka_unit_test(faulty_streams),
                cmocka_unit_test(headers),
                cmocka_unit_test(more_than_four_gib),
                cmocka_unit_test(limits),
                cmocka_unit_test(errors_of_the_sink_are_told),
        };
        return cmocka_run_group_tests(tests, NULL, clean);
}
