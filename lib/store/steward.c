/* SPDX-License-Identifier: Apache-2.0 */
/* What the steward_*.c files share, and the admin's changes that touch no file but the link: resync, latest,
 * pause. Each object is a transaction of its own: an interrupted command has done the
 * objects it has noted and no other. */
#include "steward.h"

#include <errno.h>
#include <stdlib.h>

#include "history.h"
#include "latest.h"
#include "ledger_facts.h"
#include "limits.h"
#include "str.h"

#define PAUSE_FACT "paused"

/* --- shared --- */

struct history steward_history(const struct steward *s)
{
        return (struct history){.ledger = s->ledger,
                .audit = s->audit,
                .config = s->config,
                .feed = s->feed,
                .uid = s->uid,
                .reason = s->reason};
}

void steward_tell(const struct steward *s, const char *what, const struct ledger_object *o, const char *path,
        const char *text, int64_t bytes)
{
        struct steward_note note = {.what = what, .object = o, .path = path, .text = text, .bytes = bytes};
        if (s->note)
                s->note(s->arg, &note);
}

bool steward_is_busy(const struct steward *s, const struct ledger_object *o)
{
        if (s->is_busy)
                return s->is_busy(s->arg, o->id);
        return false;
}

/* --- which objects --- */

static bool has_meta(const char *s)
{
        return strpbrk(s, "*?[");
}

int steward_check_pattern(const char *pattern, struct error *e)
{
        if (!*pattern || strlen(pattern) > LIMIT_S3_KEY + LIMIT_S3_BUCKET + 8)
                return error_set(e, CAUSE_CONFIG, EINVAL, "not a key or pattern: '%.64s'", pattern);
        const char *rest = str_after(pattern, "s3://");
        if (rest && (!strchr(rest, '/') || *rest == '/' || !strchr(rest, '/')[1]))
                return error_set(e, CAUSE_CONFIG, EINVAL, "'%.200s': expected s3://bucket/key", pattern);
        return 0;
}

static int by_id(const void *a, const void *b)
{
        const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
        return x < y ? -1 : x > y;
}

static int find_one(
        const struct steward *s, const char *pattern, int64_t **ret, size_t *ret_n, struct error *e)
{
        const char *rest = str_after(pattern, "s3://");
        _cleanup_free_ char *bucket = rest ? strndup(rest, strcspn(rest, "/")) : NULL;
        if (rest && !bucket)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        const char *key = rest ? strchr(rest, '/') + 1 : pattern;
        if (rest && !has_meta(key)) {
                struct ledger_object o;
                int r = ledger_find(s->ledger, bucket, key, &o, e);
                if (r == -ENOENT)
                        return error_set(e, CAUSE_GONE, ENOENT, "%s is not known", pattern);
                int64_t *one = r < 0 ? NULL : malloc(sizeof(*one));
                if (r == 0 && !one)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                if (r < 0)
                        return r;
                *one = o.id;
                *ret = one;
                *ret_n = 1;
                return 0;
        }
        struct ledger_filter f = {.bucket = bucket, .key_glob = key};
        int r = ledger_ids(s->ledger, &f, ret, ret_n, e);
        if (r == 0 && *ret_n == 0)
                return error_set(e, CAUSE_GONE, ENOENT, "no known key matches '%.200s'", pattern);
        return r;
}

int steward_find(const struct steward *s, char *const *patterns, size_t n, int64_t **ret, size_t *ret_n,
        struct error *e)
{
        _cleanup_free_ int64_t *all = NULL;
        size_t n_all = 0;
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ int64_t *some = NULL;
                size_t n_some = 0;
                int r = steward_check_pattern(patterns[i], e);
                if (r == 0)
                        r = find_one(s, patterns[i], &some, &n_some, e);
                if (r < 0)
                        return r;
                int64_t *grown = reallocarray(all, n_all + n_some + 1, sizeof(*all));
                if (!grown)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                all = grown;
                memcpy(all + n_all, some, n_some * sizeof(*all));
                n_all += n_some;
        }
        size_t kept = 0;
        if (n_all > 0)
                qsort(all, n_all, sizeof(*all), by_id);
        for (size_t i = 0; i < n_all; i++)
                if (kept == 0 || all[kept - 1] != all[i])
                        all[kept++] = all[i];
        *ret = take_ptr(&all);
        *ret_n = kept;
        return 0;
}

/* --- resync --- */

static int resync_one(const struct steward *s, int64_t id, uint64_t *n, struct error *e)
{
        struct ledger_object o;
        int r = ledger_get(s->ledger, id, &o, e);
        if (r < 0)
                return r;
        if (steward_is_busy(s, &o)) {
                steward_tell(s, "skipped", &o, "", "is being fetched already", (int64_t)o.size);
                return 0;
        }
        o.attempts = o.refusals = 0;
        o.next_try = 0;
        o.cause = CAUSE_NONE;
        o.detail[0] = 0;
        if (!object_may_enter(o.state, OBJECT_NEW))
                return error_set(e, CAUSE_INTERNAL, EBUSY, "%s is %s", o.key, object_state_name(o.state));
        const struct history h = steward_history(s);
        struct audit_entry a = history_entry(&h, "resync", &o);
        r = audit_append(s->audit, &a, e);
        if (r == 0)
                r = ledger_enter(s->ledger, &o, OBJECT_NEW, e);
        if (r == 0)
                r = ledger_split_again(s->ledger, id, e); /* also when the same comes again */
        if (r == 0) {
                (*n)++;
                steward_tell(s, "resync", &o, "", "", (int64_t)o.size);
        }
        return r;
}

