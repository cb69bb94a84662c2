/* SPDX-License-Identifier: Apache-2.0 */
/* verify: staged files, and what stands beside them in the folders of snapshots and days by course, against
 * the hashes in the ledger; the feeds against the audit record; with --audit the chain of that. Changes no
 * file; what is not as it was staged czard is told. A file that shares its storage with one that was read
 * before is not read again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ask.h"
#include "audit.h"
#include "control_msg.h"
#include "deliver_facts.h"
#include "digest.h"
#include "feed.h"
#include "feed_reader.h"
#include "fsx.h"
#include "ledger_facts.h"
#include "rows.h"
#include "staging.h"
#include "str.h"

#define CHUNK (256 * 1024)
#define SUMS_MOST (64 * MIB)  /* of a folder */
#define TELL_STRINGS (40 * 3) /* in one request: see CONTROL_MESSAGE_MAX */
#define SEEN_SLOTS 4096       /* a slot that is taken is overwritten: then a file is read once more */

struct seen {
        ino_t inode;
        dev_t device;
        off_t size;
        uint8_t sha256[SHA256_SIZE];
};

struct verify {
        struct ctl *c;
        struct staging *staging;
        char *buffer;
        struct seen *seen;
        struct progress_line progress;
        uint64_t files, bytes;
        struct rows rows; /* of what is wrong */
        const char *folder;
        char *const *paths; /* only below these, relative; n_paths 0: all */
        size_t n_paths;
        bool *found;       /* for each of them: something staged is there */
        const char *wrong; /* "missing" or "altered", of the object being looked at; NULL */
        /* Of each that czard takes for staged and is not: WHY ETAG s3://BUCKET/KEY, or of a day by course
         * day-WHY SHA256-OF-SHA256SUMS s3://BUCKET/KEY. */
        struct strv to_tell;
        bool audit, has_deliver_audit;
        uint64_t audit_entries, deliver_audit_entries;
        struct error *e;
};

static void add_problem(struct verify *v, const char *path, const char *what, const char *text)
{
        if (streq(what, "missing") || streq(what, "altered"))
                v->wrong = what;
        else if (streq(what, "added"))
                v->wrong = "altered";
        rows_add(&v->rows,
                FIELDS(F_TEXT("path", path), F_TEXT("what", what, .colour = RED), F_TEXT("text", text)));
}

static bool is_below(const char *path, const char *folder)
{
        const char *rest = str_after(path, folder);
        return rest && (*rest == 0 || *rest == '/' || (*folder && folder[strlen(folder) - 1] == '/'));
}

static bool is_wanted(struct verify *v, const char *path)
{
        bool wanted = v->n_paths == 0;
        for (size_t i = 0; i < v->n_paths; i++)
                if (is_below(path, v->paths[i]))
                        wanted = v->found[i] = true;
        return wanted;
}

static int hash_fd(struct verify *v, int fd, uint8_t ret[SHA256_SIZE])
{
        struct digest *d = NULL;
        int r = digest_new(DIGEST_SHA256, &d);
        uint64_t size = 0;
        ssize_t n = 0;
        while (r == 0 && (n = read(fd, v->buffer, CHUNK)) != 0) {
                if (n < 0) {
                        r = errno == EINTR ? 0 : -errno;
                        continue;
                }
                digest_update(d, v->buffer, (size_t)n);
                size += (uint64_t)n;
                progress_to(&v->progress, v->bytes + size);
        }
        if (r == 0)
                digest_final(d, ret);
        digest_free(d);
        return r;
}

