/* SPDX-License-Identifier: Apache-2.0 */
#include "split_room.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

#include "limits.h"
#include "macro.h"

#define OWN_BLOCKS 4 /* of the folder itself, and of what is kept beside it while it is made */

int split_room_open(struct split_room *r, int dir_fd, uint64_t bytes, uint64_t files, struct error *e)
{
        struct statvfs v;
        if (fstatvfs(dir_fd, &v) < 0)
                return error_set(e, CAUSE_IO, errno, "asking for the size of blocks: %s", strerror(errno));
        *r = (struct split_room){.block = MAX((uint64_t)v.f_frsize, (uint64_t)LIMIT_SPLIT_BLOCK),
                .bytes = bytes ? bytes : UINT64_MAX,
                .files = files ? files : UINT64_MAX};
        r->bytes -= MIN(r->bytes, OWN_BLOCKS * r->block);
        return 0;
}

static uint64_t blocks(const struct split_room *r, uint64_t bytes)
{
        return bytes / r->block + (bytes % r->block != 0);
}

int split_room_take(struct split_room *r, uint64_t before, uint64_t after, struct error *e)
{
        bool is_new = before == 0;
        uint64_t bytes = (blocks(r, after) - blocks(r, before)) * r->block +
                         (is_new ? (uint64_t)LIMIT_SPLIT_FILE_COST : 0);
        if (is_new && r->files == 0)
                return error_set(e, CAUSE_SPACE, ENOSPC,
                        "it makes more files than inodes are left for it (%" PRIu64 " so far)",
                        r->files_made);
        if (bytes > r->bytes)
                return error_set(e, CAUSE_SPACE, ENOSPC,
                        "it takes more than what is free for it above min_free (%" PRIu64 " files so far)",
                        r->files_made);
        r->bytes -= bytes;
        r->files -= is_new;
        r->files_made += is_new;
        return 0;
}
