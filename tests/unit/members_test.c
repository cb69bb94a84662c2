/* SPDX-License-Identifier: Apache-2.0 */
/* Members as rows: from a directory to what is wanted, runs, verdicts, lists; and very many of them. */
#include "ledger_fixture.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "members.h"
#include "terms.h"

#define TOP "org-2024-07-07"
#define COURSE "Org-c%u-run"
#define MANY 200000

static struct error e;

static bool wants_all(void *arg, const char *course, const char *table)
{
        (void)arg;
        (void)course;
        (void)table;
        return true;
}

static bool wants_course(void *arg, const char *course, const char *table)
{
        (void)table;
        return streq(course, arg);
}

static const struct members_rules all = {.top = TOP, .max_name = 255, .wants = wants_all};

struct spec {
        const char *name;
        uint64_t offset, packed;
        uint32_t crc, mode;
};

static void add_by(struct members *m, const struct spec *s, const struct members_rules *rules)
{
        const struct archive_entry entry = {.name = s->name,
                .place.offset = s->offset,
                .packed = s->packed,
                .size = s->packed * 2,
                .crc = s->crc,
                .mode = s->mode,
                .method = 8};
        assert_int_equal(members_add(m, &entry, rules, &e), 0);
}

static struct members *open_members(struct fixture *f)
{
        struct members *m = NULL;
        e = (struct error){};
        assert_int_equal(members_open(f->l, &m, &e), 0);
        assert_int_equal(members_begin(m, &e), 0);
        return m;
}

/* From specs, whose last one has no name. */
static int complete(struct members *m, const struct spec *v, uint64_t end, bool folds_case)
{
        e = (struct error){};
        assert_int_equal(members_begin(m, &e), 0);
        for (; v->name; v++)
                add_by(m, v, &all);
        return members_complete(m, end, folds_case, &e);
}

static int print_name(const struct member *v, void *arg, struct error *unused)
{
        (void)unused;
        strbuf_printf(arg, "%s%s", ((struct strbuf *)arg)->len ? " " : "", v->name);
        return 0;
}

static int print_refused(const struct member *v, void *arg, struct error *unused)
{
        (void)unused;
        strbuf_printf(arg, "%s: %s: %s\n", v->name, cause_name(v->cause), v->detail);
        return 0;
}

static void assert_list(struct members *m, enum members_list list, const char *want)
{
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_add(&b, "");
        assert_int_equal(
                members_each(m, list, list == MEMBERS_REJECTED ? print_refused : print_name, &b, &e), 0);
        assert_string_equal(b.s, want);
}

static int take_first(const struct member *v, void *arg, struct error *unused)
{
        struct member *ret = arg;
        (void)unused;
        *ret = *v;
        ret->name = strdup(v->name);
        return 1;
}

#define NAME(course, table) TOP "/Org-" course "-run-" table "-prod-analytics.sql.gpg"

static void what_a_name_says_is_kept(void **state)
{
        struct members *m = open_members(*state);
        static const struct spec v[] = {
                {TOP "/ora/Org-c1-run-submissions_score-prod-edge-analytics.sql.failed.gpg", 0, 10, 7,
                        0100644},
                {}};
        _cleanup_member_ struct member first = {};
        assert_int_equal(complete(m, v, 500, false), 0);
        assert_int_equal(members_each(m, MEMBERS_BY_NAME, take_first, &first, &e), 1);
        assert_string_equal(first.path, "ora/Org-c1-run-submissions_score-prod-edge-analytics.sql.failed");
        assert_string_equal(first.course, "Org-c1-run");
        assert_string_equal(first.table, "ora/submissions_score");
        assert_string_equal(first.site, "edge");
        assert_true(first.failed_at_source);
        assert_int_equal(first.step, MEMBER_WANTED);
        assert_int_equal(first.entry.place.extent, 500);
        assert_int_equal(first.entry.packed, 10);
        assert_int_equal(first.entry.size, 20);
        assert_int_equal(first.entry.crc, 7);
        assert_int_equal(first.entry.mode, 0100644);
        assert_int_equal(first.entry.method, 8);
        assert_int_equal(first.plain_size, -1);
        assert_false(first.has_sha256);
        members_free(m);
}

