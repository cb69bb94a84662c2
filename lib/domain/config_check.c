/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration as a whole: what follows from other keys, what does not fit together, what a reload can
 * take over, and what the packages' filters want. Reads nothing but struct config. */
#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <time.h>

#include "config_internal.h"
#include "name.h"
#include "timespan.h"

/* --- small helpers --- */

/* *to = a copy of from when there is none yet. */
static void inherit(struct loader *l, char **to, const char *from)
{
        if (*to || !from)
                return;
        *to = strdup(from);
        if (!*to)
                l->result = -ENOMEM;
}

/* Is path the folder, or below it? */
static bool is_below(const char *path, const char *folder)
{
        const char *rest = str_after(path, folder);
        return rest && (*rest == 0 || *rest == '/' || streq(folder, "/"));
}

/* --- [daemon] --- */

/* Each poll is a listing that edX pays for, and new files come daily. Tests, which cannot wait, say so. */
static void check_spans(struct loader *l)
{
        const struct config *c = l->config;
        const struct {
                const char *section, *name;
                uint64_t usec, least;
                const char *low, *expected;
                bool not_in_tests;
        } spans[] = {
                {"daemon", "poll_interval", c->poll_interval_usec, USEC_PER_MINUTE, "a minute", "15min",
                        true},
                {"daemon", "full_list_interval", c->full_list_interval_usec, USEC_PER_MINUTE, "a minute",
                        "1d", true},
                {"staging", "keep_replaced", c->staging.keep_replaced_usec, USEC_PER_HOUR, "an hour",
                        "30d, or 0", false},
        };
        for (size_t i = 0; i < ELEMENTSOF(spans); i++) {
                char span[32];
                bool off = !spans[i].not_in_tests && spans[i].usec == 0;
                if (spans[i].usec >= spans[i].least || off ||
                        (spans[i].not_in_tests && getenv("CZARD_TESTING")))
                        continue;
                config_error(l, GENERAL, spans[i].section, spans[i].name,
                        "%s is less than %s (a number without a unit is seconds); expected a span such as %s",
                        timespan_format(spans[i].usec, span, sizeof(span)), spans[i].low, spans[i].expected);
        }
}

/* --- [s3] --- */

static bool is_loopback(const char *host)
{
        struct in_addr v4;
        struct in6_addr v6;
        char name[64];
        bool bracket = *host == '[';
        host += bracket;
        name_copy(name, sizeof(name), host, strcspn(host, bracket ? "]" : ":"));
        if (bracket)
                return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
        return streq(name, "localhost") ||
               (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET);
}

/* A bucket's name in front of the host, as the console of AWS shows it: czard puts it there by itself. */
static void check_bucket_in_host(struct loader *l, const char *host)
{
        const struct config *c = l->config;
        const char *aws = strstr(host, ".s3.");
        if (!aws)
                aws = strstr(host, ".s3-");
        bool found = aws && strstr(aws, ".amazonaws.com");
        for (size_t i = 0; !found && i < c->n_packages; i++)
                for (enum category k = 0; !found && k < CATEGORY_MAX; k++) {
                        const char *bucket = c->packages[i].spec.at[k].bucket;
                        const char *rest = bucket ? str_after(host, bucket) : NULL;
                        if (rest && *rest == '.') {
                                aws = rest;
                                found = true;
                        }
                }
        if (found)
                config_error(l, GENERAL, "s3", "endpoint",
                        "begins with the name of a bucket, which belongs in the package section; expected "
                        "%.*s%s",
                        (int)(host - c->s3.endpoint), c->s3.endpoint, aws + 1);
}

/* AWS names a region by its area, a direction and a number. A warning only: AWS may think of new ones. */
static void check_aws_region(struct loader *l)
{
        static const char *const forms[] = {"*-north-?", "*-northeast-?", "*-east-?", "*-southeast-?",
                "*-south-?", "*-southwest-?", "*-west-?", "*-northwest-?", "*-central-?"};
        bool found = !l->config->s3.region || config_is_refused(l, GENERAL, "s3", "region");
        for (size_t i = 0; !found && i < ELEMENTSOF(forms); i++)
                found = fnmatch(forms[i], l->config->s3.region, 0) == 0;
        if (found)
                return;
        config_warning(
                l, GENERAL, "s3", "region", "AWS has none of this form; expected one such as us-east-1");
}

