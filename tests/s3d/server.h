/* SPDX-License-Identifier: Apache-2.0 */
/* Between libmicrohttpd and request.h. */
#pragma once

#include <microhttpd.h>

struct server;

/* Listens on 127.0.0.1:port (0: any) and serves; cert and key (PEM texts) make it TLS. NULL on failure. */
struct MHD_Daemon *server_start(
        struct server *s, unsigned port, const char *cert, const char *key, const char *tls_priorities);
