/* SPDX-License-Identifier: Apache-2.0 */
/* The few words of gpg-agent's protocol (Assuan) that a worker speaks. Blocking, with a time limit. */
#pragma once

#include "secret.h"

struct assuan {
        int fd; /* -1: not connected */
        char buf[4096];
        size_t len, pos;
};

/* Connects to the agent's socket. 0, or -errno with CAUSE_HELPER. */
int assuan_open(struct assuan *a, const char *path, struct error *e);
void assuan_close(struct assuan *a);
#define _cleanup_assuan_ _cleanup_(assuan_close)

/* One command. Whatever the agent inquires is answered with answer (NULL: refused). The last status line
 * goes into status (may be NULL). 0; -EREMOTEIO with the agent's error code in *ret_code (may be NULL) and a
 * cause in e; -errno. */
int assuan_command(struct assuan *a, const char *command, const struct secret *answer, char *status,
        size_t status_size, unsigned *ret_code, struct error *e);
