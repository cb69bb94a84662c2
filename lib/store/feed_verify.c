/* SPDX-License-Identifier: Apache-2.0 */
/* The feeds against the audit record. Each is read beside the lines that the record gives. czard may go on
 * meanwhile: lines behind those are none of ours, and one that the record has first is waited for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "feed.h"
#include "feed_file.h"
#include "feed_reader.h"
#include "macro.h"

#define BEHIND_MSEC 100 /* between two looks at a file that is behind */
#define BEHIND_LOOKS 20
#define AGAIN "czard makes it again at its next poll, or when it is started, with the same numbers"

struct compared {
        char org[ORG_SIZE];
        FILE *file; /* NULL: it is not there */
        char *line;
        size_t size;
        uint64_t n, given; /* lines that are the same; lines that the record gives */
        bool is_altered;
};

struct comparison {
        struct staging *s;
        struct compared *v;
        size_t n;
        struct error *e;
};

static struct compared *find(struct comparison *c, const char *org)
{
        for (size_t i = 0; i < c->n; i++)
                if (streq(c->v[i].org, org))
                        return &c->v[i];
        if (ARRAY_ROOM(c->v, c->n) < 0)
                return NULL;
        struct compared *o = &c->v[c->n++];
        *o = (struct compared){};
        snprintf(o->org, sizeof(o->org), "%s", org);
        _cleanup_free_ char *path = str_printf("%s/" FEED_FILE, org);
        int fd = path ? staging_open_file(c->s, path) : -ENOMEM;
        o->file = fd >= 0 ? fdopen(fd, "r") : NULL;
        if (fd >= 0 && !o->file)
                close_fd(fd);
        return o;
}

/* The next whole line, with its line break; -1: there is none yet. */
static ssize_t next_line(struct compared *o)
{
        off_t at = ftello(o->file);
        ssize_t n = getline(&o->line, &o->size, o->file);
        if (n > 0 && o->line[n - 1] == '\n')
                return n;
        clearerr(o->file);
        (void)fseeko(o->file, at, SEEK_SET);
        return -1;
}

static int on_line(const char *org, const char *line, size_t len, uint64_t seq, void *arg)
{
        struct comparison *c = arg;
        struct compared *o = find(c, org);
        if (!o)
                return error_set(c->e, CAUSE_IO, ENOMEM, "out of memory");
        bool is_next = o->file && !o->is_altered && o->n + 1 == seq;
        ssize_t n = is_next ? next_line(o) : -1;
        o->given = seq;
        o->is_altered |= n >= 0 && ((size_t)n != len || memcmp(o->line, line, len) != 0);
        o->n += n >= 0 && !o->is_altered;
        return 0;
}

/* The record had lines that the file has by now. */
static void wait_for(struct compared *o)
{
        const struct timespec moment = {.tv_nsec = BEHIND_MSEC * 1000000L};
        for (int i = 0; o->n < o->given && i < BEHIND_LOOKS; i++) {
                nanosleep(&moment, NULL);
                while (o->n < o->given && next_line(o) >= 0)
                        o->n++;
        }
}

static void judge(struct compared *o, feed_verify_fn *each, void *arg)
{
        char path[ORG_SIZE + sizeof("/" FEED_FILE)], text[256];
        unsigned long long n = o->n, given = o->given;
        snprintf(path, sizeof(path), "%s/" FEED_FILE, o->org);
        if (!o->file) {
                each(arg, path, "missing", "the feed: " AGAIN);
                return;
        }
        if (!o->is_altered)
                wait_for(o);
        if (o->is_altered)
                snprintf(text, sizeof(text),
                        "line %llu is not what the audit record gives: remove the file; " AGAIN, n + 1);
        else
                snprintf(text, sizeof(text),
                        "it ends with line %llu, and the audit record gives %llu: " AGAIN, n, given);
        each(arg, path, o->is_altered || o->n < o->given ? "altered" : NULL, text);
}

int feed_verify(struct staging *s, int state_fd, feed_verify_fn *each, void *arg, struct error *e)
{
        struct comparison c = {.s = s, .e = e};
        int r = feed_replay(state_fd, on_line, &c, e);
        for (size_t i = 0; i < c.n; i++) {
                if (r == 0)
                        judge(&c.v[i], each, arg);
                if (c.v[i].file)
                        fclose(c.v[i].file);
                free(c.v[i].line);
        }
        free(c.v);
        return r;
}
