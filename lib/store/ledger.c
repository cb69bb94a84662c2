/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's database: its schema and migrations, opening it, transactions, small facts, copies of it, and
 * moving a damaged one away. ledger_object.c has the objects and members, ledger_report.c what is asked of
 * many, sql.c the connection.
 *
 * Who reads beside the writer: the WAL files persist after a clean close and have the mode of ledger.db
 * (0640), so that a reader of the group, who can write neither them nor the folder, finds them. SQLite then
 * maps -shm read-only while czard runs, and builds the index of the WAL in its own memory when nobody holds
 * -shm. Where there is no WAL file at all (a restored copy) nobody writes, and the file is opened as
 * immutable.
 *
 * synchronous=FULL: what was committed survives a power cut. It costs one fsync a transaction, and callers
 * put a listing or a batch of members into one; ledger_begin_passing() does without. */
#include "ledger.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "fsx.h"
#include "ledger_internal.h"
#include "str.h"
#include "timespan.h"

#define FILE_NAME "ledger.db"
#define FILE_MODE 0640
#define BUSY_MSEC 10000

static const struct ledger_step steps[LEDGER_VERSION] = {
        {"CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"

         "CREATE TABLE object ("
         "id INTEGER PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, etag TEXT NOT NULL, "
         "size INTEGER NOT NULL, last_modified INTEGER NOT NULL, category INTEGER NOT NULL, "
         "org TEXT NOT NULL, site TEXT NOT NULL, date TEXT NOT NULL, request TEXT NOT NULL, "
         "is_zip INTEGER NOT NULL, state INTEGER NOT NULL, path TEXT NOT NULL, "
         "plain_size INTEGER NOT NULL, sha256 BLOB, checks INTEGER NOT NULL, fingerprint TEXT NOT NULL, "
         "staged_etag TEXT NOT NULL, cause TEXT NOT NULL, detail TEXT NOT NULL, "
         "attempts INTEGER NOT NULL, next_try INTEGER NOT NULL, first_seen INTEGER NOT NULL, "
         "published_at INTEGER NOT NULL, UNIQUE (key, bucket)) STRICT;"
         /* covers every count, and finds what is due without touching what is not */
         "CREATE INDEX object_state ON object (state, category, org, site, date DESC, bucket, size);"

         /* in which listing an object was last seen; apart from it, because every full listing writes all */
         "CREATE TABLE seen (object_id INTEGER PRIMARY KEY REFERENCES object (id) ON DELETE CASCADE, "
         "generation INTEGER NOT NULL) STRICT;"

         "CREATE TABLE member ("
         "object_id INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE, name TEXT NOT NULL, "
         "path TEXT NOT NULL, course TEXT NOT NULL, \"table\" TEXT NOT NULL, failed INTEGER NOT NULL, "
         "state INTEGER NOT NULL, size INTEGER NOT NULL, plain_size INTEGER NOT NULL, sha256 BLOB, "
         "checks INTEGER NOT NULL, cause TEXT NOT NULL, detail TEXT NOT NULL, attempts INTEGER NOT NULL, "
         "UNIQUE (object_id, name)) STRICT;"
         /* in order without sorting: 200,000 members must not be held in memory */
         "CREATE INDEX member_path ON member (object_id, path);"
         "CREATE INDEX member_plaintext ON member (sha256, object_id) WHERE sha256 IS NOT NULL;"},
        {"ALTER TABLE object ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;"},
        /* What had been text in meta, under names that were put together: facts of ledger_facts.h. Lines of a
         * text are taken apart as a JSON array, in which a backslash must not stand. */
        {"CREATE TABLE audit_tail (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, "
         "head TEXT NOT NULL) STRICT;"

         "CREATE INDEX member_rejected ON member (object_id) WHERE state = 5;"

         "CREATE TABLE archive (object_id INTEGER PRIMARY KEY REFERENCES object (id) ON DELETE CASCADE, "
         "courses_etag TEXT NOT NULL DEFAULT '', left_out INTEGER NOT NULL DEFAULT 0, "
         "short_etag TEXT NOT NULL DEFAULT '', short_bytes INTEGER NOT NULL DEFAULT 0, "
         "short_pid INTEGER NOT NULL DEFAULT 0) STRICT;"
         "CREATE TABLE archive_course (object_id INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE, "
         "course TEXT NOT NULL, PRIMARY KEY (object_id, course)) STRICT, WITHOUT ROWID;"
         "INSERT INTO archive (object_id, courses_etag) "
         "SELECT o.id, substr(value, 1, instr(value, char(10)) - 1) FROM object o "
         "JOIN meta ON name = 'courses:' || o.id;"
         "INSERT OR IGNORE INTO archive_course SELECT o.id, replace(line.value, char(1), '\\') FROM object o "
         "JOIN meta ON name = 'courses:' || o.id JOIN json_each('[' || "
         "replace(json_quote(replace(meta.value, '\\', char(1))), '\\n', '\",\"') || ']') line "
         "WHERE line.key > 0 AND line.value <> '';"
         "INSERT INTO archive (object_id, left_out) SELECT o.id, 1 FROM object o "
         "JOIN meta ON name = 'left-out:' || o.id WHERE true "
         "ON CONFLICT (object_id) DO UPDATE SET left_out = 1;"
         "INSERT INTO archive (object_id, short_bytes, short_pid, short_etag) "
         "SELECT id, CAST(bytes AS INTEGER), CAST(rest AS INTEGER), substr(rest, instr(rest, ' ') + 1) FROM "
         "(SELECT o.id, value AS bytes, substr(value, instr(value, ' ') + 1) AS rest FROM object o "
         "JOIN meta ON name = 'no-room:' || o.id) WHERE true "
         "ON CONFLICT (object_id) DO UPDATE SET short_bytes = excluded.short_bytes, "
         "short_pid = excluded.short_pid, short_etag = excluded.short_etag;"

         "CREATE TABLE series (org TEXT NOT NULL, category INTEGER NOT NULL, "
         "expansion INTEGER NOT NULL DEFAULT 0, new_share INTEGER NOT NULL DEFAULT 0, "
         "pin TEXT NOT NULL DEFAULT '', PRIMARY KEY (org, category)) STRICT, WITHOUT ROWID;"
         "INSERT INTO series (org, category, expansion, new_share, pin) SELECT org, category, "
         "coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'expansion:' || tail), 0), "
         "coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'new-share:' || tail), 0), "
         "coalesce((SELECT value FROM meta WHERE name = 'latest:' || tail), '') FROM "
         "(SELECT DISTINCT org, category, org || CASE category WHEN 1 THEN ':database' ELSE ':email-opt-in' "
         "END AS tail FROM object WHERE category IN (1, 2));"

         "CREATE TABLE took (what TEXT NOT NULL PRIMARY KEY, usec INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
         "INSERT INTO took SELECT substr(name, 6), CAST(value AS INTEGER) FROM meta "
         "WHERE name GLOB 'took:*';"

         "CREATE TABLE leftover (path TEXT NOT NULL PRIMARY KEY, object_id INTEGER NOT NULL, "
         "keep_as TEXT NOT NULL) STRICT, WITHOUT ROWID;"
         "INSERT INTO leftover SELECT line.value, 0, '' FROM meta JOIN json_each('[' || "
         "replace(json_quote(meta.value), '\\n', '\",\"') || ']') line "
         "WHERE name = 'leftovers' AND instr(meta.value, '\\') = 0 AND line.value <> '';"

         "CREATE TABLE secret_key (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, "
         "created INTEGER NOT NULL, expires INTEGER NOT NULL, user_id TEXT NOT NULL) STRICT;"
         "INSERT INTO secret_key (fingerprint, created, expires, user_id) "
         "SELECT fpr, CAST(created AS INTEGER), CAST(expires AS INTEGER), "
         "substr(expires, instr(expires, ' ') + 1) FROM "
         "(SELECT fpr, created, substr(created, instr(created, ' ') + 1) AS expires, at FROM "
         "(SELECT substr(v, 1, instr(v, ' ') - 1) AS fpr, substr(v, instr(v, ' ') + 1) AS created, at FROM "
         "(SELECT replace(line.value, char(1), '\\') AS v, line.key AS at FROM meta JOIN json_each('[' || "
         "replace(json_quote(replace(meta.value, '\\', char(1))), '\\n', '\",\"') || ']') line "
         "WHERE name = 'keys' AND line.value <> ''))) ORDER BY at;"

         "DELETE FROM meta WHERE name GLOB 'courses:*' OR name GLOB 'left-out:*' OR name GLOB 'no-room:*' OR "
         "name GLOB 'expansion:*' OR name GLOB 'new-share:*' OR name GLOB 'latest:*' OR name GLOB 'took:*' "
         "OR name IN ('leftovers', 'keys');"},
        /* events by course: ledger_facts.h */
        {"CREATE TABLE split (object_id INTEGER PRIMARY KEY REFERENCES object (id) ON DELETE CASCADE, "
         "path TEXT NOT NULL, rule TEXT NOT NULL, source_sha256 BLOB, sums_sha256 BLOB, "
         "lines_in INTEGER NOT NULL, lines_of_courses INTEGER NOT NULL, no_course INTEGER NOT NULL, "
         "invalid INTEGER NOT NULL, unparsed INTEGER NOT NULL, courses INTEGER NOT NULL, "
         "courses_left_out INTEGER NOT NULL, files_size INTEGER NOT NULL, "
         "tried_rule TEXT NOT NULL, tried_sha256 BLOB, cause TEXT NOT NULL, detail TEXT NOT NULL, "
         "attempts INTEGER NOT NULL, next_try INTEGER NOT NULL) STRICT;"},
        /* feed_event.c and feed_snapshot.c say what these are */
        {"CREATE TABLE feed (org TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
         "CREATE TABLE feed_position (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL) STRICT;"
         "CREATE TABLE feed_object (bucket TEXT NOT NULL, key TEXT NOT NULL, path TEXT NOT NULL, sha256 "
         "BLOB, "
         "missing INTEGER NOT NULL, PRIMARY KEY (bucket, key)) STRICT, WITHOUT ROWID;"
         "CREATE TABLE feed_member (kind INTEGER NOT NULL, org TEXT NOT NULL, category INTEGER NOT NULL, "
         "path TEXT NOT NULL, sha256 BLOB NOT NULL, size INTEGER NOT NULL, course TEXT NOT NULL, "
         "\"table\" TEXT NOT NULL, PRIMARY KEY (kind, org, category, path)) STRICT, WITHOUT ROWID;"
         "CREATE TABLE feed_base (org TEXT NOT NULL, category INTEGER NOT NULL, date TEXT NOT NULL, "
         "pin TEXT NOT NULL, PRIMARY KEY (org, category)) STRICT, WITHOUT ROWID;"},
        {"CREATE TABLE feed_day (bucket TEXT NOT NULL, key TEXT NOT NULL, path TEXT NOT NULL, sha256 BLOB, "
         "PRIMARY KEY (bucket, key)) STRICT, WITHOUT ROWID;"},
        {"ALTER TABLE feed_base ADD COLUMN last TEXT NOT NULL DEFAULT '';"},
        /* filled from the audit record */
        {"DROP TABLE feed_object; DROP TABLE feed_day; DROP TABLE feed_base; DELETE FROM feed_member; "
         "DELETE FROM feed; DELETE FROM feed_position;"
         "CREATE TABLE feed_staged (kind INTEGER NOT NULL, bucket TEXT NOT NULL, key TEXT NOT NULL, "
         "path TEXT NOT NULL, sha256 BLOB, missing INTEGER NOT NULL, PRIMARY KEY (kind, bucket, key)) "
         "STRICT, WITHOUT ROWID;"
         "CREATE INDEX feed_staged_path ON feed_staged (path);"
         "CREATE TABLE feed_snapshot (org TEXT NOT NULL, category INTEGER NOT NULL, date TEXT NOT NULL, "
         "first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (org, category, date)) STRICT, "
         "WITHOUT ROWID;"
         "CREATE TABLE feed_base (org TEXT NOT NULL, category INTEGER NOT NULL, date TEXT NOT NULL, "
         "pin TEXT NOT NULL, latest TEXT NOT NULL, PRIMARY KEY (org, category)) STRICT, WITHOUT ROWID;"},
        /* entries of listings that could not be read, in the listing `generation`: ledger.h */
        {"CREATE TABLE unreadable (bucket TEXT NOT NULL, key TEXT NOT NULL, org TEXT NOT NULL, "
         "category INTEGER NOT NULL, site TEXT NOT NULL, date TEXT NOT NULL, "
         "generation INTEGER NOT NULL, PRIMARY KEY (bucket, key)) "
         "STRICT, WITHOUT ROWID;"
         "ALTER TABLE secret_key ADD COLUMN homedir TEXT NOT NULL DEFAULT '';"},
        {"ALTER TABLE split ADD COLUMN manifest_sha256 BLOB;"},
};

