/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "answers.h"
#include "terms.h"

static const struct message get = {.type = PROTO_GET, .get = {.whole = 1}};
static const struct message range = {.type = PROTO_GET};
static const struct message list = {.type = PROTO_LIST};
static const struct message setup = {.type = PROTO_SETUP};
static const struct message opaque = {.type = PROTO_FILE, .file = {.format = FORMAT_OPAQUE}};
static const struct message gzip = {.type = PROTO_FILE, .file = {.format = FORMAT_GUNZIP}};
static const struct message directory = {.type = PROTO_DIRECTORY};
static const struct message members = {.type = PROTO_MEMBERS, .members = {.n = 3}};

#define VERDICT(...) ((struct message){.type = PROTO_VERDICT, .verdict = {__VA_ARGS__}})
#define DONE(...) ((struct message){.type = PROTO_DONE, .done = {__VA_ARGS__}})

/* Each helper tells of what it sees, and of nothing else. */
static void checks_that_can_be_known(void **state)
{
        (void)state;
        static const struct {
                const struct message *request;
                uint32_t checks; /* all that may be told */
        } rows[] = {
                {&list, 0},
                {&range, CHECK_TLS | CHECK_SIZE | CHECK_ONE_ETAG},
                {&get, CHECK_TLS | CHECK_SIZE | CHECK_ONE_ETAG | CHECK_ETAG | CHECK_NO_ETAG | CHECK_CHECKSUM |
                                CHECK_NO_CHECKSUM},
                {&opaque, CHECK_INTEGRITY | CHECK_SIGNATURE | CHECK_NO_SIGNATURE},
                {&gzip, CHECK_INTEGRITY | CHECK_SIGNATURE | CHECK_NO_SIGNATURE | CHECK_GZIP},
                {&members, CHECK_INTEGRITY | CHECK_SIGNATURE | CHECK_NO_SIGNATURE | CHECK_ZIP},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                enum request_kind kind = request_kind_of(rows[i].request);
                for (unsigned bit = 0; bit < 32; bit++) {
                        struct message m =
                                rows[i].request->type == PROTO_GET || rows[i].request->type == PROTO_LIST
                                        ? DONE(.checks = BIT(bit))
                                        : VERDICT(.checks = BIT(bit));
                        struct error e = {};
                        int want = rows[i].checks & BIT(bit) ? 0 : -EPROTO;
                        if (answer_check(kind, &m, &e) != want)
                                fail_msg("row %zu, check %u: %s", i, bit, e.text);
                }
        }
}

static void causes_that_can_be_known(void **state)
{
        (void)state;
        static const struct {
                const struct message *request;
                enum cause cause;
                int want;
        } rows[] = {
                {&get, CAUSE_ETAG, 0},
                {&range, CAUSE_ETAG, -EPROTO},
                {&list, CAUSE_CHECKSUM, -EPROTO},
                {&get, CAUSE_CREDENTIALS, 0},
                {&get, CAUSE_BAD_MDC, -EPROTO},
                {&get, CAUSE_NO_KEY, -EPROTO},
                {&get, CAUSE_NOT_FOR_US, -EPROTO},
                {&get, CAUSE_SPACE, -EPROTO},
                {&get, CAUSE_UNSAFE_NAME, -EPROTO},
                {&opaque, CAUSE_BAD_MDC, 0},
                {&opaque, CAUSE_BAD_GZIP, -EPROTO},
                {&gzip, CAUSE_BAD_GZIP, 0},
                {&gzip, CAUSE_BAD_ZIP, -EPROTO},
                {&members, CAUSE_BAD_ZIP, 0},
                {&members, CAUSE_SPACE, 0},
                {&members, CAUSE_GONE, -EPROTO},
                {&members, CAUSE_CREDENTIALS, -EPROTO},
                {&opaque, CAUSE_ETAG, -EPROTO},
                {&opaque, CAUSE_LOCKED, -EPROTO},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                struct message m = rows[i].request->type == PROTO_GET || rows[i].request->type == PROTO_LIST
                                           ? DONE(.outcome.cause = rows[i].cause)
                                           : VERDICT(.outcome.cause = rows[i].cause);
                if (answer_check(request_kind_of(rows[i].request), &m, NULL) != rows[i].want)
                        fail_msg("row %zu: %s", i, cause_name(rows[i].cause));
        }
}

