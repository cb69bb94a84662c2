/* SPDX-License-Identifier: Apache-2.0 */
/* Real processes: scripts of the shell, put where a helper is looked for; and a socket without one. */
#include "helper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME "scripted-helper"

struct fixture {
        uv_loop_t loop;
        char file[PATH_MAX + 64];
        struct helper *helper;
        unsigned messages, gone, reaped;
        char how[512];
};

static void on_message(void *arg, struct message *m)
{
        struct fixture *f = arg;
        (void)m;
        f->messages++;
}

static void on_gone(void *arg, const struct error *e)
{
        struct fixture *f = arg;
        f->gone++;
        snprintf(f->how, sizeof(f->how), "%s", e->text);
        f->helper = helper_free(f->helper);
}

static void on_reaped(void *arg)
{
        struct fixture *f = arg;
        f->reaped++;
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        assert_true(n > 0);
        self[n] = 0;
        *strrchr(self, '/') = 0;
        snprintf(f->file, sizeof(f->file), "%s/../" NAME, self);
        assert_true(mkdir(f->file, 0755) == 0 || errno == EEXIST);
        strcat(f->file, "/" NAME);
        assert_int_equal(uv_loop_init(&f->loop), 0);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        helper_free(f->helper);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&f->loop), 0);
        unlink(f->file);
        *strrchr(f->file, '/') = 0;
        rmdir(f->file);
        free(f);
        return 0;
}

static void start(struct fixture *f, const char *script)
{
        struct error e = {};
        FILE *file = fopen(f->file, "w");
        assert_non_null(file);
        fprintf(file, "#!/bin/sh\n%s\n", script);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(f->file, 0755), 0);
        if (helper_start(&f->loop, NAME, NULL, on_message, on_gone, f, &f->helper, &e) < 0)
                fail_msg("%s", e.text);
}

static void one_that_ends(void **state)
{
        struct fixture *f = *state;
        start(f, "exit 7");
        helper_when_reaped(f->helper, on_reaped, f);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(f->gone, 1);
        assert_string_equal(f->how, "exited with status 7");
        assert_int_equal(f->reaped, 1);
}

/* PROGRESS of 16 bytes, and it ends at once: what it said comes before its end. */
static void its_last_word_is_heard(void **state)
{
        struct fixture *f = *state;
        start(f, "printf '\\002\\000\\017\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000' "
                 ">&3");
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(f->messages, 1);
        assert_int_equal(f->gone, 1);
}

/* What is no message: it is killed with all that it has started, and told of only then. */
static void what_is_no_message(void **state)
{
        struct fixture *f = *state;
        char pid_file[PATH_MAX + 96], script[PATH_MAX + 256];
        snprintf(pid_file, sizeof(pid_file), "%s.pid", f->file);
        snprintf(
                script, sizeof(script), "sleep 1000 & echo $! > '%s'; printf 'nonsense' >&3; wait", pid_file);
        start(f, script);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(f->gone, 1);
        assert_int_equal(f->messages, 0);
        assert_non_null(strstr(f->how, "broke the protocol"));
        assert_non_null(strstr(f->how, "killed"));
        FILE *file = fopen(pid_file, "r");
        int pid = 0;
        assert_non_null(file);
        assert_int_equal(fscanf(file, "%d", &pid), 1);
        fclose(file);
        unlink(pid_file);
        char path[64], state_letter = 'Z';
        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        for (unsigned i = 0; i < 6000;
                i++) { /* who has lost its parent is reaped by another, also while we read */
                file = fopen(path, "r");
                if (!file)
                        return;
                int n = fscanf(file, "%*d %*s %c", &state_letter);
                fclose(file);
                if (n != 1 || state_letter == 'Z')
                        return;
                usleep(10000);
        }
        fail_msg("its child still runs");
}

static void one_that_closes_its_channel(void **state)
{
        struct fixture *f = *state;
        start(f, "exec 3>&-; exec sleep 1000");
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(f->gone, 1);
        assert_string_equal(f->how, "ended by signal 9");
}

static void one_that_is_freed_is_not_told_of(void **state)
{
        struct fixture *f = *state;
        start(f, "exec sleep 1000");
        helper_when_reaped(f->helper, on_reaped, f);
        f->helper = helper_free(f->helper);
        assert_int_equal(f->reaped, 0);
        uv_run(&f->loop, UV_RUN_DEFAULT); /* ends once it is reaped */
        assert_int_equal(f->gone, 0);
        assert_int_equal(f->reaped, 1);
}

/* A socket that another listens at. Its end of the connection. */
static int connect_to(struct fixture *f)
{
        struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "helper_test.XXXXXX"};
        struct error e = {};
        int made = mkstemp(at.sun_path), listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_true(made >= 0 && unlink(at.sun_path) == 0);
        close(made);
        assert_int_equal(
                helper_connect(&f->loop, at.sun_path, on_message, on_gone, f, &f->helper, &e), -ENOENT);
        assert_non_null(strstr(e.text, "cannot reach czard-fetch at"));
        assert_int_equal(bind(listener, (void *)&at, sizeof(at)), 0);
        assert_int_equal(listen(listener, 1), 0);
        if (helper_connect(&f->loop, at.sun_path, on_message, on_gone, f, &f->helper, &e) < 0)
                fail_msg("%s", e.text);
        int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(sock >= 0);
        unlink(at.sun_path);
        close(listener);
        return sock;
}

static const struct message word = {.type = PROTO_PROGRESS};

static void one_that_another_started(void **state)
{
        struct fixture *f = *state;
        struct message m = {};
        int sock = connect_to(f);
        assert_int_equal(helper_send(f->helper, &word), 0);
        assert_int_equal(proto_recv(sock, &m, NULL), 0);
        assert_int_equal(m.type, PROTO_PROGRESS);
        message_done(&m);
        assert_int_equal(proto_send(sock, &word), 0);
        close(sock);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(f->messages, 1);
        assert_int_equal(f->gone, 1);
        assert_string_equal(f->how, "closed its channel");
}

static void nonsense_of_one_that_another_started(void **state)
{
        struct fixture *f = *state;
        int sock = connect_to(f);
        assert_int_equal(send(sock, "nonsense", 8, MSG_NOSIGNAL), 8);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(f->messages, 0);
        assert_int_equal(f->gone, 1);
        char byte;
        assert_int_equal(recv(sock, &byte, 1, 0), 0); /* it is left */
        close(sock);
}

static void one_that_another_started_is_freed(void **state)
{
        struct fixture *f = *state;
        char byte;
        int sock = connect_to(f);
        f->helper = helper_free(f->helper);
        assert_int_equal(recv(sock, &byte, 1, 0), 0);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(f->gone, 0);
        close(sock);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(one_that_ends),
                T(its_last_word_is_heard),
                T(what_is_no_message),
                T(one_that_closes_its_channel),
                T(one_that_is_freed_is_not_told_of),
                T(one_that_another_started),
                T(nonsense_of_one_that_another_started),
                T(one_that_another_started_is_freed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
