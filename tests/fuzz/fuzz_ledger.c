/* SPDX-License-Identifier: Apache-2.0 */
/* The content of ledger.db. A first byte 'V' puts values made from the rest into the columns of an object and
 * a member and reads them through the interface; anything else is a whole file. What is read must be in
 * range. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fsx.h"
#include "ledger.h"
#include "ledger_internal.h"
#include "str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir_name[] = "/tmp/czard-fuzz-ledger-XXXXXX";
static struct ledger *values; /* in dir_name/values */

static void remove_all(void)
{
        values = ledger_free(values);
        static const char *const folders[] = {"values", "file"};
        static const char *const names[] = {
                "ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal"};
        for (size_t f = 0; f < ELEMENTSOF(folders); f++) {
                _cleanup_free_ char *dir = str_printf("%s/%s", dir_name, folders[f]);
                for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                        _cleanup_free_ char *path = str_printf("%s/%s", dir, names[i]);
                        (void)unlink(path);
                }
                (void)rmdir(dir);
        }
        (void)rmdir(dir_name);
}

static char *make_dir(const char *name)
{
        char *dir = str_printf("%s/%s", dir_name, name);
        if (!dir || mkdir(dir, 0700) < 0)
                abort();
        return dir;
}

static void start(void)
{
        if (!mkdtemp(dir_name))
                abort();
        _cleanup_free_ char *a = make_dir("values");
        free(make_dir("file"));
        struct ledger_object o = {.bucket = "b", .key = "k", .etag = "e"};
        enum listed what;
        if (ledger_open(a, &values, NULL) < 0 || ledger_listed(values, &o, 1, &what, NULL) < 0)
                abort();
        struct ledger_member m = {.object_id = o.id, .name = "m"};
        if (ledger_member_save(values, &m, NULL) < 0)
                abort();
        atexit(remove_all);
}

static int check_object(struct ledger_object *o, void *arg)
{
        (void)arg;
        assert(o->state < OBJECT_STATE_MAX && o->category < CATEGORY_MAX && o->cause < CAUSE_MAX);
        assert(strlen(o->key) < sizeof(o->key) && strlen(o->date) < sizeof(o->date));
        assert(strlen(o->path) < sizeof(o->path) && o->plain_size >= -1 && o->size <= INT64_MAX);
        return 0;
}

static int check_member(struct ledger_member *m, void *arg)
{
        (void)arg;
        assert(m->state < OBJECT_STATE_MAX && m->cause < CAUSE_MAX && m->plain_size >= -1);
        assert(strlen(m->path) < sizeof(m->path) && strlen(m->name) < sizeof(m->name));
        return 0;
}

static void read_all(struct ledger *l)
{
        struct ledger_filter all = {.newest_first = true};
        uint64_t n, bytes;
        char key[1025], path[1024], meta[64];
        uint8_t sha256[SHA256_SIZE] = {};
        (void)ledger_each(l, &all, check_object, NULL, NULL);
        (void)ledger_members(l, 1, check_member, NULL, NULL);
        (void)ledger_count(l, &all, &n, &bytes, NULL);
        (void)ledger_last_key(
                l, &(struct ledger_listing){.bucket = "b", .prefix = "", .org = "o"}, key, NULL);
        (void)ledger_meta_get(l, "staging-id", meta, sizeof(meta), NULL);
        (void)ledger_find_plaintext(l, "", CATEGORY_EVENTS, sha256, 0, path, NULL);
}

/* One value from the input: how many bytes it took. */
static size_t bind_value(sqlite3_stmt *s, int at, const uint8_t *p, size_t n)
{
        if (n == 0)
                return 0;
        size_t len = n > 1 ? MIN((size_t)p[1] * (p[0] & 0x80 ? 16 : 1), n - 2) : 0;
        int64_t number = 0;
        switch (p[0] & 3) {
        case 0:
                memcpy(&number, p + 1, MIN(n - 1, sizeof(number)));
                sqlite3_bind_int64(s, at, number);
                return MIN(n, 1 + sizeof(number));
        case 1:
                sqlite3_bind_blob(s, at, p + MIN(n, 2U), (int)len, SQLITE_TRANSIENT);
                return MIN(n, 2 + len);
        case 2:
                sqlite3_bind_int64(s, at, n > 1 ? (int8_t)p[1] : 0);
                return MIN(n, 2U);
        default:
                sqlite3_bind_text(s, at, (const char *)p + MIN(n, 2U), (int)len, SQLITE_TRANSIENT);
                return MIN(n, 2 + len);
        }
}

static void set_column(const char *table, const char *column, const uint8_t **p, size_t *n)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        _cleanup_free_ char *sql = str_printf("UPDATE %s SET \"%s\" = ?1", table, column);
        if (sqlite3_prepare_v2(values->sql.db, sql, -1, &s, NULL) != SQLITE_OK)
                abort();
        size_t used = bind_value(s, 1, *p, *n);
        if (used > 0)
                (void)sqlite3_step(s); /* what the schema itself refuses stays as it was */
        *p += used;
        *n -= used;
}

static void try_values(const uint8_t *p, size_t n)
{
        static const char *const object[] = {"state", "category", "size", "plain_size", "sha256", "checks",
                "date", "path", "org", "etag", "staged_etag", "cause", "detail", "is_zip", "attempts",
                "next_try", "key"};
        static const char *const member[] = {"state", "path", "name", "size", "plain_size", "sha256",
                "checks", "cause", "detail", "failed", "attempts", "course"};
        if (ledger_begin(values, NULL) < 0)
                abort();
        while (n > 1) {
                uint8_t which = *p++;
                n--;
                if (which & 0x80)
                        set_column("member", member[(which & 0x7f) % ELEMENTSOF(member)], &p, &n);
                else
                        set_column("object", object[which % ELEMENTSOF(object)], &p, &n);
        }
        read_all(values);
        ledger_rollback(values);
}

static void try_file(const uint8_t *p, size_t n)
{
        _cleanup_free_ char *dir = str_printf("%s/file", dir_name);
        _cleanup_free_ char *path = str_printf("%s/ledger.db", dir), *wal = str_printf("%s-wal", path),
                            *shm = str_printf("%s-shm", path);
        (void)unlink(wal);
        (void)unlink(shm);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || write_all(fd, p, n) < 0)
                abort();
        struct ledger *l = NULL;
        if (ledger_open_readonly(dir, &l, NULL) < 0)
                return;
        read_all(l);
        ledger_free(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!values)
                start();
        if (size > 0 && data[0] == 'V')
                try_values(data + 1, size - 1);
        else if (size <= 1 << 20)
                try_file(data, size);
        return 0;
}
