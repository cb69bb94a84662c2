/* SPDX-License-Identifier: Apache-2.0 */
/* The engine behind pgp.h with a gpg of its own; what messages come to is tested with the worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpg_fixture.h"
#include "pgp.h"

static struct gpg_fixture fx;
static char home[128];
static char *plain, *message;
static size_t plain_len, message_len;

/* A message in memory and a sink that can fail. */
struct memory {
        size_t pos, fail_at; /* reading fails there; 0: never */
        struct strbuf out;
        bool full;
};

static ssize_t read_memory(void *arg, void *p, size_t n, struct error *e)
{
        struct memory *m = arg;
        if (m->fail_at && m->pos >= m->fail_at)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "CRC");
        n = MIN(n, message_len - m->pos);
        memcpy(p, message + m->pos, n);
        m->pos += n;
        return (ssize_t)n;
}

static int write_memory(void *arg, const void *p, size_t n, struct error *e)
{
        struct memory *m = arg;
        if (m->full)
                return error_set(e, CAUSE_SPACE, ENOSPC, "full");
        strbuf_add_n(&m->out, p, n);
        return 0;
}

static int decrypt(struct pgp *p, struct memory *m, struct pgp_verdict *v)
{
        const struct pgp_job job = {
                .read = read_memory, .read_arg = m, .write = write_memory, .write_arg = m};
        return pgp_decrypt(p, &job, v);
}

static struct pgp *open_home(struct pgp_options *o)
{
        struct pgp *p = NULL;
        struct error e = {};
        if (pgp_open(home, o, &p, &e) < 0)
                fail_msg("%s", e.text);
        return p;
}

static int make(void **state)
{
        (void)state;
        gpg_fixture_make(&fx);
        gpg_run(&fx, "$G -r maker@x.org -r open@x.org -o m.gpg -e plain");
        snprintf(home, sizeof(home), "%s/open", fx.dir);
        setenv("GNUPGHOME", home, 1);
        setenv("LC_ALL", "C", 1);
        plain = gpg_read(&fx, "plain", &plain_len);
        message = gpg_read(&fx, "m.gpg", &message_len);
        return 0;
}

static int clean(void **state)
{
        (void)state;
        free(plain);
        free(message);
        gpg_fixture_remove(&fx);
        return 0;
}

static void keys_are_listed(void **state)
{
        (void)state;
        size_t n, len;
        struct pgp *p = open_home(&(struct pgp_options){.engine = ENGINE_GNUPG});
        const struct pgp_key *k = pgp_keys(p, &n);
        char *fpr = gpg_read(&fx, "open.fpr", &len);
        assert_int_equal(n, 1); /* the foreign one has no secret part here */
        assert_memory_equal(k->fingerprint, fpr, strlen(k->fingerprint));
        assert_int_equal(strlen(k->fingerprint), 40);
        assert_string_equal(k->user_id, "open <open@x.org>");
        assert_int_equal(k->n_subkeys, 1); /* not the one that only signs */
        assert_int_equal(strlen(k->subkeys[0].keygrip), 40);
        assert_int_equal(k->expires, 0);
        free(fpr);
        pgp_close(p);
}

static void decrypts(void **state)
{
        (void)state;
        struct pgp_verdict v;
        struct pgp *p = open_home(&(struct pgp_options){.engine = ENGINE_GNUPG});
        for (int i = 0; i < 3; i++) { /* one context for all */
                struct memory m = {};
                assert_int_equal(decrypt(p, &m, &v), 0);
                assert_int_equal(v.cipher_size, message_len);
                assert_int_equal(v.plain_size, plain_len);
                assert_int_equal(m.out.len, plain_len);
                assert_memory_equal(m.out.s, plain, plain_len);
                strbuf_done(&m.out);
        }
        pgp_close(p);
}

