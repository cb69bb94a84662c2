/* SPDX-License-Identifier: Apache-2.0 */
/* The queue over a real ledger, with a czard-fetch that the test plays; workers never come. */
#include "queue.h"

#include "ledger_fixture.h"

#include "config_fixture.h"
#include "scripted_helper.h"

#define HELLO ((struct message){.type = PROTO_HELLO, .hello = {.version = PROTO_VERSION}})
#define DONE(...) ((struct message){.type = PROTO_DONE, .done = {__VA_ARGS__}})

struct place {
        struct fixture *ledger;
        uv_loop_t loop;
        struct config *config;
        struct package_context context;
        struct audit *audit;
        struct pauses *pauses;
        struct recorder *record;
        struct fetcher *fetcher;
        struct pool *pool;
        struct moved moved;
        struct slot *slots;
        struct job_env env;
        struct queue *queue;
};

static int open_place(void **state)
{
        struct place *p = calloc(1, sizeof(*p));
        const struct fetcher_spec spec = {.config_path = "/nonexistent"};
        struct error e = {};
        void *ledger = NULL;
        assert_int_equal(setup(&ledger), 0);
        p->ledger = ledger;
        _cleanup_close_ int fd = open(p->ledger->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(audit_open(fd, &p->audit, &e), 0);
        p->config = load_good(STAGING PACKAGE "[s3]\nmax_transfers = 2\n");
        assert_int_equal(uv_loop_init(&p->loop), 0);
        assert_int_equal(fetcher_new(&p->loop, &spec, &p->fetcher), 0);
        assert_int_equal(pool_new_index(&p->loop, 0, &p->pool), 0);
        p->pauses = pauses_new(NULL, "");
        p->record = record_new(p->ledger->l, p->audit, p->pauses, false);
        record_configure(p->record, p->config);
        p->context.pool = p->pool;
        p->env = (struct job_env){.loop = &p->loop,
                .config = p->config,
                .contexts = &p->context,
                .ledger = p->ledger->l,
                .record = p->record,
                .pauses = p->pauses,
                .index = p->pool,
                .flow = {.fetcher = p->fetcher, .record = p->record, .moved = &p->moved, .slots = &p->slots}};
        assert_int_equal(queue_new(&p->env, &p->queue), 0);
        *state = p;
        return 0;
}

static int close_place(void **state)
{
        struct place *p = *state;
        queue_free(p->queue);
        assert_null(p->slots);
        fetcher_free(p->fetcher);
        pool_free(p->pool);
        uv_run(&p->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&p->loop), 0);
        record_free(p->record);
        pauses_free(p->pauses);
        audit_free(p->audit);
        config_free(p->config);
        script_reset();
        void *ledger = p->ledger;
        free(p);
        return teardown(&ledger);
}

/* The events of that day of July 2024. */
static int64_t a_day(struct place *p, unsigned day)
{
        char key[128];
        snprintf(key, sizeof(key),
                "universityx/edx/events/2024/universityx-edx-events-2024-07-%02u.log.gz.gpg", day);
        struct ledger_object o = an_object(key, "\"e\"");
        enum listed got;
        strcpy(o.bucket, "data-bucket");
        snprintf(o.date, sizeof(o.date), "2024-07-%02u", day);
        assert_int_equal(ledger_listed(p->ledger->l, &o, 1, &got, NULL), 0);
        return o.id;
}

static enum object_state state_of_id(struct place *p, int64_t id)
{
        struct ledger_object o;
        assert_int_equal(ledger_get(p->ledger->l, id, &o, NULL), 0);
        return o.state;
}

/* What whoever stands above does in a turn of the loop. */
static void turn(struct place *p)
{
        struct error e = {};
        queue_step(p->queue);
        if (queue_wants_plan(p->queue) && queue_make_plan(p->queue, false, &e) < 0)
                fail_msg("%s", e.text);
        if (queue_take_start(p->queue))
                queue_start(p->queue);
}

