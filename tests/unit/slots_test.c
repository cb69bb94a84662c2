/* SPDX-License-Identifier: Apache-2.0 */
/* The rule for slots: as a table, and in a model of czard (files, archives with runs, pools of workers) whose
 * events come in seeded random orders. Every order must come to its end and never run more than max_transfers
 * GETs. CZARD_SLOTS_ORDERS=N takes N orders for each pair of workers and max_transfers. */
#include "flow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"

#define ORDERS 150
#define PAIR_MOST 16
#define POOLS_MOST 3
#define FLOWS_MOST 256

/* --- the table --- */

/* One letter a slot: g granted, a archive, f file, s small file, e a GET that has ended, x reader gone;
 * capital letters: its GET runs. "gA" is: the first waits with its worker, the second is an archive's that
 * runs ahead. A digit after it is its pool; each pool has as many workers as its digit. */
static void check(const char *slots, unsigned max_transfers, int expected)
{
        static const unsigned char pools[10];
        struct slot v[32] = {};
        size_t n = 0;
        for (const char *c = slots; *c; c++) {
                struct slot *s = &v[n++];
                unsigned pool = c[1] >= '0' && c[1] <= '9' ? (unsigned)(c[1] - '0') : 4;
                *s = (struct slot){.pool = (const void *)&pools[pool],
                        .workers = pool,
                        .archive = strchr("gaGA", *c) != NULL,
                        .fits = *c == 's' || *c == 'S',
                        .get = *c == 'e'                ? GET_ENDED
                               : *c >= 'A' && *c <= 'Z' ? GET_RUNS
                                                        : GET_WAITS,
                        .reader = strchr("gG", *c)   ? READER_GRANTED
                                  : strchr("xX", *c) ? READER_GONE
                                                     : READER_WAITS};
                if (n > 1)
                        v[n - 2].next = s;
                if (pool != 4)
                        c++;
        }
        struct slot *next = slots_next(n > 0 ? v : NULL, max_transfers);
        int got = next ? (int)(next - v) : -1;
        if (got != expected)
                fail_msg("%s with %u: %d, not %d", slots, max_transfers, got, expected);
}

static void the_next_one(void **state)
{
        (void)state;
        check("", 4, -1);
        /* nobody has a worker: all but one slot */
        check("f", 4, 0);
        check("FFf", 4, 2);
        check("FFFf", 4, -1);
        check("f", 1, -1);
        check("f", 2, 0);
        check("Ff", 2, -1);
        /* what was granted takes any slot, and goes first */
        check("g", 1, 0);
        check("fsag", 4, 3);
        check("FFFg", 4, 3);
        check("FFFfg", 4, 4);
        /* a reload made max_transfers smaller: of those that were granted one goes, and no other */
        check("FFFFg", 4, 4);
        check("FFFFsfa", 4, -1);
        check("FFFFGg", 4, -1);
        check("FFFFg", 1, 4);
        check("FFSSg", 4, -1);
        check("gg", 4, 0);
        /* a running GET with a worker is none that runs ahead */
        check("GGFf", 4, 3);
        check("GGaFf", 4, -1); /* three are kept for the archive */
        check("XXFf", 4, 3);
        /* small ones end by themselves */
        check("FFFs", 4, 3);
        check("SSSf", 4, 3);
        check("SSSSf", 4, -1);
        check("s", 1, 0);
        /* archives before files; in order of arrival */
        check("faf", 8, 1);
        check("Fffa", 8, 3);
        check("ff", 8, 0);
        /* kept for archives: as many as could be granted, pool by pool */
        check("aaaaaaf", 4, -1);
        check("aaaaaaf", 5, 0);
        check("a2a2a2a2f2", 3, 0);
        check("a2a2a2A2f2", 3, -1);
        check("a2a2a2a1a1f2", 3, -1);
        check("a2a2a2a1a1f2", 4, 0);
        check("g2a2", 2, 0);
        check("G2a2", 2, -1);
        check("G1a1", 2, 1);
        check("G1A1a1", 2, -1);
        /* ended ones count no more */
        check("eeeef", 2, 4);
}

/* --- the model --- */

struct model_flow {
        struct slot slot; /* first: a slot is its flow */
        unsigned pool, tries;
        bool in_work;
};

