/* SPDX-License-Identifier: Apache-2.0 */
/* Children with a channel. They live as long as the command: a closed channel ends them, and the kernel does
 * when we die (PR_SET_PDEATHSIG). czard-fetch may be a transient unit that is locked as the installed one;
 * czard-decrypt holds the key, has no network, and gives back one small plaintext. */
#include "helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "credstore.h"
#include "fsx.h"
#include "run.h"
#include "scratch.h"
#include "str.h"
#include "timespan.h"

#define PATIENCE_MSEC 3000
#define FETCH_START_SECONDS 20
#define FETCH_ANSWER_SECONDS 120
#define DECRYPT_START_SECONDS 60
#define DECRYPT_VERDICT_SECONDS 60

static void tell(const char *line)
{
        shown_print(stderr, "%s\n", line);
}

static void become(const char *file, char *const *argv, char *const *env, int channel, int sock, int say)
{
        int fds[LAUNCH_CHANNEL_FD + 1] = {-1, -1, say, -1};
        fds[channel] = sock;
        if (fd_arrange(fds, MAX(channel, STDERR_FILENO) + 1) < 0)
                _exit(126);
        setsid();
        if (env)
                prctl(PR_SET_PDEATHSIG, SIGTERM);
        execvpe(file, argv, env ? env : environ);
        _exit(127);
}

/* channel: the descriptor that it has it by. env NULL: it has ours, and need not end with us. 0 or -errno. */
static int start(struct sync_helper *ret, const char *file, char *const *argv, char *const *env, int channel,
        struct error *e)
{
        int pair[2], r = proto_pair(pair);
        if (r < 0)
                return error_set(e, CAUSE_HELPER, -r, "socketpair: %s", strerror(-r));
        fflush(NULL);
        int say = said_open(&ret->said, tell);
        pid_t pid = fork();
        if (pid == 0)
                become(file, argv, env, channel, pair[1], say);
        int err = errno;
        said_handed(say);
        close_fd(pair[1]);
        if (pid < 0) {
                close_fd(pair[0]);
                said_close(&ret->said);
                return error_set(e, CAUSE_HELPER, err, "fork: %s", strerror(err));
        }
        ret->pid = pid;
        ret->sock = pair[0];
        return 0;
}

/* Starts libexec program `name` with args (NULL-terminated) and "--channel 3". 0 or -errno. */
static int start_helper(const char *name, const char *const *args, struct sync_helper *ret, struct error *e)
{
        struct launch l;
        int r = launch_prepare(&l, name, args, e);
        if (r < 0)
                return r;
        r = start(ret, l.file, l.argv, l.env, LAUNCH_CHANNEL_FD, e);
        launch_done(&l);
        return r;
}

static int send_to(struct sync_helper *h, const struct message *m, struct error *e)
{
        int r = proto_send(h->sock, m);
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "a helper process does not take requests: %s",
                               strerror(-r))
                     : 0;
}

/* The next message within that time; the caller calls message_done(). 0 or -errno. */
static int receive_from(struct sync_helper *h, unsigned seconds, struct message *ret, struct error *e)
{
        struct pollfd p[] = {{.fd = h->sock, .events = POLLIN}, {.fd = h->said.fd, .events = POLLIN}};
        uint64_t end = now_usec(CLOCK_MONOTONIC) + seconds * USEC_PER_SEC;
        for (;;) {
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                int left = now < end ? (int)((end - now) / USEC_PER_MSEC) : 0;
                int n = poll(p, 2, left);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n > 0 && p[1].revents && !said_take(&h->said))
                        p[1].fd = -1; /* it has closed it */
                if (n > 0 && p[0].revents)
                        break;
                if (n <= 0 || now >= end)
                        return error_set(e, CAUSE_HELPER, ETIMEDOUT, "no answer of a helper process for %u s",
                                seconds);
        }
        int r = proto_recv(h->sock, ret, e);
        if (r == -EPIPE)
                return error_set(e, CAUSE_HELPER, EPIPE, "a helper process ended early; see above");
        return r;
}

void sync_helper_stop(struct sync_helper *h)
{
        h->sock = close_fd(h->sock);
        if (h->pid <= 0)
                return;
        int status;
        for (unsigned waited = 0; waitpid(h->pid, &status, WNOHANG) == 0; waited += 10) {
                if (waited >= PATIENCE_MSEC) {
                        kill(-h->pid, SIGKILL);
                        kill(h->pid, SIGKILL);
                        waitpid(h->pid, &status, 0);
                        break;
                }
                (void)said_take(&h->said); /* else it may wait for us */
                nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        }
        h->pid = 0;
        said_close(&h->said);
}

/* --- czard-fetch as a unit --- */

#define UNIT_ARGS 160
/* `systemctl cat`: the unit file, then each drop-in in the order in which systemd reads them
 * (systemd.syntax(7)). */
