/* SPDX-License-Identifier: Apache-2.0 */
/* czard-decrypt: holds the OpenPGP key and has no network. It is started by czard with one end of a socket
 * pair and does what comes through it, one job at a time, synchronously: gpg may block for ever, and then
 * czard kills this process with its deadline. It owns no paths but its GNUPGHOME; ciphertext comes through a
 * pipe, plaintext goes to an unnamed file, both handed in with the job.
 *
 * The flow goes on in setup.c, job.c and zip.c. */
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "../journal.h"
#include "fsx.h"
#include "pgp_secret.h"
#include "str.h"
#include "worker.h"

#define WAIT_MSEC 1000
#define DESCRIPTORS_MOST 256

enum { EXIT_USAGE = 2, EXIT_CANNOT = 3 };

int worker_send(struct worker *w, struct message *m)
{
        m->id = w->job;
        return proto_send(w->channel, m);
}

static uint64_t now_usec(void)
{
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

static void tell_progress(struct worker *w)
{
        uint64_t now = now_usec();
        if (now - w->progressed_usec < USEC_PER_SEC)
                return;
        w->progressed_usec = now;
        struct message m = {.type = PROTO_PROGRESS, .progress = {.bytes = w->moved}};
        (void)worker_send(w, &m); /* a broken channel shows when the verdict is sent */
}

ssize_t worker_read(void *arg, int fd, void *p, size_t n)
{
        struct worker *w = arg;
        struct pollfd in = {.fd = fd, .events = POLLIN};
        for (;;) {
                if (poll(&in, 1, WAIT_MSEC) == 0) {
                        tell_progress(w);
                        continue;
                }
                ssize_t k = read(fd, p, n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k > 0) {
                        w->moved += (size_t)k;
                        tell_progress(w);
                }
                return k;
        }
}

void worker_tidy(struct worker *w)
{
        (void)agent_reap(&w->agent);
        if (w->ready && w->agent.pid == 0)
                (void)worker_revive(w); /* else the job tells */
}

/* A directory of 200,000 members takes 140 MiB, most of it libzip's. The allocator would keep half of that
 * for as long as we live. */
static int do_directory(struct worker *w, struct message *m)
{
        int r = worker_directory(w, m);
        malloc_trim(0);
        return r;
}

static int do_job(struct worker *w, struct message *m)
{
        w->job = m->id;
        w->moved = 0;
        w->progressed_usec = now_usec();
        worker_tidy(w);
        switch (m->type) {
        case PROTO_SETUP:
                return worker_setup(w, m);
        case PROTO_FILE:
                return worker_file(w, m);
        case PROTO_DIRECTORY:
                return do_directory(w, m);
        case PROTO_MEMBERS:
                return worker_members(w, m);
        default:
                return -EPROTO;
        }
}

/* Until the channel is closed. 0, or -errno with a cause. */
static int serve(struct worker *w, struct error *e)
{
        for (;;) {
                struct message m;
                int r = proto_recv(w->channel, &m, e);
                if (r == -EPIPE)
                        return 0;
                if (r < 0)
                        return r;
                r = do_job(w, &m);
                (void)agent_reap(&w->agent); /* the next message may be far */
                unsigned type = m.type;
                message_done(&m);
                if (r == -EPIPE || r == -ECONNRESET)
                        return 0;
                if (r < 0)
                        return error_set(e, CAUSE_HELPER, -r, "message of type %u: %s", type, strerror(-r));
        }
}

static void worker_done(struct worker *w)
{
        w->stream = archive_stream_free(w->stream);
        w->pgp = pgp_close(w->pgp);
        agent_stop(&w->agent);
        secret_done(&w->passphrase);
        free(w->home);
}

/* gpg-agent and GPGME look at or close every descriptor that the limit allows, as they cannot see in /proc
 * which ones are open: half a million under systemd, 100 to 250 ms each time. */
static void limit_descriptors(void)
{
        const struct rlimit most = {.rlim_cur = DESCRIPTORS_MOST, .rlim_max = DESCRIPTORS_MOST};
        (void)setrlimit(RLIMIT_NOFILE, &most);
}

static int usage(void)
{
        fputs("czard-decrypt is started by czard.\n", stderr);
        return EXIT_USAGE;
}

/* Standard input and output are nobody's business; everything we were not given is closed. */
static int own_descriptors(int channel)
{
        struct stat st;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || channel != 3 || fstat(channel, &st) < 0 || !S_ISSOCK(st.st_mode))
                return -EBADF;
        if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || (fcntl(2, F_GETFD) < 0 && dup2(null, 2) < 0))
                return -errno;
        close_from(4);
        return fd_cloexec(channel, 1);
}

int main(int argc, char **argv)
{
        process_harden();
        secret_lock_stack();
        (void)pgp_secret_init(); /* before anything else uses OpenSSL; pgp_load_secret() tells when it failed
                                  */
        if (argc == 2 && streq(argv[1], "--version")) {
                puts("czard-decrypt " CZARD_VERSION);
                return 0;
        }
        if (argc != 3 || !streq(argv[1], "--channel") || !streq(argv[2], "3") || own_descriptors(3) < 0)
                return usage();
        limit_descriptors();
        journal_open();
        signal(SIGPIPE, SIG_IGN);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* for agent_reap(): GPGME disowns its gpg */
        umask(0077);
        struct worker w = {.channel = 3};
        struct error e = {};
        int r = serve(&w, &e);
        worker_done(&w);
        if (r < 0)
                journal_event(EVENT_FAILED, NULL, "czard-decrypt cannot go on: %s", e.text);
        return r < 0 ? EXIT_CANNOT : 0;
}
