/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands: what there is, what it takes, what --help says. */
#include <stdio.h>
#include <string.h>

#include "runs.h"
#include "str.h"

const struct command commands[] = {
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
                .flags = {{"reason", "TEXT", "why; stays in the audit record (needed)"}},
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
                .run = run_adopt},
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
                        {"batch", NULL, "ask nothing"},
                        {"passphrase-file", "FILE", "the passphrase is its first line"}},
                .prepare = prepare_keygen,
                .run = run_keygen,
                .early = true},
        {.name = "import-key",
                .arguments = "FILE",
                .summary = "bring the secret key that an existing data czar has",
                .flags = {{"batch", NULL, "ask nothing"},
                        {"passphrase-file", "FILE",
                                "the passphrase is its first line; it is tried and stored"}},
                .least = 1,
                .most = 1,
                .prepare = prepare_import_key,
                .run = run_import_key,
                .early = true},
        {.name = "key",
                .arguments = "list | export [KEY] | extend [KEY]",
                .summary = "show the keys, write the public one, extend its expiry date",
                .flags = {{"expire", "SPAN", "extend: from now on, such as 2y (default)"},
                        {"output", "FILE", "export: there instead of standard output"},
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
                .early = true},
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
                .flags = {{"html", "FILE", "where it goes (needed)"}},
                .prepare = prepare_report,
                .run = run_report},
        {},
};

const struct command *command_find(const char *name)
{
        for (const struct command *c = commands; c->name; c++)
                if (streq(c->name, name))
                        return c;
        return NULL;
}

void usage_all(FILE *f)
{
        fputs("usage: czarctl [--config FILE] [--json] COMMAND [ARGUMENT ...]\n"
              "\n"
              "Looks at czard and tells it what to do. Options may stand before or after the command.\n\n",
                f);
        for (const struct command *c = commands; c->name; c++)
                fprintf(f, "  %-19s %s\n", c->name, c->summary);
        fputs("\n"
              "  czarctl COMMAND --help says more. Exit status: 0 answered, 1 something must be looked\n"
              "  at (status, check, verify, gaps --fail, resync --wait), 2 usage, 3 cannot answer.\n"
              "  See czarctl(1).\n",
                f);
}

void usage_command(const struct command *c, FILE *f)
{
        fprintf(f, "usage: czarctl %s", c->name);
        for (size_t i = 0; i < FLAGS_MOST && c->flags[i].name; i++)
                fprintf(f, " [--%s%s%s]", c->flags[i].name, c->flags[i].value ? " " : "",
                        c->flags[i].value ? c->flags[i].value : "");
        fprintf(f, "%s%s\n\n  %s\n", *c->arguments ? " " : "", c->arguments, c->summary);
        for (size_t i = 0; i < FLAGS_MOST && c->flags[i].name; i++) {
                char head[64];
                snprintf(head, sizeof(head), "--%s%s%s", c->flags[i].name, c->flags[i].value ? " " : "",
                        c->flags[i].value ? c->flags[i].value : "");
                fprintf(f, "%s  %-24s %s\n", i == 0 ? "\n" : "", head, c->flags[i].help);
        }
        fputs("\n  --config FILE, --json, --help as everywhere\n", f);
        if (c->examples)
                fprintf(f, "\n%s", c->examples);
}
