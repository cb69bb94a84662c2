/* SPDX-License-Identifier: Apache-2.0 */
/* SETUP: from a GnuPG home to a worker that can decrypt. A passphrase that does not fit is found here, once,
 * by opening every key with it. Once the admin's home has been copied the sandbox is entered: from there on
 * no path outside our own home can be opened. Once the key is here gpg-agent is ended, unless this is the
 * reference worker, and a narrower one is entered: from there on there is no socket. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsx.h"
#include "sandbox.h"
#include "str.h"
#include "worker.h"

#define ON_DISK                                                                                              \
        "the runtime folder is on a disk: the key keeps all its protection there, and what GnuPG has to "    \
        "open "                                                                                              \
        "takes longer"

#define LOCKS_TEXT 256

static const char search_path[] = "/usr/bin:/bin";

/* gpg, gpgconf and gpg-agent get this environment and no other. TZ, because without one mktime(3) looks for
 * /etc/localtime, which is locked away, at each call. */
static int set_environment(const char *home)
{
        if (clearenv() != 0 || setenv("PATH", search_path, 1) < 0 || setenv("LC_ALL", "C", 1) < 0 ||
                setenv("TZ", "UTC0", 1) < 0 || setenv("GNUPGHOME", home, 1) < 0 ||
                setenv("HOME", home, 1) < 0)
                return -ENOMEM;
        return 0;
}

/* For this process and its children: no file but the own home, gpg and the libraries; no network. With an
 * agent: gpg-agent too, and sockets of the kind that it has, whose paths neither Landlock nor seccomp looks
 * at: where there can be a root of its own there are no others, else it reaches whatever such socket our user
 * may connect to and the unit does not hide. Without: no socket at all, and the home is only read. template:
 * is written as well; "" none. */
static int lock_down(const char *home, const char *template, bool agent, bool again, char missing[LOCKS_TEXT],
        struct error *e)
{
        const int families[] = {agent ? AF_UNIX : -1, -1};
        const struct sandbox_path paths[] = {
                {home, SANDBOX_READ | (agent ? SANDBOX_WRITE : 0)},
                {template, SANDBOX_READ | SANDBOX_WRITE},
                {"/dev/null", SANDBOX_READ | SANDBOX_WRITE},
                {"/usr/bin/gpg", SANDBOX_EXEC},
                {agent ? "/usr/bin/gpg-agent" : "", SANDBOX_EXEC},
                {agent ? "/usr/bin/gpgconf" : "", SANDBOX_EXEC},
                {"/usr/lib", SANDBOX_EXEC},
                {"/lib", SANDBOX_EXEC},
                {"/lib64", SANDBOX_EXEC},
        };
        const struct sandbox s = {.paths = paths,
                .n_paths = ELEMENTSOF(paths),
                .families = families,
                .streams_only = true,
                .again = again,
                .own_root = !again,
                .has_children = true};
        return sandbox_enter(&s, missing, LOCKS_TEXT, e);
}

/* The first line of the memfd. Its file offset is shared with the other workers', so it is not read(2). */
static int read_passphrase(int fd, struct secret *ret, struct error *e)
{
        struct stat st;
        if (fstat(fd, &st) < 0 || st.st_size < 0 || st.st_size > LIMIT_PASSPHRASE + 2)
                return error_set(e, CAUSE_PASSPHRASE, EINVAL, "the passphrase cannot be read");
        _cleanup_secret_ struct secret s = {};
        if (secret_alloc((size_t)st.st_size, &s) < 0)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        while (s.len < (size_t)st.st_size) {
                ssize_t n = pread(fd, s.p + s.len, (size_t)st.st_size - s.len, (off_t)s.len);
                if (n <= 0)
                        return error_set(e, CAUSE_PASSPHRASE, EIO, "the passphrase cannot be read");
                s.len += (size_t)n;
        }
        s.p[s.len] = 0;
        s.len = strcspn(s.p, "\r\n");
        s.p[s.len] = 0;
        secret_done(ret);
        *ret = s;
        s = (struct secret){};
        return 0;
}

