/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the audit record: its lines, their fields, and whether the chain holds. The file is outside input
 * here: somebody may have altered it. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "audit_read.h"
#include "cleanup.h"
#include "fsx.h"
#include "limits.h"
#include "str.h"

#define HEX_LEN (SHA256_HEX - 1)

bool audit_is_archived(const char *name)
{
        return str_after(name, AUDIT_ARCHIVED) && str_ends(name, ".jsonl");
}

/* ,"prev":"HEX"} at the end of every line */
static const char prev_key[] = ",\"prev\":\"";
#define SEAL_LEN (sizeof(prev_key) - 1 + HEX_LEN + 2)

static bool is_hex(const char *p)
{
        for (size_t i = 0; i < HEX_LEN; i++)
                if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
                        return false;
        return true;
}

/* {"time":"2024-07-07T01:02:03Z","seq":N, at the beginning */
static int read_seq(const char *line, size_t len, uint64_t *ret)
{
        static const char start[] = "{\"time\":\"", middle[] = "\",\"seq\":";
        size_t at = sizeof(start) - 1 + 20, first = at + sizeof(middle) - 1, n = 0;
        char digits[21];
        if (len < first || memcmp(line, start, sizeof(start) - 1) != 0 ||
                memcmp(line + at, middle, sizeof(middle) - 1) != 0)
                return -EBADMSG;
        while (first + n < len && n < sizeof(digits) && line[first + n] != ',') {
                digits[n] = line[first + n];
                n++;
        }
        if (first + n >= len || n == sizeof(digits))
                return -EBADMSG;
        digits[n] = 0;
        return parse_u64(digits, UINT64_MAX - 1, ret) < 0 ? -EBADMSG : 0;
}

int audit_seal_read(const char *line, size_t len, struct audit_seal *ret)
{
        uint8_t sha256[SHA256_SIZE];
        if (len > AUDIT_LINE_MAX || len < SEAL_LEN || memchr(line, 0, len))
                return -EBADMSG;
        const char *seal = line + len - SEAL_LEN, *hex = seal + sizeof(prev_key) - 1;
        if (memcmp(seal, prev_key, sizeof(prev_key) - 1) != 0 || !is_hex(hex) ||
                memcmp(hex + HEX_LEN, "\"}", 2) != 0)
                return -EBADMSG;
        struct audit_seal s = {};
        int r = read_seq(line, len, &s.seq);
        if (r == 0)
                r = digest_once(DIGEST_SHA256, line, len, sha256);
        if (r < 0)
                return r;
        memcpy(s.prev, hex, HEX_LEN);
        hex_encode(sha256, SHA256_SIZE, s.own);
        *ret = s;
        return 0;
}

static int open_lines(int dir_fd, const char *name, FILE **ret, struct error *e)
{
        _cleanup_close_ int fd =
                openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(e, errno, "%s", name);
        if (!S_ISREG(st.st_mode))
                return error_set(e, CAUSE_UNSAFE_MODE, EINVAL, "%s is no file", name);
        FILE *f = fdopen(fd, "r");
        if (!f)
                return error_set(e, CAUSE_IO, errno, "%s: %s", name, strerror(errno));
        (void)take_fd(&fd);
        *ret = f;
        return 0;
}

/* One line into buf (AUDIT_LINE_MAX + 2 bytes), NUL-terminated without its newline. 1; 0 at the end, also
 * when that is a torn line; -EBADMSG: too long; -errno. */
static int next_line(FILE *f, char *buf, size_t *ret_len)
{
        size_t n = 0;
        for (int c; (c = getc_unlocked(f)) != EOF;) {
                if (c == '\n') {
                        buf[n] = 0;
                        *ret_len = n;
                        return 1;
                }
                if (n > AUDIT_LINE_MAX)
                        return -EBADMSG;
                buf[n++] = (char)c;
        }
        return ferror(f) ? -EIO : 0;
}

