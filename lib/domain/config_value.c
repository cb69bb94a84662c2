/* SPDX-License-Identifier: Apache-2.0 */
/* What a value may be: one reader a type, each strict, each saying what it expected. Values are named in
 * messages only where the type cannot hold a secret (numbers, spans, sizes, choices); a person may paste
 * anything anywhere. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "config_internal.h"
#include "name.h"
#include "str.h"
#include "timespan.h"

#define PATH_BYTES 4095
#define GROUP_BYTES 32

/* --- what a string, or one word of a list, may be --- */

/* `what` was found; k->expected says what was expected, or else `expected`. */
static int bad(const struct config_key *k, struct error *e, const char *what, const char *expected)
{
        return error_set(
                e, CAUSE_CONFIG, EINVAL, "%s; expected %s", what, k->expected ? k->expected : expected);
}

/* The same, naming the text: for types whose text is no secret. */
static int bad_value(const struct config_key *k, struct error *e, const char *text, const char *expected)
{
        char visible[40], what[64];
        str_visible(text, visible, sizeof(visible));
        snprintf(what, sizeof(what), "\"%s\"", visible);
        return bad(k, e, *text ? what : "empty", expected);
}

static int check_path(const struct config_key *k, const char *s, struct error *e)
{
        if (*s != '/')
                return bad(k, e, "not an absolute path", "a path that begins with /");
        size_t limit = k->max ? (size_t)k->max : PATH_BYTES;
        if (strlen(s) > limit) {
                char expected[64];
                snprintf(expected, sizeof(expected), "a path of at most %zu bytes", limit);
                return bad(k, e, "too long", expected);
        }
        for (const char *p = s; *p; p += strspn(p, "/")) {
                size_t n = strcspn(p, "/");
                if (name_equals(p, n, "..") || name_equals(p, n, "."))
                        return bad(k, e, "a path with . or ..", "one without");
                p += n;
        }
        return 0;
}

/* "/a//b/" and "/a/b" are the same place and shall be the same text. */
static void clean_path(char *s)
{
        char *to = s;
        for (const char *from = s; *from; from++)
                if (*from != '/' || (from[1] != '/' && from[1] != 0))
                        *to++ = *from;
        if (to == s)
                *to++ = '/';
        *to = 0;
}

static int check_group(const struct config_key *k, const char *s, struct error *e)
{
        size_t n = strlen(s);
        bool ok = n <= GROUP_BYTES && (name_is_token(s, n) && *s != '-');
        return ok ? 0 : bad(k, e, "not the name of a group", "one of at most 32 letters, digits, _ - .");
}

static int check_region(const struct config_key *k, const char *s, struct error *e)
{
        size_t n = strlen(s);
        bool ok = n > 0 && n <= 64 && name_is_lower_alnum(*s);
        for (size_t i = 0; i < n; i++)
                ok = ok && (name_is_lower_alnum(s[i]) || s[i] == '-');
        /* us-east-1a is a data centre */
        bool zone = ok && n > 2 && isdigit((unsigned char)s[n - 2]) && isalpha((unsigned char)s[n - 1]) &&
                    memchr(s, '-', n);
        return ok && !zone
                       ? 0
                       : bad(k, e, zone ? "an availability zone" : "not a region", "one such as us-east-1");
}

static int check_org(const struct config_key *k, const char *s, struct error *e)
{
        char lower[LIMIT_S3_BUCKET + 1], expected[128];
        if (name_is_lower_token(s) && strlen(s) < sizeof(lower))
                return 0;
        bool upper = strlen(s) < sizeof(lower);
        name_copy(lower, sizeof(lower), s, strlen(s));
        for (char *p = lower; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char)(*p - 'A' + 'a');
        upper = upper && name_is_lower_token(lower);
        snprintf(expected, sizeof(expected), "lower case as in the keys of the objects; did you mean \"%s\"?",
                lower);
        return bad(k, e,
                upper ? "an organisation with upper-case letters" : "not the name of an organisation",
                upper ? expected : "1 to 63 of a-z 0-9 . _ -, a letter or digit first");
}

