/* SPDX-License-Identifier: Apache-2.0 */
/* What a value may be: one reader a type, each strict, each saying what it expected. Values are named in
 * messages only where the type cannot hold a secret (numbers, spans, sizes, choices); a person may paste
 * anything anywhere. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "config_table.h"
#include "config_text.h"
#include "limits.h"
#include "name.h"
#include "timespan.h"

static void *field(const struct config_key *k, void *base)
{
        return (char *)base + k->offset;
}

static const void *field_const(const struct config_key *k, const void *base)
{
        return (const char *)base + k->offset;
}

static int set_string(const struct config_key *k, void *value, const char *text, struct error *e)
{
        char **to = value;
        _cleanup_free_ char *s = NULL;
        if (*text) {
                s = strdup(text);
                if (!s)
                        return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
                int r = config_check_string(k, s, e);
                if (r < 0)
                        return r;
        } else if (*k->def) {
                return config_bad(k, e, "empty", "a value");
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
                return config_bad_value(k, e, text, expected);
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
                return config_bad_value(k, e, text, "auto, or a number from 1 to 64");
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
                return config_bad_value(k, e, text, example);
        mode_t mode = (mode_t)strtoul(text, NULL, 8), need = dir ? 0700 : 0400;
        if (mode & 07000)
                return config_bad(k, e, "a mode with setuid, setgid or sticky bit", example);
        if (mode & 0007)
                return config_bad(
                        k, e, "a mode that lets everybody in", "one that ends in 0: nothing for others");
        if ((mode & need) != need)
                return config_bad(k, e,
                        dir ? "a mode that shuts czard out" : "a mode that not even the owner can read",
                        example);
        if (!dir && (mode & 0111))
                return config_bad(k, e, "an executable mode", example);
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
        return config_bad_value(k, e, text, b.s && b.err == 0 ? b.s : "another one");
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
                return config_bad_value(k, e, text, "yes or no");
        *(bool *)to = v;
        return 0;
}

static int set_since(const struct config_key *k, void *value, const char *text, struct error *e)
{
        int *to = value;
        int days = INT_MIN;
        if (*text && (strlen(text) != strlen("YYYY-MM-DD") || date_parse(text, &days) < 0))
                return config_bad_value(k, e, text, "a day of the calendar as YYYY-MM-DD");
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
        size_t day = strlen("YYYY-MM-DD");
        if (*text) {
                if (!dots ||
                        (dots != text && ((size_t)(dots - text) != day || date_parse(text, &d.from) < 0)) ||
                        (dots[2] && (strlen(dots + 2) != day || date_parse(dots + 2, &d.to) < 0)))
                        return config_bad_value(k, e, text, expected);
                if (d.from > d.to)
                        return config_bad_value(k, e, text, "the earlier day first");
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
                return config_bad(k, e, "empty", "at least one entry");
        for (size_t i = 0; i < ret->n; i++)
                for (size_t j = 0; j < i; j++)
                        if (k->type == CONFIG_FINGERPRINTS ? strcasecmp(ret->v[i], ret->v[j]) == 0
                                                           : streq(ret->v[i], ret->v[j]))
                                return config_bad_value(k, e, ret->v[i], "each entry once");
        return 0;
}

static int set_list(const struct config_key *k, void *value, const char *text, struct error *e)
{
        struct strv *to = value;
        _cleanup_(strv_done) struct strv words = {};
        int r = split(k, text, &words, e);
        for (size_t i = 0; r == 0 && i < words.n; i++) {
                r = config_check_word(k, words.v[i], e);
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
        unsigned *to = value;
        _cleanup_(strv_done) struct strv words = {};
        struct config_choice names[CATEGORY_MAX + 1] = {};
        unsigned bits = 0;
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
        [CONFIG_PATH] = {set_string, STRING},
        [CONFIG_GROUP_NAME] = {set_string, STRING},
        [CONFIG_REGION] = {set_string, STRING},
        [CONFIG_ORG] = {set_string, STRING},
        [CONFIG_ENDPOINT] = {set_string, STRING},
        [CONFIG_PROXY] = {set_string, STRING},
        [CONFIG_TEXT] = {set_string, STRING},
        [CONFIG_SPAN] = {set_number, BYTES, sizeof(uint64_t)},
        [CONFIG_SPAN_OR_ALL] = {set_number, BYTES, sizeof(uint64_t)},
        [CONFIG_SIZE] = {set_number, BYTES, sizeof(uint64_t)},
        [CONFIG_NUMBER] = {set_number, BYTES, sizeof(uint64_t)},
        [CONFIG_NUMBER_OR_ALL] = {set_number, BYTES, sizeof(uint64_t)},
        [CONFIG_DAYS_OR_ALL] = {set_number, BYTES, sizeof(uint64_t)},
        [CONFIG_WORKERS] = {set_workers, BYTES, sizeof(unsigned)},
        [CONFIG_CATEGORIES] = {set_categories, BYTES, sizeof(unsigned)},
        [CONFIG_CHOICE] = {set_choice, BYTES, sizeof(int)},
        [CONFIG_SINCE] = {set_since, BYTES, sizeof(int)},
        [CONFIG_BOOL] = {set_bool, BYTES, sizeof(bool)},
        [CONFIG_FILE_MODE] = {set_mode, BYTES, sizeof(mode_t)},
        [CONFIG_DIR_MODE] = {set_mode, BYTES, sizeof(mode_t)},
        [CONFIG_SITES] = {set_list, LIST},
        [CONFIG_PATTERNS] = {set_list, LIST},
        [CONFIG_DELIVERED_COURSES] = {set_list, LIST},
        [CONFIG_DELIVERED_TABLES] = {set_list, LIST},
        [CONFIG_FINGERPRINTS] = {set_list, LIST},
        [CONFIG_LOCATION] = {set_location, LOCATION},
        [CONFIG_DATES] = {set_dates, BYTES, sizeof(struct config_dates)},
};

_Static_assert(sizeof(enum addressing) == sizeof(int), "set as int");

int config_value_set(const struct config_key *k, void *base, const char *text, struct error *e)
{
        return types[k->type].set(k, field(k, base), text, e);
}

void config_value_free(const struct config_key *k, void *base)
{
        void *p = field(k, base);
        if (types[k->type].kept == STRING) {
                free(*(char **)p);
                *(char **)p = NULL;
        } else if (types[k->type].kept == LIST) {
                strv_done(p);
        } else if (types[k->type].kept == LOCATION) {
                s3_location_done(p);
        }
}

static bool same_text(const char *a, const char *b)
{
        return a && b ? streq(a, b) : a == b;
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
        const void *x = field_const(k, a), *y = field_const(k, b);
        const struct s3_location *lx = x, *ly = y;
        switch (types[k->type].kept) {
        case STRING:
                return same_text(*(char *const *)x, *(char *const *)y);
        case LIST:
                return same_list(x, y);
        case LOCATION:
                return same_text(lx->bucket, ly->bucket) && same_text(lx->prefix, ly->prefix);
        case BYTES:
                return memcmp(x, y, types[k->type].size) == 0;
        }
        return false;
}
