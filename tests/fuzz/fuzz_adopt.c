/* SPDX-License-Identifier: Apache-2.0 */
/* A tree that somebody else staged, and whatever stands in audit.jsonl: a ledger is made of it, and the tree
 * is adopted. What is published then is there, a regular file below the root that no link led to, and has the
 * hash that the ledger knows; what is missing is not; and a second time there is nothing to adopt. The input
 * begins with what lies in the tree: how much, then two bytes each. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_read.h"
#include "cleanup.h"
#include "fsx.h"
#include "ledger.h"
#include "ledger_internal.h"
#include "ledger_rebuild.h"
#include "steward.h"
#include "str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LYING_MOST = 8 };

static char in_memory[] = "/dev/shm/czard-fuzz-adopt-XXXXXX", on_disk[] = "/tmp/czard-fuzz-adopt-XXXXXX";
static char *dir; /* that of them that could be made */
static int dir_fd = -1, root_fd = -1, record_fd = -1;
static struct ledger *ledger;
static struct audit *audit; /* another one: a record that is not whole is not gone on with */
static struct config config;

static void remove_all(void)
{
        _cleanup_close_ int above =
                open(dir == on_disk ? "/tmp" : "/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ledger_free(ledger);
        audit_free(audit);
        close_fd(record_fd);
        close_fd(root_fd);
        close_fd(dir_fd);
        (void)remove_tree_at(above, strrchr(dir, '/') + 1);
}

static void start(void)
{
        static struct config_package package = {
                .name = (char *)(uintptr_t) "u", .spec.org = (char *)(uintptr_t) "u"};
        dir = mkdtemp(in_memory);
        if (!dir)
                dir = mkdtemp(on_disk);
        assert(dir && ledger_open(dir, &ledger, NULL) == 0);
        assert(sql_exec(&ledger->sql, "PRAGMA synchronous = OFF", NULL) == 0);
        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int outside = openat(dir_fd, "outside", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert(outside >= 0 && write_all(outside, "x", 1) == 0);
        assert(mkdirat(dir_fd, "record", 0750) == 0);
        record_fd = openat(dir_fd, "record", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(audit_open(record_fd, &audit, NULL) == 0);
        config.packages = &package;
        config.n_packages = 1;
        atexit(remove_all);
}

/* --- the tree --- */

#define SNAPSHOT "u/database/2024-07-07"
static const char *const places[] = {"u/events/edx/2024/u-edx-events-2024-07-08.log.gz", SNAPSHOT "/m.sql",
        SNAPSHOT "/n.sql", "u/rdx/r/u_c_r.tar.gz", SNAPSHOT, "u/database", "u", ".czard-id"};

static void make_above(const char *path)
{
        char above[256];
        for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
                snprintf(above, sizeof(above), "%.*s", (int)(slash - path), path);
                (void)mkdirat(root_fd, above, 0750);
        }
}

static void lay(unsigned what, unsigned where)
{
        const char *path = places[where % ELEMENTSOF(places)], *text = what & 8 ? "y" : what & 16 ? "" : "x";
        make_above(path);
        switch (what % 8) {
        case 0:
                (void)mkdirat(root_fd, path, 0750);
                break;
        case 1:
                (void)!symlinkat(what & 8 ? dir : "/dev/zero", root_fd, path);
                break;
        case 2:
                (void)!linkat(dir_fd, "outside", root_fd, path, 0);
                break;
        case 3:
                (void)mkfifoat(root_fd, path, 0640);
                break;
        case 4: {
                _cleanup_free_ char *to = str_printf("%s/outside", dir);
                (void)!symlinkat(to, root_fd, path);
                break;
        }
        default: {
                _cleanup_close_ int fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
                if (fd >= 0)
                        assert(write_all(fd, text, strlen(text)) == 0);
        }
        }
}

static void make_tree(const uint8_t **p, size_t *n)
{
        unsigned lying = *n ? **p % (LYING_MOST + 1) : 0;
        assert(mkdirat(dir_fd, "root", 0750) == 0);
        root_fd = openat(dir_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *p += *n > 0;
        *n -= *n > 0;
        for (; lying > 0 && *n >= 2; lying--, *p += 2, *n -= 2)
                lay((*p)[0], (*p)[1]);
}

/* --- what is there --- */

static bool is_there(const char *path, const uint8_t *sha256)
{
        uint8_t sum[SHA256_SIZE];
        uint64_t size;
        struct stat st;
        _cleanup_close_ int fd = open_beneath(root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
               digest_fd(DIGEST_SHA256, fd, sum, &size) == 0 && memcmp(sum, sha256, SHA256_SIZE) == 0;
}

struct members {
        const char *folder;
        size_t known, there;
};

static int check_member(struct ledger_member *m, void *arg)
{
        struct members *s = arg;
        if (m->state != OBJECT_PUBLISHED || !m->has_sha256)
                return 0;
        _cleanup_free_ char *path = str_printf("%s/%s", s->folder, m->path);
        s->known++;
        s->there += is_there(path, m->sha256);
        return 0;
}

/* arg counts those of which the record does not tell the ETag: nobody knows whether they are the newest. */
static int check_object(struct ledger_object *o, void *arg)
{
        bool there = o->has_sha256 && is_there(o->path, o->sha256);
        *(uint64_t *)arg += !*o->staged_etag;
        if (o->is_zip) {
                struct members s = {.folder = o->path};
                assert(ledger_members(ledger, o->id, check_member, &s, NULL) == 0);
                there = s.known > 0 && s.known == s.there;
                if (s.known == 0 || o->state == OBJECT_MISSING)
                        return 0; /* nobody can say, or its SHA256SUMS may be what is missing */
        } else if (!o->has_sha256 && o->state == OBJECT_PUBLISHED) {
                return 0;
        }
        assert(o->state != OBJECT_PUBLISHED || (there && *o->path));
        assert(o->state != OBJECT_MISSING || !there);
        return 0;
}

static bool adopt(bool trust, struct steward_adopted *ret)
{
        struct staging *staging = NULL;
        struct error e = {};
        _cleanup_free_ char *root = str_printf("%s/root", dir);
        if (staging_open(root, 0440, 0750, &staging, &e) < 0)
                return false;
        const struct steward s = {.ledger = ledger,
                .audit = audit,
                .staging = staging,
                .config = &config,
                .uid = 1000,
                .reason = "test"};
        int r = steward_adopt(&s, trust, ret, &e);
        assert(r == 0 || *e.text);
        staging_free(staging);
        return r == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!ledger)
                start();
        if (size > AUDIT_LINE_MAX)
                return 0;
        make_tree(&data, &size);
        bool trust = size > 0 && *data & 1;
        _cleanup_close_ int fd = openat(dir_fd, AUDIT_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        assert(fd >= 0 && write_all(fd, data + (size > 0), size - (size > 0)) == 0);
        struct ledger_rebuilt rebuilt;
        struct steward_adopted once = {}, twice = {};
        uint64_t no_etag = 0;
        struct ledger_filter all = {.states = BIT(OBJECT_PUBLISHED) | BIT(OBJECT_MISSING)};
        if (ledger_rebuild(ledger, dir_fd, 255, &rebuilt, NULL) == 0 && adopt(trust, &once)) {
                assert(ledger_each(ledger, &all, check_object, &no_etag, NULL) == 0);
                assert(adopt(trust, &twice) && twice.adopted <= no_etag && twice.unknown == once.unknown);
                assert(ledger_each(ledger, &all, check_object, &no_etag, NULL) == 0);
        }
        root_fd = close_fd(root_fd);
        assert(remove_tree_at(dir_fd, "root") == 0);
        assert(sql_exec(&ledger->sql,
                       "DELETE FROM member; DELETE FROM object; DELETE FROM meta; DELETE FROM audit_tail; "
                       "DELETE FROM series",
                       NULL) == 0);
        return 0;
}
