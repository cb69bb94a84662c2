/* SPDX-License-Identifier: Apache-2.0 */
/* Where the bytes of bodies come from. A base and pieces over it; read by pread(2) only, so one content could
 * be read by several threads. */
#include "content.h"

#include <endian.h>

struct piece {
        uint64_t offset, n;
        int fd;
};

enum base { BASE_FD, BASE_GENERATED, BASE_ZEROS, BASE_TEXT };

struct content {
        enum base base;
        uint64_t size;
        int fd;        /* BASE_FD */
        uint64_t seed; /* BASE_GENERATED */
        char *s;       /* BASE_TEXT */
        size_t s_n;
        char *head, *tail; /* with BASE_TEXT */
        size_t head_n, tail_n;
        struct piece *pieces;
        size_t n_pieces;
};

static struct content *content_new(enum base base, uint64_t size)
{
        struct content *c = text_alloc(sizeof(*c));
        c->base = base;
        c->size = size;
        c->fd = -1;
        return c;
}

struct content *content_new_fd(int fd, uint64_t size)
{
        struct content *c = content_new(BASE_FD, size);
        c->fd = fd;
        return c;
}

struct content *content_new_generated(uint64_t seed, uint64_t size)
{
        struct content *c = content_new(BASE_GENERATED, size);
        c->seed = seed;
        return c;
}

struct content *content_new_zeros(uint64_t size)
{
        return content_new(BASE_ZEROS, size);
}

struct content *content_new_text(char *s, size_t n, uint64_t size)
{
        struct content *c = content_new(BASE_TEXT, size);
        c->s = s;
        c->s_n = n;
        return c;
}

static uint64_t add_sizes(uint64_t a, uint64_t b)
{
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void content_set_head(struct content *c, char *s, size_t n)
{
        c->head = s;
        c->head_n = n;
        c->size = add_sizes(c->size, n);
}

void content_set_tail(struct content *c, char *s, size_t n)
{
        c->tail = s;
        c->tail_n = n;
        c->size = add_sizes(c->size, n);
}

void content_splice(struct content *c, uint64_t offset, int fd, uint64_t n)
{
        c->pieces = reallocarray(c->pieces, c->n_pieces + 1, sizeof(*c->pieces));
        if (!c->pieces)
                abort();
        c->pieces[c->n_pieces++] = (struct piece){.offset = offset, .n = n, .fd = fd};
}

uint64_t content_size(const struct content *c)
{
        return c->size;
}

/* Sebastiano Vigna's splitmix64, https://prng.di.unimi.it/splitmix64.c */
static uint64_t splitmix(uint64_t seed, uint64_t index)
{
        uint64_t z = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static void generate(uint64_t seed, uint64_t offset, char *buf, size_t n)
{
        while (n > 0) {
                uint64_t word = htole64(splitmix(seed, offset / 8));
                size_t skip = offset % 8, k = MIN(8 - skip, n);
                memcpy(buf, (char *)&word + skip, k);
                buf += k;
                offset += k;
                n -= k;
        }
}

static void read_text(const struct content *c, uint64_t offset, char *buf, size_t n)
{
        uint64_t tail_at = c->size - c->tail_n;
        while (n > 0) {
                const char *from;
                uint64_t k;
                if (offset < c->head_n) {
                        from = c->head + offset;
                        k = c->head_n - offset;
                } else if (offset < tail_at) {
                        size_t at = (offset - c->head_n) % c->s_n;
                        from = c->s + at;
                        k = MIN(c->s_n - at, tail_at - offset);
                } else {
                        from = c->tail + (offset - tail_at);
                        k = c->size - offset;
                }
                k = MIN(k, n);
                memcpy(buf, from, k);
                buf += k;
                offset += k;
                n -= k;
        }
}

/* A short file (it was cut after it was opened) is an error: its size was promised. */
static int read_exactly(int fd, uint64_t offset, char *buf, size_t n)
{
        while (n > 0) {
                ssize_t k = pread(fd, buf, n, (off_t)offset);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return k < 0 ? -errno : -EIO;
                buf += k;
                offset += (size_t)k;
                n -= (size_t)k;
        }
        return 0;
}

static int read_base(struct content *c, uint64_t offset, char *buf, size_t n)
{
        switch (c->base) {
        case BASE_FD:
                return read_exactly(c->fd, offset, buf, n);
        case BASE_GENERATED:
                generate(c->seed, offset, buf, n);
                return 0;
        case BASE_ZEROS:
                memset(buf, 0, n);
                return 0;
        case BASE_TEXT:
                read_text(c, offset, buf, n);
                return 0;
        }
        return -EINVAL;
}

ssize_t content_read(struct content *c, uint64_t offset, void *buf, size_t n)
{
        if (offset >= c->size)
                return 0;
        n = MIN(n, c->size - offset);
        int r = read_base(c, offset, buf, n);
        for (size_t i = 0; r == 0 && i < c->n_pieces; i++) {
                const struct piece *p = &c->pieces[i];
                uint64_t from = MAX(offset, p->offset), to = MIN(offset + n, p->offset + p->n);
                if (from < to)
                        r = read_exactly(p->fd, from - p->offset, (char *)buf + (from - offset), to - from);
        }
        return r < 0 ? r : (ssize_t)n;
}

struct content *content_free(struct content *c)
{
        if (!c)
                return NULL;
        close_fd(c->fd);
        free(c->s);
        free(c->head);
        free(c->tail);
        for (size_t i = 0; i < c->n_pieces; i++)
                close_fd(c->pieces[i].fd);
        free(c->pieces);
        free(c);
        return NULL;
}
