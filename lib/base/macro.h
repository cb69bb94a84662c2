/* SPDX-License-Identifier: Apache-2.0 */
/* Small things every file uses; arrays that grow; numbers at an address. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1U << (n))
/* <sys/param.h>, which <uv.h> brings along, has them too */
#undef MIN
#undef MAX
/* Each argument is evaluated once; their names are new in each use, so one may stand in the other. */
#define MIN(a, b) MACRO_CHOOSE(a, <, b, __COUNTER__)
#define MAX(a, b) MACRO_CHOOSE(a, >, b, __COUNTER__)
#define MACRO_CHOOSE(a, than, b, n) MACRO_CHOOSE_NAMED(a, than, b, MACRO_JOIN(a_, n), MACRO_JOIN(b_, n))
#define MACRO_CHOOSE_NAMED(a, than, b, x, y)                                                                 \
        __extension__({                                                                                      \
                const __auto_type x = (a);                                                                   \
                const __auto_type y = (b);                                                                   \
                x than y ? x : y;                                                                            \
        })
#define MACRO_JOIN(a, b) MACRO_JOIN_NOW(a, b)
#define MACRO_JOIN_NOW(a, b) a##b
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MINUTE)
#define USEC_PER_DAY (24 * USEC_PER_HOUR)
#define SEC_PER_DAY INT64_C(86400)
#define USEC_INFINITY UINT64_MAX

/* Arrays that grow: their room follows from the number of their elements. */

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

/* Numbers of 1, 2, 4 or 8 bytes at an address: the fields that tables tell of. */

static inline uint64_t number_load(const void *p, size_t size)
{
        return size == 1   ? *(const uint8_t *)p
               : size == 2 ? *(const uint16_t *)p
               : size == 4 ? *(const uint32_t *)p
                           : *(const uint64_t *)p;
}

static inline void number_store(void *p, size_t size, uint64_t v)
{
        if (size == 1)
                *(uint8_t *)p = (uint8_t)v;
        else if (size == 2)
                *(uint16_t *)p = (uint16_t)v;
        else if (size == 4)
                *(uint32_t *)p = (uint32_t)v;
        else
                *(uint64_t *)p = v;
}
