/* SPDX-License-Identifier: Apache-2.0 */
/* A preload's own variables, handed on to the children: czard gives its helpers an environment of its own
 * making. Whoever links hand_on.c says which. */
#pragma once

/* Names of variables, NULL at the end; at most 16. */
extern const char *const handed_on[];
