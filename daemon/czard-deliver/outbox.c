/* SPDX-License-Identifier: Apache-2.0 */
/* The folder that a recipient reads. It is a staging directory as lib/store has it: a file has its name only
 * when it is whole and durable, and the folder has an id, so that a volume that is not mounted is noticed. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fsx.h"
#include "json.h"
#include "session.h"
#include "timespan.h"

#define FILE_MODE 0440
#define DIR_MODE 0750
#define README "README"
#define MANIFEST "MANIFEST.jsonl"

static int note_id(struct session *s, const struct config_delivery *d, const char *id, struct error *e)
{
        const struct audit_entry entry = {.event = "outbox",
                .delivery = d->name,
                .path = d->path,
                .staging_id = id,
                .purpose = d->purpose,
                .size = -1,
                .mtime = -1,
                .uid = -1};
        int r = audit_append(s->audit, &entry, e);
        return r < 0 ? r : audit_sync(s->audit, e);
}

/* The texts of lib/store speak of [staging] path. */
static int say(struct error *e, const struct config_delivery *d, int err)
{
        return error_set(e, CAUSE_STAGING, err,
                "the outbox %s cannot be used (%s): it must be a folder that the user czard-deliver may "
                "write, with "
                "mode 0750, on a file system with O_TMPFILE, and under systemd in ReadWritePaths= of "
                "czard-deliver.service",
                d->path, strerror(err));
}

/* Are messages of another delivery in the outbox of that id? */
static int check_owner(
        const struct session *s, const struct config_delivery *d, const char *id, struct error *e)
{
        _cleanup_(strv_done) struct strv names = {};
        int x = records_names(s->state_fd, &names, e);
        for (size_t i = 0; x == 0 && i < names.n; i++) {
                struct records other = {};
                size_t n = 0;
                if (streq(names.v[i], d->name))
                        continue;
                x = records_read(s->state_fd, names.v[i], &other, e);
                for (size_t k = 0; x == 0 && streq(other.outbox_id, id) && k < other.n; k++)
                        n += other.v[k].state == RECORD_OUT;
                records_done(&other);
                if (n > 0)
                        x = error_set(e, CAUSE_STAGING, EEXIST,
                                "the outbox %s is that of the delivery %s, and %zu of its messages are "
                                "there: "
                                "take another folder, or end that one first (czarctl deliver revoke %s "
                                "--reason TEXT)",
                                d->path, names.v[i], n, names.v[i]);
        }
        return x;
}

int outbox_open(struct session *s, const struct config_delivery *d, const struct records *r,
        struct staging **ret, struct error *e)
{
        struct staging *o = NULL;
        char id[STAGING_ID_SIZE] = "";
        int x = staging_open(d->path, FILE_MODE, DIR_MODE, &o, e);
        if (x < 0)
                return e->cause == CAUSE_UNSAFE_MODE ? x : say(e, d, -x);
        x = staging_read_id(o, id, e);
        if (x == 0 && *r->outbox_id && !streq(id, r->outbox_id))
                x = error_set(e, CAUSE_STAGING, ESTALE,
                        "the outbox %s is not the one that is known (%s): is its volume mounted? (for a new "
                        "one "
                        "take another name of the delivery; czarctl deliver revoke empties the old one)",
                        d->path, r->outbox);
        if (x == 0 && *id && !*r->outbox_id)
                x = check_owner(s, d, id, e);
        if (x == 0 && !*id && *d->name == '/')
                x = error_set(
                        e, CAUSE_CONFIG, ENOENT, "%s is no outbox: it has no " STAGING_ID_FILE, d->path);
        if (x == 0 && !*id) {
                x = staging_make_id(o, id, e);
                if (x == -ENOTEMPTY)
                        error_set(e, CAUSE_STAGING, ENOTEMPTY,
                                "the outbox %s is not empty, and these files are not czard's: empty it, or "
                                "take another "
                                "folder",
                                d->path);
        }
        if (x == 0 && (!*r->outbox_id || !r->outbox || !streq(r->outbox, d->path)))
                x = note_id(s, d, id, e); /* also of one that has moved: revoke goes by it */
        if (x < 0) {
                staging_free(o);
                return x;
        }
        *ret = o;
        return 0;
}

