/* SPDX-License-Identifier: Apache-2.0 */
#include "split_write.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "fsx.h"
#include "json.h"

#define WRITE_SIZE (64 * KIB)

/* A file that is written line by line. */
struct out {
        int fd;
        struct strbuf text;
        struct digest *digest;
        uint64_t size;
        struct split_room *room;
        struct error *e;
};

static int out_fail(struct out *o, int err)
{
        return error_errno(o->e, err, "writing what the day has");
}

static int out_open(struct out *o, const struct split_folder *f, const char *name, struct error *e)
{
        *o = (struct out){.room = f->room, .e = e};
        o->fd = openat(f->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (o->fd < 0)
                return out_fail(o, errno);
        int r = digest_new(DIGEST_SHA256, &o->digest);
        return r < 0 ? out_fail(o, -r) : 0;
}

static int out_flush(struct out *o, size_t least)
{
        if (o->text.err)
                return out_fail(o, ENOMEM);
        if (o->text.len <= least)
                return 0;
        if (split_room_take(o->room, o->size, o->size + o->text.len, o->e) < 0)
                return -ENOSPC;
        int r = write_all(o->fd, o->text.s, o->text.len);
        digest_update(o->digest, o->text.s, o->text.len);
        o->size += o->text.len;
        o->text.len = 0;
        return r < 0 ? out_fail(o, -r) : 0;
}

static void out_done(struct out *o)
{
        close_fd(o->fd);
        digest_free(o->digest);
        strbuf_done(&o->text);
}

static void add_json(struct out *o, const struct json *j)
{
        strbuf_printf(&o->text, "%s\n", j->out.err ? "" : j->out.s);
        o->text.err = o->text.err ? o->text.err : j->out.err;
}

static void add_course(struct out *o, const struct split_course *c)
{
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_str(&j, "course", c->key.text);
        json_str(&j, "file", c->file);
        json_u64(&j, "lines", c->lines);
        json_u64(&j, "bytes", c->bytes);
        json_sha256(&j, "sha256", c->sha256);
        json_close(&j, '}');
        add_json(o, &j);
}

static void add_totals(struct out *o, const struct split_totals *t, enum event_rule rule)
{
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_u64(&j, "lines_in", t->lines_in);
        json_u64(&j, "no_course", t->no_course);
        json_u64(&j, "invalid", t->invalid);
        json_u64(&j, "unparsed", t->unparsed);
        json_sha256(&j, "source_sha256", t->source_sha256);
        json_str(&j, "rule", event_rule_name(rule));
        json_close(&j, '}');
        add_json(o, &j);
}

static int write_manifest(const struct split_folder *f, enum event_rule rule, const struct split_totals *t,
        uint64_t *ret_size, struct error *e)
{
        struct out o;
        int r = out_open(&o, f, SPLIT_MANIFEST, e);
        for (size_t i = 0; r == 0 && i < f->n; i++) {
                add_course(&o, &f->v[i]);
                r = out_flush(&o, WRITE_SIZE);
        }
        if (r == 0) {
                add_totals(&o, t, rule);
                r = out_flush(&o, 0);
        }
        *ret_size = o.size;
        out_done(&o);
        return r;
}

static int write_sums(
        const struct split_folder *f, struct split_totals *t, uint64_t *ret_size, struct error *e)
{
        struct out o;
        int r = out_open(&o, f, SPLIT_SUMS, e);
        for (size_t i = 0; r == 0 && i < f->n; i++) {
                char hex[SHA256_HEX];
                hex_encode(f->v[i].file_sha256, SHA256_SIZE, hex);
                strbuf_printf(&o.text, "%s  %s\n", hex, f->v[i].file);
                r = out_flush(&o, WRITE_SIZE);
        }
        if (r == 0)
                r = out_flush(&o, 0);
        if (r == 0)
                digest_final(o.digest, t->sums_sha256);
        *ret_size = o.size;
        out_done(&o);
        return r;
}

static int tell(const struct split_options *options, struct split_totals *t, const char *name, uint64_t size,
        struct error *e)
{
        t->files_size += size;
        return options->on_file ? options->on_file(options->arg, name, size, e) : 0;
}

/* MANIFEST.jsonl and SHA256SUMS, too, have their place among the names, which begin as they like. */
int split_write(const struct split_folder *f, const struct split_options *options,
        struct split_totals *totals, struct error *e)
{
        struct {
                const char *name;
                uint64_t size;
        } own[] = {{SPLIT_MANIFEST, 0}, {SPLIT_SUMS, 0}};
        int r = write_manifest(f, options->rule, totals, &own[0].size, e);
        if (r == 0)
                r = write_sums(f, totals, &own[1].size, e);
        size_t k = 0;
        for (size_t i = 0; r == 0 && i <= f->n; i++) {
                for (; r == 0 && k < ELEMENTSOF(own) && (i == f->n || strcmp(own[k].name, f->v[i].file) < 0);
                        k++)
                        r = tell(options, totals, own[k].name, own[k].size, e);
                if (r == 0 && i < f->n)
                        r = tell(options, totals, f->v[i].file, f->v[i].size, e);
        }
        return r;
}