static void check_s3(struct loader *l)
{
        struct config_s3 *s3 = &l->config->s3;
        if (s3->addressing == ADDRESSING_AUTO)
                s3->addressing = s3->endpoint ? ADDRESSING_PATH : ADDRESSING_VIRTUAL;
        if (!s3->endpoint || strstr(s3->endpoint, ".amazonaws.com"))
                check_aws_region(l);
        if (s3->endpoint && strstr(s3->endpoint, "console.aws.amazon.com"))
                config_error(l, GENERAL, "s3", "endpoint",
                        "the page of AWS for browsers; expected no endpoint with AWS itself, and region as "
                        "the page shows it");
        const char *any = s3->endpoint ? strstr(s3->endpoint, "://") : NULL;
        if (any)
                check_bucket_in_host(l, any + strlen("://"));
        const char *host = s3->endpoint ? str_after(s3->endpoint, "http://") : NULL;
        if (!host || is_loopback(host))
                return;
        if (!s3->allow_http)
                config_error(l, GENERAL, "s3", "endpoint",
                        "http:// to another machine is not encrypted; expected https://, or allow_http = "
                        "yes");
        else
                config_warning(l, GENERAL, "s3", "endpoint",
                        "the connection to S3 is neither encrypted nor authenticated (allow_http = yes)");
}

/* --- [openpgp] and [staging] --- */

static void check_outside_staging(struct loader *l, size_t scope, const char *section, const char *key,
        const char *path, const char *what)
{
        const char *staging = l->config->staging.path;
        if (path && staging && !streq(staging, "/") &&
                is_below(path, staging)) /* that one is an error itself */
                config_error(l, scope, section, key,
                        "inside [staging] path, where researchers read; expected %s elsewhere", what);
}

static void check_openpgp(struct loader *l)
{
        struct config *c = l->config;
        if (!c->openpgp.homedir && c->state_dir) {
                c->openpgp.homedir =
                        streq(c->state_dir, "/") ? strdup("/gnupg") : str_printf("%s/gnupg", c->state_dir);
                if (!c->openpgp.homedir)
                        l->result = -ENOMEM;
        }
        check_outside_staging(l, GENERAL, "openpgp", "homedir", c->openpgp.homedir, "the secret key");
        check_outside_staging(
                l, GENERAL, "openpgp", "passphrase_file", c->openpgp.passphrase_file, "the passphrase");
        if (c->openpgp.signatures == SIGNATURES_NONE && c->openpgp.signers.n > 0)
                config_warning(l, GENERAL, "openpgp", "signers", "without effect: signatures = none");
}

static void check_staging(struct loader *l)
{
        struct config *c = l->config;
        if (!c->staging.path) {
                if (!config_is_refused(l, GENERAL, "staging", "path"))
                        config_error(l, GENERAL, "staging", "path",
                                "not set; expected the folder for the decrypted files");
                return;
        }
        if (streq(c->staging.path, "/")) {
                config_error(l, GENERAL, "staging", "path",
                        "the root of all folders; expected a folder of its own, such as /srv/czard");
                return;
        }
        check_outside_staging(l, GENERAL, "daemon", "state_dir", c->state_dir, "czard's own files");
        if (c->state_dir && !streq(c->state_dir, c->staging.path) && is_below(c->staging.path, c->state_dir))
                config_warning(l, GENERAL, "staging", "path",
                        "inside [daemon] state_dir, which readers cannot enter and which is removed with "
                        "czard's own files; better a folder of its own, such as /srv/czard");
        check_outside_staging(l, GENERAL, "s3", "credentials", c->s3.credentials, "the keys of S3");
        if (c->staging.file_mode & 0020)
                config_warning(l, GENERAL, "staging", "file_mode",
                        "the group may alter staged files, which czard then reports as altered");
}

/* --- [package NAME] --- */

static void check_org(struct loader *l, size_t i, const char *section)
{
        struct config_package *p = &l->config->packages[i];
        if (!p->spec.org && !config_is_refused(l, i + 1, section, "org")) {
                struct error e = {};
                int r = config_value_set(config_find_key(CONFIG_PACKAGE_SECTION, "org"), p, p->name, &e);
                if (r == -ENOMEM)
                        l->result = r;
                else if (r < 0)
                        loader_error(l, l->scopes[i + 1].at, section, "org",
                                "not set, and the section's name is %s", e.text);
        }
        for (size_t j = 0; p->spec.org && j < i; j++) {
                const struct config_package *other = &l->config->packages[j];
                if (other->spec.org && streq(other->spec.org, p->spec.org))
                        config_error(l, i + 1, section, "org",
                                "the same organisation as [package %s]; expected one section for each",
                                other->name);
        }
}

