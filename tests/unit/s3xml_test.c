/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "s3xml.h"
#include "str.h"

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define OBJECT(key)                                                                                          \
        "<Contents><Key>" key "</Key><LastModified>2024-07-07T01:02:03.000Z</LastModified>"                  \
        "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>12</Size>"                           \
        "<Owner><ID>x</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
#define LIST(inner)                                                                                          \
        HEAD "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>" inner      \
             "</ListBucketResult>"

/* Feeds the text in pieces of step bytes. */
static int parse(const char *xml, size_t step, struct s3xml_page *ret, struct error *e)
{
        struct s3xml_list *l;
        assert_int_equal(s3xml_list_new(&l), 0);
        size_t n = strlen(xml);
        int r = 0;
        for (size_t i = 0; i < n && r == 0; i += step)
                r = s3xml_list_feed(l, xml + i, MIN(step, n - i), e);
        if (r == 0)
                r = s3xml_list_finish(l, ret, e);
        s3xml_list_free(l);
        return r;
}

static void a_page_in_any_pieces(void **state)
{
        (void)state;
        const char *xml = LIST("<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>" OBJECT(
                "org/a+b%2Bc%C3%BC") OBJECT("org/b") "<NextContinuationToken>1/+a==</NextContinuationToken>");
        for (size_t step = 1; step < 400; step += 57) {
                struct s3xml_page p = {};
                assert_int_equal(parse(xml, step, &p, NULL), 0);
                assert_int_equal(p.n, 2);
                assert_string_equal(p.objects[0].key, "org/a b+cü");
                assert_string_equal(p.objects[0].etag, "\"d41d8cd98f00b204e9800998ecf8427e\"");
                assert_int_equal(p.objects[0].size, 12);
                assert_int_equal(p.objects[0].last_modified, 1720314123); /* date -u -d '2024-07-07 1:2:3' */
                assert_string_equal(p.objects[1].key, "org/b");
                assert_true(p.truncated);
                assert_string_equal(p.next_token, "1/+a==");
                s3xml_page_done(&p);
        }
}

static void keys_are_decoded_only_when_announced_wherever_that_stands(void **state)
{
        (void)state;
        struct s3xml_page p = {};
        assert_int_equal(parse(LIST(OBJECT("a%20b+c")), 4096, &p, NULL), 0);
        assert_string_equal(p.objects[0].key, "a%20b+c");
        assert_false(p.truncated);
        assert_null(p.next_token);
        s3xml_page_done(&p);
        assert_int_equal(
                parse(LIST(OBJECT("a%20b+c") "<EncodingType>url</EncodingType>"), 4096, &p, NULL), 0);
        assert_string_equal(p.objects[0].key, "a b c");
        s3xml_page_done(&p);
}

static void an_empty_page(void **state)
{
        (void)state;
        struct s3xml_page p = {};
        assert_int_equal(parse(LIST("<KeyCount>0</KeyCount>"), 10, &p, NULL), 0);
        assert_int_equal(p.n, 0);
        s3xml_page_done(&p);
}

static void a_key_with_nul_is_left_out(void **state)
{
        (void)state;
        struct s3xml_page p = {};
        const char *xml = LIST("<EncodingType>url</EncodingType>" OBJECT("a%00b") OBJECT("c"));
        assert_int_equal(parse(xml, 4096, &p, NULL), 0);
        assert_int_equal(p.n, 1);
        assert_int_equal(p.n_unreadable, 1);
        assert_string_equal(p.objects[0].key, "c");
        s3xml_page_done(&p);
}

/* The same of one without a key, with one that is too long, or with half an escape in it. */
static void a_key_that_cannot_be_is_left_out(void **state)
{
        (void)state;
        static const char rest[] =
                "<Size>1</Size><ETag>1</ETag><LastModified>2024-07-08T05:12:09Z</LastModified></Contents>";
        _cleanup_strbuf_ struct strbuf key = {};
        strbuf_add(&key, "<Key>");
        for (int i = 0; i <= LIMIT_S3_KEY; i++)
                strbuf_add(&key, "k");
        strbuf_add(&key, "</Key>");
        const char *const odd[] = {"", "<Key></Key>", "<Key>a%2</Key>", "<Key>%00</Key>", key.s};
        for (size_t i = 0; i < ELEMENTSOF(odd); i++) {
                struct s3xml_page p = {};
                _cleanup_strbuf_ struct strbuf xml = {};
                strbuf_printf(&xml,
                        "<ListBucketResult><EncodingType>url</EncodingType>%s<Contents>%s%s%s</"
                        "ListBucketResult>",
                        OBJECT("a"), odd[i], rest, OBJECT("c"));
                assert_int_equal(parse(xml.s, 4096, &p, NULL), 0);
                assert_int_equal(p.n, 2);
                assert_int_equal(p.n_unreadable, 1);
                assert_string_equal(p.objects[1].key, "c");
                s3xml_page_done(&p);
        }
}

