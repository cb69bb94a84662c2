/* SPDX-License-Identifier: Apache-2.0 */
/* Memory is one pool of small blocks, chained by course. A course that has many is written; when the pool is
 * empty, all that have at least half of the mean are, which gives back half of the pool. So a course with
 * many lines is compressed in large pieces, and one with few is opened seldom.
 *
 * While lines come a file is called "~NUMBER", which no course's is: only at the end is it known which names
 * are wanted by several courses. */
#include "split_courses.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <isa-l/igzip_lib.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>

#include "cleanup.h"
#include "fsx.h"
#include "limits.h"
#include "macro.h"

#define BLOCK_SIZE 2048
#define COURSE_WAITING_MAX (256 * KIB) /* collected for one course */
#define LEVEL 1                        /* of compression: the fastest that uses tables made for the data */

struct split_courses {
        int dir_fd;
        struct split_room *room;
        struct split_course *v;
        size_t n, size;  /* of v */
        uint32_t *table; /* by hash, open addressing: number in v plus 1 */
        size_t slots;
        uint64_t seed;                /* of the hash: whoever invents keys cannot make many collide */
        char *pool;                   /* blocks, from 1 */
        uint32_t *next;               /* of each block: the one behind it, 0: none */
        uint32_t blocks, used, freed; /* freed: first of the chain of those given back */
        size_t waiting;
        struct isal_zstream z;
        uint8_t level_buf[ISAL_DEF_LVL1_DEFAULT];
        char in[COURSE_WAITING_MAX];
        uint8_t out[COURSE_WAITING_MAX + 64 * KIB];
};

