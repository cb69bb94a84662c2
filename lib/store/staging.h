/* SPDX-License-Identifier: Apache-2.0 */
/* The staging directory and its one door. A file is written without a name (O_TMPFILE), verified, then
 * staging_publish() gives it mode, group and mtime, makes it durable and links it to its name. Every path is
 * relative to the root and opened by open_beneath(); nothing else in czard renames, links or opens there. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "digest.h"
#include "error.h"
#include "str.h"

struct ledger;
struct staging;

/* Opens the root: a folder on a file system with O_TMPFILE, owner root or us, mode & 007 == 0. -errno with
 * the text an admin needs (for EROFS under ProtectSystem=strict: the ReadWritePaths= drop-in). */
int staging_open(const char *path, mode_t file_mode, mode_t dir_mode, struct staging **ret, struct error *e);
/* Only to look (czarctl verify): no file is tried, nothing may be published or removed. */
int staging_open_readonly(const char *path, struct staging **ret, struct error *e);
/* The same for a member of the readers' group, to whom the folder does not belong. */
int staging_open_reader(const char *path, struct staging **ret, struct error *e);
struct staging *staging_free(struct staging *s);
/* May we write there, and can its file system do what we need? 0, or -errno with the text an admin needs. */
int staging_probe(const struct staging *s, struct error *e);
int staging_root_fd(const struct staging *s);

#define STAGING_ID_FILE ".czard-id" /* in the root */
#define STAGING_ID_SIZE 33          /* hex and NUL */
/* The id in .czard-id, "" when there is none (0), or -errno. Reads through the path again, so that a volume
 * that was unmounted or mounted over is noticed; -ESTALE: another volume with the same id is there now. */
int staging_read_id(const struct staging *s, char ret[STAGING_ID_SIZE], struct error *e);
/* Is it the volume of that id ("": any will do)? What is there comes in ret. 0; -ENODEV with a text that ends
 * in what_to_do; or -errno. */
int staging_expect_id(const struct staging *s, const char *known, const char *what_to_do,
        char ret[STAGING_ID_SIZE], struct error *e);
/* Makes .czard-id when the root is otherwise empty (lost+found does not count); -ENOTEMPTY when it is not. */
int staging_make_id(struct staging *s, char ret[STAGING_ID_SIZE], struct error *e);
/* Writes .czard-id whatever else is there: adopt. */
int staging_adopt_id(struct staging *s, char ret[STAGING_ID_SIZE], struct error *e);

/* Are two names that differ only in case one file there? */
bool staging_folds_case(const struct staging *s);
/* Bytes free for us on the file system. */
int staging_free_bytes(const struct staging *s, uint64_t *ret, struct error *e);
/* Files that can still be made; UINT64_MAX: the file system does not count them (btrfs). */
int staging_free_inodes(const struct staging *s, uint64_t *ret, struct error *e);

enum encrypted { ENCRYPTED_YES, ENCRYPTED_NO, ENCRYPTED_UNKNOWN };
/* Is the device below a dm-crypt one (through LVM and partitions, by /sys)? detail names what was found. */
enum encrypted staging_encrypted(const struct staging *s, char *detail, size_t size);
/* The same of one device, sysfs opened by the caller. */
enum encrypted staging_device_encrypted(int sys_fd, dev_t dev, char *detail, size_t size);

/* An unnamed file, open for reading and writing, mode 0600. A descriptor or -errno. */
int staging_create(struct staging *s, struct error *e);
/* One that somebody else is to write: returns a descriptor that cannot write, for staging_check_written() and
 * to give the file its name, and in *ret_writable the one to hand over; the caller closes both. Or -errno. */
int staging_create_handed(struct staging *s, int *ret_writable, struct error *e);
/* It is said to be written: has it that size, and can nobody write to it any more (a lease for reading is had
 * and given back)? 0; -EPROTO: no, whoever was to write it broke its word; or another -errno: it cannot be
 * told now. */
int staging_check_written(const struct staging *s, int fd, uint64_t size, struct error *e);
/* Tries leases on a file there; where they do not work staging_check_written() looks at the size alone. 0, or
 * -errno and why they do not. */
int staging_try_leases(struct staging *s, struct error *e);

/* How a file or folder is shown. */
struct staging_attr {
        gid_t gid;     /* (gid_t)-1: none */
        int64_t mtime; /* seconds; -1: leave */
};

/* The folder of an organisation, first part of each path: of one group, and let through by others, those of
 * the categories. */