/* "host", "127.0.0.1:9000", "[::1]:9000": a host and perhaps a port, nothing else. */
static bool is_host_port(const char *s)
{
        size_t n;
        if (*s == '[') {
                n = strspn(s + 1, "0123456789abcdefABCDEF:.") + 1;
                if (n < 3 || s[n] != ']')
                        return false;
                n++;
        } else {
                n = 0;
                while (name_is_lower_alnum(s[n]) || (s[n] >= 'A' && s[n] <= 'Z') || s[n] == '.' ||
                        s[n] == '-')
                        n++;
                if (n == 0 || n > 253 || s[0] == '-' || s[0] == '.')
                        return false;
        }
        uint64_t port;
        return s[n] == 0 || (s[n] == ':' && parse_u64(s + n + 1, 65535, &port) == 0 && port > 0);
}

static const char *after_scheme(const char *s)
{
        const char *p = str_after(s, "https://");
        return p ? p : str_after(s, "http://");
}

/* What follows http:// or https:// is not named in messages: it may hold a password. */
static int check_url(const struct config_key *k, const char *s, const char *credential, struct error *e)
{
        const char *host = after_scheme(s);
        if (!host)
                return bad(k, e, "neither http:// nor https:// in front", "http(s)://host:port");
        if (strchr(host, '@')) {
                char expected[128];
                snprintf(expected, sizeof(expected), "http(s)://host:port%s", credential);
                return bad(k, e, "a user name or password", expected);
        }
        if (strpbrk(host, "/?#"))
                return bad(k, e, "a path or query after the host", "http(s)://host:port");
        if (!is_host_port(host))
                return bad(k, e, "not host:port after the scheme", "http(s)://host:port");
        return 0;
}

/* s is written anew where two texts mean one thing: a path without doubled or last slashes, an endpoint
 * without its last one. */
static int check_string(const struct config_key *k, char *s, struct error *e)
{
        size_t n = strlen(s);
        switch (k->type) {
        case CONFIG_PATH:
                clean_path(s);
                return check_path(k, s, e);
        case CONFIG_GROUP_NAME:
                return check_group(k, s, e);
        case CONFIG_REGION:
                return check_region(k, s, e);
        case CONFIG_ORG:
                return check_org(k, s, e);
        case CONFIG_TEXT:
                return name_is_clean_text(s) && n <= LIMIT_PURPOSE
                               ? 0
                               : bad(k, e, "not one line of text",
                                         "at most 500 bytes, no control characters");
        case CONFIG_ENDPOINT:
        case CONFIG_PROXY:
                if (after_scheme(s) && *after_scheme(s) && s[n - 1] == '/') /* as a browser shows it */
                        s[n - 1] = 0;
                return check_url(k, s,
                        k->type == CONFIG_PROXY ? "; the password belongs in the credential czard.proxy" : "",
                        e);
        default:
                return -EINVAL;
        }
}

/* --- words of lists --- */

/* A pattern that can match nothing, because of what course and table names are made of (member.c). expected:
 * how to write it. */
