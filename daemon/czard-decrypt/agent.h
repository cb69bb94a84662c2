/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's own gpg-agent: a child on a socket that the worker bound, so that no agent outlives the worker
 * and gpg never starts another one. It holds the passphrase; nothing else is ever given it. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "secret.h"

struct agent {
        char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
        pid_t pid; /* 0: none, or agent_reap() has seen its end */
};

/* Binds socket and starts an agent for home (configured already) on it. 0, or -errno with a cause. */
int agent_start(struct agent *a, const char *home, const char *socket, struct error *e);
/* Removes the folder of a socket path when it is one of those that GnuPG makes, and empty. */
void agent_forget_folder(const char *socket);
/* Ends it, when it runs, and starts a new one: it knows no passphrase yet. */
int agent_restart(struct agent *a, const char *home, struct error *e);
/* Collects all children that have ended (this process is their subreaper). */
void agent_reap(struct agent *a);
/* Ends it and removes its socket, with the folder that GnuPG made for it, if it did. */
void agent_stop(struct agent *a);

/* Proves that the passphrase opens the key (hex keygrip) and leaves it with the agent for as long as it runs.
 * reprotect: also store the key anew under the same passphrase with the cheap S2K count of this home.
 * passphrase may be empty. 0; CAUSE_PASSPHRASE; CAUSE_NO_KEY; CAUSE_HELPER. */
int agent_unlock(struct agent *a, const char *keygrip, const struct secret *passphrase, bool reprotect,
        struct error *e);
