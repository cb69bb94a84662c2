/* SPDX-License-Identifier: Apache-2.0 */
/* czard-decrypt: holds the OpenPGP key and has no network. It is started by czard with one end of a socket
 * pair and does what comes through it, one job at a time, synchronously: gpg may block for ever, and then
 * czard kills this process with its deadline. It owns no paths but its GNUPGHOME; ciphertext comes through a
 * pipe, plaintext goes to an unnamed file, both handed in with the job.
 *
 * The flow goes on in setup.c and job.c. */
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "pgp_secret.h"
#include "worker.h"

#define DESCRIPTORS_MOST 256

static int do_request(struct worker *w, struct message *m)
{
        switch (m->type) {
        case PROTO_SETUP:
                return worker_setup(w, m);
        case PROTO_FILE:
                return worker_file(w, m);
        case PROTO_MEMBERS:
                return worker_members(w, m);
        default:
                return -EPROTO;
        }
}

static int do_job(void *arg, struct message *m)
{
        struct worker *w = arg;
        worker_tidy(w);
        int r = do_request(w, m);
        agent_reap(&w->agent); /* the next message may be far */
        return r;
}

static void worker_done(struct worker *w)
{
        w->stream = archive_stream_free(w->stream);
        w->pgp = pgp_close(w->pgp);
        agent_stop(&w->agent);
        secret_done(&w->passphrase);
        free(w->home);
}

/* gpg-agent and GPGME look at or close every descriptor that the limit allows, as they cannot see in /proc
 * which ones are open: half a million under systemd, 100 to 250 ms each time. */
static void limit_descriptors(void)
{
        const struct rlimit most = {.rlim_cur = DESCRIPTORS_MOST, .rlim_max = DESCRIPTORS_MOST};
        (void)setrlimit(RLIMIT_NOFILE, &most);
}

int main(int argc, char **argv)
{
        struct worker w = {};
        struct error e = {};
        int r = service_start(&w.service, "czard-decrypt", argc, argv);
        if (r >= 0)
                return r;
        secret_lock_stack();
        (void)pgp_secret_init(); /* before anything else uses OpenSSL; pgp_load_secret() tells when it failed
                                  */
        limit_descriptors();
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* for agent_reap(): GPGME disowns its gpg */
        r = service_serve(&w.service, do_job, &w, &e);
        worker_done(&w);
        return service_end(&w.service, r, &e);
}
