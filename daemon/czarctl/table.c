/* SPDX-License-Identifier: Apache-2.0 */
/* Tables are kept until printed, because widths come from all rows. A character is one column wide: names are
 * ASCII nearly always, and a table is not a place to be exact about the rest. */
#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "macro.h"
#include "name.h"
#include "str.h"
#include "timespan.h"

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

static bool is_terminal(void)
{
        static int known = -1;
        const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
        if (known < 0)
                known = isatty(STDOUT_FILENO) && term && !streq(term, "dumb") && str_empty(no);
        return known;
}

const char *colour_on(enum colour c)
{
        static const char *const codes[] = {[PLAIN] = "",
                [GREEN] = "\033[32m",
                [YELLOW] = "\033[33m",
                [RED] = "\033[31m",
                [BOLD] = "\033[1m",
                [DIM] = "\033[2m"};
        return is_terminal() ? codes[c] : "";
}

const char *colour_off(enum colour c)
{
        return is_terminal() && c != PLAIN ? "\033[0m" : "";
}

void shown_colour(enum colour c, const char *text)
{
        fputs(colour_on(c), stdout);
        fputs(text, stdout);
        fputs(colour_off(c), stdout);
}

struct table *table_new(const char *columns)
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

void table_cell(struct table *t, enum colour c, const char *format, ...)
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

struct table *table_free(struct table *t)
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

bool table_print(struct table *t)
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

/* --- times and sizes --- */

const char *local_time(int64_t sec, char ret[WHEN_SIZE])
{
        time_t when = (time_t)sec;
        struct tm tm;
        char zone[8] = "", text[32] = "";
        if (sec == 0 || !localtime_r(&when, &tm)) {
                strcpy(ret, "-");
                return ret;
        }
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
        strftime(zone, sizeof(zone), "%z", &tm);
        snprintf(ret, 40, "%s %.3s:%.2s", text, zone, zone + 3);
        return ret;
}

const char *ago(int64_t sec, char ret[WHEN_SIZE])
{
        int64_t d = (int64_t)time(NULL) - sec, n = d < 0 ? -d : d;
        const char *unit = n < 120 ? "s" : n < 7200 ? "min" : n < 172800 ? "h" : "d";
        int64_t v = n < 120 ? n : n < 7200 ? n / 60 : n < 172800 ? n / 3600 : n / 86400;
        if (sec == 0)
                strcpy(ret, "never");
        else
                snprintf(ret, 40, "%s%lld %s%s", d < 0 ? "in " : "", (long long)v, unit, d < 0 ? "" : " ago");
        return ret;
}

const char *bytes_text(int64_t bytes, char ret[BYTES_SIZE])
{
        if (bytes < 0)
                strcpy(ret, "-");
        else
                size_format((uint64_t)bytes, ret, 32);
        return ret;
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

/* --- CSV --- */

/* RFC 4180. A spreadsheet must not take a value for a formula, nor a terminal for a command. */
void csv_cell(const char *s, bool last)
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