static void each_is_wanted_ignored_or_refused(void **state)
{
        struct members *m = open_members(*state);
        char course[] = "Org-c1-run";
        const struct members_rules rules = {
                .top = TOP, .max_name = 100, .wants = wants_course, .arg = course};
        static const struct spec v[] = {{TOP "/", 0, 0}, {NAME("c1", "auth_user"), 100, 10},
                {NAME("c2", "auth_user"), 300, 10}, {"../up", 500, 1}, {"bad\001name", 600, 1},
                {TOP "/a/link", 700, 1, 0, 0120777}, {TOP "/1/2/3/4/5/6/7/8/9/deep", 800, 1}};
        for (size_t i = 0; i < ELEMENTSOF(v); i++)
                add_by(m, &v[i], &rules);
        assert_int_equal(members_complete(m, 1000, false, &e), 0);
        assert_list(m, MEMBERS_REJECTED,
                "../up: unsafe-name: the member name has a component that begins with a dot\n"
                "bad\001name: unsafe-name: the member name has a backslash, a control character or bytes "
                "that are "
                "not UTF-8\n" TOP "/1/2/3/4/5/6/7/8/9/deep: over-limit: it lies too many folders deep\n" TOP
                "/a/link: unsafe-name: not a regular file but a link or device\n");
        struct members_sums sums = {};
        assert_int_equal(members_sums(m, &sums, &e), 0);
        assert_int_equal(sums.n[MEMBER_WANTED], 1);
        assert_int_equal(sums.n[MEMBER_IGNORED], 2); /* the folder, the other course */
        assert_int_equal(sums.n[MEMBER_REJECTED], 4);
        assert_int_equal(sums.wanted_bytes, 200);
        assert_int_equal(sums.wanted_size, 20);
        members_free(m);
}

static void only_folders_are_no_members(void **state)
{
        struct members *m = open_members(*state);
        static const struct spec folders[] = {{TOP "/", 0, 0}, {TOP "/ora/", 100, 0}, {}}, none[] = {{}};
        assert_int_equal(complete(m, folders, 200, false), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_BAD_ZIP);
        assert_int_equal(complete(m, none, 0, false), -EBADMSG);
        members_free(m);
}

static void extents_go_to_the_next_header(void **state)
{
        struct members *m = open_members(*state);
        static const struct spec good[] = {{"b", 300, 5}, {"a", 0, 100}, {}};
        static const struct spec over[] = {{"a", 0, 270}, {"b", 300, 5}, {}};
        static const struct spec one_place[] = {{"a", 0, 5}, {"b", 0, 5}, {}};
        static const struct spec behind[] = {{"a", 0, 5}, {"b", 401, 5}, {}};
        static const struct spec huge[] = {{"a", 0, INT64_MAX / 2}, {}};
        struct members_run run = {.id = 1};
        static const struct members_limits limits = {.members = 10, .bytes = 1000, .gap = 100, .waste = 100};
        assert_int_equal(complete(m, good, 400, false), 0);
        assert_int_equal(members_take_run(m, &limits, &run, &e), 1);
        assert_true(run.offset == 0 && run.length == 400 && run.n == 2);
        assert_int_equal(complete(m, over, 400, false), -EBADMSG);
        assert_string_equal(e.text, "members overlap");
        assert_int_equal(complete(m, one_place, 400, false), -EBADMSG);
        assert_int_equal(complete(m, behind, 400, false), -EBADMSG);
        assert_string_equal(e.text, "a member lies behind the directory");
        assert_int_equal(complete(m, huge, 1000, false), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_BAD_ZIP);
        members_free(m);
}

