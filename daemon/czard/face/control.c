/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket and its connections. A connection brings one request, gets rows and one "done", and is
 * closed; one that says nothing is closed after a while. Who it is says the kernel (SO_PEERCRED). */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cleanup.h"
#include "fsx.h"
#include "journal.h"
#include "str.h"

#define GROUP "czard-admin"
#define PEERS_MOST 16
#define SILENCE_USEC (10 * USEC_PER_SEC) /* until the request must have come */
#define WAIT_MSEC 1000                   /* between two looks at what is waited for */
#define SEND_PATIENCE_MSEC 1000
#define ANCESTORS_MOST 64

struct peer {
        struct control *control;
        int sock;
        uv_poll_t poll;
        uv_timer_t timer; /* silence, then the steps of the job */
        unsigned open_handles;
        struct control_job job;
        bool has_job, begun, closing;
        struct peer *next;
};

struct control {
        uv_loop_t *loop;
        struct request_env *env;
        bool ready;
        int listen_fd;
        uv_poll_t poll;
        char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
        dev_t dev;
        ino_t ino; /* of our socket: another one's is never removed */
        struct peer *peers;
        unsigned n_peers;
};

/* --- who is it --- */

/* The parent of pid, or -errno: not there, or hidden from us. */
static int parent_of(pid_t pid, pid_t *ret)
{
        char path[64];
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
        int r = read_file_at(AT_FDCWD, path, 4096, &text, &len);
        if (r < 0)
                return r;
        const char *after = strrchr(text, ')');
        long parent;
        char state;
        if (!after || sscanf(after + 1, " %c %ld", &state, &parent) != 2)
                return -EPROTO;
        *ret = (pid_t)parent;
        return 0;
}

static int control_group_of(const char *pid, char *ret, size_t size)
{
        char path[64];
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        snprintf(path, sizeof(path), "/proc/%s/cgroup", pid);
        int r = read_file_at(AT_FDCWD, path, 64 * KIB, &text, &len);
        const char *line = r < 0 ? NULL : strstr(text, "0::");
        if (!line)
                return r < 0 ? r : -ENOENT;
        snprintf(ret, size, "%.*s", (int)MIN(strcspn(line, "\n"), size - 1), line);
        return 0;
}

/* In the control group of our unit is nobody but us and what we started, also when its parent is gone. */
static bool is_in_our_unit(pid_t pid)
{
        char ours[1024], theirs[1024], number[16];
        snprintf(number, sizeof(number), "%ld", (long)pid);
        if (control_group_of("self", ours, sizeof(ours)) < 0 || !str_ends(ours, ".service"))
                return false;
        return control_group_of(number, theirs, sizeof(theirs)) < 0 || streq(ours, theirs);
}

/* A helper, or something that one of them started? They run as we do; whoever else is let in by the mode of
 * the socket. A process of ours that hides itself (helpers are not dumpable) is one. This is the second line:
 * who has entered the sandbox cannot make a socket of this type (lib/sandbox/sandbox_calls.c), whosever child
 * it is.
 */
static bool is_our_own(const struct ucred *who)
{
        if (who->uid != geteuid())
                return false;
        pid_t pid = who->pid;
        for (int i = 0; i < ANCESTORS_MOST && pid > 1; i++) {
                if (pid == getpid())
                        return true;
                int r = parent_of(pid, &pid);
                if (r < 0 && i == 0)
                        return true;
                if (r < 0)
                        break; /* another user's, hidden by ProtectProc=: none of ours */
        }
        return is_in_our_unit(who->pid);
}

/* --- a connection --- */

static void on_peer_handle_closed(uv_handle_t *h)
{
        struct peer *p = h->data;
        if (--p->open_handles > 0)
                return;
        control_job_done(&p->job);
        free(p);
}

static void peer_close(struct peer *p)
{
        struct control *c = p->control;
        if (p->closing)
                return;
        p->closing = true;
        for (struct peer **at = &c->peers; *at; at = &(*at)->next)
                if (*at == p) {
                        *at = p->next;
                        break;
                }
        c->n_peers--;
        uv_poll_stop(&p->poll);
        p->sock = close_fd(p->sock);
        uv_close((uv_handle_t *)&p->poll, on_peer_handle_closed);
        uv_close((uv_handle_t *)&p->timer, on_peer_handle_closed);
}

static bool tell(void *arg, const struct strv *message)
{
        const struct peer *p = arg;
        int r = control_send(p->sock, message);
        struct pollfd w = {.fd = p->sock, .events = POLLOUT};
        if (r == -EAGAIN && poll(&w, 1, SEND_PATIENCE_MSEC) > 0)
                r = control_send(p->sock, message);
        return r >= 0;
}