/* The key of that category's location. */
static const char *location_key(enum category c)
{
        return c == CATEGORY_EMAIL_OPT_IN ? "email_opt_in" : category_name(c);
}

static void check_locations(struct loader *l, size_t i, const char *section)
{
        const struct package_spec *spec = &l->config->packages[i].spec;
        if (config_is_refused(l, i + 1, section, "categories"))
                return;
        for (enum category c = 0; c < CATEGORY_MAX; c++) {
                struct error e = {};
                if (!(spec->categories & BIT(c)))
                        continue;
                if (!spec->at[c].bucket) {
                        if (!config_is_refused(l, i + 1, section, location_key(c)))
                                loader_error(l, l->scopes[i + 1].at, section, location_key(c),
                                        "not set; expected s3://bucket/prefix, or categories without %s",
                                        category_name(c));
                        continue;
                }
                int r = spec->org ? package_location_check(spec, c, &e) : 0;
                if (r == -EEXIST)
                        config_warning(l, i + 1, section, location_key(c), "%s", e.text);
                else if (r < 0)
                        config_error(l, i + 1, section, location_key(c), "%s", e.text);
        }
}

/* A package's own group stands above all of [staging]: another czar's data must not reach a group that was
 * named for the others. */
static void inherit_groups(struct loader *l, size_t i, const char *section)
{
        struct config_groups *own = &l->config->packages[i].groups;
        const struct config_groups *general = &l->config->staging.groups;
        bool hidden = false;
        /* likewise of events by course: an own group stands above the one that [staging] names for them */
        inherit(l, &own->by_course,
                own->category[CATEGORY_EVENTS] ? own->category[CATEGORY_EVENTS] : own->all);
        inherit(l, &own->by_course, general->by_course);
        for (enum category c = 0; c < CATEGORY_MAX; c++) {
                hidden |= own->all && !own->category[c] && general->category[c];
                inherit(l, &own->category[c], own->all);
                inherit(l, &own->category[c], general->category[c]);
                inherit(l, &own->category[c], general->all);
        }
        if (hidden)
                config_warning(l, i + 1, section, "group",
                        "takes the place of the groups that [staging] has for single categories");
        inherit(l, &own->by_course, own->category[CATEGORY_EVENTS]);
        inherit(l, &own->all, general->all);
}

/* A passphrase belongs to a homedir. */
static void check_passphrase(struct loader *l, size_t i, const char *section)
{
        struct config *c = l->config;
        struct config_package *p = &c->packages[i];
        check_outside_staging(l, i + 1, section, "passphrase_file", p->passphrase_file, "the passphrase");
        p->own_passphrase = p->passphrase_file;
        inherit(l, &p->passphrase_file, c->openpgp.passphrase_file);
        if (p->own_passphrase && p->homedir && c->openpgp.homedir && streq(p->homedir, c->openpgp.homedir))
                config_error(l, i + 1, section, "passphrase_file",
                        "its homedir is that of [openpgp]; expected a homedir in this section too, or the "
                        "file in [openpgp]");
        for (size_t j = 0; p->homedir && j < i; j++) {
                const struct config_package *other = &c->packages[j];
                if (other->homedir && streq(other->homedir, p->homedir) &&
                        (p->own_passphrase || other->own_passphrase) &&
                        !config_same_text(other->passphrase_file, p->passphrase_file))
                        config_error(l, i + 1, section, "passphrase_file",
                                "another one than in [package %s], which has the same homedir; expected the "
                                "same",
                                other->name);
        }
}

/* What config/czard.ini shows: where any of it is left as it is, nothing of anybody's is ever found. */
static void check_example(struct loader *l, size_t i, const char *section)
{
        static const char org[] = "universityx";
        static const struct {
                const char *bucket, *prefix;
        } at[CATEGORY_MAX] = {[CATEGORY_EVENTS] = {"edx-course-data", "universityx/"},
                [CATEGORY_DATABASE] = {"course-data", "universityx-"},
                [CATEGORY_EMAIL_OPT_IN] = {"course-data", "email-opt-in/"},
                [CATEGORY_RDX] = {"edx-course-data", "universityx/"}};
        const struct package_spec *spec = &l->config->packages[i].spec;
        if (!spec->org || !streq(spec->org, org))
                return;
        bool left = false;
        for (enum category c = 0; c < CATEGORY_MAX; c++) {
                const struct s3_location *has = &spec->at[c];
                left |= (spec->categories & BIT(c)) && has->bucket && streq(has->bucket, at[c].bucket) &&
                        streq(has->prefix ? has->prefix : "", at[c].prefix);
        }
        if (left)
                config_warning(l, i + 1, section, "",
                        "organisation and prefixes are still those of the example; put in your own, as edX "
                        "named them");
}