int steward_resync(const struct steward *s, char *const *patterns, size_t n, uint64_t *ret_n, struct error *e)
{
        _cleanup_free_ int64_t *ids = NULL;
        size_t n_ids = 0;
        int r = steward_find(s, patterns, n, &ids, &n_ids, e);
        *ret_n = 0;
        if (r == 0)
                r = ledger_begin(s->ledger, e);
        if (r < 0)
                return r;
        for (size_t i = 0; r == 0 && i < n_ids; i++)
                r = resync_one(s, ids[i], ret_n, e);
        if (r == 0)
                r = history_sync(s->ledger, s->audit, e);
        return ledger_end(s->ledger, r, e);
}

/* --- missing --- */

/* The one object that is told of. 1; 0: it went from the ledger meanwhile; or -errno. */
static int find_missing(
        const struct steward *s, const char *why, char *pattern, struct ledger_object *ret, struct error *e)
{
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        int r = steward_find(s, &pattern, 1, &ids, &n, e);
        if (r == -ENOENT) {
                *e = (struct error){};
                return 0;
        }
        if (r == 0 && (n != 1 || (!streq(why, "missing") && !streq(why, "altered"))))
                r = error_set(e, CAUSE_INTERNAL, EINVAL, "not one object, or no reason: %.200s", pattern);
        if (r == 0)
                r = ledger_get(s->ledger, ids[0], ret, e);
        return r < 0 ? r : 1;
}

int steward_missing(
        const struct steward *s, const char *why, const char *etag, char *pattern, struct error *e)
{
        struct ledger_object o;
        int r = find_missing(s, why, pattern, &o, e);
        bool kept = r == 1 && ledger_is_kept(&o);
        if (r <= 0 || (!kept && !ledger_should_be_staged(&o)) || !streq(o.staged_etag, etag) ||
                steward_is_busy(s, &o))
                return MIN(r, 0);
        r = kept ? feed_says_missing(s->ledger, &o, e) : 0;
        if (r != 0)
                return MIN(r, 0);
        const struct history h = steward_history(s);
        r = history_missing(&h, &o, why, e);
        if (r == 0)
                steward_tell(s, "missing", &o, o.path, why, -1);
        return r;
}

int steward_day_missing(
        const struct steward *s, const char *why, const char *sums, char *pattern, struct error *e)
{
        struct ledger_object o;
        struct ledger_split day;
        char hex[SHA256_HEX];
        int r = find_missing(s, why, pattern, &o, e);
        const struct config_package *p = r == 1 ? config_find_package(s->config, o.org) : NULL;
        if (r <= 0 || !p || p->events_by_course == EVENT_RULE_NONE || steward_is_busy(s, &o))
                return MIN(r, 0);
        r = ledger_split_get(s->ledger, o.id, &day, e);
        hex_encode(day.sums_sha256, SHA256_SIZE, hex);
        if (r < 0 || !*day.path || !streq(hex, sums) || ledger_split_is_again(&day))
                return r == -ENOENT ? 0 : r;
        const struct history h = steward_history(s);
        r = history_day_missing(&h, &o, day.path, why, e);
        if (r == 0)
                steward_tell(s, "day-missing", &o, day.path, why, -1);
        return r;
}

/* --- latest --- */

static int is_staged(struct ledger_object *o, void *arg)
{
        bool *found = arg;
        *found |= o->is_zip && *o->staged_etag;
        return 0;
}

int steward_move_latest(const struct steward *s, const char *org, enum category c, struct error *e)
{
        _cleanup_(strv_done) struct strv missed = {};
        return latest_move(s->ledger, s->staging, s->config, org, c, &missed, e);
}

int steward_latest(
        const struct steward *s, const char *org, enum category c, const char *date, struct error *e)
{
        bool found = false;
        struct ledger_filter f = {.org = org,
                .categories = BIT(c),
                .since = date,
                .until = date,
                .states = BIT(OBJECT_PUBLISHED) | BIT(OBJECT_GONE)};
        int r = date ? ledger_each(s->ledger, &f, is_staged, &found, e) : 0;
        if (r == 0 && date && !found)
                return error_set(e, CAUSE_GONE, ENOENT, "no %s snapshot of %s with the date %s is staged",
                        category_name(c), org, date);
        const struct history h = steward_history(s);
        struct audit_entry a = history_entry(&h, "latest", NULL);
        a.org = org;
        a.category = category_name(c);
        a.date = date;
        if (r == 0)
                r = history_begin(&h, &a, e);
        if (r == 0)
                r = ledger_end(s->ledger, ledger_set_pin(s->ledger, org, c, date ? date : "", e), e);
        return r < 0 ? r : steward_move_latest(s, org, c, e);
}

/* --- pause --- */

int steward_refuse_paused(const struct steward *s, const char *what, struct error *e)
{
        char text[TEXT_SIZE];
        int r = steward_paused(s->ledger, text, sizeof(text), e);
        if (r == 0 && *text)
                return error_set(e, CAUSE_INTERNAL, EPERM,
                        "czard is paused by an admin (%s), and what is staged stays as it is: czarctl "
                        "unpause before %s",
                        text, what);
        return r;
}

int steward_paused(struct ledger *l, char *ret, size_t size, struct error *e)
{
        return ledger_meta_get(l, PAUSE_FACT, ret, size, e);
}

int steward_pause(const struct steward *s, const char *text, struct error *e)
{
        const struct history h = steward_history(s);
        struct audit_entry a = history_entry(&h, text ? "pause" : "unpause", NULL);
        a.reason = text ? text : s->reason;
        int r = history_begin(&h, &a, e);
        return r < 0 ? r
                     : ledger_end(s->ledger, ledger_meta_set(s->ledger, PAUSE_FACT, text ? text : "", e), e);
}
