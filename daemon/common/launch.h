/* SPDX-License-Identifier: Apache-2.0 */
/* How czard and czarctl start a helper: the program, "--channel 3" behind its arguments, and no more of the
 * environment than it needs (HOME would lead gpg astray; LD_* and the proxy variables are nobody's business);
 * and what it writes to standard error. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "proto.h"
#include "secret.h"

#define LAUNCH_CHANNEL_FD 3
#define LAUNCH_ARGUMENTS_MAX 16

struct launch {
        char file[PATH_MAX];
        char *argv[LAUNCH_ARGUMENTS_MAX]; /* borrowed from the caller's arguments; NULL at the end */
        char **env;                       /* owned; NULL at the end */
};

/* Where a program of libexec is. 0 or -errno. */
int launch_find(const char *name, char *ret, size_t size);
/* name: "czard-decrypt", looked for beside the running program (a build tree, then an installation), then
 * where it was to be installed. args: up to NULL, or NULL; borrowed while *ret is used. 0, or -errno with a
 * text. */
int launch_prepare(struct launch *ret, const char *name, const char *const *args, struct error *e);
void launch_done(struct launch *l);

/* The first message to a czard-decrypt: setup, whose strings are borrowed, and the passphrase (p NULL: none)
 * as a file in memory. The caller calls message_done(). 0 or -errno. */
int setup_message(const struct proto_setup *setup, const struct secret *passphrase, struct message *ret);

/* What a helper writes to standard error when that is a terminal. It does not get the terminal itself: it
 * could read what is typed there, and write what a terminal obeys. It gets a pipe, and what comes through
 * that is shown line by line. Elsewhere it has our standard error. */
#define SAID_LINE_MAX 1024
struct said {
        int fd; /* our end; -1: there is none */
        void (*tell)(const char *line);
        char line[SAID_LINE_MAX];
        size_t n;
};

/* Returns what the helper is to have: 2; or a pipe's end, which the caller gives to said_handed() when it is
 * started; or -1, nothing. tell shows a line, which may hold anything. */
int said_open(struct said *s, void (*tell)(const char *line));
void said_handed(int fd);
/* Tells what is there, without waiting. False: there will be nothing more. */
bool said_take(struct said *s);
/* Tells what is left, and closes our end. */
void said_close(struct said *s);
