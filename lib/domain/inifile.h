/* SPDX-License-Identifier: Apache-2.0 */
/* An INI file as a list of what stands in it, with line numbers. Knows the syntax, not the keys. (The name
 * keeps clear of inih's own ini.h.) */
#pragma once

#include <stddef.h>

enum inifile_kind {
        INIFILE_SECTION, /* section */
        INIFILE_PAIR,    /* section, key, value: blanks at both ends and comments removed */
        INIFILE_MORE,    /* section, key, value: an indented line that goes on with the pair before */
        INIFILE_ERROR,   /* value: "what is wrong; expected ..."; section and key where known */
};

/* The section of what follows a section line that could not be read. */
#define INIFILE_NO_SECTION "?"

/* Strings are owned; section and key are "" where they do not apply. */
struct inifile_item {
        enum inifile_kind kind;
        unsigned line; /* from 1 */
        char *section, *key, *value;
};

struct inifile {
        struct inifile_item *items;
        size_t n;
};

/* Reads text of len bytes. Every fault of the syntax is an item of its own; what follows it is read too. 0 or
 * -ENOMEM. */
int inifile_read(const char *text, size_t len, struct inifile *ret);
void inifile_done(struct inifile *f);
