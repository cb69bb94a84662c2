/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <errno.h>

#include "ledger_facts.h"
#include "ledger_rebuild.h"
#include "str.h"

struct audit_entry history_entry(const char *event, const struct ledger_object *o)
{
        struct audit_entry a = {.event = event, .size = -1, .mtime = -1, .uid = -1};
        if (!o)
                return a;
        a.bucket = o->bucket;
        a.key = o->key;
        a.etag = o->etag;
        a.category = category_name(o->category);
        a.org = o->org;
        a.site = *o->site ? o->site : NULL;
        a.date = *o->date ? o->date : NULL;
        a.mtime = o->last_modified;
        a.object_size = o->size;
        return a;
}

int history_sync(struct ledger *l, struct audit *a, struct error *e)
{
        struct audit_tail now, known;
        int r = audit_sync(a, e);
        if (r == 0)
                r = ledger_audit_tail(l, &known, e);
        audit_tail(a, &now);
        if (r < 0 || (now.seq == known.seq && streq(now.head, known.head)))
                return r;
        return ledger_set_audit_tail(l, &now, e);
}

static int say_cut(struct ledger *l, struct audit *a, const struct error *cut, struct error *e)
{
        struct audit_entry entry = history_entry("audit-cut", NULL);
        entry.reason = cut->text;
        int r = audit_append(a, &entry, e);
        if (r == 0)
                r = history_sync(l, a, e);
        if (r == 0 && e)
                *e = *cut;
        return r < 0 ? r : 1;
}

int history_open(struct ledger *l, struct audit *a, int state_fd, size_t max_name, struct error *e)
{
        struct audit_tail known, now;
        struct error cut = {};
        struct ledger_rebuilt done;
        int r = ledger_audit_tail(l, &known, e);
        if (r < 0)
                return r;
        r = audit_check_tail(a, &known, &cut);
        if (r == -EBADMSG)
                return say_cut(l, a, &cut, e);
        if (r < 0 && e)
                *e = cut;
        audit_tail(a, &now);
        if (r == 0 && known.seq != 0 && now.seq > known.seq)
                r = ledger_catch_up(l, state_fd, known.seq, max_name, &done, e);
        return r < 0 ? r : history_sync(l, a, e);
}
