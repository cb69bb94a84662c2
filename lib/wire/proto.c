/* SPDX-License-Identifier: Apache-2.0 */
/* Framed messages. One table per message type says which fields it has, in what order, and within which
 * bounds; one encoder and one decoder walk the tables. A received message is valid as a whole or is not
 * delivered.
 *
 * A datagram: u16 version, u16 type, u32 id, then the fields. Integers are little-endian. A string is u32
 * length, bytes, NUL, without a NUL inside. A repeated field is u32 count, then the elements. */
#include "proto.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "limits.h"
#include "macro.h"

#define HEADER_SIZE 8

enum kind { U8, U16, U32, U64, I64, STR, BYTES, REPEAT };

struct field {
        enum kind kind;
        size_t offset;
        /* Numbers: greatest value, of signed ones either side of 0; STR: most bytes; BYTES: exact size;
         * REPEAT: most elements. */
        uint64_t max;
        const struct field *elements; /* REPEAT: the fields of one, ended by offset SIZE_MAX */
        size_t element_size, count_offset;
};

#define END                                                                                                  \
        {                                                                                                    \
                .offset = SIZE_MAX                                                                           \
        }
#define F(kind_, type, member, max_)                                                                         \
        {                                                                                                    \
                .kind = kind_, .offset = offsetof(type, member), .max = max_                                 \
        }
#define R(type, member, count, max_, element, table)                                                         \
        {                                                                                                    \
                .kind = REPEAT, .offset = offsetof(type, member), .max = max_, .elements = table,            \
                .element_size = sizeof(element), .count_offset = offsetof(type, count)                       \
        }
#define OUTCOME(type) F(U32, type, outcome.cause, CAUSE_MAX - 1), F(STR, type, outcome.detail, LIMIT_DETAIL)

#define LIMIT_DETAIL 511
#define LIMIT_KEY_LIST 8192
#define LIMIT_SECONDS (INT64_C(1) << 40) /* the year 9999 and more, and no overflow in microseconds */

static const struct field object_fields[] = {
        F(STR, struct proto_object, key, LIMIT_S3_KEY),
        F(STR, struct proto_object, etag, LIMIT_ETAG),
        F(U64, struct proto_object, size, INT64_MAX),
        F(I64, struct proto_object, last_modified, LIMIT_SECONDS),
        END,
};

static const struct field key_fields[] = {
        F(STR, struct proto_key, fingerprint, 64),
        F(STR, struct proto_key, user_id, 1024),
        F(STR, struct proto_key, key_ids, 1024),
        F(I64, struct proto_key, created, LIMIT_SECONDS),
        F(I64, struct proto_key, expires, LIMIT_SECONDS),
        END,
};

static const struct field entry_fields[] = {
        F(STR, struct archive_entry, name, LIMIT_ZIP_NAME),
        F(U64, struct archive_entry, place.offset, INT64_MAX),
        F(U64, struct archive_entry, place.extent, INT64_MAX),
        F(U64, struct archive_entry, packed, INT64_MAX),
        F(U64, struct archive_entry, size, INT64_MAX),
        F(U32, struct archive_entry, crc, UINT32_MAX),
        F(U32, struct archive_entry, mode, UINT32_MAX),
        F(U16, struct archive_entry, method, UINT16_MAX),
        F(U16, struct archive_entry, flags, UINT16_MAX),
        END,
};

static const struct field hello_fields[] = {
        F(U32, struct proto_hello, version, UINT32_MAX),
        F(STR, struct proto_hello, credentials_source, LIMIT_PATH),
        F(STR, struct proto_hello, warning, LIMIT_DETAIL),
        END,
};

static const struct field list_fields[] = {
        F(STR, struct proto_list, bucket, LIMIT_S3_BUCKET),
        F(STR, struct proto_list, prefix, LIMIT_S3_KEY),
        F(STR, struct proto_list, start_after, LIMIT_S3_KEY),
        END,
};

