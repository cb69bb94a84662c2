/* SPDX-License-Identifier: Apache-2.0 */
/* czard's end of czard-filter, against one that makes anything in its folder and says anything of it. What
 * gets its name is a folder of regular files of one name each, exactly those that were named, with their
 * sizes, modes and nothing besides; else nothing is there, and nothing is left. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/scripted_helper.h"
#include "cleanup.h"
#include "fsx.h"
#include "journal.h"
#include "split.h"
#include "terms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 60, NAMED_MOST = 64, TEXT = 5 };
#define DATE "2024-03-01"
#define YEAR "ux/events-by-course/edx/2024"
#define SOURCE "ux/events/edx/2024/ux-edx-events-" DATE ".log"

static char in_memory[] = "/dev/shm/czard-fuzz-filter-XXXXXX", on_disk[] = "/tmp/czard-fuzz-filter-XXXXXX";
static char *dir; /* that of them that could be made */
static int dir_fd = -1;
static struct staging *staging;
static struct split_job job;

/* Bytes as decisions; 0 when they are used up. */
struct tape {
        const uint8_t *p;
        size_t left;
};

static unsigned next(struct tape *t)
{
        return t->left ? (t->left--, *t->p++) : 0;
}

static void remove_all(void)
{
        staging_free(staging);
        _cleanup_close_ int above =
                open(dir == on_disk ? "/tmp" : "/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)remove_tree_at(above, strrchr(dir, '/') + 1);
}

static void start(void)
{
        struct error e = {};
        dir = mkdtemp(in_memory);
        if (!dir)
                dir = mkdtemp(on_disk);
        assert(dir && chmod(dir, 0750) == 0 && staging_open(dir, 0440, 0750, &staging, &e) == 0);
        atexit(remove_all);
        dir_fd = staging_root_fd(staging);
        job = (struct split_job){.rule = EVENT_RULE_EDX, .gid = (gid_t)-1, .top = {.gid = (gid_t)-1}};
        const struct staging_attr attr = {.gid = (gid_t)-1, .mtime = 1720314123};
        job.o = (struct ledger_object){.id = 7, .category = CATEGORY_EVENTS, .plain_size = TEXT};
        strcpy(job.o.org, "ux");
        strcpy(job.o.site, "edx");
        strcpy(job.o.date, DATE);
        strcpy(job.o.path, SOURCE);
        _cleanup_close_ int fd = staging_create(staging, &e);
        assert(fd >= 0 && write_all(fd, "{}\nx\n", TEXT) == 0);
        assert(staging_publish(staging, fd, SOURCE, &attr, NULL, &e) == 0);
        assert(digest_once(DIGEST_SHA256, "{}\nx\n", TEXT, job.o.sha256) == 0);
}

/* What it said, as far as it was heard. */
static struct proto_split_file named[NAMED_MOST];
static size_t n_named;
static bool is_done, lied; /* lied: it said what it may not say then */

static const char *const names[] = {"SHA256SUMS", "MANIFEST.jsonl", "a.log.gz", "b.log.gz", "c", ".hidden",
        "..", "a/b", "", "\033[2J", "d.partial", "-e"};

/* --- what it makes --- */

static void make(struct tape *t, int folder)
{
        unsigned what = next(t), at = next(t);
        struct stat st;
        const char *name = names[at % ELEMENTSOF(names)], *other = names[(at >> 4) % ELEMENTSOF(names)];
        switch (what % 10) {
        case 0:
                (void)mkdirat(folder, name, 0700);
                break;
        case 1:
                (void)!symlinkat(SOURCE, folder, name);
                break;
        case 2:
                (void)!symlinkat("/etc/passwd", folder, name);
                break;
        case 3:
                (void)!linkat(folder, other, folder, name, 0);
                break;
        case 4:
                (void)mkfifoat(folder, name, 0600);
                break;
        case 5:
                (void)unlinkat(folder, name, what > 128 ? AT_REMOVEDIR : 0);
                break;
        case 6: /* never through a link: this may be root */
                if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISLNK(st.st_mode))
                        (void)!fchmodat(folder, name, what > 128 ? 04777 : 0, 0);
                break;
        default: {
                _cleanup_close_ int fd =
                        openat(folder, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
                if (fd >= 0 && ftruncate(fd, next(t)) < 0)
                        return; /* a fifo */
                break;
        }
        }
}

/* --- what it says --- */

static void say_files(struct tape *t, struct scripted *s, int folder, bool honest)
{
        struct proto_split_file v[8];
        struct message m = {.type = PROTO_SPLIT_FILES, .id = 7, .split_files.files = v};
        for (size_t i = 0; honest && i < ELEMENTSOF(names); i++) {
                /* In the order of their names, as they are: two of them are not. */
                static const unsigned char order[] = {1, 0, 2, 3, 4, 10};
                struct stat st;
                const char *name = names[order[i % ELEMENTSOF(order)]];
                if (i < ELEMENTSOF(order) && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                        v[m.split_files.n++] = (struct proto_split_file){name, (uint64_t)st.st_size};
        }
        for (unsigned n = honest ? 0 : next(t) % 8; n > 0; n--) {
                const char *name = names[next(t) % ELEMENTSOF(names)];
                v[m.split_files.n++] = (struct proto_split_file){name, next(t)};
        }
        lied |= is_done;
        if (proto_send(s->sock, &m) == 0)
                for (size_t i = 0; i < m.split_files.n && n_named < NAMED_MOST; i++)
                        named[n_named++] = v[i];
}

static void say_done(struct tape *t, struct scripted *s)
{
        unsigned how = next(t);
        struct message m = {.type = PROTO_SPLIT_DONE, .id = 7};
        m.split_done = (struct proto_split_done){.outcome.cause = how & 1 ? next(t) % CAUSE_MAX : 0,
                .lines_in = 2,
                .no_course = 1,
                .unparsed = 1,
                .invalid = how & 2 ? next(t) : 0,
                .files = how & 4 ? next(t) : n_named};
        memcpy(m.split_done.source_sha256, job.o.sha256, SHA256_SIZE);
        m.split_done.source_sha256[0] ^= how & 8;
        lied |= is_done;
        is_done = true;
        (void)proto_send(s->sock, &m);
}

static void say_other(struct tape *t, struct scripted *s)
{
        static const uint8_t types[] = {
                PROTO_PROGRESS, PROTO_VERDICT, PROTO_READY, PROTO_SPLIT, PROTO_ENTRIES};
        struct message m = {.type = types[next(t) % ELEMENTSOF(types)], .id = 5 + next(t) % 4};
        lied |= is_done || m.type != PROTO_PROGRESS || m.id != 7;
        (void)proto_send(s->sock, &m);
}

static void step(struct tape *t, uv_loop_t *loop, struct scripted *s, int folder)
{
        unsigned op = next(t);
        switch (op % 8) {
        case 0:
                say_files(t, s, folder, op & 8);
                break;
        case 1:
                say_done(t, s);
                break;
        case 2:
                if (op > 128)
                        say_other(t, s);
                break;
        default:
                make(t, folder);
                break;
        }
        if (op & 64)
                script_turn(loop);
}

/* --- what comes of it --- */

static void check_published(void)
{
        _cleanup_close_ int fd =
                openat(dir_fd, YEAR "/" DATE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(dup(fd));
        struct dirent *f;
        struct stat st;
        size_t n = 0;
        assert(d && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0750);
        while (dir_next(d, &f) > 0) {
                size_t i = 0;
                while (i < n_named && strcmp(named[i].name, f->d_name) != 0)
                        i++;
                assert(i < n_named && fstatat(fd, f->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0);
                assert(S_ISREG(st.st_mode) && st.st_nlink == 1 && (st.st_mode & 07777) == 0440);
                assert((uint64_t)st.st_size == named[i].size && *f->d_name != '.');
                n++;
        }
        assert(n == n_named);
}

static void check_nothing_left(bool published)
{
        _cleanup_close_ int fd = openat(dir_fd, YEAR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(dup(fd));
        struct dirent *f;
        while (d && dir_next(d, &f) > 0)
                assert(published && strcmp(f->d_name, DATE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct tape t = {data, size};
        struct splits *splits = NULL;
        struct split_outcome o;
        uv_loop_t loop;
        if (!staging)
                start();
        journal_level(-1);
        n_named = 0;
        is_done = lied = false;
        assert(uv_loop_init(&loop) == 0 && splits_new(&loop, staging, &splits) == 0);
        assert(splits_start(splits, &job) == 0);
        while (n_scripted == 0)
                uv_run(&loop, UV_RUN_ONCE);
        struct scripted *s = &scripted[0];
        script_receive(s, PROTO_SPLIT);
        int folder = s->last.fds[1];
        for (unsigned i = 0; t.left > 0 && i < STEPS && !s->gone; i++)
                step(&t, &loop, s, folder);
        script_reap(&loop, s);
        while (!splits_take(splits, &o))
                uv_run(&loop, UV_RUN_ONCE);
        assert(o.cause != CAUSE_NONE || (is_done && !lied));
        if (o.cause == CAUSE_NONE)
                check_published();
        check_nothing_left(o.cause == CAUSE_NONE);
        splits_free(splits);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert(uv_loop_close(&loop) == 0);
        script_reset();
        assert(remove_tree_at(dir_fd, "ux/events-by-course") == 0);
        return 0;
}