/* One entry without an ETag, size or date costs that entry. */
static void an_entry_that_cannot_be_used(void **state)
{
        (void)state;
        static const char *const odd[] = {"<ETag></ETag><LastModified>2024-07-08T05:12:09Z</LastModified>",
                "<ETag>\"\"</ETag><LastModified>2024-07-08T05:12:09Z</LastModified>",
                "<LastModified>2024-07-08T05:12:09Z</LastModified>", "<ETag>1</ETag>",
                "<ETag>1</ETag><LastModified>yesterday</LastModified>",
#define WHOLE "<ETag>1</ETag><LastModified>2024-07-08T05:12:09Z</LastModified>"
                WHOLE, WHOLE "<Size></Size>", WHOLE "<Size>-1</Size>",
                WHOLE "<Size>9223372036854775808</Size>", WHOLE "<Size>1e3</Size>"};
        for (size_t i = 0; i < ELEMENTSOF(odd); i++) {
                struct s3xml_page p = {};
                char xml[2048];
                snprintf(xml, sizeof(xml),
                        LIST(OBJECT("a") "<Contents><Key>b</Key>%s%s</Contents>" OBJECT("c")), odd[i],
                        i < 5 ? "<Size>1</Size>" : "");
                assert_int_equal(parse(xml, 4096, &p, NULL), 0);
                assert_int_equal(p.n, 3);
                assert_non_null(p.objects[0].etag);
                assert_string_equal(p.objects[1].key, "b");
                assert_null(p.objects[1].etag);
                assert_non_null(p.objects[2].etag);
                s3xml_page_done(&p);
        }
}

static void hostile_pages_are_refused(void **state)
{
        (void)state;
        static const char *const bad[] = {
                "",
                "not xml",
                HEAD "<Other/>",
                HEAD "<ListBucketResult>",
                HEAD "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult/>",
                HEAD "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><ListBucketResult/>",
                LIST("<IsTruncated>maybe</IsTruncated>"),
                LIST("<EncodingType>base64</EncodingType>"),
                LIST("<NextContinuationToken></NextContinuationToken>"),
                LIST("<a><b><c><d><e><f><g><h/></g></f></e></d></c></b></a>"),
                LIST("") "trailing",
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct s3xml_page p = {};
                struct error e = {};
                assert_int_equal(parse(bad[i], 4096, &p, &e), -EBADMSG);
                assert_int_equal(e.cause, CAUSE_PROTOCOL);
                assert_true(e.text[0] != 0);
                assert_int_equal(p.n, 0);
        }
}

static void limits(void **state)
{
        (void)state;
        struct s3xml_page p = {};
        struct error e = {};
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_add(&b, "<ListBucketResult>");
        for (int i = 0; i < LIMIT_LIST_PAGE_KEYS; i++)
                strbuf_add(&b, OBJECT("k"));
        size_t full = b.len;
        strbuf_add(&b, "</ListBucketResult>");
        assert_int_equal(parse(b.s, 65536, &p, &e), 0);
        assert_int_equal(p.n, LIMIT_LIST_PAGE_KEYS);
        s3xml_page_done(&p);
        b.len = full;
        strbuf_add(&b, OBJECT("k") "</ListBucketResult>");
        assert_int_equal(parse(b.s, 65536, &p, &e), -EBADMSG);

        /* a key one byte too long, and a value that is beyond all bounds */
        for (size_t n = LIMIT_S3_KEY; n <= LIMIT_S3_KEY + 1; n++) {
                char key[LIMIT_S3_KEY + 2];
                memset(key, 'k', n);
                key[n] = 0;
                _cleanup_strbuf_ struct strbuf x = {};
                strbuf_printf(&x, LIST(OBJECT("%s")), key);
                assert_int_equal(parse(x.s, 65536, &p, &e), 0);
                assert_int_equal(p.n_unreadable, n - LIMIT_S3_KEY);
                s3xml_page_done(&p);
        }
        _cleanup_strbuf_ struct strbuf x = {};
        strbuf_add(&x, "<ListBucketResult><Contents><Key>");
        for (int i = 0; i < 10000; i++)
                strbuf_add(&x, "k");
        assert_int_equal(parse(x.s, 65536, &p, &e), -EBADMSG);

        struct s3xml_list *l;
        assert_int_equal(s3xml_list_new(&l), 0);
        static char blanks[MIB];
        memset(blanks, ' ', sizeof(blanks));
        assert_int_equal(s3xml_list_feed(l, "<ListBucketResult>", 18, &e), 0);
        int r = 0;
        for (size_t i = 0; i <= LIMIT_LIST_PAGE_BYTES / MIB && r == 0; i++)
                r = s3xml_list_feed(l, blanks, sizeof(blanks), &e);
        assert_int_equal(r, -EBADMSG);
        s3xml_list_free(l);
}