static const struct field get_fields[] = {
        F(STR, struct proto_get, bucket, LIMIT_S3_BUCKET),
        F(STR, struct proto_get, key, LIMIT_S3_KEY),
        F(STR, struct proto_get, etag, LIMIT_ETAG),
        F(U64, struct proto_get, offset, INT64_MAX),
        F(U64, struct proto_get, length, INT64_MAX),
        F(U64, struct proto_get, size, INT64_MAX),
        F(U8, struct proto_get, whole, 1),
        END,
};

static const struct field cancel_fields[] = {END};

static const struct field listed_fields[] = {
        R(struct proto_listed, objects, n, LIMIT_LIST_PAGE_KEYS, struct proto_object, object_fields),
        END,
};

static const struct field done_fields[] = {
        OUTCOME(struct proto_done),
        F(U32, struct proto_done, http_status, 999),
        F(U32, struct proto_done, requests, UINT32_MAX),
        F(U64, struct proto_done, bytes, INT64_MAX),
        F(U64, struct proto_done, retry_after_usec, UINT64_MAX),
        F(I64, struct proto_done, skew_sec, LIMIT_SECONDS),
        F(U32, struct proto_done, checks, UINT32_MAX),
        F(STR, struct proto_done, access_key_id, 128),
        F(STR, struct proto_done, new_etag, LIMIT_ETAG),
        END,
};

static const struct field setup_fields[] = {
        F(STR, struct proto_setup, home, LIMIT_PATH),
        F(STR, struct proto_setup, source, LIMIT_PATH),
        F(STR, struct proto_setup, template, LIMIT_PATH),
        F(STR, struct proto_setup, signers, LIMIT_KEY_LIST),
        F(U8, struct proto_setup, import, 1),
        F(U8, struct proto_setup, reference, 1),
        F(U8, struct proto_setup, signatures, 2),
        F(U8, struct proto_setup, engine, 1),
        F(U64, struct proto_setup, max_plaintext, UINT64_MAX),
        F(U64, struct proto_setup, max_ratio, UINT64_MAX),
        F(U64, struct proto_setup, max_name, UINT64_MAX),
        END,
};

static const struct field ready_fields[] = {
        OUTCOME(struct proto_ready),
        R(struct proto_ready, keys, n_keys, 64, struct proto_key, key_fields),
        F(U8, struct proto_ready, reference, 1),
        F(STR, struct proto_ready, warning, LIMIT_DETAIL),
        END,
};

static const struct field file_fields[] = {
        F(U64, struct proto_file, size, INT64_MAX),
        F(U8, struct proto_file, format, FORMAT_FORMAT_MAX - 1),
        END,
};

static const struct field directory_fields[] = {
        F(U64, struct proto_directory, size, INT64_MAX),
        F(U64, struct proto_directory, start, INT64_MAX),
        F(U64, struct proto_directory, max_members, UINT64_MAX),
        END,
};

static const struct field members_fields[] = {
        F(U64, struct proto_members, position, INT64_MAX),
        F(U8, struct proto_members, new_stream, 1),
        R(struct proto_members, entries, n, PROTO_RUN_MAX, struct archive_entry, entry_fields),
        END,
};

static const struct field verdict_fields[] = {
        OUTCOME(struct proto_verdict),
        F(U32, struct proto_verdict, member, PROTO_RUN_MAX - 1),
        F(U32, struct proto_verdict, checks, UINT32_MAX),
        F(U32, struct proto_verdict, warnings, WARN_ALL),
        F(U64, struct proto_verdict, plain_size, INT64_MAX),
        F(U64, struct proto_verdict, cipher_size, INT64_MAX),
        F(U64, struct proto_verdict, rows, INT64_MAX),
        F(BYTES, struct proto_verdict, sha256, SHA256_SIZE),
        F(STR, struct proto_verdict, fingerprint, 64),
        F(STR, struct proto_verdict, recipients, LIMIT_KEY_LIST),
        END,
};

