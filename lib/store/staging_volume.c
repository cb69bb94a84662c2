/* SPDX-License-Identifier: Apache-2.0 */
/* The volume below the staging directory: which one it is, how much room there is, and whether it is
 * encrypted. An empty disk is not believed, because it is most often a volume that is not mounted. */
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "fsx.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

static int read_id_at(int root_fd, char ret[STAGING_ID_SIZE], struct error *e)
{
        _cleanup_close_ int fd =
                open_beneath(root_fd, STAGING_ID_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
        if (fd == -ENOENT) {
                ret[0] = 0;
                return 0;
        }
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return staging_fail(fd < 0 ? -fd : errno, "reading", STAGING_ID_FILE, e);
        char text[STAGING_ID_SIZE + 1] = "";
        uint8_t bytes[(STAGING_ID_SIZE - 1) / 2];
        ssize_t n = S_ISREG(st.st_mode) ? read_full(fd, text, sizeof(text) - 1) : -EINVAL;
        bool whole = n == STAGING_ID_SIZE && text[STAGING_ID_SIZE - 1] == '\n';
        if (whole)
                text[STAGING_ID_SIZE - 1] = 0;
        if (!whole || hex_decode(text, bytes, sizeof(bytes)) < 0)
                return error_set(e, CAUSE_STAGING, EBADMSG, "staging: " STAGING_ID_FILE " holds no id");
        hex_encode(bytes, sizeof(bytes), ret);
        return 0;
}

int staging_read_id(const struct staging *s, char ret[STAGING_ID_SIZE], struct error *e)
{
        _cleanup_close_ int now = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat a, b;
        if (now < 0 || fstat(now, &a) < 0 || fstat(s->root_fd, &b) < 0)
                return error_set(e, CAUSE_STAGING, errno, "[staging] path %s: %s", s->path, strerror(errno));
        char id[STAGING_ID_SIZE], before[STAGING_ID_SIZE] = "";
        int r = read_id_at(now, id, e);
        if (r < 0)
                return r;
        /* A second volume with our id is a copy; what we hold open is not what people see. */
        bool same = a.st_dev == b.st_dev && a.st_ino == b.st_ino;
        if (!same && *id && read_id_at(s->root_fd, before, NULL) == 0 && streq(id, before))
                return error_set(e, CAUSE_STAGING, ESTALE,
                        "[staging] path %s: another volume with the same id was mounted: restart czard",
                        s->path);
        memcpy(ret, id, sizeof(id));
        return 0;
}

int staging_expect_id(const struct staging *s, const char *known, const char *what_to_do,
        char ret[STAGING_ID_SIZE], struct error *e)
{
        int r = staging_read_id(s, ret, e);
        if (r < 0 || !*known || streq(known, ret))
                return MIN(r, 0);
        return error_set(e, CAUSE_STAGING, ENODEV,
                "%s is not the staging volume this czard knows (.czard-id is %s): %s", s->path,
                *ret ? "another one" : "missing", what_to_do);
}

static int write_id(struct staging *s, char ret[STAGING_ID_SIZE], struct error *e)
{
        uint8_t random[(STAGING_ID_SIZE - 1) / 2];
        char text[STAGING_ID_SIZE + 1];
        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return staging_fail(EIO, "no random bytes", STAGING_ID_FILE, e);
        hex_encode(random, sizeof(random), text);
        text[STAGING_ID_SIZE - 1] = '\n';
        _cleanup_close_ int fd = staging_create(s, e);
        if (fd < 0)
                return fd;
        int r = write_all(fd, text, STAGING_ID_SIZE);
        if (r < 0)
                return staging_fail(-r, "writing", STAGING_ID_FILE, e);
        struct staging_attr attr = {.gid = (gid_t)-1, .mtime = -1};
        r = staging_publish(s, fd, STAGING_ID_FILE, &attr, NULL, e);
        if (r < 0)
                return r;
        text[STAGING_ID_SIZE - 1] = 0;
        memcpy(ret, text, STAGING_ID_SIZE);
        return 0;
}

int staging_make_id(struct staging *s, char ret[STAGING_ID_SIZE], struct error *e)
{
        int fd = openat(s->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
        if (!d) {
                close_fd(fd);
                return staging_fail(errno, "reading", s->path, e);
        }
        struct dirent *entry;
        int r;
        while ((r = dir_next(d, &entry)) > 0) {
                if (streq(entry->d_name, "lost+found") || staging_is_hidden(entry->d_name))
                        continue;
                return error_set(e, CAUSE_STAGING, ENOTEMPTY,
                        "[staging] path %s is not empty: if these files are czard's, run czarctl adopt",
                        s->path);
        }
        return r < 0 ? staging_fail(-r, "reading", s->path, e) : write_id(s, ret, e);
}

int staging_adopt_id(struct staging *s, char ret[STAGING_ID_SIZE], struct error *e)
{
        return write_id(s, ret, e);
}

int staging_free_inodes(const struct staging *s, uint64_t *ret, struct error *e)
{
        struct statvfs v;
        if (fstatvfs(s->root_fd, &v) < 0)
                return staging_fail(errno, "asking for free inodes", s->path, e);
        *ret = v.f_files == 0 ? UINT64_MAX : (uint64_t)v.f_favail;
        return 0;
}

int staging_free_bytes(const struct staging *s, uint64_t *ret, struct error *e)
{
        struct statvfs v;
        if (fstatvfs(s->root_fd, &v) < 0)
                return staging_fail(errno, "asking for free room", s->path, e);
        *ret = (uint64_t)v.f_bavail * v.f_frsize;
        return 0;
}

bool staging_folds_case(const struct staging *s)
{
        struct stat st, other;
        return fstatat(s->root_fd, STAGING_ID_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               fstatat(s->root_fd, STAGING_ID_FILE_UPPER, &other, AT_SYMLINK_NOFOLLOW) == 0 &&
               st.st_dev == other.st_dev && st.st_ino == other.st_ino;
}

/* --- is it encrypted? --- */

/* By what /sys says of the block device: dm-crypt itself,
 * or every device below it is. A file system without one block device (btrfs, zfs, tmpfs, overlay), a loop
 * file and a disk that encrypts by itself cannot be told: UNKNOWN for the first two, NO for the last, because
 * only dm-crypt is looked for. */
static enum encrypted look(int dev_fd, int depth, struct strbuf *detail);

static bool read_line(int dir_fd, const char *path, char *ret, size_t size)
{
        _cleanup_free_ char *text = NULL;
        if (read_file_at(dir_fd, path, 4096, &text, NULL) < 0)
                return false;
        text[strcspn(text, "\n")] = 0;
        snprintf(ret, size, "%s", text);
        return true;
}

/* dm/uuid of what cryptsetup made: CRYPT-LUKS2-..., also PLAIN, TCRYPT, BITLK. VERITY and INTEGRITY do not
 * encrypt. */
static bool is_crypt(const char *uuid)
{
        const char *type = str_after(uuid, "CRYPT-");
        return type && !str_after(type, "VERITY") && !str_after(type, "INTEGRITY") &&
               !str_after(type, "SUBDEV");
}

/* All devices in slaves/: NO when one is not, UNKNOWN when one cannot be told. *ret_n: how many. */
static enum encrypted look_below(int dev_fd, int depth, struct strbuf *detail, unsigned *ret_n)
{
        enum encrypted result = ENCRYPTED_YES;
        unsigned n = 0;
        int fd = openat(dev_fd, "slaves", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
        if (!d)
                close_fd(fd);
        struct dirent *entry;
        int r = 0;
        while (d && (r = dir_next(d, &entry)) > 0) {
                n++;
                strbuf_printf(detail, " < %s", entry->d_name);
                _cleanup_close_ int below =
                        openat(dirfd(d), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                enum encrypted one = below < 0 ? ENCRYPTED_UNKNOWN : look(below, depth - 1, detail);
                if (one == ENCRYPTED_NO || (one == ENCRYPTED_UNKNOWN && result == ENCRYPTED_YES))
                        result = one;
        }
        if (r < 0 && result == ENCRYPTED_YES)
                result = ENCRYPTED_UNKNOWN;
        *ret_n = n;
        return result;
}

static enum encrypted look(int dev_fd, int depth, struct strbuf *detail)
{
        char uuid[256];
        unsigned n = 0;
        if (depth == 0)
                return ENCRYPTED_UNKNOWN;
        if (read_line(dev_fd, "dm/uuid", uuid, sizeof(uuid)) && is_crypt(uuid)) {
                uuid[strcspn(uuid + 6, "-") + 6] = 0;
                strbuf_printf(detail, " (%s)", uuid);
                return ENCRYPTED_YES;
        }
        if (faccessat(dev_fd, "loop/backing_file", F_OK, 0) == 0) {
                strbuf_add(detail, " (a loop file)");
                return ENCRYPTED_UNKNOWN;
        }
        enum encrypted below = look_below(dev_fd, depth, detail, &n);
        if (n > 0)
                return below;
        if (faccessat(dev_fd, "partition", F_OK, 0) == 0) {
                _cleanup_close_ int disk = openat(dev_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                return disk < 0 ? ENCRYPTED_UNKNOWN : look(disk, depth - 1, detail);
        }
        return ENCRYPTED_NO;
}

enum encrypted staging_device_encrypted(int sys_fd, dev_t dev, char *detail, size_t size)
{
        _cleanup_strbuf_ struct strbuf text = {};
        char path[64], name[256];
        snprintf(path, sizeof(path), "dev/block/%u:%u", major(dev), minor(dev));
        _cleanup_close_ int fd = openat(sys_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : readlinkat(sys_fd, path, name, sizeof(name) - 1);
        if (major(dev) == 0 || fd < 0) {
                snprintf(detail, size, "%s",
                        major(dev) == 0
                                ? "the file system has no single block device (btrfs, zfs, tmpfs, overlay)"
                                : "the block device is not in /sys");
                return ENCRYPTED_UNKNOWN;
        }
        name[n < 0 ? 0 : n] = 0;
        strbuf_add(&text, n < 0 ? path : staging_base_name(name));
        enum encrypted result = look(fd, 16, &text);
        if (result == ENCRYPTED_NO)
                strbuf_add(&text, ": no dm-crypt below it");
        snprintf(detail, size, "%s", text.s ? text.s : "");
        return result;
}

enum encrypted staging_encrypted(const struct staging *s, char *detail, size_t size)
{
        _cleanup_close_ int sys = open("/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat st;
        if (sys < 0 || fstat(s->root_fd, &st) < 0) {
                snprintf(detail, size, "/sys cannot be read");
                return ENCRYPTED_UNKNOWN;
        }
        return staging_device_encrypted(sys, st.st_dev, detail, size);
}
