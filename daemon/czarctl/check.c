/* SPDX-License-Identifier: Apache-2.0 */
/* check: everything that can be wrong, in the order in which it would stop czard, each with what to do. */
#include "checkup.h"

#include <stdio.h>

#include "decrypt.h"
#include "deliver_facts.h"
#include "fetch.h"
#include "ledger_report.h"
#include "passphrase.h"
#include "runs.h"
#include "table.h"

/* What is staged, but not whole. */
static void check_members(struct checkup *k)
{
        struct error e = {};
        uint64_t n = 0;
        if (!k->c->ledger || report_rejected(k->c->ledger, 0, &n, &e) < 0)
                return;
        if (n > 0)
                check_add(k, "members", BAD,
                        "czarctl status says why and what helps; czarctl list --state REJECTED",
                        "%llu member%s of staged snapshots rejected", (unsigned long long)n,
                        n == 1 ? "" : "s");
}

/* What is listed, but nobody can tell what it is. */
static void check_unreadable(struct checkup *k)
{
        struct error e = {};
        uint64_t n = 0;
        if (!k->c->ledger || report_unreadable(k->c->ledger, &n, &e) < 0 || n == 0)
                return;
        check_add(k, "listings", BAD, "czarctl status says which, and what helps",
                "%llu entr%s that czard listed cannot be read", (unsigned long long)n, n == 1 ? "y" : "ies");
}

static void on_delivery(void *arg, const struct deliver_fact *f)
{
        struct checkup *k = arg;
        const char *name = f->delivery->name;
        for (size_t i = 0; i < f->unmatched.n; i++)
                check_add(k, "delivery", BAD,
                        "czarctl deliver plan shows what is staged; mend courses or tables",
                        "delivery %s: nothing matches %s", name, f->unmatched.v[i]);
        if (f->why)
                check_add(k, "delivery", BAD, f->fix, "delivery %s%s: %s", name,
                        f->stands_still ? " stands still" : "", f->why);
        else
                check_add(k, "delivery", FINE, "", "delivery %s: %s, %llu messages in its outbox", name,
                        f->state, (unsigned long long)f->out);
}

static void check_deliveries(struct checkup *k)
{
        struct error e = {};
        if (k->c->config && deliver_facts(k->c, on_delivery, k, &e) < 0)
                check_add(k, "delivery", BAD, "czarctl check, as root", "deliveries cannot be looked at: %s",
                        e.text);
}

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
        check_members(&k);
        check_unreadable(&k);
        check_deliveries(&k);
        check_units(&k);
        int status = 0;
        if (c->json) {
                json_close(&k.json, ']');
                json_bool(&k.json, "ok", k.failed == 0);
                status = answer_print(&k.json);
        } else if (k.failed == 0) {
                shown_print(stdout, "\nAll is well.\n");
        } else {
                shown_print(stdout, "\n%u of %u need something done.\n", k.failed, k.n);
        }
        json_done(&k.json);
        return status ? status : k.failed ? CTL_FOUND : CTL_WELL;
}
