/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between czard and its helpers: one SOCK_SEQPACKET datagram each, bounded, versioned, validated by
 * the receiver, with descriptors by SCM_RIGHTS. What a message holds is data: the tables in proto.c.
 *
 *   czard -> czard-fetch      LIST GET CANCEL
 *   czard-fetch -> czard      HELLO LISTED DONE PROGRESS
 *   czard -> czard-decrypt    SETUP FILE MEMBERS
 *   czard-decrypt -> czard    READY VERDICT PROGRESS
 *   czard -> czard-index      DIRECTORY
 *   czard-index -> czard      ENTRIES DIRECTORY_DONE PROGRESS
 *   czard -> czard-filter     SPLIT
 *   czard-filter -> czard     SPLIT_FILES SPLIT_DONE PROGRESS
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "error.h"
#include "terms.h"

/* In each message. All programs are of one build, but for an upgrade under a running czard, which starts the
 * new helpers: whoever changes what a message holds raises it, so that this is told as what it is. */
#define PROTO_VERSION 2
#define PROTO_MESSAGE_MAX (128 * 1024)
#define PROTO_FDS_MAX 65 /* a pipe and one file for each of PROTO_RUN_MAX members */
#define PROTO_RUN_MAX 64

enum proto_type {
        PROTO_HELLO = 1,
        PROTO_LIST,
        PROTO_GET,
        PROTO_CANCEL,
        PROTO_LISTED,
        PROTO_DONE,
        PROTO_SETUP,
        PROTO_READY,
        PROTO_FILE,
        PROTO_DIRECTORY,
        PROTO_MEMBERS,
        PROTO_VERDICT,
        PROTO_ENTRIES,
        PROTO_DIRECTORY_DONE,
        PROTO_PROGRESS,
        PROTO_SPLIT,
        PROTO_SPLIT_FILES,
        PROTO_SPLIT_DONE,
        PROTO_TYPE_MAX
};

/* How a request ended. cause 0: well. */
struct outcome {
        uint32_t cause; /* enum cause */
        const char *detail;
};

/* czard-fetch, once it serves: version is checked by the receiver. credentials: "" or why there are none. */
struct proto_hello {
        uint32_t version;
        const char *credentials_source; /* which file or credential won, for the journal */
        const char *warning;            /* e.g. what the kernel's Landlock could not restrict; "" none */
};
/* All keys below prefix after start_after, in order. Answer: LISTED ... then DONE. */
struct proto_list {
        const char *bucket, *prefix, *start_after;
};
struct proto_object {
        const char *key, *etag; /* etag with its quotes, as S3 sends it */
        uint64_t size;
        int64_t last_modified; /* seconds */
};
struct proto_listed {
        struct proto_object *objects;
        size_t n;
};
/* Bytes [offset, offset+length) of the object into the pipe that comes with it. whole: it is the whole
 * object, so digest it and compare ETag and checksums. Answer: DONE. */
struct proto_get {
        const char *bucket, *key, *etag;
        uint64_t offset, length, size;
        uint8_t whole;
};
/* Stops the request of the message's id; its DONE still comes (CAUSE_CANCELLED). */
struct proto_done {
        struct outcome outcome;
        uint32_t http_status, requests;
        uint64_t bytes, retry_after_usec;
        int64_t skew_sec; /* server clock minus ours, where the answer told; else 0 */
        uint32_t checks;  /* enum check bits that fetch can tell: TLS SIZE ETAG CHECKSUM ONE_ETAG NO_ETAG
                             NO_CHECKSUM */
        const char *access_key_id, *new_etag; /* new_etag: with CAUSE_REPLACED, where known */
};

/* First message to a worker. fd 0 (optional): a memfd with the passphrase. home is the worker's own
 * GNUPGHOME, an empty folder; source a GnuPG home to take the secret keys from (import: one of an admin's,
 * where links are followed; else a template of another worker's, copied as it is). template ("" none): an
 * empty folder that becomes one, and that the worker cannot write to any more once it is READY. */
struct proto_setup {
        const char *home, *source, *template, *signers;
        uint8_t import;
        uint8_t reference;  /* it keeps its gpg-agent, and opens what nothing else can */
        uint8_t signatures; /* enum signature_policy */
        uint8_t engine;     /* enum pgp_engine */
        uint64_t max_plaintext, max_ratio, max_name;
};
struct proto_key {
        const char *fingerprint, *user_id; /* primary key */
        const char *key_ids;               /* its encryption subkeys, space-separated, 16 hex digits each */
        int64_t created, expires;          /* seconds; expires 0: never */
};
struct proto_ready {
        struct outcome outcome;
        struct proto_key *keys; /* secret keys that can decrypt */
        size_t n_keys;
        uint8_t reference; /* it has a gpg-agent, as it was asked to, or because it can do nothing without */
        const char *warning;
};

enum proto_format { FORMAT_OPAQUE, FORMAT_GZIP, FORMAT_GUNZIP, FORMAT_FORMAT_MAX };
/* One OpenPGP message. fds: pipe to read, file to write. size: bytes of ciphertext expected. format says what
 * the plaintext is: opaque; gzip, checked to its trailer and written as it is; gzip, checked and written
 * unpacked. */
struct proto_file {
        uint64_t size;
        uint8_t format;
};
/* The end of an archive: bytes [start, size) come through the pipe. Answer: ENTRIES ..., DIRECTORY_DONE. The
 * members come in the order of the directory and without extents; they count when the outcome is good. */
