/* SPDX-License-Identifier: Apache-2.0 */
/* One day:
 *
 *   prepare (thread)   the hidden folder is made, empty
 *     on_prepared      a czard-filter gets it and the staged file
 *       on_message     what it made, then how it ended
 *         on_gone      it is reaped: nobody writes there any more
 *   publish (thread)   the folder is held against the answer, made durable, and has its name; or goes
 *     on_published     the outcome
 *
 * A day that is not wanted any more (splits_free()) goes on to the next of these steps and ends there. */
#include "split.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "answers.h"
#include "cleanup.h"
#include "helper.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"
#include "wants.h"

/* What a day is expected to take, in sizes of its staged file: what comes out is compressed less, in more
 * pieces. Beside that, a file a course (LIMIT_SPLIT_...). It is begun when there is so much, and may take
 * what is free above min_free, its share of it while other days are split too. */
#define ROOM_FACTOR 2
#define ROOM_COURSES 5 / 4 /* of what the days before had at most */
#define INODES_LEFT 1000   /* that no day takes */

/* czard-filter says every second how far it is; while it ends a day it may have many files to name. What is
 * not news, a step further in the file or names, does not count: who only says that it is alive stands still.
 * Room that it was told of it may take in spite of that, so what is left is looked at. */
#ifndef SILENCE_USEC
#define SILENCE_USEC (5 * USEC_PER_MINUTE)
#define NEWS_BYTES MIB
#endif
#define WATCH_MSEC 1000
#define READS_MOST 64 /* it reads a day again and again when that has very many courses (split_courses.h) */

struct day {
        struct day *next;
        struct splits *s; /* NULL: nobody waits for it */
        struct staging *staging;
        struct split_outcome out;
        uint64_t started_usec;
        uint64_t room, room_files; /* that it may take */

        int source_fd;
        struct snapshot_dir *dir;
        struct helper *helper;
        uv_timer_t watch;
        uint64_t news_usec, read; /* when it said something new last; how far it was then */
        uv_work_t work;
        struct error error;
        bool over; /* it waits for splits_take() */

        struct strbuf names; /* NUL-terminated, one behind the other */
        struct snapshot_made *made;
        size_t n, size;
        struct owed owed;
        bool done; /* SPLIT_DONE came */
        uint8_t source_sha256[SHA256_SIZE];
        uint64_t files;
};

struct splits {
        uv_loop_t *loop;
        struct staging *staging;
        struct day *days;
};

static void day_free(struct day *d)
{
        close_fd(d->source_fd);
        strbuf_done(&d->names);
        free(d->made);
        free(d);
}

static void on_timer_closed(uv_handle_t *h)
{
        day_free(h->data);
}

static void day_close(struct day *d)
{
        d->helper = helper_free(d->helper);
        d->source_fd = close_fd(d->source_fd);
        if (!uv_is_closing((uv_handle_t *)&d->watch))
                uv_close((uv_handle_t *)&d->watch, on_timer_closed);
}

/* With d->error, or well. */
static void day_end(struct day *d)
{
        d->dir = snapshot_free(d->dir);
        d->helper = helper_free(d->helper);
        uv_timer_stop(&d->watch);
        if (!d->s) {
                day_close(d);
                return;
        }
        d->out.cause = d->error.cause;
        snprintf(d->out.detail, sizeof(d->out.detail), "%s", d->error.cause ? d->error.text : "");
        d->out.duration_usec = now_usec(CLOCK_MONOTONIC) - d->started_usec;
        d->over = true;
}

static void day_fail(struct day *d, const struct error *e)
{
        if (d->error.cause == CAUSE_NONE)
                d->error = *e;
}

/* --- publishing --- */

static int check_answer(struct day *d, struct error *e)
{
        const struct ledger_split *m = &d->out.made;
        if (d->n != d->files)
                return error_set(e, CAUSE_HELPER, EBADMSG, "czard-filter named %zu files, not %" PRIu64, d->n,
                        d->files);
        if (m->lines_of_courses + m->no_course + m->invalid + m->unparsed != m->lines_in)
                return error_set(e, CAUSE_HELPER, EBADMSG,
                        "the lines do not add up: %" PRIu64 " in; %" PRIu64 " of courses, %" PRIu64
                        " of none, %" PRIu64 " invalid, %" PRIu64 " unparsed",
                        m->lines_in, m->lines_of_courses, m->no_course, m->invalid, m->unparsed);
        if (memcmp(d->source_sha256, d->out.job.o.sha256, SHA256_SIZE) != 0)
                return error_set(e, CAUSE_STAGING, ESTALE,
                        "%s is not the file that was staged there: czarctl verify", d->out.job.o.path);
        return 0;
}

