/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of czard.ini(5) as data: one row a key. A new key is a row here, a field in config.h, and a
 * paragraph in config/czard.ini.full and in the manual; nothing else. And what is said of a key, with its
 * place. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include "config_internal.h"
#include "name.h"

static const struct config_choice log_levels[] = {{"err", LOG_ERR}, {"warning", LOG_WARNING},
        {"notice", LOG_NOTICE}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}, {}};
static const struct config_choice addressings[] = {
        {"auto", ADDRESSING_AUTO}, {"virtual", ADDRESSING_VIRTUAL}, {"path", ADDRESSING_PATH}, {}};
static const struct config_choice signatures[] = {
        {"none", SIGNATURES_NONE}, {"optional", SIGNATURES_OPTIONAL}, {"required", SIGNATURES_REQUIRED}, {}};
static const struct config_choice engines[] = {{"auto", ENGINE_AUTO}, {"gnupg", ENGINE_GNUPG}, {}};
static const struct config_choice formats[] = {{"gzip", EVENTS_GZIP}, {"plain", EVENTS_PLAIN}, {}};
static const struct config_choice rules[] = {
        {"none", EVENT_RULE_NONE}, {"edx", EVENT_RULE_EDX}, {"edx+url", EVENT_RULE_EDX_URL}, {}};
static const struct config_choice modes[] = {{"follow", DELIVERY_FOLLOW}, {"once", DELIVERY_ONCE}, {}};
static const struct config_choice devices[] = {
        {"require", DEVICE_REQUIRE}, {"warn", DEVICE_WARN}, {"ignore", DEVICE_IGNORE}, {}};
static const struct config_choice incomplete[] = {
        {"publish", INCOMPLETE_PUBLISH}, {"hold", INCOMPLETE_HOLD}, {}};

#define DAYS(n) ((n)*USEC_PER_DAY)
#define ROW(sec, key, base, field)                                                                           \
        .section = sec, .name = key, .full = sec "." key, .offset = offsetof(struct base, field)
#define RELOAD .reload = true

