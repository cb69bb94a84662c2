/* SPDX-License-Identifier: Apache-2.0 */
/* From folders to keys: an object is a file below the bucket's folder, or a sidecar with size= and no file.
 * Nothing is cached: a file that is there is in the next listing. */
#include <dirent.h>
#include <sys/stat.h>

#include "store.h"

struct walk {
        const struct store *store;
        const char *prefix;
        struct keys keys;
        bool sidecars; /* take only files that say size= */
};

static void keys_add(struct keys *k, char *key)
{
        /* grows by doubling: n is a power of two when full */
        if ((k->n & (k->n - 1)) == 0) {
                k->v = reallocarray(k->v, k->n ? 2 * k->n : 1, sizeof(char *));
                if (!k->v)
                        abort();
        }
        k->v[k->n++] = key;
}

void keys_done(struct keys *k)
{
        for (size_t i = 0; i < k->n; i++)
                free(k->v[i]);
        free(k->v);
        *k = (struct keys){};
}

static bool names_synthetic(const char *path)
{
        _cleanup_free_ char *text = NULL;
        if (read_whole(path, 64 * KIB, &text, NULL) < 0)
                return false;
        return strncmp(text, "size=", 5) == 0 || strstr(text, "\nsize=");
}

static bool is_dir(int type, const char *path)
{
        struct stat st;
        if (type != DT_UNKNOWN && type != DT_LNK)
                return type == DT_DIR;
        return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Whether keys below "key/" can begin with the prefix. */
static bool may_hold(const char *key, const char *prefix)
{
        size_t n = strlen(key), m = strlen(prefix);
        return strncmp(key, prefix, MIN(n, m)) == 0 && (m <= n || prefix[n] == '/');
}

static int walk_dir(struct walk *w, const char *dir, const char *parent)
{
        _cleanup_closedir_ DIR *d = opendir(dir);
        if (!d)
                return errno == ENOENT ? 0 : -errno;
        for (struct dirent *e; (e = readdir(d));) {
                if (text_eq(e->d_name, ".") || text_eq(e->d_name, ".."))
                        continue;
                _cleanup_free_ char *name = w->store->encoded
                                                    ? uri_decode(e->d_name, strlen(e->d_name), false)
                                                    : text_dup(e->d_name);
                if (!name)
                        return -EINVAL;
                _cleanup_free_ char *path = text_printf("%s/%s", dir, e->d_name);
                _cleanup_free_ char *key = text_printf("%s%s%s", parent, *parent ? "/" : "", name);
                if (is_dir(e->d_type, path)) {
                        int r = may_hold(key, w->prefix) ? walk_dir(w, path, key) : 0;
                        if (r < 0)
                                return r;
                } else if (strncmp(key, w->prefix, strlen(w->prefix)) == 0 &&
                           (!w->sidecars || names_synthetic(path)))
                        keys_add(&w->keys, take_ptr(&key));
        }
        return 0;
}

static int by_bytes(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_and_merge(struct keys *k)
{
        if (k->n == 0)
                return;
        qsort(k->v, k->n, sizeof(char *), by_bytes);
        size_t n = 1;
        for (size_t i = 1; i < k->n; i++) {
                if (text_eq(k->v[i], k->v[n - 1]))
                        free(k->v[i]);
                else
                        k->v[n++] = k->v[i];
        }
        k->n = n;
}

int walk_keys(const struct store *s, const char *bucket, const char *prefix, struct keys *ret)
{
        struct walk w = {.store = s, .prefix = prefix};
        _cleanup_free_ char *files = text_printf("%s/%s", s->root, bucket);
        _cleanup_free_ char *metas = text_printf("%s/.meta/%s", s->root, bucket);
        int r = walk_dir(&w, files, "");
        w.sidecars = true;
        if (r == 0)
                r = walk_dir(&w, metas, "");
        if (r < 0) {
                keys_done(&w.keys);
                return r;
        }
        sort_and_merge(&w.keys);
        *ret = w.keys;
        return 0;
}

static bool is_file(const char *path)
{
        struct stat st;
        return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool walk_is_path(const char *key)
{
        if (!*key)
                return false;
        for (const char *p = key;; p++) {
                size_t n = strcspn(p, "/");
                if (n == 0 || (n == 1 && *p == '.') || (n == 2 && p[0] == '.' && p[1] == '.') || n > 255)
                        return false;
                p += n;
                if (!*p)
                        return true;
        }
}

/* Tries every name in dir that may be the beginning of key. */
static char *find_encoded(const char *dir, const char *key)
{
        _cleanup_closedir_ DIR *d = opendir(dir);
        if (!d)
                return NULL;
        for (struct dirent *e; (e = readdir(d));) {
                if (text_eq(e->d_name, ".") || text_eq(e->d_name, ".."))
                        continue;
                _cleanup_free_ char *name = uri_decode(e->d_name, strlen(e->d_name), false);
                size_t n = name ? strlen(name) : 0;
                if (!name || strncmp(key, name, n) != 0)
                        continue;
                _cleanup_free_ char *path = text_printf("%s/%s", dir, e->d_name);
                if (key[n] == 0 && is_file(path))
                        return take_ptr(&path);
                char *found = key[n] == '/' ? find_encoded(path, key + n + 1) : NULL;
                if (found)
                        return found;
        }
        return NULL;
}

char *walk_find(const struct store *s, const char *dir, const char *key)
{
        if (s->encoded)
                return find_encoded(dir, key);
        _cleanup_free_ char *path = text_printf("%s/%s", dir, key);
        return walk_is_path(key) && is_file(path) ? take_ptr(&path) : NULL;
}
