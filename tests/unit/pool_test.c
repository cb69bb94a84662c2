/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "scripted_helper.h"

static const struct message directory = {.type = PROTO_DIRECTORY};
#define READY ((struct message){.type = PROTO_READY})
#define VERDICT(...) ((struct message){.type = PROTO_VERDICT, .verdict = {__VA_ARGS__}})
#define PROGRESS ((struct message){.type = PROTO_PROGRESS})

struct fixture {
        uv_loop_t loop;
        char dir[64];
        struct config config;
        struct secret passphrase;
        struct pool *pool;
        unsigned readies;
        enum cause ready_cause;
};

/* Somebody who wants a worker. */
struct owner {
        struct claim claim;
        struct worker *worker;
        unsigned messages;
        char lost[256]; /* why it has none any more; "" */
};

static void on_ready(void *arg, struct pool *p, const struct proto_ready *ready)
{
        struct fixture *f = arg;
        (void)p;
        f->readies++;
        f->ready_cause = ready->outcome.cause;
}

static void on_granted(void *arg, struct worker *w)
{
        struct owner *o = arg;
        o->worker = w;
}

static void on_worker(void *arg, struct message *m, const struct error *e)
{
        struct owner *o = arg;
        if (m) {
                o->messages++;
                return;
        }
        o->worker = NULL;
        snprintf(o->lost, sizeof(o->lost), "%.200s", e->text);
}

static void claim(struct fixture *f, struct owner *o)
{
        *o = (struct owner){.claim = {.granted = on_granted, .on_message = on_worker, .arg = o}};
        pool_claim(f->pool, &o->claim);
        assert_null(o->worker); /* never before it returns */
        script_turn(&f->loop);
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        assert_int_equal(uv_loop_init(&f->loop), 0);
        strcpy(f->dir, "/tmp/czard-pool.XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        struct error e = {};
        const struct pool_spec spec = {.run_dir = f->dir,
                .homedir = f->dir,
                .config = &f->config,
                .passphrase = &f->passphrase,
                .workers = 2};
        assert_int_equal(pool_new(&f->loop, &spec, on_ready, f, &f->pool, &e), 0);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        pool_free(f->pool);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&f->loop), 0);
        script_reset();
        assert_int_equal(rmdir(f->dir), 0); /* no home is left */
        free(f);
        return 0;
}

/* The first worker is ready. */
static struct scripted *first(struct fixture *f)
{
        struct scripted *s = &scripted[n_scripted - 1];
        script_receive(s, PROTO_SETUP);
        assert_true(s->last.id != 0);
        script_send(&f->loop, s, READY, s->last.id);
        return s;
}

static struct scripted *granted(struct fixture *f, struct owner *o)
{
        struct scripted *s = first(f);
        claim(f, o);
        assert_non_null(o->worker);
        return s;
}

/* A file without bytes; its id. */
static uint32_t send_file(struct owner *o, struct scripted *s)
{
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        struct message m = {.type = PROTO_FILE, .fds = {fds[0], fds[1]}, .n_fds = 2};
        assert_int_equal(worker_send(o->worker, &m), 0);
        close_fd(fds[0]);
        close_fd(fds[1]);
        script_receive(s, PROTO_FILE);
        assert_int_equal(s->last.id, m.id);
        return m.id;
}

static void the_first_tells_of_the_key(void **state)
{
        struct fixture *f = *state;
        first(f);
        assert_int_equal(f->readies, 1);
        assert_int_equal(f->ready_cause, CAUSE_NONE);
}

static void a_worker_that_answered_all_serves_the_next(void **state)
{
        struct fixture *f = *state;
        struct owner one, other;
        struct scripted *s = granted(f, &one);
        uint32_t id = send_file(&one, s), next;
        script_send(&f->loop, s, PROGRESS, id);
        script_send(&f->loop, s, VERDICT(.member = 0), id);
        assert_int_equal(one.messages, 2);
        worker_release(one.worker);
        claim(f, &other);
        assert_non_null(other.worker);
        next = send_file(&other, s);
        assert_int_not_equal(next, id); /* each has its own */
        script_send(&f->loop, s, VERDICT(.member = 0), next);
        assert_int_equal(other.messages, 1);
        assert_int_equal(one.messages, 2);
        worker_release(other.worker);
        assert_false(s->killed);
        assert_int_equal(n_scripted, 1);
}

