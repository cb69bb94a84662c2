/* SPDX-License-Identifier: Apache-2.0 */
/* From endpoint, addressing and region to host and path. The host is made of nothing but the configuration,
 * the bucket it names and a region that httpval_is_region() let pass: no answer of a server can lead
 * elsewhere. */
#include "s3_host.h"

#include <stdlib.h>
#include <string.h>

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
