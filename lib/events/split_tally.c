/* SPDX-License-Identifier: Apache-2.0 */
/* A key is known here by 128 bits of its SHA-256, which say in which pass it is counted, too. When more keys
 * fall to a pass than can be counted, all begins anew with twice as many passes. */
#include "split_tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "digest.h"
#include "macro.h"

struct counted {
        uint64_t id[2];
        uint64_t lines, first; /* lines 0: a free slot */
};

struct tally {
        size_t stay, most, slots;
        struct counted *table; /* open addressing; room for `stay` more behind the slots */
        size_t n;              /* in table */
        struct counted *best;  /* of the passes before; in the end sorted by id */
        size_t n_best;
        uint64_t pass, passes, left_out;
        bool begun, full;
};

int tally_new(size_t stay, size_t counted, struct tally **ret)
{
        struct tally *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        *t = (struct tally){.stay = stay, .most = counted, .slots = 2 * counted, .passes = 1};
        t->table = calloc(t->slots + stay, sizeof(*t->table));
        t->best = calloc(stay, sizeof(*t->best));
        if (!t->table || !t->best) {
                tally_free(t);
                return -ENOMEM;
        }
        *ret = t;
        return 0;
}

struct tally *tally_free(struct tally *t)
{
        if (t) {
                free(t->table);
                free(t->best);
                free(t);
        }
        return NULL;
}

static int by_lines(const void *a, const void *b)
{
        const struct counted *x = a, *y = b;
        if (x->lines != y->lines)
                return x->lines < y->lines ? 1 : -1;
        return x->first < y->first ? -1 : x->first > y->first;
}

static int by_id(const void *a, const void *b)
{
        return memcmp(((const struct counted *)a)->id, ((const struct counted *)b)->id, sizeof(uint64_t[2]));
}

/* The best of this pass and of those before. */
static void end_pass(struct tally *t)
{
        size_t n = 0;
        for (size_t i = 0; i < t->slots; i++)
                if (t->table[i].lines)
                        t->table[n++] = t->table[i];
        memcpy(t->table + n, t->best, t->n_best * sizeof(*t->best));
        n += t->n_best;
        qsort(t->table, n, sizeof(*t->table), by_lines);
        t->n_best = MIN(n, t->stay);
        t->left_out += n - t->n_best;
        memcpy(t->best, t->table, t->n_best * sizeof(*t->best));
}

bool tally_pass(struct tally *t)
{
        if (t->full) {
                t->passes *= 2;
                t->pass = t->left_out = 0;
                t->n_best = 0;
        } else if (t->begun) {
                end_pass(t);
                t->pass++;
        }
        t->begun = true;
        t->full = false;
        t->n = 0;
        memset(t->table, 0, t->slots * sizeof(*t->table));
        if (t->pass < t->passes)
                return true;
        qsort(t->best, t->n_best, sizeof(*t->best), by_id);
        return false;
}

static int id_of(const struct course_key *key, struct counted *ret)
{
        uint8_t hash[SHA256_SIZE];
        int r = digest_once(DIGEST_SHA256, key->text, key->len, hash);
        if (r == 0)
                memcpy(ret->id, hash, sizeof(ret->id));
        return r;
}

int tally_line(struct tally *t, const struct course_key *key, uint64_t line)
{
        struct counted one = {.first = line};
        int r = t->full ? 0 : id_of(key, &one);
        if (r < 0 || t->full || one.id[1] % t->passes != t->pass)
                return r;
        for (size_t i = one.id[0] % t->slots;; i = (i + 1) % t->slots) {
                struct counted *c = &t->table[i];
                if (c->lines == 0 && t->n == t->most) {
                        t->full = true;
                        return 0;
                }
                if (c->lines == 0) {
                        *c = one;
                        t->n++;
                }
                if (by_id(c, &one) == 0) {
                        c->lines++;
                        return 0;
                }
        }
}

int tally_stays(const struct tally *t, const struct course_key *key)
{
        struct counted one = {};
        int r = id_of(key, &one);
        return r < 0 ? r : bsearch(&one, t->best, t->n_best, sizeof(one), by_id) != NULL;
}

uint64_t tally_left_out(const struct tally *t)
{
        return t->left_out;
}
