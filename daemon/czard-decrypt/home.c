/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's GNUPGHOME. The keys are copied as files, so that the source is only read: it may be read-only,
 * and no agent is ever started on it. Nothing of the source's own configuration is taken over. In an admin's
 * home links are followed; in another worker's they are not, nor is one written to. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "fsx.h"
#include "str.h"
#include "worker.h"

/* gpg never starts an agent or dirmngr, never looks anything up, never asks. Not "quiet": that also silences
 * the status lines NO_SECKEY and ERROR pkdecrypt_failed (print_pkenc_list in gpg's mainproc.c). */
#define GPG_CONF                                                                                             \
        "batch\n"                                                                                            \
        "no-tty\n"                                                                                           \
        "no-greeting\n"                                                                                      \
        "no-autostart\n"                                                                                     \
        "disable-dirmngr\n"                                                                                  \
        "no-auto-key-retrieve\n"                                                                             \
        "no-auto-key-locate\n"                                                                               \
        "no-auto-check-trustdb\n"                                                                            \
        "trust-model always\n"                                                                               \
        "no-permission-warning\n"                                                                            \
        "no-random-seed-file\n"                                                                              \
        "no-symkey-cache\n"                                                                                  \
        "lock-never\n"                                                                                       \
        "exit-on-status-write-error\n"
static const char gpg_conf[] = GPG_CONF;

/* Without it a wrong signature ends gpg, whether anybody asked for signatures or not. */
static const char gpg_conf_no_verify[] = GPG_CONF "skip-verify\n";

static const char agent_conf[] = "quiet\n"
                                 "allow-loopback-pinentry\n"
                                 "allow-preset-passphrase\n"
                                 "no-allow-external-cache\n"
                                 "disable-scdaemon\n"
                                 "auto-expand-secmem\n"
                                 "default-cache-ttl 34560000\n"
                                 "max-cache-ttl 34560000\n"
                                 "pinentry-program /bin/false\n";

/* In memory, in a home of our own, a costly S2K would protect nothing, yet be paid at every single
 * private-key operation. On a disk it is what protects the key after us: there the agent keeps the usual
 * count. */
static const char cheap_s2k[] = "s2k-count 1024\n";

