/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"
struct job *snapshot_new(struct director *d, const struct ledger_object *o)
{
        (void)d;
        (void)o;
        return NULL;
}
void snapshot_start(struct job *j)
{
        (void)j;
}
