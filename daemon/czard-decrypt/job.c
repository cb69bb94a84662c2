/* SPDX-License-Identifier: Apache-2.0 */
/* FILE: pipe -> OpenPGP -> gzip check -> file. */
#include <stdlib.h>
#include <string.h>

#include "terms.h"
#include "gzcheck.h"
#include "worker.h"

/* The pipe that a job reads. */
struct input {
        struct worker *w;
        int fd;
        uint64_t bytes;
};

ssize_t worker_read(void *arg, int fd, void *p, size_t n)
{
        struct worker *w = arg;
        return service_read(&w->service, fd, p, n);
}

static ssize_t input_read(void *arg, void *p, size_t n, struct error *e)
{
        struct input *in = arg;
        ssize_t k = worker_read(in->w, in->fd, p, n);
        if (k < 0)
                return error_set(e, CAUSE_HELPER, errno, "reading the pipe: %s", strerror(errno));
        in->bytes += (size_t)k;
        return k;
}

/* gzip in front of the output. Damage is kept until OpenPGP has had its say: when the message was altered,
 * that is what is to be told. */
struct unzip {
        struct gzcheck *gz;
        struct error damage;
};

static int unzip_write(void *arg, const void *p, size_t n, struct error *e)
{
        struct unzip *u = arg;
        struct error failed = {};
        if (u->damage.cause)
                return 0;
        int r = gzcheck_write(u->gz, p, n, &failed);
        if (r < 0 && failed.cause == CAUSE_BAD_GZIP) {
                u->damage = failed;
                return 0;
        }
        if (r < 0)
                *e = failed;
        return r;
}

static int unzip_end(struct unzip *u, struct error *e)
{
        int r = u->damage.cause ? -EBADMSG : gzcheck_end(u->gz, &u->damage);
        if (r < 0) {
                *e = u->damage;
                error_prefix(e, "the plaintext is not whole gzip");
        }
        return r;
}

/* Reads on after the verdict, as far as the object should reach and one byte more, and compares the size. */
static void check_size(struct input *in, uint64_t expected, struct error *e)
{
        char buf[32 * 1024];
        struct error failed = {};
        ssize_t n = 1;
        while (n > 0 && in->bytes <= expected)
                n = input_read(in, buf, sizeof(buf), &failed);
        if (failed.cause)
                *e = failed;
        else if (in->bytes < expected)
                error_set(
                        e, CAUSE_TRUNCATED, EIO, "got %" PRIu64 " of %" PRIu64 " bytes", in->bytes, expected);
        else if (in->bytes > expected)
                error_set(
                        e, CAUSE_SIZE, EIO, "got more than the %" PRIu64 " bytes that were listed", expected);
}

static void decrypt_file(struct worker *w, struct input *in, const struct proto_file *file,
        struct output *out, struct proto_verdict *v, struct pgp_verdict *pgp, struct error *e)
{
        struct unzip u = {};
        bool gzip = file->format != FORMAT_OPAQUE;
        if (gzip && gzcheck_new(file->format == FORMAT_GUNZIP, &w->limit, output_write, out, &u.gz) < 0) {
                error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
                return;
        }
        const struct pgp_job job = {
                .read = input_read,
                .read_arg = in,
                .write = gzip ? unzip_write : output_write,
                .write_arg = gzip ? (void *)&u : (void *)out,
                .limit = w->limit,
        };
        if (pgp_decrypt(w->pgp, &job, pgp) < 0)
                *e = pgp->error;
        else if (gzip && unzip_end(&u, e) == 0)
                v->checks |= CHECK_GZIP;
        verdict_from_pgp(v, pgp);
        gzcheck_free(u.gz);
        if (cause_is_of_content(e->cause))
                check_size(in, file->size, e);
}

int worker_file(struct worker *w, struct message *m)
{
        if (!w->ready || m->n_fds != 2)
                return -EPROTO;
        struct input in = {.w = w, .fd = m->fds[0]};
        struct pgp_verdict *pgp = calloc(1, sizeof(*pgp));
        struct proto_verdict v = {};
        struct error e = {};
        _cleanup_output_ struct output out = {};
        if (!pgp)
                return -ENOMEM;
        if (output_open(&out, m->fds[1], &e) == 0)
                decrypt_file(w, &in, &m->file, &out, &v, pgp, &e);
        v.cipher_size = in.bytes;
        v.outcome.cause = e.cause;
        output_finish(&out, &v);
        /* Before the verdict: nobody shall write to the pipe any more, and czard makes sure that we cannot
         * write to the file. */
        m->fds[0] = close_fd(m->fds[0]);
        m->fds[1] = close_fd(m->fds[1]);
        int r = send_verdict(w, &v, &e);
        free(pgp);
        return r;
}
