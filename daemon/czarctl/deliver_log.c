/* SPDX-License-Identifier: Apache-2.0 */
/* deliver log: the record of disclosures: who got what, when, why and until when. What a message was made of
 * stands in lines of its own before it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "audit.h"
#include "deliver_facts.h"
#include "limits.h"
#include "name.h"
#include "package.h"
#include "record_rows.h"
#include "str.h"

static const char *const fields[] = {"time", "seq", "event", "delivery", "recipients", "purpose", "until",
        "course", "tables", "path", "size", "sha256", "reason", "uid"};

#define TABLES_SIZE 4096

/* Of which tables a message was made. */
struct made {
        char *path; /* "DELIVERY PATH" */
        struct strv tables;
};

struct deliver_log {
        const char *name; /* NULL: all */
        struct record_rows *record;
        void *made;      /* struct made by their paths, the newest of each: a tree of name.h */
        struct made *at; /* the one whose inputs come */
};

static void made_done(void *p)
{
        strv_done(&((struct made *)p)->tables);
}

/* "DELIVERY PATH" */
static char *key_of(const struct deliver_log *l)
{
        return str_printf("%s %s", record_text(l->record, "delivery"), record_text(l->record, "path"));
}

static int begin_made(struct deliver_log *l)
{
        _cleanup_free_ char *key = key_of(l);
        l->at = key ? named_need(&l->made, key, sizeof(*l->at)) : NULL;
        if (!l->at)
                return -ENOMEM;
        strv_done(&l->at->tables);
        return 0;
}

/* Events, or a member of a snapshot. */
static int add_input(struct deliver_log *l)
{
        static const char events[] = "events";
        const char *path = record_text(l->record, "path"), *rest = path;
        struct package_member m = {};
        for (int i = 0; i < 3 && rest; i++)
                rest = strchr(rest, '/') ? strchr(rest, '/') + 1 : NULL;
        _cleanup_free_ char *name = rest ? str_printf("t/%s.gpg", rest) : NULL;
        bool is_event = strstr(path, "/events-by-course/");
        if (!is_event && name)
                (void)package_parse_member("t", name, LIMIT_MEMBER_NAME, &m, NULL);
        const char *table = is_event ? events : m.table;
        return l->at && *table && !strv_has(&l->at->tables, table) ? strv_add(&l->at->tables, table) : 0;
}

static void set_tables(struct deliver_log *l, char text[TABLES_SIZE])
{
        _cleanup_free_ char *key = key_of(l);
        struct made *m = key ? named_find(&l->made, key) : NULL;
        size_t n = 0;
        text[0] = 0;
        if (!m)
                return;
        strv_unique(&m->tables);
        for (size_t i = 0; i < m->tables.n && n < TABLES_SIZE; i++)
                n += (size_t)snprintf(text + n, TABLES_SIZE - n, "%s%s", i ? " " : "", m->tables.v[i]);
        record_rows_set(l->record, "tables", text);
}

/* What is about to be handed out, and each of its inputs, is in the record too (czarctl --json). */
static int show_disclosure(const char *line, size_t len, uint64_t number, void *arg)
{
        struct deliver_log *l = arg;
        struct record_rows *r = l->record;
        char tables[TABLES_SIZE];
        (void)number;
        record_rows_read(r, line, len);
        if (l->name && !streq(record_text(r, "delivery"), l->name))
                return 0;
        const char *event = record_text(r, "event"), *reason = record_text(r, "reason");
        if (r->rows.c->json)
                rows_add_line(&r->rows, line, len);
        else if (streq(event, "delivering"))
                return begin_made(l);
        else if (streq(event, "input"))
                return add_input(l);
        else if (!streq(event, "outbox")) {
                set_tables(l, tables);
                record_rows_add(r, "", *reason ? reason : record_text(r, "purpose"));
        }
        return 0;
}

/* The record has deliveries, too, that have no section any more. A status. */
static int check_name(const struct ctl *c, int state, const char *name)
{
        _cleanup_(strv_done) struct strv names = {};
        struct error e = {};
        if (!name || config_find_delivery(c->config, name))
                return 0;
        int r = state >= 0 ? records_names(state, &names, &e) : 0;
        if (r == 0 && !strv_has(&names, name))
                return deliver_unknown(c, name);
        return r < 0 ? ctl_fail(c, &e) : 0;
}

int deliver_log(struct ctl *c, const char *name)
{
        struct deliver_log l = {.name = name};
        struct error e = {};
        struct stat st;
        _cleanup_close_ int state = deliver_state(c, &e);
        if (state < 0 && state != -ENOENT)
                return ctl_fail(c, &e);
        int status = check_name(c, state, name);
        if (status == 0)
                status = record_rows_open(c, fields, ELEMENTSOF(fields),
                        "time|event|delivery|path|until|why=PURPOSE OR REASON", &l.record);
        if (status)
                return status;
        int r = 0;
        if (state >= 0 && fstatat(state, "audit.jsonl", &st, 0) == 0)
                r = audit_each(state, show_disclosure, &l, &e);
        named_free(&l.made, made_done);
        return record_rows_finish(l.record, "Nothing was handed out yet.", r, &e);
}
