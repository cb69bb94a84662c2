/* SPDX-License-Identifier: Apache-2.0 */
/* The audit record: one line an event, each sealed with the hash of the one before.
 *
 * A line is written by one write(2), and what could not be written whole is cut off again; so the file always
 * ends with a newline but after a crash. Lines of an archive's members stand between a "members" line and the
 * line of its publication, and become durable with it. So a torn last line, and members without a publication
 * behind them, were never acknowledged: audit_open() passes over them, and the first append cuts them off.
 * Nothing else is ever changed. What was acknowledged and is not there any more was cut by somebody:
 * audit_check_tail() tells, before anything is cut.
 *
 * When the file was moved to audit-NAME.jsonl, the new one goes on where that one ended: its first line,
 * "continued", has the next number and that one's last hash. audit_read.c walks and verifies. */
#include "audit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "audit_read.h"
#include "cleanup.h"
#include "fsx.h"
#include "json.h"
#include "str.h"
#include "timespan.h"

#define FILE_MODE 0640

struct audit {
        int fd, dir_fd;  /* dir_fd: borrowed */
        uint64_t seq;    /* of the last line, 0: none */
        off_t size;      /* where the next line goes */
        bool torn;       /* something of a failed line may stand behind size */
        bool synced;     /* nothing was appended since audit_sync() */
        char *continues; /* the file that this one, which is empty, goes on from; NULL: none */
        char head[SHA256_HEX], durable[SHA256_HEX];
};

DEFINE_CLEANUP(struct audit, audit, audit_free)

