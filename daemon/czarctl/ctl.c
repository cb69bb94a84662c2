/* SPDX-License-Identifier: Apache-2.0 */
/* What a command reads, and says when that goes wrong. A czard.ini that has errors must not keep an admin
 * from looking: then what is needed of it is taken line by line, and a warning says so. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ctl.h"
#include "fsx.h"
#include "inifile.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"

/* --- saying what went wrong --- */

int ctl_fail(const struct error *e)
{
        if (e->cause == CAUSE_NONE)
                return ctl_fail_text("out of memory");
        const char *advice = cause_advice(e->cause);
        bool told = strchr(e->text, ';') || e->cause == CAUSE_GONE || e->cause == CAUSE_INTERNAL ||
                    e->cause == CAUSE_UNSAFE_MODE;
        shown_print(stderr, "czarctl: %s%s%s\n", e->text, *advice && !told ? "; " : "", told ? "" : advice);
        return CTL_CANNOT;
}

int ctl_fail_text(const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        fputs("czarctl: ", stderr);
        shown_vprint(stderr, format, ap);
        fputs("\n", stderr);
        va_end(ap);
        return CTL_CANNOT;
}

/* --- how it was called --- */

void usage_command(const struct command *c, FILE *f)
{
        shown_print(f, "usage: czarctl %s", c->name);
        for (size_t i = 0; i < FLAGS_MOST && c->flags[i].name; i++)
                shown_print(f, " %s--%s%s%s%s", c->flags[i].needed ? "" : "[", c->flags[i].name,
                        c->flags[i].value ? " " : "", c->flags[i].value ? c->flags[i].value : "",
                        c->flags[i].needed ? "" : "]");
        shown_print(f, "%s%s\n\n", *c->arguments ? " " : "", c->arguments);
        shown_print(f, "  %s\n", c->summary);
        for (size_t i = 0; i < FLAGS_MOST && c->flags[i].name; i++) {
                char head[64];
                snprintf(head, sizeof(head), "--%s%s%s", c->flags[i].name, c->flags[i].value ? " " : "",
                        c->flags[i].value ? c->flags[i].value : "");
                fputs(i == 0 ? "\n" : "", f);
                shown_print(f, "  %-24s %s\n", head, c->flags[i].help);
        }
        fputs("\n  --config FILE, --json, --help as everywhere\n", f);
        fputs(c->examples ? "\n" : "", f);
        fputs(c->examples ? c->examples : "", f);
}

const char *ctl_flag(const struct ctl *c, const char *name)
{
        for (size_t i = 0; i < FLAGS_MOST && c->command->flags[i].name; i++)
                if (streq(c->command->flags[i].name, name))
                        return c->values[i];
        return NULL;
}

int ctl_usage(const struct ctl *c, const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        shown_print(stderr, "czarctl %s: ", c->command->name);
        shown_vprint(stderr, format, ap);
        fputs("\n", stderr);
        va_end(ap);
        usage_command(c->command, stderr);
        return CTL_USAGE;
}

int ctl_date_flag(const struct ctl *c, const char *name, const char **ret)
{
        int day;
        const char *v = ctl_flag(c, name);
        if (v && date_parse_whole(v, &day) < 0)
                return ctl_usage(c, "--%s: expected a date as YYYY-MM-DD, not '%.32s'", name, v);
        *ret = v;
        return 0;
}

