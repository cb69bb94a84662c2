/* SPDX-License-Identifier: Apache-2.0 */
/* ISA-L finds damage within a member and checks its CRC-32 and length; where a member ends, and whether the
 * stream may end there, is decided here. (zlib does the same four times slower, and this was the longest step
 * of all that is done with a file of events.) */
#include "gzcheck.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>

#define RESERVED_FLAGS 0xe0U /* RFC 1952, 2.3.1.2: must be zero */

enum gz_state {
        GZ_START,   /* nothing yet */
        GZ_HEADER,  /* within the header of a member */
        GZ_MEMBER,  /* within its data or trailer */
        GZ_BETWEEN, /* after a member: another one, zeroes or the end */
        GZ_PADDING, /* zeroes, to the end */
        GZ_BROKEN,  /* an error was told */
};

struct gzcheck {
        enum gz_state state;
        bool unpack;
        struct inflate_state z;
        struct isal_gzip_header header;
        struct expansion limit;
        sink_fn *write;
        void *arg;
        uint64_t in, out;
        uint8_t buf[256 * KIB]; /* the larger the step, the less often ISA-L copies its window */
};

int gzcheck_new(bool unpack, const struct expansion *limit, sink_fn *write, void *arg, struct gzcheck **ret)
{
        struct gzcheck *g = calloc(1, sizeof(*g));
        if (!g)
                return -ENOMEM;
        isal_inflate_init(&g->z);
        g->unpack = unpack;
        g->limit = *limit;
        g->write = write;
        g->arg = arg;
        *ret = g;
        return 0;
}

struct gzcheck *gzcheck_free(struct gzcheck *g)
{
        free(g);
        return NULL;
}

static int bad(struct error *e, const char *text)
{
        return error_set(e, CAUSE_BAD_GZIP, EBADMSG, "%s", text);
}

static int damage(int code, struct error *e)
{
        switch (code) {
        case ISAL_INVALID_BLOCK:
                return bad(e, "invalid block of deflate");
        case ISAL_INVALID_SYMBOL:
                return bad(e, "invalid code of deflate");
        case ISAL_INVALID_LOOKBACK:
                return bad(e, "invalid distance of deflate");
        case ISAL_INCORRECT_CHECKSUM:
                return bad(e, "incorrect checksum or length");
        default:
                return bad(e, "not gzip");
        }
}

/* Inflates what next_in holds, up to the end of the member at most. */
static int inflate_some(struct gzcheck *g, struct error *e)
{
        g->z.next_out = g->buf;
        g->z.avail_out = sizeof(g->buf);
        int z = isal_inflate(&g->z);
        size_t n = sizeof(g->buf) - g->z.avail_out;
        g->out += n;
        int r = expansion_check(&g->limit, g->in, g->out, e);
        if (r == 0 && g->unpack && n)
                r = g->write(g->arg, g->buf, n, e);
        if (r < 0)
                return r;
        if (z < 0)
                return damage(z, e);
        if (g->z.block_state == ISAL_BLOCK_FINISH)
                g->state = GZ_BETWEEN;
        return 0;
}

/* The first byte of a member, or of what is there instead. */
static int member_starts(struct gzcheck *g, struct error *e)
{
        if (g->state == GZ_BETWEEN && *g->z.next_in == 0) {
                g->state = GZ_PADDING;
                return 0;
        }
        if (*g->z.next_in != 0x1f)
                return bad(e, g->state == GZ_START ? "it does not begin like gzip" : "garbage after the end");
        isal_inflate_reset(&g->z);
        isal_gzip_header_init(&g->header);
        g->state = GZ_HEADER;
        return 0;
}

static int read_header(struct gzcheck *g, struct error *e)
{
        int z = isal_read_gzip_header(&g->z, &g->header);
        if (z == ISAL_END_INPUT)
                return 0;
        if (z != ISAL_DECOMP_OK)
                return damage(z, e);
        if (g->header.flags & RESERVED_FLAGS)
                return bad(e, "its header has flags that nobody knows");
        g->z.crc_flag = ISAL_GZIP_NO_HDR_VER;
        g->state = GZ_MEMBER;
        return 0;
}

static int step(struct gzcheck *g, struct error *e)
{
        switch (g->state) {
        case GZ_START:
        case GZ_BETWEEN:
                return member_starts(g, e);
        case GZ_HEADER:
                return read_header(g, e);
        case GZ_MEMBER:
                return inflate_some(g, e);
        case GZ_PADDING:
                for (; g->z.avail_in; g->z.avail_in--)
                        if (*g->z.next_in++ != 0)
                                return bad(e, "garbage after the end");
                return 0;
        case GZ_BROKEN:
                break;
        }
        return bad(e, "it is damaged");
}

/* Is there output that ISA-L holds back for want of room? */
static bool pending(const struct gzcheck *g)
{
        return g->state == GZ_MEMBER && g->z.next_out && g->z.avail_out == 0;
}

int gzcheck_write(struct gzcheck *g, const void *p, size_t n, struct error *e)
{
        if (!g->unpack) {
                int r = g->write(g->arg, p, n, e);
                if (r < 0)
                        return r;
        }
        g->in += n;
        for (const uint8_t *c = p; n;) {
                size_t k = MIN(n, (size_t)(1 * GIB));
                g->z.next_in = (uint8_t *)(uintptr_t)c;
                g->z.avail_in = (uint32_t)k;
                while (g->z.avail_in || pending(g)) {
                        int r = step(g, e);
                        if (r < 0) {
                                g->state = GZ_BROKEN;
                                return r;
                        }
                }
                c += k;
                n -= k;
        }
        return 0;
}

int gzcheck_end(struct gzcheck *g, struct error *e)
{
        switch (g->state) {
        case GZ_START:
                return bad(e, "it is empty");
        case GZ_HEADER:
        case GZ_MEMBER:
                return bad(e, "it is cut off");
        case GZ_BETWEEN:
        case GZ_PADDING:
                return 0;
        case GZ_BROKEN:
                break;
        }
        return bad(e, "it is damaged");
}
