/* SPDX-License-Identifier: Apache-2.0 */
/* One delivery in one run. A message is encrypted into an unnamed file; then the record says that it is about
 * to get its name, it is made durable and gets it, and the record says so. A crash in between is settled by
 * the next run: the file has its name, or it never was. Each is durable at once: a carrier may have taken the
 * file before the crash. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "json.h"
#include "look.h"
#include "name.h"
#include "pack.h"
#include "seal.h"
#include "session.h"
#include "timespan.h"

struct one {
        struct session *s;
        const struct config_delivery *d;
        gid_t gid;
        struct records records;
        struct staging *outbox;
        struct delivery_look look;
        struct seal *seal;
        char until[DATE_SIZE];
        size_t items, destroyed;
        uint64_t bytes;
        bool stands_still;
        struct error e; /* the first reason why */
};

static bool is_over(const struct one *o)
{
        return due_is_over(o->d, &o->records, o->s->now);
}

/* --- the record --- */

/* Who got what, for what and how long: each line says it by itself. */
static struct audit_entry entry_of(const struct one *o, const char *event)
{
        return (struct audit_entry){.event = event,
                .delivery = o->d->name,
                .purpose = *o->d->purpose ? o->d->purpose : NULL,
                .until = *o->until ? o->until : NULL,
                .size = -1,
                .mtime = -1,
                .uid = o->s->options->uid};
}

static int note(struct one *o, const struct audit_entry *entry, struct error *e)
{
        int r = audit_append(o->s->audit, entry, e);
        return r < 0 ? r : audit_sync(o->s->audit, e);
}

static int note_step(struct one *o, const char *event, const struct delivery_record *r, const char *reason,
        struct error *e)
{
        struct audit_entry entry = entry_of(o, event);
        uint8_t sum[SHA256_SIZE];
        entry.path = r->path;
        entry.course = r->course;
        entry.recipients = r->recipients;
        entry.reason = reason;
        entry.size = r->size;
        entry.sha256 = hex_decode(r->sha256, sum, sizeof(sum)) == 0 ? sum : NULL;
        return note(o, &entry, e);
}

/* Why it stands still: the first reason counts, and is said once as long as it stays; who runs it by hand is
 * told each time. */
static void stand_still(struct one *o, const struct error *e)
{
        if (!o->stands_still)
                o->e = *e;
        o->stands_still = true;
}

static void say_stopped(struct one *o)
{
        const char *before = o->records.stopped ? o->records.stopped : "",
                   *now = o->stands_still ? o->e.text : "";
        struct audit_entry entry = entry_of(o, "delivery-stopped");
        entry.reason = now;
        entry.cause = o->stands_still ? cause_name(o->e.cause) : NULL;
        const struct journal_fields f = {.delivery = o->d->name, .cause = o->e.cause};
        if (streq(before, now)) {
                if (*now && !o->s->options->follow)
                        journal_event(EVENT_NOTE, &f, "delivery %s still stands still: %s", o->d->name, now);
                return;
        }
        (void)note(o, &entry, NULL); /* a record that cannot be written may be the reason */
        if (o->stands_still)
                journal_event(EVENT_DELIVERY_STOPPED, &f, "delivery %s stands still: %s", o->d->name, now);
        else
                journal_event(EVENT_NOTE, &f, "delivery %s goes on", o->d->name);
}

/* --- what a crash left --- */

static bool is_in_outbox(const struct one *o, const struct delivery_record *r)
{
        uint8_t sum[SHA256_SIZE];
        char hex[SHA256_HEX];
        if (outbox_hash(o->outbox, r->path, sum) < 0)
                return false;
        hex_encode(sum, sizeof(sum), hex);
        return streq(hex, r->sha256);
}

static int leave(
        struct one *o, struct delivery_record *r, const char *event, const char *reason, struct error *e)
{
        int x = r->state == RECORD_OUT ? staging_remove(o->outbox, r->path, e) : 0;
        if (x == 0)
                x = note_step(o, event, r, reason, e);
        if (x == 0)
                r->state = streq(event, "please-destroy") ? RECORD_DESTROY : RECORD_LEFT;
        return x;
}

/* The one that this one supersedes leaves. */
static int leave_superseded(struct one *o, const char *path, struct error *e)
{
        for (size_t i = 0; *path && i < o->records.n; i++)
                if (o->records.v[i].state == RECORD_OUT && streq(o->records.v[i].path, path))
                        return leave(o, &o->records.v[i], "superseded", NULL, e);
        return 0;
}

