/* SPDX-License-Identifier: Apache-2.0 */
/* Locks a process into its job: Landlock for files, TCP and signals, seccomp for what Landlock does not see
 * (modes, owners, times and attributes of files, other processes, kinds of sockets) and for system calls that
 * nobody here needs. Holds also when a helper is started by hand; the units say the same once more. Sources:
 * landlock(7), the kernel's Documentation/userspace-api/landlock.rst; seccomp(2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum sandbox_access {
        SANDBOX_READ = BIT(0),  /* files and folders below */
        SANDBOX_EXEC = BIT(1),  /* and execute */
        SANDBOX_WRITE = BIT(2), /* create, change and remove below */
};

struct sandbox_path {
        const char *path; /* one that does not exist is passed over */
        unsigned access;  /* enum sandbox_access bits */
};

struct sandbox {
        const struct sandbox_path *paths;
        size_t n_paths;
        const uint16_t *tcp_ports; /* connect(2) allowed to these; none: no TCP at all */
        size_t n_tcp_ports;
        /* socket(2) allowed for these (AF_UNIX ...), ended by -1. None: no call at all that makes a socket or
         * gives one an address: a pair of datagram sockets alone reaches any path. */
        const int *families;
        bool streams_only; /* of them only SOCK_STREAM */
        /* It may fork, execute, listen, and signal what it started. Otherwise: threads alone, no signal but
         * to itself, no socket that listens. */
        bool has_children;
        bool again; /* it is in one already, and signals what it started there */
        /* It gives files their group, mode and time. */
        bool sets_attributes;
        /* Where this kernel lets us: a root of its own first, in which there is nothing but `paths`, of which
         * the first is a folder that exists; and no network. It has one thread and holds no secret yet. */
        bool own_root;
};

/* Which version of Landlock this kernel has; 0: none, or it is not enabled. */
long sandbox_landlock_abi(void);

/* For who has given up root in a terminal of root's: nobody can type there any more (TIOCSTI, TIOCLINUX), nor
 * what it starts. Sets no_new_privs. 0 or -errno. */
int sandbox_terminal(struct error *e);

/* Enters it, for ever, for this thread and all it makes: call it before there are others. Entered again, what
 * both allow is allowed. What this kernel cannot restrict is named in ret_missing ("" when nothing; may be
 * NULL). A build with sanitizers enters nothing and says so there, for they do not work inside. 0 or -errno.
 */
int sandbox_enter(const struct sandbox *s, char *ret_missing, size_t size, struct error *e);

/* --- the parts of sandbox_enter(), for it and for the tests --- */

/* A root of its own: of the file system there is then what these paths name (those that exist), the rest of
 * it is gone; and there is no network. The first is a folder that exists. For a process with one thread. 1;
 * 0: this kernel does not let us, and nothing was changed; or -errno: half way. */
int sandbox_root(const struct sandbox_path *paths, size_t n, struct error *e);
/* The seccomp filter. Needs no_new_privs. s NULL: what sandbox_terminal() refuses, alone. 0 or -errno. */
int sandbox_calls(const struct sandbox *s, struct error *e);
