/* SPDX-License-Identifier: Apache-2.0 */
/* Values of HTTP headers (RFC 9110) and of URL encoding, as S3 sends them. All input is hostile; white space
 * around a value is allowed, anything else that does not belong is -EINVAL and leaves *ret untouched. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Content-Length and the like: digits only, at most max. 0, -EINVAL, -ERANGE. */
int httpval_u64(const char *s, uint64_t max, uint64_t *ret);

/* Content-Range: "bytes FIRST-LAST/TOTAL", "bytes FIRST-LAST/ *", "bytes * /TOTAL" (without the blanks). */
struct httpval_range {
        bool satisfied;       /* first and last are there */
        bool has_total;       /* total is there */
        uint64_t first, last; /* inclusive */
        uint64_t total;
};
int httpval_content_range(const char *s, struct httpval_range *ret);

/* Date and the like. Seconds since the epoch. */
int httpval_date(const char *s, int64_t *ret_sec);

/* Retry-After: seconds or a date; one that has passed is 0. At most HTTPVAL_RETRY_AFTER_MAX_SEC. */
#define HTTPVAL_RETRY_AFTER_MAX_SEC 86400
int httpval_retry_after(const char *s, int64_t now_sec, uint64_t *ret_usec);

/* A strong entity tag, with or without its quotes, as S3 makes them. A weak one is -EINVAL. */
struct httpval_etag {
        bool is_md5;     /* 32 hex digits, perhaps with "-N" */
        uint8_t md5[16]; /* of the object; with parts of the MD5s of the parts */
        unsigned parts;  /* N, or 0 */
};
int httpval_etag(const char *s, struct httpval_etag *ret);
/* The same tag? Quotes do not count, weak ones are never the same. */
bool httpval_etag_equal(const char *a, const char *b);

/* Exactly n bytes from standard base64 with padding. */
int httpval_base64(const char *s, uint8_t *ret, size_t n);

/* Decodes application/x-www-form-urlencoded text in place: %XX and '+'. -EINVAL for a bad or missing hex
 * digit, -EILSEQ for %00. */
int httpval_urldecode(char *s);

/* A region name: [a-z0-9-], 1 to 32 bytes, begins and ends with a letter or digit. It becomes part of a host
 * name, so nothing else may pass. */
bool httpval_is_region(const char *s);
#define HTTPVAL_REGION_SIZE 33
