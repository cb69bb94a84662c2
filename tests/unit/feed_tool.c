/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the feeds of a state folder as czard does at its start, by hand: for measurements.
 *
 *   feed_tool STATE_DIR STAGING */
#include <fcntl.h>
#include <stdio.h>

#include "cleanup.h"
#include "feed.h"

int main(int argc, char **argv)
{
        struct error e = {};
        struct ledger *l = NULL;
        struct audit *a = NULL;
        struct staging *s = NULL;
        struct feed *f = NULL;
        if (argc != 3)
                return 2;
        _cleanup_close_ int state_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = ledger_open(argv[1], &l, &e);
        if (r >= 0)
                r = audit_open(state_fd, &a, &e);
        if (r >= 0)
                r = staging_open(argv[2], 0440, 0750, &s, &e);
        if (r >= 0)
                r = feed_new(l, a, s, state_fd, &f, &e);
        if (r >= 0)
                r = feed_check(f, &e);
        if (r < 0)
                fprintf(stderr, "%s\n", e.text);
        feed_free(f);
        staging_free(s);
        audit_free(a);
        ledger_free(l);
        return r < 0;
}
