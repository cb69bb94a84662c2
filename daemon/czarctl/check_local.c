/* SPDX-License-Identifier: Apache-2.0 */
/* Findings are printed, or added to the JSON answer, one by one as they come. */
#include "check_local.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fsx.h"
#include "rows.h"
#include "run.h"
#include "sandbox.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

void check_add(struct checkup *k, const char *name, enum finding f, const char *fix, const char *format, ...)
{
        char detail[1024];
        va_list ap;
        va_start(ap, format);
        vsnprintf(detail, sizeof(detail), format, ap);
        va_end(ap);
        k->n++;
        k->failed += f == BAD;
        if (k->c->json) {
                json_object(&k->json, NULL,
                        FIELDS(F_TEXT("name", name), F_BOOL("ok", f != BAD), F_TEXT("detail", detail),
                                F_NAME("fix", fix)));
                return;
        }
        static const enum colour colours[] = {[FINE] = GREEN, [NOTICE] = YELLOW, [BAD] = RED};
        static const char *const words[] = {[FINE] = "ok  ", [NOTICE] = "note", [BAD] = "BAD "};
        shown_colour(colours[f], words[f]);
        shown_print(stdout, "  %-12s %s\n", name, detail);
        if (!str_empty(fix))
                shown_print(stdout, "      %-12s -> %s\n", "", fix);
        fflush(stdout);
}

/* --- what this machine alone decides --- */

static void check_config(struct checkup *k)
{
        const struct ctl *c = k->c;
        if (c->config_is_partial) {
                check_add(k, "config", BAD, "correct it; czard --check-config lists all errors", "%s",
                        c->config_error);
                return;
        }
        check_add(k, "config", FINE, "", "%s: %zu package%s", c->config_path, c->config->n_packages,
                c->config->n_packages == 1 ? "" : "s");
        for (size_t i = 0; i < c->config->warnings.n; i++)
                check_add(k, "config", NOTICE, "", "%s", c->config->warnings.v[i]);
}

/* One folder or file that must be safe. */
static bool check_mode(struct checkup *k, const char *name, const char *path, int flags, mode_t forbidden)
{
        struct error e = {};
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
        if (fd < 0) {
                int err = errno;
                char fix[CTL_DENIED_SIZE];
                check_add(k, name, BAD,
                        err == EACCES ? ctl_denied(k->c, path, fix) : "make it, or correct the configuration",
                        "%s: %s", path, strerror(err));
                return false;
        }
        if (check_owner_mode(fd, path, forbidden, &e) < 0) {
                check_add(k, name, BAD, cause_advice(CAUSE_UNSAFE_MODE), "%s", e.text);
                return false;
        }
        check_add(k, name, FINE, "", "%s: owner and mode", path);
        return true;
}

/* The ledger and the audit record must be writable, or nothing is started. */
static void check_state_room(struct checkup *k, int state_fd)
{
        const char *path = k->c->config->state_dir;
        struct statvfs v;
        char have[BYTES_SIZE], want[BYTES_SIZE];
        if (fstatvfs(state_fd, &v) < 0)
                return;
        uint64_t bytes = (uint64_t)v.f_bavail * v.f_frsize, least = k->c->config->state_min_free;
        if (v.f_flag & ST_RDONLY)
                check_add(k, "state room", BAD,
                        "look at the kernel log (journalctl -k), then remount it read-write",
                        "the file system of %s is read-only", path);
        else if (v.f_files != 0 && v.f_favail == 0)
                check_add(k, "state room", BAD, "remove files there (df -i)", "no inodes are left for %s",
                        path);
        else
                check_add(k, "state room", bytes >= least ? FINE : BAD,
                        bytes >= least ? "" : "make room on the file system of state_dir",
                        "%s free for %s, [daemon] min_free is %s", bytes_text((int64_t)bytes, have), path,
                        bytes_text((int64_t)least, want));
}

static void check_state(struct checkup *k)
{
        struct ctl *c = k->c;
        struct error e = {};
        if (!check_mode(k, "state", c->config->state_dir, O_DIRECTORY, 007) || ctl_open_state(c, &e) < 0)
                return;
        check_state_room(k, c->state_fd);
        if (faccessat(c->state_fd, "ledger.db", F_OK, 0) < 0) {
                check_add(k, "ledger", NOTICE, "it is made when czard runs for the first time",
                        "no ledger yet");
                return;
        }
        int r = ledger_open_readonly(c->config->state_dir, &c->ledger, &e);
        if (r < 0)
                check_add(k, "ledger", BAD, cause_advice(e.cause), "%s", e.text);
        else if (ledger_check(c->ledger, &e) < 0)
                check_add(k, "ledger", BAD,
                        "restart czard: it is rebuilt from the audit record and the staging tree", "%s",
                        e.text);
        else
                check_add(k, "ledger", FINE, "", "can be read");
}

