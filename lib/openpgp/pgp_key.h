/* SPDX-License-Identifier: Apache-2.0 */
/* A key that can decrypt, as gpg lists it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

/* An encryption subkey (or primary key) whose secret part is here. */
struct pgp_subkey {
        char fingerprint[FINGERPRINT_SIZE], key_id[17], keygrip[41];
        int64_t created, expires; /* seconds; 0: never */
        bool revoked;
};

struct pgp_key {
        char fingerprint[FINGERPRINT_SIZE];
        char *user_id;
        int64_t created;
        int64_t expires; /* when nobody can encrypt to it any more; 0: never */
        struct pgp_subkey *subkeys;
        size_t n_subkeys;
};