static void errors_of_reader_and_writer_are_told(void **state)
{
        (void)state;
        struct pgp_verdict v;
        struct pgp *p = open_home(&(struct pgp_options){.engine = ENGINE_GNUPG});
        const size_t places[] = {1, 100, message_len / 2, message_len};
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                struct memory m = {.fail_at = places[i]};
                assert_true(decrypt(p, &m, &v) < 0);
                assert_int_equal(v.error.cause, CAUSE_BAD_ZIP);
                assert_string_equal(v.error.text, "CRC");
                strbuf_done(&m.out);
        }
        struct memory m = {.full = true};
        assert_int_equal(decrypt(p, &m, &v), -ENOSPC);
        assert_int_equal(v.error.cause, CAUSE_SPACE);
        m = (struct memory){};
        assert_int_equal(decrypt(p, &m, &v), 0);
        strbuf_done(&m.out);
        pgp_close(p);
}

static void a_key_that_is_forgotten_is_not_ours(void **state)
{
        (void)state;
        size_t n;
        struct pgp_verdict v;
        struct memory m = {};
        struct pgp *p = open_home(&(struct pgp_options){.engine = ENGINE_GNUPG});
        char id[17];
        strcpy(id, pgp_keys(p, &n)->subkeys[0].key_id);
        pgp_forget(p, "0123456789ABCDEF"); /* none of ours */
        assert_int_equal(pgp_keys(p, &n)->n_subkeys, 1);
        pgp_forget(p, id);
        assert_int_equal(pgp_keys(p, &n)->n_subkeys, 0);
        gpg_run(&fx, "gpgconf --homedir open --kill gpg-agent; mv open/private-keys-v1.d open/away");
        assert_true(decrypt(p, &m, &v) < 0);
        assert_int_equal(v.error.cause, CAUSE_NO_KEY);
        gpg_run(&fx, "rm -rf open/private-keys-v1.d; mv open/away open/private-keys-v1.d");
        strbuf_done(&m.out);
        pgp_close(p);
}

static int start_agent(void *arg)
{
        ++*(unsigned *)arg;
        gpg_run(&fx, "gpgconf --homedir %s --launch gpg-agent", home);
        return 0;
}

static int do_nothing(void *arg)
{
        ++*(unsigned *)arg;
        return 0;
}

static void tried_again_when_the_agent_is_gone(void **state)
{
        (void)state;
        unsigned revived = 0;
        struct pgp_verdict v;
        struct memory m = {};
        struct pgp *p = open_home(
                &(struct pgp_options){.engine = ENGINE_GNUPG, .revive = start_agent, .arg = &revived});
        gpg_run(&fx, "echo no-autostart > open/gpg.conf; gpgconf --homedir %s --kill gpg-agent", home);
        assert_int_equal(decrypt(p, &m, &v), 0);
        assert_int_equal(revived, 1);
        assert_int_equal(m.out.len, plain_len);
        assert_memory_equal(m.out.s, plain, plain_len);
        strbuf_done(&m.out);
        pgp_close(p);
        /* once only; and then it is not the message that is bad */
        revived = 0;
        m = (struct memory){};
        p = open_home(&(struct pgp_options){.engine = ENGINE_GNUPG, .revive = do_nothing, .arg = &revived});
        gpg_run(&fx, "gpgconf --homedir %s --kill gpg-agent", home);
        assert_true(decrypt(p, &m, &v) < 0);
        assert_int_equal(revived, 1);
        assert_int_equal(v.error.cause, CAUSE_HELPER);
        gpg_run(&fx, "rm open/gpg.conf");
        pgp_close(p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_are_listed),
                cmocka_unit_test(decrypts),
                cmocka_unit_test(errors_of_reader_and_writer_are_told),
                cmocka_unit_test(a_key_that_is_forgotten_is_not_ours),
                cmocka_unit_test(tried_again_when_the_agent_is_gone),
        };
        alarm(1000);
        return cmocka_run_group_tests(tests, make, clean);
}
