/* SPDX-License-Identifier: Apache-2.0 */
/* What is within a message, once whole and once in pieces (the first byte is their size): the same comes out.
 * It is also what the reader of packets in memory finds, with zlib for what is compressed (but not for
 * bzip2). */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "openpgp.h"

#define MOST (128 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct content {
        uint64_t len, sum;
};

static int take(void *arg, const void *data, size_t n, struct error *e)
{
        struct content *c = arg;
        const uint8_t *p = data;
        for (size_t i = 0; i < n; i++)
                c->sum = (c->sum ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
        c->len += n;
        return c->len > MOST ? error_set(e, CAUSE_LIMIT, EFBIG, "enough") : 0;
}

/* 1: plain, with its content; 0: odd or not whole; -errno. */
static int pass(const uint8_t *p, size_t n, size_t piece, struct content *ret)
{
        _cleanup_(cleanup_pgp_inside) struct pgp_inside *s = NULL;
        struct error e = {};
        *ret = (struct content){};
        assert(pgp_inside_new(take, ret, &s) == 0);
        for (size_t i = 0; i < n; i += piece) {
                int r = pgp_inside_feed(s, p + i, MIN(piece, n - i), &e);
                if (r < 0)
                        return r;
        }
        assert(!pgp_inside_is_odd(s) || !pgp_inside_is_plain(s));
        return pgp_inside_is_plain(s);
}

static bool is_plain_literal(const uint8_t *data, size_t size, struct content *ret)
{
        struct cursor c = {.p = data, .left = size};
        _cleanup_packet_ struct packet packet = {};
        if (packet_next(&c, &packet) < 0 || c.left > 0 || packet.tag != PACKET_LITERAL)
                return false;
        c = (struct cursor){.p = packet.body, .left = packet.len};
        uint64_t format, len;
        if (cursor_number(&c, 1, &format) < 0 || format != 'b' || cursor_number(&c, 1, &len) < 0)
                return false;
        const uint8_t *name = cursor_take(&c, (size_t)len);
        if (!name || (len == 8 && memcmp(name, "_CONSOLE", 8) == 0) || !cursor_take(&c, 4))
                return false;
        struct error e = {};
        *ret = (struct content){};
        return take(ret, c.p, c.left, &e) == 0;
}

/* The same of a compressed packet: 1, 0, or -1 where it cannot be told. */
static int is_plain_compressed(const uint8_t *data, size_t size, struct content *ret)
{
        struct cursor c = {.p = data, .left = size};
        _cleanup_packet_ struct packet packet = {};
        bool to_the_end = data[0] == (0x80 | PACKET_COMPRESSED << 2 | 3); /* what gpg makes */
        if (!to_the_end && (packet_next(&c, &packet) < 0 || c.left > 0 || packet.tag != PACKET_COMPRESSED))
                return 0;
        const uint8_t *body = to_the_end ? data + 1 : packet.body;
        size_t len = to_the_end ? size - 1 : packet.len;
        if (len < 1 || (body[0] != 1 && body[0] != 2))
                return len > 0 && body[0] == 3 ? -1 : 0;
        static uint8_t out[2 * MOST];
        z_stream z = {.next_in = (Bytef *)(uintptr_t)(body + 1),
                .avail_in = (uInt)len - 1,
                .next_out = out,
                .avail_out = sizeof(out)};
        if (inflateInit2(&z, body[0] == 1 ? -MAX_WBITS : MAX_WBITS) != Z_OK)
                abort();
        int r = inflate(&z, Z_NO_FLUSH);
        size_t n = sizeof(out) - z.avail_out;
        inflateEnd(&z);
        if (z.avail_out == 0)
                return -1;
        return r == Z_STREAM_END && z.avail_in == 0 && is_plain_literal(out, n, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct content whole, pieces, literal;
        if (size < 2)
                return 0;
        const uint8_t *p = data + 1;
        size_t n = size - 1, piece = (size_t)data[0] % 61 + 1;
        int a = pass(p, n, n, &whole), b = pass(p, n, piece, &pieces);
        assert((a == 1) == (b == 1)); /* how far an odd one comes may differ */
        assert(a != 1 || (whole.len == pieces.len && whole.sum == pieces.sum));
        unsigned tag = p[0] & 0x40 ? p[0] & 0x3f : p[0] >> 2 & 0xf;
        int plain = tag == PACKET_COMPRESSED ? is_plain_compressed(p, n, &literal)
                                             : is_plain_literal(p, n, &literal);
        if (plain < 0)
                return 0;
        assert(plain == (a == 1));
        assert(!plain || (literal.len == whole.len && literal.sum == whole.sum));
        return 0;
}
