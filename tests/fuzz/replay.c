/* SPDX-License-Identifier: Apache-2.0 */
/* Runs LLVMFuzzerTestOneInput over every file of the folders named on the command line. Fails when there is
 * none: an empty corpus proves nothing. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(int dir_fd, const char *name)
{
        int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return -1;
        size_t n = (size_t)st.st_size, got = 0;
        uint8_t *p = malloc(n ? n : 1);
        while (p && got < n) {
                ssize_t k = read(fd, p + got, n - got);
                if (k <= 0)
                        break;
                got += (size_t)k;
        }
        if (p)
                LLVMFuzzerTestOneInput(p, got);
        free(p);
        close(fd);
        return 0;
}

int main(int argc, char **argv)
{
        unsigned n = 0;
        for (int i = 1; i < argc; i++) {
                DIR *d = opendir(argv[i]);
                for (struct dirent *e; d && (e = readdir(d));)
                        if (e->d_name[0] != '.' && replay_file(dirfd(d), e->d_name) == 0)
                                n++;
                if (d)
                        closedir(d);
        }
        printf("%u inputs\n", n);
        return n ? 0 : 1;
}
