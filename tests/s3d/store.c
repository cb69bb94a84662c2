/* SPDX-License-Identifier: Apache-2.0 */
/* Objects on disk: finding, opening, replacing them. Whoever writes renames, so an open object keeps its
 * bytes. */
#include "store.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>

#define META_MAX (64 * KIB)

const char *const checksum_names[CHECKSUM_MAX] = {
        [CHECKSUM_CRC32] = "crc32",
        [CHECKSUM_CRC32C] = "crc32c",
        [CHECKSUM_CRC64NVME] = "crc64nvme",
        [CHECKSUM_SHA1] = "sha1",
        [CHECKSUM_SHA256] = "sha256",
};

bool store_has_bucket(const struct store *s, const char *bucket)
{
        struct stat st;
        if (!*bucket || *bucket == '.' || strchr(bucket, '/'))
                return false;
        _cleanup_free_ char *path = text_printf("%s/%s", s->root, bucket);
        _cleanup_free_ char *meta = text_printf("%s/.meta/%s", s->root, bucket);
        return (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) || (stat(meta, &st) == 0 && S_ISDIR(st.st_mode));
}

static void meta_done(struct meta *m)
{
        free(m->etag);
        for (size_t i = 0; i < CHECKSUM_MAX; i++)
                free(m->checksums[i]);
        free(m->checksum_type);
        free(m->sse);
        free(m->content_type);
        for (size_t i = 0; i < m->n_splices; i++)
                free(m->splices[i].file);
        free(m->splices);
        *m = (struct meta){};
}

static int add_splice(struct meta *m, const char *value)
{
        const char *colon = strchr(value, ':');
        if (!colon || !colon[1])
                return -EINVAL;
        struct splice s = {};
        _cleanup_free_ char *number = text_dup_n(value, (size_t)(colon - value));
        if (parse_number(number, &s.offset) < 0)
                return -EINVAL;
        s.file = text_dup(colon + 1);
        m->splices = reallocarray(m->splices, m->n_splices + 1, sizeof(s));
        if (!m->splices)
                abort();
        m->splices[m->n_splices++] = s;
        return 0;
}

static int set_string(char **field, const char *value)
{
        free(*field);
        *field = text_dup(value);
        return 0;
}

static int set_date(struct meta *m, const char *value)
{
        uint64_t n;
        if (parse_number(value, &n) == 0) {
                m->last_modified = (time_t)n;
                return 0;
        }
        return parse_iso(value, &m->last_modified);
}

static int set_checksum(struct meta *m, const char *name, const char *value)
{
        for (size_t i = 0; i < CHECKSUM_MAX; i++)
                if (text_eq(name, checksum_names[i]))
                        return set_string(&m->checksums[i], value);
        return -EINVAL;
}

static int meta_line(void *arg, const char *name, const char *value, unsigned line)
{
        (void)line;
        struct meta *m = arg;
        if (!value)
                return -EINVAL;
        if (text_eq(name, "last_modified"))
                return set_date(m, value);
        if (text_eq(name, "part_size"))
                return parse_number(value, &m->part_size);
        if (text_eq(name, "etag"))
                return set_string(&m->etag, value);
        if (text_eq(name, "checksum_type"))
                return set_string(&m->checksum_type, value);
        if (strncmp(name, "checksum_", 9) == 0)
                return set_checksum(m, name + 9, value);
        if (text_eq(name, "sse"))
                return set_string(&m->sse, value);
        if (text_eq(name, "content_type"))
                return set_string(&m->content_type, value);
        if (text_eq(name, "size")) {
                m->synthetic = true;
                return parse_number(value, &m->size);
        }
        if (text_eq(name, "seed"))
                return parse_number(value, &m->seed);
        if (text_eq(name, "fill")) {
                m->zeros = true;
                return text_eq(value, "zero") ? 0 : -EINVAL;
        }
        if (text_eq(name, "splice"))
                return add_splice(m, value);
        return -EINVAL;
}

static int meta_read(const char *path, struct meta *ret)
{
        struct meta m = {.last_modified = -1};
        _cleanup_free_ char *text = NULL;
        int r = path ? read_whole(path, META_MAX, &text, NULL) : 0;
        if (r == 0 && text)
                r = text_lines(text, meta_line, &m);
        if (r < 0) {
                fprintf(stderr, "s3d: %s: %s\n", path, strerror(-r));
                meta_done(&m);
                return -EINVAL;
        }
        *ret = m;
        return 0;
}

