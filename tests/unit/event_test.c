/* SPDX-License-Identifier: Apache-2.0 */
/* Each line is judged by the scanner and by the full parser, under both rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "event_full.h"

static const char none[] = "no course", invalid[] = "invalid", unparsed[] = "unparsed";

/* What becomes of a line: one of the words above, or the course's key. */
static const char *judge(enum event_rule rule, const char *line, size_t n, struct course_key *key, bool full)
{
        struct strbuf scratch = {};
        char *p = malloc(n + 1 + EVENT_SCAN_SLACK);
        memcpy(p, line, n);
        memset(p + n, '}', 1 + EVENT_SCAN_SLACK);
        p[n] = '\n';
        int r = full ? event_full_course(rule, p, n, key) : event_course(rule, p, n, &scratch, key);
        free(p);
        strbuf_done(&scratch);
        assert_true(r >= 0);
        switch ((enum event_verdict)r) {
        case EVENT_COURSE:
                return key->text;
        case EVENT_NO_COURSE:
                return none;
        case EVENT_INVALID:
                return invalid;
        case EVENT_UNPARSED:
                break;
        }
        return unparsed;
}

static void assert_course(enum event_rule rule, const char *line, size_t n, const char *want)
{
        for (unsigned full = 0; full < 2; full++) {
                struct course_key key;
                const char *got = judge(rule, line, n, &key, full);
                if (!streq(got, want))
                        fail_msg("%s, %s: %s instead of %s", line, full ? "full" : "scanned", got, want);
        }
}

struct line {
        const char *text, *edx, *edx_url; /* edx_url NULL: the same */
};

static void assert_lines(const struct line *v, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                size_t len = strlen(v[i].text);
                assert_course(EVENT_RULE_EDX, v[i].text, len, v[i].edx);
                assert_course(EVENT_RULE_EDX_URL, v[i].text, len, v[i].edx_url ? v[i].edx_url : v[i].edx);
        }
}

#define ID(id) "{\"context\": {\"course_id\": " id "}, \"event_source\": \"server\", \"event_type\": \"x\"}"
#define SERVER(type)                                                                                         \
        "{\"context\": {\"course_id\": \"\"}, \"event_source\": \"server\", \"event_type\": \"" type "\"}"
#define BROWSER(page)                                                                                        \
        "{\"context\": {\"course_id\": \"\"}, \"event_source\": \"browser\", \"page\": \"" page "\"}"
#define COURSE "course-v1:M+6+1T"

/* The table of cases that are to be kept. */
static void test_cases(void **state)
{
        (void)state;
        static const struct line lines[] = {
                {ID("\"" COURSE "\""), COURSE},
                {ID("\"M/6/1T\""), "M/6/1T"},
                {ID("\"" COURSE "\\n\""), COURSE},
                {ID("\"ccx-v1:M+6+1T+ccx@12\""), "ccx-v1:M+6+1T+ccx@12"},
                {ID("\"library-v1:M+lib\""), "library-v1:M+lib"},
                {BROWSER("https://courses.edx.org/courses/" COURSE "/courseware/"), COURSE},
                {BROWSER("https://courses.edx.org/xblock/block-v1:M+6+1T+type@vertical+block@b?x=/courses/A/"
                         "B/C"),
                        COURSE},
                {SERVER("/courses/" COURSE "/xblock/block-v1:M+6+1T+type@p+block@b/handler/x"), COURSE},
                {SERVER("/courses/" COURSE "/about"), COURSE},
                {BROWSER("https://learning.edx.org/course/" COURSE "/home"), none},
                {SERVER("/api/user/v1/accounts/x"), none},
                {SERVER("i4x://M/6/sequential/abc/goto"), none},
                {"{\"event_source\": \"browser\", \"page\": \"https://x/courses/M/6/1T/y\"}", none, "M/6/1T"},
                {BROWSER("data:image/png;base64,A/B+C"), none},
                {"{\"context\": {\"course_id\": \"\"}, \"event_source\": \"mobile\", \"page\": "
                 "\"/courses/M/6/1T\"}",
                        none},
                {ID("\"course-v1:A+B+C D\""), invalid},
                {ID("\"B.1/x/y\""), "B.1/x/y"},
                {ID("\"B_1/x/y\""), "B_1/x/y"},
                {"{\"context\": null, \"event_source\": \"browser\", \"page\": \"/courses/M/6/1T\"}", none},
                {"{\"course_id\": \"A/B/C\", \"context\": {\"course_id\": \"" COURSE "\"}}", COURSE},
        };
        assert_lines(lines, ELEMENTSOF(lines));
}

