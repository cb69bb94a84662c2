/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON. One flag is enough for the commas: before the first item of a level nothing stands, after any
 * item something does, and a closed level is itself an item of the one around it. */
#include "json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "name.h"
#include "timespan.h"

/* The next character of *s, which is not at its end; *s moves on. What a terminal would obey, or what changes
 * how the rest is shown (all below U+10000), as \uXXXX; U+FFFD for what is no character. */
static void add_character(struct strbuf *b, const char **s)
{
        const uint8_t *p = (const uint8_t *)*s;
        size_t n = utf8_valid_len(*s);
        if (n == 0)
                strbuf_add(b, "\xef\xbf\xbd");
        else if (name_shown_len(*s) > 0)
                strbuf_add_n(b, p, n);
        else
                strbuf_printf(b, "\\u%04x",
                        n == 1   ? p[0]
                        : n == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
                                 : (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu));
        *s += n ? n : 1;
}

static void add_escaped(struct strbuf *b, const char *s)
{
        strbuf_add(b, "\"");
        while (*s) {
                if (*s == '"' || *s == '\\')
                        strbuf_add(b, "\\");
                add_character(b, &s);
        }
        strbuf_add(b, "\"");
}

void json_add_shown(struct strbuf *b, const char *text, size_t n)
{
        _cleanup_free_ char *copy = strndup(text, n);
        if (!copy)
                b->err = -ENOMEM;
        for (const char *s = copy; s && *s;)
                add_character(b, &s);
}

/* What stands before a value: the comma and the name. */
static void begin(struct json *j, const char *name)
{
        if (j->comma)
                strbuf_add(&j->out, ",");
        j->comma = true;
        if (name) {
                add_escaped(&j->out, name);
                strbuf_add(&j->out, ":");
        }
}

void json_open(struct json *j, const char *name, char bracket)
{
        begin(j, name);
        strbuf_add(&j->out, bracket == '[' ? "[" : "{");
        j->comma = false;
}

void json_close(struct json *j, char bracket)
{
        strbuf_add(&j->out, bracket == '[' || bracket == ']' ? "]" : "}");
        j->comma = true;
}

void json_str(struct json *j, const char *name, const char *value)
{
        if (!value) {
                json_null(j, name);
                return;
        }
        begin(j, name);
        add_escaped(&j->out, value);
}

void json_u64(struct json *j, const char *name, uint64_t value)
{
        begin(j, name);
        strbuf_printf(&j->out, "%" PRIu64, value);
}

void json_i64(struct json *j, const char *name, int64_t value)
{
        begin(j, name);
        strbuf_printf(&j->out, "%" PRId64, value);
}

void json_bool(struct json *j, const char *name, bool value)
{
        begin(j, name);
        strbuf_add(&j->out, value ? "true" : "false");
}

void json_null(struct json *j, const char *name)
{
        begin(j, name);
        strbuf_add(&j->out, "null");
}

void json_sha256(struct json *j, const char *name, const uint8_t *p)
{
        char hex[SHA256_HEX];
        if (p)
                hex_encode(p, SHA256_SIZE, hex);
        json_str(j, name, p ? hex : NULL);
}

void json_time(struct json *j, const char *name, int64_t sec)
{
        char text[TIME_SIZE];
        json_str(j, name, time_format(sec, text));
}

void json_time_or_null(struct json *j, const char *name, int64_t sec)
{
        if (sec)
                json_time(j, name, sec);
        else
                json_null(j, name);
}

void json_done(struct json *j)
{
        strbuf_done(&j->out);
        j->comma = false;
}
