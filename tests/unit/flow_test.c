/* SPDX-License-Identifier: Apache-2.0 */
/* Flows with a czard-fetch and czard-index processes that the test plays. */
#include "flow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scripted_helper.h"
#include "terms.h"

#define HELLO ((struct message){.type = PROTO_HELLO, .hello = {.version = PROTO_VERSION}})
#define DONE(...) ((struct message){.type = PROTO_DONE, .done = {__VA_ARGS__}})
#define READ(...) ((struct message){.type = PROTO_DIRECTORY_DONE, .directory_done = {__VA_ARGS__}})
#define PROGRESS(n) ((struct message){.type = PROTO_PROGRESS, .progress = {.bytes = (n)}})
#define LARGE (64U << 20) /* does not fit into a pipe */
#define MAX_TRANSFERS 4

struct fixture {
        uv_loop_t loop;
        struct fetcher *fetcher;
        struct pool *pool; /* of one process */
        struct pauses *pauses;
        struct recorder *record;
        struct moved moved;
        struct slot *slots;
        struct flow_env env;
};

/* Somebody who reads a directory of an archive. */
struct reader {
        struct flow flow;
        unsigned ends;
        uint64_t came;
        enum cause cause;
        char detail[256];
        const char *lie; /* its answer is one, for that reason */
        bool broken;     /* it cannot be given its job */
};

static int on_granted(void *arg, struct error *e)
{
        struct reader *r = arg;
        struct message m = {.type = PROTO_DIRECTORY, .fds = {r->flow.pipe_fd}, .n_fds = 1};
        return r->broken ? error_set(e, CAUSE_SPACE, ENOSPC, "no room") : worker_send(r->flow.worker, &m);
}

static void on_message(void *arg, struct message *m)
{
        struct reader *r = arg;
        if (r->lie)
                flow_break(&r->flow, r->lie);
        else
                flow_judge(&r->flow, m->directory_done.outcome.cause, m->directory_done.outcome.detail);
}

static void on_came(void *arg, uint64_t bytes)
{
        struct reader *r = arg;
        r->came += bytes;
}

static void on_ended(void *arg, enum cause cause, const char *detail)
{
        struct reader *r = arg;
        r->ends++;
        r->cause = cause;
        snprintf(r->detail, sizeof(r->detail), "%.200s", detail);
}

static const struct flow_ops ops = {
        .granted = on_granted, .message = on_message, .came = on_came, .ended = on_ended};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        const struct fetcher_spec spec = {.config_path = "/nonexistent"};
        assert_int_equal(uv_loop_init(&f->loop), 0);
        assert_int_equal(fetcher_new(&f->loop, &spec, &f->fetcher), 0);
        assert_int_equal(pool_new_index(&f->loop, 1, &f->pool), 0);
        f->pauses = pauses_new(NULL, "");
        f->record = record_new(NULL, NULL, f->pauses, false);
        assert_non_null(f->record);
        f->env = (struct flow_env){
                .fetcher = f->fetcher, .record = f->record, .moved = &f->moved, .slots = &f->slots};
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        assert_null(f->slots); /* an ended flow leaves none */
        fetcher_free(f->fetcher);
        pool_free(f->pool);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&f->loop), 0);
        record_free(f->record);
        pauses_free(f->pauses);
        script_reset();
        free(f);
        return 0;
}

static void start(struct fixture *f, struct reader *r, uint64_t length)
{
        const struct proto_get get = {.bucket = "b", .key = "k", .etag = "\"e\"", .length = length};
        struct error e = {};
        assert_int_equal(flow_start(&r->flow, &f->env, f->pool, &ops, r, &get, RANK_ARCHIVE, &e), 0);
        script_turn(&f->loop);
}

/* The process of the flow that was granted last; it has its job. */
static struct scripted *index_of(struct reader *r)
{
        struct scripted *s = &scripted[n_scripted - 1];
        assert_int_equal(r->flow.slot.reader, READER_GRANTED);
        script_receive(s, PROTO_DIRECTORY);
        return s;
}

/* A slot is given to it: the czard-fetch that has its GET. */
static struct scripted *get(struct fixture *f, struct reader *r)
{
        slots_start(&r->flow.slot, MAX_TRANSFERS); /* those before it wait */
        assert_int_equal(r->flow.slot.get, GET_RUNS);
        struct scripted *s = &scripted[n_scripted - 1];
        script_receive(s, PROTO_GET);
        script_send(&f->loop, s, HELLO, 0);
        return s;
}

