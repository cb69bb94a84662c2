/* SPDX-License-Identifier: Apache-2.0 */
/* Which bytes of an archive are whose, as czard has it for all members at once (lib/store/members.h). */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "terms.h"

static inline int zip_by_offset(const void *a, const void *b)
{
        const struct archive_entry *x = a, *y = b;
        return x->place.offset < y->place.offset ? -1 : x->place.offset > y->place.offset;
}

/* Sorts the entries by offset and sets their extents, the last one's to end at `end`, where the directory is.
 * 0, or -EBADMSG with CAUSE_BAD_ZIP: members overlap, or one lies behind the directory. */
static inline int zip_extents(struct archive_entry *v, size_t n, uint64_t end, struct error *e)
{
        qsort(v, n, sizeof(*v), zip_by_offset);
        for (size_t i = 0; i < n; i++) {
                uint64_t next = i + 1 < n ? v[i + 1].place.offset : end, header = 30 + strlen(v[i].name);
                if (next < v[i].place.offset || next - v[i].place.offset < header ||
                        next - v[i].place.offset - header < v[i].packed)
                        return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "members overlap");
                v[i].place.extent = next - v[i].place.offset;
        }
        return 0;
}
