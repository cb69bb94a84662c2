/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of a zip: read by libzip over a source that knows only the archive's end, walked by
 * archive_walk.c, and good only where the two agree. Then the members are put in the order of their offsets,
 * and each gets its extent, so that a stream can be divided among them without trust in any local header. */
#include "archive.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "archive_walk.h"

/* The end of the archive as libzip sees it: a file that starts with zeros. */
struct window {
        const uint8_t *tail;
        uint64_t start, size, pos;
        zip_error_t error;
};

static zip_int64_t window_read(struct window *w, void *data, zip_uint64_t len)
{
        /* libzip looks for the end record in the last 64 KiB, also where our window is smaller. */
        if (w->pos < w->start) {
                len = MIN(len, w->start - w->pos);
                memset(data, 0, len);
                w->pos += len;
                return (zip_int64_t)len;
        }
        len = MIN(len, w->size - w->pos);
        memcpy(data, w->tail + (w->pos - w->start), len);
        w->pos += len;
        return (zip_int64_t)len;
}

static zip_int64_t window_call(void *arg, void *data, zip_uint64_t len, zip_source_cmd_t command)
{
        struct window *w = arg;
        switch (command) {
        case ZIP_SOURCE_OPEN:
                w->pos = 0;
                return 0;
        case ZIP_SOURCE_READ:
                return window_read(w, data, len);
        case ZIP_SOURCE_CLOSE:
        case ZIP_SOURCE_FREE:
                return 0;
        case ZIP_SOURCE_STAT: {
                zip_stat_t *st = data;
                zip_stat_init(st);
                st->size = w->size;
                st->valid = ZIP_STAT_SIZE;
                return sizeof(*st);
        }
        case ZIP_SOURCE_ERROR:
                return zip_error_to_data(&w->error, data, len);
        case ZIP_SOURCE_SEEK: {
                zip_int64_t pos = zip_source_seek_compute_offset(w->pos, w->size, data, len, &w->error);
                if (pos < 0)
                        return -1;
                w->pos = (uint64_t)pos;
                return 0;
        }
        case ZIP_SOURCE_TELL:
                return (zip_int64_t)w->pos;
        case ZIP_SOURCE_SUPPORTS:
                return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                        ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
                        ZIP_SOURCE_SUPPORTS, -1);
        default:
                zip_error_set(&w->error, ZIP_ER_OPNOTSUPP, 0);
                return -1;
        }
}

static int disagree(struct error *e, uint64_t index, const char *what)
{
        return error_set(e, CAUSE_BAD_ZIP, EBADMSG,
                "two readings of the directory disagree about the %s of member %" PRIu64, what, index);
}

/* Where the archive has a NUL, libzip puts a blank (_zip_read_string()), and we \001. */
static bool same_name(const char *theirs, const char *ours)
{
        while (*ours && (*ours == *theirs || (*ours == '\001' && *theirs == ' '))) {
                ours++;
                theirs++;
        }
        return *ours == *theirs;
}

static int compare_entry(zip_t *z, zip_uint64_t i, const struct archive_entry *entry, struct error *e)
{
        zip_stat_t st;
        zip_uint8_t system = 0;
        zip_uint32_t attributes = 0;
        const char *name = zip_get_name(z, i, ZIP_FL_ENC_RAW);
        const zip_uint64_t want = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD |
                                  ZIP_STAT_ENCRYPTION_METHOD;
        if (!name || zip_stat_index(z, i, ZIP_FL_ENC_RAW, &st) < 0 || (st.valid & want) != want ||
                zip_file_get_external_attributes(z, i, 0, &system, &attributes) < 0)
                return disagree(e, i, "record");
        if (!same_name(name, entry->name))
                return disagree(e, i, "name");
        if (st.size != entry->size || st.comp_size != entry->packed)
                return disagree(e, i, "size");
        bool encrypted = entry->flags & ZIP_FLAG_ENCRYPTED;
        if ((st.encryption_method != ZIP_EM_NONE) != encrypted)
                return disagree(e, i, "encryption");
        if (!encrypted && (st.crc != entry->crc || st.comp_method != entry->method))
                return disagree(e, i, "CRC or method");
        if ((system == ZIP_OPSYS_UNIX ? attributes >> 16 : 0) != entry->mode)
                return disagree(e, i, "mode");
        return 0;
}