bool home_is_in_memory(const char *home)
{
        struct statfs fs;
        return statfs(home, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static int copy_bytes(int in, int out, size_t max)
{
        char buf[16 * 1024];
        size_t total = 0;
        ssize_t n;
        int r = 0;
        while (r == 0 && (n = read_full(in, buf, sizeof(buf))) != 0) {
                total += n > 0 ? (size_t)n : 0;
                r = n < 0 ? (int)n : total > max ? -EFBIG : write_all(out, buf, (size_t)n);
        }
        explicit_bzero(buf, sizeof(buf));
        return r;
}

/* Where the keys come from, and where they go. */
struct copy {
        int from, to;
        int follow; /* O_NOFOLLOW, or 0 */
};

/* What may not be read is there: that is not "no secret key". */
static int cannot_open(const char *name, int err, struct error *e)
{
        if (err != EACCES && err != EPERM)
                return error_set(e, CAUSE_NO_KEY, err, "%s: %s", name, strerror(err));
        return error_set(e, CAUSE_UNSAFE_MODE, err,
                "%s: %s for uid %u: a GnuPG home and all in it must belong to the user of czard; gpg run as "
                "root leaves files of root there (czarctl check, as root, says what to do)",
                name, strerror(err), (unsigned)geteuid());
}

/* 1 copied, 0 not there, -errno. */
static int copy_file(const struct copy *c, const char *name, mode_t forbidden, size_t max, struct error *e)
{
        _cleanup_close_ int in =
                openat(c->from, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | c->follow);
        if (in < 0)
                return errno == ENOENT ? 0 : cannot_open(name, errno, e);
        int r = check_owner_mode(in, name, forbidden, e);
        if (r < 0)
                return r;
        _cleanup_close_ int out =
                openat(c->to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        r = out < 0 ? -errno : copy_bytes(in, out, max);
        if (r < 0)
                return error_errno(e, -r, "copying %s", name);
        return 1;
}

/* Key files are named KEYGRIP.key. */
static int copy_key_files(const struct copy *c, struct error *e)
{
        int list = openat(c->from, "private-keys-v1.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC | c->follow);
        if (list < 0)
                return errno == ENOENT ? 0 : cannot_open("private-keys-v1.d", errno, e);
        _cleanup_closedir_ DIR *d = fdopendir(list);
        if (!d) {
                close_fd(list);
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        }
        int r = check_owner_mode(dirfd(d), "private-keys-v1.d", 0007, e);
        if (r == 0 && mkdirat(c->to, "private-keys-v1.d", 0700) < 0)
                r = error_errno(e, errno, "private-keys-v1.d");
        if (r < 0)
                return r;
        _cleanup_close_ int out =
                openat(c->to, "private-keys-v1.d", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        const struct copy keys = {.from = dirfd(d), .to = out, .follow = c->follow};
        size_t n = 0;
        if (out < 0)
                return error_set(e, CAUSE_HELPER, errno, "private-keys-v1.d: %s", strerror(errno));
        struct dirent *f;
        while ((r = dir_next(d, &f)) > 0) {
                if (!str_ends(f->d_name, ".key"))
                        continue;
                if (++n > LIMIT_SECRET_KEYS)
                        return error_set(
                                e, CAUSE_NO_KEY, EFBIG, "more than %d secret keys", LIMIT_SECRET_KEYS);
                r = copy_file(&keys, f->d_name, 0077, LIMIT_SECRET_KEY_FILE, e);
                if (r < 0)
                        return r;
        }
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "private-keys-v1.d: %s", strerror(-r)) : 0;
}

/* Public keys of a GnuPG 2.4 home that says "use-keyboxd": they are in a database that its daemon keyboxd
 * owns. It is read here as it is (createpubkeystable in GnuPG's kbx/backend-sqlite.c), so that no daemon is
 * started on a home that is only read, and put into an old-style key ring, which every gpg takes. */
#define DATABASE "public-keys.d/pubring.db"
#define COMMON_CONF_MOST (64 * KIB)
#define TYPE_OPENPGP "1" /* PUBKEY_TYPE_OPGP */

static bool uses_keyboxd(int home)
{
        _cleanup_free_ char *text = NULL;
        if (read_file_at(home, "common.conf", COMMON_CONF_MOST, &text, NULL) < 0)
                return false;
        char *rest = text;
        for (char *line; (line = strsep(&rest, "\n"));) {
                line += strspn(line, " \t");
                line[strcspn(line, " \t\r#")] = 0;
                if (streq(line, "use-keyboxd"))
                        return true;
        }
        return false;
}

static int copy_blobs(sqlite3 *db, int out)
{
        sqlite3_stmt *s = NULL;
        size_t total = 0;
        int r = 0, step = SQLITE_DONE;
        if (sqlite3_prepare_v2(db,
                    "SELECT keyblob FROM pubkey WHERE type = " TYPE_OPENPGP " AND ephemeral = 0", -1, &s,
                    NULL) != SQLITE_OK)
                return -EIO;
        while (r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW) {
                const void *p = sqlite3_column_blob(s, 0);
                size_t n = (size_t)sqlite3_column_bytes(s, 0);
                total += n;
                r = total > LIMIT_KEYRING ? -EFBIG : n ? write_all(out, p, n) : 0;
        }
        if (r == 0 && step != SQLITE_DONE)
                r = -EIO;
        sqlite3_finalize(s);
        return r;
}

/* 1 done, 0 it does not keep them there, -errno. */
static int copy_keyboxd(int from, int to, struct error *e)
{
        char uri[96];
        if (!uses_keyboxd(from))
                return 0;
        _cleanup_close_ int in = openat(from, DATABASE, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (in < 0 &&
                errno == ENOENT) /* a gpg that does not know keyboxd uses the home: the key ring counts */
                return 0;
        if (in < 0)
                return error_set(e, CAUSE_NO_KEY, errno, DATABASE ": %s", strerror(errno));
        int r = check_owner_mode(in, DATABASE, 0, e);
        if (r < 0)
                return r;
        _cleanup_close_ int out =
                openat(to, "pubring.gpg", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (out < 0)
                return error_errno(e, errno, "pubring.gpg");
        sqlite3 *db = NULL;
        snprintf(uri, sizeof(uri), "file:/proc/self/fd/%d/" DATABASE "?mode=ro", from);
        int rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
        r = rc == SQLITE_OK ? copy_blobs(db, out) : -EIO;
        if (r < 0)
                error_set(e, CAUSE_NO_KEY, -r, DATABASE ": %s",
                        db && r == -EIO ? sqlite3_errmsg(db) : strerror(-r));
        sqlite3_close(db);
        return r < 0 ? r : 1;
}

/* Key rings; and the secret one of GnuPG before 2.1, which gpg converts by itself unless it did so before. */
static int copy_rings(const struct copy *c, struct error *e)
{
        int r = copy_keyboxd(c->from, c->to, e);
        if (r != 0)
                return MIN(r, 0);
        r = copy_file(c, "pubring.kbx", 0, LIMIT_KEYRING, e);
        if (r >= 0)
                r = copy_file(c, "pubring.gpg", 0, LIMIT_KEYRING, e);
        if (r >= 0)
                r = copy_file(c, ".gpg-v21-migrated", 0, LIMIT_KEYRING, e);
        if (r == 0)
                r = copy_file(c, "secring.gpg", 0077, LIMIT_KEYRING, e);
        return MIN(r, 0);
}

static int write_file(int dir, const char *name, const char *text, struct error *e)
{
        _cleanup_close_ int fd =
                openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        int r = fd < 0 ? -errno : write_all(fd, text, strlen(text));
        return r < 0 ? error_errno(e, -r, "%s", name) : 0;
}

static int write_agent_conf(int dir, bool in_memory, struct error *e)
{
        char text[sizeof(agent_conf) + sizeof(cheap_s2k)];
        snprintf(text, sizeof(text), "%s%s", agent_conf, in_memory ? cheap_s2k : "");
        return write_file(dir, "gpg-agent.conf", text, e);
}

static int open_folder(const char *path, mode_t forbidden, int follow, struct error *e)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
        if (fd < 0) {
                int err = errno;
                char shown[256];
                snprintf(shown, sizeof(shown), "GnuPG home %.200s", path);
                return cannot_open(shown, err, e);
        }
        int r = check_owner_mode(fd, path, forbidden, e);
        return r < 0 ? r : take_fd(&fd);
}

int home_prepare(const char *home, const char *source, bool import, bool verify, struct error *e)
{
        const int follow = import ? 0 : O_NOFOLLOW;
        _cleanup_close_ int to = open_folder(home, 0077, O_NOFOLLOW, e);
        if (to < 0)
                return to;
        _cleanup_close_ int from = open_folder(source, 0007, follow, e);
        if (from < 0)
                return from;
        const struct copy c = {.from = from, .to = to, .follow = follow};
        int r = copy_rings(&c, e);
        if (r == 0)
                r = copy_key_files(&c, e);
        if (r == 0)
                r = write_file(to, "gpg.conf", verify ? gpg_conf : gpg_conf_no_verify, e);
        if (r == 0)
                r = write_agent_conf(to, home_is_in_memory(home), e);
        if (r < 0)
                error_prefix(e, "%s", source);
        return r;
}
