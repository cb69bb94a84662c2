/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting by offset, and what lies between one and the next. */
#include "archive_entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL_HEADER 30 /* bytes of one, without its name */

uint64_t archive_least(const struct archive_entry *entry)
{
        uint64_t header = LOCAL_HEADER + strlen(entry->name);
        return entry->packed > UINT64_MAX - header ? UINT64_MAX : header + entry->packed;
}

static int by_offset(const void *a, const void *b)
{
        const struct archive_place *x = a, *y = b;
        return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static struct archive_place *at(void *v, size_t size, size_t i)
{
        return (void *)((char *)v + i * size);
}

/* Most archives have their directory in that order: then nothing is moved, and no memory taken for it (by
 * qsort(), as much again). */
static bool in_order(void *v, size_t n, size_t size)
{
        for (size_t i = 1; i < n; i++)
                if (at(v, size, i)->offset < at(v, size, i - 1)->offset)
                        return false;
        return true;
}

int archive_divide(void *v, size_t n, size_t size, uint64_t end, struct error *e)
{
        if (n == 0)
                return 0;
        if (!in_order(v, n, size))
                qsort(v, n, size, by_offset);
        if (at(v, size, n - 1)->offset > end)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "a member lies behind the directory");
        for (size_t i = 0; i < n; i++) {
                struct archive_place *p = at(v, size, i);
                uint64_t next = i + 1 < n ? at(v, size, i + 1)->offset : end;
                if (next - p->offset < p->extent)
                        return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "members overlap");
                p->extent = next - p->offset;
        }
        return 0;
}