static int compare_all(zip_t *z, const struct archive_entry *entries, uint64_t n, struct error *e)
{
        zip_int64_t count = zip_get_num_entries(z, 0);
        if (count < 0 || (uint64_t)count != n)
                return disagree(e, 0, "number, from the first");
        for (uint64_t i = 0; i < n; i++) {
                int r = compare_entry(z, i, &entries[i], e);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare_with_libzip(
        struct window *w, const struct archive_entry *entries, uint64_t n, struct error *e)
{
        zip_error_t err;
        zip_error_init(&err);
        zip_error_init(&w->error);
        zip_source_t *source = zip_source_function_create(window_call, w, &err);
        zip_t *z = source ? zip_open_from_source(source, ZIP_RDONLY, &err) : NULL;
        int r;
        if (z) {
                r = compare_all(z, entries, n, e);
                zip_discard(z);
        } else {
                r = error_set(e, CAUSE_BAD_ZIP, EBADMSG, "%s", zip_error_strerror(&err));
                if (source)
                        zip_source_free(source);
        }
        zip_error_fini(&w->error);
        zip_error_fini(&err);
        return r;
}

static int by_offset(const void *a, const void *b)
{
        const struct archive_entry *x = a, *y = b;
        return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Each member must have room before the next one begins. */
static int set_extents(struct archive_entry *entries, size_t n, uint64_t end, struct error *e)
{
        if (n)
                qsort(entries, n, sizeof(*entries), by_offset);
        if (n && entries[n - 1].offset > end)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "a member lies behind the directory");
        int r = 0;
        for (size_t i = 0; r == 0 && i < n; i++)
                r = archive_extent(entries[i].offset, archive_least(&entries[i]),
                        i + 1 < n ? entries[i + 1].offset : end, &entries[i].extent, e);
        return r;
}

int archive_directory(const void *tail, uint64_t start, uint64_t size, const struct archive_limits *limits,
        struct archive_directory *ret, struct error *e)
{
        _cleanup_archive_directory_ struct archive_directory d = {};
        struct window w = {.tail = tail, .start = start, .size = size};
        struct zip_place place = {};
        int r = zip_find_directory(tail, start, size, &place, e);
        if (r < 0)
                return r;
        if (place.need_start >= start && place.need_start)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "it has no end record: not a zip, or cut off");
        if (place.need_start) {
                *ret = (struct archive_directory){.need_start = place.need_start};
                return 0;
        }
        if (limits->max_members && place.count > limits->max_members)
                return error_set(e, CAUSE_LIMIT, EFBIG,
                        "%" PRIu64 " members are more than max_members (%" PRIu64 ")", place.count,
                        limits->max_members);
        d.n = (size_t)place.count;
        d.offset = place.offset;
        d.entries = calloc(d.n ? d.n : 1, sizeof(*d.entries));
        d.storage = malloc(place.size ? (size_t)place.size : 1);
        if (!d.entries || !d.storage)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        assert(place.offset >= start);
        r = zip_read_records(w.tail + (place.offset - start), &place, d.entries, d.storage, e);
        if (r == 0)
                r = compare_with_libzip(&w, d.entries, d.n, e);
        if (r == 0)
                r = set_extents(d.entries, d.n, place.offset, e);
        if (r < 0)
                return r;
        *ret = d;
        d = (struct archive_directory){};
        return 0;
}

void archive_directory_done(struct archive_directory *d)
{
        free(d->entries);
        free(d->storage);
        *d = (struct archive_directory){};
}
