/* SPDX-License-Identifier: Apache-2.0 */
#include "sums.h"

#include <errno.h>

/* GNU: a name with a backslash or line break is escaped, and the line begins with a backslash. Line breaks
 * cannot occur, staging_check_path() refuses them. */
void sums_add(struct strbuf *b, const char *name, const uint8_t sha256[SHA256_SIZE])
{
        char hex[SHA256_HEX];
        hex_encode(sha256, SHA256_SIZE, hex);
        if (!strchr(name, '\\')) {
                strbuf_printf(b, "%s  %s\n", hex, name);
                return;
        }
        strbuf_printf(b, "\\%s  ", hex);
        for (const char *p = name; *p; p++)
                strbuf_add_n(b, *p == '\\' ? "\\\\" : p, *p == '\\' ? 2 : 1);
        strbuf_add(b, "\n");
}

struct sums {
        struct digest *digest;
        bool is_unknown;
};

static int on_member(struct ledger_member *m, void *arg)
{
        struct sums *sums = arg;
        _cleanup_strbuf_ struct strbuf line = {};
        if (m->state != OBJECT_PUBLISHED)
                return 0;
        sums->is_unknown |= !m->has_sha256;
        sums_add(&line, m->path, m->sha256);
        if (line.err)
                return -ENOMEM;
        digest_update(sums->digest, line.s, line.len);
        return 0;
}

int sums_of_snapshot(struct ledger *l, int64_t object_id, uint8_t ret[SHA256_SIZE], struct error *e)
{
        struct sums sums = {};
        int r = digest_new(DIGEST_SHA256, &sums.digest);
        if (r < 0)
                return error_set(e, CAUSE_IO, -r, "out of memory");
        r = ledger_members(l, object_id, on_member, &sums, e);
        if (r == 0)
                digest_final(sums.digest, ret);
        digest_free(sums.digest);
        return r < 0 ? r : !sums.is_unknown;
}
