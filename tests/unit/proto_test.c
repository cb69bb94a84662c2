/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "limits.h"
#include "proto.h"

static void numbers_strings_and_elements_arrive_as_sent(void **state)
{
        (void)state;
        struct proto_object objects[] = {
                {.key = "a/b c+%.gpg", .etag = "\"0123\"", .size = UINT64_C(5) << 40, .last_modified = -1},
                {.key = "\xc3\xa9", .etag = "", .size = 0, .last_modified = 1720000000},
        };
        struct message m = {.type = PROTO_LISTED, .id = 0xfffffffe, .listed = {.objects = objects, .n = 2}};
        void *p;
        size_t n;
        assert_int_equal(proto_encode(&m, &p, &n), 0);
        struct message got;
        struct error e = {};
        assert_int_equal(proto_decode(p, n, &got, &e), 0);
        assert_int_equal(got.type, PROTO_LISTED);
        assert_int_equal(got.id, 0xfffffffe);
        assert_int_equal(got.listed.n, 2);
        assert_string_equal(got.listed.objects[0].key, "a/b c+%.gpg");
        assert_int_equal(got.listed.objects[0].size, UINT64_C(5) << 40);
        assert_int_equal(got.listed.objects[0].last_modified, -1);
        assert_string_equal(got.listed.objects[1].key, "\xc3\xa9");
        message_done(&got);
        free(p);
}

static void every_cut_of_a_message_is_refused(void **state)
{
        (void)state;
        struct proto_key keys[] = {{.fingerprint = "AA", .user_id = "u", .key_ids = "1 2", .created = 1}};
        struct message m = {.type = PROTO_READY, .ready = {.keys = keys, .n_keys = 1, .warning = "w"}};
        m.ready.outcome.detail = "d";
        void *p;
        size_t n;
        assert_int_equal(proto_encode(&m, &p, &n), 0);
        for (size_t cut = 0; cut < n; cut++) {
                struct message got;
                assert_int_equal(proto_decode(p, cut, &got, NULL), -EPROTO);
        }
        uint8_t *longer = malloc(n + 1);
        memcpy(longer, p, n);
        longer[n] = 0;
        struct message got;
        assert_int_equal(proto_decode(longer, n + 1, &got, NULL), -EPROTO);
        free(longer);
        free(p);
}

static void bounds_hold_on_both_sides(void **state)
{
        (void)state;
        char key[1026];
        memset(key, 'k', 1025);
        key[KEY_SIZE] = 0;
        struct message m = {.type = PROTO_GET, .get = {.bucket = "b", .key = key, .etag = "", .whole = 1}};
        void *p;
        size_t n;
        assert_int_equal(proto_encode(&m, &p, &n), -EMSGSIZE);
        key[1024] = 0;
        assert_int_equal(proto_encode(&m, &p, &n), 0);
        struct message got;
        assert_int_equal(proto_decode(p, n, &got, NULL), 0);
        message_done(&got);
        ((uint8_t *)p)[n - 1] = 2; /* whole: a boolean */
        assert_int_equal(proto_decode(p, n, &got, NULL), -EPROTO);
        ((uint8_t *)p)[0] = 9;
        struct error e = {};
        assert_int_equal(proto_decode(p, n, &got, &e), -EPROTO);
        assert_non_null(strstr(e.text, "version"));
        free(p);
}

static int decode_skew(int64_t skew)
{
        struct message m = {.type = PROTO_DONE, .done = {.skew_sec = skew}}, got;
        void *p;
        size_t n;
        assert_int_equal(proto_encode(&m, &p, &n), 0);
        int r = proto_decode(p, n, &got, NULL);
        free(p);
        if (r == 0) {
                assert_int_equal(got.done.skew_sec, skew);
                message_done(&got);
        }
        return r;
}

static void signed_numbers_have_bounds_on_both_sides(void **state)
{
        (void)state;
        const int64_t most = INT64_C(1) << 40;
        assert_int_equal(decode_skew(most), 0);
        assert_int_equal(decode_skew(-most), 0);
        assert_int_equal(decode_skew(most + 1), -EPROTO);
        assert_int_equal(decode_skew(-most - 1), -EPROTO);
        assert_int_equal(decode_skew(INT64_MIN), -EPROTO);
        assert_int_equal(decode_skew(INT64_MAX), -EPROTO);
}

static void a_long_detail_is_cut_not_refused(void **state)
{
        (void)state;
        char detail[2000];
        memset(detail, 'd', sizeof(detail) - 1);
        detail[sizeof(detail) - 1] = 0;
        struct message m = {.type = PROTO_DONE, .done = {.outcome = {.cause = CAUSE_DNS, .detail = detail}}};
        void *p;
        size_t n;
        assert_int_equal(proto_encode(&m, &p, &n), 0);
        struct message got;
        assert_int_equal(proto_decode(p, n, &got, NULL), 0);
        assert_int_equal(strlen(got.done.outcome.detail), 511);
        message_done(&got);
        free(p);
}

static void descriptors_travel_and_are_counted(void **state)
{
        (void)state;
        int pair[2], pipe_fds[2];
        assert_int_equal(proto_pair(pair), 0);
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        struct message m = {.type = PROTO_GET, .id = 7, .get = {.bucket = "b", .key = "k"}};
        m.fds[0] = pipe_fds[1];
        m.n_fds = 1;
        assert_int_equal(proto_send(pair[0], &m), 0);
        struct message got;
        struct error e = {};
        assert_int_equal(proto_recv(pair[1], &got, &e), 0);
        assert_int_equal(got.n_fds, 1);
        assert_int_equal(write(got.fds[0], "x", 1), 1);
        assert_true(fcntl(got.fds[0], F_GETFD) & FD_CLOEXEC);
        message_done(&got);
        char c;
        assert_int_equal(read(pipe_fds[0], &c, 1), 1);
        /* Without its pipe a GET is refused, and so is a FILE with one descriptor instead of two. */
        m.n_fds = 0;
        assert_int_equal(proto_send(pair[0], &m), 0);
        assert_int_equal(proto_recv(pair[1], &got, &e), -EPROTO);
        m = (struct message){.type = PROTO_FILE, .fds = {pipe_fds[0]}, .n_fds = 1};
        assert_int_equal(proto_send(pair[0], &m), 0);
        assert_int_equal(proto_recv(pair[1], &got, &e), -EPROTO);
        close(pair[0]);
        assert_int_equal(proto_recv(pair[1], &got, &e), -EPIPE);
        close(pair[1]);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
}

static void sizes_tell_what_fits(void **state)
{
        (void)state;
        struct archive_entry entry = {.name = "abc"};
        struct message m = {.type = PROTO_ENTRIES, .entries = {.entries = &entry, .n = 0}};
        void *p;
        size_t empty, one;
        assert_int_equal(proto_encode(&m, &p, &empty), 0);
        free(p);
        m.entries.n = 1;
        assert_int_equal(proto_encode(&m, &p, &one), 0);
        free(p);
        assert_int_equal(one - empty, proto_entry_size(&entry));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(numbers_strings_and_elements_arrive_as_sent),
                cmocka_unit_test(every_cut_of_a_message_is_refused),
                cmocka_unit_test(bounds_hold_on_both_sides),
                cmocka_unit_test(signed_numbers_have_bounds_on_both_sides),
                cmocka_unit_test(a_long_detail_is_cut_not_refused),
                cmocka_unit_test(descriptors_travel_and_are_counted),
                cmocka_unit_test(sizes_tell_what_fits),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
