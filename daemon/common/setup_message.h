/* SPDX-License-Identifier: Apache-2.0 */
/* The first message to a czard-decrypt, as czard and czarctl send it. */
#pragma once

#include "proto.h"
#include "secret.h"

/* setup, whose strings are borrowed, and the passphrase (p NULL: none) as a file in memory. The caller calls
 * message_done(). 0 or -errno. */
int setup_message(const struct proto_setup *setup, const struct secret *passphrase, struct message *ret);
