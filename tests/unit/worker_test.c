/* SPDX-License-Identifier: Apache-2.0 */
/* czard-decrypt over its channel, with real keys and messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "str.h"
#include "terms.h"
#include "worker_driver.h"

static struct gpg_fixture fx;
static char *plain, *plain_gz;
static size_t plain_len, plain_gz_len;

static int make(void **state)
{
        (void)state;
        gpg_fixture_make(&fx);
        plain = gpg_read(&fx, "plain", &plain_len);
        plain_gz = gpg_read(&fx, "plain.gz", &plain_gz_len);
        gpg_run(&fx, "$G -r maker@x.org -r open@x.org -o two.gpg -e plain; "
                     "$G -r maker@x.org -r locked@x.org -o locked.gpg -e plain");
        return 0;
}

static int clean(void **state)
{
        (void)state;
        free(plain);
        free(plain_gz);
        gpg_fixture_remove(&fx);
        return 0;
}

static char *fingerprint(const char *home, char ret[65])
{
        char name[32];
        size_t n;
        snprintf(name, sizeof(name), "%s.fpr", home);
        char *p = gpg_read(&fx, name, &n);
        snprintf(ret, 65, "%.*s", (int)strcspn(p, "\n"), p);
        free(p);
        return ret;
}

/* The message must decrypt to plain, and a digest of our own must agree. */
static void expect_plain(struct driver *d, const char *name, uint32_t warnings, uint32_t checks)
{
        struct result r = {};
        uint8_t sha[SHA256_SIZE];
        driver_file(d, name, FORMAT_OPAQUE, &r);
        if (r.m.verdict.outcome.cause)
                print_error("%s: %s\n", name, r.m.verdict.outcome.detail);
        assert_int_equal(r.m.verdict.outcome.cause, CAUSE_NONE);
        assert_int_equal(r.out_len, plain_len);
        assert_memory_equal(r.out, plain, plain_len);
        assert_int_equal(r.m.verdict.plain_size, plain_len);
        assert_int_equal(digest_once(DIGEST_SHA256, plain, plain_len, sha), 0);
        assert_memory_equal(r.m.verdict.sha256, sha, sizeof(sha));
        assert_int_equal(r.m.verdict.warnings, warnings);
        assert_int_equal(r.m.verdict.checks, checks);
        result_done(&r);
}

static void expect_cause(struct driver *d, const char *name, enum proto_format format, enum cause cause)
{
        struct result r = {};
        driver_file(d, name, format, &r);
        if (r.m.verdict.outcome.cause != cause)
                print_error("%s: %s: %s\n", name, cause_name((enum cause)r.m.verdict.outcome.cause),
                        r.m.verdict.outcome.detail);
        assert_int_equal(r.m.verdict.outcome.cause, cause);
        assert_true(*r.m.verdict.outcome.detail);
        assert_int_equal(r.out_len, 0);
        result_done(&r);
}

static void start(struct driver *d, const char *source)
{
        driver_start(d, &fx, &(struct driver_options){.source = source, .signatures = SIGNATURES_OPTIONAL});
        if (d->ready.ready.outcome.cause)
                print_error("%s\n", d->ready.ready.outcome.detail);
        assert_int_equal(d->ready.ready.outcome.cause, CAUSE_NONE);
}

