/* SPDX-License-Identifier: Apache-2.0 */
/* The channel of a helper: one message in, one job, its answers out; a broken channel ends the process. */
#include "service.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../journal.h"
#include "cleanup.h"
#include "fsx.h"
#include "secret.h"
#include "str.h"
#include "timespan.h"

#define CHANNEL_FD 3
#define WAIT_MSEC 1000

/* Standard input and output are nobody's business; everything we were not given is closed. */
static int own_descriptors(void)
{
        struct stat st;
        if (fstat(CHANNEL_FD, &st) < 0 || !S_ISSOCK(st.st_mode))
                return -EBADF;
        int r = fd_arrange((int[]){-1, -1, fcntl(2, F_GETFD) < 0 ? -1 : 2, CHANNEL_FD}, CHANNEL_FD + 1);
        return r < 0 ? r : fd_cloexec(CHANNEL_FD, 1);
}

int service_start(struct service *f, const char *name, int argc, char **argv)
{
        process_harden();
        if (argc == 2 && streq(argv[1], "--version")) {
                printf("%s %s\n", name, CZARD_VERSION);
                return SERVICE_WELL;
        }
        if (argc != 3 || !streq(argv[1], "--channel") || !streq(argv[2], "3") || own_descriptors() < 0) {
                fprintf(stderr, "%s is started by czard.\n", name);
                return SERVICE_USAGE;
        }
        journal_open();
        signal(SIGPIPE, SIG_IGN);
        umask(0077);
        *f = (struct service){.name = name, .channel = CHANNEL_FD};
        return -1;
}

int service_serve(struct service *f, service_job_fn *job, void *arg, struct error *e)
{
        for (;;) {
                struct message m;
                int r = proto_recv(f->channel, &m, e);
                if (r == -EPIPE)
                        return 0;
                if (r < 0)
                        return r;
                f->job = m.id;
                f->moved = 0;
                f->progressed_usec = now_usec(CLOCK_MONOTONIC);
                r = job(arg, &m);
                unsigned type = m.type;
                message_done(&m);
                if (r == -EPIPE || r == -ECONNRESET)
                        return 0;
                if (r < 0)
                        return error_set(e, CAUSE_HELPER, -r, "message of type %u: %s", type, strerror(-r));
        }
}

int service_end(const struct service *f, int r, const struct error *e)
{
        if (r < 0)
                journal_event(EVENT_FAILED, NULL, "%s cannot go on: %s", f->name, e->text);
        return r < 0 ? SERVICE_CANNOT : SERVICE_WELL;
}

int service_send(struct service *f, struct message *m)
{
        m->id = f->job;
        return proto_send(f->channel, m);
}

void service_moved(struct service *f, uint64_t bytes)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        f->moved += bytes;
        if (now - f->progressed_usec < USEC_PER_SEC)
                return;
        f->progressed_usec = now;
        struct message m = {.type = PROTO_PROGRESS, .progress = {.bytes = f->moved}};
        (void)service_send(f, &m); /* a broken channel shows when the answer is sent */
}

ssize_t service_read(struct service *f, int fd, void *p, size_t n)
{
        struct pollfd in = {.fd = fd, .events = POLLIN};
        for (;;) {
                if (poll(&in, 1, WAIT_MSEC) == 0) {
                        service_moved(f, 0);
                        continue;
                }
                ssize_t k = read(fd, p, n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k > 0)
                        service_moved(f, (uint64_t)k);
                return k;
        }
}