DEFINE_CLEANUP(struct ledger, ledger, ledger_free)

struct ledger *ledger_free(struct ledger *l)
{
        if (!l)
                return NULL;
        sql_close(&l->sql);
        free(l->file);
        free(l);
        return NULL;
}

/* known: what this czard can read. */
static int get_version(struct ledger *l, int known, int64_t *ret, struct error *e)
{
        int r = sql_get_i64(&l->sql, "PRAGMA user_version", NULL, INT64_MIN, ret, e);
        if (r >= 0 && *ret > known)
                return error_set(e, CAUSE_CONFIG, EPROTONOSUPPORT,
                        "%s is of version %" PRIi64 ", this czard knows up to %d: use the newer czard, or "
                        "put the copy " FILE_NAME ".v%d back",
                        l->file, *ret, known, known);
        return MIN(r, 0);
}

/* Version 0 must be an empty file: tables without a version are not ours, or half overwritten. */
static int check_empty(struct ledger *l, struct error *e)
{
        int64_t n = 0;
        int r = sql_get_i64(&l->sql, "SELECT count(*) FROM sqlite_schema", NULL, 0, &n, e);
        return r >= 0 && n != 0 ? error_set(e, CAUSE_IO, EUCLEAN, "%s: has tables but no version", l->file)
                                : MIN(r, 0);
}

