/* SPDX-License-Identifier: Apache-2.0 */
/* The form on stderr is seen through a pipe; the fields that go to the journal by a socket of our own in the
 * place of journald's, in a child with a mount namespace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"
#include "journal.h"
#include "macro.h"
#include "str.h"

static int real_stderr = -1, reader = -1;

/* From here to captured() stderr is a pipe. */
static void capture(void)
{
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        real_stderr = dup(STDERR_FILENO);
        assert_true(real_stderr >= 0);
        dup2(fds[1], STDERR_FILENO);
        close(fds[1]);
        reader = fds[0];
        assert_int_equal(fd_nonblock(reader, 1), 0);
}

/* What was written since capture(). One call must have been one write, so all of it is there. */
static char *captured(void)
{
        char *s = NULL;
        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        assert_int_equal(read_file_fd(reader, 1 << 20, &s, NULL), 0);
        close(reader);
        return s;
}

static int setup(void **state)
{
        (void)state;
        unsetenv("JOURNAL_STREAM");
        journal_open();
        journal_level(LOG_INFO);
        return 0;
}

static void an_event_is_one_line(void **state)
{
        (void)state;
        capture();
        journal_event(EVENT_STARTED, NULL, "czard %s", "0.1.0");
        _cleanup_free_ char *s = captured();
        assert_string_equal(s, "notice czard 0.1.0 CZARD_EVENT=started\n");
}

static void each_entry_has_the_audit_head_of_its_time(void **state)
{
        (void)state;
        static const struct journal_fields f = {.org = "o"};
        char head[] = "aaaa";
        journal_level(LOG_DEBUG);
        journal_audit_head(head);
        capture();
        journal_event(EVENT_FAILED, NULL, "no");
        strcpy(head, "bbbb");
        journal_event(EVENT_PUBLISHED, &f, "yes");
        journal_debug("n=%d", 5);
        head[0] = 0; /* an empty record has none */
        journal_event(EVENT_STOPPING, NULL, "stopping");
        journal_audit_head(NULL);
        journal_event(EVENT_STOPPED, NULL, "stopped");
        _cleanup_free_ char *s = captured();
        assert_string_equal(s, "err no CZARD_EVENT=failed CZARD_AUDIT_HEAD=aaaa\n"
                               "info yes CZARD_EVENT=published CZARD_ORG=o CZARD_AUDIT_HEAD=bbbb\n"
                               "debug n=5 CZARD_AUDIT_HEAD=bbbb\n"
                               "notice stopping CZARD_EVENT=stopping\n"
                               "notice stopped CZARD_EVENT=stopped\n");
}

static void all_fields_are_told(void **state)
{
        (void)state;
        static const uint64_t size = 1, plain = UINT64_MAX, usec = 3, suppressed = 0;
        static const struct journal_fields f = {
                .priority = LOG_WARNING,
                .org = "o",
                .category = "events",
                .site = "edx",
                .date = "2024-07-07",
                .bucket = "b",
                .object = "k",
                .etag = "\"e\"",
                .size = &size,
                .plain_size = &plain,
                .duration_usec = &usec,
                .suppressed = &suppressed,
                .sha256 = "00ff",
                .path = "/p",
                .member = "m",
                .course = "c",
                .table = "t",
                .request = "r",
                .cause = CAUSE_BAD_MDC,
                .attempt = 7,
                .access_key_id = "AKIA",
                .fingerprint = "F",
        };
        capture();
        journal_event(EVENT_SNAPSHOT_CHANGED, &f, "text");
        _cleanup_free_ char *s = captured();
        assert_string_equal(s,
                "warning text CZARD_EVENT=snapshot-changed CZARD_ORG=o CZARD_CATEGORY=events "
                "CZARD_SITE=edx CZARD_DATE=2024-07-07 CZARD_BUCKET=b CZARD_OBJECT=k "
                "CZARD_ETAG=\"\\\"e\\\"\" CZARD_SIZE=1 CZARD_PLAIN_SIZE=18446744073709551615 "
                "CZARD_SHA256=00ff CZARD_PATH=/p CZARD_MEMBER=m CZARD_COURSE=c CZARD_TABLE=t "
                "CZARD_REQUEST=r CZARD_DURATION_USEC=3 CZARD_CAUSE=bad-integrity CZARD_ATTEMPT=7 "
                "CZARD_ACCESS_KEY_ID=AKIA CZARD_FINGERPRINT=F CZARD_SUPPRESSED=0\n");
}

static void what_does_not_apply_is_left_out(void **state)
{
        (void)state;
        static const struct journal_fields f = {.org = "o"};
        capture();
        journal_event(EVENT_PUBLISHED, &f, "text");
        _cleanup_free_ char *s = captured();
        assert_string_equal(s, "info text CZARD_EVENT=published CZARD_ORG=o\n");
}

