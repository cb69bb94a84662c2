/* SPDX-License-Identifier: Apache-2.0 */
/* czarctl(1): options, configuration, giving up root, the command. See ctl.h for the map. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ask.h"
#include "credstore.h"
#include "ctl.h"
#include "fetch.h"
#include "owner.h"
#include "scratch.h"

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
                status = ctl_fail(c, &e);
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