static const struct field entries_fields[] = {
        R(struct proto_entries, entries, n, LIMIT_LIST_PAGE_KEYS, struct archive_entry, entry_fields),
        END,
};

static const struct field directory_done_fields[] = {
        OUTCOME(struct proto_directory_done),
        F(U64, struct proto_directory_done, need_start, INT64_MAX),
        F(U64, struct proto_directory_done, count, INT64_MAX),
        F(U64, struct proto_directory_done, offset, INT64_MAX),
        END,
};

static const struct field progress_fields[] = {
        F(U64, struct proto_progress, bytes, UINT64_MAX),
        END,
};

static const struct field split_fields[] = {
        F(U8, struct proto_split, rule, EVENT_RULE_MAX - 1),
        F(U8, struct proto_split, gzip, 1),
        F(U64, struct proto_split, room, INT64_MAX),
        F(U64, struct proto_split, room_files, INT64_MAX),
        END,
};

static const struct field split_file_fields[] = {
        F(STR, struct proto_split_file, name, LIMIT_MEMBER_NAME),
        F(U64, struct proto_split_file, size, INT64_MAX),
        END,
};

static const struct field split_files_fields[] = {
        R(struct proto_split_files, files, n, LIMIT_LIST_PAGE_KEYS, struct proto_split_file,
                split_file_fields),
        END,
};

static const struct field split_done_fields[] = {
        OUTCOME(struct proto_split_done),
        F(U64, struct proto_split_done, lines_in, INT64_MAX),
        F(U64, struct proto_split_done, lines_of_courses, INT64_MAX),
        F(U64, struct proto_split_done, no_course, INT64_MAX),
        F(U64, struct proto_split_done, invalid, INT64_MAX),
        F(U64, struct proto_split_done, unparsed, INT64_MAX),
        F(U64, struct proto_split_done, courses, LIMIT_SPLIT_FILES),
        F(U64, struct proto_split_done, courses_left_out, INT64_MAX),
        F(U64, struct proto_split_done, files, LIMIT_SPLIT_FILES),
        F(U64, struct proto_split_done, files_size, INT64_MAX),
        F(BYTES, struct proto_split_done, source_sha256, SHA256_SIZE),
        F(BYTES, struct proto_split_done, sums_sha256, SHA256_SIZE),
        END,
};

/* fds: how many descriptors may come with a message, fewest and most. */
static const struct {
        const struct field *fields;
        size_t body, fds_min, fds_max;
} types[PROTO_TYPE_MAX] = {
#define T(id, name, member, lo, hi) [PROTO_##id] = {name##_fields, offsetof(struct message, member), lo, hi}
        T(HELLO, hello, hello, 0, 0),
        T(LIST, list, list, 0, 0),
        T(GET, get, get, 1, 1),
        T(CANCEL, cancel, hello, 0, 0),
        T(LISTED, listed, listed, 0, 0),
        T(DONE, done, done, 0, 0),
        T(SETUP, setup, setup, 0, 1),
        T(READY, ready, ready, 0, 0),
        T(FILE, file, file, 2, 2),
        T(DIRECTORY, directory, directory, 1, 1),
        T(MEMBERS, members, members, 1, PROTO_FDS_MAX),
        T(VERDICT, verdict, verdict, 0, 0),
        T(ENTRIES, entries, entries, 0, 0),
        T(DIRECTORY_DONE, directory_done, directory_done, 0, 0),
        T(PROGRESS, progress, progress, 0, 0),
        T(SPLIT, split, split, 2, 2),
        T(SPLIT_FILES, split_files, split_files, 0, 0),
        T(SPLIT_DONE, split_done, split_done, 0, 0),
#undef T
};

static size_t width(enum kind kind)
{
        return kind == U8 ? 1 : kind == U16 ? 2 : kind == U32 ? 4 : 8;
}

/* --- encoding --- */

struct writer {
        uint8_t *p; /* NULL: only count */
        size_t len, size;
        bool full;
};