static void one_that_owes_an_answer_is_not_released(void **state)
{
        struct fixture *f = *state;
        struct owner one, other;
        struct scripted *s = granted(f, &one);
        uint32_t id = send_file(&one, s);
        worker_release(one.worker);
        assert_true(s->killed);
        assert_null(s->helper);
        claim(f, &other);
        assert_null(other.worker); /* another one is started for it */
        assert_int_equal(n_scripted, 2);
        struct scripted *second = first(f);
        assert_non_null(other.worker);
        send_file(&other, second);
        /* The old verdict goes nowhere. */
        struct message late = VERDICT(.member = 0);
        late.id = id;
        proto_send(s->sock, &late);
        script_turn(&f->loop);
        assert_int_equal(other.messages, 0);
        worker_discard(other.worker);
}

/* It is killed, its owner hears nothing of it any more, and is told once it is reaped. */
static void expect_broken(struct fixture *f, struct owner *o, struct scripted *s, const char *why)
{
        unsigned messages = o->messages;
        assert_true(s->killed);
        assert_string_equal(o->lost, ""); /* not before it is reaped */
        if (o->worker) {
                struct message m = {.type = PROTO_FILE};
                assert_true(worker_send(o->worker, &m) < 0);
        }
        script_send(&f->loop, s, VERDICT(.member = 0), 2);
        assert_int_equal(o->messages, messages);
        script_reap(&f->loop, s);
        assert_null(o->worker);
        assert_non_null(strstr(o->lost, why));
        assert_null(s->helper);
}

static void another_id(void **state)
{
        struct fixture *f = *state;
        struct owner o;
        struct scripted *s = granted(f, &o);
        uint32_t id = send_file(&o, s);
        script_send(&f->loop, s, VERDICT(.member = 0), id + 1);
        expect_broken(f, &o, s, "answered request");
}

static void another_member(void **state)
{
        struct fixture *f = *state;
        struct owner o;
        struct scripted *s = granted(f, &o);
        uint32_t id = send_file(&o, s);
        script_send(&f->loop, s, VERDICT(.member = 1), id);
        expect_broken(f, &o, s, "judged member 1");
}

static void a_check_of_another_helper(void **state)
{
        struct fixture *f = *state;
        struct owner o;
        struct scripted *s = granted(f, &o);
        uint32_t id = send_file(&o, s);
        script_send(&f->loop, s, VERDICT(.checks = 1), id); /* TLS */
        expect_broken(f, &o, s, "checks that it cannot make");
}

static void ready_a_second_time(void **state)
{
        struct fixture *f = *state;
        struct owner o;
        struct scripted *s = granted(f, &o);
        uint32_t id = send_file(&o, s);
        script_send(&f->loop, s, READY, id);
        expect_broken(f, &o, s, "no answer to its request");
        assert_int_equal(f->readies, 1);
}

static void what_its_owner_finds(void **state)
{
        struct fixture *f = *state;
        struct owner o;
        struct scripted *s = granted(f, &o);
        send_file(&o, s);
        worker_break(o.worker, "told of a file that can still be written to");
        expect_broken(f, &o, s, "written to: killed");
}

static void a_word_of_an_idle_one(void **state)
{
        struct fixture *f = *state;
        struct owner o;
        struct scripted *s = first(f);
        script_send(&f->loop, s, PROGRESS, 1);
        assert_true(s->killed);
        claim(f, &o);
        assert_null(o.worker); /* it is not granted any more */
        pool_withdraw(f->pool, &o.claim);
        script_reap(&f->loop, s);
        assert_null(s->helper);
}

static void ready_with_another_id(void **state)
{
        struct fixture *f = *state;
        script_receive(&scripted[0], PROTO_SETUP);
        script_send(&f->loop, &scripted[0], READY, scripted[0].last.id + 1);
        assert_true(scripted[0].killed);
        assert_int_equal(f->readies, 0);
        script_reap(&f->loop, &scripted[0]);
        assert_int_equal(n_scripted, 2); /* another try */
        first(f);
        assert_int_equal(f->readies, 1);
        assert_int_equal(f->ready_cause, CAUSE_NONE);
}

/* Whoever fails within granted() and gives the worker back is not in anybody's way. */
static void on_granted_and_given_back(void *arg, struct worker *w)
{
        struct owner *o = arg;
        o->messages++;
        worker_release(w);
}

