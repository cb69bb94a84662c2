/* SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"

static void json_field(struct json *j, const struct ctl_field *f)
{
        switch (f->kind) {
        case FIELD_TEXT:
                json_str(j, f->name, f->text);
                break;
        case FIELD_NAME:
                json_str(j, f->name, str_empty(f->text) ? NULL : f->text);
                break;
        case FIELD_BYTES:
                if (f->number < 0)
                        json_null(j, f->name);
                else
                        json_i64(j, f->name, f->number);
                break;
        case FIELD_NUMBER:
                json_i64(j, f->name, f->number);
                break;
        case FIELD_TIME:
        case FIELD_DAY:
                json_time_or_null(j, f->name, f->number);
                break;
        case FIELD_BOOL:
                json_bool(j, f->name, f->number);
                break;
        case FIELD_CELL:
                break;
        }
}

void json_fields(struct json *j, const struct ctl_field *f)
{
        for (; f->name; f++)
                json_field(j, f);
}

void json_object(struct json *j, const char *name, const struct ctl_field *f)
{
        json_open(j, name, '{');
        json_fields(j, f);
        json_close(j, '}');
}

void json_strings(struct json *j, const char *name, const struct strv *v)
{
        json_open(j, name, '[');
        for (size_t i = 0; i < v->n; i++)
                json_str(j, NULL, v->v[i]);
        json_close(j, ']');
}

/* last: of its row, where nothing is better than "-" */
static void field_cell(struct table *t, const struct ctl_field *f, bool last)
{
        char text[WHEN_SIZE];
        switch (f->kind) {
        case FIELD_TEXT:
        case FIELD_CELL:
                table_cell(t, f->colour, "%s", f->text ? f->text : "");
                break;
        case FIELD_NAME:
                table_cell(t, f->colour, "%s", !str_empty(f->text) ? f->text : last ? "" : "-");
                break;
        case FIELD_BYTES:
                table_cell(t, f->colour, "%s", bytes_text(f->number, text));
                break;
        case FIELD_NUMBER:
                table_cell(t, f->colour, "%lld", (long long)f->number);
                break;
        case FIELD_TIME:
                table_cell(t, f->colour, "%s", local_time(f->number, text));
                break;
        case FIELD_DAY:
                table_cell(t, f->colour, "%.10s", f->number ? local_time(f->number, text) : "never");
                break;
        case FIELD_BOOL:
                table_cell(t, f->colour, "%s", f->number ? "yes" : "no");
                break;
        }
}

static void row_cells(const struct rows *r, const struct ctl_field *f)
{
        for (size_t i = 0; i < r->n_columns; i++) {
                const struct ctl_field *of = f;
                while (of->name && !streq(of->name, r->columns[i]))
                        of++;
                if (r->csv)
                        csv_cell(of->text ? of->text : "", i + 1 == r->n_columns);
                else
                        field_cell(r->table, of, i + 1 == r->n_columns);
        }
}

/* Splits r->spec. Returns the heads as table_new() has them. */
static void split_columns(struct rows *r, struct strbuf *heads)
{
        for (char *rest = r->spec, *name;
                r->n_columns < ELEMENTSOF(r->columns) && (name = strsep(&rest, "|"));) {
                strbuf_printf(heads, "%s%s", r->n_columns ? "|" : "", *name == '>' ? ">" : "");
                name += *name == '>';
                r->columns[r->n_columns++] = name;
                char *head = strchr(name, '=');
                if (head)
                        *head++ = 0;
                for (const char *p = head ? head : name; *p; p++)
                        strbuf_printf(heads, "%c", !head && *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
        }
}

void rows_open(struct rows *r, struct ctl *c, const char *list, const char *columns)
{
        _cleanup_strbuf_ struct strbuf heads = {};
        *r = (struct rows){.c = c, .spec = strdup(columns)};
        if (r->spec)
                split_columns(r, &heads);
        if (!r->spec || heads.err)
                abort();
        if (!c->json) {
                r->table = table_new(heads.s);
                return;
        }
        answer_open(&r->json);
        json_open(&r->json, list, '[');
}

void rows_open_csv(struct rows *r, struct ctl *c, const char *const *names, size_t n)
{
        *r = (struct rows){.c = c, .csv = true};
        for (; r->n_columns < n; r->n_columns++) {
                r->columns[r->n_columns] = names[r->n_columns];
                csv_cell(names[r->n_columns], r->n_columns + 1 == n);
        }
}

void rows_add_line(struct rows *r, const char *line, size_t len)
{
        r->n++;
        strbuf_add(&r->json.out, r->json.comma ? ",\n" : "\n");
        json_add_shown(&r->json.out, line, len);
        r->json.comma = true;
}

void rows_begin_item(struct rows *r, const struct ctl_field *f)
{
        r->n++;
        if (!r->c->json) {
                row_cells(r, f);
                return;
        }
        json_open(&r->json, NULL, '{');
        json_fields(&r->json, f);
}

void rows_end_item(struct rows *r)
{
        if (r->c->json)
                json_close(&r->json, '}');
}

void rows_add(struct rows *r, const struct ctl_field *f)
{
        rows_begin_item(r, f);
        rows_end_item(r);
}

void rows_end(struct rows *r, const char *none)
{
        if (r->c->json)
                json_close(&r->json, ']');
        else if (!r->csv && !table_print(r->table) && none)
                shown_print(stdout, "%s\n", none);
        r->table = NULL;
}

void rows_drop(struct rows *r)
{
        table_free(r->table);
        json_done(&r->json);
        free(r->spec);
}

int rows_finish(struct rows *r, int result, const struct error *e)
{
        int status = result < 0 ? ctl_fail(r->c, e) : r->c->json ? answer_print(&r->json) : 0;
        rows_drop(r);
        return status;
}
