/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of the data package, in three steps: a location of the configuration becomes a root (the part
 * of a key that stands before the grammar), the root becomes listing prefixes, and a listed key becomes an
 * item with its staged path. Members of snapshots have a grammar of their own in member.c. All pure
 * functions: the same key always gives the same path, and no path can leave the staging root. */
#include "package.h"

#include <errno.h>

#include "limits.h"
#include "name.h"
#include "timespan.h"

#define ROOT_MAX (LIMIT_S3_KEY + 1)

static const char *const category_names[CATEGORY_MAX] = {
        [CATEGORY_EVENTS] = "events",
        [CATEGORY_DATABASE] = "database",
        [CATEGORY_EMAIL_OPT_IN] = "email-opt-in",
        [CATEGORY_RDX] = "rdx",
};

const char *category_name(enum category c)
{
        return c < CATEGORY_MAX ? category_names[c] : "unknown";
}

enum category category_from_name(const char *s)
{
        for (enum category c = 0; c < CATEGORY_MAX; c++)
                if (streq(category_names[c], s))
                        return c;
        return CATEGORY_MAX;
}

/* --- dates --- */

/* A real date at s; what follows it does not matter. */
static bool is_date(const char *s)
{
        char date[DATE_SIZE];
        int days;
        if (strnlen(s, DATE_LEN) < DATE_LEN)
                return false;
        memcpy(date, s, DATE_LEN);
        date[DATE_LEN] = 0;
        for (size_t i = 0; i < DATE_LEN; i++)
                if (i == 4 || i == 7 ? date[i] != '-' : !name_is_digit(date[i]))
                        return false;
        return date_parse(date, &days) == 0;
}

static bool is_year(const char *s, size_t n)
{
        return n == 4 && name_is_digit(s[0]) && name_is_digit(s[1]) && name_is_digit(s[2]) &&
               name_is_digit(s[3]);
}

/* --- locations --- */

static bool is_bucket(const char *s, size_t n)
{
        if (n < 3 || n > LIMIT_S3_BUCKET || !name_is_lower_alnum(s[0]) || !name_is_lower_alnum(s[n - 1]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!name_is_lower_alnum(s[i]) && s[i] != '-' && (s[i] != '.' || s[i + 1] == '.'))
                        return false;
        return true;
}

static bool is_location_prefix(const char *s)
{
        if (*s == '/' || strlen(s) > LIMIT_S3_KEY || !name_is_clean_text(s) || strpbrk(s, "*?[]"))
                return false;
        for (const char *p = s; *p; p += strcspn(p, "/"), p += *p == '/')
                if (strcspn(p, "/") == 0 || (p[0] == '.' && strspn(p, ".") == strcspn(p, "/")))
                        return false;
        return true;
}

int s3_location_parse(const char *url, struct s3_location *ret, struct error *e)
{
        const char *bucket = str_after(url, "s3://");
        if (!bucket)
                return error_set(e, CAUSE_CONFIG, EINVAL, "not an S3 location; expected s3://bucket/prefix");
        size_t n = strcspn(bucket, "/");
        if (!is_bucket(bucket, n))
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "not the name of a bucket after s3://; expected 3 to 63 of a-z 0-9 . -");
        const char *prefix = bucket[n] ? bucket + n + 1 : "";
        if (!is_location_prefix(prefix))
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "not a prefix of keys after the bucket; expected folder/folder/ without //, ., .. or "
                        "patterns");
        struct s3_location l = {.bucket = strndup(bucket, n), .prefix = strdup(prefix)};
        if (!l.bucket || !l.prefix) {
                s3_location_done(&l);
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        }
        *ret = l;
        return 0;
}

void s3_location_done(struct s3_location *l)
{
        free(l->bucket);
        free(l->prefix);
        *l = (struct s3_location){};
}

/* --- roots: what stands before the grammar in each key --- */

