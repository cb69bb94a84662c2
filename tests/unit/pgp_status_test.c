/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict as a function of what gpg 2.2.40 wrote, line by line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pgp_status.h"
#include "terms.h"

#define OURS "223E3F41B7EF6362"
#define FOREIGN "D59EFC3A7890F321"
#define KEY_FPR "5E9BA374D4B2C4B468638036" OURS
#define PRIMARY "5184372BA74957F31F66A1ACD01AFBEB941AC469"
#define SIGNER "D12F69715ECC9E1B676B7E3CF4322DC932996D08"

#define FOR_US "ENC_TO " OURS " 1 0\n"
#define HEAD FOR_US "DECRYPTION_KEY " KEY_FPR " " PRIMARY " u\nBEGIN_DECRYPTION\n"
#define CONTENT "DECRYPTION_INFO 2 9 0\nPLAINTEXT 62 1795517695 p\nPLAINTEXT_LENGTH 108894\n"
#define TAIL "DECRYPTION_OKAY\nGOODMDC\nEND_DECRYPTION\n"
#define GOOD HEAD CONTENT TAIL
#define NO_SESSION "BEGIN_DECRYPTION\nDECRYPTION_FAILED\nEND_DECRYPTION\n"

static struct strv key_ids, signers;
static struct pgp_verdict v;

/* A message of one packet, as a frame. */
static struct frame frame_of(const char *bytes)
{
        struct frame f = {};
        frame_feed(&f, bytes, strlen(bytes));
        return f;
}

static enum cause judge_with(
        const char *lines, const char *message, enum signature_policy signatures, int exit_status)
{
        _cleanup_pgp_status_ struct pgp_status s = {.exit_status = exit_status};
        while (*lines) {
                char line[256];
                size_t n = strcspn(lines, "\n");
                assert_true(n < sizeof(line));
                memcpy(line, lines, n);
                line[n] = 0;
                char *args = strchr(line, ' ');
                if (args)
                        *args++ = 0;
                assert_int_equal(pgp_status_line(&s, line, args ? args : ""), 0);
                lines += n + (lines[n] == '\n');
        }
        struct frame f = frame_of(message);
        pgp_verdict(&s, &f, &(struct pgp_policy){&key_ids, signatures, &signers}, &v);
        assert_int_equal(v.error.cause != CAUSE_NONE, *v.error.text != 0);
        assert_int_equal(v.error.cause == CAUSE_NONE, (v.checks & CHECK_INTEGRITY) && v.error.err == 0);
        return v.error.cause;
}

static enum cause judge(const char *lines)
{
        return judge_with(lines, "\xd2\x01x", SIGNATURES_OPTIONAL, 0);
}

