/* SPDX-License-Identifier: Apache-2.0 */
/* Spans, sizes, dates and times, to and from text. Strict: what is not understood to its last character is an
 * error, and nothing here depends on locale or time zone. */

#include "timespan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "macro.h"
#include "str.h"

#define BLANKS " \t\r\n"

struct unit {
        const char *name;
        uint64_t factor;
};

/* The names of systemd.time(7), with a month of 30.44 and a year of 365.25 days. */
static const struct unit span_units[] = {
        {"seconds", USEC_PER_SEC},
        {"second", USEC_PER_SEC},
        {"sec", USEC_PER_SEC},
        {"s", USEC_PER_SEC},
        {"minutes", USEC_PER_MINUTE},
        {"minute", USEC_PER_MINUTE},
        {"min", USEC_PER_MINUTE},
        {"m", USEC_PER_MINUTE},
        {"hours", USEC_PER_HOUR},
        {"hour", USEC_PER_HOUR},
        {"hr", USEC_PER_HOUR},
        {"h", USEC_PER_HOUR},
        {"days", USEC_PER_DAY},
        {"day", USEC_PER_DAY},
        {"d", USEC_PER_DAY},
        {"weeks", 7 * USEC_PER_DAY},
        {"week", 7 * USEC_PER_DAY},
        {"w", 7 * USEC_PER_DAY},
        {"months", 2629800 * USEC_PER_SEC},
        {"month", 2629800 * USEC_PER_SEC},
        {"M", 2629800 * USEC_PER_SEC},
        {"years", 31557600 * USEC_PER_SEC},
        {"year", 31557600 * USEC_PER_SEC},
        {"y", 31557600 * USEC_PER_SEC},
        {"msec", USEC_PER_MSEC},
        {"ms", USEC_PER_MSEC},
        {"usec", 1},
        {"us", 1},
        {"\xc2\xb5s", 1}, /* micro sign */
        {"\xce\xbcs", 1}, /* Greek mu */
        {"", USEC_PER_SEC},
};

static const struct unit size_units[] = {
        {"", 1},
        {"B", 1},
        {"K", KIB},
        {"KB", KIB},
        {"KiB", KIB},
        {"M", MIB},
        {"MB", MIB},
        {"MiB", MIB},
        {"G", GIB},
        {"GB", GIB},
        {"GiB", GIB},
        {"T", GIB * 1024},
        {"TB", GIB * 1024},
        {"TiB", GIB * 1024},
        {"P", GIB *MIB},
        {"PB", GIB *MIB},
        {"PiB", GIB *MIB},
        {"E", GIB *GIB},
        {"EB", GIB *GIB},
        {"EiB", GIB *GIB},
};

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* A decimal number: digits before the point, up to where a unit begins, and the digits behind it. */
struct decimal {
        uint64_t whole;
        const char *fraction; /* its digits, NULL: no point */
        size_t n_fraction;
        bool over;
};

/* Reads one and moves *s behind it. */
static int decimal_read(const char **s, struct decimal *ret)
{
        struct decimal d = {};
        const char *p = *s;
        size_t digits = 0;
        for (; is_digit(*p); p++, digits++)
                d.over = d.over || __builtin_mul_overflow(d.whole, 10U, &d.whole) ||
                         __builtin_add_overflow(d.whole, (uint64_t)(*p - '0'), &d.whole);
        if (*p == '.') {
                d.fraction = ++p;
                for (; is_digit(*p); p++)
                        d.n_fraction++;
                if (d.n_fraction == 0)
                        return -EINVAL;
        }
        if (digits + d.n_fraction == 0)
                return -EINVAL;
        *s = p;
        *ret = d;
        return 0;
}

