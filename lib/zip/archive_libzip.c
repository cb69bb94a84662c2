/* SPDX-License-Identifier: Apache-2.0 */
/* libzip's side: a source for it, and what it says of a member. */
#include "archive_libzip.h"

#include <string.h>

#include "archive_walk.h"

void window_add(struct window *w, size_t i, const uint8_t *p, uint64_t n)
{
        w->parts[i].p = p;
        w->parts[i].n = n;
        w->size += n;
}

/* From one part at a time. */
static zip_int64_t window_read(struct window *w, void *data, zip_uint64_t len)
{
        uint64_t at = w->pos;
        size_t i = 0;
        while (i < ELEMENTSOF(w->parts) && at >= w->parts[i].n)
                at -= w->parts[i++].n;
        if (i == ELEMENTSOF(w->parts))
                return 0;
        len = MIN(len, w->parts[i].n - at);
        if (w->parts[i].p)
                memcpy(data, w->parts[i].p + at, len);
        else
                memset(data, 0, len);
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

int libzip_compare(zip_t *z, uint64_t i, uint64_t index, const struct archive_entry *entry, struct error *e)
{
        zip_stat_t st;
        zip_uint8_t system = 0;
        zip_uint32_t attributes = 0;
        const char *name = zip_get_name(z, i, ZIP_FL_ENC_RAW);
        const zip_uint64_t want = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD |
                                  ZIP_STAT_ENCRYPTION_METHOD;
        if (!name || zip_stat_index(z, i, ZIP_FL_ENC_RAW, &st) < 0 || (st.valid & want) != want ||
                zip_file_get_external_attributes(z, i, 0, &system, &attributes) < 0)
                return disagree(e, index, "record");
        if (!same_name(name, entry->name))
                return disagree(e, index, "name");
        if (st.size != entry->size || st.comp_size != entry->packed)
                return disagree(e, index, "size");
        bool encrypted = entry->flags & ZIP_FLAG_ENCRYPTED;
        if ((st.encryption_method != ZIP_EM_NONE) != encrypted)
                return disagree(e, index, "encryption");
        if (!encrypted && (st.crc != entry->crc || st.comp_method != entry->method))
                return disagree(e, index, "CRC or method");
        if ((system == ZIP_OPSYS_UNIX ? attributes >> 16 : 0) != entry->mode)
                return disagree(e, index, "mode");
        return 0;
}

int libzip_compare_count(zip_t *z, uint64_t count, uint64_t index, struct error *e)
{
        zip_int64_t n = zip_get_num_entries(z, 0);
        return n >= 0 && (uint64_t)n == count ? 0 : disagree(e, index, "number, from the first");
}

int libzip_open(struct window *w, zip_t **ret, struct error *e)
{
        zip_error_t err;
        zip_error_init(&err);
        zip_error_init(&w->error);
        zip_source_t *source = zip_source_function_create(window_call, w, &err);
        zip_t *z = source ? zip_open_from_source(source, ZIP_RDONLY, &err) : NULL;
        int r = 0;
        if (z) {
                *ret = z;
        } else {
                bool memory = zip_error_code_zip(&err) == ZIP_ER_MEMORY;
                r = error_set(e, memory ? CAUSE_HELPER : CAUSE_BAD_ZIP, memory ? ENOMEM : EBADMSG, "%s",
                        zip_error_strerror(&err));
                if (source)
                        zip_source_free(source);
        }
        zip_error_fini(&err);
        return r;
}

void libzip_close(struct window *w, zip_t *z)
{
        if (z)
                zip_discard(z);
        zip_error_fini(&w->error);
}