static void good_ones(void **state)
{
        (void)state;
        assert_int_equal(judge(GOOD), CAUSE_NONE);
        assert_int_equal(v.checks, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        assert_string_equal(v.fingerprint, PRIMARY);
        assert_string_equal(v.recipients, OURS);
        assert_int_equal(
                judge("ENC_TO " FOREIGN " 1 0\n" HEAD "NO_SECKEY " FOREIGN "\n" CONTENT TAIL), CAUSE_NONE);
        assert_string_equal(v.recipients, FOREIGN " " OURS);
        /* AEAD, as gpg 2.2 and as 2.4 tells of it */
        assert_int_equal(judge(HEAD "DECRYPTION_INFO 0 9 0\nPLAINTEXT 62 1 \n" TAIL), CAUSE_NONE);
        assert_int_equal(judge(HEAD "DECRYPTION_INFO 0 9 2\nPLAINTEXT 62 1 \n" TAIL), CAUSE_NONE);
        /* hidden recipients */
        assert_int_equal(judge("ENC_TO 0000000000000000 1 0\nDECRYPTION_KEY " KEY_FPR " " PRIMARY
                               " u\nBEGIN_DECRYPTION\n" CONTENT TAIL),
                CAUSE_NONE);
}

static void nothing_less_is_good(void **state)
{
        (void)state;
        static const char *const lines[] = {FOR_US, "DECRYPTION_KEY " KEY_FPR " " PRIMARY " u\n",
                "BEGIN_DECRYPTION\n", "DECRYPTION_INFO 2 9 0\n", "PLAINTEXT 62 1795517695 p\n",
                "DECRYPTION_OKAY\n", "GOODMDC\n", "END_DECRYPTION\n"};
        /* without any one of these lines it is not good; without the recipient it still is */
        for (size_t skip = 1; skip < ELEMENTSOF(lines); skip++) {
                char text[1024] = "";
                for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                        if (i != skip)
                                strcat(text, lines[i]);
                if (streq(lines[skip], "DECRYPTION_INFO 2 9 0\n")) /* GOODMDC alone says it as well */
                        continue;
                if (judge(text) == CAUSE_NONE)
                        fail_msg("good without %s", lines[skip]);
        }
        /* and none of these may be added */
        static const char *const spoil[] = {"BADMDC\n", "DECRYPTION_FAILED\n", "NODATA 3\n", "UNEXPECTED 0\n",
                "PLAINTEXT 62 1 x\n", "BEGIN_DECRYPTION\n"};
        for (size_t i = 0; i < ELEMENTSOF(spoil); i++) {
                char text[1024];
                snprintf(text, sizeof(text), "%s%s", GOOD, spoil[i]);
                assert_int_not_equal(judge(text), CAUSE_NONE);
        }
}

static void integrity(void **state)
{
        (void)state;
        assert_int_equal(
                judge(HEAD "DECRYPTION_INFO 0 9 0\nPLAINTEXT 62 1 p\nDECRYPTION_FAILED\nEND_DECRYPTION\n"),
                CAUSE_NO_MDC);
        /* even when a gpg of another age lets it pass */
        assert_int_equal(
                judge(HEAD "DECRYPTION_INFO 0 9 0\nPLAINTEXT 62 1 p\nDECRYPTION_OKAY\nEND_DECRYPTION\n"),
                CAUSE_NO_MDC);
        assert_int_equal(judge(HEAD CONTENT "BADMDC\nDECRYPTION_FAILED\nEND_DECRYPTION\n"), CAUSE_BAD_MDC);
        /* a foreign recipient first: GPGME would say "No secret key" */
        assert_int_equal(judge("ENC_TO " FOREIGN " 1 0\n" HEAD "NO_SECKEY " FOREIGN "\n" CONTENT
                               "BADMDC\nDECRYPTION_FAILED\nEND_DECRYPTION\n"),
                CAUSE_BAD_MDC);
        /* zlib gave up: gpg exits with 2; killed: nobody knows */
        assert_int_equal(judge_with(HEAD CONTENT, "\xd2\x01x", SIGNATURES_OPTIONAL, 2), CAUSE_BAD_MDC);
        assert_int_equal(judge_with(HEAD CONTENT, "\xd2\x01x", SIGNATURES_OPTIONAL, -1), CAUSE_HELPER);
        assert_true(v.again);
}

/* A good MDC over packets that are cut: what gpg writes is as of a good message, but it exits with 2. */
static void packets_cut_within(void **state)
{
        (void)state;
        static const char unknown[] = HEAD CONTENT "ERRSIG x 1 10 00 1 9\nNO_PUBKEY x\n" TAIL;
        assert_int_equal(judge_with(GOOD, "\xd2\x01x", SIGNATURES_OPTIONAL, 2), CAUSE_BAD_PGP);
        assert_int_equal(judge_with(GOOD, "\xd2\x01x", SIGNATURES_OPTIONAL, -1), CAUSE_NONE);
        /* a signer that is not known makes it exit with 2, too */
        assert_int_equal(judge_with(unknown, "\xd2\x01x", SIGNATURES_OPTIONAL, 2), CAUSE_NONE);
        struct pgp_status s = {};
        assert_int_equal(pgp_status_line(&s, "PLAINTEXT", "62 0 "), 0);
        assert_int_equal(pgp_status_line(&s, "PLAINTEXT_LENGTH", "1640"), 0);
        assert_true(s.binary && s.announced == 1640);
        assert_int_equal(pgp_status_line(&s, "PLAINTEXT", "74 0 x"), 0);
        assert_false(s.binary);
        pgp_status_done(&s);
}

/* gpg --batch ends at a wrong signature, and with it the status lines. */
static void a_wrong_signature_ends_it(void **state)
{
        (void)state;
        static const char lines[] = HEAD CONTENT "NEWSIG\nBADSIG x y\nFAILURE gpg-exit 33554433\n";
        assert_int_equal(judge_with(lines, "\xd2\x01x", SIGNATURES_OPTIONAL, 1), CAUSE_SIGNATURE);
        assert_int_equal(judge_with(lines, "\xd2\x01x", SIGNATURES_REQUIRED, -1), CAUSE_SIGNATURE);
}

/* What gpg 2.2.40 writes of an AEAD message that was cut off or altered: all is well. It exits with 2. */
static void aead_needs_the_exit_status(void **state)
{
        (void)state;
        static const char lines[] = HEAD "DECRYPTION_INFO 0 9 0\nPLAINTEXT 62 1 p\n" TAIL;
        static const char *const messages[] = {
                "\xd4\x01x", "\xd2\x01x", "-----BEGIN PGP MESSAGE-----\n\n-----END PGP MESSAGE-----\n"};
        for (size_t i = 0; i < ELEMENTSOF(messages); i++) {
                assert_int_equal(judge_with(lines, messages[i], SIGNATURES_OPTIONAL, 0), CAUSE_NONE);
                assert_int_equal(judge_with(lines, messages[i], SIGNATURES_OPTIONAL, 2), CAUSE_BAD_MDC);
                assert_int_equal(judge_with(lines, messages[i], SIGNATURES_OPTIONAL, -1), CAUSE_HELPER);
        }
        /* an AEAD packet that gpg did not confirm is not taken for one without protection */
        assert_int_equal(judge_with(HEAD "DECRYPTION_INFO 0 9 0\nDECRYPTION_FAILED\nEND_DECRYPTION\n",
                                 "\xd4\x01x", SIGNATURES_OPTIONAL, 2),
                CAUSE_BAD_MDC);
}

static void whose_fault_is_a_missing_session_key(void **state)
{
        (void)state;
        static const struct {
                const char *lines;
                enum cause cause;
                bool again;
        } cases[] = {
                {"ENC_TO " FOREIGN " 1 0\nNO_SECKEY " FOREIGN "\n" NO_SESSION, CAUSE_NO_KEY, false},
                {"ENC_TO 0000000000000000 1 0\n" NO_SESSION, CAUSE_NO_KEY, true},
                {FOR_US "ERROR pkdecrypt_failed 33554450\n" NO_SESSION, CAUSE_BAD_MDC,
                        false}, /* wrong secret key */
                {FOR_US "ERROR pkdecrypt_failed 33554442\n" NO_SESSION, CAUSE_BAD_MDC, false}, /* checksum */
                {FOR_US "ERROR pkdecrypt_failed 83886163\n" NO_SESSION, CAUSE_BAD_PGP,
                        true}, /* not known to us */
                {FOR_US "ERROR pkdecrypt_failed 67108949\n" NO_SESSION, CAUSE_HELPER, true}, /* no pinentry */
                {FOR_US "ERROR pkdecrypt_failed 67141718\n" NO_SESSION, CAUSE_HELPER,
                        true}, /* out of memory */
                {FOR_US "ERROR pkdecrypt_failed 67108881\n" NO_SESSION, CAUSE_HELPER,
                        true}, /* no secret key */
                {FOR_US "NO_SECKEY " OURS "\n" NO_SESSION, CAUSE_HELPER, true},
                {"NEED_PASSPHRASE_SYM 9 3 2\nERROR get_passphrase 85\n" NO_SESSION, CAUSE_BAD_PGP, false},
                {"NODATA 3\n", CAUSE_BAD_PGP, false},
                {"ENC_TO " FOREIGN " 1 0\nNODATA 3\n", CAUSE_BAD_PGP, false},
                {"", CAUSE_BAD_PGP, false},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                if (judge(cases[i].lines) != cases[i].cause)
                        print_error("%s", cases[i].lines);
                assert_int_equal(v.error.cause, cases[i].cause);
                assert_int_equal(v.again, cases[i].again);
        }
}

static void the_frame_has_a_say(void **state)
{
        (void)state;
        static const char *const messages[] = {"", "plain", "\xd2\x02x", "\xd2\x01x.", "\xc1\x01k"};
        for (size_t i = 0; i < ELEMENTSOF(messages); i++)
                assert_int_equal(judge_with(GOOD, messages[i], SIGNATURES_OPTIONAL, 0), CAUSE_BAD_PGP);
        assert_int_equal(judge_with(GOOD, "-----BEGIN PGP MESSAGE-----\n\n-----END PGP MESSAGE-----\n",
                                 SIGNATURES_OPTIONAL, 0),
                CAUSE_NONE);
        assert_int_equal(v.warnings, PGP_WARN_ARMOR);
}

static void plaintext_that_was_not_encrypted(void **state)
{
        (void)state;
        assert_int_equal(judge("PLAINTEXT 62 1 p\n"), CAUSE_BAD_PGP);
        assert_int_equal(judge("PLAINTEXT 62 1 p\n" HEAD "DECRYPTION_INFO 2 9 0\n" TAIL), CAUSE_BAD_PGP);
        assert_int_equal(judge(HEAD "DECRYPTION_INFO 2 9 0\n" TAIL "PLAINTEXT 62 1 p\n"), CAUSE_BAD_PGP);
        assert_int_equal(judge(HEAD "DECRYPTION_INFO 2 9 0\n" TAIL), CAUSE_BAD_PGP);
}

#define VALID "VALIDSIG " SIGNER " 2026-11-24 1795517695 0 4 0 1 10 00 " SIGNER "\n"

static void signatures(void **state)
{
        (void)state;
        static const struct {
                const char *lines, *signer;
                enum signature_policy policy;
                enum cause cause;
                uint32_t checks, warnings;
        } cases[] = {
                {"GOODSIG x y\n" VALID, NULL, SIGNATURES_OPTIONAL, CAUSE_NONE, CHECK_SIGNATURE, 0},
                {"GOODSIG x y\n" VALID, NULL, SIGNATURES_NONE, CAUSE_NONE, 0, 0},
                {"GOODSIG x y\n" VALID, SIGNER, SIGNATURES_REQUIRED, CAUSE_NONE, CHECK_SIGNATURE, 0},
                {"GOODSIG x y\n" VALID, PRIMARY, SIGNATURES_REQUIRED, CAUSE_SIGNATURE, 0, 0},
                {"GOODSIG x y\n" VALID, PRIMARY, SIGNATURES_OPTIONAL, CAUSE_NONE, 0, PGP_WARN_SIGNATURE},
                /* GOODSIG without VALIDSIG proves nothing */
                {"GOODSIG x y\n", NULL, SIGNATURES_REQUIRED, CAUSE_SIGNATURE, 0, 0},
                {"BADSIG x y\n", NULL, SIGNATURES_OPTIONAL, CAUSE_SIGNATURE, 0, 0},
                {"BADSIG x y\n", NULL, SIGNATURES_NONE, CAUSE_NONE, 0, 0},
                {"GOODSIG x y\n" VALID "BADSIG x y\n", NULL, SIGNATURES_OPTIONAL, CAUSE_SIGNATURE, 0, 0},
                {"ERRSIG x 1 10 00 1 9\nNO_PUBKEY x\n", NULL, SIGNATURES_OPTIONAL, CAUSE_NONE, 0,
                        PGP_WARN_SIGNATURE},
                {"ERRSIG x 1 10 00 1 9\nNO_PUBKEY x\n", NULL, SIGNATURES_REQUIRED, CAUSE_SIGNATURE, 0, 0},
                {"EXPKEYSIG x y\n" VALID, SIGNER, SIGNATURES_REQUIRED, CAUSE_SIGNATURE, 0, 0},
                {"EXPSIG x y\n" VALID, SIGNER, SIGNATURES_OPTIONAL, CAUSE_NONE, 0, PGP_WARN_SIGNATURE},
                {"REVKEYSIG x y\n" VALID, SIGNER, SIGNATURES_REQUIRED, CAUSE_SIGNATURE, 0, 0},
                {"REVKEYSIG x y\n" VALID "GOODSIG x y\n" VALID, SIGNER, SIGNATURES_REQUIRED, CAUSE_NONE,
                        CHECK_SIGNATURE, 0},
                {"", NULL, SIGNATURES_REQUIRED, CAUSE_SIGNATURE, 0, 0},
                {"", NULL, SIGNATURES_OPTIONAL, CAUSE_NONE, CHECK_NO_SIGNATURE, 0},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[2048];
                snprintf(text, sizeof(text), "%s%s%s%s", HEAD, CONTENT, cases[i].lines, TAIL);
                if (cases[i].signer)
                        assert_int_equal(strv_add(&signers, cases[i].signer), 0);
                enum cause c = judge_with(text, "\xd2\x01x", cases[i].policy, 0);
                if (c != cases[i].cause)
                        print_error("case %zu: %s", i, cases[i].lines);
                assert_int_equal(c, cases[i].cause);
                if (c == CAUSE_NONE) {
                        assert_int_equal(v.checks, cases[i].checks | CHECK_INTEGRITY);
                        assert_int_equal(v.warnings, cases[i].warnings);
                }
                strv_done(&signers);
                signers = (struct strv){};
        }
}

static void floods_are_bounded(void **state)
{
        (void)state;
        static char text[200000];
        size_t n = 0;
        for (unsigned i = 0; i < 2000; i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "ENC_TO %016X 1 0\n", i + 1);
        for (unsigned i = 0; i < 1000; i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "ERRSIG x\n");
        n += (size_t)snprintf(text + n, sizeof(text) - n, "BADSIG x y\n%s", GOOD);
        assert_int_equal(judge(text), CAUSE_SIGNATURE);
        assert_int_equal(strlen(v.recipients), LIMIT_RECIPIENTS * 17 - 1);
        /* words that are too long are none */
        assert_int_equal(judge("ENC_TO 00112233445566778899AABBCCDDEEFF 1 0\n" GOOD), CAUSE_NONE);
}

static int make(void **state)
{
        (void)state;
        return strv_add(&key_ids, OURS);
}

static int clean(void **state)
{
        (void)state;
        strv_done(&key_ids);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good_ones),
                cmocka_unit_test(nothing_less_is_good),
                cmocka_unit_test(integrity),
                cmocka_unit_test(packets_cut_within),
                cmocka_unit_test(a_wrong_signature_ends_it),
                cmocka_unit_test(aead_needs_the_exit_status),
                cmocka_unit_test(whose_fault_is_a_missing_session_key),
                cmocka_unit_test(the_frame_has_a_say),
                cmocka_unit_test(plaintext_that_was_not_encrypted),
                cmocka_unit_test(signatures),
                cmocka_unit_test(floods_are_bounded),
        };
        return cmocka_run_group_tests(tests, make, clean);
}
