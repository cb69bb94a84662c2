/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the audit record: what one line says of its place in the chain. */
#pragma once

#include "audit.h"

#define AUDIT_FILE "audit.jsonl"
#define AUDIT_ARCHIVED "audit-" /* what the name of a file that was moved away begins with */
#define AUDIT_LINE_MAX                                                                                       \
        65536 /* bytes: a key, a member and a path with every byte escaped need a third of it */

bool audit_is_archived(const char *name);

struct audit_seal {
        uint64_t seq;
        char prev[SHA256_HEX]; /* what the line says of the one before */
        char own[SHA256_HEX];  /* its own hash */
};
/* Strict: exactly as audit_append() writes. 0 or -EBADMSG, -ENOMEM. */
int audit_seal_read(const char *line, size_t len, struct audit_seal *ret);
