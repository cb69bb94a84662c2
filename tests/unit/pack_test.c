/* SPDX-License-Identifier: Apache-2.0 */
/* What GNU tar makes of it: names verbatim at every length, times, sizes, and bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "digest.h"
#include "fsx.h"
#include "pack.h"
#include "str.h"

#define N 12
static char root[] = "/tmp/czard-pack-XXXXXX";

static void put(const char *name, size_t size, char hex[SHA256_HEX])
{
        _cleanup_free_ char *path = str_printf("%s/in/%s", root, name), *text = malloc(size + 1);
        uint8_t sum[SHA256_SIZE];
        memset(text, 'x', size);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, size), 0);
        const struct timespec times[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
        assert_int_equal(futimens(fd, times), 0);
        close(fd);
        assert_int_equal(digest_once(DIGEST_SHA256, text, size, sum), 0);
        hex_encode(sum, sizeof(sum), hex);
}

static int pack_all(const struct staging *s, const struct pack_entry *v, size_t n, enum pack_form form,
        const char *out, struct error *e)
{
        struct pack *p;
        char buf[1000];
        ssize_t got;
        _cleanup_close_ int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0640);
        assert_int_equal(pack_new(s, v, n, form, 1600000000, &p, e), 0);
        while ((got = pack_read(p, buf, sizeof(buf))) > 0)
                assert_int_equal(write_all(fd, buf, (size_t)got), 0);
        pack_free(p);
        return (int)got;
}

static void gnu_tar_reads_it(void **state)
{
        (void)state;
        static const size_t lengths[] = {1, 99, 100, 101, 155, 180, 254, 255, 256, 257, 300, 500};
        static char names[N][600], hex[N][SHA256_HEX], paths[N][16];
        struct pack_entry v[N + 1] = {};
        struct staging *s;
        struct error e = {};
        for (size_t i = 0; i < N; i++) {
                for (size_t k = 0; k < lengths[i]; k++)
                        names[i][k] = (char)(k % 60 == 59 && k + 1 < lengths[i] ? '/' : 'a' + (int)i);
                snprintf(paths[i], sizeof(paths[i]), "f%zu", i);
                put(paths[i], i * 511, hex[i]);
                v[i] = (struct pack_entry){.name = names[i], .path = paths[i], .sha256 = hex[i]};
        }
        v[N] = (struct pack_entry){.name = "text", .text = "hello\n"};
        _cleanup_free_ char *in = str_printf("%s/in", root), *tar = str_printf("%s/a.tar", root),
                            *gz = str_printf("%s/a.tar.gz", root);
        assert_int_equal(staging_open_readonly(in, &s, &e), 0);
        assert_int_equal(pack_all(s, v, N + 1, PACK_TAR, tar, &e), 0);
        assert_int_equal(pack_all(s, v, N + 1, PACK_TAR_GZ, gz, &e), 0);
        for (int packed = 0; packed < 2; packed++) {
                _cleanup_free_ char *go =
                        str_printf("cd %s && rm -rf out && mkdir out && tar -C out -xf %s 2>&1", root,
                                packed ? "a.tar.gz" : "a.tar");
                assert_int_equal(system(go), 0);
                for (size_t i = 0; i < N; i++) {
                        _cleanup_free_ char *path = str_printf("%s/out/%s", root, names[i]);
                        struct stat st;
                        assert_int_equal(stat(path, &st), 0);
                        assert_int_equal(st.st_size, i * 511);
                        assert_int_equal(st.st_mtim.tv_sec, 1700000000);
                }
        }
        /* of other bytes than it should be */
        hex[3][0] ^= 1;
        assert_true(pack_all(s, v, N, PACK_TAR, tar, &e) < 0);
        assert_int_equal(e.cause, CAUSE_STAGING);
        assert_non_null(strstr(e.text, "f3"));
        assert_true(pack_all(s, &v[3], 1, PACK_BARE, tar, &e) < 0);
        assert_int_equal(pack_all(s, &v[4], 1, PACK_BARE, tar, &e), 0);
        staging_free(s);
}

static int setup(void **state)
{
        (void)state;
        _cleanup_free_ char *in = mkdtemp(root) ? str_printf("%s/in", root) : NULL;
        return in && mkdir(in, 0750) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        _cleanup_free_ char *go = str_printf("rm -rf %s", root);
        return system(go);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(gnu_tar_reads_it)};
        return cmocka_run_group_tests(tests, setup, teardown);
}
