/* SPDX-License-Identifier: Apache-2.0 */
/* A line of events: the scanner that takes the short way and the full parser must come to the same verdict
 * and the same course, under both rules, in whatever the line is embedded. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/event_full.h"
#include "event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(const char *line, size_t n, enum event_rule rule)
{
        static struct strbuf scratch; /* kept, as the splitter keeps it */
        struct course_key quick = {}, full = {};
        int a = event_course(rule, line, n, &scratch, &quick), b = event_full_course(rule, line, n, &full);
        assert(a == b);
        if (a != EVENT_COURSE)
                return;
        assert(strcmp(quick.text, full.text) == 0 && quick.len == strlen(quick.text));
        char name[COURSE_NAME_MAX + 1];
        course_key_name(&quick, name);
        assert(*name && *name != '.' && *name != '-' && !strchr(name, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *p = malloc(size + 1 + EVENT_SCAN_SLACK);
        if (!p)
                return 0;
        size_t n = 0;
        for (size_t i = 0; i < size; i++)
                if (data[i] != '\n')
                        p[n++] = (char)data[i];
        char *begin = p;
        while (n && event_is_space(*begin)) {
                begin++;
                n--;
        }
        while (n && event_is_space(begin[n - 1]))
                n--;
        /* what lies behind the line must not matter */
        memset(begin + n, '"', (size_t)(p + size + 1 + EVENT_SCAN_SLACK - (begin + n)));
        begin[n] = '\n';
        for (unsigned rule = EVENT_RULE_EDX; rule < EVENT_RULE_MAX; rule++)
                compare(begin, n, (enum event_rule)rule);
        free(p);
        return 0;
}
