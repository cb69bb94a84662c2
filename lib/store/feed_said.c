/* SPDX-License-Identifier: Apache-2.0 */
#include "feed_said.h"

#include "audit.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

bool said_read(struct audit_line *l, struct feed_said *s)
{
        if (!audit_text(l, "bucket", s->bucket, sizeof(s->bucket)) ||
                !audit_text(l, "key", s->key, sizeof(s->key)) ||
                !audit_text(l, "org", s->org, sizeof(s->org)))
                return false;
        audit_text(l, "site", s->site, sizeof(s->site));
        audit_text(l, "date", s->date, sizeof(s->date));
        audit_text(l, "etag", s->etag, sizeof(s->etag));
        audit_text(l, "path", s->path, sizeof(s->path));
        audit_text(l, "category", s->category, sizeof(s->category));
        audit_text(l, "time", s->time, sizeof(s->time));
        audit_text(l, "reason", s->reason, sizeof(s->reason));
        s->c = category_from_name(s->category);
        s->is_archive =
                (s->c == CATEGORY_DATABASE || s->c == CATEGORY_EMAIL_OPT_IN) && str_ends(s->key, ".zip");
        s->has_sha256 = audit_sha256(l, "sha256", s->sha256);
        s->size = audit_number(l, "size", -1);
        char manifest[SHA256_HEX];
        s->has_manifest = audit_text(l, "manifest", manifest, sizeof(manifest));
        s->has_latest = audit_text(l, "latest", s->latest, sizeof(s->latest));
        /* the folder that the file is in has that name */
        return s->c != CATEGORY_MAX && staging_check_path(s->org, NULL) == 0 && !strchr(s->org, '/');
}

struct change said_change(const struct feed_said *s, const char *op)
{
        return (struct change){.op = op,
                .path = *s->path ? s->path : NULL,
                .category = s->category,
                .site = *s->site ? s->site : NULL,
                .date = *s->date ? s->date : NULL,
                .etag = *s->etag ? s->etag : NULL,
                .time = s->time,
                .size = -1};
}