/* A file of the record, and the number of its first line. */
struct part {
        char *name;
        uint64_t first;
};
struct parts {
        struct part *v;
        size_t n;
};

static void parts_done(struct parts *p)
{
        for (size_t i = 0; i < p->n; i++)
                free(p->v[i].name);
        free(p->v);
}

static int by_first(const void *a, const void *b)
{
        const struct part *x = a, *y = b;
        return x->first < y->first ? -1 : x->first > y->first;
}

/* What was moved away, in order; then the file of today, which must be there. */
static int find_parts(int dir_fd, char *buf, struct parts *ret, struct error *e)
{
        _cleanup_(strv_done) struct strv names = {};
        int r = list_dir_at(dir_fd, ".", &names);
        if (r < 0)
                return error_errno(e, -r, "looking for " AUDIT_FILE);
        ret->v = calloc(names.n + 1, sizeof(*ret->v));
        if (!ret->v)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        for (size_t i = 0; i < names.n; i++) {
                _cleanup_fclose_ FILE *f = NULL;
                struct audit_seal seal;
                size_t len;
                if (!audit_is_archived(names.v[i]))
                        continue;
                r = open_lines(dir_fd, names.v[i], &f, e);
                if (r < 0)
                        return r;
                if (next_line(f, buf, &len) != 1 || audit_seal_read(buf, len, &seal) < 0)
                        return error_set(
                                e, CAUSE_IO, EBADMSG, "%s does not begin with a line of czard's", names.v[i]);
                ret->v[ret->n++] = (struct part){.name = take_ptr(&names.v[i]), .first = seal.seq};
        }
        qsort(ret->v, ret->n, sizeof(*ret->v), by_first);
        ret->v[ret->n].name = strdup(AUDIT_FILE);
        return ret->v[ret->n++].name ? 0 : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

static int walk_part(int dir_fd, const char *name, char *buf, uint64_t *number, audit_line_fn *each,
        void *arg, struct error *e)
{
        _cleanup_fclose_ FILE *f = NULL;
        size_t len = 0;
        int r = open_lines(dir_fd, name, &f, e);
        for (; r >= 0 && (r = next_line(f, buf, &len)) == 1; ++*number) {
                r = each(buf, len, *number, arg);
                if (r != 0)
                        return r;
        }
        if (r == -EBADMSG)
                return error_set(
                        e, CAUSE_IO, EBADMSG, "%s line %" PRIu64 ": too long, altered", name, *number);
        return r < 0 && f ? error_set(e, CAUSE_IO, -r, "%s: %s", name, strerror(-r)) : r;
}

int audit_each(int dir_fd, audit_line_fn *each, void *arg, struct error *e)
{
        _cleanup_free_ char *buf = malloc(AUDIT_LINE_MAX + 2);
        _cleanup_(parts_done) struct parts parts = {};
        uint64_t number = 1;
        int r = buf ? find_parts(dir_fd, buf, &parts, e) : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        for (size_t i = 0; r == 0 && i < parts.n; i++)
                r = walk_part(dir_fd, parts.v[i].name, buf, &number, each, arg, e);
        return r;
}

/* *offset is where the file's last line, of that number, ends; 0: its number is another. */
static int look_at_end(FILE *f, char *buf, uint64_t seq, off_t *offset)
{
        struct stat st;
        if (fstat(fileno(f), &st) < 0)
                return -errno;
        size_t n = (size_t)MIN(st.st_size, (off_t)AUDIT_LINE_MAX);
        ssize_t got = pread(fileno(f), buf, n, st.st_size - (off_t)n);
        if (got != (ssize_t)n)
                return got < 0 ? -errno : -EIO;
        const char *end = n ? memrchr(buf, '\n', n) : NULL;
        const char *before = end > buf ? memrchr(buf, '\n', (size_t)(end - buf)) : NULL;
        uint64_t last;
        if (before && read_seq(before + 1, (size_t)(end - before - 1), &last) == 0 && last == seq)
                *offset = st.st_size - (off_t)n + (end - buf) + 1;
        return 0;
}

/* Halves the file until what is left is short. */
int audit_seek(int fd, char *buf, size_t n, uint64_t after, off_t *ret)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        off_t low = 0, high = st.st_size;
        while (high - low > (off_t)n) {
                off_t middle = low + (high - low) / 2;
                ssize_t got = pread(fd, buf, n / 4, middle);
                const char *end = got > 0 ? buf + got : buf;
                const char *first = got > 0 ? memchr(buf, '\n', (size_t)got) : NULL;
                const char *second = first ? memchr(first + 1, '\n', (size_t)(end - first - 1)) : NULL;
                if (!second || middle + (first + 1 - buf) >= high)
                        break;
                uint64_t k = audit_seq(first + 1, (size_t)(second - first - 1)); /* 0: a damaged line */
                if (k > 0 && k <= after)
                        low = middle + (first + 1 - buf);
                else
                        high = middle;
        }
        *ret = low;
        return 0;
}

