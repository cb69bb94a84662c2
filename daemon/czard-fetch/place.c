/* SPDX-License-Identifier: Apache-2.0 */
/* From endpoint, addressing and region to host and path. The host is made of nothing but the configuration,
 * the bucket it names and a region that httpval_is_region() let pass: no answer of a server can lead
 * elsewhere. */
#include "place.h"

bool place_is_tls(const struct config_s3 *config)
{
        return !config->endpoint || !str_after(config->endpoint, "http://");
}

int place_find(const struct config_s3 *config, const char *region, const char *bucket, const char *key,
        struct place *ret)
{
        *ret = (struct place){.scheme = place_is_tls(config) ? "https" : "http"};
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

void place_done(struct place *p)
{
        strbuf_done(&p->host);
        strbuf_done(&p->path);
}