static int check_pattern(const struct config_key *k, const char *word, struct error *e)
{
        static const char *const extensions[] = {
                ".sql", ".mongo", ".json", ".csv", ".xml", ".tar.gz", ".gz", ".zip", ".gpg"};
        char right[LIMIT_MEMBER_NAME + 1], expected[LIMIT_MEMBER_NAME + 160];
        bool courses = streq(k->name, "courses"), keys = k->type == CONFIG_DELIVERED_COURSES;
        bool excludes = *word == '!';
        const char *p = word + excludes;
        size_t n = 0;
        if (keys && strpbrk(p, "/:+@") && strpbrk(p, "*?["))
                return bad_value(
                        k, e, word, "a whole key (course-v1:Org+Course+Run), or a pattern of Org-Course-Run");
        if (courses && !keys && !strchr(p, '[') && strpbrk(p, "/:+@")) {
                const char *colon = strchr(p, ':'); /* course-v1:, ccx-v1: */
                for (p = colon ? colon + 1 : p; *p && n + 1 < sizeof(right); p++)
                        right[n++] = strchr("/:+@", *p) ? '-' : *p;
                right[n] = 0;
                snprintf(expected, sizeof(expected),
                        "the course as in the names of files, Org-Course-Run: %s%s", excludes ? "!" : "",
                        right);
                return bad_value(k, e, word, expected);
        }
        const char *open = strrchr(p, '[');
        if (open && !strchr(open, ']'))
                return bad_value(k, e, word, "each [ with its ], as in [0-9]");
        if (!courses && !keys && streq(word, "!*")) /* of no course there are tables too */
                return bad(
                        k, e, "leaves out everything", "exceptions that leave something, such as !*-ccx-*");
        if (*p == '^' || str_ends(p, "$") || (!courses && strstr(p, ".*")))
                return bad_value(
                        k, e, word, "a pattern as of a shell, no regular expression: auth_* or *_history");
        for (size_t i = 0; i < ELEMENTSOF(extensions); i++)
                if (str_ends(p, extensions[i])) {
                        snprintf(expected, sizeof(expected), "%s without the extension: %.*s",
                                courses ? "a course, Org-Course-Run, not a file, and" : "the table's name",
                                (int)(strlen(word) - strlen(extensions[i])), word);
                        return bad_value(k, e, word, expected);
                }
        return 0;
}

/* A pattern is never asked for these tables: one that is written for them would match nothing. */
static int check_people(const struct config_key *k, const char *word, struct error *e)
{
        static const char *const begin[] = {"auth_", "certificates_", "ora/", "email_opt_in", "forum"};
        size_t n = strcspn(word, "*?[");
        bool pattern = word[n] && *word != '!';
        for (size_t i = 0; pattern && i < ELEMENTSOF(begin); i++)
                if (strncmp(word, begin[i], MIN(n, strlen(begin[i]))) == 0 && n >= strlen(begin[i]))
                        return bad_value(k, e, word,
                                "each table with names of people by its name (auth_*, certificates_*, forum, "
                                "ora/*, email_opt_in are in no pattern)");
        return 0;
}

static int check_word(const struct config_key *k, const char *word, struct error *e)
{
        size_t n = strlen(word);
        switch (k->type) {
        case CONFIG_SITES:
                if (streq(word, "prod") || streq(word, "prod-edge") || streq(word, "production") ||
                        streq(word, "stage"))
                        return bad_value(k, e, word,
                                "a site as in the keys of event files, edx or edge (prod is part of the "
                                "names of tables)");
                if (name_is_lower_token(word) && n < sizeof(((struct package_item *)NULL)->site))
                        return 0;
                return bad_value(k, e, word, "the sites as in the keys, in lower case: edx edge");
        case CONFIG_PATTERNS:
        case CONFIG_DELIVERED_COURSES:
        case CONFIG_DELIVERED_TABLES:
                if (k->type == CONFIG_DELIVERED_TABLES && check_people(k, word, e) < 0)
                        return -EINVAL;
                if (n <= LIMIT_MEMBER_NAME && !streq(word, "!"))
                        return check_pattern(k, word, e);
                return bad(k, e, "a pattern that matches nothing",
                        "patterns such as UniversityX-CS101-* !*-ccx-*");
        case CONFIG_FINGERPRINTS:
                if ((n == 40 || n == 64) && strspn(word, "0123456789abcdefABCDEF") == n)
                        return 0;
                return bad(k, e, "not a fingerprint",
                        "40 or 64 hex digits without blanks or 0x, several separated by white space");
        default:
                return -EINVAL;
        }
}

/* --- strings --- */

static int set_string(const struct config_key *k, void *value, const char *text, struct error *e)
{
        char **to = value;
        _cleanup_free_ char *s = NULL;
        if (*text) {
                s = strdup(text);
                if (!s)
                        return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
                int r = check_string(k, s, e);
                if (r < 0)
                        return r;
        } else if (*k->def) {
                return bad(k, e, "empty", "a value");
        }
        free(*to);
        *to = take_ptr(&s);
        return 0;
}

