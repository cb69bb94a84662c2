/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers. A helper is gone when its process has been reaped *and* its channel has closed, so that the last
 * verdict of one that exits is not lost. It dies with us: its channel closes, and the kernel signals it
 * (PR_SET_PDEATHSIG in the helper). */
#include "helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cleanup.h"
#include "fsx.h"
#include "journal.h"
#include "launch.h"
#include "str.h"

#define RETIRE_MSEC 2000
#define SEND_PATIENCE_MSEC 1000
/* Messages taken in one turn of the loop, so that a talkative peer does not starve the others. */
#define MESSAGES_A_TURN 64

struct helper {
        bool child; /* a process of ours: these two are in use */
        uv_process_t process;
        uv_timer_t retire;
        struct said said;
        uv_poll_t saying; /* says: it is one */
        bool says;
        unsigned open_handles;
        int sock; /* of the channel; -1: closed, nothing is delivered any more */
        uv_poll_t channel;
        helper_gone_fn *on_gone;
        helper_message_fn *on_message;
        void *arg;
        void (*reaped)(void *arg);
        void *reaped_arg;
        struct error how;   /* how it ended */
        bool exited, freed; /* exited: there is no process (any more) */
};

static void on_handle_closed(uv_handle_t *handle)
{
        struct helper *h = handle->data;
        if (--h->open_handles == 0 && h->freed)
                free(h);
}

static void maybe_gone(struct helper *h)
{
        if (h->exited && h->sock < 0 && !h->freed)
                h->on_gone(h->arg, &h->how);
}

/* --- channel --- */

/* The descriptor may be reused as soon as it is closed; the stopped poll handle does not mind. */
static void close_channel(struct helper *h)
{
        if (h->sock < 0)
                return;
        uv_poll_stop(&h->channel);
        h->sock = close_fd(h->sock);
        uv_close((uv_handle_t *)&h->channel, on_handle_closed);
}

/* The peer closed, or sent what is no message. */
static void on_channel_closed(struct helper *h, const struct error *e)
{
        close_channel(h);
        if (!h->child)
                h->how = *e;
        /* A helper without a channel is of no use, whatever it still does. */
        if (!h->exited) {
                if (e->err == EPROTO)
                        error_set(&h->how, CAUSE_HELPER, EPROTO, "broke the protocol (%.400s): killed",
                                e->text);
                else if (h->how.cause == CAUSE_NONE)
                        h->how = *e;
                helper_kill(h);
        }
        maybe_gone(h);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        struct helper *h = poll->data;
        (void)status;
        (void)events;
        for (unsigned i = 0; i < MESSAGES_A_TURN && h->sock >= 0; i++) {
                struct message m = {};
                struct error e = {};
                int r = proto_recv(h->sock, &m, &e);
                if (r == -EAGAIN)
                        return;
                if (r == -EPIPE)
                        error_set(&e, CAUSE_HELPER, EPIPE, "closed its channel");
                if (r < 0) {
                        on_channel_closed(h, &e);
                        return;
                }
                h->on_message(h->arg, &m);
                message_done(&m);
        }
}

/* Takes sock. */
static int open_channel(uv_loop_t *loop, struct helper *h, int sock)
{
        int r = fd_nonblock(sock, 1);
        if (r >= 0)
                r = uv_poll_init(loop, &h->channel, sock);
        if (r < 0) {
                close_fd(sock);
                return r;
        }
        h->sock = sock;
        h->channel.data = h;
        h->open_handles++;
        uv_poll_start(&h->channel, UV_READABLE, on_readable);
        return 0;
}

int helper_send(struct helper *h, const struct message *m)
{
        int r = h->sock < 0 ? -EPIPE : proto_send(h->sock, m);
        if (r != -EAGAIN)
                return r;
        struct pollfd p = {.fd = h->sock, .events = POLLOUT};
        if (poll(&p, 1, SEND_PATIENCE_MSEC) <= 0)
                return -EPIPE;
        r = proto_send(h->sock, m);
        return r == -EAGAIN ? -EPIPE : r;
}

/* --- what it says on standard error --- */

static void on_saying(uv_poll_t *poll, int status, int events)
{
        struct helper *h = poll->data;
        (void)events;
        if (status < 0 || !said_take(&h->said))
                uv_poll_stop(poll);
}

/* What it says from now on is shown, until it is reaped. */
static void listen_to(uv_loop_t *loop, struct helper *h)
{
        if (h->said.fd < 0 || uv_poll_init(loop, &h->saying, h->said.fd) < 0)
                return;
        h->saying.data = h;
        h->says = true;
        h->open_handles++;
        uv_poll_start(&h->saying, UV_READABLE, on_saying);
}

/* The handle first: the number of the descriptor is soon another one's. */
static void close_saying(struct helper *h)
{
        if (h->says)
                uv_close((uv_handle_t *)&h->saying, on_handle_closed);
        h->says = false;
        said_close(&h->said);
}

/* --- process --- */

static void close_handles(struct helper *h)
{
        close_saying(h);
        h->freed = true;
        if (h->child) {
                uv_close((uv_handle_t *)&h->process, on_handle_closed);
                uv_close((uv_handle_t *)&h->retire, on_handle_closed);
        }
}

