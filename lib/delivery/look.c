/* SPDX-License-Identifier: Apache-2.0 */
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unsplit.h"
#include "words.h"

bool look_is_over(const struct look_query *q)
{
        return q->records->revoked || due_is_over(q->delivery, q->now);
}

static int no_memory(struct error *e)
{
        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

int look_open(const char *root, struct staging **ret, struct error *e)
{
        struct staging *s = NULL;
        struct stat st;
        int r = staging_open_reader(root, &s, e);
        if (r == 0 && fstatat(staging_root_fd(s), STAGING_ID_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
                r = error_set(e, CAUSE_STAGING, errno,
                        "staging %s has no " STAGING_ID_FILE " (%s): its volume is not mounted, or czard has "
                        "staged nothing yet",
                        root, strerror(errno));
        if (r < 0)
                staging_free(s);
        else
                *ret = s;
        return r;
}

/* A folder that is replaced between two looks at it is read once more. */
static int read_staged(
        const struct look_query *q, const struct strv *dates, struct delivery_staged *ret, struct error *e)
{
        struct error first = {};
        if (staged_read(q->staging, q->delivery, dates, ret, &first) == 0)
                return 0;
        staged_done(ret);
        sleep(1);
        return staged_read(q->staging, q->delivery, dates, ret, e);
}

static int decide(const struct look_query *q, struct delivery_look *l, bool unsplit, struct error *e)
{
        struct words *w = NULL;
        int r = words_new(q->root, q->staging, q->delivery->org, &w, e);
        if (r < 0)
                return r;
        const struct due_query due = {.delivery = q->delivery,
                .staged = &l->staged,
                .records = q->records,
                .word = words_of,
                .arg = w,
                .recipients = l->recipients,
                .unsplit = unsplit,
                .again = q->again,
                .now = q->now};
        r = due_now(&due, &l->due) < 0 ? no_memory(e) : 0;
        if (r == 0)
                r = words_error(w, e); /* without the feed nobody knows what was taken away */
        words_free(w);
        return r;
}

int delivery_look(const struct look_query *q, struct delivery_look *ret, struct error *e)
{
        _cleanup_(strv_done) struct strv dates = {};
        _cleanup_strbuf_ struct strbuf recipients = {};
        *ret = (struct delivery_look){};
        strbuf_add(&recipients, "");
        for (size_t i = 0; i < q->delivery->recipients.n; i++)
                strbuf_printf(&recipients, "%s%s", i ? " " : "", q->delivery->recipients.v[i]);
        ret->recipients = take_ptr(&recipients.s);
        if (records_dates(q->records, &dates) < 0 || !ret->recipients || recipients.err)
                return no_memory(e);
        const struct config_delivery *d = q->delivery;
        bool unsplit = false;
        int r = 0;
        /* Before the days are read: one that is split in between is there then. */
        if (!look_is_over(q) && d->mode == DELIVERY_ONCE && strv_has(&d->tables, "events"))
                r = unsplit_any(q->staging, d, &unsplit, e);
        if (r == 0 && !look_is_over(q))
                r = read_staged(q, &dates, &ret->staged, e);
        return r < 0 ? r : decide(q, ret, unsplit, e);
}

void look_done(struct delivery_look *l)
{
        due_done(&l->due);
        staged_done(&l->staged);
        free(l->recipients);
        *l = (struct delivery_look){};
}
