/* SPDX-License-Identifier: Apache-2.0 */
/* A ledger made anew from whatever stands in audit.jsonl: it must be whole, hold no more than was told, and
 * come out the same a second time. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#include "audit_read.h"
#include "fsx.h"
#include "ledger.h"
#include "ledger_internal.h"
#include "ledger_rebuild.h"
#include "str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir_name[] = "/tmp/czard-fuzz-rebuild-XXXXXX";
static int dir_fd = -1;
static struct ledger *ledger;

static void remove_all(void)
{
        static const char *const names[] = {AUDIT_FILE, "ledger.db", "ledger.db-wal", "ledger.db-shm"};
        ledger = ledger_free(ledger);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                (void)unlinkat(dir_fd, names[i], 0);
        (void)rmdir(dir_name);
}

static void start(void)
{
        if (!mkdtemp(dir_name) || ledger_open(dir_name, &ledger, NULL) < 0 ||
                sql_exec(&ledger->sql, "PRAGMA synchronous = OFF", NULL) < 0)
                abort();
        dir_fd = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        atexit(remove_all);
}

static int count_member(struct ledger_member *m, void *arg)
{
        assert(m->state == OBJECT_PUBLISHED || m->state == OBJECT_REJECTED);
        assert(*m->name && (m->state != OBJECT_PUBLISHED || *m->path));
        ++*(uint64_t *)arg;
        return 0;
}

static int check_object(struct ledger_object *o, void *arg)
{
        assert(*o->bucket && *o->key && *o->org && o->category < CATEGORY_MAX);
        assert(o->state != OBJECT_PUBLISHED || *o->staged_etag || !*o->etag);
        ++*(uint64_t *)arg;
        return 0;
}

/* Rebuilds into the empty ledger, looks at it and empties it again. */
static bool rebuild(struct ledger_rebuilt *ret)
{
        struct error e = {};
        uint64_t objects = 0;
        int r = ledger_rebuild(ledger, dir_fd, 255, ret, &e);
        if (r < 0) {
                assert(*e.text);
                return false;
        }
        struct ledger_filter all = {};
        r = ledger_check(ledger, &e);
        assert(r == 0);
        r = ledger_each(ledger, &all, check_object, &objects, &e);
        assert(r == 0 && objects == ret->objects && objects <= ret->lines &&
                ret->unreadable <= 2 * ret->lines);
        for (int64_t id = 1; id <= (int64_t)objects; id++) {
                uint64_t members = 0;
                r = ledger_members(ledger, id, count_member, &members, &e);
                assert(r == 0 && members <= ret->members);
        }
        r = sql_exec(&ledger->sql, "DELETE FROM member; DELETE FROM object; DELETE FROM meta", &e);
        assert(r == 0);
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!ledger)
                start();
        if (size > AUDIT_LINE_MAX)
                return 0;
        _cleanup_close_ int fd = openat(dir_fd, AUDIT_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        if (fd < 0 || write_all(fd, data, size) < 0)
                abort();
        struct ledger_rebuilt once = {}, twice = {};
        bool good = rebuild(&once);
        bool again = rebuild(&twice);
        assert(good == again && once.lines == twice.lines && once.unreadable == twice.unreadable);
        assert(once.objects == twice.objects && once.members == twice.members);
        assert(streq(once.staging_id, twice.staging_id));
        return 0;
}
