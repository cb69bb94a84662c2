/* SPDX-License-Identifier: Apache-2.0 */
/* A line protocol: we send a command, the agent answers with status lines (S), comments (#), inquiries
 * (INQUIRE, answered by D lines and END) and at last OK or ERR. GPGME's own Assuan engine cannot answer
 * inquiries with data (its assuan.c: "Returning data is not yet implemented"). */
#include "assuan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "fsx.h"
#include "str.h"

enum {
        LINE_MAX_BYTES = 1000, /* ASSUAN_LINELENGTH */
        TIMEOUT_SEC = 60,      /* an S2K count of years ago takes under a second */
        LINES_MAX = 1000,      /* of one answer */
};

static int failed(struct error *e, int err)
{
        return error_set(e, CAUSE_HELPER, err, "gpg-agent: %s", strerror(err));
}

static int read_line(struct assuan *a, char *ret, size_t size, struct error *e)
{
        size_t n = 0;
        for (;;) {
                if (a->pos == a->len) {
                        ssize_t k = recv(a->fd, a->buf, sizeof(a->buf), 0);
                        if (k < 0 && errno == EINTR)
                                continue;
                        if (k <= 0)
                                return failed(e, k == 0 ? EPIPE : errno == EAGAIN ? ETIMEDOUT : errno);
                        a->pos = 0;
                        a->len = (size_t)k;
                }
                char c = a->buf[a->pos++];
                if (c == '\n')
                        break;
                if (n + 1 >= size)
                        return failed(e, EMSGSIZE);
                ret[n++] = c;
        }
        ret[n] = 0;
        return 0;
}

static int answer_inquiry(struct assuan *a, const struct secret *answer, struct error *e)
{
        _cleanup_secret_ struct secret line = {};
        int r = answer ? secret_alloc(answer->len * 3 + 16, &line) : 0;
        if (r < 0)
                return failed(e, -r);
        if (!answer) {
                r = write_all(a->fd, "CAN\n", 4);
                return r < 0 ? failed(e, -r) : 0;
        }
        char *p = line.p;
        *p++ = 'D';
        *p++ = ' ';
        for (size_t i = 0; i < answer->len; i++) {
                static const char hex[] = "0123456789ABCDEF";
                unsigned char c = (unsigned char)answer->p[i];
                if (c == 0 || c == '%' || c == '\r' || c == '\n') {
                        *p++ = '%';
                        *p++ = hex[c >> 4];
                        c = (unsigned char)hex[c & 15];
                }
                *p++ = (char)c;
        }
        if (p - line.p > LINE_MAX_BYTES)
                return error_set(e, CAUSE_PASSPHRASE, E2BIG, "the passphrase is longer than GnuPG takes");
        memcpy(p, "\nEND\n", 5);
        r = write_all(a->fd, line.p, (size_t)(p - line.p) + 5);
        return r < 0 ? failed(e, -r) : 0;
}

static int on_error(const char *line, unsigned *ret_code, struct error *e)
{
        char shown[200];
        char *end;
        unsigned code = (unsigned)strtoul(line, &end, 10) & 0xffff;
        if (ret_code)
                *ret_code = code;
        return error_set(e, CAUSE_HELPER, EREMOTEIO, "gpg-agent:%s", str_visible(end, shown, sizeof(shown)));
}

static int read_answer(struct assuan *a, const struct secret *answer, char *status, size_t status_size,
        unsigned *ret_code, struct error *e)
{
        for (unsigned i = 0; i < LINES_MAX; i++) {
                char line[LINE_MAX_BYTES + 2];
                const char *rest;
                int r = read_line(a, line, sizeof(line), e);
                if (r < 0)
                        return r;
                if (streq(line, "OK") || str_after(line, "OK "))
                        return 0;
                if ((rest = str_after(line, "ERR ")))
                        return on_error(rest, ret_code, e);
                if ((rest = str_after(line, "S ")) && status)
                        snprintf(status, status_size, "%s", rest);
                if (str_after(line, "INQUIRE ") && (r = answer_inquiry(a, answer, e)) < 0)
                        return r;
        }
        return failed(e, EPROTO);
}

int assuan_command(struct assuan *a, const char *command, const struct secret *answer, char *status,
        size_t status_size, unsigned *ret_code, struct error *e)
{
        char line[LINE_MAX_BYTES + 2];
        int n = snprintf(line, sizeof(line), "%s\n", command);
        int r = n < 0 || n > LINE_MAX_BYTES ? -EMSGSIZE : write_all(a->fd, line, (size_t)n);
        explicit_bzero(line, sizeof(line)); /* it may hold a passphrase */
        if (r < 0)
                return failed(e, -r);
        return read_answer(a, answer, status, status_size, ret_code, e);
}

int assuan_open(struct assuan *a, const char *path, struct error *e)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        const struct timeval timeout = {.tv_sec = TIMEOUT_SEC};
        *a = (struct assuan){.fd = -1};
        if (strlen(path) >= sizeof(sun.sun_path))
                return failed(e, ENAMETOOLONG);
        strcpy(sun.sun_path, path);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
                connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
                return failed(e, errno);
        a->fd = take_fd(&fd);
        return read_answer(a, NULL, NULL, 0, NULL, e);
}

void assuan_close(struct assuan *a)
{
        a->fd = close_fd(a->fd);
}