static void put(struct writer *w, const void *p, size_t n)
{
        if (w->full || n > w->size - w->len) {
                w->full = true;
                return;
        }
        if (w->p)
                memcpy(w->p + w->len, p, n);
        w->len += n;
}

static void put_number(struct writer *w, uint64_t v, size_t n)
{
        uint8_t b[8];
        for (size_t i = 0; i < n; i++)
                b[i] = (uint8_t)(v >> (8 * i));
        put(w, b, n);
}

static void put_fields(struct writer *w, const struct field *f, const void *body)
{
        for (; f->offset != SIZE_MAX; f++) {
                const char *at = (const char *)body + f->offset;
                if (f->kind == STR) {
                        const char *s = *(const char *const *)(const void *)at;
                        size_t n = s ? strlen(s) : 0;
                        /* Texts for people are cut to their bound; anything else too long is refused. */
                        if (n > f->max && f->max == LIMIT_DETAIL)
                                n = LIMIT_DETAIL;
                        if (n > f->max)
                                w->full = true;
                        put_number(w, n, 4);
                        put(w, s ? s : "", n);
                        put(w, "", 1);
                } else if (f->kind == BYTES) {
                        put(w, at, f->max);
                } else if (f->kind == REPEAT) {
                        const char *const *elements = (const char *const *)(const void *)at;
                        size_t n = *(const size_t *)(const void *)((const char *)body + f->count_offset);
                        if (n > f->max)
                                w->full = true;
                        put_number(w, n, 4);
                        for (size_t i = 0; i < n && !w->full; i++)
                                put_fields(w, f->elements, *elements + i * f->element_size);
                } else {
                        put_number(w, number_load(at, width(f->kind)), width(f->kind));
                }
        }
}

int proto_encode(const struct message *m, void **ret, size_t *ret_n)
{
        if (m->type <= 0 || m->type >= PROTO_TYPE_MAX)
                return -EINVAL;
        struct writer w = {.p = malloc(PROTO_MESSAGE_MAX), .size = PROTO_MESSAGE_MAX};
        if (!w.p)
                return -ENOMEM;
        put_number(&w, PROTO_VERSION, 2);
        put_number(&w, m->type, 2);
        put_number(&w, m->id, 4);
        put_fields(&w, types[m->type].fields, (const char *)m + types[m->type].body);
        if (w.full) {
                free(w.p);
                return -EMSGSIZE;
        }
        *ret = w.p;
        *ret_n = w.len;
        return 0;
}

static size_t fields_size(const struct field *f, const void *body)
{
        struct writer w = {.size = SIZE_MAX};
        put_fields(&w, f, body);
        return w.len;
}

size_t proto_object_size(const struct proto_object *o)
{
        return fields_size(object_fields, o);
}

size_t proto_entry_size(const struct archive_entry *e)
{
        return fields_size(entry_fields, e);
}

/* --- decoding --- */

/* What a decoded message owns: its bytes, into which strings point, and the elements of its one repeated
 * field. */
struct storage {
        void *elements;
        uint8_t bytes[];
};

struct reader {
        uint8_t *p;
        size_t left;
        struct storage *storage;
        bool bad;
};

static const void *get(struct reader *r, uint64_t n)
{
        if (r->bad || n > r->left) {
                r->bad = true;
                return NULL;
        }
        const void *at = r->p;
        r->p += n;
        r->left -= n;
        return at;
}

static uint64_t get_number(struct reader *r, size_t n)
{
        const uint8_t *b = get(r, n);
        uint64_t v = 0;
        for (size_t i = 0; b && i < n; i++)
                v |= (uint64_t)b[i] << (8 * i);
        return v;
}

static const char *get_string(struct reader *r, uint64_t max)
{
        uint64_t n = get_number(r, 4);
        if (n > max)
                r->bad = true;
        const char *s = get(r, n + 1);
        if (!s || s[n] != 0 || strlen(s) != n) {
                r->bad = true;
                return "";
        }
        return s;
}

