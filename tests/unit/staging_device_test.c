/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/sysmacros.h>

#include "staging.h"
#include "staging_fixture.h"

/* A sysfs of our own: name under dev/block, files, links in slaves/. */
static void sysfs_file(struct fixture *f, const char *path, const char *text)
{
        _cleanup_free_ char *dir = strdup(path);
        for (char *slash = dir; (slash = strchr(slash, '/')); *slash++ = '/') {
                *slash = 0;
                (void)mkdirat(at(f), dir, 0700);
        }
        if (text)
                assert_int_equal(replace_file_at(at(f), path, text, strlen(text), 0600), 0);
}

static void sysfs_slave(struct fixture *f, const char *of, const char *target, const char *name)
{
        _cleanup_free_ char *path = str_printf("%s/slaves/%s", of, name),
                            *to = str_printf("../../%s", target);
        sysfs_file(f, path, NULL);
        assert_int_equal(symlinkat(to, at(f), path), 0);
}

static enum encrypted encrypted_of(
        struct fixture *f, const char *device, unsigned minor_number, const char *text)
{
        char detail[256] = "";
        _cleanup_free_ char *path = str_printf("dev/block/253:%u", minor_number);
        _cleanup_free_ char *to = str_printf("../../%s", device);
        sysfs_file(f, path, NULL);
        assert_int_equal(symlinkat(to, at(f), path), 0);
        enum encrypted r =
                staging_device_encrypted(at(f), makedev(253, minor_number), detail, sizeof(detail));
        if (!strstr(detail, text))
                fail_msg("%s is not in: %s", text, detail);
        return r;
}

static void encrypted_devices(void **state)
{
        struct fixture *f = *state;
        char detail[256];
        sysfs_file(f, "sda/sda1/partition", "1\n");
        sysfs_file(f, "sda/dev", "8:0\n");
        sysfs_file(f, "dm-0/dm/uuid", "CRYPT-LUKS2-00112233445566778899aabbccddeeff-luks\n");
        sysfs_slave(f, "dm-0", "sda/sda1", "sda1");
        sysfs_file(f, "dm-1/dm/uuid", "LVM-abc\n"); /* a volume on the encrypted one */
        sysfs_slave(f, "dm-1", "dm-0", "dm-0");
        sysfs_file(f, "dm-2/dm/uuid", "LVM-def\n"); /* half of it beside */
        sysfs_slave(f, "dm-2", "dm-0", "dm-0");
        sysfs_slave(f, "dm-2", "sda/sda1", "sda1");
        sysfs_file(f, "dm-3/dm/uuid", "CRYPT-VERITY-001122-root\n");
        sysfs_slave(f, "dm-3", "sda/sda1", "sda1");
        sysfs_file(f, "loop0/loop/backing_file", "/x\n");
        sysfs_file(f, "dm-4/dm/uuid", "LVM-loops\n"); /* a loop below itself must end */
        sysfs_slave(f, "dm-4", "dm-4", "dm-4");
        sysfs_file(f, "md0/md0p1/partition", "1\n"); /* a partition of an array of encrypted devices */
        sysfs_slave(f, "md0", "dm-0", "dm-0");

        assert_int_equal(encrypted_of(f, "dm-0", 0, "CRYPT-LUKS2"), ENCRYPTED_YES);
        assert_int_equal(encrypted_of(f, "dm-1", 1, "dm-1 < dm-0"), ENCRYPTED_YES);
        assert_int_equal(encrypted_of(f, "dm-2", 2, "no dm-crypt"), ENCRYPTED_NO);
        assert_int_equal(encrypted_of(f, "dm-3", 3, "no dm-crypt"), ENCRYPTED_NO);
        assert_int_equal(encrypted_of(f, "sda/sda1", 4, "sda1"), ENCRYPTED_NO);
        assert_int_equal(encrypted_of(f, "loop0", 5, "loop"), ENCRYPTED_UNKNOWN);
        assert_int_equal(encrypted_of(f, "dm-4", 6, "dm-4"), ENCRYPTED_UNKNOWN);
        assert_int_equal(encrypted_of(f, "md0/md0p1", 7, "md0p1"), ENCRYPTED_YES);
        assert_int_equal(
                staging_device_encrypted(at(f), makedev(0, 42), detail, sizeof(detail)), ENCRYPTED_UNKNOWN);
        assert_non_null(strstr(detail, "btrfs"));
        assert_int_equal(
                staging_device_encrypted(at(f), makedev(9, 9), detail, sizeof(detail)), ENCRYPTED_UNKNOWN);
        /* the real one: an answer and a reason, whatever they are */
        detail[0] = 0;
        (void)staging_encrypted(f->s, detail, sizeof(detail));
        assert_true(detail[0]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(encrypted_devices),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
