/* SPDX-License-Identifier: Apache-2.0 */
/* How many CPUs we may use. */
#pragma once

/* CPUs by affinity and by the quota of our control group (cpu.max of cgroup v2, also of the groups above),
 * rounded up; at least 1. */
unsigned cpus_allowed(void);
