/* SPDX-License-Identifier: Apache-2.0 */
/* What a person is told on a terminal. Keys, members, user ids, reasons, answers of servers are from outside:
 * they are shown, never obeyed. */
#pragma once

#include <stdarg.h>
#include <stdio.h>

#include "macro.h"

/* printf, but what a terminal would obey, or what changes how the rest of the line is shown, becomes \xNN
 * (name.h), line feeds too: of these only those stay with which the format itself begins and ends. */
void shown_print(FILE *f, const char *format, ...) _printf_(2, 3);
void shown_vprint(FILE *f, const char *format, va_list ap) _printf_(2, 0);
