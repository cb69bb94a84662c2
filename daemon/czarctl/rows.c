/* SPDX-License-Identifier: Apache-2.0 */
/* Tables are kept until printed, because widths come from all rows. A character is one column wide: names are
 * ASCII nearly always, and a table is not a place to be exact about the rest. */
#include "rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "audit.h"
#include "macro.h"
#include "name.h"
#include "str.h"
#include "timespan.h"

/* --- colours --- */

static bool is_terminal(void)
{
        static int known = -1;
        const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
        if (known < 0)
                known = isatty(STDOUT_FILENO) && term && !streq(term, "dumb") && str_empty(no);
        return known;
}

static const char *colour_on(enum colour c)
{
        static const char *const codes[] = {[PLAIN] = "",
                [GREEN] = "\033[32m",
                [YELLOW] = "\033[33m",
                [RED] = "\033[31m",
                [BOLD] = "\033[1m",
                [DIM] = "\033[2m"};
        return is_terminal() ? codes[c] : "";
}

static const char *colour_off(enum colour c)
{
        return is_terminal() && c != PLAIN ? "\033[0m" : "";
}

void shown_colour(enum colour c, const char *text)
{
        fputs(colour_on(c), stdout);
        shown_print(stdout, "%s", text);
        fputs(colour_off(c), stdout);
}

/* --- a table, and CSV --- */

#define COLUMNS_MOST 12
#define GAP 2
#define NARROWEST 12 /* a column is not cut below this */

struct cell {
        char *text;
        enum colour colour;
};

struct table {
        char *names; /* storage of heads */
        const char *heads[COLUMNS_MOST];
        bool right[COLUMNS_MOST];
        size_t n;
        struct cell *cells;
        size_t n_cells;
};

/* Names separated by '|', each with '>' in front when its column is aligned to the right. */
static struct table *table_new(const char *columns)
{
        struct table *t = calloc(1, sizeof(*t));
        char *names = strdup(columns);
        if (!t || !names)
                abort();
        t->names = names;
        for (char *rest = names, *name; t->n < COLUMNS_MOST && (name = strsep(&rest, "|"));) {
                t->right[t->n] = *name == '>';
                t->heads[t->n] = name + t->right[t->n];
                t->n++;
        }
        return t;
}

/* What a terminal would obey, or what would turn the rest of the line round, becomes \xNN. Takes s. */
static char *shown(char *s)
{
        struct strbuf b = {};
        strbuf_add(&b, "");
        name_add_shown(&b, s);
        if (b.err < 0)
                abort();
        free(s);
        return b.s;
}

/* The next cell, row by row. What a terminal would obey becomes \xNN. */
static void _printf_(3, 4) table_cell(struct table *t, enum colour c, const char *format, ...)
{
        if (ARRAY_ROOM(t->cells, t->n_cells) < 0)
                abort();
        struct cell *cell = &t->cells[t->n_cells++];
        va_list ap;
        va_start(ap, format);
        if (vasprintf(&cell->text, format, ap) < 0)
                abort();
        va_end(ap);
        cell->colour = c;
        cell->text = shown(cell->text);
}

static size_t width_of(const char *s)
{
        size_t n = 0;
        for (; *s; s++)
                n += ((unsigned char)*s & 0xc0) != 0x80;
        return n;
}

static void find_widths(const struct table *t, size_t *width)
{
        for (size_t i = 0; i < t->n; i++)
                width[i] = width_of(t->heads[i]);
        for (size_t i = 0; i < t->n_cells; i++)
                width[i % t->n] = MAX(width[i % t->n], width_of(t->cells[i].text));
        struct winsize ws;
        if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col < 40)
                return;
        for (;;) {
                size_t sum = GAP * (t->n - 1), widest = 0;
                for (size_t i = 0; i < t->n; i++) {
                        sum += width[i];
                        if (width[i] > width[widest])
                                widest = i;
                }
                if (sum <= ws.ws_col || width[widest] <= NARROWEST)
                        return;
                width[widest] -= MIN(sum - ws.ws_col, width[widest] - NARROWEST);
        }
}

