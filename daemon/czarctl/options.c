/* SPDX-License-Identifier: Apache-2.0 */
/* Options may stand before or after the command; those of a command only after it. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "str.h"

enum { OPT_CONFIG = 1000, OPT_JSON, OPT_HELP, OPT_VERSION };
#define GENERAL 5

static const struct option general[GENERAL] = {
        {"config", required_argument, NULL, OPT_CONFIG},
        {"json", no_argument, NULL, OPT_JSON},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {},
};

static bool take_general(struct ctl *c, int option)
{
        switch (option) {
        case OPT_CONFIG:
                c->config_path = optarg;
                return true;
        case OPT_JSON:
                c->json = true;
                return true;
        case 'h':
        case OPT_HELP:
                c->help = true;
                return true;
        case OPT_VERSION:
                c->version = true;
                return true;
        default:
                return false;
        }
}

/* Up to the command: "+" stops at the first argument. */
static int parse_first(struct ctl *c, int argc, char **argv)
{
        for (int o; (o = getopt_long(argc, argv, "+h", general, NULL)) >= 0;)
                if (!take_general(c, o)) {
                        usage_all(stderr);
                        return CTL_USAGE;
                }
        if (c->version || optind >= argc)
                return 0;
        if (streq(argv[optind], "help")) {
                c->help = true;
                if (++optind == argc)
                        return 0;
        }
        c->command = command_find(argv[optind]);
        if (c->command)
                return 0;
        const char *nearest = NULL;
        unsigned least = 4;
        for (const struct command *k = commands; k->name; k++) {
                unsigned d = strlen(argv[optind]) < 64 ? str_distance(k->name, argv[optind]) : least;
                if (d < least) {
                        least = d;
                        nearest = k->name;
                }
        }
        shown_print(stderr, "czarctl: there is no command '%.64s'%s%s%s; see czarctl --help\n", argv[optind],
                nearest ? " (did you mean '" : "", nearest ? nearest : "", nearest ? "'?)" : "");
        return CTL_USAGE;
}

static int parse_rest(struct ctl *c, int argc, char **argv)
{
        struct option all[FLAGS_MOST + GENERAL] = {};
        size_t n = 0;
        for (; n < FLAGS_MOST && c->command->flags[n].name; n++)
                all[n] = (struct option){c->command->flags[n].name,
                        c->command->flags[n].value ? required_argument : no_argument, NULL, (int)n};
        for (size_t i = 0; i + 1 < GENERAL; i++)
                all[n + i] = general[i];
        optind = 0; /* glibc: begin anew, also with the order of arguments, which "+" above has fixed */
        for (int o; (o = getopt_long(argc, argv, "h", all, NULL)) >= 0;) {
                if (take_general(c, o))
                        continue;
                if (o >= (int)n) { /* '?' */
                        usage_command(c->command, stderr);
                        return CTL_USAGE;
                }
                c->values[o] = optarg ? optarg : "";
        }
        c->argc = argc - optind;
        c->argv = argv + optind;
        return 0;
}

int options_parse(struct ctl *c, int argc, char **argv)
{
        int r = parse_first(c, argc, argv);
        if (r != 0 || !c->command)
                return r;
        int first = optind;
        /* getopt takes the command for the program's name in its messages. */
        r = parse_rest(c, argc - first, argv + first);
        if (r != 0 || c->help || c->version)
                return r;
        if (c->argc < c->command->least)
                return ctl_usage(c, "an argument is missing");
        if (c->command->most >= 0 && c->argc > c->command->most)
                return ctl_usage(c, "unexpected argument '%.64s'", c->argv[c->command->most]);
        return 0;
}
