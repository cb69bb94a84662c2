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
};

static inline int get_sum(void *arg, size_t i, struct snapshot_sum *ret, struct error *e)
{
        const struct sum *sum = (const struct sum *)arg + i;
        if (!sum->name)
                return 0;
        if (streq(sum->name, "unreadable"))
                return error_set(e, CAUSE_IO, EIO, "cannot read");
        strbuf_add(&ret->name, sum->name);
        ret->staged = sum->sha256 != NULL;
        ret->cause = sum->cause;
        if (sum->sha256)
                memcpy(ret->sha256, sum->sha256, SHA256_SIZE);
        return 1;
}

static inline int publish_all(
        struct snapshot_dir *d, struct sum *sums, size_t n, const char *keep_as, struct error *e)
{
        struct snapshot_list list = {.n = n, .get = get_sum, .arg = sums};
        return snapshot_publish(d, &list, keep_as, e);
}
