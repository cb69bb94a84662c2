/* SPDX-License-Identifier: Apache-2.0 */
/* czard-fetch over its channel, against s3d. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fetch_driver.h"
#include "terms.h"

#define BIG (3 * MIB + 12345)
#define CHECKS (CHECK_SIZE | CHECK_ONE_ETAG)
#define STALL_TIMEOUT "stall_timeout = 3s" /* a busy machine stalls for a second */

static struct world world;
static struct fetch fetch;
static uint8_t *big;
static char big_etag[64];

static int start_world(void **state)
{
        (void)state;
        big = malloc(20 * MIB);
        for (size_t i = 0; i < 20 * MIB; i += 8) {
                uint64_t r = i * UINT64_C(0x9e3779b97f4a7c15) ^ i >> 7;
                memcpy(big + i, &r, 8);
        }
        world_start(&world, &(struct world_options){});
        world_object(&world, "big", big, BIG, NULL, big_etag);
        return 0;
}

static int stop_world(void **state)
{
        (void)state;
        world_stop(&world);
        free(big);
        return 0;
}

static int setup(void **state)
{
        (void)state;
        world_behave(&world, NULL);
        fetch_start(&fetch, &world, NULL);
        world_count_log(&world, "");
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        fetch_stop(&fetch);
        return 0;
}

/* Ends the one that setup() started. */
static void restart(const struct fetch_options *o)
{
        fetch_stop(&fetch);
        fetch_start(&fetch, &world, o);
        world_count_log(&world, "");
}

static void expect(const struct message *done, enum cause cause)
{
        if (done->done.outcome.cause != cause)
                print_error("%s: %s\n", cause_name((enum cause)done->done.outcome.cause),
                        done->done.outcome.detail);
        assert_int_equal(done->done.outcome.cause, cause);
}

static struct proto_get whole(const char *key, const char *etag, uint64_t size)
{
        return (struct proto_get){.key = key, .etag = etag, .length = size, .size = size, .whole = 1};
}

/* GETs big whole; it must come well, with these checks, in so many requests. */
static void expect_big(uint32_t checks, unsigned requests)
{
        struct got g;
        const struct proto_get get = whole("big", big_etag, BIG);
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.n, BIG);
        assert_memory_equal(g.p, big, BIG);
        assert_int_equal(g.done.done.bytes, BIG);
        assert_int_equal(g.done.done.checks, checks);
        assert_int_equal(g.done.done.requests, requests);
        assert_string_equal(g.done.done.access_key_id, FETCH_ID);
        got_done(&g);
}

static void expect_failure(const struct proto_get *get, enum cause cause, unsigned requests)
{
        struct got g;
        fetch_get(&fetch, get, &g);
        expect(&g.done, cause);
        assert_int_equal(g.done.done.requests, requests);
        assert_int_equal(g.done.done.checks, 0);
        assert_true(g.done.done.outcome.detail[0]);
        assert_null(strstr(g.done.done.outcome.detail, FETCH_SECRET));
        got_done(&g);
}

/* --- listings --- */

static void awkward_keys_are_listed_and_fetched(void **state)
{
        (void)state;
        static const char *const names[] = {"a b", "a+b", "a=b&c", "100%", "~t'(*)!$,;:@", "q?x#y",
                "ünïcödé-λ-ሴ", "a%20b", "<x>&amp;\"", "dot./..x/.y", "UPPER", "\xf0\x9f\x93\xa6"};
        struct listing l;
        char etag[64];
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                world_object(&world, names[i], names[i], strlen(names[i]), NULL, etag);
        fetch_list(&fetch, FETCH_BUCKET, FETCH_EVENTS, "", &l);
        expect(&l.done, CAUSE_NONE);
        assert_int_equal(l.done.done.requests, 1);
        assert_int_equal(l.keys.n, ELEMENTSOF(names) + 1);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char key[256];
                snprintf(key, sizeof(key), FETCH_EVENTS "%s", names[i]);
                assert_true(strv_has(&l.keys, key));
                size_t size = strlen(names[i]);
                world_object(&world, names[i], names[i], size, NULL, etag);
                const struct proto_get get = whole(names[i], etag, size);
                struct got g;
                fetch_get(&fetch, &get, &g);
                expect(&g.done, CAUSE_NONE);
                assert_int_equal(g.n, size);
                assert_memory_equal(g.p, names[i], size);
                got_done(&g);
        }
        listing_done(&l);
        /* a prefix and a start-after that need encoding, and a deeper prefix */
        fetch_list(&fetch, FETCH_BUCKET, FETCH_EVENTS "a", FETCH_EVENTS "a b", &l);
        expect(&l.done, CAUSE_NONE);
        assert_int_equal(l.keys.n, 3);
        assert_string_equal(l.keys.v[0], FETCH_EVENTS "a%20b");
        assert_string_equal(l.keys.v[1], FETCH_EVENTS "a+b");
        assert_string_equal(l.keys.v[2], FETCH_EVENTS "a=b&c");
        assert_int_equal(l.objects[0].size, 5);
        listing_done(&l);
}

