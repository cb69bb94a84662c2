/* SPDX-License-Identifier: Apache-2.0 */
/* Time spans and sizes as systemd writes them (systemd.time(7), "15min", "1d 2h"; sizes "10G", K = 1024),
 * dates and times. All spans in microseconds, all points in time in seconds or microseconds since the epoch,
 * UTC. And when to try again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Sizes of texts, with the NUL; DATE_LEN is without. */
#define DATE_SIZE sizeof("2024-06-30")
#define DATE_LEN (DATE_SIZE - 1)
#define TIME_SIZE sizeof("2024-06-30T09:02:03Z")
#define SPAN_SIZE 64  /* of timespan_format() */
#define BYTES_SIZE 32 /* of size_format() */

/* "15min", "1h 30min", "infinity"; a bare number is seconds. 0, -EINVAL or -ERANGE. */
int timespan_parse(const char *s, uint64_t *ret_usec);
/* "10G", "1.5M", "512"; suffixes B K M G T P E with optional B or iB. 0, -EINVAL or -ERANGE. */
int size_parse(const char *s, uint64_t *ret_bytes);

/* "1d 2h", two units at most. Returns ret. */
const char *timespan_format(uint64_t usec, char *ret, size_t size);
/* "12.3 MiB". Returns ret. */
const char *size_format(uint64_t bytes, char *ret, size_t size);

/* A real calendar date YYYY-MM-DD, exactly DATE_LEN characters read. 0 or -EINVAL. */
int date_parse(const char *s, int *ret_days_since_epoch);
/* The same of a text that is a date and no more. */
int date_parse_whole(const char *s, int *ret_days_since_epoch);
/* YYYY-MM-DD into ret. */
const char *date_format(int days, char ret[DATE_SIZE]);

/* RFC 3339 with Z, whole seconds, into ret. */
const char *time_format(int64_t sec, char ret[TIME_SIZE]);
/* "2024-07-07T01:02:03.000Z" or without fraction, with Z or an offset, as S3 lists it and as audit.jsonl has
 * it. 0 or -EINVAL. */
int time_parse_rfc3339(const char *s, int64_t *ret_sec);
/* "Wed, 21 Oct 2015 07:28:00 GMT", RFC 9110 IMF-fixdate. 0 or -EINVAL. */
int time_parse_http(const char *s, int64_t *ret_sec);

uint64_t now_usec(clockid_t clock);

/* When to try again: exponential back-off with full jitter, Retry-After honoured, capped. Pure functions.
 * Source: AWS Architecture Blog, "Exponential Backoff and Jitter". */

struct retry_policy {
        uint64_t base_usec, cap_usec;
};

/* The delay before the try after `attempt` failed ones (1 = the first failed): uniform in [0, min(cap, base
 * 2^(attempt-1))], but never below retry_after_usec (0: none given), itself capped at 1 h. random: any 64
 * random bits. */
uint64_t retry_delay_usec(
        const struct retry_policy *p, unsigned attempt, uint64_t retry_after_usec, uint64_t random);

uint64_t retry_random(void);
