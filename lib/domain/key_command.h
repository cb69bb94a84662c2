/* SPDX-License-Identifier: Apache-2.0 */
/* What an admin is told to run for a key: as it must be typed, for the home in which that key is. */
#pragma once

#include "config.h"
#include "error.h"

#define KEY_COMMAND_SIZE 512
/* Homes of workers lie with the runtime files: it is not the staging volume that has no room. */
#define KEY_NO_ROOM                                                                                          \
        "make room in state_dir, or where czard's runtime files are (/run): df, and df -i for inodes"

/* gpg on a home of czard, which has two %s for the home as a word of a shell: run by root it would leave
 * files there that czard cannot read. */
#define KEY_GPG_AS_OWNER "runuser -u \"$(stat -c %%U %s)\" -- gpg --homedir %s"

/* "czarctl VERB [KEY] [--package NAME]" into ret. verb: "keygen", "import-key FILE", "key extend", ...
 * key: a fingerprint, NULL where there is none or it does not matter. homedir: of the key; NULL, or one that
 * no package has for its own: that of [openpgp]. */
const char *key_command(const struct config *c, const char *homedir, const char *verb, const char *key,
        char ret[KEY_COMMAND_SIZE]);

/* cause_advice(), with the command for the key of that home where one is to be run. ret: room for it. */
const char *key_advice(
        const struct config *c, const char *homedir, enum cause cause, char ret[KEY_COMMAND_SIZE]);
/* The same for what that organisation's package could not open. */
const char *key_advice_of(
        const struct config *c, const char *org, enum cause cause, char ret[KEY_COMMAND_SIZE]);
