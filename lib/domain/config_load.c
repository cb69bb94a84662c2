/* SPDX-License-Identifier: Apache-2.0 */
/* From INI files to a struct config. Files are read in order; each key goes straight into its field through
 * its row of config_table.c, so that a later file replaces what an earlier one said, and its origin (file and
 * line) is remembered. When all are read, config_check.c fills what follows from other keys and finds what
 * does not fit together. Errors do not stop the reading: an admin gets all of them at once. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "config_internal.h"
#include "digest.h"
#include "fsx.h"
#include "inifile.h"
#include "limits.h"
#include "name.h"

/* --- sections --- */

/* A kind of section of which there is one for each NAME. */
struct named {
        const char *section;
        size_t most, element;
};
static const struct named named_packages = {
        CONFIG_PACKAGE_SECTION, LIMIT_CONFIG_PACKAGES, sizeof(struct config_package)};
static const struct named named_deliveries = {
        CONFIG_DELIVER_SECTION, LIMIT_CONFIG_DELIVERIES, sizeof(struct config_delivery)};

_Static_assert(offsetof(struct config_package, name) == 0 && offsetof(struct config_delivery, name) == 0,
        "the name comes first in what has one");

static void *scope_base(struct loader *l, size_t scope)
{
        if (scope == GENERAL)
                return l->config;
        return scope < DELIVERY(0) ? (void *)&l->config->packages[scope - 1]
                                   : (void *)&l->config->deliveries[scope - DELIVERY(0)];
}

static bool key_is_in(const struct config_key *k, size_t scope)
{
        if (scope == GENERAL)
                return !config_is_named(k->section);
        return streq(k->section, scope < DELIVERY(0) ? CONFIG_PACKAGE_SECTION : CONFIG_DELIVER_SECTION);
}

/* A scope with every key at its default. 0 or -ENOMEM. */
static int add_scope(struct loader *l, size_t scope, struct origin at)
{
        struct scope *s = &l->scopes[scope];
        *s = (struct scope){.at = at, .keys = calloc(config_n_keys, sizeof(*s->keys))};
        if (!s->keys)
                return -ENOMEM;
        for (size_t i = 0; i < config_n_keys; i++)
                if (key_is_in(&config_keys[i], scope)) {
                        int r = config_value_set(
                                &config_keys[i], scope_base(l, scope), config_keys[i].def, NULL);
                        if (r < 0)
                                return r;
                }
        return 0;
}

/* One more element, with its name and its scope. 0 or -ENOMEM. */
static int add_named(struct loader *l, const struct named *kind, const char *name, struct origin at)
{
        struct config *c = l->config;
        bool package = kind == &named_packages;
        void *v = package ? (void *)c->packages : (void *)c->deliveries;
        size_t *n = package ? &c->n_packages : &c->n_deliveries;
        v = reallocarray(v, *n + 1, kind->element);
        if (!v)
                return -ENOMEM;
        if (package)
                c->packages = v;
        else
                c->deliveries = v;
        char *element = (char *)v + *n * kind->element;
        memset(element, 0, kind->element);
        char *copy = strdup(name);
        memcpy(element, &copy, sizeof(copy));
        size_t scope = package ? *n + 1 : DELIVERY(*n);
        (*n)++;
        return copy ? add_scope(l, scope, at) : -ENOMEM;
}

/* The scope of [SECTION NAME], made when it is new, or NO_SCOPE. */
static size_t named_scope(
        struct loader *l, const struct named *kind, struct origin at, const char *section, const char *name)
{
        const struct config *c = l->config;
        bool package = kind == &named_packages;
        size_t n = package ? c->n_packages : c->n_deliveries;
        if (*name == 0) {
                loader_error(
                        l, at, section, "", "a section without a name; expected [%s NAME]", kind->section);
                return NO_SCOPE;
        }
        if (!name_is_token(name, strlen(name))) {
                loader_error(l, at, "", "", "not a name; expected [%s NAME] of letters, digits, . _ -",
                        kind->section);
                return NO_SCOPE;
        }
        for (size_t i = 0; i < n; i++)
                if (streq(package ? c->packages[i].name : c->deliveries[i].name, name))
                        return package ? i + 1 : DELIVERY(i);
        if (n >= kind->most) {
                loader_error(
                        l, at, section, "", "too many of these sections; expected at most %zu", kind->most);
                return NO_SCOPE;
        }
        int r = add_named(l, kind, name, at);
        if (r < 0) {
                l->result = r;
                return NO_SCOPE;
        }
        return package ? n + 1 : DELIVERY(n);
}

