/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages: strings, each ended by NUL, the first one the version. */
#include "control_msg.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "name.h"

int control_encode(const struct strv *strings, char **ret, size_t *ret_n)
{
        _cleanup_strbuf_ struct strbuf b = {};
        if (strings->n == 0 || strings->n > CONTROL_STRINGS_MAX)
                return -EMSGSIZE;
        strbuf_add_n(&b, CONTROL_VERSION, sizeof(CONTROL_VERSION));
        for (size_t i = 0; i < strings->n; i++)
                strbuf_add_n(&b, strings->v[i], strlen(strings->v[i]) + 1);
        if (b.err)
                return -ENOMEM;
        if (b.len > CONTROL_MESSAGE_MAX)
                return -EMSGSIZE;
        *ret_n = b.len;
        *ret = take_ptr(&b.s);
        return 0;
}

int control_decode(const char *p, size_t n, struct strv *ret, struct error *e)
{
        if (n > CONTROL_MESSAGE_MAX || n <= sizeof(CONTROL_VERSION) || p[n - 1] != 0)
                return error_set(e, CAUSE_HELPER, EPROTO, "control message of %zu bytes", n);
        if (!streq(p, CONTROL_VERSION))
                return error_set(e, CAUSE_HELPER, EPROTO,
                        "control message of another version: programs of different czard versions");
        _cleanup_(strv_done) struct strv strings = {};
        for (const char *s = p + sizeof(CONTROL_VERSION); s < p + n; s += strlen(s) + 1) {
                if (strings.n >= CONTROL_STRINGS_MAX || !name_is_printable(s))
                        return error_set(e, CAUSE_HELPER, EPROTO, "malformed control message");
                if (strv_add(&strings, s) < 0)
                        return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        }
        *ret = strings;
        strings = (struct strv){};
        return 0;
}

int control_send(int sock, const struct strv *strings)
{
        _cleanup_free_ char *p = NULL;
        size_t n = 0;
        int r = control_encode(strings, &p, &n);
        if (r < 0)
                return r;
        ssize_t k;
        do
                k = send(sock, p, n, MSG_NOSIGNAL);
        while (k < 0 && errno == EINTR);
        return k < 0 ? -errno : 0;
}

int control_recv(int sock, struct strv *ret, struct error *e)
{
        _cleanup_free_ char *p = malloc(CONTROL_MESSAGE_MAX + 1);
        if (!p)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        ssize_t n;
        do
                n = recv(sock, p, CONTROL_MESSAGE_MAX + 1, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == ECONNRESET ? -EPIPE : -errno;
        if (n == 0)
                return -EPIPE;
        return control_decode(p, (size_t)n, ret, e);
}

const char *control_value(const struct strv *strings, const char *name)
{
        for (size_t i = 1; i < strings->n && !streq(strings->v[i], "--"); i++) {
                const char *rest = str_after(strings->v[i], name);
                if (rest && *rest == '=')
                        return rest + 1;
        }
        return NULL;
}

size_t control_arguments(const struct strv *strings)
{
        for (size_t i = 1; i < strings->n; i++)
                if (streq(strings->v[i], "--"))
                        return i + 1;
        return strings->n;
}
