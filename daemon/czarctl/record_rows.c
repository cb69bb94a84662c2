/* SPDX-License-Identifier: Apache-2.0 */
#include "record_rows.h"

#include <stdlib.h>

#include "audit.h"
#include "str.h"
#include "timespan.h"

int record_rows_open(
        struct ctl *c, const char *const *names, size_t n, const char *columns, struct record_rows **ret)
{
        bool csv = ctl_flag(c, "csv");
        if (csv && c->json)
                return ctl_usage(c, "--csv and --json do not go together");
        struct record_rows *r = calloc(1, sizeof(*r));
        if (!r)
                return ctl_fail_text("out of memory");
        r->n = MIN(n, (size_t)RECORD_FIELDS);
        for (size_t i = 0; i < r->n; i++)
                r->fields[i].name = names[i];
        if (csv)
                rows_open_csv(&r->rows, c, names, r->n);
        else
                rows_open(&r->rows, c, "entries", columns);
        *ret = r;
        return 0;
}

void record_rows_read(struct record_rows *r, const char *line, size_t len)
{
        for (size_t i = 0; i < r->n; i++) {
                if (audit_field(line, len, r->fields[i].name, r->values[i], RECORD_FIELD_SIZE) < 0)
                        r->values[i][0] = 0;
                r->fields[i].text = r->values[i];
        }
}

const char *record_text(const struct record_rows *r, const char *name)
{
        const struct ctl_field *f = r->fields;
        while (!streq(f->name, name))
                f++;
        return f->text;
}

void record_rows_set(struct record_rows *r, const char *name, const char *text)
{
        for (size_t i = 0; i < r->n; i++)
                if (streq(r->fields[i].name, name))
                        r->fields[i].text = text;
}

void record_rows_add(struct record_rows *r, const char *what, const char *why)
{
        struct ctl_field *time = &r->fields[0];
        time->kind = FIELD_TIME;
        time->colour = DIM;
        time->number = 0;
        (void)time_parse_rfc3339(time->text, &time->number);
        r->fields[r->n] = (struct ctl_field)F_CELL("what", what);
        r->fields[r->n + 1] = (struct ctl_field)F_CELL("why", why);
        rows_add(&r->rows, r->fields);
}

int record_rows_finish(struct record_rows *r, const char *none, int result, const struct error *e)
{
        rows_end(&r->rows, result < 0 ? NULL : none);
        int status = rows_finish(&r->rows, result, e);
        free(r);
        return status;
}
