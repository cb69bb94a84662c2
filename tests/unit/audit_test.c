/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>

#include "audit_fixture.h"
#include "limits.h"

static unsigned waits; /* for the disk */
static int disk_error;

/* Stands before libc's. */
int fdatasync(int fd)
{
        waits++;
        errno = disk_error;
        return disk_error ? -1 : fsync(fd);
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
                .staging_id = "i",
                .object_size = 7,
                .checks = 0x80000001U,
                .left_out = 3,
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
                "\"site\":\"s\",\"date\":\"2024-07-07\",\"staging_id\":\"i\",\"object_size\":7,"
                "\"checks\":2147483649,\"left_out\":3,\"uid\":0,\"prev\":\"" ZEROS "\"}\n");
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

static void the_durable_head_follows_what_is_synced(void **state)
{
        struct fixture *f = *state;
        const char *durable = audit_durable_head(f->a);
        assert_string_equal(durable, "");
        append(f, "start");
        assert_string_equal(durable, "");
        assert_int_equal(audit_sync(f->a, NULL), 0);
        assert_string_equal(durable, audit_head(f->a));
        append(f, "stop");
        assert_string_not_equal(durable, audit_head(f->a));
        assert_int_equal(reopen(f, NULL), 0);
        assert_string_equal(audit_durable_head(f->a), audit_head(f->a));
}

static void the_disk_is_waited_for_only_when_there_is_something_new(void **state)
{
        struct fixture *f = *state;
        append(f, "a");
        waits = 0;
        assert_int_equal(audit_sync(f->a, NULL), 0);
        assert_int_equal(audit_sync(f->a, NULL), 0);
        assert_int_equal(waits, 1);
        append(f, "b");
        disk_error = EIO;
        assert_int_equal(audit_sync(f->a, NULL), -EIO);
        disk_error = 0;
        assert_int_equal(audit_sync(f->a, NULL), 0); /* again, as the last one failed */
        assert_int_equal(waits, 3);
        assert_string_equal(audit_durable_head(f->a), audit_head(f->a));
        /* what an earlier czard wrote is perhaps not durable */
        f->a = audit_free(f->a);
        assert_int_equal(audit_open(f->fd, &f->a, NULL), 0);
        assert_int_equal(audit_sync(f->a, NULL), 0);
        assert_int_equal(waits, 4);
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
        append(f, "start");
        uint64_t lines = 0;
        assert_int_equal(verify(f, NULL, &lines), 0);
        assert_int_equal(lines, 1);
}

/* Members are only there with their publication. What was acknowledged before them stays. */
static void members_without_a_publication_are_cut(void **state)
{
        struct fixture *f = *state;
        uint64_t lines = 0;
        append(f, "start");
        append(f, "members");
        append(f, "member");
        append(f, "published");
        append(f, "members");
        append(f, "member");
        append(f, "member-rejected");
        assert_int_equal(reopen(f, NULL), 0);
        struct audit_tail tail;
        audit_tail(f->a, &tail);
        assert_int_equal(tail.seq, 4);
        append(f, "start");
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        assert_int_equal(lines, 5);
        /* also when there is nothing before them, and when a last line is torn */
        overwrite(f, "");
        assert_int_equal(reopen(f, NULL), 0);
        append(f, "members");
        append(f, "member");
        _cleanup_free_ char *text = content(f);
        text[strlen(text) - 5] = 0;
        overwrite(f, text);
        assert_int_equal(reopen(f, NULL), 0);
        assert_string_equal(audit_head(f->a), ZEROS);
        append(f, "start");
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        assert_int_equal(lines, 1);
        /* an older czard wrote no head before its members: they may have been acknowledged */
        append(f, "member");
        append(f, "member");
        assert_int_equal(reopen(f, NULL), 0);
        audit_tail(f->a, &tail);
        assert_int_equal(tail.seq, 3);
}

static void what_was_not_durable_is_taken_back(void **state)
{
        struct fixture *f = *state;
        uint64_t lines = 0;
        append(f, "start");
        assert_int_equal(audit_sync(f->a, NULL), 0);
        struct audit_mark mark = audit_mark(f->a);
        append(f, "members");
        append(f, "member");
        audit_take_back(f->a, &mark);
        append(f, "other");
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        assert_int_equal(lines, 2);
        mark = audit_mark(f->a);
        append(f, "published");
        assert_int_equal(audit_sync(f->a, NULL), 0);
        audit_take_back(f->a, &mark); /* it is durable: it stays */
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        assert_int_equal(lines, 3);
}