static int fail(int err, const char *what, struct error *e)
{
        return error_errno(e, err, AUDIT_FILE ": %s", what);
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

static int damaged(const char *what, struct error *e)
{
        return error_set(e, CAUSE_IO, EBADMSG,
                AUDIT_FILE " is damaged: %s. Keep it elsewhere, a new one is begun", what);
}

/* The whole lines of an open file, from its end backwards. */
struct backwards {
        int fd;
        off_t end; /* of what was not read yet: behind a newline, or 0 */
        char *buf; /* LINE_ROOM bytes */
};
#define LINE_ROOM (AUDIT_LINE_MAX + 2)

static void backwards_done(struct backwards *b)
{
        free(b->buf);
}

/* From size on: what stands behind the last newline is passed over. 0 or -errno. */
static int backwards_open(int fd, off_t size, struct backwards *ret, struct error *e)
{
        *ret = (struct backwards){.fd = fd, .buf = malloc(LINE_ROOM)};
        if (!ret->buf)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        size_t n = (size_t)MIN((off_t)LINE_ROOM, size);
        ssize_t got = pread(fd, ret->buf, n, size - (off_t)n);
        if (got != (ssize_t)n)
                return fail(got < 0 ? errno : EIO, "reading", e);
        const char *newline = memrchr(ret->buf, '\n', n);
        if (!newline && (off_t)n < size)
                return damaged("its last line is too long", e);
        ret->end = newline ? size - (off_t)n + (newline - ret->buf) + 1 : 0;
        return 0;
}

/* The next one to the front, NUL-terminated without its newline; valid until the next call. 1, 0: that was
 * the first of the file, or -errno. */
static int backwards_next(struct backwards *b, const char **ret, size_t *ret_len, struct error *e)
{
        if (b->end == 0)
                return 0;
        /* most lines are short */
        for (size_t room = MIN((size_t)4096, (size_t)LINE_ROOM);; room = LINE_ROOM) {
                size_t n = (size_t)MIN((off_t)room, b->end);
                ssize_t got = pread(b->fd, b->buf, n, b->end - (off_t)n);
                if (got != (ssize_t)n)
                        return fail(got < 0 ? errno : EIO, "reading", e);
                char *before = n > 1 ? memrchr(b->buf, '\n', n - 1) : NULL;
                if (!before && (off_t)n < b->end && room < LINE_ROOM)
                        continue;
                if (!before && (off_t)n < b->end)
                        return damaged("a line is too long", e);
                const char *line = before ? before + 1 : b->buf;
                b->buf[n - 1] = 0;
                *ret = line;
                *ret_len = (size_t)(b->buf + n - 1 - line);
                b->end -= (off_t)*ret_len + 1;
                return 1;
        }
}

static bool is_event(const char *line, size_t len, const char *event)
{
        char value[64];
        return audit_field(line, len, "event", value, sizeof(value)) == 0 && streq(value, event);
}

static int read_place(const char *line, size_t len, struct audit_tail *ret, struct error *e)
{
        struct audit_seal seal;
        if (audit_seal_read(line, len, &seal) < 0)
                return damaged("its last line is none of czard's", e);
        ret->seq = seal.seq;
        memcpy(ret->head, seal.own, sizeof(ret->head));
        return 0;
}

/* Where the record ends: *ret_size, and its last line. Members that an older czard wrote, without a "members"
 * line before them, stay. */
static int read_end(int fd, off_t size, off_t *ret_size, struct audit_tail *ret, struct error *e)
{
        _cleanup_(backwards_done) struct backwards b = {};
        struct audit_tail last = {};
        const char *line;
        size_t len;
        int r = backwards_open(fd, size, &b, e);
        memset(last.head, '0', sizeof(last.head) - 1);
        *ret = last;
        *ret_size = b.end;
        for (bool first = true; r == 0 && (r = backwards_next(&b, &line, &len, e)) == 1; first = false) {
                bool member = is_event(line, len, "member") || is_event(line, len, "member-rejected");
                bool members = is_event(line, len, "members");
                r = 0;
                if (first)
                        r = read_place(line, len, &last, e);
                if (r == 0 && members) {
                        /* of a publication that did not come about: the line before is the last */
                        *ret_size = b.end;
                        r = backwards_next(&b, &line, &len, e);
                        return r == 1 ? read_place(line, len, ret, e) : r;
                }
                if (!member)
                        break;
        }
        if (r == 0)
                *ret = last;
        return r;
}

/* --- a file that was moved away --- */

static int read_archived(int dir_fd, const char *name, struct audit_tail *ret, struct error *e)
{
        struct stat st;
        off_t end;
        _cleanup_close_ int fd = open_beneath(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return fail(fd < 0 ? -fd : errno ? errno : EINVAL, name, e);
        return read_end(fd, st.st_size, &end, ret, e);
}

/* The one that ends with the highest number. */
static int find_archived(struct audit *a, struct error *e)
{
        _cleanup_(strv_done) struct strv names = {};
        int r = list_dir_at(a->dir_fd, ".", &names);
        if (r < 0)
                return fail(-r, "looking for the file before", e);
        for (size_t i = 0; i < names.n; i++) {
                struct audit_tail end;
                if (!audit_is_archived(names.v[i]))
                        continue;
                r = read_archived(a->dir_fd, names.v[i], &end, e);
                if (r < 0)
                        return r;
                if (end.seq <= a->seq)
                        continue;
                a->seq = end.seq;
                memcpy(a->head, end.head, sizeof(a->head));
                free(a->continues);
                a->continues = strdup(names.v[i]);
                if (!a->continues)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        }
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
        struct audit_tail end;
        int r = read_end(a->fd, st.st_size, &a->size, &end, e);
        if (r < 0)
                return r;
        a->seq = end.seq;
        memcpy(a->head, end.head, sizeof(a->head));
        a->torn = a->size < st.st_size;
        if (a->size == 0)
                r = find_archived(a, e);
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
        free(a->continues);
        free(a);
        return NULL;
}

void audit_tail(const struct audit *a, struct audit_tail *ret)
{
        ret->seq = a->seq;
        memcpy(ret->head, a->head, sizeof(ret->head));
}

/* The hash of the line of that number: 1, 0: it is not in this file, or -errno. *ret_first: the first line.
 */
static int find_hash(
        struct audit *a, uint64_t seq, char ret[SHA256_HEX], struct audit_seal *ret_first, struct error *e)
{
        _cleanup_(backwards_done) struct backwards b = {};
        const char *line;
        size_t len;
        int r = backwards_open(a->fd, a->size, &b, e);
        while (r == 0 && (r = backwards_next(&b, &line, &len, e)) == 1) {
                if (audit_seal_read(line, len, ret_first) < 0)
                        return damaged("a line is none of czard's", e);
                if (ret_first->seq == seq)
                        memcpy(ret, ret_first->own, SHA256_HEX);
                if (ret_first->seq <= seq)
                        return ret_first->seq == seq;
                r = 0;
        }
        return r;
}

int audit_check_tail(struct audit *a, const struct audit_tail *known, struct error *e)
{
        char hash[SHA256_HEX] = "";
        struct audit_seal first = {};
        if (known->seq == 0)
                return 0;
        if (a->seq < known->seq)
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " ends with line %" PRIu64 ", but line %" PRIu64
                                   " was written (%.64s): lines at its end were cut off",
                        a->seq, known->seq, known->head);
        int r = a->continues ? 1 : find_hash(a, known->seq, hash, &first, e);
        if (a->continues)
                memcpy(hash, a->seq == known->seq ? a->head : known->head, sizeof(hash));
        /* The file goes on from one that was moved away. */
        if (r == 0 && first.seq == known->seq + 1) {
                memcpy(hash, first.prev, sizeof(hash));
                r = 1;
        }
        if (r < 0)
                return r;
        if (r == 0 || !streq(hash, known->head))
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " line %" PRIu64
                                   " is not the one that was written (%.64s): the record was written anew",
                        known->seq, known->head);
        return 0;
}