static int settle(struct one *o, struct error *e)
{
        int x = 0;
        for (size_t i = 0; x == 0 && i < o->records.n; i++) {
                struct delivery_record *r = &o->records.v[i];
                if (r->state == RECORD_BEGUN && is_in_outbox(o, r)) {
                        x = note_step(o, "delivered", r, NULL, e);
                        r->state = RECORD_OUT;
                        r->time = o->s->now;
                }
                if (x == 0 && r->state == RECORD_OUT)
                        x = leave_superseded(o, r->supersedes, e);
        }
        return x;
}

/* --- one message --- */

static int add_metadata(const struct one *o, const struct due_item *item, struct strbuf *ret)
{
        const struct staged_file *f = &o->look.staged.v[item->first];
        _cleanup_json_ struct json j = {};
        char until[DATE_SIZE];
        json_open(&j, NULL, '{');
        json_str(&j, "org", o->d->org);
        json_str(&j, "course", f->course);
        json_str(&j, "delivery", o->d->name);
        json_str(&j, "purpose", o->d->purpose);
        json_str(&j, "until", date_format(o->d->until, until));
        json_open(&j, "files", '[');
        for (size_t i = 0; i < item->n; i++) {
                json_open(&j, NULL, '{');
                json_str(&j, "path", f[i].member);
                json_str(&j, "course", f[i].course);
                json_str(&j, "sha256", f[i].sha256);
                json_close(&j, '}');
        }
        json_close(&j, ']');
        json_close(&j, '}');
        strbuf_add(&j.out, "\n");
        strbuf_add(ret, j.out.err ? "" : j.out.s);
        return j.out.err ? j.out.err : ret->err;
}

static int add_sums(const struct one *o, const struct due_item *item, struct strbuf *ret)
{
        for (size_t i = 0; i < item->n; i++) {
                const struct staged_file *f = &o->look.staged.v[item->first + i];
                strbuf_printf(ret, "%s  %s\n", f->sha256, f->member);
        }
        return ret->err;
}

struct reading {
        const struct one *o;
        struct pack *pack;
};

/* -EINTR: a revocation waits, and a message may take long. */
static ssize_t on_read(void *arg, void *to, size_t n)
{
        const struct reading *r = arg;
        return turn_is_wanted(r->o->s) ? -EINTR : pack_read(r->pack, to, n);
}

static int encrypt(struct one *o, const struct due_item *item, int fd, struct error *e)
{
        const struct staged_file *f = &o->look.staged.v[item->first];
        bool once = o->d->mode == DELIVERY_ONCE, bare = !*f->member;
        _cleanup_free_ struct pack_entry *entries = calloc(item->n + 1, sizeof(*entries));
        _cleanup_strbuf_ struct strbuf text = {};
        struct pack *p = NULL;
        size_t n = 0;
        int r = !entries ? -ENOMEM : once ? add_metadata(o, item, &text) : add_sums(o, item, &text);
        if (r < 0)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (!bare)
                entries[n++] = (struct pack_entry){
                        .name = once ? "metadata_file.json" : "SHA256SUMS", .text = text.s};
        for (size_t i = 0; i < item->n; i++)
                entries[n++] =
                        (struct pack_entry){.name = f[i].member, .path = f[i].path, .sha256 = f[i].sha256};
        r = pack_new(o->s->staging, entries, n,
                bare   ? PACK_BARE
                : once ? PACK_TAR_GZ
                       : PACK_TAR,
                o->s->now, &p, e);
        if (r == 0)
                r = seal_encrypt(o->seal, on_read, &(struct reading){o, p}, fd, !bare && !once, e);
        pack_free(p);
        return r;
}

/* A message that is whole, and has no name yet. */
struct made {
        const struct due_item *item;
        uint8_t sha256[SHA256_SIZE];
        uint64_t size;
};

/* "delivering" and its inputs; durable before the name is given. */
static int note_begin(struct one *o, const struct made *m, struct error *e)
{
        const struct due_item *item = m->item;
        const struct staged_file *f = &o->look.staged.v[item->first];
        struct audit_entry entry = entry_of(o, "delivering");
        entry.path = item->path;
        entry.member = f->base;
        entry.sha256 = m->sha256;
        entry.size = (int64_t)m->size;
        entry.course = f->course;
        entry.recipients = o->look.recipients;
        entry.inputs = item->inputs_sha256;
        entry.supersedes = item->supersedes ? item->supersedes->path : NULL;
        int r = audit_append(o->s->audit, &entry, e);
        for (size_t i = 0; r == 0 && i < item->n; i++) {
                struct audit_entry input = entry_of(o, "input");
                uint8_t sum[SHA256_SIZE];
                input.purpose = input.until = NULL; /* they stand in the line before */
                input.path = f[i].path;
                input.member = *f[i].member ? f[i].member : NULL;
                input.sha256 = hex_decode(f[i].sha256, sum, sizeof(sum)) == 0 ? sum : NULL;
                r = audit_append(o->s->audit, &input, e);
        }
        return r < 0 ? r : audit_sync(o->s->audit, e);
}