/* clang-format off */
const struct config_key config_keys[] = {
        {ROW("daemon", "poll_interval", config, poll_interval_usec), CONFIG_SPAN, .def = "15min", RELOAD,
                .min = 100 * USEC_PER_MSEC, .max = DAYS(365)},
        {ROW("daemon", "full_list_interval", config, full_list_interval_usec), CONFIG_SPAN, .def = "1d", RELOAD,
                .min = 100 * USEC_PER_MSEC, .max = DAYS(365)},
        {ROW("daemon", "state_dir", config, state_dir), CONFIG_PATH, .def = "/var/lib/czard"},
        {ROW("daemon", "socket", config, socket), CONFIG_PATH, .def = "", .max = 107}, /* unix(7) */
        {ROW("daemon", "min_free", config, state_min_free), CONFIG_SIZE, .def = "64M", RELOAD,
                .min = 0, .max = 1024 * 1024 * GIB},
        {ROW("daemon", "workers", config, workers), CONFIG_WORKERS, .def = "auto", RELOAD, .min = 1, .max = 64},
        {ROW("daemon", "log_level", config, log_level), CONFIG_CHOICE, .def = "info", RELOAD,
                .choices = log_levels},

        {ROW("s3", "endpoint", config, s3.endpoint), CONFIG_ENDPOINT, .def = "", RELOAD},
        {ROW("s3", "region", config, s3.region), CONFIG_REGION, .def = "us-east-1", RELOAD},
        {ROW("s3", "addressing", config, s3.addressing), CONFIG_CHOICE, .def = "auto", RELOAD,
                .choices = addressings},
        {ROW("s3", "credentials", config, s3.credentials), CONFIG_PATH, .def = "", RELOAD},
        {ROW("s3", "max_transfers", config, s3.max_transfers), CONFIG_NUMBER, .def = "8", RELOAD,
                .min = 1, .max = 64},
        {ROW("s3", "bandwidth_limit", config, s3.bandwidth_limit), CONFIG_SIZE, .def = "0", RELOAD,
                .min = 0, .max = 1024 * GIB},
        {ROW("s3", "ca_file", config, s3.ca_file), CONFIG_PATH, .def = "", RELOAD},
        {ROW("s3", "proxy", config, s3.proxy), CONFIG_PROXY, .def = "", RELOAD},
        {ROW("s3", "allow_http", config, s3.allow_http), CONFIG_BOOL, .def = "no", RELOAD},
        {ROW("s3", "stall_timeout", config, s3.stall_timeout_usec), CONFIG_SPAN, .def = "60s", RELOAD,
                .min = 100 * USEC_PER_MSEC, .max = DAYS(1)},

        {ROW("openpgp", "homedir", config, openpgp.homedir), CONFIG_PATH, .def = ""},
        {ROW("openpgp", "passphrase_file", config, openpgp.passphrase_file), CONFIG_PATH, .def = ""},
        {ROW("openpgp", "signatures", config, openpgp.signatures), CONFIG_CHOICE, .def = "optional", RELOAD,
                .choices = signatures},
        {ROW("openpgp", "signers", config, openpgp.signers), CONFIG_FINGERPRINTS, .def = "", RELOAD},
        {ROW("openpgp", "engine", config, openpgp.engine), CONFIG_CHOICE, .def = "auto", RELOAD,
                .choices = engines},

        {ROW("staging", "path", config, staging.path), CONFIG_PATH, .def = ""},
        {ROW("staging", "group", config, staging.groups.all), CONFIG_GROUP_NAME, .def = "", RELOAD},
        {ROW("staging", "events_group", config, staging.groups.category[CATEGORY_EVENTS]), CONFIG_GROUP_NAME,
                .def = "", RELOAD},
        {ROW("staging", "database_group", config, staging.groups.category[CATEGORY_DATABASE]), CONFIG_GROUP_NAME,
                .def = "", RELOAD},
        {ROW("staging", "email_opt_in_group", config, staging.groups.category[CATEGORY_EMAIL_OPT_IN]),
                CONFIG_GROUP_NAME, .def = "", RELOAD},
        {ROW("staging", "rdx_group", config, staging.groups.category[CATEGORY_RDX]), CONFIG_GROUP_NAME, .def = "", RELOAD},
        {ROW("staging", "by_course_group", config, staging.groups.by_course), CONFIG_GROUP_NAME, .def = "", RELOAD},
        {ROW("staging", "file_mode", config, staging.file_mode), CONFIG_FILE_MODE, .def = "0440"},
        {ROW("staging", "dir_mode", config, staging.dir_mode), CONFIG_DIR_MODE, .def = "0750"},
        {ROW("staging", "min_free", config, staging.min_free), CONFIG_SIZE, .def = "10G", RELOAD,
                .min = 0, .max = 1024 * 1024 * GIB},
        {ROW("staging", "events_format", config, staging.events_format), CONFIG_CHOICE, .def = "gzip", RELOAD,
                .choices = formats},
        {ROW("staging", "encrypted_device", config, staging.encrypted_device), CONFIG_CHOICE, .def = "warn",
                .choices = devices},
        {ROW("staging", "keep_snapshots", config, staging.keep_snapshots), CONFIG_NUMBER_OR_ALL, .def = "all",
                RELOAD, .min = 1, .max = 100000},
        {ROW("staging", "keep_days", config, staging.keep_days_usec), CONFIG_DAYS_OR_ALL, .def = "all", RELOAD,
                .min = 1, .max = 36500},
        {ROW("staging", "keep_replaced", config, staging.keep_replaced_usec), CONFIG_SPAN_OR_ALL, .def = "30d",
                RELOAD, .min = 0, .max = DAYS(36500)},
        {ROW("staging", "deduplicate", config, staging.deduplicate), CONFIG_BOOL, .def = "yes", RELOAD},
        {ROW("staging", "incomplete_snapshots", config, staging.incomplete_snapshots), CONFIG_CHOICE,
                .def = "publish", RELOAD, .choices = incomplete},

        {ROW("limits", "max_plaintext", config, limits.max_plaintext), CONFIG_SIZE, .def = "500G", RELOAD,
                .min = 1, .max = 1024 * 1024 * GIB},
        {ROW("limits", "max_ratio", config, limits.max_ratio), CONFIG_NUMBER, .def = "2000", RELOAD,
                .min = 1, .max = 1000000},
        {ROW("limits", "max_members", config, limits.max_members), CONFIG_NUMBER, .def = "200000", RELOAD,
                .min = 1, .max = 10000000},
        {ROW("limits", "max_name", config, limits.max_name), CONFIG_NUMBER, .def = "255", RELOAD,
                .min = 1, .max = 255, .expected = "a number from 1 to 255, which file systems allow"},
        {ROW("limits", "max_listed", config, limits.max_listed), CONFIG_NUMBER, .def = "1000000", RELOAD,
                .min = 1, .max = 100000000},
        {ROW("limits", "max_growth", config, limits.max_growth), CONFIG_SIZE, .def = "1G", RELOAD,
                .min = 1, .max = 1024 * GIB},

        {ROW("package", "org", config_package, spec.org), CONFIG_ORG, .def = "", RELOAD},
        {ROW("package", "sites", config_package, spec.sites), CONFIG_SITES, .def = "edx edge", RELOAD},
        {ROW("package", "categories", config_package, spec.categories), CONFIG_CATEGORIES,
                .def = "events database email-opt-in rdx", RELOAD},
        {ROW("package", "events", config_package, spec.at[CATEGORY_EVENTS]), CONFIG_LOCATION, .def = "", RELOAD},
        {ROW("package", "database", config_package, spec.at[CATEGORY_DATABASE]), CONFIG_LOCATION, .def = "",
                RELOAD},
        {ROW("package", "email_opt_in", config_package, spec.at[CATEGORY_EMAIL_OPT_IN]), CONFIG_LOCATION,
                .def = "", RELOAD},
        {ROW("package", "rdx", config_package, spec.at[CATEGORY_RDX]), CONFIG_LOCATION, .def = "", RELOAD},
        {ROW("package", "events_by_course", config_package, events_by_course), CONFIG_CHOICE, .def = "none", RELOAD,
                .choices = rules},
        {ROW("package", "since", config_package, since), CONFIG_SINCE, .def = "", RELOAD},
        {ROW("package", "courses", config_package, courses), CONFIG_PATTERNS, .def = "", RELOAD},
        {ROW("package", "tables", config_package, tables), CONFIG_PATTERNS, .def = "", RELOAD},
        {ROW("package", "credentials", config_package, credentials), CONFIG_PATH, .def = "", RELOAD},
        {ROW("package", "homedir", config_package, homedir), CONFIG_PATH, .def = "", RELOAD},
        {ROW("package", "passphrase_file", config_package, passphrase_file), CONFIG_PATH, .def = ""},
        {ROW("package", "group", config_package, groups.all), CONFIG_GROUP_NAME, .def = "", RELOAD},
        {ROW("package", "events_group", config_package, groups.category[CATEGORY_EVENTS]), CONFIG_GROUP_NAME,
                .def = "", RELOAD},
        {ROW("package", "database_group", config_package, groups.category[CATEGORY_DATABASE]), CONFIG_GROUP_NAME,
                .def = "", RELOAD},
        {ROW("package", "email_opt_in_group", config_package, groups.category[CATEGORY_EMAIL_OPT_IN]),
                CONFIG_GROUP_NAME, .def = "", RELOAD},
        {ROW("package", "rdx_group", config_package, groups.category[CATEGORY_RDX]), CONFIG_GROUP_NAME,
                .def = "", RELOAD},

        {ROW("deliver", "org", config_delivery, org), CONFIG_ORG, .def = "", RELOAD},
        {ROW("deliver", "purpose", config_delivery, purpose), CONFIG_TEXT, .def = "", RELOAD},
        {ROW("deliver", "until", config_delivery, until), CONFIG_SINCE, .def = "", RELOAD},
        {ROW("deliver", "recipients", config_delivery, recipients), CONFIG_FINGERPRINTS, .def = "", RELOAD},
        {ROW("deliver", "courses", config_delivery, courses), CONFIG_DELIVERED_COURSES, .def = "", RELOAD},
        {ROW("deliver", "tables", config_delivery, tables), CONFIG_DELIVERED_TABLES, .def = "", RELOAD},
        {ROW("deliver", "dates", config_delivery, dates), CONFIG_DATES, .def = "", RELOAD},
        {ROW("deliver", "mode", config_delivery, mode), CONFIG_CHOICE, .def = "follow", RELOAD, .choices = modes},
        {ROW("deliver", "path", config_delivery, path), CONFIG_PATH, .def = "", RELOAD},
        {ROW("deliver", "group", config_delivery, group), CONFIG_GROUP_NAME, .def = "", RELOAD},
        {ROW("deliver", "keep", config_delivery, keep_usec), CONFIG_SPAN_OR_ALL, .def = "30d", RELOAD,
                .min = 0, .max = DAYS(36500)},
};
/* clang-format on */
const size_t config_n_keys = ELEMENTSOF(config_keys);