static void a_long_listing_comes_in_pages(void **state)
{
        (void)state;
        struct listing l;
        const int n = 2100;
        char name[700];
        memset(name, 'n', sizeof(name));
        for (int i = 0; i < n; i++) {
                char path[1024];
                snprintf(path, sizeof(path), "root/" FETCH_BUCKET "/universityx/rdx/%.*s/%.*s-%04d", 200,
                        name, 200, name, i);
                world_write(&world, path, "", 0);
        }
        /* every page is asked for a second time, whatever broke */
        world_behave(&world, "op=list\nafter=1\ncount=1\nreset_at=50%\n");
        fetch_list(&fetch, FETCH_BUCKET, "universityx/rdx/", "", &l);
        expect(&l.done, CAUSE_NONE);
        assert_int_equal(l.keys.n, n);
        assert_int_equal(l.done.done.requests, 4);
        for (size_t i = 1; i < l.keys.n; i++)
                assert_true(strcmp(l.keys.v[i - 1], l.keys.v[i]) < 0);
        listing_done(&l);
}

/* How many requests came, once none has come for a while. */
static unsigned requests_until_quiet(void)
{
        unsigned n = 0, quiet = 0;
        for (unsigned i = 0; i < 60 && (n == 0 || quiet < 3); i++) {
                sleep(1);
                unsigned more = world_count_log(&world, FETCH_BUCKET);
                quiet = more > 0 ? 0 : quiet + 1;
                n += more;
        }
        return n;
}

/* What is not read is not asked for: six pages there are, each of more than a MiB, and only so many are asked
 * for as the socket and czard-fetch's queue hold. */
static void a_listing_waits_for_its_reader(void **state)
{
        (void)state;
        struct listing l;
        char name[256];
        memset(name, 'n', sizeof(name));
        for (int i = 0; i < 5100; i++) {
                char path[1200];
                snprintf(path, sizeof(path),
                        "root/" FETCH_BUCKET "/universityx/rdx/w/%.*s/%.*s/%.*s/%.*s-%04d", 245, name, 245,
                        name, 245, name, 240, name, i);
                world_write(&world, path, "", 0);
        }
        fetch_ask_list(&fetch, FETCH_BUCKET, "universityx/rdx/w/", "");
        unsigned asked = requests_until_quiet();
        assert_uint_in_range(asked, 1, 5);
        fetch_take_list(&fetch, &l);
        expect(&l.done, CAUSE_NONE);
        assert_int_equal(l.keys.n, 5100);
        assert_int_equal(l.done.done.requests, 6);
        assert_int_equal(asked + world_count_log(&world, FETCH_BUCKET), 6);
        listing_done(&l);
}

static void bad_listings_are_refused(void **state)
{
        (void)state;
        static const char doctype[] =
                "<!DOCTYPE a [<!ENTITY b \"c\">]><ListBucketResult>&b;</ListBucketResult>";
        static const char stranger[] = "<ListBucketResult><Contents><Key>other/x</"
                                       "Key><LastModified>2024-07-07T01:02:03Z</LastModified>"
                                       "<ETag>\"x\"</ETag><Size>1</Size></Contents></ListBucketResult>";
        static const char endless[] =
                "<ListBucketResult><IsTruncated>true</IsTruncated>"
                "<NextContinuationToken>again</NextContinuationToken></ListBucketResult>";
        static const char lost[] = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
        static const struct {
                const char *name, *text;
        } bad[] = {{"doctype", doctype}, {"stranger", stranger}, {"endless", endless}, {"lost", lost},
                {"html", "<html>welcome to the hotel</html>"}, {"empty", ""}};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct listing l;
                char lines[128];
                snprintf(lines, sizeof(lines), "op=list\nbody=%s/%s.body\n", world.dir, bad[i].name);
                char path[64];
                snprintf(path, sizeof(path), "%s.body", bad[i].name);
                world_write(&world, path, bad[i].text, strlen(bad[i].text));
                world_behave(&world, lines);
                fetch_list(&fetch, FETCH_BUCKET, "universityx/rdx/", "", &l);
                if (l.done.done.outcome.cause != CAUSE_PROTOCOL)
                        print_error("%s\n", bad[i].name);
                expect(&l.done, CAUSE_PROTOCOL);
                assert_int_equal(l.keys.n, 0);
                listing_done(&l);
        }
}

static void a_listing_behind_start_after_only(void **state)
{
        (void)state;
        struct listing l;
        static const char text[] =
                "<ListBucketResult><Contents><Key>universityx/rdx/a</Key>"
                "<LastModified>2024-07-07T01:02:03Z</LastModified><ETag>\"x\"</ETag><Size>1</Size></Contents>"
                "</ListBucketResult>";
        char lines[128];
        world_write(&world, "a.body", text, strlen(text));
        snprintf(lines, sizeof(lines), "op=list\nbody=%s/a.body\n", world.dir);
        world_behave(&world, lines);
        fetch_list(&fetch, FETCH_BUCKET, "universityx/rdx/", "universityx/rdx/0", &l);
        expect(&l.done, CAUSE_NONE);
        assert_int_equal(l.keys.n, 1);
        listing_done(&l);
        fetch_list(&fetch, FETCH_BUCKET, "universityx/rdx/", "universityx/rdx/a", &l);
        expect(&l.done, CAUSE_PROTOCOL);
        listing_done(&l);
}

