/* SPDX-License-Identifier: Apache-2.0 */
#include "key_command.h"

#include <stdio.h>
#include <string.h>

#include "str.h"

/* The package whose home that is, when it is not the general one. */
static const char *package_of(const struct config *c, const char *homedir)
{
        if (!homedir || (c->openpgp.homedir && streq(homedir, c->openpgp.homedir)))
                return NULL;
        for (size_t i = 0; i < c->n_packages; i++)
                if (c->packages[i].homedir && streq(c->packages[i].homedir, homedir))
                        return c->packages[i].name;
        return NULL;
}

const char *key_command(const struct config *c, const char *homedir, const char *verb, const char *key,
        char ret[KEY_COMMAND_SIZE])
{
        const char *package = package_of(c, homedir);
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_printf(&b, "czarctl %s", verb);
        if (key)
                strbuf_printf(&b, " %s", key);
        if (package) {
                strbuf_add(&b, " --package ");
                strbuf_add_word(&b, package);
        }
        snprintf(ret, KEY_COMMAND_SIZE, "%s", b.err ? "czarctl key" : b.s);
        return ret;
}

const char *key_advice(
        const struct config *c, const char *homedir, enum cause cause, char ret[KEY_COMMAND_SIZE])
{
        char command[KEY_COMMAND_SIZE];
        if (cause != CAUSE_NO_KEY)
                return cause == CAUSE_MAX ? "" : cause_advice(cause);
        snprintf(ret, KEY_COMMAND_SIZE, "import the key the message is for: %.400s",
                key_command(c, homedir, "import-key FILE", NULL, command));
        return ret;
}

const char *key_advice_of(
        const struct config *c, const char *org, enum cause cause, char ret[KEY_COMMAND_SIZE])
{
        const struct config_package *p = config_find_package(c, org);
        return key_advice(c, p ? p->homedir : NULL, cause, ret);
}
