/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "s3xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct s3xml_list *l;
        struct s3xml_page page = {};
        struct s3xml_error error = {};
        struct error e = {};
        if (s3xml_list_new(&l) < 0)
                return 0;
        size_t half = size / 2;
        int r = s3xml_list_feed(l, data, half, &e);
        if (r == 0)
                r = s3xml_list_feed(l, data + half, size - half, &e);
        if (r == 0)
                r = s3xml_list_finish(l, &page, &e);
        if (r < 0)
                assert(e.err != 0 && page.n == 0);
        for (size_t i = 0; i < page.n; i++)
                assert(page.objects[i].etag && strlen(page.objects[i].key) <= LIMIT_S3_KEY);
        s3xml_page_done(&page);
        s3xml_list_free(l);
        s3xml_error(data, size, &error);
        return 0;
}
