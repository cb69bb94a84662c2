/* SPDX-License-Identifier: Apache-2.0 */
/* backup: a consistent copy of the ledger, also while czard writes. The copy is made in state_dir and handed
 * to the keeper, because FILE is where the admin may write, not the owner of state_dir. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "owner.h"
#include "runs.h"
#include "str.h"

int prepare_backup(struct ctl *c)
{
        return owner_output(c, c->argv[0], OUTPUT_REPLACE, 0600) < 0 ? ctl_fail_text("out of memory") : 0;
}

int run_backup(struct ctl *c)
{
        struct error e = {};
        char where[TEXT_SIZE];
        int status = ctl_open_ledger(c);
        if (status)
                return status;
        _cleanup_free_ char *copy = str_printf("%s/.backup-%ld", c->config->state_dir, (long)getpid());
        int r = copy ? ledger_backup(c->ledger, copy, &e) : -ENOMEM;
        _cleanup_close_ int fd = r < 0 ? -1 : open(copy, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (r == 0 && fd < 0)
                r = error_set(&e, CAUSE_INTERNAL, errno, "%s: %s", copy, strerror(errno));
        if (copy)
                (void)unlink(copy);
        if (r == 0)
                r = owner_put_fd(c, 0, fd, where, &e);
        if (r < 0)
                return ctl_fail(c, &e);
        if (c->json) {
                _cleanup_json_ struct json j = {};
                answer_open(&j);
                json_str(&j, "file", where);
                return answer_print(&j);
        }
        shown_print(stdout,
                "%s: a copy of the ledger. The audit record (%s/audit.jsonl) and the GnuPG home are to be "
                "backed up too.\n",
                where, c->config->state_dir);
        return 0;
}
