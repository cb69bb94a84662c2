/* SPDX-License-Identifier: Apache-2.0 */
/* A message is what has one id. It is due when none was delivered, or when what it was made of is another
 * now; it leaves the outbox when its time is over, when a newer one is there, or when anything it was made of
 * was taken away or is not listed any more: what is left of it is due then, also when its time was over. What
 * is held is neither. One for a recipient who is not listed any more leaves, and is due for the others. */
#include "due.h"

#include <errno.h>
#include <stdlib.h>

#include "courses.h"
#include "macro.h"
#include "timespan.h"

bool due_is_over(const struct config_delivery *d, const struct records *r, int64_t now)
{
        return r->revoked || now >= (int64_t)d->until * SEC_PER_DAY;
}

/* One that nothing had yet. */
static char *free_name(const struct records *r, const char *base)
{
        for (unsigned revision = 1;; revision++) {
                char *name = item_name(base, revision);
                const struct delivery_record *had = name ? records_find(r, name) : NULL;
                if (!had || had->state == RECORD_BEGUN)
                        return name;
                free(name);
        }
}

static int hash_inputs(const struct staged_file *v, size_t n, char ret[SHA256_HEX])
{
        struct digest *d = NULL;
        uint8_t sum[SHA256_SIZE];
        int r = digest_new(DIGEST_SHA256, &d);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                digest_update(d, v[i].path, strlen(v[i].path) + 1);
                digest_update(d, v[i].sha256, strlen(v[i].sha256) + 1);
        }
        digest_final(d, sum);
        digest_free(d);
        hex_encode(sum, sizeof(sum), ret);
        return 0;
}

/* What became of all that a message was made of, the worst first. */
struct fate {
        bool removed, redacted, replaced, unlisted;
};

/* Is that day's file of the course there under another name? Where two courses of a day have one, both get a
 * hash. */
static bool is_renamed(const struct due_query *q, const struct delivery_record *r, const char *path)
{
        size_t n, folder = (size_t)(strrchr(path, '/') - path) + 1;
        const struct staged_file *f = staged_of(q->staged, r->id, &n);
        for (size_t i = 0; i < n && strstr(path, "/events-by-course/"); i++)
                if (strncmp(f[i].path, path, folder) == 0)
                        return true;
        return false;
}

static struct fate fate_of(const struct due_query *q, const struct delivery_record *r)
{
        struct fate f = {};
        for (size_t i = 0; i < r->n_inputs; i++) {
                const char *path = r->inputs[i].path;
                const struct staged_file *now = staged_find(q->staged, path);
                if (now && streq(now->sha256, r->inputs[i].sha256))
                        continue;
                enum input_word word = q->word(q->arg, path);
                bool renamed = !now && word == INPUT_REMOVED && is_renamed(q, r, path);
                f.replaced |= now || renamed;
                f.removed |= !now && !renamed && word == INPUT_REMOVED;
                f.redacted |= word == INPUT_REDACTED;
                f.unlisted |= !now && word == INPUT_THERE;
        }
        return f;
}

static int add_leave(struct due *d, struct delivery_record *r, const char *reason)
{
        if (ARRAY_ROOM(d->leave, d->n_leave) < 0)
                return -ENOMEM;
        d->leave[d->n_leave++] = (struct due_leave){r, reason};
        return 0;
}

static bool is_leaving(const struct due *d, const struct delivery_record *r)
{
        for (size_t i = 0; i < d->n_leave; i++)
                if (d->leave[i].record == r && d->leave[i].reason)
                        return true;
        return false;
}

/* Are all recipients of the second list in the first? */
static bool has_all(const char *recipients, const char *wanted)
{
        for (const char *p = wanted; *p;) {
                size_t n = strcspn(p, " ");
                if (!memmem(recipients, strlen(recipients), p, n))
                        return false;
                p += n + (p[n] == ' ');
        }
        return true;
}