static void only_configured_prefixes_are_read(void **state)
{
        (void)state;
        static const char *const prefixes[] = {
                "", "other-org/", "universityx", "universityx-pro/", "universityx/e"};
        struct listing l;
        struct got g;
        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++) {
                fetch_list(&fetch, FETCH_BUCKET, prefixes[i], "", &l);
                expect(&l.done, CAUSE_DENIED);
                assert_int_equal(l.done.done.requests, 0);
                listing_done(&l);
        }
        fetch_list(&fetch, "other-bucket", "universityx/rdx/", "", &l);
        expect(&l.done, CAUSE_DENIED);
        listing_done(&l);
        struct proto_get get = whole("big", big_etag, BIG);
        get.bucket = "course-data";
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_DENIED);
        assert_int_equal(g.done.done.requests, 0);
        got_done(&g);
        assert_int_equal(world_count_log(&world, "\n"), 0);
}

/* --- bodies --- */

static void a_whole_object(void **state)
{
        (void)state;
        char etag[64];
        struct got g;
        expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, 1);
        world_object(&world, "nothing", "", 0, NULL, etag);
        const struct proto_get get = whole("nothing", etag, 0);
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.n, 0);
        got_done(&g);
}

static void ranges(void **state)
{
        (void)state;
        static const struct {
                uint64_t offset, length;
        } cases[] = {{0, 1}, {1, 1000}, {BIG - 1, 1}, {100000, 2 * MIB}, {0, BIG}};
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct got g;
                struct proto_get get = whole("big", big_etag, BIG);
                get.whole = 0;
                get.offset = cases[i].offset;
                get.length = cases[i].length;
                fetch_get(&fetch, &get, &g);
                expect(&g.done, CAUSE_NONE);
                assert_int_equal(g.n, cases[i].length);
                assert_memory_equal(g.p, big + cases[i].offset, g.n);
                assert_int_equal(g.done.done.checks, CHECKS);
                got_done(&g);
        }
        static const struct {
                uint64_t offset, length;
                uint8_t is_whole;
        } bad[] = {{0, 0, 0}, {BIG, 1, 0}, {1, BIG, 0}, {1, 2, 1}};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                const struct proto_get get = {.key = "big",
                        .etag = big_etag,
                        .size = BIG,
                        .offset = bad[i].offset,
                        .length = bad[i].length,
                        .whole = bad[i].is_whole};
                expect_failure(&get, CAUSE_INTERNAL, 0);
        }
}

/* s3d's generated bytes: splitmix64, as content.h there says. */
static uint8_t generated(uint64_t seed, uint64_t i)
{
        uint64_t z = seed + (i / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        return (uint8_t)(z >> i % 8 * 8);
}

static void offsets_beyond_4_gib(void **state)
{
        (void)state;
        static const char meta[] = "size=6000000000\nseed=7\netag=00112233445566778899aabbccddeeff\n";
        struct got g;
        struct proto_get get = whole("huge", "\"00112233445566778899aabbccddeeff\"", UINT64_C(6000000000));
        world_write(&world, "root/.meta/" FETCH_BUCKET "/" FETCH_EVENTS "huge", meta, strlen(meta));
        get.whole = 0;
        get.offset = UINT64_C(5999000000);
        get.length = 1000000;
        world_behave(&world, "op=get\ncount=1\nreset_at=50%\n");
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.done.done.requests, 2);
        assert_int_equal(g.n, get.length);
        for (size_t i = 0; i < g.n; i += 997)
                assert_int_equal((uint8_t)g.p[i], generated(7, get.offset + i));
        got_done(&g);
}

static void broken_bodies_heal(void **state)
{
        (void)state;
        static const char *const faults[] = {
                "op=get\ncount=1\nreset_at=50%\n",
                "op=get\ncount=1\nreset_at=last\n",
                "op=get\ncount=3\nreset_at=30%\n",
                "op=get\ncount=1\ntruncate_at=70%\n",
                "op=get\ncount=1\ntruncate_at=1000000\nframing=chunked\n",
                "op=get\ncount=1\ntruncate_at=1000000\nframing=close\n",
                "op=get\ncount=1\nreset_at=0\n",
                "op=get\ncount=1\nstatus=503\ncode=SlowDown\nretry_after=1\n",
        };
        for (size_t i = 0; i < ELEMENTSOF(faults); i++) {
                world_behave(&world, faults[i]);
                world_count_log(&world, "");
                expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, i == 2 ? 4 : 2);
        }
}