static int open_splices(const struct store *s, struct object *o)
{
        for (size_t i = 0; i < o->meta.n_splices; i++) {
                const struct splice *p = &o->meta.splices[i];
                _cleanup_free_ char *path =
                        *p->file == '/' ? text_dup(p->file) : text_printf("%s/%s", s->root, p->file);
                _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
                struct stat st;
                if (fd < 0 || fstat(fd, &st) < 0) {
                        fprintf(stderr, "s3d: splice %s: %m\n", path);
                        return -EINVAL;
                }
                content_splice(o->content, p->offset, take_fd(&fd), (uint64_t)st.st_size);
        }
        return 0;
}

static bool is_older(const struct timespec *t)
{
        return time(NULL) - t->tv_sec > 1;
}

/* What the digests are remembered by: the file and its sidecar, by inode, size and time of change. */
static void identify(struct object *o, const struct stat *st)
{
        struct stat meta = {};
        if (o->meta_path)
                (void)stat(o->meta_path, &meta);
        o->settled = is_older(&st->st_ctim) && is_older(&st->st_mtim) && is_older(&meta.st_ctim);
        snprintf(o->identity, sizeof(o->identity), "%ju.%ju.%jd.%jd.%09ld.%ju.%jd.%jd.%09ld",
                (uintmax_t)st->st_dev, (uintmax_t)st->st_ino, (intmax_t)st->st_size,
                (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (uintmax_t)meta.st_ino,
                (intmax_t)meta.st_size, (intmax_t)meta.st_ctim.tv_sec, meta.st_ctim.tv_nsec);
}

static int open_content(const struct store *s, struct object *o)
{
        struct stat st = {};
        if (o->path) {
                _cleanup_close_ int fd = open(o->path, O_RDONLY | O_CLOEXEC);
                if (fd < 0 || fstat(fd, &st) < 0)
                        return -errno;
                o->size = (uint64_t)st.st_size;
                o->last_modified = st.st_mtim.tv_sec;
                o->content = content_new_fd(take_fd(&fd), o->size);
        } else {
                struct stat meta;
                o->size = o->meta.size;
                o->last_modified = stat(o->meta_path, &meta) == 0 ? meta.st_mtim.tv_sec : 0;
                o->content = o->meta.zeros ? content_new_zeros(o->size)
                                           : content_new_generated(o->meta.seed, o->size);
        }
        identify(o, &st);
        if (o->meta.last_modified != -1)
                o->last_modified = o->meta.last_modified;
        if (o->meta.part_size)
                o->parts = o->size ? (o->size - 1) / o->meta.part_size + 1 : 1;
        return open_splices(s, o);
}

int store_open(const struct store *s, const char *bucket, const char *key, struct object *ret)
{
        _cleanup_(object_done) struct object o = {};
        _cleanup_free_ char *files = text_printf("%s/%s", s->root, bucket);
        _cleanup_free_ char *metas = text_printf("%s/.meta/%s", s->root, bucket);
        o.path = walk_find(s, files, key);
        o.meta_path = walk_find(s, metas, key);
        if (!o.path && !o.meta_path)
                return -ENOENT;
        int r = meta_read(o.meta_path, &o.meta);
        if (r == 0 && !o.path && !o.meta.synthetic)
                return -ENOENT;
        if (r == 0)
                r = open_content(s, &o);
        if (r == 0)
                r = digests_fill(s, &o);
        if (r < 0)
                return r;
        *ret = o;
        o = (struct object){};
        return 0;
}

void object_done(struct object *o)
{
        free(o->path);
        free(o->meta_path);
        content_free(o->content);
        meta_done(&o->meta);
        free(o->etag);
        for (size_t i = 0; i < CHECKSUM_MAX; i++)
                free(o->checksums[i]);
        *o = (struct object){};
}

int store_temp(const struct store *s, char **ret_path)
{
        _cleanup_free_ char *dir = text_printf("%s/.tmp", s->root);
        if (mkdir(dir, 0755) < 0 && errno != EEXIST)
                return -errno;
        _cleanup_free_ char *path = text_printf("%s/XXXXXX", dir);
        int fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_path = take_ptr(&path);
        return fd;
}

static int make_parents(char *path)
{
        for (char *p = path + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                int r = mkdir(path, 0755);
                *p = '/';
                if (r < 0 && errno != EEXIST)
                        return -errno;
        }
        return 0;
}

/* Where a new object goes. With --encoded what cannot be in a file name is encoded; flat: also every / and
 * the first byte, for a key that is another key's folder, or would be below another key's file. */
static char *place(const struct store *s, const char *dir, const char *key, bool flat)
{
        if (!s->encoded)
                return text_printf("%s/%s", dir, key);
        struct text t;
        text_open(&t);
        fprintf(t.f, "%s/", dir);
        for (const char *p = key; *p; p++) {
                bool between = !flat && *p == '/' && p > key && p[-1] != '/' && p[1] && p[1] != '/';
                if (between)
                        fputc('/', t.f);
                else if (strchr("%/", *p) || (*p == '.' && (p == key || p[-1] == '/')) ||
                         (unsigned char)*p < 0x20 || (flat && p == key))
                        fprintf(t.f, "%%%02X", (unsigned char)*p);
                else
                        fputc(*p, t.f);
        }
        return text_close(&t);
}

static int copy_file(const char *from, int to)
{
        char buf[64 * 1024];
        _cleanup_close_ int fd = open(from, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        for (ssize_t n; (n = read(fd, buf, sizeof(buf))) != 0;)
                if (n < 0 || write(to, buf, (size_t)n) != n)
                        return -errno;
        return 0;
}

static int copy_to_temp(const struct store *s, const char *from, char **ret_path)
{
        _cleanup_free_ char *temp = NULL;
        _cleanup_close_ int fd = store_temp(s, &temp);
        if (fd < 0)
                return fd;
        int r = copy_file(from, fd);
        if (r < 0) {
                unlink(temp);
                return r;
        }
        *ret_path = take_ptr(&temp);
        return 0;
}

static int rename_into(const struct store *s, const char *dir, const char *key, const char *temp)
{
        _cleanup_free_ char *path = walk_find(s, dir, key);
        if (!path && !s->encoded && !walk_is_path(key))
                return -EINVAL;
        if (!path)
                path = place(s, dir, key, false);
        int r = make_parents(path);
        if (r == 0 && rename(temp, path) < 0)
                r = -errno;
        if (s->encoded && (r == -ENOTDIR || r == -EISDIR)) {
                _cleanup_free_ char *flat = place(s, dir, key, true);
                r = rename(temp, flat) < 0 ? -errno : 0;
        }
        return r;
}

int store_install(
        const struct store *s, const char *bucket, const char *key, const char *temp, const char *meta)
{
        _cleanup_free_ char *files = text_printf("%s/%s", s->root, bucket);
        _cleanup_free_ char *metas = text_printf("%s/.meta/%s", s->root, bucket);
        _cleanup_free_ char *old = walk_find(s, metas, key);
        if (chmod(temp, 0644) < 0)
                return -errno;
        int r = rename_into(s, files, key, temp);
        if (r == 0 && old)
                unlink(old);
        if (r == 0 && meta) {
                _cleanup_free_ char *copy = NULL;
                r = copy_to_temp(s, meta, &copy);
                if (r == 0)
                        r = rename_into(s, metas, key, copy);
        }
        return r;
}

int store_replace(const struct store *s, const char *bucket, const char *key, const char *file)
{
        _cleanup_free_ char *temp = NULL;
        _cleanup_free_ char *meta = text_printf("%s.meta", file);
        int r = copy_to_temp(s, file, &temp);
        if (r < 0)
                return r;
        return store_install(s, bucket, key, temp, access(meta, F_OK) == 0 ? meta : NULL);
}

int store_remove(const struct store *s, const char *bucket, const char *key)
{
        _cleanup_free_ char *files = text_printf("%s/%s", s->root, bucket);
        _cleanup_free_ char *metas = text_printf("%s/.meta/%s", s->root, bucket);
        _cleanup_free_ char *path = walk_find(s, files, key), *meta = walk_find(s, metas, key);
        if (meta && unlink(meta) < 0)
                return -errno;
        return path && unlink(path) < 0 ? -errno : 0;
}
