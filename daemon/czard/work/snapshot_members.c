/* SPDX-License-Identifier: Apache-2.0 */
/* From an archive's directory to members: each is wanted, ignored by a filter, or rejected one by one: an
 * unsafe name, a link, two names that would be one file. Then snapshot_known.c. */
#include <errno.h>

#include "cleanup.h"
#include "record.h"
#include "snapshot_job.h"
#include "str.h"

/* What the filters look at, while a page of the directory is added. */
struct filter {
        const struct snapshot *s;
        const struct config_package *package;
};

static bool wants(void *arg, const char *course, const char *table)
{
        const struct filter *f = arg;
        return f->s->job.o.category != CATEGORY_DATABASE ||
               (config_wants_course(f->package, course) && config_wants_table(f->package, table));
}

int snapshot_take_entries(struct snapshot *s, const struct proto_entries *page, struct error *e)
{
        struct filter filter = {.s = s, .package = config_find_package(s->job.env->config, s->job.o.org)};
        const struct members_rules rules = {
                .top = *s->top ? s->top : NULL, .max_name = s->max_name, .wants = wants, .arg = &filter};
        if (!filter.package)
                return error_set(e, CAUSE_CANCELLED, ECANCELED, "its package section is gone");
        if (s->max_members && s->n_told + page->n > s->max_members)
                return error_set(e, CAUSE_HELPER, EPROTO, "told of more members than max_members");
        for (size_t i = 0; i < page->n; i++) {
                int r = members_add(s->members, &page->entries[i], &rules, e);
                if (r < 0)
                        return r;
        }
        s->n_told += page->n;
        return 0;
}

static int tell_refused(const struct member *m, void *arg, struct error *e)
{
        (void)e;
        snapshot_rejected(arg, m);
        return 0;
}

int snapshot_tell_refused(struct snapshot *s, struct error *e)
{
        return members_each(s->members, MEMBERS_REJECTED, tell_refused, s, e);
}

void snapshot_save_member(struct snapshot *s, const struct member *m)
{
        const struct job_env *env = s->job.env;
        struct ledger_member row;
        struct error e = {};
        record_open(env->record);
        member_to_ledger(m, s->job.o.id, &row);
        if (ledger_member_save(env->ledger, &row, &e) < 0)
                record_trouble(env->record, &e);
}

void snapshot_rejected(struct snapshot *s, const struct member *m)
{
        char name[STAGED_PATH_SIZE];
        s->n_rejected++;
        record_incomplete(s->job.env->record);
        snapshot_save_member(s, m);
        if (!record_may_say(s->job.env->record, EVENT_REJECTED, m->cause))
                return;
        struct journal_fields fields = object_fields(&s->job.o);
        fields.member = str_visible(m->name, name, sizeof(name));
        fields.cause = m->cause;
        fields.attempt = m->tries;
        journal_event(EVENT_REJECTED, &fields, "member %s of %s rejected: %s (%s); %s", name, s->job.o.key,
                cause_name(m->cause), m->detail, cause_advice(m->cause));
}

void snapshot_trouble(struct snapshot *s, enum cause cause, const char *detail)
{
        if (s->cause != CAUSE_NONE)
                return;
        s->cause = cause;
        snprintf(s->detail, sizeof(s->detail), "%s", detail);
}