static void a_range_heals_too(void **state)
{
        (void)state;
        struct got g;
        struct proto_get get = whole("big", big_etag, BIG);
        get.whole = 0;
        get.offset = 777;
        get.length = 2 * MIB;
        world_behave(&world, "op=get\ncount=1\nreset_at=1000001\n");
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.n, get.length);
        assert_memory_equal(g.p, big + get.offset, g.n);
        assert_int_equal(g.done.done.requests, 2);
        got_done(&g);
}

static void a_stall_heals(void **state)
{
        (void)state;
        restart(&(struct fetch_options){.s3 = STALL_TIMEOUT});
        world_behave(&world, "op=get\ncount=1\nstall_at=50%\n"); /* for ever */
        expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, 2);
}

static void a_silent_server_times_out(void **state)
{
        (void)state;
        struct listing l;
        restart(&(struct fetch_options){.s3 = STALL_TIMEOUT});
        world_behave(&world, "op=list\ndelay=90000\n");
        time_t before = time(NULL);
        fetch_list(&fetch, FETCH_BUCKET, "universityx/rdx/", "", &l);
        expect(&l.done, CAUSE_TIMEOUT);
        assert_int_equal(l.done.done.http_status, 0);
        assert_true(time(NULL) - before < 60);
        listing_done(&l);
}

static void it_gives_up_in_the_end(void **state)
{
        (void)state;
        struct got g;
        const struct proto_get get = whole("big", big_etag, BIG);
        world_behave(&world, "op=get\nreset_at=0\n");
        expect_failure(&get, CAUSE_NETWORK, 2);
        world_behave(&world, "op=get\nstatus=500\ncode=InternalError\n");
        expect_failure(&get, CAUSE_SERVER, 2);
        /* asked to wait for long: that is czard's business */
        world_behave(&world, "op=get\nstatus=503\ncode=SlowDown\nretry_after=300\n");
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_THROTTLED);
        assert_int_equal(g.done.done.requests, 1);
        assert_int_equal(g.done.done.retry_after_usec, 300 * USEC_PER_SEC);
        assert_int_equal(g.done.done.http_status, 503);
        got_done(&g);
}

static void a_replaced_object_is_noticed(void **state)
{
        (void)state;
        char etag[64], other[64];
        world_object(&world, "replaced", big, 1000, NULL, etag);
        world_object(&world, "replaced", big + 1, 1000, NULL, other);
        struct proto_get get = whole("replaced", etag, 1000);
        expect_failure(&get, CAUSE_REPLACED, 1);
        /* a server that does not look at If-Match */
        struct got g;
        world_behave(&world, "op=get\nignore_if_match=1\n");
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_REPLACED);
        assert_string_equal(g.done.done.new_etag, other);
        assert_int_equal(g.n, 0);
        got_done(&g);
        /* in mid-body, with the connection broken there */
        world_write(&world, "new", big + 2, BIG);
        world_object(&world, "half", big, BIG, NULL, etag);
        get = whole("half", etag, BIG);
        char lines[200];
        snprintf(lines, sizeof(lines),
                "op=get\ncount=1\nreplace_with=%s/new\nreplace_after=1000000\nreset_at=2000000\n", world.dir);
        world_behave(&world, lines);
        expect_failure(&get, CAUSE_REPLACED, 2);
}

static void a_body_that_always_ends_early(void **state)
{
        (void)state;
        const struct proto_get get = whole("big", big_etag, BIG);
        world_behave(&world, "op=get\ntruncate_at=0\nframing=chunked\n");
        expect_failure(&get, CAUSE_TRUNCATED, 2);
}

static void an_answer_without_etag_is_not_called_checked(void **state)
{
        (void)state;
        world_behave(&world, "op=get\nheader=ETag:\n");
        expect_big(CHECK_SIZE | CHECK_ETAG | CHECK_NO_CHECKSUM, 1);
}

static void other_answers(void **state)
{
        (void)state;
        /* who may not list without a prefix is not told that a key is missing */
        struct proto_get gone = whole("not-there", big_etag, 5);
        expect_failure(&gone, CAUSE_DENIED, 1);
        gone = whole("universityx-2024-07-07.zip", big_etag, 5);
        gone.bucket = "course-data";
        expect_failure(&gone, CAUSE_GONE, 1);
        const struct proto_get larger = whole("big", big_etag, BIG + 1);
        expect_failure(&larger, CAUSE_PROTOCOL, 1);
        const struct proto_get smaller = whole("big", big_etag, BIG - 1);
        expect_failure(&smaller, CAUSE_PROTOCOL, 1);
        struct proto_get range = whole("big", big_etag, BIG);
        range.whole = 0;
        range.offset = 10;
        range.length = 1000;
        world_behave(&world, "op=get\nfull_for_range=1\n");
        expect_failure(&range, CAUSE_PROTOCOL, 1);
        world_behave(&world, "op=get\nshift_range=1\n");
        expect_failure(&range, CAUSE_PROTOCOL, 1);
        world_behave(&world, "op=get\nextra=3\n");
        const struct proto_get get = whole("big", big_etag, BIG);
        expect_failure(&get, CAUSE_PROTOCOL, 1);
}

