/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in a snapshot's folder beside its members: SHA256SUMS, as sha256sum -c reads it, and REJECTED.
 * And what must not stand there: left-overs of an earlier run. */
#include <fcntl.h>
#include <stdlib.h>

#include "digest.h"
#include "fsx.h"
#include "lookup.h"
#include "order.h"
#include "snapshot_internal.h"
#include "staging_internal.h"
#include "str.h"

/* Which members the folder must have, and which of them it has. Their names are the caller's, and are asked
 * for one by one. */
struct table {
        const struct snapshot_dir *d;
        const struct snapshot_list *list;
        struct snapshot_sum sum; /* the one at hand */
        struct lookup *names;    /* of the staged ones */
        uint8_t *found;          /* a bit for each; set from the start for what is not staged */
        bool rejected;           /* there is one that was */
};

static void table_done(struct table *t)
{
        strbuf_done(&t->sum.name);
        lookup_free(t->names);
        free(t->found);
}

/* Fills t->sum. 1, 0: there is no such member, or -errno. */
static int get(struct table *t, size_t i, struct error *e)
{
        t->sum.name.len = 0;
        int r = t->list->get(t->list->arg, i, &t->sum, e);
        strbuf_add(&t->sum.name, "");
        return r >= 0 && t->sum.name.err ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

static void set_found(struct table *t, size_t i)
{
        t->found[i / 8] |= (uint8_t)BIT(i % 8);
}

/* Of several with one hash, two may have one name. */
static int refuse_twins(struct table *t, const struct lookup_entry *v, size_t n, struct error *e)
{
        for (size_t i = 0; i + 1 < n; i++) {
                int r = get(t, v[i].number, e);
                _cleanup_free_ char *name = r < 0 ? NULL : strdup(t->sum.name.s);
                if (r >= 0 && !name)
                        r = error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                for (size_t k = i + 1; r >= 0 && k < n; k++) {
                        r = get(t, v[k].number, e);
                        if (r >= 0 && streq(name, t->sum.name.s))
                                return error_set(
                                        e, CAUSE_INTERNAL, EINVAL, "%s is twice in a snapshot", name);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int make_table(struct table *t, struct error *e)
{
        size_t n = t->list->n, at = 0, n_group;
        t->found = calloc(n / 8 + 1, 1);
        if (!t->found || lookup_new(n, &t->names) < 0)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++) {
                int r = get(t, i, e);
                bool staged = r > 0 && t->sum.staged;
                t->rejected |= r > 0 && !t->sum.staged;
                if (staged)
                        r = staging_check_path(t->sum.name.s, e);
                if (r < 0)
                        return r;
                if (staged)
                        lookup_add(t->names, t->sum.name.s, i);
                else
                        set_found(t, i);
        }
        lookup_sort(t->names);
        for (const struct lookup_entry *v; (v = lookup_group(t->names, &at, &n_group));) {
                int r = refuse_twins(t, v, n_group, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* 1: it is a staged member's, and is noted; 0: it is not, or -errno. */
static int table_take(struct table *t, const char *path, struct error *e)
{
        const struct lookup_entry *entry = lookup_first(t->names, path);
        for (; entry; entry = lookup_next(t->names, entry)) {
                int r = get(t, entry->number, e);
                if (r < 0)
                        return r;
                if (streq(t->sum.name.s, path)) {
                        set_found(t, entry->number);
                        return 1;
                }
        }
        return 0;
}

static int check_all_found(struct table *t, struct error *e)
{
        for (size_t i = 0; i < t->list->n; i++) {
                if (t->found[i / 8] & BIT(i % 8))
                        continue;
                int r = get(t, i, e);
                return r < 0 ? r
                             : error_set(e, CAUSE_IO, ENOENT, "%s: the member %s is not there", t->d->path,
                                       t->sum.name.s);
        }
        return 0;
}

static int tidy(struct table *t, int at_fd, const char *name, const char *path, int depth, struct error *e);

static int tidy_entry(struct table *t, int dir_fd, const char *above, const struct dirent *entry, int depth,
        struct error *e)
{
        _cleanup_free_ char *path = str_printf("%s%s%s", above, *above ? "/" : "", entry->d_name);
        struct stat st;
        if (!path)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return staging_fail(errno, "looking", path, e);
        int taken = S_ISREG(st.st_mode) ? table_take(t, path, e) : 0;
        if (taken != 0)
                return MIN(taken, 0);
        if (!S_ISDIR(st.st_mode))
                return staging_remove_at(dir_fd, entry->d_name, e);
        int r = tidy(t, dir_fd, entry->d_name, path, depth - 1, e);
        /* an empty one goes */
        if (r == 0 && unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY &&
                errno != EEXIST)
                r = staging_fail(errno, "removing", path, e);
        return r;
}

/* One that an earlier attempt made under another configuration. */
static int set_folder(const struct snapshot_dir *d, int fd, const char *path, struct error *e)
{
        const struct staging_attr attr = {.gid = d->attr.gid, .mtime = -1};
        struct stat st;
        if (fstat(fd, &st) < 0)
                return staging_fail(errno, "looking", path, e);
        if ((st.st_mode & 07777) == d->s->dir_mode && (attr.gid == (gid_t)-1 || attr.gid == st.st_gid))
                return 0;
        return staging_set_attr(fd, d->s->dir_mode, &attr, path, e);
}

static int tidy(struct table *t, int at_fd, const char *name, const char *path, int depth, struct error *e)
{
        if (depth == 0)
                return staging_fail(ELOOP, "tidying", path, e);
        int fd = open_beneath(at_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0)
                return staging_fail(-fd, "tidying", path, e);
        _cleanup_closedir_ DIR *d = fdopendir(fd);
        if (!d) {
                close_fd(fd);
                return staging_fail(errno, "tidying", path, e);
        }
        int r = staging_check_dir(fd, path, e);
        for (struct dirent *entry; r == 0 && (entry = readdir(d));)
                if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
                        r = tidy_entry(t, fd, path, entry, depth, e);
        if (r == 0 && *path)
                r = set_folder(t->d, fd, path, e);
        return r;
}

/* GNU: a name with a backslash or line break is escaped, and the line begins with a backslash. Line breaks
 * cannot occur, staging_check_path() refuses them. */
static void add_sum(struct strbuf *b, const struct snapshot_sum *sum)
{
        char hex[SHA256_HEX];
        hex_encode(sum->sha256, SHA256_SIZE, hex);
        if (!strchr(sum->name.s, '\\')) {
                strbuf_printf(b, "%s  %s\n", hex, sum->name.s);
                return;
        }
        strbuf_printf(b, "\\%s  ", hex);
        for (const char *p = sum->name.s; *p; p++)
                strbuf_add_n(b, *p == '\\' ? "\\\\" : p, *p == '\\' ? 2 : 1);
        strbuf_add(b, "\n");
}

/* The name of a rejected one may be what it was rejected for. */
static void add_rejected(struct strbuf *b, const struct snapshot_sum *sum)
{
        char shown[4 * 1025];
        strbuf_printf(b, "%s\t%s\n", sum->cause ? sum->cause : "unknown",
                str_visible(sum->name.s, shown, sizeof(shown)));
}

static int flush(struct strbuf *b, size_t least, int fd, const char *path, struct error *e)
{
        if (b->err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (b->len <= least)
                return 0;
        int r = write_all(fd, b->s, b->len);
        b->len = 0;
        return r < 0 ? staging_fail(-r, "writing", path, e) : 0;
}

/* The names of one of the two lists, for their order. */
struct names {
        struct table *t;
        bool rejected;
};

static int name_of(void *arg, size_t i, struct strbuf *ret, struct error *e)
{
        struct names *names = arg;
        struct table *t = names->t;
        int r = get(t, i, e);
        if (r <= 0 || t->sum.staged == names->rejected)
                return MIN(r, 0);
        strbuf_add(ret, t->sum.name.s);
        return 1;
}

static int write_list(
        struct snapshot_dir *d, struct table *t, bool rejected, const char *name, struct error *e)
{
        struct names names = {.t = t, .rejected = rejected};
        _cleanup_(cleanup_order) struct order *order = NULL;
        _cleanup_close_ int fd = staging_create(d->s, e);
        _cleanup_strbuf_ struct strbuf b = {};
        const char *unused;
        size_t i;
        int r = fd < 0 ? fd : order_new(t->list->n, name_of, &names, &order, e);
        if (r < 0)
                return r;
        while ((r = order_next(order, &i, &unused, e)) > 0) {
                r = get(t, i, e);
                if (r >= 0 && rejected)
                        add_rejected(&b, &t->sum);
                else if (r >= 0)
                        add_sum(&b, &t->sum);
                if (r >= 0)
                        r = flush(&b, 65536, fd, name, e);
                if (r < 0)
                        return r;
        }
        if (r == 0)
                r = flush(&b, 0, fd, name, e);
        return r < 0 ? r : snapshot_add(d, name, fd, e);
}

int snapshot_write_sums(struct snapshot_dir *d, const struct snapshot_list *list, struct error *e)
{
        _cleanup_(table_done) struct table t = {.d = d, .list = list};
        int r = make_table(&t, e);
        if (r == 0)
                r = tidy(&t, d->fd, ".", "", STAGING_DEPTH, e);
        if (r == 0)
                r = check_all_found(&t, e);
        t.names = lookup_free(t.names);
        if (r == 0)
                r = write_list(d, &t, false, "SHA256SUMS", e);
        if (r == 0 && t.rejected)
                r = write_list(d, &t, true, "REJECTED", e);
        return r;
}
