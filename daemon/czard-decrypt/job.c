/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs: FILE and MEMBERS. The plaintext of each goes to a file that has no name: until czard gives it
 * one, a wrong byte in it harms nobody. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsx.h"
#include "gzcheck.h"
#include "str.h"
#include "terms.h"
#include "worker.h"

#define WRITE_BEHIND (8 * MIB)

/* --- the plaintext and the verdict on it --- */

/* A plaintext file that is being written. */
struct output {
        int fd; /* borrowed */
        struct digest *sha256;
        uint64_t size;
        bool has_rows; /* line breaks are counted */
        uint64_t rows;
        uint64_t started; /* so much of it the disk was told to write */
        uint64_t dropped; /* so much of it is on the disk, and not in the page cache any more */
};

static int output_open(struct output *o, int fd, struct error *e)
{
        *o = (struct output){.fd = fd};
        if (digest_new(DIGEST_SHA256, &o->sha256) < 0)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        return 0;
}

static void output_done(struct output *o)
{
        o->sha256 = digest_free(o->sha256);
}
#define _cleanup_output_ _cleanup_(output_done)

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

/* A sink_fn over a struct output. */
static int output_write(void *arg, const void *p, size_t n, struct error *e)
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

/* Puts size and digest into v, or throws away what was written when v tells an error. */
static void output_finish(struct output *o, struct proto_verdict *v)
{
        if (v->outcome.cause != CAUSE_NONE) {
                (void)!ftruncate(o->fd, 0);
                return;
        }
        v->plain_size = o->size;
        v->rows = o->rows;
        digest_final(o->sha256, v->sha256);
}

/* Does the rest of the input matter after such an end? Of a bad message it is read, so that the sender can
 * tell whether the bytes were those that S3 has. */
static bool cause_is_of_content(enum cause c)
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

/* Takes over what the engine found. */
static void verdict_from_pgp(struct proto_verdict *v, const struct pgp_verdict *from)
{
        v->checks |= from->checks;
        v->warnings |= from->warnings;
        v->fingerprint = from->fingerprint;
        v->recipients = from->recipients;
}

/* v as an answer, with what is wrong in e. */
static int send_verdict(struct worker *w, struct proto_verdict *v, const struct error *e)
{
        v->outcome = (struct outcome){.cause = e->cause, .detail = e->text};
        struct message m = {.type = PROTO_VERDICT, .verdict = *v};
        return service_send(&w->service, &m);
}

_Static_assert((int)PGP_WARN_KEY_EXPIRED == (int)WARN_KEY_EXPIRED && (int)PGP_WARN_ARMOR == (int)WARN_ARMOR &&
                       (int)PGP_WARN_SIGNATURE == (int)WARN_SIGNATURE,
        "the warnings of lib/openpgp are those of the protocol");

/* --- FILE: pipe -> OpenPGP -> gzip check -> file --- */

/* The pipe that a job reads. */
struct input {
        struct worker *w;
        int fd;
        uint64_t bytes;
};

/* service_read() for those who have the struct worker as a void pointer. */
static ssize_t worker_read(void *arg, int fd, void *p, size_t n)
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

/* --- MEMBERS ---
 *
 * A run of them from one pipe, each to a file of its own with a verdict of its own; the verdict is
 * sent as soon as the member is finished, and damage in one member does not touch the next. */

/* A member's bytes on their way to OpenPGP, or out: a bomb may sit in the zip already. */
struct zip_member {
        struct worker *w;
        struct expansion limit;
        uint64_t bytes;
};

static ssize_t member_read(void *arg, void *p, size_t n, struct error *e)
{
        struct zip_member *member = arg;
        ssize_t k = archive_member_read(member->w->stream, p, n, e);
        if (k <= 0)
                return k;
        member->bytes += (uint64_t)k;
        int r = expansion_check(&member->limit, archive_member_packed(member->w->stream), member->bytes, e);
        return r < 0 ? r : k;
}