static void publish(uv_work_t *work)
{
        struct day *d = work->data;
        struct ledger_split *m = &d->out.made;
        const char *name = d->names.s;
        for (size_t i = 0; i < d->n; i++) {
                d->made[i].name = name;
                if (streq(name, SNAPSHOT_MANIFEST)) {
                        m->has_manifest = true;
                        d->made[i].ret_sha256 = m->manifest_sha256;
                }
                name += strlen(name) + 1;
        }
        if (d->error.cause == CAUSE_NONE && check_answer(d, &d->error) == 0)
                (void)snapshot_publish_made(d->dir, d->made, d->n, &d->error);
        if (d->error.cause == CAUSE_NONE && *snapshot_kept_as(d->dir))
                snprintf(d->out.kept_as, sizeof(d->out.kept_as), "%.*s%s",
                        (int)(strrchr(m->path, '/') + 1 - m->path), m->path, snapshot_kept_as(d->dir));
        struct error e = {}; /* the next attempt or the next start removes what cannot be removed now */
        if (d->error.cause != CAUSE_NONE && d->dir)
                (void)snapshot_abandon(d->dir, &e);
}

static void on_published(uv_work_t *work, int status)
{
        (void)status;
        day_end(work->data);
}

/* Nobody else is at the folder any more. */
static void day_publish(struct day *d)
{
        uv_timer_stop(&d->watch);
        d->work.data = d;
        uv_queue_work(d->s->loop, &d->work, publish, on_published);
}

/* --- czard-filter --- */

static void on_gone(void *arg, const struct error *e)
{
        struct day *d = arg;
        d->helper = helper_free(d->helper);
        if (!d->done || e->err == EPROTO) /* what it said then was no message at all */
                day_fail(d, e);
        day_publish(d);
}

static void kill_filter(struct day *d, const char *why)
{
        struct error e = {};
        error_set(&e, CAUSE_HELPER, EPROTO, "czard-filter %s", why);
        day_fail(d, &e);
        helper_kill(d->helper);
}

static void on_watch(uv_timer_t *timer)
{
        struct day *d = timer->data;
        struct error e = {};
        uint64_t have;
        if (d->error.cause != CAUSE_NONE)
                return; /* it is being killed */
        if (now_usec(CLOCK_MONOTONIC) >= d->news_usec + SILENCE_USEC) {
                kill_filter(d, "said nothing new for 5 minutes, and was ended");
        } else if (staging_free_bytes(d->staging, &have, NULL) == 0 && have < d->out.job.min_free) {
                error_set(&e, CAUSE_SPACE, ENOSPC, "while it was split, less than min_free was left");
                day_fail(d, &e);
                helper_kill(d->helper);
        }
}

static bool is_news(struct day *d, const struct message *m)
{
        if (m->type != PROTO_PROGRESS)
                return true;
        uint64_t bytes =
                MIN(m->progress.bytes, READS_MOST * (uint64_t)MAX(d->out.job.o.plain_size, (int64_t)0));
        if (bytes < d->read + NEWS_BYTES)
                return false;
        d->read = bytes;
        return true;
}

static bool is_plain_name(const char *name)
{
        for (const char *p = name; *p; p++)
                if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~", *p))
                        return false;
        return *name && *name != '.' && *name != '-';
}

static int add_files(struct day *d, const struct proto_split_files *files)
{
        if (files->n == 0)
                return -EINVAL;
        if (d->n + files->n > LIMIT_SPLIT_FILES)
                return -E2BIG;
        if (d->n + files->n > d->size) {
                size_t size = MAX(2 * d->size, d->n + files->n);
                struct snapshot_made *made = reallocarray(d->made, size, sizeof(*made));
                if (!made)
                        return -ENOMEM;
                d->made = made;
                d->size = size;
        }
        for (size_t i = 0; i < files->n; i++) {
                if (!is_plain_name(files->files[i].name))
                        return -EINVAL;
                strbuf_add_n(&d->names, files->files[i].name, strlen(files->files[i].name) + 1);
                d->made[d->n++] = (struct snapshot_made){.size = files->files[i].size};
        }
        return d->names.err;
}

