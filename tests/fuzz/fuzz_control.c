/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages: what decodes must encode to the same bytes again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "control_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct strv m = {};
        char *p;
        size_t n;
        if (control_decode((const char *)data, size, &m, NULL) < 0)
                return 0;
        (void)control_value(&m, "wait");
        assert(control_arguments(&m) <= m.n);
        int r = control_encode(&m, &p, &n);
        assert(r == 0 && n == size && memcmp(p, data, n) == 0);
        free(p);
        strv_done(&m);
        return 0;
}
