/* SPDX-License-Identifier: Apache-2.0 */
/* Directory of a zip: two bytes say where the window begins, the rest is the archive's end. What was read
 * must hold what archive.h promises, be the same whether it is read as a whole or in a small window, and be
 * what libzip reads, where that takes the archive. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../unit/zip_second.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct archive_limits limits = {.max_members = 1000};

static void check_list(const struct zip_list *l, uint64_t end)
{
        assert(l->n <= 1000 && l->offset <= end);
        for (size_t i = 0; i < l->n; i++) {
                const struct archive_entry *a = &l->entries[i];
                assert(a->place.offset < end && a->place.extent <= end - a->place.offset &&
                        a->packed <= a->place.extent);
                assert(strlen(a->name) <= UINT16_MAX);
                assert(i == 0 ||
                        l->entries[i - 1].place.offset + l->entries[i - 1].place.extent == a->place.offset);
        }
}

static void check_same(const struct zip_list *x, const struct zip_list *y)
{
        assert(x->n == y->n && x->offset == y->offset);
        for (size_t i = 0; i < x->n; i++) {
                struct archive_entry a = x->entries[i];
                const struct archive_entry *b = &y->entries[i];
                assert(strcmp(a.name, b->name) == 0);
                a.name = b->name;
                assert(a.place.offset == b->place.offset && a.place.extent == b->place.extent &&
                        a.packed == b->packed && a.size == b->size && a.crc == b->crc && a.mode == b->mode &&
                        a.method == b->method && a.flags == b->flags);
        }
}

/* From start on in pieces of so many bytes. whole: what it must be like, or NULL when it must be refused. */
static void read_pieces(
        const uint8_t *p, uint64_t start, uint64_t end, size_t piece, const struct zip_list *whole)
{
        _cleanup_zip_list_ struct zip_list l = {};
        struct error e = {};
        int r = zip_list(p, start, end, piece, &limits, &l, &e);
        assert((r < 0) == (e.cause != CAUSE_NONE));
        if (r == 0) {
                assert(whole && l.offset == start);
                check_same(whole, &l);
        } else {
                assert(!whole);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const size_t pieces[] = {1, 150};
        if (size < 2)
                return 0;
        const uint8_t *p = data + 2;
        uint64_t start = (uint64_t)data[0] | (uint64_t)data[1] << 8, end = start + size - 2;
        _cleanup_zip_list_ struct zip_list l = {};
        struct error e = {};
        int r = zip_list(p, start, end, size, &limits, &l, &e);
        assert((r < 0) == (e.cause != CAUSE_NONE));
        assert(r == 0 || (l.n == 0 && !l.entries));
        assert(r < 0 || !l.need_start || (l.need_start < start && l.n == 0));
        bool found = r == 0 && !l.need_start;
        if (found && start == 0)
                zip_second(p, size - 2, &l);
        for (size_t i = 0; i < ELEMENTSOF(pieces); i++) {
                if (end - start > pieces[i] && !(found && l.offset == start))
                        read_pieces(p, start, end, pieces[i], NULL);
                if (found && end - l.offset > pieces[i])
                        read_pieces(p + (l.offset - start), l.offset, end, pieces[i], &l);
        }
        if (found && zip_list_extents(&l, &e) == 0)
                check_list(&l, end);
        return 0;
}
