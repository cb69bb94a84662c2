/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "credentials.h"
#include "limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_secret_ struct secret csv = {};
        _cleanup_credentials_ struct credentials c = {};
        struct error e = {};
        if (size > LIMIT_CREDENTIALS_FILE || secret_alloc(size, &csv) < 0)
                return 0;
        memcpy(csv.p, data, size);
        csv.p[size] = 0;
        csv.len = size;
        if (credentials_parse(&csv, &c, &e) == 0)
                assert(c.access_key_id[0] && c.secret_key.len > 0);
        else
                assert(e.err != 0 && !c.secret_key.p);
        return 0;
}