/* --- what is there, against the record --- */

#define DEPTH_MOST 4 /* {course}/events/{site}/{file} */

static int add_strays(const struct staging *outbox, const struct records *r, const char *folder, int depth,
        struct strv *ret, struct error *e)
{
        _cleanup_(strv_done) struct strv names = {};
        int x = *folder ? staging_list(outbox, folder, &names, e)
                        : list_dir_at(staging_root_fd(outbox), ".", &names);
        strv_unique(&names);
        for (size_t i = 0; x == 0 && i < names.n; i++) {
                _cleanup_free_ char *path = str_printf("%s%s%s", folder, *folder ? "/" : "", names.v[i]);
                bool is_dir;
                if (!path)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                const struct delivery_record *known = records_find(r, path);
                if ((known && known->state == RECORD_OUT) || streq(path, "lost+found") ||
                        staging_stat(outbox, path, NULL, NULL, &is_dir) < 0)
                        continue;
                if (is_dir && depth < DEPTH_MOST)
                        x = add_strays(outbox, r, path, depth + 1, ret, e);
                else if (!is_dir && str_ends(path, ".gpg") && strv_add(ret, path) < 0)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        }
        return x == -ENOENT && depth > 1 ? 0 : x; /* a carrier may remove a folder that it has emptied */
}

int outbox_strays(const struct staging *outbox, const struct records *r, struct strv *ret, struct error *e)
{
        return add_strays(outbox, r, "", 1, ret, e);
}

size_t outbox_mark_gone(const struct staging *outbox, struct records *r, const char **ret_first)
{
        size_t n = 0;
        *ret_first = NULL;
        for (size_t i = 0; i < r->n; i++) {
                struct delivery_record *d = &r->v[i];
                d->is_gone =
                        d->state == RECORD_OUT && staging_stat(outbox, d->path, NULL, NULL, NULL) == -ENOENT;
                if (d->is_gone && n++ == 0)
                        *ret_first = d->path;
        }
        return n;
}

int outbox_hash(const struct staging *outbox, const char *path, uint8_t ret[SHA256_SIZE])
{
        _cleanup_close_ int fd = staging_open_file(outbox, path);
        uint64_t size;
        return fd < 0 ? fd : digest_fd(DIGEST_SHA256, fd, ret, &size);
}

/* Written after it was delivered, or of another size: then its bytes are looked at. */
const struct delivery_record *outbox_altered(const struct staging *outbox, const struct records *r)
{
        for (size_t i = 0; i < r->n; i++) {
                const struct delivery_record *d = &r->v[i];
                uint8_t was[SHA256_SIZE], is[SHA256_SIZE];
                uint64_t size;
                int64_t mtime;
                if (d->state != RECORD_OUT || staging_stat(outbox, d->path, &size, &mtime, NULL) < 0 ||
                        (size == (uint64_t)d->size && mtime <= d->time))
                        continue;
                if (outbox_hash(outbox, d->path, is) < 0 || hex_decode(d->sha256, was, sizeof(was)) < 0 ||
                        memcmp(was, is, sizeof(is)) != 0)
                        return d;
        }
        return NULL;
}

/* --- README and MANIFEST.jsonl --- */