static int pass_through(struct zip_member *member, struct output *out, struct error *e)
{
        _cleanup_free_ char *buf = malloc(64 * KIB);
        if (!buf)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        ssize_t n;
        int r = 0;
        while (r == 0 && (n = member_read(member, buf, 64 * KIB, e)) != 0)
                r = n < 0 ? (int)n : output_write(out, buf, (size_t)n, e);
        return r;
}

static bool name_too_long(const char *name, uint64_t max)
{
        while (max && *name) {
                size_t n = strcspn(name, "/");
                if (n > max)
                        return true;
                name += n + (name[n] == '/');
        }
        return false;
}

static void run_member(struct zip_member *member, const struct archive_entry *entry, struct output *out,
        struct proto_verdict *v, struct pgp_verdict *pgp, struct error *e)
{
        struct worker *w = member->w;
        if (name_too_long(entry->name, w->max_name)) {
                error_set(e, CAUSE_LIMIT, ENAMETOOLONG, "the name is longer than max_name");
                return;
        }
        if (archive_member_begin(w->stream, entry, e) < 0)
                return;
        member->limit = w->limit;
        if (str_ends(entry->name, ".gpg")) {
                member->limit.max_plaintext = 0; /* these bytes are none */
                const struct pgp_job job = {
                        .read = member_read,
                        .read_arg = member,
                        .write = output_write,
                        .write_arg = out,
                        .limit = w->limit,
                };
                if (pgp_decrypt(w->pgp, &job, pgp) < 0)
                        *e = pgp->error;
                verdict_from_pgp(v, pgp);
        } else {
                v->warnings |= WARN_NOT_ENCRYPTED;
                (void)pass_through(member, out, e);
        }
        /* what the zip has to say about its bytes comes before what was made of them */
        struct error zip = {};
        if (cause_is_of_content(e->cause)) {
                if (archive_member_end(w->stream, &zip) < 0)
                        *e = zip;
                else
                        v->checks |= CHECK_ZIP;
        }
}

/* Closes *fd: once it has the verdict czard makes sure that we cannot write to the file any more. */
static int do_member(
        struct worker *w, uint32_t index, const struct archive_entry *entry, int *fd, struct pgp_verdict *pgp)
{
        struct zip_member member = {.w = w};
        struct proto_verdict v = {.member = index};
        struct error e = {};
        _cleanup_output_ struct output out = {};
        *pgp = (struct pgp_verdict){};
        worker_tidy(w);
        if (output_open(&out, *fd, &e) == 0) {
                out.has_rows = str_ends(entry->name, ".sql") || str_ends(entry->name, ".sql.gpg");
                run_member(&member, entry, &out, &v, pgp, &e);
        }
        v.cipher_size = member.bytes;
        v.outcome.cause = e.cause;
        /* The GET must end well for the verdict to count, so nothing of it may be left unread. */
        if (cause_remedy(e.cause) != REMEDY_PAUSE)
                archive_member_skip(w->stream, entry);
        output_finish(&out, &v);
        *fd = close_fd(*fd);
        return send_verdict(w, &v, &e);
}

static int new_stream(struct worker *w, struct message *m)
{
        struct archive_stream *s = NULL;
        if (archive_stream_new(m->fds[0], m->members.position, &s) < 0)
                return -ENOMEM;
        m->fds[0] = -1;
        archive_stream_read_with(s, worker_read, w);
        archive_stream_free(w->stream);
        w->stream = s;
        return 0;
}

int worker_members(struct worker *w, struct message *m)
{
        size_t first = m->members.new_stream ? 1 : 0;
        if (!w->ready || m->n_fds != first + m->members.n)
                return -EPROTO;
        int r = first ? new_stream(w, m) : w->stream ? 0 : -EPROTO;
        if (r < 0)
                return r;
        _cleanup_free_ struct pgp_verdict *pgp = malloc(sizeof(*pgp));
        if (!pgp)
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < m->members.n; i++)
                r = do_member(w, (uint32_t)i, &m->members.entries[i], &m->fds[first + i], pgp);
        return r;
}
