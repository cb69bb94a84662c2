/* SPDX-License-Identifier: Apache-2.0 */
/* adopt: what stands on the staging volume against what the ledger says should stand there. A hash that is
 * known must match; one that is not known is only believed when the admin says so. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ledger_facts.h"
#include "limits.h"
#include "macro.h"
#include "steward.h"
#include "str.h"
#include "wants.h"

struct adopt {
        const struct steward *s;
        bool trust;
        struct steward_adopted count;
        struct error *e;
        /* of the snapshot being looked at */
        const char *folder;
        uint64_t members, found, bad;
        int64_t bytes;
};

DEFINE_CLEANUP(struct digest, digest, digest_free)

/* 0 and the digest, -ENOENT, or -errno. */
static int hash_file(const struct steward *s, const char *path, uint8_t ret[SHA256_SIZE], int64_t *ret_size)
{
        _cleanup_close_ int fd = staging_open_file(s->staging, path);
        uint64_t size;
        int r = fd < 0 ? fd : digest_fd(DIGEST_SHA256, fd, ret, &size);
        if (r == 0)
                *ret_size = (int64_t)size;
        return r;
}

/* Is the member of the snapshot there with that content? */
static int look_at_member(struct adopt *a, const char *name, const uint8_t want[SHA256_SIZE])
{
        uint8_t sha256[SHA256_SIZE];
        int64_t size;
        a->members++;
        _cleanup_free_ char *path = str_printf("%s/%s", a->folder, name);
        int r = path ? hash_file(a->s, path, sha256, &size) : -ENOMEM;
        if (r == -ENOMEM)
                return r;
        if (r < 0 || memcmp(sha256, want, SHA256_SIZE) != 0) {
                a->bad++;
                return 0;
        }
        a->found++;
        a->bytes += size;
        return 0;
}

static int on_member(struct ledger_member *m, void *arg)
{
        return m->state == OBJECT_PUBLISHED && m->has_sha256 ? look_at_member(arg, m->path, m->sha256) : 0;
}

enum adopt_finding { ABSENT, SAME, OTHER, UNKNOWN };

/* Is the file `name` of the folder there, and has it that hash? want NULL: whatever hash it has. */
static bool is_list_there(struct adopt *a, const char *name, const uint8_t *want)
{
        uint8_t sha256[SHA256_SIZE];
        int64_t size;
        _cleanup_free_ char *path = str_printf("%s/%s", a->folder, name);
        return path && hash_file(a->s, path, sha256, &size) == 0 &&
               (!want || memcmp(sha256, want, SHA256_SIZE) == 0);
}

/* Without these, or with others, the folder is not the snapshot that was staged. An older czard wrote no
 * MANIFEST.jsonl. 1, 0 or -errno. */
static int has_lists(struct adopt *a, const struct ledger_object *o)
{
        uint8_t sums[SHA256_SIZE];
        int known = snapshot_sums(a->s->ledger, o->id, sums, a->e);
        if (known < 0)
                return known;
        return is_list_there(a, SNAPSHOT_SUMS, known ? sums : NULL) &&
               (!o->has_sha256 || is_list_there(a, SNAPSHOT_MANIFEST, o->sha256));
}

/* False: *ret says it all. */
static bool begin_snapshot(struct adopt *a, const char *path, enum adopt_finding *ret)
{
        bool is_dir;
        int r = staging_stat(a->s->staging, path, NULL, NULL, &is_dir);
        *ret = r == -ENOENT ? ABSENT : OTHER;
        a->folder = path;
        a->members = a->found = a->bad = 0;
        a->bytes = 0;
        return r == 0 && is_dir;
}

static int look_at_snapshot(
        struct adopt *a, const struct ledger_object *o, const char *path, enum adopt_finding *ret)
{
        if (!begin_snapshot(a, path, ret))
                return 0;
        int r = ledger_members(a->s->ledger, o->id, on_member, a, a->e);
        if (r == 0)
                r = has_lists(a, o);
        if (r < 0)
                return r;
        *ret = a->members == 0 ? UNKNOWN : a->bad == 0 && r == 1 ? SAME : OTHER;
        return 0;
}

static int on_manifest_line(struct adopt *a, const char *line, size_t len, struct digest *sums)
{
        char name[STAGED_PATH_SIZE], hex[SHA256_HEX];
        uint8_t sha256[SHA256_SIZE];
        _cleanup_strbuf_ struct strbuf sum = {};
        if (audit_field(line, len, "path", name, sizeof(name)) < 0 ||
                audit_field(line, len, "sha256", hex, sizeof(hex)) < 0 ||
                hex_decode(hex, sha256, sizeof(sha256)) < 0) {
                a->bad++;
                return 0;
        }
        snapshot_add_sum(&sum, name, sha256);
        if (sum.err)
                return -ENOMEM;
        digest_update(sums, sum.s, sum.len);
        return look_at_member(a, name, sha256);
}