static int deliver(struct one *o, const struct due_item *item, struct error *e)
{
        const struct staging_attr attr = {.gid = o->gid, .mtime = -1};
        struct made m = {.item = item};
        _cleanup_close_ int fd = staging_create(o->outbox, e);
        int r = fd < 0 ? fd : encrypt(o, item, fd, e);
        if (r < 0)
                return r;
        r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : digest_fd(DIGEST_SHA256, fd, m.sha256, &m.size);
        if (r == 0 && staging_stat(o->outbox, item->path, NULL, NULL, NULL) == 0)
                r = -EEXIST; /* nothing there is ever replaced */
        if (r < 0)
                return error_errno(e, -r, "%s", item->path);
        r = note_begin(o, &m, e);
        if (r == 0)
                r = staging_publish(o->outbox, fd, item->path, &attr, NULL, e);
        if (r < 0)
                return r;
        struct delivery_record done = {.path = item->path,
                .course = o->look.staged.v[item->first].course,
                .recipients = o->look.recipients,
                .size = (int64_t)m.size};
        hex_encode(m.sha256, sizeof(m.sha256), done.sha256);
        r = note_step(o, "delivered", &done, NULL, e);
        if (r == 0 && item->supersedes)
                r = leave_superseded(o, item->supersedes->path, e);
        o->items++;
        o->bytes += m.size;
        return r;
}

/* --- dates --- */

/* 30, 7 and 1 days before, each once: what is over then is part of what was said. */
static void say_ending(struct one *o, const char *what, int64_t end)
{
        static const int days[] = {1, 7, 30};
        int64_t left = (end - o->s->now + SEC_PER_DAY - 1) / SEC_PER_DAY;
        for (size_t i = 0; end > o->s->now && i < ELEMENTSOF(days); i++) {
                char said[512], date[DATE_SIZE];
                if (left > days[i])
                        continue;
                date_format((int)(end / SEC_PER_DAY), date);
                name_fill(said, sizeof(said), "%s on %s, %d days before", what, date, days[i]);
                struct audit_entry entry = entry_of(o, "delivery-ending");
                entry.reason = said;
                if (strv_has(&o->records.said, said) || note(o, &entry, NULL) < 0)
                        return;
                const struct journal_fields f = {.delivery = o->d->name, .date = date};
                journal_event(EVENT_DELIVERY_ENDING, &f, "delivery %s: %s on %s", o->d->name, what, date);
                return;
        }
}

static void look_ahead(struct one *o)
{
        int64_t end = o->seal ? seal_expires(o->seal) : 0;
        if (is_over(o))
                return;
        say_ending(o, "it ends (until)", (int64_t)o->d->until * SEC_PER_DAY);
        if (end > 0)
                say_ending(o, "a recipient's key expires", end);
}

/* --- all of it --- */

/* A file that looks like a message and is none of ours by the record: when the delivery is over it goes, too.
 */
static int remove_stray(struct one *o, const char *path, struct error *e)
{
        uint8_t sum[SHA256_SIZE];
        struct audit_entry entry = entry_of(o, "please-destroy");
        entry.path = path;
        entry.sha256 = outbox_hash(o->outbox, path, sum) == 0 ? sum : NULL;
        entry.reason = o->records.revoked ? o->records.revoked : "the delivery is over";
        int r = staging_remove(o->outbox, path, e);
        if (r == 0)
                r = note(o, &entry, e);
        o->destroyed += r == 0;
        return r;
}

/* The outbox against the record: what is there that is not known, or is another by now. 1: the record does
 * not know messages that are there, and nothing may be made that could take their names. */