/* The text in exactly width columns, cut with an ellipsis when it is longer. */
static void print_cell(const char *text, enum colour c, size_t width, bool right, bool last)
{
        size_t n = width_of(text), pad = n < width ? width - n : 0;
        fputs(colour_on(c), stdout);
        if (right)
                printf("%*s", (int)pad, "");
        if (n <= width) {
                fputs(text, stdout);
        } else {
                size_t left = width - 1;
                for (const char *p = text; left > 0 || ((unsigned char)*p & 0xc0) == 0x80; p++) {
                        if (((unsigned char)*p & 0xc0) != 0x80 && left-- == 0)
                                break;
                        putchar(*p);
                }
                fputs("…", stdout);
        }
        fputs(colour_off(c), stdout);
        if (!right && !last)
                printf("%*s", (int)pad, "");
        if (!last)
                printf("%*s", GAP, "");
}

static struct table *table_free(struct table *t)
{
        if (!t)
                return NULL;
        for (size_t i = 0; i < t->n_cells; i++)
                free(t->cells[i].text);
        free(t->cells);
        free(t->names);
        free(t);
        return NULL;
}

/* Prints it; on a terminal the widest texts are cut to its width. Without rows it prints nothing, not even
 * the heads: false. Frees it. */
static bool table_print(struct table *t)
{
        size_t width[COLUMNS_MOST] = {};
        bool any = t->n_cells > 0;
        find_widths(t, width);
        for (size_t i = 0; any && i < t->n; i++)
                print_cell(t->heads[i], BOLD, width[i], t->right[i], i + 1 == t->n);
        if (any)
                putchar('\n');
        for (size_t i = 0; i < t->n_cells; i++) {
                size_t column = i % t->n;
                bool end = column + 1 == t->n, last = end;
                for (size_t k = i + 1; !last && k < i + t->n - column && k < t->n_cells; k++)
                        if (*t->cells[k].text)
                                break;
                        else
                                last = k + 1 == i + t->n - column;
                if (*t->cells[i].text || !last)
                        print_cell(
                                t->cells[i].text, t->cells[i].colour, width[column], t->right[column], last);
                if (end)
                        putchar('\n');
        }
        table_free(t);
        return any;
}

/* RFC 4180. A spreadsheet must not take a value for a formula, nor a terminal for a command.
 * last: it ends the line. */
static void csv_cell(const char *s, bool last)
{
        _cleanup_strbuf_ struct strbuf b = {};
        char first = s[strspn(s, " ")];
        if (first && strchr("=+-@\t\r", first))
                strbuf_add(&b, "'");
        name_add_shown(&b, s);
        bool quoted = b.s && strpbrk(b.s, ",\"'") != NULL;
        if (quoted)
                putchar('"');
        for (const char *p = b.s; p && *p; p++) {
                if (*p == '"')
                        putchar('"');
                putchar(*p);
        }
        if (quoted)
                putchar('"');
        fputs(last ? "\r\n" : ",", stdout);
}

/* --- fields, and rows of them --- */

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
        case FIELD_COUNT:
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

int answer_fields(const struct ctl_field *f)
{
        _cleanup_json_ struct json j = {};
        answer_open(&j);
        json_fields(&j, f);
        return answer_print(&j);
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
        case FIELD_COUNT:
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
        if (list)
                json_open(&r->json, list, '[');
}

/* CSV instead, with these columns; there each field is its text. */
static void open_csv(struct rows *r, struct ctl *c, const char *const *names, size_t n)
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
        int status = result < 0 ? ctl_fail(e) : r->c->json ? answer_print(&r->json) : 0;
        rows_drop(r);
        return status;
}

/* --- lines of a record --- */

int record_rows_open(
        struct ctl *c, const char *const *names, size_t n, const char *columns, struct record_rows **ret)
{
        bool csv = ctl_flag(c, "csv");
        if (csv && c->json)
                return ctl_usage(c, "--csv and --json do not go together");
        struct record_rows *r = calloc(1, sizeof(*r));
        if (!r)
                return ctl_fail_text("out of memory");
        r->n = MIN(n, (size_t)RECORD_FIELDS);
        for (size_t i = 0; i < r->n; i++)
                r->fields[i].name = names[i];
        if (csv)
                open_csv(&r->rows, c, names, r->n);
        else
                rows_open(&r->rows, c, "entries", columns);
        *ret = r;
        return 0;
}

