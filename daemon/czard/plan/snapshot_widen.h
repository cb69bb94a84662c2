/* SPDX-License-Identifier: Apache-2.0 */
/* Filters against what is published already. */
#pragma once

#include "queue.h"

/* Published archives that lack members which the configuration wants now go to NEW. Cheap when the
 * configuration is the one that was looked at last. False: an archive is in work, perhaps by the filter of
 * before; this is to be called again when it is done. */
bool snapshot_widen(const struct config *config, struct ledger *ledger, struct recorder *record,
        const struct queue *queue);
