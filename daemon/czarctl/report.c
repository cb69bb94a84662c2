/* SPDX-License-Identifier: Apache-2.0 */
#include "runs.h"

int prepare_report(struct ctl *c)
{
        return ctl_flag(c, "html") ? 0 : ctl_usage(c, "--html FILE is needed");
}

int run_report(struct ctl *c)
{
        (void)c;
        return ctl_fail_text("report is to come");
}
