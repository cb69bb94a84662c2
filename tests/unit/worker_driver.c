/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "archive.h"
#include "fsx.h"
#include "secret.h"
#include "worker_driver.h"
#include "zip_extents.h"

static void spawn(struct driver *d, const char *program)
{
        int pair[2];
        assert_int_equal(proto_pair(pair), 0);
        d->pid = fork();
        assert_true(d->pid >= 0);
        if (d->pid == 0) {
                setpgid(0, 0);
                if (pair[1] == 3)
                        fd_cloexec(3, 0);
                else
                        dup2(pair[1], 3);
                close_from(4);
                execl(program, program, "--channel", "3", (char *)NULL);
                _exit(127);
        }
        close(pair[1]);
        d->sock = pair[0];
}

void driver_send(struct driver *d, struct message *m)
{
        m->id = ++d->id;
        assert_int_equal(proto_send(d->sock, m), 0);
}

void driver_expect(struct driver *d, enum proto_type type, struct message *ret)
{
        struct error e = {};
        for (;;) {
                assert_int_equal(proto_recv(d->sock, ret, &e), 0);
                assert_int_equal(ret->id, d->id);
                if (ret->type != PROTO_PROGRESS)
                        break;
                d->progress++;
                message_done(ret);
        }
        assert_int_equal(ret->type, type);
}

uint8_t driver_engine;

void driver_start(struct driver *d, const struct gpg_fixture *f, const struct driver_options *o)
{
        static unsigned serial;
        char source[128];
        *d = (struct driver){.f = f};
        snprintf(d->home, sizeof(d->home), "%s/w%u", f->dir, serial++);
        snprintf(source, sizeof(source), "%s/%s", f->dir, o->source);
        assert_int_equal(mkdir(d->home, 0700), 0);
        spawn(d, CZARD_DECRYPT);
        struct message m = {
                .type = PROTO_SETUP,
                .setup = {.home = d->home,
                        .source = source,
                        .signers = o->signers,
                        .import = !o->copy,
                        .reference = !o->no_agent,
                        .signatures = o->signatures,
                        .engine = driver_engine,
                        .max_plaintext = o->max_plaintext ? o->max_plaintext : 1 * GIB,
                        .max_ratio = o->max_ratio ? o->max_ratio : 2000,
                        .max_name = o->max_name ? o->max_name : 255},
        };
        struct secret s = {};
        if (o->passphrase) {
                assert_int_equal(secret_alloc(strlen(o->passphrase), &s), 0);
                s.len = strlen(o->passphrase);
                memcpy(s.p, o->passphrase, s.len);
                m.fds[0] = secret_to_fd(&s);
                assert_true(m.fds[0] >= 0);
                m.n_fds = 1;
        }
        driver_send(d, &m);
        if (m.n_fds)
                close(m.fds[0]);
        secret_done(&s);
        driver_expect(d, PROTO_READY, &d->ready);
}

#ifdef CZARD_INDEX
void driver_start_index(struct driver *d, const struct gpg_fixture *f, uint64_t max_members)
{
        *d = (struct driver){.f = f, .max_members = max_members};
        spawn(d, CZARD_INDEX);
}
#endif

void driver_stop(struct driver *d)
{
        int status = -1;
        char line[256];
        close(d->sock);
        message_done(&d->ready);
        assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
        assert_int_equal(status, 0);
        if (!*d->home)
                return;
        /* A gpg whose message was refused ends by its closed pipe, a moment after the worker. The bracket
         * keeps the shell that looks from finding itself. */
        snprintf(line, sizeof(line),
                "for i in $(seq 300); do pgrep -f 'homedir [%c]%s( |$)' >/dev/null || exit 0; sleep 0.1; "
                "done; exit 1",
                d->home[0], d->home + 1);
        assert_int_equal(system(line), 0);
}

int driver_feed(const struct gpg_fixture *f, const char *name, uint64_t start, uint64_t end)
{
        size_t len;
        int p[2];
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (fork() == 0) { /* nobody waits for it */
                        signal(SIGPIPE, SIG_DFL);
                        char *bytes = gpg_read(f, name, &len);
                        (void)write_all(p[1], bytes + start, MIN(end, len) - start);
                        free(bytes);
                }
                _exit(0);
        }
        waitpid(pid, NULL, 0);
        close(p[1]);
        return p[0];
}

