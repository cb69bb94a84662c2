/* SPDX-License-Identifier: Apache-2.0 */
/* One organisation's file. It is read at its end only, and written at its end only; it stays open no longer
 * than a call, so that the volume can be remounted. What stands at its name and is no file of ours is set
 * aside; group, mode and access list that somebody changed are set again. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "feed_internal.h"
#include "feed_reader.h"
#include "fsx.h"
#include "json.h"
#include "staging_internal.h"

#define FEED_MODE 0640
#define FEED_REMADE ".CHANGES.jsonl.new"
#define FEED_ASIDE ".CHANGES.jsonl.aside"
#define TAIL_SIZE 65536
#define LINE_MOST 16384 /* of its first line, whose path is looked at */
#define FLUSH_SIZE 262144

/* --- its end --- */

static int fail(int err, const char *org, const char *what, struct error *e)
{
        return error_errno(e, err, "%s/" FEED_FILE ": %s", org, what);
}

/* The number of the last whole line; what stands behind it is cut off. */
static int read_end(struct feed_file *f, int fd, uint64_t *ret)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return fail(errno, f->org, "looking", f->e);
        size_t n = (size_t)MIN(st.st_size, (off_t)TAIL_SIZE);
        _cleanup_free_ char *tail = malloc(n + 1);
        if (!tail)
                return error_set(f->e, CAUSE_IO, ENOMEM, "out of memory");
        ssize_t got = pread(fd, tail, n, st.st_size - (off_t)n);
        if (got != (ssize_t)n)
                return fail(got < 0 ? errno : EIO, f->org, "reading", f->e);
        tail[n] = 0;
        char *end = n ? memrchr(tail, '\n', n) : NULL;
        off_t whole = end ? st.st_size - (off_t)n + (end - tail) + 1 : st.st_size - (off_t)n;
        if (whole < st.st_size && ftruncate(fd, whole) < 0)
                return fail(errno, f->org, "cutting a torn line", f->e);
        *ret = 0;
        if (!end)
                return 0;
        *end = 0;
        const char *before = memrchr(tail, '\n', (size_t)(end - tail)), *start = before ? before + 1 : tail;
        *ret = audit_seq(start, (size_t)(end - start)); /* 0: none of ours, it is made again */
        return 0;
}

/* Each path begins with the organisation. */
static bool speaks_of_another(int fd, const char *org)
{
        char line[LINE_MOST], path[PATH_MAX];
        ssize_t got = pread(fd, line, sizeof(line), 0);
        const char *end = got > 0 ? memchr(line, '\n', (size_t)got) : NULL;
        size_t n = strlen(org);
        return end && audit_field(line, (size_t)(end - line), "path", path, sizeof(path)) == 0 &&
               (strncmp(path, org, n) != 0 || path[n] != '/');
}

/* --- its name --- */

/* It is of the folder's group, and who may pass the folder may read it. */
static int give_away(struct feed_file *f, int dir_fd, int fd)
{
        struct stat st;
        if (fstat(dir_fd, &st) < 0)
                return fail(errno, f->org, "looking", f->e);
        if (fchown(fd, (uid_t)-1, st.st_gid) < 0 || fchmod(fd, FEED_MODE) < 0)
                return fail(errno, f->org, "setting group and mode", f->e);
        int r = staging_let_read(fd, dir_fd);
        return r < 0 ? fail(-r, f->org, "setting its access list", f->e) : 0;
}

/* Somebody took our own right to it away. */
static int open_closed(int dir_fd, const char *name, int flags)
{
        _cleanup_close_ int fd = open_beneath(dir_fd, name, O_PATH | O_NOFOLLOW, 0);
        int r = fd < 0 ? fd : chmod_fd(fd, FEED_MODE);
        return r < 0 ? r : open_beneath(dir_fd, name, flags, 0);
}

static bool is_file_of_ours(const struct stat *st)
{
        return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1;
}

/* What has the name, if that is a file of ours, about f->org. What somebody else put there is not written to,
 * and not removed either. A descriptor, -ENOENT or -errno. */
