/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "httpval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *s = malloc(size + 1);
        if (!s)
                return 0;
        memcpy(s, data, size);
        s[size] = 0;
        uint64_t u = 0;
        int64_t t = 0;
        struct httpval_range range;
        struct httpval_etag etag;
        uint8_t bytes[32];
        if (httpval_u64(s, 1000, &u) == 0)
                assert(u <= 1000);
        if (httpval_content_range(s, &range) == 0 && range.satisfied)
                assert(range.first <= range.last && (!range.has_total || range.last < range.total));
        if (httpval_retry_after(s, 0, &u) == 0)
                assert(u <= HTTPVAL_RETRY_AFTER_MAX_SEC * UINT64_C(1000000));
        httpval_date(s, &t);
        if (httpval_etag(s, &etag) == 0)
                assert(etag.is_md5 || etag.parts == 0);
        httpval_etag_equal(s, "\"abc\"");
        for (size_t n = 1; n <= sizeof(bytes); n++)
                httpval_base64(s, bytes, n);
        if (httpval_is_region(s))
                assert(strlen(s) < HTTPVAL_REGION_SIZE && !strpbrk(s, "./:@"));
        size_t before = strlen(s);
        if (httpval_urldecode(s) == 0)
                assert(strlen(s) <= before);
        free(s);
        return 0;
}
