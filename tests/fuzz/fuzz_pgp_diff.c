/* SPDX-License-Identifier: Apache-2.0 */
/* The input decides how a message is made (tests/unit/pgp_recipe.h); whatever the fast engine says of it, gpg
 * must say too. What it declines is not asked about: there gpg decides anyway. */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/pgp_recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pgp_pair pair;

static void clean(void)
{
        pgp_pair_close(&pair);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static bool open;
        uint8_t *m;
        size_t n;
        enum agreement a;
        if (!open) {
                pgp_pair_open(&pair);
                open = true;
                atexit(clean);
        }
        recipe_make(&pair, data, size, &m, &n);
        const char *text = pgp_pair_compare(&pair, m, n, false, &a);
        free(m);
        if (text) {
                fprintf(stderr, "%s\n", text);
                abort();
        }
        return 0;
}