/* --- numbers --- */

static int parse_number(const struct config_key *k, const char *text, uint64_t *ret)
{
        switch (k->type) {
        case CONFIG_SPAN:
        case CONFIG_SPAN_OR_ALL:
                return timespan_parse(text, ret);
        case CONFIG_SIZE:
                return size_parse(text, ret);
        default:
                return parse_u64(text, UINT64_MAX, ret);
        }
}

static const char *expected_number(const struct config_key *k, char *ret, size_t size)
{
        char low[32], high[32];
        switch (k->type) {
        case CONFIG_SPAN:
        case CONFIG_SPAN_OR_ALL:
                snprintf(ret, size, "a time span such as 15min, 1h 30min or 30d, from %s to %s",
                        timespan_format(k->min, low, sizeof(low)),
                        timespan_format(k->max, high, sizeof(high)));
                break;
        case CONFIG_SIZE:
                snprintf(ret, size, "a size in bytes such as 512M or 10G (K = 1024)%s",
                        k->min > 0 ? ", not 0" : "");
                break;
        default:
                snprintf(ret, size, "a number%s from %" PRIu64 " to %" PRIu64,
                        k->type == CONFIG_DAYS_OR_ALL ? " of days" : "", k->min, k->max);
        }
        return ret;
}

static int set_number(const struct config_key *k, void *value, const char *text, struct error *e)
{
        uint64_t *to = value;
        char number[128], expected[160];
        uint64_t v = 0;
        bool all = k->type == CONFIG_SPAN_OR_ALL || k->type == CONFIG_NUMBER_OR_ALL ||
                   k->type == CONFIG_DAYS_OR_ALL;
        if (all && streq(text, "all")) {
                *to = CONFIG_ALL;
                return 0;
        }
        if (parse_number(k, text, &v) < 0 || v < k->min || v > k->max) {
                snprintf(expected, sizeof(expected), "%s%s", all ? "all, or " : "",
                        expected_number(k, number, sizeof(number)));
                return bad_value(k, e, text, expected);
        }
        *to = k->type == CONFIG_DAYS_OR_ALL ? v * USEC_PER_DAY : v;
        return 0;
}

static int set_workers(const struct config_key *k, void *value, const char *text, struct error *e)
{
        unsigned *to = value;
        uint64_t v;
        if (streq(text, "auto"))
                v = CONFIG_AUTO;
        else if (parse_u64(text, k->max, &v) < 0 || v < k->min)
                return bad_value(k, e, text, "auto, or a number from 1 to 64");
        *to = (unsigned)v;
        return 0;
}

static int set_mode(const struct config_key *k, void *value, const char *text, struct error *e)
{
        mode_t *to = value;
        bool dir = k->type == CONFIG_DIR_MODE;
        const char *example = dir ? "an octal mode such as 0750" : "an octal mode such as 0440";
        size_t n = strspn(text, "01234567");
        if (n < 3 || n > 4 || text[n] != 0)
                return bad_value(k, e, text, example);
        mode_t mode = (mode_t)strtoul(text, NULL, 8), need = dir ? 0700 : 0400;
        if (mode & 07000)
                return bad(k, e, "a mode with setuid, setgid or sticky bit", example);
        if (mode & 0007)
                return bad(k, e, "a mode that lets everybody in", "one that ends in 0: nothing for others");
        if ((mode & need) != need)
                return bad(k, e,
                        dir ? "a mode that shuts czard out" : "a mode that not even the owner can read",
                        example);
        if (!dir && (mode & 0111))
                return bad(k, e, "an executable mode", example);
        *to = mode;
        return 0;
}

/* --- words --- */