/* Runs gpgconf with one argument; its output (cut at size) goes into out. Exit status 0 or -EIO. */
static int run_gpgconf(const char *home, const char *argument, const char *argument2, char *out, size_t size)
{
        int pipe_fds[2];
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        pid_t pid = fork();
        if (pid == 0) {
                if (fd_arrange((int[]){-1, pipe_fds[1], -1}, 3) == 0)
                        execlp("gpgconf", "gpgconf", "--homedir", home, argument, argument2, (char *)NULL);
                _exit(127);
        }
        close_fd(pipe_fds[1]);
        _cleanup_close_ int in = pipe_fds[0];
        size_t len = 0;
        ssize_t n;
        while (pid > 0 && (n = read(in, out + len, size - 1 - len)) > 0)
                len += (size_t)n;
        out[len] = 0;
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
                return -EIO;
        return 0;
}

/* Where gpg will look for its agent. Usually in the home; but where /run/user/UID exists, as for someone who
 * is logged in, every GnuPG program makes a folder for this home below /run/user/UID/gnupg and wants it
 * there, and there is no option against it (_gnupg_socketdir_internal() in its common/homedir.c). When it may
 * not, as in our sandbox, it makes do with the home. gpgconf is asked only where that can be. */
static int find_socket(const char *home, char *ret, size_t size, struct error *e)
{
        char folder[64];
        snprintf(folder, sizeof(folder), "/run/user/%u", (unsigned)geteuid());
        if (access(folder, F_OK) < 0) {
                snprintf(ret, size, "%s/S.gpg-agent", home);
                return 0;
        }
        if (run_gpgconf(home, "--list-dirs", "agent-socket", ret, size) < 0)
                return error_set(e, CAUSE_HELPER, EIO, "gpgconf cannot be run; is GnuPG installed?");
        ret[strcspn(ret, "\n")] = 0;
        if (ret[0] != '/')
                return error_set(e, CAUSE_HELPER, EIO, "gpgconf does not tell the agent's socket");
        return 0;
}

/* Opens every key with the passphrase. Good when one can be used; the others are forgotten with a warning. */
static int unlock_keys(struct worker *w, bool reprotect, struct strbuf *warning, struct error *e)
{
        struct error first = {};
        size_t n, usable = 0, left = 0;
        const struct pgp_key *keys = pgp_keys(w->pgp, &n);
        for (size_t i = 0; i < n; i++)
                left += keys[i].n_subkeys;
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < keys[i].n_subkeys;) {
                        struct error one = {};
                        const struct pgp_subkey *s = &keys[i].subkeys[j];
                        if (agent_unlock(&w->agent, s->keygrip, &w->passphrase, reprotect, &one) == 0) {
                                usable++;
                                j++;
                                continue;
                        }
                        if (!first.cause)
                                first = one;
                        strbuf_printf(warning, "%skey %s cannot be used: %s", warning->len ? "; " : "",
                                s->key_id, one.text);
                        pgp_forget(w->pgp, s->key_id);
                }
        if (usable)
                return 0;
        if (left == 0)
                return error_set(e, CAUSE_NO_KEY, ENOKEY, "there is no secret key that can decrypt");
        *e = first;
        const char *odd = first.cause == CAUSE_PASSPHRASE ? secret_oddity(&w->passphrase) : NULL;
        if (odd)
                (void)error_set(e, first.cause, first.err, "%.200s (%s)", first.text, odd);
        return -first.err;
}

/* A fresh agent that knows the passphrase. */
static int revive(void *arg)
{
        struct worker *w = arg;
        struct error e = {};
        size_t n;
        int r = agent_restart(&w->agent, w->home, &e);
        const struct pgp_key *keys = pgp_keys(w->pgp, &n);
        for (size_t i = 0; r == 0 && i < n; i++)
                for (size_t j = 0; r == 0 && j < keys[i].n_subkeys; j++)
                        r = agent_unlock(&w->agent, keys[i].subkeys[j].keygrip, &w->passphrase, false, &e);
        return r;
}

/* The key is here, and nothing that others made was looked at yet: what is not needed any more goes. */
static int narrow(struct worker *w, bool reference, struct error *e)
{
        char missing[LOCKS_TEXT];
        w->reference = reference || pgp_needs_agent(w->pgp);
        if (reference)
                pgp_prefer_gpg(w->pgp);
        if (!w->reference) {
                agent_stop(&w->agent);
                pgp_agent_ended(w->pgp);
                secret_done(&w->passphrase);
        }
        return lock_down(w->home, "", w->reference, true, missing, e);
}

