/* SPDX-License-Identifier: Apache-2.0 */
#include "terms.h"

#include "str.h"

const char *checks_format(uint32_t checks, char *ret, size_t size)
{
        static const struct {
                uint32_t bit;
                const char *name;
        } done[] =
                {
                        {CHECK_TLS, "tls"},
                        {CHECK_SIZE, "size"},
                        {CHECK_ETAG, "etag"},
                        {CHECK_CHECKSUM, "checksum"},
                        {CHECK_ONE_ETAG, "one-etag"},
                        {CHECK_ZIP, "zip"},
                        {CHECK_INTEGRITY, "integrity"},
                        {CHECK_GZIP, "gzip"},
                        {CHECK_SIGNATURE, "signature"},
                },
          not_done[] = {
                  {CHECK_NO_ETAG, "etag"},
                  {CHECK_NO_CHECKSUM, "checksum"},
                  {CHECK_NO_SIGNATURE, "signature"},
          };
        _cleanup_strbuf_ struct strbuf b = {};
        for (size_t i = 0; i < ELEMENTSOF(done); i++)
                if (checks & done[i].bit)
                        strbuf_printf(&b, "%s%s", b.len ? " " : "", done[i].name);
        bool open = false;
        for (size_t i = 0; i < ELEMENTSOF(not_done); i++)
                if (checks & not_done[i].bit) {
                        strbuf_printf(&b, "%s%s",
                                open    ? " "
                                : b.len ? " (not: "
                                        : "(not: ",
                                not_done[i].name);
                        open = true;
                }
        if (open)
                strbuf_add(&b, ")");
        snprintf(ret, size, "%s", b.s ? b.s : "");
        return ret;
}

static const char *const rule_names[EVENT_RULE_MAX] = {"none", "edx", "edx+url"};

const char *event_rule_name(enum event_rule rule)
{
        return rule_names[rule];
}

enum event_rule event_rule_from_name(const char *name)
{
        for (unsigned i = 0; i < EVENT_RULE_MAX; i++)
                if (streq(name, rule_names[i]))
                        return (enum event_rule)i;
        return EVENT_RULE_MAX;
}
