/* SPDX-License-Identifier: Apache-2.0 */
#include "zip_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "zip_extents.h"

enum { BIT_MAX = 5000 }; /* bytes that the source gives at a time */

struct source {
        const uint8_t *p;
        uint64_t left;
};

static ssize_t source_read(void *arg, void *p, size_t n, struct error *e)
{
        struct source *s = arg;
        (void)e;
        n = (size_t)MIN((uint64_t)MIN(n, (size_t)BIT_MAX), s->left);
        if (n)
                memcpy(p, s->p, n);
        s->p += n;
        s->left -= n;
        return (ssize_t)n;
}

static int take(void *arg, const struct archive_entry *entry, struct error *e)
{
        struct zip_list *l = arg;
        (void)e;
        if ((l->n & (l->n - 1)) == 0)
                l->entries = realloc(l->entries, (l->n ? 2 * l->n : 1) * sizeof(*l->entries));
        assert(l->entries);
        l->entries[l->n] = *entry;
        l->entries[l->n].name = strdup(entry->name);
        assert(l->entries[l->n].name);
        l->n++;
        return 0;
}

int zip_list_cut(const void *tail, uint64_t n, uint64_t start, uint64_t size, size_t memory,
        const struct archive_limits *limits, struct zip_list *ret, struct error *e)
{
        struct source s = {.p = tail, .left = n};
        struct zip_list l = {};
        const struct archive_tail t = {
                .start = start,
                .size = size,
                .memory = memory,
                .read = source_read,
                .read_arg = &s,
                .take = take,
                .take_arg = &l,
        };
        struct archive_directory d = {};
        int r = archive_directory(&t, limits, &d, e);
        if (r < 0) {
                zip_list_done(&l);
                return r;
        }
        assert(d.count == l.n);
        l.offset = d.offset;
        l.need_start = d.need_start;
        *ret = l;
        return 0;
}

int zip_list(const void *tail, uint64_t start, uint64_t size, size_t memory,
        const struct archive_limits *limits, struct zip_list *ret, struct error *e)
{
        return zip_list_cut(tail, size - start, start, size, memory, limits, ret, e);
}

int zip_list_extents(struct zip_list *l, struct error *e)
{
        return l->n ? zip_extents(l->entries, l->n, l->offset, e) : 0;
}

void zip_list_done(struct zip_list *l)
{
        for (size_t i = 0; i < l->n; i++)
                free((char *)(uintptr_t)l->entries[i].name);
        free(l->entries);
        *l = (struct zip_list){};
}
