/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what each helper can know. czard-fetch sees the connection and the bytes as they are in S3;
 * czard-decrypt sees the bytes that came, the key, and the file that it writes. */
#include "answers.h"

#include <errno.h>
#include <string.h>

#include "terms.h"

#define C(id) (UINT64_C(1) << CAUSE_##id)
#define CAUSES_OF_HELPERS (C(NONE) | C(HELPER) | C(INTERNAL))
#define CAUSES_OF_REQUESTS                                                                                   \
        (CAUSES_OF_HELPERS | C(NETWORK) | C(TIMEOUT) | C(DNS) | C(TLS) | C(PROXY) | C(SERVER) |              \
                C(THROTTLED) | C(SKEW) | C(CREDENTIALS) | C(NO_CREDENTIALS) | C(UNSAFE_MODE) | C(DENIED) |   \
                C(ARCHIVED) | C(SERVER_KEY) | C(NO_BUCKET) | C(GONE) | C(REPLACED) | C(PROTOCOL) |           \
                C(TRUNCATED) | C(SIZE) | C(CANCELLED))
#define CAUSES_OF_KEYS (C(NO_KEY) | C(PASSPHRASE) | C(NOT_FOR_US))
#define CAUSES_OF_FILES (C(SPACE) | C(STAGING) | C(IO))
#define CAUSES_OF_MESSAGES                                                                                   \
        (CAUSES_OF_HELPERS | CAUSES_OF_KEYS | CAUSES_OF_FILES | C(TRUNCATED) | C(SIZE) | C(NO_MDC) |         \
                C(BAD_MDC) | C(BAD_PGP) | C(SIGNATURE) | C(LIMIT) | C(REFERENCE))
#define CHECKS_OF_MESSAGES (CHECK_INTEGRITY | CHECK_SIGNATURE | CHECK_NO_SIGNATURE)
#define CHECKS_OF_RANGES (CHECK_TLS | CHECK_SIZE | CHECK_ONE_ETAG)

static const struct {
        uint32_t answers; /* BIT(PROTO_...) */
        uint32_t checks;
        uint64_t causes;
} rights[REQUEST_MAX] = {
        /* czard-fetch */
        [REQUEST_LIST] = {BIT(PROTO_LISTED) | BIT(PROTO_DONE), 0, CAUSES_OF_REQUESTS},
        [REQUEST_RANGE] = {BIT(PROTO_DONE) | BIT(PROTO_PROGRESS), CHECKS_OF_RANGES, CAUSES_OF_REQUESTS},
        [REQUEST_WHOLE] = {BIT(PROTO_DONE) | BIT(PROTO_PROGRESS),
                CHECKS_OF_RANGES | CHECK_ETAG | CHECK_NO_ETAG | CHECK_CHECKSUM | CHECK_NO_CHECKSUM,
                CAUSES_OF_REQUESTS | C(ETAG) | C(CHECKSUM)},
        /* czard-decrypt */
        [REQUEST_SETUP] = {BIT(PROTO_READY) | BIT(PROTO_PROGRESS), 0,
                CAUSES_OF_HELPERS | CAUSES_OF_KEYS | CAUSES_OF_FILES | C(CONFIG) | C(UNSAFE_MODE)},
        [REQUEST_FILE] = {BIT(PROTO_VERDICT) | BIT(PROTO_PROGRESS), CHECKS_OF_MESSAGES, CAUSES_OF_MESSAGES},
        [REQUEST_GZIP] = {BIT(PROTO_VERDICT) | BIT(PROTO_PROGRESS), CHECKS_OF_MESSAGES | CHECK_GZIP,
                CAUSES_OF_MESSAGES | C(BAD_GZIP)},
        [REQUEST_MEMBERS] = {BIT(PROTO_VERDICT) | BIT(PROTO_PROGRESS), CHECKS_OF_MESSAGES | CHECK_ZIP,
                CAUSES_OF_MESSAGES | C(BAD_ZIP) | C(ZIP_FORM)},
        /* czard-filter; CONFIG: this kernel does not let it lock itself in */
        [REQUEST_SPLIT] = {BIT(PROTO_SPLIT_FILES) | BIT(PROTO_SPLIT_DONE) | BIT(PROTO_PROGRESS), 0,
                CAUSES_OF_HELPERS | CAUSES_OF_FILES | C(BAD_GZIP) | C(LIMIT) | C(CONFIG)},
        /* czard-index */
        [REQUEST_DIRECTORY] = {BIT(PROTO_ENTRIES) | BIT(PROTO_DIRECTORY_DONE) | BIT(PROTO_PROGRESS), 0,
                CAUSES_OF_HELPERS | C(TRUNCATED) | C(BAD_ZIP) | C(ZIP_FORM) | C(LIMIT)},
};
_Static_assert(CAUSE_MAX <= 64, "causes are bits of an uint64_t");
_Static_assert(PROTO_TYPE_MAX <= 32, "types are bits of an uint32_t");

