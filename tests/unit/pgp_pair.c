/* SPDX-License-Identifier: Apache-2.0 */
#include "pgp_pair.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsx.h"
#include "pgp_fast.h"
#include "pgp_gpg.h"
#include "str.h"

/* With sanitizers: each fork for gpg copies the page tables of all freed memory that is kept in quarantine.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
        return "quarantine_size_mb=8";
}

static void must(bool well, const char *what)
{
        if (well)
                return;
        fprintf(stderr, "pgp_pair: %s\n", what);
        abort();
}

void pgp_pair_run(const struct pgp_pair *p, const char *format, ...)
{
        char command[4096], line[5120];
        va_list ap;
        va_start(ap, format);
        vsnprintf(command, sizeof(command), format, ap);
        va_end(ap);
        snprintf(line, sizeof(line),
                "exec >>%s/log 2>&1; set -e; cd %s; umask 077; export LC_ALL=C; unset GNUPGHOME; "
                "T='--batch --quiet --yes --no-tty --pinentry-mode loopback --trust-model always'; "
                "T=\"$T $(gpg --dump-options | grep -xe --allow-old-cipher-algos || :)\"; " /* 3DES, since 2.4
                                                                                             */
                "G=\"gpg --homedir %s/maker $T\"; %s",
                p->home, p->home, p->home, command);
        if (system(line) == 0)
                return;
        fprintf(stderr, "%s\n", command);
        snprintf(line, sizeof(line), "tail -5 %s/log >&2", p->home);
        (void)!system(line);
        abort();
}

static void read_id(const struct pgp_pair *p, const char *name, uint8_t ret[8])
{
        char path[64];
        _cleanup_free_ char *text = NULL;
        snprintf(path, sizeof(path), "%s/%s", p->home, name);
        must(read_file_at(AT_FDCWD, path, 64, &text, NULL) == 0 && strlen(text) >= 16, "no key id");
        for (size_t i = 0; i < 8; i++)
                must(sscanf(text + 2 * i, "%2hhx", &ret[i]) == 1, "no key id");
}

/* The modulus is the first number of the last public packet in an export of one subkey. */
static void read_modulus(struct pgp_pair *p)
{
        char path[64];
        _cleanup_free_ char *text = NULL;
        size_t n;
        snprintf(path, sizeof(path), "%s/modulus", p->home);
        must(read_file_at(AT_FDCWD, path, 4096, &text, &n) == 0, "no modulus");
        for (size_t i = 0; i + 1 < n && p->modulus_len < sizeof(p->modulus); i += 2)
                if (sscanf(text + i, "%2hhx", &p->modulus[p->modulus_len]) != 1)
                        break;
                else
                        p->modulus_len++;
        must(p->modulus_len == 128, "a modulus of another size");
}

struct pgp *pgp_pair_engine(const struct pgp_pair *p, enum pgp_engine engine)
{
        struct pgp_options o = {.engine = engine, .signatures = SIGNATURES_OPTIONAL};
        struct error e = {};
        struct secret none = {.p = (char[]){""}};
        struct pgp *ret = NULL;
        char home[64];
        snprintf(home, sizeof(home), "%s/czar", p->home);
        if (pgp_open(home, &o, &ret, &e) < 0 || pgp_load_secret(ret, home, &none, &e) < 0)
                must(false, e.text);
        return ret;
}