static int open_ours(struct feed_file *f, int dir_fd, const char *name)
{
        int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
        _cleanup_close_ int fd = open_beneath(dir_fd, name, flags, 0);
        if (fd == -EACCES)
                fd = open_closed(dir_fd, name, flags);
        struct stat st, dir;
        if (fd == -ENOENT)
                return fd;
        if (fd >= 0 && (fstat(fd, &st) < 0 || fstat(dir_fd, &dir) < 0))
                return fail(errno, f->org, "looking", f->e);
        bool is_ours = fd >= 0 && is_file_of_ours(&st) && !speaks_of_another(fd, f->org);
        bool is_strange = fd == -ELOOP || fd == -EISDIR || fd == -ENXIO || (fd >= 0 && !is_ours);
        if (is_strange) {
                int r = staging_move_aside(f->s, dir_fd, name, FEED_ASIDE, (gid_t)-1, f->e);
                return r < 0 ? r : -ENOENT;
        }
        if (fd < 0)
                return fail(-fd, f->org, "opening", f->e);
        int r = (st.st_mode & 07777) != FEED_MODE || st.st_gid != dir.st_gid ? give_away(f, dir_fd, fd) : 0;
        return r < 0 ? r : take_fd(&fd);
}

/* 0, -ENOENT (make is false), or -errno. */
static int open_file(struct feed_file *f, const char *name, bool make, int *ret_fd)
{
        _cleanup_close_ int dir = staging_open_dir(f->s, f->s->root_fd, f->org, make, (gid_t)-1, f->e);
        if (dir < 0)
                return dir;
        _cleanup_close_ int fd = open_ours(f, dir, name);
        /* Lost under us: a new file would begin in the middle. */
        if (fd == -ENOENT && make && !f->remaking && f->seq > 0) {
                f->lost = true;
                return fail(ENOENT, f->org, "opening", f->e);
        }
        if (fd == -ENOENT && make) {
                /* whoever waits for the name may read the file as soon as it has it */
                fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, FEED_MODE);
                int r = fd < 0 ? fail(errno, f->org, "making", f->e) : give_away(f, dir, fd);
                if (r == 0 && (r = link_fd(fd, dir, name)) < 0)
                        r = fail(-r, f->org, "making", f->e);
                if (r == 0 && fsync(dir) < 0)
                        r = fail(errno, f->org, "making durable", f->e);
                if (r < 0)
                        return r;
        }
        if (fd < 0)
                return fd;
        *ret_fd = take_fd(&fd);
        return 0;
}

bool feed_file_is_of(struct feed_file *f, const char *org)
{
        struct stat st;
        _cleanup_free_ char *path = str_printf("%s/" FEED_FILE, org);
        _cleanup_close_ int fd =
                path ? open_beneath(f->s->root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0)
                     : -ENOMEM;
        return fd >= 0 && fstat(fd, &st) == 0 && is_file_of_ours(&st) && !speaks_of_another(fd, org);
}

int feed_file_end(struct feed_file *f, const char *org, uint64_t *ret)
{
        _cleanup_close_ int fd = -1;
        *ret = 0;
        snprintf(f->org, sizeof(f->org), "%s", org);
        int r = open_file(f, FEED_FILE, false, &fd);
        if (r == 0)
                r = read_end(f, fd, ret);
        f->org[0] = 0;
        return r == -ENOENT ? 0 : r;
}

/* --- one after the other --- */

static int flush(struct feed_file *f, bool durable)
{
        if (f->out.err)
                return error_set(f->e, CAUSE_IO, ENOMEM, "out of memory");
        if (f->out.len > 0) {
                struct stat before;
                if (fstat(f->fd, &before) < 0)
                        return fail(errno, f->org, "looking", f->e);
                int r = write_all(f->fd, f->out.s, f->out.len);
                if (r < 0) {
                        /* nothing of a line that was not written whole */
                        if (ftruncate(f->fd, before.st_size) < 0)
                                f->fd = close_fd(f->fd);
                        return fail(-r, f->org, "writing", f->e);
                }
                f->out.len = 0;
                f->unsynced = true;
        }
        if (durable && f->unsynced && fdatasync(f->fd) < 0)
                return fail(errno, f->org, "making durable", f->e);
        f->unsynced &= !durable;
        return 0;
}

static int save_known(struct feed_file *f)
{
        return sql_run(&f->l->sql, "INSERT OR REPLACE INTO feed (org, seq) VALUES (?1, ?2)",
                VALUES(V(f->org), V(f->seq)), f->e);
}

int feed_file_known(struct feed_file *f, const char *org, uint64_t *ret)
{
        int64_t seq = 0;
        int r = sql_get_i64(&f->l->sql, "SELECT seq FROM feed WHERE org = ?1", VALUES(V(org)), 0, &seq, f->e);
        *ret = r < 0 ? 0 : (uint64_t)seq;
        return MIN(r, 0);
}

int feed_file_leave(struct feed_file *f)
{
        int r = *f->org ? flush(f, true) : 0;
        if (r == 0 && *f->org)
                r = save_known(f);
        f->fd = close_fd(f->fd);
        f->org[0] = 0;
        return r;
}

