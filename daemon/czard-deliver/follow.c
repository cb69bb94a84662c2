/* SPDX-License-Identifier: Apache-2.0 */
/* The unit's loop: it waits for the feeds and the clock, and starts a child for each run; SIGHUP is for the
 * feeds, and for a run at once. Between runs nothing is open but what is waited for. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "feed_reader.h"
#include "journal.h"
#include "session.h"

#define SETTLE_MSEC 2000 /* a snapshot's lines come together */
#define BLIND_MSEC 10000 /* between two looks at what cannot be watched */
#define DAY_SEC 86400    /* keys and dates are looked at daily */

struct feeds {
        struct feed_reader **v;
        size_t n;
};

static void feeds_done(struct feeds *f)
{
        for (size_t i = 0; i < f->n; i++)
                feed_reader_free(f->v[i]);
        free(f->v);
        *f = (struct feeds){};
}

static int on_line(const char *line, size_t len, uint64_t seq, void *arg)
{
        (void)line;
        (void)len;
        (void)seq;
        *(bool *)arg = true;
        return 0;
}

/* Everything that is there now is known. */
static int feeds_open(struct feeds *f, const struct config *c, struct error *e)
{
        f->v = calloc(c->n_packages + 1, sizeof(*f->v));
        if (!f->v)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        for (size_t i = 0; i < c->n_packages; i++) {
                int r = feed_reader_new(c->staging.path, c->packages[i].spec.org, 0, &f->v[f->n], e);
                if (r < 0)
                        return r;
                f->n++;
        }
        return 0;
}

/* What came since the last time? Sets the descriptors to wait for. *ret_blind: one cannot be watched, as when
 * the user's inotify instances are all in use; it has to be looked at. Of a feed that is damaged any notice
 * is news. */
static bool feeds_look(struct feeds *f, struct pollfd *p, bool *ret_blind)
{
        *ret_blind = false;
        bool news = false;
        for (size_t i = 0; i < f->n; i++) {
                struct error e = {};
                int fd = feed_reader_watch(f->v[i], &e);
                int r = feed_reader_each(f->v[i], on_line, &news, &e);
                news |= r == -EBADMSG && p[i].revents;
                p[i] = (struct pollfd){.fd = fd, .events = POLLIN};
                *ret_blind |= fd < 0;
        }
        return news;
}

static int wait_msec(int64_t until)
{
        int64_t left = until - (int64_t)time(NULL);
        return left <= 0 ? 0 : (int)MIN(left, (int64_t)DAY_SEC) * 1000;
}

/* c names the feeds, until SIGHUP reads it anew. Returns a status, or -1: SIGHUP. */
static int follow_config(
        const struct config *c, const struct deliver_options *o, int signals, const sigset_t *old)
{
        struct feeds feeds = {};
        struct error e = {};
        int status = -2;
        if (feeds_open(&feeds, c, &e) < 0) {
                journal_event(EVENT_FAILED, NULL, "%s", e.text);
                status = STATUS_CANNOT;
        }
        _cleanup_free_ struct pollfd *p = calloc(c->n_packages + 1, sizeof(*p));
        bool due = true, blind;
        int64_t next = 0;
        while (status == -2 && p) {
                struct signalfd_siginfo signal;
                due |= feeds_look(&feeds, p, &blind);
                p[feeds.n] = (struct pollfd){.fd = signals, .events = POLLIN};
                if (due || next <= (int64_t)time(NULL)) {
                        int r = child_run(c, o, old, &next);
                        bool well = r == STATUS_WELL || r == STATUS_STILL;
                        next = MIN(next, (int64_t)time(NULL) + (well ? DAY_SEC : RETRY_SEC));
                        if (r == STATUS_GAVE_WAY)
                                next = 0;
                        due = false;
                        sd_notify(0, "READY=1");
                        continue;
                }
                int wait = wait_msec(next);
                if (poll(p, feeds.n + 1, blind ? MIN(wait, BLIND_MSEC) : wait) <= 0)
                        continue;
                if (!p[feeds.n].revents) {
                        poll(&p[feeds.n], 1, SETTLE_MSEC);
                        continue;
                }
                if (read(signals, &signal, sizeof(signal)) == sizeof(signal))
                        status = signal.ssi_signo == SIGHUP ? -1 : STATUS_WELL;
        }
        feeds_done(&feeds);
        return status;
}

int deliver_follow(const struct deliver_options *o)
{
        sigset_t set, old;
        sigemptyset(&set);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigprocmask(SIG_BLOCK, &set, &old);
        _cleanup_close_ int signals = signalfd(-1, &set, SFD_CLOEXEC);
        struct config *c = NULL;
        int status = -1;
        while (status == -1) {
                struct config *fresh = NULL;
                struct error e = {};
                if (signals >= 0 && config_load(o->config_path, &fresh, &e, NULL) == 0) {
                        config_free(c);
                        c = fresh;
                } else {
                        journal_event(c ? EVENT_RELOAD_REFUSED : EVENT_FAILED,
                                &(struct journal_fields){.cause = e.cause}, "%s", e.text);
                }
                status = c ? follow_config(c, o, signals, &old) : STATUS_USAGE;
        }
        config_free(c);
        return status;
}
