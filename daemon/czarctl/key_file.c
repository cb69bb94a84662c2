/* SPDX-License-Identifier: Apache-2.0 */
/* Told by a mark at the start or, of text, anywhere; a binary packet by its tag (RFC 4880, 4.2). */
#include "key_file.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "macro.h"

#define ENCRYPTED                                                                                            \
        "is encrypted itself: decrypt it (gpg --output key.asc --decrypt FILE) and import what comes out"
#define OTHER_KIND                                                                                           \
        "is a key of SSH, TLS or S/MIME: none of OpenPGP, which edX encrypts to; czarctl keygen makes one"
#define ARCHIVE "is an archive: unpack it and import the exported key that is in it"
#define PRIVATE_FILE                                                                                         \
        "is a file of a GnuPG home, without the public part: export the key where that home is, gpg "        \
        "--armor --export-secret-keys"
#define BLOCK "-----BEGIN PGP PRIVATE KEY BLOCK"
#define CUT "holds half a secret key: it is cut off or damaged; copy it again, as it is"

static const struct {
        const char *mark;
        const char *fault;
        bool at_start;
} marks[] = {
        {"This is a revocation certificate",
                "is a revocation certificate, which makes a key unusable for ever: never import it; export "
                "the key with gpg --armor --export-secret-keys",
                false},
        {"-----BEGIN PGP MESSAGE", ENCRYPTED, false},
        {"-----BEGIN PGP SIGNATURE", "is a signature and no key", false},
        {"-----BEGIN OPENSSH", OTHER_KIND, false},
        {"-----BEGIN RSA PRIVATE", OTHER_KIND, false},
        {"-----BEGIN PRIVATE KEY", OTHER_KIND, false},
        {"-----BEGIN ENCRYPTED PRIVATE", OTHER_KIND, false},
        {"-----BEGIN EC PRIVATE", OTHER_KIND, false},
        {"-----BEGIN CERTIFICATE", OTHER_KIND, false},
        {"Content-Transfer-Encoding:", "is a whole mail: save what is attached to it, and import that",
                false},
        {"# List of assigned trustvalues",
                "is a list of ownertrust and no key; export the key with gpg --armor --export-secret-keys",
                true},
        {"Created: ", PRIVATE_FILE, true},
        {"Key: (", PRIVATE_FILE, true},
        {"(21:protected-private-key", PRIVATE_FILE, true},
        {"(11:private-key", PRIVATE_FILE, true},
        {"\x1f\x8b", ARCHIVE, true},
        {"PK\x03\x04", ARCHIVE, true},
        {"BZh", ARCHIVE, true},
        {"\xfd"
         "7zXZ",
                ARCHIVE, true},
};

/* A key packet: what it says of itself is not what gpg takes. */
static const char *key_packet_fault(const uint8_t *body, size_t n)
{
        if (n < 5)
                return CUT;
        if (body[0] > 4)
                return "is a key of a newer kind (RFC 9580) than GnuPG reads; czarctl keygen makes one that "
                       "it does";
        uint32_t created =
                (uint32_t)body[1] << 24 | (uint32_t)body[2] << 16 | (uint32_t)body[3] << 8 | body[4];
        if (body[0] == 4 && (int64_t)created > (int64_t)time(NULL))
                return KEY_OF_THE_FUTURE;
        return CUT;
}

static const char *packet_fault(const uint8_t *p, size_t n)
{
        enum { SESSION_KEY = 1, SESSION_KEY_OF_PASSPHRASE = 3, SECRET_KEY = 5 };
        if (n < 2 || !(p[0] & 0x80))
                return NULL;
        bool newer = p[0] & 0x40;
        unsigned tag = newer ? p[0] & 0x3f : (p[0] >> 2) & 0xf;
        size_t lengths = !newer ? (size_t)1 << (p[0] & 3) : p[1] < 192 ? 1 : p[1] < 224 ? 2 : 5;
        if (tag == SESSION_KEY || tag == SESSION_KEY_OF_PASSPHRASE)
                return ENCRYPTED;
        if (tag != SECRET_KEY || n < 1 + lengths)
                return NULL;
        return key_packet_fault(p + 1 + lengths, n - 1 - lengths);
}

/* The first packet in the block, whose data begin behind an empty line. */
static const char *armor_fault(const char *block, const char *end)
{
        enum { CHARS = 12 };
        uint8_t data[CHARS / 4 * 3];
        const char *at = memmem(block, (size_t)(end - block), "\n\n", 2);
        const char *dos = memmem(block, (size_t)(end - block), "\n\r\n", 3);
        at = at ? at + 2 : dos ? dos + 3 : end;
        const char *fault =
                end - at < CHARS || EVP_DecodeBlock(data, (const uint8_t *)at, CHARS) != sizeof(data)
                        ? NULL
                        : packet_fault(data, sizeof(data));
        return fault ? fault : CUT;
}

const char *key_file_fault(const char *text, size_t n)
{
        for (size_t i = 0; i < ELEMENTSOF(marks); i++) {
                size_t len = strlen(marks[i].mark);
                if (marks[i].at_start ? n >= len && memcmp(text, marks[i].mark, len) == 0
                                      : memmem(text, n, marks[i].mark, len) != NULL)
                        return marks[i].fault;
        }
        const char *block = memmem(text, n, BLOCK, strlen(BLOCK));
        return block ? armor_fault(block, text + n) : packet_fault((const uint8_t *)text, n);
}
