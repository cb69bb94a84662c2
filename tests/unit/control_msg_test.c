/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>

#include "control_msg.h"

static const char good[] = CONTROL_VERSION "\0resync\0wait=1\0--\0a*\0b";

static void test_round_trip(void **state)
{
        struct strv m = {};
        _cleanup_free_ char *p = NULL;
        size_t n = 0;
        (void)state;
        assert_int_equal(control_decode(good, sizeof(good), &m, NULL), 0);
        assert_int_equal(m.n, 5);
        assert_string_equal(m.v[0], "resync");
        assert_string_equal(control_value(&m, "wait"), "1");
        assert_null(control_value(&m, "wai"));
        assert_null(control_value(&m, "a*"));
        assert_int_equal(control_arguments(&m), 3);
        assert_int_equal(control_encode(&m, &p, &n), 0);
        assert_int_equal(n, sizeof(good));
        assert_memory_equal(p, good, n);
        strv_done(&m);
}

/* After "--" a NAME=VALUE is an argument like any other. */
static void test_no_value_among_arguments(void **state)
{
        static const char text[] = CONTROL_VERSION "\0forget\0--\0reason=x";
        struct strv m = {};
        (void)state;
        assert_int_equal(control_decode(text, sizeof(text), &m, NULL), 0);
        assert_null(control_value(&m, "reason"));
        strv_done(&m);
}

static void test_refused(void **state)
{
        static const struct {
                const char *p;
                size_t n;
        } bad[] = {
#define BAD(s) {s, sizeof(s)}
                BAD(""), BAD(CONTROL_VERSION), BAD("czard-control 2\0status"), BAD(CONTROL_VERSION "\0a\nb"),
                BAD(CONTROL_VERSION "\0\xff"), BAD(CONTROL_VERSION "\0\xc2\x85"),
                BAD(CONTROL_VERSION "\0\x7f"),
                {CONTROL_VERSION "\0status", sizeof(CONTROL_VERSION) + 6}, /* not ended */
        };
        struct strv m = {};
        struct error e = {};
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(control_decode(bad[i].p, bad[i].n, &m, &e), -EPROTO);
                assert_int_equal(m.n, 0);
        }
}

static void test_limits(void **state)
{
        struct strv m = {}, back = {};
        _cleanup_free_ char *p = NULL;
        size_t n = 0;
        (void)state;
        assert_int_equal(control_encode(&m, &p, &n), -EMSGSIZE);
        for (size_t i = 0; i < CONTROL_STRINGS_MAX; i++)
                assert_int_equal(strv_add(&m, "x"), 0);
        assert_int_equal(control_encode(&m, &p, &n), 0);
        assert_int_equal(control_decode(p, n, &back, NULL), 0);
        assert_int_equal(back.n, CONTROL_STRINGS_MAX);
        strv_done(&back);
        assert_int_equal(strv_add(&m, "x"), 0);
        free(take_ptr(&p));
        assert_int_equal(control_encode(&m, &p, &n), -EMSGSIZE);
        strv_done(&m);

        static char large[CONTROL_MESSAGE_MAX + 2];
        memset(large, 'a', sizeof(large));
        memcpy(large, CONTROL_VERSION, sizeof(CONTROL_VERSION));
        large[sizeof(large) - 1] = 0;
        assert_int_equal(control_decode(large, sizeof(large), &back, NULL), -EPROTO);
        large[CONTROL_MESSAGE_MAX - 1] = 0;
        assert_int_equal(control_decode(large, CONTROL_MESSAGE_MAX, &back, NULL), 0);
        strv_done(&back);
}

static void test_sockets(void **state)
{
        struct strv m = {}, got = {};
        int pair[2], extra;
        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        assert_int_equal(control_recv(pair[1], &got, NULL), -EAGAIN);
        assert_int_equal(strv_add(&m, "status"), 0);
        assert_int_equal(control_send(pair[0], &m), 0);
        assert_int_equal(control_recv(pair[1], &got, NULL), 0);
        assert_string_equal(got.v[0], "status");
        extra = close_fd(pair[0]);
        assert_int_equal(extra, -1);
        strv_done(&got);
        assert_int_equal(control_recv(pair[1], &got, NULL), -EPIPE);
        assert_int_equal(control_send(pair[1], &m), -EPIPE);
        close_fd(pair[1]);
        strv_done(&m);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_no_value_among_arguments),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_sockets),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
