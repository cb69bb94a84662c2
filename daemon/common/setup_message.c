/* SPDX-License-Identifier: Apache-2.0 */
#include "setup_message.h"

int setup_message(const struct proto_setup *setup, const struct secret *passphrase, struct message *ret)
{
        *ret = (struct message){.type = PROTO_SETUP, .setup = *setup};
        if (!passphrase->p)
                return 0;
        int fd = secret_to_fd(passphrase);
        if (fd < 0)
                return fd;
        ret->fds[0] = fd;
        ret->n_fds = 1;
        return 0;
}
