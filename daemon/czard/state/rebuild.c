/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger is an index: lost or damaged it is made anew from audit.jsonl, and nothing that is staged is
 * fetched again. A ledger that does not know its staging volume has never been used: it is a new one, also
 * when a crash came between its making and its rebuilding. */
#include "rebuild.h"

#include <errno.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "journal.h"
#include "ledger_rebuild.h"
#include "timespan.h"

/* The record of ten years takes some minutes, and a start that is given up would begin anew the next time. */
#define REBUILD_MOST_USEC USEC_PER_HOUR

static void note(int priority, enum cause cause, const char *text)
{
        journal_event(EVENT_NOTE, &(struct journal_fields){.priority = priority, .cause = cause}, "%s", text);
}

/* 0, -EUCLEAN when it is damaged, -errno. */
static int open_checked(const char *state_dir, struct ledger **ret, struct error *e)
{
        int r = ledger_open(state_dir, ret, e);
        if (r < 0)
                return r;
        r = ledger_check(*ret, e);
        if (r < 0)
                *ret = ledger_free(*ret);
        return r;
}

static int set_aside(const char *state_dir, const struct error *why, struct error *e)
{
        char text[700];
        snprintf(text, sizeof(text),
                "the ledger is damaged (%s): it is moved away and rebuilt from audit.jsonl", why->text);
        note(LOG_WARNING, CAUSE_IO, text);
        return ledger_set_aside(state_dir, e);
}

static int rebuild(struct ledger *ledger, int state_fd, uint64_t max_name, struct error *e)
{
        struct ledger_rebuilt done;
        struct error broken = {};
        char text[700];
        uint64_t lines;
        sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long)REBUILD_MOST_USEC);
        if (audit_verify(state_fd, NULL, NULL, &lines, &broken) == -EBADMSG) {
                snprintf(text, sizeof(text), "%s; the ledger is rebuilt from it all the same", broken.text);
                note(LOG_ERR, broken.cause, text);
        }
        int r = ledger_rebuild(ledger, state_fd, max_name, &done, e);
        if (r < 0)
                return error_prefix(e, "rebuilding the ledger");
        snprintf(text, sizeof(text),
                "there was no ledger: rebuilt from %llu lines of audit.jsonl (%llu of them unreadable): %llu "
                "objects, %llu members",
                (unsigned long long)done.lines, (unsigned long long)done.unreadable,
                (unsigned long long)done.objects, (unsigned long long)done.members);
        note(LOG_WARNING, CAUSE_NONE, text);
        return 0;
}

int rebuild_open_ledger(const struct config *config, int state_fd, const struct audit *audit,
        struct ledger **ret, struct error *e)
{
        struct error damage = {};
        int r = open_checked(config->state_dir, ret, &damage);
        if (r == -EUCLEAN) {
                r = set_aside(config->state_dir, &damage, e);
                if (r == 0)
                        r = open_checked(config->state_dir, ret, e);
        } else if (r < 0 && e) {
                *e = damage;
        }
        if (r == 0)
                r = ledger_is_lost(*ret, audit, e);
        return r == 1 ? rebuild(*ret, state_fd, config->limits.max_name, e) : r;
}

int rebuild_is_needed(const struct config *config, struct ledger *ledger, struct error *e)
{
        if (ledger_check(ledger, e) != -EUCLEAN)
                return 0;
        /* The connection keeps the file it has open; nothing is written to it any more that counts. */
        if (ledger_set_aside(config->state_dir, e) < 0)
                return -EUCLEAN;
        error_set(e, CAUSE_IO, EUCLEAN,
                "the ledger is damaged and was moved away: it is rebuilt at the next start");
        return -EUCLEAN;
}