void feed_file_forget(struct feed_file *f)
{
        f->out.len = 0;
        f->fd = close_fd(f->fd);
        f->org[0] = 0;
}

static int enter(struct feed_file *f, const char *org)
{
        if (streq(f->org, org) && (f->fd >= 0 || f->instead))
                return 0;
        int r = feed_file_leave(f);
        if (r < 0)
                return r;
        snprintf(f->org, sizeof(f->org), "%s", org);
        r = feed_file_known(f, org, &f->seq);
        f->file_seq = f->seq;
        if (r == 0 && !f->instead)
                r = open_file(f, f->remaking ? FEED_REMADE : FEED_FILE, true, &f->fd);
        if (r == 0 && !f->instead)
                r = read_end(f, f->fd, &f->file_seq);
        /* Cut under us: a line more would leave a hole. */
        if (r == 0 && !f->remaking && f->file_seq < f->seq) {
                f->lost = true;
                r = fail(ESTALE, org, "it was cut short", f->e);
        }
        if (r < 0) {
                f->fd = close_fd(f->fd);
                f->org[0] = 0;
        }
        return r;
}

/* --- a line --- */

/* 1: it is to be written; 0: the file has it already. */
static int next_number(struct feed_file *f, const char *org)
{
        int r = enter(f, org);
        if (r < 0)
                return r;
        f->seq++;
        if (f->seq <= f->file_seq)
                return 0;
        f->file_seq = f->seq;
        return 1;
}

static int written(struct feed_file *f)
{
        if (f->out.err)
                return error_set(f->e, CAUSE_IO, ENOMEM, "out of memory");
        if (f->instead) {
                int r = f->instead(f->org, f->out.s, f->out.len, f->seq, f->arg);
                f->out.len = 0;
                return r;
        }
        return f->out.len > FLUSH_SIZE ? flush(f, false) : 0;
}

int feed_file_add(struct feed_file *f, const char *org, const struct change *c)
{
        int r = next_number(f, org);
        if (r <= 0)
                return r;
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_u64(&j, "seq", f->seq);
        json_str(&j, "time", c->time);
        json_str(&j, "op", c->op);
        json_str(&j, "path", c->path);
        json_sha256(&j, "sha256", c->sha256);
        json_sha256(&j, "was", c->was);
        if (c->size >= 0)
                json_i64(&j, "size", c->size);
        else
                json_null(&j, "size");
        json_str(&j, "category", c->category);
        json_str(&j, "site", c->site);
        json_str(&j, "date", c->date);
        json_str(&j, "course", c->course);
        json_str(&j, "table", c->table);
        json_str(&j, "etag", c->etag);
        json_str(&j, "reason", c->reason);
        if (c->has_base)
                json_str(&j, "base", c->base);
        json_close(&j, '}');
        strbuf_add(&j.out, "\n");
        if (j.out.err)
                return error_set(f->e, CAUSE_IO, ENOMEM, "out of memory");
        strbuf_add_n(&f->out, j.out.s, j.out.len);
        return written(f);
}

int feed_file_add_told(struct feed_file *f, const char *org, const char *line)
{
        const char *rest = strchr(line, ',');
        int r = rest ? next_number(f, org) : 0;
        if (r <= 0)
                return r;
        strbuf_printf(&f->out, "{\"seq\":%llu%s\n", (unsigned long long)f->seq, rest);
        return written(f);
}

/* --- made again --- */

/* The folder of the organisation; -ENOENT: there is none. */
static int open_folder(struct feed_file *f, const char *org)
{
        return staging_open_dir(f->s, f->s->root_fd, org, false, (gid_t)-1, f->e);
}

int feed_file_remove_remade(struct feed_file *f, const char *org)
{
        _cleanup_close_ int dir = open_folder(f, org);
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        return unlinkat(dir, FEED_REMADE, 0) < 0 && errno != ENOENT ? fail(errno, org, "removing", f->e) : 0;
}

int feed_file_put(struct feed_file *f, const char *org, uint64_t seq)
{
        uint64_t end;
        int r = feed_file_end(f, org, &end);
        if (r == 0 && end >= seq)
                return feed_file_remove_remade(f, org);
        _cleanup_close_ int dir = r < 0 ? r : open_folder(f, org);
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        if (renameat(dir, FEED_REMADE, dir, FEED_FILE) < 0 || fsync(dir) < 0)
                return fail(errno, org, "renaming", f->e);
        return 0;
}

int feed_file_set_aside(struct feed_file *f, const char *org)
{
        _cleanup_close_ int dir = open_folder(f, org);
        return dir < 0 ? dir : staging_move_aside(f->s, dir, FEED_FILE, FEED_ASIDE, (gid_t)-1, f->e);
}