static size_t find_scope(struct loader *l, struct origin at, const char *section)
{
        char shown[64];
        size_t n = strcspn(section, " ");
        const char *name = section + n + strspn(section + n, " ");
        if (name_equals(section, n, CONFIG_PACKAGE_SECTION))
                return named_scope(l, &named_packages, at, section, name);
        if (name_equals(section, n, CONFIG_DELIVER_SECTION))
                return named_scope(l, &named_deliveries, at, section, name);
        if (config_is_section(section)) {
                struct scope *s = &l->scopes[GENERAL];
                for (size_t i = 0; i < config_n_keys; i++)
                        if (streq(config_keys[i].section, section) && s->keys[i].section.line == 0)
                                s->keys[i].section = at;
                return GENERAL;
        }
        str_visible(section, shown, sizeof(shown));
        const char *near = config_nearest_section(section);
        if (near)
                loader_error(l, at, shown, "",
                        "unknown section; expected daemon, s3, openpgp, staging, limits, package NAME or "
                        "deliver NAME; did you mean \"[%s%s]\"?",
                        near, config_is_named(near) ? " NAME" : "");
        else
                loader_error(l, at, shown, "",
                        "unknown section; expected daemon, s3, openpgp, staging, limits, package NAME or "
                        "deliver NAME");
        return NO_SCOPE;
}

/* --- keys --- */

static void unknown_key(struct loader *l, struct origin at, const char *section, const char *key)
{
        char shown[64], buf[64];
        const char *near = config_nearest_key(section, key, buf, sizeof(buf));
        str_visible(key, shown, sizeof(shown));
        if (streq(key, "passphrase") || streq(key, "password"))
                loader_error(l, at, section, shown,
                        "a passphrase does not belong in this file, which everybody may read; expected it "
                        "elsewhere: "
                        "remove the line (czarctl import-key stores it)");
        else if (strstr(key, "secret") || strstr(key, "access_key"))
                loader_error(l, at, section, shown,
                        "keys of S3 do not belong in this file, which everybody may read; expected them "
                        "elsewhere: "
                        "remove the line (czarctl import-credentials stores what edX mailed)");
        else if (near)
                loader_error(l, at, section, shown, "unknown key; did you mean \"%s\"?", near);
        else
                loader_error(l, at, section, shown, "unknown key; expected one of czard.ini(5)");
}

/* One key with its whole value. */
static void set_key(
        struct loader *l, size_t scope, const struct inifile_item *i, const char *value, bool goes_on)
{
        struct origin at = {.file = l->file, .line = i->line};
        const struct config_key *k = config_find_key(i->section, i->key);
        if (!k) {
                unknown_key(l, at, i->section, i->key);
                return;
        }
        struct origin *origin = &l->scopes[scope].keys[k - config_keys].at;
        if (origin->line && origin->file == at.file) {
                loader_error(l, at, i->section, i->key, "set twice in this file; expected once, see line %u",
                        origin->line);
                return;
        }
        *origin = at;
        if (goes_on && !config_is_list(k)) {
                loader_error(l, at, i->section, i->key,
                        "followed by an indented line, but not a list; expected one value on one line");
                return;
        }
        struct error e = {};
        int r = config_value_set(k, scope_base(l, scope), value, &e);
        if (r == -ENOMEM)
                l->result = r;
        else if (r < 0)
                loader_error(l, at, i->section, i->key, "%s", e.text);
        l->scopes[scope].keys[k - config_keys].bad = r < 0;
}

/* Joins the pair at item n with the indented lines that go on with it. Returns the item after them. */
static size_t take_pair(struct loader *l, const struct inifile *f, size_t n, size_t scope)
{
        _cleanup_strbuf_ struct strbuf value = {};
        size_t next = n + 1;
        strbuf_add(&value, f->items[n].value);
        for (; next < f->n && f->items[next].kind == INIFILE_MORE; next++) {
                strbuf_add(&value, " ");
                strbuf_add(&value, f->items[next].value);
        }
        if (value.err < 0)
                l->result = value.err;
        else if (scope != NO_SCOPE)
                set_key(l, scope, &f->items[n], value.s, next > n + 1);
        return next;
}

/* A line that could not be read is said once; that its key is missing then is not said as well. */
static void take_error(struct loader *l, const struct inifile_item *i, size_t scope)
{
        struct origin at = {.file = l->file, .line = i->line};
        const struct config_key *k = scope == NO_SCOPE ? NULL : config_find_key(i->section, i->key);
        if (k)
                l->scopes[scope].keys[k - config_keys].bad = true;
        loader_error(l, at, streq(i->section, INIFILE_NO_SECTION) ? "" : i->section, i->key, "%s", i->value);
}

static void take_items(struct loader *l, const struct inifile *f)
{
        size_t scope = NO_SCOPE;
        const char *section = "";
        for (size_t n = 0; n < f->n && l->result != -ENOMEM;) {
                const struct inifile_item *i = &f->items[n];
                struct origin at = {.file = l->file, .line = i->line};
                if (!streq(i->section, section) && i->kind != INIFILE_SECTION)
                        scope = NO_SCOPE; /* after a section line that could not be read */
                section = i->section;
                switch (i->kind) {
                case INIFILE_SECTION:
                        scope = find_scope(l, at, i->section);
                        break;
                case INIFILE_PAIR:
                        n = take_pair(l, f, n, scope);
                        continue;
                case INIFILE_MORE: /* of a pair that was in error */
                        break;
                case INIFILE_ERROR:
                        take_error(l, i, scope);
                        break;
                }
                n++;
        }
}

