/* SPDX-License-Identifier: Apache-2.0 */
/* czarctl(1): the table of commands, what --help says of them, what it is called with; then the
 * configuration, giving up root, the command. See ctl.h for the map. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <locale.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ask.h"
#include "credstore.h"
#include "ctl.h"
#include "helpers.h"
#include "launch.h"
#include "owner.h"
#include "scratch.h"
#include "str.h"

/* --- demo: a script that shows czard at work on data of its own; it needs no configuration and touches none
 * --- */

/* From sbin of the same prefix, or beside us in a build folder. */
static int find_czard(const char *czarctl, char *ret, size_t size)
{
        static const char *const places[] = {"../sbin/czard", "../czard/czard", "czard"};
        const char *slash = strrchr(czarctl, '/');
        for (size_t i = 0; slash && i < ELEMENTSOF(places); i++) {
                snprintf(ret, size, "%.*s/%s", (int)(slash - czarctl), czarctl, places[i]);
                if (access(ret, X_OK) == 0)
                        return 0;
        }
        return -ENOENT;
}

/* Nothing here needs root. With czard's groups, for its control socket belongs to one of them. */
static int become_service(struct error *e)
{
        const struct passwd *pw = geteuid() == 0 ? getpwnam("czard") : NULL;
        if (!pw)
                return 0;
        return initgroups(pw->pw_name, pw->pw_gid) < 0 || chdir("/") < 0
                       ? -errno
                       : owner_give_up(pw->pw_uid, pw->pw_gid, e);
}

static int run_demo(struct ctl *c)
{
        char script[PATH_MAX], self[PATH_MAX], czard[PATH_MAX + 16];
        struct error e = {};
        (void)c;
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        self[n > 0 ? n : 0] = 0;
        if (launch_find("demo", script, sizeof(script)) < 0 || find_czard(self, czard, sizeof(czard)) < 0)
                return ctl_fail_text("the demonstration is not there: reinstall czard");
        int r = become_service(&e);
        if (r < 0)
                return ctl_fail_text("cannot become the user of czard: %s", strerror(-r));
        execl(script, script, czard, self, (char *)NULL);
        return ctl_fail_text("%s: %s", script, strerror(errno));
}

/* --- the commands --- */

