/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program and waits for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What goes to its standard input. */
struct run_input {
        const void *p;
        size_t n;
};

/* Options of run_program(); zero is: nothing on stdin, output kept, stderr ours. */
struct run_spec {
        const char *const *argv; /* found by PATH /usr/sbin:/usr/bin:/sbin:/bin */
        struct run_input in;
        int fd3;          /* becomes descriptor 3, 0: none */
        int out_fd;       /* its output goes there instead, 0: into out */
        bool no_network;  /* AF_UNIX sockets only, by seccomp */
        bool stay;        /* ctrl-C ends the program and not us, who have to clean up after it */
        bool quiet;       /* stderr to /dev/null */
        char *const *env; /* NULL: PATH, LC_ALL=C and HOME=/ only */
        char *out;        /* at most size bytes, NUL added when there is room */
        size_t size, len; /* len: filled in */
};
/* Exit status, or -errno (-ENOENT: not installed; -EIO: killed). */
int run_program(struct run_spec *spec);
/* The usual case: stderr not shown. */
int run_quietly(const char *const *argv, const struct run_input *in, char *out, size_t size, size_t *ret_len);