enum request_kind request_kind_of(const struct message *m)
{
        switch (m->type) {
        case PROTO_LIST:
                return REQUEST_LIST;
        case PROTO_GET:
                return m->get.whole ? REQUEST_WHOLE : REQUEST_RANGE;
        case PROTO_SETUP:
                return REQUEST_SETUP;
        case PROTO_FILE:
                return m->file.format == FORMAT_OPAQUE ? REQUEST_FILE : REQUEST_GZIP;
        case PROTO_DIRECTORY:
                return REQUEST_DIRECTORY;
        case PROTO_MEMBERS:
                return REQUEST_MEMBERS;
        case PROTO_SPLIT:
                return REQUEST_SPLIT;
        default:
                return REQUEST_NONE;
        }
}

static const struct outcome *outcome_in(const struct message *m)
{
        switch (m->type) {
        case PROTO_DONE:
                return &m->done.outcome;
        case PROTO_READY:
                return &m->ready.outcome;
        case PROTO_VERDICT:
                return &m->verdict.outcome;
        case PROTO_DIRECTORY_DONE:
                return &m->directory_done.outcome;
        case PROTO_SPLIT_DONE:
                return &m->split_done.outcome;
        default:
                return NULL;
        }
}

int answer_check(enum request_kind kind, const struct message *answer, struct error *e)
{
        const struct outcome *outcome = outcome_in(answer);
        uint32_t checks = answer->type == PROTO_DONE      ? answer->done.checks
                          : answer->type == PROTO_VERDICT ? answer->verdict.checks
                                                          : 0;
        if (!(rights[kind].answers & BIT(answer->type)))
                return error_set(e, CAUSE_HELPER, EPROTO,
                        "sent a message of type %u, which is no answer to its request", answer->type);
        if (outcome && !(rights[kind].causes & UINT64_C(1) << outcome->cause))
                return error_set(e, CAUSE_HELPER, EPROTO, "told a cause that it cannot know: %s",
                        cause_name((enum cause)outcome->cause));
        if (checks & ~rights[kind].checks)
                return error_set(e, CAUSE_HELPER, EPROTO, "told of checks that it cannot make: %#x",
                        checks & ~rights[kind].checks);
        return 0;
}

int owed_add(struct owed *o, const struct message *request)
{
        if (o->n == OWED_MAX)
                return -ENOBUFS;
        o->v[o->n].id = request->id;
        o->v[o->n].kind = request_kind_of(request);
        o->v[o->n].n = request->type == PROTO_MEMBERS ? (uint32_t)request->members.n : 1;
        o->v[o->n].told = 0;
        o->n++;
        return 0;
}

int owed_take(struct owed *o, const struct message *answer, struct error *e)
{
        if (o->n == 0)
                return error_set(e, CAUSE_HELPER, EPROTO, "sent a message of type %u without being asked",
                        answer->type);
        if (answer->id != o->v[0].id)
                return error_set(e, CAUSE_HELPER, EPROTO, "answered request %u, but it is the turn of %u",
                        answer->id, o->v[0].id);
        int r = answer_check(o->v[0].kind, answer, e);
        if (r < 0)
                return r;
        if (o->last && answer->type == PROTO_VERDICT && answer->verdict.outcome.cause == CAUSE_REFERENCE)
                return error_set(e, CAUSE_HELPER, EPROTO,
                        "asked for another worker, but it is the one that has a gpg-agent");
        if (answer->type == PROTO_VERDICT && answer->verdict.member != o->v[0].told)
                return error_set(e, CAUSE_HELPER, EPROTO, "judged member %u, but it is the turn of %u",
                        answer->verdict.member, o->v[0].told);
        if (outcome_in(answer) && ++o->v[0].told == o->v[0].n)
                memmove(o->v, o->v + 1, --o->n * sizeof(*o->v));
        return 0;
}
