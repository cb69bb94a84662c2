/* SPDX-License-Identifier: Apache-2.0 */
#include "zip_second.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "archive.h"

/* libzip turns a NUL into a blank, we into \001. */
static bool same_name(const char *theirs, const char *ours)
{
        while (*ours && (*ours == *theirs || (*ours == '\001' && *theirs == ' '))) {
                ours++;
                theirs++;
        }
        return *ours == *theirs;
}

static const char *difference(zip_t *z, uint64_t i, const struct archive_entry *entry)
{
        zip_stat_t st;
        zip_uint8_t system = 0;
        zip_uint32_t attributes = 0;
        const char *name = zip_get_name(z, i, ZIP_FL_ENC_RAW);
        const zip_uint64_t want = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD |
                                  ZIP_STAT_ENCRYPTION_METHOD;
        if (!name || zip_stat_index(z, i, ZIP_FL_ENC_RAW, &st) < 0 || (st.valid & want) != want ||
                zip_file_get_external_attributes(z, i, 0, &system, &attributes) < 0)
                return "record";
        if (!same_name(name, entry->name))
                return "name";
        if (st.size != entry->size || st.comp_size != entry->packed)
                return "size";
        bool encrypted = entry->flags & ZIP_FLAG_ENCRYPTED;
        if ((st.encryption_method != ZIP_EM_NONE) != encrypted)
                return "encryption";
        if (!encrypted && (st.crc != entry->crc || st.comp_method != entry->method))
                return "CRC or method";
        if ((system == ZIP_OPSYS_UNIX ? attributes >> 16 : 0) != entry->mode)
                return "mode";
        return NULL;
}

static void compare(zip_t *z, const struct zip_list *l)
{
        zip_int64_t n = zip_get_num_entries(z, 0);
        if (n < 0 || (size_t)n != l->n)
                fprintf(stderr, "libzip has %lld members, we have %zu\n", (long long)n, l->n);
        assert(n >= 0 && (size_t)n == l->n);
        for (size_t i = 0; i < l->n; i++) {
                const char *what = difference(z, i, &l->entries[i]);
                if (what)
                        fprintf(stderr, "libzip has another %s at member %zu\n", what, i);
                assert(!what);
        }
}

int zip_second(const void *p, size_t n, const struct zip_list *l)
{
        zip_error_t err;
        zip_error_init(&err);
        zip_source_t *source = zip_source_buffer_create(p, n, 0, &err);
        assert(source);
        zip_t *z = zip_open_from_source(source, ZIP_RDONLY, &err);
        zip_error_fini(&err);
        if (!z) {
                zip_source_free(source);
                return 0;
        }
        compare(z, l);
        zip_discard(z);
        return 1;
}