/* "a, b or c" and, when one is near, a suggestion. */
static int bad_choice(
        const struct config_key *k, struct error *e, const char *text, const struct config_choice *choices)
{
        _cleanup_strbuf_ struct strbuf b = {};
        const char *near = NULL;
        unsigned best = 3;
        for (const struct config_choice *c = choices; c->name; c++) {
                strbuf_printf(&b, "%s%s", c == choices ? "" : c[1].name ? ", " : " or ", c->name);
                unsigned d = strlen(text) < 32 ? str_distance(text, c->name) : 99;
                if (d < best && d < strlen(c->name)) {
                        best = d;
                        near = c->name;
                }
        }
        if (near)
                strbuf_printf(&b, "; did you mean \"%s\"?", near);
        return bad_value(k, e, text, b.s && b.err == 0 ? b.s : "another one");
}

/* 0 and *ret set, or -ENOENT. */
static int find_choice(const struct config_choice *choices, const char *text, int *ret)
{
        for (const struct config_choice *c = choices; c->name; c++)
                if (streq(c->name, text)) {
                        *ret = c->value;
                        return 0;
                }
        return -ENOENT;
}

static int set_choice(const struct config_key *k, void *to, const char *text, struct error *e)
{
        return find_choice(k->choices, text, to) < 0 ? bad_choice(k, e, text, k->choices) : 0;
}

static int set_bool(const struct config_key *k, void *to, const char *text, struct error *e)
{
        static const struct config_choice words[] = {{"yes", 1}, {"no", 0}, {"true", 1}, {"false", 0},
                {"on", 1}, {"off", 0}, {"1", 1}, {"0", 0}, {}};
        int v;
        if (find_choice(words, text, &v) < 0)
                return bad_value(k, e, text, "yes or no");
        *(bool *)to = v;
        return 0;
}

static int set_since(const struct config_key *k, void *value, const char *text, struct error *e)
{
        int *to = value, days = INT_MIN;
        if (*text && date_parse_whole(text, &days) < 0)
                return bad_value(k, e, text, "a day of the calendar as YYYY-MM-DD");
        *to = days;
        return 0;
}

/* "A..B", and "A.." or "..B" */
static int set_dates(const struct config_key *k, void *value, const char *text, struct error *e)
{
        struct config_dates *to = value;
        static const char expected[] = "days as 2024-01-01..2024-12-31, or 2024-01-01.. without an end";
        struct config_dates d = {.from = INT_MIN, .to = INT_MAX};
        const char *dots = strstr(text, "..");
        if (*text) {
                if (!dots ||
                        (dots != text &&
                                ((size_t)(dots - text) != DATE_LEN || date_parse(text, &d.from) < 0)) ||
                        (dots[2] && date_parse_whole(dots + 2, &d.to) < 0))
                        return bad_value(k, e, text, expected);
                if (d.from > d.to)
                        return bad_value(k, e, text, "the earlier day first");
        }
        *to = d;
        return 0;
}

static int set_location(const struct config_key *k, void *to, const char *text, struct error *e)
{
        (void)k;
        struct s3_location l = {};
        if (*text) {
                int r = s3_location_parse(text, &l, e);
                if (r < 0)
                        return r;
        }
        s3_location_done(to);
        *(struct s3_location *)to = l;
        return 0;
}

/* Splits at white space. A comma is taken for a separator by many, so it is never a part of a word. */
static int split(const struct config_key *k, const char *text, struct strv *ret, struct error *e)
{
        if (strchr(text, ','))
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "a comma; expected white space between the entries of a list");
        if (strv_split(ret, text) < 0)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        if (ret->n == 0 && *k->def)
                return bad(k, e, "empty", "at least one entry");
        for (size_t i = 0; i < ret->n; i++)
                for (size_t j = 0; j < i; j++)
                        if (k->type == CONFIG_FINGERPRINTS ? strcasecmp(ret->v[i], ret->v[j]) == 0
                                                           : streq(ret->v[i], ret->v[j]))
                                return bad_value(k, e, ret->v[i], "each entry once");
        return 0;
}