/* --- files --- */

DEFINE_CLEANUP(struct digest, digest, digest_free)

static int read_one(struct loader *l, struct digest *d, const char *path)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int r = read_file_at(AT_FDCWD, path, LIMIT_CONFIG_FILE, &text, &len);
        if (r == -EFBIG)
                return error_set(
                        l->e, CAUSE_CONFIG, EFBIG, "%s: over 1 MiB; expected a configuration file", path);
        if (r < 0)
                return error_set(l->e, CAUSE_CONFIG, -r, "%s: cannot be read: %s", path,
                        r == -EOPNOTSUPP ? "it is no regular file" : strerror(-r));
        r = strv_add(&l->files, path);
        if (r < 0)
                return r;
        l->file = l->files.n - 1;
        uint64_t size = len;
        digest_update(d, path, strlen(path) + 1);
        digest_update(d, &size, sizeof(size));
        digest_update(d, text, len);
        struct inifile f = {};
        r = inifile_read(text, len, &f);
        if (r < 0)
                return r;
        take_items(l, &f);
        inifile_done(&f);
        return l->result == -ENOMEM ? -ENOMEM : 0;
}

static int is_drop_in(const struct dirent *d)
{
        return d->d_name[0] != '.' && str_ends(d->d_name, ".ini");
}

/* Bytes, not the order of a language. */
static int by_bytes(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_drop_ins(struct loader *l, struct digest *d, const char *path)
{
        _cleanup_free_ char *dir = str_printf("%s.d", path);
        if (!dir)
                return -ENOMEM;
        struct dirent **names = NULL;
        int n = scandir(dir, &names, is_drop_in, by_bytes), r = 0;
        if (n < 0)
                return errno == ENOENT || errno == ENOTDIR
                               ? 0
                               : error_set(l->e, CAUSE_CONFIG, errno, "%s: cannot be read: %s", dir,
                                         strerror(errno));
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *file = r == 0 ? str_printf("%s/%s", dir, names[i]->d_name) : NULL;
                if (r == 0)
                        r = file ? read_one(l, d, file) : -ENOMEM;
                free(names[i]);
        }
        free(names);
        return r;
}

static int read_all(struct loader *l, const char *path)
{
        _cleanup_(cleanup_digest) struct digest *d = NULL;
        uint8_t sum[DIGEST_MAX];
        int r = digest_new(DIGEST_SHA256, &d);
        if (r < 0)
                return r;
        l->config->path = strdup(path);
        if (!l->config->path)
                return -ENOMEM;
        r = add_scope(l, GENERAL, (struct origin){});
        if (r == 0)
                r = read_one(l, d, path);
        if (r == 0)
                r = read_drop_ins(l, d, path);
        if (r < 0)
                return r;
        digest_final(d, sum);
        hex_encode(sum, SHA256_SIZE, l->config->sha256);
        loader_check(l);
        return l->result;
}

static void loader_done(struct loader *l)
{
        for (size_t i = 0; i < SCOPES; i++)
                free(l->scopes[i].keys);
        strv_done(&l->files);
        config_free(l->config);
}

int config_load(const char *path, struct config **ret, struct error *e, struct strv *more)
{
        struct error local;
        _cleanup_(loader_done) struct loader l = {
                .config = calloc(1, sizeof(*l.config)), .e = e ? e : &local, .more = more};
        int r = l.config ? read_all(&l, path) : -ENOMEM;
        if (r == -ENOMEM)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "%s: out of memory", path);
        if (r < 0)
                return r;
        *ret = take_ptr(&l.config);
        return 0;
}

struct config *config_free(struct config *c)
{
        if (!c)
                return NULL;
        for (size_t i = 0; i < config_n_keys; i++) {
                const struct config_key *k = &config_keys[i];
                if (!config_is_named(k->section))
                        config_value_free(k, c);
                for (size_t j = 0; streq(k->section, CONFIG_PACKAGE_SECTION) && j < c->n_packages; j++)
                        config_value_free(k, &c->packages[j]);
                for (size_t j = 0; streq(k->section, CONFIG_DELIVER_SECTION) && j < c->n_deliveries; j++)
                        config_value_free(k, &c->deliveries[j]);
        }
        for (size_t j = 0; j < c->n_packages; j++) {
                free(c->packages[j].name);
                free(c->packages[j].groups.by_course); /* no key of its own has it */
        }
        for (size_t j = 0; j < c->n_deliveries; j++)
                free(c->deliveries[j].name);
        free(c->packages);
        free(c->deliveries);
        free(c->path);
        strv_done(&c->warnings);
        free(c);
        return NULL;
}
