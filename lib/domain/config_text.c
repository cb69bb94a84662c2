/* SPDX-License-Identifier: Apache-2.0 */
#include "config_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "limits.h"
#include "name.h"
#include "str.h"

#define PATH_BYTES 4095
#define GROUP_BYTES 32

int config_bad(const struct config_key *k, struct error *e, const char *what, const char *expected)
{
        return error_set(
                e, CAUSE_CONFIG, EINVAL, "%s; expected %s", what, k->expected ? k->expected : expected);
}

int config_bad_value(const struct config_key *k, struct error *e, const char *text, const char *expected)
{
        char visible[40], what[64];
        str_visible(text, visible, sizeof(visible));
        snprintf(what, sizeof(what), "\"%s\"", visible);
        return config_bad(k, e, *text ? what : "empty", expected);
}

static int check_path(const struct config_key *k, const char *s, struct error *e)
{
        if (*s != '/')
                return config_bad(k, e, "not an absolute path", "a path that begins with /");
        size_t limit = k->max ? (size_t)k->max : PATH_BYTES;
        if (strlen(s) > limit) {
                char expected[64];
                snprintf(expected, sizeof(expected), "a path of at most %zu bytes", limit);
                return config_bad(k, e, "too long", expected);
        }
        for (const char *p = s; *p; p += strspn(p, "/")) {
                size_t n = strcspn(p, "/");
                if (name_equals(p, n, "..") || name_equals(p, n, "."))
                        return config_bad(k, e, "a path with . or ..", "one without");
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
        return ok ? 0
                  : config_bad(k, e, "not the name of a group", "one of at most 32 letters, digits, _ - .");
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
        return ok && !zone ? 0
                           : config_bad(k, e, zone ? "an availability zone" : "not a region",
                                     "one such as us-east-1");
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
        return config_bad(k, e,
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
                return config_bad(k, e, "neither http:// nor https:// in front", "http(s)://host:port");
        if (strchr(host, '@')) {
                char expected[128];
                snprintf(expected, sizeof(expected), "http(s)://host:port%s", credential);
                return config_bad(k, e, "a user name or password", expected);
        }
        if (strpbrk(host, "/?#"))
                return config_bad(k, e, "a path or query after the host", "http(s)://host:port");
        if (!is_host_port(host))
                return config_bad(k, e, "not host:port after the scheme", "http(s)://host:port");
        return 0;
}

int config_check_string(const struct config_key *k, char *s, struct error *e)
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
                               : config_bad(k, e, "not one line of text",
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

/* --- lists --- */

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
                return config_bad_value(
                        k, e, word, "a whole key (course-v1:Org+Course+Run), or a pattern of Org-Course-Run");
        if (courses && !keys && !strchr(p, '[') && strpbrk(p, "/:+@")) {
                const char *colon = strchr(p, ':'); /* course-v1:, ccx-v1: */
                for (p = colon ? colon + 1 : p; *p && n + 1 < sizeof(right); p++)
                        right[n++] = strchr("/:+@", *p) ? '-' : *p;
                right[n] = 0;
                snprintf(expected, sizeof(expected),
                        "the course as in the names of files, Org-Course-Run: %s%s", excludes ? "!" : "",
                        right);
                return config_bad_value(k, e, word, expected);
        }
        const char *open = strrchr(p, '[');
        if (open && !strchr(open, ']'))
                return config_bad_value(k, e, word, "each [ with its ], as in [0-9]");
        if (!courses && !keys && streq(word, "!*")) /* of no course there are tables too */
                return config_bad(
                        k, e, "leaves out everything", "exceptions that leave something, such as !*-ccx-*");
        if (*p == '^' || str_ends(p, "$") || (!courses && strstr(p, ".*")))
                return config_bad_value(
                        k, e, word, "a pattern as of a shell, no regular expression: auth_* or *_history");
        for (size_t i = 0; i < ELEMENTSOF(extensions); i++)
                if (str_ends(p, extensions[i])) {
                        snprintf(expected, sizeof(expected), "%s without the extension: %.*s",
                                courses ? "a course, Org-Course-Run, not a file, and" : "the table's name",
                                (int)(strlen(word) - strlen(extensions[i])), word);
                        return config_bad_value(k, e, word, expected);
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
                        return config_bad_value(k, e, word,
                                "each table with names of people by its name (auth_*, certificates_*, forum, "
                                "ora/*, email_opt_in are in no pattern)");
        return 0;
}

int config_check_word(const struct config_key *k, const char *word, struct error *e)
{
        size_t n = strlen(word);
        switch (k->type) {
        case CONFIG_SITES:
                if (streq(word, "prod") || streq(word, "prod-edge") || streq(word, "production") ||
                        streq(word, "stage"))
                        return config_bad_value(k, e, word,
                                "a site as in the keys of event files, edx or edge (prod is part of the "
                                "names of tables)");
                if (name_is_lower_token(word) && n < sizeof(((struct package_item *)NULL)->site))
                        return 0;
                return config_bad_value(k, e, word, "the sites as in the keys, in lower case: edx edge");
        case CONFIG_PATTERNS:
        case CONFIG_DELIVERED_COURSES:
        case CONFIG_DELIVERED_TABLES:
                if (k->type == CONFIG_DELIVERED_TABLES && check_people(k, word, e) < 0)
                        return -EINVAL;
                if (n <= LIMIT_MEMBER_NAME && !streq(word, "!"))
                        return check_pattern(k, word, e);
                return config_bad(k, e, "a pattern that matches nothing",
                        "patterns such as UniversityX-CS101-* !*-ccx-*");
        case CONFIG_FINGERPRINTS:
                if ((n == 40 || n == 64) && strspn(word, "0123456789abcdefABCDEF") == n)
                        return 0;
                return config_bad(k, e, "not a fingerprint",
                        "40 or 64 hex digits without blanks or 0x, several separated by white space");
        default:
                return -EINVAL;
        }
}
