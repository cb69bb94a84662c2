/* SPDX-License-Identifier: Apache-2.0 */
/* A small CSV reader (RFC 4180) that works in place, in the locked memory that the file was read into: no
 * copy of the secret is left anywhere else. Separators are commas, semicolons or tabs, as the header line has
 * them. */
#include "credentials.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "fsx.h"
#include "limits.h"
#include "str.h"

enum column { COLUMN_ID, COLUMN_SECRET, COLUMN_TOKEN, COLUMN_MAX };

/* Names without case, blanks, '_' and a leading "aws". */
static const struct {
        const char *name;
        enum column column;
} column_names[] = {
        {"accesskeyid", COLUMN_ID},
        {"accesskey", COLUMN_ID},
        {"secretaccesskey", COLUMN_SECRET},
        {"secretkey", COLUMN_SECRET},
        {"sessiontoken", COLUMN_TOKEN},
        {"securitytoken", COLUMN_TOKEN},
};

#define FIELDS_MAX 32

/* Where we are: what is before p has been overwritten with what it said. */
struct reader {
        char *p;
        const char *line_start;
        unsigned line; /* from 1 */
        char separator;
        struct error *e;
};

/* The fields of one line, NUL-terminated in place. */
struct credentials_line {
        char *field[FIELDS_MAX];
        unsigned column[FIELDS_MAX]; /* bytes, from 1 */
        size_t n;
        unsigned line;
};

static int bad(struct error *e, unsigned line, unsigned column, const char *what)
{
        return error_set(e, CAUSE_NO_CREDENTIALS, EINVAL, "line %u, column %u: %s", line, column, what);
}

static unsigned column_at(const struct reader *r, const char *p)
{
        return (unsigned)(p - r->line_start) + 1;
}

static void new_line(struct reader *r, const char *start)
{
        r->line++;
        r->line_start = start;
}

/* Reads one field at r->p into itself and moves r->p behind it and its separator. more: another field of the
 * same line follows. */
static int read_field(struct reader *r, char **ret, bool *more)
{
        char *in = r->p, *out = r->p;
        *ret = out;
        if (*in == '"') {
                unsigned line = r->line, column = column_at(r, in);
                for (in++; *in && !(in[0] == '"' && in[1] != '"'); in++) {
                        if (in[0] == '"')
                                in++;
                        if (in[0] == '\n')
                                new_line(r, in + 1);
                        *out++ = *in;
                }
                if (*in++ != '"')
                        return bad(r->e, line, column, "a quoted value without an end");
        } else {
                while (*in && *in != r->separator && !strchr("\r\n\"", *in))
                        *out++ = *in++;
        }
        while (*in != r->separator && (*in == ' ' || *in == '\t'))
                in++;
        char stop = *in;
        if (stop && stop != r->separator && !strchr("\r\n", stop))
                return bad(r->e, r->line, column_at(r, in), "neither a separator nor the end of the line");
        in += stop != 0;
        if (stop == '\r' && *in == '\n')
                in++;
        *out = 0;
        *more = stop && stop == r->separator;
        if (stop && !*more)
                new_line(r, in);
        r->p = in;
        return 0;
}

static int read_line(struct reader *r, struct credentials_line *ret)
{
        bool more = true;
        ret->n = 0;
        ret->line = r->line;
        while (more) {
                ret->column[ret->n] = column_at(r, r->p);
                int err = read_field(r, &ret->field[ret->n++], &more);
                if (err < 0)
                        return err;
                if (more && ret->n == FIELDS_MAX)
                        return bad(r->e, ret->line, column_at(r, r->p), "too many columns");
        }
        return 0;
}

static bool is_empty_line(const struct credentials_line *l)
{
        for (size_t i = 0; i < l->n; i++)
                if (l->field[i][strspn(l->field[i], " \t")])
                        return false;
        return true;
}

/* The next line with something in it. 0, -ENODATA at the end, -EINVAL. */
static int next_line(struct reader *r, struct credentials_line *ret)
{
        while (*r->p) {
                int err = read_line(r, ret);
                if (err < 0 || !is_empty_line(ret))
                        return err;
        }
        return -ENODATA;
}

