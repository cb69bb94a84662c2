/* SPDX-License-Identifier: Apache-2.0 */
/* The audit record: one line an event, each sealed with the hash of the one before.
 *
 * A line is written by one write(2), and what could not be written whole is cut off again; so the file always
 * ends with a newline but after a crash, and then its torn last line was never acknowledged and is cut off at
 * the next start. Nothing else is ever changed. audit_read.c walks and verifies. */
#include "audit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "audit_internal.h"
#include "cleanup.h"
#include "fsx.h"
#include "json.h"
#include "str.h"
#include "timespan.h"

#define FILE_MODE 0640

struct audit {
        int fd, dir_fd; /* dir_fd: borrowed */
        uint64_t seq;   /* of the last line, 0: none */
        off_t size;     /* where the next line goes */
        bool torn;      /* something of a failed line may stand behind size */
        bool synced;    /* nothing was appended since audit_sync() */
        char head[SHA256_HEX], durable[SHA256_HEX];
};

DEFINE_CLEANUP(struct audit, audit, audit_free)

static int fail(int err, const char *what, struct error *e)
{
        return error_set(e, cause_from_errno(err), err, AUDIT_FILE ": %s: %s", what, strerror(err));
}

/* Opens the file, or makes it durably. */
static int open_file(int dir_fd, struct error *e)
{
        int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
        _cleanup_close_ int fd = openat(dir_fd, AUDIT_FILE, flags);
        struct stat st;
        bool made = fd < 0 && errno == ENOENT;
        if (made)
                fd = openat(dir_fd, AUDIT_FILE, flags | O_CREAT | O_EXCL, FILE_MODE);
        if (fd < 0 || (made && (fchmod(fd, FILE_MODE) < 0 || fsync(dir_fd) < 0)) || fstat(fd, &st) < 0)
                return fail(errno, "opening", e);
        if (!S_ISREG(st.st_mode))
                return error_set(e, CAUSE_UNSAFE_MODE, EINVAL, AUDIT_FILE " is no file");
        int r = check_owner_mode(fd, AUDIT_FILE, 007, e);
        return r < 0 ? r : take_fd(&fd);
}

/* Cuts what stands behind the last newline. p has the last n bytes of a file of a->size; returns how many of
 * them remain. */
static int cut_torn(struct audit *a, const char *p, size_t n, size_t *ret, struct error *e)
{
        const char *newline = memrchr(p, '\n', n);
        size_t left = newline ? (size_t)(newline - p) + 1 : 0;
        if (left == 0 && (off_t)n < a->size)
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE
                        " is damaged: its last line is too long. Keep it elsewhere, a new one is begun");
        if (left < n) {
                a->size -= (off_t)(n - left);
                if (ftruncate(a->fd, a->size) < 0 || fdatasync(a->fd) < 0)
                        return fail(errno, "cutting a torn line", e);
        }
        *ret = left;
        return 0;
}

/* Number and hash of the last line. */
static int read_tail(struct audit *a, struct error *e)
{
        size_t size = 2 * AUDIT_LINE_MAX + 2, n = (size_t)MIN((off_t)size, a->size);
        _cleanup_free_ char *p = malloc(size);
        if (!p)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (lseek(a->fd, a->size - (off_t)n, SEEK_SET) < 0)
                return fail(errno, "reading", e);
        ssize_t got = read_full(a->fd, p, n);
        if (got != (ssize_t)n)
                return fail(got < 0 ? (int)-got : EIO, "reading", e);
        int r = cut_torn(a, p, n, &n, e);
        if (r < 0)
                return r;
        memset(a->head, '0', sizeof(a->head) - 1);
        if (n == 0)
                return 0;
        const char *before = n > 1 ? memrchr(p, '\n', n - 1) : NULL;
        const char *line = before ? before + 1 : p;
        struct audit_seal seal;
        if (audit_seal_read(line, (size_t)(p + n - 1 - line), &seal) < 0)
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE
                        " is damaged: its last line is none of czard's. Keep it elsewhere, a new one "
                        "is begun");
        a->seq = seal.seq;
        memcpy(a->head, seal.own, sizeof(a->head));
        return 0;
}

int audit_open(int dir_fd, struct audit **ret, struct error *e)
{
        _cleanup_(cleanup_audit) struct audit *a = calloc(1, sizeof(*a));
        if (!a)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        a->dir_fd = dir_fd;
        a->fd = open_file(dir_fd, e);
        if (a->fd < 0)
                return a->fd;
        struct stat st;
        if (fstat(a->fd, &st) < 0)
                return fail(errno, "looking", e);
        a->size = st.st_size;
        int r = read_tail(a, e);
        if (r >= 0)
                r = audit_sync(a, e);
        if (r < 0)
                return r;
        *ret = take_ptr(&a);
        return 0;
}

struct audit *audit_free(struct audit *a)
{
        if (!a)
                return NULL;
        close_fd(a->fd);
        free(a);
        return NULL;
}