struct world {
        uint64_t random;
        unsigned max_transfers, n_pools;
        unsigned workers[POOLS_MOST], busy[POOLS_MOST], dead[POOLS_MOST];
        char pool_id[POOLS_MOST];
        unsigned files_left[POOLS_MOST][2]; /* big, small */
        unsigned files_in_work, files_most;
        /* One archive at a time: its directory, then its runs. */
        unsigned archives_left[POOLS_MOST], archive_pool, runs_left, runs_in_work;
        bool in_directory, in_archive;
        struct model_flow flows[FLOWS_MOST];
        struct slot *slots;
        unsigned running, most_running, failures_left;
        struct slot *(*next)(struct slot *first, unsigned max_transfers);
};

static uint64_t random_of(struct world *w, uint64_t below)
{
        w->random ^= w->random << 13;
        w->random ^= w->random >> 7;
        w->random ^= w->random << 17;
        return (w->random >> 11) % below;
}

static void add_flow(struct world *w, unsigned pool, bool archive, bool fits)
{
        struct model_flow *f = w->flows;
        while (f->in_work)
                f++;
        *f = (struct model_flow){.pool = pool,
                .in_work = true,
                .slot = {.pool = (const void *)&w->pool_id[pool],
                        .workers = w->workers[pool],
                        .archive = archive,
                        .fits = fits}};
        struct slot **at = &w->slots;
        while (*at)
                at = &(*at)->next;
        *at = &f->slot;
}

/* The claim that the pool serves next. */
static struct model_flow *first_claim(const struct world *w, unsigned pool)
{
        struct model_flow *file = NULL;
        for (struct slot *s = w->slots; s; s = s->next) {
                struct model_flow *f = (struct model_flow *)s;
                if (f->pool != pool || s->reader != READER_WAITS)
                        continue;
                if (s->archive)
                        return f;
                file = file ? file : f;
        }
        return file;
}

static void add_run(struct world *w)
{
        w->runs_left--;
        w->runs_in_work++;
        add_flow(w, w->archive_pool, true, random_of(w, 4) == 0);
}

/* How a flow that has ended goes on: it is over, or tried again. */
static void end_flow(struct world *w, struct model_flow *f, bool again)
{
        struct slot **at = &w->slots;
        while (*at != &f->slot)
                at = &(*at)->next;
        *at = f->slot.next;
        f->in_work = false;
        if (f->slot.archive && w->in_directory) {
                w->in_directory = again;
                if (again)
                        add_flow(w, f->pool, true, f->slot.fits);
                else
                        w->runs_left = (unsigned)random_of(w, w->workers[f->pool] + 4);
        } else if (f->slot.archive) {
                w->runs_in_work--;
                w->runs_left += again;
        } else {
                w->files_in_work--;
                w->files_left[f->pool][f->slot.fits] += again;
        }
        if (w->in_archive && !w->in_directory && w->runs_left + w->runs_in_work == 0)
                w->in_archive = false;
}

static void end_get(struct world *w, struct model_flow *f)
{
        f->slot.get = GET_ENDED;
        w->running--;
}

static void lose_reader(struct world *w, struct model_flow *f)
{
        if (f->slot.reader == READER_GRANTED)
                w->busy[f->pool]--;
        f->slot.reader = READER_GONE;
        if (f->slot.get == GET_WAITS)
                f->slot.get = GET_ENDED;
}

/* What may happen to this flow happens. false: nothing can. */
static bool happens(struct world *w, struct model_flow *f)
{
        struct slot *s = &f->slot;
        bool fails = w->failures_left > 0 && random_of(w, 16) == 0;
        if (fails && (s->get == GET_RUNS || s->reader == READER_GRANTED)) {
                /* The GET fails (nobody waits for a worker then), or the worker dies. */
                w->failures_left--;
                f->tries++;
                if (s->get == GET_RUNS && random_of(w, 2)) {
                        end_get(w, f);
                        if (s->reader == READER_WAITS)
                                s->reader = READER_GONE;
                } else if (s->reader == READER_GRANTED) {
                        w->dead[f->pool] += random_of(w, 2) == 0;
                        lose_reader(w, f);
                }
        } else if (s->get == GET_RUNS && (s->fits || s->reader != READER_WAITS)) {
                end_get(w, f);
        } else if (s->get == GET_ENDED && s->reader == READER_GRANTED) {
                lose_reader(w, f);
        } else if (s->get != GET_ENDED || s->reader != READER_GONE) {
                return false;
        }
        if (s->get == GET_ENDED && s->reader == READER_GONE)
                end_flow(w, f, f->tries > 0);
        return true;
}