static const struct command commands[] = {
        {.name = "status",
                .arguments = "",
                .summary = "is all well, what came last, what is due, what failed and why",
                .run = run_status},
        {.name = "list",
                .arguments = "",
                .summary = "the objects that are known, by filter",
                .flags = {{"org", "NAME", "of this organisation"},
                        {"category", "NAME", "events, database, email-opt-in or rdx"},
                        {"site", "NAME", "events of this site"}, {"since", "DATE", "from this date on"},
                        {"until", "DATE", "up to this date"},
                        {"state", "STATE,...", "in one of these states"},
                        {"member", "PATTERN", "the members of snapshots whose path matches"}},
                .examples = "  czarctl list --since 2024-07-01 --state PUBLISHED\n"
                            "  czarctl list --member '*-auth_user-*' --json\n",
                .run = run_list},
        {.name = "plan",
                .arguments = "",
                .summary = "what a poll would fetch, with the sum of bytes; changes nothing",
                .flags = {{"full", NULL, "list everything, as czard does daily"},
                        {"offline", NULL, "list nothing: what is due since the last poll"}},
                .prepare = prepare_plan,
                .run = run_plan},
        {.name = "resync",
                .arguments = "[s3://BUCKET/KEY | PATTERN ...]",
                .summary = "list everything and try again now; objects that are named start again from any "
                           "state",
                .flags = {{"wait", NULL, "until it is done"}},
                .examples = "  czarctl resync --wait\n"
                            "  czarctl resync --wait s3://course-data/universityx-2024-07-07.zip\n"
                            "  czarctl resync '*-events-2024-07-0?.log.gz.gpg'\n",
                .most = -1,
                .run = run_resync,
                .asks = true},
        {.name = "gaps",
                .arguments = "",
                .summary = "days and weeks that are missing, by the habit of each site",
                .flags = {{"fail", NULL, "exit status 1 when there are any"}},
                .run = run_gaps},
        {.name = "changes",
                .arguments = "[ORG]",
                .summary = "the feed: what was staged, replaced, removed, from a line on",
                .flags = {{"since", "SEQ[@TIME]", "only lines after this one"},
                        {"follow", NULL, "go on with what is added, without an end"}},
                .examples = "  czarctl changes --json --since 4711 --follow universityx\n",
                .most = 1,
                .run = run_changes},
        {.name = "verify",
                .arguments = "[PATH ...]",
                .summary = "compare staged files with their hashes",
                .flags = {{"audit", NULL, "check the chain of the audit record"},
                        {"head", "HASH",
                                "it must hold the entry with this hash (CZARD_AUDIT_HEAD in the journal)"}},
                .examples = "  czarctl verify /srv/czard/universityx/database/latest/\n"
                            "  czarctl verify --audit --head 5f70bf18…\n",
                .most = -1,
                .run = run_verify},
        {.name = "check",
                .arguments = "",
                .summary = "walk through everything that can be wrong",
                .prepare = prepare_check,
                .run = run_check,
                .early = true},
        {.name = "latest",
                .arguments = "ORG [DATE | auto]",
                .summary = "show or pin what `latest` points to",
                .flags = {{"category", "NAME", "database (default) or email-opt-in"}},
                .examples = "  czarctl latest universityx 2024-06-30\n"
                            "  czarctl latest universityx auto\n",
                .least = 1,
                .most = 2,
                .run = run_latest,
                .asks = true},
        {.name = "prune",
                .arguments = "",
                .summary = "what the keep_ keys would remove",
                .flags = {{"apply", NULL, "remove it"}},
                .run = run_prune,
                .asks = true},
        {.name = "forget",
                .arguments = "s3://BUCKET/KEY | PATTERN ...",
                .summary = "delete every staged copy, and keep it away until resync names it",
                .flags = {{"reason", "TEXT", "why; stays in the audit record", .needed = true}},
                .examples = "  czarctl forget '*-events-2024-07-01.log.gz.gpg' --reason 'request 17'\n",
                .least = 1,
                .most = -1,
                .run = run_forget,
                .asks = true},
        {.name = "pause",
                .arguments = "",
                .summary = "fetch, prune and forget nothing until unpause",
                .flags = {{"reason", "TEXT", "shown by status, kept in the audit record"}},
                .run = run_pause,
                .asks = true},
        {.name = "unpause",
                .arguments = "",
                .summary = "go on",
                .flags = {{"reason", "TEXT", "kept in the audit record"}},
                .run = run_unpause,
                .asks = true},
        {.name = "adopt",
                .arguments = "",
                .summary = "accept a new staging disk, or a tree that was decrypted before, by hash",
                .flags = {{"trust", NULL, "also single files of which no hash is known"}},
                .run = run_adopt,
                .writes = true},
        {.name = "audit",
                .arguments = "",
                .summary = "what arrived, when, its hash and path, readable by which group; what admins did",
                .flags = {{"since", "DATE", "from this day on (UTC)"},
                        {"until", "DATE", "up to this day (UTC)"}, {"csv", NULL, "as CSV, all fields"}},
                .run = run_audit},
        {.name = "backup",
                .arguments = "FILE",
                .summary = "a consistent copy of the ledger, also while czard runs",
                .least = 1,
                .most = 1,
                .prepare = prepare_backup,
                .run = run_backup},
        {.name = "keygen",
                .arguments = "",
                .summary = "make the key pair for edX; never replaces a key",
                .flags = {{"name", "TEXT", "real name of the data czar; asked otherwise"},
                        {"email", "ADDRESS", "institutional mail address; asked otherwise"},
                        {"expire", "SPAN", "such as 2y (default), 18m"},
                        {"output", "DIR", "where the public key and the text go (default: here)"},
                        {"package", "NAME", "the key of that [package] section, which has its own homedir"},
                        {"batch", NULL, "ask nothing"},
                        {"passphrase-file", "FILE", "the passphrase is its first line"}},
                .prepare = prepare_keygen,
                .run = run_keygen,
                .writes = true},
        {.name = "import-key",
                .arguments = "FILE",
                .summary = "bring the secret key that an existing data czar has",
                .flags = {{"package", "NAME", "the key of that [package] section, which has its own homedir"},
                        {"batch", NULL, "ask nothing"},
                        {"passphrase-file", "FILE",
                                "the passphrase is its first line; it is tried and stored"}},
                .least = 1,
                .most = 1,
                .prepare = prepare_import_key,
                .run = run_import_key,
                .writes = true},
        {.name = "key",
                .arguments = "list | export [KEY] | extend [KEY]",
                .summary = "show the keys, write the public one, extend its expiry date",
                .flags = {{"expire", "SPAN", "extend: from now on, such as 2y (default)"},
                        {"output", "FILE", "export: there instead of standard output"},
                        {"package", "NAME", "the key of that [package] section, which has its own homedir"},
                        {"batch", NULL, "ask nothing"},
                        {"passphrase-file", "FILE", "extend: the passphrase is its first line"}},
                .most = 2,
                .prepare = prepare_key,
                .run = run_key,
                .early = true},
        {.name = "import-credentials",
                .arguments = "FILE",
                .summary = "decrypt, check, try and store the credentials.csv.gpg of edX",
                .flags = {{"force", NULL, "store them also when trying them fails"}},
                .least = 1,
                .most = 1,
                .prepare = prepare_import_credentials,
                .run = run_import_credentials,
                .writes = true},
        {.name = "metrics",
                .arguments = "",
                .summary = "Prometheus text",
                .flags = {{"output", "FILE", "replace that file in one step"}},
                .examples = "  czarctl metrics --output /var/lib/prometheus/node-exporter/czard.prom\n",
                .prepare = prepare_metrics,
                .run = run_metrics},
        {.name = "report",
                .arguments = "",
                .summary = "one page to look at, in one file; holds no learner data",
                .flags = {{"html", "FILE", "where it goes; --json without it: what is in it",
                        .needed = true}},
                .prepare = prepare_report,
                .run = run_report},
        {.name = "deliver",
                .arguments = "list [NAME] | plan [NAME] | run [NAME] | revoke NAME|OUTBOX | log [NAME]",
                .summary = "what is handed out to whom: what is due, hand it out, take it back, the record",
                .flags = {{"again", NULL,
                                  "run: also what later recipients did not get, what is gone, what came "
                                  "since (once)"},
                        {"reason", "TEXT", "revoke: why; it stays in the record"},
                        {"csv", NULL, "log: as CSV, all fields"}},
                .examples = "  czarctl deliver plan dropout-study\n"
                            "  czarctl deliver run dropout-study\n"
                            "  czarctl deliver revoke dropout-study --reason 'agreement ended'\n"
                            "  czarctl deliver log --csv > disclosures.csv\n",
                .least = 1,
                .most = 2,
                .prepare = prepare_deliver,
                .run = run_deliver},
        {.name = "demo",
                .arguments = "",
                .summary = "czard at work on a small data package of its own, in a folder below /tmp",
                .run = run_demo,
                .alone = true},
        {},
};

