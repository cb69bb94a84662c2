/* SPDX-License-Identifier: Apache-2.0 */
#include "named.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct named {
        char *name;
};

static int by_name(const void *a, const void *b)
{
        return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

void *named_find(void *const *tree, const char *name)
{
        union {
                const char *in;
                char *out;
        } borrowed = {.in = name};
        const struct named key = {.name = borrowed.out};
        void *const *found = tfind(&key, tree, by_name);
        return found ? *found : NULL;
}

void *named_need(void **tree, const char *name, size_t size)
{
        struct named *n = named_find(tree, name);
        if (n)
                return n;
        n = calloc(1, size);
        if (n)
                n->name = strdup(name);
        if (n && n->name && tsearch(n, tree, by_name))
                return n;
        if (n)
                free(n->name);
        free(n);
        return NULL;
}

void named_free(void **tree, void (*done)(void *thing))
{
        while (*tree) {
                struct named *n = *(struct named **)*tree; /* a node begins with its key: POSIX, tsearch() */
                tdelete(n, tree, by_name);
                if (done)
                        done(n);
                free(n->name);
                free(n);
        }
}
