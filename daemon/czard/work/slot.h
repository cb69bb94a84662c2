/* SPDX-License-Identifier: Apache-2.0 */
/* What of a flow counts when slots are given out: values only, kept by the flow, read by plan/slots.c. */
#pragma once

#include <stdbool.h>

struct pool;

/* A GET holds a slot from its message to its DONE. */
enum slot_get { GET_WAITS, GET_RUNS, GET_ENDED };
/* Who reads the pipe: a worker is claimed, granted, and released or lost. */
enum slot_reader { READER_WAITS, READER_GRANTED, READER_GONE };

struct slot {
        const struct pool *pool; /* only compared */
        unsigned workers;        /* of that pool */
        bool archive;            /* a directory or run of an archive: its claim goes before those of files */
        bool fits;               /* the whole body fits into the pipe: the GET ends without a reader */
        enum slot_get get;
        enum slot_reader reader;
        struct slot *next; /* in order of arrival */
};
