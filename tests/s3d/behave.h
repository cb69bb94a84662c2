/* SPDX-License-Identifier: Apache-2.0 */
/* Behaviours: one small file each in --behaviour-dir, read again for every request, so that the next request
 * sees what a test has just written. Files whose name begins with "." or ends in "~" or ".tmp", and
 * sub-folders, are passed over.
 *
 * Lines are name=value; # begins a comment. The files are tried in the order of their names and the first
 * that applies wins, so one behaviour a request. A file that cannot be understood makes every request end
 * with 500 BehaviourFile and the line's number: a test cannot pass by a misspelt behaviour.
 *
 * Which requests (all that are given must fit):
 *   method=GET             op=list|get|head|put|delete|bucket   bucket=NAME
 *   key=GLOB               fnmatch(3), * also matches /; with op=list it is matched with the prefix
 *   access_key=ID          range=yes|no (a Range header)     part=yes|no (partNumber)
 *   after=N                pass over the first N requests that fit
 *   count=N                then apply to N of them; default: all. Both count from when the file was written
 *
 * What happens instead. The signature and the policy are checked first, always.
 *   delay=MSEC             before anything is answered
 *   date_skew=SECONDS      the server's clock is off by so much (may be negative): in Date and in the check
 *                          of x-amz-date
 *   drop=1                 RST without an answer
 *   status=N code=NAME message=TEXT     an S3 error
 *   retry_after=TEXT       a Retry-After header
 *   redirect_region=R      the bucket is in R: a request signed for another region gets 301 PermanentRedirect
 *                          with x-amz-bucket-region, one signed for R is served
 *   redirect_status=N location=URL      301, 307, or 400: AuthorizationHeaderMalformed with <Region>
 *   header=NAME: VALUE     sent instead of, or besides, what would be sent; any number; without a value: not
 *                          sent. Content-Length: N is announced, and the body ends early when there is less
 *   body=FILE              that body instead of the answer's; status 200 unless given; content_type=TEXT
 *   body_head=FILE body_tail=FILE body_repeat=N|forever   what is around it, and how many times it comes
 *   replace_with=FILE      the object is replaced by FILE (FILE.meta: its meta data) before the request is
 *                          looked at
 *   replace_after=AT       ... or when so much of the body was sent; this body goes on with the old bytes
 *   replace_mix=1          ... or with the new ones (which no S3 does)
 *   remove=1               the object is removed before the request is looked at
 *   etag=TEXT              another ETag header
 *   checksum=wrong         other x-amz-checksum headers
 *   ignore_if_match=1      If-Match is not looked at
 *   full_for_range=1       Range is ignored: 200 and the whole object
 *   range_total=N          a 206 says that the object has N bytes
 *   shift_range=N          a 206 whose range begins N bytes later than asked (may be negative)
 *
 * And in the body. AT is bytes of this body, N% of it, or "last": one byte before its end.
 *   reset_at=AT            RST after so many bytes, all of which the client can read
 *   truncate_at=AT         the body ends there; what the client is told is the framing:
 *   framing=length         the Content-Length promised all, then FIN (default)
 *   framing=short          the Content-Length is that of the shorter body
 *   framing=chunked        no Content-Length; a chunked body that ends properly
 *   framing=close          no Content-Length and not chunked; FIN is the end
 *   extra=N                N zero bytes more than were asked for, counted in the Content-Length
 *   stall_at=AT seconds=N  silence there, N seconds or until the client goes (default)
 *   drip=N                 bytes a second, as long as this file is there
 *   corrupt_at=OFFSET      the byte at that offset of the object is inverted
 *
 * FILE is absolute or below --behaviour-dir (in a sub-folder, or it would be taken for a behaviour).
 */
#pragma once

#include "text.h"

struct amount {
        enum { AMOUNT_NONE, AMOUNT_BYTES, AMOUNT_PERCENT, AMOUNT_LAST } kind;
        uint64_t n;
};

enum framing { FRAMING_DEFAULT, FRAMING_LENGTH, FRAMING_SHORT, FRAMING_CHUNKED, FRAMING_CLOSE };
enum tristate { EITHER, YES, NO };

struct name_value {
        char *name, *value;
};

struct behaviour {
        char *file;
        /* which requests */
        char *method, *op, *bucket, *key, *access_key;
        enum tristate range, part;
        uint64_t after, count;
        /* what happens */
        uint64_t delay_msec, status, redirect_status, extra, drip, seconds, body_repeat, corrupt_at,
                range_total;
        int64_t date_skew, shift_range;
        char *code, *message, *retry_after, *redirect_region, *location, *content_type, *etag;
        char *body, *body_head, *body_tail, *replace_with;
        struct name_value *headers;
        size_t n_headers;
        bool drop, replace_mix, remove, checksum_wrong, ignore_if_match, full_for_range, corrupt;
        struct amount replace_after, reset_at, truncate_at, stall_at;
        enum framing framing;
};

/* What the lines of a request that a behaviour may be bound to are. NULL fits nothing but "not given". */
struct behaviour_query {
        const char *method, *op, *bucket, *key, *access_key;
        bool range, part;
};

/* Parses one file (text is changed). 0 and *ret, or -EINVAL and *ret_line, *ret unset. */
int behaviour_parse(char *text, const char *file, struct behaviour **ret, unsigned *ret_line);
struct behaviour *behaviour_free(struct behaviour *b);

/* Finds the behaviour for a request, counting it. 0 and *ret (NULL: none; the caller frees), or -EINVAL and
 * *ret_problem (the caller frees). */
int behaviour_match(
        const char *dir, const struct behaviour_query *q, struct behaviour **ret, char **ret_problem);

/* Where in a body of so many bytes; UINT64_MAX when not given. */
uint64_t amount_resolve(const struct amount *a, uint64_t length);
