/* SPDX-License-Identifier: Apache-2.0 */
/* MEMBERS: a run of them from one pipe, each to a file of its own with a verdict of its own; the verdict is
 * sent as soon as the member is finished, and damage in one member does not touch the next. */
#include <stdlib.h>
#include <string.h>

#include "terms.h"
#include "fsx.h"
#include "str.h"
#include "worker.h"

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
