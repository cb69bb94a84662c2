/* SPDX-License-Identifier: Apache-2.0 */
#include "feed_said.h"

#include "audit.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

bool line_field(const struct feed_line *l, const char *name, char *ret, size_t size)
{
        if (audit_field(l->p, l->len, name, ret, size) == 0)
                return true;
        ret[0] = 0;
        return false;
}

bool line_sha256(const struct feed_line *l, uint8_t ret[SHA256_SIZE])
{
        char text[SHA256_HEX];
        return line_field(l, "sha256", text, sizeof(text)) && hex_decode(text, ret, SHA256_SIZE) == 0;
}

int64_t line_size(const struct feed_line *l)
{
        char text[32];
        uint64_t v;
        return line_field(l, "size", text, sizeof(text)) && parse_u64(text, INT64_MAX, &v) == 0 ? (int64_t)v
                                                                                                : -1;
}

bool said_read(const struct feed_line *l, struct feed_said *s)
{
        if (!line_field(l, "bucket", s->bucket, sizeof(s->bucket)) ||
                !line_field(l, "key", s->key, sizeof(s->key)) ||
                !line_field(l, "org", s->org, sizeof(s->org)))
                return false;
        line_field(l, "site", s->site, sizeof(s->site));
        line_field(l, "date", s->date, sizeof(s->date));
        line_field(l, "etag", s->etag, sizeof(s->etag));
        line_field(l, "path", s->path, sizeof(s->path));
        line_field(l, "category", s->category, sizeof(s->category));
        line_field(l, "time", s->time, sizeof(s->time));
        line_field(l, "reason", s->reason, sizeof(s->reason));
        s->c = category_from_name(s->category);
        s->is_archive =
                (s->c == CATEGORY_DATABASE || s->c == CATEGORY_EMAIL_OPT_IN) && str_ends(s->key, ".zip");
        s->has_sha256 = line_sha256(l, s->sha256);
        s->size = line_size(l);
        char manifest[SHA256_HEX];
        s->has_manifest = line_field(l, "manifest", manifest, sizeof(manifest));
        s->has_latest = line_field(l, "latest", s->latest, sizeof(s->latest));
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
