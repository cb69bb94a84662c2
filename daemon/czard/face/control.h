/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: czarctl's requests, one to a connection (lib/wire/control_msg.h). Mode 0660, group
 * czard-admin where there is one. Our own helpers are refused: what parses the network's bytes may not
 * command us. */
#pragma once

#include <uv.h>

#include "requests.h"

struct control;

/* Listens at configured ("" or NULL: at "control" beside run_dir). 0, or -errno with a text; a socket that
 * cannot be had is no reason not to start: it is said, and *ret stays NULL. env is borrowed, and asked and
 * changed by requests. */
int control_new(uv_loop_t *loop, const char *configured, const char *run_dir, struct request_env *env,
        struct control **ret, struct error *e);
/* Requests that came before wait for this. NULL is fine. */
void control_ready(struct control *c);
/* Tells those who wait that czard stops. */
struct control *control_free(struct control *c);
