/* SPDX-License-Identifier: Apache-2.0 */
/* czard-deliver(8). The unit starts it with --follow; czarctl deliver run and revoke start it for one run.
 * Each run but a revocation has a process of its own. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "feed_reader.h"
#include "fsx.h"
#include "journal.h"
#include "look.h"
#include "sandbox.h"
#include "seal.h"
#include "secret.h"
#include "session.h"
#include "shown.h"
#include "str.h"

/* --- one run: under the lock of the state folder, locked into what it needs, one after another --- */

static int open_state(struct session *s, struct error *e)
{
        _cleanup_free_ char *path = str_printf("%s-deliver", s->config->state_dir);
        if (!path)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (mkdir(path, 0750) < 0 && errno != EEXIST)
                return error_errno(e, errno, "%s", path);
        s->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->state_fd < 0)
                return error_errno(e, errno, "%s", path);
        int r = check_owner_mode(s->state_fd, path, 007, e);
        if (r == 0)
                r = turn_take(s, path, e);
        if (r < 0)
                return r;
        const char *runtime = getenv("RUNTIME_DIRECTORY");
        s->run_dir = str_empty(runtime) ? str_printf("%s/run", path) : strdup(runtime);
        if (!s->run_dir)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (mkdir(s->run_dir, 0700) < 0 && errno != EEXIST)
                return error_errno(e, errno, "%s", s->run_dir);
        seal_sweep(s->run_dir);
        return 0;
}

/* Whatever was taken out of the configuration while we slept, or waited for our turn, must not leave again.
 */
static int read_config(struct session *s, struct error *e)
{
        struct error why = {};
        if (config_load(s->options->config_path, &s->fresh, &why, NULL) < 0) {
                error_set(&s->unread, CAUSE_CONFIG, EINVAL,
                        "the configuration cannot be read, and nothing is handed out until it can: %s",
                        why.text);
                return 0;
        }
        if (!streq(s->fresh->state_dir, s->config->state_dir))
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "state_dir is another one than at the start: restart czard-deliver");
        s->config = s->fresh;
        return 0;
}

