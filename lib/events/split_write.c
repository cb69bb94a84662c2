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
        struct error *e;
};

static int out_fail(struct out *o, int err)
{
        return error_set(o->e, cause_from_errno(err), err, "writing what the day has: %s", strerror(err));
}

static int out_open(struct out *o, int dir_fd, const char *name, struct error *e)
{
        *o = (struct out){.e = e};
        o->fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
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

static void add_course(struct out *o, const struct split_course *c)
{
        _cleanup_json_ struct json j = {};
        char hex[SHA256_HEX];
        hex_encode(c->sha256, SHA256_SIZE, hex);
        json_open(&j, NULL, '{');
        json_str(&j, "course", c->key.text);
        json_str(&j, "file", c->file);
        json_u64(&j, "lines", c->lines);
        json_u64(&j, "bytes", c->bytes);
        json_str(&j, "sha256", hex);
        json_close(&j, '}');
        strbuf_printf(&o->text, "%s\n", j.out.err ? "" : j.out.s);
        o->text.err = o->text.err ? o->text.err : j.out.err;
}

static void add_totals(struct out *o, const struct split_totals *t, enum event_rule rule)
{
        _cleanup_json_ struct json j = {};
        char hex[SHA256_HEX];
        hex_encode(t->source_sha256, SHA256_SIZE, hex);
        json_open(&j, NULL, '{');
        json_u64(&j, "lines_in", t->lines_in);
        json_u64(&j, "no_course", t->no_course);
        json_u64(&j, "invalid", t->invalid);
        json_u64(&j, "unparsed", t->unparsed);
        json_str(&j, "source_sha256", hex);
        json_str(&j, "rule", event_rule_name(rule));
        json_close(&j, '}');
        strbuf_printf(&o->text, "%s\n", j.out.err ? "" : j.out.s);
        o->text.err = o->text.err ? o->text.err : j.out.err;
}

static int write_manifest(int dir_fd, const struct split_course *v, size_t n, enum event_rule rule,
        const struct split_totals *t, uint64_t *ret_size, struct error *e)
{
        struct out o;
        int r = out_open(&o, dir_fd, SPLIT_MANIFEST, e);
        for (size_t i = 0; r == 0 && i < n; i++) {
                add_course(&o, &v[i]);
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

static int write_sums(int dir_fd, const struct split_course *v, size_t n, struct split_totals *t,
        uint64_t *ret_size, struct error *e)
{
        struct out o;
        int r = out_open(&o, dir_fd, SPLIT_SUMS, e);
        for (size_t i = 0; r == 0 && i < n; i++) {
                char hex[SHA256_HEX];
                hex_encode(v[i].file_sha256, SHA256_SIZE, hex);
                strbuf_printf(&o.text, "%s  %s\n", hex, v[i].file);
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
int split_write(int dir_fd, const struct split_course *v, size_t n, const struct split_options *options,
        struct split_totals *totals, struct error *e)
{
        struct {
                const char *name;
                uint64_t size;
        } own[] = {{SPLIT_MANIFEST, 0}, {SPLIT_SUMS, 0}};
        int r = write_manifest(dir_fd, v, n, options->rule, totals, &own[0].size, e);
        if (r == 0)
                r = write_sums(dir_fd, v, n, totals, &own[1].size, e);
        size_t k = 0;
        for (size_t i = 0; r == 0 && i <= n; i++) {
                for (; r == 0 && k < ELEMENTSOF(own) && (i == n || strcmp(own[k].name, v[i].file) < 0); k++)
                        r = tell(options, totals, own[k].name, own[k].size, e);
                if (r == 0 && i < n)
                        r = tell(options, totals, v[i].file, v[i].size, e);
        }
        return r;
}