static void values_are_quoted_where_needed(void **state)
{
        (void)state;
        static const struct journal_fields f = {.org = "",
                .bucket = "a b",
                .object = "a\"b\\c",
                .path = "plain=x\\y",
                .member = "\xc3\xa9\xe2\x82\xac"};
        capture();
        journal_event(EVENT_PUBLISHED, &f, "text");
        _cleanup_free_ char *s = captured();
        assert_string_equal(s,
                "info text CZARD_EVENT=published CZARD_ORG=\"\" CZARD_BUCKET=\"a b\" "
                "CZARD_OBJECT=\"a\\\"b\\\\c\" CZARD_PATH=plain=x\\y CZARD_MEMBER=\xc3\xa9\xe2\x82\xac\n");
}

/* A key from a bucket must neither forge a second entry nor speak to the terminal. */
static void nothing_breaks_out_of_the_line(void **state)
{
        (void)state;
        static const struct journal_fields f = {.object = "k\nerr forged CZARD_EVENT=rejected",
                .member = "\x1b[2J\x7f\t",
                .path = "\xc2\x9b\xff\xe2\x82"};
        capture();
        journal_event(EVENT_PUBLISHED, &f, "first\nsecond\r%s", "\x1b]0;x\x07");
        _cleanup_free_ char *s = captured();
        assert_string_equal(s, "info first\\x0asecond\\x0d\\x1b]0;x\\x07 CZARD_EVENT=published "
                               "CZARD_OBJECT=\"k\\\\x0aerr forged CZARD_EVENT=rejected\" "
                               "CZARD_PATH=\\xc2\\x9b\\xff\\xe2\\x82 CZARD_MEMBER=\\x1b[2J\\x7f\\x09\n");
}

static void less_urgent_entries_are_dropped(void **state)
{
        (void)state;
        static const struct journal_fields urgent = {.priority = LOG_ERR}, chatty = {.priority = LOG_DEBUG};
        journal_level(LOG_WARNING);
        capture();
        journal_event(EVENT_STARTED, NULL, "dropped");
        journal_event(EVENT_PUBLISHED, &chatty, "dropped");
        journal_debug("dropped");
        journal_event(EVENT_LATE, NULL, "kept");
        journal_event(EVENT_STARTED, &urgent, "kept");
        _cleanup_free_ char *s = captured();
        assert_string_equal(s, "warning kept CZARD_EVENT=late\nerr kept CZARD_EVENT=started\n");

        journal_level(LOG_DEBUG);
        capture();
        journal_event(EVENT_PUBLISHED, &chatty, "a member");
        journal_debug("n=%d", 5);
        _cleanup_free_ char *t = captured();
        assert_string_equal(t, "debug a member CZARD_EVENT=published\ndebug n=5\n");
}

static void what_is_too_long_is_cut(void **state)
{
        (void)state;
        enum { BIG = 100000 };
        _cleanup_free_ char *big = malloc(BIG + 1);
        assert_non_null(big);
        memset(big, '\n', BIG); /* the worst: each byte becomes four */
        big[BIG] = 0;
        const struct journal_fields f = {.org = big,
                .category = big,
                .site = big,
                .date = big,
                .bucket = big,
                .object = big,
                .etag = big};
        capture();
        journal_event(EVENT_PUBLISHED, &f, "%s", big);
        _cleanup_free_ char *s = captured();
        size_t n = strlen(s);
        assert_true(n > 4096 && n < 40000);
        assert_ptr_equal(strchr(s, '\n'), s + n - 1); /* still one line */
        assert_non_null(str_after(s, "info \\x0a"));
}

static void errno_is_kept(void **state)
{
        (void)state;
        capture();
        errno = ENOSPC;
        journal_event(EVENT_PAUSED, NULL, "%m");
        int after = errno;
        _cleanup_free_ char *s = captured();
        assert_int_equal(after, ENOSPC);
        assert_string_equal(s, "err No space left on device CZARD_EVENT=paused\n");
}

static void memory_is_not_needed(void **state)
{
        (void)state;
#ifdef CZARD_SANITIZE
        skip(); /* AddressSanitizer's own memory counts too */
#endif
        static const struct journal_fields f = {.org = "o"};
        struct rlimit before, none;
        assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
        none = (struct rlimit){.rlim_cur = 1, .rlim_max = before.rlim_max};
        capture();
        assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
        journal_event(EVENT_FAILED, &f, "out of memory");
        assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
        _cleanup_free_ char *s = captured();
        assert_string_equal(s, "err out of memory CZARD_EVENT=failed CZARD_ORG=o\n");
}

static void a_stream_that_is_not_ours_is_not_believed(void **state)
{
        (void)state;
        static const char *const streams[] = {"", ":", "1", "1:", ":1", "x:y", "8:1234567", "-1:-1",
                "99999999999999999999999999999999999999999:1"};
        for (size_t i = 0; i < ELEMENTSOF(streams); i++) {
                setenv("JOURNAL_STREAM", streams[i], 1);
                capture();
                journal_open();
                journal_event(EVENT_READY, NULL, "text");
                _cleanup_free_ char *s = captured();
                assert_string_equal(s, "notice text CZARD_EVENT=ready\n");
        }
        unsetenv("JOURNAL_STREAM");
}