static void test_course_id(void **state)
{
        (void)state;
        static const struct line lines[] = {
                {ID("null"), none},
                {ID("\" \\t\\u000b\""), none},
                {ID("\"\\u00a0\""), invalid},
                {ID("\"\\u0000\""), invalid},
                {ID("\"\\u001f" COURSE "\""), invalid},
                {ID("7"), invalid},
                {ID("true"), invalid},
                {ID("[\"" COURSE "\"]"), invalid},
                {ID("{\"course_id\": \"" COURSE "\"}"), invalid},
                {ID("\"\\ud800\""), invalid},
                {ID("\"-A/B/C\""), invalid},
                {ID("\"course-v1:\\u004d+6+1T\""), COURSE},
                {ID("\"M\\/6\\/1T\""), "M/6/1T"},
                {ID("\"M/6/\""), "M/6/"},
                /* no fallback to the URL from an invalid one */
                {"{\"context\":{\"course_id\":\"x\"},\"event_source\":\"browser\",\"page\":\"/courses/M/6/"
                 "1T\"}",
                        invalid},
                {"{\"context\":{\"course_id\":null},\"event_source\":\"browser\",\"page\":\"/courses/M/6/"
                 "1T\"}",
                        "M/6/1T"},
                {"{\"context\":{},\"event_source\":\"browser\",\"page\":\"/courses/M/6/1T\"}", "M/6/1T"},
                {"{\"context\":[],\"event_source\":\"browser\",\"page\":\"/courses/M/6/1T\"}", none},
                {"{\"context\":\"{}\",\"event_source\":\"browser\",\"page\":\"/courses/M/6/1T\"}", none},
                {"{\"context\":{},\"event_source\":[\"browser\"],\"page\":\"/courses/M/6/1T\"}", none},
                {"{\"context\":{},\"event_source\":\"Browser\",\"page\":\"/courses/M/6/1T\"}", none},
                {"{\"context\":{},\"event_source\":\"browser\",\"page\":[\"/courses/M/6/1T\"]}", none},
                {"{\"context\":{},\"event_source\":\"browser\",\"event_type\":\"/courses/M/6/1T\"}", none},
                {"{\"context\":{},\"event_source\":\"server\",\"page\":\"/courses/M/6/1T\"}", none},
                {"{\"context\":{},\"page\":\"/courses/M/6/1T\"}", none},
                {"{\"event_source\":\"server\",\"event_type\":\"/courses/M/6/1T\"}", none, "M/6/1T"},
                {"{}", none},
        };
        assert_lines(lines, ELEMENTSOF(lines));
}

static void test_urls(void **state)
{
        (void)state;
        static const struct line lines[] = {
                {SERVER("/courses/M/6/1T/xblock/i4x:;_;_M;_6;_problem;_x/handler/x"), none},
                {SERVER("/courses/A/B/C/xblock/short"), "A/B/C"}, /* /xblock/ does not match at all */
                {SERVER("/xblock/a/xblock/block-v1:M+6+1T+block@b"), none},
                {SERVER("/xblock//xblock/block-v1:M+6+1T+block@b"), COURSE},
                {SERVER("/xblock/xblock/block-v1:M+6+1T+block@b"), none}, /* three parts from "xblock" on */
                {SERVER("/xblock/block-v1:M+6+1T+block@b#x"), COURSE},
                {SERVER("/courses/v1/blocks/courses/M/6/1T"), "M/6/1T"},
                {SERVER("/courses/v1/courses/M/6/1T"), "M/6/1T"},
                {SERVER("/courses/v12/x/y"), none},
                {SERVER("/courses/v/6/1T"), "v/6/1T"},
                {SERVER("/courses/v1//x"), none}, /* no look-ahead matches, nor do three parts */
                {SERVER("/courses/v1+6+1T"), none},
                {SERVER("/courses/v1x/6/1T"), "v1x/6/1T"},
                {SERVER("/courses/M/6"), none},
                {SERVER("/courses/M/6/"), none},
                {SERVER("/courses//M/6/1T"), none},
                {SERVER("/courses/a/courses/M/6/1T"), "a/courses/M"},
                {SERVER("/courses/M/6/1T?x"), "M/6/1T"},
                {SERVER("/courses/M/6/1T#x"), none}, /* "#" does not end it */
                {SERVER("/courses/M+6+1T"), none},
                {SERVER("/courses/M/6+1T"), none},
                {SERVER("courses/M/6/1T"), none},
                {SERVER(" /courses/M/6/1T "), none},
                {SERVER("x\\n/courses/M/6/1T"), none}, /* "." is not a line break */
                {SERVER("\\r/courses/M/6/1T"), "M/6/1T"},
                {SERVER("/courses/M/6\\n/1T"), none},
                {SERVER("/courses/course-v1:M+6+1T\\n/x"), none},
                {SERVER("/courses/.M/6/1T"), invalid}, /* a name that cannot be, wherever it came from */
                {SERVER("/courses/library-v1:M+lib/x"), none},
                {SERVER("/courses/ccx-v1:M+6+1T+ccx@1/x"), "ccx-v1:M+6+1T+ccx@1"},
                {SERVER("\\/courses\\u002fM/6/1T"), "M/6/1T"},
                {SERVER("\\ud83d\\ude00/courses/M/6/1T"), "M/6/1T"},
                {SERVER(""), none},
        };
        assert_lines(lines, ELEMENTSOF(lines));
}