/* From *offset on, 0: from where the line after *seq may be. */
static int follow_part(
        FILE *f, char *buf, uint64_t *seq, uint64_t until, off_t *offset, audit_line_fn *each, void *arg)
{
        size_t len;
        int r = *offset == 0 ? audit_seek(fileno(f), buf, AUDIT_LINE_MAX, *seq, offset) : 0;
        if (r == 0)
                r = fseeko(f, *offset, SEEK_SET) < 0 ? -errno : 1;
        while (r == 1 && (r = next_line(f, buf, &len)) == 1) {
                uint64_t number;
                if (read_seq(buf, len, &number) < 0)
                        return -EBADMSG;
                if (number > until)
                        return 0;
                if (number > *seq) {
                        r = each(buf, len, number, arg);
                        if (r < 0)
                                return r;
                        *seq = number;
                        r = 1;
                }
                *offset += (off_t)len + 1;
        }
        return r;
}

int audit_each_after(int dir_fd, uint64_t *seq, uint64_t until, off_t *offset, audit_line_fn *each, void *arg,
        struct error *e)
{
        _cleanup_free_ char *buf = malloc(AUDIT_LINE_MAX + 2);
        _cleanup_(parts_done) struct parts parts = {};
        _cleanup_fclose_ FILE *f = NULL;
        int r = buf ? open_lines(dir_fd, AUDIT_FILE, &f, e) : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (r == 0 && *offset == 0)
                r = look_at_end(f, buf, *seq, offset);
        if (r == 0 && *offset == 0)
                r = find_parts(dir_fd, buf, &parts, e);
        for (size_t i = 0; r == 0 && i + 1 < parts.n; i++) {
                _cleanup_fclose_ FILE *old = NULL;
                off_t from = 0;
                /* the next one begins at or before what is looked for */
                if (i + 2 < parts.n && parts.v[i + 1].first <= *seq + 1)
                        continue;
                r = open_lines(dir_fd, parts.v[i].name, &old, e);
                if (r == 0)
                        r = follow_part(old, buf, seq, until, &from, each, arg);
        }
        if (r == 0)
                r = follow_part(f, buf, seq, until, offset, each, arg);
        if (r < 0 && e && e->cause == CAUSE_NONE)
                error_set(e, CAUSE_IO, -r, AUDIT_FILE ": %s",
                        r == -EBADMSG ? "a line is none of czard's" : strerror(-r));
        return r;
}

struct verify {
        const char *head; /* looked for, or NULL */
        const struct audit_tail *known;
        uint64_t skipped; /* lines before the first: they were moved elsewhere */
        uint64_t cut;     /* the line that says that lines were cut off, 0: there is none */
        bool found;
        bool is_other; /* the line that is known has another hash */
        uint64_t lines;
        char prev[SHA256_HEX];
        struct error *e;
};