#define STAGING_THROUGH_MAX 8
struct staging_top {
        gid_t gid; /* (gid_t)-1: none */
        gid_t through[STAGING_THROUGH_MAX];
        size_t n_through;
};
/* Makes the first folder of path unless it is there, which is left as it is. */
int staging_make_top(struct staging *s, const char *path, const struct staging_top *top, struct error *e);

/* Publishes fd (from staging_create()) as path, making the folders above. When path exists it is replaced in
 * one rename; the old file is first linked to `keep_as` (relative to the same folder, folders made; NULL: not
 * kept). 0, or -errno: then path is as it was, or (when only the last fsync of the folder failed) is the new
 * file, and publishing it once more does no harm. Only a regular file of root or ours is replaced. */
int staging_publish(struct staging *s, int fd, const char *path, const struct staging_attr *attr,
        const char *keep_as, struct error *e);

/* Stat below the root, no links followed. What nobody asks for is NULL. 0, -ENOENT or -errno. */
int staging_stat(
        const struct staging *s, const char *path, uint64_t *ret_size, int64_t *ret_mtime, bool *ret_is_dir);
/* Opens a staged file for reading. A descriptor or -errno. */
int staging_open_file(const struct staging *s, const char *path);
/* path (a file or folder) is not what is published any more: it goes to keep_as (relative to its folder),
 * NULL or "": it is removed. 0, also when it is not there. */
int staging_retire(struct staging *s, const char *path, const char *keep_as, struct error *e);
/* Removes a file, or a folder with all below it; then empty folders above it. 0, also when it is not there.
 */
int staging_remove(struct staging *s, const char *path, struct error *e);

/* What an earlier staging_remove() of that folder could not remove, under a hidden name. */
int staging_remove_remains(struct staging *s, const char *path, struct error *e);
/* The names in a folder below the root ("" none). 0, -ENOENT, or -errno with e. */
int staging_list(const struct staging *s, const char *path, struct strv *ret, struct error *e);

/* --- snapshot_dir.c, snapshot_publish.c: a folder that appears whole --- */

struct snapshot_dir;

/* The folder path (".../database/2024-07-07") as it is being built: ".../database/.2024-07-07.partial". Opens
 * what an earlier run left there, or makes it. tag (the ETag) is kept beside it: a partial of another tag is
 * removed first.
 * -EALREADY: a crash came between snapshot_publish() and snapshot_free(): the folder at path is whole and is
 * the one of this tag, only record it. It is said once; the next call begins anew. */
int snapshot_begin(struct staging *s, const char *path, const char *tag, const struct staging_attr *attr,
        struct snapshot_dir **ret, struct error *e);
/* Links fd as the member `name` (folders made). Not durable before snapshot_sync() or snapshot_publish().
 * When the name is there already it is replaced. mtime comes from attr of snapshot_begin(). */
int snapshot_add(struct snapshot_dir *d, const char *name, int fd, struct error *e);
/* Links an already staged file (path relative to the root) as the member instead, when it is a regular file
 * with equal group and mode whose bytes, which are read here, have that hash. -EMLINK, -ENOENT, -ESTALE (not
 * equal): the caller keeps its own copy. *ret_rows (may be NULL): its line breaks. */
int snapshot_add_link(struct snapshot_dir *d, const char *name, const char *staged_path,
        const uint8_t sha256[SHA256_SIZE], uint64_t size, uint64_t *ret_rows, struct error *e);
/* Does the member stand there with that size, our group and mode? */
bool snapshot_has(const struct snapshot_dir *d, const char *name, uint64_t size);
/* One durability barrier (syncfs) for all that was added since the last. */
int snapshot_sync(struct snapshot_dir *d, struct error *e);

/* A member that is to stand in the folder, or was rejected. Borrowed for the call. */
struct snapshot_sum {
        const char *name; /* its path below the folder; of a rejected one, its name in the archive */
        /* of one that is to stand there; what is "" is not known */
        const uint8_t *sha256;
        const char *course, *table, *site;
        uint64_t size, rows; /* rows: line breaks */
        const char *cause;   /* of a rejected one, for REJECTED */
};
/* 0, or -errno, which ends the walk. */
typedef int snapshot_sum_fn(void *arg, const struct snapshot_sum *sum, struct error *e);
/* The members, told one by one and several times, so that nobody needs them all in memory. In the thread that
 * publishes. */