/* d times factor, rounded down. */
static int decimal_times(const struct decimal *d, uint64_t factor, uint64_t *ret)
{
        uint64_t v;
        if (d->over || __builtin_mul_overflow(d->whole, factor, &v))
                return -ERANGE;
        /* 18 digits more than tell any factor apart; whoever writes more means no more */
        uint64_t scale = 1, fraction = 0;
        for (size_t i = 0; i < d->n_fraction && i < 18; i++) {
                fraction = fraction * 10 + (uint64_t)(d->fraction[i] - '0');
                scale *= 10;
        }
        uint64_t part = (uint64_t)((unsigned __int128)fraction * factor / scale);
        if (__builtin_add_overflow(v, part, &v))
                return -ERANGE;
        *ret = v;
        return 0;
}

/* The unit whose whole name is the n bytes at s. */
static const struct unit *unit_find(const struct unit *units, size_t n_units, const char *s, size_t n)
{
        for (size_t i = 0; i < n_units; i++)
                if (strlen(units[i].name) == n && memcmp(units[i].name, s, n) == 0)
                        return &units[i];
        return NULL;
}

/* Unlike systemd a number without a unit must stand alone: "1 5" is no way to write six seconds. */
int timespan_parse(const char *s, uint64_t *ret_usec)
{
        uint64_t sum = 0;
        bool over = false; /* told only once the rest has been seen to be well-formed */
        s += strspn(s, BLANKS);
        const char *rest = str_after(s, "infinity");
        if (rest && !rest[strspn(rest, BLANKS)]) {
                *ret_usec = USEC_INFINITY;
                return 0;
        }
        const char *start = s;
        do {
                struct decimal d;
                bool first = s == start;
                int r = decimal_read(&s, &d);
                if (r < 0)
                        return r;
                s += strspn(s, BLANKS);
                size_t n = strcspn(s, BLANKS "0123456789.");
                const struct unit *u = unit_find(span_units, ELEMENTSOF(span_units), s, n);
                s += n;
                s += strspn(s, BLANKS);
                if (!u || (n == 0 && (*s || !first)))
                        return -EINVAL;
                uint64_t v = 0;
                over = decimal_times(&d, u->factor, &v) < 0 || over || __builtin_add_overflow(sum, v, &sum);
        } while (*s);
        if (over || sum == USEC_INFINITY)
                return -ERANGE;
        *ret_usec = sum;
        return 0;
}

int size_parse(const char *s, uint64_t *ret_bytes)
{
        struct decimal d;
        s += strspn(s, BLANKS);
        int r = decimal_read(&s, &d);
        if (r < 0)
                return r;
        s += strspn(s, BLANKS);
        size_t n = strcspn(s, BLANKS);
        const struct unit *u = unit_find(size_units, ELEMENTSOF(size_units), s, n);
        s += n;
        if (!u || s[strspn(s, BLANKS)])
                return -EINVAL;
        if (u->factor == 1 && d.fraction)
                return -EINVAL; /* half a byte */
        return decimal_times(&d, u->factor, ret_bytes);
}

const char *timespan_format(uint64_t usec, char *ret, size_t size)
{
        static const struct unit units[] = {
                {"d", USEC_PER_DAY},
                {"h", USEC_PER_HOUR},
                {"min", USEC_PER_MINUTE},
                {"s", USEC_PER_SEC},
                {"ms", USEC_PER_MSEC},
                {"us", 1},
        };
        if (usec == USEC_INFINITY || usec == 0) {
                snprintf(ret, size, "%s", usec ? "infinity" : "0s");
                return ret;
        }
        size_t i = 0;
        while (usec < units[i].factor)
                i++;
        uint64_t first = usec / units[i].factor, rest = usec % units[i].factor;
        uint64_t second = i + 1 < ELEMENTSOF(units) ? rest / units[i + 1].factor : 0;
        if (second > 0)
                snprintf(ret, size, "%" PRIu64 "%s %" PRIu64 "%s", first, units[i].name, second,
                        units[i + 1].name);
        else
                snprintf(ret, size, "%" PRIu64 "%s", first, units[i].name);
        return ret;
}