/* Every pair of request and message: only these are answers. */
static void answers_of_each_request(void **state)
{
        (void)state;
        static const struct {
                const struct message *request;
                unsigned answers;
        } rows[] = {
                {&list, BIT(PROTO_LISTED) | BIT(PROTO_DONE)},
                {&get, BIT(PROTO_DONE) | BIT(PROTO_PROGRESS)},
                {&range, BIT(PROTO_DONE) | BIT(PROTO_PROGRESS)},
                {&setup, BIT(PROTO_READY) | BIT(PROTO_PROGRESS)},
                {&opaque, BIT(PROTO_VERDICT) | BIT(PROTO_PROGRESS)},
                {&gzip, BIT(PROTO_VERDICT) | BIT(PROTO_PROGRESS)},
                {&directory, BIT(PROTO_ENTRIES) | BIT(PROTO_DIRECTORY_DONE) | BIT(PROTO_PROGRESS)},
                {&members, BIT(PROTO_VERDICT) | BIT(PROTO_PROGRESS)},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (unsigned type = 1; type < PROTO_TYPE_MAX; type++) {
                        struct message m = {.type = (enum proto_type)type};
                        int want = rows[i].answers & BIT(type) ? 0 : -EPROTO;
                        if (answer_check(request_kind_of(rows[i].request), &m, NULL) != want)
                                fail_msg("row %zu, type %u", i, type);
                }
}

static void add(struct owed *o, const struct message *request, uint32_t id)
{
        struct message m = *request;
        m.id = id;
        assert_int_equal(owed_add(o, &m), 0);
}

static int take(struct owed *o, struct message m, uint32_t id)
{
        m.id = id;
        return owed_take(o, &m, NULL);
}

static void answers_come_in_turn(void **state)
{
        (void)state;
        struct owed o = {};
        assert_int_equal(take(&o, VERDICT(.member = 0), 0), -EPROTO); /* nobody asked */
        add(&o, &members, 7);
        add(&o, &members, 8);
        assert_int_equal(take(&o, (struct message){.type = PROTO_PROGRESS}, 7), 0);
        assert_int_equal(take(&o, (struct message){.type = PROTO_PROGRESS}, 8), -EPROTO);
        assert_int_equal(take(&o, VERDICT(.member = 0), 8), -EPROTO);
        assert_int_equal(take(&o, VERDICT(.member = 1), 7), -EPROTO);
        assert_int_equal(take(&o, VERDICT(.member = 0), 7), 0);
        assert_int_equal(take(&o, VERDICT(.member = 0), 7), -EPROTO); /* twice */
        assert_int_equal(take(&o, VERDICT(.member = 1), 7), 0);
        assert_int_equal(take(&o, VERDICT(.member = 2), 7), 0);
        assert_int_equal(o.n, 1);
        assert_int_equal(take(&o, VERDICT(.member = 3), 7), -EPROTO);
        for (uint32_t i = 0; i < 3; i++)
                assert_int_equal(take(&o, VERDICT(.member = i), 8), 0);
        assert_int_equal(o.n, 0);
        assert_int_equal(take(&o, VERDICT(.member = 0), 8), -EPROTO);
        assert_int_equal(take(&o, (struct message){.type = PROTO_PROGRESS}, 8), -EPROTO);
}

/* To another worker it goes only from one that has no agent, and only from there. */
static void a_worker_with_an_agent_is_the_last(void **state)
{
        (void)state;
        const struct message handed_on = VERDICT(.outcome = {.cause = CAUSE_REFERENCE});
        struct owed o = {};
        add(&o, &opaque, 1);
        add(&o, &members, 2);
        assert_int_equal(take(&o, handed_on, 1), 0);
        assert_int_equal(take(&o, handed_on, 2), 0);
        struct owed last = {.last = true};
        add(&last, &opaque, 1);
        assert_int_equal(take(&last, handed_on, 1), -EPROTO);
        struct owed fetch = {};
        add(&fetch, &setup, 1);
        assert_int_equal(take(&fetch,
                                 (struct message){.type = PROTO_READY,
                                         .ready = {.outcome = {.cause = CAUSE_REFERENCE}}},
                                 1),
                -EPROTO);
}

static void pages_of_a_directory_end_with_its_end(void **state)
{
        (void)state;
        struct owed o = {};
        add(&o, &directory, 1);
        assert_int_equal(take(&o, (struct message){.type = PROTO_ENTRIES}, 1), 0);
        assert_int_equal(take(&o, (struct message){.type = PROTO_ENTRIES}, 1), 0);
        assert_int_equal(take(&o, VERDICT(.member = 0), 1), -EPROTO);
        assert_int_equal(take(&o, (struct message){.type = PROTO_DIRECTORY_DONE}, 1), 0);
        assert_int_equal(o.n, 0);
        assert_int_equal(take(&o, (struct message){.type = PROTO_ENTRIES}, 1), -EPROTO);
}

static void only_so_many_requests_are_under_way(void **state)
{
        (void)state;
        struct owed o = {};
        for (uint32_t i = 1; i <= OWED_MAX; i++)
                add(&o, &opaque, i);
        assert_int_equal(owed_add(&o, &opaque), -ENOBUFS);
        for (uint32_t i = 1; i <= OWED_MAX; i++)
                assert_int_equal(take(&o, VERDICT(.member = 0), i), 0);
        assert_int_equal(o.n, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(checks_that_can_be_known),
                cmocka_unit_test(causes_that_can_be_known),
                cmocka_unit_test(answers_of_each_request),
                cmocka_unit_test(answers_come_in_turn),
                cmocka_unit_test(a_worker_with_an_agent_is_the_last),
                cmocka_unit_test(pages_of_a_directory_end_with_its_end),
                cmocka_unit_test(only_so_many_requests_are_under_way),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