#define UNIT_FILES_MOST (256 * 1024)

/* Of how it is started and kept running, which a command does otherwise. */
static bool is_lock(const char *line)
{
        static const char *const other[] = {"Type=", "Exec", "Restart",
                "WatchdogSec=", "NotifyAccess=", "Sockets=", "Timeout", "RuntimeDirectory", "StateDirectory",
                "StandardInput=", "StandardOutput=", "BusName="};
        for (size_t i = 0; i < ELEMENTSOF(other); i++)
                if (str_after(line, other[i]) && !str_after(line, "ExecPaths="))
                        return false;
        return strchr(line, '=') != NULL;
}

/* Takes the next line off *rest, those that end in a backslash joined: NULL at the end. */
static char *next_line(char **rest)
{
        char *line = *rest, *to = line, *from = line;
        if (!*line)
                return NULL;
        while (*from && *from != '\n') {
                if (from[0] == '\\' && from[1] == '\n') {
                        *to++ = ' ';
                        from += 2;
                } else {
                        *to++ = *from++;
                }
        }
        *rest = *from ? from + 1 : from;
        *to = 0;
        return line;
}

/* systemd-run takes "link-local" and its like alone only (bus_append_cgroup_property() in its
 * bus-unit-util.c). */
static bool is_list_of_addresses(const char *line)
{
        return str_after(line, "IPAddressAllow=") || str_after(line, "IPAddressDeny=");
}

static int add_property(struct strv *ret, const char *line)
{
        size_t name = strcspn(line, "=") + 1;
        const char *value = line + name;
        bool each = is_list_of_addresses(line);
        int r;
        do {
                size_t n = each ? strcspn(value, " \t") : strlen(value);
                _cleanup_free_ char *property =
                        str_printf("--property=%.*s%.*s", (int)name, line, (int)n, value);
                r = property ? strv_add(ret, property) : -ENOMEM;
                value += n;
                value += strspn(value, " \t");
        } while (r == 0 && *value);
        return r;
}

static int parse_unit(char *text, struct strv *ret)
{
        bool inside = false;
        int r = 0;
        for (char *line; r == 0 && (line = next_line(&text));) {
                line += strspn(line, " \t");
                if (*line == '[')
                        inside = str_after(line, "[Service]") != NULL;
                if (!inside || *line == '#' || *line == ';' || !is_lock(line))
                        continue;
                r = add_property(ret, line);
        }
        return r;
}

/* --property=NAME=VALUE for systemd-run, in the order of the files, so that a service run by it is locked as
 * the unit is. What starts, restarts and watches the unit is left out. 0; -ENOENT: there is no such unit;
 * -errno. */
static int unit_locks(const char *unit, struct strv *ret)
{
        const char *argv[] = {"systemctl", "cat", "--no-pager", unit, NULL};
        _cleanup_free_ char *text = malloc(UNIT_FILES_MOST);
        size_t len = 0;
        if (!text)
                return -ENOMEM;
        if (run_quietly(argv, NULL, text, UNIT_FILES_MOST, &len) != 0 || len >= UNIT_FILES_MOST)
                return -ENOENT;
        text[len] = 0;
        return parse_unit(text, ret);
}

/* systemd-run expands these. */
static bool is_plain(const char *path)
{
        return !strpbrk(path, "'\\\n%$");
}

/* Its standard input becomes the channel: that is the one descriptor systemd-run hands over. The locks and
 * limits are those of the unit as it is installed and as the admin changed it. */
static int start_unit(struct sync_helper *ret, const char *file, const char *config, const struct strv *locks,
        struct error *e)
{
        const char *argv[UNIT_ARGS] = {"systemd-run", "--quiet", "--collect", "--pipe", "--wait"};
        size_t n = 5;
        for (size_t i = 0; i < locks->n && n < UNIT_ARGS - 6; i++)
                argv[n++] = locks->v[i];
        const char *const command[] = {file, "--config", config, "--channel", "0"};
        memcpy(&argv[n], command, sizeof(command));
        union {
                const char **in;
                char **out;
        } pun = {.in = argv};
        return start(ret, argv[0], pun.out, NULL, STDIN_FILENO, e);
}

int fetch_prepare(struct ctl *c)
{
        char file[PATH_MAX];
        _cleanup_(strv_done) struct strv locks = {};
        _cleanup_free_ char *config = realpath(c->config_path, NULL);
        if (geteuid() != 0 || !config || !is_plain(config) || access("/run/systemd/system", F_OK) < 0 ||
                !credstore_has("czard.s3", NULL, NULL) || unit_locks("czard-fetch.service", &locks) < 0 ||
                launch_find("czard-fetch", file, sizeof(file)) < 0 || !is_plain(file))
                return 0;
        _cleanup_free_ struct sync_helper *u = malloc(sizeof(*u));
        struct error e = {};
        if (!u)
                return ctl_fail_text("cannot start czard-fetch: out of memory");
        *u = (struct sync_helper)HELPER_NONE;
        if (start_unit(u, file, config, &locks, &e) < 0)
                return ctl_fail_text("cannot start czard-fetch: %s", e.text);
        c->unit = take_ptr(&u);
        return 0;
}

