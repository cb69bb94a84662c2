/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger_facts.h"
#include "ledger_rebuild.h"

#include <fcntl.h>

#include "audit.h"
#include "fsx.h"
#include "ledger_fixture.h"

#define ZIP "universityx-2024-07-07.zip"
#define FOLDER "universityx/database/2024-07-07"
#define MODIFIED 1720000000

/* A ledger's folder that has an audit record too. */
struct place {
        struct fixture *f;
        int fd;
        struct audit *audit;
};

static struct place place_open(struct fixture *f)
{
        struct place p = {.f = f, .fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        assert_true(p.fd >= 0);
        assert_int_equal(audit_open(p.fd, &p.audit, NULL), 0);
        return p;
}

static void place_close(struct place *p)
{
        audit_free(p->audit);
        close_fd(p->fd);
}

static struct audit_entry about(const char *event, const char *key, const char *etag)
{
        return (struct audit_entry){.event = event,
                .bucket = "b",
                .key = key,
                .etag = etag,
                .category = "events",
                .org = "universityx",
                .site = "edx",
                .date = "2024-07-07",
                .size = -1,
                .mtime = MODIFIED,
                .uid = -1};
}

static void append(struct place *p, const struct audit_entry *entry)
{
        struct error e = {};
        if (audit_append(p->audit, entry, &e) < 0)
                fail_msg("%s", e.text);
}

static struct audit_entry about_zip(const char *event, const char *etag)
{
        struct audit_entry a = about(event, ZIP, etag);
        a.category = "database";
        a.site = NULL;
        return a;
}

static void append_member(struct place *p, const char *etag, const char *name, uint8_t sha, int64_t size)
{
        uint8_t sha256[SHA256_SIZE];
        memset(sha256, sha, sizeof(sha256));
        char member[256], path[256];
        snprintf(member, sizeof(member), "universityx-2024-07-07/%s.gpg", name);
        snprintf(path, sizeof(path), FOLDER "/%s", name);
        struct audit_entry a = about_zip(size < 0 ? "member-rejected" : "member", etag);
        a.member = member;
        a.path = size < 0 ? NULL : path;
        a.sha256 = size < 0 ? NULL : sha256;
        a.size = size;
        a.cause = size < 0 ? "bad-integrity" : NULL;
        a.object_size = 1000;
        a.checks = size < 0 ? 0 : CHECK_INTEGRITY | CHECK_ZIP;
        append(p, &a);
}

static void append_zip(struct place *p, const char *event, const char *etag)
{
        struct audit_entry a = about_zip(event, etag);
        a.path = FOLDER;
        a.size = 77;
        append(p, &a);
}

static struct ledger_rebuilt rebuild(struct place *p)
{
        struct ledger_rebuilt done = {};
        struct error e = {};
        if (ledger_rebuild(p->f->l, p->fd, 255, &done, &e) < 0)
                fail_msg("%s", e.text);
        return done;
}

static struct ledger_object find(struct place *p, const char *key)
{
        struct ledger_object o;
        assert_int_equal(ledger_find(p->f->l, "b", key, &o, NULL), 0);
        return o;
}

static void what_was_published_is(void **state)
{
        struct place p = place_open(*state);
        uint8_t sha256[SHA256_SIZE];
        memset(sha256, 0xab, sizeof(sha256));
        struct audit_entry a = about("published", "k", "\"1\"");
        a.path = "universityx/events/edx/2024/f.log.gz";
        a.size = 4242;
        a.sha256 = sha256;
        a.fingerprint = "AABB";
        a.object_size = 999;
        a.checks = CHECK_TLS | CHECK_NO_CHECKSUM;
        append(&p, &a);
        struct ledger_rebuilt done = rebuild(&p);
        assert_int_equal(done.lines, 1);
        assert_int_equal(done.objects, 1);
        assert_int_equal(done.members, 0);
        assert_int_equal(done.unreadable, 0);

        struct ledger_object o = find(&p, "k");
        assert_int_equal(o.state, OBJECT_PUBLISHED);
        assert_string_equal(o.etag, "\"1\"");
        assert_string_equal(o.staged_etag, "\"1\"");
        assert_string_equal(o.path, "universityx/events/edx/2024/f.log.gz");
        assert_string_equal(o.org, "universityx");
        assert_string_equal(o.site, "edx");
        assert_string_equal(o.date, "2024-07-07");
        assert_string_equal(o.fingerprint, "AABB");
        assert_int_equal(o.category, CATEGORY_EVENTS);
        assert_int_equal(o.last_modified, MODIFIED);
        assert_int_equal(o.plain_size, 4242);
        assert_int_equal(o.size, 999);
        assert_int_equal(o.checks, CHECK_TLS | CHECK_NO_CHECKSUM);
        assert_true(o.has_sha256);
        assert_memory_equal(o.sha256, sha256, SHA256_SIZE);
        assert_true(o.published_at > MODIFIED);
        assert_false(o.is_zip);
        place_close(&p);
}

/* Each is an object of its own: what was said of it, and what comes of it. */
static void the_last_word_counts(void **state)
{
        static const struct {
                const char *events; /* each but the first with the ETag "2" */
                enum object_state want;
                const char *etag, *staged_etag;
        } rows[] = {
                {"published", OBJECT_PUBLISHED, "1", "1"},
                {"published replaced", OBJECT_PUBLISHED, "2", "2"},
                {"published rejected", OBJECT_REJECTED, "2", "1"},
                {"rejected", OBJECT_REJECTED, "1", ""},
                {"rejected published", OBJECT_PUBLISHED, "2", "2"},
                {"published missing", OBJECT_MISSING, "2", "1"},
                {"published missing adopted", OBJECT_PUBLISHED, "2", "2"},
                {"published resync", OBJECT_NEW, "2", "1"},
                {"published forgotten", OBJECT_FORGOTTEN, "2", ""},
                {"published forgotten resync published", OBJECT_PUBLISHED, "2", "2"},
                {"published pruned", OBJECT_PRUNED, "2", ""},
                {"published unheard-of", OBJECT_PUBLISHED, "1", "1"},
        };
        struct place p = place_open(*state);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(strv_done) struct strv events = {};
                assert_int_equal(strv_split(&events, rows[i].events), 0);
                for (size_t k = 0; k < events.n; k++) {
                        char key[32];
                        snprintf(key, sizeof(key), "k%zu", i);
                        struct audit_entry a = about(events.v[k], key, k == 0 ? "1" : "2");
                        a.path = "p";
                        a.cause = streq(events.v[k], "rejected") ? "bad-gzip" : NULL;
                        a.reason = "detail";
                        append(&p, &a);
                }
        }
        assert_int_equal(rebuild(&p).objects, ELEMENTSOF(rows));
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char key[32];
                snprintf(key, sizeof(key), "k%zu", i);
                struct ledger_object o = find(&p, key);
                if (o.state != rows[i].want || !streq(o.etag, rows[i].etag) ||
                        !streq(o.staged_etag, rows[i].staged_etag) ||
                        (o.cause == CAUSE_BAD_GZIP) != (rows[i].want == OBJECT_REJECTED) ||
                        (*o.path != 0) != (*rows[i].staged_etag != 0))
                        fail_msg("%s: %s etag %s staged %s path %s", rows[i].events,
                                object_state_name(o.state), o.etag, o.staged_etag, o.path);
        }
        place_close(&p);
}

