/* SPDX-License-Identifier: Apache-2.0 */
/* The source is read once. Only when there are more courses than there may be is what was written thrown
 * away, the lines of each course are counted, and the day is split again. */
#include "split.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "digest.h"
#include "event.h"
#include "fsx.h"
#include "json.h"
#include "macro.h"
#include "split_courses.h"

/* --- SHA256SUMS and MANIFEST.jsonl: what is told of a day beside its courses' files --- */

struct split_folder {
        int dir_fd;
        struct split_room *room;
        const struct split_course *v; /* by names of their files */
        size_t n;
};

#define WRITE_SIZE (64 * KIB)

/* A file that is written line by line. */
struct out {
        int fd;
        struct strbuf text;
        struct digest *digest;
        uint64_t size;
        struct split_room *room;
        struct error *e;
};

static int out_fail(struct out *o, int err)
{
        return error_errno(o->e, err, "writing what the day has");
}

static int out_open(struct out *o, const struct split_folder *f, const char *name, struct error *e)
{
        *o = (struct out){.room = f->room, .e = e};
        o->fd = openat(f->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (o->fd < 0)
                return out_fail(o, errno);
        int r = digest_new(DIGEST_SHA256, &o->digest);
        return r < 0 ? out_fail(o, -r) : 0;
}

static int out_flush(struct out *o, size_t least)
{
        if (o->text.err)
                return out_fail(o, ENOMEM);
        if (o->text.len <= least)
                return 0;
        if (split_room_take(o->room, o->size, o->size + o->text.len, o->e) < 0)
                return -ENOSPC;
        int r = write_all(o->fd, o->text.s, o->text.len);
        digest_update(o->digest, o->text.s, o->text.len);
        o->size += o->text.len;
        o->text.len = 0;
        return r < 0 ? out_fail(o, -r) : 0;
}

static void out_done(struct out *o)
{
        close_fd(o->fd);
        digest_free(o->digest);
        strbuf_done(&o->text);
}

static void add_json(struct out *o, const struct json *j)
{
        strbuf_printf(&o->text, "%s\n", j->out.err ? "" : j->out.s);
        o->text.err = o->text.err ? o->text.err : j->out.err;
}

static void add_course(struct out *o, const struct split_course *c)
{
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_str(&j, "course", c->key.text);
        json_str(&j, "file", c->file);
        json_u64(&j, "lines", c->lines);
        json_u64(&j, "bytes", c->bytes);
        json_sha256(&j, "sha256", c->sha256);
        json_close(&j, '}');
        add_json(o, &j);
}

static void add_totals(struct out *o, const struct split_totals *t, enum event_rule rule)
{
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_u64(&j, "lines_in", t->lines_in);
        json_u64(&j, "no_course", t->no_course);
        json_u64(&j, "invalid", t->invalid);
        json_u64(&j, "unparsed", t->unparsed);
        json_sha256(&j, "source_sha256", t->source_sha256);
        json_str(&j, "rule", event_rule_name(rule));
        json_close(&j, '}');
        add_json(o, &j);
}

static int write_manifest(const struct split_folder *f, enum event_rule rule, const struct split_totals *t,
        uint64_t *ret_size, struct error *e)
{
        struct out o;
        int r = out_open(&o, f, SPLIT_MANIFEST, e);
        for (size_t i = 0; r == 0 && i < f->n; i++) {
                add_course(&o, &f->v[i]);
                r = out_flush(&o, WRITE_SIZE);
        }
        if (r == 0) {
                add_totals(&o, t, rule);
                r = out_flush(&o, 0);
        }
        *ret_size = o.size;
        out_done(&o);
        return r;
}

static int write_sums(
        const struct split_folder *f, struct split_totals *t, uint64_t *ret_size, struct error *e)
{
        struct out o;
        int r = out_open(&o, f, SPLIT_SUMS, e);
        for (size_t i = 0; r == 0 && i < f->n; i++) {
                char hex[SHA256_HEX];
                hex_encode(f->v[i].file_sha256, SHA256_SIZE, hex);
                strbuf_printf(&o.text, "%s  %s\n", hex, f->v[i].file);
                r = out_flush(&o, WRITE_SIZE);
        }
        if (r == 0)
                r = out_flush(&o, 0);
        if (r == 0)
                digest_final(o.digest, t->sums_sha256);
        *ret_size = o.size;
        out_done(&o);
        return r;
}

static int tell(const struct split_options *options, struct split_totals *t, const char *name, uint64_t size,
        struct error *e)
{
        t->files_size += size;
        return options->on_file ? options->on_file(options->arg, name, size, e) : 0;
}

/* Both into the folder. Sets sums_sha256 and files_size of totals, and tells on_file: they, too, have their
 * place among the names, which begin as they like. 0, or -errno with the cause in e. */
static int split_write(const struct split_folder *f, const struct split_options *options,
        struct split_totals *totals, struct error *e)
{
        struct {
                const char *name;
                uint64_t size;
        } own[] = {{SPLIT_MANIFEST, 0}, {SPLIT_SUMS, 0}};
        int r = write_manifest(f, options->rule, totals, &own[0].size, e);
        if (r == 0)
                r = write_sums(f, totals, &own[1].size, e);
        size_t k = 0;
        for (size_t i = 0; r == 0 && i <= f->n; i++) {
                for (; r == 0 && k < ELEMENTSOF(own) && (i == f->n || strcmp(own[k].name, f->v[i].file) < 0);
                        k++)
                        r = tell(options, totals, own[k].name, own[k].size, e);
                if (r == 0 && i < f->n)
                        r = tell(options, totals, f->v[i].file, f->v[i].size, e);
        }
        return r;
}

/* --- a day --- */

struct split {
        const struct split_options *options;
        struct split_totals *totals;
        struct split_courses *courses; /* NULL: lines are only counted */
        struct split_room room;
        struct tally *tally; /* NULL: nobody is left out as yet */
        size_t courses_max;
        struct strbuf scratch;
};

static int out_of_memory(struct error *e)
{
        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

/* A course that has no file yet. 1: it gets one; 0: it is left out; -E2BIG: there are too many, and who is
 * left out is not known yet. */
static int new_course(
        struct split *s, const struct course_key *key, struct split_course **ret, struct error *e)
{
        int stays = s->tally ? tally_stays(s->tally, key) : 1;
        if (stays <= 0)
                return stays < 0 ? out_of_memory(e) : 0;
        if (split_courses_count(s->courses) == s->courses_max)
                return error_set(e, CAUSE_LIMIT, E2BIG, "more than %zu courses", s->courses_max);
        return split_courses_add(s->courses, key, ret) < 0 ? out_of_memory(e) : 1;
}

/* The line and its '\n', for a course. */
static int add_line(struct split *s, const struct course_key *key, const char *p, size_t n, struct error *e)
{
        struct split_course *course = split_courses_find(s->courses, key);
        int r = course ? 1 : new_course(s, key, &course, e);
        if (r == 0)
                s->totals->invalid++;
        if (r <= 0)
                return r;
        course->lines++;
        return split_courses_write(s->courses, course, p, n + 1, e);
}

static int on_line(void *arg, const char *p, size_t n, struct error *e)
{
        struct split *s = arg;
        struct course_key key;
        int r = p ? event_course(s->options->rule, p, n, &s->scratch, &key) : EVENT_UNPARSED;
        uint64_t line = s->totals->lines_in++;
        if (r < 0)
                return out_of_memory(e);
        if (!s->courses)
                return r == EVENT_COURSE && tally_line(s->tally, &key, line) < 0 ? out_of_memory(e) : 0;
        switch ((enum event_verdict)r) {
        case EVENT_COURSE:
                return add_line(s, &key, p, n, e);
        case EVENT_NO_COURSE:
                s->totals->no_course++;
                break;
        case EVENT_INVALID:
                s->totals->invalid++;
                break;
        case EVENT_UNPARSED:
                s->totals->unparsed++;
                break;
        }
        return 0;
}

static void on_read(void *arg, uint64_t bytes)
{
        const struct split *s = arg;
        if (s->options->on_read)
                s->options->on_read(s->options->arg, bytes);
}

static int read_lines(struct split *s, int fd, struct error *e)
{
        const struct split_options *o = s->options;
        struct event_lines_sink sink = {.on_line = on_line, .on_read = on_read, .arg = s};
        *s->totals = (struct split_totals){};
        return event_lines_read(fd, o->gzip, &sink, s->totals->source_sha256, e);
}

/* Which courses stay. */
static int choose(struct split *s, int source_fd, struct error *e)
{
        size_t counted = s->options->counted_max ? s->options->counted_max : SPLIT_COUNTED_MAX;
        int r = tally_new(s->courses_max, counted, &s->tally) < 0 ? out_of_memory(e) : 0;
        while (r == 0 && tally_pass(s->tally))
                r = read_lines(s, source_fd, e);
        return r;
}

static int split_once(struct split *s, int source_fd, int dir_fd, struct error *e)
{
        size_t memory = s->options->memory ? s->options->memory : SPLIT_MEMORY_MAX;
        s->courses = split_courses_free(s->courses);
        int r = split_room_open(&s->room, dir_fd, s->options->room, s->options->room_files, e);
        if (r < 0)
                return r;
        if (split_courses_new(dir_fd, memory, &s->room, &s->courses) < 0)
                return out_of_memory(e);
        return read_lines(s, source_fd, e);
}

static int check_totals(const struct split_totals *t, struct error *e)
{
        uint64_t sum = t->lines_of_courses + t->no_course + t->invalid + t->unparsed;
        if (sum == t->lines_in)
                return 0;
        return error_set(
                e, CAUSE_INTERNAL, EIO, "%" PRIu64 " lines went in, %" PRIu64 " came out", t->lines_in, sum);
}

static int end_split(struct split *s, int dir_fd, struct error *e)
{
        struct split_course *v;
        size_t n;
        int r = split_courses_end(s->courses, &v, &n, e);
        if (r < 0)
                return r;
        uint64_t lines = 0;
        for (size_t i = 0; i < n; i++)
                lines += v[i].lines;
        s->totals->lines_of_courses = lines;
        s->totals->courses = n;
        s->totals->courses_left_out = s->tally ? tally_left_out(s->tally) : 0;
        r = check_totals(s->totals, e);
        const struct split_folder folder = {.dir_fd = dir_fd, .room = &s->room, .v = v, .n = n};
        return r < 0 ? r : split_write(&folder, s->options, s->totals, e);
}

int split_events(int source_fd, int dir_fd, const struct split_options *options, struct split_totals *ret,
        struct error *e)
{
        struct split_totals totals = {};
        struct split s = {.options = options,
                .totals = &totals,
                .courses_max = options->courses_max ? options->courses_max : SPLIT_COURSES_MAX};
        int r = split_once(&s, source_fd, dir_fd, e);
        if (r == -E2BIG) {
                *e = (struct error){}; /* the second pass decides */
                r = split_courses_remove(s.courses, e);
                s.courses = split_courses_free(s.courses);
                if (r == 0)
                        r = choose(&s, source_fd, e);
                if (r == 0)
                        r = split_once(&s, source_fd, dir_fd, e);
        }
        if (r == 0)
                r = end_split(&s, dir_fd, e);
        if (r == 0)
                *ret = totals;
        split_courses_free(s.courses);
        tally_free(s.tally);
        strbuf_done(&s.scratch);
        return r;
}