static void on_done(struct day *d, const struct proto_split_done *m)
{
        struct ledger_split *to = &d->out.made;
        d->done = true;
        d->files = m->files;
        to->lines_in = m->lines_in;
        to->lines_of_courses = m->lines_of_courses;
        to->no_course = m->no_course;
        to->invalid = m->invalid;
        to->unparsed = m->unparsed;
        to->courses = m->courses;
        to->courses_left_out = m->courses_left_out;
        to->files_size = m->files_size;
        memcpy(to->sums_sha256, m->sums_sha256, SHA256_SIZE);
        memcpy(d->source_sha256, m->source_sha256, SHA256_SIZE);
        if (m->outcome.cause == CAUSE_NONE)
                return;
        struct error e = {};
        error_set(&e, m->outcome.cause, EIO, "%s", m->outcome.detail);
        day_fail(d, &e);
}

/* It may say how far it is, then what it made, then that it is done; about this day, and nothing else. */
static void on_message(void *arg, struct message *m)
{
        struct day *d = arg;
        if (d->error.cause != CAUSE_NONE && !d->done)
                return; /* it is being killed */
        struct error e = {};
        if (is_news(d, m))
                d->news_usec = now_usec(CLOCK_MONOTONIC);
        if (owed_take(&d->owed, m, &e) < 0)
                kill_filter(d, e.text);
        else if (m->type == PROTO_SPLIT_DONE)
                on_done(d, &m->split_done);
        else if (m->type == PROTO_SPLIT_FILES && add_files(d, &m->split_files) < 0)
                kill_filter(d, "named files that cannot be");
}

static int start_filter(struct day *d, struct error *e)
{
        const struct ledger_object *o = &d->out.job.o;
        int r = helper_start(d->s->loop, "czard-filter", NULL, on_message, on_gone, d, &d->helper, e);
        if (r < 0)
                return r;
        struct message m = {.type = PROTO_SPLIT,
                .id = (uint32_t)o->id,
                .split = {.rule = (uint8_t)d->out.job.rule,
                        .gzip = str_ends(o->path, ".gz"),
                        .room = d->room,
                        .room_files = d->room_files},
                .fds = {d->source_fd, snapshot_fd(d->dir)},
                .n_fds = 2};
        r = owed_add(&d->owed, &m);
        if (r == 0)
                r = helper_send(d->helper, &m);
        d->news_usec = now_usec(CLOCK_MONOTONIC);
        uv_timer_start(&d->watch, on_watch, WATCH_MSEC, WATCH_MSEC);
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "czard-filter does not take jobs: %s", strerror(-r))
                     : 0;
}

/* --- the folder --- */

static int open_folder(struct day *d, struct error *e)
{
        const struct split_job *j = &d->out.job;
        const char *path = d->out.made.path;
        struct staging_attr attr = {.gid = j->gid};
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        char tag[SHA256_HEX];
        hex_encode(j->o.sha256, SHA256_SIZE, tag);
        d->source_fd = staging_open_file(d->staging, j->o.path);
        if (d->source_fd < 0)
                return error_set(
                        e, CAUSE_STAGING, -d->source_fd, "%s: %s", j->o.path, strerror(-d->source_fd));
        if (staging_stat(d->staging, j->o.path, &size, &attr.mtime, &is_dir) < 0)
                return error_set(e, CAUSE_STAGING, ESTALE, "%s: it is not there any more", j->o.path);
        int r = staging_make_top(d->staging, path, &j->top, e);
        if (r < 0)
                return r;
        d->out.replaced = staging_stat(d->staging, path, &size, &mtime, &is_dir) == 0;
        return snapshot_begin_empty(d->staging, path, tag, &attr, &d->dir, e);
}

static void prepare(uv_work_t *work)
{
        struct day *d = work->data;
        (void)open_folder(d, &d->error);
}

static void on_prepared(uv_work_t *work, int status)
{
        struct day *d = work->data;
        (void)status;
        if (!d->s)
                day_end(d);
        else if (d->error.cause != CAUSE_NONE || start_filter(d, &d->error) < 0)
                day_publish(d);
}

/* --- from outside --- */

struct room {
        uint64_t bytes, files;
};

static struct room room_needed(const struct split_job *j)
{
        uint64_t files = MIN(j->courses * ROOM_COURSES + 2, (uint64_t)LIMIT_SPLIT_FILES);
        return (struct room){.files = files,
                .bytes = ROOM_FACTOR * (uint64_t)MAX(j->o.plain_size, (int64_t)0) +
                         files * (LIMIT_SPLIT_BLOCK + LIMIT_SPLIT_FILE_COST)};
}