/* --- verification --- */

static void etags_of_parts(void **state)
{
        (void)state;
        char etag[64];
        struct got g;
        world_object(&world, "parts", big, 20 * MIB, "part_size=6291457\n", etag);
        const struct proto_get get = whole("parts", etag, 20 * MIB);
        for (int fault = 0; fault < 2; fault++) {
                world_behave(&world, fault ? "op=get\ncorrupt_at=7000000\n" : NULL);
                fetch_get(&fetch, &get, &g);
                expect(&g.done, fault ? CAUSE_ETAG : CAUSE_NONE);
                assert_int_equal(g.done.done.requests, 3); /* the first part, the last, the body */
                assert_int_equal(g.done.done.checks, fault ? 0 : CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM);
                got_done(&g);
        }
        world_behave(&world, "op=get\ncount=1\nreset_at=50%\n");
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.done.done.requests, 4);
        assert_int_equal(g.done.done.checks, CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM);
        got_done(&g);
}

static void a_server_without_part_numbers(void **state)
{
        (void)state;
        struct world other;
        struct fetch f;
        struct got g;
        char common[64], odd[64];
        world_start(&other, &(struct world_options){.no_part_number = true});
        world_object(&other, "common", big, 20 * MIB, "part_size=8388608\n", common);
        world_object(&other, "odd", big, 20 * MIB, "part_size=6291457\n", odd);
        fetch_start(&f, &other, NULL);
        struct proto_get get = whole("common", common, 20 * MIB);
        fetch_get(&f, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.done.done.checks, CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM);
        got_done(&g);
        get = whole("odd", odd, 20 * MIB);
        fetch_get(&f, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.done.done.checks, CHECKS | CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
        got_done(&g);
        fetch_stop(&f);
        world_stop(&other);
}

static void stored_checksums(void **state)
{
        (void)state;
        static const char *const kinds[] = {"crc32", "crc32c", "sha1", "sha256", "crc64nvme"};
        char etag[64], meta[128];
        struct got g;
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                snprintf(meta, sizeof(meta), "checksum_%s=auto\n", kinds[i]);
                world_object(&world, kinds[i], big, 100000, meta, etag);
                const struct proto_get get = whole(kinds[i], etag, 100000);
                world_behave(&world, NULL);
                fetch_get(&fetch, &get, &g);
                expect(&g.done, CAUSE_NONE);
                assert_int_equal(g.done.done.checks, CHECKS | CHECK_ETAG | CHECK_CHECKSUM);
                got_done(&g);
                world_behave(&world, "op=get\nchecksum=wrong\n");
                expect_failure(&get, CAUSE_CHECKSUM, 1);
        }
        /* of the parts, or of the whole of many parts */
        static const char *const others[] = {"part_size=8388608\nchecksum_crc64nvme=auto\n",
                "part_size=8388608\nchecksum_sha256=auto\n", "part_size=8388608\nchecksum_crc32=auto\n"};
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                world_object(&world, "others", big, 20 * MIB, others[i], etag);
                const struct proto_get get = whole("others", etag, 20 * MIB);
                world_behave(&world, NULL);
                fetch_get(&fetch, &get, &g);
                expect(&g.done, CAUSE_NONE);
                assert_int_equal(g.done.done.checks, CHECKS | CHECK_ETAG | CHECK_CHECKSUM);
                got_done(&g);
                world_behave(&world, "op=get\nchecksum=wrong\n");
                expect_failure(&get, CAUSE_CHECKSUM, 3);
        }
}

