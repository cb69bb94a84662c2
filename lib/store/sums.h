/* SPDX-License-Identifier: Apache-2.0 */
/* SHA256SUMS of a snapshot's folder: what stands in it follows from its members. */
#pragma once

#include "ledger.h"
#include "str.h"

/* A line, as sha256sum -c reads it. */
void sums_add(struct strbuf *b, const char *name, const uint8_t sha256[SHA256_SIZE]);
/* The hash that the file has when it lists the staged members of the object. 1; 0: the hash of a member is
 * not known; or -errno. */
int sums_of_snapshot(struct ledger *l, int64_t object_id, uint8_t ret[SHA256_SIZE], struct error *e);