static void take_fields(struct reader *r, const struct field *f, void *body);

static void get_repeat(struct reader *r, const struct field *f, void *body)
{
        uint64_t n = get_number(r, 4);
        /* An element takes at least a byte, so a count beyond what is left is a lie. */
        if (n > f->max || n > r->left || r->storage->elements)
                r->bad = true;
        if (r->bad || n == 0)
                return;
        char *elements = r->storage->elements = calloc(n, f->element_size);
        if (!elements) {
                r->bad = true;
                return;
        }
        for (uint64_t i = 0; i < n && !r->bad; i++)
                take_fields(r, f->elements, elements + i * f->element_size);
        *(void **)(void *)((char *)body + f->offset) = elements;
        *(size_t *)(void *)((char *)body + f->count_offset) = n;
}

static bool is_within(int64_t v, int64_t max)
{
        return -max <= v && v <= max;
}

static void take_fields(struct reader *r, const struct field *f, void *body)
{
        for (; f->offset != SIZE_MAX && !r->bad; f++) {
                char *at = (char *)body + f->offset;
                if (f->kind == STR) {
                        *(const char **)(void *)at = get_string(r, f->max);
                } else if (f->kind == BYTES) {
                        const void *p = get(r, f->max);
                        if (p)
                                memcpy(at, p, f->max);
                } else if (f->kind == REPEAT) {
                        get_repeat(r, f, body);
                } else {
                        uint64_t v = get_number(r, width(f->kind));
                        if (f->kind == I64 ? !is_within((int64_t)v, (int64_t)f->max) : v > f->max)
                                r->bad = true;
                        number_store(at, width(f->kind), v);
                }
        }
}

int proto_decode(const void *p, size_t n, struct message *ret, struct error *e)
{
        if (n < HEADER_SIZE || n > PROTO_MESSAGE_MAX)
                return error_set(e, CAUSE_HELPER, EPROTO, "message of %zu bytes", n);
        struct storage *storage = calloc(1, sizeof(*storage) + n);
        if (!storage)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory for a message of %zu bytes", n);
        memcpy(storage->bytes, p, n);

        struct message m = {.storage = storage};
        struct reader r = {.p = storage->bytes, .left = n, .storage = storage};
        uint64_t version = get_number(&r, 2), type = get_number(&r, 2);
        m.id = (uint32_t)get_number(&r, 4);
        int err;
        if (version != PROTO_VERSION) {
                err = error_set(e, CAUSE_HELPER, EPROTO,
                        "message of version %u, expected %u: programs of different czard versions",
                        (unsigned)version, PROTO_VERSION);
        } else if (type == 0 || type >= PROTO_TYPE_MAX) {
                err = error_set(e, CAUSE_HELPER, EPROTO, "message of unknown type %u", (unsigned)type);
        } else {
                m.type = (enum proto_type)type;
                take_fields(&r, types[type].fields, (char *)&m + types[type].body);
                err = r.bad || r.left > 0 ? error_set(e, CAUSE_HELPER, EPROTO, "malformed message of type %u",
                                                    (unsigned)type)
                                          : 0;
        }
        if (err < 0) {
                message_done(&m);
                return err;
        }
        *ret = m;
        return 0;
}

bool proto_takes_fds(const struct message *m, size_t n)
{
        size_t least = types[m->type].fds_min, most = types[m->type].fds_max;
        if (m->type == PROTO_MEMBERS)
                least = most = m->members.n + (m->members.new_stream ? 1 : 0);
        return n >= least && n <= most;
}

void message_done(struct message *m)
{
        for (size_t i = 0; i < m->n_fds; i++)
                m->fds[i] = close_fd(m->fds[i]);
        m->n_fds = 0;
        struct storage *storage = m->storage;
        if (storage)
                free(storage->elements);
        free(storage);
        m->storage = NULL;
}