static void check_identity(struct checkup *k, const struct staging *s)
{
        struct error e = {};
        char known[STAGING_ID_SIZE] = "", found[STAGING_ID_SIZE];
        if (k->c->ledger)
                ledger_meta_get(k->c->ledger, "staging-id", known, sizeof(known), NULL);
        if (staging_expect_id(s, known, "is it mounted?", found, &e) < 0)
                check_add(k, "staging", BAD,
                        e.err == ENODEV ? "mount the staging volume; if it is a new disk: czarctl adopt"
                                        : cause_advice(e.cause),
                        "%s", e.text);
        else
                check_add(k, "staging", FINE, "", "%s%s", k->c->config->staging.path,
                        *known ? ": the volume czard knows" : ": not used yet");
}

static void check_device(struct checkup *k, const struct staging *s)
{
        char detail[256] = "";
        enum encrypted enc = staging_encrypted(s, detail, sizeof(detail));
        enum device_policy policy = k->c->config->staging.encrypted_device;
        static const char *const words[] = {[ENCRYPTED_YES] = "encrypted",
                [ENCRYPTED_NO] = "not encrypted",
                [ENCRYPTED_UNKNOWN] = "cannot tell whether it is encrypted"};
        bool fine = enc == ENCRYPTED_YES || policy == DEVICE_IGNORE;
        check_add(k, "encryption",
                fine                                              ? FINE
                : policy == DEVICE_REQUIRE || enc == ENCRYPTED_NO ? BAD
                                                                  : NOTICE,
                fine ? ""
                     : "edX asks for full-disk encryption: put staging on LUKS, or set [staging] "
                       "encrypted_device = ignore if it is encrypted otherwise",
                "%s (%s)", words[enc], detail);
}

static void check_space(struct checkup *k, const struct staging *s)
{
        struct error e = {};
        uint64_t bytes = 0;
        char have[BYTES_SIZE], want[BYTES_SIZE];
        if (staging_free_bytes(s, &bytes, &e) < 0) {
                check_add(k, "space", BAD, cause_advice(e.cause), "%s", e.text);
                return;
        }
        struct statvfs v;
        if (statvfs(k->c->config->staging.path, &v) == 0 && (v.f_flag & ST_RDONLY)) {
                check_add(k, "space", BAD,
                        "look at the kernel log (journalctl -k), then remount it read-write",
                        "the staging volume is read-only");
                return;
        }
        uint64_t inodes;
        if (staging_free_inodes(s, &inodes, &e) == 0 && inodes == 0) {
                check_add(k, "space", BAD,
                        "remove files there, or give it a file system with more inodes (df -i)",
                        "%s free, but no inodes are left", bytes_text((int64_t)bytes, have));
                return;
        }
        bool fine = bytes >= k->c->config->staging.min_free;
        check_add(k, "space", fine ? FINE : BAD, fine ? "" : cause_advice(CAUSE_SPACE),
                "%s free, min_free is %s", bytes_text((int64_t)bytes, have),
                bytes_text((int64_t)k->c->config->staging.min_free, want));
}

static void check_staging(struct checkup *k)
{
        struct staging *s = NULL;
        struct error e = {};
        const char *path = k->c->config->staging.path;
        if (access(path, F_OK) < 0 && errno == ENOENT) {
                char word[SHELL_WORD_SIZE];
                _cleanup_free_ char *fix =
                        str_printf("mount its disk, which should be encrypted; or, when it was never there: "
                                   "install -d -o czard -g czard -m 0750 %s",
                                shell_word(path, word, sizeof(word)));
                check_add(k, "staging", BAD, fix, "%s is not there", path);
                return;
        }
        if (!check_mode(k, "staging", path, O_DIRECTORY, 007))
                return;
        if (staging_open_readonly(path, &s, &e) < 0) {
                check_add(k, "staging", BAD, cause_advice(e.cause), "%s", e.text);
                return;
        }
        check_identity(k, s);
        check_device(k, s);
        check_space(k, s);
        staging_free(s);
}

static bool is_member(const struct group *g)
{
        gid_t groups[1024];
        int n = getgroups(ELEMENTSOF(groups), groups);
        bool member = geteuid() == 0 || g->gr_gid == getegid();
        for (int i = 0; i < n && !member; i++)
                member = groups[i] == g->gr_gid;
        return member;
}