static void an_etag_under_kms_is_no_digest(void **state)
{
        (void)state;
        char etag[64];
        struct got g;
        world_object(&world, "kms", big, 1000, "sse=aws:kms\netag=00112233445566778899aabbccddeeff\n", etag);
        const struct proto_get get = whole("kms", "\"00112233445566778899aabbccddeeff\"", 1000);
        fetch_get(&fetch, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.done.done.checks, CHECKS | CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
        got_done(&g);
        world_object(&world, "kms", big, 1000, "etag=00112233445566778899aabbccddeeff\n", etag);
        expect_failure(&get, CAUSE_ETAG, 1);
}

/* --- errors that concern a person --- */

static void wrong_credentials(void **state)
{
        (void)state;
        struct listing l;
        static const struct {
                const char *csv, *id;
        } cases[] = {
                {"Access Key Id,Secret Access Key\n" FETCH_ID ",wrong\n", FETCH_ID},
                {"Access Key Id,Secret Access Key\nAKIAUNKNOWN," FETCH_SECRET "\n", "AKIAUNKNOWN"},
                {"nonsense\n", ""},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                restart(&(struct fetch_options){.credentials = cases[i].csv});
                fetch_list(&fetch, FETCH_BUCKET, "universityx/rdx/", "", &l);
                expect(&l.done, i == 2 ? CAUSE_NO_CREDENTIALS : CAUSE_CREDENTIALS);
                assert_string_equal(l.done.done.access_key_id, cases[i].id);
                assert_int_equal(l.done.done.requests, i == 2 ? 0 : 1);
                listing_done(&l);
        }
}

static void the_credential_wins(void **state)
{
        (void)state;
        struct listing l;
        static const char csv[] = "Access Key Id,Secret Access Key\n" FETCH_ID "," FETCH_SECRET "\n";
        world_write(&world, "creds/czard.s3", csv, strlen(csv));
        restart(&(struct fetch_options){.secret = "wrong", .directory = "creds"});
        assert_non_null(strstr(fetch.source, "czard.s3"));
        fetch_list(&fetch, FETCH_BUCKET, "universityx/edx/events/", "", &l);
        expect(&l.done, CAUSE_NONE);
        listing_done(&l);
}

static void a_wrong_clock(void **state)
{
        (void)state;
        struct listing l;
        world_behave(&world, "date_skew=-3600\n");
        fetch_list(&fetch, FETCH_BUCKET, "universityx/rdx/", "", &l);
        expect(&l.done, CAUSE_SKEW);
        assert_uint_in_range(l.done.done.skew_sec + 3610, 0, 20);
        listing_done(&l);
        world_behave(&world, "date_skew=120\n");
        fetch_list(&fetch, FETCH_BUCKET, "universityx/edx/events/", "", &l);
        expect(&l.done, CAUSE_NONE);
        assert_uint_in_range(l.done.done.skew_sec, 110, 130);
        listing_done(&l);
}

static void another_region_is_signed_for_and_remembered(void **state)
{
        (void)state;
        static const char *const said[] = {"", "redirect_status=307\n", "redirect_status=400\n"};
        for (size_t i = 0; i < ELEMENTSOF(said); i++) {
                char lines[256];
                /* the location names a host that must not be asked */
                snprintf(lines, sizeof(lines),
                        "redirect_region=eu-west-%zu\nlocation=http://127.0.0.1:9/x\n%s", i + 1, said[i]);
                world_behave(&world, lines);
                restart(NULL);
                expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, 2);
                expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, 1);
        }
        restart(NULL);
        world_behave(&world, "redirect_region=evil.example/\n");
        const struct proto_get get = whole("big", big_etag, BIG);
        expect_failure(&get, CAUSE_PROTOCOL, 1);
}

static void nobody_listens(void **state)
{
        (void)state;
        struct world nowhere = world;
        struct fetch f;
        struct listing l;
        nowhere.port = 9;
        fetch_start(&f, &nowhere, NULL);
        fetch_list(&f, FETCH_BUCKET, "universityx/rdx/", "", &l);
        expect(&l.done, CAUSE_NETWORK);
        assert_int_equal(l.done.done.http_status, 0);
        listing_done(&l);
        fetch_stop(&f);
}

static void tls(void **state)
{
        (void)state;
        struct world secure;
        struct fetch f;
        struct got g;
        char etag[64];
        world_start(&secure, &(struct world_options){.tls = true});
        world_object(&secure, "x", big, BIG, NULL, etag);
        const struct proto_get get = whole("x", etag, BIG);
        fetch_start(&f, &secure, NULL);
        fetch_get(&f, &get, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.n, BIG);
        assert_int_equal(g.done.done.checks, CHECKS | CHECK_TLS | CHECK_ETAG | CHECK_NO_CHECKSUM);
        got_done(&g);
        fetch_stop(&f);
        fetch_start(&f, &secure, &(struct fetch_options){.no_ca = true});
        fetch_get(&f, &get, &g);
        expect(&g.done, CAUSE_TLS);
        assert_int_equal(g.n, 0);
        got_done(&g);
        fetch_stop(&f);
        world_stop(&secure);
}

static void refused_tls(void **state)
{
        (void)state;
        static const struct world_options cases[] = {
                {.tls = true, .alt_name = "DNS:s3.example.org"},
                {.tls = true, .tls_priorities = "NORMAL:-VERS-ALL:+VERS-TLS1.1:%COMPAT"},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct world w;
                struct fetch f;
                struct listing l;
                world_start(&w, &cases[i]);
                fetch_start(&f, &w, NULL);
                fetch_list(&f, FETCH_BUCKET, "universityx/rdx/", "", &l);
                expect(&l.done, CAUSE_TLS);
                assert_int_equal(l.done.done.requests, 1);
                assert_int_equal(world_count_log(&w, FETCH_BUCKET), 0);
                listing_done(&l);
                fetch_stop(&f);
                world_stop(&w);
        }
}

/* --- the channel --- */