/* The last component of the n bytes at s: its start; its length is the rest. */
static size_t last_component(const char *s, size_t n)
{
        while (n > 0 && s[n - 1] != '/')
                n--;
        return n;
}

static bool is_known_site(const struct package_spec *spec, const char *s, size_t n)
{
        static const char *const known[] = {"edx", "edge", "patches"};
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (name_equals(s, n, known[i]))
                        return true;
        for (size_t i = 0; i < spec->sites.n; i++)
                if (name_equals(s, n, spec->sites.v[i]))
                        return true;
        return false;
}

/* Is the component the grammar's one at that depth: org/site/events/... or org/rdx/...? */
static bool is_grammar_component(
        const struct package_spec *spec, enum category c, unsigned depth, const char *s, size_t n)
{
        if (depth == 0)
                return name_equals(s, n, spec->org);
        if (c == CATEGORY_RDX)
                return depth == 1 && name_equals(s, n, "rdx");
        return depth == 1 ? is_known_site(spec, s, n) : depth == 2 && name_equals(s, n, "events");
}

/* Length of what is left of the n bytes of prefix (ending in a slash or empty) when its last `depth`
 * components are the first ones of the grammar; -1 when they are not. */
static ssize_t strip_components(
        const struct package_spec *spec, enum category c, const char *prefix, size_t n, unsigned depth)
{
        while (depth-- > 0) {
                if (n == 0)
                        return -1;
                size_t start = last_component(prefix, n - 1);
                if (!is_grammar_component(spec, c, depth, prefix + start, n - 1 - start))
                        return -1;
                n = start;
        }
        return (ssize_t)n;
}

static void folder_root(const struct package_spec *spec, enum category c, char root[ROOT_MAX + 1])
{
        for (unsigned depth = c == CATEGORY_RDX ? 2 : 3; depth > 0; depth--) {
                ssize_t n = strip_components(spec, c, root, strlen(root), depth);
                if (n >= 0) {
                        root[n] = 0;
                        return;
                }
        }
}

/* "s3://b/universityx-", "s3://b/universityx", "s3://b/email-opt-in/email-opt-in-universityx-": the beginning
 * of the file name is not part of the root. True when there was one. */
static bool strip_name_start(const struct package_spec *spec, enum category c, char *root)
{
        size_t n = strlen(root), start = last_component(root, n);
        const char *name = root + start, *rest = NULL;
        if (c == CATEGORY_EMAIL_OPT_IN && str_after(name, "email-opt-in-"))
                rest = str_after(str_after(name, "email-opt-in-"), spec->org);
        if (!rest)
                rest = str_after(name, spec->org);
        if (!rest || !(streq(rest, "-") || (c == CATEGORY_DATABASE && *rest == 0)))
                return false;
        root[start] = 0;
        return true;
}

/* Writes the root of that category's keys. */
static void category_root(const struct package_spec *spec, enum category c, char root[ROOT_MAX + 1])
{
        name_copy(root, ROOT_MAX, spec->at[c].prefix, strlen(spec->at[c].prefix));
        bool is_file = c == CATEGORY_DATABASE || c == CATEGORY_EMAIL_OPT_IN;
        if (is_file && strip_name_start(spec, c, root))
                return;
        if (c == CATEGORY_EMAIL_OPT_IN && *root == 0)
                strcpy(root, "email-opt-in/");
        size_t n = strlen(root);
        if (n > 0 && root[n - 1] != '/')
                strcpy(root + n, "/");
        if (!is_file)
                folder_root(spec, c, root);
}

/* --- listings --- */

static bool is_chosen(const struct package_spec *spec, enum category c)
{
        return (spec->categories & BIT(c)) && spec->at[c].bucket && spec->at[c].prefix && spec->org;
}

/* How many listings a category has. */
static size_t count_listings(const struct package_spec *spec, enum category c)
{
        if (!is_chosen(spec, c))
                return 0;
        return c == CATEGORY_EVENTS ? spec->sites.n : c == CATEGORY_EMAIL_OPT_IN ? 2 : 1;
}