/* "package NAME" is the section of the rows of "package". */
static bool is_in(const struct config_key *k, const char *section)
{
        return name_equals(section, strcspn(section, " "), k->section);
}

const struct config_key *config_find_key(const char *section, const char *name)
{
        for (size_t i = 0; i < config_n_keys; i++)
                if (is_in(&config_keys[i], section) && streq(config_keys[i].name, name))
                        return &config_keys[i];
        return NULL;
}

bool config_is_section(const char *section)
{
        for (size_t i = 0; i < config_n_keys; i++)
                if (streq(config_keys[i].section, section))
                        return true;
        return false;
}

bool config_is_list(const struct config_key *k)
{
        return (k->type >= CONFIG_SITES && k->type <= CONFIG_FINGERPRINTS) || k->type == CONFIG_CATEGORIES;
}

bool config_is_named(const char *section)
{
        return streq(section, CONFIG_PACKAGE_SECTION) || streq(section, CONFIG_DELIVER_SECTION);
}

/* Near enough to be a slip of the finger: a third of the letters, two at least. */
static bool is_near(const char *typed, const char *known, unsigned *best)
{
        if (strlen(typed) >= 64)
                return false;
        unsigned d = str_distance(typed, known), allowed = MAX(2U, (unsigned)strlen(known) / 3);
        if (d > allowed || d >= *best || d >= strlen(known))
                return false;
        *best = d;
        return true;
}

