/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring (one entry for each credentials file) and a list of grants: below this prefix of this bucket,
 * this package, with this key. Where prefixes of two packages overlap, the longer one decides. The credential
 * czard.s3 stands in for the general [s3] credentials; a package that names its own keeps it. Nothing is ever
 * taken from AWS_* variables. */
#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"

#define CREDENTIAL_NAME "czard.s3"

struct key {
        char *path; /* NULL: the credential */
        struct credentials credentials;
        struct error why; /* cause NONE: usable */
};

struct grant {
        const struct config_package *package;
        const struct key *key;
        struct package_prefix *prefixes;
        size_t n;
};

struct access {
        const struct config *config;
        struct key *keys;
        size_t n_keys;
        struct grant *grants; /* one for each package */
        struct strbuf source;
};

int access_open_directory(void)
{
        const char *path = getenv("CREDENTIALS_DIRECTORY");
        if (str_empty(path))
                return -ENOENT;
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* A path inside $CREDENTIALS_DIRECTORY has the modes that systemd gives it. */
static bool is_in_directory(const char *path)
{
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        const char *rest = str_empty(dir) ? NULL : str_after(path, dir);
        return rest && *rest == '/' && !strstr(rest, "..");
}

/* The credential czard.s3, when there is one: 0, -ENOENT. A bad one is one, too. */
static int load_credential(struct key *key)
{
        _cleanup_close_ int dir = access_open_directory();
        if (dir < 0 || faccessat(dir, CREDENTIAL_NAME, F_OK, 0) < 0)
                return -ENOENT;
        credentials_load(dir, CREDENTIAL_NAME, true, &key->credentials, &key->why);
        return 0;
}

/* The key for the package's file; files are loaded once. */
static const struct key *key_for(struct access *a, const char *path)
{
        const struct config_s3 *s3 = &a->config->s3;
        bool general = !path || (s3->credentials && streq(path, s3->credentials));
        for (size_t i = 0; i < a->n_keys; i++)
                if (a->keys[i].path ? path && streq(a->keys[i].path, path) : general)
                        return &a->keys[i];
        struct key *k = &a->keys[a->n_keys++];
        if (general && load_credential(k) == 0) {
                strbuf_printf(&a->source, "%scredentials from the credential " CREDENTIAL_NAME "%s",
                        a->source.len ? "; " : "", path ? " (it wins over [s3] credentials)" : "");
        } else if (path) {
                k->path = strdup(path);
                credentials_load(AT_FDCWD, path, is_in_directory(path), &k->credentials, &k->why);
                strbuf_printf(&a->source, "%scredentials from %s", a->source.len ? "; " : "", path);
        } else {
                error_set(&k->why, CAUSE_NO_CREDENTIALS, ENOENT,
                        "no credentials: set [s3] credentials, or give the credential " CREDENTIAL_NAME);
        }
        if (k->why.cause != CAUSE_NONE)
                strbuf_printf(&a->source, "%s%s%s", a->source.len ? " (" : "", k->why.text,
                        a->source.len ? ")" : "");
        return k;
}

int access_new(const struct config *config, struct access **ret, struct error *e)
{
        struct access *a = calloc(1, sizeof(*a));
        if (!a)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        a->config = config;
        a->keys = calloc(config->n_packages + 1, sizeof(a->keys[0]));
        a->grants = calloc(config->n_packages + 1, sizeof(a->grants[0]));
        strbuf_add(&a->source, "");
        int r = a->keys && a->grants ? 0 : -ENOMEM;
        for (size_t i = 0; i < config->n_packages && r == 0; i++) {
                const struct config_package *p = &config->packages[i];
                a->grants[i].package = p;
                a->grants[i].key = key_for(a, p->credentials);
                r = package_prefixes(&p->spec, &a->grants[i].prefixes, &a->grants[i].n);
        }
        if (r == 0)
                r = a->source.err;
        if (r < 0) {
                access_free(a);
                return error_set(e, CAUSE_INTERNAL, -r, "reading the packages: %s", strerror(-r));
        }
        *ret = a;
        return 0;
}

struct access *access_free(struct access *a)
{
        if (!a)
                return NULL;
        for (size_t i = 0; a->grants && i < a->config->n_packages; i++)
                package_prefixes_free(a->grants[i].prefixes, a->grants[i].n);
        for (size_t i = 0; i < a->n_keys; i++) {
                credentials_done(&a->keys[i].credentials);
                free(a->keys[i].path);
        }
        free(a->keys);
        free(a->grants);
        strbuf_done(&a->source);
        free(a);
        return NULL;
}

const char *access_source(const struct access *a)
{
        return a->source.s;
}

/* How many bytes of name are the longest prefix of that grant that it is below; -1: it is not. */
static ssize_t match(const struct grant *g, const char *bucket, const char *name)
{
        ssize_t best = -1;
        for (size_t i = 0; i < g->n; i++) {
                const struct package_prefix *p = &g->prefixes[i];
                if (streq(p->bucket, bucket) && str_after(name, p->prefix))
                        best = MAX(best, (ssize_t)strlen(p->prefix));
        }
        return best;
}

static int find(const struct access *a, const char *bucket, const char *name, bool is_key,
        const struct credentials **ret, struct error *e)
{
        const struct key *key = NULL;
        ssize_t best = -1;
        for (size_t i = 0; i < a->config->n_packages; i++) {
                const struct grant *g = &a->grants[i];
                ssize_t n = match(g, bucket, name);
                if (n <= best || (is_key && !package_may_read(&g->package->spec, bucket, name)))
                        continue;
                best = n;
                key = g->key;
        }
        if (!key)
                return error_set(
                        e, CAUSE_DENIED, EACCES, "czard-fetch: not below a prefix of the configuration");
        if (key->why.cause != CAUSE_NONE)
                return error_set(e, CAUSE_NO_CREDENTIALS, EACCES, "%s", key->why.text);
        *ret = &key->credentials;
        return 0;
}

int access_list(const struct access *a, const char *bucket, const char *prefix,
        const struct credentials **ret, struct error *e)
{
        return find(a, bucket, prefix, false, ret, e);
}

int access_get(const struct access *a, const char *bucket, const char *key, const struct credentials **ret,
        struct error *e)
{
        return find(a, bucket, key, true, ret, e);
}

/* --- from endpoint, addressing and region to host and path ---
 *
 * The host is made of nothing but the configuration,
 * the bucket it names and a region that httpval_is_region() let pass: no answer of a server can lead
 * elsewhere. */

#define PORT_HTTP 80
#define PORT_HTTPS 443
#define PORT_PROXY 1080 /* libcurl's for a proxy by http without a port */

bool s3_host_is_tls(const struct config_s3 *config)
{
        return !config->endpoint || !str_after(config->endpoint, "http://");
}

int s3_host_find(const struct config_s3 *config, const char *region, const char *bucket, const char *key,
        struct s3_host *ret)
{
        *ret = (struct s3_host){.scheme = s3_host_is_tls(config) ? "https" : "http"};
        /* With a dot in the bucket the wildcard of the certificate would not fit. */
        bool in_host = config->addressing == ADDRESSING_VIRTUAL && !strchr(bucket, '.');
        if (in_host)
                strbuf_printf(&ret->host, "%s.", bucket);
        if (config->endpoint) {
                const char *rest = strstr(config->endpoint, "://");
                strbuf_add(&ret->host, rest ? rest + 3 : config->endpoint);
        } else {
                strbuf_printf(
                        &ret->host, "s3.%s.amazonaws.com%s", region, str_after(region, "cn-") ? ".cn" : "");
        }
        if (!in_host)
                strbuf_printf(&ret->path, "/%s", bucket);
        strbuf_printf(&ret->path, "/%s", key ? key : "");
        return ret->host.err ? ret->host.err : ret->path.err;
}

/* The port of [scheme://][user:password@]host[:port][/...], in brackets for IPv6. */
static uint16_t port_of(const char *url, uint16_t http_default)
{
        const char *after = strstr(url, "://");
        uint16_t otherwise = str_after(url, "https://") ? PORT_HTTPS : http_default;
        const char *host = after ? after + 3 : url, *end = host + strcspn(host, "/?#");
        const char *at = memrchr(host, '@', (size_t)(end - host));
        host = at ? at + 1 : host;
        const char *name_end = *host == '[' ? memchr(host, ']', (size_t)(end - host)) : host;
        const char *colon = name_end ? memchr(name_end, ':', (size_t)(end - name_end)) : NULL;
        int port = colon ? atoi(colon + 1) : 0;
        return port > 0 && port <= UINT16_MAX ? (uint16_t)port : otherwise;
}

uint16_t s3_host_port(const struct config_s3 *config, const char *proxy)
{
        if (!str_empty(proxy))
                return port_of(proxy, PORT_PROXY);
        return config->endpoint ? port_of(config->endpoint, PORT_HTTP) : PORT_HTTPS;
}

void s3_host_done(struct s3_host *p)
{
        strbuf_done(&p->host);
        strbuf_done(&p->path);
}
