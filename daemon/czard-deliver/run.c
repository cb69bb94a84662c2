/* SPDX-License-Identifier: Apache-2.0 */
/* One run: under the lock of the state folder, locked into what it needs, one delivery after the other. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "fsx.h"
#include "journal.h"
#include "look.h"
#include "sandbox.h"
#include "seal.h"
#include "session.h"

static int open_state(struct session *s, struct error *e)
{
        _cleanup_free_ char *path = str_printf("%s-deliver", s->config->state_dir);
        if (!path)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (mkdir(path, 0750) < 0 && errno != EEXIST)
                return error_errno(e, errno, "%s", path);
        s->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->state_fd < 0)
                return error_errno(e, errno, "%s", path);
        int r = check_owner_mode(s->state_fd, path, 007, e);
        if (r == 0)
                r = turn_take(s, path, e);
        if (r < 0)
                return r;
        const char *runtime = getenv("RUNTIME_DIRECTORY");
        s->run_dir = str_empty(runtime) ? str_printf("%s/run", path) : strdup(runtime);
        if (!s->run_dir)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (mkdir(s->run_dir, 0700) < 0 && errno != EEXIST)
                return error_errno(e, errno, "%s", s->run_dir);
        seal_sweep(s->run_dir);
        return 0;
}

/* Whatever was taken out of the configuration while we slept, or waited for our turn, must not leave again.
 */
static int read_config(struct session *s, struct error *e)
{
        struct error why = {};
        if (config_load(s->options->config_path, &s->fresh, &why, NULL) < 0) {
                error_set(&s->unread, CAUSE_CONFIG, EINVAL,
                        "the configuration cannot be read, and nothing is handed out until it can: %s",
                        why.text);
                return 0;
        }
        if (!streq(s->fresh->state_dir, s->config->state_dir))
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "state_dir is another one than at the start: restart czard-deliver");
        s->config = s->fresh;
        return 0;
}

static int find_keys(struct session *s, struct error *e)
{
        const char *slash = strrchr(s->config->path, '/');
        s->keys_dir = str_printf(
                "%.*srecipients.d", slash ? (int)(slash + 1 - s->config->path) : 0, s->config->path);
        return s->keys_dir ? 0 : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

/* It reads what is staged, and the recipients' keys; it writes the outboxes and its own folders; it runs gpg.
 */
static int lock_down(const struct session *s, struct error *e)
{
        static const int families[] = {AF_UNIX, -1};
        const struct config *c = s->config;
        _cleanup_free_ char *state = str_printf("%s-deliver", c->state_dir);
        const struct sandbox_path fixed[] = {
                {c->staging.path, SANDBOX_READ},
                {s->keys_dir, SANDBOX_READ},
                {state, SANDBOX_READ | SANDBOX_WRITE},
                {s->run_dir, SANDBOX_READ | SANDBOX_WRITE},
                {"/dev/null", SANDBOX_READ | SANDBOX_WRITE},
                {"/etc/localtime", SANDBOX_READ},
                {"/usr/bin/gpg", SANDBOX_EXEC},
                {"/usr/bin/gpgconf", SANDBOX_EXEC},
                {"/usr/lib", SANDBOX_EXEC},
                {"/lib", SANDBOX_EXEC},
                {"/lib64", SANDBOX_EXEC},
        };
        size_t n = ELEMENTSOF(fixed);
        _cleanup_free_ struct sandbox_path *paths = calloc(n + s->n_targets, sizeof(*paths));
        if (!state || !paths)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        memcpy(paths, fixed, sizeof(fixed));
        for (size_t i = 0; i < s->n_targets; i++)
                paths[n++] = (struct sandbox_path){s->targets[i].delivery.path, SANDBOX_READ | SANDBOX_WRITE};
        const struct sandbox sandbox = {.paths = paths,
                .n_paths = n,
                .families = families,
                .has_children = true,
                .sets_attributes = true};
        char missing[256] = "";
        int r = sandbox_enter(&sandbox, missing, sizeof(missing), e);
        if (*missing)
                journal_debug("not locked: %s", missing);
        return r;
}

static int start(struct session *s, struct error *e)
{
        int r = open_state(s, e);
        if (r == 0)
                r = read_config(s, e);
        if (r == 0)
                r = find_keys(s, e);
        if (r == 0)
                r = audit_open(s->state_fd, &s->audit, e);
        if (r == 0)
                journal_audit_head(audit_durable_head(s->audit));
        if (r == 0)
                r = targets_find(s, e);
        if (r == 0 && !s->options->revoke) /* which takes back without it, as does what is over */
                (void)look_open(s->config->staging.path, &s->staging, &s->unstaged);
        return r < 0 ? r : lock_down(s, e);
}

/* A status. When it gives way what is done stays done, and the next run begins anew. */
static int run_all(struct session *s)
{
        int worst = *s->unstaged.text && s->n_targets ? STATUS_CANNOT : STATUS_WELL;
        for (size_t i = 0; i < s->n_targets; i++) {
                s->gave_way = s->gave_way || turn_is_wanted(s);
                if (s->gave_way)
                        return STATUS_GAVE_WAY;
                worst = MAX(worst, one_run(s, &s->targets[i]));
        }
        return s->gave_way ? STATUS_GAVE_WAY : worst;
}

int deliver_run(const struct config *c, const struct deliver_options *o, int64_t *ret_next)
{
        struct session s = {.config = c,
                .options = o,
                .state_fd = -1,
                .lock_fd = -1,
                .now = (int64_t)time(NULL),
                .next = INT64_MAX};
        struct error e = {};
        int r = start(&s, &e);
        bool unknown = r == -ENOENT && e.cause == CAUSE_CONFIG; /* what is to be revoked */
        int status = r == 0 ? run_all(&s) : unknown ? STATUS_USAGE : STATUS_CANNOT;
        if (status < STATUS_CANNOT && !s.options->revoke && !s.options->name)
                (void)futimens(s.lock_fd, NULL); /* czarctl: the last run that came through */
        if (r < 0)
                journal_event(EVENT_FAILED, &(struct journal_fields){.cause = e.cause}, "%s", e.text);
        *ret_next = s.next;
        journal_audit_head(NULL);
        audit_free(s.audit);
        staging_free(s.staging);
        targets_done(&s);
        close_fd(s.lock_fd);
        close_fd(s.state_fd);
        free(s.run_dir);
        free(s.keys_dir);
        config_free(s.fresh);
        return status;
}
