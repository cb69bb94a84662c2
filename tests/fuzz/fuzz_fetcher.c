/* SPDX-License-Identifier: Apache-2.0 */
/* czard's end of czard-fetch against one that says anything in any order: sequences of requests and of
 * messages, over a socket pair. Each request ends exactly once; well only when that helper said so, of that
 * request, with checks that it can know; nothing is told of a request that has ended or was forgotten. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit/scripted_helper.h"
#include "answers.h"
#include "cleanup.h"
#include "fetcher.h"
#include "journal.h"
#include "terms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ASKERS = 24, STEPS = 200 };

struct asker {
        uint32_t id;
        enum request_kind kind;
        unsigned ends;
        bool forgotten;
};

static struct asker askers[ASKERS];
static size_t n_askers;
static bool well_said[256]; /* by id: a helper ended it without a cause, perhaps before it was asked */

static void must_listen(const struct asker *a)
{
        assert(a->ends == 0 && !a->forgotten);
}

static void on_listed(void *arg, const struct proto_listed *page)
{
        const struct asker *a = arg;
        must_listen(a);
        assert(a->kind == REQUEST_LIST && page->n <= 1);
}

static void on_progress(void *arg, uint64_t bytes)
{
        const struct asker *a = arg;
        (void)bytes;
        must_listen(a);
        assert(a->kind != REQUEST_LIST);
}

static void on_done(void *arg, const struct proto_done *done)
{
        struct asker *a = arg;
        const struct message m = {.type = PROTO_DONE, .done = *done};
        must_listen(a);
        a->ends++;
        assert(done->outcome.cause != CAUSE_NONE || well_said[a->id]);
        assert(answer_check(a->kind, &m, NULL) == 0);
}

static void ask(struct fetcher *f, unsigned kind)
{
        struct asker *a = &askers[n_askers];
        if (n_askers == ASKERS)
                return;
        *a = (struct asker){.kind = kind == 0 ? REQUEST_LIST : kind == 1 ? REQUEST_WHOLE : REQUEST_RANGE};
        n_askers++;
        if (kind == 0) {
                const struct proto_list spec = {.bucket = "b", .prefix = "p", .start_after = ""};
                a->id = fetcher_list(f, &spec, on_listed, on_done, a);
                return;
        }
        int fds[2];
        const struct proto_get spec = {.bucket = "b", .key = "k", .etag = "\"e\"", .whole = kind == 1};
        assert(pipe(fds) == 0);
        a->id = fetcher_get(f, &spec, fds[1], on_progress, on_done, a);
        close_fd(fds[0]);
        close_fd(fds[1]);
}

/* Bytes as decisions; 0 when they are used up. */
struct tape {
        const uint8_t *p;
        size_t left;
};

static unsigned next(struct tape *t)
{
        return t->left ? (t->left--, *t->p++) : 0;
}

static void say(struct tape *t, struct scripted *s)
{
        static const uint8_t types[] = {PROTO_DONE, PROTO_LISTED, PROTO_PROGRESS, PROTO_HELLO, PROTO_VERDICT,
                PROTO_READY, PROTO_ENTRIES, PROTO_GET};
        struct proto_object object = {.key = (char *)(uintptr_t) "k", .etag = (char *)(uintptr_t) "\"e\""};
        struct message m = {.type = types[next(t) % ELEMENTSOF(types)]};
        unsigned which = next(t);
        m.id = which < n_askers ? askers[which].id : which == 0xff ? 0 : which;
        if (m.type == PROTO_DONE) {
                m.done.outcome.cause = next(t) % CAUSE_MAX;
                unsigned checks = next(t) % 4;
                m.done.checks = checks == 0 ? BIT(next(t) % 32) : checks == 1 ? CHECK_TLS : 0;
                well_said[m.id] |= m.done.outcome.cause == CAUSE_NONE;
        } else if (m.type == PROTO_LISTED) {
                m.listed = (struct proto_listed){.objects = &object, .n = next(t) & 1};
        } else if (m.type == PROTO_PROGRESS) {
                m.progress.bytes = next(t);
        } else if (m.type == PROTO_HELLO) {
                m.hello.version = next(t) % 2 ? PROTO_VERSION : next(t);
        }
        (void)proto_send(s->sock, &m);
}

/* What was sent to the helpers is taken, so that their sockets do not fill. */
static void drain(void)
{
        for (size_t i = 0; i < n_scripted; i++) {
                struct message m = {};
                while (scripted[i].sock >= 0 && proto_recv(scripted[i].sock, &m, NULL) == 0) {
                        message_done(&m);
                        m = (struct message){};
                }
        }
}

static void step(struct tape *t, uv_loop_t *loop, struct fetcher *f)
{
        unsigned op = next(t);
        struct scripted *s = n_scripted ? &scripted[next(t) % n_scripted] : NULL;
        struct asker *a = n_askers ? &askers[next(t) % n_askers] : NULL;
        switch (op % 10) {
        case 0:
        case 1:
        case 2:
                if (n_scripted + 2 < SCRIPTED_MAX)
                        ask(f, op % 10);
                break;
        case 3:
                if (a)
                        fetcher_cancel(f, a->id);
                break;
        case 4:
                if (a && a->id) {
                        fetcher_forget(f, a->id);
                        a->forgotten |= a->ends == 0;
                }
                break;
        case 5:
                fetcher_renew(f);
                break;
        case 6:
                if (s && s->helper && (s->killed || op > 200))
                        script_reap(loop, s);
                break;
        case 7:
                if (op > 240)
                        fetcher_break(f, "is given up by the test");
                break;
        default:
                if (s)
                        say(t, s);
                break;
        }
        if (op & 1)
                script_turn(loop);
        drain();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct tape t = {data, size};
        const struct fetcher_spec spec = {.config_path = "/nonexistent"};
        struct fetcher *f = NULL;
        uv_loop_t loop;
        journal_level(-1);
        n_askers = 0;
        memset(well_said, 0, sizeof(well_said));
        assert(uv_loop_init(&loop) == 0 && fetcher_new(&loop, &spec, &f) == 0);
        for (unsigned i = 0; t.left > 0 && i < STEPS; i++)
                step(&t, &loop, f);
        fetcher_break(f, "is given up at the end");
        script_turn(&loop);
        for (size_t i = 0; i < n_askers; i++)
                assert(askers[i].id == 0 || askers[i].forgotten || askers[i].ends == 1);
        assert(fetcher_running(f) == 0);
        fetcher_free(f);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert(uv_loop_close(&loop) == 0);
        script_reset();
        return 0;
}
