/* SPDX-License-Identifier: Apache-2.0 */
/* A gzip stream in pieces (the first byte is their size), once handed on and once unpacked: both must agree
 * with zlib whether it is whole and what is in it, and what is handed on is the input. The second byte says
 * what the rest is:
 *
 *   0   the stream
 *   1   deflate, for a stream of which all else is right: no fuzzer guesses a CRC-32
 *   2   plaintext for zlib to compress, in the way that four bytes say
 *   3   the same, with one bit of the result turned */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "gzcheck.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST (8 * MIB)

struct sum {
        uint64_t size;
        uLong crc;
};

static int add(void *arg, const void *p, size_t n, struct error *e)
{
        (void)e;
        struct sum *s = arg;
        s->crc = crc32(s->crc, p, (uInt)n);
        s->size += n;
        return 0;
}

static int check(const uint8_t *data, size_t size, size_t piece, bool unpack, struct sum *ret)
{
        struct gzcheck *g = NULL;
        struct error e = {};
        *ret = (struct sum){};
        if (gzcheck_new(unpack, &(struct expansion){.max_plaintext = MOST}, add, ret, &g) < 0)
                abort();
        int r = 0;
        for (size_t i = 0; r == 0 && i < size; i += piece)
                r = gzcheck_write(g, data + i, MIN(piece, size - i), &e);
        struct error again = {};
        assert(r == 0 || gzcheck_end(g, &again) < 0);
        if (r == 0)
                r = gzcheck_end(g, &e);
        gzcheck_free(g);
        assert((r < 0) == (e.cause != CAUSE_NONE));
        return r;
}

static bool is_about_tables(const char *why)
{
        static const char *const tables[] = {"invalid code lengths set", "invalid literal/lengths set",
                "invalid distances set", "invalid code -- missing end-of-block"};
        for (size_t i = 0; why && i < ELEMENTSOF(tables); i++)
                if (strcmp(why, tables[i]) == 0)
                        return true;
        return false;
}

/* One member, or one deflate stream, by zlib: how much of data it is, 0 if it is not whole. */
static size_t member(const uint8_t *data, size_t size, int bits, struct sum *ret, bool *ret_tables)
{
        uint8_t buf[64 * 1024];
        z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
        int r = inflateInit2(&z, bits);
        while (r == Z_OK && ret->size <= MOST) {
                z.next_out = buf;
                z.avail_out = sizeof(buf);
                r = inflate(&z, Z_NO_FLUSH);
                add(ret, buf, sizeof(buf) - z.avail_out, NULL);
        }
        *ret_tables = is_about_tables(z.msg);
        inflateEnd(&z);
        return r == Z_STREAM_END ? size - z.avail_in : 0;
}

static bool is_whole(const uint8_t *data, size_t size, struct sum *ret, bool *ret_tables)
{
        size_t at = 0, n = 1;
        while (n > 0 && at < size && (at == 0 || data[at] != 0)) {
                n = member(data + at, size - at, 16 + MAX_WBITS, ret, ret_tables);
                at += n;
        }
        if (n == 0 || at == 0)
                return false;
        while (at < size && data[at] == 0)
                at++;
        return at == size;
}

static void compare(const uint8_t *data, size_t size, size_t piece)
{
        struct sum passed, unpacked, known = {};
        int a = check(data, size, piece, false, &passed), b = check(data, size, piece, true, &unpacked);
        assert(a == b);
        assert(a < 0 || passed.size == size);
        assert(unpacked.size <= MOST);
        bool tables = false, whole = is_whole(data, size, &known, &tables);
        if (known.size > MOST || (a == 0 && tables))
                return;
        assert((a == 0) == whole);
        assert(a < 0 || (unpacked.size == known.size && unpacked.crc == known.crc));
}

/* Around deflate: the shortest header, and the trailer that it should have. */
static void compare_deflate(const uint8_t *data, size_t size, size_t piece)
{
        static const uint8_t header[10] = {0x1f, 0x8b, 8};
        struct sum sum = {};
        bool tables;
        size_t n = member(data, size, -MAX_WBITS, &sum, &tables);
        n = n ? n : size;
        uint8_t *p = malloc(sizeof(header) + n + 8);
        if (!p)
                return;
        memcpy(p, header, sizeof(header));
        memcpy(p + sizeof(header), data, n);
        for (unsigned i = 0; i < 4; i++) {
                p[sizeof(header) + n + i] = (uint8_t)(sum.crc >> 8 * i);
                p[sizeof(header) + n + 4 + i] = (uint8_t)(sum.size >> 8 * i);
        }
        compare(p, sizeof(header) + n + 8, piece);
        free(p);
}

/* data again and again, so that there are matches from far away. */
static void compare_made(const uint8_t *data, size_t size, size_t piece, bool damaged)
{
        if (size < 5)
                return;
        unsigned how = data[0], window = data[1], memory = data[2], turned = data[3] | data[4] << 8U;
        data += 5;
        size -= 5;
        z_stream z = {};
        if (deflateInit2(&z, how % 10, Z_DEFLATED, 16 + 9 + (int)(window % 7), 1 + (int)(memory % 9),
                    (int)(how / 10 % 5)) != Z_OK)
                abort();
        size_t times = 1 + (window / 7U) * (memory / 9U) / 4,
               room = deflateBound(&z, size * times) + 16 * times;
        uint8_t *p = malloc(room);
        if (!p)
                abort();
        z.next_out = p;
        z.avail_out = (uInt)room;
        for (size_t i = 0; i < times; i++) {
                z.next_in = (Bytef *)(uintptr_t)data;
                z.avail_in = (uInt)size;
                deflate(&z, i + 1 == times ? Z_FINISH
                            : i % 16 == 15 ? Z_FULL_FLUSH
                            : i % 4 == 3   ? Z_SYNC_FLUSH
                                           : Z_NO_FLUSH);
        }
        size_t n = room - z.avail_out;
        deflateEnd(&z);
        if (damaged)
                p[turned / 8 % n] ^= (uint8_t)(1U << turned % 8);
        compare(p, n, piece * 256);
        free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < 2)
                return 0;
        size_t piece = (size_t)data[0] + 1;
        unsigned what = data[1] % 4;
        if (what == 0)
                compare(data + 2, size - 2, piece);
        else if (what == 1)
                compare_deflate(data + 2, size - 2, piece);
        else
                compare_made(data + 2, size - 2, piece, what == 3);
        return 0;
}