void driver_file_sized(
        struct driver *d, const char *name, uint64_t size, enum proto_format format, struct result *ret)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/out", d->f->dir);
        int out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(out >= 0);
        struct message m = {
                .type = PROTO_FILE, .file = {.size = size, .format = (uint8_t)format}, .n_fds = 2};
        m.fds[0] = driver_feed(d->f, name, 0, UINT64_MAX);
        m.fds[1] = out;
        driver_send(d, &m);
        close(m.fds[0]);
        driver_expect(d, PROTO_VERDICT, &ret->m);
        close(out);
        ret->out = gpg_read(d->f, "out", &ret->out_len);
}

void driver_file(struct driver *d, const char *name, enum proto_format format, struct result *ret)
{
        size_t len;
        free(gpg_read(d->f, name, &len));
        driver_file_sized(d, name, len, format, ret);
}

void driver_ask_directory(struct driver *d, const char *zip, uint64_t start, uint64_t end, uint64_t size)
{
        struct message m = {.type = PROTO_DIRECTORY,
                .directory = {.size = size, .start = start, .max_members = d->max_members},
                .n_fds = 1};
        m.fds[0] = driver_feed(d->f, zip, start, end);
        driver_send(d, &m);
        close(m.fds[0]);
}

enum cause driver_directory(struct driver *d, const char *zip, uint64_t start, struct listing *ret)
{
        size_t size;
        free(gpg_read(d->f, zip, &size));
        *ret = (struct listing){};
        if (start == 0 && size > DRIVER_WINDOW)
                start = size - DRIVER_WINDOW;
        driver_ask_directory(d, zip, start, size, size);
        for (;;) {
                struct error e = {};
                struct message *answer = &ret->m[ret->n_messages];
                assert_int_equal(proto_recv(d->sock, answer, &e), 0);
                assert_int_equal(answer->id, d->id);
                if (answer->type == PROTO_PROGRESS)
                        continue;
                ret->n_messages++;
                assert_true(ret->n_messages < ELEMENTSOF(ret->m));
                if (answer->type == PROTO_DIRECTORY_DONE)
                        break;
                assert_int_equal(answer->type, PROTO_ENTRIES);
                for (size_t i = 0; i < answer->entries.n; i++) {
                        assert_true(ret->n < ELEMENTSOF(ret->e));
                        ret->e[ret->n++] = answer->entries.entries[i];
                }
        }
        const struct proto_directory_done *done = &ret->m[ret->n_messages - 1].directory_done;
        ret->need_start = done->need_start;
        if (done->outcome.cause != CAUSE_NONE)
                return (enum cause)done->outcome.cause;
        assert_int_equal(done->count, ret->n);
        struct error e = {};
        return zip_extents(ret->e, ret->n, done->offset, &e) < 0 ? e.cause : CAUSE_NONE;
}

void listing_done(struct listing *l)
{
        for (size_t i = 0; i < l->n_messages; i++)
                message_done(&l->m[i]);
}

const struct archive_entry *listing_find(const struct listing *l, const char *name)
{
        for (size_t i = 0; i < l->n; i++)
                if (strcmp(l->e[i].name, name) == 0)
                        return &l->e[i];
        fail_msg("no member %s", name);
        return NULL;
}

void driver_members(
        struct driver *d, const char *zip, const struct archive_entry *e, size_t n, struct result *results)
{
        assert_true(n > 0 && n <= PROTO_RUN_MAX);
        _cleanup_free_ struct archive_entry *copy = malloc(n * sizeof(*copy));
        char path[128];
        memcpy(copy, e, n * sizeof(*copy));
        struct message m = {
                .type = PROTO_MEMBERS,
                .members = {.position = e[0].place.offset, .new_stream = 1, .entries = copy, .n = n},
                .n_fds = n + 1,
        };
        m.fds[0] = driver_feed(d->f, zip, e[0].place.offset, e[n - 1].place.offset + e[n - 1].place.extent);
        for (size_t i = 0; i < n; i++) {
                snprintf(path, sizeof(path), "%s/out%zu", d->f->dir, i);
                m.fds[i + 1] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
                assert_true(m.fds[i + 1] >= 0);
        }
        driver_send(d, &m);
        for (size_t i = 0; i <= n; i++)
                close(m.fds[i]);
        for (size_t i = 0; i < n; i++) {
                results[i] = (struct result){};
                driver_expect(d, PROTO_VERDICT, &results[i].m);
                assert_int_equal(results[i].m.verdict.member, i);
                snprintf(path, sizeof(path), "out%zu", i);
                results[i].out = gpg_read(d->f, path, &results[i].out_len);
        }
}

void result_done(struct result *r)
{
        message_done(&r->m);
        free(r->out);
}