static void expect_end(const struct reader *r, enum cause cause, const char *detail)
{
        assert_int_equal(r->ends, 1);
        assert_int_equal(r->cause, cause);
        if (!strstr(r->detail, detail))
                fail_msg("%s", r->detail);
}

static void both_sides_end_in_either_order(void **state)
{
        struct fixture *f = *state;
        for (unsigned i = 0; i < 2; i++) {
                struct reader r = {};
                start(f, &r, LARGE);
                struct scripted *index = index_of(&r), *fetch = get(f, &r);
                uint32_t asked = index->last.id, got = fetch->last.id;
                if (i == 0)
                        script_send(&f->loop, index, READ(.count = 0), asked);
                else
                        script_send(&f->loop, fetch, DONE(.bytes = 9, .checks = CHECK_TLS), got);
                assert_int_equal(r.ends, 0);
                if (i == 0)
                        script_send(&f->loop, fetch, DONE(.bytes = 9, .checks = CHECK_TLS), got);
                else
                        script_send(&f->loop, index, READ(.count = 0), asked);
                expect_end(&r, CAUSE_NONE, "");
                assert_int_equal(r.came, 9);
                assert_int_equal(r.flow.checks, CHECK_TLS);
                assert_null(f->slots);
                fetcher_renew(f->fetcher); /* the next GET is another czard-fetch's */
                script_turn(&f->loop);
        }
}

/* The reader's verdict is the reason, not that its GET was given up for it. */
static void a_verdict_against_it_gives_up_the_get(void **state)
{
        struct fixture *f = *state;
        struct reader r = {};
        start(f, &r, LARGE);
        struct scripted *index = index_of(&r), *fetch = get(f, &r);
        uint32_t got = fetch->last.id;
        script_send(&f->loop, index, READ(.outcome = {.cause = CAUSE_BAD_ZIP, .detail = "no end record"}),
                index->last.id);
        assert_int_equal(r.ends, 0);
        script_receive(fetch, PROTO_CANCEL);
        script_send(&f->loop, fetch, DONE(.outcome.cause = CAUSE_CANCELLED), got);
        expect_end(&r, CAUSE_BAD_ZIP, "no end record");
}

/* What a reader says of a body that did not come is not the reason. */
static void a_get_that_failed_is_the_reason(void **state)
{
        struct fixture *f = *state;
        struct reader r = {};
        start(f, &r, LARGE);
        struct scripted *index = index_of(&r), *fetch = get(f, &r);
        script_send(&f->loop, fetch, DONE(.outcome = {.cause = CAUSE_NETWORK, .detail = "reset"}),
                fetch->last.id);
        assert_int_equal(r.ends, 0);
        script_send(&f->loop, index, READ(.outcome = {.cause = CAUSE_BAD_ZIP, .detail = "no end record"}),
                index->last.id);
        expect_end(&r, CAUSE_NETWORK, "reset");
}

static void a_get_that_failed_waits_for_no_reader(void **state)
{
        struct fixture *f = *state;
        struct reader first = {}, r = {};
        start(f, &first, LARGE);
        struct scripted *index = index_of(&first);
        start(f, &r, LARGE);
        assert_int_equal(r.flow.slot.reader, READER_WAITS);
        struct scripted *fetch = get(f, &r);
        script_send(
                &f->loop, fetch, DONE(.outcome = {.cause = CAUSE_DENIED, .detail = "no"}), fetch->last.id);
        expect_end(&r, CAUSE_DENIED, "no");
        /* and its claim is withdrawn: nobody is started for it */
        size_t n = n_scripted;
        script_send(&f->loop, index, READ(.outcome.cause = CAUSE_BAD_ZIP), index->last.id);
        expect_end(&first, CAUSE_BAD_ZIP, "");
        script_turn(&f->loop);
        assert_int_equal(n_scripted, n);
}

/* Nobody would read it: its GET, which waits for a slot, is never sent. */
static void a_reader_that_dies_first(void **state)
{
        struct fixture *f = *state;
        struct reader r = {};
        start(f, &r, LARGE);
        script_reap(&f->loop, index_of(&r));
        expect_end(&r, CAUSE_HELPER, "czard-index");
        assert_int_equal(n_scripted, 1);
}

