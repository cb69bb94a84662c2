/* SPDX-License-Identifier: Apache-2.0 */
/* What of an archive's members is not in memory: their names and what is known of each lie on a shelf in
 * state_dir, one record a member, and are read when they are needed. It is as good as memory to those who use
 * it: whatever ends czard, nobody misses it. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "limits.h"
#include "record.h"
#include "snapshot.h"
#include "str.h"

#define FIXED offsetof(struct facts, name) /* bytes of a record before the name */
_Static_assert(sizeof(struct member) == 32, "so much of each member is in memory");
_Static_assert(CAUSE_MAX <= UINT8_MAX, "a cause fits into struct member");
_Static_assert(LIMIT_ZIP_NAME <= UINT16_MAX, "the length of a name fits into struct member");

/* This attempt fails once what is under way has ended. (Where it is the disk of state_dir that is full, the
 * ledger finds that out by itself, and pauses.) */
static int trouble(struct snapshot *s, const struct error *e)
{
        if (s->cause == CAUSE_NONE) {
                s->cause = e->cause;
                snprintf(s->detail, sizeof(s->detail), "%s", e->text);
        }
        return -e->err;
}

int snapshot_facts_add(
        struct snapshot *s, const struct archive_entry *entry, struct member *m, struct error *e)
{
        size_t n = strlen(entry->name);
        _cleanup_free_ struct facts *f = calloc(1, sizeof(*f) + n + 1);
        uint64_t at;
        if (!f)
                return error_set(e, CAUSE_LIMIT, ENOMEM, "out of memory for its members");
        f->packed = entry->packed;
        f->size = entry->size;
        f->crc = entry->crc;
        f->mode = entry->mode;
        f->method = entry->method;
        f->flags = entry->flags;
        memcpy(f->name, entry->name, n + 1);
        if (!s->shelf && shelf_new(s->job.d->state_fd, &s->shelf, e) < 0)
                return trouble(s, e);
        if (shelf_add(s->shelf, f, FIXED + n, &at, e) < 0)
                return trouble(s, e);
        m->facts_at = at;
        m->name_len = (uint16_t)n;
        return 0;
}

struct facts *snapshot_facts(const struct snapshot *s, const struct member *m, struct error *e)
{
        _cleanup_free_ struct facts *f = malloc(sizeof(*f) + m->name_len + 1);
        if (!f) {
                error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                return NULL;
        }
        if (shelf_get(s->shelf, m->facts_at, f, FIXED + m->name_len, e) < 0)
                return NULL;
        f->name[m->name_len] = 0;
        return take_ptr(&f);
}

int snapshot_facts_put(struct snapshot *s, const struct member *m, const struct facts *f, struct error *e)
{
        return shelf_put(s->shelf, m->facts_at, f, FIXED, e) < 0 ? trouble(s, e) : 0;
}

void snapshot_detail_put(struct snapshot *s, const struct member *m, struct facts *f, const char *detail)
{
        struct error e = {};
        uint16_t n = (uint16_t)MIN(strlen(detail), (size_t)SNAPSHOT_DETAIL - 1);
        if (shelf_add(s->shelf, detail, n, &f->detail_at, &e) < 0) {
                trouble(s, &e);
                return;
        }
        f->detail_len = n;
        snapshot_facts_put(s, m, f, &e);
}

int snapshot_detail(
        const struct snapshot *s, const struct facts *f, char ret[SNAPSHOT_DETAIL], struct error *e)
{
        ret[f->detail_len] = 0;
        return f->detail_len ? shelf_get(s->shelf, f->detail_at, ret, f->detail_len, e) : 0;
}

struct archive_entry snapshot_entry(const struct member *m, const struct facts *f)
{
        return (struct archive_entry){.place = m->place,
                .name = f->name,
                .packed = f->packed,
                .size = f->size,
                .crc = f->crc,
                .mode = f->mode,
                .method = f->method,
                .flags = f->flags};
}

int snapshot_parse(
        const struct snapshot *s, const struct facts *f, struct package_member *ret, struct error *e)
{
        return package_parse_member(*s->top ? s->top : NULL, f->name, s->max_name, ret, e);
}
