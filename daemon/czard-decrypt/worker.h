/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of czard-decrypt share.
 *
 *   main.c    one message in (daemon/common/service.h), one job, its answers out
 *   setup.c   SETUP: home.c (files) -> agent.c (gpg-agent) -> pgp_open() -> keys unlocked
 *   job.c     FILE and MEMBERS: the plaintext and the verdict on it
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "archive.h"
#include "digest.h"
#include "pgp.h"
#include "secret.h"
#include "service.h"

/* --- agent.c: our own gpg-agent, a child on a socket that we bound, so that no agent outlives us and gpg
 * never starts another one. It holds the passphrase; nothing else is ever given it. --- */

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

struct worker {
        struct service service;
        bool ready;     /* SETUP went well */
        char *home;     /* our own GNUPGHOME */
        bool reference; /* the agent lives as long as we do; else only until the key is here */
        struct agent agent;
        struct pgp *pgp;
        struct secret passphrase; /* len 0: none */
        struct expansion limit;
        uint64_t max_name;             /* bytes of one component of a member's name; 0: without limit */
        struct archive_stream *stream; /* of the last MEMBERS */
};

/* Before each message: no child of the last one is left, and a reference worker has an agent. */
void worker_tidy(struct worker *w);

/* home.c: fills the empty folder home with our configuration and the keys of source; import: which is an
 * admin's.
 */
int home_prepare(const char *home, const char *source, bool import, bool verify, struct error *e);
/* tmpfs, or is it written to a disk? */
bool home_is_in_memory(const char *home);

/* Each answers the request m and returns 0, or -errno when the channel is broken or m made no sense. */
int worker_setup(struct worker *w, const struct message *m);
int worker_file(struct worker *w, struct message *m);
int worker_members(struct worker *w, struct message *m);
