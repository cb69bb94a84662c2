/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of a day beside its courses' files. */
#pragma once

#include "split_courses.h"

/* SHA256SUMS and MANIFEST.jsonl into the folder. v: by names of their files. Sets sums_sha256 and files_size
 * of totals, and tells on_file. 0, or -errno with the cause in e. */
int split_write(int dir_fd, const struct split_course *v, size_t n, const struct split_options *options,
        struct split_totals *totals, struct error *e);
