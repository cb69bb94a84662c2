/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and member names: the first byte chooses, the rest is the name. Nothing that is taken may leave the
 * staging root, and no key is ours that we would not have listed. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>

#include "name.h"
#include "package.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *path)
{
        assert(*path && *path != '/' && name_is_clean_text(path));
        for (const char *p = path; *p;) {
                size_t n = strcspn(p, "/");
                assert(n > 0 && n <= 255 && *p != '.');
                p += n;
                assert(p[0] == 0 || p[1] != 0);
                p += *p == '/';
        }
}

static void fuzz_key(const char *key)
{
        char org[] = "universityx", edx[] = "edx", edge[] = "edge", data[] = "edx-course-data",
             dumps[] = "course-data", none[] = "", opt_in[] = "email-opt-in/";
        char *sites[] = {edx, edge, NULL};
        const struct package_spec spec = {.org = org,
                .sites = {.v = sites, .n = 2},
                .categories = BIT(CATEGORY_MAX) - 1,
                .at = {{data, org}, {dumps, none}, {dumps, opt_in}, {data, org}}};
        const char *buckets[] = {data, dumps};
        for (size_t i = 0; i < ELEMENTSOF(buckets); i++) {
                struct package_item item;
                struct error e = {};
                int r = package_parse_key(&spec, buckets[i], key, &item, &e);
                assert(r == 0 || r == -ENOENT || r == -EBADMSG);
                if (r != 0 || item.legacy)
                        continue;
                check_path(item.path);
                assert(str_after(item.path, "universityx/"));
                assert(package_may_read(&spec, buckets[i], key));
        }
}

static void fuzz_member(const char *top, const char *name)
{
        struct package_member m;
        struct error e = {};
        int r = package_parse_member(top, name, 255, &m, &e);
        assert(r == 0 || r == -EISDIR || r == -EBADMSG);
        if (r < 0)
                return;
        check_path(m.path);
        assert(m.table[0] && name_is_clean_text(m.table) && name_is_clean_text(m.course));
        assert(m.encrypted == str_ends(name, ".gpg"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = size > 0 ? strndup((const char *)data + 1, size - 1) : NULL;
        struct s3_location l;
        if (!text)
                return 0;
        if (data[0] == 'k') {
                fuzz_key(text);
        } else if (data[0] == 'l') {
                if (s3_location_parse(text, &l, NULL) == 0)
                        s3_location_done(&l);
        } else {
                fuzz_member(data[0] == 'o' ? NULL : "universityx-2024-07-07", text);
        }
        return 0;
}
