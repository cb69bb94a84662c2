/* SPDX-License-Identifier: Apache-2.0 */
/* What a helper of czard is around its work: started as "NAME --channel 3", hardened, with nothing open but
 * its channel and standard error; then one request at a time, whose answers carry its id. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto.h"

struct service {
        const char *name;
        int channel;
        uint32_t job;             /* id of the request at hand */
        uint64_t moved;           /* bytes of it that were read */
        uint64_t progressed_usec; /* CLOCK_MONOTONIC: when PROGRESS was last sent */
};

enum { SERVICE_WELL = 0, SERVICE_USAGE = 2, SERVICE_CANNOT = 3 }; /* exit statuses */

/* The beginning of main(): no core dumps, no debugger; descriptors, journal, umask, signals. -1: go on; else
 * the exit status (--version was asked for, or nobody should have started this). */
int service_start(struct service *f, const char *name, int argc, char **argv);

/* Does one request and sends its answers. 0, or -errno: the channel is broken, or m made no sense. */
typedef int service_job_fn(void *arg, struct message *m);
/* Until the channel is closed (0), or a job fails (-errno, with a cause). */
int service_serve(struct service *f, service_job_fn *job, void *arg, struct error *e);

/* The end of main(), after r: says why it cannot go on, if it cannot. Returns the exit status. */
int service_end(const struct service *f, int r, const struct error *e);

/* Sends m with the id of the request. 0 or -errno. */
int service_send(struct service *f, struct message *m);
/* read(2) from the job's pipe, over EINTR. Tells czard every second that bytes move or that it waits for
 * some: a helper that says nothing is taken for stuck. */
ssize_t service_read(struct service *f, int fd, void *p, size_t n);
/* For work that moves bytes otherwise: the same word, when it is time for it. */
void service_moved(struct service *f, uint64_t bytes);
