/* SPDX-License-Identifier: Apache-2.0 */
/* DIRECTORY and MEMBERS. */
#include "worker.h"

int worker_directory(struct worker *w, struct message *m)
{
        (void)w;
        (void)m;
        return -EOPNOTSUPP;
}

int worker_members(struct worker *w, struct message *m)
{
        (void)w;
        (void)m;
        return -EOPNOTSUPP;
}