static void a_double_counts_once(void **state)
{
        struct members *m = open_members(*state);
        /* a record that stands twice; the same bytes twice; others of that name */
        static const struct spec twice[] = {{"x", 0, 10, 1}, {"x", 0, 10, 1}, {"y", 100, 10, 2}, {}};
        static const struct spec copies[] = {{"x", 0, 10, 1}, {"y", 100, 10, 2}, {"x", 200, 10, 1}, {}};
        static const struct spec others[] = {{"x", 0, 10, 1}, {"y", 100, 10, 2}, {"x", 200, 10, 3}, {}};
        assert_int_equal(complete(m, twice, 300, false), 0);
        assert_list(m, MEMBERS_BY_NAME, "x y");
        assert_list(m, MEMBERS_REJECTED, "");
        assert_int_equal(complete(m, copies, 300, false), 0);
        assert_list(m, MEMBERS_BY_NAME, "x y");
        assert_list(m, MEMBERS_REJECTED, "");
        assert_int_equal(complete(m, others, 300, false), 0);
        assert_list(m, MEMBERS_REJECTED, "x: unsafe-name: another member has the same name\n");
        members_free(m);
}

static void names_in_each_others_way(void **state)
{
        struct members *m = open_members(*state);
        static const struct spec cases[] = {{"a/X", 0, 1}, {"b/x", 100, 1}, {"b/X.gpg", 200, 1}, {}};
        static const struct spec folders[] = {
                {"t/d", 0, 1}, {"t/d/f", 100, 1}, {"t/d0", 200, 1}, {"t/D", 300, 1}, {"t/d-", 400, 1}, {}};
        const struct members_rules rules = {.max_name = 255, .wants = wants_all};
        for (int folds = 0; folds < 2; folds++) {
                /* a and b are both cut as the archive's own folder, so these have the paths X, x, X */
                assert_int_equal(members_begin(m, &e), 0);
                for (const struct spec *s = cases; s->name; s++)
                        add_by(m, s, &rules);
                assert_int_equal(members_complete(m, 500, folds, &e), 0);
                assert_list(m, MEMBERS_REJECTED,
                        folds ? "a/X: unsafe-name: another member has the same name\n"
                                "b/X.gpg: unsafe-name: another member has the same name\n"
                                "b/x: unsafe-name: another name differs only in case, which the staging file "
                                "system does not tell apart\n"
                              : "a/X: unsafe-name: another member has the same name\n"
                                "b/X.gpg: unsafe-name: another member has the same name\n");
                assert_int_equal(members_begin(m, &e), 0);
                for (const struct spec *s = folders; s->name; s++)
                        add_by(m, s, &rules);
                assert_int_equal(members_complete(m, 500, folds, &e), 0);
                assert_list(m, MEMBERS_REJECTED,
                        folds ? "t/D: unsafe-name: another name differs only in case, which the staging file "
                                "system does not tell apart\n"
                                "t/d: unsafe-name: another name differs only in case, which the staging file "
                                "system does not tell apart\n"
                              : "t/d: unsafe-name: its name is a folder to other members\n");
        }
        members_free(m);
}

