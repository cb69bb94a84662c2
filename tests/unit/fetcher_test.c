/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "scripted_helper.h"
#include "terms.h"

#define HELLO ((struct message){.type = PROTO_HELLO, .hello = {.version = PROTO_VERSION}})
#define LISTED ((struct message){.type = PROTO_LISTED})
#define DONE(...) ((struct message){.type = PROTO_DONE, .done = {__VA_ARGS__}})

struct fixture {
        uv_loop_t loop;
        struct fetcher *fetcher;
};

struct asker {
        unsigned pages, ends;
        enum cause cause;
        uint32_t checks;
        uint64_t bytes;
        char detail[256];
};

static void on_listed(void *arg, const struct proto_listed *page)
{
        struct asker *a = arg;
        (void)page;
        a->pages++;
}

static void on_progress(void *arg, uint64_t bytes)
{
        struct asker *a = arg;
        a->bytes = bytes;
}

static void on_done(void *arg, const struct proto_done *done)
{
        struct asker *a = arg;
        a->ends++;
        a->cause = done->outcome.cause;
        a->checks = done->checks;
        snprintf(a->detail, sizeof(a->detail), "%.200s", done->outcome.detail);
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        const struct fetcher_spec spec = {.config_path = "/nonexistent"};
        assert_int_equal(uv_loop_init(&f->loop), 0);
        assert_int_equal(fetcher_new(&f->loop, &spec, &f->fetcher), 0);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        fetcher_free(f->fetcher);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&f->loop), 0);
        script_reset();
        free(f);
        return 0;
}

static struct scripted *helper(void)
{
        return &scripted[n_scripted - 1];
}

static uint32_t get(struct fixture *f, struct asker *a, bool whole)
{
        int fds[2];
        const struct proto_get spec = {.bucket = "b", .key = "k", .etag = "\"e\"", .whole = whole};
        assert_int_equal(pipe(fds), 0);
        *a = (struct asker){};
        uint32_t id = fetcher_get(f->fetcher, &spec, fds[1], on_progress, on_done, a);
        close_fd(fds[0]);
        close_fd(fds[1]);
        assert_true(id != 0);
        script_receive(helper(), PROTO_GET);
        assert_int_equal(helper()->last.id, id);
        return id;
}

static uint32_t list(struct fixture *f, struct asker *a)
{
        const struct proto_list spec = {.bucket = "b", .prefix = "p", .start_after = ""};
        *a = (struct asker){};
        uint32_t id = fetcher_list(f->fetcher, &spec, on_listed, on_done, a);
        script_receive(helper(), PROTO_LIST);
        return id;
}

static void requests_are_answered_in_any_order(void **state)
{
        struct fixture *f = *state;
        struct asker one, two, three;
        uint32_t a = get(f, &one, true), b = list(f, &two), c = get(f, &three, false);
        script_send(&f->loop, helper(), HELLO, 0);
        script_send(&f->loop, helper(), LISTED, b);
        script_send(
                &f->loop, helper(), (struct message){.type = PROTO_PROGRESS, .progress = {.bytes = 7}}, a);
        script_send(&f->loop, helper(), (struct message){.type = PROTO_PROGRESS}, 0); /* it is alive */
        script_send(&f->loop, helper(), DONE(.checks = CHECK_TLS | CHECK_ONE_ETAG), c);
        script_send(&f->loop, helper(), LISTED, b);
        script_send(&f->loop, helper(), DONE(.checks = CHECK_TLS | CHECK_ETAG), a);
        script_send(&f->loop, helper(), DONE(.outcome.cause = CAUSE_DENIED), b);
        assert_int_equal(one.ends, 1);
        assert_int_equal(one.bytes, 7);
        assert_int_equal(one.checks, CHECK_TLS | CHECK_ETAG);
        assert_int_equal(two.pages, 2);
        assert_int_equal(two.cause, CAUSE_DENIED);
        assert_int_equal(three.ends, 1);
        assert_false(helper()->killed);
        assert_int_equal(fetcher_running(f->fetcher), 0);
}