struct seen {
        char text[512];
};

static int see(struct ledger_member *m, void *arg)
{
        struct seen *s = arg;
        size_t n = strlen(s->text);
        snprintf(s->text + n, sizeof(s->text) - n, "%s:%s:%s:%d:%lld ", m->path, m->course, m->table,
                m->state == OBJECT_PUBLISHED, (long long)m->plain_size);
        return 0;
}

static void members_of_what_is_staged(void **state)
{
        struct place p = place_open(*state);
        /* replaced later: not these */
        append_member(&p, "1", "Ux-c-r-auth_user-prod-analytics.sql", 1, 10);
        append_member(&p, "1", "Ux-c-r-gone-prod-analytics.sql", 2, 10);
        append_zip(&p, "published", "1");
        /* a crash before it was published: not these either */
        append_member(&p, "2", "Ux-c-r-teams-prod-analytics.sql", 3, 33);
        struct audit_entry start = {.event = "start", .size = -1, .mtime = -1, .uid = -1};
        append(&p, &start);
        append_member(&p, "2", "Ux-c-r-auth_user-prod-analytics.sql", 4, 44);
        append_member(&p, "2", "Ux-c-r-wiki_article-prod-analytics.sql.failed", 5, 55);
        append_member(&p, "2", "Ux-c-r-user_id_map-prod-analytics.sql", 0, -1);
        append_zip(&p, "replaced", "2");
        /* another crash */
        append_member(&p, "3", "Ux-c-r-late-prod-analytics.sql", 6, 66);
        struct ledger_rebuilt done = rebuild(&p);
        assert_int_equal(done.objects, 1);
        assert_int_equal(done.members, 3);

        struct ledger_object o = find(&p, ZIP);
        assert_true(o.is_zip);
        assert_int_equal(o.category, CATEGORY_DATABASE);
        assert_string_equal(o.staged_etag, "2");
        assert_int_equal(o.plain_size, 77);
        struct seen s = {};
        assert_int_equal(ledger_members(p.f->l, o.id, see, &s, NULL), 0);
        assert_string_equal(s.text,
                "Ux-c-r-auth_user-prod-analytics.sql:Ux-c-r:auth_user:1:44 "
                "Ux-c-r-user_id_map-prod-analytics.sql:Ux-c-r:user_id_map:0:-1 "
                "Ux-c-r-wiki_article-prod-analytics.sql.failed:Ux-c-r:wiki_article:1:55 ");
        /* deduplication finds them */
        uint8_t sha256[SHA256_SIZE];
        char path[1024];
        memset(sha256, 4, sizeof(sha256));
        assert_int_equal(
                ledger_find_plaintext(p.f->l, "universityx", CATEGORY_DATABASE, sha256, 44, path, NULL), 0);
        assert_string_equal(path, FOLDER "/Ux-c-r-auth_user-prod-analytics.sql");
        place_close(&p);
}