static void runs_are_of_neighbours(void **state)
{
        struct members *m = open_members(*state);
        static const struct spec v[] = {
                {"a", 0, 50}, {"b", 100, 50}, {"c", 200, 50}, {"d", 20000, 50}, {"e", 20100, 50}, {}};
        const struct members_limits two = {.members = 2, .bytes = 100000, .gap = 100, .waste = 100};
        const struct members_limits small = {.members = 10, .bytes = 250, .gap = 100, .waste = 100};
        struct members_run run = {.id = 1};
        struct member batch[4];
        assert_int_equal(complete(m, v, 20200, false), 0);
        assert_true(members_any_wanted(m));
        assert_int_equal(members_take_run(m, &two, &run, &e), 1);
        assert_true(run.offset == 0 && run.length == 200 && run.n == 2);
        /* in batches, in order */
        assert_int_equal(members_batch(m, 1, 0, batch, 1, &e), 1);
        assert_string_equal(batch[0].name, "a");
        member_done(&batch[0]);
        assert_int_equal(members_batch(m, 1, 100, batch, 4, &e), 1);
        assert_string_equal(batch[0].name, "b");
        assert_int_equal(batch[0].step, MEMBER_TAKEN);
        member_done(&batch[0]);
        /* c's extent reaches to d: too much for the limit, but it is the first */
        run.id = 2;
        assert_int_equal(members_take_run(m, &small, &run, &e), 1);
        assert_true(run.offset == 200 && run.length == 19800 && run.n == 1);
        /* what is given back comes first again */
        assert_int_equal(members_release(m, 1, &e), 0);
        run.id = 3;
        assert_int_equal(members_take_run(m, &small, &run, &e), 1);
        assert_true(run.offset == 0 && run.length == 200 && run.n == 2);
        run.id = 4;
        assert_int_equal(members_take_run(m, &small, &run, &e), 1);
        assert_true(run.offset == 20000 && run.length == 200 && run.n == 2);
        assert_int_equal(members_take_run(m, &small, &run, &e), 0);
        assert_false(members_any_wanted(m));
        members_free(m);
}

/* Unwanted ones between: few bytes are fetched along, many are not. */
static void gaps_are_small(void **state)
{
        struct members *m = open_members(*state);
        char course[] = "Org-c1-run";
        const struct members_rules rules = {
                .top = TOP, .max_name = 255, .wants = wants_course, .arg = course};
        static const struct spec v[] = {{NAME("c1", "auth_user"), 0, 10000},
                {NAME("c2", "auth_user"), 11000, 10}, {NAME("c1", "teams"), 11100, 100},
                {NAME("c2", "teams"), 12000, 100000}, {NAME("c1", "wiki_article"), 120000, 100}};
        const struct members_limits limits = {.members = 10, .bytes = MIB, .gap = 64 * KIB, .waste = 100};
        struct members_run run = {.id = 1};
        for (size_t i = 0; i < ELEMENTSOF(v); i++)
                add_by(m, &v[i], &rules);
        assert_int_equal(members_complete(m, 121000, false, &e), 0);
        assert_int_equal(members_take_run(m, &limits, &run, &e), 1);
        assert_true(run.offset == 0 && run.length == 12000 && run.n == 2);
        run.id = 2;
        assert_int_equal(members_take_run(m, &limits, &run, &e), 1);
        assert_true(run.offset == 120000 && run.n == 1);
        members_free(m);
}