static void a_worker_that_is_given_back_at_once(void **state)
{
        struct fixture *f = *state;
        struct scripted *s = first(f);
        struct owner o[3];
        for (size_t i = 0; i < 3; i++) {
                o[i] = (struct owner){
                        .claim = {
                                .granted = on_granted_and_given_back, .on_message = on_worker, .arg = &o[i]}};
                pool_claim(f->pool, &o[i].claim);
                assert_int_equal(o[i].messages, 0);
        }
        script_turn(&f->loop);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(o[i].messages, 1);
        assert_false(s->killed);
}

static void only_so_much_is_under_way(void **state)
{
        struct fixture *f = *state;
        struct owner o;
        struct scripted *s = granted(f, &o);
        struct message m;
        for (unsigned i = 0; i < 4; i++)
                send_file(&o, s);
        m = directory;
        assert_true(worker_send(o.worker, &m) < 0);
        script_receive_none(s);
        worker_discard(o.worker);
        assert_true(s->killed);
}

/* Told that no worker comes up, it claims one again, and withdraws what somebody else waits for. */
struct insistent {
        struct owner o;
        struct fixture *f;
        struct claim *other;
        unsigned told;
};

static void on_none_comes_up(void *arg, struct message *m, const struct error *e)
{
        struct insistent *i = arg;
        assert_null(m);
        assert_non_null(strstr(e->text, "no czard-decrypt comes up"));
        assert_int_equal(++i->told, 1);
        assert_false(i->o.claim.waiting);
        pool_claim(i->f->pool, &i->o.claim);
        pool_withdraw(i->f->pool, i->other);
}

static void die_starting(struct fixture *f)
{
        usleep(2100 * 1000); /* after a death a while goes by */
        script_turn(&f->loop);
        struct owner now;
        claim(f, &now);
        pool_withdraw(f->pool, &now.claim);
        script_reap(&f->loop, &scripted[n_scripted - 1]);
}

static void no_worker_comes_up(void **state)
{
        struct fixture *f = *state;
        pool_reconfigure(f->pool, &f->config, 1);
        for (unsigned i = 0; i < 3; i++)
                script_reap(&f->loop, &scripted[n_scripted - 1]);
        assert_int_equal(f->readies, 1);
        assert_int_equal(f->ready_cause, CAUSE_HELPER);
        struct owner second = {.claim = {.granted = on_granted, .on_message = on_worker, .arg = &second}};
        struct insistent first = {.f = f, .other = &second.claim};
        first.o.claim = (struct claim){.granted = on_granted, .on_message = on_none_comes_up, .arg = &first};
        struct owner third = {.claim = {.granted = on_granted, .on_message = on_worker, .arg = &third}};
        pool_claim(f->pool, &first.o.claim);
        pool_claim(f->pool, &second.claim);
        pool_claim(f->pool, &third.claim);
        die_starting(f);
        assert_int_equal(first.told, 0);
        die_starting(f);
        assert_int_equal(first.told, 1);
        assert_true(first.o.claim.waiting); /* the new one counts from now on */
        assert_string_equal(second.lost, "");
        assert_false(second.claim.waiting);
        assert_non_null(strstr(third.lost, "no czard-decrypt comes up"));
        pool_withdraw(f->pool, &first.o.claim);
}

/* --- the worker with the agent --- */

static const struct message handed_on = {
        .type = PROTO_VERDICT, .verdict = {.outcome = {.cause = CAUSE_REFERENCE}}};

static void claim_of(struct fixture *f, struct pool *p, struct owner *o)
{
        *o = (struct owner){.claim = {.granted = on_granted, .on_message = on_worker, .arg = o}};
        pool_claim(p, &o->claim);
        script_turn(&f->loop);
}

static void one_worker_keeps_its_agent(void **state)
{
        struct fixture *f = *state;
        struct owner one, two, three;
        struct scripted *s = granted(f, &one);
        assert_false(s->last.setup.reference);
        uint32_t id = send_file(&one, s);
        script_send(&f->loop, s, handed_on, id);
        assert_int_equal(one.messages, 1); /* its owner sees to it */
        worker_release(one.worker);
        struct pool *reference = pool_reference(f->pool);
        assert_ptr_not_equal(reference, f->pool);
        assert_int_equal(pool_size(reference), 1);
        claim_of(f, reference, &two);
        claim_of(f, reference, &three);
        assert_int_equal(n_scripted, 2); /* one, for however many */
        struct scripted *second = &scripted[1];
        script_receive(second, PROTO_SETUP);
        assert_true(second->last.setup.reference);
        assert_false(second->last.setup.import);
        script_send(&f->loop, second, (struct message){.type = PROTO_READY, .ready = {.reference = 1}},
                second->last.id);
        assert_non_null(two.worker);
        assert_null(three.worker);
        assert_ptr_not_equal(pool_reference(f->pool), f->pool);
        id = send_file(&two, second);
        script_send(&f->loop, second, handed_on, id);
        expect_broken(f, &two, second, "the one that has a gpg-agent");
        pool_withdraw(reference, &three.claim);
}