/* Its size and hash. -1: it cannot be read, which was told. */
static int read_staged(struct verify *v, const char *path, struct seen *ret)
{
        struct stat st;
        _cleanup_close_ int fd = staging_open_file(v->staging, path);
        if (fd < 0 || fstat(fd, &st) < 0) {
                add_problem(
                        v, path, fd == -ENOENT ? "missing" : "unreadable", strerror(fd < 0 ? -fd : errno));
                return -1;
        }
        struct seen *seen = &v->seen[(st.st_ino ^ st.st_dev) % SEEN_SLOTS];
        if (seen->inode != st.st_ino || seen->device != st.st_dev) {
                struct seen now = {.inode = st.st_ino, .device = st.st_dev, .size = st.st_size};
                int r = hash_fd(v, fd, now.sha256);
                if (r < 0) {
                        add_problem(v, path, "unreadable", strerror(-r));
                        return -1;
                }
                *seen = now;
        }
        *ret = *seen;
        return 0;
}

static void check_file(
        struct verify *v, const char *path, const uint8_t want[SHA256_SIZE], int64_t plain_size)
{
        struct seen file;
        if (!is_wanted(v, path))
                return;
        v->files++;
        if (read_staged(v, path, &file) < 0)
                return;
        v->bytes += (uint64_t)file.size;
        progress_to(&v->progress, v->bytes);
        if (plain_size >= 0 && file.size != plain_size)
                add_problem(v, path, "altered", "has another size");
        else if (memcmp(file.sha256, want, SHA256_SIZE) != 0)
                add_problem(v, path, "altered", "has another SHA-256");
}

static int check_in(struct verify *v, const char *folder, const char *name, const uint8_t want[SHA256_SIZE],
        int64_t plain_size)
{
        _cleanup_free_ char *path = str_printf("%s/%s", folder, name);
        if (!path)
                return -ENOMEM;
        check_file(v, path, want, plain_size);
        return 0;
}

/* What stands in a folder beside the files. want NULL: the hash is not known, that it is there must do. */
static int check_list(struct verify *v, const char *folder, const char *name, const uint8_t *want)
{
        struct seen file;
        _cleanup_free_ char *path = str_printf("%s/%s", folder, name);
        if (!path)
                return -ENOMEM;
        if (is_wanted(v, path) && read_staged(v, path, &file) == 0 && want &&
                memcmp(file.sha256, want, SHA256_SIZE) != 0)
                add_problem(v, path, "altered", "has another SHA-256");
        return 0;
}

/* A snapshot of an older czard has no MANIFEST.jsonl, or nobody noted its hash. */
static int check_lists(struct verify *v, const struct ledger_object *o, const uint8_t *sums)
{
        int r = check_list(v, o->path, SNAPSHOT_SUMS, sums);
        return r < 0 || !o->has_sha256 ? r : check_list(v, o->path, SNAPSHOT_MANIFEST, o->sha256);
}

static int on_member(struct ledger_member *m, void *arg)
{
        struct verify *v = arg;
        return m->state == OBJECT_PUBLISHED && m->has_sha256
                       ? check_in(v, v->folder, m->path, m->sha256, m->plain_size)
                       : 0;
}

static bool is_part_wanted(const struct verify *v, const char *folder)
{
        bool wanted = v->n_paths == 0;
        for (size_t i = 0; i < v->n_paths && !wanted; i++)
                wanted = is_below(folder, v->paths[i]) || is_below(v->paths[i], folder);
        return wanted;
}

/* part: "", or "day-" of its day by course; which: of what was looked at. */
static int note_wrong(struct verify *v, const char *part, const char *which, const struct ledger_object *o)
{
        _cleanup_free_ char *name = str_printf("s3://%s/%s", o->bucket, o->key);
        _cleanup_free_ char *why = str_printf("%s%s", part, v->wrong);
        return name && why && strv_add(&v->to_tell, why) == 0 && strv_add(&v->to_tell, which) == 0 &&
                               strv_add(&v->to_tell, name) == 0
                       ? 0
                       : -ENOMEM;
}

/* --- SHA256SUMS --- */

/* A SHA256SUMS: its text, and the names in it, in its order, which is that of bytes. */
struct sum_names {
        char *text;
        const char **v;
        size_t n;
};

static void sum_names_done(struct sum_names *s)
{
        free(s->text);
        free(s->v);
}