static void tell_end(struct peer *p, int status, const char *text)
{
        char number[16];
        struct strv m = {};
        snprintf(number, sizeof(number), "%d", status);
        /* Texts of errors may quote what cannot be sent. */
        char clean[TEXT_SIZE];
        str_visible(text, clean, sizeof(clean));
        if (strv_add(&m, "done") == 0 && strv_add(&m, number) == 0 && strv_add(&m, clean) == 0)
                tell(p, &m);
        strv_done(&m);
}

static void on_step(uv_timer_t *timer);

/* A request that comes while czard still starts waits until it knows its key. */
static void try_begin(struct peer *p)
{
        struct error e = {};
        if (!p->control->ready) {
                uv_timer_start(&p->timer, on_step, WAIT_MSEC, 0);
        } else if (control_job_begin(&p->job, &e) < 0) {
                tell_end(p, STATUS_CANNOT, e.text);
                peer_close(p);
        } else {
                p->begun = true;
                uv_timer_start(&p->timer, on_step, 0, 0);
        }
}

static void on_step(uv_timer_t *timer)
{
        struct peer *p = timer->data;
        if (!p->has_job) {
                peer_close(p); /* it said nothing */
                return;
        }
        if (!p->begun) {
                try_begin(p);
                return;
        }
        control_job_step(&p->job);
        if (p->job.over) {
                tell_end(p, p->job.status, p->job.text);
                peer_close(p);
                return;
        }
        uv_timer_start(&p->timer, on_step, p->job.waiting ? WAIT_MSEC : 0, 0);
}

static void begin_job(struct peer *p, struct strv *request, uid_t uid)
{
        p->job = (struct control_job){
                .env = p->control->env, .request = *request, .uid = uid, .tell = tell, .arg = p};
        p->has_job = true;
        try_begin(p);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        struct peer *p = poll->data;
        struct strv request = {};
        struct error e = {};
        struct ucred who;
        socklen_t size = sizeof(who);
        (void)status;
        (void)events;
        int r = control_recv(p->sock, &request, &e);
        if (r == -EAGAIN)
                return;
        if (r < 0 || p->has_job) {
                /* Closed, malformed, or a second request. What was begun is done all the same, unless it only
                 * waits. */
                strv_done(&request);
                uv_poll_stop(&p->poll);
                p->job.gone = true;
                if (!p->has_job) {
                        if (r != -EPIPE)
                                tell_end(p, STATUS_USAGE, e.text);
                        peer_close(p);
                }
                return;
        }
        if (getsockopt(p->sock, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) {
                strv_done(&request);
                peer_close(p);
                return;
        }
        begin_job(p, &request, who.uid);
}

static void refuse(int sock, const struct ucred *who)
{
        journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING},
                "control socket: a process of czard itself (PID %ld) is refused", (long)who->pid);
        struct strv m = {};
        if (strv_add(&m, "done") == 0 && strv_add(&m, "3") == 0 &&
                strv_add(&m, "czard takes this process for one of its own, and these may ask for nothing") ==
                        0)
                (void)control_send(sock, &m);
        strv_done(&m);
        close_fd(sock);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
        struct control *c = poll->data;
        struct ucred who;
        socklen_t size = sizeof(who);
        (void)status;
        (void)events;
        int sock = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (sock < 0)
                return;
        if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || c->n_peers >= PEERS_MOST) {
                close_fd(sock);
                return;
        }
        if (is_our_own(&who)) {
                refuse(sock, &who);
                return;
        }
        struct peer *p = calloc(1, sizeof(*p));
        if (!p || uv_poll_init(c->loop, &p->poll, sock) < 0) {
                free(p);
                close_fd(sock);
                return;
        }
        p->control = c;
        p->sock = sock;
        p->open_handles = 2;
        uv_timer_init(c->loop, &p->timer);
        p->poll.data = p->timer.data = p;
        p->next = c->peers;
        c->peers = p;
        c->n_peers++;
        uv_poll_start(&p->poll, UV_READABLE, on_readable);
        uv_timer_start(&p->timer, on_step, SILENCE_USEC / USEC_PER_MSEC, 0);
}

/* --- listening --- */

static int make_path(const char *configured, const char *run_dir, char *ret, size_t size, struct error *e)
{
        int n;
        if (!str_empty(configured))
                n = snprintf(ret, size, "%s", configured);
        else /* run_dir is this state_dir's folder in the runtime directory */
                n = snprintf(ret, size, "%.*s/control", (int)(strrchr(run_dir, '/') - run_dir), run_dir);
        if (n < 0 || (size_t)n >= size)
                return error_set(e, CAUSE_CONFIG, ENAMETOOLONG, "the path is too long; set [daemon] socket");
        return 0;
}

