/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON (RFC 8259) into a strbuf. Commas are put by themselves. Invalid UTF-8 becomes U+FFFD;
 * characters that a terminal obeys or that change how a line is shown (name_shown_len()) are \uXXXX. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "digest.h"
#include "str.h"

struct json {
        struct strbuf out; /* the text so far; out.err says whether memory ran out */
        bool comma;        /* something stands before the next item on this level */
};

void json_open(struct json *j, const char *name,
        char bracket); /* '{' or '['; name NULL inside arrays and at the top */
void json_close(struct json *j, char bracket);
void json_str(struct json *j, const char *name, const char *value); /* value NULL: null */
void json_u64(struct json *j, const char *name, uint64_t value);
void json_i64(struct json *j, const char *name, int64_t value);
void json_bool(struct json *j, const char *name, bool value);
void json_null(struct json *j, const char *name);
void json_sha256(struct json *j, const char *name, const uint8_t *p);  /* in hex; p NULL: null */
void json_time(struct json *j, const char *name, int64_t sec);         /* RFC 3339 UTC */
void json_time_or_null(struct json *j, const char *name, int64_t sec); /* 0: null */
/* Appends n bytes of JSON that was written elsewhere, with what json_str() would escape escaped. */
void json_add_shown(struct strbuf *b, const char *text, size_t n);
void json_done(struct json *j);
#define _cleanup_json_ _cleanup_(json_done)