static void foreign_recipient_first(void **state)
{
        (void)state;
        struct driver d;
        struct result r = {};
        char fpr[65];
        start(&d, "open");
        assert_int_equal(d.ready.ready.n_keys, 1);
        assert_string_equal(d.ready.ready.keys[0].fingerprint, fingerprint("open", fpr));
        assert_int_equal(d.ready.ready.keys[0].expires, 0);
        expect_plain(&d, "two.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_file(&d, "two.gpg", FORMAT_OPAQUE, &r);
        assert_string_equal(r.m.verdict.fingerprint, fpr);
        assert_int_equal(strlen(r.m.verdict.recipients), 33);
        assert_string_equal(r.m.verdict.recipients + 17, d.ready.ready.keys[0].key_ids);
        result_done(&r);
        driver_stop(&d);
}

/* One byte of the message flipped, at a distance from its end. */
static void flip(const char *from, const char *to, size_t from_end)
{
        size_t n;
        char *p = gpg_read(&fx, from, &n);
        assert_true(from_end < n);
        p[n - 1 - from_end] ^= 1;
        gpg_write(&fx, to, p, n);
        free(p);
}

static void damage_is_told_apart(void **state)
{
        (void)state;
        struct driver d;
        size_t n;
        start(&d, "open");
        char *p = gpg_read(&fx, "two.gpg", &n);
        gpg_write(&fx, "half.gpg", p, n / 2);
        gpg_write(&fx, "almost.gpg", p, n - 1);
        gpg_write(&fx, "session.gpg", p, 300); /* within the second session key */
        gpg_write(&fx, "empty.gpg", p, 0);
        free(p);
        flip("two.gpg", "mdc.gpg", 2);
        flip("two.gpg", "body.gpg", n / 2);
        gpg_run(&fx,
                "$G -r open@x.org -o one.gpg -e plain; head -c 5000 /dev/zero | tr '\\0' x > noise.gpg; "
                "(cat one.gpg; echo more) > tail.gpg; cat one.gpg one.gpg > twice.gpg; "
                "(echo hello; cat one.gpg) > before.gpg; $G -o signed-only.gpg -s plain; "
                "$G --passphrase %s -o symmetric.gpg -c plain",
                "hunter");
        flip("one.gpg", "key.gpg", 0);
        p = gpg_read(&fx, "one.gpg", &n);
        p[100] ^= 1; /* in the only session key */
        gpg_write(&fx, "key.gpg", p, n);
        free(p);
        expect_cause(&d, "mdc.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
        expect_cause(&d, "body.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
        static const char *const bad[] = {"half.gpg", "almost.gpg", "session.gpg", "empty.gpg", "noise.gpg",
                "tail.gpg", "twice.gpg", "before.gpg", "signed-only.gpg", "symmetric.gpg", "plain"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                expect_cause(&d, bad[i], FORMAT_OPAQUE, CAUSE_BAD_PGP);
        /* no engine tells what was wrong with a session key from what was wrong with the data */
        expect_cause(&d, "key.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
        /* none of it harmed the worker */
        expect_plain(&d, "two.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
}

static void without_integrity_protection(void **state)
{
        (void)state;
        struct driver d;
        gpg_run(&fx, "mkdir -m 700 old; gpg1 --homedir old --batch -q --import open.pub maker.pub; "
                     "O='gpg1 --homedir old --batch -q --trust-model always -r maker@x.org -r open@x.org'; "
                     "$O --cipher-algo AES256 --disable-mdc -o nomdc.gpg -e plain; "
                     "$O --cipher-algo AES256 --force-mdc -o old.gpg -e plain");
        start(&d, "open");
        expect_cause(&d, "nomdc.gpg", FORMAT_OPAQUE, CAUSE_NO_MDC);
        expect_plain(&d, "old.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
}

static void other_shapes_of_messages(void **state)
{
        (void)state;
        struct driver d;
        gpg_run(&fx,
                "R='-r maker@x.org -r open@x.org'; $G $R -o armor.gpg -a -e plain; "
                "$G -R maker@x.org -R open@x.org -o hidden.gpg -e plain; $G $R -z 0 -o raw.gpg -e plain; "
                "$G $R --compress-algo bzip2 -o bzip2.gpg -e plain; "
                "$G $R --passphrase x -o both.gpg -c -e plain; $G $R --passphrase x -a -o armor-both.gpg -c "
                "-e plain; "
                "sed '$d' armor.gpg > armor-cut.gpg; (cat armor.gpg; echo more) > armor-more.gpg; "
                "cat armor.gpg armor.gpg > armor-twice.gpg; cat plain | $G $R -o - -e > stream.gpg");
        start(&d, "open");
        expect_plain(&d, "armor.gpg", WARN_ARMOR, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        expect_plain(&d, "armor-both.gpg", WARN_ARMOR, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        static const char *const good[] = {"hidden.gpg", "raw.gpg", "bzip2.gpg", "both.gpg", "stream.gpg"};
        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                expect_plain(&d, good[i], 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        static const char *const bad[] = {"armor-cut.gpg", "armor-more.gpg", "armor-twice.gpg"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                expect_cause(&d, bad[i], FORMAT_OPAQUE, CAUSE_BAD_PGP);
        flip("raw.gpg", "raw-body.gpg", 5000);
        flip("bzip2.gpg", "bzip2-body.gpg", 500);
        expect_cause(&d, "raw-body.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
        expect_cause(&d, "bzip2-body.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
        driver_stop(&d);
}

/* rnp makes AEAD messages; gpg 2.2 reads them. */
static void aead(void **state)
{
        (void)state;
        struct driver d;
        size_t n;
        gpg_run(&fx, "for a in OCB EAX; do rnp --keyfile open.pub -r open --encrypt plain --output $a.gpg "
                     "--aead=$a -z 0 "
                     "--aead-chunk-bits=3 >/dev/null; done");
        start(&d, "open");
        static const char *const names[] = {"OCB.gpg", "EAX.gpg"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                expect_plain(&d, names[i], 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
                char *p = gpg_read(&fx, names[i], &n);
                gpg_write(&fx, "aead-cut.gpg", p, n / 2);
                gpg_write(&fx, "aead-almost.gpg", p, n - 16);
                free(p);
                expect_cause(&d, "aead-cut.gpg", FORMAT_OPAQUE, CAUSE_BAD_PGP);
                expect_cause(&d, "aead-almost.gpg", FORMAT_OPAQUE, CAUSE_BAD_PGP);
                const size_t places[] = {0, 10, 20, n / 2};
                for (size_t k = 0; k < ELEMENTSOF(places); k++) {
                        flip(names[i], "aead-flip.gpg", places[k]);
                        expect_cause(&d, "aead-flip.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
                }
        }
        driver_stop(&d);
}

static void message_for_other_keys(void **state)
{
        (void)state;
        struct driver d;
        struct result r = {};
        gpg_run(&fx, "$G -r maker@x.org -r locked@x.org -o foreign.gpg -e plain");
        start(&d, "open");
        driver_file(&d, "foreign.gpg", FORMAT_OPAQUE, &r);
        assert_int_equal(r.m.verdict.outcome.cause, CAUSE_NO_KEY);
        assert_int_equal(strlen(r.m.verdict.recipients), 33);
        /* both key ids are named, and ours */
        assert_non_null(strstr(r.m.verdict.outcome.detail, r.m.verdict.recipients));
        assert_non_null(strstr(r.m.verdict.outcome.detail, d.ready.ready.keys[0].key_ids));
        assert_int_equal(r.out_len, 0);
        result_done(&r);
        driver_stop(&d);
}

static enum cause setup_cause(const char *source, const char *passphrase)
{
        struct driver d;
        driver_start(&d, &fx, &(struct driver_options){.source = source, .passphrase = passphrase});
        enum cause c = (enum cause)d.ready.ready.outcome.cause;
        assert_true(c == CAUSE_NONE || *d.ready.ready.outcome.detail);
        driver_stop(&d);
        return c;
}

static void passphrases(void **state)
{
        (void)state;
        struct driver d;
        char from[128];
        gpg_run(&fx, "mkdir -m 700 nokey; "
                     "gpg --homedir nokey $T --import open.pub");
        assert_int_equal(setup_cause("locked", NULL), CAUSE_PASSPHRASE);
        assert_int_equal(setup_cause("locked", "wrong"), CAUSE_PASSPHRASE);
        assert_int_equal(setup_cause("nokey", NULL), CAUSE_NO_KEY);
        assert_int_equal(setup_cause("no such", NULL), CAUSE_NO_KEY);
        assert_int_equal(setup_cause("open", "not needed"), CAUSE_NONE);
        driver_start(&d, &fx,
                &(struct driver_options){
                        .source = "locked", .passphrase = FIXTURE_PASSPHRASE "\nsecond line"});
        assert_int_equal(d.ready.ready.outcome.cause, CAUSE_NONE);
        expect_plain(&d, "locked.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        /* a second worker takes over what the first one prepared */
        struct driver second;
        snprintf(from, sizeof(from), "%s", strrchr(d.home, '/') + 1);
        driver_start(&second, &fx,
                &(struct driver_options){.source = from, .passphrase = FIXTURE_PASSPHRASE, .copy = true});
        assert_int_equal(second.ready.ready.outcome.cause, CAUSE_NONE);
        expect_plain(&second, "locked.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
        expect_plain(&second, "locked.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&second);
}

/* The agent keeps a long passphrase as well as a short one. GnuPG takes 255 bytes at most. */
static void long_passphrases(void **state)
{
        (void)state;
        static const size_t lengths[] = {21, 24, 60, 255};
        uint8_t engine = driver_engine;
        driver_engine = ENGINE_GNUPG; /* asks the agent at each message */
        for (size_t i = 0; i < ELEMENTSOF(lengths); i++) {
                struct driver d;
                char text[256], home[32], name[32];
                for (size_t n = 0; n < lengths[i]; n++)
                        text[n] = (char)('!' + (n * 7 + i) % 90);
                text[lengths[i]] = 0;
                text[lengths[i] / 2] = ' ';
                snprintf(home, sizeof(home), "long%zu", lengths[i]);
                snprintf(name, sizeof(name), "long%zu.gpg", lengths[i]);
                char file[256];
                snprintf(file, sizeof(file), "%s/long.txt", fx.dir);
                FILE *f = fopen(file, "we");
                assert_non_null(f);
                assert_int_equal(fwrite(text, 1, lengths[i], f), lengths[i]);
                assert_int_equal(fclose(f), 0);
                gpg_run(&fx,
                        "mkdir -m 700 %s; gpg --batch --homedir %s --pinentry-mode loopback "
                        "--passphrase-file long.txt "
                        "--quick-gen-key %s@x.org rsa2048 encr never; rm -f %s/S.*; "
                        "gpg --batch --homedir %s --trust-model always -r %s@x.org -o %s -e plain",
                        home, home, home, home, home, home, name);
                driver_start(&d, &fx, &(struct driver_options){.source = home, .passphrase = text});
                assert_int_equal(d.ready.ready.outcome.cause, CAUSE_NONE);
                expect_plain(&d, name, 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
                driver_stop(&d);
        }
        driver_engine = engine;
}

static void unsafe_homes_are_refused(void **state)
{
        (void)state;
        gpg_run(&fx, "cp -r open wide; rm -f wide/S.*; chmod 705 wide; cp -r open wide2; rm -f wide2/S.*; "
                     "chmod 644 wide2/private-keys-v1.d/*.key");
        assert_int_equal(setup_cause("wide", NULL), CAUSE_UNSAFE_MODE);
        assert_int_equal(setup_cause("wide2", NULL), CAUSE_UNSAFE_MODE);
}

/* As keyboxd of GnuPG 2.4 makes it, with a key ring of before that has no key. */
static void make_keyboxd_home(void)
{
        char path[64];
        size_t n;
        sqlite3 *db = NULL;
        sqlite3_stmt *s = NULL;
        gpg_run(&fx, "mkdir -m 700 keyboxd; mkdir keyboxd/public-keys.d; echo '  use-keyboxd # since 2.4' > "
                     "keyboxd/common.conf; "
                     "cp -r open/private-keys-v1.d keyboxd; cp maker.pub keyboxd/pubring.gpg");
        char *p = gpg_read(&fx, "open.pub", &n);
        snprintf(path, sizeof(path), "%s/keyboxd/public-keys.d/pubring.db", fx.dir);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db,
                                 "CREATE TABLE pubkey (ubid BLOB NOT NULL PRIMARY KEY, type INTEGER NOT "
                                 "NULL, ephemeral "
                                 "INTEGER NOT NULL DEFAULT 0, revoked INTEGER NOT NULL DEFAULT 0, keyblob "
                                 "BLOB NOT NULL); "
                                 "INSERT INTO pubkey VALUES (x'02', 2, 0, 0, x'3000')",
                                 NULL, NULL, NULL),
                SQLITE_OK);
        assert_int_equal(
                sqlite3_prepare_v2(db, "INSERT INTO pubkey VALUES (x'01', 1, 0, 0, ?)", -1, &s, NULL),
                SQLITE_OK);
        sqlite3_bind_blob(s, 1, p, (int)n, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(s), SQLITE_DONE);
        sqlite3_finalize(s);
        sqlite3_close(db);
        free(p);
}

static void keys_in_keyboxd(void **state)
{
        (void)state;
        struct driver d;
        make_keyboxd_home();
        gpg_run(&fx, "$G -r open@x.org -a -o keyboxd.gpg -e plain");
        start(&d, "keyboxd");
        expect_plain(&d, "keyboxd.gpg", WARN_ARMOR, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
        gpg_run(&fx, "cp -r keyboxd broken; echo x > broken/public-keys.d/pubring.db");
        assert_int_equal(setup_cause("broken", NULL), CAUSE_NO_KEY);
        gpg_run(&fx, "rm -r broken");
}

static void expired_key_still_decrypts(void **state)
{
        (void)state;
        struct driver d;
        gpg_run(&fx, "$G --faked-system-time 20200102T000000 -r expired@x.org -o expired.gpg "
                     "-e plain");
        start(&d, "expired");
        assert_int_equal(d.ready.ready.keys[0].expires, d.ready.ready.keys[0].created + 30 * 86400);
        expect_plain(&d, "expired.gpg", WARN_KEY_EXPIRED, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
}

/* Only gpg knows what to do with a key on a curve. */
static void elliptic_curve_key(void **state)
{
        (void)state;
        struct driver d;
        char fpr[65];
        gpg_run(&fx,
                "mkdir curve; W=\"gpg --homedir curve $T\"; "
                "$W --passphrase '%s' --quick-gen-key curve@x.org future-default default never; "
                "$W --list-keys --with-colons > curve.list; grep -q '^sub:.*:cv25519:' curve.list; "
                "awk -F: '/^fpr/{print $10;exit}' curve.list > curve.fpr; $W --export | $G --import; "
                "gpgconf --homedir \"$PWD/curve\" --kill all; $G -r maker@x.org -r curve@x.org -o curve.gpg "
                "-e plain",
                FIXTURE_PASSPHRASE);
        driver_start(&d, &fx, &(struct driver_options){.source = "curve", .passphrase = FIXTURE_PASSPHRASE});
        assert_int_equal(d.ready.ready.outcome.cause, CAUSE_NONE);
        assert_string_equal(d.ready.ready.keys[0].fingerprint, fingerprint("curve", fpr));
        expect_plain(&d, "curve.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        flip("curve.gpg", "curve-mdc.gpg", 2);
        expect_cause(&d, "curve-mdc.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
        expect_plain(&d, "curve.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
}

static unsigned count_agents(const struct driver *d)
{
        char line[256];
        unsigned n = 0;
        snprintf(line, sizeof(line), "pgrep -c -f 'agent --supervised --homedir [%c]%s$'", d->home[0],
                d->home + 1);
        FILE *f = popen(line, "r");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%u", &n), 1);
        pclose(f);
        return n;
}

/* Messages of the form of edX it decrypts, alone and by gpg; of all others it says so, and goes on. */
static void without_an_agent(void **state)
{
        (void)state;
        struct driver d;
        gpg_run(&fx, "R='-r maker@x.org -r locked@x.org'; $G $R -o n-armor.gpg -a -e plain; "
                     "$G -R locked@x.org -o n-hidden.gpg -e plain; $G $R --passphrase x -o n-both.gpg -c -e "
                     "plain; "
                     "$G -r maker@x.org -o n-foreign.gpg -e plain; $G $R -z 9 --compress-algo bzip2 -o "
                     "n-bzip2.gpg -e plain; "
                     ": > n-empty.gpg");
        const struct driver_options o = {.source = "locked",
                .passphrase = FIXTURE_PASSPHRASE,
                .signatures = SIGNATURES_OPTIONAL,
                .no_agent = true};
        driver_start(&d, &fx, &o);
        assert_int_equal(d.ready.ready.outcome.cause, CAUSE_NONE);
        bool fast = driver_engine == ENGINE_AUTO;
        assert_int_equal(d.ready.ready.reference, !fast);
        assert_int_equal(count_agents(&d), fast ? 0 : 1);
        static const char *const others[] = {"n-armor.gpg", "n-hidden.gpg", "n-both.gpg"};
        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (fast)
                        expect_cause(&d, others[i], FORMAT_OPAQUE, CAUSE_REFERENCE);
        expect_cause(&d, "n-foreign.gpg", FORMAT_OPAQUE, fast ? CAUSE_REFERENCE : CAUSE_NO_KEY);
        expect_cause(&d, "n-empty.gpg", FORMAT_OPAQUE, fast ? CAUSE_REFERENCE : CAUSE_BAD_PGP);
        expect_plain(&d, "n-bzip2.gpg", 0,
                CHECK_INTEGRITY | CHECK_NO_SIGNATURE); /* gpg, with the key of the message */
        expect_plain(&d, "locked.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        flip("locked.gpg", "n-bad.gpg", 2);
        expect_cause(&d, "n-bad.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
        driver_stop(&d);
        struct driver_options required = o;
        required.signatures = SIGNATURES_REQUIRED;
        driver_start(&d, &fx, &required);
        assert_int_equal(d.ready.ready.reference, 1);
        assert_int_equal(count_agents(&d), 1);
        driver_stop(&d);
}

static void agent_dies(void **state)
{
        (void)state;
        struct driver d;
        char line[256];
        uint8_t engine = driver_engine;
        driver_engine = ENGINE_GNUPG; /* the other one asks no agent */
        driver_start(&d, &fx, &(struct driver_options){.source = "locked", .passphrase = FIXTURE_PASSPHRASE});
        expect_plain(&d, "locked.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        snprintf(line, sizeof(line), "kill -9 $(pgrep -f 'agent --supervised --homedir [%c]%s$')", d.home[0],
                d.home + 1);
        assert_int_equal(system(line), 0);
        expect_plain(&d, "locked.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        /* it forgets the passphrase: noticed only when a message needs it */
        snprintf(line, sizeof(line), "kill -HUP $(pgrep -f 'agent --supervised --homedir [%c]%s$')",
                d.home[0], d.home + 1);
        assert_int_equal(system(line), 0);
        expect_plain(&d, "locked.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
        driver_engine = engine;
}

static void expect_signed(const char *name, enum signature_policy policy, const char *signers,
        enum cause cause, uint32_t checks, uint32_t warnings)
{
        struct driver d;
        struct result r = {};
        driver_start(&d, &fx,
                &(struct driver_options){
                        .source = "open", .signatures = (uint8_t)policy, .signers = signers});
        driver_file(&d, name, FORMAT_OPAQUE, &r);
        if (r.m.verdict.outcome.cause != cause)
                print_error(
                        "%s, policy %d, signers %s: %s\n", name, policy, signers, r.m.verdict.outcome.detail);
        assert_int_equal(r.m.verdict.outcome.cause, cause);
        if (cause == CAUSE_NONE) {
                assert_int_equal(r.m.verdict.checks, checks);
                assert_int_equal(r.m.verdict.warnings, warnings);
        }
        result_done(&r);
        driver_stop(&d);
}

static void signature_policies(void **state)
{
        (void)state;
        char maker[65], open_key[65];
        fingerprint("maker", maker);
        fingerprint("open", open_key);
        /* "unknown": by a key that the home "open" does not know */
        gpg_run(&fx,
                "$G -r open@x.org -o good.gpg -s -e plain; "
                "gpg --homedir locked $T --import open.pub; "
                "gpg --homedir locked $T --passphrase '%s' -r open@x.org -o unknown.gpg -s -e plain",
                FIXTURE_PASSPHRASE);
        const uint32_t ok = CHECK_INTEGRITY, none = CHECK_INTEGRITY | CHECK_NO_SIGNATURE;
        /* "none" does not look, and says so */
        expect_signed("good.gpg", SIGNATURES_NONE, "", CAUSE_NONE, none, 0);
        expect_signed("good.gpg", SIGNATURES_OPTIONAL, "", CAUSE_NONE, ok | CHECK_SIGNATURE, 0);
        expect_signed("good.gpg", SIGNATURES_REQUIRED, maker, CAUSE_NONE, ok | CHECK_SIGNATURE, 0);
        expect_signed("good.gpg", SIGNATURES_REQUIRED, open_key, CAUSE_SIGNATURE, 0, 0);
        expect_signed("good.gpg", SIGNATURES_OPTIONAL, open_key, CAUSE_NONE, ok, WARN_SIGNATURE);
        expect_signed("unknown.gpg", SIGNATURES_NONE, "", CAUSE_NONE, none, 0);
        expect_signed("unknown.gpg", SIGNATURES_OPTIONAL, "", CAUSE_NONE, ok, WARN_SIGNATURE);
        expect_signed("unknown.gpg", SIGNATURES_REQUIRED, "", CAUSE_SIGNATURE, 0, 0);
        expect_signed("two.gpg", SIGNATURES_NONE, "", CAUSE_NONE, none, 0);
        expect_signed("two.gpg", SIGNATURES_REQUIRED, maker, CAUSE_SIGNATURE, 0, 0);
}

static void gzip_is_checked(void **state)
{
        (void)state;
        struct driver d;
        struct result r = {};
        gpg_run(&fx,
                "head -c -5 plain.gz > short.gz; cat plain.gz plain.gz > double.gz; "
                "(cat plain.gz; echo x) > more.gz; "
                "for f in plain short double more; do $G -z 0 -r open@x.org -o $f.gz.gpg -e $f.gz; done");
        start(&d, "open");
        driver_file(&d, "plain.gz.gpg", FORMAT_GZIP, &r);
        assert_int_equal(r.m.verdict.outcome.cause, CAUSE_NONE);
        assert_int_equal(r.m.verdict.checks, CHECK_INTEGRITY | CHECK_GZIP | CHECK_NO_SIGNATURE);
        assert_int_equal(r.out_len, plain_gz_len);
        assert_memory_equal(r.out, plain_gz, plain_gz_len);
        result_done(&r);
        driver_file(&d, "double.gz.gpg", FORMAT_GUNZIP, &r);
        assert_int_equal(r.m.verdict.outcome.cause, CAUSE_NONE);
        assert_int_equal(r.out_len, 2 * plain_len);
        assert_memory_equal(r.out + plain_len, plain, plain_len);
        result_done(&r);
        expect_cause(&d, "short.gz.gpg", FORMAT_GZIP, CAUSE_BAD_GZIP);
        expect_cause(&d, "short.gz.gpg", FORMAT_GUNZIP, CAUSE_BAD_GZIP);
        expect_cause(&d, "more.gz.gpg", FORMAT_GZIP, CAUSE_BAD_GZIP);
        expect_cause(&d, "two.gpg", FORMAT_GZIP, CAUSE_BAD_GZIP);
        /* the outer damage is what is told, although gzip sees it first */
        flip("plain.gz.gpg", "altered.gpg", 20000);
        expect_cause(&d, "altered.gpg", FORMAT_GZIP, CAUSE_BAD_MDC);
        driver_stop(&d);
}

static void sizes_and_limits(void **state)
{
        (void)state;
        struct driver d;
        struct result r = {};
        size_t n;
        free(gpg_read(&fx, "two.gpg", &n));
        gpg_run(&fx, "head -c 80M /dev/zero | $G -r open@x.org -o bomb.gpg -e");
        driver_start(&d, &fx,
                &(struct driver_options){.source = "open", .max_ratio = 100, .max_plaintext = 200 * MIB});
        driver_file_sized(&d, "two.gpg", n + 1, FORMAT_OPAQUE, &r);
        assert_int_equal(r.m.verdict.outcome.cause, CAUSE_TRUNCATED);
        result_done(&r);
        driver_file_sized(&d, "two.gpg", n - 1, FORMAT_OPAQUE, &r);
        assert_int_equal(r.m.verdict.outcome.cause, CAUSE_SIZE);
        result_done(&r);
        expect_cause(&d, "bomb.gpg", FORMAT_OPAQUE, CAUSE_LIMIT);
        expect_plain(&d, "two.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
        driver_start(&d, &fx, &(struct driver_options){.source = "open", .max_plaintext = 100000});
        expect_cause(&d, "two.gpg", FORMAT_OPAQUE, CAUSE_LIMIT);
        driver_stop(&d);
}

static void full_disk_is_no_fault_of_the_message(void **state)
{
        (void)state;
        struct driver d;
        size_t n;
        free(gpg_read(&fx, "two.gpg", &n));
        start(&d, "open");
        struct message m = {.type = PROTO_FILE, .file = {.size = n}, .n_fds = 2}, answer;
        m.fds[0] = driver_feed(&fx, "two.gpg", 0, UINT64_MAX);
        m.fds[1] = open("/dev/full", O_WRONLY | O_CLOEXEC);
        driver_send(&d, &m);
        close(m.fds[0]);
        close(m.fds[1]);
        driver_expect(&d, PROTO_VERDICT, &answer);
        assert_int_equal(answer.verdict.outcome.cause, CAUSE_SPACE);
        message_done(&answer);
        expect_plain(&d, "two.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(foreign_recipient_first),
                cmocka_unit_test(damage_is_told_apart),
                cmocka_unit_test(without_integrity_protection),
                cmocka_unit_test(other_shapes_of_messages),
                cmocka_unit_test(aead),
                cmocka_unit_test(message_for_other_keys),
                cmocka_unit_test(passphrases),
                cmocka_unit_test(long_passphrases),
                cmocka_unit_test(unsafe_homes_are_refused),
                cmocka_unit_test(keys_in_keyboxd),
                cmocka_unit_test(expired_key_still_decrypts),
                cmocka_unit_test(elliptic_curve_key),
                cmocka_unit_test(without_an_agent),
                cmocka_unit_test(agent_dies),
                cmocka_unit_test(signature_policies),
                cmocka_unit_test(gzip_is_checked),
                cmocka_unit_test(sizes_and_limits),
                cmocka_unit_test(full_disk_is_no_fault_of_the_message),
        };
        cmocka_set_test_filter(getenv("CZARD_TEST"));
        alarm(1200); /* a worker that hangs fails the test */
        /* Both engines say the same of every message. */
        driver_engine = ENGINE_GNUPG;
        int failed = cmocka_run_group_tests_name("engine=gnupg", tests, make, clean);
        driver_engine = ENGINE_AUTO;
        return failed + cmocka_run_group_tests_name("engine=auto", tests, make, clean);
}