/* That a filter left members out is known; which ones is not. */
static void what_was_left_out(void **state)
{
        struct place p = place_open(*state);
        char value[65];
        struct audit_entry a = {.event = "start", .config_sha256 = "c1", .size = -1, .mtime = -1, .uid = -1};
        append(&p, &a);
        for (uint64_t n = 3; n <= 3; n--) {
                a = about_zip("published", "1");
                a.path = FOLDER;
                a.left_out = n;
                append(&p, &a);
                rebuild(&p);
                bool left_out;
                assert_int_equal(ledger_left_out(p.f->l, find(&p, ZIP).id, &left_out, NULL), 0);
                assert_int_equal(left_out, n > 0);
        }
        assert_int_equal(ledger_meta_get(p.f->l, LEDGER_FILTERED_BY, value, sizeof(value), NULL), 0);
        assert_string_equal(value, "c1");
        place_close(&p);
}

static void forgotten_has_no_members(void **state)
{
        struct place p = place_open(*state);
        append_member(&p, "1", "Ux-c-r-auth_user-prod-analytics.sql", 1, 10);
        struct audit_entry published = about_zip("published", "1");
        published.path = FOLDER;
        published.fingerprint = "AB";
        append(&p, &published);
        struct audit_entry a = about_zip("forgotten", "1");
        append(&p, &a);
        struct ledger_rebuilt done = rebuild(&p);
        assert_int_equal(done.members, 0);
        assert_int_equal(find(&p, ZIP).state, OBJECT_FORGOTTEN);
        assert_string_equal(find(&p, ZIP).fingerprint, ""); /* as when it was forgotten */
        place_close(&p);
}

static void append_day(struct place *p, const char *event, uint8_t sha, const char *rule)
{
        uint8_t sha256[SHA256_SIZE];
        memset(sha256, sha, sizeof(sha256));
        struct audit_entry a = about(event, "k", "1");
        a.path = *rule ? "universityx/events-by-course/edx/2024/2024-07-07"
                       : "universityx/events/edx/2024/f.log.gz";
        a.sha256 = sha256;
        a.size = sha;
        a.reason = *rule ? rule : NULL;
        append(p, &a);
}

