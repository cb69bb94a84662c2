/* SPDX-License-Identifier: Apache-2.0 */
/* Framed messages, as both sides receive them: what decodes must encode to the same bytes again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct message m;
        if (proto_decode(data, size, &m, NULL) < 0)
                return 0;
        void *p;
        size_t n;
        int r = proto_encode(&m, &p, &n);
        assert(r == 0 && n == size && memcmp(p, data, n) == 0);
        free(p);
        message_done(&m);
        return 0;
}
