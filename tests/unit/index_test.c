/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of archives over czard-index's channel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker_driver.h"
#include "zip_maker.h"

static struct gpg_fixture fx; /* only its folder */
static struct driver d;
static struct listing l;

static int make(void **state)
{
        (void)state;
        gpg_fixture_make(&fx);
        gpg_run(&fx, "mkdir f; cp plain f/1; cp plain f/2; zip -q -r - f < /dev/null | cat > stream.zip");
        driver_start_index(&d, &fx, 1000);
        return 0;
}

static int clean(void **state)
{
        (void)state;
        driver_stop(&d);
        gpg_fixture_remove(&fx);
        return 0;
}

static void directories_that_lie(void **state)
{
        (void)state;
        size_t n;
        char *p =
                gpg_read(&fx, "stream.zip", &n); /* without a comment: the end record is the last 22 bytes */
        static const struct {
                size_t from_end;
                const char *what;
        } places[] = {
                {22, "signature"},
                {18, "disk"},
                {14, "count on this disk"},
                {12, "count"},
                {10, "size"},
                {6, "offset"},
                {2, "length of the comment"},
        };
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                p[n - places[i].from_end] ^= 1;
                gpg_write(&fx, "lie.zip", p, n);
                p[n - places[i].from_end] ^= 1;
                enum cause c = driver_directory(&d, "lie.zip", 0, &l);
                if (c != CAUSE_BAD_ZIP)
                        print_error("%s\n", places[i].what);
                assert_int_equal(c, CAUSE_BAD_ZIP);
                listing_done(&l);
        }
        free(p);
        gpg_write(&fx, "lie.zip", "", 0);
        assert_int_equal(driver_directory(&d, "lie.zip", 0, &l), CAUSE_BAD_ZIP);
        listing_done(&l);
        assert_int_equal(driver_directory(&d, "plain", 0, &l), CAUSE_BAD_ZIP);
        listing_done(&l);
}

/* --- directories that are larger than the window --- */

#define MANY_NAME "folder-of-many/Org-course-number-%06u-auth_user-prod-analytics.sql.gpg"

struct many {
        uint64_t start, record, size; /* of the directory, of each record of it; of the archive */
};

static struct many make_many(const char *zip, unsigned n)
{
        struct zip_maker z = {};
        for (unsigned i = 0; i < n; i++) {
                char name[128];
                snprintf(name, sizeof(name), MANY_NAME, n - i);
                zip_add(&z, &(struct zip_member){.name = name, .data = "of many", .len = 7});
        }
        zip_end(&z, n > UINT16_MAX, "");
        gpg_write(&fx, zip, (const char *)z.p, z.n);
        struct many m = {.start = z.directory_at, .record = z.directory_n / n, .size = z.n};
        zip_free(&z);
        return m;
}

/* Takes the answer to a request for such a directory. n: how many entries there must be. */
static enum cause take_many(struct driver *w, unsigned n, uint64_t offset)
{
        unsigned count = 0;
        for (;;) {
                struct message m;
                struct error e = {};
                assert_int_equal(proto_recv(w->sock, &m, &e), 0);
                if (m.type == PROTO_DIRECTORY_DONE) {
                        enum cause cause = (enum cause)m.directory_done.outcome.cause;
                        assert_int_equal(m.directory_done.count, cause == CAUSE_NONE ? n : 0);
                        assert_int_equal(m.directory_done.offset, cause == CAUSE_NONE ? offset : 0);
                        assert_true(cause != CAUSE_NONE || count == n);
                        message_done(&m);
                        return cause;
                }
                for (size_t i = 0; m.type == PROTO_ENTRIES && i < m.entries.n; i++) {
                        char name[128];
                        snprintf(name, sizeof(name), MANY_NAME, n - count++);
                        assert_string_equal(m.entries.entries[i].name, name);
                        assert_int_equal(m.entries.entries[i].place.extent, 0);
                        assert_int_equal(m.entries.entries[i].size, 7);
                }
                message_done(&m);
        }
}