static enum column column_of(const char *header)
{
        char name[32];
        size_t n = 0;
        for (; *header; header++) {
                if (strchr(" \t_-", *header))
                        continue;
                if (n + 1 == sizeof(name))
                        return COLUMN_MAX;
                name[n++] = (char)tolower((unsigned char)*header);
        }
        name[n] = 0;
        const char *key = str_after(name, "aws");
        for (size_t i = 0; i < ELEMENTSOF(column_names); i++)
                if (streq(key ? key : name, column_names[i].name))
                        return column_names[i].column;
        return COLUMN_MAX;
}

/* Cuts blanks at both ends; what is left must be printable ASCII without blanks. */
static char *clean_value(char *s)
{
        s += strspn(s, " \t");
        size_t n = strlen(s);
        while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
                s[--n] = 0;
        for (size_t i = 0; i < n; i++)
                if (s[i] <= ' ' || s[i] >= 0x7f)
                        return NULL;
        return s;
}

/* Spreadsheets write semicolons where a comma is part of numbers, or tabs; some say so in a line before. */
static void find_separator(struct reader *r)
{
        static const char known[] = ",;\t";
        size_t seen[sizeof(known)] = {}, best = 0;
        const char *rest = str_after(r->p, "sep=");
        r->separator = ',';
        if (rest && *rest && strchr(known, *rest) && rest[1] && strchr("\r\n", rest[1])) {
                r->separator = *rest;
                r->p += strlen("sep=") + 1;
                return;
        }
        const char *p = r->p + strspn(r->p, "\r\n");
        bool quoted = false;
        for (; *p && (quoted || !strchr("\r\n", *p)); p++) {
                const char *at = quoted ? NULL : strchr(known, *p);
                quoted ^= *p == '"';
                if (at)
                        seen[at - known]++;
        }
        for (size_t i = 1; known[i]; i++)
                if (seen[i] > seen[best])
                        best = i;
        r->separator = known[best];
}

/* index[COLUMN] = position in the line, or SIZE_MAX. */
static int read_header(struct reader *r, size_t index[COLUMN_MAX], size_t *ret_columns)
{
        struct credentials_line l;
        for (int c = 0; c < COLUMN_MAX; c++)
                index[c] = SIZE_MAX;
        int err = next_line(r, &l);
        if (err < 0)
                return err == -ENODATA ? bad(r->e, 1, 1, "the file has no header line") : err;
        for (size_t i = 0; i < l.n; i++) {
                enum column c = column_of(l.field[i]);
                if (c == COLUMN_MAX)
                        continue;
                if (index[c] != SIZE_MAX)
                        return bad(r->e, l.line, l.column[i], "the header names a column twice");
                index[c] = i;
        }
        if (index[COLUMN_ID] == SIZE_MAX || index[COLUMN_SECRET] == SIZE_MAX)
                return bad(r->e, l.line, 1,
                        "the header line must name \"Access Key Id\" and \"Secret Access Key\"");
        *ret_columns = l.n;
        return 0;
}

static int copy_secret(const char *s, struct secret *ret)
{
        size_t n = strlen(s);
        int r = secret_alloc(n, ret);
        if (r < 0)
                return r;
        memcpy(ret->p, s, n + 1);
        ret->len = n;
        return 0;
}

static bool is_key_id(const char *s)
{
        size_t n = strlen(s);
        if (n == 0 || n >= sizeof((struct credentials){}.access_key_id))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char)s[i]) && !strchr("_.:-", s[i]) /* Swift has TENANT:USER */)
                        return false;
        return true;
}

#define AWS_ID_LEN 20

