/* SPDX-License-Identifier: Apache-2.0 */
/* Is the disk below the staging directory encrypted? By what /sys says of the block device: dm-crypt itself,
 * or every device below it is. A file system without one block device (btrfs, zfs, tmpfs, overlay), a loop
 * file and a disk that encrypts by itself cannot be told: UNKNOWN for the first two, NO for the last, because
 * only dm-crypt is looked for. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fsx.h"
#include "staging_device.h"
#include "staging_internal.h"
#include "str.h"

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
