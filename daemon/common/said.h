/* SPDX-License-Identifier: Apache-2.0 */
/* What a helper writes to standard error when that is a terminal. It does not get the terminal itself: it
 * could read what is typed there, and write what a terminal obeys. It gets a pipe, and what comes through
 * that is shown line by line. Elsewhere it has our standard error. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SAID_LINE_MAX 1024

struct said {
        int fd; /* our end; -1: there is none */
        void (*tell)(const char *line);
        char line[SAID_LINE_MAX];
        size_t n;
};

/* Returns what the helper is to have: 2; or a pipe's end, which the caller gives to said_handed() when it is
 * started; or -1, nothing. tell shows a line, which may hold anything. */
int said_open(struct said *s, void (*tell)(const char *line));
void said_handed(int fd);
/* Tells what is there, without waiting. False: there will be nothing more. */
bool said_take(struct said *s);
/* Tells what is left, and closes our end. */
void said_close(struct said *s);
