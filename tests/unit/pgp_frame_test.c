/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "macro.h"
#include "openpgp.h"

/* The same bytes in pieces of every size must give the same answer. */
static const char *fault(const void *p, size_t n)
{
        struct frame whole = {};
        frame_feed(&whole, p, n);
        const char *w = frame_fault(&whole);
        for (size_t piece = 1; piece < 8; piece++) {
                struct frame f = {};
                for (size_t i = 0; i < n; i += piece)
                        frame_feed(&f, (const char *)p + i, MIN(piece, n - i));
                assert_int_equal(f.bytes, n);
                const char *g = frame_fault(&f);
                assert_int_equal(w == NULL, g == NULL);
                if (w && g)
                        assert_string_equal(w, g);
        }
        return w;
}

#define FAULT(bytes) fault(bytes, sizeof(bytes) - 1)

static bool newer(const void *p, size_t n)
{
        struct frame whole = {};
        frame_feed(&whole, p, n);
        for (size_t piece = 1; piece < 8; piece++) {
                struct frame f = {};
                for (size_t i = 0; i < n; i += piece)
                        frame_feed(&f, (const char *)p + i, MIN(piece, n - i));
                assert_int_equal(frame_is_newer(&f), frame_is_newer(&whole));
        }
        return frame_is_newer(&whole);
}

static void rfc_9580_is_known(void **state)
{
        (void)state;
#define NEWER(bytes) newer(bytes, sizeof(bytes) - 1)
        assert_true(NEWER("\xc1\x03\x06kk\xd2\x03\x02xx"));
        assert_true(NEWER("\xd2\x03\x02xx"));
        assert_true(NEWER("\xc1\x03\x06kk"));
        assert_false(NEWER("\xc1\x03\x03kk\xd2\x03\x01xx"));
        assert_false(NEWER("\xc1\x03\x03\x06\x06\xd2\x03\x01\x02\x02")); /* only the first byte counts */
        assert_false(NEWER("\xc3\x03\x06kk\xd4\x03\x02xx"));
        assert_false(NEWER(""));
        /* c1 0d 06 ...; c1 0d 03 ... */
        assert_true(NEWER("-----BEGIN PGP MESSAGE-----\n\nwQ0GAAAAAAAAAAAAAAAA\n"));
        assert_true(NEWER(
                "-----BEGIN PGP MESSAGE-----\r\nVersion: 1\r\nComment: x\r\n\r\nwQ0GAAAAAAAAAAAAAAAA\r\n"));
        assert_false(NEWER("-----BEGIN PGP MESSAGE-----\n\nwQ0DAAAAAAAAAAAAAAAA\n"));
        assert_false(NEWER("-----BEGIN PGP MESSAGE-----\n\nwQ0DAAAAAAAAAAAAAAAA\nwQ0GAAAAAAAAAAAAAAAA\n"));
        assert_false(NEWER("-----BEGIN PGP MESSAGE-----\n\n????????????????????\n"));
}

static void whole_messages(void **state)
{
        (void)state;
        assert_null(FAULT("\xd2\x03"
                          "abc")); /* SEIPD, new format */
        assert_null(FAULT("\x84\x01k\x85\x00\x02kk\xd2\x03"
                          "abc"));                                        /* two old-format PKESK */
        assert_null(FAULT("\xca\x03PGP\xc1\x01k\xd2\x01x"));              /* marker first */
        assert_null(FAULT("\xc3\x01k\xd4\x01x"));                         /* SKESK and AEAD */
        assert_null(FAULT("\xc1\x01k\xd2\xe1xx\xe0x\x02xx"));             /* partial lengths 2, 1, then 2 */
        assert_null(FAULT("\xc1\x01k\xd2\xe0x\x00"));                     /* the last piece is empty */
        assert_null(FAULT("\xc1\xff\x00\x00\x00\x01k\xd2\x01x"));         /* five-byte length */
        assert_null(FAULT("\x84\x01k\xa7to the end, whatever it holds")); /* indeterminate */
        assert_null(FAULT("\xd2\x00"));
        char two[2 + 192 + 3] = "\xd2\xc0\x00";
        assert_null(fault(two, 3 + 192));
        assert_non_null(fault(two, 3 + 191));
}

static void faulty_messages(void **state)
{
        (void)state;
        assert_string_equal(FAULT(""), "it is empty");
        assert_string_equal(FAULT("\xd2"), "the message is cut off");
        assert_string_equal(FAULT("\xc1\x01k"), "the message is cut off");
        assert_string_equal(FAULT("\xd2\x03"
                                  "ab"),
                "the message is cut off");
        assert_string_equal(
                FAULT("\xd2\xe1xx"), "the message is cut off"); /* a partial length needs a next one */
        assert_string_equal(FAULT("\xd2\x01xy"), "something follows the message");
        assert_string_equal(FAULT("\xd2\x01x\xd2\x01x"), "something follows the message");
        assert_string_equal(FAULT("plain text"), "not an OpenPGP message");
        assert_string_equal(FAULT("\x1f\x8b gzip"), "not an OpenPGP message");
        assert_string_equal(FAULT("\xcb\x03"
                                  "b\x00x"),
                "not an encrypted OpenPGP message");                                 /* literal */
        assert_string_equal(FAULT("\xc8\x01x"), "not an encrypted OpenPGP message"); /* compressed */
        assert_string_equal(FAULT("\xc1\x01k\xcb\x01x"), "not an encrypted OpenPGP message");
}

static void armor(void **state)
{
        (void)state;
        static const char good[] =
                "-----BEGIN PGP MESSAGE-----\nVersion: 1\n\nabcd\n=abcd\n-----END PGP MESSAGE-----\n";
        struct frame f = {};
        frame_feed(&f, good, sizeof(good) - 1);
        assert_true(frame_is_armor(&f));
        assert_null(FAULT("-----BEGIN PGP MESSAGE-----\n\nabcd\n-----END PGP MESSAGE-----\n"));
        assert_null(FAULT("-----BEGIN PGP MESSAGE-----\r\n\r\nabcd\r\n-----END PGP MESSAGE-----\r\n\r\n"));
        assert_null(FAULT("-----BEGIN PGP MESSAGE-----\n\nabcd\n-----END PGP MESSAGE-----"));
        assert_string_equal(FAULT("-----BEGIN PGP MESSAGE-----\n\nabcd\n"), "the armored message is cut off");
        assert_string_equal(FAULT("-----BEGIN PGP MESS"), "not an OpenPGP message");
        assert_string_equal(FAULT("-----BEGIN PGP MESSAGE-----\n\nabcd\n-----END PGP MESSAGE-----\nx"),
                "something follows the message");
        assert_string_equal(FAULT("-----BEGIN PGP SIGNED MESSAGE-----\n"), "not an OpenPGP message");
        assert_string_equal(FAULT("hello\n-----BEGIN PGP MESSAGE-----\n"), "not an OpenPGP message");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rfc_9580_is_known),
                cmocka_unit_test(whole_messages),
                cmocka_unit_test(faulty_messages),
                cmocka_unit_test(armor),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
