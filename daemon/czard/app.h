/* SPDX-License-Identifier: Apache-2.0 */
/* czard itself: the one file that knows all parts. None of them knows it, or another of its folder that is
 * above; what happened in them they hand up when they are asked, once a turn of the loop.
 *
 *   main ── app ─┬─ parts        makes all of these, and frees them
 *                ├─ startup      checks lock, folders, groups, identity, ledger, audit once; SIGHUP
 *                ├─ poll         LISTs every prefix, tells the ledger      ── fetcher ── czard-fetch
 *                ├─ queue        which object next ─┬─ transfer  one file  ── pool ──── czard-decrypt
 *                │                                  └─ snapshot  one archive of members, whose directory
 *                │                                               is read by   ── pool ── czard-index
 *                │               (flow says which GET of these runs), and frees what stands still
 *                ├─ splitting    which days are split by course ── split ── czard-filter
 *                ├─ record       what happened: journal, and ledger + audit by lib/store/history
 *                ├─ missing, watch  what is published against disk and filters; keys that expire, late files
 *                ├─ pauses       why nothing is started at the moment
 *                ├─ control      czarctl's requests ── requests ── lib/store/steward
 *                └─ signals, notify
 */
#pragma once

#include <stdbool.h>

struct czard_options {
        const char *config_path, *fetch_socket;
        bool once;
};

/* Sets up, runs until there is nothing more to do (--once) or a signal came, and stops. Returns the exit
 * status. */
int app_run(const struct czard_options *options);