static void add_readme(struct strbuf *b, const struct config_delivery *d, const struct records *r)
{
        char until[DATE_SIZE];
        bool destroy = false;
        strbuf_printf(b, "Delivery %s\n\n", d->name);
        if (*d->purpose)
                strbuf_printf(b, "purpose   %s\n", d->purpose);
        if (d->until != INT_MAX) /* neither section nor record says it */
                strbuf_printf(b,
                        "until     %s: no use from this day (UTC) on; destroy all copies before, also of "
                        "what was made\n          of them and still names people\n",
                        date_format(d->until, until));
        for (size_t i = 0; i < d->recipients.n; i++)
                strbuf_printf(b, "%s %s\n", i ? "          " : "recipients", d->recipients.v[i]);
        strbuf_add(b, "\nDecrypt a file with: gpg --output FILE --decrypt FILE.gpg\n"
                      "MANIFEST.jsonl names each file with its hash, what it was made of, and what it "
                      "supersedes: a file\n"
                      "that is superseded is to be destroyed when its successor is there.\n");
        if (r->revoked)
                strbuf_printf(b, "\nThis delivery was revoked: %s\n", r->revoked);
        for (size_t i = 0; i < r->n; i++) {
                if (r->v[i].state != RECORD_DESTROY)
                        continue;
                strbuf_add(b, destroy ? "" : "\nplease-destroy, with all that was made of it:\n");
                strbuf_printf(b, "  %s (%s)\n", r->v[i].path, r->v[i].reason ? r->v[i].reason : "");
                destroy = true;
        }
}

static void add_line(struct strbuf *b, const struct delivery_record *r)
{
        _cleanup_json_ struct json j = {};
        _cleanup_(strv_done) struct strv recipients = {};
        if (strv_split(&recipients, r->recipients) < 0)
                b->err = -ENOMEM;
        json_open(&j, NULL, '{');
        json_str(&j, "path", r->path);
        json_str(&j, "sha256", r->sha256);
        json_i64(&j, "size", r->size);
        json_str(&j, "course", r->course);
        json_time(&j, "delivered", r->time);
        json_str(&j, "supersedes", *r->supersedes ? r->supersedes : NULL);
        json_open(&j, "recipients", '[');
        for (size_t i = 0; i < recipients.n; i++)
                json_str(&j, NULL, recipients.v[i]);
        json_close(&j, ']');
        json_open(&j, "inputs", '[');
        for (size_t i = 0; i < r->n_inputs; i++) {
                json_open(&j, NULL, '{');
                json_str(&j, "path", r->inputs[i].path);
                json_str(&j, "sha256", r->inputs[i].sha256);
                json_close(&j, '}');
        }
        json_close(&j, ']');
        json_close(&j, '}');
        strbuf_add(&j.out, "\n");
        b->err = j.out.err ? j.out.err : b->err;
        strbuf_add(b, j.out.err ? "" : j.out.s);
}

static bool is_as_is(const struct staging *outbox, const char *name, const struct strbuf *b)
{
        _cleanup_close_ int fd = staging_open_file(outbox, name);
        _cleanup_free_ char *text = NULL;
        size_t n;
        return fd >= 0 && read_file_fd(fd, b->len + 1, &text, &n) == 0 && n == b->len &&
               memcmp(text, b->s, n) == 0;
}

static int put(struct staging *outbox, const char *name, const struct strbuf *b, gid_t gid, struct error *e)
{
        const struct staging_attr attr = {.gid = gid, .mtime = -1};
        if (b->err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (is_as_is(outbox, name, b))
                return 0;
        _cleanup_close_ int fd = staging_create(outbox, e);
        if (fd < 0)
                return fd;
        int r = write_all(fd, b->s, b->len);
        return r < 0 ? error_errno(e, -r, "%s", name) : staging_publish(outbox, fd, name, &attr, NULL, e);
}

int outbox_describe(const struct session *s, const struct config_delivery *d, const struct records *r,
        struct staging *outbox, gid_t gid, struct error *e)
{
        _cleanup_strbuf_ struct strbuf readme = {}, manifest = {};
        (void)s;
        add_readme(&readme, d, r);
        strbuf_add(&manifest, "");
        for (size_t i = 0; i < r->n; i++)
                if (r->v[i].state == RECORD_OUT)
                        add_line(&manifest, &r->v[i]);
        int x = put(outbox, README, &readme, gid, e);
        return x < 0 ? x : put(outbox, MANIFEST, &manifest, gid, e);
}