/* One line of SHA256SUMS. */
static int check_sum_line(struct verify *v, const char *folder, char *line, struct sum_names *names)
{
        uint8_t sha256[SHA256_SIZE];
        if (strlen(line) < SHA256_HEX + 1 ||
                hex_decode((line[SHA256_HEX - 1] = 0, line), sha256, sizeof(sha256)) < 0)
                return 0;
        if (ARRAY_ROOM(names->v, names->n) < 0)
                return -ENOMEM;
        names->v[names->n++] = line + SHA256_HEX + 1;
        return check_in(v, folder, line + SHA256_HEX + 1, sha256, -1);
}

/* The lines of a folder's SHA256SUMS. */
static int check_sums(struct verify *v, const char *folder, struct sum_names *names)
{
        _cleanup_free_ char *sums = str_printf("%s/" SNAPSHOT_SUMS, folder);
        if (!sums)
                return -ENOMEM;
        _cleanup_close_ int fd = staging_open_file(v->staging, sums);
        if (fd < 0 || read_file_fd(fd, SUMS_MOST, &names->text, NULL) < 0)
                return 0; /* was told */
        char *rest = names->text;
        int r = 0;
        for (char *line; r == 0 && (line = strsep(&rest, "\n"));)
                r = check_sum_line(v, folder, line, names);
        return r;
}

/* --- objects --- */

/* What the ledger knows of members may be of the version to come: the folder's own list tells. */
static int check_kept_snapshot(struct verify *v, const struct ledger_object *o)
{
        _cleanup_(sum_names_done) struct sum_names names = {};
        int r = check_lists(v, o, NULL);
        return r < 0 ? r : check_sums(v, o->path, &names);
}

static int check_snapshot(struct verify *v, const struct ledger_object *o)
{
        uint8_t sums[SHA256_SIZE];
        int r = snapshot_sums(v->c->ledger, o->id, sums, v->e);
        if (r >= 0)
                r = check_lists(v, o, r ? sums : NULL);
        return r < 0 ? r : ledger_members(v->c->ledger, o->id, on_member, v, v->e);
}

static int on_object(struct ledger_object *o, void *arg)
{
        struct verify *v = arg;
        bool kept = ledger_is_kept(o);
        if (!*o->staged_etag || !*o->path || !is_part_wanted(v, o->path))
                return 0;
        v->wrong = NULL;
        v->folder = o->path;
        int r = 0;
        if (o->is_zip)
                r = kept ? check_kept_snapshot(v, o) : check_snapshot(v, o);
        else if (o->has_sha256)
                check_file(v, o->path, o->sha256, o->plain_size);
        if (r < 0 || !v->wrong || !(kept || ledger_should_be_staged(o)))
                return r;
        return note_wrong(v, "", o->staged_etag, o);
}

/* --- days by course --- */

static int by_name(const void *name, const void *entry)
{
        return strcmp(name, *(const char *const *)entry);
}

static int check_added(struct verify *v, const char *folder, const struct sum_names *names)
{
        _cleanup_(strv_done) struct strv there = {};
        int r = staging_list(v->staging, folder, &there, v->e);
        if (r == -ENOENT)
                return 0; /* it went meanwhile */
        for (size_t i = 0; r == 0 && i < there.n; i++) {
                if (streq(there.v[i], SNAPSHOT_SUMS) || streq(there.v[i], SNAPSHOT_MANIFEST) ||
                        (names->n && bsearch(there.v[i], names->v, names->n, sizeof(*names->v), by_name)))
                        continue;
                _cleanup_free_ char *path = str_printf("%s/%s", folder, there.v[i]);
                if (!path)
                        r = -ENOMEM;
                else if (is_wanted(v, path))
                        add_problem(v, path, "added", "was not staged by czard");
        }
        return r;
}