static void test_names(void **state)
{
        (void)state;
        static const struct line lines[] = {
                {"{\"context\":{\"course_id\":\"A/B/C\"},\"context\":{\"course_id\":\"M/6/1T\"}}", "M/6/1T"},
                {"{\"context\":{\"course_id\":\"A/B/C\",\"course_id\":\"M/6/1T\"}}", "M/6/1T"},
                {"{\"context\":{\"course_id\":\"A/B/C\",\"course\\u005fid\":\"M/6/1T\"}}", "M/6/1T"},
                {"{\"context\":{\"course_id\":\"A/B/C\"},\"\\u0063\\u006fntext\":null}", none},
                {"{\"context\":{\"course_id\":\"A/B/C\"},\"context\":{}}", none},
                {"{\"context\":{\"course_id\":\"A/B/C\"},\"context\":5}", none},
                {"{\"context\":{\"course_id\":\"A/B/C\",\"x\":{\"course_id\":\"D/E/F\"}}}", "A/B/C"},
                {"{\"context\":{\"x\":{\"course_id\":\"D/E/F\"},\"course_id\":\"A/B/C\"}}", "A/B/C"},
                {"{\"x\":{\"context\":{\"course_id\":\"D/E/F\"}}}", none},
                {"{\"x\":{\"course_id\":\"D/E/F\"},\"context\":{}}", none},
                {"{\"x\":[{\"course_id\":\"D/E/F\"}],\"context\":[{\"course_id\":\"D/E/F\"}]}", none},
                {"{\"context \":{\"course_id\":\"A/B/C\"}}", none},
                {"{\"context\\u0000\":{\"course_id\":\"A/B/C\"}}", none},
        };
        assert_lines(lines, ELEMENTSOF(lines));
}

#define OF(json) "{\"context\": {\"course_id\": \"M/6/1T\"}, \"x\": " json "}"

