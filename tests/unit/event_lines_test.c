/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "cleanup.h"
#include "event.h"
#include "event_scan.h"
#include "fsx.h"
#include "str.h"

struct seen {
        struct strbuf text; /* each line in brackets, "!" for one that was too long */
        uint64_t read;
        size_t longest;
};

static int on_line(void *arg, const char *p, size_t n, struct error *e)
{
        (void)e;
        struct seen *s = arg;
        if (!p) {
                strbuf_add(&s->text, "!");
                return 0;
        }
        assert_int_equal(p[n], '\n');
        unsigned sum = 0;
        for (size_t i = 0; i <= EVENT_SCAN_SLACK; i++)
                sum += (unsigned char)p[n + i]; /* may be read */
        assert_true(sum >= '\n');
        s->longest = MAX(s->longest, n);
        if (n < 100)
                strbuf_printf(&s->text, "[%.*s]", (int)n, p);
        else
                strbuf_printf(&s->text, "[%zu]", n);
        return 0;
}

static void on_read(void *arg, uint64_t bytes)
{
        ((struct seen *)arg)->read += bytes;
}

static int read_lines(const void *p, size_t n, bool gzip, struct seen *s, struct error *e)
{
        _cleanup_close_ int fd = memfd_create("lines", MFD_CLOEXEC);
        assert_int_equal(write_all(fd, p, n), 0);
        struct event_lines_sink sink = {.on_line = on_line, .on_read = on_read, .arg = s};
        uint8_t hash[SHA256_SIZE], want[SHA256_SIZE];
        strbuf_add(&s->text, "");
        int r = event_lines_read(fd, gzip, &sink, hash, e);
        assert_int_equal(digest_once(DIGEST_SHA256, p, n, want), 0);
        if (r == 0) {
                assert_memory_equal(hash, want, sizeof(want));
                assert_int_equal(s->read, n);
        }
        return r;
}

static void assert_plain(const char *text, const char *want)
{
        struct seen s = {};
        struct error e = {};
        assert_int_equal(read_lines(text, strlen(text), false, &s, &e), 0);
        assert_string_equal(s.text.s, want);
        strbuf_done(&s.text);
}

static void test_lines(void **state)
{
        (void)state;
        assert_plain("", "");
        assert_plain("\n", "[]");
        assert_plain("a", "[a]");
        assert_plain("a\nb", "[a][b]");
        assert_plain("a\n\n b \n", "[a][][b]");
        assert_plain(" \t\v\f\r a b\r\n\x1f\n", "[a b][\x1f]");
        assert_plain("a\rb\n \n", "[a\rb][]");
        assert_plain("\n\n   ", "[][][]");
        assert_plain("\xc2\xa0\n", "[\xc2\xa0]");
}

static size_t pack(const char *text, size_t n, uint8_t *ret, size_t size)
{
        z_stream z = {.next_in = (Bytef *)(uintptr_t)text,
                .avail_in = (uInt)n,
                .next_out = ret,
                .avail_out = (uInt)size};
        assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        size_t len = size - z.avail_out;
        deflateEnd(&z);
        return len;
}

static void test_gzip_members(void **state)
{
        (void)state;
        static uint8_t buf[4096];
        size_t n = pack("one\ntw", 6, buf, sizeof(buf));
        n += pack("", 0, buf + n, sizeof(buf) - n);
        n += pack("o\nthree", 7, buf + n, sizeof(buf) - n);
        struct seen s = {};
        struct error e = {};
        assert_int_equal(read_lines(buf, n, true, &s, &e), 0);
        assert_string_equal(s.text.s, "[one][two][three]");
        strbuf_done(&s.text);

        s = (struct seen){};
        assert_int_equal(read_lines(buf, n - 1, true, &s, &e), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_BAD_GZIP);
        strbuf_done(&s.text);
        s = (struct seen){};
        assert_int_equal(read_lines("plain\n", 6, true, &s, &e), -EBADMSG);
        strbuf_done(&s.text);
}

static void assert_long(size_t n, const char *tail, const char *want)
{
        struct seen s = {};
        struct error e = {};
        size_t len = strlen(tail);
        char *p = malloc(n + len);
        memset(p, 'x', n);
        memcpy(p + n, tail, len);
        assert_int_equal(read_lines(p, n + len, false, &s, &e), 0);
        assert_string_equal(s.text.s, want);
        strbuf_done(&s.text);
        free(p);
}

static void test_long_lines(void **state)
{
        (void)state;
        assert_long(EVENT_LINE_MAX, "\na\n", "[16777216][a]");
        assert_long(EVENT_LINE_MAX, "", "[16777216]");
        assert_long(EVENT_LINE_MAX + 1, "\na\n", "![a]");
        assert_long(EVENT_LINE_MAX + 1, "", "!");
        assert_long(EVENT_LINE_MAX, " ", "!"); /* white space counts */
        assert_long(3 * EVENT_LINE_MAX, "\n\nb", "![][b]");
        assert_long(300000, "\n", "[300000]");
}

static int refuse(void *arg, const char *p, size_t n, struct error *e)
{
        (void)p;
        (void)n;
        ++*(unsigned *)arg;
        return error_set(e, CAUSE_SPACE, ENOSPC, "full");
}

static void test_sink_fails(void **state)
{
        (void)state;
        unsigned calls = 0;
        struct error e = {};
        _cleanup_close_ int fd = memfd_create("lines", MFD_CLOEXEC);
        assert_int_equal(write_all(fd, "a\nb\n", 4), 0);
        struct event_lines_sink sink = {.on_line = refuse, .arg = &calls};
        assert_int_equal(event_lines_read(fd, false, &sink, NULL, &e), -ENOSPC);
        assert_int_equal(calls, 1);
        assert_int_equal(e.cause, CAUSE_SPACE);
        assert_int_equal(event_lines_read(-1, false, &sink, NULL, &e), -EBADF);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_gzip_members),
                cmocka_unit_test(test_long_lines),
                cmocka_unit_test(test_sink_fails),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