/* An older czard did not note the hash of its MANIFEST.jsonl. */
static int check_day(struct verify *v, const struct ledger_split *day)
{
        _cleanup_(sum_names_done) struct sum_names names = {};
        int r = check_in(v, day->path, SNAPSHOT_SUMS, day->sums_sha256, -1);
        if (r == 0)
                r = day->has_manifest ? check_in(v, day->path, SNAPSHOT_MANIFEST, day->manifest_sha256, -1)
                                      : check_list(v, day->path, SNAPSHOT_MANIFEST, NULL);
        if (r == 0)
                r = check_sums(v, day->path, &names);
        return r < 0 || !names.text ? r : check_added(v, day->path, &names);
}

static int on_split(const struct ledger_split *row, void *arg)
{
        struct verify *v = arg;
        struct ledger_object o;
        char sums[SHA256_HEX];
        if (!*row->path || !is_part_wanted(v, row->path))
                return 0;
        v->wrong = NULL;
        int r = check_day(v, row);
        if (r < 0 || !v->wrong)
                return r;
        r = ledger_get(v->c->ledger, row->object_id, &o, v->e);
        hex_encode(row->sums_sha256, SHA256_SIZE, sums);
        return r < 0 ? r : note_wrong(v, "day-", sums, &o);
}

static void on_feed(void *arg, const char *path, const char *what, const char *text)
{
        struct verify *v = arg;
        if (is_wanted(v, path) && what)
                add_problem(v, path, what, text);
}

/* Where the path of a feed, or of the folder that it is in, is wanted. */
static void verify_feeds(struct verify *v)
{
        struct error e = {};
        bool wanted = v->n_paths == 0;
        for (size_t i = 0; i < v->n_paths; i++)
                wanted |= !strchr(v->paths[i], '/') || str_ends(v->paths[i], "/" FEED_FILE);
        int r = wanted ? ctl_open_state(v->c, &e) : 0;
        if (r == 0 && wanted)
                r = feed_verify(v->staging, v->c->state_fd, on_feed, v, &e);
        /* Nobody asked for the feeds by name, and old lines may be kept elsewhere. */
        if (r < 0 && !(r == -ENODATA && v->n_paths == 0))
                add_problem(v, "audit.jsonl", "unreadable", e.text);
}

static int count_bytes(struct ledger_object *o, void *arg)
{
        struct verify *v = arg;
        if (*o->staged_etag && o->plain_size > 0 && is_part_wanted(v, o->path))
                v->progress.total += (uint64_t)o->plain_size;
        return 0;
}

static int verify_staging(struct verify *v)
{
        struct ctl *c = v->c;
        /* What is to come first: it may come meanwhile. */
        const unsigned order[] = {BIT(OBJECT_NEW) | BIT(OBJECT_RETRY) | BIT(OBJECT_REJECTED),
                BIT(OBJECT_PUBLISHED) | BIT(OBJECT_GONE) | BIT(OBJECT_MISSING)};
        struct ledger_filter f = {.states = order[0] | order[1]};
        struct error e = {};
        int status = ctl_open_ledger(c);
        if (status)
                return status;
        v->e = &e;
        v->progress = (struct progress_line){.what = "hashing", .bytes = true};
        int r = staging_open_readonly(c->config->staging.path, &v->staging, &e);
        if (r >= 0)
                r = ask_check_volume(c->ledger, v->staging, &e);
        if (r >= 0)
                r = ledger_each(c->ledger, &f, count_bytes, v, &e);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(order); i++) {
                f.states = order[i];
                r = ledger_each(c->ledger, &f, on_object, v, &e);
        }
        if (r >= 0)
                r = ledger_splits(c->ledger, on_split, v, &e);
        if (r >= 0)
                verify_feeds(v);
        if (r >= 0) /* it may have gone meanwhile */
                r = ask_check_volume(c->ledger, v->staging, &e);
        progress_end(&v->progress);
        v->staging = staging_free(v->staging);
        return r < 0 ? ctl_fail(&e) : 0;
}

/* --- telling czard --- */

