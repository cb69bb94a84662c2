/* SPDX-License-Identifier: Apache-2.0 */
/* Which behaviour a request gets. Files are read again for each request; what is kept between requests is
 * only how many requests fitted each file since it was last written (by inode, time of change and content).
 */
#include "behave.h"

#include <dirent.h>
#include <fnmatch.h>
#include <pthread.h>
#include <sys/stat.h>

#define BEHAVIOUR_MAX (256 * KIB)

struct counter {
        struct counter *next;
        char *file, *content;
        struct timespec changed;
        ino_t inode;
        uint64_t fitted;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct counter *counters;

static struct counter *counter_get(const char *file, const char *content, const struct stat *st)
{
        struct counter *c = counters;
        while (c && !text_eq(c->file, file))
                c = c->next;
        if (!c) {
                c = text_alloc(sizeof(*c));
                c->file = text_dup(file);
                c->next = counters;
                counters = c;
        }
        if (c->inode == st->st_ino && c->changed.tv_sec == st->st_ctim.tv_sec &&
                c->changed.tv_nsec == st->st_ctim.tv_nsec && text_eq(c->content, content))
                return c;
        free(c->content);
        c->content = text_dup(content);
        c->inode = st->st_ino;
        c->changed = st->st_ctim;
        c->fitted = 0;
        return c;
}

static bool is_equal_or_free(const char *wanted, const char *have)
{
        return !wanted || text_eq(wanted, have);
}

static bool tristate_fits(enum tristate wanted, bool have)
{
        return wanted == EITHER || (wanted == YES) == have;
}

static bool fits(const struct behaviour *b, const struct behaviour_query *q)
{
        return is_equal_or_free(b->method, q->method) && is_equal_or_free(b->op, q->op) &&
               is_equal_or_free(b->bucket, q->bucket) && is_equal_or_free(b->access_key, q->access_key) &&
               (!b->key || (q->key && fnmatch(b->key, q->key, 0) == 0)) &&
               tristate_fits(b->range, q->range) && tristate_fits(b->part, q->part);
}

static int is_behaviour(const struct dirent *e)
{
        size_t n = strlen(e->d_name);
        return e->d_name[0] != '.' && e->d_name[n - 1] != '~' &&
               !(n > 4 && text_eq(e->d_name + n - 4, ".tmp")) && e->d_type != DT_DIR;
}

/* One file. 0 and *ret (NULL when it does not apply), or -EINVAL. */
static int try_file(const char *dir, const char *file, const struct behaviour_query *q,
        struct behaviour **ret, char **ret_problem)
{
        _cleanup_free_ char *path = text_printf("%s/%s", dir, file), *text = NULL;
        struct stat st;
        unsigned line = 0;
        if (stat(path, &st) < 0 || read_whole(path, BEHAVIOUR_MAX, &text, NULL) < 0)
                return 0; /* gone since the folder was read */
        struct counter *c = counter_get(file, text, &st);
        struct behaviour *b = NULL;
        if (behaviour_parse(text, file, &b, &line) < 0) {
                *ret_problem = text_printf("%s:%u: not understood", file, line);
                return -EINVAL;
        }
        if (fits(b, q)) {
                uint64_t n = c->fitted++;
                if (n >= b->after && n - b->after < b->count) {
                        *ret = b;
                        return 0;
                }
        }
        behaviour_free(b);
        return 0;
}

int behaviour_match(
        const char *dir, const struct behaviour_query *q, struct behaviour **ret, char **ret_problem)
{
        struct dirent **names = NULL;
        struct behaviour *found = NULL;
        int r = 0, n = dir ? scandir(dir, &names, is_behaviour, alphasort) : 0;
        if (n < 0) {
                *ret_problem = text_printf("%s: %s", dir, strerror(errno));
                return -EINVAL;
        }
        pthread_mutex_lock(&lock);
        for (int i = 0; i < n; i++) {
                if (r == 0 && !found)
                        r = try_file(dir, names[i]->d_name, q, &found, ret_problem);
                free(names[i]);
        }
        pthread_mutex_unlock(&lock);
        free(names);
        if (r == 0)
                *ret = found;
        return r;
}
