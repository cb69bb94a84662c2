/* SPDX-License-Identifier: Apache-2.0 */
/* The scope owns the resource: _cleanup_close_ int fd = open(...); ... *ret_fd = take_fd(&fd); */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Closes fd if it is one and returns -1. Keeps errno. */
static inline int close_fd(int fd)
{
        if (fd >= 0) {
                int saved = errno;
                close(fd);
                errno = saved;
        }
        return -1;
}

static inline int take_fd(int *fd)
{
        int r = *fd;
        *fd = -1;
        return r;
}

static inline void *take_ptr_impl(void *p)
{
        void **pp = p, *r = *pp;
        *pp = NULL;
        return r;
}
#define take_ptr(p) ((__typeof__(*(p)))take_ptr_impl(p))

static inline void cleanup_close(int *fd)
{
        close_fd(*fd);
}
static inline void cleanup_free(void *p)
{
        free(*(void **)p);
}
static inline void cleanup_fclose(FILE **f)
{
        if (*f)
                fclose(*f);
}
static inline void cleanup_closedir(DIR **d)
{
        if (*d)
                closedir(*d);
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)
#define _cleanup_closedir_ _cleanup_(cleanup_closedir)

/* Defines cleanup_NAME(), for _cleanup_(cleanup_NAME), from a destructor that takes NULL. */
#define DEFINE_CLEANUP(type, name, destroy)                                                                  \
        static inline void cleanup_##name(type **p)                                                          \
        {                                                                                                    \
                destroy(*p);                                                                                 \
        }