struct proto_directory {
        uint64_t size, start, max_members; /* max_members 0: without limit */
};
/* Their extents are 0: the receiver knows when it has all of them. */
struct proto_entries {
        struct archive_entry *entries;
        size_t n;
};
struct proto_directory_done {
        struct outcome outcome;
        uint64_t need_start;    /* outcome well, but not 0: the directory begins here; ask again from there */
        uint64_t count, offset; /* offset: of the directory, where the last member ends */
};
/* Members in the order of their offsets, from one pipe whose first byte is archive byte `position`.
 * new_stream: fd 0 is that pipe (an older one is closed); otherwise go on reading the pipe at hand. Then one
 * file per member, in order. Answer: one VERDICT per member, in order, member = its index in this message.
 * CAUSE_REFERENCE, of a worker without a gpg-agent: only one that has it can tell. */
struct proto_members {
        uint64_t position;
        uint8_t new_stream;
        struct archive_entry *entries;
        size_t n;
};

enum verdict_warning {
        WARN_KEY_EXPIRED = BIT(0),   /* the key has expired, decrypted all the same */
        WARN_ARMOR = BIT(1),         /* ASCII armor */
        WARN_SIGNATURE = BIT(2),     /* a signature that could not be checked (optional policy) */
        WARN_NOT_ENCRYPTED = BIT(3), /* a member without .gpg was passed through as it is */
        WARN_ALL = BIT(4) - 1,
};
struct proto_verdict {
        struct outcome outcome;
        uint32_t member, checks, warnings;
        uint64_t plain_size, cipher_size;
        uint64_t rows; /* line breaks of a .sql member, else 0 */
        uint8_t sha256[SHA256_SIZE];
        const char *fingerprint; /* of the key that decrypted */
        const char *recipients;  /* key ids the message is for, space-separated */
};
/* One staged file of events, to be split by course. fds: the file, the empty folder to make files in. Answer:
 * SPLIT_FILES ..., by names and together all that is in the folder, then SPLIT_DONE. */
struct proto_split {
        uint8_t rule;              /* enum event_rule */
        uint8_t gzip;              /* the file is gzip, else plain */
        uint64_t room, room_files; /* that it may take of the file system: bytes in whole blocks, files */
};
struct proto_split_file {
        const char *name;
        uint64_t size;
};
struct proto_split_files {
        struct proto_split_file *files;
        size_t n;
};
/* lines_in is the sum of the next four. */
struct proto_split_done {
        struct outcome outcome;
        uint64_t lines_in, lines_of_courses, no_course, invalid, unparsed;
        uint64_t courses, courses_left_out; /* left out: more than there may be; their lines are invalid */
        uint64_t files, files_size;         /* that SPLIT_FILES named, and of all of them together */
        uint8_t source_sha256[SHA256_SIZE], sums_sha256[SHA256_SIZE]; /* of the file; of SHA256SUMS */
};
/* Once a second while there is work: a helper that says nothing for long is taken for stuck. bytes: moved by
 * the job at hand. czard-fetch: of the GET with that id, when there are more than it told before; id 0: it is
 * only alive. */
struct proto_progress {
        uint64_t bytes;
};

/* Strings in a received message point into storage; descriptors belong to the message until taken (set to
 * -1). */
struct message {
        enum proto_type type;
        uint32_t id; /* each request has one of its own; its answers carry it back, see answers.h */
        union {
                struct proto_hello hello;
                struct proto_list list;
                struct proto_get get;
                struct proto_listed listed;
                struct proto_done done;
                struct proto_setup setup;
                struct proto_ready ready;
                struct proto_file file;
                struct proto_directory directory;
                struct proto_members members;
                struct proto_verdict verdict;
                struct proto_entries entries;
                struct proto_directory_done directory_done;
                struct proto_progress progress;
                struct proto_split split;
                struct proto_split_files split_files;
                struct proto_split_done split_done;
        };
        int fds[PROTO_FDS_MAX];
        size_t n_fds;
        void *storage;
};

/* A connected pair, close-on-exec, with send buffers for the largest message. ret[0] is the caller's end. 0
 * or -errno. */
int proto_pair(int ret[2]);
/* Sends m with its fds (borrowed). NULL strings go as "". 0, -EAGAIN (non-blocking socket is full),
 * -EMSGSIZE, -EPIPE, -errno. */
int proto_send(int sock, const struct message *m);
/* Receives one. 0, -EAGAIN, -EPIPE (peer closed), -EPROTO with a cause in e (not a valid message: the peer
 * must be killed). The caller calls message_done(). */
int proto_recv(int sock, struct message *ret, struct error *e);
/* The same from memory, without descriptors; for the fuzzer and proto_recv(). p is copied. */
int proto_decode(const void *p, size_t n, struct message *ret, struct error *e);
/* The encoding in *ret (caller frees). 0, -ENOMEM, -EMSGSIZE. */
int proto_encode(const struct message *m, void **ret, size_t *ret_n);
/* May a message like m come with n descriptors? */
bool proto_takes_fds(const struct message *m, size_t n);
/* How many bytes element i would add to a repeated field, to fill messages up to PROTO_MESSAGE_MAX. */
size_t proto_object_size(const struct proto_object *o);
size_t proto_entry_size(const struct archive_entry *e);
/* Closes descriptors still held and frees storage. */
void message_done(struct message *m);
#define _cleanup_message_ _cleanup_(message_done)
