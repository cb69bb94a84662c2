/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole reads and writes, safe opens below a folder, sockets with descriptors. */
#pragma once

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "error.h"

/* openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS. A descriptor or -errno. */
int open_beneath(int dir_fd, const char *path, int flags, mode_t mode);

/* "/proc/self/fd/N", by which what fd is open on is opened once more. Returns ret. */
#define FD_PATH_SIZE 32
const char *fd_path(int fd, char ret[FD_PATH_SIZE]);

/* chmod(2) of what fd is open on, if only with O_PATH. 0 or -errno. */
int chmod_fd(int fd, mode_t mode);

/* Gives a file made with O_TMPFILE its name, which must be free (-EEXIST). 0 or -errno. */
int link_fd(int fd, int dir_fd, const char *name);

/* All n bytes, over EINTR and short counts. 0 or -errno. */
int write_all(int fd, const void *p, size_t n);
/* Reads until n bytes or end of file. Bytes read or -errno. */
ssize_t read_full(int fd, void *p, size_t n);

/* The whole file, at most max bytes, NUL added behind. -EFBIG when larger. The caller frees *ret. By name:
 * only a regular file, else -EISDIR or -EOPNOTSUPP. */
int read_file_fd(int fd, size_t max, char **ret, size_t *ret_len);
int read_file_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_len);

/* A new file of that content by O_TMPFILE or a hidden name, fsync, rename over, fsync of the folder. 0 or
 * -errno. */
int replace_file_at(int dir_fd, const char *name, const void *p, size_t n, mode_t mode);
/* Removes from the folder what replace_file_at() of that name left when it was killed. */
void remove_replacements_at(int dir_fd, const char *name);

/* What follows prefix and the number of a process in name, when that process lives no more; else NULL. */
const char *after_dead_pid(const char *name, const char *prefix);

/* The next entry of a folder, "." and ".." left out. 1 and *ret set, 0 at the end, or -errno: then there may
 * be more. */
int dir_next(DIR *d, struct dirent **ret);
/* The names in the folder path below dir_fd, "." and ".." left out, in no order: as a list, so that what is
 * found may be changed. 0 or -errno; then ret is as it was. */
struct strv;
int list_dir_at(int dir_fd, const char *path, struct strv *ret);

/* Removes the file or the folder with all that is in it. By descriptor: no link is followed, also when the
 * tree changes meanwhile; whatever its depth two descriptors are enough, and its modes may be anything, as
 * long as it is ours. 0, also when it is not there, or -errno of what could not be removed. */
int remove_tree_at(int dir_fd, const char *name);

/* Is it unsafe: of another owner than root or us, or mode & forbidden? 0 or -EPERM with a text that names
 * path, owner, mode and what mends it. */
int check_owner_mode(int fd, const char *path, mode_t forbidden, struct error *e);

int fd_nonblock(int fd, int on);
int fd_cloexec(int fd, int on);

/* Closes all descriptors from first upwards (close_range(2)). */
void close_from(int first);
/* What a child does before execve(2): descriptor i becomes a copy of fds[i], or /dev/null where that is -1;
 * all from n (at most FD_ARRANGE_MAX) upwards are closed. 0 or -errno. */
#define FD_ARRANGE_MAX 8
int fd_arrange(const int *fds, int n);
