/* SPDX-License-Identifier: Apache-2.0 */
/* czard is asked when it runs: it is the only writer of ledger and audit then. The lock decides, not the
 * socket: a czard that does not answer is an error, never a reason to write beside it. */
#include "ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "control_msg.h"
#include "history.h"
#include "rows.h"

#define SOCKET_PATH_SIZE (RUN_DIR_SIZE + 64)
#define PATIENCE_MSEC (10 * 60 * 1000) /* between two messages: czard says something every second */

/* --- over the socket --- */

static int connect_to(const char *path, struct error *e)
{
        union {
                struct sockaddr_un un;
                struct sockaddr generic;
        } a = {.un.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof(a.un.sun_path))
                return error_set(
                        e, CAUSE_INTERNAL, ENAMETOOLONG, "control socket %s: the path is too long", path);
        strcpy(a.un.sun_path, path);
        _cleanup_close_ int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (sock < 0 || connect(sock, &a.generic, sizeof(a.un)) < 0) {
                int err = errno;
                return error_set(e, CAUSE_INTERNAL, err, "control socket %s: %s%s", path, strerror(err),
                        err == EACCES ? " (only root, the user of czard and the group czard-admin may use it)"
                        : err == ENOENT || err == ECONNREFUSED
                                ? " (czard does not run, or listens elsewhere: [daemon] socket)"
                                : "");
        }
        return take_fd(&sock);
}

void ask_prepare(struct ctl *c)
{
        char path[SOCKET_PATH_SIZE];
        struct error e = {};
        if (geteuid() != 0)
                return;
        ctl_socket_path(c, path, sizeof(path));
        int sock = connect_to(path, &e);
        c->control_fd = sock < 0 ? -1 : sock;
}

static void take_progress(struct progress_line *p, const struct strv *m)
{
        uint64_t done = 0, total = 0;
        if (m->n < 4 || parse_u64(m->v[1], UINT64_MAX, &done) < 0 ||
                parse_u64(m->v[2], UINT64_MAX, &total) < 0)
                return;
        p->what = "fetching";
        p->bytes = true;
        p->total = total;
        progress_to(p, done);
}

static void take_row(struct ask_spec *spec, const struct strv *m)
{
        if (m->n < 7 || !spec->row)
                return;
        struct ask_row row = {.what = m->v[1],
                .bucket = m->v[2],
                .key = m->v[3],
                .path = m->v[4],
                .text = m->v[5],
                .bytes = atoll(m->v[6])};
        spec->row(spec->arg, &row);
}

/* 0: go on; 1: this was the end, *ret is the status. */
static int take(struct ask_spec *spec, const struct strv *m, struct progress_line *p, int *ret)
{
        if (streq(m->v[0], "progress"))
                take_progress(p, m);
        else if (streq(m->v[0], "row"))
                take_row(spec, m);
        else if (streq(m->v[0], "done") && m->n >= 3) {
                snprintf(spec->text, sizeof(spec->text), "%s", m->v[2]);
                *ret = atoi(m->v[1]);
                return 1;
        }
        return 0;
}

/* Giving up root has made us invisible to czard, which looks at who its peer is and takes a process of its
 * own user that it cannot see (ProtectProc=) for a helper. So who connects then can be seen until czard says
 * something: by then it has looked. */
static int be_seen(void)
{
        int before = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        return before;
}

static void be_unseen(int *before)
{
        if (*before != 1)
                (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        *before = 1;
}

int ask_daemon(struct ctl *c, struct ask_spec *spec, struct error *e)
{
        _cleanup_(be_unseen) int before = c->control_fd >= 0 ? 1 : be_seen();
        char path[SOCKET_PATH_SIZE];
        ctl_socket_path(c, path, sizeof(path));
        _cleanup_close_ int sock = c->control_fd >= 0 ? take_fd(&c->control_fd) : connect_to(path, e);
        if (sock < 0)
                return -ENOTCONN;
        int r = control_send(sock, spec->request), status = CTL_CANNOT;
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "asking czard: %s",
                        r == -EMSGSIZE ? "too many or too long arguments; use a pattern" : strerror(-r));
        struct progress_line progress = {};
        for (;;) {
                struct pollfd p = {.fd = sock, .events = POLLIN};
                r = poll(&p, 1, PATIENCE_MSEC);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return error_set(e, CAUSE_INTERNAL, ETIMEDOUT, "czard does not answer");
                struct strv m = {};
                r = control_recv(sock, &m, e);
                be_unseen(&before);
                if (r == -EPIPE)
                        return error_set(e, CAUSE_INTERNAL, EPIPE,
                                "czard ended before it was done (journalctl -u czard)");
                if (r < 0)
                        return r;
                int end = take(spec, &m, &progress, &status);
                strv_done(&m);
                if (end)
                        break;
        }
        progress_end(&progress);
        spec->asked = true;
        return status;
}

/* --- under the lock --- */

struct hand {
        int lock_fd;
        struct ledger *ledger;
        struct audit *audit;
        struct staging *staging;
        struct feed *feed;
        struct ask_spec *spec;
};

static void hand_done(struct hand *h)
{
        feed_free(h->feed);
        staging_free(h->staging);
        audit_free(h->audit);
        ledger_free(h->ledger);
        close_fd(h->lock_fd);
}