/* The prefix of its i-th listing, allocated; NULL when out of memory. */
static char *listing_prefix(const struct package_spec *spec, enum category c, size_t i)
{
        char root[ROOT_MAX + 1];
        category_root(spec, c, root);
        switch (c) {
        case CATEGORY_EVENTS:
                return str_printf("%s%s/%s/events/", root, spec->org, spec->sites.v[i]);
        case CATEGORY_DATABASE:
                return str_printf("%s%s-", root, spec->org);
        case CATEGORY_EMAIL_OPT_IN:
                return str_printf("%s%s%s-", root, i == 0 ? "email-opt-in-" : "", spec->org);
        case CATEGORY_RDX:
                return str_printf("%s%s/rdx/", root, spec->org);
        case CATEGORY_MAX:
                break;
        }
        return NULL;
}

int package_prefixes(const struct package_spec *spec, struct package_prefix **ret, size_t *ret_n)
{
        size_t total = 0, n = 0;
        for (enum category c = 0; c < CATEGORY_MAX; c++)
                total += count_listings(spec, c);
        struct package_prefix *list = calloc(total ? total : 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        for (enum category c = 0; c < CATEGORY_MAX; c++)
                for (size_t i = 0, k = count_listings(spec, c); i < k; i++) {
                        struct package_prefix *p = &list[n++];
                        p->category = c;
                        p->site = c == CATEGORY_EVENTS ? spec->sites.v[i] : NULL;
                        p->bucket = spec->at[c].bucket;
                        p->prefix = listing_prefix(spec, c, i);
                        if (!p->prefix) {
                                package_prefixes_free(list, n);
                                return -ENOMEM;
                        }
                }
        *ret = list;
        *ret_n = n;
        return 0;
}

void package_prefixes_free(struct package_prefix *p, size_t n)
{
        for (size_t i = 0; p && i < n; i++)
                free(p[i].prefix);
        free(p);
}

bool package_may_read(const struct package_spec *spec, const char *bucket, const char *key)
{
        for (enum category c = 0; c < CATEGORY_MAX; c++)
                for (size_t i = 0, k = count_listings(spec, c); i < k; i++) {
                        if (!streq(spec->at[c].bucket, bucket))
                                continue;
                        _cleanup_free_ char *prefix = listing_prefix(spec, c, i);
                        if (prefix && str_after(key, prefix))
                                return true;
                }
        return false;
}

/* A location of events may go down to a year, but then it is not clear what is wanted. */
static int check_events_location(const struct package_spec *spec, const char *root, struct error *e)
{
        const char *prefix = spec->at[CATEGORY_EVENTS].prefix;
        size_t n = strlen(root), start = n ? last_component(root, n - 1) : 0;
        if (start > 0 && is_year(root + start, n - 1 - start) &&
                strip_components(spec, CATEGORY_EVENTS, root, start, 3) >= 0)
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "names a year; expected the location without it, and since = %.4s-01-01 where only "
                        "later days are wanted",
                        root + start);
        if (strlen(prefix) <= n + strlen(spec->org) + 1) /* names neither site nor events */
                return 0;
        const char *site = prefix + n + strlen(spec->org) + 1;
        size_t len = strcspn(site, "/");
        if (spec->sites.n == 1 && name_equals(site, len, spec->sites.v[0]))
                return 0;
        return error_set(e, CAUSE_CONFIG, EEXIST,
                "names the site %.*s, but sites decides which ones are fetched; sites = %.*s fetches only "
                "that one",
                (int)len, site, (int)len, site);
}

/* Does the last component name our organisation, but in other letters than the keys do? */
static bool has_other_case(const struct package_spec *spec, const char *prefix)
{
        size_t n = strlen(prefix);
        while (n > 0 && (prefix[n - 1] == '/' || prefix[n - 1] == '-'))
                n--;
        const char *name = prefix + last_component(prefix, n);
        size_t len = n - (size_t)(name - prefix);
        return len == strlen(spec->org) && strncasecmp(name, spec->org, len) == 0 &&
               memcmp(name, spec->org, len) != 0;
}