struct snapshot_list {
        /* All that are to stand there, or all that were rejected, sorted by the bytes of their names. 0 or
         * -errno. */
        int (*each)(void *arg, bool rejected, snapshot_sum_fn *each, void *each_arg, struct error *e);
        /* Is one of that path to stand there? 1, 0 or -errno. */
        int (*has)(void *arg, const char *path, struct error *e);
        void *arg;
        bool unknown; /* nobody staged what stands at the path now, if there is something */
};
#define SNAPSHOT_SUMS "SHA256SUMS"
/* One JSON object a line: path, course, table, site, size, sha256, rows (of what ends in .sql). */
#define SNAPSHOT_MANIFEST "MANIFEST.jsonl"
/* Removes what is in the folder but not in list, writes SHA256SUMS, MANIFEST.jsonl (and REJECTED when there
 * is one) byte-sorted, makes all of it durable and renames it to its name; when that exists, exchanges the
 * two and moves the old one to keep_as (relative to its parent folder; NULL: removed). -ENOENT: a staged
 * member is not there. d is spent after success: free it once the ledger has recorded the publication, then a
 * crash in between is noticed by snapshot_begin(). */
int snapshot_publish(
        struct snapshot_dir *d, const struct snapshot_list *list, const char *keep_as, struct error *e);
/* A line of SHA256SUMS, as sha256sum -c reads it. */
void snapshot_add_sum(struct strbuf *b, const char *name, const uint8_t sha256[SHA256_SIZE]);
/* The hash that SHA256SUMS has when it lists the staged members of the object. 1; 0: the hash of a member is
 * not known; or -errno. */
int snapshot_sums(struct ledger *l, int64_t object_id, uint8_t ret[SHA256_SIZE], struct error *e);
/* ".../.2024-07-07.partial", where path is built. The caller frees; NULL: no memory. */
char *snapshot_partial_path(const char *path);
/* Whose folder is built, or was published, at path, as the record beside it says: its tag ("" none), and
 * whether the folder at path is that one already. is_appearing: it is just being given its name, or a crash
 * came then. */
#define SNAPSHOT_TAG_SIZE 1025
struct snapshot_claim {
        char tag[SNAPSHOT_TAG_SIZE];
        bool is_published, is_appearing;
};
int snapshot_claim(const struct staging *s, const char *path, struct snapshot_claim *ret, struct error *e);
/* Removes what is being built for path, and the record of it. */
int snapshot_discard(struct staging *s, const char *path, struct error *e);

/* A folder that another process has filled: */

/* As snapshot_begin(), but the folder is empty: what an earlier attempt left there is removed. Unlike
 * snapshot_discard() this and snapshot_abandon() leave the folders above alone, so that several folders below
 * one that is new may be begun at once. */
int snapshot_begin_empty(struct staging *s, const char *path, const char *tag,
        const struct staging_attr *attr, struct snapshot_dir **ret, struct error *e);
/* Removes the folder that was begun, and its record. */
int snapshot_abandon(struct snapshot_dir *d, struct error *e);
/* The folder that is being built; borrowed. */
int snapshot_fd(const struct snapshot_dir *d);
struct snapshot_made {
        const char *name;
        uint64_t size;
        uint8_t *ret_sha256; /* NULL: not asked for */
};
/* As snapshot_publish(), but of what a process made there that has ended since: each is given its mode, group
 * and time. v: by name. -EBADMSG with CAUSE_HELPER: something else is in the folder than regular files of one
 * link, of ours, of exactly these names and sizes. */
int snapshot_publish_made(struct snapshot_dir *d, const struct snapshot_made *v, size_t n, struct error *e);
/* Of one that was published: where the folder is kept (relative to its own) that stood there and was not, or
 * not all, put there by czard: it has a file beside those that its SHA256SUMS lists, or, when list->unknown,
 * another SHA256SUMS than the new one. "": there was none. Borrowed. */
const char *snapshot_kept_as(const struct snapshot_dir *d);

struct snapshot_dir *snapshot_free(struct snapshot_dir *d);
/* The ledger could not record the publication: the next snapshot_begin() says -EALREADY. */
void snapshot_keep_record(struct snapshot_dir *d);

/* Replaces the link "latest" in the folder dir (".../database") to point to `date`; NULL: removes the link.
 */
int staging_latest(struct staging *s, const char *dir, const char *date, struct error *e);
/* Where it points, "" when there is none. */
int staging_read_latest(const struct staging *s, const char *dir, char *ret, size_t size);

/* Start-up: ends publications that a crash interrupted, removes their hidden left-overs everywhere
 * (".czard-tmp-*", ".NAME.czard-tmp-*"; not below folders with SHA256SUMS, where nothing is ever written) and
 * partial folders for which keep returns false. path is the final one, as in snapshot_begin(). Goes on after
 * an error and returns the first. */
typedef bool staging_keep_partial_fn(const char *path, const char *tag, void *arg);
int staging_sweep(struct staging *s, staging_keep_partial_fn *keep, void *arg, struct error *e);
