/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>

#include "audit_fixture.h"

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
                T(the_durable_head_follows_what_is_synced),
                T(the_disk_is_waited_for_only_when_there_is_something_new),
                T(a_torn_line_is_cut),
                T(strange_ends_are_refused),
                T(a_full_disk_leaves_no_half_line),
                T(looking_for_room_changes_nothing),
                T(a_file_taken_away_is_noticed),
                T(a_hostile_name_goes_through),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