/* What MANIFEST.jsonl lists. *ret: the hash that SHA256SUMS has then. */
static int look_at_listed(struct adopt *a, uint8_t ret[SHA256_SIZE])
{
        _cleanup_free_ char *path = str_printf("%s/" SNAPSHOT_MANIFEST, a->folder), *line = NULL;
        _cleanup_(cleanup_digest) struct digest *sums = NULL;
        size_t size = 0;
        ssize_t n = -1;
        if (!path || digest_new(DIGEST_SHA256, &sums) < 0)
                return -ENOMEM;
        int fd = staging_open_file(a->s->staging, path);
        FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
        if (!f) {
                close_fd(fd);
                a->bad++;
                return 0;
        }
        int r = 0;
        while (r == 0 && (n = getline(&line, &size, f)) > 0)
                r = on_manifest_line(a, line, (size_t)n, sums);
        a->bad += ferror(f) != 0;
        fclose(f);
        digest_final(sums, ret);
        return r;
}

/* The members that the ledger has may be those of a version that was refused. What was staged stands in
 * MANIFEST.jsonl, whose hash is the row's, and SHA256SUMS follows from it. A snapshot of an older czard,
 * which has none, goes by its members. */
static int look_at_kept_snapshot(struct adopt *a, const struct ledger_object *o, enum adopt_finding *ret)
{
        uint8_t sums[SHA256_SIZE];
        if (!o->has_sha256)
                return look_at_snapshot(a, o, o->path, ret);
        if (!begin_snapshot(a, o->path, ret) || !is_list_there(a, SNAPSHOT_MANIFEST, o->sha256))
                return 0;
        int r = look_at_listed(a, sums);
        if (r < 0)
                return error_set(a->e, CAUSE_IO, -r, "%s: %s", o->path, strerror(-r));
        *ret = a->bad == 0 && is_list_there(a, SNAPSHOT_SUMS, sums) ? SAME : OTHER;
        return 0;
}

static int look_at_file(struct adopt *a, struct ledger_object *o, const char *path, enum adopt_finding *ret)
{
        uint8_t sha256[SHA256_SIZE];
        int64_t size;
        int r = hash_file(a->s, path, sha256, &size);
        if (r == -ENOENT || r == -ENOTDIR) {
                *ret = ABSENT;
                return 0;
        }
        if (r == -ENOMEM || r == -EIO)
                return error_set(a->e, CAUSE_IO, -r, "%s: %s", path, strerror(-r));
        if (r < 0) {
                *ret = OTHER;
                return 0;
        }
        if (!o->has_sha256) {
                *ret = UNKNOWN;
                o->has_sha256 = true;
                memcpy(o->sha256, sha256, SHA256_SIZE);
                o->plain_size = size;
                return 0;
        }
        *ret = memcmp(sha256, o->sha256, SHA256_SIZE) == 0 ? SAME : OTHER;
        return 0;
}

static int take(struct adopt *a, struct ledger_object *o, const char *path, const char *text)
{
        const struct history h = steward_history(a->s);
        snprintf(o->path, sizeof(o->path), "%s", path);
        int r = history_staged(&h, "adopted", o, NULL, a->e);
        if (r == 0) {
                a->count.adopted++;
                steward_tell(a->s, "adopted", o, path, text, o->plain_size);
        }
        return r;
}

/* What is gone from S3 may have been missing before that: the feed knows. */
static int take_back(struct adopt *a, struct ledger_object *o, const char *path)
{
        int lost = !ledger_should_be_staged(o) || !*o->staged_etag;
        if (!lost && o->state == OBJECT_GONE)
                lost = feed_says_missing(a->s->ledger, o, a->e);
        return lost <= 0 ? lost : take(a, o, path, "same hash");
}

static int miss(struct adopt *a, struct ledger_object *o, const char *path, const char *text)
{
        const struct history h = steward_history(a->s);
        a->count.missing++;
        int r = ledger_should_be_staged(o) ? history_missing(&h, o, text, a->e) : 0;
        if (r == 0)
                steward_tell(a->s, "missing", o, path, text, o->plain_size);
        return r;
}

/* The row tells of another version, which this one is not: the feed alone hears of it. */
static int look_at_kept(struct adopt *a, struct ledger_object *o)
{
        const struct history h = steward_history(a->s);
        enum adopt_finding what = ABSENT;
        int missing = feed_says_missing(a->s->ledger, o, a->e);
        int r = missing <= 0    ? missing
                : o->is_zip     ? look_at_kept_snapshot(a, o, &what)
                : o->has_sha256 ? look_at_file(a, o, o->path, &what)
                                : 0;
        if (r < 0 || what != SAME)
                return r;
        r = history_kept_back(&h, o, a->e);
        if (r == 0) {
                a->count.adopted++;
                steward_tell(a->s, "adopted", o, o->path, "same hash", o->plain_size);
        }
        return r;
}

