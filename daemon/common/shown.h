/* SPDX-License-Identifier: Apache-2.0 */
/* What a person is told on a terminal. Keys, members, user ids, reasons, answers of servers are from outside:
 * they are shown, never obeyed. */
#pragma once

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "macro.h"
#include "timespan.h"

/* printf, but what a terminal would obey, or what changes how the rest of the line is shown, becomes \xNN
 * (name.h), line feeds too: of these only those stay with which the format itself begins and ends. */
void shown_print(FILE *f, const char *format, ...) _printf_(2, 3);
void shown_vprint(FILE *f, const char *format, va_list ap) _printf_(2, 0);

/* With the NUL: of local_time() and ago(). */
#define WHEN_SIZE 40
/* "2024-07-07 09:02:03 +02:00", "-" for 0. Returns ret. */
const char *local_time(int64_t sec, char ret[WHEN_SIZE]);
/* "3 h ago", "in 2 d". Returns ret. */
const char *ago(int64_t sec, char ret[WHEN_SIZE]);
/* "12.3 MiB", "-" when negative. Returns ret. */
const char *bytes_text(int64_t bytes, char ret[BYTES_SIZE]);