static bool is_booted(void)
{
        return access("/run/systemd/system", F_OK) == 0;
}

/* systemd answers others than root by D-Bus only, which a small system lacks. */
static bool systemd_answers(void)
{
        const char *args[] = {"systemctl", "show", "--property=Version", NULL};
        char out[256];
        return run_quietly(args, NULL, out, sizeof(out), NULL) == 0;
}

/* Does the unit give czard that group? */
static bool unit_has_group(const char *name)
{
        const char *args[] = {
                "systemctl", "show", "czard.service", "--property=SupplementaryGroups", "--value", NULL};
        char out[4096] = "";
        if (run_quietly(args, NULL, out, sizeof(out) - 1, NULL) != 0)
                return false;
        for (char *save = NULL, *word = strtok_r(out, " \n", &save); word;
                word = strtok_r(NULL, " \n", &save))
                if (streq(word, name))
                        return true;
        return false;
}

static void check_group(struct checkup *k, const char *name)
{
        const struct group *g = getgrnam(name);
        if (!g) {
                _cleanup_free_ char *fix = str_printf("groupadd --system %s", name);
                check_add(k, "group", BAD, fix, "group %s does not exist", name);
        } else if (is_member(g) || unit_has_group(name)) {
                check_add(k, "group", FINE, "", "czard may give files to group %s", name);
        } else {
                struct stat st;
                const struct passwd *pw =
                        stat(k->c->config->state_dir, &st) == 0 ? getpwuid(st.st_uid) : NULL;
                _cleanup_free_ char *fix = str_printf("usermod -aG %s %s, then systemctl restart czard", name,
                        pw && pw->pw_uid != 0 ? pw->pw_name : "czard");
                if (is_booted() && !systemd_answers())
                        check_add(k, "group", NOTICE, fix,
                                "czard is not in group %s, but for SupplementaryGroups= of its unit; systemd "
                                "cannot be asked",
                                name);
                else
                        check_add(k, "group", BAD, fix, "czard is not in group %s", name);
        }
}

/* Can the members of that group get through the folder? What is not there yet is made so that they can. */
static void check_way(struct checkup *k, const char *path, const char *name, bool several)
{
        const struct group *g = getgrnam(name);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (!g || fd < 0 || staging_lets_through(fd, g->gr_gid))
                return;
        /* chgrp would take it from a group that is named as well */
        char word[SHELL_WORD_SIZE];
        shell_word(path, word, sizeof(word));
        _cleanup_free_ char *fix = several ? str_printf("setfacl -m g:%s:x %s", name, word)
                                           : str_printf("chgrp %s %s", name, word);
        check_add(k, "group", BAD, fix, "members of group %s cannot get through %s", name, path);
}

/* The folders above staging, which are others': nobody's group is taken from them. */
static void check_way_above(struct checkup *k, const char *path, const char *name)
{
        _cleanup_free_ char *above = strdup(path);
        char *slash;
        while (above && (slash = strrchr(above, '/')) && slash > above) {
                *slash = 0;
                check_way(k, above, name, true);
        }
}

static void check_ways(struct checkup *k, const struct config_package *p, bool several)
{
        const char *root = k->c->config->staging.path;
        struct strv seen = {};
        _cleanup_free_ char *org = str_printf("%s/%s", root, p->spec.org);
        for (enum category cat = 0; cat < CATEGORY_MAX; cat++) {
                const char *name = config_group(p, cat);
                if (!org || !name || !(p->spec.categories & BIT(cat)) || strv_has(&seen, name))
                        continue;
                strv_add(&seen, name);
                check_way_above(k, root, name);
                check_way(k, root, name, several);
                check_way(k, org, name, several);
        }
        strv_done(&seen);
}

static void check_groups(struct checkup *k)
{
        const struct config *c = k->c->config;
        struct strv seen = {};
        for (size_t i = 0; i < c->n_packages; i++)
                for (enum category cat = 0; cat < CATEGORY_MAX; cat++) {
                        const char *name = config_group(&c->packages[i], cat);
                        if (!name || strv_has(&seen, name))
                                continue;
                        strv_add(&seen, name);
                        check_group(k, name);
                }
        for (size_t i = 0; i < c->n_packages; i++)
                check_ways(k, &c->packages[i], seen.n > 1);
        if (seen.n == 0)
                check_add(k, "group", NOTICE, "set [staging] group to the researchers' group",
                        "no group: only root and the user of czard can read what is staged");
        strv_done(&seen);
}