const char *config_nearest_key(const char *section, const char *name, char *ret, size_t size)
{
        const struct config_key *found = NULL;
        unsigned best = 64;
        for (size_t i = 0; i < config_n_keys; i++)
                if (is_in(&config_keys[i], section) && is_near(name, config_keys[i].name, &best))
                        found = &config_keys[i];
        if (found && best <= 2)
                return found->name;
        for (size_t i = 0; i < config_n_keys; i++)
                if (streq(config_keys[i].name, name)) {
                        snprintf(ret, size, "[%s%s] %s", config_keys[i].section,
                                config_is_named(config_keys[i].section) ? " NAME" : "", name);
                        return ret;
                }
        return found ? found->name : NULL;
}

const char *config_nearest_section(const char *section)
{
        const char *found = NULL;
        unsigned best = 64;
        for (size_t i = 0; i < config_n_keys; i++)
                if (is_near(section, config_keys[i].section, &best))
                        found = config_keys[i].section;
        return found;
}

/* --- messages. Errors do not stop the reading: the first goes to its struct error, the others to `more` ---
 */

static void add_message(struct loader *l, const char *text)
{
        if (l->n_errors++ == 0)
                error_set(l->e, CAUSE_CONFIG, EINVAL, "%s", text);
        else if (l->more && l->n_errors <= LIMIT_CONFIG_ERRORS && strv_add(l->more, text) < 0)
                l->result = -ENOMEM;
        if (l->result == 0)
                l->result = -EINVAL;
}

/* "FILE:LINE: [section] key: what", with the parts that are known. */
_printf_(6, 0) static void say(struct loader *l, bool is_error, struct origin at, const char *section,
        const char *key, const char *format, va_list ap)
{
        _cleanup_strbuf_ struct strbuf b = {};
        char what[400];
        vsnprintf(what, sizeof(what), format, ap);
        strbuf_add(&b, at.line ? l->files.v[at.file] : l->config->path);
        if (at.line)
                strbuf_printf(&b, ":%u", at.line);
        strbuf_add(&b, ": ");
        if (*section)
                strbuf_printf(&b, "[%s]%s%s: ", section, *key ? " " : "", key);
        strbuf_add(&b, what);
        if (is_error)
                add_message(l, b.err == 0 ? b.s : "out of memory");
        else if (b.err < 0 || strv_add(&l->config->warnings, b.s) < 0)
                l->result = -ENOMEM;
}

static struct origin origin_of(const struct loader *l, size_t scope, const char *section, const char *key)
{
        const struct scope *s = &l->scopes[scope];
        const struct config_key *k = config_find_key(section, key);
        if (k && s->keys[k - config_keys].at.line)
                return s->keys[k - config_keys].at;
        return k && scope == GENERAL ? s->keys[k - config_keys].section : s->at;
}

void loader_error(
        struct loader *l, struct origin at, const char *section, const char *key, const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        say(l, true, at, section, key, format, ap);
        va_end(ap);
}

void config_error(
        struct loader *l, size_t scope, const char *section, const char *key, const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        say(l, true, origin_of(l, scope, section, key), section, key, format, ap);
        va_end(ap);
}

void config_warning(
        struct loader *l, size_t scope, const char *section, const char *key, const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        say(l, false, origin_of(l, scope, section, key), section, key, format, ap);
        va_end(ap);
}

bool config_is_refused(const struct loader *l, size_t scope, const char *section, const char *key)
{
        const struct config_key *k = config_find_key(section, key);
        return k && l->scopes[scope].keys[k - config_keys].bad;
}
