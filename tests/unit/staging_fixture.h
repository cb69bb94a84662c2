/* SPDX-License-Identifier: Apache-2.0 */
/* A staging directory of its own, and files in it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "fsx.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

struct fixture {
        char dir[64];
        struct staging *s;
};

static const struct staging_attr plain = {.gid = (gid_t)-1, .mtime = 1720314123};

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static inline int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        strcpy(f->dir, "/tmp/czard-staging-XXXXXX");
        if (!mkdtemp(f->dir) || chmod(f->dir, 0750) < 0)
                return -1;
        *state = f;
        umask(077); /* modes must not depend on it */
        return staging_open(f->dir, 0440, 0750, &f->s, NULL);
}

static inline int teardown(void **state)
{
        struct fixture *f = *state;
        staging_free(f->s);
        (void)nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(f);
        return 0;
}

static inline int at(struct fixture *f)
{
        return staging_root_fd(f->s);
}

static inline int make(struct fixture *f, const char *text)
{
        struct error e = {};
        int fd = staging_create(f->s, &e);
        if (fd < 0)
                fail_msg("%s", e.text);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        return fd;
}

static inline int publish_as(struct fixture *f, const char *path, const char *text,
        const struct staging_attr *attr, const char *keep_as, struct error *e)
{
        _cleanup_close_ int fd = make(f, text);
        return staging_publish(f->s, fd, path, attr, keep_as, e);
}

static inline void publish(struct fixture *f, const char *path, const char *text, const char *keep_as)
{
        struct error e = {};
        if (publish_as(f, path, text, &plain, keep_as, &e) < 0)
                fail_msg("%s", e.text);
}

static inline char *content(struct fixture *f, const char *path)
{
        char *p = NULL;
        int r = read_file_at(at(f), path, 1 << 20, &p, NULL);
        if (r < 0)
                fail_msg("%s: %s", path, strerror(-r));
        return p;
}

static inline void assert_content(struct fixture *f, const char *path, const char *want)
{
        _cleanup_free_ char *got = content(f, path);
        assert_string_equal(got, want);
}

static inline struct stat stat_of(struct fixture *f, const char *path)
{
        struct stat st;
        if (fstatat(at(f), path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                fail_msg("%s: %s", path, strerror(errno));
        return st;
}

static inline bool is_there(struct fixture *f, const char *path)
{
        struct stat st;
        return fstatat(at(f), path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline unsigned count_entries(struct fixture *f, const char *dir)
{
        int fd = openat(at(f), dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fdopendir(fd);
        unsigned n = 0;
        for (struct dirent *e; (e = readdir(d));)
                n += !streq(e->d_name, ".") && !streq(e->d_name, "..");
        return n;
}

static inline bool keep_none(const char *path, const char *tag, void *arg)
{
        (void)path;
        (void)tag;
        (void)arg;
        return false;
}