/* Without Landlock nothing is split by course. */
static void check_by_course(struct checkup *k)
{
        const struct config *c = k->c->config;
        bool wanted = false;
        for (size_t i = 0; i < c->n_packages; i++)
                wanted |= c->packages[i].events_by_course != EVENT_RULE_NONE;
        if (!wanted)
                return;
        if (sandbox_landlock_abi() > 0)
                check_add(k, "by-course", FINE, NULL,
                        "events can be split by course: this kernel has Landlock");
        else
                check_add(k, "by-course", BAD, "boot with landlock in lsm=, or set events_by_course = none",
                        "events are not split by course: this kernel has no Landlock, or it is not enabled");
}

void check_local(struct checkup *k)
{
        check_config(k);
        check_state(k);
        check_staging(k);
        check_groups(k);
        check_by_course(k);
}

/* --- units --- */

static const char start_it[] = "systemctl enable --now czard";

static const char *first_start(const struct checkup *k)
{
        return k->failed ? "correct what is BAD above, then start it: systemctl enable --now czard"
                         : start_it;
}

/* One that was never started is not wrong; one that should run and does not is. true: it runs. */
static bool check_unit(struct checkup *k, const char *unit, bool must_run, bool first_time)
{
        const char *args[] = {"systemctl", "show", unit,
                "--property=LoadState,ActiveState,Result,UnitFileState", "--value", NULL};
        char out[512] = "";
        if (run_quietly(args, NULL, out, sizeof(out) - 1, NULL) < 0)
                return false;
        /* in the order of the properties asked for, one a line */
        for (char *p = out; *p; p++)
                if (*p == '\n')
                        *p = p[1] ? ' ' : 0;
        bool loaded = strstr(out, "loaded"), active = strstr(out, "active") && !strstr(out, "inactive"),
             starting = strstr(out, "activating") && !strstr(out, "deactivating"),
             failed = strstr(out, "failed") || (starting && !strstr(out, "success")),
             enabled = !strstr(out, "disabled");
        _cleanup_free_ char *look = str_printf(
                "%s, then start it: systemctl restart %s (journalctl -u %s -n 20 says why it failed)",
                k->failed ? "correct what is BAD above" : "correct what was wrong",
                must_run ? unit : "czard-fetch.socket czard", unit);
        if (!loaded)
                check_add(k, "units", BAD, "reinstall czard, or systemctl daemon-reload",
                        "%s is not known to systemd", unit);
        else if (failed)
                check_add(k, "units", BAD, look, "%s has failed", unit);
        else if (starting)
                check_add(k, "units", NOTICE, "wait a moment, then run czarctl check again", "%s is starting",
                        unit);
        else if (!active && must_run && first_time)
                check_add(k, "units", NOTICE, first_start(k), "%s is not started yet", unit);
        else if (!active && must_run)
                check_add(k, "units", BAD, start_it, "%s does not run", unit);
        else if (!enabled && must_run && streq(unit, "czard.service"))
                check_add(k, "units", NOTICE, "systemctl enable czard",
                        "%s runs, but is not started when the machine boots", unit);
        else
                check_add(k, "units", FINE, "", "%s: %s", unit, active ? "runs" : "starts when it is needed");
        return active || starting;
}

static bool has_polled(struct ctl *c)
{
        char text[32] = "";
        if (c->ledger)
                ledger_meta_get(c->ledger, "last-poll", text, sizeof(text), NULL);
        if (c->ledger && !*text)
                ledger_meta_get(c->ledger, "last-poll-incomplete", text, sizeof(text), NULL);
        return *text;
}

void check_units(struct checkup *k)
{
        bool first_time = !has_polled(k->c), alive = ctl_daemon_pid(k->c) > 0;
        if (!is_booted()) {
                check_add(
                        k, "units", NOTICE, "", "no systemd here; czard %s", alive ? "runs" : "does not run");
                return;
        }
        if (!systemd_answers()) {
                check_add(k, "units", alive || first_time ? NOTICE : BAD,
                        alive        ? "apt install dbus, or look: systemctl status czard czard-fetch"
                        : first_time ? first_start(k)
                                     : start_it,
                        "czard %s; more cannot be told: systemd answers czard's user by D-Bus only, which "
                        "does not run here",
                        alive        ? "runs"
                        : first_time ? "is not started yet"
                                     : "does not run");
                return;
        }
        bool runs = check_unit(k, "czard.service", true, first_time);
        check_unit(k, "czard-fetch.socket", runs, first_time); /* it comes and goes with it */
        check_unit(k, "czard-fetch.service", false, first_time);
}
