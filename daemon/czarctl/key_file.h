/* SPDX-License-Identifier: Apache-2.0 */
/* What people give import-key for a key. */
#pragma once

#include <stddef.h>

/* What is wrong with a file of which gpg imports nothing, as the rest of a sentence that begins with its name
 * and says what to do; NULL when it cannot be told. */
#define KEY_OF_THE_FUTURE                                                                                    \
        "is a key that was made in the future: set the clock of this machine right (timedatectl), or the "   \
        "key was made where it was wrong; then make another: czarctl keygen"
const char *key_file_fault(const char *text, size_t n);