static void a_slow_reader_costs_nothing_and_is_no_stall(void **state)
{
        (void)state;
        struct got g;
        int pipe;
        restart(&(struct fetch_options){.s3 = STALL_TIMEOUT});
        const struct proto_get get = whole("big", big_etag, BIG);
        uint32_t id = fetch_ask(&fetch, &get, &pipe);
        /* until the pipe is full there is something to do, which may take a while on a busy machine */
        unsigned long before, after = fetch_ticks(&fetch);
        for (unsigned i = 0; i < 10; i++) {
                before = after;
                sleep(5);
                after = fetch_ticks(&fetch);
                if (i > 0 && after - before <= 3)
                        break;
        }
        assert_uint_in_range(after - before, 0, 3);
        fetch_take(&fetch, id, pipe, &g);
        expect(&g.done, CAUSE_NONE);
        assert_int_equal(g.n, BIG);
        assert_memory_equal(g.p, big, BIG);
        assert_int_equal(g.done.done.requests, 1);
        got_done(&g);
}

/* Reads it to its end and closes it. */
static size_t drain(int pipe)
{
        size_t n = 0;
        uint8_t bytes[65536];
        for (ssize_t k; (k = read(pipe, bytes, sizeof(bytes))) != 0; n += (size_t)k)
                assert_true(k > 0);
        close(pipe);
        return n;
}

static void cancelled_in_every_state(void **state)
{
        (void)state;
        struct message m = {};
        int pipes[20];
        uint32_t ids[20];
        world_behave(&world, "op=get\ndelay=200\n");
        const struct proto_get get = whole("big", big_etag, BIG);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                ids[i] = fetch_ask(&fetch, &get, &pipes[i]);
        usleep(500000);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                fetch_cancel(&fetch, ids[i]);
                /* a pipe that is read now could take the whole body before the CANCEL is seen */
                fetch_receive(&fetch, ids[i], &m);
                expect(&m, CAUSE_CANCELLED);
                message_done(&m);
                assert_true(drain(pipes[i]) < BIG);
        }
        fetch_cancel(&fetch, 4711); /* unknown: ignored */
        world_behave(&world, NULL);
        expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, 1);
}

static void many_at_once_and_others_in_between(void **state)
{
        (void)state;
        struct got g;
        struct listing l;
        int pipes[12];
        uint32_t ids[12];
        char etag[64];
        world_object(&world, "small", "small", 5, NULL, etag);
        restart(&(struct fetch_options){.s3 = "max_transfers = 3"});
        const struct proto_get get = whole("big", big_etag, BIG);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                ids[i] = fetch_ask(&fetch, &get, &pipes[i]);
        /* no GET can end before its pipe is read */
        fetch_list(&fetch, FETCH_BUCKET, "universityx/edx/events/", "", &l);
        expect(&l.done, CAUSE_NONE);
        listing_done(&l);
        /* czard alone counts: what it asks for is not queued */
        const struct proto_get small = whole("small", etag, 5);
        fetch_get(&fetch, &small, &g);
        expect(&g.done, CAUSE_NONE);
        got_done(&g);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                fetch_take(&fetch, ids[i], pipes[i], &g);
                expect(&g.done, CAUSE_NONE);
                assert_int_equal(g.n, BIG);
                got_done(&g);
        }
}

/* Else the worker's word of a message that ends too early could come before that of how the GET ended. */
static void a_pipe_ends_after_its_done_was_sent(void **state)
{
        (void)state;
        char etag[64], body[8];
        int pipe;
        world_object(&world, "small", "small", 5, NULL, etag);
        struct message refused = {.type = PROTO_LIST, .list = {"other-bucket", "", ""}}, m = {};
        for (unsigned i = 0; i < 5000; i++) { /* the answers are more than the channel holds */
                refused.id = ++fetch.id;
                assert_int_equal(proto_send(fetch.sock, &refused), 0);
        }
        const struct proto_get small = whole("small", etag, 5);
        uint32_t id = fetch_ask(&fetch, &small, &pipe);
        struct pollfd p = {.fd = pipe, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 60000), 1);
        assert_int_equal(read(pipe, body, sizeof(body)), 5);
        assert_int_equal(poll(&p, 1, 1000), 0);
        for (unsigned i = 0; i < 5000; i++) {
                fetch_receive(&fetch, id - 5000 + i, &m);
                message_done(&m);
        }
        fetch_receive(&fetch, id, &m);
        expect(&m, CAUSE_NONE);
        message_done(&m);
        assert_int_equal(read(pipe, body, sizeof(body)), 0);
        close(pipe);
}

static void a_dead_reader_ends_the_transfer(void **state)
{
        (void)state;
        int pipe;
        const struct proto_get get = whole("big", big_etag, BIG);
        uint32_t id = fetch_ask(&fetch, &get, &pipe);
        usleep(200000);
        close(pipe);
        struct message m = {};
        fetch_receive(&fetch, id, &m);
        expect(&m, CAUSE_CANCELLED);
        message_done(&m);
}

static void the_rate_is_kept(void **state)
{
        (void)state;
        struct timespec a, b;
        restart(&(struct fetch_options){.s3 = "bandwidth_limit = 1M"});
        clock_gettime(CLOCK_MONOTONIC, &a);
        expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, 1);
        clock_gettime(CLOCK_MONOTONIC, &b);
        /* 3 MiB, less the burst, and not much slower, even on a busy machine */
        double sec = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
        assert_true(sec > 2.5 && sec < 60);
}

