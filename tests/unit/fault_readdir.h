/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the n-th look into a folder fail. The test is linked with --wrap for both calls. Include once, in the
 * test itself. */
#pragma once

#include <dirent.h>
#include <errno.h>

static int fail_fdopendir, fail_readdir; /* after so many calls; 0: never */

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd)
{
        if (fail_fdopendir && --fail_fdopendir == 0) {
                errno = ENOMEM;
                return NULL;
        }
        return __real_fdopendir(fd);
}

struct dirent *__real_readdir64(DIR *d);
struct dirent *__wrap_readdir64(DIR *d);
struct dirent *__wrap_readdir64(DIR *d)
{
        if (fail_readdir && --fail_readdir == 0) {
                errno = EIO;
                return NULL;
        }
        return __real_readdir64(d);
}
