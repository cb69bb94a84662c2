/* SPDX-License-Identifier: Apache-2.0 */
/* A run waits for its turn, and finds the deliveries that are asked for. */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "fsx.h"

/* --- its turn: one run at a time; a revocation does not wait until another one is through ---
 *
 * state_dir-deliver/lock: flock(2) of the whole is the run's; a lock of its first byte is held by a
 * revocation from before it waits until it is through. Both are of the open file, and independent of each
 * other. Its mtime is the end of the last run of all deliveries that came through. */

static int first_byte(int fd, int command, short type)
{
        struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};
        int r;
        while ((r = fcntl(fd, command, &l)) < 0 && errno == EINTR)
                ;
        return r < 0 ? -errno : l.l_type;
}

static int whole(int fd)
{
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;
        return 0;
}

/* Who does not revoke waits until nobody does. */
static int wait_for(const struct session *s)
{
        bool revokes = s->options->revoke;
        int r = first_byte(s->lock_fd, F_OFD_SETLKW, revokes ? F_WRLCK : F_RDLCK);
        if (r >= 0 && !revokes)
                r = first_byte(s->lock_fd, F_OFD_SETLK, F_UNLCK);
        return r < 0 ? r : whole(s->lock_fd);
}

int turn_take(struct session *s, const char *path, struct error *e)
{
        s->lock_fd = openat(s->state_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
        int r = s->lock_fd < 0 ? -errno : wait_for(s);
        return r < 0 ? error_errno(e, -r, "%s/lock", path) : 0;
}

bool turn_is_wanted(const struct session *s)
{
        int type = s->options->revoke ? F_UNLCK : first_byte(s->lock_fd, F_OFD_GETLK, F_RDLCK);
        return type >= 0 && type != F_UNLCK;
}

/* --- the deliveries that are asked for --- */

static int no_memory(struct error *e)
{
        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

#define ID_MOST 64

static gid_t group_of(const struct config_delivery *d)
{
        const struct group *g = d->group ? getgrnam(d->group) : NULL;
        return g ? g->gr_gid : (gid_t)-1;
}

static void find_sections(struct session *s)
{
        const struct config *c = s->config;
        for (size_t i = 0; i < c->n_deliveries; i++)
                if (!s->options->name || streq(s->options->name, c->deliveries[i].name))
                        s->targets[s->n_targets++] = (struct target){
                                .delivery = c->deliveries[i], .gid = group_of(&c->deliveries[i])};
}

static bool has_messages(const struct records *r)
{
        for (size_t i = 0; i < r->n; i++)
                if (r->v[i].state == RECORD_OUT)
                        return true;
        return false;
}

/* The delivery whose outbox that folder is, by its path or its id; one with messages there before others.
 * *ret stays NULL: nobody's. */
static int whose(const struct session *s, const char *path, char **ret, struct error *e)
{
        _cleanup_(strv_done) struct strv names = {};
        _cleanup_free_ char *file = str_printf("%s/" STAGING_ID_FILE, path), *id = NULL;
        size_t len = 0;
        if (!file || read_file_at(AT_FDCWD, file, ID_MOST, &id, &len) < 0)
                len = 0;
        while (len > 0 && id[len - 1] == '\n')
                id[--len] = 0;
        int r = records_names(s->state_fd, &names, e);
        for (size_t i = 0; r == 0 && i < names.n; i++) {
                struct records records = {};
                r = records_read(s->state_fd, names.v[i], &records, e);
                bool its = (len > 0 && streq(records.outbox_id, id)) ||
                           (records.outbox && streq(records.outbox, path));
                if (r == 0 && its && (!*ret || has_messages(&records))) {
                        free(*ret);
                        *ret = strdup(names.v[i]);
                }
                records_done(&records);
        }
        return r;
}

/* asked: a name, or the folder of an outbox, which then is where it is. */
static int name_revoked(const struct session *s, struct target *t, const char *asked, struct error *e)
{
        size_t n = strlen(asked);
        while (n > 1 && asked[n - 1] == '/')
                n--;
        if (*asked == '/')
                t->path = strndup(asked, n);
        int r = t->path ? whose(s, t->path, &t->name, e) : 0;
        for (size_t i = 0; t->path && !t->name && i < s->config->n_deliveries; i++)
                if (streq(s->config->deliveries[i].path, t->path))
                        t->name = strdup(s->config->deliveries[i].name);
        if (!t->name)
                t->name = strndup(asked, n);
        return r < 0 ? r : t->name && (t->path || *asked != '/') ? 0 : no_memory(e);
}

static int fail_unknown(const struct session *s, const char *name, struct error *e)
{
        _cleanup_strbuf_ struct strbuf names = {};
        config_name_deliveries(s->config, &names);
        return error_set(e, CAUSE_CONFIG, ENOENT,
                "there is no [deliver %s] in the configuration, which has %s, and no such delivery in the "
                "record; the folder of its outbox may be given instead of the name",
                name, names.err ? "others" : names.s);
}

/* Without a section: what the record says. */
static int find_revoked(struct session *s, struct target *t, struct error *e)
{
        static char none[] = "";
        struct records records = {};
        *t = (struct target){.gid = (gid_t)-1};
        int r = name_revoked(s, t, s->options->name, e);
        if (r == 0)
                r = records_read(s->state_fd, t->name, &records, e);
        const struct config_delivery *section = r == 0 ? config_find_delivery(s->config, t->name) : NULL;
        if (r == 0 && !section && !t->path && !records.outbox)
                r = fail_unknown(s, t->name, e);
        if (r == 0 && !t->path && records.outbox)
                t->path = take_ptr(&records.outbox);
        t->purpose = take_ptr(&records.purpose);
        if (section) {
                t->delivery = *section;
                t->gid = group_of(section);
        } else
                t->delivery = (struct config_delivery){.name = t->name,
                        .org = none,
                        .purpose = t->purpose ? t->purpose : none,
                        .until = records.until,
                        .keep_usec = CONFIG_ALL};
        if (t->path)
                t->delivery.path = t->path;
        records_done(&records);
        return r;
}

int targets_find(struct session *s, struct error *e)
{
        s->targets = calloc(s->config->n_deliveries + 1, sizeof(*s->targets));
        if (!s->targets)
                return no_memory(e);
        if (!s->options->revoke) {
                find_sections(s);
                return 0;
        }
        s->n_targets = 1;
        return find_revoked(s, s->targets, e);
}

void targets_done(struct session *s)
{
        for (size_t i = 0; i < s->n_targets; i++) {
                free(s->targets[i].name);
                free(s->targets[i].path);
                free(s->targets[i].purpose);
        }
        free(s->targets);
}