static void on_note(void *arg, const struct steward_note *n)
{
        struct hand *h = arg;
        struct ask_row row = {.what = n->what,
                .bucket = n->object ? n->object->bucket : "",
                .key = n->object ? n->object->key : "",
                .path = n->path,
                .text = n->text,
                .bytes = n->bytes};
        if (h->spec->row)
                h->spec->row(h->spec->arg, &row);
}

static int open_lock(struct ctl *c, struct hand *h, struct error *e)
{
        int r = ctl_open_state(c, e);
        if (r < 0)
                return r;
        h->lock_fd = openat(c->state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (h->lock_fd < 0) {
                int err = errno;
                char help[CTL_DENIED_SIZE];
                _cleanup_free_ char *path = str_printf("%s/lock", c->config->state_dir);
                return error_set(e, CAUSE_INTERNAL, err, "cannot open %s/lock: %s%s%s", c->config->state_dir,
                        strerror(err), err == EACCES && path ? "; " : "",
                        err == EACCES && path ? ctl_denied(c, path, help) : "");
        }
        if (flock(h->lock_fd, LOCK_EX | LOCK_NB) < 0)
                return error_set(e, CAUSE_INTERNAL, EBUSY,
                        "czard has just been started, or another czarctl works: try again");
        /* So that a czard that is started meanwhile says who holds it. */
        char pid[32];
        int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
        if (ftruncate(h->lock_fd, 0) < 0 || pwrite(h->lock_fd, pid, (size_t)n, 0) != n)
                return error_set(e, CAUSE_SPACE, errno, "cannot write %s/lock: %s", c->config->state_dir,
                        strerror(errno));
        return 0;
}

int ask_check_volume(struct ledger *l, const struct staging *s, struct error *e)
{
        char known[STAGING_ID_SIZE] = "", found[STAGING_ID_SIZE];
        int r = ledger_meta_get(l, "staging-id", known, sizeof(known), e);
        return r < 0 || !*known ? MIN(r, 0)
                                : staging_expect_id(s, known,
                                          "is it mounted? (czarctl adopt takes another one)", found, e);
}

static int do_offline(struct ctl *c, struct ask_spec *spec, struct error *e)
{
        struct hand h = {.lock_fd = -1, .spec = spec};
        const struct config_staging *s = &c->config->staging;
        int r = open_lock(c, &h, e);
        if (r >= 0)
                r = audit_open(c->state_fd, &h.audit, e);
        if (r >= 0)
                r = ledger_open(c->config->state_dir, &h.ledger, e);
        if (r >= 0)
                r = history_open(h.ledger, h.audit, c->state_fd, c->config->limits.max_name, e);
        if (r == 1)
                shown_print(stderr, "czarctl: warning: %s\n", e->text);
        if (r >= 0 && spec->need_staging)
                r = staging_open(s->path, s->file_mode, s->dir_mode, &h.staging, e);
        if (r >= 0 && h.staging && !spec->any_volume)
                r = ask_check_volume(h.ledger, h.staging, e);
        if (r >= 0 && h.staging)
                r = feed_new(h.ledger, h.audit, h.staging, c->state_fd, &h.feed, e);
        if (r >= 0 && h.feed)
                r = feed_check(h.feed, e);
        if (r >= 0) {
                struct steward steward = {.ledger = h.ledger,
                        .audit = h.audit,
                        .staging = h.staging,
                        .config = c->config,
                        .feed = h.feed,
                        .uid = c->caller,
                        .reason = control_value(spec->request, "reason"),
                        .note = on_note,
                        .arg = &h};
                r = spec->offline(spec->arg, &steward, e);
        }
        hand_done(&h);
        return r;
}

/* The lock, which says whether czard runs, cannot be read, and nobody answers. */
static int cannot_tell(struct ctl *c, const struct error *e)
{
        struct error why = {};
        char help[CTL_DENIED_SIZE];
        _cleanup_free_ char *lock = str_printf("%s/lock", c->config->state_dir);
        bool denied = !lock || ctl_open_state(c, &why) < 0;
        return ctl_fail_text("%s; whether it runs %s cannot read: %s", e->text,
                denied ? "is in the state directory, which you" : "is told by its lock, which czarctl",
                ctl_denied(c, denied ? c->config->state_dir : lock, help));
}

int ask(struct ctl *c, struct ask_spec *spec)
{
        struct error e = {};
        pid_t pid = ctl_daemon_pid(c);
        int r;
        if (pid != 0) {
                r = ask_daemon(c, spec, &e);
                if (r == -ENOTCONN && pid > 0)
                        error_prefix(&e, "czard runs (PID %ld), but cannot be asked", (long)pid);
                else if (r == -ENOTCONN && (e.err == ENOENT || e.err == ECONNREFUSED))
                        return cannot_tell(c, &e);
                if (r >= 0 && r != CTL_WELL && r != CTL_FOUND && *spec->text)
                        return ctl_fail_text("%s", spec->text);
        } else if (!spec->offline) {
                return ctl_fail_text("czard does not run: systemctl start czard (or: czard --once)");
        } else {
                r = do_offline(c, spec, &e);
        }
        return r < 0 ? ctl_fail(&e) : r;
}