static int verify_line(const char *line, size_t len, uint64_t number, void *arg)
{
        struct verify *v = arg;
        struct audit_seal seal;
        int r = audit_seal_read(line, len, &seal);
        if (r == -ENOMEM)
                return error_set(v->e, CAUSE_IO, ENOMEM, "out of memory");
        if (r < 0)
                return error_set(v->e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " line %" PRIu64 ": altered, it is no line of czard's", number);
        char event[EVENT_SIZE];
        bool named = audit_field(line, len, "event", event, sizeof(event)) == 0;
        if (number == 1 && seal.seq > 1 && named && streq(event, "continued")) {
                v->skipped = seal.seq - 1;
                memcpy(v->prev, seal.prev, sizeof(v->prev));
                v->found |= v->head && streq(v->head, seal.prev);
        }
        number += v->skipped;
        if (named && streq(event, "audit-cut"))
                v->cut = number;
        if (!streq(seal.prev, v->prev))
                return error_set(v->e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " line %" PRIu64 ": the chain breaks: the line before was altered, or "
                                   "lines between the two were removed, added or moved",
                        number);
        if (seal.seq != number)
                return error_set(v->e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " line %" PRIu64 ": altered, it says that it is number %" PRIu64, number,
                        seal.seq);
        memcpy(v->prev, seal.own, sizeof(v->prev));
        v->found |= v->head && streq(v->head, seal.own);
        v->lines = number;
        v->is_other |= number == v->known->seq && !streq(seal.own, v->known->head);
        return 0;
}

int audit_verify(
        int dir_fd, const char *head, const struct audit_tail *known, uint64_t *ret_lines, struct error *e)
{
        static const struct audit_tail none = {};
        struct verify v = {.head = head, .known = known ? known : &none, .e = e};
        memset(v.prev, '0', HEX_LEN);
        v.found = head && streq(head, v.prev); /* before the first line */
        int r = audit_each(dir_fd, verify_line, &v, e);
        if (r < 0)
                return r;
        if (head && !v.found)
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " (%" PRIu64 " lines): no line has the hash %.64s: lines at its end were "
                                   "cut off, or all of it was written anew",
                        v.lines, head);
        if (v.is_other)
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE
                        " line %" PRIu64
                        " is not the one that the ledger remembers (%.64s): the record was written anew",
                        v.known->seq, v.known->head);
        if (v.lines < v.known->seq)
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " ends with line %" PRIu64 ", but the ledger remembers line %" PRIu64
                                   " (%.64s): lines at its end were cut off",
                        v.lines, v.known->seq, v.known->head);
        if (v.cut)
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " line %" PRIu64
                                   ": czard found that lines before it had been cut off: see its reason",
                        v.cut);
        *ret_lines = v.lines;
        return 0;
}

/* A cursor over one line of JSON. It is our own because of ten years of the record, 5.2 million lines with
 * some eight fields each to read when a feed is made again: 3.2 us a line this way, 7.5 with jansson, 12.6
 * with SQLite's JSON, that is, half a minute or a minute more of CPU. */
struct scan {
        const char *p, *end;
        char *out; /* NULL: skip */
        size_t room;
        int err;
};

static void put(struct scan *s, char c)
{
        if (!s->out)
                return;
        if (s->room <= 1) {
                s->err = -ENOBUFS;
                return;
        }
        *s->out++ = c;
        s->room--;
}

static int scan_hex4(struct scan *s, uint32_t *ret)
{
        uint8_t bytes[2];
        char hex[5] = "";
        if (s->end - s->p < 4)
                return -EBADMSG;
        memcpy(hex, s->p, 4);
        if (hex_decode(hex, bytes, 2) < 0)
                return -EBADMSG;
        s->p += 4;
        *ret = (uint32_t)bytes[0] << 8 | bytes[1];
        return 0;
}

