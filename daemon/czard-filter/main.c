/* SPDX-License-Identifier: Apache-2.0 */
/* czard-filter: splits the events of one day by course. What it reads was written by learners' browsers, so
 * it holds no key and no credentials, has no network and starts no program; of the file system it has the
 * day's file, read-only, and one hidden folder to make files in. One job a process: czard reaps it before it
 * looks at the folder.
 *
 *   czard -> czard-filter      SPLIT
 *   czard-filter -> czard      SPLIT_FILES ... SPLIT_DONE, PROGRESS
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "fsx.h"
#include "sandbox.h"
#include "service.h"
#include "split.h"

#define DESCRIPTORS_MAX 64
#define NICE 19        /* behind everything that brings files in */
#define PAGE_FILES 256 /* names in a message */

struct filter {
        struct service service;

        struct proto_split_file page[PAGE_FILES];
        char names[PAGE_FILES][SPLIT_FILE_MAX];
        size_t n;
        uint64_t files;
        int broken; /* -errno: the channel takes no more */
};

static int send_page(struct filter *f)
{
        struct message m = {.type = PROTO_SPLIT_FILES, .split_files = {.files = f->page, .n = f->n}};
        if (f->n > 0)
                f->broken = service_send(&f->service, &m);
        f->n = 0;
        return f->broken;
}

static int on_file(void *arg, const char *name, uint64_t size, struct error *e)
{
        struct filter *f = arg;
        if (f->n == PAGE_FILES && send_page(f) < 0)
                return error_set(e, CAUSE_HELPER, -f->broken, "the channel: %s", strerror(-f->broken));
        snprintf(f->names[f->n], sizeof(f->names[f->n]), "%s", name);
        f->page[f->n] = (struct proto_split_file){.name = f->names[f->n], .size = size};
        f->n++;
        f->files++;
        return 0;
}

static void on_read(void *arg, uint64_t bytes)
{
        struct filter *f = arg;
        service_moved(&f->service, bytes);
}

/* Now that the folder is known. Without Landlock nothing is split: the rest of the file system would be there
 * for whoever has written the lines. */
static int lock_down(int dir_fd, struct error *e)
{
        static const int families[] = {-1};
        char path[FD_PATH_SIZE];
        const struct sandbox_path paths[] = {{fd_path(dir_fd, path), SANDBOX_WRITE}};
        const struct sandbox s = {.paths = paths, .n_paths = ELEMENTSOF(paths), .families = families};
        if (sandbox_landlock_abi() <= 0)
                return error_set(e, CAUSE_CONFIG, ENOSYS,
                        "this kernel has no Landlock (or it is not enabled), and without it events are not "
                        "split");
        return sandbox_enter(&s, NULL, 0, e);
}

static int split(struct filter *f, const struct message *m, struct split_totals *ret, struct error *e)
{
        const struct split_options options = {
                .rule = (enum event_rule)m->split.rule,
                .gzip = m->split.gzip,
                .room = m->split.room,
                .room_files = m->split.room_files,
                .on_read = on_read,
                .on_file = on_file,
                .arg = f,
        };
        int r = lock_down(m->fds[1], e);
        return r < 0 ? r : split_events(m->fds[0], m->fds[1], &options, ret, e);
}

static int do_job(void *arg, struct message *m)
{
        struct filter *f = arg;
        if (m->type != PROTO_SPLIT || m->split.rule == EVENT_RULE_NONE)
                return -EPROTO;
        struct split_totals t = {};
        struct error e = {};
        if (split(f, m, &t, &e) == 0)
                (void)send_page(f);
        if (f->broken < 0)
                return f->broken;
        struct message answer = {
                .type = PROTO_SPLIT_DONE,
                .split_done = {.outcome = {.cause = e.cause, .detail = e.text},
                        .lines_in = t.lines_in,
                        .lines_of_courses = t.lines_of_courses,
                        .no_course = t.no_course,
                        .invalid = t.invalid,
                        .unparsed = t.unparsed,
                        .courses = t.courses,
                        .courses_left_out = t.courses_left_out,
                        .files = f->files,
                        .files_size = t.files_size},
        };
        memcpy(answer.split_done.source_sha256, t.source_sha256, SHA256_SIZE);
        memcpy(answer.split_done.sums_sha256, t.sums_sha256, SHA256_SIZE);
        int r = service_send(&f->service, &answer);
        (void)shutdown(f->service.channel, SHUT_RD); /* nothing more is taken: the process ends */
        return r;
}

/* Splitting takes what time others leave. OpenSSL reads its configuration when it is first used, and cannot
 * any more once we are locked in. */
static int prepare(void)
{
        const struct rlimit most = {.rlim_cur = DESCRIPTORS_MAX, .rlim_max = DESCRIPTORS_MAX};
        uint8_t unused[SHA256_SIZE];
        if (setrlimit(RLIMIT_NOFILE, &most) < 0 || setpriority(PRIO_PROCESS, 0, NICE) < 0)
                return -errno;
        return digest_once(DIGEST_SHA256, "", 0, unused);
}

int main(int argc, char **argv)
{
        _cleanup_free_ struct filter *f = calloc(1, sizeof(*f));
        struct error e = {};
        if (!f)
                return SERVICE_CANNOT;
        int r = service_start(&f->service, "czard-filter", argc, argv);
        if (r >= 0)
                return r;
        r = prepare();
        if (r < 0)
                error_set(&e, CAUSE_HELPER, -r, "%s", strerror(-r));
        else
                r = service_serve(&f->service, do_job, f, &e);
        return service_end(&f->service, r, &e);
}
