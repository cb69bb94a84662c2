/* SPDX-License-Identifier: Apache-2.0 */
/* The source is read once. Only when there are more courses than there may be is what was written thrown
 * away, the lines of each course are counted (split_tally.c), and the day is split again. */
#include "split.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "event_lines.h"
#include "split_courses.h"
#include "split_tally.h"
#include "split_write.h"

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