static const struct command *command_find(const char *name)
{
        for (const struct command *c = commands; c->name; c++)
                if (streq(c->name, name))
                        return c;
        return NULL;
}

static void usage_all(FILE *f)
{
        fputs("usage: czarctl [--config FILE] [--json] COMMAND [ARGUMENT ...]\n"
              "\n"
              "Looks at czard and tells it what to do. Options may stand before or after the command.\n\n",
                f);
        for (const struct command *c = commands; c->name; c++)
                fprintf(f, "  %-19s %s\n", c->name, c->summary);
        fputs("\n"
              "  czarctl COMMAND --help, or czarctl help COMMAND, says more. Exit status: 0 answered, 1 "
              "something must be looked\n"
              "  at (status, check, verify, gaps --fail, resync --wait), 2 usage, 3 cannot answer.\n"
              "  See czarctl(1).\n",
                f);
}

/* --- options: before or after the command; those of a command only after it --- */

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

/* Fills c. 0, or the status to exit with after a text on stderr. */
static int options_parse(struct ctl *c, int argc, char **argv)
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

/* --- the command --- */

static int run(struct ctl *c)
{
        struct error e = {};
        if (c->command->alone)
                return c->command->run(c);
        int status = ctl_load_config(c);
        if (status == 0 && (c->command->asks || c->command->writes))
                status = ctl_refuse_partial(c);
        if (status == 0 && c->command->prepare)
                status = c->command->prepare(c);
        if (status == 0 && c->caller == 0)
                credstore_has("czard.s3", &c->stored_s3_since, &c->stored_s3_encrypted);
        if (status == 0 && c->command->asks)
                ask_prepare(c);
        if (status == 0)
                scratch_prepare(c);
        if (status == 0 && owner_become(c, &e) < 0)
                status = ctl_fail(&e);
        return status ? status : c->command->run(c);
}

int main(int argc, char **argv)
{
        struct ctl c = {.config_path = CONFIG_DEFAULT_PATH,
                .state_fd = -1,
                .control_fd = -1,
                .input_fd = -1,
                .passphrase_fd = -1,
                .passphrase_file_fd = -1,
                .passphrase_output = -1,
                .caller = getuid()};
        setlocale(LC_CTYPE, "");
        signal(SIGPIPE, SIG_DFL);
        umask(0077);
        int status = options_parse(&c, argc, argv);
        if (status != 0)
                return status;
        if (c.version) {
                puts("czarctl " CZARD_VERSION);
                return CTL_WELL;
        }
        if (c.help) {
                if (c.command)
                        usage_command(c.command, stdout);
                else
                        usage_all(stdout);
                return CTL_WELL;
        }
        if (!c.command) {
                usage_all(stderr);
                return CTL_USAGE;
        }
        status = run(&c);
        scratch_done();
        c.ledger = ledger_free(c.ledger);
        c.config = config_free(c.config);
        if (c.unit)
                sync_helper_stop(c.unit);
        free(c.unit);
        c.owner = owner_free(c.owner);
        close_fd(c.state_fd);
        close_fd(c.control_fd);
        close_fd(c.input_fd);
        close_fd(c.passphrase_fd);
        close_fd(c.passphrase_file_fd);
        /* What was cut off at the other end of a pipe is not an answer. */
        return fflush(stdout) == 0 && !ferror(stdout) ? status : CTL_CANNOT;
}