static void a_pool_of_agents_needs_no_other(void **state)
{
        struct fixture *f = *state;
        struct scripted *s = &scripted[0];
        script_receive(s, PROTO_SETUP);
        script_send(
                &f->loop, s, (struct message){.type = PROTO_READY, .ready = {.reference = 1}}, s->last.id);
        assert_ptr_equal(pool_reference(f->pool), f->pool);
}

/* --- homes --- */

static bool exists(const char *path)
{
        return access(path, F_OK) == 0;
}

static void homes_are_copied_from_a_template_that_is_no_worker_s(void **state)
{
        struct fixture *f = *state;
        struct owner one, two;
        struct scripted *s = granted(f, &one);
        char home[PATH_MAX], template[PATH_MAX];
        snprintf(home, sizeof(home), "%s", s->last.setup.home);
        snprintf(template, sizeof(template), "%s", s->last.setup.template);
        assert_true(s->last.setup.import);
        assert_string_equal(s->last.setup.source, f->dir);
        assert_string_not_equal(home, template);
        assert_true(exists(home) && exists(template));
        claim(f, &two);
        assert_int_equal(n_scripted, 2);
        struct scripted *second = first(f);
        assert_false(second->last.setup.import);
        assert_string_equal(second->last.setup.source, template);
        assert_string_equal(second->last.setup.template, "");
        assert_string_not_equal(second->last.setup.home, home);
        worker_release(one.worker);
        worker_release(two.worker);
}

static void a_home_goes_when_its_worker_is_reaped(void **state)
{
        struct fixture *f = *state;
        struct owner one;
        char home[PATH_MAX], template[PATH_MAX], link[PATH_MAX], kept[PATH_MAX];
        struct scripted *s = granted(f, &one);
        snprintf(home, sizeof(home), "%s", s->last.setup.home);
        snprintf(template, sizeof(template), "%s", s->last.setup.template);
        snprintf(link, sizeof(link), "%.4000s/link", home);
        snprintf(kept, sizeof(kept), "%s/kept", f->dir);
        assert_int_equal(mkdir(kept, 0700), 0);
        assert_int_equal(symlink(kept, link), 0);
        worker_discard(one.worker);
        script_turn(&f->loop);
        assert_true(s->killed);
        assert_true(exists(home)); /* it may still write */
        script_reap(&f->loop, s);
        assert_false(exists(home));
        assert_true(exists(template));
        assert_int_equal(rmdir(kept), 0);
}

/* The worker that comes after it makes its own. */
static void a_template_of_one_that_failed_is_not_used(void **state)
{
        struct fixture *f = *state;
        char template[PATH_MAX];
        script_receive(&scripted[0], PROTO_SETUP);
        snprintf(template, sizeof(template), "%s", scripted[0].last.setup.template);
        script_reap(&f->loop, &scripted[0]);
        assert_int_equal(n_scripted, 2);
        assert_false(exists(template));
        first(f);
        assert_true(scripted[1].last.setup.import);
        assert_string_not_equal(scripted[1].last.setup.template, template);
        assert_true(exists(scripted[1].last.setup.template));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(the_first_tells_of_the_key),
                T(a_worker_that_answered_all_serves_the_next),
                T(one_that_owes_an_answer_is_not_released),
                T(another_id),
                T(another_member),
                T(a_check_of_another_helper),
                T(ready_a_second_time),
                T(what_its_owner_finds),
                T(a_word_of_an_idle_one),
                T(ready_with_another_id),
                T(a_worker_that_is_given_back_at_once),
                T(only_so_much_is_under_way),
                T(no_worker_comes_up),
                T(one_worker_keeps_its_agent),
                T(a_pool_of_agents_needs_no_other),
                T(homes_are_copied_from_a_template_that_is_no_worker_s),
                T(a_home_goes_when_its_worker_is_reaped),
                T(a_template_of_one_that_failed_is_not_used),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