static int look_at_outbox(struct one *o, struct error *e)
{
        _cleanup_(strv_done) struct strv strays = {};
        struct error still = {};
        int r = outbox_strays(o->outbox, &o->records, &strays, e);
        for (size_t i = 0; r == 0 && is_over(o) && i < strays.n; i++)
                r = remove_stray(o, strays.v[i], e);
        if (r < 0 || is_over(o))
                return r;
        const struct delivery_record *altered = outbox_altered(o->outbox, &o->records);
        if (strays.n)
                error_set(&still, CAUSE_STAGING, EEXIST,
                        "%zu messages in the outbox %s are not in the record (for example %s): nothing takes "
                        "them back by itself. Was the record lost, or put back from a backup? Put the last "
                        "one "
                        "back, or move these files away",
                        strays.n, o->d->path, strays.v[0]);
        else if (altered)
                error_set(&still, CAUSE_STAGING, EIO,
                        "the message %s in the outbox %s is not the one that was put there (MANIFEST.jsonl "
                        "has "
                        "its hash): find out who altered it, and move it away",
                        altered->path, o->d->path);
        if (strays.n || altered)
                stand_still(o, &still);
        return strays.n > 0;
}

/* A carrier may move messages away, and a hand may delete them: which it was nobody can tell here. */
static void tell_gone(struct one *o)
{
        const char *first;
        size_t n = outbox_mark_gone(o->outbox, &o->records, &first);
        const struct journal_fields f = {.delivery = o->d->name};
        if (n > 0 && !is_over(o) && !o->s->options->again)
                journal_event(EVENT_NOTE, &f,
                        "delivery %s: %zu messages were taken from the outbox %s, for example %s: if no "
                        "carrier did that, czarctl deliver run --again %s makes them anew",
                        o->d->name, n, o->d->path, first, o->d->name);
}

/* Two courses look alike, and somebody has to say which is meant. */
static void tell_held(struct one *o)
{
        const struct strv *held = &o->look.staged.held_keys;
        struct error e = {};
        if (held->n == 0)
                return;
        error_set(&e, CAUSE_CONFIG, ENOTUNIQ,
                "keys of events look alike, and new files of %s%s stay here: list the full key of the course "
                "that is meant in courses, and for its tables the name as above too (czarctl deliver plan "
                "%s)",
                held->v[0], held->n > 1 ? " and others" : "", o->d->name);
        stand_still(o, &e);
}

/* Archives wait. */
static void tell_waiting(struct one *o)
{
        struct error e = {};
        if (o->look.due.n_waiting == 0)
                return;
        error_set(&e, CAUSE_STAGING, EAGAIN, LOOK_WAITS, o->d->name);
        stand_still(o, &e);
}

/* What cannot be taken back holds up none of the others. The first error. */
static int carry_out_leaves(struct one *o, struct error *e)
{
        int first = 0;
        for (size_t i = 0; i < o->look.due.n_leave; i++) {
                const struct due_leave *l = &o->look.due.leave[i];
                struct error one = {};
                int r = leave(o, l->record, l->reason ? "please-destroy" : "expired", l->reason, &one);
                o->destroyed += r == 0 && l->reason;
                if (r < 0 && first == 0) {
                        first = r;
                        *e = one;
                }
        }
        return first;
}

/* Keys are looked at also when nothing is due: who has to ask for a new one wants to know early. */
static bool needs_keys(const struct one *o)
{
        bool done = o->d->mode == DELIVERY_ONCE && o->records.n > 0;
        return o->look.due.n_items > 0 || !(is_over(o) || done);
}

static void carry_out_items(struct one *o)
{
        struct error e = {};
        int r = needs_keys(o) ? seal_new(o->s->run_dir, o->s->keys_dir, &o->d->recipients, &o->seal, &e) : 0;
        if (r < 0)
                stand_still(o, &e);
        /* A run that began before the last day was over does not go on after it. */
        for (size_t i = 0;
                r == 0 && i < o->look.due.n_items && !due_is_over(o->d, &o->records, (int64_t)time(NULL));
                i++) {
                e = (struct error){};
                o->s->gave_way = turn_is_wanted(o->s);
                r = o->s->gave_way ? -EINTR : deliver(o, &o->look.due.items[i], &e);
                o->s->gave_way |= r == -EINTR;
                if (r == 0 || o->s->gave_way)
                        continue;
                stand_still(o, &e);
                /* An input that is not right is its own business; all else would meet the others too. */
                r = e.cause == CAUSE_STAGING ? 0 : r;
        }
        if (!o->s->gave_way) {
                tell_held(o);
                tell_waiting(o);
        }
}

