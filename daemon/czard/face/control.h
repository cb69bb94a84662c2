/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: czarctl's requests, one to a connection (lib/wire/control_msg.h). Mode 0660, group
 * czard-admin where there is one. Our own helpers are refused: what parses the network's bytes may not
 * command us. */
#pragma once

#include "director.h"

struct control;

/* Listens, and takes up an admin's pause that was in force. 0, or -errno with a text; a socket that cannot be
 * had is no reason not to start: it is said, and *ret stays NULL. */
int control_new(struct director *d, struct control **ret, struct error *e);
struct control *control_free(struct control *c);
/* The keys a pool has found: kept in the ledger for czarctl. */
void control_keys(struct director *d, const struct proto_ready *ready);
