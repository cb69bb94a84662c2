/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON. One flag is enough for the commas: before the first item of a level nothing stands, after any
 * item something does, and a closed level is itself an item of the one around it. */
#include "json.h"

#include <inttypes.h>
#include <stdio.h>

#include "timespan.h"

static void add_escaped(struct strbuf *b, const char *s)
{
        static const char replacement[] = "\xef\xbf\xbd";
        strbuf_add(b, "\"");
        while (*s) {
                uint8_t c = (uint8_t)*s;
                size_t n = utf8_valid_len(s);
                if (n == 0)
                        strbuf_add(b, replacement);
                else if (c == '"' || c == '\\')
                        strbuf_printf(b, "\\%c", c);
                else if (c < 0x20 || c == 0x7f)
                        strbuf_printf(b, "\\u%04x", c);
                else
                        strbuf_add_n(b, s, n);
                s += n ? n : 1;
        }
        strbuf_add(b, "\"");
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

void json_time(struct json *j, const char *name, int64_t sec)
{
        char text[21];
        json_str(j, name, time_format(sec, text));
}

void json_done(struct json *j)
{
        strbuf_done(&j->out);
        j->comma = false;
}
