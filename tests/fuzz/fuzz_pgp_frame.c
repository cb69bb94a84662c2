/* SPDX-License-Identifier: Apache-2.0 */
/* The packets of a stream, whole and in pieces (the first byte is their size): the same answer. And the lines
 * of the input as gpg's status lines: whatever they are, a good verdict has its grounds. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pgp_status.h"
#include "terms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void lines(const uint8_t *data, size_t size)
{
        _cleanup_pgp_status_ struct pgp_status s = {};
        struct frame f = {};
        char *text = malloc(size + 1), *next;
        assert(text);
        memcpy(text, data, size);
        text[size] = 0;
        for (char *line = text; line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                char *args = strchr(line, ' ');
                if (args)
                        *args++ = 0;
                assert(pgp_status_line(&s, line, args ? args : "") == 0);
        }
        frame_feed(&f, "\xd2\x01x", 3);
        struct pgp_verdict *v = malloc(sizeof(*v));
        assert(v);
        pgp_verdict(&s, &f, &(struct pgp_policy){&(struct strv){}, SIGNATURES_OPTIONAL, NULL}, v);
        if (v->error.cause == CAUSE_NONE) {
                assert(s.okay && s.ended && s.begun == 1 && s.plaintexts == 1 && (s.good_mdc || s.aead));
                assert(!s.bad_mdc && !s.failed && (v->checks & CHECK_INTEGRITY));
        }
        free(v);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < 1)
                return 0;
        struct frame whole = {}, parts = {};
        size_t piece = (size_t)data[0] + 1;
        frame_feed(&whole, data + 1, size - 1);
        for (size_t i = 1; i < size; i += piece)
                frame_feed(&parts, data + i, MIN(piece, size - i));
        assert(whole.state == parts.state);
        assert(frame_fault(&whole) == frame_fault(&parts));
        assert(whole.bytes == size - 1 && parts.bytes == size - 1);
        lines(data, size);
        return 0;
}
