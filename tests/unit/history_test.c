/* SPDX-License-Identifier: Apache-2.0 */
/* The audit record and the ledger, together over a crash. */
#include "history.h"

#include <fcntl.h>
#include <unistd.h>

#include "ledger_facts.h"
#include "ledger_fixture.h"

static const struct history czard = {.uid = -1};

struct place {
        struct fixture *f;
        struct audit *a;
        int fd;
};

static void open_place(struct place *p, struct fixture *f)
{
        *p = (struct place){.f = f, .fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        assert_int_equal(audit_open(p->fd, &p->a, NULL), 0);
}

static void close_place(struct place *p)
{
        audit_free(p->a);
        close(p->fd);
}

static void say(struct place *p, struct audit_entry entry)
{
        struct error e = {};
        if (audit_append(p->a, &entry, &e) < 0)
                fail_msg("%s", e.text);
}

static int count_member(struct ledger_member *m, void *arg)
{
        assert_int_equal(m->state, OBJECT_PUBLISHED);
        ++*(int *)arg;
        return 0;
}

/* The lines were durable, the rows were not: they are made up for, once. */
static void the_ledger_catches_up(void **state)
{
        struct place p;
        struct error e = {};
        open_place(&p, *state);
        struct ledger_object o = list(p.f, "universityx-2024-07-07.zip", "\"1\"", 1, LISTED_NEW), now;
        say(&p, history_entry(&czard, "start", NULL));
        assert_int_equal(history_sync(p.f->l, p.a, &e), 0);
        o.category = CATEGORY_DATABASE;
        o.is_zip = true;
        strcpy(o.org, "universityx");
        strcpy(o.date, "2024-07-07");
        assert_int_equal(ledger_save(p.f->l, &o, &e), 0);
        struct ledger_member old = {
                .object_id = o.id, .name = "gone.sql.gpg", .path = "gone.sql", .state = OBJECT_PUBLISHED};
        assert_int_equal(ledger_member_save(p.f->l, &old, &e), 0);

        uint8_t sha256[SHA256_SIZE] = {1, 2, 3};
        struct audit_entry a = history_entry(&czard, "members", &o);
        say(&p, a);
        for (int i = 0; i < 3; i++) {
                char name[64], path[128];
                snprintf(name, sizeof(name), "universityx-2024-07-07/m%d.sql.gpg", i);
                snprintf(path, sizeof(path), "universityx/database/2024-07-07/m%d.sql", i);
                a = history_entry(&czard, "member", NULL);
                a.member = name;
                a.path = path;
                a.sha256 = sha256;
                a.size = 10;
                say(&p, a);
        }
        a = history_entry(&czard, "published", &o);
        a.path = "universityx/database/2024-07-07";
        a.size = 30;
        say(&p, a);
        assert_int_equal(audit_sync(p.a, &e), 0);
        /* here the crash came */
        for (int again = 0; again < 2; again++) {
                int n = 0;
                assert_int_equal(history_open(p.f->l, p.a, p.fd, 255, &e), 0);
                assert_int_equal(ledger_get(p.f->l, o.id, &now, &e), 0);
                assert_int_equal(now.state, OBJECT_PUBLISHED);
                assert_string_equal(now.path, "universityx/database/2024-07-07");
                assert_string_equal(now.staged_etag, "\"1\"");
                assert_int_equal(ledger_members(p.f->l, o.id, count_member, &n, &e), 0);
                assert_int_equal(n, 3);
        }
        struct audit_tail tail, known;
        audit_tail(p.a, &tail);
        assert_int_equal(ledger_audit_tail(p.f->l, &known, &e), 0);
        assert_int_equal(known.seq, tail.seq);
        assert_string_equal(known.head, tail.head);
        close_place(&p);
}

static void a_cut_record_says_so_from_then_on(void **state)
{
        struct place p;
        struct error e = {};
        uint64_t lines;
        open_place(&p, *state);
        say(&p, history_entry(&czard, "start", NULL));
        say(&p, history_entry(&czard, "stop", NULL));
        assert_int_equal(history_sync(p.f->l, p.a, &e), 0);
        struct audit_tail known;
        audit_tail(p.a, &known);
        p.a = audit_free(p.a);
        _cleanup_free_ char *file = path_in(p.f, "audit.jsonl");
        assert_int_equal(truncate(file, 100), 0);
        assert_int_equal(audit_open(p.fd, &p.a, NULL), 0);
        assert_int_equal(history_open(p.f->l, p.a, p.fd, 255, &e), 1);
        assert_non_null(strstr(e.text, "cut off"));
        assert_non_null(strstr(e.text, known.head));
        /* it is said once; the record keeps it */
        assert_int_equal(history_open(p.f->l, p.a, p.fd, 255, &e), 0);
        assert_int_equal(ledger_audit_tail(p.f->l, &known, &e), 0);
        assert_int_equal(audit_verify(p.fd, NULL, &known, &lines, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "cut off"));
        close_place(&p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_ledger_catches_up, setup, teardown),
                cmocka_unit_test_setup_teardown(a_cut_record_says_so_from_then_on, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
