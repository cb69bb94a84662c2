/* SPDX-License-Identifier: Apache-2.0 */
/* The extended attribute is written as the kernel's headers define it: libacl, with an entry and a set of
 * permissions allocated for each group, would take more lines than this file has. */
#include "staging_acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ACL_NAME "system.posix_acl_access"
#define ENTRIES_MAX 256 /* of a list that is read */

struct acl {
        struct posix_acl_xattr_header head;
        struct posix_acl_xattr_entry entries[ENTRIES_MAX];
};

static void add(struct acl *acl, size_t *n, uint16_t tag, mode_t perm, uint32_t id)
{
        acl->entries[(*n)++] = (struct posix_acl_xattr_entry){
                .e_tag = htole16(tag), .e_perm = htole16((uint16_t)(perm & 7)), .e_id = htole32(id)};
}

static int by_id(const void *a, const void *b)
{
        const gid_t *x = a, *y = b;
        return (*x > *y) - (*x < *y);
}

int staging_let_through(int fd, mode_t mode, const struct staging_top *top)
{
        struct acl acl = {.head.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
        gid_t gids[STAGING_THROUGH_MAX];
        size_t n = 0, n_gids = 0;
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        for (size_t i = 0; i < top->n_through; i++)
                if (top->through[i] != st.st_gid)
                        gids[n_gids++] = top->through[i];
        if (n_gids == 0)
                return 0;
        qsort(gids, n_gids, sizeof(*gids), by_id);
        add(&acl, &n, ACL_USER_OBJ, mode >> 6, ACL_UNDEFINED_ID);
        add(&acl, &n, ACL_GROUP_OBJ, mode >> 3, ACL_UNDEFINED_ID);
        for (size_t i = 0; i < n_gids; i++)
                if (i == 0 || gids[i] != gids[i - 1])
                        add(&acl, &n, ACL_GROUP, ACL_EXECUTE, gids[i]);
        add(&acl, &n, ACL_MASK, mode >> 3 | ACL_EXECUTE, ACL_UNDEFINED_ID);
        add(&acl, &n, ACL_OTHER, 0, ACL_UNDEFINED_ID);
        if (fsetxattr(fd, ACL_NAME, &acl, sizeof(acl.head) + n * sizeof(*acl.entries), 0) == 0)
                return 0;
        /* a file system without lists: czarctl check tells what to do */
        return errno == EOPNOTSUPP ? 0 : -errno;
}

int staging_let_read(int fd, int dir_fd)
{
        struct acl acl;
        ssize_t n = fgetxattr(dir_fd, ACL_NAME, &acl, sizeof(acl));
        if (n < 0)
                return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
        size_t n_entries = ((size_t)n - sizeof(acl.head)) / sizeof(*acl.entries);
        for (size_t i = 0; i < n_entries; i++) {
                uint16_t tag = le16toh(acl.entries[i].e_tag);
                uint16_t perm = tag == ACL_USER_OBJ ? ACL_READ | ACL_WRITE : tag == ACL_OTHER ? 0 : ACL_READ;
                acl.entries[i].e_perm = htole16(perm);
        }
        return fsetxattr(fd, ACL_NAME, &acl, (size_t)n, 0) < 0 && errno != EOPNOTSUPP ? -errno : 0;
}

/* What an access list gives to that group, or to the folder's own; -1: it says nothing of it. */
static int permissions(const struct acl *acl, size_t n, gid_t gid, gid_t owner)
{
        int perm = -1, mask = 7;
        for (size_t i = 0; i < n; i++) {
                uint16_t tag = le16toh(acl->entries[i].e_tag), bits = le16toh(acl->entries[i].e_perm);
                if (tag == ACL_MASK)
                        mask = bits;
                else if ((tag == ACL_GROUP_OBJ && gid == owner) ||
                         (tag == ACL_GROUP && le32toh(acl->entries[i].e_id) == gid))
                        perm = perm < 0 ? bits : perm | bits;
        }
        return perm < 0 ? -1 : perm & mask;
}

bool staging_lets_through(int fd, gid_t gid)
{
        struct acl acl;
        struct stat st;
        if (fstat(fd, &st) < 0)
                return false;
        ssize_t len = fgetxattr(fd, ACL_NAME, &acl, sizeof(acl));
        if (len < (ssize_t)sizeof(acl.head))
                return st.st_gid == gid ? st.st_mode & S_IXGRP : st.st_mode & S_IXOTH;
        int perm = permissions(&acl, ((size_t)len - sizeof(acl.head)) / sizeof(*acl.entries), gid, st.st_gid);
        return perm < 0 ? st.st_mode & S_IXOTH : perm & ACL_EXECUTE;
}
