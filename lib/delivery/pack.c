/* SPDX-License-Identifier: Apache-2.0 */
#include "pack.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "digest.h"
#include "fsx.h"
#include "str.h"

#define BLOCK 512
#define RECORD (20 * BLOCK) /* GNU tar's blocking factor */
#define IN_SIZE (256 * KIB)
#define FILE_MODE 0440

struct pack {
        const struct staging *s;
        const struct pack_entry *entries;
        size_t n, at;
        enum pack_form form;
        int64_t mtime;
        struct error *e;
        struct strbuf out; /* headers, texts, padding */
        size_t out_at;
        int fd; /* of the file at hand */
        uint64_t left, size, total;
        struct digest *digest;
        bool ended;
        /* PACK_TAR_GZ */
        struct isal_zstream z;
        uint8_t *in, *level;
};

DEFINE_CLEANUP(struct pack, pack, pack_free)

int pack_new(const struct staging *s, const struct pack_entry *entries, size_t n, enum pack_form form,
        int64_t mtime, struct pack **ret, struct error *e)
{
        _cleanup_(cleanup_pack) struct pack *p = calloc(1, sizeof(*p));
        if (!p)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        *p = (struct pack){
                .s = s, .entries = entries, .n = n, .form = form, .mtime = mtime, .e = e, .fd = -1};
        if (digest_new(DIGEST_SHA256, &p->digest) < 0)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (form == PACK_TAR_GZ) {
                isal_deflate_init(&p->z);
                p->in = malloc(IN_SIZE);
                p->level = malloc(ISAL_DEF_LVL1_DEFAULT);
                if (!p->in || !p->level)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                p->z.gzip_flag = IGZIP_GZIP;
                p->z.level = 1;
                p->z.level_buf = p->level;
                p->z.level_buf_size = ISAL_DEF_LVL1_DEFAULT;
        }
        *ret = take_ptr(&p);
        return 0;
}

struct pack *pack_free(struct pack *p)
{
        if (!p)
                return NULL;
        close_fd(p->fd);
        digest_free(p->digest);
        strbuf_done(&p->out);
        free(p->in);
        free(p->level);
        free(p);
        return NULL;
}

/* --- tar --- */

