/* SPDX-License-Identifier: Apache-2.0 */
/* Small things every file uses. */
#pragma once

#include <stddef.h>
#include <stdint.h>

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