static void tell(const struct one *o)
{
        const struct journal_fields f = {.delivery = o->d->name,
                .recipients = o->look.recipients,
                .org = o->d->org,
                .size = &o->bytes};
        char size[BYTES_SIZE];
        if (o->items)
                journal_event(EVENT_DELIVERED, &f, "delivery %s: %zu messages, %s, for %zu recipients",
                        o->d->name, o->items, size_format(o->bytes, size, sizeof(size)), o->d->recipients.n);
        if (o->destroyed)
                journal_event(EVENT_PLEASE_DESTROY, &f,
                        "delivery %s: %zu messages that were handed out must be destroyed by whoever has "
                        "them; "
                        "README in %s names them",
                        o->d->name, o->destroyed, o->d->path);
}

static int revoke_now(struct one *o, struct error *e)
{
        struct audit_entry entry = entry_of(o, "revoked");
        if (o->records.revoked || !o->s->options->revoke)
                return 0;
        entry.reason = o->s->options->revoke;
        int r = note(o, &entry, e);
        o->records.revoked = r == 0 ? strdup(o->s->options->revoke) : NULL;
        return r;
}

static int work(struct one *o, struct error *e)
{
        int r = revoke_now(o, e);
        if (r == 0)
                r = outbox_open(o->s, o->d, &o->records, &o->outbox, e);
        if (r == 0)
                r = staging_sweep(o->outbox, NULL, NULL, e);
        if (r == 0)
                r = settle(o, e);
        if (r == 0)
                tell_gone(o);
        const struct look_query q = {.delivery = o->d,
                .root = o->s->config->staging.path,
                .staging = o->s->staging,
                .records = &o->records,
                .again = o->s->options->again,
                .now = o->s->now};
        if (r == 0 && !o->s->staging && !is_over(o)) {
                *e = o->s->unstaged;
                r = -EIO;
        }
        if (r == 0)
                r = delivery_look(&q, &o->look, e);
        if (r == 0)
                r = carry_out_leaves(o, e);
        if (r == 0)
                r = look_at_outbox(o, e);
        struct error no_group = {};
        if (o->gid == (gid_t)-1 && o->d->group)
                error_set(&no_group, CAUSE_CONFIG, ENOENT, "there is no group %s", o->d->group);
        if (r == 0 && *o->s->unread.text && !is_over(o))
                stand_still(o, &o->s->unread);
        else if (r == 0 && *no_group.text && !is_over(o))
                stand_still(o, &no_group);
        else if (r == 0)
                carry_out_items(o);
        return MIN(r, 0);
}

/* What the record says now, for who reads the outbox. */
static int describe(struct one *o, struct error *e)
{
        struct records now;
        int r = records_read(o->s->state_fd, o->d->name, &now, e);
        if (r == 0)
                r = outbox_describe(o->s, o->d, &now, o->outbox, o->gid, e);
        records_done(&now);
        return r;
}

/* What is said at the end. */
static void conclude(struct one *o, bool is_known)
{
        struct error e = {};
        /* What it stands still for may go away without a word: room, a volume, a new key. */
        if (o->stands_still)
                o->s->next = MIN(o->s->next, o->s->now + RETRY_SEC);
        else if (is_over(o)) {
                error_set(&e, CAUSE_CONFIG, ETIME, "%s",
                        o->records.revoked ? "it was revoked" : "its last day (until) is over");
                stand_still(o, &e);
        }
        if (is_known && !o->s->gave_way) {
                say_stopped(o);
                look_ahead(o);
        } else if (!is_known) {
                journal_event(EVENT_FAILED,
                        &(struct journal_fields){.delivery = o->d->name, .cause = o->e.cause}, "%s",
                        o->e.text);
        }
        tell(o);
        if (o->look.due.next)
                o->s->next = MIN(o->s->next, o->look.due.next);
}

int one_run(struct session *s, const struct target *t)
{
        const struct config_delivery *d = &t->delivery;
        struct one o = {.s = s, .d = d, .gid = t->gid};
        struct error e = {};
        if (d->until != INT_MAX)
                date_format(d->until, o.until);
        int r = records_read(s->state_fd, d->name, &o.records, &e);
        bool is_known = r == 0;
        if (r == 0)
                r = work(&o, &e);
        if (o.outbox) {
                struct error later = {};
                if (describe(&o, &later) < 0 && r == 0) {
                        e = later;
                        r = -EIO;
                }
        }
        if (r < 0)
                stand_still(&o, &e);
        bool revoked_well = s->options->revoke && o.records.revoked && r == 0;
        conclude(&o, is_known);
        look_done(&o.look);
        records_done(&o.records);
        seal_free(o.seal);
        staging_free(o.outbox);
        return o.stands_still && !revoked_well ? STATUS_STILL : STATUS_WELL;
}
