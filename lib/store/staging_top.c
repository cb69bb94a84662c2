/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of an organisation. Below it each category has a group of its own, so it must let all of them
 * through and be readable by none but its own: the group bits of a mode cannot say that, an access list can.
 * Only what is made here gets one; what is there keeps group and list, for an admin may have set them. */
#include <fcntl.h>
#include <sys/stat.h>

#include "staging.h"
#include "staging_internal.h"

int staging_make_top(struct staging *s, const char *path, const struct staging_top *top, struct error *e)
{
        char name[NAME_MAX + 1];
        int r = staging_check_path(path, e);
        if (r < 0)
                return r;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(path, "/"), path);
        struct stat st;
        if (fstatat(s->root_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        _cleanup_close_ int fd = staging_make_part(s, s->root_fd, name, top->gid, top);
        if (fd >= 0 || fd == -EEXIST) /* another thread has just made it */
                return 0;
        return staging_fail(-fd, "making the folder", name, e);
}