struct audit_mark audit_mark(const struct audit *a)
{
        struct audit_mark m = {.size = a->size, .synced = a->synced};
        audit_tail(a, &m.tail);
        return m;
}

void audit_take_back(struct audit *a, const struct audit_mark *mark)
{
        if (a->synced || a->size <= mark->size)
                return; /* what is durable stays */
        a->size = mark->size;
        a->seq = mark->tail.seq;
        memcpy(a->head, mark->tail.head, sizeof(a->head));
        a->torn = ftruncate(a->fd, a->size) < 0;
        a->synced = mark->synced;
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
        json_open(j, NULL, '{');
        json_time(j, "time", now);
        json_u64(j, "seq", seq);
        json_str(j, "event", entry->event);
        add_str(j, "bucket", entry->bucket);
        add_str(j, "key", entry->key);
        add_str(j, "etag", entry->etag);
        add_str(j, "member", entry->member);
        if (entry->sha256)
                json_sha256(j, "sha256", entry->sha256);
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
        add_str(j, "latest", entry->latest);
        if (entry->manifest)
                json_sha256(j, "manifest", entry->manifest);
        if (entry->uid >= 0)
                json_i64(j, "uid", entry->uid);
        add_str(j, "delivery", entry->delivery);
        add_str(j, "purpose", entry->purpose);
        add_str(j, "until", entry->until);
        add_str(j, "recipients", entry->recipients);
        add_str(j, "course", entry->course);
        add_str(j, "inputs", entry->inputs);
        add_str(j, "supersedes", entry->supersedes);
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

static int append(struct audit *a, const struct audit_entry *entry, struct error *e)
{
        _cleanup_json_ struct json j = {};
        write_line(&j, entry, (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC), a->seq + 1, a->head);
        strbuf_add(&j.out, "\n");
        if (j.out.err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        struct audit_seal seal;
        if (audit_seal_read(j.out.s, j.out.len - 1, &seal) < 0)
                return error_set(e, CAUSE_INTERNAL, EMSGSIZE, AUDIT_FILE ": an entry is too long");
        a->synced = false;
        int r = append_whole(a, j.out.s, j.out.len, e);
        if (r < 0)
                return r;
        a->size += (off_t)j.out.len;
        a->seq++;
        memcpy(a->head, seal.own, sizeof(a->head));
        return 0;
}

int audit_append(struct audit *a, const struct audit_entry *entry, struct error *e)
{
        int r = check_end(a, e);
        if (r == 0 && a->continues) {
                const struct audit_entry before = {
                        .event = "continued", .path = a->continues, .size = -1, .mtime = -1, .uid = -1};
                r = append(a, &before, e);
                if (r == 0)
                        free(take_ptr(&a->continues));
        }
        return r < 0 ? r : append(a, entry, e);
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
