/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration from text, through a file in memory. */
#pragma once

#include <stdio.h>
#include <sys/mman.h>

#include "config.h"
#include "fsx.h"

#define STAGING "[staging]\npath = /srv/x\n"
#define PACKAGE                                                                                              \
        "[package universityx]\nevents = s3://data-bucket\ndatabase = s3://dump-bucket\n"                    \
        "email_opt_in = s3://dump-bucket\nrdx = s3://data-bucket\n"

static inline int load_bytes(
        const char *text, size_t len, struct config **ret, struct error *e, struct strv *more)
{
        _cleanup_close_ int fd = memfd_create("config", MFD_CLOEXEC);
        char path[64];
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, len), 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return config_load(path, ret, e, more);
}

static inline struct config *load_good(const char *text)
{
        struct config *c = NULL;
        struct error e = {};
        int r = load_bytes(text, strlen(text), &c, &e, NULL);
        if (r < 0)
                print_error("%s\n", e.text);
        assert_int_equal(r, 0);
        return c;
}

/* Expects one error, and in it the text, after "FILE:line: " when line is not 0. */
static inline void expect_error(const char *text, unsigned line, const char *says)
{
        struct config *c = NULL;
        struct error e = {};
        _cleanup_(strv_done) struct strv more = {};
        char at[32];
        assert_int_equal(load_bytes(text, strlen(text), &c, &e, &more), -EINVAL);
        assert_null(c);
        assert_int_equal(e.cause, CAUSE_CONFIG);
        snprintf(at, sizeof(at), line ? ":%u: " : ": ", line);
        if (!strstr(e.text, at) || !strstr(e.text, says) || more.n != 0)
                print_error("got: %s (and %zu more)\nwanted: %s%s\n", e.text, more.n, at, says);
        assert_non_null(strstr(e.text, at));
        assert_non_null(strstr(e.text, says));
        assert_int_equal(more.n, 0);
}
