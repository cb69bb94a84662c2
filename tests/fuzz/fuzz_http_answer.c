/* SPDX-License-Identifier: Apache-2.0 */
/* What an HTTP answer that is not 2xx means. Input: status and what was asked in three bytes, then lines of
 * the headers (Date, Retry-After, region), then the body. Whatever it is: the cause is one that czard-fetch
 * may tell, the text is printable, a region or a host is one. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "answers.h"
#include "httpval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *line(char **rest)
{
        char *at = strsep(rest, "\n");
        return at && *at ? at : NULL;
}

static bool is_printable(const char *s)
{
        for (; *s; s++)
                if (*s < 0x20 || *s > 0x7e)
                        return false;
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < 3)
                return 0;
        char *copy = malloc(size - 3 + 1), *rest = copy;
        assert(copy);
        memcpy(copy, data + 3, size - 3);
        copy[size - 3] = 0;
        struct answer_input in = {
                .status = (unsigned)data[0] << 8 | data[1],
                .head = data[2] & 1,
                .ranged = data[2] & 2,
                .now_sec = 1445412480,
        };
        in.date = line(&rest);
        in.retry_after = line(&rest);
        in.bucket_region = line(&rest);
        in.body = rest;
        in.body_len = rest ? size - 3 - (size_t)(rest - copy) : 0;
        struct answer a;
        memset(&a, 0xa5, sizeof(a));
        answer_read(&in, &a);
        assert(is_printable(a.text) && memchr(a.text, 0, sizeof(a.text)));
        assert(memchr(a.host, 0, sizeof(a.host)) && memchr(a.region, 0, sizeof(a.region)));
        assert(!*a.region || httpval_is_region(a.region));
        assert(a.cause != CAUSE_NONE && a.cause < CAUSE_MAX);
        const struct message done = {.type = PROTO_DONE, .done.outcome.cause = a.cause};
        assert(answer_check(REQUEST_WHOLE, &done, NULL) == 0 && answer_check(REQUEST_LIST, &done, NULL) == 0);
        free(copy);
        return 0;
}
