/* SPDX-License-Identifier: Apache-2.0 */
/* czarctl's end of czard-fetch. */
#include "fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "credstore.h"
#include "fsx.h"
#include "launch.h"
#include "str.h"
#include "unit_locks.h"

#define UNIT_ARGS 160
#define START_SECONDS 20
#define ANSWER_SECONDS 120

/* Its standard input becomes the channel: that is the one descriptor systemd-run hands over. The locks and
 * limits are those of the unit as it is installed and as the admin changed it. */
static void become_unit(const char *file, const char *config, int sock, int say, const struct strv *locks)
{
        const char *argv[UNIT_ARGS] = {"systemd-run", "--quiet", "--collect", "--pipe", "--wait"};
        size_t n = 5;
        for (size_t i = 0; i < locks->n && n < UNIT_ARGS - 6; i++)
                argv[n++] = locks->v[i];
        const char *const command[] = {file, "--config", config, "--channel", "0"};
        memcpy(&argv[n], command, sizeof(command));
        if (fd_arrange((int[]){sock, -1, say}, 3) < 0)
                _exit(126);
        setsid();
        union {
                const char **in;
                char **out;
        } pun = {.in = argv};
        execvp(argv[0], pun.out);
        _exit(127);
}

/* systemd-run expands these. */
static bool is_plain(const char *path)
{
        return !strpbrk(path, "'\\\n%$");
}

int fetch_prepare(struct ctl *c)
{
        char file[PATH_MAX];
        _cleanup_(strv_done) struct strv locks = {};
        _cleanup_free_ char *config = realpath(c->config_path, NULL);
        if (geteuid() != 0 || !config || !is_plain(config) || access("/run/systemd/system", F_OK) < 0 ||
                !credstore_has("czard.s3", NULL, NULL) || unit_locks("czard-fetch.service", &locks) < 0 ||
                launch_find("czard-fetch", file, sizeof(file)) < 0 || !is_plain(file))
                return 0;
        int pair[2];
        struct sync_helper *u = calloc(1, sizeof(*u));
        if (!u || proto_pair(pair) < 0) {
                free(u);
                return ctl_fail_text("cannot start czard-fetch: %s", strerror(errno));
        }
        int say = sync_helper_said(u);
        pid_t pid = fork();
        if (pid == 0)
                become_unit(file, config, pair[1], say, &locks);
        said_handed(say);
        close_fd(pair[1]);
        u->pid = pid > 0 ? pid : 0;
        u->sock = pair[0];
        c->unit = u;
        return 0;
}

int fetch_open(struct ctl *c, const char *config_path, struct fetch *ret, struct error *e)
{
        struct fetch f = {.helper = HELPER_NONE};
        bool is_unit = c->unit && !config_path;
        if (is_unit) {
                f.helper = *c->unit;
                *c->unit = (struct sync_helper)HELPER_NONE;
        } else {
                const char *args[] = {"--config", config_path ? config_path : c->config_path, NULL};
                int r = sync_helper_start("czard-fetch", args, &f.helper, e);
                if (r < 0)
                        return r;
        }
        struct message m = {};
        int r = sync_helper_receive(&f.helper, START_SECONDS, &m, e);
        if (r == -EPIPE && is_unit)
                error_set(e, CAUSE_HELPER, EPIPE,
                        "it ended early; see above (systemd-run, which starts it, needs D-Bus)");
        if (r == 0 && m.type != PROTO_HELLO)
                r = error_set(e, CAUSE_HELPER, EPROTO, "czard-fetch did not say hello");
        else if (r == 0 && m.hello.version != PROTO_VERSION)
                r = error_set(e, CAUSE_HELPER, EPROTO, "czard-fetch is of another version");
        else if (r == 0)
                snprintf(f.source, sizeof(f.source), "%s", m.hello.credentials_source);
        message_done(&m);
        if (r < 0) {
                error_prefix(e, "czard-fetch");
                fetch_close(&f);
                return r;
        }
        *ret = f;
        return 0;
}

void fetch_close(struct fetch *f)
{
        sync_helper_stop(&f->helper);
}

int fetch_list(struct fetch *f, const char *bucket, const char *prefix, const char *start_after,
        uint32_t *ret_id, struct error *e)
{
        struct message m = {.type = PROTO_LIST,
                .id = ++f->last_id,
                .list = {.bucket = bucket, .prefix = prefix, .start_after = start_after}};
        int r = sync_helper_send(&f->helper, &m, e);
        if (r == 0)
                *ret_id = m.id;
        return r;
}

int fetch_next(struct fetch *f, struct message *ret, struct error *e)
{
        for (;;) {
                int r = sync_helper_receive(&f->helper, ANSWER_SECONDS, ret, e);
                if (r < 0 || ret->type == PROTO_LISTED || ret->type == PROTO_DONE)
                        return r;
                message_done(ret);
        }
}

int fetch_try(
        struct fetch *f, const char *bucket, const char *prefix, struct fetch_result *ret, struct error *e)
{
        struct fetch_result res = {};
        uint32_t id;
        int r = fetch_list(f, bucket, prefix, "", &id, e);
        for (bool over = false; r == 0 && !over;) {
                struct message m = {};
                r = fetch_next(f, &m, e);
                if (r < 0)
                        break;
                if (m.id == id && m.type == PROTO_LISTED) {
                        res.n += m.listed.n;
                        struct message stop = {.type = PROTO_CANCEL, .id = id};
                        if (!res.more)
                                r = sync_helper_send(&f->helper, &stop, e);
                        res.more = true;
                } else if (m.id == id) {
                        res.cause = (enum cause)m.done.outcome.cause;
                        /* We stopped it ourselves, or it was over before. */
                        res.more = res.cause == CAUSE_CANCELLED;
                        if (res.more)
                                res.cause = CAUSE_NONE;
                        res.skew_sec = m.done.skew_sec;
                        snprintf(res.detail, sizeof(res.detail), "%s", m.done.outcome.detail);
                        snprintf(res.access_key_id, sizeof(res.access_key_id), "%s", m.done.access_key_id);
                        over = true;
                }
                message_done(&m);
        }
        if (r == 0)
                *ret = res;
        return r;
}
