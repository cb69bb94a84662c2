/* SPDX-License-Identifier: Apache-2.0 */
/* status: one screen. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "rows.h"
#include "runs.h"
#include "status_read.h"
#include "timespan.h"

static void print_key(const struct facts *f)
{
        char when[WHEN_SIZE];
        for (size_t i = 0; i < f->n_keys; i++) {
                const struct fact_key *k = &f->keys[i];
                size_t n = strlen(k->fingerprint);
                shown_print(
                        stdout, "key          %s  %s", k->fingerprint + (n > 16 ? n - 16 : 0), k->user_id);
                if (k->expires)
                        shown_print(stdout, "  expires %s", ago(k->expires, when));
                putchar('\n');
        }
        if (*f->credentials || f->credentials_since)
                shown_print(stdout, "credentials  %s%sfrom %s\n", f->credentials, *f->credentials ? ", " : "",
                        ago(f->credentials_since, when));
}

static void print_head(const struct status_facts *s)
{
        const struct facts *f = &s->facts;
        char when[WHEN_SIZE], size[BYTES_SIZE];
        bool well = s->n_problems == 0;
        fputs(colour_on(well ? GREEN : RED), stdout);
        if (well)
                fputs("All is well.", stdout);
        else
                shown_print(stdout, "%zu %s to look at, see below.", s->n_problems,
                        s->n_problems == 1 ? "thing" : "things");
        fputs(colour_off(well ? GREEN : RED), stdout);
        fputs("\n\nczard        ", stdout);
        if (f->daemon > 0)
                shown_print(stdout, "running (PID %ld)", (long)f->daemon);
        else
                shown_colour(YELLOW, "not running");
        if (f->live)
                shown_print(stdout, ", %llu of %llu due objects under way, %s to fetch",
                        (unsigned long long)f->running, (unsigned long long)f->due,
                        bytes_text((int64_t)f->due_bytes, size));
        if (f->live && f->running > 0 && f->rate > 0) {
                shown_print(stdout, ", %s/s", bytes_text((int64_t)f->rate, size));
                shown_print(stdout, ", %s left",
                        timespan_format((f->due_bytes / f->rate + 1) * USEC_PER_SEC, when, sizeof(when)));
        }
        shown_print(stdout, "\npoll         last complete %s", ago(f->last_poll, when));
        if (f->next_poll)
                shown_print(stdout, ", next %s", ago(f->next_poll, when));
        putchar('\n');
        print_key(f);
}

static void print_bad(struct table *t, uint64_t objects, uint64_t members)
{
        if (members > 0)
                table_cell(t, RED, "%llu, %llu member%s", (unsigned long long)objects,
                        (unsigned long long)members, members == 1 ? "" : "s");
        else
                table_cell(t, objects ? RED : PLAIN, "%llu", (unsigned long long)objects);
}

static void print_table(const struct status_facts *s)
{
        char when[WHEN_SIZE], size[BYTES_SIZE];
        struct table *t = table_new(
                "ORG|CATEGORY|SITE|NEWEST|STAGED AT|>STAGED|>DUE|>TO FETCH|>RETRY|>REJECTED|>MISSING");
        for (size_t i = 0; i < s->n_lines; i++) {
                const struct status_line *l = &s->lines[i];
                uint64_t due = status_line_due(l), bytes = status_line_due_bytes(l);
                table_cell(t, PLAIN, "%s", l->org);
                table_cell(t, PLAIN, "%s", category_name(l->category));
                table_cell(t, PLAIN, "%s", *l->site ? l->site : "-");
                table_cell(t, PLAIN, "%s", *l->date ? l->date : "-");
                table_cell(t, DIM, "%s", local_time(l->staged_at, when));
                table_cell(t, PLAIN, "%llu", (unsigned long long)l->n[OBJECT_PUBLISHED]);
                table_cell(t, PLAIN, "%llu", (unsigned long long)due);
                table_cell(t, PLAIN, "%s", due ? bytes_text((int64_t)bytes, size) : "-");
                static const enum object_state bad[] = {OBJECT_RETRY, OBJECT_REJECTED, OBJECT_MISSING};
                for (size_t k = 0; k < ELEMENTSOF(bad); k++)
                        print_bad(t, l->n[bad[k]], bad[k] == OBJECT_REJECTED ? l->members_rejected : 0);
        }
        putchar('\n');
        if (!table_print(t))
                puts("Nothing is known yet: no poll found any object.");
}

static void print_problems(const struct status_facts *s)
{
        if (s->n_problems == 0)
                return;
        putchar('\n');
        shown_colour(BOLD, "To look at:");
        putchar('\n');
        for (size_t i = 0; i < s->n_problems; i++) {
                fputs("  ", stdout);
                shown_colour(RED, "*");
                shown_print(stdout, " %s\n", s->problems[i].text);
                if (*s->problems[i].fix)
                        shown_print(stdout, "    -> %s\n", s->problems[i].fix);
        }
}

static void json_packages(struct json *j, const struct status_facts *s)
{
        json_open(j, "packages", '[');
        for (size_t i = 0; i < s->n_lines; i++) {
                const struct status_line *l = &s->lines[i];
                json_open(j, NULL, '{');
                json_fields(j, FIELDS(F_TEXT("org", l->org), F_TEXT("category", category_name(l->category)),
                                       F_NAME("site", l->site), F_NAME("newest_staged", l->date),
                                       F_NAME("newest_known", l->newest), F_NAME("path", l->path),
                                       F_TIME("staged_at", l->staged_at),
                                       F_NUMBER("due_bytes", status_line_due_bytes(l)),
                                       F_NUMBER("plain_bytes", l->plain),
                                       F_NUMBER("members_rejected", l->members_rejected)));
                json_open(j, "objects", '{');
                for (enum object_state st = 0; st < OBJECT_STATE_MAX; st++)
                        json_u64(j, object_state_name(st), l->n[st]);
                json_close(j, '}');
                json_close(j, '}');
        }
        json_close(j, ']');
}

static void json_daemon(struct json *j, const struct facts *f)
{
        json_open(j, "daemon", '{');
        json_bool(j, "running", f->daemon > 0);
        if (f->daemon > 0)
                json_i64(j, "pid", f->daemon);
        else
                json_null(j, "pid");
        json_fields(j, FIELDS(F_NAME("paused", *f->paused ? f->paused : f->pauses)));
        if (f->live)
                json_fields(
                        j, FIELDS(F_NUMBER("under_way", f->running), F_NUMBER("due", f->due),
                                   F_NUMBER("due_bytes", f->due_bytes), F_NUMBER("bytes_a_second", f->rate)));
        json_close(j, '}');
}

static int print_json(const struct status_facts *s)
{
        _cleanup_json_ struct json j = {};
        const struct facts *f = &s->facts;
        answer_open(&j);
        json_bool(&j, "ok", s->n_problems == 0);
        json_daemon(&j, f);
        json_packages(&j, s);
        json_open(&j, "problems", '[');
        for (size_t i = 0; i < s->n_problems; i++) {
                const struct status_problem *p = &s->problems[i];
                json_object(&j, NULL,
                        FIELDS(F_TEXT("what", p->what), F_NUMBER("count", p->n), F_TEXT("text", p->text),
                                F_NAME("fix", p->fix)));
        }
        json_close(&j, ']');
        json_open(&j, "key", '[');
        for (size_t i = 0; i < f->n_keys; i++) {
                const struct fact_key *k = &f->keys[i];
                json_object(&j, NULL,
                        FIELDS(F_TEXT("fingerprint", k->fingerprint), F_TEXT("user_id", k->user_id),
                                F_TIME("created", k->created), F_TIME("expires", k->expires)));
        }
        json_close(&j, ']');
        json_object(&j, "credentials",
                FIELDS(F_NAME("source", f->credentials), F_TIME("since", f->credentials_since)));
        json_fields(&j, FIELDS(F_TIME("last_poll", f->last_poll), F_TIME("next_poll", f->next_poll)));
        return answer_print(&j);
}

int run_status(struct ctl *c)
{
        struct status_facts *s;
        int status = status_read(c, &s);
        if (!s)
                return status;
        if (c->json) {
                if (print_json(s))
                        status = CTL_CANNOT;
        } else {
                print_head(s);
                print_table(s);
                print_problems(s);
        }
        status_free(s);
        return status;
}
