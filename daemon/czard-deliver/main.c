/* SPDX-License-Identifier: Apache-2.0 */
/* czard-deliver(8). The unit starts it with --follow; czarctl deliver run and revoke start it for one run. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "journal.h"
#include "secret.h"
#include "session.h"
#include "shown.h"
#include "str.h"

static int usage(void)
{
        fputs("usage: czard-deliver [--config FILE] [--follow | --once [--again] [NAME] | --revoke NAME "
              "--reason TEXT]\n"
              "Started by czard-deliver.service and by czarctl deliver; see czard-deliver(8).\n",
                stderr);
        return STATUS_USAGE;
}

static int run_once(const struct deliver_options *o)
{
        struct config *c = NULL;
        struct error e = {};
        int64_t next;
        int status = STATUS_USAGE;
        if (config_load(o->config_path, &c, &e, NULL) < 0)
                shown_print(stderr, "czard-deliver: %s\n", e.text);
        else if (o->name && !o->revoke && !config_find_delivery(c, o->name))
                shown_print(
                        stderr, "czard-deliver: there is no [deliver %s] in %s\n", o->name, o->config_path);
        else
                status = o->revoke ? deliver_run(c, o, &next) : child_run(c, o, NULL, &next);
        config_free(c);
        return status;
}

/* A run that gave way is followed by another, which knows nothing of the first. */
static int run_until_done(const struct deliver_options *o)
{
        int status;
        while ((status = run_once(o)) == STATUS_GAVE_WAY)
                ;
        if (status < 0) { /* as if it had ended us */
                signal(-status, SIG_DFL);
                raise(-status);
        }
        return status < 0 ? STATUS_CANNOT : status;
}

int main(int argc, char **argv)
{
        enum {
                CONFIG = 'c',
                FOLLOW = 'f',
                ONCE = 'o',
                AGAIN = 'a',
                REVOKE = 'r',
                REASON = 't',
                UID = 'u',
                VERSION = 'V'
        };
        static const struct option long_options[] = {
                {"config", required_argument, NULL, CONFIG},
                {"follow", no_argument, NULL, FOLLOW},
                {"once", no_argument, NULL, ONCE},
                {"again", no_argument, NULL, AGAIN},
                {"revoke", required_argument, NULL, REVOKE},
                {"reason", required_argument, NULL, REASON},
                {"uid", required_argument, NULL, UID}, /* of who asked czarctl */
                {"version", no_argument, NULL, VERSION},
                {},
        };
        struct deliver_options o = {.config_path = CONFIG_DEFAULT_PATH, .uid = -1};
        const char *revoke = NULL;
        bool once = false;
        uint64_t uid;
        for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) >= 0;)
                switch (c) {
                case CONFIG:
                        o.config_path = optarg;
                        break;
                case FOLLOW:
                        o.follow = true;
                        break;
                case ONCE:
                        once = true;
                        break;
                case AGAIN:
                        o.again = true;
                        break;
                case REVOKE:
                        revoke = optarg;
                        break;
                case REASON:
                        o.revoke = optarg;
                        break;
                case UID:
                        if (parse_u64(optarg, UINT32_MAX, &uid) < 0)
                                return usage();
                        o.uid = (int64_t)uid;
                        break;
                case VERSION:
                        puts("czard-deliver " CZARD_VERSION);
                        return STATUS_WELL;
                default:
                        return usage();
                }
        o.name = revoke ? revoke : optind < argc ? argv[optind++] : NULL;
        if (optind < argc || o.follow + once + (revoke != NULL) != 1 ||
                (revoke != NULL) != (o.revoke != NULL) || (o.follow && (o.name || o.again)) ||
                str_empty(o.revoke ? o.revoke : "x"))
                return usage();
        process_harden();
        umask(0077);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGIO, SIG_IGN); /* of a lease that somebody breaks */
        setenv("LC_ALL", "C", 1);
        unsetenv(JOURNAL_FOR_PEOPLE);
        journal_open();
        return o.follow ? deliver_follow(&o) : run_until_done(&o);
}