static int on_object(struct ledger_object *o, void *arg)
{
        struct adopt *a = arg;
        char path[STAGED_PATH_SIZE];
        enum adopt_finding what = ABSENT;
        const struct config *c = a->s->config;
        /* What a resync makes due may be taken as it is. */
        bool is_due = o->state == OBJECT_NEW && streq(o->staged_etag, o->etag);
        if (ledger_is_kept(o) && !is_due)
                return look_at_kept(a, o);
        if (o->state == OBJECT_RETRY || o->state == OBJECT_REJECTED)
                return 0;
        if (o->state == OBJECT_GONE && !ledger_should_be_staged(o))
                return 0;
        snprintf(path, sizeof(path), "%s", o->path);
        if (!*path && place_of(c, o, c && c->staging.events_format == EVENTS_PLAIN, path) < 0)
                return 0;
        bool was_staged = ledger_should_be_staged(o) || o->state == OBJECT_MISSING;
        int r = o->is_zip ? look_at_snapshot(a, o, path, &what) : look_at_file(a, o, path, &what);
        if (r < 0)
                return r;
        switch (what) {
        case SAME:
                return take_back(a, o, path);
        case UNKNOWN:
                /* Of a snapshot nobody could say which members belong to it. */
                if (a->trust && !o->is_zip)
                        return take(a, o, path, "no hash was known; taken as it is");
                a->count.unknown++;
                steward_tell(a->s, "unknown", o, path,
                        o->is_zip ? "no member's hash is known: it will be fetched"
                                  : "no hash is known: --trust takes it as it is",
                        -1);
                return 0;
        case OTHER:
                return was_staged ? miss(a, o, path, "altered") : 0;
        case ABSENT:
                return was_staged ? miss(a, o, path, "not there") : 0;
        }
        return 0;
}

/* --- events by course --- */

/* Days whose folder is not there. */
struct absent {
        const struct steward *s;
        int64_t *ids;
        size_t n;
};

static int on_split(const struct ledger_split *row, void *arg)
{
        struct absent *a = arg;
        if (!*row->path || ledger_split_is_again(row) ||
                staging_stat(a->s->staging, row->path, NULL, NULL, NULL) == 0)
                return 0;
        if (ARRAY_ROOM(a->ids, a->n) < 0)
                return -ENOMEM;
        a->ids[a->n++] = row->object_id;
        return 0;
}

static int miss_day(const struct steward *s, int64_t id, struct error *e)
{
        const struct history h = steward_history(s);
        struct ledger_object o;
        struct ledger_split day;
        int r = ledger_get(s->ledger, id, &o, e);
        if (r == 0)
                r = ledger_split_get(s->ledger, id, &day, e);
        if (r == 0)
                r = history_day_missing(&h, &o, day.path, "not there", e);
        if (r == 0)
                steward_tell(s, "missing", &o, day.path,
                        config_event_rule(s->config, o.org) == EVENT_RULE_NONE
                                ? "by course; it is not made again, as events_by_course is none"
                                : "by course; it is due again",
                        -1);
        return r;
}

/* Another volume was accepted: days whose folder is not there are due again. */
static int adopt_by_course(const struct steward *s, struct error *e)
{
        struct absent a = {.s = s};
        int r = ledger_splits(s->ledger, on_split, &a, e);
        for (size_t i = 0; r == 0 && i < a.n; i++)
                r = miss_day(s, a.ids[i], e);
        free(a.ids);
        return r;
}

/* --- all of it --- */

static int adopt_id(const struct steward *s, struct error *e)
{
        char id[STAGING_ID_SIZE];
        int r = staging_read_id(s->staging, id, e);
        if (r == 0 && !*id)
                r = staging_adopt_id(s->staging, id, e);
        const struct history h = steward_history(s);
        struct audit_entry a = history_entry(&h, "adopt", NULL);
        a.staging_id = id;
        if (r == 0)
                r = history_begin(&h, &a, e);
        return r < 0 ? r : ledger_end(s->ledger, ledger_meta_set(s->ledger, "staging-id", id, e), e);
}

int steward_adopt(const struct steward *s, bool trust, struct steward_adopted *ret, struct error *e)
{
        struct adopt a = {.s = s, .trust = trust, .e = e};
        struct ledger_filter f = {.states = BIT(OBJECT_PUBLISHED) | BIT(OBJECT_MISSING) | BIT(OBJECT_NEW) |
                                            BIT(OBJECT_GONE) | BIT(OBJECT_RETRY) | BIT(OBJECT_REJECTED)};
        int r = adopt_id(s, e);
        if (r == 0)
                r = ledger_each(s->ledger, &f, on_object, &a, e);
        if (r == 0)
                r = adopt_by_course(s, e);
        if (r == 0)
                *ret = a.count;
        return r;
}
