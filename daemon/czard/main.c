/* SPDX-License-Identifier: Apache-2.0 */
/* czard(8). It schedules, keeps the ledger, owns the staging folder and tells the journal; it has no AWS
 * credentials and parses nothing that came from the network but checked messages. Follow an object from here:
 * app.c -> plan/poller.c -> plan/queue.c -> work/transfer.c or work/snapshot.c -> state/record.c. */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app.h"
#include "config.h"
#include "control_msg.h"
#include "journal.h"
#include "manager.h"
#include "secret.h"
#include "shown.h"

static void usage(FILE *f)
{
        fputs("usage: czard [--config FILE] [--once [--fields]] [--check-config]\n"
              "             [--fetch-socket PATH] [--version] [--help]\n"
              "\n"
              "Keeps the staged copy of the edX data package up to date.\n"
              "\n"
              "  --config FILE        configuration (default " CONFIG_DEFAULT_PATH ")\n"
              "  --once               one complete poll, fetch all that is due, exit\n"
              "  --fields             with --once on a terminal: lines with their fields, no progress\n"
              "  --check-config       read the configuration, say what is wrong with it, exit\n"
              "  --fetch-socket PATH  use the czard-fetch that listens there instead of starting one\n"
              "  --version, --help\n"
              "\n"
              "Exit status: 0 all is well, 1 (--once) something due is not staged, 2 usage or\n"
              "configuration, 3 cannot start or go on. Signals: HUP reload, USR1 full listing now,\n"
              "USR2 status to the journal, TERM and INT stop. See czard(8), czard.ini(5).\n",
                f);
}

static int check_config(const char *path)
{
        struct config *c = NULL;
        struct error e = {};
        struct strv more = {};
        int r = config_load(path, &c, &e, &more);
        if (r < 0)
                shown_print(stderr, "%s\n", e.text);
        for (size_t i = 0; i < more.n; i++)
                shown_print(stderr, "%s\n", more.v[i]);
        for (size_t i = 0; c && i < c->warnings.n; i++)
                shown_print(stderr, "warning: %s\n", c->warnings.v[i]);
        strv_done(&more);
        config_free(c);
        return r == -ENOMEM ? STATUS_CANNOT : r < 0 ? STATUS_USAGE : STATUS_WELL;
}

int main(int argc, char **argv)
{
        enum { CONFIG = 'c', ONCE = 'o', FIELDS = 'f', CHECK = 'k', SOCKET = 's', VERSION = 'V', HELP = 'h' };
        static const struct option long_options[] = {
                {"config", required_argument, NULL, CONFIG},
                {"once", no_argument, NULL, ONCE},
                {"fields", no_argument, NULL, FIELDS},
                {"check-config", no_argument, NULL, CHECK},
                {"fetch-socket", required_argument, NULL, SOCKET},
                {"version", no_argument, NULL, VERSION},
                {"help", no_argument, NULL, HELP},
                {},
        };
        struct czard_options options = {.config_path = CONFIG_DEFAULT_PATH};
        bool check = false, fields = false;
        for (int c; (c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0;)
                switch (c) {
                case CONFIG:
                        options.config_path = optarg;
                        break;
                case ONCE:
                        options.once = true;
                        break;
                case FIELDS:
                        fields = true;
                        break;
                case CHECK:
                        check = true;
                        break;
                case SOCKET:
                        options.fetch_socket = optarg;
                        break;
                case VERSION:
                        puts("czard " CZARD_VERSION);
                        return STATUS_WELL;
                case HELP:
                        usage(stdout);
                        return STATUS_WELL;
                default:
                        usage(stderr);
                        return STATUS_USAGE;
                }
        if (optind < argc) {
                shown_print(stderr, "czard: unexpected argument '%s'\n", argv[optind]);
                usage(stderr);
                return STATUS_USAGE;
        }
        if (check)
                return check_config(options.config_path);

        /* What grows with an archive's members goes back to the system when it is freed, however large the
         * one before it was; messages stay in the heap. */
        mallopt(M_MMAP_THRESHOLD, 256 * 1024);
        mallopt(M_TRIM_THRESHOLD, 512 * 1024);
        process_harden();
        signals_block();
        signal(SIGPIPE, SIG_IGN);
        signal(SIGIO, SIG_IGN); /* of a lease that somebody breaks */
        if (options.once && !fields && isatty(STDERR_FILENO))
                setenv(JOURNAL_FOR_PEOPLE, "1", 1);
        else
                unsetenv(JOURNAL_FOR_PEOPLE);
        journal_open();
        return app_run(&options);
}