/* A crash tears what nobody remembers; what is remembered and not there was cut by somebody. */
static void a_cut_tail_is_told_from_a_torn_one(void **state)
{
        struct fixture *f = *state;
        struct audit_tail known, none = {};
        struct error e = {};
        uint64_t lines = 0;
        for (int i = 0; i < 5; i++)
                append(f, "a line");
        audit_tail(f->a, &known);
        append(f, "not remembered");
        assert_int_equal(audit_check_tail(f->a, &known, &e), 0);
        assert_int_equal(audit_check_tail(f->a, &none, &e), 0);
        _cleanup_free_ char *text = content(f);
        size_t whole = strlen(text), ends[6], n = 0;
        for (size_t i = 0; i < whole; i++)
                if (text[i] == '\n')
                        ends[n++] = i + 1;
        for (size_t k = 0; k <= whole; k += k > ends[4] - 3 && k < ends[4] + 3 ? 1 : 13) {
                _cleanup_free_ char *part = strndup(text, k);
                overwrite(f, part);
                assert_int_equal(reopen(f, NULL), 0);
                bool cut = k < ends[4];
                assert_int_equal(audit_check_tail(f->a, &known, &e), cut ? -EBADMSG : 0);
                assert_int_equal(audit_verify(f->fd, NULL, &known, &lines, &e), cut ? -EBADMSG : 0);
                struct stat st; /* it is not cut further before somebody was told */
                assert_int_equal(fstatat(f->fd, AUDIT_FILE, &st, 0), 0);
                assert_int_equal(st.st_size, k);
        }
        /* as many lines, but others */
        overwrite(f, "");
        assert_int_equal(reopen(f, NULL), 0);
        for (int i = 0; i < 7; i++)
                append(f, "forged");
        assert_int_equal(audit_check_tail(f->a, &known, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "anew"));
        assert_int_equal(audit_verify(f->fd, NULL, &known, &lines, &e), -EBADMSG);
}

/* The file was moved away: numbers and hashes go on, and the whole of it can be read and verified. */
static void a_file_that_was_moved_is_continued(void **state)
{
        struct fixture *f = *state;
        struct audit_tail known;
        struct error e = {};
        uint64_t lines = 0;
        append(f, "one");
        append(f, "two");
        audit_tail(f->a, &known);
        assert_int_equal(renameat(f->fd, AUDIT_FILE, f->fd, "audit-2024.jsonl"), 0);
        assert_int_equal(reopen(f, NULL), 0);
        assert_int_equal(audit_check_tail(f->a, &known, &e), 0);
        append(f, "four");
        assert_int_equal(audit_check_tail(f->a, &known, &e), 0);
        _cleanup_free_ char *text = content(f);
        assert_non_null(strstr(text, "\"seq\":3,\"event\":\"continued\",\"path\":\"audit-2024.jsonl\""));
        assert_int_equal(verify(f, known.head, &lines), 0);
        assert_int_equal(lines, 4);
        audit_tail(f->a, &known);
        /* and once more; then the first one goes to an archive elsewhere */
        assert_int_equal(renameat(f->fd, AUDIT_FILE, f->fd, "audit-2025.jsonl"), 0);
        assert_int_equal(reopen(f, NULL), 0);
        append(f, "six");
        assert_int_equal(verify(f, known.head, &lines), 0);
        assert_int_equal(lines, 6);
        assert_int_equal(unlinkat(f->fd, "audit-2024.jsonl", 0), 0);
        assert_int_equal(verify(f, known.head, &lines), 0);
        assert_int_equal(lines, 6);
        /* without it the record may not simply begin later */
        assert_int_equal(unlinkat(f->fd, "audit-2025.jsonl", 0), 0);
        assert_int_equal(verify(f, NULL, &lines), 0);
        overwrite(f, strchr(text, '\n') + 1);
        assert_int_equal(verify(f, NULL, &lines), -EBADMSG);
        /* removed, not moved */
        assert_int_equal(unlinkat(f->fd, AUDIT_FILE, 0), 0);
        assert_int_equal(reopen(f, NULL), 0);
        assert_int_equal(audit_check_tail(f->a, &known, &e), -EBADMSG);
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

static void looking_for_room_changes_nothing(void **state)
{
        struct fixture *f = *state;
        struct stat before, after;
        append(f, "start");
        assert_int_equal(fstatat(f->fd, AUDIT_FILE, &before, 0), 0);
        assert_int_equal(audit_probe(f->a, NULL), 0);
        assert_int_equal(fstatat(f->fd, AUDIT_FILE, &after, 0), 0);
        assert_int_equal(after.st_size, before.st_size);
        append(f, "stop");
        assert_int_equal(reopen(f, NULL), 0);
        uint64_t lines;
        assert_int_equal(verify(f, audit_head(f->a), &lines), 0);
        assert_int_equal(lines, 2);
        overwrite(f, "");
        assert_int_equal(audit_probe(f->a, NULL), -ESTALE);
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

/* What append() writes, fields() reads back. */
static void a_hostile_name_goes_through(void **state)
{
        struct fixture *f = *state;
        char key[KEY_SIZE], back[KEY_SIZE];
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
                T(the_durable_head_follows_what_is_synced),
                T(the_disk_is_waited_for_only_when_there_is_something_new),
                T(a_torn_line_is_cut),
                T(members_without_a_publication_are_cut),
                T(what_was_not_durable_is_taken_back),
                T(a_cut_tail_is_told_from_a_torn_one),
                T(a_file_that_was_moved_is_continued),
                T(strange_ends_are_refused),
                T(a_full_disk_leaves_no_half_line),
                T(looking_for_room_changes_nothing),
                T(a_file_taken_away_is_noticed),
                T(a_hostile_name_goes_through),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
