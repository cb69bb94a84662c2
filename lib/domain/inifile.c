/* SPDX-License-Identifier: Apache-2.0 */
/* INI files through inih, one line at a time. inih splits sections, keys and values; what it would do wrong
 * in silence is kept from it by this reader, which owns the lines: it counts them (inih's handler gets no
 * line number), cuts comments (inih leaves them in continuation lines and takes "= ;x" apart from "=;x"),
 * joins indented lines, reports empty sections, and feeds long values in pieces (inih cuts lines at 200 bytes
 * and takes the rest for another key). Names longer than inih keeps are errors, never cut. Goes on in
 * config.c. */
#include "inifile.h"

#include <errno.h>
#include <ini.h>

#include "limits.h"
#include "name.h"
#include "str.h"

#define NAME_MAX_BYTES                                                                                       \
        49                /* inih keeps that many of a section or key (MAX_SECTION, MAX_NAME: 50 with NUL)   \
                           */
#define PIECE_BYTES 100   /* of a value; key and piece together are shorter than INI_MAX_LINE */
#define BLANK_MASK '\x1f' /* stands for a blank inside inih, which strips blanks; no line can have it */
#define BOM "\xef\xbb\xbf"

struct reader {
        struct inifile *file;
        unsigned line;
        char section[NAME_MAX_BYTES + 1];
        char key[NAME_MAX_BYTES + 1]; /* "" where an indented line would go on with nothing */
        bool full;                    /* LIMIT_CONFIG_ITEMS */
        int err;
};

/* --- the list --- */

static void add_item(
        struct reader *r, enum inifile_kind kind, const char *section, const char *key, const char *value)
{
        struct inifile *f = r->file;
        if (r->err < 0 || r->full)
                return;
        if (f->n + 1 >= LIMIT_CONFIG_ITEMS) {
                r->full = true;
                kind = INIFILE_ERROR;
                value = "too many lines; expected at most 20000 in one file";
        }
        if (f->n == f->size) {
                size_t size = f->size ? f->size * 2 : 32;
                void *items = reallocarray(f->items, size, sizeof(*f->items));
                if (!items) {
                        r->err = -ENOMEM;
                        return;
                }
                f->items = items;
                f->size = size;
        }
        struct inifile_item *i = &f->items[f->n];
        *i = (struct inifile_item){
                .kind = kind,
                .line = r->line,
                .section = strdup(section),
                .key = strdup(key),
                .value = strdup(value),
        };
        f->n++; /* also when half of it is missing: inifile_done() frees it */
        if (!i->section || !i->key || !i->value)
                r->err = -ENOMEM;
}

static void add_error(struct reader *r, const char *what)
{
        add_item(r, INIFILE_ERROR, r->section, r->key, what);
}

void inifile_done(struct inifile *f)
{
        for (size_t i = 0; i < f->n; i++) {
                free(f->items[i].section);
                free(f->items[i].key);
                free(f->items[i].value);
        }
        free(f->items);
        *f = (struct inifile){};
}

/* --- inih --- */

/* What one call of inih is given (two short lines) and what it said. */
struct feed {
        char lines[2][NAME_MAX_BYTES + PIECE_BYTES + 8];
        size_t next;
        char section[NAME_MAX_BYTES + 1], key[NAME_MAX_BYTES + 1];
        char value[PIECE_BYTES + 1];
        unsigned pairs;
};

static char *feed_line(char *str, int num, void *stream)
{
        struct feed *f = stream;
        if (f->next >= ELEMENTSOF(f->lines) || num <= 0 || strlen(f->lines[f->next]) >= (size_t)num)
                return NULL;
        return strcpy(str, f->lines[f->next++]);
}

static int on_pair(void *user, const char *section, const char *key, const char *value)
{
        struct feed *f = user;
        f->pairs++;
        return name_fill(f->section, sizeof(f->section), "%s", section) &&
               name_fill(f->key, sizeof(f->key), "%s", key) &&
               name_fill(f->value, sizeof(f->value), "%s", value);
}

/* Both lines through inih. False when it did not take them for exactly one pair. */
static bool run_inih(struct feed *f)
{
        return ini_parse_stream(feed_line, f, on_pair, f) == 0 && f->pairs == 1;
}

/* Lets inih split "head" (a key and its separator) from the value, which goes through in pieces. */
static void read_value(struct reader *r, enum inifile_kind kind, const char *head, const char *value)
{
        _cleanup_strbuf_ struct strbuf all = {};
        size_t left = strlen(value);
        do {
                struct feed f = {};
                size_t n = MIN(left, PIECE_BYTES);
                if (!name_fill(f.lines[0], sizeof(f.lines[0]), "[%s]\n", r->section) ||
                        !name_fill(f.lines[1], sizeof(f.lines[1]), "%s%.*s\n", head, (int)n, value)) {
                        add_error(r, "cannot be read; expected key = value");
                        return;
                }
                for (char *p = f.lines[1] + strlen(head); *p; p++)
                        if (*p == ' ')
                                *p = BLANK_MASK;
                if (!run_inih(&f) || !streq(f.section, r->section)) {
                        add_error(r, "cannot be read; expected key = value");
                        return;
                }
                name_copy(r->key, sizeof(r->key), f.key, strlen(f.key));
                strbuf_add(&all, f.value);
                value += n;
                left -= n;
        } while (left > 0);
        for (char *p = all.s; p && *p; p++)
                if (*p == BLANK_MASK)
                        *p = ' ';
        if (all.err < 0)
                r->err = all.err;
        add_item(r, kind, r->section, r->key, all.s ? all.s : "");
}

/* --- lines --- */

static char *skip_blanks(char *s)
{
        return s + strspn(s, " ");
}