static bool is_due(struct place *p)
{
        int64_t *ids = NULL, next = 0;
        size_t n = 0;
        assert_int_equal(
                ledger_splits_due(p->f->l, "universityx", EVENT_RULE_EDX, 1, &ids, &n, &next, NULL), 0);
        free(ids);
        return n > 0;
}

/* A day is by course still, unless its file or the rule is another one since, or it was removed. */
static void days_by_course(void **state)
{
        struct place p = place_open(*state);
        struct ledger_split day;
        append_day(&p, "published", 1, "");
        append_day(&p, "day-complete", 2, "edx");
        rebuild(&p);
        assert_false(is_due(&p));
        int64_t id = find(&p, "k").id;
        assert_int_equal(ledger_split_get(p.f->l, id, &day, NULL), 0);
        assert_string_equal(day.path, "universityx/events-by-course/edx/2024/2024-07-07");
        assert_int_equal(day.rule, EVENT_RULE_EDX);
        assert_int_equal(day.source_sha256[0], 1);
        assert_int_equal(day.sums_sha256[0], 2);
        assert_int_equal(day.files_size, 2);
        append_day(&p, "replaced", 3, "");
        rebuild(&p);
        assert_true(is_due(&p));
        append_day(&p, "day-complete", 4, "edx+url");
        rebuild(&p);
        assert_true(is_due(&p));
        append_day(&p, "day-complete", 5, "edx");
        append_day(&p, "day-complete", 6, "unheard-of");
        assert_int_equal(rebuild(&p).unreadable, 1);
        assert_false(is_due(&p));
        append_day(&p, "day-removed", 6, "edx");
        rebuild(&p);
        assert_true(is_due(&p));
        assert_int_equal(ledger_split_get(p.f->l, id, &day, NULL), -ENOENT);
        append_day(&p, "day-complete", 7, "edx");
        append_day(&p, "day-missing", 7, "edx");
        rebuild(&p);
        assert_true(is_due(&p));
        place_close(&p);
}