static void message_ids_are_unique_and_of_their_form(void **state)
{
        (void)state;
        static const char *const ids[] = {
#define X(id, name, prio, message_id) message_id,
                JOURNAL_EVENTS(X)
#undef X
        };
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                uint8_t raw[16];
                assert_int_equal(hex_decode(ids[i], raw, sizeof(raw)), 0);
                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(ids[i], ids[k]);
        }
}

static int write_file(const char *path, const char *text)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
        return fd < 0 ? -errno : write_all(fd, text, strlen(text));
}

/* As a user: root of a namespace of our own, who may mount there. */
static int enter_namespaces(void)
{
        char uid_map[32], gid_map[32];
        unsigned uid = geteuid();
        if (uid == 0)
                return unshare(CLONE_NEWNS);
        snprintf(uid_map, sizeof(uid_map), "0 %u 1", uid);
        snprintf(gid_map, sizeof(gid_map), "0 %u 1", getegid());
        if (unshare(CLONE_NEWNS | CLONE_NEWUSER) < 0)
                return -1;
        int r = write_file("/proc/self/setgroups", "deny");
        r = r < 0 ? r : write_file("/proc/self/uid_map", uid_map);
        return r < 0 ? r : write_file("/proc/self/gid_map", gid_map);
}

/* A socket where journald's would be, seen by this process only. A descriptor or -1. */
static int stand_in_for_journald(void)
{
        static const struct sockaddr_un at = {
                .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
        if (enter_namespaces() < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0 || mkdir("/run/systemd", 0755) < 0 ||
                mkdir("/run/systemd/journal", 0755) < 0)
                return -1;
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
                return -1;
        return fd;
}

enum { CANNOT = 77 };

/* Writes the datagram that the journal would have got to out. */
static int speak_to_the_stand_in(int out)
{
        static const uint64_t size = 42;
        static const struct journal_fields f = {.object = "a b\nc", .size = &size, .etag = ""};
        char buf[8192], stream[64];
        struct stat st;
        int fd = stand_in_for_journald();
        if (fd < 0)
                return CANNOT;
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC); /* anything but a door to the pipe */
        if (null < 0 || dup2(null, STDERR_FILENO) < 0 || fstat(STDERR_FILENO, &st) < 0)
                return CANNOT;
        snprintf(stream, sizeof(stream), "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
        journal_open();
        journal_event(EVENT_REJECTED, &f, "refused\n");
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        return n > 0 && write_all(out, buf, (size_t)n) == 0 ? 0 : 1;
}

static void the_journal_gets_fields(void **state)
{
        (void)state;
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(speak_to_the_stand_in(fds[1]));
        close(fds[1]);
        _cleanup_free_ char *s = NULL;
        assert_int_equal(read_file_fd(fds[0], 1 << 20, &s, NULL), 0);
        close(fds[0]);
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == CANNOT)
                skip(); /* no namespaces here */
        assert_int_equal(WEXITSTATUS(status), 0);
        static const char *const fields[] = {"MESSAGE=refused\\x0a\n", "\nPRIORITY=3\n",
                "\nMESSAGE_ID=884aa5fb9c704ad1a3641830a5991118\n", "\nCZARD_EVENT=rejected\n",
                "\nCZARD_OBJECT=a b\\x0ac\n", "\nCZARD_SIZE=42\n", "\nCZARD_ETAG=\n", "\nSYSLOG_IDENTIFIER="};
        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                assert_non_null(strstr(s, fields[i]));
        assert_null(strstr(s, "CZARD_ORG"));
        assert_null(strstr(s, "CODE_FILE"));
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

static void what_turns_a_line_round_is_escaped(void **state)
{
        (void)state;
        static const struct journal_fields f = {
                .object = "a\xe2\x80\xae/\xe2\x80\xa8/\xe2\x81\xa6\xd8\x9c\xef\xbb\xbf"};
        capture();
        journal_event(EVENT_REJECTED, &f, "\xd8\xb5\xe2\x80\x8f.");
        _cleanup_free_ char *s = captured();
        assert_string_equal(s,
                "err \xd8\xb5\\xe2\\x80\\x8f. CZARD_EVENT=rejected "
                "CZARD_OBJECT=a\\xe2\\x80\\xae/\\xe2\\x80\\xa8/\\xe2\\x81\\xa6\\xd8\\x9c\\xef\\xbb\\xbf\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(an_event_is_one_line),
                TEST(each_entry_has_the_audit_head_of_its_time),
                TEST(all_fields_are_told),
                TEST(what_does_not_apply_is_left_out),
                TEST(values_are_quoted_where_needed),
                TEST(nothing_breaks_out_of_the_line),
                TEST(what_turns_a_line_round_is_escaped),
                TEST(less_urgent_entries_are_dropped),
                TEST(what_is_too_long_is_cut),
                TEST(errno_is_kept),
                TEST(memory_is_not_needed),
                TEST(a_stream_that_is_not_ours_is_not_believed),
                TEST(message_ids_are_unique_and_of_their_form),
                TEST(the_journal_gets_fields),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
