/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on czard's control socket: one SOCK_SEQPACKET datagram each, a list of strings behind a version
 * line. What the strings mean is between daemon/czard/face/requests.c and czarctl:
 *
 *   czarctl -> czard   COMMAND [NAME=VALUE ...] [-- ARGUMENT ...]
 *   czard -> czarctl   "progress" TEXT | "row" JSON | "done" EXIT-STATUS TEXT
 */
#pragma once

#include <stddef.h>

#include "error.h"
#include "str.h"

#define CONTROL_VERSION "czard-control 1"

/* EXIT-STATUS, which is czard's own too (czard(8)). */
enum exit_status { STATUS_WELL = 0, STATUS_INCOMPLETE = 1, STATUS_USAGE = 2, STATUS_CANNOT = 3 };

#define CONTROL_MESSAGE_MAX (64 * 1024)
#define CONTROL_STRINGS_MAX 1024

/* The bytes of a message, in *ret (the caller frees). 0, -ENOMEM, -EMSGSIZE (too many or too long). */
int control_encode(const struct strv *strings, char **ret, size_t *ret_n);
/* At least one string; all are well-formed UTF-8 without control characters. 0, -ENOMEM, or -EPROTO with a
 * text. ret is untouched on failure. */
int control_decode(const char *p, size_t n, struct strv *ret, struct error *e);

/* One datagram. 0; recv: -EPIPE when the peer has closed, -EAGAIN, -EPROTO, -errno. */
int control_send(int sock, const struct strv *strings);
int control_recv(int sock, struct strv *ret, struct error *e);

/* The value of NAME=VALUE among the strings before "--", or NULL. */
const char *control_value(const struct strv *strings, const char *name);
/* The index of the first string after "--"; strings->n when there is none. */
size_t control_arguments(const struct strv *strings);