struct header {
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[6],
                version[2], uname[32], gname[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is a block");

static void pad(struct pack *p, uint64_t size, unsigned to)
{
        static const char zeros[RECORD];
        if (size % to)
                strbuf_add_n(&p->out, zeros, to - size % to);
}

/* n digits and a NUL. */
static void octal(char *to, size_t n, uint64_t value)
{
        char text[32];
        snprintf(text, sizeof(text), "%0*llo", (int)n, (unsigned long long)value);
        memcpy(to, text, n + 1);
}

/* Where a name may be cut in two: a '/' with at most 155 bytes before and 100 behind it. */
static const char *cut_name(const char *name)
{
        struct header h;
        size_t n = strlen(name);
        for (const char *p = strchr(name, '/'); p; p = strchr(p + 1, '/'))
                if ((size_t)(p - name) <= sizeof(h.prefix) && n - (size_t)(p - name) - 1 <= sizeof(h.name))
                        return p;
        return NULL;
}

static void add_header(struct pack *p, const char *name, char type, uint64_t size, int64_t mtime)
{
        struct header h = {.type = type, .magic = "ustar", .version = {'0', '0'}};
        size_t n = strlen(name);
        const char *cut = n > sizeof(h.name) ? cut_name(name) : NULL;
        if (cut)
                memcpy(h.prefix, name, (size_t)(cut - name));
        name = cut ? cut + 1 : name;
        memcpy(h.name, name, MIN(strlen(name), sizeof(h.name)));
        octal(h.mode, 7, FILE_MODE);
        octal(h.uid, 7, 0);
        octal(h.gid, 7, 0);
        octal(h.size, 11, size < UINT64_C(1) << 33 ? size : 0);
        octal(h.mtime, 11, mtime > 0 && mtime < INT64_C(1) << 33 ? (uint64_t)mtime : 0);
        memset(h.sum, ' ', sizeof(h.sum));
        unsigned sum = 0;
        for (size_t i = 0; i < sizeof(h); i++)
                sum += ((const unsigned char *)&h)[i];
        octal(h.sum, 6, sum);
        h.sum[7] = ' ';
        strbuf_add_n(&p->out, &h, sizeof(h));
}

/* "LEN key=value\n", where LEN counts its own digits. */
static void add_pax_record(struct strbuf *b, const char *key, const char *value)
{
        size_t rest = strlen(key) + strlen(value) + 3, len = rest + 1;
        while (len != rest + (size_t)snprintf(NULL, 0, "%zu", len))
                len = rest + (size_t)snprintf(NULL, 0, "%zu", len);
        strbuf_printf(b, "%zu %s=%s\n", len, key, value);
}

static void add_file_header(struct pack *p, const char *name, uint64_t size, int64_t mtime)
{
        _cleanup_strbuf_ struct strbuf pax = {};
        char number[32];
        struct header h;
        if (strlen(name) > sizeof(h.name) && !cut_name(name))
                add_pax_record(&pax, "path", name);
        snprintf(number, sizeof(number), "%llu", (unsigned long long)size);
        if (size >= UINT64_C(1) << 33)
                add_pax_record(&pax, "size", number);
        if (pax.len) {
                add_header(p, "PaxHeader", 'x', pax.len, mtime);
                strbuf_add_n(&p->out, pax.s, pax.len);
                pad(p, pax.len, BLOCK);
        }
        add_header(p, name, '0', size, mtime);
}

/* --- files --- */

static int other_file(struct pack *p, const char *what)
{
        return error_set(p->e, CAUSE_STAGING, ESTALE, "%s: %s", p->entries[p->at].path, what);
}

static int begin_file(struct pack *p)
{
        const struct pack_entry *f = &p->entries[p->at];
        struct stat st;
        int fd = staging_open_file(p->s, f->path);
        if (fd < 0 || fstat(fd, &st) < 0) {
                int err = fd < 0 ? -fd : errno;
                close_fd(fd);
                return error_set(p->e, err == ENOENT ? CAUSE_STAGING : cause_from_errno(err), err, "%s: %s",
                        f->path, strerror(err));
        }
        p->fd = fd;
        p->left = p->size = (uint64_t)st.st_size;
        if (p->form != PACK_BARE)
                add_file_header(p, f->name, p->size, st.st_mtim.tv_sec);
        return 0;
}

/* The file was read: was it the one that was meant? */
static int end_file(struct pack *p)
{
        uint8_t sum[SHA256_SIZE];
        char hex[SHA256_HEX], more;
        if (read(p->fd, &more, 1) != 0)
                return other_file(p, "it grew while it was read");
        digest_final(p->digest, sum);
        hex_encode(sum, sizeof(sum), hex);
        if (!streq(hex, p->entries[p->at].sha256))
                return other_file(p, "its bytes are not the ones that czard staged; see czarctl verify");
        if (p->form != PACK_BARE)
                pad(p, p->size, BLOCK);
        p->fd = close_fd(p->fd);
        p->at++;
        return 0;
}

static void add_text(struct pack *p)
{
        const struct pack_entry *f = &p->entries[p->at++];
        size_t n = strlen(f->text);
        add_file_header(p, f->name, n, p->mtime);
        strbuf_add_n(&p->out, f->text, n);
        pad(p, n, BLOCK);
}

static int advance(struct pack *p)
{
        static const char zeros[2 * BLOCK];
        int r = 0;
        p->out.len = p->out_at = 0;
        if (p->fd >= 0)
                r = end_file(p);
        else if (p->at < p->n && p->entries[p->at].path)
                r = begin_file(p);
        else if (p->at < p->n)
                add_text(p);
        else if (p->form != PACK_BARE) {
                strbuf_add_n(&p->out, zeros, sizeof(zeros));
                pad(p, p->total + sizeof(zeros), RECORD);
                p->ended = true;
        } else
                p->ended = true;
        return p->out.err ? error_set(p->e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

static ssize_t read_plain(struct pack *p, void *to, size_t n)
{
        for (;;) {
                size_t take = MIN(n, p->out.len - p->out_at);
                if (take > 0) {
                        memcpy(to, p->out.s + p->out_at, take);
                        p->out_at += take;
                        p->total += take;
                        return (ssize_t)take;
                }
                if (p->fd >= 0 && p->left > 0) {
                        ssize_t got = read(p->fd, to, (size_t)MIN((uint64_t)n, p->left));
                        if (got < 0)
                                return error_errno(p->e, errno, "%s", p->entries[p->at].path);
                        if (got == 0)
                                return other_file(p, "it became shorter while it was read");
                        digest_update(p->digest, to, (size_t)got);
                        p->left -= (uint64_t)got;
                        p->total += (uint64_t)got;
                        return got;
                }
                if (p->ended)
                        return 0;
                int r = advance(p);
                if (r < 0)
                        return r;
        }
}

static ssize_t read_gzip(struct pack *p, void *to, size_t n)
{
        struct isal_zstream *z = &p->z;
        z->next_out = to;
        z->avail_out = (uint32_t)MIN(n, (size_t)MIB);
        uint32_t room = z->avail_out;
        while (z->avail_out == room && z->internal_state.state != ZSTATE_END) {
                if (z->avail_in == 0 && !z->end_of_stream) {
                        ssize_t got = read_plain(p, p->in, IN_SIZE);
                        if (got < 0)
                                return got;
                        z->next_in = p->in;
                        z->avail_in = (uint32_t)got;
                        z->end_of_stream = got == 0;
                }
                if (isal_deflate(z) != COMP_OK)
                        return error_set(p->e, CAUSE_INTERNAL, EIO, "gzip failed");
        }
        return (ssize_t)(room - z->avail_out);
}

ssize_t pack_read(struct pack *p, void *to, size_t n)
{
        return p->form == PACK_TAR_GZ ? read_gzip(p, to, n) : read_plain(p, to, n);
}
