/* SPDX-License-Identifier: Apache-2.0 */
/* A gzip stream in pieces (the first byte is their size), once handed on and once unpacked: both must agree
 * whether it is whole, and what is handed on is the input. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "gzcheck.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *arg, const void *p, size_t n, struct error *e)
{
        (void)p;
        (void)e;
        *(uint64_t *)arg += n;
        return 0;
}

static int check(const uint8_t *data, size_t size, size_t piece, bool unpack, uint64_t *ret)
{
        struct gzcheck *g = NULL;
        struct error e = {};
        *ret = 0;
        if (gzcheck_new(unpack, &(struct expansion){.max_plaintext = 8 * MIB}, count, ret, &g) < 0)
                return 0;
        int r = 0;
        for (size_t i = 0; r == 0 && i < size; i += piece)
                r = gzcheck_write(g, data + i, MIN(piece, size - i), &e);
        if (r == 0)
                r = gzcheck_end(g, &e);
        gzcheck_free(g);
        assert((r < 0) == (e.cause != CAUSE_NONE));
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint64_t passed, unpacked;
        if (size < 1)
                return 0;
        size_t piece = (size_t)data[0] + 1;
        int a = check(data + 1, size - 1, piece, false, &passed),
            b = check(data + 1, size - 1, piece, true, &unpacked);
        assert(a == b);
        assert(a < 0 || passed == size - 1);
        assert(unpacked <= 8 * MIB);
        return 0;
}
