/* SPDX-License-Identifier: Apache-2.0 */
/* An array of hashes, sorted. */
#include "lookup.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"

struct lookup {
        struct digest *digest;
        size_t n, most;
        struct lookup_entry v[];
};

int lookup_new(size_t most, struct lookup **ret)
{
        if (most > (SIZE_MAX - sizeof(struct lookup)) / sizeof(struct lookup_entry))
                return -ENOMEM;
        struct lookup *l = malloc(sizeof(*l) + most * sizeof(l->v[0]));
        if (!l)
                return -ENOMEM;
        *l = (struct lookup){.most = most};
        if (digest_new(DIGEST_SHA256, &l->digest) < 0) {
                free(l);
                return -ENOMEM;
        }
        *ret = l;
        return 0;
}

struct lookup *lookup_free(struct lookup *l)
{
        if (l)
                digest_free(l->digest);
        free(l);
        return NULL;
}

static uint64_t hash(struct lookup *l, const char *name)
{
        uint8_t sum[SHA256_SIZE];
        uint64_t h;
        digest_update(l->digest, name, strlen(name));
        digest_final(l->digest, sum);
        memcpy(&h, sum, sizeof(h));
        return h;
}

void lookup_add(struct lookup *l, const char *name, size_t number)
{
        assert(l->n < l->most);
        l->v[l->n++] = (struct lookup_entry){.hash = hash(l, name), .number = number};
}

static bool is_less(const struct lookup_entry *a, const struct lookup_entry *b)
{
        return a->hash != b->hash ? a->hash < b->hash : a->number < b->number;
}

/* Lets v[i] sink to where neither of its children in the heap of n is greater. */
static void sink(struct lookup_entry *v, size_t n, size_t i)
{
        struct lookup_entry entry = v[i];
        for (size_t child; (child = 2 * i + 1) < n; i = child) {
                if (child + 1 < n && is_less(&v[child], &v[child + 1]))
                        child++;
                if (!is_less(&entry, &v[child]))
                        break;
                v[i] = v[child];
        }
        v[i] = entry;
}

/* A heap sort: qsort() would take as much memory again. */
void lookup_sort(struct lookup *l)
{
        for (size_t i = l->n / 2; i-- > 0;)
                sink(l->v, l->n, i);
        for (size_t n = l->n; n-- > 1;) {
                struct lookup_entry greatest = l->v[0];
                l->v[0] = l->v[n];
                l->v[n] = greatest;
                sink(l->v, n, 0);
        }
}

const struct lookup_entry *lookup_first(struct lookup *l, const char *name)
{
        uint64_t h = hash(l, name);
        size_t low = 0, high = l->n;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (l->v[middle].hash < h)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < l->n && l->v[low].hash == h ? &l->v[low] : NULL;
}

const struct lookup_entry *lookup_next(const struct lookup *l, const struct lookup_entry *entry)
{
        const struct lookup_entry *next = entry + 1;
        return next < l->v + l->n && next->hash == entry->hash ? next : NULL;
}

const struct lookup_entry *lookup_group(const struct lookup *l, size_t *at, size_t *ret_n)
{
        for (size_t i = *at, end; i < l->n; i = end) {
                for (end = i + 1; end < l->n && l->v[end].hash == l->v[i].hash;)
                        end++;
                *at = end;
                *ret_n = end - i;
                if (end - i > 1)
                        return &l->v[i];
        }
        return NULL;
}