static void verdicts(void **state)
{
        struct members *m = open_members(*state);
        static const struct spec v[] = {{"a", 0, 50}, {"b", 100, 50}, {"c", 200, 50}, {"d", 300, 50}, {}};
        const struct members_limits limits = {.members = 10, .bytes = MIB, .gap = 100, .waste = 100};
        struct members_run run = {.id = 9};
        struct member batch[4];
        struct members_sums sums = {};
        assert_int_equal(complete(m, v, 400, false), 0);
        assert_int_equal(members_take_run(m, &limits, &run, &e), 1);
        assert_int_equal(members_batch(m, 9, 0, batch, 4, &e), 4);
        batch[0].plain_size = 1000;
        batch[0].checks = CHECK_ZIP | CHECK_INTEGRITY | CHECK_ONE_ETAG;
        batch[3].plain_size = 50;
        batch[3].checks = CHECK_ZIP | CHECK_ONE_ETAG | CHECK_NO_SIGNATURE;
        batch[3].linked = true;
        assert_int_equal(members_staged(m, &batch[0], &e), 0);
        assert_int_equal(members_staged(m, &batch[3], &e), 0);
        assert_int_equal(members_judged(m, batch[1].number, CAUSE_BAD_MDC, "it was altered", &e), 0);
        assert_list(m, MEMBERS_BY_PATH, "a d");
        assert_list(m, MEMBERS_UNENCRYPTED, "d");
        assert_int_equal(members_has_path(m, "a", &e), 1);
        assert_int_equal(members_has_path(m, "b", &e), 0);
        /* once more, held back because it may be the key, and told of */
        for (int tries = 1; tries < 4; tries++) {
                struct member judged = {}, left[4];
                int64_t holder = tries < 3 ? run.id : MEMBERS_HELD;
                assert_int_equal(members_next_judged(m, holder, &judged, &e), 1);
                assert_string_equal(judged.name, "b");
                assert_int_equal(judged.cause, CAUSE_BAD_MDC);
                judged.tries++;
                assert_int_equal(judged.tries, tries);
                assert_int_equal(tries == 1   ? members_leave(m, &judged, &e)
                                 : tries == 2 ? members_hold(m, &judged, &e)
                                              : members_reject(m, &judged, &e),
                        0);
                member_done(&judged);
                assert_int_equal(members_next_judged(m, holder, &judged, &e), 0);
                if (tries > 1)
                        continue;
                assert_int_equal(members_batch(m, run.id, run.offset, left, 4, &e), 2); /* c has no verdict */
                assert_string_equal(left[0].name, "b");
                for (size_t i = 0; i < 2; i++)
                        member_done(&left[i]);
                assert_int_equal(members_judged(m, batch[1].number, CAUSE_BAD_MDC, "it was altered", &e), 0);
        }
        assert_int_equal(members_release(m, run.id, &e), 0); /* c */
        assert_list(m, MEMBERS_REJECTED, "b: bad-integrity: it was altered\n");
        assert_int_equal(members_sums(m, &sums, &e), 0);
        assert_int_equal(sums.n[MEMBER_STAGED], 2);
        assert_int_equal(sums.n[MEMBER_WANTED], 1);
        assert_int_equal(sums.plain_bytes, 1050);
        assert_int_equal(sums.linked_bytes, 50);
        assert_int_equal(sums.staged_size, 200);
        assert_int_equal(sums.not_encrypted, 1);
        assert_int_equal(sums.checks, CHECK_ZIP | CHECK_ONE_ETAG | CHECK_NO_SIGNATURE); /* not integrity */
        for (size_t i = 0; i < 4; i++)
                member_done(&batch[i]);
        members_free(m);
}

static int64_t object(struct fixture *f, const char *key)
{
        struct ledger_object o = {.size = 1, .category = CATEGORY_DATABASE, .is_zip = true};
        enum listed listed;
        strcpy(o.bucket, "b");
        snprintf(o.key, sizeof(o.key), "%s", key);
        strcpy(o.etag, "\"e\"");
        strcpy(o.org, "org");
        assert_int_equal(ledger_listed(f->l, &o, 0, &listed, &e), 0);
        return o.id;
}

static void in_ledger(struct fixture *f, int64_t id, const char *course, const char *table,
        enum object_state state, int64_t size)
{
        struct ledger_member row = {
                .object_id = id, .state = state, .plain_size = size, .has_sha256 = true, .checks = 5};
        snprintf(row.name, sizeof(row.name), "%s-%s-%d", course, table, state);
        snprintf(row.path, sizeof(row.path), "%s-%s", course, table);
        snprintf(row.course, sizeof(row.course), "%s", course);
        snprintf(row.table, sizeof(row.table), "%s", table);
        memset(row.sha256, 7, sizeof(row.sha256));
        assert_int_equal(ledger_member_save(f->l, &row, &e), 0);
}

static int stage_it(const struct member *v, void *arg, struct error *error)
{
        return streq(v->path, "Org-c1-run-teams-prod-analytics.sql") ? 0 : members_staged(arg, v, error);
}