static void check_since(struct loader *l, size_t i, const char *section)
{
        int since = l->config->packages[i].since;
        if (since != INT_MIN && since > (int)(time(NULL) / SEC_PER_DAY))
                config_warning(l, i + 1, section, "since",
                        "is in the future: until then nothing is fetched but rdx");
}

static void check_packages(struct loader *l)
{
        struct config *c = l->config;
        if (c->n_packages == 0)
                config_error(l, GENERAL, "", "", "no [package NAME] section; expected at least one");
        for (size_t i = 0; i < c->n_packages; i++) {
                char section[64];
                name_fill(section, sizeof(section), "package %s", c->packages[i].name);
                check_org(l, i, section);
                check_locations(l, i, section);
                check_since(l, i, section);
                check_example(l, i, section);
                check_outside_staging(l, i + 1, section, "homedir", c->packages[i].homedir, "the secret key");
                check_outside_staging(
                        l, i + 1, section, "credentials", c->packages[i].credentials, "the keys of S3");
                inherit(l, &c->packages[i].credentials, c->s3.credentials);
                inherit(l, &c->packages[i].homedir, c->openpgp.homedir);
                check_passphrase(l, i, section);
                inherit_groups(l, i, section);
        }
}

/* --- [deliver NAME] --- */

static bool overlap(const char *a, const char *b)
{
        return a && b && (is_below(a, b) || is_below(b, a));
}

/* What has no default. */
static void check_delivery_needs(struct loader *l, size_t i, const char *section)
{
        const struct config_delivery *d = &l->config->deliveries[i];
        const struct {
                const char *key, *expected;
                bool is_set;
        } needs[] = {{"org", "the organisation of a package section", d->org},
                {"purpose", "what it is for, as in the agreement: it stands in every record", d->purpose},
                {"until", "the day from which on nothing is delivered, YYYY-MM-DD", d->until != INT_MIN},
                {"recipients", "fingerprints of the recipients' keys", d->recipients.n},
                {"courses", "the courses by Org-Course-Run or by their keys", d->courses.n},
                {"tables", "events, and the tables by their names", d->tables.n},
                {"path", "the folder of the outbox", d->path}};
        for (size_t k = 0; k < ELEMENTSOF(needs); k++)
                if (!needs[k].is_set && !config_is_refused(l, DELIVERY(i), section, needs[k].key))
                        loader_error(l, l->scopes[DELIVERY(i)].at, section, needs[k].key,
                                "not set; expected %s", needs[k].expected);
}

static void check_delivery_path(struct loader *l, size_t i, const char *section)
{
        const struct config *c = l->config;
        const struct config_delivery *d = &c->deliveries[i];
        if (overlap(d->path, c->staging.path) || overlap(d->path, c->state_dir))
                config_error(l, DELIVERY(i), section, "path",
                        "inside or around [staging] path or state_dir; expected a folder of its own");
        for (size_t j = 0; j < i; j++)
                if (overlap(d->path, c->deliveries[j].path))
                        config_error(l, DELIVERY(i), section, "path",
                                "inside or around that of [deliver %s]; expected a folder of its own",
                                c->deliveries[j].name);
}

static void check_delivery_org(struct loader *l, size_t i, const char *section)
{
        const struct config_delivery *d = &l->config->deliveries[i];
        const struct config_package *p = d->org ? config_find_package(l->config, d->org) : NULL;
        if (d->org && !p)
                config_error(l, DELIVERY(i), section, "org",
                        "no [package] section has it; expected the organisation of one");
        if (p && strv_has(&d->tables, "events") && p->events_by_course == EVENT_RULE_NONE)
                config_error(l, DELIVERY(i), section, "tables",
                        "events can be handed out by course only where they are split; expected "
                        "events_by_course = edx in [package %s], or tables without events",
                        p->name);
}

/* One list of all courses: whoever gets it gets them all. */
static void check_delivery_opt_in(struct loader *l, size_t i, const char *section)
{
        const struct config_delivery *d = &l->config->deliveries[i];
        const struct config_package *p = d->org ? config_find_package(l->config, d->org) : NULL;
        bool all = strv_has(&d->courses, "*"), taken = p && (p->spec.categories & BIT(CATEGORY_EMAIL_OPT_IN));
        for (size_t k = 0; k < d->courses.n; k++)
                all = all && *d->courses.v[k] != '!';
        if (p && strv_has(&d->tables, "email_opt_in") && (!all || !taken))
                config_error(l, DELIVERY(i), section, "tables",
                        "email_opt_in is one list of all courses; expected %s, or tables without it",
                        all ? "email-opt-in in categories of its [package]"
                            : "courses = * without exceptions");
}

