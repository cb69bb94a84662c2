/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot that is being built in a staging directory of its own. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "snapshot_internal.h"
#include "staging_fixture.h"

#define FOLDER "ux/database"
#define PATH FOLDER "/2024-07-07"
#define PARTIAL FOLDER "/.2024-07-07.partial"
#define RECORD FOLDER "/.2024-07-07.partial.tag"
#define KEEP ".replaced/2024-07-07-e1"

static inline struct snapshot_dir *begin(struct fixture *f, const char *tag)
{
        struct snapshot_dir *d = NULL;
        struct error e = {};
        if (snapshot_begin(f->s, PATH, tag, &plain, &d, &e) < 0)
                fail_msg("%s", e.text);
        return d;
}

static inline int try_add(struct fixture *f, struct snapshot_dir *d, const char *name, const char *text)
{
        _cleanup_close_ int fd = staging_create(f->s, NULL);
        if (fd < 0 || write_all(fd, text, strlen(text)) < 0)
                return -EIO;
        struct error e = {};
        return snapshot_add(d, name, fd, &e);
}

static inline void add(struct fixture *f, struct snapshot_dir *d, const char *name, const char *text)
{
        assert_int_equal(try_add(f, d, name, text), 0);
}

/* Members in an array. */
struct sum {
        const char *name;
        const uint8_t *sha256; /* NULL: rejected */
        const char *cause;
        const char *course, *table, *site;
        uint64_t size, rows;
};

struct sums {
        struct sum *v;
        size_t n;
};

static inline int compare_sums(const void *a, const void *b)
{
        return strcmp(((const struct sum *)a)->name, ((const struct sum *)b)->name);
}

static inline int each_sum(void *arg, bool rejected, snapshot_sum_fn *each, void *each_arg, struct error *e)
{
        struct sums *sums = arg;
        qsort(sums->v, sums->n, sizeof(*sums->v), compare_sums);
        int r = 0;
        for (size_t i = 0; r == 0 && i < sums->n; i++) {
                const struct sum *s = &sums->v[i];
                if (streq(s->name, "unreadable"))
                        return error_set(e, CAUSE_IO, EIO, "cannot read");
                if (!s->sha256 == rejected)
                        r = each(each_arg,
                                &(struct snapshot_sum){.name = s->name,
                                        .sha256 = s->sha256,
                                        .cause = s->cause,
                                        .course = s->course,
                                        .table = s->table,
                                        .site = s->site,
                                        .size = s->size,
                                        .rows = s->rows},
                                e);
        }
        return r;
}

static inline int has_sum(void *arg, const char *path, struct error *e)
{
        const struct sums *sums = arg;
        (void)e;
        for (size_t i = 0; i < sums->n; i++)
                if (sums->v[i].sha256 && streq(sums->v[i].name, path))
                        return 1;
        return 0;
}

static inline int publish_all(
        struct snapshot_dir *d, struct sum *v, size_t n, const char *keep_as, struct error *e)
{
        struct sums sums = {.v = v, .n = n};
        struct snapshot_list list = {.each = each_sum, .has = has_sum, .arg = &sums};
        return snapshot_publish(d, &list, keep_as, e);
}
