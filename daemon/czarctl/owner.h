/* SPDX-License-Identifier: Apache-2.0 */
/* Started as root, czarctl becomes the owner of state_dir before it touches anything. What only root may do
 * (write where the admin said, store a credential) is announced before; then a keeper stays behind as root
 * that does these things and no other, with contents that it gets by descriptor. */
#pragma once

#include "ctl.h"

enum output_kind {
        OUTPUT_REPLACE,    /* the file is replaced in one rename */
        OUTPUT_NEW,        /* -EEXIST when there is one */
        OUTPUT_SECRET,     /* replaced, and given to the owner of state_dir, 0400 */
        OUTPUT_CREDENTIAL, /* a systemd credential: path is its name; 0400, encrypted when that can be done */
};

/* In prepare only. path may be relative. mode as in open(2). ret, unless NULL: its number, which are given in
 * order from 0. 0, or an exit status after a text. */
int owner_output(struct ctl *c, const char *path, enum output_kind kind, mode_t mode, int *ret);
/* Forks the keeper when one is needed and gives up root. Does not return in the keeper: it exits with the
 * status of the other. 0 or -errno. */
int owner_become(struct ctl *c, struct error *e);
/* The folder, for root: links are followed where only root can have put them. In a folder of the user of
 * czard one could lead what root does to anywhere: -ELOOP. A descriptor or -errno. */
int owner_open_folder(const char *path);
/* What the admin said is to be read, for root in the same way: who owns a folder may put there a link to a
 * file that only root can read, and look when it is handed to gpg, or a pipe without an end. A descriptor, or
 * -errno (e is filled). */
int owner_open_input(const char *path, struct error *e);
/* That error, for what was to be done with path. Returns -ELOOP. */
int owner_refuse_link(const char *path, const char *what, struct error *e);
/* The user and group, whose groups were set before, with no way back: root's terminal is out of reach for
 * what is started now. 0 or -errno. */
int owner_give_up(uid_t uid, gid_t gid, struct error *e);
/* Puts what fd holds from its beginning into the output. 0 or -errno; where is where it went. */
int owner_put_fd(struct ctl *c, int output, int fd, char where[TEXT_SIZE], struct error *e);
int owner_put(struct ctl *c, int output, const void *p, size_t n, char where[TEXT_SIZE], struct error *e);
struct owner *owner_free(struct owner *o);