static int apply_steps(struct ledger *l, const struct ledger_step *table, int from, int to, struct error *e)
{
        for (int i = from; i < to; i++) {
                int r = sql_exec(&l->sql, table[i].sql, e);
                if (r < 0)
                        return r;
        }
        char sql[64];
        snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", to);
        return sql_exec(&l->sql, sql, e);
}

int ledger_migrate(struct ledger *l, const struct ledger_step *table, int n, struct error *e)
{
        int64_t version = 0;
        int r = get_version(l, n, &version, e);
        if (r < 0)
                return r;
        if (version < 0)
                return error_set(e, CAUSE_IO, EUCLEAN, "%s: bad version %" PRIi64, l->file, version);
        if (version == n)
                return 0;
        if (version == 0)
                r = check_empty(l, e);
        else {
                _cleanup_free_ char *copy = str_printf("%s.v%" PRIi64, l->file, version);
                if (!copy)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                r = ledger_backup(l, copy, e);
        }
        if (r < 0)
                return r;
        r = ledger_begin(l, e);
        if (r < 0)
                return r;
        return ledger_end(l, apply_steps(l, table, (int)version, n, e), e);
}

/* A path as the part of a file: URI. */
static void add_uri_path(struct strbuf *b, const char *path)
{
        for (; *path; path++)
                if (*path == '%' || *path == '?' || *path == '#')
                        strbuf_printf(b, "%%%02X", (unsigned char)*path);
                else
                        strbuf_add_n(b, path, 1);
}