/* --- czard-fetch --- */

int fetch_open(struct ctl *c, const char *config_path, struct fetch *ret, struct error *e)
{
        struct fetch f = {.helper = HELPER_NONE};
        bool is_unit = c->unit && !config_path;
        if (is_unit) {
                f.helper = *c->unit;
                *c->unit = (struct sync_helper)HELPER_NONE;
        } else {
                const char *args[] = {"--config", config_path ? config_path : c->config_path, NULL};
                int r = start_helper("czard-fetch", args, &f.helper, e);
                if (r < 0)
                        return r;
        }
        struct message m = {};
        int r = receive_from(&f.helper, FETCH_START_SECONDS, &m, e);
        if (r == -EPIPE && is_unit)
                error_set(e, CAUSE_HELPER, EPIPE,
                        "it ended early; see above (systemd-run, which starts it, needs D-Bus)");
        if (r == 0 && m.type != PROTO_HELLO)
                r = error_set(e, CAUSE_HELPER, EPROTO, "czard-fetch did not say hello");
        else if (r == 0 && m.hello.version != PROTO_VERSION)
                r = error_set(e, CAUSE_HELPER, EPROTO, "czard-fetch is of another version");
        else if (r == 0)
                snprintf(f.source, sizeof(f.source), "%s", m.hello.credentials_source);
        message_done(&m);
        if (r < 0) {
                error_prefix(e, "czard-fetch");
                fetch_close(&f);
                return r;
        }
        *ret = f;
        return 0;
}

void fetch_close(struct fetch *f)
{
        sync_helper_stop(&f->helper);
}

int fetch_list(struct fetch *f, const char *bucket, const char *prefix, const char *start_after,
        uint32_t *ret_id, struct error *e)
{
        struct message m = {.type = PROTO_LIST,
                .id = ++f->last_id,
                .list = {.bucket = bucket, .prefix = prefix, .start_after = start_after}};
        int r = send_to(&f->helper, &m, e);
        if (r == 0)
                *ret_id = m.id;
        return r;
}

int fetch_next(struct fetch *f, struct message *ret, struct error *e)
{
        for (;;) {
                int r = receive_from(&f->helper, FETCH_ANSWER_SECONDS, ret, e);
                if (r < 0 || ret->type == PROTO_LISTED || ret->type == PROTO_DONE)
                        return r;
                message_done(ret);
        }
}

int fetch_try(
        struct fetch *f, const char *bucket, const char *prefix, struct fetch_result *ret, struct error *e)
{
        struct fetch_result res = {};
        uint32_t id;
        int r = fetch_list(f, bucket, prefix, "", &id, e);
        for (bool over = false; r == 0 && !over;) {
                struct message m = {};
                r = fetch_next(f, &m, e);
                if (r < 0)
                        break;
                if (m.id == id && m.type == PROTO_LISTED) {
                        res.n += m.listed.n;
                        struct message stop = {.type = PROTO_CANCEL, .id = id};
                        if (!res.more)
                                r = send_to(&f->helper, &stop, e);
                        res.more = true;
                } else if (m.id == id) {
                        res.cause = (enum cause)m.done.outcome.cause;
                        /* We stopped it ourselves, or it was over before. */
                        res.more = res.cause == CAUSE_CANCELLED;
                        if (res.more)
                                res.cause = CAUSE_NONE;
                        res.skew_sec = m.done.skew_sec;
                        snprintf(res.detail, sizeof(res.detail), "%s", m.done.outcome.detail);
                        snprintf(res.access_key_id, sizeof(res.access_key_id), "%s", m.done.access_key_id);
                        over = true;
                }
                message_done(&m);
        }
        if (r == 0)
                *ret = res;
        return r;
}

/* --- czard-decrypt --- */

static int send_setup(struct ctl *c, struct decrypt_helper *d, const char *homedir,
        const struct secret *passphrase, struct error *e)
{
        const struct proto_setup setup = {.home = d->home,
                .source = homedir,
                .import = 1,
                .reference = 1, /* its one message may be of any kind */
                .signatures = SIGNATURES_OPTIONAL,
                .engine = (uint8_t)c->config->openpgp.engine,
                .max_plaintext = LIMIT_CREDENTIALS_FILE,
                .max_ratio = c->config->limits.max_ratio,
                .max_name = c->config->limits.max_name};
        struct message m;
        int r = setup_message(&setup, passphrase, &m);
        if (r < 0)
                return error_set(e, CAUSE_HELPER, -r, "memory file: %s", strerror(-r));
        r = send_to(&d->helper, &m, e);
        message_done(&m);
        return r;
}