enum event { NEXT_FLOW, NEXT_GRANT, NEXT_GET, NEXT_FILE, NEXT_ARCHIVE, NEXT_RUN, NEXT_WORKER, NEXT_MAX };

static bool any_flow(struct world *w)
{
        unsigned n = 0;
        for (struct slot *s = w->slots; s; s = s->next)
                n++;
        if (n == 0)
                return false;
        unsigned skip = (unsigned)random_of(w, n);
        struct slot *from = w->slots;
        while (skip-- > 0)
                from = from->next;
        struct slot *s = from;
        do {
                if (happens(w, (struct model_flow *)s))
                        return true;
                s = s->next ? s->next : w->slots;
        } while (s != from);
        return false;
}

static bool grant(struct world *w, unsigned pool)
{
        struct model_flow *f = first_claim(w, pool);
        if (!f || w->busy[pool] + w->dead[pool] >= w->workers[pool])
                return false;
        f->slot.reader = READER_GRANTED;
        w->busy[pool]++;
        return true;
}

static bool start_get(struct world *w)
{
        struct slot *s = w->next(w->slots, w->max_transfers);
        if (!s)
                return false;
        assert_int_equal(s->get, GET_WAITS);
        s->get = GET_RUNS;
        w->running++;
        w->most_running = MAX(w->most_running, w->running);
        return true;
}

static bool start_file(struct world *w, unsigned pool)
{
        unsigned fits = (unsigned)random_of(w, 2);
        if (w->files_in_work >= w->files_most)
                return false;
        if (w->files_left[pool][fits] == 0 && w->files_left[pool][fits = !fits] == 0)
                return false;
        w->files_left[pool][fits]--;
        w->files_in_work++;
        add_flow(w, pool, false, fits);
        return true;
}

static bool start_archive(struct world *w, unsigned pool)
{
        if (w->in_archive || w->archives_left[pool] == 0)
                return false;
        w->archives_left[pool]--;
        w->in_archive = w->in_directory = true;
        w->archive_pool = pool;
        add_flow(w, pool, true, random_of(w, 2));
        return true;
}

static bool start_run(struct world *w)
{
        if (!w->in_archive || w->in_directory || w->runs_left == 0 ||
                w->runs_in_work >= MIN(w->workers[w->archive_pool] + 1, w->max_transfers))
                return false;
        add_run(w);
        return true;
}

static bool try_event(struct world *w, enum event e, unsigned pool)
{
        switch (e) {
        case NEXT_FLOW:
                return any_flow(w);
        case NEXT_GRANT:
                return grant(w, pool);
        case NEXT_GET:
                return start_get(w);
        case NEXT_FILE:
                return start_file(w, pool);
        case NEXT_ARCHIVE:
                return start_archive(w, pool);
        case NEXT_RUN:
                return start_run(w);
        case NEXT_WORKER: /* another is started */
                return w->dead[pool] > 0 && w->dead[pool]--;
        default:
                return false;
        }
}

/* Anything that can happen: tried from a random one on. false: nothing can. */
static bool step(struct world *w)
{
        unsigned n = NEXT_MAX * w->n_pools, from = (unsigned)random_of(w, n);
        for (unsigned i = 0; i < n; i++) {
                unsigned k = (from + i) % n;
                if (try_event(w, k / w->n_pools, k % w->n_pools))
                        return true;
        }
        return false;
}

static bool all_done(const struct world *w)
{
        unsigned left = w->in_archive;
        for (unsigned p = 0; p < w->n_pools; p++)
                left += w->files_left[p][0] + w->files_left[p][1] + w->archives_left[p];
        return left == 0 && !w->slots;
}

/* Enough of each kind to hold all slots and all workers. */
static void fill(struct world *w, unsigned workers)
{
        w->n_pools = 1 + (unsigned)random_of(w, POOLS_MOST);
        for (unsigned p = 0; p < w->n_pools; p++) {
                w->workers[p] = p == 0 ? workers : 1 + (unsigned)random_of(w, PAIR_MOST);
                w->files_left[p][0] = (unsigned)random_of(w, w->max_transfers + 3);
                w->files_left[p][1] = (unsigned)random_of(w, w->max_transfers / 2 + 2);
                w->archives_left[p] = (unsigned)random_of(w, 3);
        }
        w->failures_left = (unsigned)random_of(w, 4);
}