void pgp_pair_open(struct pgp_pair *p)
{
        static const char make_key[] =
                "w() { gpg --homedir %s/%s $T --passphrase '' \"$@\"; }; mkdir -p %s; "
                "w --quick-gen-key '%s <%s@x.org>' rsa1024 sign,cert never; "
                "F=$(w --list-keys --with-colons | awk -F: '/^fpr/{print $10;exit}'); "
                "w --quick-add-key $F rsa1024 encr never; w --list-keys --with-colons | "
                "awk -F: '/^sub/{printf \"%%s\", $5}' > %s.id; w --export > %s.pub";
        *p = (struct pgp_pair){};
        signal(SIGPIPE, SIG_IGN);
        strcpy(p->home, "/tmp/czpXXXXXX");
        must(mkdtemp(p->home) != NULL, "mkdtemp");
#define MAKE(name) pgp_pair_run(p, make_key, p->home, name, name, name, name, name, name)
        MAKE("czar");
        MAKE("other");
#undef MAKE
        pgp_pair_run(p, "mkdir maker; cat czar.pub other.pub | $G --import; "
                        "gpg --homedir czar $T --with-key-data --list-keys $(cat czar.id) | "
                        "awk -F: '/^sub/{s=1} s&&/^pkd:0:/{print $4}' > modulus");
        read_id(p, "czar.id", p->key_id);
        read_id(p, "other.id", p->other_id);
        read_modulus(p);
        p->fast = pgp_pair_engine(p, ENGINE_AUTO);
        p->reference = pgp_pair_engine(p, ENGINE_GNUPG);
        char hex[17], home[64], *wanted[] = {hex};
        hex_encode(p->key_id, 8, hex);
        snprintf(home, sizeof(home), "%s/czar", p->home);
        size_t n;
        const char *fingerprint = pgp_keys(p->fast, &n)[0].subkeys[0].fingerprint;
        struct secret none = {.p = (char[]){""}};
        struct error e = {};
        must(pgp_export(home, &fingerprint, 1, false, &none, wanted, 1, &p->secret, &e) == 0 &&
                        pgp_secret_count(p->secret) == 1,
                "no secret key");
}

void pgp_pair_close(struct pgp_pair *p)
{
        pgp_close(p->fast);
        pgp_close(p->reference);
        pgp_secret_free(p->secret);
        pgp_pair_run(p, "for h in czar other maker; do gpgconf --homedir %s/$h --kill all; done", p->home);
        char line[64];
        snprintf(line, sizeof(line), "rm -rf %s", p->home);
        must(system(line) == 0, line);
}

void answer_done(struct answer *a)
{
        free(a->p);
        *a = (struct answer){};
}

struct source {
        const uint8_t *p;
        size_t left;
};

static ssize_t on_read(void *arg, void *p, size_t n, struct error *e)
{
        struct source *s = arg;
        (void)e;
        n = MIN(n, s->left);
        memcpy(p, s->p, n);
        s->p += n;
        s->left -= n;
        return (ssize_t)n;
}

static void append(struct answer *a, const void *p, size_t n)
{
        if (a->len + n + 1 > a->size) {
                a->size = 2 * a->size + n + 1;
                a->p = realloc(a->p, a->size);
                must(a->p != NULL, "out of memory");
        }
        if (n)
                memcpy(a->p + a->len, p, n);
        a->len += n;
}

static int on_write(void *arg, const void *p, size_t n, struct error *e)
{
        (void)e;
        append(arg, p, n);
        return 0;
}

void pgp_pair_ask(struct pgp *engine, const void *message, size_t n, struct answer *ret)
{
        struct source source = {.p = message, .left = n};
        *ret = (struct answer){};
        const struct pgp_job job = {
                .read = on_read,
                .read_arg = &source,
                .write = on_write,
                .write_arg = ret,
                .limit = {.max_plaintext = 64 * MIB, .max_ratio = 1000000},
        };
        ret->good = pgp_decrypt(engine, &job, &ret->verdict) == 0;
        if (ret->good)
                return;
        free(ret->p);
        ret->p = NULL;
        ret->len = 0;
}

/* The message in pieces, through the engine for large ones: 0, -EBADMSG or -ENOTSUP. */
static int stream(const struct fast_session *session, const uint8_t *message, size_t n, struct answer *ret)
{
        _cleanup_(cleanup_pgp_stream) struct pgp_stream *s = NULL;
        struct error e = {};
        int r = pgp_stream_new(session, on_write, ret, &s);
        for (size_t i = session->after, k; r == 0 && i < n; i += k) {
                k = MIN(n - i, 1 + (n + i) * 7919 % 3001);
                r = pgp_stream_feed(s, message + i, k, &e);
        }
        return r == 0 ? pgp_stream_end(s, &e) : r;
}

