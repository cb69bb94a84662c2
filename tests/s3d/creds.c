/* SPDX-License-Identifier: Apache-2.0 */
/* The credentials file. It is read again for each request, so that a test can rotate keys by replacing it. */
#include "creds.h"

#define CREDENTIALS_FILE_MAX (64 * KIB)

static int set_policy(struct credential *c, const char *s)
{
        free(take_ptr(&c->org));
        if (text_eq(s, "open")) {
                c->policy = POLICY_OPEN;
                return 0;
        }
        if (strncmp(s, "czar:", 5) != 0 || !s[5])
                return -EINVAL;
        c->policy = POLICY_CZAR;
        c->org = text_dup(s + 5);
        return 0;
}

static void credential_done(struct credential *c)
{
        free(c->access);
        free(c->secret);
        free(c->token);
        free(c->org);
        *c = (struct credential){};
}

static int parse_line(char *line, const char *default_policy, struct credential *ret)
{
        struct credential c = {};
        const char *policy = default_policy;
        char *word;
        while ((word = strsep(&line, " \t\r"))) {
                if (!*word)
                        continue;
                if (strncmp(word, "policy=", 7) == 0)
                        policy = word + 7;
                else if (!c.access)
                        c.access = text_dup(word);
                else if (!c.secret)
                        c.secret = text_dup(word);
                else if (!c.token)
                        c.token = text_dup(word);
                else
                        policy = "one word too many";
        }
        if (!c.secret || set_policy(&c, policy) < 0) {
                credential_done(&c);
                return -EINVAL;
        }
        *ret = c;
        return 0;
}

int credentials_read(const char *path, const char *default_policy, struct credentials *ret)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_credentials_ struct credentials all = {};
        int r = read_whole(path, CREDENTIALS_FILE_MAX, &text, NULL);
        if (r < 0) {
                fprintf(stderr, "s3d: %s: %s\n", path, strerror(-r));
                return r;
        }
        char *rest = text, *line;
        for (unsigned n = 1; (line = strsep(&rest, "\n")); n++) {
                if (!line[strspn(line, " \t\r")] || *line == '#')
                        continue;
                struct credential c;
                r = parse_line(line, default_policy, &c);
                if (r < 0) {
                        fprintf(stderr, "s3d: %s:%u: expected ACCESS SECRET [TOKEN] [policy=open|czar:ORG]\n",
                                path, n);
                        return r;
                }
                all.v = reallocarray(all.v, all.n + 1, sizeof(*all.v));
                if (!all.v)
                        abort();
                all.v[all.n++] = c;
        }
        *ret = all;
        all = (struct credentials){};
        return 0;
}

const struct credential *credentials_find(const struct credentials *c, const char *access)
{
        for (size_t i = 0; i < c->n; i++)
                if (text_eq(c->v[i].access, access))
                        return &c->v[i];
        return NULL;
}

void credentials_done(struct credentials *c)
{
        for (size_t i = 0; i < c->n; i++)
                credential_done(&c->v[i]);
        free(c->v);
        *c = (struct credentials){};
}