static void begin(struct world *w, unsigned workers, unsigned max_transfers, uint64_t seed)
{
        memset(w, 0, sizeof(*w));
        w->random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
        w->max_transfers = w->files_most = max_transfers;
        w->next = slots_next;
        fill(w, workers);
}

/* One order of events. false: a standstill. */
static bool runs_through(struct world *w)
{
        while (!all_done(w)) {
                if (!step(w))
                        return false;
                if (w->most_running > w->max_transfers)
                        fail_msg("%u GETs at once with max_transfers %u", w->most_running, w->max_transfers);
        }
        return true;
}

/* A reload lowers max_transfers somewhere on the way. */
static void no_order_stands_still_when_it_is_lowered(void **state)
{
        (void)state;
        struct world w;
        for (unsigned workers = 1; workers <= PAIR_MOST; workers++)
                for (unsigned max = 2; max <= PAIR_MOST; max++)
                        for (uint64_t i = 0; i < ORDERS / 5; i++) {
                                uint64_t seed = (i * PAIR_MOST + workers) * PAIR_MOST + max;
                                begin(&w, workers, max, seed);
                                for (unsigned n = (unsigned)random_of(&w, 40);
                                        n > 0 && !all_done(&w) && step(&w); n--)
                                        ;
                                w.max_transfers = 1 + (unsigned)random_of(&w, max - 1);
                                while (!all_done(&w))
                                        if (!step(&w))
                                                fail_msg("standstill: workers %u, max_transfers %u to %u, "
                                                         "seed %llu",
                                                        workers, max, w.max_transfers,
                                                        (unsigned long long)seed);
                        }
}

static void no_order_stands_still(void **state)
{
        (void)state;
        const char *orders_text = getenv("CZARD_SLOTS_ORDERS");
        unsigned orders = orders_text ? (unsigned)strtoul(orders_text, NULL, 10) : ORDERS;
        struct world w;
        for (unsigned workers = 1; workers <= PAIR_MOST; workers++)
                for (unsigned max = 1; max <= PAIR_MOST; max++)
                        for (uint64_t i = 0; i < orders; i++) {
                                uint64_t seed = (i * PAIR_MOST + workers) * PAIR_MOST + max;
                                begin(&w, workers, max, seed);
                                if (!runs_through(&w))
                                        fail_msg("standstill: workers %u, max_transfers %u, seed %llu",
                                                workers, max, (unsigned long long)seed);
                        }
}

/* What czard did before: every GET at once, in order of arrival, and two files a worker and one more. */
static struct slot *first_come(struct slot *first, unsigned max_transfers)
{
        unsigned running = 0;
        for (const struct slot *s = first; s; s = s->next)
                running += s->get == GET_RUNS;
        if (running >= max_transfers)
                return NULL;
        while (first && first->get != GET_WAITS)
                first = first->next;
        return first;
}

/* The model sees a standstill where there is one: without this, the test above would say nothing. */
static void first_come_stands_still(void **state)
{
        (void)state;
        struct world w;
        unsigned stood = 0, well = 0;
        for (uint64_t seed = 1; seed <= 500; seed++) {
                begin(&w, 2, 4, seed);
                w.next = first_come;
                w.n_pools = w.archives_left[0] = 1;
                w.files_left[0][0] = 16;
                w.files_most = MIN(4U, 2 * w.workers[0] + 1);
                bool through = runs_through(&w);
                stood += !through;
                well += through;
        }
        print_message("first come, first served: %u of 500 orders stand still\n", stood);
        assert_true(stood > 0);
        assert_true(well > 0);
}

/* Nobody reads yet: how many GETs run? */
static unsigned run_without_readers(unsigned small, unsigned big, unsigned max_transfers)
{
        struct world w;
        begin(&w, 1, max_transfers, 1);
        w.n_pools = 1;
        w.files_left[0][0] = big;
        w.files_left[0][1] = small;
        w.archives_left[0] = 0;
        while (start_file(&w, 0) || start_get(&w))
                ;
        return w.running;
}

static void round_trips_are_waited_for_together(void **state)
{
        (void)state;
        for (unsigned max = 1; max <= PAIR_MOST; max++) {
                assert_int_equal(run_without_readers(400, 0, max), max);
                assert_int_equal(run_without_readers(0, 400, max), max - 1);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_next_one),
                cmocka_unit_test(no_order_stands_still),
                cmocka_unit_test(no_order_stands_still_when_it_is_lowered),
                cmocka_unit_test(first_come_stands_still),
                cmocka_unit_test(round_trips_are_waited_for_together),
        };
        return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