union control_address {
        struct sockaddr_un un;
        struct sockaddr generic;
};

static int unix_socket(const char *path, union control_address *ret, struct error *e)
{
        *ret = (union control_address){.un.sun_family = AF_UNIX};
        memcpy(ret->un.sun_path, path, strlen(path) + 1);
        int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return sock < 0 ? error_set(e, CAUSE_INTERNAL, errno, "socket: %s", strerror(errno)) : sock;
}

/* What a killed czard left. One that answers belongs to another czard of this user. */
static int remove_stale(const char *path, struct error *e)
{
        union control_address a;
        _cleanup_close_ int sock = unix_socket(path, &a, e);
        if (sock < 0)
                return sock;
        if (connect(sock, &a.generic, sizeof(a.un)) == 0 || errno == EAGAIN)
                return error_set(
                        e, CAUSE_CONFIG, EADDRINUSE, "another czard listens there; set [daemon] socket");
        struct stat st;
        if (lstat(path, &st) < 0)
                return 0;
        if (!S_ISSOCK(st.st_mode))
                return error_set(e, CAUSE_CONFIG, EEXIST, "it is there, and no socket");
        return unlink(path) < 0 ? error_set(e, CAUSE_CONFIG, errno, "%s", strerror(errno)) : 0;
}

/* Nobody but us until group and mode are right. */
static int bind_socket(struct control *c, struct error *e)
{
        union control_address a;
        _cleanup_close_ int sock = unix_socket(c->path, &a, e);
        if (sock < 0)
                return sock;
        mode_t before = umask(0177);
        int r = bind(sock, &a.generic, sizeof(a.un)) < 0 ? -errno : 0;
        umask(before);
        if (r < 0)
                return error_set(e, CAUSE_CONFIG, -r, "%s", strerror(-r));
        struct stat st;
        const struct group *g = getgrnam(GROUP);
        bool given = !g || lchown(c->path, (uid_t)-1, g->gr_gid) == 0;
        if (!given)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING},
                        "control socket: cannot give it to group " GROUP
                        ": %s; only root and czard may use it",
                        strerror(errno));
        if ((given && chmod(c->path, 0660) < 0) || lstat(c->path, &st) < 0 || listen(sock, PEERS_MOST) < 0)
                return error_set(e, CAUSE_CONFIG, errno, "%s", strerror(errno));
        c->dev = st.st_dev;
        c->ino = st.st_ino;
        c->listen_fd = take_fd(&sock);
        return 0;
}

static int open_socket(struct control *c, struct error *e)
{
        int r = remove_stale(c->path, e);
        if (r == 0)
                r = bind_socket(c, e);
        if (r == 0 && uv_poll_init(c->loop, &c->poll, c->listen_fd) < 0)
                r = error_set(e, CAUSE_INTERNAL, EIO, "cannot watch it");
        return r;
}

int control_new(uv_loop_t *loop, const char *configured, const char *run_dir, struct request_env *env,
        struct control **ret, struct error *e)
{
        struct control *c = calloc(1, sizeof(*c));
        if (!c)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        *c = (struct control){.loop = loop, .env = env, .listen_fd = -1};
        struct error why = {};
        if (make_path(configured, run_dir, c->path, sizeof(c->path), &why) < 0 || open_socket(c, &why) < 0) {
                journal_event(EVENT_NOTE,
                        &(struct journal_fields){.priority = LOG_WARNING, .cause = why.cause},
                        "control socket %s: %s; czarctl cannot ask this czard for anything",
                        *c->path ? c->path : "", why.text);
                close_fd(c->listen_fd);
                free(c);
                return 0;
        }
        c->poll.data = c;
        uv_poll_start(&c->poll, UV_READABLE, on_connection);
        uv_unref((uv_handle_t *)&c->poll);
        *ret = c;
        return 0;
}

void control_ready(struct control *c)
{
        if (c)
                c->ready = true;
}

static void on_closed(uv_handle_t *h)
{
        free(h->data);
}

struct control *control_free(struct control *c)
{
        struct stat st;
        if (!c)
                return NULL;
        for (struct peer *p = c->peers, *next; p; p = next) {
                next = p->next;
                tell_end(p, STATUS_CANNOT, "czard is stopping");
                peer_close(p);
        }
        uv_poll_stop(&c->poll);
        close_fd(c->listen_fd);
        if (lstat(c->path, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino)
                (void)unlink(c->path);
        uv_close((uv_handle_t *)&c->poll, on_closed);
        return NULL;
}
