/* SPDX-License-Identifier: Apache-2.0 */
/* The plaintext file of one job, and the verdict on it. The file has no name: until czard gives it one, a
 * wrong byte in it harms nobody. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "terms.h"
#include "fsx.h"
#include "str.h"
#include "worker.h"

#define WRITE_BEHIND (8 * MIB)

int output_open(struct output *o, int fd, struct error *e)
{
        *o = (struct output){.fd = fd};
        if (digest_new(DIGEST_SHA256, &o->sha256) < 0)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        return 0;
}

void output_done(struct output *o)
{
        o->sha256 = digest_free(o->sha256);
}

static int failed(int err, struct error *e)
{
        return error_errno(e, err, "writing the plaintext");
}

static int sync_range(struct output *o, uint64_t from, uint64_t to, unsigned how, struct error *e)
{
        int r = sync_file_range(o->fd, (off_t)from, (off_t)(to - from), how) < 0 ? errno : 0;
        if (r == 0 || r == ENOSYS || r == EPERM || r == EINVAL || r == EOPNOTSUPP)
                return 0; /* what is refused here tells nothing of the disk */
        return failed(r, e);
}

/* The disk begins with what is there while the rest is still decrypted, so that little is left to wait for
 * when the file is made durable. What it has is dropped from the page cache: a large file then takes the same
 * few pages again and again, instead of all memory that is free and then that of others.
 *
 * fsync(2), in czard, is what counts, but it does not tell again of an error that was told here. */
static int write_behind(struct output *o, struct error *e)
{
        if (o->size - o->started < WRITE_BEHIND)
                return 0;
        int r = sync_range(o, o->started, o->size, SYNC_FILE_RANGE_WRITE, e);
        if (r == 0 && o->started > o->dropped) {
                r = sync_range(o, o->dropped, o->started, SYNC_FILE_RANGE_WRITE_AND_WAIT, e);
                (void)posix_fadvise(
                        o->fd, (off_t)o->dropped, (off_t)(o->started - o->dropped), POSIX_FADV_DONTNEED);
                o->dropped = o->started;
        }
        o->started = o->size;
        return r;
}

int output_write(void *arg, const void *p, size_t n, struct error *e)
{
        struct output *o = arg;
        int r = write_all(o->fd, p, n);
        if (r < 0)
                return failed(-r, e);
        digest_update(o->sha256, p, n);
        o->size += n;
        if (o->has_rows)
                o->rows += count_newlines(p, n);
        return write_behind(o, e);
}

void output_finish(struct output *o, struct proto_verdict *v)
{
        if (v->outcome.cause != CAUSE_NONE) {
                (void)!ftruncate(o->fd, 0);
                return;
        }
        v->plain_size = o->size;
        v->rows = o->rows;
        digest_final(o->sha256, v->sha256);
}

bool cause_is_of_content(enum cause c)
{
        switch (c) {
        case CAUSE_NONE:
        case CAUSE_NO_MDC:
        case CAUSE_BAD_MDC:
        case CAUSE_BAD_PGP:
        case CAUSE_SIGNATURE:
        case CAUSE_BAD_GZIP:
        case CAUSE_BAD_ZIP:
                return true;
        default:
                return false;
        }
}

void verdict_from_pgp(struct proto_verdict *v, const struct pgp_verdict *from)
{
        v->checks |= from->checks;
        v->warnings |= from->warnings;
        v->fingerprint = from->fingerprint;
        v->recipients = from->recipients;
}

int send_verdict(struct worker *w, struct proto_verdict *v, const struct error *e)
{
        v->outcome = (struct outcome){.cause = e->cause, .detail = e->text};
        struct message m = {.type = PROTO_VERDICT, .verdict = *v};
        return worker_send(w, &m);
}

_Static_assert((int)PGP_WARN_KEY_EXPIRED == (int)WARN_KEY_EXPIRED && (int)PGP_WARN_ARMOR == (int)WARN_ARMOR &&
                       (int)PGP_WARN_SIGNATURE == (int)WARN_SIGNATURE,
        "the warnings of lib/openpgp are those of the protocol");
