/* SPDX-License-Identifier: Apache-2.0 */
/* The terms that programs, their messages, the configuration and the ledger share: what was checked of an
 * object and must be, the rules of splitting, the term of a key, the place of a member in its archive. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "macro.h"

/* What was checked of an object or member, as bits. */
enum check {
        CHECK_TLS = BIT(0),       /* the server's certificate */
        CHECK_SIZE = BIT(1),      /* size as listed */
        CHECK_ETAG = BIT(2),      /* MD5 of the whole body, or of its parts */
        CHECK_CHECKSUM = BIT(3),  /* x-amz-checksum-* */
        CHECK_ONE_ETAG = BIT(4),  /* If-Match on every request */
        CHECK_ZIP = BIT(5),       /* CRC-32, sizes, local header against directory */
        CHECK_INTEGRITY = BIT(6), /* MDC or AEAD */
        CHECK_GZIP = BIT(7),      /* gzip trailer */
        CHECK_SIGNATURE = BIT(8), /* a good signature of an accepted signer */
        CHECK_NO_ETAG = BIT(16),  /* the ETag is not a digest (KMS), part sizes cannot be had, or it came in
                                   * ranges */
        CHECK_NO_CHECKSUM = BIT(17),  /* the uploader stored none, or it came in ranges */
        CHECK_NO_SIGNATURE = BIT(18), /* there is none, or signatures=none does not look */
};
#define CHECKS_MISSING (CHECK_NO_ETAG | CHECK_NO_CHECKSUM | CHECK_NO_SIGNATURE)
/* "tls size etag ... (not: checksum)" for a person, into ret. */
const char *checks_format(uint32_t checks, char *ret, size_t size);

/* Whether a message must be signed, and by whom it is opened: keys of [openpgp]. */
enum signature_policy { SIGNATURES_NONE, SIGNATURES_OPTIONAL, SIGNATURES_REQUIRED };
enum pgp_engine { ENGINE_AUTO, ENGINE_GNUPG };

/* The rules by which events can be split by course: as the configuration, the ledger, messages and a day's
 * MANIFEST.jsonl name them. What they say is in lib/events. */

enum event_rule {
        EVENT_RULE_NONE,    /* events are not split */
        EVENT_RULE_EDX,     /* as the producer does */
        EVENT_RULE_EDX_URL, /* and by URL where there is no context, as in logs before 2014 */
        EVENT_RULE_MAX
};

/* "none", "edx", "edx+url" */
const char *event_rule_name(enum event_rule rule);
/* The rule of that name, or EVENT_RULE_MAX. */
enum event_rule event_rule_from_name(const char *name);

/* Until when can anyone encrypt to an OpenPGP key? As long as one of its encryption subkeys and the primary
 * key are valid: an old subkey that has expired beside a good one ends nothing. All programs ask here. */

/* Times are in seconds, 0: never expires. Starts zeroed. */
struct key_term {
        int64_t last; /* end of the subkey that lasts longest */
        bool any;
};

/* a or b, whichever ends first. */
static inline int64_t key_term_earlier(int64_t a, int64_t b)
{
        return a == 0 || (b != 0 && b < a) ? b : a;
}

/* One encryption subkey (or an encrypting primary) that is not revoked and whose secret part is there. */
static inline void key_term_add(struct key_term *t, int64_t expires)
{
        if (!t->any || (t->last != 0 && (expires == 0 || expires > t->last)))
                t->last = expires;
        t->any = true;
}

static inline int64_t key_term_end(const struct key_term *t, int64_t primary_expires)
{
        return key_term_earlier(t->any ? t->last : 0, primary_expires);
}

/* What the directory of a zip says of a member, and which bytes of the archive are whose: who only deals
 * members out needs this and nothing else of a zip. */

struct archive_place {
        uint64_t offset; /* of the local header */
        uint64_t extent; /* bytes from there to the next header or the directory; 0: not known yet */
};

struct archive_entry {
        struct archive_place place;
        const char *name; /* raw bytes; a NUL in it is turned into \001, which no allow-list lets pass */
        uint64_t packed, size;
        uint32_t crc, mode; /* mode: st_mode of a UNIX entry, 0 otherwise */
        uint16_t method, flags;
};
