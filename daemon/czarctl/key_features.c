/* SPDX-License-Identifier: Apache-2.0 */
/* gpg's colon listing does not show features, its packet listing does: "hashed subpkt 30 len 1 (features:
 * 09)" below the signature that it belongs to, whose class stands before it. */
#include "key_features.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "key_command.h"
#include "keyring.h"
#include "str.h"

#define FEATURE_SEIPD_2 0x08
#define LISTING_MOST (1024 * 1024)

/* The features that senders look at: of user ids, and when none of these says anything, of the key itself. */
static unsigned features_in(char *listing)
{
        unsigned class = 0, features = 0, of_ids = 0, of_key = 0;
        bool any_id = false;
        for (char *save = NULL, *line = strtok_r(listing, "\n", &save); line;
                line = strtok_r(NULL, "\n", &save)) {
                const char *at = strstr(line, "sigclass 0x");
                if (at)
                        class = (unsigned)strtoul(at + strlen("sigclass "), NULL, 16);
                at = strstr(line, "hashed subpkt 30 ");
                if (!at || sscanf(at, "hashed subpkt 30 len %*u (features: %2x", &features) != 1)
                        continue;
                if (class >= 0x10 && class <= 0x13) {
                        of_ids |= features;
                        any_id = true;
                } else if (class == 0x1f) {
                        of_key |= features;
                }
        }
        return any_id ? of_ids : of_key;
}

bool key_asks_for_newer(const char *home, const char *fingerprint)
{
        _cleanup_free_ char *armor = NULL, *out = malloc(LISTING_MOST);
        size_t len = 0;
        struct error ignored = {};
        if (!out || keyring_export(home, fingerprint, &armor, &len, &ignored) < 0)
                return false;
        const char *args[] = {"--list-packets", NULL};
        struct run_spec spec = {.in = {armor, len}, .out = out, .size = LISTING_MOST - 1, .quiet = true};
        if (keyring_gpg(home, args, NULL, &spec) != 0)
                return false;
        out[spec.len] = 0;
        return features_in(out) & FEATURE_SEIPD_2;
}

const char *key_features_advice(
        const struct config *c, const char *home, const char *fingerprint, char *ret, size_t size)
{
        char export[KEY_COMMAND_SIZE], word[SHELL_WORD_SIZE];
        shell_word(home, word, sizeof(word));
        snprintf(ret, size,
                "give it a user id with plain preferences and take back the old one: " KEY_GPG_AS_OWNER
                " --pinentry-mode loopback --quick-add-uid %s 'NAME (edX) <MAIL>', the same with "
                "--quick-revoke-uid and the old user id; then send the new public key (%s) to edX",
                word, word, fingerprint, key_command(c, home, "key export", fingerprint, export));
        return ret;
}
