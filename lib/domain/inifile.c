/* SPDX-License-Identifier: Apache-2.0 */
/* INI files through inih, in one pass. inih splits sections, keys and values, takes comments off and goes on
 * with indented lines. Its reader, here, counts the lines (a handler of Debian's inih gets no numbers) and
 * keeps from it what it would misread in silence: a line that it would cut, an indented line without a value
 * above, a colon that it takes for =, text behind a section, which it never reports when it is empty. What it
 * refuses by itself shows as a line for which the handler was not called. Goes on in config_load.c. */
#include "inifile.h"

#include <errno.h>
#include <ini.h>

#include "limits.h"
#include "macro.h"
#include "name.h"
#include "str.h"

#define NAME_MAX_BYTES 49 /* inih keeps that many of a section or a key that goes on (50 with NUL) */
#define BOM "\xef\xbb\xbf"

struct reader {
        struct inifile *file;
        const char *text; /* what is left */
        size_t len;
        unsigned line;
        char section[NAME_MAX_BYTES + 1];
        bool indented;  /* the line goes on with the value above */
        bool goes_on;   /* there is a value above, a wrong one perhaps */
        bool unhandled; /* inih has a line with a key and has not called the handler */
        bool full;      /* LIMIT_CONFIG_ITEMS */
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
        if (ARRAY_ROOM(f->items, f->n) < 0) {
                r->err = -ENOMEM;
                return;
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

/* The fault of a line; nothing goes on with it. */
static void add_error(struct reader *r, const char *key, const char *what)
{
        add_item(r, INIFILE_ERROR, r->section, key, what);
        r->goes_on = false;
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

/* --- what inih makes of a line --- */

/* What many take for syntax and is not: better said than taken for a part of the value. */
static const char *value_trap(const char *value)
{
        if (strstr(value, " #") || *value == '#')
                return "a # in the value; expected ; before a comment after a value";
        if (*value == '"' || *value == '\'')
                return "a quoted value; expected it without quotes, blanks are fine";
        return NULL;
}

static const char *indented_trap(const char *value)
{
        size_t n = strspn(value, "abcdefghijklmnopqrstuvwxyz_");
        if (*value == '[' || (n > 0 && value[n + strspn(value + n, " ")] == '='))
                return "an indented line goes on with the value above; expected sections and keys without "
                       "blanks in front";
        return value_trap(value);
}

static const char *pair_trap(const char *section, const char *key, const char *value)
{
        if (*key == 0)
                return "neither [section] nor key = value; expected one of them";
        if (strlen(key) > NAME_MAX_BYTES)
                return "a key of more than 49 bytes; expected key = value";
        if (*section == 0)
                return "a key before the first [section]; expected a [section] line above";
        if (strpbrk(key, " []\"'"))
                return "not a key before the =; expected key = value";
        return value_trap(value);
}

static int on_pair(void *user, const char *section, const char *key, const char *value)
{
        struct reader *r = user;
        r->unhandled = false;
        const char *trap = r->indented ? indented_trap(value) : pair_trap(section, key, value);
        if (trap) {
                bool has_key = r->indented || trap == value_trap(value);
                add_error(r, has_key ? key : "", trap);
                r->goes_on = has_key; /* with what is wrong already */
                return 1;
        }
        add_item(r, r->indented ? INIFILE_MORE : INIFILE_PAIR, section, key, value);
        r->goes_on = true;
        return 1;
}

/* --- lines for inih --- */

/* inih leaves comments in lines that go on with a value. */
static void cut_comment(char *line)
{
        char *p = strstr(line, " ;");
        if (p)
                *p = 0;
}

/* Makes line, "[name]", what inih is to see of it. */
static void read_section(struct reader *r, char *line, size_t size)
{
        char *end = strchr(line, ']'), *name = line + 1 + strspn(line + 1, " ");
        const char *fault = NULL;
        if (!end)
                fault = "a section without ]; expected [section]";
        else if (end[1 + strspn(end + 1, " ")] != 0)
                fault = "text after the section's ]; expected [section] alone on its line";
        for (; end && end > name && end[-1] == ' ';)
                end--;
        if (!fault && (end <= name || end - name > NAME_MAX_BYTES))
                fault = "not the name of a section; expected 1 to 49 bytes";
        if (fault) /* keys that follow must not go to the section before */
                name_copy(r->section, sizeof(r->section), INIFILE_NO_SECTION, strlen(INIFILE_NO_SECTION));
        else
                name_copy(r->section, sizeof(r->section), name, (size_t)(end - name));
        add_item(r, fault ? INIFILE_ERROR : INIFILE_SECTION, r->section, "", fault ? fault : "");
        r->goes_on = false;
        snprintf(line, size, "[%s]", r->section);
}

/* Why inih may not see this line, or NULL. */
static const char *line_fault(const struct reader *r, const char *line, size_t len)
{
        if (memchr(line, 0, len))
                return "a NUL byte; expected plain text (is it saved as UTF-16?)";
        if (!name_is_printable(line) || strstr(line, BOM))
                return "a control character or bytes that are not UTF-8; expected plain text";
        size_t blanks = strspn(line, " ");
        if (strchr("#;", line[blanks])) /* a comment, or nothing */
                return NULL;
        if (blanks > 0 && !r->goes_on)
                return "an indented line, which goes on with the value above, but there is none; expected it "
                       "without the blanks in front";
        if (blanks == 0 && *line != '[' && line[strcspn(line, "=:")] == ':')
                return strchr(line, '=') ? "not a key before the =; expected key = value"
                                         : "neither [section] nor key = value; expected one of them";
        return NULL;
}

static void end_of_line(struct reader *r)
{
        if (r->unhandled)
                add_error(r, "", "neither [section] nor key = value; expected one of them");
        r->unhandled = false;
}

static size_t key_length(const char *s, size_t max)
{
        size_t n = 0;
        while (n < max && !strchr("= \t", s[n]))
                n++;
        return n;
}

/* The next line into line, without its end. False when inih cannot have it. */
static bool read_line(struct reader *r, char *line, size_t size)
{
        const char *end = memchr(r->text, '\n', r->len);
        size_t n = end ? (size_t)(end - r->text) : r->len, next = end ? n + 1 : n;
        const char *text = r->text;
        r->text += next;
        r->len -= next;
        r->line++;
        if (n > 0 && text[n - 1] == '\r')
                n--;
        if (n >= size) {
                char key[NAME_MAX_BYTES + 1];
                size_t n_key = key_length(text, MIN(n, sizeof(key)));
                name_copy(key, sizeof(key), text, n_key < sizeof(key) ? n_key : 0);
                add_error(r, key, "a line of more than 197 bytes; expected lists to go on in indented lines");
                r->goes_on = true;
                return false;
        }
        memcpy(line, text, n);
        line[n] = 0;
        for (char *p = line; *p; p++)
                if (*p == '\t')
                        *p = ' ';
        const char *fault = line_fault(r, line, n);
        if (fault)
                add_error(r, "", fault);
        return !fault;
}

/* Of inih: what fgets() does. */
static char *next_line(char *str, int num, void *stream)
{
        struct reader *r = stream;
        _Static_assert(INI_MAX_LINE >= 200, "lines of 197 bytes are promised");
        end_of_line(r);
        size_t size = MIN((size_t)num, (size_t)200) - 2; /* and a newline */
        bool there = false;
        while (!there && r->len > 0 && r->err == 0 && !r->full)
                there = read_line(r, str, size);
        if (!there)
                return NULL;
        char *start = str + strspn(str, " ");
        r->indented = start > str;
        if (*str == '[' || (r->indented && *start != ';'))
                cut_comment(start);
        if (*str == '[')
                read_section(r, str, size);
        else
                r->unhandled = !strchr("#;", *start);
        return strcat(str, "\n");
}

int inifile_read(const char *text, size_t len, struct inifile *ret)
{
        struct inifile file = {};
        struct reader r = {.file = &file, .text = text, .len = len};
        if (len >= strlen(BOM) && memcmp(text, BOM, strlen(BOM)) == 0) {
                r.text += strlen(BOM);
                r.len -= strlen(BOM);
        }
        if (ini_parse_stream(next_line, &r, on_pair, &r) == -2) /* no memory */
                r.err = -ENOMEM;
        if (r.err < 0) {
                inifile_done(&file);
                return r.err;
        }
        *ret = file;
        return 0;
}