/* It is killed, and what it was doing fails at once, so that it is tried again. */
static void expect_given_up(struct asker *a, const char *why)
{
        assert_true(scripted[0].killed);
        assert_null(scripted[0].helper);
        assert_int_equal(a->ends, 1);
        assert_int_equal(a->cause, CAUSE_HELPER);
        assert_int_equal(a->checks, 0);
        if (!strstr(a->detail, why))
                fail_msg("%s", a->detail);
}

static void one_hello(void **state)
{
        struct fixture *f = *state;
        struct asker a;
        get(f, &a, true);
        script_send(&f->loop, helper(), HELLO, 0);
        assert_int_equal(a.ends, 0);
        script_send(&f->loop, helper(), HELLO, 0);
        expect_given_up(&a, "hello twice");
}

static void hello_comes_first(void **state)
{
        struct fixture *f = *state;
        struct asker a;
        uint32_t id = get(f, &a, true);
        script_send(&f->loop, helper(), DONE(.bytes = 0), id);
        expect_given_up(&a, "without being asked");
}

/* After a HELLO, answer is sent with id + by. */
static void lie(struct fixture *f, bool whole, struct message answer, unsigned by, const char *why)
{
        struct asker a;
        uint32_t id = get(f, &a, whole);
        script_send(&f->loop, helper(), HELLO, 0);
        script_send(&f->loop, helper(), answer, id + by);
        expect_given_up(&a, why);
}

static void an_id_that_nobody_has(void **state)
{
        lie(*state, true, DONE(.bytes = 0), 1, "without being asked");
}

static void a_page_of_an_object(void **state)
{
        lie(*state, true, LISTED, 0, "no answer to its request");
}

static void a_signature_that_it_cannot_see(void **state)
{
        lie(*state, true, DONE(.checks = CHECK_SIGNATURE), 0, "checks that it cannot make");
}

static void a_digest_of_a_part(void **state)
{
        lie(*state, false, DONE(.checks = CHECK_ETAG), 0, "checks that it cannot make");
}

static void a_cause_that_it_cannot_know(void **state)
{
        lie(*state, true, DONE(.outcome.cause = CAUSE_NO_KEY), 0, "cause that it cannot know");
}

static void an_end_twice(void **state)
{
        struct fixture *f = *state;
        struct asker a, other;
        uint32_t id = get(f, &a, true);
        get(f, &other, true);
        script_send(&f->loop, helper(), HELLO, 0);
        script_send(&f->loop, helper(), DONE(.bytes = 0), id);
        assert_int_equal(a.ends, 1);
        script_send(&f->loop, helper(), DONE(.bytes = 0), id);
        assert_int_equal(a.ends, 1);
        expect_given_up(&other, "without being asked");
}

static void one_that_was_forgotten_may_still_end(void **state)
{
        struct fixture *f = *state;
        struct asker a;
        uint32_t id = get(f, &a, true);
        script_send(&f->loop, helper(), HELLO, 0);
        fetcher_forget(f->fetcher, id);
        script_receive(helper(), PROTO_CANCEL);
        script_send(&f->loop, helper(), DONE(.outcome.cause = CAUSE_CANCELLED), id);
        assert_int_equal(a.ends, 0);
        assert_false(helper()->killed);
        assert_int_equal(fetcher_running(f->fetcher), 0);
}

/* An old czard-fetch answers what it was asked, and nothing of what the new one was. */
static void answers_of_another_connection(void **state)
{
        struct fixture *f = *state;
        struct asker a, b;
        get(f, &a, true);
        script_send(&f->loop, helper(), HELLO, 0);
        fetcher_renew(f->fetcher);
        uint32_t second = get(f, &b, true);
        assert_int_equal(n_scripted, 2);
        script_send(&f->loop, &scripted[0], DONE(.bytes = 0), second);
        expect_given_up(&a, "without being asked");
        assert_int_equal(b.ends, 0);
        assert_false(scripted[1].killed);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(requests_are_answered_in_any_order),
                T(one_hello),
                T(hello_comes_first),
                T(an_id_that_nobody_has),
                T(a_page_of_an_object),
                T(a_signature_that_it_cannot_see),
                T(a_digest_of_a_part),
                T(a_cause_that_it_cannot_know),
                T(an_end_twice),
                T(one_that_was_forgotten_may_still_end),
                T(answers_of_another_connection),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