static int find_keys(struct session *s, struct error *e)
{
        const char *slash = strrchr(s->config->path, '/');
        s->keys_dir = str_printf(
                "%.*srecipients.d", slash ? (int)(slash + 1 - s->config->path) : 0, s->config->path);
        return s->keys_dir ? 0 : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

/* It reads what is staged, and the recipients' keys; it writes the outboxes and its own folders; it runs gpg.
 */
static int lock_down(const struct session *s, struct error *e)
{
        static const int families[] = {AF_UNIX, -1};
        const struct config *c = s->config;
        _cleanup_free_ char *state = str_printf("%s-deliver", c->state_dir);
        const struct sandbox_path fixed[] = {
                {c->staging.path, SANDBOX_READ},
                {s->keys_dir, SANDBOX_READ},
                {state, SANDBOX_READ | SANDBOX_WRITE},
                {s->run_dir, SANDBOX_READ | SANDBOX_WRITE},
                {"/dev/null", SANDBOX_READ | SANDBOX_WRITE},
                {"/etc/localtime", SANDBOX_READ},
                {"/usr/bin/gpg", SANDBOX_EXEC},
                {"/usr/bin/gpgconf", SANDBOX_EXEC},
                {"/usr/lib", SANDBOX_EXEC},
                {"/lib", SANDBOX_EXEC},
                {"/lib64", SANDBOX_EXEC},
        };
        size_t n = ELEMENTSOF(fixed);
        _cleanup_free_ struct sandbox_path *paths = calloc(n + s->n_targets, sizeof(*paths));
        if (!state || !paths)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        memcpy(paths, fixed, sizeof(fixed));
        for (size_t i = 0; i < s->n_targets; i++)
                paths[n++] = (struct sandbox_path){s->targets[i].delivery.path, SANDBOX_READ | SANDBOX_WRITE};
        const struct sandbox sandbox = {.paths = paths,
                .n_paths = n,
                .families = families,
                .has_children = true,
                .sets_attributes = true};
        char missing[256] = "";
        int r = sandbox_enter(&sandbox, missing, sizeof(missing), e);
        if (*missing)
                journal_debug("not locked: %s", missing);
        return r;
}

static int start(struct session *s, struct error *e)
{
        int r = open_state(s, e);
        if (r == 0)
                r = read_config(s, e);
        if (r == 0)
                r = find_keys(s, e);
        if (r == 0)
                r = audit_open(s->state_fd, &s->audit, e);
        if (r == 0)
                journal_audit_head(audit_durable_head(s->audit));
        if (r == 0)
                r = targets_find(s, e);
        if (r == 0 && !s->options->revoke) /* which takes back without it, as does what is over */
                (void)look_open(s->config->staging.path, &s->staging, &s->unstaged);
        return r < 0 ? r : lock_down(s, e);
}

/* A status. When it gives way what is done stays done, and the next run begins anew. */
static int run_all(struct session *s)
{
        int worst = *s->unstaged.text && s->n_targets ? STATUS_CANNOT : STATUS_WELL;
        for (size_t i = 0; i < s->n_targets; i++) {
                s->gave_way = s->gave_way || turn_is_wanted(s);
                if (s->gave_way)
                        return STATUS_GAVE_WAY;
                worst = MAX(worst, one_run(s, &s->targets[i]));
        }
        return s->gave_way ? STATUS_GAVE_WAY : worst;
}

/* c finds the state folder; what counts is the configuration as it is once it is our turn. *ret_next: when to
 * run again though nothing changes, seconds. Returns the exit status. */
static int deliver_run(const struct config *c, const struct deliver_options *o, int64_t *ret_next)
{
        struct session s = {.config = c,
                .options = o,
                .state_fd = -1,
                .lock_fd = -1,
                .now = (int64_t)time(NULL),
                .next = INT64_MAX};
        struct error e = {};
        int r = start(&s, &e);
        bool unknown = r == -ENOENT && e.cause == CAUSE_CONFIG; /* what is to be revoked */
        int status = r == 0 ? run_all(&s) : unknown ? STATUS_USAGE : STATUS_CANNOT;
        if (status < STATUS_CANNOT && !s.options->revoke && !s.options->name)
                (void)futimens(s.lock_fd, NULL); /* czarctl: the last run that came through */
        if (r < 0)
                journal_event(EVENT_FAILED, &(struct journal_fields){.cause = e.cause}, "%s", e.text);
        *ret_next = s.next;
        journal_audit_head(NULL);
        audit_free(s.audit);
        staging_free(s.staging);
        targets_done(&s);
        close_fd(s.lock_fd);
        close_fd(s.state_fd);
        free(s.run_dir);
        free(s.keys_dir);
        config_free(s.fresh);
        return status;
}

/* --- a process for it --- */

/* In the child. It does not outlive who waits for it. */
_Noreturn static void be_child(const struct config *c, const struct deliver_options *o, const sigset_t *mask,
        pid_t parent, int told_fd)
{
        int64_t next;
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(STATUS_CANNOT);
        if (mask)
                sigprocmask(SIG_SETMASK, mask, NULL);
        int status = deliver_run(c, o, &next);
        _exit(write(told_fd, &next, sizeof(next)) == sizeof(next) ? status : STATUS_CANNOT);
}

/* A run in a child, for it locks the process into what its configuration needs, and the next one has another.
 * mask: its signal mask, NULL: ours. Returns the exit status, or the number of the signal that ended it,
 * negative. */
static int child_run(
        const struct config *c, const struct deliver_options *o, const sigset_t *mask, int64_t *ret_next)
{
        int pipes[2], status = 0;
        pid_t us = getpid();
        *ret_next = INT64_MAX;
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return STATUS_CANNOT;
        pid_t pid = fork();
        if (pid == 0)
                be_child(c, o, mask, us, pipes[1]);
        close(pipes[1]);
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (read(pipes[0], ret_next, sizeof(*ret_next)) != sizeof(*ret_next))
                *ret_next = INT64_MAX;
        close(pipes[0]);
        if (pid > 0 && WIFSIGNALED(status))
                return -WTERMSIG(status);
        return pid > 0 ? WEXITSTATUS(status) : STATUS_CANNOT;
}

/* --- the unit's loop ---
 *
 * It waits for the feeds and the clock, and starts a child for each run; SIGHUP is for the
 * feeds, and for a run at once. Between runs nothing is open but what is waited for. */

#define SETTLE_MSEC 2000 /* a snapshot's lines come together */
#define BLIND_MSEC 10000 /* between two looks at what cannot be watched */
#define DAY_SEC 86400    /* keys and dates are looked at daily */

struct feeds {
        struct feed_reader **v;
        size_t n;
};

static void feeds_done(struct feeds *f)
{
        for (size_t i = 0; i < f->n; i++)
                feed_reader_free(f->v[i]);
        free(f->v);
        *f = (struct feeds){};
}

static int on_line(const char *line, size_t len, uint64_t seq, void *arg)
{
        (void)line;
        (void)len;
        (void)seq;
        *(bool *)arg = true;
        return 0;
}

/* Everything that is there now is known. */
static int feeds_open(struct feeds *f, const struct config *c, struct error *e)
{
        f->v = calloc(c->n_packages + 1, sizeof(*f->v));
        if (!f->v)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        for (size_t i = 0; i < c->n_packages; i++) {
                int r = feed_reader_new(c->staging.path, c->packages[i].spec.org, 0, &f->v[f->n], e);
                if (r < 0)
                        return r;
                f->n++;
        }
        return 0;
}

/* What came since the last time? Sets the descriptors to wait for. *ret_blind: one cannot be watched, as when
 * the user's inotify instances are all in use; it has to be looked at. Of a feed that is damaged any notice
 * is news. */
static bool feeds_look(struct feeds *f, struct pollfd *p, bool *ret_blind)
{
        *ret_blind = false;
        bool news = false;
        for (size_t i = 0; i < f->n; i++) {
                struct error e = {};
                int fd = feed_reader_watch(f->v[i], &e);
                int r = feed_reader_each(f->v[i], on_line, &news, &e);
                news |= r == -EBADMSG && p[i].revents;
                p[i] = (struct pollfd){.fd = fd, .events = POLLIN};
                *ret_blind |= fd < 0;
        }
        return news;
}

static int wait_msec(int64_t until)
{
        int64_t left = until - (int64_t)time(NULL);
        return left <= 0 ? 0 : (int)MIN(left, (int64_t)DAY_SEC) * 1000;
}

/* c names the feeds, until SIGHUP reads it anew. Returns a status, or -1: SIGHUP. */
static int follow_config(
        const struct config *c, const struct deliver_options *o, int signals, const sigset_t *old)
{
        struct feeds feeds = {};
        struct error e = {};
        int status = -2;
        if (feeds_open(&feeds, c, &e) < 0) {
                journal_event(EVENT_FAILED, NULL, "%s", e.text);
                status = STATUS_CANNOT;
        }
        _cleanup_free_ struct pollfd *p = calloc(c->n_packages + 1, sizeof(*p));
        bool due = true, blind;
        int64_t next = 0;
        while (status == -2 && p) {
                struct signalfd_siginfo signal;
                due |= feeds_look(&feeds, p, &blind);
                p[feeds.n] = (struct pollfd){.fd = signals, .events = POLLIN};
                if (due || next <= (int64_t)time(NULL)) {
                        int r = child_run(c, o, old, &next);
                        bool well = r == STATUS_WELL || r == STATUS_STILL;
                        next = MIN(next, (int64_t)time(NULL) + (well ? DAY_SEC : RETRY_SEC));
                        if (r == STATUS_GAVE_WAY)
                                next = 0;
                        due = false;
                        sd_notify(0, "READY=1");
                        continue;
                }
                int wait = wait_msec(next);
                if (poll(p, feeds.n + 1, blind ? MIN(wait, BLIND_MSEC) : wait) <= 0)
                        continue;
                if (!p[feeds.n].revents) {
                        poll(&p[feeds.n], 1, SETTLE_MSEC);
                        continue;
                }
                if (read(signals, &signal, sizeof(signal)) == sizeof(signal))
                        status = signal.ssi_signo == SIGHUP ? -1 : STATUS_WELL;
        }
        feeds_done(&feeds);
        return status;
}

/* Runs whenever a feed says something, a date has come or SIGHUP is sent; until SIGTERM. */
static int deliver_follow(const struct deliver_options *o)
{
        sigset_t set, old;
        sigemptyset(&set);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigprocmask(SIG_BLOCK, &set, &old);
        _cleanup_close_ int signals = signalfd(-1, &set, SFD_CLOEXEC);
        struct config *c = NULL;
        int status = -1;
        while (status == -1) {
                struct config *fresh = NULL;
                struct error e = {};
                if (signals >= 0 && config_load(o->config_path, &fresh, &e, NULL) == 0) {
                        config_free(c);
                        c = fresh;
                } else {
                        journal_event(c ? EVENT_RELOAD_REFUSED : EVENT_FAILED,
                                &(struct journal_fields){.cause = e.cause}, "%s", e.text);
                }
                status = c ? follow_config(c, o, signals, &old) : STATUS_USAGE;
        }
        config_free(c);
        return status;
}

/* --- once --- */

static int run_once(const struct deliver_options *o)
{
        struct config *c = NULL;
        struct error e = {};
        int64_t next;
        int status = STATUS_USAGE;
        if (config_load(o->config_path, &c, &e, NULL) < 0)
                shown_print(stderr, "czard-deliver: %s\n", e.text);
        else if (o->name && !o->revoke && !config_find_delivery(c, o->name))
                shown_print(
                        stderr, "czard-deliver: there is no [deliver %s] in %s\n", o->name, o->config_path);
        else
                status = o->revoke ? deliver_run(c, o, &next) : child_run(c, o, NULL, &next);
        config_free(c);
        return status;
}

/* A run that gave way is followed by another, which knows nothing of the first. */
static int run_until_done(const struct deliver_options *o)
{
        int status;
        while ((status = run_once(o)) == STATUS_GAVE_WAY)
                ;
        if (status < 0) { /* as if it had ended us */
                signal(-status, SIG_DFL);
                raise(-status);
        }
        return status < 0 ? STATUS_CANNOT : status;
}

/* --- options --- */

static int usage(void)
{
        fputs("usage: czard-deliver [--config FILE] [--follow | --once [--again] [NAME] | --revoke NAME "
              "--reason TEXT]\n"
              "Started by czard-deliver.service and by czarctl deliver; see czard-deliver(8).\n",
                stderr);
        return STATUS_USAGE;
}

int main(int argc, char **argv)
{
        enum {
                CONFIG = 'c',
                FOLLOW = 'f',
                ONCE = 'o',
                AGAIN = 'a',
                REVOKE = 'r',
                REASON = 't',
                UID = 'u',
                VERSION = 'V'
        };
        static const struct option long_options[] = {
                {"config", required_argument, NULL, CONFIG},
                {"follow", no_argument, NULL, FOLLOW},
                {"once", no_argument, NULL, ONCE},
                {"again", no_argument, NULL, AGAIN},
                {"revoke", required_argument, NULL, REVOKE},
                {"reason", required_argument, NULL, REASON},
                {"uid", required_argument, NULL, UID}, /* of who asked czarctl */
                {"version", no_argument, NULL, VERSION},
                {},
        };
        struct deliver_options o = {.config_path = CONFIG_DEFAULT_PATH, .uid = -1};
        const char *revoke = NULL;
        bool once = false;
        uint64_t uid;
        for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) >= 0;)
                switch (c) {
                case CONFIG:
                        o.config_path = optarg;
                        break;
                case FOLLOW:
                        o.follow = true;
                        break;
                case ONCE:
                        once = true;
                        break;
                case AGAIN:
                        o.again = true;
                        break;
                case REVOKE:
                        revoke = optarg;
                        break;
                case REASON:
                        o.revoke = optarg;
                        break;
                case UID:
                        if (parse_u64(optarg, UINT32_MAX, &uid) < 0)
                                return usage();
                        o.uid = (int64_t)uid;
                        break;
                case VERSION:
                        puts("czard-deliver " CZARD_VERSION);
                        return STATUS_WELL;
                default:
                        return usage();
                }
        o.name = revoke ? revoke : optind < argc ? argv[optind++] : NULL;
        if (optind < argc || o.follow + once + (revoke != NULL) != 1 ||
                (revoke != NULL) != (o.revoke != NULL) || (o.follow && (o.name || o.again)) ||
                str_empty(o.revoke ? o.revoke : "x"))
                return usage();
        process_harden();
        umask(0077);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGIO, SIG_IGN); /* of a lease that somebody breaks */
        setenv("LC_ALL", "C", 1);
        unsetenv(JOURNAL_FOR_PEOPLE);
        journal_open();
        return o.follow ? deliver_follow(&o) : run_until_done(&o);
}