const char *size_format(uint64_t bytes, char *ret, size_t size)
{
        static const struct unit units[] = {
                {"EiB", GIB * GIB},
                {"PiB", GIB * MIB},
                {"TiB", GIB * 1024},
                {"GiB", GIB},
                {"MiB", MIB},
                {"KiB", KIB},
        };
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (bytes >= units[i].factor) {
                        /* tenths, rounded down: nothing looks larger than it is */
                        uint64_t whole = bytes / units[i].factor;
                        unsigned __int128 rest = bytes % units[i].factor;
                        uint64_t tenth = (uint64_t)(rest * 10 / units[i].factor);
                        snprintf(ret, size, "%" PRIu64 ".%" PRIu64 " %s", whole, tenth, units[i].name);
                        return ret;
                }
        snprintf(ret, size, "%" PRIu64 " B", bytes);
        return ret;
}

/* 0001-01-01 and 9999-12-31: what four digits can say */
#define DAYS_MIN (-719162)
#define DAYS_MAX 2932896

/* n digits as a number, or -1. Never reads behind a NUL. */
static int digits(const char *s, int n)
{
        int v = 0;
        for (int i = 0; i < n; i++) {
                if (!is_digit(s[i]))
                        return -1;
                v = v * 10 + (s[i] - '0');
        }
        return v;
}

static int date_make(int y, int m, int d, int *ret_days)
{
        struct tm tm = {.tm_year = y - 1900, .tm_mon = m - 1, .tm_mday = d};
        int64_t sec = timegm(&tm);
        if (y < 1 || tm.tm_mon != m - 1 || tm.tm_mday != d) /* no such day: it became another one */
                return -EINVAL;
        *ret_days = (int)(sec / SEC_PER_DAY);
        return 0;
}

int date_parse(const char *s, int *ret_days_since_epoch)
{
        int y = digits(s, 4);
        if (y < 0 || s[4] != '-')
                return -EINVAL;
        int m = digits(s + 5, 2);
        if (m < 0 || s[7] != '-')
                return -EINVAL;
        return date_make(y, m, digits(s + 8, 2), ret_days_since_epoch);
}

int date_parse_whole(const char *s, int *ret_days_since_epoch)
{
        return strlen(s) == DATE_LEN ? date_parse(s, ret_days_since_epoch) : -EINVAL;
}

const char *date_format(int days, char ret[DATE_SIZE])
{
        char time[TIME_SIZE];
        time_format(days * SEC_PER_DAY, time);
        snprintf(ret, DATE_SIZE, "%.10s", time);
        return ret;
}

const char *time_format(int64_t sec, char ret[TIME_SIZE])
{
        struct tm tm = {};
        time_t t = MIN(MAX(sec, DAYS_MIN * SEC_PER_DAY), DAYS_MAX * SEC_PER_DAY + SEC_PER_DAY - 1);
        gmtime_r(&t, &tm);
        snprintf(ret, 21, "%04d", tm.tm_year + 1900); /* %Y has no zeros in front */
        strftime(ret + 4, 17, "-%m-%dT%H:%M:%SZ", &tm);
        return ret;
}

/* "HH:MM:SS", 8 characters, as seconds of the day, or -1. A leap second is the first of the next day. */
static int clock_parse(const char *s)
{
        int h = digits(s, 2);
        if (h < 0 || h > 23 || s[2] != ':')
                return -1;
        int m = digits(s + 3, 2);
        if (m < 0 || m > 59 || s[5] != ':')
                return -1;
        int sec = digits(s + 6, 2);
        if (sec < 0 || sec > (h == 23 && m == 59 ? 60 : 59))
                return -1;
        return h * 3600 + m * 60 + sec;
}