static void socket_activation(void **state)
{
        (void)state;
        restart(&(struct fetch_options){.activated = true});
        expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, 1);
}

/* How often it went to sleep. */
static unsigned long sleeps(void)
{
        char path[64], line[256];
        unsigned long n = 0;
        snprintf(path, sizeof(path), "/proc/%d/status", (int)fetch.pid);
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f))
                if (str_after(line, "voluntary_ctxt_switches:"))
                        n = strtoul(strchr(line, ':') + 1, NULL, 10);
        assert_true(n > 0);
        return n;
}

static void idle_costs_nothing(void **state)
{
        (void)state;
        expect_big(CHECKS | CHECK_ETAG | CHECK_NO_CHECKSUM, 1);
        usleep(300000);
        /* What is left to do when the body has been read may take a while on a busy machine. */
        unsigned long before = sleeps(), after = 0;
        for (unsigned i = 0; i < 5 && after != before; i++) {
                before = i > 0 ? after : before;
                usleep(3000000);
                after = sleeps();
        }
        assert_int_equal(after, before);
}

/* Starts one that ends by itself, and returns its wait status. */
static int status_after(const void *p, size_t n, int signal)
{
        struct fetch f;
        int status = -1;
        fetch_start(&f, &world, NULL);
        if (n > 0)
                assert_int_equal(send(f.sock, p, n, MSG_NOSIGNAL), (ssize_t)n);
        if (signal)
                kill(f.pid, signal);
        assert_int_equal(waitpid(f.pid, &status, 0), f.pid);
        close(f.sock);
        free(f.source);
        return status;
}

static void stopped_in_the_middle(void **state)
{
        (void)state;
        struct fetch f;
        int pipes[4], status = -1;
        const struct proto_get get = whole("big", big_etag, BIG);
        fetch_start(&f, &world, NULL);
        for (size_t i = 0; i < ELEMENTSOF(pipes); i++)
                fetch_ask(&f, &get, &pipes[i]);
        fetch_ask_list(&f, FETCH_BUCKET, "universityx/rdx/", "");
        usleep(100000);
        kill(f.pid, SIGTERM);
        assert_int_equal(waitpid(f.pid, &status, 0), f.pid);
        assert_int_equal(status, 0);
        for (size_t i = 0; i < ELEMENTSOF(pipes); i++)
                close(pipes[i]);
        close(f.sock);
        free(f.source);
}

static void told_to_go_again_and_again(void **state)
{
        (void)state;
        static const int signals[] = {SIGTERM, SIGINT};
        for (size_t i = 0; i < 10; i++) {
                struct fetch f;
                int status = -1;
                fetch_start(&f, &world, NULL);
                while (waitpid(f.pid, &status, WNOHANG) == 0)
                        kill(f.pid, signals[i % 2]);
                assert_int_equal(status, 0);
                close(f.sock);
                free(f.source);
        }
}

static void how_it_ends(void **state)
{
        (void)state;
        assert_int_equal(status_after(NULL, 0, SIGTERM), 0);
        int status = status_after("nonsense", 8, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        void *p;
        size_t n;
        struct message hello = {.type = PROTO_HELLO, .hello = {.version = 1}};
        assert_int_equal(proto_encode(&hello, &p, &n), 0);
        status = status_after(p, n, 0);
        free(p);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                T(awkward_keys_are_listed_and_fetched),
                T(a_long_listing_comes_in_pages),
                T(a_listing_waits_for_its_reader),
                T(bad_listings_are_refused),
                T(a_listing_behind_start_after_only),
                T(only_configured_prefixes_are_read),
                T(a_whole_object),
                T(ranges),
                T(offsets_beyond_4_gib),
                T(broken_bodies_heal),
                T(a_range_heals_too),
                T(a_stall_heals),
                T(a_silent_server_times_out),
                T(it_gives_up_in_the_end),
                T(a_replaced_object_is_noticed),
                T(a_body_that_always_ends_early),
                T(an_answer_without_etag_is_not_called_checked),
                T(other_answers),
                T(etags_of_parts),
                T(a_server_without_part_numbers),
                T(stored_checksums),
                T(an_etag_under_kms_is_no_digest),
                T(wrong_credentials),
                T(the_credential_wins),
                T(a_wrong_clock),
                T(another_region_is_signed_for_and_remembered),
                T(nobody_listens),
                T(tls),
                T(refused_tls),
                T(a_slow_reader_costs_nothing_and_is_no_stall),
                T(cancelled_in_every_state),
                T(many_at_once_and_others_in_between),
                T(a_pipe_ends_after_its_done_was_sent),
                T(a_dead_reader_ends_the_transfer),
                T(the_rate_is_kept),
                T(socket_activation),
                T(idle_costs_nothing),
                T(stopped_in_the_middle),
                T(told_to_go_again_and_again),
                T(how_it_ends),
        };
        signal(SIGPIPE, SIG_IGN);
        if (argc > 1)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, start_world, stop_world);
}
