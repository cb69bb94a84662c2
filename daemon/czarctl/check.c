/* SPDX-License-Identifier: Apache-2.0 */
/* check: everything that can be wrong, in the order in which it would stop czard, each with what to do. */
#include "check.h"

#include <stdio.h>

#include "decrypt.h"
#include "fetch.h"
#include "passphrase.h"
#include "runs.h"
#include "str.h"
#include "table.h"

int prepare_check(struct ctl *c)
{
        int status = passphrase_prepare(c, false);
        return status ? status : fetch_prepare(c);
}

int run_check(struct ctl *c)
{
        struct checkup k = {.c = c};
        if (c->json) {
                answer_open(&k.json);
                json_open(&k.json, "checks", '[');
        }
        check_local(&k);
        check_key(&k);
        check_remote(&k);
        check_units(&k);
        int status = 0;
        if (c->json) {
                json_close(&k.json, ']');
                json_bool(&k.json, "ok", k.failed == 0);
                status = answer_print(&k.json);
        } else if (k.failed == 0) {
                printf("\nAll is well.\n");
        } else {
                printf("\n%u of %u need something done.\n", k.failed, k.n);
        }
        json_done(&k.json);
        return status ? status : k.failed ? CTL_FOUND : CTL_WELL;
}