static int tell_offline(void *arg, const struct steward *s, struct error *e)
{
        const struct strv *request = arg;
        int r = 0;
        for (size_t i = control_arguments(request); r == 0 && i + 2 < request->n; i += 3) {
                const char *why = request->v[i], *day = str_after(why, "day-");
                r = day ? steward_day_missing(s, day, request->v[i + 1], request->v[i + 2], e)
                        : steward_missing(s, why, request->v[i + 1], request->v[i + 2], e);
        }
        return r;
}

/* So that it is known to `status`, and to whoever follows the feed. What cannot be told was shown. */
static void tell(struct verify *v)
{
        for (size_t at = 0; at < v->to_tell.n; at += TELL_STRINGS) {
                _cleanup_(strv_done) struct strv request = {};
                struct ask_spec spec = {
                        .request = &request, .offline = tell_offline, .need_staging = true, .arg = &request};
                int r = strv_add(&request, "missing");
                if (r == 0)
                        r = strv_add(&request, "--");
                for (size_t i = at; r == 0 && i < MIN(at + TELL_STRINGS, v->to_tell.n); i++)
                        r = strv_add(&request, v->to_tell.v[i]);
                if (r < 0 || ask(v->c, &spec) == CTL_CANNOT)
                        return;
        }
}

/* --- the audit records --- */

/* The record of czard-deliver, which has no ledger that remembers its end. head: NULL, or one that the other
 * record does not have; *ret_found: here it is. */
static int verify_deliver_audit(struct verify *v, const char *head, bool *ret_found)
{
        struct error e = {};
        struct stat st;
        *ret_found = false;
        _cleanup_close_ int state = deliver_state(v->c, &e);
        if (state == -ENOENT || (state >= 0 && fstatat(state, "audit.jsonl", &st, 0) < 0 && errno == ENOENT))
                return 0;
        int r = state < 0 ? state : audit_verify(state, NULL, NULL, &v->deliver_audit_entries, &e);
        v->has_deliver_audit = true;
        if (r == -EBADMSG)
                add_problem(v, "czard-deliver/audit.jsonl", "broken chain", e.text);
        else if (r < 0)
                return ctl_fail(&e);
        uint64_t n;
        *ret_found = head && audit_verify(state, head, NULL, &n, NULL) == 0;
        return 0;
}

static int verify_audit(struct verify *v)
{
        struct error e = {};
        const char *head = ctl_flag(v->c, "head");
        uint8_t hash[SHA256_SIZE];
        char hex[SHA256_HEX];
        bool found;
        if (head) {
                if (strlen(head) != SHA256_HEX - 1 || hex_decode(head, hash, sizeof(hash)) < 0)
                        return ctl_usage(v->c, "--head: expected the 64 hex digits of CZARD_AUDIT_HEAD");
                hex_encode(hash, sizeof(hash), hex); /* lower case, as in the record */
                head = hex;
        }
        int r = ctl_open_state(v->c, &e);
        if (r < 0)
                return ctl_fail(&e);
        /* Before the record is read: it may grow meanwhile. Without a ledger the chain alone tells. */
        struct audit_tail known = {};
        struct ledger *l = NULL;
        if (ledger_open_readonly(v->c->config->state_dir, &l, NULL) >= 0)
                (void)ledger_audit_tail(l, &known, NULL);
        ledger_free(l);
        int status = verify_deliver_audit(v, head, &found);
        if (status)
                return status;
        r = audit_verify(v->c->state_fd, found ? NULL : head, &known, &v->audit_entries, &e);
        if (r == -EBADMSG)
                add_problem(v, "audit.jsonl", "broken chain", e.text);
        else if (r < 0)
                return ctl_fail(&e);
        return 0;
}

static void say_result(const struct verify *v)
{
        const char *chain = v->rows.n ? "see above" : "the chain holds";
        char size[BYTES_SIZE];
        if (v->audit)
                shown_print(stdout, "audit record: %llu entries, %s\n", (unsigned long long)v->audit_entries,
                        chain);
        if (v->has_deliver_audit)
                shown_print(stdout, "audit record of czard-deliver: %llu entries, %s\n",
                        (unsigned long long)v->deliver_audit_entries, chain);
        if (!v->audit || v->files > 0)
                shown_print(stdout, "%llu files, %s, %llu problem%s\n", (unsigned long long)v->files,
                        bytes_text((int64_t)v->bytes, size), (unsigned long long)v->rows.n,
                        v->rows.n == 1 ? "" : "s");
}