static void cut_blanks(char *s)
{
        size_t n = strlen(s);
        while (n > 0 && s[n - 1] == ' ')
                s[--n] = 0;
}

/* Cuts what begins with a semicolon after a blank. */
static void cut_comment(char *s)
{
        for (char *p = s; (p = strchr(p, ';')); p++)
                if (p > s && p[-1] == ' ') {
                        *p = 0;
                        break;
                }
        cut_blanks(s);
}

/* "[name]" */
static void read_section(struct reader *r, char *line)
{
        r->key[0] = 0;
        char *end = strchr(line, ']');
        if (!end || end[1] != 0) {
                /* Keys that follow must not go to the section before. */
                name_copy(r->section, sizeof(r->section), INIFILE_NO_SECTION, strlen(INIFILE_NO_SECTION));
                add_error(r, end ? "text after the section's ]; expected [section] alone on its line"
                                 : "a section without ]; expected [section]");
                return;
        }
        *end = 0;
        char *name = skip_blanks(line + 1);
        cut_blanks(name);
        struct feed f = {.lines[1] = "probe=\n"};
        if (*name == 0 || strlen(name) > NAME_MAX_BYTES ||
                !name_fill(f.lines[0], sizeof(f.lines[0]), "[%s]\n", name) || !run_inih(&f)) {
                name_copy(r->section, sizeof(r->section), INIFILE_NO_SECTION, strlen(INIFILE_NO_SECTION));
                add_error(r, "not the name of a section; expected 1 to 49 bytes");
                return;
        }
        name_copy(r->section, sizeof(r->section), f.section, strlen(f.section));
        add_item(r, INIFILE_SECTION, r->section, "", "");
}

/* What many take for syntax and is not: better said than taken for a part of the value. */
static const char *value_trap(const char *value)
{
        if (strstr(value, " #") || *value == '#')
                return "a # in the value; expected ; before a comment after a value";
        if (*value == '"' || *value == '\'')
                return "a quoted value; expected it without quotes, blanks are fine";
        return NULL;
}

static void read_pair(struct reader *r, char *line)
{
        r->key[0] = 0;
        size_t n = strcspn(line, "=");
        if (line[n] != '=' || n == 0) {
                add_error(r, "neither [section] nor key = value; expected one of them");
                return;
        }
        char *value = skip_blanks(line + n + 1);
        line[n] = 0;
        cut_blanks(line);
        if (strlen(line) > NAME_MAX_BYTES) {
                add_error(r, "a key of more than 49 bytes; expected key = value");
                return;
        }
        if (r->section[0] == 0) {
                add_error(r, "a key before the first [section]; expected a [section] line above");
                return;
        }
        /* inih would split at a colon as well */
        if (strpbrk(line, ": []\"'")) {
                add_error(r, "not a key before the =; expected key = value");
                return;
        }
        name_copy(r->key, sizeof(r->key), line, strlen(line));
        const char *trap = value_trap(value);
        if (trap) {
                add_error(r, trap);
                return;
        }
        char head[NAME_MAX_BYTES + 2];
        name_fill(head, sizeof(head), "%s=", line);
        read_value(r, INIFILE_PAIR, head, value);
}

/* An indented line. */
static void read_more(struct reader *r, char *line)
{
        if (r->key[0] == 0) {
                add_error(r, "an indented line, which goes on with the value above, but there is none; "
                             "expected it "
                             "without the blanks in front");
                return;
        }
        size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyz_");
        const char *trap = value_trap(line);
        if (*line == '[' || (n > 0 && line[n + strspn(line + n, " ")] == '='))
                trap = "an indented line goes on with the value above; expected sections and keys without "
                       "blanks "
                       "in front";
        if (trap) {
                add_error(r, trap);
                return;
        }
        char head[NAME_MAX_BYTES + 2];
        name_fill(head, sizeof(head), "%s=", r->key);
        read_value(r, INIFILE_MORE, head, line);
}

/* One line without its end, NUL-terminated, writable. */
static void read_line(struct reader *r, char *line, size_t len)
{
        if (memchr(line, 0, len)) {
                add_error(r, "a NUL byte; expected text");
                return;
        }
        for (char *p = line; *p; p++)
                if (*p == '\t')
                        *p = ' ';
        if (!name_is_printable(line) || strstr(line, BOM)) {
                add_error(r, "a control character or bytes that are not UTF-8; expected plain text");
                return;
        }
        char *start = skip_blanks(line);
        if (*start == 0 || *start == '#' || *start == ';')
                return;
        cut_comment(start);
        if (start > line)
                read_more(r, start);
        else if (*start == '[')
                read_section(r, start);
        else
                read_pair(r, start);
}

int inifile_read(const char *text, size_t len, struct inifile *ret)
{
        struct inifile file = {};
        struct reader r = {.file = &file};
        _cleanup_free_ char *line = malloc(LIMIT_CONFIG_LINE + 1);
        if (!line)
                return -ENOMEM;
        if (len >= strlen(BOM) && memcmp(text, BOM, strlen(BOM)) == 0) {
                text += strlen(BOM);
                len -= strlen(BOM);
        }
        while (len > 0 && r.err == 0 && !r.full) {
                const char *end = memchr(text, '\n', len);
                size_t n = end ? (size_t)(end - text) : len, next = end ? n + 1 : n;
                if (n > 0 && text[n - 1] == '\r')
                        n--;
                r.line++;
                if (n > LIMIT_CONFIG_LINE) {
                        add_error(&r,
                                "a line of more than 16384 bytes; expected lists to go on in indented lines");
                } else {
                        memcpy(line, text, n);
                        line[n] = 0;
                        read_line(&r, line, n);
                }
                text += next;
                len -= next;
        }
        if (r.err < 0) {
                inifile_done(&file);
                return r.err;
        }
        *ret = file;
        return 0;
}