static int take_ready(struct decrypt_helper *d, struct error *e)
{
        struct message m = {};
        int r = receive_from(&d->helper, DECRYPT_START_SECONDS, &m, e);
        if (r < 0)
                return r;
        if (m.type != PROTO_READY)
                r = error_set(e, CAUSE_HELPER, EPROTO, "czard-decrypt sent an unexpected message");
        else if (m.ready.outcome.cause != CAUSE_NONE)
                r = error_set(e, (enum cause)m.ready.outcome.cause, EACCES, "%s", m.ready.outcome.detail);
        else
                snprintf(d->warning, sizeof(d->warning), "%s", m.ready.warning);
        for (size_t i = 0; r == 0 && i < m.ready.n_keys; i++)
                r = strv_add(&d->usable, m.ready.keys[i].fingerprint);
        message_done(&m);
        return r;
}

int decrypt_open(struct ctl *c, const char *homedir, const struct secret *passphrase,
        struct decrypt_helper *ret, struct error *e)
{
        struct decrypt_helper d = {.helper = HELPER_NONE};
        struct error mine = {};
        int r = scratch_make(c, "home", d.home, &mine);
        if (r == 0)
                r = start_helper("czard-decrypt", NULL, &d.helper, &mine);
        if (r == 0)
                r = send_setup(c, &d, homedir, passphrase, &mine);
        if (r == 0)
                r = take_ready(&d, &mine);
        if (r < 0) {
                decrypt_close(&d);
                *e = mine;
                return r;
        }
        *ret = d;
        return 0;
}

void decrypt_close(struct decrypt_helper *d)
{
        sync_helper_stop(&d->helper);
        if (*d->home)
                scratch_remove(d->home);
        d->home[0] = 0;
        strv_done(&d->usable);
}

/* The message is small: it fits into the pipe. */
static int fill_pipe(int fd, uint64_t size, int *ret_pipe, struct error *e)
{
        char buf[LIMIT_CREDENTIALS_FILE];
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set(e, CAUSE_HELPER, errno, "pipe: %s", strerror(errno));
        fcntl(fds[1], F_SETPIPE_SZ, (int)sizeof(buf));
        ssize_t n = pread(fd, buf, sizeof(buf), 0);
        int r = n == (ssize_t)size ? write_all(fds[1], buf, (size_t)n) : -EIO;
        close_fd(fds[1]);
        if (r < 0) {
                close_fd(fds[0]);
                return error_set(e, CAUSE_HELPER, -r, "reading the message: %s", strerror(-r));
        }
        *ret_pipe = fds[0];
        return 0;
}

static int take_verdict(struct decrypt_helper *d, struct error *e)
{
        for (;;) {
                struct message m = {};
                int r = receive_from(&d->helper, DECRYPT_VERDICT_SECONDS, &m, e);
                if (r < 0)
                        return r;
                bool over = m.type == PROTO_VERDICT;
                if (over && m.verdict.outcome.cause != CAUSE_NONE)
                        r = error_set(e, (enum cause)m.verdict.outcome.cause, EBADMSG, "%s",
                                m.verdict.outcome.detail);
                message_done(&m);
                if (over)
                        return r;
        }
}

int decrypt_message(struct decrypt_helper *d, int fd, struct secret *ret, struct error *e)
{
        struct stat st;
        if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)LIMIT_CREDENTIALS_FILE)
                return error_set(e, CAUSE_BAD_PGP, EFBIG, "not a file of credentials: it has %lld bytes",
                        (long long)st.st_size);
        _cleanup_close_ int out = memfd_create("plaintext", MFD_CLOEXEC);
        _cleanup_close_ int in = -1;
        int r = out < 0 ? error_set(e, CAUSE_HELPER, errno, "memory file: %s", strerror(errno))
                        : fill_pipe(fd, (uint64_t)st.st_size, &in, e);
        struct message m = {.type = PROTO_FILE,
                .id = 1,
                .file = {.size = (uint64_t)st.st_size, .format = FORMAT_OPAQUE},
                .fds = {in, out},
                .n_fds = 2};
        if (r == 0)
                r = send_to(&d->helper, &m, e);
        if (r == 0)
                r = take_verdict(d, e);
        if (r < 0)
                return r;
        if (lseek(out, 0, SEEK_SET) < 0 || (r = secret_read_all(out, LIMIT_CREDENTIALS_FILE, ret)) < 0)
                return error_set(e, CAUSE_HELPER, r < 0 ? -r : errno, "reading the plaintext");
        return 0;
}