/* The GET of the oldest flow fails. */
static void fail_first_get(struct place *p)
{
        slots_start(p->slots, 2); /* one of them is kept for a flow that has a worker */
        struct scripted *fetch = &scripted[n_scripted - 1];
        script_receive(fetch, PROTO_GET);
        script_send(&p->loop, fetch, HELLO, 0);
        script_send(&p->loop, fetch, DONE(.outcome = {.cause = CAUSE_NETWORK, .detail = "reset"}),
                fetch->last.id);
}

static void the_newest_days_first_and_no_more_than_may_be(void **state)
{
        struct place *p = *state;
        int64_t a = a_day(p, 1), c = a_day(p, 3), b = a_day(p, 2);
        struct queue_progress progress;
        turn(p);
        assert_false(queue_busy(p->queue, c)); /* nobody asked for a plan */
        queue_plan(p->queue);
        assert_false(queue_idle(p->queue));
        turn(p);
        assert_true(queue_busy(p->queue, c) && queue_busy(p->queue, b));
        assert_false(queue_busy(p->queue, a));
        assert_int_equal(state_of_id(p, c), OBJECT_FETCHING);
        queue_progress(p->queue, &progress);
        assert_int_equal(progress.running, 2);
        assert_int_equal(progress.due, 3);
        assert_int_equal(progress.due_bytes, 300);
}

static void one_that_ended_makes_room_in_the_next_turn(void **state)
{
        struct place *p = *state;
        int64_t a = a_day(p, 1), b = a_day(p, 2), c = a_day(p, 3);
        queue_plan(p->queue);
        turn(p);
        fail_first_get(p);
        assert_true(queue_busy(p->queue, c)); /* until it is taken */
        assert_false(queue_busy(p->queue, a));
        turn(p);
        assert_false(queue_busy(p->queue, c));
        assert_true(queue_busy(p->queue, a) && queue_busy(p->queue, b));
        assert_int_equal(state_of_id(p, c), OBJECT_RETRY);
        assert_true(record_take_retry(p->record) > 0);
}

static void held_nothing_is_started(void **state)
{
        struct place *p = *state;
        int64_t a = a_day(p, 1);
        queue_hold(p->queue);
        queue_plan(p->queue);
        turn(p);
        assert_false(queue_busy(p->queue, a));
        queue_release(p->queue);
        turn(p);
        assert_true(queue_busy(p->queue, a));
}

static void nor_in_a_pause(void **state)
{
        struct place *p = *state;
        int64_t a = a_day(p, 1);
        pauses_enter(p->pauses, PAUSE_ADMIN, CAUSE_NONE, "holidays");
        queue_plan(p->queue);
        turn(p);
        assert_false(queue_busy(p->queue, a));
        assert_true(queue_idle(p->queue)); /* nothing more can be done now */
        pauses_leave(p->pauses, PAUSE_ADMIN);
        queue_plan(p->queue);
        turn(p);
        assert_true(queue_busy(p->queue, a));
}

static void what_is_cancelled_goes_back_at_once(void **state)
{
        struct place *p = *state;
        int64_t a = a_day(p, 1), b = a_day(p, 2);
        queue_plan(p->queue);
        turn(p);
        queue_cancel_all(p->queue);
        assert_false(queue_busy(p->queue, a) || queue_busy(p->queue, b));
        assert_null(p->slots);
        assert_int_equal(state_of_id(p, a), OBJECT_NEW);
        assert_int_equal(state_of_id(p, b), OBJECT_NEW);
}

static void a_retry_that_is_to_come_is_waited_for(void **state)
{
        struct place *p = *state;
        assert_true(queue_idle(p->queue));
        queue_retry_at(p->queue, (int64_t)time(NULL) + 60);
        assert_false(queue_idle(p->queue));
        queue_retry_at(p->queue, 1); /* an earlier one: it is over */
        script_turn(&p->loop);
        assert_true(queue_wants_plan(p->queue));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)
        const struct CMUnitTest tests[] = {
                T(the_newest_days_first_and_no_more_than_may_be),
                T(one_that_ended_makes_room_in_the_next_turn),
                T(held_nothing_is_started),
                T(nor_in_a_pause),
                T(what_is_cancelled_goes_back_at_once),
                T(a_retry_that_is_to_come_is_waited_for),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
