/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox of czard-fetch. A rule on a file holds for the file, not for its name: when /etc/resolv.conf is
 * replaced the name cannot be resolved any more; czard renews czard-fetch after a name that did not resolve,
 * which mends that. */
#include "lockdown.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "sandbox.h"
#include "str.h"

#define PORT_DNS 53
#define PORT_HTTP 80
#define PORT_HTTPS 443
#define PORT_PROXY 1080 /* libcurl's default for a proxy without a port */

static const char *const readable[] = {
        "/etc/ssl",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
        "/etc/resolv.conf",
        "/run/systemd/resolve",
        "/run/resolvconf",
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/host.conf",
        "/etc/gai.conf",
        "/etc/services",
        "/etc/localtime",
        "/usr/share/zoneinfo",
        "/etc/ld.so.cache", /* for the resolver's modules */
        "/usr/lib",
        "/lib",
        "/lib64",
        "/dev/urandom",
};

/* The port of scheme://[user@]host[:port][/...], in brackets for IPv6. */
static uint16_t port_of(const char *url, uint16_t otherwise)
{
        const char *host = strstr(url, "://"), *at;
        host = host ? host + 3 : url;
        size_t n = strcspn(host, "/");
        for (at = host + n; at > host && at[-1] != ':' && at[-1] != ']'; at--)
                ;
        if (at > host && at[-1] == ':') {
                int port = atoi(at);
                return port > 0 && port <= UINT16_MAX ? (uint16_t)port : otherwise;
        }
        return otherwise;
}

int lock_down(const struct config *config, const char *proxy, char *missing, size_t size, struct error *e)
{
        static const int families[] = {AF_UNIX, AF_INET, AF_INET6, -1};
        struct sandbox_path paths[ELEMENTSOF(readable) + 1];
        uint16_t ports[2] = {PORT_DNS};
        size_t n = 0;
        for (size_t i = 0; i < ELEMENTSOF(readable); i++)
                paths[n++] = (struct sandbox_path){readable[i], SANDBOX_READ};
        if (config->s3.ca_file)
                paths[n++] = (struct sandbox_path){config->s3.ca_file, SANDBOX_READ};
        const char *endpoint = config->s3.endpoint ? config->s3.endpoint : "https://aws";
        if (!str_empty(proxy))
                ports[1] = port_of(proxy, PORT_PROXY);
        else
                ports[1] = port_of(endpoint, str_after(endpoint, "http://") ? PORT_HTTP : PORT_HTTPS);
        const struct sandbox s = {.paths = paths,
                .n_paths = n,
                .tcp_ports = ports,
                .n_tcp_ports = ELEMENTSOF(ports),
                .families = families};
        return sandbox_enter(&s, missing, size, e);
}