/* After "\u". No NUL, no lone surrogate: no field of ours has one. */
static int scan_unicode(struct scan *s)
{
        uint32_t c, low;
        int r = scan_hex4(s, &c);
        if (r < 0)
                return r;
        if (c >= 0xd800 && c < 0xdc00) {
                if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
                        return -EBADMSG;
                s->p += 2;
                r = scan_hex4(s, &low);
                if (r < 0 || low < 0xdc00 || low > 0xdfff)
                        return -EBADMSG;
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        } else if (c == 0 || (c >= 0xdc00 && c <= 0xdfff))
                return -EBADMSG;
        char bytes[4];
        for (size_t i = 0, n = utf8_put(c, bytes); i < n; i++)
                put(s, bytes[i]);
        return 0;
}

static int scan_escape(struct scan *s)
{
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        if (s->p == s->end)
                return -EBADMSG;
        char c = *s->p++;
        if (c == 'u')
                return scan_unicode(s);
        const char *at = c ? strchr(from, c) : NULL;
        if (!at)
                return -EBADMSG;
        put(s, to[at - from]);
        return 0;
}

static int scan_string(struct scan *s)
{
        if (s->p == s->end || *s->p++ != '"')
                return -EBADMSG;
        while (s->p < s->end) {
                char c = *s->p++;
                int r = 0;
                if (c == '"')
                        return s->err;
                if ((unsigned char)c < 0x20)
                        return -EBADMSG;
                if (c == '\\')
                        r = scan_escape(s);
                else
                        put(s, c);
                if (r < 0)
                        return r;
        }
        return -EBADMSG;
}

/* A string, or a number, true, false, null as they stand. */
static int scan_value(struct scan *s)
{
        if (s->p < s->end && *s->p == '"')
                return scan_string(s);
        const char *first = s->p;
        while (s->p < s->end && *s->p != ',' && *s->p != '}') {
                if (!strchr("0123456789+-.eEtrufalsn", *s->p) || !*s->p)
                        return -EBADMSG;
                put(s, *s->p++);
        }
        return s->p == first ? -EBADMSG : s->err;
}

int audit_field(const char *line, size_t len, const char *name, char *ret, size_t size)
{
        struct scan s = {.p = line, .end = line + len};
        if (len < 2 || *s.p++ != '{')
                return -EBADMSG;
        for (;;) {
                char key[64];
                s.out = key;
                s.room = sizeof(key);
                int r = scan_string(&s);
                if (r < 0)
                        return r == -ENOBUFS ? -EBADMSG : r;
                *s.out = 0;
                if (s.p == s.end || *s.p++ != ':')
                        return -EBADMSG;
                bool wanted = streq(key, name);
                s.out = wanted ? ret : NULL;
                s.room = size;
                r = scan_value(&s);
                if (r < 0)
                        return r;
                if (wanted) {
                        *s.out = 0;
                        return 0;
                }
                if (s.p == s.end || (*s.p != ',' && *s.p != '}'))
                        return -EBADMSG;
                if (*s.p++ == '}')
                        return s.p == s.end ? -ENOENT : -EBADMSG;
        }
}

bool audit_text(struct audit_line *l, const char *name, char *ret, size_t size)
{
        int r = audit_field(l->p, l->len, name, ret, size);
        if (r < 0) {
                ret[0] = 0;
                l->bad |= r != -ENOENT;
        }
        return r == 0;
}

int64_t audit_number(struct audit_line *l, const char *name, int64_t absent)
{
        char text[32];
        uint64_t v;
        if (!audit_text(l, name, text, sizeof(text)))
                return absent;
        if (parse_u64(text, INT64_MAX, &v) == 0)
                return (int64_t)v;
        l->bad = true;
        return absent;
}

bool audit_sha256(struct audit_line *l, const char *name, uint8_t ret[SHA256_SIZE])
{
        char text[SHA256_HEX];
        memset(ret, 0, SHA256_SIZE);
        if (!audit_text(l, name, text, sizeof(text)))
                return false;
        bool is_hash = hex_decode(text, ret, SHA256_SIZE) == 0;
        l->bad |= !is_hash;
        return is_hash;
}

uint64_t audit_seq(const char *line, size_t len)
{
        struct audit_line l = {.p = line, .len = len};
        return (uint64_t)audit_number(&l, "seq", 0);
}