static int set_list(const struct config_key *k, void *value, const char *text, struct error *e)
{
        struct strv *to = value;
        _cleanup_(strv_done) struct strv words = {};
        int r = split(k, text, &words, e);
        for (size_t i = 0; r == 0 && i < words.n; i++) {
                r = check_word(k, words.v[i], e);
                for (char *p = words.v[i]; k->type == CONFIG_FINGERPRINTS && *p; p++)
                        if (*p >= 'a' && *p <= 'f')
                                *p = (char)(*p - 'a' + 'A');
        }
        if (r < 0)
                return r;
        strv_done(to);
        *to = words;
        words = (struct strv){};
        return 0;
}

static int set_categories(const struct config_key *k, void *value, const char *text, struct error *e)
{
        unsigned *to = value, bits = 0;
        _cleanup_(strv_done) struct strv words = {};
        struct config_choice names[CATEGORY_MAX + 1] = {};
        for (enum category c = 0; c < CATEGORY_MAX; c++)
                names[c] = (struct config_choice){category_name(c), (int)c};
        int r = split(k, text, &words, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < words.n; i++) {
                enum category c = category_from_name(words.v[i]);
                if (c == CATEGORY_MAX)
                        return bad_choice(k, e, words.v[i], names);
                bits |= BIT(c);
        }
        *to = bits;
        return 0;
}

/* --- one door for all types --- */

/* How a value of a type is set, and how it is kept, for freeing and comparing. */
static const struct {
        int (*set)(const struct config_key *k, void *to, const char *text, struct error *e);
        enum { STRING, LIST, LOCATION, BYTES } kept;
        size_t size; /* of BYTES */
} types[] = {
        [CONFIG_PATH... CONFIG_TEXT] = {set_string, STRING},
        [CONFIG_SPAN... CONFIG_DAYS_OR_ALL] = {set_number, BYTES, sizeof(uint64_t)},
        [CONFIG_WORKERS] = {set_workers, BYTES, sizeof(unsigned)},
        [CONFIG_CATEGORIES] = {set_categories, BYTES, sizeof(unsigned)},
        [CONFIG_CHOICE] = {set_choice, BYTES, sizeof(int)},
        [CONFIG_SINCE] = {set_since, BYTES, sizeof(int)},
        [CONFIG_BOOL] = {set_bool, BYTES, sizeof(bool)},
        [CONFIG_FILE_MODE... CONFIG_DIR_MODE] = {set_mode, BYTES, sizeof(mode_t)},
        [CONFIG_SITES... CONFIG_FINGERPRINTS] = {set_list, LIST},
        [CONFIG_LOCATION] = {set_location, LOCATION},
        [CONFIG_DATES] = {set_dates, BYTES, sizeof(struct config_dates)},
};

_Static_assert(sizeof(enum addressing) == sizeof(int), "set as int");

int config_value_set(const struct config_key *k, void *base, const char *text, struct error *e)
{
        return types[k->type].set(k, (char *)base + k->offset, text, e);
}

void config_value_free(const struct config_key *k, void *base)
{
        void *p = (char *)base + k->offset;
        if (types[k->type].kept == STRING) {
                free(*(char **)p);
                *(char **)p = NULL;
        } else if (types[k->type].kept == LIST) {
                strv_done(p);
        } else if (types[k->type].kept == LOCATION) {
                s3_location_done(p);
        }
}

static bool same_list(const struct strv *a, const struct strv *b)
{
        for (size_t i = 0; a->n == b->n && i < a->n; i++)
                if (!streq(a->v[i], b->v[i]))
                        return false;
        return a->n == b->n;
}

bool config_value_equal(const struct config_key *k, const void *a, const void *b)
{
        const void *x = (const char *)a + k->offset, *y = (const char *)b + k->offset;
        const struct s3_location *lx = x, *ly = y;
        switch (types[k->type].kept) {
        case STRING:
                return config_same_text(*(char *const *)x, *(char *const *)y);
        case LIST:
                return same_list(x, y);
        case LOCATION:
                return config_same_text(lx->bucket, ly->bucket) && config_same_text(lx->prefix, ly->prefix);
        case BYTES:
                return memcmp(x, y, types[k->type].size) == 0;
        }
        return false;
}
