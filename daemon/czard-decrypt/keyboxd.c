/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys of a GnuPG 2.4 home that says "use-keyboxd": they are in a database that its daemon keyboxd
 * owns. It is read here as it is (createpubkeystable in GnuPG's kbx/backend-sqlite.c), so that no daemon is
 * started on a home that is only read, and put into an old-style key ring, which every gpg takes. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsx.h"
#include "str.h"
#include "worker.h"

#define DATABASE "public-keys.d/pubring.db"
#define COMMON_CONF_MOST (64 * KIB)
#define TYPE_OPENPGP "1" /* PUBKEY_TYPE_OPGP */

static bool is_used(int home)
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

int home_from_keyboxd(int from, int to, struct error *e)
{
        char uri[96];
        if (!is_used(from))
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
                return error_set(e, cause_from_errno(errno), errno, "pubring.gpg: %s", strerror(errno));
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