static void czard_itself(void **state)
{
        struct place p = place_open(*state);
        struct audit_entry start = {.event = "start",
                .staging_id = "0123456789abcdef0123456789abcdef",
                .size = -1,
                .mtime = -1,
                .uid = -1};
        append(&p, &start);
        struct audit_entry pause = {
                .event = "pause", .reason = "audit week", .size = -1, .mtime = -1, .uid = 0};
        append(&p, &pause);
        struct audit_entry latest = {.event = "latest",
                .org = "universityx",
                .category = "database",
                .date = "2024-06-30",
                .size = -1,
                .mtime = -1,
                .uid = 0};
        append(&p, &latest);
        struct ledger_rebuilt done = rebuild(&p);
        assert_string_equal(done.staging_id, start.staging_id);
        char value[64];
        assert_int_equal(ledger_meta_get(p.f->l, "staging-id", value, sizeof(value), NULL), 0);
        assert_string_equal(value, start.staging_id);
        assert_int_equal(ledger_meta_get(p.f->l, "paused", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "audit week");
        assert_int_equal(ledger_pin(p.f->l, "universityx", CATEGORY_DATABASE, value, NULL), 0);
        assert_string_equal(value, "2024-06-30");
        /* once more, after a crash: no harm */
        pause.event = "unpause";
        append(&p, &pause);
        rebuild(&p);
        assert_int_equal(ledger_meta_get(p.f->l, "paused", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "");
        place_close(&p);
}

/* Whatever stands in the record, what is good in it counts. */
static void hostile_lines_are_passed_over(void **state)
{
        static const char *const lines[] = {
                "not a line",
                "{}",
                "{\"event\":\"published\"}",
                "{\"event\":\"published\",\"bucket\":\"b\",\"key\":\"x1\"}",
                "{\"event\":\"published\",\"bucket\":\"b\",\"key\":\"x2\",\"category\":\"none\",\"org\":"
                "\"o\"}",
                "{\"event\":\"published\",\"bucket\":\"b\",\"key\":\"x3\",\"category\":\"events\",\"org\":"
                "\"o\","
                "\"sha256\":\"00\"}",
                "{\"event\":\"published\",\"bucket\":\"b\",\"key\":\"x4\",\"category\":\"events\",\"org\":"
                "\"o\","
                "\"size\":-5}",
                "{\"event\":\"published\",\"bucket\":\"b\",\"key\":\"x5\",\"category\":\"events\",\"org\":"
                "\"o\","
                "\"mtime\":\"yesterday\"}",
                "{\"event\":\"published\",\"bucket\":"
                "\"bucketbucketbucketbucketbucketbucketbucketbucketbucketbucketbucketbucket\","
                "\"key\":\"x6\",\"category\":\"events\",\"org\":\"o\"}",
                "{\"event\":\"published\",\"bucket\":\"b\",\"key\":\"x7\",\"etag\":\"1\","
                "\"category\":\"events\",\"org\":\"o\"}", /* nowhere */
                "{\"event\":\"member\",\"bucket\":\"b\",\"key\":\"" ZIP
                "\",\"etag\":\"1\",\"member\":\"../../etc/passwd\",\"path\":\"etc/passwd\"}",
        };
        struct place p = place_open(*state);
        int fd = openat(p.fd, "audit.jsonl", O_WRONLY | O_APPEND | O_CLOEXEC);
        assert_true(fd >= 0);
        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                assert_int_equal(write_all(fd, lines[i], strlen(lines[i])), 0);
                assert_int_equal(write_all(fd, "\n", 1), 0);
        }
        static const char good[] = "{\"event\":\"published\",\"bucket\":\"b\",\"key\":\"" ZIP
                                   "\",\"etag\":\"1\",\"category\":\"database\",\"org\":\"universityx\","
                                   "\"date\":\"2024-07-07\",\"path\":\"" FOLDER "\"}\n{\"torn";
        assert_int_equal(write_all(fd, good, strlen(good)), 0);
        close_fd(fd);
        struct ledger_rebuilt done = rebuild(&p);
        assert_int_equal(done.members, 0);
        assert_int_equal(find(&p, ZIP).state, OBJECT_PUBLISHED);
        struct ledger_filter published = {.states = BIT(OBJECT_PUBLISHED)};
        uint64_t n, bytes;
        assert_int_equal(ledger_count(p.f->l, &published, &n, &bytes, NULL), 0);
        assert_int_equal(n, 1);
        assert_true(done.unreadable >= 10);
        place_close(&p);
}

static void rows_that_cannot_be_are_damage(void **state)
{
        static const char *const damages[] = {
                "UPDATE object SET state = 99",
                "UPDATE object SET size = -1",
                "UPDATE member SET sha256 = x'00'",
                "UPDATE member SET state = -1",
        };
        struct fixture *f = *state;
        for (size_t i = 0; i < ELEMENTSOF(damages); i++) {
                struct place p = place_open(f);
                append_member(&p, "1", "Ux-c-r-auth_user-prod-analytics.sql", 1, 10);
                append_zip(&p, "published", "1");
                rebuild(&p);
                assert_int_equal(ledger_check(f->l, NULL), 0);
                meddle(f, damages[i]);
                struct error e = {};
                if (ledger_check(f->l, &e) != -EUCLEAN || e.err != EUCLEAN)
                        fail_msg("not found: %s", damages[i]);
                f->l = ledger_free(f->l);
                assert_int_equal(ledger_set_aside(f->dir, NULL), 0);
                assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
                place_close(&p);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_was_published_is, setup, teardown),
                cmocka_unit_test_setup_teardown(the_last_word_counts, setup, teardown),
                cmocka_unit_test_setup_teardown(members_of_what_is_staged, setup, teardown),
                cmocka_unit_test_setup_teardown(what_was_left_out, setup, teardown),
                cmocka_unit_test_setup_teardown(forgotten_has_no_members, setup, teardown),
                cmocka_unit_test_setup_teardown(days_by_course, setup, teardown),
                cmocka_unit_test_setup_teardown(czard_itself, setup, teardown),
                cmocka_unit_test_setup_teardown(hostile_lines_are_passed_over, setup, teardown),
                cmocka_unit_test_setup_teardown(rows_that_cannot_be_are_damage, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
