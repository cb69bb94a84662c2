/* SPDX-License-Identifier: Apache-2.0 */
/* Names of archive members: first whether the name is safe, which nothing softens, then what the file is,
 * where not knowing is fine. Course and run may contain dots and hyphens, table names never contain hyphens:
 * so names are read from the right. What is staged where follows from the path alone; course and table only
 * serve filters, summaries and the journal. */
#include <errno.h>

#include "name.h"
#include "package.h"

/* Weekly tables of a course. The list grows; an unknown one is told by its shape (see cut_course). */
static const char *const tables[] = {
        "auth_user",
        "auth_userprofile",
        "certificates_generatedcertificate",
        "course",
        "course_groups_cohortmembership",
        "course_structure",
        "courseware_studentmodule",
        "credit_crediteligibility",
        "django_comment_client_role_users",
        "grades_persistentcoursegrade",
        "grades_persistentsubsectiongrade",
        "student_anonymoususerid",
        "student_courseaccessrole",
        "student_courseenrollment",
        "student_languageproficiency",
        "teams",
        "teams_courseteam",
        "teams_courseteammembership",
        "teams_membership",
        "user_api_usercoursetag",
        "user_id_map",
        "verify_student_verificationstatus",
        "wiki_article",
        "wiki_articlerevision",
};

/* The longer one first: "-edge" also ends "-prod-edge". */
static const char *const environments[] = {"prod-edge", "prod", "edge"};

/* --- safety --- */

static int unsafe(struct error *e, const char *what)
{
        return error_set(e, CAUSE_UNSAFE_NAME, EBADMSG, "the member name %s", what);
}

static int check_name(const char *name, size_t max_name, struct error *e)
{
        if (*name == 0)
                return unsafe(e, "is empty");
        if (*name == '/')
                return unsafe(e, "is absolute");
        if (!name_is_clean_text(name))
                return unsafe(e, "has a backslash, a control character or bytes that are not UTF-8");
        for (const char *p = name; *p;) {
                size_t n = strcspn(p, "/");
                if (n == 0)
                        return unsafe(e, "has an empty component");
                if (!name_is_safe_component(p, n))
                        return unsafe(e, "has a component that begins with a dot");
                if (n > max_name)
                        return error_set(e, CAUSE_LIMIT, EBADMSG,
                                "the member name has a component of %zu bytes, max_name is %zu", n, max_name);
                p += n + (p[n] == '/');
        }
        return 0;
}

/* What is left without the archive's own folder. A member that lies elsewhere keeps its whole name. */
static const char *without_top(const char *top, const char *name)
{
        const char *slash = strchr(name, '/');
        if (slash && (!top || name_equals(name, (size_t)(slash - name), top)))
                return slash + 1;
        return name;
}

/* Fills path and encrypted. */
static int set_path(const char *top, const char *name, struct package_member *ret, struct error *e)
{
        static const char *const reserved[] = {"SHA256SUMS", "MANIFEST.jsonl", "REJECTED", "latest"};
        const char *path = without_top(top, name);
        size_t n = strlen(path);
        ret->encrypted = str_ends(path, ".gpg");
        if (ret->encrypted)
                n -= strlen(".gpg");
        if (n >= sizeof(ret->path))
                return error_set(e, CAUSE_LIMIT, EBADMSG, "the member name has %zu bytes, at most %zu fit", n,
                        sizeof(ret->path) - 1);
        name_copy(ret->path, sizeof(ret->path), path, n);
        for (size_t i = 0; i < ELEMENTSOF(reserved); i++) {
                size_t first = strcspn(ret->path, "/");
                if (name_equals(ret->path, first, reserved[i]))
                        return unsafe(e, "is one that czard uses itself");
        }
        return 0;
}

/* --- what it is --- */

static bool is_known_table(const char *s, size_t n)
{
        for (size_t i = 0; i < ELEMENTSOF(tables); i++)
                if (name_equals(s, n, tables[i]))
                        return true;
        return false;
}

/* Does it look like a table nobody told us of: a_b_c in lower case? */
static bool has_table_shape(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!name_is_lower_alnum(s[i]) && s[i] != '_')
                        return false;
        return n > 0 && s[0] >= 'a' && s[0] <= 'z' && memchr(s, '_', n);
}

/* Does the string end in -WORD? Then its length without that, else 0. */
static size_t before_word(const char *s, size_t n, const char *word)
{
        size_t k = strlen(word);
        if (n <= k + 1 || s[n - k - 1] != '-' || memcmp(s + n - k, word, k) != 0)
                return 0;
        return n - k - 1;
}

