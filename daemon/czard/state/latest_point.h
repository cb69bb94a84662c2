/* SPDX-License-Identifier: Apache-2.0 */
/* `latest` of each organisation, by the rule in lib/store/latest.h; what keeps it where it is is said. */
#pragma once

#include "config.h"
#include "record.h"
#include "staging.h"

/* Of that organisation and category: a snapshot was published. */
void latest_point(const struct config *config, struct ledger *ledger, struct staging *staging,
        struct recorder *record, const char *org, enum category c);
/* Of all of them: a crash, or a disk that failed, may have come between a snapshot and the link to it. */
void latest_point_all(
        const struct config *config, struct ledger *ledger, struct staging *staging, struct recorder *record);
