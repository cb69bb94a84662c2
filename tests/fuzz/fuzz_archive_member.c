/* SPDX-License-Identifier: Apache-2.0 */
/* Members from a stream: the input is a whole zip. When its directory can be read, its members are read from
 * a descriptor; then the same with a directory that says something else (each packed size and CRC-32 changed
 * by the last byte of the input), as when headers and directory come from different hands. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/zip_list.h"
#include "fsx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_members(const uint8_t *data, size_t size, const struct zip_list *d)
{
        struct archive_stream *s = NULL;
        int fd = memfd_create("zip", MFD_CLOEXEC);
        assert(fd >= 0 && write_all(fd, data, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
        if (archive_stream_new(fd, 0, &s) < 0) {
                close(fd);
                return;
        }
        for (size_t i = 0; i < d->n; i++) {
                struct error e = {};
                uint8_t buf[333];
                uint64_t got = 0;
                ssize_t n = archive_member_begin(s, &d->entries[i], &e);
                while (n == 0 && (n = archive_member_read(s, buf, sizeof(buf), &e)) > 0 && got < 4 * MIB) {
                        got += (uint64_t)n;
                        n = 0;
                }
                assert(n > 0 || (n < 0) == (e.cause != CAUSE_NONE));
                assert(n != 0 || got == d->entries[i].size || got >= 4 * MIB);
        }
        archive_stream_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_zip_list_ struct zip_list d = {};
        struct error e = {};
        if (zip_list(data, 0, size, size, &(struct archive_limits){.max_members = 100}, &d, &e) < 0 ||
                zip_list_extents(&d, &e) < 0)
                return 0;
        read_members(data, size, &d);
        for (size_t i = 0; i < d.n; i++) {
                d.entries[i].packed ^= data[size - 1] & 7;
                d.entries[i].size += data[size - 1] >> 5;
                d.entries[i].crc ^= data[size - 1] & 16;
        }
        read_members(data, size, &d);
        return 0;
}
