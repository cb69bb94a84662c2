/* SPDX-License-Identifier: Apache-2.0 */
/* Splits a file as czard-filter does, by hand: for tests and measurements.
 *
 *   split_tool RULE gzip|plain FILE FOLDER [MEMORY [COURSES [COUNTED]]] */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "split.h"

int main(int argc, char **argv)
{
        if (argc < 5 || argc > 8)
                return 2;
        _cleanup_close_ int fd = open(argv[3], O_RDONLY | O_CLOEXEC);
        _cleanup_close_ int dir_fd = open(argv[4], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct split_options o = {.rule = event_rule_from_name(argv[1]), .gzip = streq(argv[2], "gzip")};
        if (fd < 0 || dir_fd < 0 || o.rule == EVENT_RULE_MAX)
                return 2;
        o.memory = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
        o.courses_max = argc > 6 ? strtoul(argv[6], NULL, 10) : 0;
        o.counted_max = argc > 7 ? strtoul(argv[7], NULL, 10) : 0;
        struct split_totals t;
        struct error e = {};
        if (split_events(fd, dir_fd, &o, &t, &e) < 0 || e.cause != CAUSE_NONE) {
                fprintf(stderr, "%s: %s\n", cause_name(e.cause), e.text);
                return 1;
        }
        return 0;
}
