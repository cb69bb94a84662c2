/* SPDX-License-Identifier: Apache-2.0 */
/* steward*.c, keep.c, latest.c, wants.c and ledger_report.c: they share ledger and staging.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <time.h>

#include "fault_readdir.h"
#include "fsx.h"
#include "latest.h"
#include "ledger_report.h"
#include "steward.h"
#include "str.h"
#include "timespan.h"
#include "wants.h"

#define ETAG "\"0123456789abcdef0123456789abcdef\""
#define NOW 1720000000 /* 2024-07-03 */

struct fixture {
        char dir[64], state[96], root[96];
        int state_fd;
        struct ledger *ledger;
        struct audit *audit;
        struct staging *staging;
        struct config config;
        struct steward s;
        int64_t busy;
        struct strv notes;
};

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static bool is_busy(void *arg, int64_t id)
{
        const struct fixture *f = arg;
        return f->busy == id;
}

static void on_note(void *arg, const struct steward_note *n)
{
        struct fixture *f = arg;
        _cleanup_free_ char *s = str_printf("%s %s", n->what,
                *n->path    ? n->path
                : n->object ? n->object->key
                            : "");
        assert_int_equal(strv_add(&f->notes, s), 0);
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        strcpy(f->dir, "/tmp/czard-steward-XXXXXX");
        if (!f || !mkdtemp(f->dir))
                return -1;
        snprintf(f->state, sizeof(f->state), "%s/state", f->dir);
        snprintf(f->root, sizeof(f->root), "%s/root", f->dir);
        struct error e = {};
        if (mkdir(f->state, 0750) < 0 || mkdir(f->root, 0750) < 0)
                return -1;
        f->state_fd = open(f->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (audit_open(f->state_fd, &f->audit, &e) < 0 || ledger_open(f->state, &f->ledger, &e) < 0 ||
                staging_open(f->root, 0440, 0750, &f->staging, &e) < 0) {
                print_error("%s\n", e.text);
                return -1;
        }
        f->config.staging = (struct config_staging){
                .keep_snapshots = CONFIG_ALL, .keep_days_usec = CONFIG_ALL, .keep_replaced_usec = CONFIG_ALL};
        f->s = (struct steward){.ledger = f->ledger,
                .audit = f->audit,
                .staging = f->staging,
                .config = &f->config,
                .uid = 1000,
                .reason = "test",
                .is_busy = is_busy,
                .note = on_note,
                .arg = f};
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        strv_done(&f->notes);
        staging_free(f->staging);
        ledger_free(f->ledger);
        audit_free(f->audit);
        close_fd(f->state_fd);
        nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(f);
        return 0;
}

/* --- things to find there --- */

static void make_file(struct fixture *f, const char *path, const char *text)
{
        struct error e = {};
        _cleanup_close_ int fd = staging_create(f->staging, &e);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        struct staging_attr attr = {.gid = (gid_t)-1, .mtime = NOW};
        assert_int_equal(staging_publish(f->staging, fd, path, &attr, NULL, &e), 0);
}

static bool is_there(const struct fixture *f, const char *path)
{
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        return staging_stat(f->staging, path, &size, &mtime, &is_dir) == 0;
}

static struct ledger_object add_object(struct fixture *f, enum category c, const char *date)
{
        struct ledger_object o = {
                .size = 10, .last_modified = NOW, .category = c, .is_zip = c != CATEGORY_EVENTS};
        struct error e = {};
        enum listed what;
        bool zip = o.is_zip;
        strcpy(o.bucket, "b");
        strcpy(o.etag, ETAG);
        strcpy(o.org, "u");
        strcpy(o.date, date);
        if (!zip)
                strcpy(o.site, "edx");
        snprintf(o.key, sizeof(o.key), zip ? "u-%s.zip" : "u/edx/events/u-edx-events-%s.log.gz.gpg", date);
        assert_int_equal(ledger_listed(f->ledger, &o, 0, &what, &e), 0);
        return o;
}

/* Staged, with the content; a snapshot with a member for each word of courses, "!" in front: rejected. The
 * table's content is the word, or WORD=CONTENT. */
static struct ledger_object add_staged(
        struct fixture *f, enum category c, const char *date, const char *content)
{
        struct ledger_object o = add_object(f, c, date);
        struct error e = {};
        snprintf(o.path, sizeof(o.path), c == CATEGORY_EVENTS ? "u/events/edx/%s.log.gz" : "u/database/%s",
                date);
        strcpy(o.staged_etag, o.etag);
        o.state = OBJECT_PUBLISHED;
        if (c == CATEGORY_EVENTS) {
                make_file(f, o.path, content);
                o.has_sha256 = true;
                digest_once(DIGEST_SHA256, content, strlen(content), o.sha256);
        }
        o.plain_size = (int64_t)strlen(content);
        assert_int_equal(ledger_save(f->ledger, &o, &e), 0);
        struct strv words = {};
        _cleanup_strbuf_ struct strbuf sums = {};
        assert_int_equal(c == CATEGORY_EVENTS ? 0 : strv_split(&words, content), 0);
        for (size_t i = 0; i < words.n; i++) {
                struct ledger_member m = {.object_id = o.id, .state = OBJECT_PUBLISHED, .plain_size = 1};
                const char *word = words.v[i];
                if (*word == '!') {
                        m.state = OBJECT_REJECTED;
                        word++;
                }
                snprintf(m.course, sizeof(m.course), "%.*s", (int)strcspn(word, "="), word);
                strcpy(m.table, "t");
                snprintf(m.name, sizeof(m.name), "%s-t", m.course);
                snprintf(m.path, sizeof(m.path), "%s-t", m.course);
                m.has_sha256 = m.state == OBJECT_PUBLISHED;
                digest_once(DIGEST_SHA256, word, strlen(word), m.sha256);
                assert_int_equal(ledger_member_save(f->ledger, &m, &e), 0);
                _cleanup_free_ char *path = str_printf("%s/%s", o.path, m.path);
                if (m.state != OBJECT_PUBLISHED)
                        continue;
                make_file(f, path, word);
                char hex[SHA256_HEX];
                hex_encode(m.sha256, SHA256_SIZE, hex);
                strbuf_printf(&sums, "%s  %s\n", hex, m.path);
        }
        _cleanup_free_ char *list = str_printf("%s/SHA256SUMS", o.path);
        if (c != CATEGORY_EVENTS)
                make_file(f, list, sums.len ? sums.s : "");
        strv_done(&words);
        return o;
}

static enum object_state state_of(const struct fixture *f, int64_t id)
{
        struct ledger_object o;
        assert_int_equal(ledger_get(f->ledger, id, &o, NULL), 0);
        return o.state;
}

/* --- tests --- */

static void test_patterns(void **state)
{
        struct fixture *f = *state;
        char key[] = "s3://b/u-2024-07-07.zip", glob[] = "u/edx/*", whole[] = "s3://b/u*", none[] = "x*",
             other[] = "s3://c/u-2024-07-07.zip";
        char *both[] = {key, glob, key, whole};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        add_object(f, CATEGORY_DATABASE, "2024-07-07");
        add_object(f, CATEGORY_EVENTS, "2024-07-07");
        assert_int_equal(steward_find(&f->s, both, 4, &ids, &n, &e), 0);
        assert_int_equal(n, 2); /* each once */
        assert_int_equal(steward_find(&f->s, (char *[]){none}, 1, &ids, &n, &e), -ENOENT);
        assert_int_equal(steward_find(&f->s, (char *[]){other}, 1, &ids, &n, &e), -ENOENT);
        static const char *const bad[] = {"", "s3://", "s3://b", "s3://b/", "s3:///k"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(steward_check_pattern(bad[i], &e), -EINVAL);
}

static void test_resync(void **state)
{
        struct fixture *f = *state;
        struct ledger_object o = add_object(f, CATEGORY_EVENTS, "2024-07-07"),
                             b = add_object(f, CATEGORY_EVENTS, "2024-07-08");
        char all[] = "*";
        uint64_t n = 0;
        struct error e = {};
        o.state = OBJECT_REJECTED;
        o.cause = CAUSE_BAD_MDC;
        o.attempts = 3;
        o.next_try = 99;
        ledger_save(f->ledger, &o, &e);
        b.state = OBJECT_FETCHING;
        ledger_save(f->ledger, &b, &e);
        f->busy = b.id;
        assert_int_equal(steward_resync(&f->s, (char *[]){all}, 1, &n, &e), 0);
        assert_int_equal(n, 1);
        assert_int_equal(state_of(f, b.id), OBJECT_FETCHING);
        assert_int_equal(ledger_get(f->ledger, o.id, &o, &e), 0);
        assert_int_equal(o.state, OBJECT_NEW);
        assert_int_equal(o.attempts, 0);
        assert_int_equal(o.next_try, 0);
        assert_int_equal(o.cause, CAUSE_NONE);
}

static void test_forget_file(void **state)
{
        struct fixture *f = *state;
        struct ledger_object o = add_staged(f, CATEGORY_EVENTS, "2024-07-07", "secret"),
                             other = add_staged(f, CATEGORY_EVENTS, "2024-07-08", "kept");
        struct error e = {};
        make_file(f, "u/events/edx/.replaced/2024-07-07-abc", "old");
        make_file(f, "u/events/edx/.replaced/2024-07-08-abc", "old");
        assert_int_equal(steward_forget(&f->s, o.id, &e), 0);
        assert_false(is_there(f, o.path));
        assert_false(is_there(f, "u/events/edx/.replaced/2024-07-07-abc"));
        assert_true(is_there(f, other.path));
        assert_true(is_there(f, "u/events/edx/.replaced/2024-07-08-abc"));
        struct ledger_object after;
        assert_int_equal(ledger_get(f->ledger, o.id, &after, &e), 0);
        assert_int_equal(after.state, OBJECT_FORGOTTEN);
        assert_string_equal(after.path, "");
        assert_string_equal(after.staged_etag, "");
        assert_false(after.has_sha256);
        assert_int_equal(audit_verify(f->state_fd, audit_head(f->audit), NULL, &(uint64_t){0}, &e), 0);
        /* a later version stays away too */
        enum listed what;
        strcpy(after.etag, "\"another\"");
        assert_int_equal(ledger_listed(f->ledger, &after, 0, &what, &e), 0);
        assert_int_equal(state_of(f, o.id), OBJECT_FORGOTTEN);
}

static int count_member(struct ledger_member *m, void *arg)
{
        (void)m;
        ++*(int *)arg;
        return 0;
}

static void test_forget_snapshot(void **state)
{
        struct fixture *f = *state;
        struct ledger_object a = add_staged(f, CATEGORY_DATABASE, "2024-06-30", "A"),
                             b = add_staged(f, CATEGORY_DATABASE, "2024-07-07", "A");
        struct error e = {};
        char link[64];
        int n = 0;
        make_file(f, "u/database/.replaced/2024-07-07-abc/x", "old");
        make_file(f, "u/database/.2024-07-07.partial/x", "half");
        assert_int_equal(staging_latest(f->staging, "u/database", "2024-07-07", &e), 0);
        f->busy = b.id;
        assert_int_equal(steward_forget(&f->s, b.id, &e), -EBUSY);
        assert_true(is_there(f, b.path));
        f->busy = 0;
        assert_int_equal(steward_forget(&f->s, b.id, &e), 0);
        assert_false(is_there(f, b.path));
        assert_false(is_there(f, "u/database/.replaced/2024-07-07-abc"));
        assert_false(is_there(f, "u/database/.2024-07-07.partial"));
        assert_true(is_there(f, a.path));
        staging_read_latest(f->staging, "u/database", link, sizeof(link));
        assert_string_equal(link, "2024-06-30");
        assert_int_equal(ledger_members(f->ledger, b.id, count_member, &n, &e), 0);
        assert_int_equal(n, 0);
        assert_int_equal(steward_forget(&f->s, a.id, &e), 0);
        staging_read_latest(f->staging, "u/database", link, sizeof(link));
        assert_string_equal(link, "");
}

/* Whatever cannot be looked at: it is not forgotten, and a second try finds all of it. */
static void test_forget_fails_loudly(void **state)
{
        struct fixture *f = *state;
        for (int which = 0; which < 2; which++)
                for (int n = 1;; n++) {
                        struct ledger_object o = add_staged(f, CATEGORY_EVENTS, "2024-07-07", "secret");
                        struct error e = {};
                        make_file(f, "u/events/edx/.replaced/2024-07-07-abc", "old");
                        *(which ? &fail_readdir : &fail_fdopendir) = n;
                        int r = steward_forget(&f->s, o.id, &e);
                        bool reached = fail_readdir == 0 && fail_fdopendir == 0;
                        fail_readdir = fail_fdopendir = 0;
                        if (!reached) {
                                assert_int_equal(r, 0);
                                assert_true(n > 2);
                                break;
                        }
                        assert_true(r < 0);
                        assert_true(e.cause != CAUSE_NONE && *e.text);
                        assert_int_equal(state_of(f, o.id), OBJECT_PUBLISHED);
                        assert_int_equal(steward_forget(&f->s, o.id, &e), 0);
                        assert_false(is_there(f, o.path));
                        assert_false(is_there(f, "u/events/edx/.replaced/2024-07-07-abc"));
                        o.state = OBJECT_NEW;
                        assert_int_equal(ledger_save(f->ledger, &o, &e), 0);
                }
}

/* A crash came between the file's name and the ledger's row; the format was changed before or after. */
static void test_forget_what_was_not_recorded(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct ledger_object o = add_staged(f, CATEGORY_EVENTS, "2024-07-07", "secret");
        make_file(f, "u/events/edx/2024-07-07.log", "secret");
        o.state = OBJECT_FETCHING;
        o.staged_etag[0] = 0;
        assert_int_equal(ledger_save(f->ledger, &o, &e), 0);
        assert_int_equal(steward_forget(&f->s, o.id, &e), 0);
        assert_false(is_there(f, "u/events/edx/2024-07-07.log.gz"));
        assert_false(is_there(f, "u/events/edx/2024-07-07.log"));

        struct ledger_object a = add_staged(f, CATEGORY_DATABASE, "2024-06-30", "A");
        a.state = OBJECT_NEW;
        a.staged_etag[0] = 0;
        assert_int_equal(ledger_save(f->ledger, &a, &e), 0);
        /* what a removal could not remove to its end */
        make_file(f, "u/database/.2024-06-30.czard-tmp-0123456789abcdef/x", "secret");
        make_file(f, "u/database/.2024-07-07.czard-tmp-0123456789abcdef/x", "another's");
        assert_int_equal(steward_forget(&f->s, a.id, &e), 0);
        assert_false(is_there(f, a.path));
        assert_false(is_there(f, "u/database/.2024-06-30.czard-tmp-0123456789abcdef"));
        assert_true(is_there(f, "u/database/.2024-07-07.czard-tmp-0123456789abcdef"));
}

static void test_forget_where_the_place_is_not_known(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct ledger_object o = add_object(f, CATEGORY_EVENTS, "2024-07-07");
        o.published_at = 1; /* it was staged, pruned, and its section taken out since */
        o.state = OBJECT_PRUNED;
        assert_int_equal(ledger_save(f->ledger, &o, &e), 0);
        assert_int_equal(steward_forget(&f->s, o.id, &e), -ENOENT);
        assert_non_null(strstr(e.text, "section"));
        assert_int_equal(state_of(f, o.id), OBJECT_PRUNED);
        /* one that was never begun has no copies */
        o = add_object(f, CATEGORY_EVENTS, "2024-07-08");
        assert_int_equal(steward_forget(&f->s, o.id, &e), 0);
}

static struct ledger_object add_opt_in(
        struct fixture *f, const char *key, const char *etag, enum object_state s)
{
        struct ledger_object o = {
                .size = 10, .last_modified = NOW, .category = CATEGORY_EMAIL_OPT_IN, .is_zip = true};
        struct error e = {};
        enum listed what;
        strcpy(o.bucket, "b");
        strcpy(o.key, key);
        strcpy(o.etag, etag);
        strcpy(o.org, "u");
        strcpy(o.date, "2024-07-07");
        assert_int_equal(ledger_listed(f->ledger, &o, 0, &what, &e), 0);
        strcpy(o.path, "u/email-opt-in/2024-07-07");
        o.state = s;
        if (s == OBJECT_PUBLISHED)
                strcpy(o.staged_etag, etag);
        assert_int_equal(ledger_save(f->ledger, &o, &e), 0);
        return o;
}

static int no_members(void *arg, bool rejected, snapshot_sum_fn *each, void *each_arg, struct error *error)
{
        (void)arg;
        (void)rejected;
        (void)each;
        (void)each_arg;
        (void)error;
        return 0;
}

static int no_member(void *arg, const char *path, struct error *error)
{
        (void)arg;
        (void)path;
        (void)error;
        return 0;
}

/* Both spellings of one date have one folder: what the later one builds there is not the other's to remove.
 */
static void test_forget_the_beaten_spelling(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct staging_attr attr = {.gid = (gid_t)-1, .mtime = -1};
        struct snapshot_dir *d = NULL;
        struct ledger_object loser = add_opt_in(
                                     f, "email_opt_in-u-2024-07-07.zip", "\"a\"", OBJECT_PUBLISHED),
                             winner =
                                     add_opt_in(f, "email-opt-in-u-2024-07-07.zip", "\"b\"", OBJECT_FETCHING);
        make_file(f, "u/email-opt-in/2024-07-07/list.csv", "old");
        assert_int_equal(snapshot_begin(f->staging, winner.path, winner.etag, &attr, &d, &e), 0);
        make_file(f, "u/email-opt-in/.2024-07-07.partial/list.csv", "new");
        f->busy = winner.id;
        assert_int_equal(steward_forget(&f->s, loser.id, &e), 0);
        assert_false(is_there(f, "u/email-opt-in/2024-07-07"));
        assert_true(is_there(f, "u/email-opt-in/.2024-07-07.partial/list.csv"));
        assert_true(is_there(f, "u/email-opt-in/.2024-07-07.partial.tag"));
        /* the winner is through, but a crash came before its row: the folder is its own */
        struct snapshot_list none = {.each = no_members, .has = no_member};
        assert_int_equal(snapshot_publish(d, &none, NULL, &e), 0);
        snapshot_keep_record(d);
        snapshot_free(d);
        loser.state = OBJECT_NEW;
        loser.staged_etag[0] = 0;
        assert_int_equal(ledger_save(f->ledger, &loser, &e), 0);
        assert_int_equal(steward_forget(&f->s, loser.id, &e), -EBUSY);
        f->busy = 0;
        assert_int_equal(steward_forget(&f->s, loser.id, &e), 0);
        assert_true(is_there(f, "u/email-opt-in/2024-07-07/SHA256SUMS"));
        /* and its own it removes */
        assert_int_equal(steward_forget(&f->s, winner.id, &e), 0);
        assert_false(is_there(f, "u/email-opt-in/2024-07-07"));
        assert_false(is_there(f, "u/email-opt-in/.2024-07-07.partial.tag"));
}

static void test_pause(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        char text[512];
        assert_int_equal(steward_refuse_paused(&f->s, "prune", &e), 0);
        assert_int_equal(steward_pause(&f->s, "hold", &e), 0);
        assert_int_equal(steward_paused(f->ledger, text, sizeof(text), &e), 0);
        assert_string_equal(text, "hold");
        assert_int_equal(steward_refuse_paused(&f->s, "prune", &e), -EPERM);
        assert_int_equal(steward_pause(&f->s, NULL, &e), 0);
        assert_int_equal(steward_refuse_paused(&f->s, "prune", &e), 0);
}

static bool is_planned(const struct keep_list *list, const char *path)
{
        for (size_t i = 0; i < list->n; i++)
                if (streq(list->items[i].path, path))
                        return true;
        return false;
}

/* Newest first: the newest stays by number, the others only for a course that no kept one has. */
static void test_keep_snapshots(void **state)
{
        struct fixture *f = *state;
        _cleanup_keep_list_ struct keep_list list = {};
        struct error e = {};
        add_staged(f, CATEGORY_DATABASE, "2024-06-09", "A B C");
        add_staged(f, CATEGORY_DATABASE, "2024-06-16", "A B");
        add_staged(f, CATEGORY_DATABASE, "2024-06-23", "A C !D");
        add_staged(f, CATEGORY_DATABASE, "2024-06-30", "A");
        add_staged(f, CATEGORY_DATABASE, "2024-07-07", "A");
        f->config.staging.keep_snapshots = 2;
        assert_int_equal(keep_plan(f->ledger, f->staging, &f->config, NOW, &list, &e), 0);
        assert_int_equal(list.n, 1);
        assert_true(is_planned(
                &list, "u/database/2024-06-09")); /* B and C are in newer ones that are kept for them */
        assert_int_equal(list.spared, 2);
        assert_int_equal(steward_prune(&f->s, &list.items[0], true, &e), 0);
        assert_false(is_there(f, "u/database/2024-06-09"));
        assert_int_equal(state_of(f, list.items[0].object_id), OBJECT_PRUNED);
}

static void test_keep_days(void **state)
{
        struct fixture *f = *state;
        _cleanup_keep_list_ struct keep_list list = {};
        struct error e = {};
        struct ledger_object old = add_staged(f, CATEGORY_EVENTS, "2024-06-22", "x");
        add_staged(f, CATEGORY_EVENTS, "2024-06-23", "x");
        add_staged(f, CATEGORY_DATABASE, "2020-01-05", "A");
        f->config.staging.keep_days_usec = 10 * USEC_PER_DAY;
        assert_int_equal(keep_plan(f->ledger, f->staging, &f->config, NOW, &list, &e), 0);
        assert_int_equal(list.n, 1);
        assert_string_equal(list.items[0].path, old.path);
        assert_int_equal(steward_prune(&f->s, &list.items[0], false, &e), 0);
        assert_true(is_there(f, old.path));
        assert_int_equal(steward_prune(&f->s, &list.items[0], true, &e), 0);
        assert_false(is_there(f, old.path));
        assert_int_equal(state_of(f, old.id), OBJECT_PRUNED);
}

static void test_keep_replaced(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        int64_t now = (int64_t)time(NULL);
        make_file(f, "u/events/edx/.replaced/2024-07-07-abc", "old");
        make_file(f, "u/database/.replaced/2024-07-07-abc/x", "old");
        make_file(f, "u/database/2024-07-07/SHA256SUMS", "");
        make_file(f, "u/database/2024-07-07/.replaced/member", "is one of a snapshot");
        f->config.staging.keep_replaced_usec = 30 * USEC_PER_DAY;
        for (int days = 29; days <= 31; days += 2) {
                _cleanup_keep_list_ struct keep_list list = {};
                assert_int_equal(
                        keep_plan(f->ledger, f->staging, &f->config, now + days * 86400, &list, &e), 0);
                assert_int_equal(list.n, days == 31 ? 2 : 0);
                for (size_t i = 0; i < list.n; i++)
                        assert_int_equal(steward_prune(&f->s, &list.items[i], true, &e), 0);
        }
        assert_false(is_there(f, "u/events/edx/.replaced/2024-07-07-abc"));
        assert_false(is_there(f, "u/database/.replaced/2024-07-07-abc"));
        assert_true(is_there(f, "u/database/2024-07-07/.replaced/member"));
}

/* What is only half known is no plan. */
static void test_keep_fails_loudly(void **state)
{
        struct fixture *f = *state;
        make_file(f, "u/events/edx/.replaced/2024-07-07-abc", "old");
        make_file(f, "u/database/.replaced/2024-07-07-abc/x", "old");
        f->config.staging.keep_replaced_usec = 30 * USEC_PER_DAY;
        int64_t now = (int64_t)time(NULL) + 31 * 86400;
        for (int which = 0; which < 2; which++)
                for (int n = 1;; n++) {
                        _cleanup_keep_list_ struct keep_list list = {};
                        struct error e = {};
                        *(which ? &fail_readdir : &fail_fdopendir) = n;
                        int r = keep_plan(f->ledger, f->staging, &f->config, now, &list, &e);
                        bool reached = fail_readdir == 0 && fail_fdopendir == 0;
                        fail_readdir = fail_fdopendir = 0;
                        if (!reached) {
                                assert_int_equal(r, 0);
                                assert_int_equal(list.n, 2);
                                assert_true(n > 5);
                                break;
                        }
                        assert_true(r < 0);
                        assert_non_null(strstr(e.text, "looking for replaced versions"));
                        assert_int_equal(list.n, 0);
                }
}

static void expect_latest(struct fixture *f, const char *date)
{
        char found[11];
        bool pinned;
        assert_int_equal(latest_choose(f->ledger, "u", CATEGORY_DATABASE, found, &pinned, NULL), 0);
        assert_string_equal(found, date);
        assert_false(pinned);
}

static void test_latest(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        char link[64];
        expect_latest(f, "");
        add_staged(f, CATEGORY_DATABASE, "2024-06-02", "A=1 B=1");
        expect_latest(f, "2024-06-02");
        add_staged(f, CATEGORY_DATABASE, "2024-06-09", "A=2 B=1");
        expect_latest(f, "2024-06-09");
        add_staged(f, CATEGORY_DATABASE, "2024-06-16", "A=3"); /* B did not change any more: it may leave */
        expect_latest(f, "2024-06-16");
        add_staged(f, CATEGORY_DATABASE, "2024-06-23", "A=4 C=1 !D"); /* a rejected member */
        expect_latest(f, "2024-06-16");
        add_staged(f, CATEGORY_DATABASE, "2024-06-30", "A=5"); /* C was alive */
        expect_latest(f, "2024-06-16");
        add_staged(f, CATEGORY_DATABASE, "2024-07-07", "A=6");
        expect_latest(f, "2024-07-07");

        assert_int_equal(steward_latest(&f->s, "u", CATEGORY_DATABASE, "2024-01-01", &e), -ENOENT);
        assert_int_equal(steward_latest(&f->s, "u", CATEGORY_DATABASE, "2024-06-09", &e), 0);
        staging_read_latest(f->staging, "u/database", link, sizeof(link));
        assert_string_equal(link, "2024-06-09");
        assert_int_equal(steward_latest(&f->s, "u", CATEGORY_DATABASE, NULL, &e), 0);
        staging_read_latest(f->staging, "u/database", link, sizeof(link));
        assert_string_equal(link, "2024-07-07");
}

/* A snapshot of so many courses, each with 50 tables that no other snapshot has like that. */
static void add_large(struct fixture *f, const char *date, size_t courses)
{
        struct ledger_object o = add_staged(f, CATEGORY_DATABASE, date, "");
        struct error e = {};
        assert_int_equal(ledger_begin(f->ledger, &e), 0);
        for (size_t i = 0; i < courses * 50; i++) {
                struct ledger_member m = {.object_id = o.id, .state = OBJECT_PUBLISHED, .has_sha256 = true};
                snprintf(m.course, sizeof(m.course), "C%zu", i / 50);
                snprintf(m.table, sizeof(m.table), "t%zu", i % 50);
                snprintf(m.name, sizeof(m.name), "%s %s %s", date, m.course, m.table);
                snprintf(m.path, sizeof(m.path), "%s", m.name);
                digest_once(DIGEST_SHA256, m.name, strlen(m.name), m.sha256);
                assert_int_equal(ledger_member_save(f->ledger, &m, &e), 0);
        }
        assert_int_equal(ledger_commit(f->ledger, &e), 0);
}

static void test_latest_of_large_ones(void **state)
{
        struct fixture *f = *state;
        add_large(f, "2024-06-02", 160);
        add_large(f, "2024-06-09", 160);
        add_large(f, "2024-06-16", 159);
        uint64_t start = now_usec(CLOCK_PROCESS_CPUTIME_ID);
        expect_latest(f, "2024-06-09");
        /* seconds, when members are compared with members one by one */
        assert_true(now_usec(CLOCK_PROCESS_CPUTIME_ID) - start < USEC_PER_SEC);
}

static void test_adopt(void **state)
{
        struct fixture *f = *state;
        struct steward_adopted n;
        struct error e = {};
        char id[STAGING_ID_SIZE], known[STAGING_ID_SIZE];
        struct ledger_object same = add_staged(f, CATEGORY_EVENTS, "2024-07-01", "same"),
                             gone = add_staged(f, CATEGORY_EVENTS, "2024-07-02", "gone"),
                             other = add_staged(f, CATEGORY_EVENTS, "2024-07-03", "other"),
                             zip = add_staged(f, CATEGORY_DATABASE, "2024-06-30", "A B");
        assert_int_equal(staging_remove(f->staging, gone.path, &e), 0);
        make_file(f, other.path, "altered");
        same.state = OBJECT_MISSING;
        assert_int_equal(ledger_save(f->ledger, &same, &e), 0);
        zip.state = OBJECT_MISSING;
        assert_int_equal(ledger_save(f->ledger, &zip, &e), 0);
        assert_int_equal(steward_adopt(&f->s, false, &n, &e), 0);
        assert_int_equal(n.adopted, 2);
        assert_int_equal(n.missing, 2);
        assert_int_equal(state_of(f, same.id), OBJECT_PUBLISHED);
        assert_int_equal(state_of(f, zip.id), OBJECT_PUBLISHED);
        assert_int_equal(state_of(f, gone.id), OBJECT_MISSING);
        assert_int_equal(state_of(f, other.id), OBJECT_MISSING);
        assert_int_equal(staging_read_id(f->staging, id, &e), 0);
        assert_int_equal(ledger_meta_get(f->ledger, "staging-id", known, sizeof(known), &e), 0);
        assert_string_equal(id, known);
        assert_string_not_equal(id, "");
        /* one member differs: the whole snapshot is not the one we know */
        make_file(f, "u/database/2024-06-30/B-t", "altered");
        assert_int_equal(steward_adopt(&f->s, false, &n, &e), 0);
        assert_int_equal(state_of(f, zip.id), OBJECT_MISSING);
}

/* A file of which nothing is known is believed only when the admin says so. */
static void test_adopt_trust(void **state)
{
        struct fixture *f = *state;
        struct steward_adopted n;
        struct error e = {};
        struct ledger_object o = add_object(f, CATEGORY_EVENTS, "2024-07-01");
        strcpy(o.path, "u/events/edx/2024-07-01.log.gz");
        assert_int_equal(ledger_save(f->ledger, &o, &e), 0);
        make_file(f, o.path, "from before");
        assert_int_equal(steward_adopt(&f->s, false, &n, &e), 0);
        assert_int_equal(n.unknown, 1);
        assert_int_equal(state_of(f, o.id), OBJECT_NEW);
        assert_int_equal(steward_adopt(&f->s, true, &n, &e), 0);
        assert_int_equal(n.adopted, 1);
        assert_int_equal(ledger_get(f->ledger, o.id, &o, &e), 0);
        assert_int_equal(o.state, OBJECT_PUBLISHED);
        assert_int_equal(o.plain_size, 11);
        assert_int_equal(o.checks, 0);
}

/* --- reports --- */

struct rows {
        struct report_row last;
        int n;
        char text[512];
};

static int on_row(const struct report_row *row, void *arg)
{
        struct rows *r = arg;
        size_t at = strlen(r->text);
        r->n++;
        snprintf(r->text + at, sizeof(r->text) - at, "[%s %s %s %s %s %s %s]", row->text[0], row->text[1],
                row->text[2], row->text[3], row->text[4], row->text[5], row->text[6]);
        return 0;
}

static void test_reports(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct rows r = {};
        add_staged(f, CATEGORY_EVENTS, "2024-07-01", "abc");
        add_staged(f, CATEGORY_EVENTS, "2024-07-02", "abcd");
        struct ledger_object bad = add_object(f, CATEGORY_EVENTS, "2024-07-03");
        bad.state = OBJECT_REJECTED;
        bad.cause = CAUSE_BAD_GZIP;
        strcpy(bad.detail, "cut");
        assert_int_equal(ledger_save(f->ledger, &bad, &e), 0);
        assert_int_equal(report_each(f->ledger, REPORT_COUNTS, NULL, NULL, on_row, &r, &e), 0);
        assert_string_equal(r.text, "[u 0 edx 3 2 20 7][u 0 edx 5 1 10 0]");
        r = (struct rows){};
        assert_int_equal(report_each(f->ledger, REPORT_LAST, NULL, NULL, on_row, &r, &e), 0);
        assert_string_equal(r.text, "[u 0 edx 2024-07-02 u/events/edx/2024-07-02.log.gz 0 2024-07-03]");
        r = (struct rows){};
        assert_int_equal(report_each(f->ledger, REPORT_TROUBLES, NULL, NULL, on_row, &r, &e), 0);
        assert_string_equal(r.text, "[5 bad-gzip 1 u/edx/events/u-edx-events-2024-07-03.log.gz.gpg cut 0 u]");
        r = (struct rows){};
        assert_int_equal(report_each(f->ledger, REPORT_DATES, NULL, NULL, on_row, &r, &e), 0);
        assert_int_equal(r.n, 3);
        assert_non_null(strstr(r.text, "[u 0 edx 2024-07-01 2 1 0]")); /* uploaded on the 3rd */
}

static void test_report_members(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct rows r = {};
        struct ledger_object a = add_staged(f, CATEGORY_DATABASE, "2024-06-30", "A B !C");
        add_staged(f, CATEGORY_DATABASE, "2024-07-07", "A D");
        add_staged(f, CATEGORY_EVENTS, "2024-07-01", "abc");
        add_staged(f, CATEGORY_EVENTS, "2024-07-02", "abc");
        char id[32];
        snprintf(id, sizeof(id), "%lld", (long long)a.id);
        assert_int_equal(report_each(f->ledger, REPORT_COURSES, id, NULL, on_row, &r, &e), 0);
        assert_string_equal(r.text, "[A      ][B      ]");
        r = (struct rows){};
        assert_int_equal(report_each(f->ledger, REPORT_STORAGE, NULL, NULL, on_row, &r, &e), 0);
        /* four members of a byte, A twice; single files never share their storage */
        assert_string_equal(r.text, "[u 0 6 6   ][u 1 4 3   ]");
        r = (struct rows){};
        assert_int_equal(report_each(f->ledger, REPORT_SNAPSHOTS, NULL, NULL, on_row, &r, &e), 0);
        assert_int_equal(r.n, 2);
        assert_non_null(strstr(r.text, "2024-07-07 u 1 0 3]["));
}

/* --- filters --- */

static void test_wants(void **state)
{
        (void)state;
        char org[] = "u", bucket[] = "b", prefix[] = "u/", edx[] = "edx";
        struct config_package p = {.spec = {.org = org,
                                           .sites = {.v = (char *[]){edx, NULL}, .n = 1},
                                           .categories = BIT(CATEGORY_EVENTS),
                                           .at = {[CATEGORY_EVENTS] = {bucket, prefix}}},
                .since = 19800 /* 2024-03-18 */};
        struct config c = {.packages = &p, .n_packages = 1, .staging = {.keep_days_usec = CONFIG_ALL}};
        struct ledger_object o = {.category = CATEGORY_EVENTS,
                .bucket = "b",
                .key = "u/edx/events/2024/u-edx-events-2024-03-18.log.gz.gpg",
                .org = "u",
                .site = "edx",
                .date = "2024-03-18"};
        const char *why = NULL;
        struct error unsafe = {.cause = CAUSE_IO};
        assert_true(wants_object(&c, &o, NOW, &why, NULL));
        p.since++;
        assert_false(wants_object(&c, &o, NOW, &why, NULL));
        assert_string_equal(why, "older than since");
        p.since = 0;
        c.staging.keep_days_usec = 30 * USEC_PER_DAY;
        assert_false(wants_object(&c, &o, NOW, &why, NULL));
        assert_true(wants_object(&c, &o, INT64_C(19830) * 86400, &why, &unsafe));
        assert_int_equal(unsafe.cause, CAUSE_NONE);
        c.staging.keep_days_usec = CONFIG_ALL;
        strcpy(o.site, "edge");
        assert_false(wants_object(&c, &o, NOW, &why, NULL));
        strcpy(o.site, "edx");
        strcpy(o.org, "v");
        assert_false(wants_object(&c, &o, NOW, NULL, NULL));
        strcpy(o.org, "u");
        o.category = CATEGORY_RDX;
        assert_false(wants_object(&c, &o, NOW, &why, NULL));
        assert_string_equal(why, "its category is not chosen");
        /* ours, but unsafe: it is to be rejected, not passed over */
        p.spec.categories = BIT(CATEGORY_RDX);
        p.spec.at[CATEGORY_RDX].bucket = bucket;
        p.spec.at[CATEGORY_RDX].prefix = prefix;
        o.date[0] = o.site[0] = 0;
        strcpy(o.key, "u/rdx/-x/u_C.1x_2023.tar.gz.gpg");
        assert_true(wants_object(&c, &o, NOW, NULL, &unsafe));
        assert_int_equal(unsafe.cause, CAUSE_UNSAFE_NAME);
        assert_true(wants_series(&c, "u", CATEGORY_RDX, ""));
        assert_false(wants_series(&c, "u", CATEGORY_EVENTS, "edx"));
        p.spec.categories |= BIT(CATEGORY_EVENTS);
        assert_true(wants_series(&c, "u", CATEGORY_EVENTS, "edx"));
        assert_false(wants_series(&c, "u", CATEGORY_EVENTS, "edge"));
        assert_false(wants_series(&c, "v", CATEGORY_RDX, ""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        umask(0022);
        const struct CMUnitTest tests[] = {
                TEST(test_patterns),
                TEST(test_resync),
                TEST(test_forget_file),
                TEST(test_forget_snapshot),
                TEST(test_forget_fails_loudly),
                TEST(test_forget_what_was_not_recorded),
                TEST(test_forget_where_the_place_is_not_known),
                TEST(test_forget_the_beaten_spelling),
                TEST(test_pause),
                TEST(test_keep_snapshots),
                TEST(test_keep_days),
                TEST(test_keep_replaced),
                TEST(test_keep_fails_loudly),
                TEST(test_latest),
                TEST(test_latest_of_large_ones),
                TEST(test_adopt),
                TEST(test_adopt_trust),
                TEST(test_reports),
                TEST(test_report_members),
                cmocka_unit_test(test_wants),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