static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
        struct helper *h = process->data;
        h->exited = true;
        /* What it left behind in its group (gpg) must not outlive it. */
        kill(-process->pid, SIGKILL);
        close_saying(h);
        if (h->reaped)
                h->reaped(h->reaped_arg);
        if (h->how.err == EPROTO)
                ; /* we killed it for that */
        else if (signal != 0)
                error_set(&h->how, CAUSE_HELPER, EIO, "ended by signal %d", signal);
        else if (status != 0 || h->how.cause == CAUSE_NONE)
                error_set(&h->how, CAUSE_HELPER, EIO, "exited with status %d", (int)status);
        if (h->freed)
                close_handles(h);
        else
                maybe_gone(h);
}

static int spawn(uv_loop_t *loop, struct helper *h, struct launch *l, int sock)
{
        int say = said_open(&h->said, journal_line);
        uv_stdio_container_t stdio[LAUNCH_CHANNEL_FD + 1] = {
                {.flags = UV_IGNORE},
                {.flags = UV_IGNORE},
                {.flags = say < 0 ? UV_IGNORE : UV_INHERIT_FD, .data.fd = say},
                {.flags = UV_INHERIT_FD, .data.fd = sock},
        };
        uv_process_options_t options = {
                .file = l->file,
                .args = l->argv,
                .env = l->env,
                .flags = UV_PROCESS_DETACHED,
                .stdio = stdio,
                .stdio_count = LAUNCH_CHANNEL_FD + 1,
                .exit_cb = on_process_exit,
        };
        uv_timer_init(loop, &h->retire);
        h->process.data = h->retire.data = h;
        h->open_handles = 2;
        int r = uv_spawn(loop, &h->process, &options);
        said_handed(say);
        if (r == 0)
                listen_to(loop, h);
        return r;
}

int helper_start(uv_loop_t *loop, const char *name, const char *const *args, helper_message_fn *on_message,
        helper_gone_fn *on_gone, void *arg, struct helper **ret, struct error *e)
{
        _cleanup_(launch_done) struct launch l = {};
        int pair[2], r = launch_prepare(&l, name, args, e);
        if (r < 0)
                return r;
        r = proto_pair(pair);
        if (r < 0)
                return error_set(e, CAUSE_HELPER, -r, "socketpair: %s", strerror(-r));
        struct helper *h = calloc(1, sizeof(*h));
        if (!h) {
                close_fd(pair[0]);
                close_fd(pair[1]);
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        }
        *h = (struct helper){
                .child = true, .sock = -1, .on_message = on_message, .on_gone = on_gone, .arg = arg};
        r = spawn(loop, h, &l, pair[1]);
        close_fd(pair[1]);
        if (r < 0) {
                close_fd(pair[0]);
                close_handles(h);
                return error_set(e, CAUSE_HELPER, -r, "cannot start %s: %s", l.file, strerror(-r));
        }
        r = open_channel(loop, h, pair[0]);
        if (r < 0) {
                helper_free(h);
                return error_set(e, CAUSE_HELPER, -r, "channel to %s: %s", name, strerror(-r));
        }
        *ret = h;
        return 0;
}

int helper_connect(uv_loop_t *loop, const char *path, helper_message_fn *on_message, helper_gone_fn *on_gone,
        void *arg, struct helper **ret, struct error *e)
{
        union {
                struct sockaddr_un un;
                struct sockaddr generic;
        } address = {.un = {.sun_family = AF_UNIX}};
        if (strlen(path) >= sizeof(address.un.sun_path))
                return error_set(e, CAUSE_HELPER, ENAMETOOLONG, "socket path %s is too long", path);
        memcpy(address.un.sun_path, path, strlen(path) + 1);
        _cleanup_close_ int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (sock < 0)
                return error_set(e, CAUSE_HELPER, errno, "socket: %s", strerror(errno));
        if (connect(sock, &address.generic, sizeof(address.un)) < 0)
                return error_set(e, CAUSE_HELPER, errno,
                        "cannot reach czard-fetch at %s: %s (systemctl status czard-fetch.socket)", path,
                        strerror(errno));
        int size = 4 * PROTO_MESSAGE_MAX;
        setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        struct helper *h = calloc(1, sizeof(*h));
        if (!h)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        *h = (struct helper){.sock = -1,
                .exited = true,
                .said.fd = -1,
                .on_message = on_message,
                .on_gone = on_gone,
                .arg = arg};
        int r = open_channel(loop, h, take_fd(&sock));
        if (r < 0) {
                free(h);
                return error_set(e, CAUSE_HELPER, -r, "channel to %s: %s", path, strerror(-r));
        }
        *ret = h;
        return 0;
}

void helper_kill(struct helper *h)
{
        if (!h->exited && kill(-h->process.pid, SIGKILL) < 0)
                uv_process_kill(&h->process, SIGKILL);
}

void helper_when_reaped(struct helper *h, void (*reaped)(void *arg), void *arg)
{
        h->reaped = reaped;
        h->reaped_arg = arg;
}

static void on_retire_late(uv_timer_t *timer)
{
        helper_kill(timer->data);
}

struct helper *helper_retire(struct helper *h)
{
        if (!h || h->exited)
                return helper_free(h);
        h->freed = true;
        close_channel(h);
        uv_timer_start(&h->retire, on_retire_late, RETIRE_MSEC, 0);
        return NULL;
}

struct helper *helper_free(struct helper *h)
{
        if (!h)
                return NULL;
        h->freed = true;
        close_channel(h);
        /* One that still runs is reaped by on_process_exit(): a closed handle would leave a zombie. */
        if (!h->exited) {
                helper_kill(h);
        } else {
                close_handles(h);
                if (h->open_handles == 0)
                        free(h);
        }
        return NULL;
}
