/* SPDX-License-Identifier: Apache-2.0 */
/* How czard and czarctl start a helper: the program, "--channel 3" behind its arguments, and no more of the
 * environment than it needs (HOME would lead gpg astray; LD_* and the proxy variables are nobody's business).
 */
#pragma once

#include <limits.h>

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
