/* SPDX-License-Identifier: Apache-2.0 */
/* A ledger in a folder of its own, and objects in it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "ledger.h"
#include "ledger_internal.h"
#include "str.h"
#include "timespan.h"

struct fixture {
        char dir[64];
        struct ledger *l;
};

static inline void remove_dir(const char *dir)
{
        _cleanup_closedir_ DIR *d = opendir(dir);
        for (struct dirent *e; d && (e = readdir(d));)
                (void)unlinkat(dirfd(d), e->d_name, 0);
        (void)rmdir(dir);
}

static inline int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        strcpy(f->dir, "/tmp/czard-ledger-XXXXXX");
        if (!mkdtemp(f->dir) || ledger_open(f->dir, &f->l, NULL) < 0)
                return -1;
        *state = f;
        return 0;
}

static inline int teardown(void **state)
{
        struct fixture *f = *state;
        ledger_free(f->l);
        remove_dir(f->dir);
        free(f);
        return 0;
}

static inline char *path_in(const struct fixture *f, const char *name)
{
        char *p = str_printf("%s/%s", f->dir, name);
        assert_non_null(p);
        return p;
}

static inline int reopen(struct fixture *f, struct error *e)
{
        f->l = ledger_free(f->l);
        return ledger_open(f->dir, &f->l, e);
}

/* Runs SQL behind the ledger's back, as a damaged or hostile file would have it. */
static inline void meddle(struct fixture *f, const char *sql)
{
        _cleanup_free_ char *path = path_in(f, "ledger.db");
        sqlite3 *db;
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        int on = 1;
        sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
        char *message = NULL;
        if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
                fail_msg("%s: %s", sql, message);
        sqlite3_close(db);
}

static inline struct ledger_object an_object(const char *key, const char *etag)
{
        struct ledger_object o = {.size = 100, .last_modified = 1720000000, .category = CATEGORY_EVENTS};
        strcpy(o.bucket, "edx-course-data");
        snprintf(o.key, sizeof(o.key), "%s", key);
        snprintf(o.etag, sizeof(o.etag), "%s", etag);
        strcpy(o.org, "universityx");
        strcpy(o.site, "edx");
        strcpy(o.date, "2024-07-07");
        return o;
}

static inline struct ledger_object list(
        struct fixture *f, const char *key, const char *etag, int64_t generation, enum listed want)
{
        struct ledger_object o = an_object(key, etag);
        enum listed got = (enum listed)99;
        struct error e = {};
        if (ledger_listed(f->l, &o, generation, &got, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(got, want);
        return o;
}

static inline enum object_state state_of(struct fixture *f, const char *key)
{
        struct ledger_object o;
        assert_int_equal(ledger_find(f->l, "edx-course-data", key, &o, NULL), 0);
        return o.state;
}

/* Makes a listed object PUBLISHED. */
static inline void publish(struct fixture *f, struct ledger_object *o)
{
        assert_int_equal(ledger_enter(f->l, o, OBJECT_FETCHING, NULL), 0);
        assert_int_equal(ledger_enter(f->l, o, OBJECT_DECRYPTING, NULL), 0);
        strcpy(o->staged_etag, o->etag);
        snprintf(o->path, sizeof(o->path), "universityx/%s", o->date);
        assert_int_equal(ledger_enter(f->l, o, OBJECT_PUBLISHED, NULL), 0);
}

static inline struct ledger_member a_member(int64_t object, const char *path, uint8_t sha, int64_t size)
{
        struct ledger_member m = {.object_id = object,
                .state = OBJECT_PUBLISHED,
                .size = 10,
                .plain_size = size,
                .has_sha256 = true};
        snprintf(m.name, sizeof(m.name), "ux-2024-07-07/%s.gpg", path);
        snprintf(m.path, sizeof(m.path), "%s", path);
        memset(m.sha256, sha, sizeof(m.sha256));
        return m;
}
