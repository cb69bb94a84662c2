/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox of czard-fetch. A rule on a file holds for the file, not for its name: when /etc/resolv.conf is
 * replaced the name cannot be resolved any more; czard renews czard-fetch after a name that did not resolve,
 * which mends that. */
#include "lockdown.h"

#include <sys/socket.h>

#include "s3_host.h"
#include "sandbox.h"

#define PORT_DNS 53

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

int lock_down(const struct config *config, const char *proxy, char *missing, size_t size, struct error *e)
{
        static const int families[] = {AF_UNIX, AF_INET, AF_INET6, -1};
        struct sandbox_path paths[ELEMENTSOF(readable) + 1];
        const uint16_t ports[] = {PORT_DNS, s3_host_port(&config->s3, proxy)};
        size_t n = 0;
        for (size_t i = 0; i < ELEMENTSOF(readable); i++)
                paths[n++] = (struct sandbox_path){readable[i], SANDBOX_READ};
        if (config->s3.ca_file)
                paths[n++] = (struct sandbox_path){config->s3.ca_file, SANDBOX_READ};
        const struct sandbox s = {.paths = paths,
                .n_paths = n,
                .tcp_ports = ports,
                .n_tcp_ports = ELEMENTSOF(ports),
                .families = families};
        return sandbox_enter(&s, missing, size, e);
}
