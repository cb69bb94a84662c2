/* SPDX-License-Identifier: Apache-2.0 */
/* state_dir-deliver/lock: flock(2) of the whole is the run's; a lock of its first byte is held by a
 * revocation from before it waits until it is through. Both are of the open file, and independent of each
 * other. Its mtime is the end of the last run of all deliveries that came through. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "session.h"

static int first_byte(int fd, int command, short type)
{
        struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};
        int r;
        while ((r = fcntl(fd, command, &l)) < 0 && errno == EINTR)
                ;
        return r < 0 ? -errno : l.l_type;
}

static int whole(int fd)
{
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;
        return 0;
}

/* Who does not revoke waits until nobody does. */
static int wait_for(const struct session *s)
{
        bool revokes = s->options->revoke;
        int r = first_byte(s->lock_fd, F_OFD_SETLKW, revokes ? F_WRLCK : F_RDLCK);
        if (r >= 0 && !revokes)
                r = first_byte(s->lock_fd, F_OFD_SETLK, F_UNLCK);
        return r < 0 ? r : whole(s->lock_fd);
}

int turn_take(struct session *s, const char *path, struct error *e)
{
        s->lock_fd = openat(s->state_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
        int r = s->lock_fd < 0 ? -errno : wait_for(s);
        return r < 0 ? error_errno(e, -r, "%s/lock", path) : 0;
}

bool turn_is_wanted(const struct session *s)
{
        int type = s->options->revoke ? F_UNLCK : first_byte(s->lock_fd, F_OFD_GETLK, F_RDLCK);
        return type >= 0 && type != F_UNLCK;
}
