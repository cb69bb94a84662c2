/* SPDX-License-Identifier: Apache-2.0 */
/* czard-index: reads the directory of one archive. It holds no key and no credentials, has no network and no
 * files, starts no program: it reads a pipe and answers. So what an archive's own bytes can do to its reader
 * reaches nothing, and the offsets that become ranges of requests do not come from the process with the key.
 *
 *   czard -> czard-index      DIRECTORY
 *   czard-index -> czard      ENTRIES ... DIRECTORY_DONE, PROGRESS
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "sandbox.h"
#include "service.h"

/* Room in a message for what is around the entries. */
#define MESSAGE_OVERHEAD 1024

/* The end of an archive on its way in, and its entries on their way out: as many messages as it takes. */
struct directory {
        struct service *service;
        int fd;        /* borrowed */
        uint64_t left; /* bytes that are still to come */
        int broken;    /* -errno: the channel takes no more */

        struct archive_entry page[LIMIT_LIST_PAGE_KEYS];
        size_t n, bytes; /* of a message */
        char names[PROTO_MESSAGE_MAX];
        size_t used;
};

static int send_page(struct directory *d)
{
        struct message m = {.type = PROTO_ENTRIES, .entries = {.entries = d->page, .n = d->n}};
        if (d->n > 0)
                d->broken = service_send(d->service, &m);
        d->n = d->used = 0;
        d->bytes = MESSAGE_OVERHEAD;
        return d->broken;
}

static int take_entry(void *arg, const struct archive_entry *a, struct error *e)
{
        struct directory *d = arg;
        struct archive_entry entry = *a;
        size_t size = proto_entry_size(&entry), len = strlen(a->name) + 1;
        if ((d->bytes + size > PROTO_MESSAGE_MAX || d->n == ELEMENTSOF(d->page)) && send_page(d) < 0)
                return error_set(e, CAUSE_HELPER, -d->broken, "the channel: %s", strerror(-d->broken));
        entry.name = memcpy(d->names + d->used, a->name, len);
        d->page[d->n++] = entry;
        d->used += len;
        d->bytes += size;
        return 0;
}

static ssize_t directory_read(void *arg, void *p, size_t n, struct error *e)
{
        struct directory *d = arg;
        ssize_t k = service_read(d->service, d->fd, p, n);
        if (k < 0)
                return error_set(e, CAUSE_HELPER, errno, "reading the pipe: %s", strerror(errno));
        d->left -= MIN((uint64_t)k, d->left);
        return k;
}

/* A GET that is not read to its end cannot tell whether the bytes were those that S3 has. */
static void read_rest(struct directory *d)
{
        char buf[4096];
        struct error e;
        while (d->left > 0 && directory_read(d, buf, MIN(sizeof(buf), d->left), &e) > 0)
                ;
}

static int read_directory(struct directory *d, struct message *m)
{
        const struct proto_directory p = m->directory;
        const struct archive_limits limits = {.max_members = p.max_members};
        const struct archive_tail tail = {
                .start = p.start,
                .size = p.size,
                .read = directory_read,
                .read_arg = d,
                .take = take_entry,
                .take_arg = d,
        };
        struct archive_directory done = {};
        struct error e = {};
        d->bytes = MESSAGE_OVERHEAD;
        d->left = p.size - MIN(p.start, p.size);
        if (archive_directory(&tail, &limits, &done, &e) == 0)
                (void)send_page(d);
        if (d->broken < 0)
                return d->broken;
        if (e.cause == CAUSE_NONE || e.cause == CAUSE_BAD_ZIP)
                read_rest(d);
        m->fds[0] = close_fd(m->fds[0]);
        if (e.cause == CAUSE_NONE && done.behind > 0)
                snprintf(e.text, sizeof(e.text),
                        "%" PRIu64 " byte%s behind its end record, which are left out", done.behind,
                        done.behind == 1 ? "" : "s");
        struct message answer = {
                .type = PROTO_DIRECTORY_DONE,
                .directory_done = {.outcome = {.cause = e.cause, .detail = e.text},
                        .need_start = done.need_start,
                        .count = done.count,
                        .offset = done.offset},
        };
        return service_send(d->service, &answer);
}

static int do_job(void *arg, struct message *m)
{
        if (m->type != PROTO_DIRECTORY)
                return -EPROTO;
        _cleanup_free_ struct directory *d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->service = arg;
        d->fd = m->fds[0];
        return read_directory(d, m);
}

/* From here on a pipe and the channel are all there is. What the kernel cannot restrict, czard-decrypt and
 * czard-fetch tell. */
static int lock_down(struct error *e)
{
        static const int families[] = {-1};
        const struct sandbox s = {.families = families};
        return sandbox_enter(&s, NULL, 0, e);
}

int main(int argc, char **argv)
{
        struct service f;
        struct error e = {};
        int r = service_start(&f, "czard-index", argc, argv);
        if (r >= 0)
                return r;
        r = lock_down(&e);
        if (r == 0)
                r = service_serve(&f, do_job, &f, &e);
        return service_end(&f, r, &e);
}