static int set_up(struct worker *w, const struct message *m, struct strbuf *warning, struct error *e)
{
        const struct proto_setup *s = &m->setup;
        char socket[PATH_MAX];
        char missing[LOCKS_TEXT] = "";
        const bool in_memory = home_is_in_memory(s->home), verify = s->signatures != SIGNATURES_NONE;
        struct pgp_options options = {
                .engine = (enum pgp_engine)s->engine,
                .signatures = (enum signature_policy)s->signatures,
                .revive = revive,
                .arg = w,
        };
        w->limit = (struct expansion){.max_plaintext = s->max_plaintext, .max_ratio = s->max_ratio};
        w->max_name = s->max_name;
        w->home = strdup(s->home);
        if (!w->home || set_environment(w->home) < 0 || strv_split(&options.signers, s->signers) < 0)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        int r = home_prepare(w->home, s->source, s->import, verify, e);
        if (r == 0)
                r = find_socket(w->home, socket, sizeof(socket), e);
        if (r == 0)
                agent_forget_folder(socket);
        if (r == 0)
                r = lock_down(w->home, s->template, true, false, missing, e);
        if (r == 0 && *missing)
                strbuf_add(warning, missing);
        if (r == 0)
                r = m->n_fds ? read_passphrase(m->fds[0], &w->passphrase, e)
                             : secret_alloc(0, &w->passphrase);
        if (r == 0)
                r = find_socket(w->home, socket, sizeof(socket), e);
        if (r == 0)
                r = agent_start(&w->agent, w->home, socket, e);
        if (r == 0)
                r = pgp_open(w->home, &options, &w->pgp, e);
        strv_done(&options.signers);
        if (r == 0)
                r = unlock_keys(w, s->import && in_memory, warning, e);
        if (r == 0 && !in_memory && w->passphrase.len > 0)
                strbuf_printf(warning, "%s" ON_DISK, warning->len ? "; " : "");
        struct error slow = {};
        if (r == 0 && pgp_load_secret(w->pgp, w->home, &w->passphrase, &slow) < 0)
                strbuf_printf(
                        warning, "%s%s: every message goes through gpg", warning->len ? "; " : "", slow.text);
        if (r == 0 && *s->template)
                r = home_prepare(s->template, w->home, false, verify, e);
        return r < 0 ? r : narrow(w, s->reference, e);
}

/* The keys as they go into READY. The caller frees *ret and the key_ids in it. */
static int list_keys(const struct worker *w, struct proto_key **ret, size_t *ret_n)
{
        size_t n, used = 0;
        const struct pgp_key *keys = pgp_keys(w->pgp, &n);
        struct proto_key *list = calloc(n ? n : 1, sizeof(*list));
        for (size_t i = 0; list && i < n; i++) {
                struct strbuf ids = {};
                for (size_t j = 0; j < keys[i].n_subkeys && ids.len + 17 < LIMIT_KEY_IDS; j++)
                        strbuf_printf(&ids, "%s%s", j ? " " : "", keys[i].subkeys[j].key_id);
                if (!ids.s)
                        continue;
                list[used++] = (struct proto_key){
                        .fingerprint = keys[i].fingerprint,
                        .user_id = keys[i].user_id,
                        .key_ids = ids.s,
                        .created = keys[i].created,
                        .expires = keys[i].expires,
                };
        }
        *ret = list;
        *ret_n = used;
        return list ? 0 : -ENOMEM;
}

int worker_setup(struct worker *w, const struct message *m)
{
        if (w->home)
                return -EPROTO;
        struct error e = {};
        _cleanup_strbuf_ struct strbuf warning = {};
        struct message answer = {.type = PROTO_READY};
        int r = set_up(w, m, &warning, &e);
        if (r == 0)
                r = list_keys(w, &answer.ready.keys, &answer.ready.n_keys);
        if (r < 0 && !e.cause)
                error_set(&e, CAUSE_HELPER, -r, "%s", strerror(-r));
        w->ready = r == 0;
        answer.ready.reference = w->reference;
        answer.ready.outcome = (struct outcome){.cause = e.cause, .detail = e.text};
        answer.ready.warning = warning.s;
        r = service_send(&w->service, &answer);
        for (size_t i = 0; i < answer.ready.n_keys; i++)
                free((char *)(uintptr_t)answer.ready.keys[i].key_ids);
        free(answer.ready.keys);
        return r;
}

void worker_tidy(struct worker *w)
{
        agent_reap(&w->agent);
        if (w->ready && w->reference && w->agent.pid == 0)
                (void)revive(w); /* else the job tells */
}
