/* SPDX-License-Identifier: Apache-2.0 */
#include "item.h"

#include <stdint.h>
#include <stdlib.h>

#include "courses.h"
#include "digest.h"
#include "str.h"

#define MARK '~' /* no name of a course has one */
#define MARK_DIGITS 16

/* Bytes without the ending. */
static size_t stem(const char *base)
{
        static const char *const exts[] = {DELIVER_EVENTS_EXT, DELIVER_STATE_EXT, DELIVER_ARCHIVE_EXT};
        size_t n = strlen(base);
        for (size_t i = 0; i < ELEMENTSOF(exts); i++)
                if (str_ends(base, exts[i]))
                        return n - strlen(exts[i]);
        return n;
}

char *item_name(const char *base, unsigned revision)
{
        size_t n = stem(base);
        return revision < 2 ? strdup(base) : str_printf("%.*s-r%u%s", (int)n, base, revision, base + n);
}

static int mark_of(const char *of, char ret[MARK_DIGITS + 1])
{
        uint8_t sum[SHA256_SIZE];
        char hex[SHA256_HEX];
        int r = digest_once(DIGEST_SHA256, of, strlen(of), sum);
        if (r < 0)
                return r;
        hex_encode(sum, sizeof(sum), hex);
        memcpy(ret, hex, MARK_DIGITS);
        ret[MARK_DIGITS] = 0;
        return 0;
}

char *item_parted(const char *base, const char *of)
{
        char mark[MARK_DIGITS + 1];
        size_t n = strchr(base, '/') ? strcspn(base, "/") : stem(base);
        return mark_of(of, mark) < 0 ? NULL : str_printf("%.*s%c%s%s", (int)n, base, MARK, mark, base + n);
}

/* An archive has all of one form, unless it is marked as that of one key. */
static char *archive_id(const char *base, const char *course)
{
        char form[COURSE_FORM_MAX], mark[MARK_DIGITS + 1];
        const char *has = strchr(base, MARK);
        course_form(course, form);
        if (mark_of(form, mark) < 0)
                return NULL;
        return strdup(has && strncmp(has + 1, mark, MARK_DIGITS) != 0 ? course : form);
}

char *item_id(const char *base, const char *course)
{
        const char *rest = strchr(base, '/');
        return rest ? str_printf("%s %.*s", course, (int)(stem(base) - (size_t)(rest + 1 - base)), rest + 1)
                    : archive_id(base, course);
}