static int leave_one(const struct due_query *q, struct due *d, struct delivery_record *r)
{
        const struct config_delivery *c = q->delivery;
        if (due_is_over(c, q->records, q->now))
                return add_leave(d, r, q->records->revoked ? q->records->revoked : "the delivery is over");
        struct fate f = fate_of(q, r);
        if (f.removed || f.redacted)
                return add_leave(d, r, f.removed ? "removed" : "redacted");
        if (f.unlisted) /* at once: whether the rest can be handed out, nobody knows yet */
                return add_leave(d, r, "not listed any more");
        if (r->state != RECORD_OUT)
                return 0;
        int64_t end =
                c->keep_usec == CONFIG_ALL ? INT64_MAX : r->time + (int64_t)(c->keep_usec / USEC_PER_SEC);
        if (end <= q->now)
                return add_leave(d, r, NULL);
        if (!has_all(q->recipients, r->recipients))
                return add_leave(d, r, "a recipient is not listed any more");
        d->next = MIN(d->next, end);
        return 0;
}

/* Of a message that was delivered: is it to be delivered again? */
static bool is_due_again(const struct due_query *q, const struct due *d, const struct delivery_record *r,
        const char *inputs, bool newest)
{
        if (r->state == RECORD_DESTROY || is_leaving(d, r) ||
                (q->again && (r->is_gone || !has_all(r->recipients, q->recipients))))
                return true;
        if (streq(r->inputs_sha256, inputs))
                return false;
        if ((q->delivery->mode == DELIVERY_FOLLOW || q->again) && newest)
                return true;
        /* Unasked, more to deliver is no reason, nor is a newer snapshot; another file is. */
        return fate_of(q, r).replaced;
}

static bool is_input(const struct delivery_record *r, const char *path)
{
        for (size_t i = 0; i < r->n_inputs; i++)
                if (streq(r->inputs[i].path, path))
                        return true;
        return false;
}

/* Of n files, the days that a message of mode once was made without. */
static size_t count_late(const struct delivery_record *r, const struct staged_file *f, size_t n)
{
        size_t late = 0;
        for (size_t i = 0; i < n && r->state != RECORD_DESTROY; i++)
                late += strstr(f[i].path, "/events-by-course/") && !f[i].held && !is_input(r, f[i].path);
        return late;
}

/* n files of one id, those of the newest snapshot first: without any, all are what was delivered before. */
static int add_item(const struct due_query *q, struct due *d, size_t first, size_t n)
{
        struct due_item item = {.first = first, .n = n};
        const struct staged_file *f = &q->staged->v[first];
        bool held = false;
        for (item.n = 0; item.n < n && f[item.n].newest; item.n++)
                ;
        bool newest = item.n > 0;
        item.n = newest ? item.n : n;
        for (size_t i = 0; i < item.n; i++)
                held |= f[i].held;
        int e = hash_inputs(f, item.n, item.inputs_sha256);
        const struct delivery_record *r = records_newest(q->records, f->id);
        if (e < 0 || held || (r && !is_due_again(q, d, r, item.inputs_sha256, newest)) || (!r && !newest)) {
                d->n_late += e == 0 && r && q->delivery->mode == DELIVERY_ONCE ? count_late(r, f, item.n) : 0;
                return e;
        }
        if (q->delivery->mode == DELIVERY_ONCE && q->unsplit && !q->again) {
                d->n_waiting++; /* once is once: it is made when it can have all of them */
                return 0;
        }
        item.supersedes = r && !is_leaving(d, r) && r->state != RECORD_DESTROY ? r : NULL;
        item.path = free_name(q->records, f->base);
        if (!item.path || ARRAY_ROOM(d->items, d->n_items) < 0) {
                free(item.path);
                return -ENOMEM;
        }
        d->items[d->n_items++] = item;
        return 0;
}

int due_now(const struct due_query *q, struct due *ret)
{
        const struct delivery_staged *s = q->staged;
        bool over = due_is_over(q->delivery, q->records, q->now);
        int r = 0;
        *ret = (struct due){.next = over ? INT64_MAX : (int64_t)q->delivery->until * SEC_PER_DAY};
        for (size_t i = 0; r == 0 && i < q->records->n; i++) {
                enum record_state state = q->records->v[i].state;
                if (state == RECORD_OUT || state == RECORD_LEFT)
                        r = leave_one(q, ret, &q->records->v[i]);
        }
        for (size_t i = 0, end; r == 0 && !over && i < s->n; i = end) {
                for (end = i + 1; end < s->n && streq(s->v[end].id, s->v[i].id);)
                        end++;
                r = add_item(q, ret, i, end - i);
        }
        if (r < 0)
                due_done(ret);
        return r;
}

void due_done(struct due *d)
{
        for (size_t i = 0; i < d->n_items; i++)
                free(d->items[i].path);
        free(d->items);
        free(d->leave);
        *d = (struct due){};
}