/* What is said of a message that is whole in memory, r, must be said of one that passes by. */
static void must_stream_alike(const struct fast_session *session, const uint8_t *message, size_t n, int r,
        const struct fast_plaintext *plain)
{
        struct answer a = {};
        int q = stream(session, message, n, &a);
        must(q == 0 || q == -EBADMSG || q == -ENOTSUP, "what a stream says");
        must((q == 0) == (r == 0), r == 0 ? "the stream declines a plain message" : "the stream accepts it");
        must(r != -EBADMSG || q == -EBADMSG, "the stream does not see the damage");
        must(r != 0 || (a.len == plain->len && (a.len == 0 || memcmp(a.p, plain->p, a.len) == 0)),
                "the stream gives other plaintext");
        answer_done(&a);
}

int pgp_pair_fast(const struct pgp_pair *p, const void *message, size_t n, struct answer *ret)
{
        struct fast_session session;
        struct fast_plaintext plain = {};
        char recipients[LIMIT_RECIPIENTS][17];
        size_t n_recipients;
        *ret = (struct answer){};
        if (fast_open_session(p->secret, message, n, &session, recipients, LIMIT_RECIPIENTS, &n_recipients) <
                0)
                return 0;
        int r = fast_decrypt(&session, message, n, &plain);
        if (n <= FAST_MESSAGE_MAX)
                must_stream_alike(&session, message, n, r, &plain);
        if (r == 0) {
                append(ret, plain.p, plain.len);
                ret->good = true;
                fast_plaintext_done(&plain);
        }
        return r == 0 ? 1 : r == -EBADMSG ? -1 : 0;
}

static bool same_plaintext(const struct answer *a, const struct answer *b)
{
        return a->len == b->len && (a->len == 0 || memcmp(a->p, b->p, a->len) == 0);
}

static const char *difference(const struct answer *a, const struct answer *b)
{
        if (a->good != b->good)
                return a->good ? "the first accepts, the second refuses"
                               : "the first refuses, the second accepts";
        if (!same_plaintext(a, b))
                return "different plaintext";
        if (!a->good)
                return NULL;
        if (!streq(a->verdict.recipients, b->verdict.recipients))
                return "different recipients";
        if (!streq(a->verdict.fingerprint, b->verdict.fingerprint))
                return "different fingerprints";
        if (a->verdict.checks != b->verdict.checks || a->verdict.warnings != b->verdict.warnings)
                return "different checks or warnings";
        return a->verdict.plain_size != b->verdict.plain_size ||
                               a->verdict.cipher_size != b->verdict.cipher_size
                       ? "different sizes"
                       : NULL;
}

const char *pgp_pair_compare(
        struct pgp_pair *p, const void *message, size_t n, bool everything, enum agreement *ret)
{
        struct answer alone, reference, both;
        int opinion = pgp_pair_fast(p, message, n, &alone);
        *ret = opinion > 0 ? AGREE_GOOD : opinion < 0 ? AGREE_BAD : AGREE_DECLINED;
        if (opinion == 0 && !everything)
                return NULL;
        pgp_pair_ask(p->reference, message, n, &reference);
        pgp_pair_ask(p->fast, message, n, &both);
        /* a message the packets of which go on behind its end is the frame's to refuse, not the engine's */
        const char *text = difference(&both, &reference);
        if (!text && opinion < 0 && reference.good)
                text = "the fast engine calls damaged what gpg accepts";
        if (!text && opinion > 0 && !reference.good)
                text = "the fast engine accepts what gpg refuses";
        if (!text && opinion > 0 && !same_plaintext(&alone, &reference))
                text = "different plaintext";
        if (text)
                fprintf(stderr, "with the fast engine: %s; gpg alone: %s\n", both.verdict.error.text,
                        reference.verdict.error.text);
        answer_done(&alone);
        answer_done(&reference);
        answer_done(&both);
        return text;
}