/* What is free and not promised to another day. */
static int room_free(const struct day *d, struct room *ret, struct error *e)
{
        struct room have;
        int r = staging_free_bytes(d->staging, &have.bytes, e);
        if (r == 0)
                r = staging_free_inodes(d->staging, &have.files, e);
        if (r < 0)
                return r;
        have.bytes -= MIN(have.bytes, d->out.job.min_free);
        have.files -= have.files == UINT64_MAX ? 0 : MIN(have.files, (uint64_t)INODES_LEFT);
        for (const struct day *other = d->s->days; other; other = other->next) {
                if (other == d || other->over)
                        continue;
                have.bytes -= MIN(have.bytes, other->room);
                have.files -= have.files == UINT64_MAX ? 0 : MIN(have.files, other->room_files);
        }
        *ret = have;
        return 0;
}

static uint64_t share(uint64_t have, uint64_t need, size_t days)
{
        return MIN(MAX(have / MAX(days, (size_t)1), need), (uint64_t)INT64_MAX);
}

/* Is there enough for it? Then what it may take. days: that are to share it, with this one. */
static int take_room(struct day *d, size_t days, struct error *e)
{
        const struct room need = room_needed(&d->out.job);
        struct room have;
        char text[2][32];
        int r = room_free(d, &have, e);
        if (r < 0)
                return r;
        if (have.bytes < need.bytes)
                return error_set(e, CAUSE_SPACE, ENOSPC, "it needs about %s, and %s are free above min_free",
                        size_format(need.bytes, text[0], sizeof(text[0])),
                        size_format(have.bytes, text[1], sizeof(text[1])));
        if (have.files < need.files)
                return error_set(e, CAUSE_SPACE, ENOSPC,
                        "it needs about %" PRIu64 " files, and inodes for %" PRIu64 " are left (df -i)",
                        need.files, have.files);
        d->room = share(have.bytes, need.bytes, days);
        d->room_files = have.files == UINT64_MAX ? 0 : share(have.files, need.files, days);
        return 0;
}

int splits_start(struct splits *s, const struct split_job *job)
{
        struct day *d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        *d = (struct day){
                .s = s, .staging = s->staging, .source_fd = -1, .started_usec = now_usec(CLOCK_MONOTONIC)};
        d->out.job = *job;
        d->out.made = (struct ledger_split){.object_id = job->o.id, .rule = job->rule};
        memcpy(d->out.made.source_sha256, job->o.sha256, SHA256_SIZE);
        uv_timer_init(s->loop, &d->watch);
        d->watch.data = d->work.data = d;
        size_t others = splits_running(s);
        d->out.shared = others > 0 || job->most > 1;
        d->next = s->days;
        s->days = d;
        if (place_by_course(&job->o, d->out.made.path) < 0)
                error_set(&d->error, CAUSE_INTERNAL, EINVAL, "%s: events without a site and a date",
                        job->o.key);
        else
                (void)take_room(d, job->most > others ? job->most - others : 1, &d->error);
        if (d->error.cause != CAUSE_NONE) {
                day_end(d);
                return 0;
        }
        uv_queue_work(s->loop, &d->work, prepare, on_prepared);
        return 0;
}

size_t splits_running(const struct splits *s)
{
        size_t n = 0;
        for (const struct day *d = s->days; d; d = d->next)
                n++;
        return n;
}

bool splits_busy(const struct splits *s, int64_t object_id)
{
        for (const struct day *d = s->days; d; d = d->next)
                if (d->out.job.o.id == object_id)
                        return true;
        return false;
}

bool splits_take(struct splits *s, struct split_outcome *ret)
{
        for (struct day **at = &s->days; *at; at = &(*at)->next)
                if ((*at)->over) {
                        struct day *d = *at;
                        *at = d->next;
                        *ret = d->out;
                        day_close(d);
                        return true;
                }
        return false;
}

int splits_new(uv_loop_t *loop, struct staging *staging, struct splits **ret)
{
        struct splits *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        *s = (struct splits){.loop = loop, .staging = staging};
        *ret = s;
        return 0;
}

struct splits *splits_free(struct splits *s)
{
        if (!s)
                return NULL;
        for (struct day *d = s->days, *next; d; d = next) {
                next = d->next;
                d->s = NULL;
                if (d->over || d->helper) {
                        d->dir = snapshot_free(d->dir);
                        day_close(d);
                } /* else a thread is at it, and day_end() closes it */
        }
        free(s);
        return NULL;
}
