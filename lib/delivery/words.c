/* SPDX-License-Identifier: Apache-2.0 */
/* An input that is not as it was: was it taken away, or is it missing? A file that is not there proves
 * nothing (the volume may be away, somebody may have moved it); the feed tells. It is read once, and only
 * when it is asked. */
#include "words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "feed_reader.h"
#include "name.h"
#include "str.h"

struct words_said {
        char *path;
        enum input_word word;
};

struct words {
        const char *root;
        const struct staging *staging;
        const char *org;
        bool is_read;
        void *said; /* struct words_said by their paths: a tree of name.h */
        int err;
        struct error error;
};

int words_new(const char *path, const struct staging *s, const char *org, struct words **ret, struct error *e)
{
        struct words *w = calloc(1, sizeof(*w));
        if (!w)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        *w = (struct words){.root = path, .staging = s, .org = org};
        *ret = w;
        return 0;
}

struct words *words_free(struct words *w)
{
        if (!w)
                return NULL;
        named_free(&w->said, NULL);
        free(w);
        return NULL;
}

static unsigned parts(const char *path)
{
        unsigned n = 1;
        for (; *path; path++)
                n += *path == '/';
        return n;
}

static enum input_word word_of(const char *op)
{
        return streq(op, "removed")    ? INPUT_REMOVED
               : streq(op, "redacted") ? INPUT_REDACTED
               : streq(op, "missing")  ? INPUT_MISSING
                                       : INPUT_THERE;
}

/* Files of events, folders of days and of snapshots; not a snapshot's members, which are many. Kept is what
 * went only: the feed has a line for everything that ever came. */
static int on_line(const char *line, size_t len, uint64_t seq, void *arg)
{
        struct words *w = arg;
        char path[4200], op[32], category[CATEGORY_SIZE];
        (void)seq;
        if (audit_field(line, len, "op", op, sizeof(op)) < 0)
                return 0;
        enum input_word word = word_of(op);
        if ((word == INPUT_THERE && !w->said) || audit_field(line, len, "path", path, sizeof(path)) < 0 ||
                audit_field(line, len, "category", category, sizeof(category)) < 0 ||
                (streq(category, "database") && parts(path) > 3))
                return 0;
        struct words_said *s =
                word == INPUT_THERE ? named_find(&w->said, path) : named_need(&w->said, path, sizeof(*s));
        if (s)
                s->word = word;
        return s || word == INPUT_THERE ? 0 : -ENOMEM;
}

static void read_feed(struct words *w)
{
        struct feed_reader *r = NULL;
        w->is_read = true;
        w->err = feed_reader_new(w->root, w->org, 0, &r, &w->error);
        if (w->err == 0)
                w->err = feed_reader_each(r, on_line, w, &w->error);
        feed_reader_free(r);
}

static enum input_word said_of(struct words *w, const char *path)
{
        if (!w->is_read)
                read_feed(w);
        const struct words_said *s = named_find(&w->said, path);
        return s ? s->word : INPUT_THERE;
}

static bool is_there(const struct words *w, const char *path)
{
        return staging_stat(w->staging, path, NULL, NULL, NULL) == 0;
}

/* The file of ORG/events-by-course/SITE/YYYY/DATE/FILE, from which the day was split, as it stands in the
 * feed. */
static enum input_word said_of_source(struct words *w, const char *path)
{
        static const char *const endings[] = {"log.gz", "log"};
        char site[SITE_SIZE], year[8], date[16], source[512];
        enum input_word word = INPUT_THERE;
        const char *rest = path + strlen(w->org);
        if (sscanf(rest, "/events-by-course/%63[^/]/%7[^/]/%15[^/]/", site, year, date) != 3)
                return word;
        for (size_t i = 0; i < ELEMENTSOF(endings); i++) {
                snprintf(source, sizeof(source), "%s/events/%s/%s/%s-%s-events-%s.%s", w->org, site, year,
                        w->org, site, date, endings[i]);
                enum input_word one = said_of(w, source);
                word = one != INPUT_THERE ? one : word;
        }
        return word;
}

/* The n-th slash, or NULL. */
static const char *nth_slash(const char *path, unsigned n)
{
        for (; *path; path++)
                if (*path == '/' && --n == 0)
                        return path;
        return NULL;
}

enum input_word words_of(void *arg, const char *path)
{
        struct words *w = arg;
        char folder[512];
        const char *rest = str_after(path, w->org);
        bool is_event = rest && str_after(rest, "/events-by-course/");
        const char *end = nth_slash(path, is_event ? 5 : 3);
        if (!rest || !end || (size_t)(end - path) >= sizeof(folder))
                return INPUT_MISSING;
        snprintf(folder, sizeof(folder), "%.*s", (int)(end - path), path);
        enum input_word source = is_event ? said_of_source(w, path) : INPUT_THERE;
        if (source == INPUT_REDACTED)
                return source;
        if (is_there(w, path))
                return INPUT_THERE;
        /* What replaced the folder does not have it. */
        if (is_there(w, folder) || source == INPUT_REMOVED || said_of(w, folder) == INPUT_REMOVED)
                return INPUT_REMOVED;
        return INPUT_MISSING;
}

int words_error(const struct words *w, struct error *e)
{
        if (w->err < 0 && e)
                *e = w->error;
        return w->err;
}
