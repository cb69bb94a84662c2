/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the audit record: its lines, their fields, and whether the chain holds. The file is outside input
 * here: somebody may have altered it. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "audit_internal.h"
#include "cleanup.h"
#include "str.h"

#define HEX_LEN (SHA256_HEX - 1)

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

static int open_lines(int dir_fd, FILE **ret, struct error *e)
{
        _cleanup_close_ int fd =
                openat(dir_fd, AUDIT_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_set(e, cause_from_errno(errno), errno, AUDIT_FILE ": %s", strerror(errno));
        if (!S_ISREG(st.st_mode))
                return error_set(e, CAUSE_UNSAFE_MODE, EINVAL, AUDIT_FILE " is no file");
        FILE *f = fdopen(fd, "r");
        if (!f)
                return error_set(e, CAUSE_IO, errno, AUDIT_FILE ": %s", strerror(errno));
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

static int walk(int dir_fd, audit_line_fn *each, void *arg, struct error *e)
{
        _cleanup_fclose_ FILE *f = NULL;
        int r = open_lines(dir_fd, &f, e);
        if (r < 0)
                return r;
        _cleanup_free_ char *buf = malloc(AUDIT_LINE_MAX + 2);
        if (!buf)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        size_t len = 0;
        uint64_t number = 1;
        for (; (r = next_line(f, buf, &len)) == 1; number++) {
                r = each(buf, len, number, arg);
                if (r != 0)
                        return r;
        }
        if (r == -EBADMSG)
                return error_set(
                        e, CAUSE_IO, EBADMSG, AUDIT_FILE " line %" PRIu64 ": too long, altered", number);
        return r < 0 ? error_set(e, CAUSE_IO, -r, AUDIT_FILE ": %s", strerror(-r)) : 0;
}

int audit_each(int dir_fd, audit_line_fn *each, void *arg, struct error *e)
{
        return walk(dir_fd, each, arg, e);
}

struct verify {
        const char *head; /* looked for, or NULL */
        bool found;
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
        if (!streq(seal.prev, v->prev))
                return error_set(v->e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " line %" PRIu64
                                   ": the chain breaks: the line before was altered, or lines "
                                   "between the two were removed, added or moved",
                        number);
        if (seal.seq != number)
                return error_set(v->e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " line %" PRIu64 ": altered, it says that it is number %" PRIu64, number,
                        seal.seq);
        memcpy(v->prev, seal.own, sizeof(v->prev));
        v->found |= v->head && streq(v->head, seal.own);
        v->lines++;
        return 0;
}

int audit_verify(int dir_fd, const char *head, uint64_t *ret_lines, struct error *e)
{
        struct verify v = {.head = head, .e = e};
        memset(v.prev, '0', HEX_LEN);
        v.found = head && streq(head, v.prev); /* before the first line */
        int r = walk(dir_fd, verify_line, &v, e);
        if (r < 0)
                return r;
        if (head && !v.found)
                return error_set(e, CAUSE_IO, EBADMSG,
                        AUDIT_FILE " (%" PRIu64
                                   " lines): no line has the hash %.64s: lines at its end were cut "
                                   "off, or all of it was written anew",
                        v.lines, head);
        *ret_lines = v.lines;
        return 0;
}

/* A cursor over one line. */
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

static void put_utf8(struct scan *s, uint32_t c)
{
        if (c < 0x80)
                put(s, (char)c);
        else if (c < 0x800) {
                put(s, (char)(0xc0 | c >> 6));
                put(s, (char)(0x80 | (c & 0x3f)));
        } else if (c < 0x10000) {
                put(s, (char)(0xe0 | c >> 12));
                put(s, (char)(0x80 | (c >> 6 & 0x3f)));
                put(s, (char)(0x80 | (c & 0x3f)));
        } else {
                put(s, (char)(0xf0 | c >> 18));
                put(s, (char)(0x80 | (c >> 12 & 0x3f)));
                put(s, (char)(0x80 | (c >> 6 & 0x3f)));
                put(s, (char)(0x80 | (c & 0x3f)));
        }
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
        put_utf8(s, c);
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