void record_rows_read(struct record_rows *r, const char *line, size_t len)
{
        for (size_t i = 0; i < r->n; i++) {
                if (audit_field(line, len, r->fields[i].name, r->values[i], RECORD_FIELD_SIZE) < 0)
                        r->values[i][0] = 0;
                r->fields[i].text = r->values[i];
        }
}

const char *record_text(const struct record_rows *r, const char *name)
{
        const struct ctl_field *f = r->fields;
        while (!streq(f->name, name))
                f++;
        return f->text;
}

void record_rows_set(struct record_rows *r, const char *name, const char *text)
{
        for (size_t i = 0; i < r->n; i++)
                if (streq(r->fields[i].name, name))
                        r->fields[i].text = text;
}

void record_rows_add(struct record_rows *r, const char *what, const char *why)
{
        struct ctl_field *time = &r->fields[0];
        time->kind = FIELD_TIME;
        time->colour = DIM;
        time->number = 0;
        (void)time_parse_rfc3339(time->text, &time->number);
        r->fields[r->n] = (struct ctl_field)F_CELL("what", what);
        r->fields[r->n + 1] = (struct ctl_field)F_CELL("why", why);
        rows_add(&r->rows, r->fields);
}

int record_rows_finish(struct record_rows *r, const char *none, int result, const struct error *e)
{
        rows_end(&r->rows, result < 0 ? NULL : none);
        int status = rows_finish(&r->rows, result, e);
        free(r);
        return status;
}

/* --- progress --- */

#define SHOW_AFTER_USEC (2 * USEC_PER_SEC)
#define RENEW_TERMINAL_USEC (USEC_PER_SEC / 4)
#define RENEW_FILE_USEC (10 * USEC_PER_SEC)

static void show_progress(struct progress_line *p, uint64_t now)
{
        char done[BYTES_SIZE], total[BYTES_SIZE], rate[BYTES_SIZE], left[64] = "";
        double seconds = (double)(now - p->began_usec) / USEC_PER_SEC;
        uint64_t a_second = seconds > 0 ? (uint64_t)((double)(p->done - p->began_at) / seconds) : 0;
        if (p->bytes) {
                size_format(p->done, done, sizeof(done));
                size_format(p->total, total, sizeof(total));
                size_format(a_second, rate, sizeof(rate));
        } else {
                snprintf(done, sizeof(done), "%llu", (unsigned long long)p->done);
                snprintf(total, sizeof(total), "%llu", (unsigned long long)p->total);
                snprintf(rate, sizeof(rate), "%llu", (unsigned long long)a_second);
        }
        if (p->total > p->done && a_second > 0)
                timespan_format(
                        (p->total - p->done) / a_second * USEC_PER_SEC + USEC_PER_SEC, left, sizeof(left));
        bool terminal = isatty(STDERR_FILENO);
        fprintf(stderr, "%s%s: %s%s%s, %s/s%s%s%s", terminal ? "\r\033[K" : "", p->what, done,
                p->total ? " of " : "", p->total ? total : "", rate, *left ? ", " : "", left,
                *left ? " left" : "");
        fputs(terminal ? "" : "\n", stderr);
        p->shown = true;
        p->shown_usec = now;
}

void progress_to(struct progress_line *p, uint64_t done)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        p->done = done;
        if (p->began_usec == 0 || done < p->began_at) {
                p->began_usec = now;
                p->began_at = done;
        }
        uint64_t renew = isatty(STDERR_FILENO) ? RENEW_TERMINAL_USEC : RENEW_FILE_USEC;
        if (p->quiet || now < p->began_usec + SHOW_AFTER_USEC || (p->shown && now < p->shown_usec + renew))
                return;
        show_progress(p, now);
}

void progress_end(struct progress_line *p)
{
        if (p->shown && isatty(STDERR_FILENO))
                fputs("\r\033[K", stderr);
        p->shown = false;
}