static int take_values(const struct credentials_line *l, const size_t index[COLUMN_MAX],
        struct credentials *ret, struct error *e)
{
        struct credentials c = {};
        char *value[COLUMN_MAX], none[1] = "";
        unsigned column[COLUMN_MAX]; /* of one that is not there: of the last that is */
        for (int i = 0; i < COLUMN_MAX; i++) {
                bool there = index[i] < l->n;
                value[i] = clean_value(there ? l->field[index[i]] : none);
                column[i] = l->column[there ? index[i] : l->n - 1];
        }
        if (!value[COLUMN_ID] || !is_key_id(value[COLUMN_ID]))
                return bad(e, l->line, column[COLUMN_ID],
                        "the access key id is not one (are the two exchanged?)");
        if (!value[COLUMN_SECRET] || !*value[COLUMN_SECRET])
                return bad(e, l->line, column[COLUMN_SECRET],
                        "the secret access key is missing or has characters that do not belong there");
        if (str_after(value[COLUMN_ID], "ASIA") && strlen(value[COLUMN_ID]) == AWS_ID_LEN &&
                value[COLUMN_TOKEN] && !*value[COLUMN_TOKEN])
                return bad(e, l->line, column[COLUMN_ID],
                        "a temporary key (ASIA...), which works for hours and not without its session token; "
                        "ask for a lasting one (AKIA...)");
        if (!value[COLUMN_TOKEN])
                return bad(e, l->line, column[COLUMN_TOKEN],
                        "the session token has characters that do not belong there");
        snprintf(c.access_key_id, sizeof(c.access_key_id), "%s", value[COLUMN_ID]);
        int r = copy_secret(value[COLUMN_SECRET], &c.secret_key);
        if (r == 0 && *value[COLUMN_TOKEN])
                r = copy_secret(value[COLUMN_TOKEN], &c.session_token);
        if (r < 0) {
                credentials_done(&c);
                return error_set(e, CAUSE_INTERNAL, -r, "credentials: out of memory");
        }
        *ret = c;
        return 0;
}

int credentials_parse(struct secret *csv, struct credentials *ret, struct error *e)
{
        size_t index[COLUMN_MAX], columns = 0;
        struct credentials_line l, second;
        size_t n = textfile_to_utf8(csv->p, csv->len);
        explicit_bzero(csv->p + n, csv->len - n);
        csv->len = n;
        if (strlen(csv->p) != csv->len)
                return error_set(e, CAUSE_NO_CREDENTIALS, EINVAL, "the file is not text");
        if (strstr(csv->p, "-----BEGIN PGP MESSAGE"))
                return error_set(e, CAUSE_NO_CREDENTIALS, EINVAL,
                        "the file is still encrypted; czarctl import-credentials takes it as it is");
        struct reader r = {.p = csv->p, .line_start = csv->p, .line = 1, .e = e};
        find_separator(&r);
        int err = read_header(&r, index, &columns);
        if (err < 0)
                return err;
        err = next_line(&r, &l);
        if (err < 0)
                return err == -ENODATA ? bad(e, r.line, 1, "the file has only a header line") : err;
        err = next_line(&r, &second);
        if (err != -ENODATA)
                return err < 0 ? err
                               : bad(e, second.line, 1, "another key; leave only the one that is to be used");
        for (size_t i = columns; i < l.n; i++)
                if (l.field[i][strspn(l.field[i], " \t")])
                        return bad(e, l.line, l.column[i],
                                "more values than the header line has columns; a value with a comma in it, "
                                "such as a name, must stand in quotes");
        return take_values(&l, index, ret, e);
}

int credentials_load(int dir_fd, const char *path, bool trusted, struct credentials *ret, struct error *e)
{
        _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return error_set(e, CAUSE_NO_CREDENTIALS, errno, "%s: %s", path, strerror(errno));
        int r = trusted ? 0 : check_owner_mode(fd, path, 077, e);
        if (r < 0)
                return r;
        _cleanup_secret_ struct secret csv = {};
        r = secret_read_all(fd, LIMIT_CREDENTIALS_FILE, &csv);
        if (r < 0)
                return error_set(e, CAUSE_NO_CREDENTIALS, -r, "%s: %s", path, strerror(-r));
        r = credentials_parse(&csv, ret, e);
        return r < 0 ? error_prefix(e, "%s", path) : 0;
}

void credentials_done(struct credentials *c)
{
        secret_done(&c->secret_key);
        secret_done(&c->session_token);
        c->access_key_id[0] = 0;
}