static void test_json(void **state)
{
        (void)state;
        static const struct line lines[] = {
                {OF("NaN"), "M/6/1T"},
                {OF("[Infinity, -Infinity]"), "M/6/1T"},
                {OF("-NaN"), unparsed},
                {OF("+1"), unparsed},
                {OF("01"), unparsed},
                {OF("-"), unparsed},
                {OF("-0"), "M/6/1T"},
                {OF("1."), unparsed},
                {OF(".5"), unparsed},
                {OF("1.5e-7"), "M/6/1T"},
                {OF("1e"), unparsed},
                {OF("1E+"), unparsed},
                {OF("99999999999999999999999999e999999"), "M/6/1T"},
                {OF("True"), unparsed},
                {OF("nul"), unparsed},
                {OF("nulll"), unparsed},
                {OF("\"\\x41\""), unparsed},
                {OF("\"\\u12g4\""), unparsed},
                {OF("\"\\u123\""), unparsed},
                {OF("\"\\ud800\""), "M/6/1T"},
                {OF("\"\\uDC00\\uD800\""), "M/6/1T"},
                {OF("\"a\tb\""), unparsed},
                {OF("\"a\x01\""), unparsed},
                {OF("\"\x7f\""), "M/6/1T"},
                {OF("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""), "M/6/1T"},
                {OF("\"\xc3\""), unparsed},
                {OF("\"\xc0\xaf\""), unparsed},
                {OF("\"\xe0\x80\xaf\""), unparsed},
                {OF("\"\xed\xa0\x80\""), unparsed},
                {OF("\"\xf4\x90\x80\x80\""), unparsed},
                {OF("\"\xf0\x80\x80\x80\""), unparsed},
                {OF("\"\xff\""), unparsed},
                {OF("[1,]"), unparsed},
                {OF("[,1]"), unparsed},
                {OF("[1 2]"), unparsed},
                {OF("{\"a\":1,}"), unparsed},
                {OF("{\"a\" 1}"), unparsed},
                {OF("{a:1}"), unparsed},
                {OF("{'a':1}"), unparsed},
                {OF("{1:1}"), unparsed},
                {OF("[}"), unparsed},
                {OF("{]"), unparsed},
                {OF("[[]]"), "M/6/1T"},
                {OF("[ \t\r{ } , [ ] ]"), "M/6/1T"},
                {OF("\v1"), unparsed},
                {OF("1} , {\"a\":1"), unparsed},
                {OF("/**/1"), unparsed},
        };
        assert_lines(lines, ELEMENTSOF(lines));
}

static void test_what_is_no_object(void **state)
{
        (void)state;
        static const struct line lines[] = {
                {"", unparsed},
                {"null", unparsed},
                {"[{\"context\": {\"course_id\": \"M/6/1T\"}}]", unparsed},
                {"\"{}\"", unparsed},
                {"{", unparsed},
                {"}", unparsed},
                {"}{", unparsed},
                {"{}x", unparsed},
                {"x{}", none},
                {"Jan  1 00:00:00 host [tracking] INFO - " OF("1"), "M/6/1T"},
                {"\xef\xbb\xbf" OF("1"), "M/6/1T"},
                {"\xff\x01 " OF("1"), "M/6/1T"},
                {"{x} " OF("1"), unparsed}, /* the first "{" begins it */
                {OF("1") OF("1"), unparsed},
        };
        assert_lines(lines, ELEMENTSOF(lines));
}

static void test_nul(void **state)
{
        (void)state;
        static const char in_string[] = "{\"a\": \"\0\"}", between[] = "{\0}", prefix[] = "\0{}",
                          behind[] = "{}\0";
        assert_course(EVENT_RULE_EDX, in_string, sizeof(in_string) - 1, unparsed);
        assert_course(EVENT_RULE_EDX, between, sizeof(between) - 1, unparsed);
        assert_course(EVENT_RULE_EDX, prefix, sizeof(prefix) - 1, none);
        assert_course(EVENT_RULE_EDX, behind, sizeof(behind) - 1, unparsed);
}

/* depth - 1 brackets within the outermost object. */
static void assert_depth(unsigned depth, const char *open, const char *close, const char *want)
{
        struct strbuf b = {};
        strbuf_add(&b, "{\"context\":{\"course_id\":\"M/6/1T\"},\"x\":");
        for (unsigned i = 1; i < depth; i++)
                strbuf_add(&b, open);
        strbuf_add(&b, "1");
        for (unsigned i = 1; i < depth; i++)
                strbuf_add(&b, close);
        strbuf_add(&b, "}");
        assert_course(EVENT_RULE_EDX, b.s, b.len, want);
        strbuf_done(&b);
}

static void test_depth(void **state)
{
        (void)state;
        assert_depth(1000, "[", "]", "M/6/1T");
        assert_depth(1001, "[", "]", unparsed);
        assert_depth(1000, "{\"a\":", "}", "M/6/1T");
        assert_depth(1001, "{\"a\":", "}", unparsed);
        assert_depth(1000, "[", "}", unparsed);
}

/* Every length of a string around the steps in which they are passed, with what ends it or not. */
static void test_steps(void **state)
{
        (void)state;
        static const struct {
                const char *tail, *want;
        } tails[] = {{"\"}", "M/6/1T"}, {"\\\"\"}", "M/6/1T"}, {"\xc3\xa9\"}", "M/6/1T"},
                {"\xc3\"}", unparsed}, {"\x1f\"}", unparsed}, {" \"}", "M/6/1T"}, {"\\q\"}", unparsed},
                {"", unparsed}, {"}", unparsed}};
        for (unsigned n = 0; n < 70; n++)
                for (size_t i = 0; i < ELEMENTSOF(tails); i++) {
                        struct strbuf b = {};
                        strbuf_add(&b, "{\"context\":{\"course_id\":\"M/6/1T\"},\"x\":\"");
                        for (unsigned k = 0; k < n; k++)
                                strbuf_add(&b, "~");
                        strbuf_add(&b, tails[i].tail);
                        assert_course(EVENT_RULE_EDX, b.s, b.len, tails[i].want);
                        strbuf_done(&b);
                }
}

static void test_rules(void **state)
{
        (void)state;
        assert_int_equal(event_rule_from_name("none"), EVENT_RULE_NONE);
        assert_int_equal(event_rule_from_name("edx"), EVENT_RULE_EDX);
        assert_int_equal(event_rule_from_name("edx+url"), EVENT_RULE_EDX_URL);
        assert_int_equal(event_rule_from_name("EDX"), EVENT_RULE_MAX);
        assert_string_equal(event_rule_name(EVENT_RULE_EDX_URL), "edx+url");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_course_id),
                cmocka_unit_test(test_urls),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_json),
                cmocka_unit_test(test_what_is_no_object),
                cmocka_unit_test(test_nul),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_steps),
                cmocka_unit_test(test_rules),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
