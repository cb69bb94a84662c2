/* SPDX-License-Identifier: Apache-2.0 */
/* Directory of a zip: two bytes say where the window begins, the rest is the archive's end. What was read
 * must hold what archive.h promises. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < 2)
                return 0;
        uint64_t start = (uint64_t)data[0] | (uint64_t)data[1] << 8, end = start + size - 2;
        _cleanup_archive_directory_ struct archive_directory d = {};
        struct error e = {};
        int r = archive_directory(
                data + 2, start, end, &(struct archive_limits){.max_members = 1000}, &d, &e);
        assert((r < 0) == (e.cause != CAUSE_NONE));
        assert(r == 0 || (d.n == 0 && !d.entries));
        assert(r < 0 || !d.need_start || (d.need_start < start && d.n == 0));
        assert(d.n <= 1000);
        for (size_t i = 0; i < d.n; i++) {
                const struct archive_entry *a = &d.entries[i];
                assert(a->offset < end && a->extent <= end - a->offset && a->packed <= a->extent);
                assert(strlen(a->name) <= UINT16_MAX);
                assert(i == 0 || d.entries[i - 1].offset + d.entries[i - 1].extent == a->offset);
        }
        return 0;
}