/* "Z", "+HH:MM" or "-HH:MM", as ISO 8601 has it also without the colon, and nothing behind it. */
static int offset_parse(const char *s, int *ret_sec)
{
        *ret_sec = 0;
        if (s[0] == 'Z')
                return s[1] ? -EINVAL : 0;
        size_t n = strnlen(s, 7);
        if ((s[0] != '+' && s[0] != '-') || (n != 5 && n != 6) || (n == 6 && s[3] != ':'))
                return -EINVAL;
        int hours = digits(s + 1, 2), minutes = digits(s + n - 2, 2);
        if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
                return -EINVAL;
        *ret_sec = (hours * 3600 + minutes * 60) * (s[0] == '-' ? -1 : 1);
        return 0;
}

int time_parse_rfc3339(const char *s, int64_t *ret_sec)
{
        int days;
        if (date_parse(s, &days) < 0 || s[10] != 'T')
                return -EINVAL;
        int clock = clock_parse(s + 11);
        if (clock < 0)
                return -EINVAL;
        s += 19;
        if (*s == '.') {
                if (!is_digit(*++s))
                        return -EINVAL;
                while (is_digit(*s))
                        s++;
        }
        int offset;
        if (offset_parse(s, &offset) < 0)
                return -EINVAL;
        *ret_sec = days * SEC_PER_DAY + clock - offset;
        return 0;
}

/* The index of the three letters at s among names, or -1. */
static int name_index(const char *names, const char *s)
{
        if (strnlen(s, 3) < 3)
                return -1;
        for (int i = 0; names[3 * i]; i++)
                if (memcmp(names + 3 * i, s, 3) == 0)
                        return i;
        return -1;
}

int time_parse_http(const char *s, int64_t *ret_sec)
{
        /* day 0 was a Thursday */
        int weekday = name_index("ThuFriSatSunMonTueWed", s);
        if (weekday < 0 || strnlen(s, 30) != 29 || s[3] != ',' || s[4] != ' ' || s[7] != ' ' ||
                s[11] != ' ' || s[16] != ' ' || strcmp(s + 25, " GMT") != 0)
                return -EINVAL;
        int month = name_index("JanFebMarAprMayJunJulAugSepOctNovDec", s + 8), days;
        if (date_make(digits(s + 12, 4), month + 1, digits(s + 5, 2), &days) < 0)
                return -EINVAL;
        int clock = clock_parse(s + 17);
        if (clock < 0 || ((days % 7) + 7) % 7 != weekday)
                return -EINVAL;
        *ret_sec = days * SEC_PER_DAY + clock;
        return 0;
}

uint64_t now_usec(clockid_t clock)
{
        struct timespec t;
        if (clock_gettime(clock, &t) < 0)
                return 0;
        return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

/* When to try again. Pure but for retry_random(), so that the schedule can be tested without a clock. */

#define RETRY_AFTER_CAP USEC_PER_HOUR

uint64_t retry_delay_usec(
        const struct retry_policy *p, unsigned attempt, uint64_t retry_after_usec, uint64_t random)
{
        uint64_t top = MIN(p->base_usec, p->cap_usec);
        for (unsigned i = 1; i < attempt && top > 0 && top < p->cap_usec; i++)
                top = top > p->cap_usec / 2 ? p->cap_usec : top * 2;
        /* The high half of the product is uniform in [0, top], without the bias of a remainder. */
        uint64_t delay = (uint64_t)(((unsigned __int128)random * ((unsigned __int128)top + 1)) >> 64);
        return MAX(delay, MIN(retry_after_usec, RETRY_AFTER_CAP));
}

uint64_t retry_random(void)
{
        uint64_t r;
        if (getrandom(&r, sizeof(r), GRND_NONBLOCK) == sizeof(r))
                return r;
        /* Only early in boot. Jitter need not be unpredictable, only different from the neighbour's. */
        r = now_usec(CLOCK_MONOTONIC) ^ (uint64_t)(uintptr_t)&r;
        return r * UINT64_C(0x9e3779b97f4a7c15);
}
