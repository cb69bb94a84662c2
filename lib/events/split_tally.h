/* SPDX-License-Identifier: Apache-2.0 */
/* Which courses stay when a day has more of them than there may be: those with the most lines, of equal ones
 * those that came first. Keys are counted in as many passes over the day as memory needs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "course_key.h"

struct tally;

/* stay: how many are chosen; counted: how many keys may be counted in one pass. 0 or -ENOMEM. */
int tally_new(size_t stay, size_t counted, struct tally **ret);
struct tally *tally_free(struct tally *t);

/* Before each pass over the lines; false: no more are needed, tally_stays() may be asked. */
bool tally_pass(struct tally *t);
/* The course of line `line`. */
int tally_line(struct tally *t, const struct course_key *key, uint64_t line);
/* Is it one of those that stay? 1, 0 or -ENOMEM. */
int tally_stays(const struct tally *t, const struct course_key *key);
/* How many do not. */
uint64_t tally_left_out(const struct tally *t);