static void what_the_ledger_knows(void **state)
{
        struct fixture *f = *state;
        struct members *m = open_members(f);
        int64_t id = object(f, "k"), other = object(f, "l");
        char course[] = "Org-c1-run";
        const struct members_rules rules = {
                .top = TOP, .max_name = 255, .wants = wants_course, .arg = course};
        static const struct spec v[] = {{NAME("c1", "auth_user"), 0, 100}, {NAME("c1", "teams"), 300, 100},
                {NAME("c1", "wiki_article"), 600, 100}, {NAME("c2", "teams"), 900, 100}};
        in_ledger(f, id, "Org-c1-run", "auth_user-prod-analytics.sql", OBJECT_PUBLISHED, 11);
        in_ledger(f, id, "Org-c1-run", "teams-prod-analytics.sql", OBJECT_PUBLISHED, 12);
        in_ledger(f, id, "Org-c2-run", "teams-prod-analytics.sql", OBJECT_PUBLISHED, 13);
        in_ledger(f, other, "Org-c1-run", "wiki_article-prod-analytics.sql", OBJECT_PUBLISHED, 14);
        for (int same = 0; same < 2; same++) {
                assert_int_equal(members_begin(m, &e), 0);
                for (size_t i = 0; i < ELEMENTSOF(v); i++)
                        add_by(m, &v[i], &rules);
                assert_int_equal(members_complete(m, 1200, false, &e), 0);
                assert_int_equal(members_take_known(m, id, same, &e), 0);
                assert_list(m, MEMBERS_KNOWN,
                        same ? NAME("c1", "auth_user") " " NAME("c1", "teams") " " NAME("c2", "teams")
                             : NAME("c1", "auth_user") " " NAME("c1", "teams"));
                assert_int_equal(members_each(m, MEMBERS_KNOWN, stage_it, m, &e), 0);
                assert_int_equal(members_drop_known(m, &e), 0);
                assert_list(m, MEMBERS_BY_PATH,
                        same ? NAME("c1", "auth_user") " " NAME("c2", "teams") : NAME("c1", "auth_user"));
                assert_list(m, MEMBERS_KNOWN, "");
                struct members_sums sums = {};
                assert_int_equal(members_sums(m, &sums, &e), 0);
                assert_int_equal(sums.n[MEMBER_WANTED], 2);
                assert_int_equal(sums.plain_bytes, same ? 24 : 11);
        }
        members_free(m);
}

static void print_change(void *arg, enum members_change change, const char *course, const char *table)
{
        static const char *const names[] = {"+course", "-course", "+table", "-table", "shrunk", "empty"};
        strbuf_printf(arg, "%s %s%s%s\n", names[change], course, table ? " " : "", table ? table : "");
}