static int parse_error(const char *xml, struct s3xml_error *ret)
{
        return s3xml_error(xml, strlen(xml), ret);
}

/* Read anew with each piece, eight MiB of it would keep a processor busy for minutes. */
static void a_tag_without_an_end(void **state)
{
        (void)state;
        static const char *const begins[] = {"<", "<ListBucketResult ", "<ListBucketResult a=\"", "<!--",
                "<?", "<?xml ", "<ListBucketResult><", "<ListBucketResult></", "<ListBucketResult><a b='",
                "<ListBucketResult><!--", "<ListBucketResult><?", LIST("") "<!--"};
        char piece[1000];
        memset(piece, 'x', sizeof(piece));
        for (size_t i = 0; i < ELEMENTSOF(begins); i++) {
                struct error e = {};
                struct s3xml_list *l;
                assert_int_equal(s3xml_list_new(&l), 0);
                assert_int_equal(s3xml_list_feed(l, begins[i], strlen(begins[i]), &e), 0);
                size_t n = 0;
                while (n < MIB && s3xml_list_feed(l, piece, sizeof(piece), &e) == 0)
                        n += sizeof(piece);
                s3xml_list_free(l);
                if (n > 66 * KIB)
                        fail_msg("%s: %zu bytes are taken", begins[i], n);
        }
}

/* Text is taken as it comes: also much of it, where none is looked for. */
static void much_text_is_no_tag(void **state)
{
        (void)state;
        struct s3xml_page p = {};
        struct error e = {};
        struct s3xml_list *l;
        assert_int_equal(s3xml_list_new(&l), 0);
        assert_int_equal(s3xml_list_feed(l, "<ListBucketResult>", 18, &e), 0);
        for (unsigned i = 0; i < 2000; i++)
                assert_int_equal(s3xml_list_feed(l, "<Other>some text</Other>", 24, &e), 0);
        for (unsigned i = 0; i < 100000; i++) /* cut in every tag and text */
                assert_int_equal(s3xml_list_feed(l, &"<Other>some text</Other>"[i % 8 * 3], 3, &e), 0);
        for (unsigned i = 0; i < 200; i++) /* a comment is a tag of its own each time */
                assert_int_equal(s3xml_list_feed(l, "<!-- of a certain length -->", 28, &e), 0);
        assert_int_equal(s3xml_list_feed(l, "</ListBucketResult>", 19, &e), 0);
        for (unsigned i = 0; i < 100000; i++)
                assert_int_equal(s3xml_list_feed(l, "\n", 1, &e), 0);
        assert_int_equal(s3xml_list_finish(l, &p, &e), 0);
        s3xml_page_done(&p);
        s3xml_list_free(l);
}

static void errors(void **state)
{
        (void)state;
        struct s3xml_error e = {};
        assert_int_equal(
                parse_error(HEAD "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region "
                                 "'a' is wrong</Message><Region>eu-west-1</Region></Error>",
                        &e),
                0);
        assert_string_equal(e.code, "AuthorizationHeaderMalformed");
        assert_string_equal(e.message, "the region 'a' is wrong");
        assert_string_equal(e.region, "eu-west-1");
        assert_string_equal(e.server_time, "");
        assert_int_equal(parse_error("<Error><Code>RequestTimeTooSkewed</Code>"
                                     "<ServerTime>2024-07-07T01:02:03Z</ServerTime></Error>",
                                 &e),
                0);
        assert_string_equal(e.server_time, "2024-07-07T01:02:03Z");
        assert_string_equal(e.region, "");
        /* Ceph sends empty messages */
        assert_int_equal(parse_error("<Error><Code>AccessDenied</Code><Message></Message></Error>", &e), 0);
        assert_string_equal(e.message, "");
        static const char *const bad[] = {"", "<html><Code>x</Code></html>", "<Error><Code>x</Code>",
                "<!DOCTYPE Error><Error><Code>x</Code></Error>"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(parse_error(bad[i], &e), -EBADMSG);
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_add(&b, "<Error><Code>Slow</Code><Message>");
        for (int i = 0; i < 5000; i++)
                strbuf_add(&b, "x");
        strbuf_add(&b, "</Message></Error>");
        assert_int_equal(parse_error(b.s, &e), 0);
        assert_int_equal(strlen(e.message), sizeof(e.message) - 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_page_in_any_pieces),
                cmocka_unit_test(keys_are_decoded_only_when_announced_wherever_that_stands),
                cmocka_unit_test(an_empty_page),
                cmocka_unit_test(a_key_with_nul_is_left_out),
                cmocka_unit_test(a_key_that_cannot_be_is_left_out),
                cmocka_unit_test(an_entry_that_cannot_be_used),
                cmocka_unit_test(hostile_pages_are_refused),
                cmocka_unit_test(limits),
                cmocka_unit_test(a_tag_without_an_end),
                cmocka_unit_test(much_text_is_no_tag),
                cmocka_unit_test(errors),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
