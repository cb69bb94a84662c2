/* SPDX-License-Identifier: Apache-2.0 */
/* Halves the file until what is left is short. */
#include "lines.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int lines_seek(int fd, char *buf, size_t n, lines_number_fn *number, uint64_t after, off_t *ret)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        off_t low = 0, high = st.st_size;
        while (high - low > (off_t)n) {
                off_t middle = low + (high - low) / 2;
                ssize_t got = pread(fd, buf, n / 4, middle);
                const char *end = got > 0 ? buf + got : buf;
                const char *first = got > 0 ? memchr(buf, '\n', (size_t)got) : NULL;
                const char *second = first ? memchr(first + 1, '\n', (size_t)(end - first - 1)) : NULL;
                if (!second || middle + (first + 1 - buf) >= high)
                        break;
                uint64_t k = number(first + 1, (size_t)(second - first - 1)); /* 0: a damaged line */
                if (k > 0 && k <= after)
                        low = middle + (first + 1 - buf);
                else
                        high = middle;
        }
        *ret = low;
        return 0;
}
