/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <errno.h>
#include <stdio.h>

#include "limits.h"
#include "str.h"

#define GZ ".gz"
#define LOG ".log"

int place_of(const struct config *c, const struct ledger_object *o, bool plain, char ret[STAGED_PATH_SIZE])
{
        struct package_item item;
        const struct config_package *p = c ? config_find_package(c, o->org) : NULL;
        if (!p || package_parse_key(&p->spec, o->bucket, o->key, &item, NULL) < 0 || !*item.path)
                return -ENOENT;
        snprintf(ret, STAGED_PATH_SIZE, "%s", item.path);
        if (o->category == CATEGORY_EVENTS && plain && str_ends(ret, GZ))
                ret[strlen(ret) - strlen(GZ)] = 0;
        return 0;
}

bool place_other_format(const char *path, char ret[STAGED_PATH_SIZE])
{
        if (str_ends(path, LOG GZ))
                snprintf(ret, STAGED_PATH_SIZE, "%.*s", (int)(strlen(path) - strlen(GZ)), path);
        else if (str_ends(path, LOG) && strlen(path) + strlen(GZ) < 512)
                snprintf(ret, STAGED_PATH_SIZE, "%s" GZ, path);
        else
                return false;
        return true;
}

int place_by_course(const struct ledger_object *o, char ret[STAGED_PATH_SIZE])
{
        if (o->category != CATEGORY_EVENTS || !*o->site || strlen(o->date) != 10)
                return -ENOENT;
        snprintf(ret, STAGED_PATH_SIZE, "%s/events-by-course/%s/%.4s/%s", o->org, o->site, o->date, o->date);
        return 0;
}

/* What the names of its replaced versions begin with. */
static const char *stem(const struct ledger_object *o, const char *path)
{
        const char *slash = strrchr(path, '/');
        return *o->date ? o->date : slash ? slash + 1 : path;
}

void place_replaced(const struct ledger_object *o, char ret[PLACE_KEEP_SIZE])
{
        char etag[64];
        size_t n = 0;
        for (const char *p = o->staged_etag; *p && n + 1 < sizeof(etag); p++)
                if (strchr("0123456789abcdefABCDEF-", *p))
                        etag[n++] = *p;
        etag[n] = 0;
        snprintf(ret, PLACE_KEEP_SIZE, PLACE_REPLACED "/%s-%s", stem(o, o->path), etag);
}

bool place_is_replaced_of(const struct ledger_object *o, const char *path, const char *entry)
{
        const char *name = stem(o, path), *rest = str_after(*entry == '.' ? entry + 1 : entry, name);
        return *name && rest && *rest == '-';
}
