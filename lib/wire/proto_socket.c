/* SPDX-License-Identifier: Apache-2.0 */
/* Messages over a socket of datagrams: what is sent and received is one message with its descriptors. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "macro.h"
#include "proto.h"

int proto_pair(int ret[2])
{
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        for (int i = 0; i < 2; i++) {
                int size = 4 * PROTO_MESSAGE_MAX;
                if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0) {
                        int err = errno;
                        close_fd(pair[0]);
                        close_fd(pair[1]);
                        return -err;
                }
        }
        ret[0] = pair[0];
        ret[1] = pair[1];
        return 0;
}

union control {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * PROTO_FDS_MAX)];
};

int proto_send(int sock, const struct message *m)
{
        _cleanup_free_ void *p = NULL;
        size_t n = 0;
        int r = proto_encode(m, &p, &n);
        if (r < 0)
                return r;
        if (m->n_fds > PROTO_FDS_MAX)
                return -EMSGSIZE;

        union control control = {};
        struct iovec iov = {.iov_base = p, .iov_len = n};
        struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
        if (m->n_fds > 0) {
                h.msg_control = &control;
                h.msg_controllen = CMSG_SPACE(sizeof(int) * m->n_fds);
                struct cmsghdr *c = CMSG_FIRSTHDR(&h);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * m->n_fds);
                memcpy(CMSG_DATA(c), m->fds, sizeof(int) * m->n_fds);
        }
        for (;;) {
                if (sendmsg(sock, &h, MSG_NOSIGNAL) >= 0)
                        return 0;
                if (errno == EINTR)
                        continue;
                return errno == ECONNRESET ? -EPIPE : -errno;
        }
}

/* Takes every descriptor out of the control data, so that none leaks even from a message that is refused. */
static void take_fds(struct msghdr *h, struct message *m)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (m->n_fds < PROTO_FDS_MAX)
                                m->fds[m->n_fds++] = fd;
                        else
                                close_fd(fd);
                }
        }
}

int proto_recv(int sock, struct message *ret, struct error *e)
{
        _cleanup_free_ void *p = malloc(PROTO_MESSAGE_MAX);
        if (!p)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory for a message");
        union control control;
        struct iovec iov = {.iov_base = p, .iov_len = PROTO_MESSAGE_MAX};
        struct msghdr h = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        ssize_t n;
        do
                n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EAGAIN       ? -EAGAIN
                       : errno == ECONNRESET ? -EPIPE
                                             : error_set(e, CAUSE_HELPER, errno, "receiving a message: %s",
                                                       strerror(errno));
        _cleanup_message_ struct message received = {};
        take_fds(&h, &received);
        if (n == 0)
                return -EPIPE;
        if (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
                return error_set(e, CAUSE_HELPER, EPROTO, "message too large or with too many descriptors");

        struct message m = {};
        int r = proto_decode(p, (size_t)n, &m, e);
        if (r < 0)
                return r;
        if (!proto_takes_fds(&m, received.n_fds)) {
                message_done(&m);
                return error_set(e, CAUSE_HELPER, EPROTO, "message of type %u with %zu descriptors", m.type,
                        received.n_fds);
        }
        memcpy(m.fds, received.fds, sizeof(m.fds));
        m.n_fds = received.n_fds;
        received.n_fds = 0;
        *ret = m;
        return 0;
}