static void what_changed(void **state)
{
        struct fixture *f = *state;
        struct members *m = open_members(f);
        int64_t id = object(f, "before");
        in_ledger(f, id, "Org-c1-run", "auth_user", OBJECT_PUBLISHED, 1000);
        in_ledger(f, id, "Org-c1-run", "teams", OBJECT_PUBLISHED, 1000);
        in_ledger(f, id, "Org-c1-run", "wiki_article", OBJECT_IGNORED, -1);
        in_ledger(f, id, "Org-c1-run", "user_id_map", OBJECT_REJECTED, -1);
        in_ledger(f, id, "Org-c3-run", "teams", OBJECT_PUBLISHED, 1000);
        static const struct {
                struct spec spec;
                int64_t size;
        } v[] = {{{NAME("c1", "auth_user"), 0, 100}, 499}, {{NAME("c1", "wiki_article"), 300, 100}, 9},
                {{NAME("c1", "user_id_map"), 600, 100}, 5}, {{NAME("c2", "teams"), 900, 100}, 0}};
        struct members_run run = {.id = 1};
        const struct members_limits limits = {.members = 10, .bytes = MIB, .gap = 1000, .waste = 1};
        struct member batch[4];
        for (size_t i = 0; i < ELEMENTSOF(v); i++)
                add_by(m, &v[i].spec, &all);
        assert_int_equal(members_complete(m, 1200, false, &e), 0);
        assert_int_equal(members_take_run(m, &limits, &run, &e), 1);
        assert_int_equal(members_batch(m, 1, 0, batch, 4, &e), 4);
        for (size_t i = 0; i < 4; i++) {
                batch[i].plain_size = v[i].size;
                assert_int_equal(members_staged(m, &batch[i], &e), 0);
                member_done(&batch[i]);
        }
        for (int twice = 0; twice < 2; twice++) {
                _cleanup_strbuf_ struct strbuf b = {};
                assert_int_equal(members_compare(m, id, print_change, &b, &e), 0);
                assert_string_equal(b.s,
                        "+course Org-c2-run\n-course Org-c3-run\n+table Org-c1-run user_id_map\n"
                        "-table Org-c1-run teams\nshrunk Org-c1-run auth_user\nempty Org-c2-run teams\n");
        }
        members_free(m);
}

static void courses_once_each(void **state)
{
        struct members *m = open_members(*state);
        _cleanup_(strv_done) struct strv courses = {};
        static const struct spec v[] = {{NAME("c1", "auth_user"), 0, 1}, {NAME("c1", "teams"), 200, 1},
                {NAME("c2", "teams"), 400, 1},
                {TOP "/Org-c3-run-teams-prod-analytics.sql.failed.gpg", 600, 1}, {TOP "/readme", 800, 1}, {}};
        assert_int_equal(complete(m, v, 1000, false), 0);
        assert_int_equal(members_courses(m, &courses, &e), 0);
        strv_unique(&courses);
        assert_int_equal(courses.n, 2);
        assert_string_equal(courses.v[0], "Org-c1-run");
        assert_string_equal(courses.v[1], "Org-c2-run");
        members_free(m);
}

/* --- very many --- */