static enum cause read_many(struct driver *w, const char *zip, unsigned n, const struct many *m)
{
        driver_ask_directory(w, zip, m->start, m->size, m->size);
        return take_many(w, n, m->start);
}

static uint64_t most_memory_kib(const struct driver *w)
{
        char path[64], line[256];
        unsigned long kib = 0;
        snprintf(path, sizeof(path), "/proc/%d/status", (int)w->pid);
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f) && sscanf(line, "VmHWM: %lu kB", &kib) != 1)
                ;
        fclose(f);
        assert_true(kib > 0);
        return kib;
}

static void memory_does_not_grow_with_the_members(void **state)
{
        (void)state;
        static const unsigned members[] = {2000, 40000, 80000};
        uint64_t kib[ELEMENTSOF(members)];
        struct driver w;
        driver_start_index(&w, &fx, 80000);
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                struct many m = make_many("many.zip", members[i]);
                assert_int_equal(read_many(&w, "many.zip", members[i], &m), CAUSE_NONE);
                kib[i] = most_memory_kib(&w);
                print_message("%u members: at most %" PRIu64 " KiB\n", members[i], kib[i]);
        }
        driver_stop(&w);
#ifndef CZARD_SANITIZE /* what is freed is kept for a while */
        for (size_t i = 1; i < ELEMENTSOF(members); i++)
                assert_true(kib[i] < kib[0] + 512);
#endif
}

/* A window at the end does not reach back to where it begins, and then it is read from there. */
static void a_directory_that_is_asked_for_twice(void **state)
{
        (void)state;
        const unsigned n =
                1000; /* 116 bytes each: what the default of the tests allows, with more than 100 KiB */
        struct many m = make_many("many.zip", n);
        assert_int_equal(driver_directory(&d, "many.zip", m.size - 60000, &l), CAUSE_NONE);
        assert_int_equal(l.n, 0);
        assert_int_equal(l.need_start, m.start);
        listing_done(&l);
        assert_int_equal(read_many(&d, "many.zip", n, &m), CAUSE_NONE);
}

static void pieces_that_are_damaged(void **state)
{
        (void)state;
        const unsigned n = 5000;
        struct driver w;
        size_t len;
        driver_start_index(&w, &fx, n);
        struct many m = make_many("many.zip", n);
        for (unsigned i = 0; i < n; i += 700) {
                char *p = gpg_read(&fx, "many.zip", &len);
                p[m.start + i * m.record + 1] ^= 1;
                gpg_write(&fx, "bad.zip", p, len);
                free(p);
                assert_int_equal(read_many(&w, "bad.zip", n, &m), CAUSE_BAD_ZIP);
        }
        driver_ask_directory(&w, "many.zip", m.start, m.start + m.record * (n - 100), m.size);
        assert_int_equal(take_many(&w, n, m.start), CAUSE_TRUNCATED);
        /* the process is none the worse for it */
        assert_int_equal(read_many(&w, "many.zip", n, &m), CAUSE_NONE);
        m = make_many("many.zip", n + 1);
        assert_int_equal(read_many(&w, "many.zip", n + 1, &m), CAUSE_LIMIT);
        driver_stop(&w);
}

/* What no czard sends, and what comes before it, end the process. */
static void other_messages(void **state)
{
        (void)state;
        struct driver w;
        int status = -1;
        driver_start_index(&w, &fx, 10);
        struct message m = {.type = PROTO_CANCEL};
        driver_send(&w, &m);
        assert_int_equal(waitpid(w.pid, &status, 0), w.pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        close(w.sock);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(directories_that_lie),
                cmocka_unit_test(memory_does_not_grow_with_the_members),
                cmocka_unit_test(a_directory_that_is_asked_for_twice),
                cmocka_unit_test(pieces_that_are_damaged),
                cmocka_unit_test(other_messages),
        };
        alarm(1000); /* a process that hangs fails the test */
        return cmocka_run_group_tests(tests, make, clean);
}