int package_location_check(const struct package_spec *spec, enum category c, struct error *e)
{
        if (!spec->at[c].prefix)
                return 0;
        char root[ROOT_MAX + 1];
        category_root(spec, c, root);
        if (has_other_case(spec, spec->at[c].prefix))
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "names the organisation in other letters than the keys do; expected %s", spec->org);
        if (c == CATEGORY_EVENTS)
                return check_events_location(spec, root, e);
        if (c != CATEGORY_RDX && str_ends(spec->at[c].prefix, "-") && str_ends(root, "/") &&
                strlen(root) > strlen(spec->at[c].prefix))
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "names the beginning of another organisation's files; expected a folder, or one that "
                        "ends in %s-",
                        spec->org);
        return 0;
}

/* --- keys --- */

static int unsafe_key(struct error *e, const char *what)
{
        return error_set(e, CAUSE_UNSAFE_NAME, EBADMSG, "the key has %s", what);
}

/* After root: {org}/{site}/events/{YYYY}/{org}-{site}-events-{date}.log.gz.gpg */
static int parse_events(const struct package_spec *spec, const char *rest, struct package_item *ret)
{
        const char *p = str_after(rest, spec->org), *site = NULL;
        p = p && *p == '/' ? p + 1 : NULL;
        for (size_t i = 0; p && i < spec->sites.n && !site; i++) {
                const char *q = str_after(p, spec->sites.v[i]);
                q = q ? str_after(q, "/events/") : NULL;
                if (q) {
                        site = spec->sites.v[i];
                        p = q;
                }
        }
        if (!site || !is_year(p, strcspn(p, "/")) || p[4] != '/')
                return -ENOENT;
        char start[256];
        if (!name_fill(start, sizeof(start), "%s-%s-events-", spec->org, site))
                return -ENOENT;
        const char *date = str_after(p + 5, start);
        if (!date || !is_date(date) || !streq(date + DATE_LEN, ".log.gz.gpg"))
                return -ENOENT;
        name_copy(ret->date, sizeof(ret->date), date, DATE_LEN);
        if (!name_fill(ret->site, sizeof(ret->site), "%s", site) ||
                !name_fill(ret->path, sizeof(ret->path), "%s/events/%s/%.4s/%s%s.log.gz", spec->org, site, p,
                        start, ret->date))
                return -ENOENT;
        return 0;
}

/* What follows "{org}-" must be exactly a date and ".zip". */
static int parse_zip(const struct package_spec *spec, const char *name, struct package_item *ret)
{
        const char *date = str_after(name, spec->org);
        if (!date || *date++ != '-' || !is_date(date) || !streq(date + DATE_LEN, ".zip"))
                return -ENOENT;
        name_copy(ret->date, sizeof(ret->date), date, DATE_LEN);
        ret->is_zip = true;
        return name_fill(ret->path, sizeof(ret->path), "%s/%s/%s", spec->org, category_name(ret->category),
                       ret->date)
                       ? 0
                       : -ENOENT;
}

/* {date}-{org}-tracking.tar, until 2014 */
static int parse_legacy(const struct package_spec *spec, const char *name, struct package_item *ret)
{
        const char *p =
                is_date(name) && name[DATE_LEN] == '-' ? str_after(name + DATE_LEN + 1, spec->org) : NULL;
        if (!p || !streq(p, "-tracking.tar"))
                return -ENOENT;
        name_copy(ret->date, sizeof(ret->date), name, DATE_LEN);
        ret->category = CATEGORY_EVENTS;
        ret->legacy = true;
        return 0;
}

static int parse_opt_in(const struct package_spec *spec, const char *name, struct package_item *ret)
{
        const char *rest = str_after(name, "email-opt-in-");
        if (rest && parse_zip(spec, rest, ret) == 0)
                return 0;
        return parse_zip(spec, name, ret);
}