static double seconds(void)
{
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t resident_kib(void)
{
        unsigned long total, resident;
        FILE *f = fopen("/proc/self/statm", "re");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%lu %lu", &total, &resident), 2);
        fclose(f);
        return resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

static int count_one(const struct member *v, void *arg, struct error *unused)
{
        (void)v;
        (void)unused;
        (*(size_t *)arg)++;
        return 0;
}

static void add_many(struct members *m, bool one_path)
{
        for (unsigned i = 0; i < MANY; i++) {
                char name[128];
                snprintf(name, sizeof(name), TOP "/Org-course-number-%06u-auth_user-prod-analytics.sql.gpg",
                        one_path ? 0 : i);
                add_by(m,
                        &(struct spec){
                                .name = name, .offset = (uint64_t)(MANY - i) * 1000, .packed = 500, .crc = i},
                        &all);
        }
}

/* In any order of offsets; runs, lists and sums over all of them, in memory that does not grow with them. */
static void very_many(void **state)
{
        struct fixture *f = *state;
        struct members *m = open_members(f);
        uint64_t before = resident_kib(), most = 0;
        double begin = seconds(), at = begin;
        size_t n = 0, taken = 0;
        struct members_run run = {};
        const struct members_limits limits = {.members = 2048, .bytes = GIB, .gap = 0, .waste = 100};
        add_many(m, false);
        print_message("added in %.2f s\n", seconds() - at);
        at = seconds();
        assert_int_equal(members_complete(m, (uint64_t)(MANY + 1) * 1000, true, &e), 0);
        print_message("completed in %.2f s\n", seconds() - at);
        at = seconds();
        while (members_take_run(m, &limits, &run, &e) == 1) {
                taken += run.n;
                run.id++;
                most = MAX(most, resident_kib());
        }
        assert_int_equal(taken, MANY);
        print_message("taken in %.2f s\n", seconds() - at);
        at = seconds();
        assert_int_equal(members_each(m, MEMBERS_BY_NAME, count_one, &n, &e), 0);
        most = MAX(most, resident_kib());
        assert_int_equal(n, MANY);
        print_message("listed in %.2f s; %" PRIu64 " KiB more than before\n", seconds() - at, most - before);
#ifndef CZARD_SANITIZE
        assert_true(most < before + 20 * KIB);
#endif
        members_free(m);
}

/* All of one path, none like the other: each is compared with none but its like. */
static void very_many_of_one_path(void **state)
{
        struct members *m = open_members(*state);
        struct members_sums sums = {};
        add_many(m, true);
        assert_int_equal(members_complete(m, (uint64_t)(MANY + 1) * 1000, true, &e), 0);
        assert_int_equal(members_sums(m, &sums, &e), 0);
        assert_int_equal(sums.n[MEMBER_REJECTED], 1); /* one name */
        members_free(m);
}

/* --- the folder --- */

static void the_spill_file_is_in_its_folder(void **state)
{
        struct fixture *f = *state;
        char text[256];
        assert_int_equal(members_set_folder(f->dir, &e), 0);
        struct members *m = open_members(f);
        add_many(m, false);
        bool found = false;
        _cleanup_closedir_ DIR *d = opendir("/proc/self/fd");
        for (struct dirent *entry; (entry = readdir(d));) {
                ssize_t n = readlinkat(dirfd(d), entry->d_name, text, sizeof(text) - 1);
                text[MAX(n, 0)] = 0;
                const char *rest = str_after(text, f->dir);
                found |= rest && str_after(rest, "/etilqs_") && str_ends(text, " (deleted)");
        }
        assert_true(found);
        members_free(m);
        sqlite3_free(sqlite3_temp_directory);
        sqlite3_temp_directory = NULL;
}

static void a_folder_that_cannot_be_written(void **state)
{
        (void)state;
        e = (struct error){};
        assert_true(members_set_folder("/nonexistent/folder", &e) < 0);
        assert_int_equal(e.cause, CAUSE_IO);
        sqlite3_free(sqlite3_temp_directory);
        sqlite3_temp_directory = NULL;
}

/* A file that may not grow: this database is of no use any more, the ledger is as it was. */
static void a_full_spill_file(void **state)
{
        struct fixture *f = *state;
        struct members *m = open_members(f);
        struct rlimit old, small = {.rlim_cur = 6 * MIB, .rlim_max = RLIM_INFINITY};
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        small.rlim_max = old.rlim_max;
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(ledger_begin(f->l, &e), 0);
        int64_t id = object(f, "in the same turn");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        int r = 0;
        for (unsigned i = 0; r == 0 && i < MANY; i++) {
                char name[64];
                snprintf(name, sizeof(name), TOP "/x%u", i);
                const struct archive_entry entry = {.name = name, .place.offset = i};
                r = members_add(m, &entry, &all, &e);
        }
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_true(r < 0);
        assert_int_equal(e.cause, CAUSE_IO);
        members_free(m);
        assert_int_equal(ledger_commit(f->l, &e), 0);
        struct ledger_object o;
        assert_int_equal(ledger_get(f->l, id, &o, &e), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(what_a_name_says_is_kept),
                T(each_is_wanted_ignored_or_refused),
                T(only_folders_are_no_members),
                T(extents_go_to_the_next_header),
                T(a_double_counts_once),
                T(names_in_each_others_way),
                T(runs_are_of_neighbours),
                T(gaps_are_small),
                T(verdicts),
                T(what_the_ledger_knows),
                T(what_changed),
                T(courses_once_each),
                T(very_many),
                T(very_many_of_one_path),
                T(the_spill_file_is_in_its_folder),
                T(a_folder_that_cannot_be_written),
                T(a_full_spill_file),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
