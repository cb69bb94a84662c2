/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "audit_internal.h"
#include "fsx.h"
#include "str.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

struct fixture {
        char dir[64];
        int fd;
        struct audit *a;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        strcpy(f->dir, "/tmp/czard-audit-XXXXXX");
        if (!mkdtemp(f->dir))
                return -1;
        f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = f;
        return audit_open(f->fd, &f->a, NULL);
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        audit_free(f->a);
        (void)unlinkat(f->fd, AUDIT_FILE, 0);
        close_fd(f->fd);
        int r = rmdir(f->dir);
        free(f);
        return r;
}

static const struct audit_entry nothing = {.size = -1, .mtime = -1, .uid = -1};

static void append(struct fixture *f, const char *event)
{
        struct audit_entry entry = nothing;
        entry.event = event;
        struct error e = {};
        if (audit_append(f->a, &entry, &e) < 0)
                fail_msg("%s", e.text);
}

static char *content(struct fixture *f)
{
        char *p = NULL;
        assert_int_equal(read_file_at(f->fd, AUDIT_FILE, 1 << 20, &p, NULL), 0);
        return p;
}

static void overwrite(struct fixture *f, const char *text)
{
        _cleanup_close_ int fd = openat(f->fd, AUDIT_FILE, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static int reopen(struct fixture *f, struct error *e)
{
        f->a = audit_free(f->a);
        return audit_open(f->fd, &f->a, e);
}

static int verify(struct fixture *f, const char *head, uint64_t *lines)
{
        struct error e = {};
        return audit_verify(f->fd, head, lines, &e);
}

static void a_line_says_all_in_a_fixed_order(void **state)
{
        struct fixture *f = *state;
        uint8_t sha256[SHA256_SIZE];
        memset(sha256, 0xab, sizeof(sha256));
        struct audit_entry entry = {.event = "published",
                .bucket = "b",
                .key = "k \"q\" \\",
                .etag = "\"e\"",
                .member = "m",
                .sha256 = sha256,
                .size = 0,
                .mtime = 1720314123,
                .path = "p",
                .group = "g",
                .fingerprint = "F",
                .cause = "c",
                .config_sha256 = "x",
                .reason = "r",
                .category = "events",
                .org = "o",
                .site = "s",
                .date = "2024-07-07",
                .uid = 0};
        assert_string_equal(audit_head(f->a), ZEROS);
        assert_int_equal(audit_append(f->a, &entry, NULL), 0);
        assert_int_equal(audit_sync(f->a, NULL), 0);
        _cleanup_free_ char *text = content(f);
        const char *after = str_after(text, "{\"time\":\"20");
        assert_non_null(after);
        after = strstr(after, "\"seq\"");
        assert_string_equal(after,
                "\"seq\":1,\"event\":\"published\",\"bucket\":\"b\",\"key\":\"k \\\"q\\\" \\\\\","
                "\"etag\":\"\\\"e\\\"\",\"member\":\"m\",\"sha256\":"
                "\"abababababababababababababababababababababababababababababababab\",\"size\":0,"
                "\"mtime\":\"2024-07-07T01:02:03Z\",\"path\":\"p\",\"group\":\"g\",\"fingerprint\":\"F\","
                "\"cause\":\"c\",\"config_sha256\":\"x\",\"reason\":\"r\",\"category\":\"events\",\"org\":"
                "\"o\","
                "\"site\":\"s\",\"date\":\"2024-07-07\",\"uid\":0,\"prev\":\"" ZEROS "\"}\n");
        /* the head is the hash of the line without its newline */
        uint8_t hash[SHA256_SIZE];
        char hex[SHA256_HEX];
        assert_int_equal(digest_once(DIGEST_SHA256, text, strlen(text) - 1, hash), 0);
        hex_encode(hash, sizeof(hash), hex);
        assert_string_equal(audit_head(f->a), hex);
}

static void what_does_not_apply_is_left_out(void **state)
{
        struct fixture *f = *state;
        append(f, "start");
        _cleanup_free_ char *text = content(f);
        assert_string_equal(
                strstr(text, "\"seq\""), "\"seq\":1,\"event\":\"start\",\"prev\":\"" ZEROS "\"}\n");
}

static void the_chain_goes_on_after_a_restart(void **state)
{
        struct fixture *f = *state;
        char head[SHA256_HEX];
        append(f, "start");
        append(f, "stop");
        strcpy(head, audit_head(f->a));
        assert_int_equal(reopen(f, NULL), 0);
        assert_string_equal(audit_head(f->a), head);
        append(f, "start");
        uint64_t lines = 0;
        assert_int_equal(verify(f, NULL, &lines), 0);
        assert_int_equal(lines, 3);
        assert_int_equal(verify(f, head, &lines), 0);
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        struct stat st;
        assert_int_equal(fstatat(f->fd, AUDIT_FILE, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
}

static void a_torn_line_is_cut(void **state)
{
        struct fixture *f = *state;
        append(f, "start");
        append(f, "published");
        _cleanup_free_ char *text = content(f);
        size_t n = strlen(text), first = strcspn(text, "\n") + 1;
        /* a crash after each possible number of bytes of the second line */
        for (size_t k = first; k < n; k += k + 10 < n ? 7 : 1) {
                _cleanup_free_ char *part = strndup(text, k);
                overwrite(f, part);
                assert_int_equal(reopen(f, NULL), 0);
                uint64_t lines = 0;
                assert_int_equal(verify(f, NULL, &lines), 0);
                assert_int_equal(lines, 1);
                append(f, "start");
                assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
                assert_int_equal(lines, 2);
        }
        overwrite(f, "{\"time\":\"torn in the very first lin");
        assert_int_equal(reopen(f, NULL), 0);
        assert_string_equal(audit_head(f->a), ZEROS);
        struct stat st;
        assert_int_equal(fstatat(f->fd, AUDIT_FILE, &st, 0), 0);
        assert_int_equal(st.st_size, 0);
}

static void strange_ends_are_refused(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        overwrite(f, "not a line of czard's\n");
        assert_int_equal(reopen(f, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "last line"));
        _cleanup_free_ char *big = malloc(300000);
        memset(big, 'x', 299999);
        big[299999] = 0;
        overwrite(f, big);
        assert_int_equal(reopen(f, &e), -EBADMSG);
        uint64_t lines = 77;
        assert_int_equal(verify(f, NULL, &lines), -EBADMSG);
        assert_int_equal(lines, 77);
        /* never through a link or a fifo */
        assert_int_equal(unlinkat(f->fd, AUDIT_FILE, 0), 0);
        assert_int_equal(symlinkat("elsewhere", f->fd, AUDIT_FILE), 0);
        assert_int_equal(reopen(f, &e), -ELOOP);
        assert_int_equal(unlinkat(f->fd, AUDIT_FILE, 0), 0);
        assert_int_equal(mkfifoat(f->fd, AUDIT_FILE, 0600), 0);
        assert_int_equal(reopen(f, &e), -EINVAL);
}

/* What a tamperer would try; the lines are numbered from 1. */
static void tampering_is_found(void **state)
{
        struct fixture *f = *state;
        static const char *const events[] = {"start", "published", "replaced", "stop"};
        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                append(f, events[i]);
        _cleanup_free_ char *text = content(f);
        _cleanup_(strv_done) struct strv l = {};
        assert_int_equal(strv_split(&l, text), 0);
        assert_int_equal(l.n, 4);
        uint64_t lines;
        char whole_head[SHA256_HEX];
        strcpy(whole_head, audit_head(f->a));

        _cleanup_free_ char *altered = strdup(text);
        memcpy(strstr(altered, "published"), "Published", 9);
        _cleanup_free_ char *removed = str_printf("%s\n%s\n%s\n", l.v[0], l.v[2], l.v[3]);
        _cleanup_free_ char *first_removed = str_printf("%s\n%s\n%s\n", l.v[1], l.v[2], l.v[3]);
        _cleanup_free_ char *moved = str_printf("%s\n%s\n%s\n%s\n", l.v[0], l.v[2], l.v[1], l.v[3]);
        _cleanup_free_ char *doubled =
                str_printf("%s\n%s\n%s\n%s\n%s\n", l.v[0], l.v[1], l.v[1], l.v[2], l.v[3]);
        _cleanup_free_ char *empty_line = str_printf("%s\n\n%s\n%s\n%s\n", l.v[0], l.v[1], l.v[2], l.v[3]);
        _cleanup_free_ char *blank = str_printf("%s\n%s \n%s\n%s\n", l.v[0], l.v[1], l.v[2], l.v[3]);
        const char *const tampered[] = {altered, removed, first_removed, moved, doubled, empty_line, blank};
        for (size_t i = 0; i < ELEMENTSOF(tampered); i++) {
                overwrite(f, tampered[i]);
                if (verify(f, NULL, &lines) != -EBADMSG)
                        fail_msg("not found: %zu", i);
        }
        struct error e = {};
        overwrite(f, altered);
        assert_int_equal(audit_verify(f->fd, NULL, &lines, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "line 3"));

        /* a cut tail holds by itself, and is found by the head alone */
        _cleanup_free_ char *cut = str_printf("%s\n%s\n%s\n", l.v[0], l.v[1], l.v[2]);
        overwrite(f, cut);
        assert_int_equal(verify(f, NULL, &lines), 0);
        assert_int_equal(lines, 3);
        assert_int_equal(verify(f, whole_head, &lines), -EBADMSG);
        /* the last line altered: only the head tells */
        memcpy(strstr(text, "stop"), "Stop", 4);
        overwrite(f, text);
        assert_int_equal(verify(f, NULL, &lines), 0);
        assert_int_equal(verify(f, whole_head, &lines), -EBADMSG);
        /* all of it written anew, with a chain that holds */
        overwrite(f, "");
        assert_int_equal(reopen(f, NULL), 0);
        append(f, "other");
        assert_int_equal(verify(f, NULL, &lines), 0);
        assert_int_equal(verify(f, whole_head, &lines), -EBADMSG);
        assert_int_equal(verify(f, ZEROS, &lines), 0);
}

/* A line that does not fit on the disk leaves nothing behind. */
static void a_full_disk_leaves_no_half_line(void **state)
{
        struct fixture *f = *state;
        append(f, "start");
        struct stat before, after;
        assert_int_equal(fstatat(f->fd, AUDIT_FILE, &before, 0), 0);
        char head[SHA256_HEX];
        strcpy(head, audit_head(f->a));
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit old, small;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        small = old;
        small.rlim_cur = (rlim_t)before.st_size + 50; /* the write comes back short */
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        struct audit_entry entry = nothing;
        entry.event = "published";
        struct error e = {};
        int r = audit_append(f->a, &entry, &e);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(r, -ENOSPC);
        assert_int_equal(e.cause, CAUSE_SPACE);
        assert_int_equal(fstatat(f->fd, AUDIT_FILE, &after, 0), 0);
        assert_int_equal(after.st_size, before.st_size);
        assert_string_equal(audit_head(f->a), head);
        append(f, "published");
        uint64_t lines;
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        assert_int_equal(lines, 2);
}

static void a_file_taken_away_is_noticed(void **state)
{
        struct fixture *f = *state;
        append(f, "start");
        struct audit_entry entry = nothing;
        entry.event = "x";
        overwrite(f, "");
        assert_int_equal(audit_append(f->a, &entry, NULL), -ESTALE);
        assert_int_equal(reopen(f, NULL), 0);
        append(f, "start");
        assert_int_equal(unlinkat(f->fd, AUDIT_FILE, 0), 0);
        assert_int_equal(audit_append(f->a, &entry, NULL), -ESTALE);
        assert_int_equal(reopen(f, NULL), 0);
}

static int collect(const char *line, size_t len, uint64_t number, void *arg)
{
        char event[32];
        assert_int_equal(strlen(line), len);
        assert_int_equal(audit_field(line, len, "event", event, sizeof(event)), 0);
        strcat(arg, event);
        strcat(arg, " ");
        return number == 2 ? 7 : 0;
}

static void a_walk_shows_whole_lines_and_can_stop(void **state)
{
        struct fixture *f = *state;
        char got[100] = "";
        append(f, "one");
        assert_int_equal(audit_each(f->fd, collect, got, NULL), 0);
        assert_string_equal(got, "one ");
        append(f, "two");
        append(f, "three");
        got[0] = 0;
        assert_int_equal(audit_each(f->fd, collect, got, NULL), 7);
        assert_string_equal(got, "one two ");
}

static void fields_are_read(void **state)
{
        (void)state;
        static const struct {
                const char *line, *name, *want;
                int r;
        } rows[] = {
                {"{\"a\":\"x\",\"b\":12,\"c\":null}", "a", "x", 0},
                {"{\"a\":\"x\",\"b\":12,\"c\":null}", "b", "12", 0},
                {"{\"a\":\"x\",\"b\":12,\"c\":null}", "c", "null", 0},
                {"{\"a\":\"x\"}", "b", NULL, -ENOENT},
                {"{\"a\":\"x\\\"\\\\\\/\\n\\u00fc\\u20ac\\ud83d\\ude00\"}", "a",
                        "x\"\\/\n\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 0},
                {"{\"b\":\"\\\"a\\\":\\\"no\\\"\",\"a\":\"yes\"}", "a", "yes", 0},
                {"{\"a\":\"123456789012345\"}", "a", "123456789012345", 0},
                {"{\"a\":\"1234567890123456\"}", "a", NULL, -ENOBUFS},
                {"{\"a\":\"\"}", "a", "", 0},
                {"{\"a\":\"\\u0000\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\ud800\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\udc00\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\ud800\\u0041\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\x\"}", "a", NULL, -EBADMSG},
                {"{\"a\":\"x", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\u00", "a", NULL, -EBADMSG},
                {"{\"a\":\"\\", "a", NULL, -EBADMSG},
                {"{\"a\":", "a", NULL, -EBADMSG},
                {"{\"a\"", "a", NULL, -EBADMSG},
                {"{", "a", NULL, -EBADMSG},
                {"", "a", NULL, -EBADMSG},
                {"[1]", "a", NULL, -EBADMSG},
                {"{\"b\":{\"a\":1}}", "a", NULL, -EBADMSG},
                {"{\"b\":1 \"a\":2}", "a", NULL, -EBADMSG},
                {"{\"b\":1}x", "a", NULL, -EBADMSG},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char value[16];
                int r = audit_field(rows[i].line, strlen(rows[i].line), rows[i].name, value, sizeof(value));
                if (r != rows[i].r || (r == 0 && !streq(value, rows[i].want)))
                        fail_msg("%s: %d %s", rows[i].line, r, r == 0 ? value : "");
        }
}

/* What append() writes, fields() reads back. */
static void a_hostile_name_goes_through(void **state)
{
        struct fixture *f = *state;
        char key[1025], back[1025];
        for (int i = 0; i < 1024; i++)
                key[i] = (char)(1 + i % 127);
        key[1024] = 0;
        struct audit_entry entry = nothing;
        entry.event = "rejected";
        entry.key = entry.member = key;
        assert_int_equal(audit_append(f->a, &entry, NULL), 0);
        _cleanup_free_ char *text = content(f);
        assert_int_equal(audit_field(text, strlen(text) - 1, "key", back, sizeof(back)), 0);
        assert_string_equal(back, key);
        uint64_t lines;
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        /* one that is longer than a line may be is refused, and nothing of it written */
        _cleanup_free_ char *huge = malloc(AUDIT_LINE_MAX + 1);
        memset(huge, 'x', AUDIT_LINE_MAX);
        huge[AUDIT_LINE_MAX] = 0;
        entry.key = huge;
        assert_int_equal(audit_append(f->a, &entry, NULL), -EMSGSIZE);
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        assert_int_equal(lines, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(a_line_says_all_in_a_fixed_order),
                T(what_does_not_apply_is_left_out),
                T(the_chain_goes_on_after_a_restart),
                T(a_torn_line_is_cut),
                T(strange_ends_are_refused),
                T(tampering_is_found),
                T(a_full_disk_leaves_no_half_line),
                T(a_file_taken_away_is_noticed),
                T(a_walk_shows_whole_lines_and_can_stop),
                cmocka_unit_test(fields_are_read),
                T(a_hostile_name_goes_through),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