void ledger_uri(struct strbuf *b, const char *file, const char *query)
{
        strbuf_add(b, "file:");
        add_uri_path(b, file);
        strbuf_add(b, query);
}

static int open_db(struct ledger *l, int flags, const char *query, struct error *e)
{
        _cleanup_strbuf_ struct strbuf uri = {};
        ledger_uri(&uri, l->file, query);
        if (uri.err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        flags |= SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
        int rc = sqlite3_open_v2(uri.s, &l->sql.db, flags, NULL);
        if (!l->sql.db)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        sqlite3_extended_result_codes(l->sql.db, 0);
        if (rc != SQLITE_OK)
                return sql_fail(&l->sql, "opening", e);
        sqlite3_busy_timeout(l->sql.db, BUSY_MSEC);
        sqlite3_db_config(l->sql.db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(l->sql.db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_db_config(l->sql.db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
        sqlite3_db_config(l->sql.db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
        int on = 1;
        sqlite3_file_control(l->sql.db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
        /* temp_store: sorting may never write elsewhere, /var/tmp is not ours */
        return sql_exec(&l->sql, "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;", e);
}

/* The real path, because SQLite refuses links in every component of it, not only in the last. */
static int ledger_new(const char *state_dir, struct ledger **ret, struct error *e)
{
        _cleanup_free_ char *dir = realpath(state_dir, NULL);
        if (!dir)
                return error_errno(e, errno, "%s", state_dir);
        _cleanup_(cleanup_ledger) struct ledger *l = calloc(1, sizeof(*l));
        if (l)
                l->sql.name = l->file = str_printf("%s/" FILE_NAME, dir);
        if (!l || !l->file)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        *ret = take_ptr(&l);
        return 0;
}

/* SQLite gives -wal and -shm the mode of the file: so it is made here first. */
static int make_file(const char *file, struct error *e)
{
        _cleanup_close_ int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
        if (fd < 0)
                return errno == EEXIST ? 0 : error_errno(e, errno, "%s", file);
        if (fchmod(fd, FILE_MODE) < 0)
                return error_errno(e, errno, "%s", file);
        return 0;
}

int ledger_open_memory(struct ledger **ret, struct error *e)
{
        _cleanup_(cleanup_ledger) struct ledger *l = calloc(1, sizeof(*l));
        if (l)
                l->sql.name = l->file = strdup(":memory:");
        if (!l || !l->file)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        int r = open_db(l, SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY, "", e);
        if (r == 0)
                r = ledger_migrate(l, steps, LEDGER_VERSION, e);
        if (r == 0)
                *ret = take_ptr(&l);
        return r;
}

int ledger_open(const char *state_dir, struct ledger **ret, struct error *e)
{
        _cleanup_(cleanup_ledger) struct ledger *l = NULL;
        int r = ledger_new(state_dir, &l, e);
        if (r < 0)
                return r;
        r = make_file(l->file, e);
        if (r < 0)
                return r;
        r = open_db(l, SQLITE_OPEN_READWRITE, "", e);
        if (r < 0)
                return r;
        r = sql_exec(&l->sql,
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; "
                "PRAGMA journal_size_limit = 16777216;",
                e);
        if (r < 0)
                return r;
        r = ledger_migrate(l, steps, LEDGER_VERSION, e);
        if (r < 0)
                return r;
        *ret = take_ptr(&l);
        return 0;
}

static int check_readable(struct ledger *l, struct error *e)
{
        int64_t version = 0;
        int r = get_version(l, LEDGER_VERSION, &version, e);
        if (r < 0)
                return r;
        if (version < LEDGER_VERSION)
                return error_set(e, CAUSE_CONFIG, EPROTONOSUPPORT,
                        "%s is of version %" PRIi64 ", not yet %d: start czard once, it brings it up to date",
                        l->file, version, LEDGER_VERSION);
        return 0;
}

static bool has_wal(const struct ledger *l)
{
        _cleanup_free_ char *wal = str_printf("%s-wal", l->file);
        return !wal || access(wal, F_OK) == 0;
}

int ledger_open_readonly(const char *state_dir, struct ledger **ret, struct error *e)
{
        _cleanup_(cleanup_ledger) struct ledger *l = NULL;
        int r = ledger_new(state_dir, &l, e);
        if (r < 0)
                return r;
        if (access(l->file, F_OK) < 0)
                return error_errno(e, errno, "%s", l->file);
        bool immutable = !has_wal(l);
        r = open_db(l, SQLITE_OPEN_READONLY, immutable ? "?immutable=1" : "", e);
        if (r < 0)
                return r;
        /* whoever only reads must not fold the WAL in when it is the last to close */
        sqlite3_db_config(l->sql.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        r = check_readable(l, e);
        if (r < 0)
                return r;
        *ret = take_ptr(&l);
        return 0;
}

static int move_file(int dir_fd, const char *stamp, const char *suffix, struct error *e)
{
        char from[64], to[128];
        snprintf(from, sizeof(from), FILE_NAME "%s", suffix);
        snprintf(to, sizeof(to), FILE_NAME ".damaged-%s%s", stamp, suffix);
        if (renameat2(dir_fd, from, dir_fd, to, RENAME_NOREPLACE) < 0 && errno != ENOENT)
                return error_errno(e, errno, "%s to %s", from, to);
        return 0;
}

int ledger_set_aside(const char *state_dir, struct error *e)
{
        _cleanup_close_ int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return error_errno(e, errno, "%s", state_dir);
        uint64_t now = now_usec(CLOCK_REALTIME);
        char stamp[TIME_SIZE], unique[48];
        snprintf(unique, sizeof(unique), "%s.%06" PRIu64, time_format((int64_t)(now / USEC_PER_SEC), stamp),
                now % USEC_PER_SEC);
        /* The file itself last: after a crash in between it is still the damaged one, and is moved again. */
        static const char *const suffixes[] = {"-shm", "-wal", ""};
        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                int r = move_file(dir, unique, suffixes[i], e);
                if (r < 0)
                        return r;
        }
        if (fsync(dir) < 0)
                return error_errno(e, errno, "%s", state_dir);
        return 0;
}

static int copy_pages(struct ledger *l, const char *file, struct error *e)
{
        struct sql to = {.name = file};
        int rc = sqlite3_open_v2(file, &to.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
        int r = rc == SQLITE_OK ? 0 : sql_fail(&to, "opening", e);
        sqlite3_backup *b = r == 0 ? sqlite3_backup_init(to.db, "main", l->sql.db, "main") : NULL;
        if (r == 0 && !b)
                r = sql_fail(&to, "copying", e);
        if (b) {
                do
                        rc = sqlite3_backup_step(b, -1);
                while ((rc == SQLITE_BUSY || rc == SQLITE_LOCKED) && sqlite3_sleep(50) > 0);
                rc = sqlite3_backup_finish(b);
                if (rc != SQLITE_OK)
                        r = sql_fail(&to, "copying", e);
        }
        /* one file that stands alone */
        if (r == 0)
                r = sql_exec(&to, "PRAGMA journal_mode = DELETE", e);
        sqlite3_close(to.db);
        return r;
}

static int install_copy(const char *hidden, const char *file, struct error *e)
{
        _cleanup_free_ char *dir = strdup(file);
        char *slash = dir ? strrchr(dir, '/') : NULL;
        if (slash)
                slash[slash == dir] = 0;
        _cleanup_close_ int fd = open(hidden, O_RDONLY | O_CLOEXEC);
        _cleanup_close_ int dir_fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (!dir || fd < 0 || dir_fd < 0 || fsync(fd) < 0 || rename(hidden, file) < 0 || fsync(dir_fd) < 0)
                return error_errno(e, errno, "%s", file);
        return 0;
}

int ledger_backup(struct ledger *l, const char *file, struct error *e)
{
        _cleanup_free_ char *hidden = str_printf("%s.new", file);
        if (!hidden)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (unlink(hidden) < 0 && errno != ENOENT)
                return error_errno(e, errno, "%s", hidden);
        int r = make_file(hidden, e);
        if (r == 0)
                r = copy_pages(l, hidden, e);
        if (r == 0)
                r = install_copy(hidden, file, e);
        if (r < 0)
                (void)unlink(hidden);
        return r;
}

/* --- transactions --- */

/* SQLite takes the other setting only outside of a transaction. */
static int set_passing(struct ledger *l, bool passing, struct error *e)
{
        if (l->passing == passing)
                return 0;
        int r = sql_exec(&l->sql, passing ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", e);
        if (r == 0)
                l->passing = passing;
        return r;
}

static int begin(struct ledger *l, bool passing, struct error *e)
{
        int r = 0, moved = 0;
        /* What is written to a file without a name is gone when it is closed. */
        if (l->depth == 0 &&
                sqlite3_file_control(l->sql.db, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved)
                return error_set(e, CAUSE_IO, ESTALE, "%s was removed or replaced: restart czard", l->file);
        if (l->depth == 0)
                r = set_passing(l, passing, e);
        if (r == 0 && l->depth == 0)
                r = sql_run(&l->sql, "BEGIN IMMEDIATE", NULL, e);
        if (r == 0)
                l->depth++;
        return r;
}

int ledger_begin(struct ledger *l, struct error *e)
{
        return begin(l, false, e);
}

int ledger_begin_passing(struct ledger *l, struct error *e)
{
        return begin(l, true, e);
}

int ledger_commit(struct ledger *l, struct error *e)
{
        if (l->depth == 0) /* somebody within has undone all of it */
                return error_set(e, CAUSE_IO, EIO, "%s: the changes were undone", l->file);
        if (--l->depth > 0)
                return 0;
        /* SQLite itself gives a transaction up on a full disk or a failed write: nothing of it is there. */
        if (sqlite3_get_autocommit(l->sql.db))
                return error_set(e, CAUSE_IO, EIO, "%s: the changes were given up after an error", l->file);
        int r = sql_run(&l->sql, "COMMIT", NULL, e);
        if (r < 0)
                ledger_rollback(l);
        else
                r = set_passing(l, false, e);
        return r;
}

void ledger_rollback(struct ledger *l)
{
        l->depth = 0;
        if (!sqlite3_get_autocommit(l->sql.db))
                (void)sql_run(&l->sql, "ROLLBACK", NULL, NULL);
        (void)set_passing(l, false, NULL);
}

int ledger_end(struct ledger *l, int r, struct error *e)
{
        if (r == 0)
                return ledger_commit(l, e);
        ledger_rollback(l);
        return r;
}

/* --- small facts --- */

int ledger_meta_get(struct ledger *l, const char *name, char *ret, size_t size, struct error *e)
{
        const struct sql_column value = {COLUMN_TEXT, .size = size};
        ret[0] = 0;
        int r = sql_get(
                &l->sql, "SELECT value FROM meta WHERE name = ?1", VALUES(V(name)), &value, 1, ret, e);
        return MIN(r, 0);
}

int ledger_meta_set(struct ledger *l, const char *name, const char *value, struct error *e)
{
        if (!*value)
                return sql_run(&l->sql, "DELETE FROM meta WHERE name = ?1", VALUES(V(name)), e);
        return sql_run(&l->sql,
                "INSERT INTO meta (name, value) VALUES (?1, ?2) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                VALUES(V(name), V(value)), e);
}