static void a_reader_that_cannot_be_given_its_job(void **state)
{
        struct fixture *f = *state;
        struct reader r = {.broken = true};
        start(f, &r, LARGE);
        expect_end(&r, CAUSE_SPACE, "no room");
        assert_true(scripted[0].retired);
}

static void a_reader_that_breaks_its_word(void **state)
{
        struct fixture *f = *state;
        struct reader r = {.lie = "told nonsense"};
        start(f, &r, LARGE);
        struct scripted *index = index_of(&r), *fetch = get(f, &r);
        uint32_t got = fetch->last.id;
        script_send(&f->loop, index, READ(.count = 0), index->last.id);
        assert_true(index->killed);
        assert_int_equal(r.ends, 0); /* it may still write */
        script_reap(&f->loop, index);
        script_receive(fetch, PROTO_CANCEL);
        script_send(&f->loop, fetch, DONE(.outcome.cause = CAUSE_CANCELLED), got);
        expect_end(&r, CAUSE_HELPER, "czard-index told nonsense");
}

static void one_that_is_cancelled_does_not_end(void **state)
{
        struct fixture *f = *state;
        struct reader r = {};
        start(f, &r, LARGE);
        struct scripted *index = index_of(&r), *fetch = get(f, &r);
        uint32_t got = fetch->last.id;
        flow_cancel(&r.flow);
        assert_null(f->slots);
        assert_true(index->killed);
        script_receive(fetch, PROTO_CANCEL);
        script_send(&f->loop, fetch, DONE(.outcome.cause = CAUSE_CANCELLED), got);
        assert_int_equal(r.ends, 0);
        flow_cancel(&r.flow); /* twice is once */
}

/* That a helper is alive is no progress. */
static void only_bytes_are_movement(void **state)
{
        struct fixture *f = *state;
        struct reader r = {};
        start(f, &r, LARGE);
        struct scripted *index = index_of(&r), *fetch = get(f, &r);
        uint32_t asked = index->last.id, got = fetch->last.id;
        f->moved = (struct moved){};
        script_send(&f->loop, index, PROGRESS(0), asked);
        script_send(&f->loop, fetch, PROGRESS(0), got);
        assert_int_equal(f->moved.usec, 0);
        script_send(&f->loop, index, PROGRESS(4), asked);
        assert_int_not_equal(f->moved.usec, 0);
        f->moved = (struct moved){};
        script_send(&f->loop, index, PROGRESS(4), asked);
        assert_int_equal(f->moved.usec, 0);
        script_send(&f->loop, fetch, PROGRESS(6), got);
        assert_int_not_equal(f->moved.usec, 0);
        assert_int_equal(r.came, 6);
        flow_cancel(&r.flow);
}

static void refused_credentials_block_the_bucket(void **state)
{
        struct fixture *f = *state;
        struct reader r = {};
        start(f, &r, LARGE);
        struct scripted *fetch = get(f, &r);
        assert_false(pauses_bucket_blocked(f->pauses, "b"));
        script_send(&f->loop, fetch,
                DONE(.outcome = {.cause = CAUSE_NO_CREDENTIALS, .detail = "none"}, .access_key_id = ""),
                fetch->last.id);
        assert_true(pauses_bucket_blocked(f->pauses, "b"));
        flow_cancel(&r.flow);
}

/* Slots go by what a body needs of its pipe. */
static void a_small_body_fits(void **state)
{
        struct fixture *f = *state;
        struct reader small = {}, large = {};
        start(f, &small, 1000);
        start(f, &large, LARGE);
        assert_true(small.flow.slot.fits);
        assert_false(large.flow.slot.fits);
        assert_ptr_equal(f->slots, &small.flow.slot);
        assert_ptr_equal(f->slots->next, &large.flow.slot);
        assert_int_equal(small.flow.slot.get, GET_WAITS); /* until it is given one */
        flow_cancel(&small.flow);
        assert_ptr_equal(f->slots, &large.flow.slot);
        flow_cancel(&large.flow);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(both_sides_end_in_either_order),
                T(a_verdict_against_it_gives_up_the_get),
                T(a_get_that_failed_is_the_reason),
                T(a_get_that_failed_waits_for_no_reader),
                T(a_reader_that_dies_first),
                T(a_reader_that_cannot_be_given_its_job),
                T(a_reader_that_breaks_its_word),
                T(one_that_is_cancelled_does_not_end),
                T(only_bytes_are_movement),
                T(refused_credentials_block_the_bucket),
                T(a_small_body_fits),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