static int finish(struct verify *v, int status)
{
        struct json *j = &v->rows.json;
        rows_end(&v->rows, NULL);
        if (v->c->json) {
                json_fields(j, FIELDS(F_BOOL("ok", v->rows.n == 0), F_NUMBER("files", v->files),
                                       F_NUMBER("bytes", v->bytes)));
                if (v->audit)
                        json_u64(j, "audit_entries", v->audit_entries);
                if (v->has_deliver_audit)
                        json_u64(j, "deliver_audit_entries", v->deliver_audit_entries);
                status = status ? status : answer_print(j);
        } else if (status == 0) {
                say_result(v);
        }
        rows_drop(&v->rows);
        free(v->buffer);
        free(v->seen);
        free(v->found);
        strv_done(&v->to_tell);
        return status ? status : v->rows.n ? CTL_FOUND : CTL_WELL;
}

/* What is meant by a path below staging when it leads through a link, such as `latest`; else NULL. */
static char *follow(const char *root, const char *path)
{
        _cleanup_free_ char *full = str_printf("%s/%s", root, path);
        _cleanup_free_ char *to = full ? realpath(full, NULL) : NULL, *top = realpath(root, NULL);
        const char *rest = to && top && is_below(to, top) ? str_after(to, top) : NULL;
        return rest && *rest == '/' ? strdup(rest + 1) : NULL;
}

/* A path that names nothing must not look as if it were well. */
static int all_found(const struct verify *v)
{
        for (size_t i = 0; i < v->n_paths; i++)
                if (!v->found[i])
                        return ctl_fail_text(
                                "%s: czard knows of no staged file there (czarctl list)", v->paths[i]);
        return 0;
}

/* Paths may be given as they are on the disk. */
static int relative_paths(struct verify *v)
{
        const char *root = v->c->config->staging.path;
        for (int i = 0; i < v->c->argc; i++) {
                char *p = v->c->argv[i];
                const char *rest = is_below(p, root) ? str_after(p, root) : NULL;
                if (*p == '/' && !rest)
                        return ctl_usage(v->c, "%s is not below %s", p, root);
                if (rest)
                        p += rest - p;
                while (*p == '/')
                        p++;
                size_t n = strlen(p);
                while (n > 0 && p[n - 1] == '/')
                        p[--n] = 0;
                char *real = follow(root, p); /* kept until we end */
                v->c->argv[i] = real ? real : p;
                if (*p)
                        continue;
                v->n_paths = 0; /* the root itself: all */
                return 0;
        }
        v->paths = v->c->argv;
        v->n_paths = (size_t)v->c->argc;
        v->found = calloc(v->n_paths + 1, sizeof(*v->found));
        return v->found ? 0 : ctl_fail_text("out of memory");
}

int run_verify(struct ctl *c)
{
        struct verify v = {.c = c, .audit = ctl_flag(c, "audit")};
        if (ctl_flag(c, "head") && !v.audit)
                return ctl_usage(c, "--head goes with --audit");
        int status = relative_paths(&v);
        if (status)
                return status;
        v.buffer = malloc(CHUNK);
        v.seen = calloc(SEEN_SLOTS, sizeof(*v.seen));
        if (!v.buffer || !v.seen)
                return ctl_fail_text("out of memory");
        rows_open(&v.rows, c, "problems", "what|path|text=");
        status = v.audit ? verify_audit(&v) : 0;
        if (status == 0 && (!v.audit || c->argc > 0))
                status = verify_staging(&v);
        if (status == 0 && !c->config_is_partial)
                tell(&v);
        if (status == 0)
                status = all_found(&v);
        return finish(&v, status);
}