static void add_str(struct json *j, const char *name, const char *value)
{
        if (value)
                json_str(j, name, value);
}

/* The keys in this order are the format: others hash and read these lines. */
static void write_line(
        struct json *j, const struct audit_entry *entry, int64_t now, uint64_t seq, const char *prev)
{
        char hex[SHA256_HEX];
        json_open(j, NULL, '{');
        json_time(j, "time", now);
        json_u64(j, "seq", seq);
        json_str(j, "event", entry->event);
        add_str(j, "bucket", entry->bucket);
        add_str(j, "key", entry->key);
        add_str(j, "etag", entry->etag);
        add_str(j, "member", entry->member);
        if (entry->sha256) {
                hex_encode(entry->sha256, SHA256_SIZE, hex);
                json_str(j, "sha256", hex);
        }
        if (entry->size >= 0)
                json_i64(j, "size", entry->size);
        if (entry->mtime >= 0)
                json_time(j, "mtime", entry->mtime);
        add_str(j, "path", entry->path);
        add_str(j, "group", entry->group);
        add_str(j, "fingerprint", entry->fingerprint);
        add_str(j, "cause", entry->cause);
        add_str(j, "config_sha256", entry->config_sha256);
        add_str(j, "reason", entry->reason);
        add_str(j, "category", entry->category);
        add_str(j, "org", entry->org);
        add_str(j, "site", entry->site);
        add_str(j, "date", entry->date);
        add_str(j, "staging_id", entry->staging_id);
        if (entry->object_size > 0)
                json_u64(j, "object_size", entry->object_size);
        if (entry->checks > 0)
                json_u64(j, "checks", entry->checks);
        if (entry->left_out > 0)
                json_u64(j, "left_out", entry->left_out);
        if (entry->uid >= 0)
                json_i64(j, "uid", entry->uid);
        json_str(j, "prev", prev);
        json_close(j, '}');
}

/* The file must be as we left it: cut back after a failed line, not cut or written to by others. */
static int check_end(struct audit *a, struct error *e)
{
        struct stat st, named;
        if (a->torn) {
                if (ftruncate(a->fd, a->size) < 0)
                        return fail(errno, "cutting a torn line", e);
                a->torn = false;
        }
        if (fstat(a->fd, &st) < 0)
                return fail(errno, "looking", e);
        bool there = fstatat(a->dir_fd, AUDIT_FILE, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
                     named.st_ino == st.st_ino && named.st_dev == st.st_dev;
        if (st.st_size != a->size || !there)
                return error_set(e, CAUSE_IO, ESTALE,
                        AUDIT_FILE " was removed, moved, cut or written to by another program: put it back, "
                                   "or restart czard");
        return 0;
}

static int append_whole(struct audit *a, const char *p, size_t n, struct error *e)
{
        ssize_t k;
        do
                k = write(a->fd, p, n);
        while (k < 0 && errno == EINTR);
        if (k == (ssize_t)n)
                return 0;
        int err = k < 0 ? errno : ENOSPC;
        a->torn = ftruncate(a->fd, a->size) < 0;
        return fail(err, "writing", e);
}

int audit_append(struct audit *a, const struct audit_entry *entry, struct error *e)
{
        int r = check_end(a, e);
        if (r < 0)
                return r;
        _cleanup_json_ struct json j = {};
        write_line(&j, entry, (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC), a->seq + 1, a->head);
        strbuf_add(&j.out, "\n");
        if (j.out.err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        struct audit_seal seal;
        if (audit_seal_read(j.out.s, j.out.len - 1, &seal) < 0)
                return error_set(e, CAUSE_INTERNAL, EMSGSIZE, AUDIT_FILE ": an entry is too long");
        a->synced = false;
        r = append_whole(a, j.out.s, j.out.len, e);
        if (r < 0)
                return r;
        a->size += (off_t)j.out.len;
        a->seq++;
        memcpy(a->head, seal.own, sizeof(a->head));
        return 0;
}

int audit_probe(struct audit *a, struct error *e)
{
        int r = check_end(a, e);
        if (r < 0)
                return r;
        /* Room that is set aside behind the end, without making the file longer. */
        if (fallocate(a->fd, FALLOC_FL_KEEP_SIZE, a->size, AUDIT_LINE_MAX) < 0 && errno != EOPNOTSUPP &&
                errno != ENOSYS)
                return fail(errno, "looking for room", e);
        return 0;
}

int audit_sync(struct audit *a, struct error *e)
{
        if (a->synced)
                return 0;
        if (fdatasync(a->fd) < 0)
                return fail(errno, "making durable", e);
        a->synced = true;
        if (a->seq > 0)
                memcpy(a->durable, a->head, sizeof(a->durable));
        return 0;
}

const char *audit_head(const struct audit *a)
{
        return a->head;
}

const char *audit_durable_head(const struct audit *a)
{
        return a->durable;
}
