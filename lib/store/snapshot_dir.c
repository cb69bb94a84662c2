/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot's folder, built as ".DATE.partial" (mode 0700: nobody sees half of it) and renamed once
 * complete.
 *
 * Beside it stands a record, ".DATE.partial.tag": the tag, and from just before the rename the inode number
 * of the folder that is published and where the old one goes. So whatever a crash leaves is understood: when
 * the folder at DATE has that number the rename has happened, and what is called partial is the old folder.
 * Order: members linked, sums written, one syncfs, record, rename, fsync of the parent, the old one moved;
 * then the caller's ledger; then the record goes. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "fsx.h"
#include "snapshot_internal.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

#define SUFFIX ".partial"
#define RECORD_SUFFIX ".partial.tag"
#define RECORD_MAX 8192
#define READ_SIZE (256 * 1024)

/* What the record says. */
struct record {
        char *tag;     /* NULL: there is none */
        uint64_t ino;  /* of the folder that is published, 0: not yet so far */
        char *keep_as; /* "": the old one is removed */
};

static void record_done(struct record *r)
{
        free(r->tag);
        free(r->keep_as);
        *r = (struct record){};
}

DEFINE_CLEANUP(struct snapshot_dir, snapshot, snapshot_free)
DEFINE_CLEANUP(struct digest, digest, digest_free)

bool snapshot_name_of(const char *entry, char *ret, size_t size)
{
        size_t n = strlen(entry);
        size_t cut = str_ends(entry, RECORD_SUFFIX) ? strlen(RECORD_SUFFIX)
                     : str_ends(entry, SUFFIX)      ? strlen(SUFFIX)
                                                    : 0;
        if (entry[0] != '.' || cut == 0 || n <= cut + 1 || n - cut - 1 >= size)
                return false;
        memcpy(ret, entry + 1, n - cut - 1);
        ret[n - cut - 1] = 0;
        return true;
}

static void names_of(const char *name, char partial[NAME_MAX + 1], char record[NAME_MAX + 1])
{
        snprintf(partial, NAME_MAX + 1, ".%.200s" SUFFIX, name);
        snprintf(record, NAME_MAX + 1, ".%.200s" RECORD_SUFFIX, name);
}

/* Three lines: tag, inode number, keep_as. One that cannot be read is as good as none. */
static int read_record(int parent_fd, const char *file, struct record *ret, struct error *e)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = open_beneath(parent_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        int r = fd < 0 ? fd : read_file_fd(fd, RECORD_MAX, &text, NULL);
        *ret = (struct record){};
        if (r == -ENOENT || r == -ELOOP || r == -EFBIG || r == -EISDIR)
                return 0;
        if (r < 0)
                return staging_fail(-r, "reading", file, e);
        char *line[3], *at = text;
        for (size_t i = 0; i < ELEMENTSOF(line); i++) {
                line[i] = at;
                char *end = at ? strchr(at, '\n') : NULL;
                if (!end)
                        return 0;
                *end = 0;
                at = end + 1;
        }
        struct record rec = {.tag = strdup(line[0]), .keep_as = strdup(line[2])};
        if (!rec.tag || !rec.keep_as) {
                record_done(&rec);
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        }
        if (parse_u64(line[1], UINT64_MAX, &rec.ino) < 0 ||
                (*rec.keep_as && staging_check_path(rec.keep_as, NULL) < 0))
                record_done(&rec);
        *ret = rec;
        return 0;
}

static int write_record(
        int parent_fd, const char *file, const char *tag, uint64_t ino, const char *keep_as, struct error *e)
{
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_printf(&b, "%s\n%" PRIu64 "\n%s\n", tag, ino, keep_as ? keep_as : "");
        int r = b.err ? b.err : replace_file_at(parent_fd, file, b.s, b.len, 0600);
        return r < 0 ? staging_fail(-r, "writing", file, e) : 0;
}

