/* SPDX-License-Identifier: Apache-2.0 */
/* gpg's colon listing, line by line as keyring_read() takes it: user ids and whatever else a key of somebody
 * else brings. Each key that comes out has its parts, and the same lines give the same keys.
 *
 * The functions that take a line are keyring.c's own: it is compiled as a part of this file. */
#include <assert.h>

#include "keyring.c"

/* Of ctl.c; nothing here is denied. */
const char *ctl_denied(const struct ctl *c, const char *path, char ret[CTL_DENIED_SIZE])
{
        (void)c;
        (void)path;
        *ret = 0;
        return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define GRIP "0123456789ABCDEF0123456789ABCDEF01234567"

static void read_lines(const uint8_t *data, size_t size, struct keyring *ret)
{
        struct strv grips = {};
        assert(strv_add(&grips, GRIP) == 0);
        struct listing l = {.home = "/nonexistent", .ring = ret, .unconverted = &grips};
        while (size > 0) {
                const uint8_t *end = memchr(data, '\n', size);
                size_t n = end ? (size_t)(end - data) + 1 : size;
                char *line = malloc(n + 1); /* as getline() has it, so that a step beyond its end is seen */
                assert(line);
                memcpy(line, data, n);
                line[n] = 0;
                take_line(&l, line);
                free(line);
                data += n;
                size -= n;
        }
        flush(&l);
        assert(l.result == 0);
        strv_done(&grips);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct keyring a = {}, b = {};
        read_lines(data, size, &a);
        read_lines(data, size, &b);
        assert(a.n == b.n);
        for (size_t i = 0; i < a.n; i++) {
                const struct keyring_key *k = &a.keys[i];
                bool secret = false;
                assert(memchr(k->fact.user_id, 0, sizeof(k->fact.user_id)));
                assert(memchr(k->fact.fingerprint, 0, sizeof(k->fact.fingerprint)));
                assert(streq(k->fact.user_id, b.keys[i].fact.user_id) &&
                        k->fact.expires == b.keys[i].fact.expires);
                assert(k->n_subkeys > 0 && k->n_subkeys == b.keys[i].n_subkeys);
                for (size_t s = 0; s < k->n_subkeys; s++) {
                        assert(memchr(k->subkeys[s].fingerprint, 0, sizeof(k->subkeys[s].fingerprint)));
                        secret |= k->subkeys[s].secret == SECRET_FILE;
                }
                assert(secret);
                (void)keyring_can_decrypt(k);
                assert(keyring_find(&a, k->fact.fingerprint));
        }
        keyring_done(&a);
        keyring_done(&b);
        return 0;
}