int ctl_line_flag(const struct ctl *c, const char *name)
{
        for (const char *p = ctl_flag(c, name); p && *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        return ctl_usage(c, "--%s: expected one line of text", name);
        return 0;
}

/* --- configuration --- */

static const struct {
        const char *section, *key;
} used[] = {{"staging", "path"}, {"daemon", "state_dir"}, {"daemon", "socket"}, {"daemon", "poll_interval"},
        {"openpgp", "homedir"}, {"openpgp", "passphrase_file"}, {"staging", "min_free"}, {"staging", "group"},
        {"staging", "file_mode"}, {"staging", "dir_mode"}, {"staging", "encrypted_device"},
        {"s3", "credentials"}};

#define STAGING_PATH 0 /* in `used` */
#define NO_STAGING "/nonexistent"

struct found {
        char *value[ELEMENTSOF(used)];
};

static void take_file(const char *path, struct found *f)
{
        struct inifile ini = {};
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        if (read_file_at(AT_FDCWD, path, LIMIT_CONFIG_FILE, &text, &len) < 0 ||
                inifile_read(text, len, &ini) < 0)
                return;
        for (size_t i = 0; i < ini.n; i++)
                for (size_t k = 0; ini.items[i].kind == INIFILE_PAIR && k < ELEMENTSOF(used); k++)
                        if (streq(ini.items[i].section, used[k].section) &&
                                streq(ini.items[i].key, used[k].key)) {
                                free(f->value[k]);
                                f->value[k] = strdup(ini.items[i].value);
                        }
        inifile_done(&ini);
}

static int load_text(const struct strbuf *text, struct config **ret, struct error *e)
{
        _cleanup_close_ int fd = memfd_create("czard.ini", MFD_CLOEXEC);
        if (fd < 0 || text->err || write_all(fd, text->s, text->len) < 0)
                return -ENOMEM;
        char path[FD_PATH_SIZE];
        return config_load(fd_path(fd, path), ret, e, NULL);
}

static bool try_line(const struct strbuf *text, const char *section, const char *key, const char *value)
{
        _cleanup_strbuf_ struct strbuf with = {};
        struct config *probe = NULL;
        strbuf_printf(&with, "%s[%s]\n%s = %s\n", text->s, section, key, value);
        bool fine = load_text(&with, &probe, NULL) == 0;
        config_free(probe);
        return fine;
}

/* Only what is in `used`, and of that only what is valid. */
static int load_partial(struct ctl *c)
{
        struct found f = {};
        take_file(c->config_path, &f);
        _cleanup_free_ char *pattern = str_printf("%s.d/*.ini", c->config_path);
        glob_t g = {};
        if (pattern && glob(pattern, 0, NULL, &g) == 0)
                for (size_t i = 0; i < g.gl_pathc; i++)
                        take_file(g.gl_pathv[i], &f);
        globfree(&g);
        /* A package and a path must be there for anything to load. */
        _cleanup_strbuf_ struct strbuf text = {};
        strbuf_add(&text, "[package none]\ncategories = events\nevents = s3://none/none/\n");
        bool has_path = f.value[STAGING_PATH] && try_line(&text, "staging", "path", f.value[STAGING_PATH]);
        strbuf_printf(&text, "[staging]\npath = %s\n", has_path ? f.value[STAGING_PATH] : NO_STAGING);
        for (size_t k = 0; k < ELEMENTSOF(used); k++) {
                if (f.value[k] && k != STAGING_PATH &&
                        try_line(&text, used[k].section, used[k].key, f.value[k]))
                        strbuf_printf(&text, "[%s]\n%s = %s\n", used[k].section, used[k].key, f.value[k]);
                free(f.value[k]);
        }
        c->config_is_partial = true;
        struct error e = {};
        return load_text(&text, &c->config, &e);
}

int ctl_load_config(struct ctl *c)
{
        struct error e = {};
        struct strv more = {};
        if (config_load(c->config_path, &c->config, &e, &more) >= 0) {
                strv_done(&more);
                return 0;
        }
        strv_done(&more);
        snprintf(c->config_error, sizeof(c->config_error), "%s", e.text);
        if (e.err == ENOENT && access(c->config_path, F_OK) < 0) {
                /* Nothing to look at by: whoever has another file says --config. */
                if (!c->command->early)
                        return ctl_fail_text("%s", e.text);
        }
        if (e.err == EACCES)
                return ctl_fail_text(
                        "%s (run czarctl as root or as the user of czard; members of czard-admin "
                        "must be able to read it too: it holds no secret, and is installed "
                        "with mode 0644)",
                        e.text);
        if (load_partial(c) < 0)
                return ctl_fail_text("%s", e.text);
        if (!c->command->early && !c->command->asks && !c->command->writes)
                shown_print(stderr,
                        "czarctl: warning: the configuration has errors (czard --check-config): %s\n",
                        e.text);
        return 0;
}

int ctl_refuse_partial(const struct ctl *c)
{
        return c->config_is_partial
                       ? ctl_fail_text("nothing was done, because the configuration has errors: %s; "
                                       "czard --check-config lists them",
                                 c->config_error)
                       : 0;
}

/* --- state --- */

/* Is it the user of czard who may not, as whom root acts too? */
static bool is_service(const struct ctl *c)
{
        struct stat st;
        return c->caller == 0 || (stat(c->config->state_dir, &st) == 0 && st.st_uid == geteuid());
}

/* The folder that path is in, into ret. */
static const char *folder_of(const char *path, char ret[PATH_MAX])
{
        snprintf(ret, PATH_MAX, "%s", path);
        return dirname(ret);
}

const char *ctl_denied(const struct ctl *c, const char *path, char ret[CTL_DENIED_SIZE])
{
        struct stat st;
        const struct passwd *us = getpwuid(geteuid());
        const char *name = us ? us->pw_name : "czard";
        char word[SHELL_WORD_SIZE], folder[PATH_MAX];
        shell_word(path, word, sizeof(word));
        if (!is_service(c))
                snprintf(ret, CTL_DENIED_SIZE,
                        "run czarctl as root or as the user of czard; members of czard-admin may change "
                        "things beside a running czard (pause, resync, ...), but not look");
        else if (lstat(path, &st) == 0 && st.st_uid != geteuid()) /* only what it cannot use today anyway */
                snprintf(ret, CTL_DENIED_SIZE,
                        "it is not %s's: unless another program uses it, chown -R %s %s", name, name, word);
        else if (lstat(path, &st) == 0)
                snprintf(ret, CTL_DENIED_SIZE, "its mode keeps %s out: chmod u+rwX %s", name, word);
        else if (access(folder_of(path, folder), X_OK) == 0)
                snprintf(ret, CTL_DENIED_SIZE,
                        "%s cannot make it there: make it as root, install -d -o %s -m 0700 %s, or use "
                        "another path",
                        name, name, word);
        else
                snprintf(ret, CTL_DENIED_SIZE,
                        "%s cannot get there: a folder on the way lets nobody through (namei -l %s); "
                        "use another path, or open that folder (chmod o+x) if it is meant for that",
                        name, word);
        return ret;
}

int ctl_open_state(struct ctl *c, struct error *e)
{
        char help[CTL_DENIED_SIZE];
        if (c->state_fd >= 0)
                return 0;
        c->state_fd = open(c->config->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (c->state_fd >= 0)
                return 0;
        int err = errno;
        return error_set(e, CAUSE_INTERNAL, err, "cannot open state_dir %s: %s%s%s", c->config->state_dir,
                strerror(err), err == EACCES ? "; " : "",
                err == EACCES ? ctl_denied(c, c->config->state_dir, help) : "");
}

int ctl_open_ledger(struct ctl *c)
{
        struct error e = {};
        if (c->ledger)
                return 0;
        int r = ctl_open_state(c, &e);
        if (r < 0)
                return ctl_fail(&e);
        if (faccessat(c->state_fd, "ledger.db", F_OK, 0) < 0 && errno == ENOENT)
                return ctl_fail_text(
                        "czard has not run with this configuration yet (no ledger in %s): czarctl check says "
                        "what is missing, systemctl enable --now czard starts it",
                        c->config->state_dir);
        r = ledger_open_readonly(c->config->state_dir, &c->ledger, &e);
        if (r == 0 || e.err != EACCES)
                return r < 0 ? ctl_fail(&e) : 0;
        char help[CTL_DENIED_SIZE];
        _cleanup_free_ char *path = str_printf("%s/ledger.db", c->config->state_dir);
        return ctl_fail_text("cannot read the ledger in %s: %s; %s", c->config->state_dir, strerror(EACCES),
                path ? ctl_denied(c, path, help) : "");
}

pid_t ctl_daemon_pid(struct ctl *c)
{
        struct error e = {};
        if (ctl_open_state(c, &e) < 0)
                return -1;
        _cleanup_close_ int fd = openat(c->state_fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return errno == ENOENT ? 0 : -1;
        if (flock(fd, LOCK_SH | LOCK_NB) == 0)
                return 0;
        char text[32];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = 0;
        uint64_t pid = 0;
        text[strcspn(text, "\n")] = 0;
        return parse_u64(text, INT32_MAX, &pid) == 0 && pid > 0 ? (pid_t)pid : -1;
}

uid_t ctl_owner(const struct ctl *c)
{
        struct stat st;
        return stat(c->config->state_dir, &st) == 0 ? st.st_uid : geteuid();
}

void ctl_run_dir(const struct ctl *c, char *ret, size_t size)
{
        const char *given = getenv("RUNTIME_DIRECTORY");
        struct stat st;
        uid_t uid = ctl_owner(c);
        char user[64];
        snprintf(user, sizeof(user), "/run/user/%u", (unsigned)uid);
        /* The unit's RuntimeDirectory=czard is found without its environment; it is there while czard runs.
         */
        if (!str_empty(given))
                snprintf(ret, size, "%s", given);
        else if (stat("/run/czard", &st) == 0 && st.st_uid == uid)
                snprintf(ret, size, "/run/czard");
        else if (access(user, X_OK) == 0)
                snprintf(ret, size, "%s/czard", user);
        else
                snprintf(ret, size, "%s/run", c->config->state_dir);
}

void ctl_socket_path(const struct ctl *c, char *ret, size_t size)
{
        if (c->config->socket) {
                snprintf(ret, size, "%s", c->config->socket);
                return;
        }
        char dir[RUN_DIR_SIZE];
        ctl_run_dir(c, dir, sizeof(dir));
        snprintf(ret, size, "%s/control", dir);
}

/* --- answers --- */

void answer_open(struct json *j)
{
        json_open(j, NULL, '{');
        json_u64(j, "version", 1);
}

int answer_print(struct json *j)
{
        json_close(j, '}');
        if (j->out.err)
                return ctl_fail_text("out of memory");
        puts(j->out.s);
        return 0;
}