/* {org}_{course}_{run}: two underscores with something on each side. The organisation keeps its case there
 * and need not be ours: the folder is. */
static bool is_rdx_name(const char *s, size_t n)
{
        const char *first = memchr(s, '_', n), *second;
        if (!first || first == s)
                return false;
        second = memchr(first + 1, '_', n - (size_t)(first + 1 - s));
        while (second && second == first + 1) { /* "__": an empty course */
                first = second;
                second = memchr(first + 1, '_', n - (size_t)(first + 1 - s));
        }
        return second && second + 1 < s + n;
}

/* After root: {org}/rdx/{requestID}/{org}_{course}_{run}.tar.gz.gpg */
static int parse_rdx(
        const struct package_spec *spec, const char *rest, struct package_item *ret, struct error *e)
{
        const char *request = str_after(rest, spec->org);
        request = request ? str_after(request, "/rdx/") : NULL;
        if (!request)
                return -ENOENT;
        size_t n = strcspn(request, "/");
        if (request[n] != '/')
                return -ENOENT;
        const char *name = request + n + 1;
        if (strchr(name, '/') || !str_ends(name, ".tar.gz.gpg") ||
                !is_rdx_name(name, strlen(name) - strlen(".tar.gz.gpg")))
                return -ENOENT;
        if (n >= sizeof(ret->request))
                return error_set(e, CAUSE_LIMIT, EBADMSG, "the key has a request id over %zu bytes",
                        sizeof(ret->request) - 1);
        name_copy(ret->request, sizeof(ret->request), request, n);
        if (!name_is_clean_text(ret->request) || !name_is_safe_component(request, n) || *request == '-')
                return unsafe_key(
                        e, "a request id that is hidden, looks like an option or has unsafe characters");
        size_t len = strlen(name) - strlen(".gpg");
        if (!name_is_clean_text(name) || !name_is_safe_component(name, len))
                return unsafe_key(e, "a file name that is hidden or has unsafe characters");
        if (len > LIMIT_MEMBER_NAME || !name_fill(ret->path, sizeof(ret->path), "%s/rdx/%.*s/%.*s", spec->org,
                                               (int)n, request, (int)len, name))
                return error_set(e, CAUSE_LIMIT, EBADMSG, "the key has a file name too long");
        return 0;
}

static int parse_as(const struct package_spec *spec, enum category c, const char *key,
        struct package_item *ret, struct error *e)
{
        char root[ROOT_MAX + 1];
        category_root(spec, c, root);
        const char *rest = str_after(key, root);
        if (!rest)
                return -ENOENT;
        *ret = (struct package_item){.category = c};
        switch (c) {
        case CATEGORY_EVENTS:
                return parse_events(spec, rest, ret);
        case CATEGORY_DATABASE:
                return parse_zip(spec, rest, ret) == 0 ? 0 : parse_legacy(spec, rest, ret);
        case CATEGORY_EMAIL_OPT_IN:
                return parse_opt_in(spec, rest, ret);
        case CATEGORY_RDX:
                return parse_rdx(spec, rest, ret, e);
        case CATEGORY_MAX:
                break;
        }
        return -ENOENT;
}

int package_parse_key(const struct package_spec *spec, const char *bucket, const char *key,
        struct package_item *ret, struct error *e)
{
        int result = -ENOENT;
        for (enum category c = 0; c < CATEGORY_MAX; c++) {
                if (!is_chosen(spec, c) || !streq(spec->at[c].bucket, bucket))
                        continue;
                struct package_item item;
                int r = parse_as(spec, c, key, &item, e);
                if (r == 0) {
                        *ret = item;
                        return 0;
                }
                if (r != -ENOENT)
                        result = r;
        }
        if (result == -ENOENT)
                error_set(e, CAUSE_NONE, ENOENT, "not one of the package's keys");
        return result;
}
