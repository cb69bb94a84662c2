/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "audit_fixture.h"

/* What a tamperer would try; the lines are numbered from 1. */
static void tampering_is_found(void **state)
{
        struct fixture *f = *state;
        static const char *const events[] = {"start", "published", "replaced", "stop"};
        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                append(f, events[i]);
        _cleanup_free_ char *text = content(f);
        _cleanup_(strv_done) struct strv l = {};
        assert_int_equal(strv_split(&l, text), 0);
        assert_int_equal(l.n, 4);
        uint64_t lines;
        char whole_head[SHA256_HEX];
        strcpy(whole_head, audit_head(f->a));

        _cleanup_free_ char *altered = strdup(text);
        memcpy(strstr(altered, "published"), "Published", 9);
        _cleanup_free_ char *removed = str_printf("%s\n%s\n%s\n", l.v[0], l.v[2], l.v[3]);
        _cleanup_free_ char *first_removed = str_printf("%s\n%s\n%s\n", l.v[1], l.v[2], l.v[3]);
        _cleanup_free_ char *moved = str_printf("%s\n%s\n%s\n%s\n", l.v[0], l.v[2], l.v[1], l.v[3]);
        _cleanup_free_ char *doubled =
                str_printf("%s\n%s\n%s\n%s\n%s\n", l.v[0], l.v[1], l.v[1], l.v[2], l.v[3]);
        _cleanup_free_ char *empty_line = str_printf("%s\n\n%s\n%s\n%s\n", l.v[0], l.v[1], l.v[2], l.v[3]);
        _cleanup_free_ char *blank = str_printf("%s\n%s \n%s\n%s\n", l.v[0], l.v[1], l.v[2], l.v[3]);
        const char *const tampered[] = {altered, removed, first_removed, moved, doubled, empty_line, blank};
        for (size_t i = 0; i < ELEMENTSOF(tampered); i++) {
                overwrite(f, tampered[i]);
                if (verify(f, NULL, &lines) != -EBADMSG)
                        fail_msg("not found: %zu", i);
        }
        struct error e = {};
        overwrite(f, altered);
        assert_int_equal(audit_verify(f->fd, NULL, NULL, &lines, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "line 3"));

        /* a cut tail holds by itself, and is found by the head alone */
        _cleanup_free_ char *cut = str_printf("%s\n%s\n%s\n", l.v[0], l.v[1], l.v[2]);
        overwrite(f, cut);
        assert_int_equal(verify(f, NULL, &lines), 0);
        assert_int_equal(lines, 3);
        assert_int_equal(verify(f, whole_head, &lines), -EBADMSG);
        /* the last line altered: only the head tells */
        char *last = strstr(text, "stop");
        assert_non_null(last);
        *last = 'S';
        overwrite(f, text);
        assert_int_equal(verify(f, NULL, &lines), 0);
        assert_int_equal(verify(f, whole_head, &lines), -EBADMSG);
        /* all of it written anew, with a chain that holds */
        overwrite(f, "");
        assert_int_equal(reopen(f, NULL), 0);
        append(f, "other");
        assert_int_equal(verify(f, NULL, &lines), 0);
        assert_int_equal(verify(f, whole_head, &lines), -EBADMSG);
        assert_int_equal(verify(f, ZEROS, &lines), 0);
}

static int collect(const char *line, size_t len, uint64_t number, void *arg)
{
        char event[32];
        assert_int_equal(strlen(line), len);
        assert_int_equal(audit_field(line, len, "event", event, sizeof(event)), 0);
        strcat(arg, event);
        strcat(arg, " ");
        return number == 2 ? 7 : 0;
}

static void a_walk_shows_whole_lines_and_can_stop(void **state)
{
        struct fixture *f = *state;
        char got[100] = "";
        append(f, "one");
        assert_int_equal(audit_each(f->fd, collect, got, NULL), 0);
        assert_string_equal(got, "one ");
        append(f, "two");
        append(f, "three");
        got[0] = 0;
        assert_int_equal(audit_each(f->fd, collect, got, NULL), 7);
        assert_string_equal(got, "one two ");
}

static void fields_are_read(void **state)
{
        (void)state;
        static const struct {
                const char *line, *name, *want;
                int r;
        } rows[] = {
                {"{\"a\":\"x\",\"b\":12,\"c\":null}", "a", "x", 0},
                {"{\"a\":\"x\",\"b\":12,\"c\":null}", "b", "12", 0},
                {"{\"a\":\"x\",\"b\":12,\"c\":null}", "c", "null", 0},
                {"{\"a\":\"x\"}", "b", NULL, -ENOENT},
                {"{\"a\":\"x\\\"\\\\\\/\\n\\u00fc\\u20ac\\ud83d\\ude00\"}", "a",
                        "x\"\\/\n\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 0},
                {"{\"b\":\"\\\"a\\\":\\\"no\\\"\",\"a\":\"yes\"}", "a", "yes", 0},
                {"{\"a\":\"123456789012345\"}", "a", "123456789012345", 0},
                {"{\"a\":\"1234567890123456\"}", "a", NULL, -ENOBUFS},
                {"{\"a\":\"\"}", "a", "", 0},
                {"{\"a\":\"\\u0000\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\ud800\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\udc00\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\ud800\\u0041\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\x\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"x", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\u00", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\", "a", NULL, -EBADMSG},
                {"{\"a\":", "a", NULL, -EBADMSG},
                {"{\"a\"", "a", NULL, -EBADMSG},
                {"{", "a", NULL, -EBADMSG},
                {"", "a", NULL, -EBADMSG},
                {"[1]", "a", NULL, -EBADMSG},
                {"{\"b\":{\"a\":1}}", "a", NULL, -EBADMSG},
                {"{\"b\":1 \"a\":2}", "a", NULL, -EBADMSG},
                {"{\"b\":1}x", "a", NULL, -EBADMSG},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char value[16];
                int r = audit_field(rows[i].line, strlen(rows[i].line), rows[i].name, value, sizeof(value));
                if (r != rows[i].r || (r == 0 && !streq(value, rows[i].want)))
                        fail_msg("%s: %d %s", rows[i].line, r, r == 0 ? value : "");
        }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(tampering_is_found),
                T(a_walk_shows_whole_lines_and_can_stop),
                cmocka_unit_test(fields_are_read),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