int split_courses_new(int dir_fd, size_t memory, struct split_room *room, struct split_courses **ret)
{
        struct split_courses *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->dir_fd = dir_fd;
        c->room = room;
        c->blocks = (uint32_t)(memory / BLOCK_SIZE);
        c->pool = malloc(((size_t)c->blocks + 1) * BLOCK_SIZE);
        c->next = malloc(((size_t)c->blocks + 1) * sizeof(*c->next));
        c->slots = 1024;
        c->table = calloc(c->slots, sizeof(*c->table));
        if (!c->pool || !c->next || !c->table || getrandom(&c->seed, sizeof(c->seed), 0) < 0) {
                split_courses_free(c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

struct split_courses *split_courses_free(struct split_courses *c)
{
        if (!c)
                return NULL;
        for (size_t i = 0; i < c->n; i++) {
                digest_free(c->v[i].digest);
                digest_free(c->v[i].file_digest);
        }
        free(c->v);
        free(c->table);
        free(c->pool);
        free(c->next);
        free(c);
        return NULL;
}

size_t split_courses_count(const struct split_courses *c)
{
        return c->n;
}

static uint64_t hash_of(const struct split_courses *c, const struct course_key *key)
{
        uint64_t h = c->seed;
        for (size_t i = 0; i < key->len; i += 8) {
                uint64_t part = 0;
                memcpy(&part, key->text + i, MIN(key->len - i, (size_t)8));
                h = (h ^ part) * 0x9e3779b97f4a7c15;
                h ^= h >> 29;
        }
        return h ^ h >> 32;
}

static uint32_t *slot_of(const struct split_courses *c, const struct course_key *key, uint64_t hash)
{
        for (size_t i = hash % c->slots;; i = (i + 1) % c->slots) {
                uint32_t *slot = &c->table[i];
                if (*slot == 0)
                        return slot;
                const struct split_course *course = &c->v[*slot - 1];
                if (course->hash == hash && streq(course->key.text, key->text))
                        return slot;
        }
}

struct split_course *split_courses_find(struct split_courses *c, const struct course_key *key)
{
        uint32_t number = *slot_of(c, key, hash_of(c, key));
        return number ? &c->v[number - 1] : NULL;
}

static int grow(struct split_courses *c)
{
        size_t size = c->size ? 2 * c->size : c->slots / 2, slots = 2 * size;
        struct split_course *v = reallocarray(c->v, size, sizeof(*v));
        if (!v)
                return -ENOMEM;
        c->v = v;
        uint32_t *table = calloc(slots, sizeof(*table));
        if (!table)
                return -ENOMEM;
        free(c->table);
        c->table = table;
        c->slots = slots;
        c->size = size;
        for (size_t i = 0; i < c->n; i++)
                *slot_of(c, &v[i].key, v[i].hash) = (uint32_t)i + 1;
        return 0;
}

int split_courses_add(struct split_courses *c, const struct course_key *key, struct split_course **ret)
{
        int r = c->n == c->size ? grow(c) : 0;
        if (r < 0)
                return r;
        struct split_course *course = &c->v[c->n];
        *course = (struct split_course){.key = *key, .hash = hash_of(c, key), .number = (uint32_t)c->n};
        r = digest_new(DIGEST_SHA256, &course->digest);
        if (r == 0)
                r = digest_new(DIGEST_SHA256, &course->file_digest);
        if (r < 0) {
                digest_free(course->digest);
                return r;
        }
        *slot_of(c, key, course->hash) = (uint32_t)++c->n;
        *ret = course;
        return 0;
}

/* The n bytes at c->in as one member of gzip. Its length, or 0. */
static size_t compress(struct split_courses *c, size_t n)
{
        isal_deflate_stateless_init(&c->z);
        c->z.level = LEVEL;
        c->z.level_buf = c->level_buf;
        c->z.level_buf_size = sizeof(c->level_buf);
        c->z.gzip_flag = IGZIP_GZIP;
        c->z.end_of_stream = 1;
        c->z.flush = NO_FLUSH;
        c->z.next_in = (uint8_t *)c->in;
        c->z.avail_in = (uint32_t)n;
        c->z.next_out = c->out;
        c->z.avail_out = sizeof(c->out);
        return isal_deflate_stateless(&c->z) == COMP_OK ? c->z.total_out : 0;
}

static void number_name(const struct split_course *course, char ret[16])
{
        snprintf(ret, 16, "~%u", (unsigned)course->number);
}

static int append(struct split_courses *c, struct split_course *course, size_t n, struct error *e)
{
        char name[16];
        if (split_room_take(c->room, course->size, course->size + n, e) < 0)
                return -ENOSPC;
        number_name(course, name);
        int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | (course->size ? 0 : O_CREAT | O_EXCL);
        _cleanup_close_ int fd = openat(c->dir_fd, name, flags, 0600);
        int r = fd < 0 ? -errno : write_all(fd, c->out, n);
        if (r < 0)
                return error_errno(e, -r, "writing a course's events");
        digest_update(course->file_digest, c->out, n);
        course->size += n;
        return 0;
}

/* Writes what was collected for a course. */
static int flush(struct split_courses *c, struct split_course *course, struct error *e)
{
        size_t n = 0;
        for (uint32_t i = course->first; i;) {
                size_t k = MIN(course->waiting - n, (size_t)BLOCK_SIZE);
                /* not memcpy: gcc makes "rep movsq" of one with such a bound, which takes twice as long */
                memmove(c->in + n, c->pool + (size_t)i * BLOCK_SIZE, k);
                n += k;
                uint32_t next = c->next[i];
                c->next[i] = c->freed;
                c->freed = i;
                i = next;
        }
        course->first = course->last = 0;
        course->waiting = 0;
        c->waiting -= n;
        if (n == 0)
                return 0;
        digest_update(course->digest, c->in, n);
        size_t size = compress(c, n);
        return size ? append(c, course, size, e)
                    : error_set(e, CAUSE_INTERNAL, EIO, "compressing %zu bytes failed", n);
}

static int flush_many(struct split_courses *c, struct error *e)
{
        size_t least = c->waiting / c->n / 2;
        for (size_t i = 0; i < c->n; i++) {
                int r = c->v[i].waiting && c->v[i].waiting >= least ? flush(c, &c->v[i], e) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A block more for the course, which is flushed first when it has all that it may have. */
static int add_block(struct split_courses *c, struct split_course *course, struct error *e)
{
        int r = course->waiting + BLOCK_SIZE > COURSE_WAITING_MAX ? flush(c, course, e)
                : !c->freed && c->used == c->blocks               ? flush_many(c, e)
                                                                  : 0;
        if (r < 0)
                return r;
        uint32_t i = c->freed;
        if (i)
                c->freed = c->next[i];
        else
                i = ++c->used;
        c->next[i] = 0;
        if (course->last)
                c->next[course->last] = i;
        else
                course->first = i;
        course->last = i;
        return 0;
}

int split_courses_write(
        struct split_courses *c, struct split_course *course, const char *p, size_t n, struct error *e)
{
        course->bytes += n;
        while (n) {
                size_t in_last = course->waiting % BLOCK_SIZE;
                if (in_last == 0) {
                        int r = add_block(c, course, e);
                        if (r < 0)
                                return r;
                }
                size_t k = MIN(n, BLOCK_SIZE - in_last);
                memmove(c->pool + (size_t)course->last * BLOCK_SIZE + in_last, p, k);
                course->waiting += (uint32_t)k;
                c->waiting += k;
                p += k;
                n -= k;
        }
        return 0;
}

int split_courses_remove(struct split_courses *c, struct error *e)
{
        for (size_t i = 0; i < c->n; i++) {
                char name[16];
                number_name(&c->v[i], name);
                if (unlinkat(c->dir_fd, name, 0) < 0 && errno != ENOENT)
                        return error_errno(e, errno, "removing a course's events");
        }
        return 0;
}

static int by_name(const void *a, const void *b)
{
        const struct split_course *x = a, *y = b;
        int r = strcmp(x->file, y->file);
        return r ? r : strcmp(x->key.text, y->key.text);
}

/* Each of several courses of one name gets a part of its key's hash: anyone can invent a key that takes
 * another's name. By names; in ret->file stands what course_key_name() says. */
static int tell_apart(struct split_course *v, size_t n)
{
        for (size_t i = 0, end; i < n; i = end) {
                for (end = i + 1; end < n && streq(v[end].file, v[i].file); end++)
                        ;
                for (size_t j = i; end - i > 1 && j < end; j++) {
                        uint8_t hash[SHA256_SIZE];
                        int r = digest_once(DIGEST_SHA256, v[j].key.text, v[j].key.len, hash);
                        if (r < 0)
                                return r;
                        size_t len = strlen(v[j].file);
                        v[j].file[len] = '~';
                        hex_encode(hash, 8, v[j].file + len + 1);
                }
        }
        for (size_t i = 0; i < n; i++)
                strcat(v[i].file, SPLIT_FILE_ENDING); /* of SPLIT_FILE_MAX */
        return 0;
}

static int finish(struct split_courses *c, struct split_course *course, struct error *e)
{
        char name[16];
        number_name(course, name);
        digest_final(course->digest, course->sha256);
        digest_final(course->file_digest, course->file_sha256);
        if (renameat(c->dir_fd, name, c->dir_fd, course->file) < 0)
                return error_errno(e, errno, "naming a course's events");
        return 0;
}

int split_courses_end(struct split_courses *c, struct split_course **ret, size_t *ret_n, struct error *e)
{
        int r = 0;
        for (size_t i = 0; r == 0 && i < c->n; i++) {
                r = flush(c, &c->v[i], e);
                course_key_name(&c->v[i].key, c->v[i].file);
        }
        if (r < 0)
                return r;
        /* the table is of no use from here on */
        if (c->n)
                qsort(c->v, c->n, sizeof(*c->v), by_name);
        if (tell_apart(c->v, c->n) < 0)
                return error_errno(e, ENOMEM, "naming a course's events");
        if (c->n)
                qsort(c->v, c->n, sizeof(*c->v), by_name);
        for (size_t i = 0; r == 0 && i < c->n; i++)
                r = finish(c, &c->v[i], e);
        *ret = c->v;
        *ret_n = c->n;
        return r;
}

/* --- room --- */

#define OWN_BLOCKS 4 /* of the folder itself, and of what is kept beside it while it is made */

int split_room_open(struct split_room *r, int dir_fd, uint64_t bytes, uint64_t files, struct error *e)
{
        struct statvfs v;
        if (fstatvfs(dir_fd, &v) < 0)
                return error_set(e, CAUSE_IO, errno, "asking for the size of blocks: %s", strerror(errno));
        *r = (struct split_room){.block = MAX((uint64_t)v.f_frsize, (uint64_t)LIMIT_SPLIT_BLOCK),
                .bytes = bytes ? bytes : UINT64_MAX,
                .files = files ? files : UINT64_MAX};
        r->bytes -= MIN(r->bytes, OWN_BLOCKS * r->block);
        return 0;
}

static uint64_t blocks(const struct split_room *r, uint64_t bytes)
{
        return bytes / r->block + (bytes % r->block != 0);
}

int split_room_take(struct split_room *r, uint64_t before, uint64_t after, struct error *e)
{
        bool is_new = before == 0;
        uint64_t bytes = (blocks(r, after) - blocks(r, before)) * r->block +
                         (is_new ? (uint64_t)LIMIT_SPLIT_FILE_COST : 0);
        if (is_new && r->files == 0)
                return error_set(e, CAUSE_SPACE, ENOSPC,
                        "it makes more files than inodes are left for it (%" PRIu64 " so far)",
                        r->files_made);
        if (bytes > r->bytes)
                return error_set(e, CAUSE_SPACE, ENOSPC,
                        "it takes more than what is free for it above min_free (%" PRIu64 " files so far)",
                        r->files_made);
        r->bytes -= bytes;
        r->files -= is_new;
        r->files_made += is_new;
        return 0;
}

/* --- who stays ---
 *
 * A key is known here by 128 bits of its SHA-256, which say in which pass it is counted, too. When more keys
 * fall to a pass than can be counted, all begins anew with twice as many passes. */

struct counted {
        uint64_t id[2];
        uint64_t lines, first; /* lines 0: a free slot */
};

struct tally {
        size_t stay, most, slots;
        struct counted *table; /* open addressing; room for `stay` more behind the slots */
        size_t n;              /* in table */
        struct counted *best;  /* of the passes before; in the end sorted by id */
        size_t n_best;
        uint64_t pass, passes, left_out;
        bool begun, full;
};

int tally_new(size_t stay, size_t counted, struct tally **ret)
{
        struct tally *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        *t = (struct tally){.stay = stay, .most = counted, .slots = 2 * counted, .passes = 1};
        t->table = calloc(t->slots + stay, sizeof(*t->table));
        t->best = calloc(stay, sizeof(*t->best));
        if (!t->table || !t->best) {
                tally_free(t);
                return -ENOMEM;
        }
        *ret = t;
        return 0;
}

static int by_lines(const void *a, const void *b)
{
        const struct counted *x = a, *y = b;
        if (x->lines != y->lines)
                return x->lines < y->lines ? 1 : -1;
        return x->first < y->first ? -1 : x->first > y->first;
}

static int by_id(const void *a, const void *b)
{
        return memcmp(((const struct counted *)a)->id, ((const struct counted *)b)->id, sizeof(uint64_t[2]));
}

/* The best of this pass and of those before. */
static void end_pass(struct tally *t)
{
        size_t n = 0;
        for (size_t i = 0; i < t->slots; i++)
                if (t->table[i].lines)
                        t->table[n++] = t->table[i];
        memcpy(t->table + n, t->best, t->n_best * sizeof(*t->best));
        n += t->n_best;
        qsort(t->table, n, sizeof(*t->table), by_lines);
        t->n_best = MIN(n, t->stay);
        t->left_out += n - t->n_best;
        memcpy(t->best, t->table, t->n_best * sizeof(*t->best));
}

bool tally_pass(struct tally *t)
{
        if (t->full) {
                t->passes *= 2;
                t->pass = t->left_out = 0;
                t->n_best = 0;
        } else if (t->begun) {
                end_pass(t);
                t->pass++;
        }
        t->begun = true;
        t->full = false;
        t->n = 0;
        memset(t->table, 0, t->slots * sizeof(*t->table));
        if (t->pass < t->passes)
                return true;
        qsort(t->best, t->n_best, sizeof(*t->best), by_id);
        return false;
}

static int id_of(const struct course_key *key, struct counted *ret)
{
        uint8_t hash[SHA256_SIZE];
        int r = digest_once(DIGEST_SHA256, key->text, key->len, hash);
        if (r == 0)
                memcpy(ret->id, hash, sizeof(ret->id));
        return r;
}

int tally_line(struct tally *t, const struct course_key *key, uint64_t line)
{
        struct counted one = {.first = line};
        int r = t->full ? 0 : id_of(key, &one);
        if (r < 0 || t->full || one.id[1] % t->passes != t->pass)
                return r;
        for (size_t i = one.id[0] % t->slots;; i = (i + 1) % t->slots) {
                struct counted *c = &t->table[i];
                if (c->lines == 0 && t->n == t->most) {
                        t->full = true;
                        return 0;
                }
                if (c->lines == 0) {
                        *c = one;
                        t->n++;
                }
                if (by_id(c, &one) == 0) {
                        c->lines++;
                        return 0;
                }
        }
}

int tally_stays(const struct tally *t, const struct course_key *key)
{
        struct counted one = {};
        int r = id_of(key, &one);
        return r < 0 ? r : bsearch(&one, t->best, t->n_best, sizeof(one), by_id) != NULL;
}

struct tally *tally_free(struct tally *t)
{
        if (t) {
                free(t->table);
                free(t->best);
                free(t);
        }
        return NULL;
}

uint64_t tally_left_out(const struct tally *t)
{
        return t->left_out;
}
