/* SPDX-License-Identifier: Apache-2.0 */
/* An audit record in a folder of its own. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "audit.h"
#include "audit_read.h"
#include "fsx.h"
#include "str.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

struct fixture {
        char dir[64];
        int fd;
        struct audit *a;
};

static inline int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        strcpy(f->dir, "/tmp/czard-audit-XXXXXX");
        if (!mkdtemp(f->dir))
                return -1;
        f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = f;
        return audit_open(f->fd, &f->a, NULL);
}

static inline int teardown(void **state)
{
        struct fixture *f = *state;
        audit_free(f->a);
        (void)unlinkat(f->fd, AUDIT_FILE, 0);
        close_fd(f->fd);
        int r = rmdir(f->dir);
        free(f);
        return r;
}

static const struct audit_entry nothing = {.size = -1, .mtime = -1, .uid = -1};

static inline void append(struct fixture *f, const char *event)
{
        struct audit_entry entry = nothing;
        entry.event = event;
        struct error e = {};
        if (audit_append(f->a, &entry, &e) < 0)
                fail_msg("%s", e.text);
}

/* not inlined: gcc 12 would take what points into the content for a pointer to p */
static __attribute__((noinline, unused)) char *content(struct fixture *f)
{
        char *p = NULL;
        assert_int_equal(read_file_at(f->fd, AUDIT_FILE, 1 << 20, &p, NULL), 0);
        return p;
}

static inline void overwrite(struct fixture *f, const char *text)
{
        _cleanup_close_ int fd = openat(f->fd, AUDIT_FILE, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static inline int reopen(struct fixture *f, struct error *e)
{
        f->a = audit_free(f->a);
        return audit_open(f->fd, &f->a, e);
}

static inline int verify(struct fixture *f, const char *head, uint64_t *lines)
{
        struct error e = {};
        return audit_verify(f->fd, head, NULL, lines, &e);
}
