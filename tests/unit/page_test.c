/* SPDX-License-Identifier: Apache-2.0 */
/* A template filled with JSON (daemon/czarctl/page.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "page.h"

static void filled(const char *page, const char *json, const char *expected)
{
        _cleanup_strbuf_ struct strbuf b = {};
        struct error e = {};
        if (page_fill(&b, page, json, &e) != 0)
                fail_msg("%s: %s", page, e.text);
        assert_string_equal(b.s, expected);
}

static void values(void **state)
{
        (void)state;
        filled("a {{x}} b", "{\"x\":\"<&>\\\"'\"}", "a &lt;&amp;&gt;&quot;&#39; b");
        filled("{{x}}", "{\"x\":\"\\u001b[31m \\u202e\"}", "\\x1b[31m \\xe2\\x80\\xae");
        filled("{{x}}", "{\"x\":\"{{y}}\",\"y\":\"not again\"}", "{{y}}");
        filled("{{x}}|{{n}}|{{none}}|{{null}}", "{\"x\":\"é\",\"n\":-5,\"null\":null}", "é|-5||");
        filled("{{n|bytes}} {{one|file|files}} {{many|file|files}}", "{\"n\":2048,\"one\":1,\"many\":7}",
                "2.0 KiB 1 file 7 files");
        filled("{{at|column}} {{at|row}}", "{\"at\":16}", "20 20");
}

static void sections(void **state)
{
        static const char data[] =
                "{\"v\":[{\"n\":1,\"in\":[\"a\",\"<\"]},{\"n\":2}],\"n\":9,\"o\":{\"n\":3},\"empty\":[],"
                "\"zero\":0,\"no\":false,\"yes\":true,\"text\":\"\",\"in\":[]}";
        (void)state;
        filled("{{#v}}<{{n}}{{#in}} {{.}}{{/in}}>{{/v}}{{n}}", data, "<1 a &lt;><2>9");
        filled("{{#o}}{{n}}{{/o}} {{?v}}{{n}}{{/v}} {{?yes}}yes{{/yes}}", data, "3 9 yes");
        filled("{{?empty}}e{{/empty}}{{?zero}}z{{/zero}}{{?no}}n{{/no}}{{?text}}t{{/text}}{{?none}}x{{/"
               "none}}",
                data, "");
        filled("{{^empty}}e{{/empty}}{{^zero}}z{{/zero}}{{^no}}n{{/no}}{{^none}}x{{/none}}{{^yes}}y{{/yes}}",
                data, "eznx");
        /* one of the same name inside */
        filled("{{?v}}[{{#v}}{{n}}{{/v}}]{{/v}}", data, "[12]");
}

static void no_data(void **state)
{
        _cleanup_strbuf_ struct strbuf b = {};
        struct error e = {};
        (void)state;
        assert_true(page_fill(&b, "{{x}}", "{\"x\":", &e) < 0);
        assert_true(*e.text);
        filled("no {{end", "{}", "no {{end");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values), cmocka_unit_test(sections), cmocka_unit_test(no_data)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