/* 0: there is none. */
static uint64_t ino_of(int dir_fd, const char *name)
{
        struct stat st;
        return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static bool is_dir(int dir_fd, const char *name)
{
        struct stat st;
        return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Ends what a crash left. *ret_published: the folder at name is the one the record speaks of, and the record
 * is still there; else a partial that cannot be used is gone. */
static int recover(const struct staging *s, int parent_fd, const char *name, const char *tag, gid_t gid,
        bool *ret_published, struct error *e)
{
        char partial[NAME_MAX + 1], file[NAME_MAX + 1];
        names_of(name, partial, file);
        _cleanup_(record_done) struct record rec = {};
        int r = read_record(parent_fd, file, &rec, e);
        if (r < 0)
                return r;
        uint64_t partial_ino = ino_of(parent_fd, partial);
        bool published = rec.tag && rec.ino && ino_of(parent_fd, name) == rec.ino;
        if (published && partial_ino)
                r = staging_move_aside(s, parent_fd, partial, rec.keep_as, gid, e);
        else if (!published && partial_ino &&
                 (!rec.tag || !streq(rec.tag, tag) || (rec.ino && rec.ino != partial_ino) ||
                         !is_dir(parent_fd, partial)))
                r = staging_remove_at(parent_fd, partial, e);
        if (r < 0)
                return r;
        *ret_published = published && streq(rec.tag, tag);
        if (!*ret_published && rec.tag && ino_of(parent_fd, partial) == 0)
                r = staging_remove_at(parent_fd, file, e);
        return r;
}

static int new_dir(struct staging *s, const char *path, const char *tag, const struct staging_attr *attr,
        struct snapshot_dir **ret, struct error *e)
{
        const char *name = staging_base_name(path);
        if (strlen(name) > 200 || strlen(tag) > 1024 || tag[strcspn(tag, "\n")])
                return error_set(e, CAUSE_INTERNAL, EINVAL, "%s: cannot be a snapshot", path);
        _cleanup_(cleanup_snapshot) struct snapshot_dir *d = calloc(1, sizeof(*d));
        if (!d)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        d->parent_fd = d->fd = -1;
        d->s = s;
        d->attr = *attr;
        d->path = strdup(path);
        d->tag = strdup(tag);
        if (!d->path || !d->tag)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        d->name = staging_base_name(d->path);
        names_of(d->name, d->partial, d->record);
        struct stat st;
        if (fstat(s->root_fd, &st) < 0)
                return staging_fail(errno, "looking", path, e);
        d->gid = attr->gid != (gid_t)-1 ? attr->gid : st.st_mode & S_ISGID ? st.st_gid : getegid();
        *ret = take_ptr(&d);
        return 0;
}

/* Opens the partial folder, or makes it after its record. */
static int open_partial(struct snapshot_dir *d, struct error *e)
{
        if (ino_of(d->parent_fd, d->partial) == 0) {
                int r = write_record(d->parent_fd, d->record, d->tag, 0, NULL, e);
                if (r < 0)
                        return r;
                if (mkdirat(d->parent_fd, d->partial, 0700) < 0 || fsync(d->parent_fd) < 0)
                        return staging_fail(errno, "making", d->partial, e);
        }
        d->fd = open_beneath(d->parent_fd, d->partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        struct stat st;
        if (d->fd < 0 || fstat(d->fd, &st) < 0)
                return staging_fail(d->fd < 0 ? -d->fd : errno, "opening", d->partial, e);
        if (st.st_uid != geteuid())
                return error_set(e, CAUSE_UNSAFE_MODE, EPERM,
                        "staging: the folder %s belongs to uid %u, not to czard: it is not used", d->partial,
                        st.st_uid);
        if (fchmod(d->fd, 0700) < 0)
                return staging_fail(errno, "setting the mode", d->partial, e);
        return 0;
}

/* Only a folder of ours is replaced. */
static int check_place(const struct snapshot_dir *d, struct error *e)
{
        _cleanup_close_ int fd = open_beneath(d->parent_fd, d->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        int r = fd < 0 ? fd : staging_check_dir(fd, d->path, e);
        if (fd == -ENOENT || r == 0)
                return 0;
        if (fd < 0 && fd != -ENOTDIR && fd != -ELOOP)
                return staging_fail(-fd, "opening", d->path, e);
        return error_set(e, CAUSE_UNSAFE_MODE, -r,
                "staging: what stands at %s is no folder of czard's: it is not replaced; move it away",
                d->path);
}

/* goes_on: with the partial folder of that tag, if there is one. */
static int begin(struct staging *s, const char *path, const char *tag, const struct staging_attr *attr,
        bool goes_on, struct snapshot_dir **ret, struct error *e)
{
        int r = staging_check_path(path, e);
        if (r < 0)
                return r;
        _cleanup_(cleanup_snapshot) struct snapshot_dir *d = NULL;
        r = new_dir(s, path, tag, attr, &d, e);
        if (r < 0)
                return r;
        d->parent_fd = staging_open_parent(s, s->root_fd, path, true, attr->gid, e);
        if (d->parent_fd < 0)
                return d->parent_fd;
        bool published = false;
        r = recover(s, d->parent_fd, d->name, goes_on ? tag : "", attr->gid, &published, e);
        if (r < 0)
                return r;
        if (published) {
                r = staging_remove_at(d->parent_fd, d->record, e);
                return r < 0 ? r : error_set(e, CAUSE_NONE, EALREADY, "%s is published already", path);
        }
        r = goes_on ? 0 : check_place(d, e); /* before somebody fills the folder in vain */
        if (r == 0)
                r = open_partial(d, e);
        if (r < 0)
                return r;
        *ret = take_ptr(&d);
        return 0;
}

int snapshot_begin(struct staging *s, const char *path, const char *tag, const struct staging_attr *attr,
        struct snapshot_dir **ret, struct error *e)
{
        return begin(s, path, tag, attr, true, ret, e);
}

int snapshot_begin_empty(struct staging *s, const char *path, const char *tag,
        const struct staging_attr *attr, struct snapshot_dir **ret, struct error *e)
{
        return begin(s, path, tag, attr, false, ret, e);
}

int snapshot_abandon(struct snapshot_dir *d, struct error *e)
{
        int r = staging_remove_at(d->parent_fd, d->partial, e);
        return r < 0 ? r : staging_remove_at(d->parent_fd, d->record, e);
}

char *snapshot_partial_path(const char *path)
{
        const char *name = staging_base_name(path);
        return str_printf("%.*s.%.200s" SUFFIX, (int)(name - path), path, name);
}

int snapshot_claim(const struct staging *s, const char *path, struct snapshot_claim *ret, struct error *e)
{
        char partial[NAME_MAX + 1], file[NAME_MAX + 1];
        int r = staging_check_path(path, e);
        *ret = (struct snapshot_claim){};
        if (r < 0)
                return r;
        _cleanup_close_ int dir = staging_open_parent(s, s->root_fd, path, false, (gid_t)-1, e);
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        _cleanup_(record_done) struct record rec = {};
        names_of(staging_base_name(path), partial, file);
        r = read_record(dir, file, &rec, e);
        if (r < 0 || !rec.tag)
                return r;
        snprintf(ret->tag, sizeof(ret->tag), "%s", rec.tag);
        ret->is_appearing = rec.ino != 0;
        ret->is_published = rec.ino != 0 && ino_of(dir, staging_base_name(path)) == rec.ino;
        return 0;
}

int snapshot_discard(struct staging *s, const char *path, struct error *e)
{
        _cleanup_free_ char *partial = snapshot_partial_path(path);
        _cleanup_free_ char *file = partial ? str_printf("%s.tag", partial) : NULL;
        if (!file)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        int r = staging_remove(s, partial, e);
        if (r == 0)
                r = staging_remove_remains(s, partial, e);
        return r == 0 ? staging_remove(s, file, e) : r;
}

void snapshot_keep_record(struct snapshot_dir *d)
{
        d->spent = false;
}

struct snapshot_dir *snapshot_free(struct snapshot_dir *d)
{
        if (!d)
                return NULL;
        if (d->spent)
                (void)unlinkat(d->parent_fd, d->record, 0);
        close_fd(d->fd);
        close_fd(d->parent_fd);
        free(d->path);
        free(d->tag);
        free(d);
        return NULL;
}

/* Links fd as the member, its folders made. */
static int link_member(struct snapshot_dir *d, const char *name, int fd, struct error *e)
{
        if (!strchr(name, '/'))
                return staging_link(fd, d->fd, name, e);
        _cleanup_close_ int dir = staging_open_parent(d->s, d->fd, name, true, d->attr.gid, e);
        return dir < 0 ? dir : staging_link(fd, dir, staging_base_name(name), e);
}

int snapshot_add(struct snapshot_dir *d, const char *name, int fd, struct error *e)
{
        int r = staging_check_path(name, e);
        if (r == 0)
                r = staging_set_attr(fd, d->s->file_mode, &d->attr, name, e);
        return r < 0 ? r : link_member(d, name, fd, e);
}

static bool is_shown_alike(const struct snapshot_dir *d, const struct stat *st, uint64_t size)
{
        return S_ISREG(st->st_mode) && (uint64_t)st->st_size == size && st->st_gid == d->gid &&
               (st->st_mode & 07777) == d->s->file_mode && st->st_uid == geteuid();
}

int snapshot_read_content(int fd, uint8_t ret_sha256[SHA256_SIZE], uint64_t *ret_size, uint64_t *ret_rows)
{
        _cleanup_(cleanup_digest) struct digest *d = NULL;
        _cleanup_free_ char *buffer = malloc(READ_SIZE);
        int r = buffer ? digest_new(DIGEST_SHA256, &d) : -ENOMEM;
        ssize_t n;
        *ret_size = *ret_rows = 0;
        while (r == 0 && (n = read(fd, buffer, READ_SIZE)) != 0) {
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n < 0)
                        continue;
                digest_update(d, buffer, (size_t)n);
                *ret_size += (uint64_t)n;
                *ret_rows += count_newlines(buffer, (size_t)n);
        }
        if (r == 0)
                digest_final(d, ret_sha256);
        return r;
}

int snapshot_add_link(struct snapshot_dir *d, const char *name, const char *staged_path,
        const uint8_t sha256[SHA256_SIZE], uint64_t size, uint64_t *ret_rows, struct error *e)
{
        int r = staging_check_path(name, e);
        if (r == 0)
                r = staging_check_path(staged_path, e);
        if (r < 0)
                return r;
        _cleanup_close_ int fd =
                open_beneath(d->s->root_fd, staged_path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
        struct stat st;
        if (fd == -ELOOP)
                return error_set(e, CAUSE_STAGING, ESTALE, "%s is a link", staged_path);
        if (fd < 0)
                return staging_fail(-fd, "opening", staged_path, e);
        if (fstat(fd, &st) < 0)
                return staging_fail(errno, "looking", staged_path, e);
        if (!is_shown_alike(d, &st, size))
                return error_set(
                        e, CAUSE_STAGING, ESTALE, "%s has another size, group, mode or owner", staged_path);
        /* The ledger remembers what was staged there, not what became of it since. */
        uint8_t found[SHA256_SIZE];
        uint64_t found_size, rows;
        r = snapshot_read_content(fd, found, &found_size, &rows);
        if (r < 0)
                return staging_fail(-r, "reading", staged_path, e);
        if (found_size != size || memcmp(found, sha256, SHA256_SIZE) != 0)
                return error_set(e, CAUSE_STAGING, ESTALE, "%s was altered", staged_path);
        r = link_member(d, name, fd, e);
        if (r == 0 && ret_rows)
                *ret_rows = rows;
        /* another file system, or links are not allowed there: the caller has its own copy */
        return r == -EXDEV || r == -EPERM ? -ESTALE : r;
}

bool snapshot_has(const struct snapshot_dir *d, const char *name, uint64_t size)
{
        if (staging_check_path(name, NULL) < 0)
                return false;
        _cleanup_close_ int fd = open_beneath(d->fd, name, O_PATH | O_NOFOLLOW, 0);
        struct stat st;
        return fd >= 0 && fstat(fd, &st) == 0 && is_shown_alike(d, &st, size);
}

/* syncfs on the folder's own descriptor: it reports what failed to be written since that was opened. */
int snapshot_sync(struct snapshot_dir *d, struct error *e)
{
        return syncfs(d->fd) < 0 ? staging_fail(errno, "making durable", d->path, e) : 0;
}

/* Exchanges the partial folder with the published one, after which the old one has the partial name. Without
 * RENAME_EXCHANGE (ZFS before 2.2) the name is absent for a moment. */
static int exchange(struct snapshot_dir *d, struct error *e)
{
        int r = check_place(d, e);
        if (r < 0)
                return r;
        if (renameat2(d->parent_fd, d->partial, d->parent_fd, d->name, RENAME_EXCHANGE) == 0)
                return 0;
        char hidden[STAGING_HIDDEN_SIZE];
        if (errno != EINVAL || staging_hidden_name(hidden) < 0)
                return staging_fail(errno, "exchanging", d->path, e);
        if (renameat(d->parent_fd, d->name, d->parent_fd, hidden) < 0 ||
                renameat(d->parent_fd, d->partial, d->parent_fd, d->name) < 0 ||
                renameat(d->parent_fd, hidden, d->parent_fd, d->partial) < 0)
                return staging_fail(errno, "exchanging", d->path, e);
        return 0;
}

/* The rename that makes it visible. */
static int appear(struct snapshot_dir *d, const char *keep_as, struct error *e)
{
        struct stat st;
        if (fstat(d->fd, &st) < 0)
                return staging_fail(errno, "looking", d->path, e);
        int r = write_record(d->parent_fd, d->record, d->tag, st.st_ino, keep_as, e);
        if (r < 0)
                return r;
        bool taken = ino_of(d->parent_fd, d->name) != 0;
        if (taken)
                r = exchange(d, e);
        else if (renameat(d->parent_fd, d->partial, d->parent_fd, d->name) < 0)
                r = staging_fail(errno, "renaming", d->path, e);
        if (r < 0)
                return r;
        if (fsync(d->parent_fd) < 0)
                return staging_fail(errno, "making durable", d->path, e);
        if (taken)
                r = staging_move_aside(d->s, d->parent_fd, d->partial, keep_as, d->attr.gid, e);
        d->spent = r == 0; /* else the record stays, and the next snapshot_begin() ends it */
        return r;
}

int snapshot_show(struct snapshot_dir *d, const char *keep_as, struct error *e)
{
        int r = staging_set_attr(d->fd, d->s->dir_mode, &d->attr, d->path, e);
        if (r == 0)
                r = snapshot_sync(d, e);
        return r < 0 ? r : appear(d, *d->kept_as ? d->kept_as : keep_as, e);
}

/* --- start-up: what a crash left is ended or removed. Only names that czard itself makes are touched, and
 * only in folders that are root's or ours --- */

/* The snapshot folder of that name below parent_fd: ends what a crash left of its publication, and removes
 * its partial folder and record unless keep says otherwise. parent is for keep ("" for the root). */
static int sweep_snapshot(struct staging *s, int parent_fd, const char *parent, const char *name,
        staging_keep_partial_fn *keep, void *arg, struct error *e)
{
        char partial[NAME_MAX + 1], file[NAME_MAX + 1];
        names_of(name, partial, file);
        _cleanup_(record_done) struct record rec = {};
        bool published = false;
        int r = read_record(parent_fd, file, &rec, e);
        if (r == 0)
                r = recover(s, parent_fd, name, rec.tag ? rec.tag : "", (gid_t)-1, &published, e);
        if (r < 0)
                return r;
        _cleanup_free_ char *path = str_printf("%s%s%s", parent, *parent ? "/" : "", name);
        if (!path)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (rec.tag && keep(path, rec.tag, arg))
                return 0;
        r = staging_remove_at(parent_fd, partial, e);
        if (r == 0)
                r = staging_remove_at(parent_fd, file, e);
        return r;
}

struct sweep {
        struct staging *s;
        staging_keep_partial_fn *keep;
        void *arg;
        struct error *e;
        int err; /* the first */
};

static void sweep_failed(struct sweep *w, int r)
{
        if (r < 0 && w->err == 0) {
                w->err = r;
                w->e = NULL; /* its text stays */
        }
}

static char *join(const char *parent, const char *name)
{
        return str_printf("%s%s%s", parent, *parent ? "/" : "", name);
}

static void sweep_dir(struct sweep *w, int at_fd, const char *name, const char *path, int depth);

/* The names of a folder, read before anything in it changes. */
static int read_names(int dir_fd, struct strv *ret)
{
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
        if (!d) {
                int r = -errno;
                close_fd(fd);
                return r;
        }
        struct dirent *entry;
        int r;
        while ((r = dir_next(d, &entry)) > 0) {
                const char *n = entry->d_name;
                bool special = n[0] == '.';
                bool folder = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
                if (streq(n, "lost+found") || (!special && !folder))
                        continue;
                r = strv_add(ret, n);
                if (r < 0)
                        return r;
        }
        return r;
}

static void sweep_entry(struct sweep *w, int dir_fd, const char *path, const char *name, int depth)
{
        char date[NAME_MAX + 1];
        if (staging_is_hidden(name))
                sweep_failed(w, staging_remove_at(dir_fd, name, w->e));
        else if (snapshot_name_of(name, date, sizeof(date)))
                sweep_failed(w, sweep_snapshot(w->s, dir_fd, path, date, w->keep, w->arg, w->e));
        else {
                _cleanup_free_ char *below = join(path, name);
                if (!below)
                        sweep_failed(w, error_set(w->e, CAUSE_IO, ENOMEM, "out of memory"));
                else
                        sweep_dir(w, dir_fd, name, below, depth);
        }
}

static void sweep_dir(struct sweep *w, int at_fd, const char *name, const char *path, int depth)
{
        if (depth == 0)
                return;
        _cleanup_close_ int fd = open_beneath(at_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd == -ENOTDIR || fd == -ELOOP || fd == -ENOENT)
                return; /* no folder: not ours to judge */
        if (fd < 0) {
                sweep_failed(w, staging_fail(-fd, "sweeping", path, w->e));
                return;
        }
        if (staging_check_dir(fd, path, NULL) < 0 ||
                faccessat(fd, "SHA256SUMS", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return;
        _cleanup_(strv_done) struct strv names = {};
        int r = read_names(fd, &names);
        if (r < 0)
                sweep_failed(w, staging_fail(-r, "sweeping", path, w->e));
        for (size_t i = 0; i < names.n; i++)
                sweep_entry(w, fd, path, names.v[i], depth - 1);
}

int staging_sweep(struct staging *s, staging_keep_partial_fn *keep, void *arg, struct error *e)
{
        struct sweep w = {.s = s, .keep = keep, .arg = arg, .e = e};
        sweep_dir(&w, s->root_fd, ".", "", STAGING_DEPTH);
        return w.err;
}