/* Cuts "-ENV" and fills env. Returns the length that is left; n when there is none that we know. */
static size_t split_env(const char *s, size_t n, struct package_member *ret)
{
        for (size_t i = 0; i < ELEMENTSOF(environments); i++) {
                size_t left = before_word(s, n, environments[i]);
                if (left > 0) {
                        name_copy(ret->env, sizeof(ret->env), environments[i], strlen(environments[i]));
                        return left;
                }
        }
        return n;
}

static void set_table(struct package_member *ret, bool ora, const char *s, size_t n)
{
        if (!ora) {
                name_copy(ret->table, sizeof(ret->table), s, n);
                return;
        }
        memcpy(ret->table, "ora/", 4);
        name_copy(ret->table + 4, sizeof(ret->table) - 4, s, n);
}

/* "{Org}-{course}-{run}-{table}" or "{Org}-email_opt_in". */
static void cut_course(struct package_member *ret, bool ora, const char *s, size_t n)
{
        const char *dash = memrchr(s, '-', n);
        const char *table = dash ? dash + 1 : s;
        size_t table_len = n - (size_t)(table - s), course_len = dash ? (size_t)(dash - s) : 0;
        const char *inner = course_len ? memchr(s, '-', course_len) : NULL;
        /* A course has three parts at least, so what has fewer is the organisation's. */
        bool is_course = inner && memchr(inner + 1, '-', course_len - (size_t)(inner + 1 - s));
        bool is_table = is_known_table(table, table_len) || has_table_shape(table, table_len);
        if (!is_table || !dash) {
                set_table(ret, ora, s, n);
                return;
        }
        set_table(ret, ora, table, table_len);
        if (is_course)
                name_copy(ret->course, sizeof(ret->course), s, course_len);
}

/* The last "-analytics" that ends the name or is followed by an extension. */
static const char *find_analytics(const char *s)
{
        const char *found = NULL;
        for (const char *p = s; (p = strstr(p, "-analytics")); p++)
                if (p[strlen("-analytics")] == '.' || p[strlen("-analytics")] == 0)
                        found = p;
        return found;
}

/* Length without the last extension, or without ".tar.gz" and the like. */
static size_t without_extension(const char *s)
{
        static const char *const packed[] = {".gz", ".bz2", ".xz", ".zip"};
        size_t n = strlen(s);
        for (size_t i = 0; i < ELEMENTSOF(packed); i++)
                if (str_ends(s, packed[i]) && n > strlen(packed[i])) {
                        n -= strlen(packed[i]);
                        break;
                }
        const char *dot = memrchr(s, '.', n);
        return dot && dot > s && memchr(dot, '-', n - (size_t)(dot - s)) == NULL ? (size_t)(dot - s) : n;
}

static void classify(struct package_member *ret)
{
        const char *slash = strrchr(ret->path, '/');
        bool ora = str_after(ret->path, "ora/");
        char base[sizeof(ret->path)];
        name_copy(base, sizeof(base), slash ? slash + 1 : ret->path, strlen(slash ? slash + 1 : ret->path));
        size_t n = strlen(base);
        ret->failed = str_ends(base, ".failed") && n > strlen(".failed");
        if (ret->failed)
                base[n -= strlen(".failed")] = 0;
        if (str_ends(base, ".mongo")) {
                size_t stem = n - strlen(".mongo"), left = split_env(base, stem, ret);
                if (left < stem) {
                        set_table(ret, ora, "forum", strlen("forum"));
                        name_copy(ret->course, sizeof(ret->course), base, left);
                        return;
                }
        }
        const char *analytics = find_analytics(base);
        if (analytics && analytics > base) {
                n = split_env(base, (size_t)(analytics - base), ret);
                cut_course(ret, ora, base, n);
        } else {
                set_table(ret, ora, base, without_extension(base));
        }
}

int package_parse_member(
        const char *top, const char *name, size_t max_name, struct package_member *ret, struct error *e)
{
        struct package_member m = {};
        int r = check_name(name, max_name, e);
        if (r < 0)
                return r;
        if (str_ends(name, "/"))
                return error_set(e, CAUSE_NONE, EISDIR, "the member is a folder");
        r = set_path(top, name, &m, e);
        if (r < 0)
                return r;
        classify(&m);
        *ret = m;
        return 0;
}
