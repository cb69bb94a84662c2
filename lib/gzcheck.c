/* SPDX-License-Identifier: Apache-2.0 */
/* zlib finds damage within a member and checks its CRC-32 and length; where a member ends, and whether the
 * stream may end there, is decided here. */
#include "gzcheck.h"

#include <stdlib.h>
#include <zlib.h>

enum gz_state {
        GZ_START,   /* nothing yet */
        GZ_MEMBER,  /* within a member */
        GZ_BETWEEN, /* after a member: another one, zeroes or the end */
        GZ_PADDING, /* zeroes, to the end */
};

struct gzcheck {
        enum gz_state state;
        bool unpack, inflating;
        z_stream z;
        struct expansion limit;
        sink_fn *write;
        void *arg;
        uint64_t in, out;
        uint8_t buf[64 * KIB];
};

int gzcheck_new(bool unpack, const struct expansion *limit, sink_fn *write, void *arg, struct gzcheck **ret)
{
        _cleanup_(cleanup_gzcheck) struct gzcheck *g = calloc(1, sizeof(*g));
        if (!g || inflateInit2(&g->z, 16 + MAX_WBITS) != Z_OK)
                return -ENOMEM;
        g->inflating = true;
        g->unpack = unpack;
        g->limit = *limit;
        g->write = write;
        g->arg = arg;
        *ret = take_ptr(&g);
        return 0;
}

struct gzcheck *gzcheck_free(struct gzcheck *g)
{
        if (g && g->inflating)
                inflateEnd(&g->z);
        free(g);
        return NULL;
}

static int bad(struct error *e, const char *text)
{
        return error_set(e, CAUSE_BAD_GZIP, EBADMSG, "%s", text);
}

/* Inflates what next_in holds, up to the end of the member at most. */
static int inflate_some(struct gzcheck *g, struct error *e)
{
        g->z.next_out = g->buf;
        g->z.avail_out = sizeof(g->buf);
        int z = inflate(&g->z, Z_NO_FLUSH);
        size_t n = sizeof(g->buf) - g->z.avail_out;
        g->out += n;
        int r = expansion_check(&g->limit, g->in, g->out, e);
        if (r == 0 && g->unpack && n)
                r = g->write(g->arg, g->buf, n, e);
        if (r < 0)
                return r;
        switch (z) {
        case Z_STREAM_END:
                g->state = GZ_BETWEEN;
                return 0;
        case Z_OK:
        case Z_BUF_ERROR: /* it wants more input */
                return 0;
        case Z_MEM_ERROR:
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        default:
                return bad(e, g->z.msg ? g->z.msg : "not gzip");
        }
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
        if (g->state == GZ_BETWEEN && inflateReset(&g->z) != Z_OK)
                return error_set(e, CAUSE_INTERNAL, EINVAL, "zlib does not start again");
        g->state = GZ_MEMBER;
        return 0;
}

static int step(struct gzcheck *g, struct error *e)
{
        switch (g->state) {
        case GZ_START:
        case GZ_BETWEEN:
                return member_starts(g, e);
        case GZ_MEMBER:
                return inflate_some(g, e);
        case GZ_PADDING:
                for (; g->z.avail_in; g->z.avail_in--)
                        if (*g->z.next_in++ != 0)
                                return bad(e, "garbage after the end");
                return 0;
        }
        return -EINVAL;
}

/* Is there output that zlib holds back for want of room? */
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
                g->z.next_in = (Bytef *)(uintptr_t)c;
                g->z.avail_in = (uInt)k;
                while (g->z.avail_in || pending(g)) {
                        int r = step(g, e);
                        if (r < 0)
                                return r;
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
        case GZ_MEMBER:
                return bad(e, "it is cut off");
        case GZ_BETWEEN:
        case GZ_PADDING:
                return 0;
        }
        return -EINVAL;
}
