/* SPDX-License-Identifier: Apache-2.0 */
/* Spans, sizes, dates and times from any bytes. What is accepted must come out of the formatter as it went
 * in; what is refused must have left its result alone. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "macro.h"
#include "timespan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UNTOUCHED 4711

static void require(int ok)
{
        if (!ok)
                abort();
}

static void spans_and_sizes(const char *s)
{
        char text[32];
        uint64_t v = UNTOUCHED, again;
        if (timespan_parse(s, &v) < 0)
                require(v == UNTOUCHED);
        timespan_format(v, text, sizeof(text));
        require(timespan_parse(text, &again) == 0 && again <= v);
        v = UNTOUCHED;
        if (size_parse(s, &v) < 0)
                require(v == UNTOUCHED);
        size_format(v, text, sizeof(text));
        require(size_parse(text, &again) == 0 && again <= v);
}

static void dates_and_times(const char *s)
{
        char date[11], text[21];
        int days = UNTOUCHED;
        int64_t sec = UNTOUCHED, again;
        if (date_parse(s, &days) < 0)
                require(days == UNTOUCHED);
        else
                require(memcmp(date_format(days, date), s, 10) == 0);
        if (time_parse_rfc3339(s, &sec) < 0)
                require(sec == UNTOUCHED);
        require(time_parse_rfc3339(time_format(sec, text), &again) == 0 &&
                again == MIN(sec, INT64_C(253402300799)));
        sec = UNTOUCHED;
        if (time_parse_http(s, &sec) < 0)
                require(sec == UNTOUCHED);
        require(time_parse_rfc3339(time_format(sec, text), &again) == 0 &&
                again == MIN(sec, INT64_C(253402300799)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *s = strndup((const char *)data, size);
        if (s) {
                spans_and_sizes(s);
                dates_and_times(s);
        }
        return 0;
}
