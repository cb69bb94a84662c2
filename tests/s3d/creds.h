/* SPDX-License-Identifier: Apache-2.0 */
/* Who may ask: a file of lines "ACCESS SECRET [TOKEN] [policy=open|czar:ORG]". */
#pragma once

#include "text.h"

enum policy_kind { POLICY_OPEN, POLICY_CZAR };

struct credential {
        char *access, *secret, *token; /* token: NULL for a long-lived key */
        enum policy_kind policy;
        char *org; /* with POLICY_CZAR */
};

struct credentials {
        struct credential *v;
        size_t n;
};

/* Reads path; a line without policy= gets default_policy ("open", "czar:ORG" or "czar", with which such a
 * line is an error). 0, or -errno after a message on stderr. */
int credentials_read(const char *path, const char *default_policy, struct credentials *ret);
const struct credential *credentials_find(const struct credentials *c, const char *access);
void credentials_done(struct credentials *c);
#define _cleanup_credentials_ _cleanup_(credentials_done)
