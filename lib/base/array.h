/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow: their room follows from the number of their elements. */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for one more in *v, which has n elements and got its room here only: 8, 16, 32 … 0 or -ENOMEM,
 * and then *v is as it was. */
static inline int array_room(void *v, size_t n, size_t element)
{
        void *now;
        memcpy(&now, v, sizeof(now));
        if (n > 0 && (n < 8 || (n & (n - 1))))
                return 0;
        now = reallocarray(now, n ? 2 * n : 8, element);
        if (!now)
                return -ENOMEM;
        memcpy(v, &now, sizeof(now));
        return 0;
}
#define ARRAY_ROOM(v, n) array_room(&(v), n, sizeof(*(v)))

/* Pointers to the n elements of v, in the order of compare (of such pointers). The caller frees. NULL: no
 * memory. */
static inline void *array_index(
        const void *v, size_t n, size_t element, int (*compare)(const void *a, const void *b))
{
        const char **index = calloc(n + 1, sizeof(*index));
        for (size_t i = 0; index && i < n; i++)
                index[i] = (const char *)v + i * element;
        if (index)
                qsort(index, n, sizeof(*index), compare);
        return index;
}