static void check_deliveries(struct loader *l)
{
        for (size_t i = 0; i < l->config->n_deliveries; i++) {
                char section[64];
                name_fill(section, sizeof(section), CONFIG_DELIVER_SECTION " %s",
                        l->config->deliveries[i].name);
                check_delivery_needs(l, i, section);
                check_delivery_path(l, i, section);
                check_delivery_org(l, i, section);
                check_delivery_opt_in(l, i, section);
        }
}

void loader_check(struct loader *l)
{
        check_spans(l);
        check_s3(l);
        check_openpgp(l);
        check_staging(l);
        check_packages(l);
        check_deliveries(l);
}

/* --- reload --- */

/* A GnuPG home that was in use stays open as it is. */
static bool keeps_passphrase(const struct config *old, const struct config_package *p)
{
        for (size_t i = 0; i < old->n_packages; i++)
                if (config_same_text(old->packages[i].homedir, p->homedir))
                        return config_same_text(old->packages[i].passphrase_file, p->passphrase_file);
        return true;
}

const char *config_needs_restart(const struct config *old, const struct config *new)
{
        for (size_t i = 0; i < config_n_keys; i++) {
                const struct config_key *k = &config_keys[i];
                if (!k->reload && !config_is_named(k->section) && !config_value_equal(k, old, new))
                        return k->full;
        }
        for (size_t i = 0; i < new->n_packages; i++)
                if (!keeps_passphrase(old, &new->packages[i]))
                        return "package.passphrase_file";
        return NULL;
}

/* --- questions --- */

const char *config_group(const struct config_package *p, enum category category)
{
        return category < CATEGORY_MAX && p->groups.category[category] ? p->groups.category[category]
                                                                       : p->groups.all;
}

static bool wants(const struct strv *patterns, const char *s)
{
        bool any_positive = false, hit = false;
        for (size_t i = 0; i < patterns->n; i++) {
                const char *p = patterns->v[i];
                if (*p == '!' && fnmatch(p + 1, s, 0) == 0)
                        return false;
                if (*p != '!') {
                        any_positive = true;
                        hit = hit || fnmatch(p, s, 0) == 0;
                }
        }
        return hit || !any_positive;
}

const struct config_package *config_find_package(const struct config *c, const char *org)
{
        for (size_t i = 0; i < c->n_packages; i++)
                if (streq(c->packages[i].spec.org, org))
                        return &c->packages[i];
        return NULL;
}

enum event_rule config_event_rule(const struct config *c, const char *org)
{
        const struct config_package *p = c ? config_find_package(c, org) : NULL;
        return p ? p->events_by_course : EVENT_RULE_NONE;
}

/* What belongs to no course, or to one that cannot be told, is left to the tables. */
bool config_wants_course(const struct config_package *p, const char *course)
{
        return *course == 0 || wants(&p->courses, course);
}

bool config_wants_table(const struct config_package *p, const char *table)
{
        return wants(&p->tables, table);
}

const struct config_delivery *config_find_delivery(const struct config *c, const char *name)
{
        for (size_t i = 0; i < c->n_deliveries; i++)
                if (streq(c->deliveries[i].name, name))
                        return &c->deliveries[i];
        return NULL;
}

void config_name_deliveries(const struct config *c, struct strbuf *ret)
{
        for (size_t i = 0; i < c->n_deliveries; i++)
                strbuf_printf(ret, "%s%s", i ? ", " : "", c->deliveries[i].name);
        strbuf_add(ret, c->n_deliveries ? "" : "none");
}

static bool names_people(const char *table)
{
        return str_after(table, "auth_") || str_after(table, "certificates_") || str_after(table, "ora/") ||
               streq(table, "forum") || streq(table, "email_opt_in");
}

bool config_delivers_table(const struct config_delivery *d, const char *table)
{
        bool by_name = strv_has(&d->tables, table), hit = by_name;
        for (size_t i = 0; i < d->tables.n; i++) {
                const char *p = d->tables.v[i];
                if (*p == '!' && fnmatch(p + 1, table, 0) == 0)
                        return false;
                hit = hit || (*p != '!' && fnmatch(p, table, 0) == 0);
        }
        return by_name || (hit && !streq(table, "events") && !names_people(table));
}
