/* SPDX-License-Identifier: Apache-2.0 */
/* config_load() over a file in memory: whatever it takes must be whole, and whatever it refuses must say
 * where. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include "config.h"
#include "fsx.h"
#include "name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What every user of a configuration relies on. */
static void check_whole(const struct config *c)
{
        assert(c->staging.path && c->staging.path[0] == '/');
        assert(c->state_dir && c->openpgp.homedir && c->s3.region);
        assert((c->staging.file_mode & 07007) == 0 && (c->staging.dir_mode & 07007) == 0);
        assert(c->s3.addressing != ADDRESSING_AUTO && c->n_packages > 0);
        for (size_t i = 0; i < c->n_packages; i++) {
                const struct config_package *p = &c->packages[i];
                assert(p->homedir && name_is_lower_token(p->spec.org));
                assert(p->spec.sites.n > 0 && p->spec.categories != 0);
                for (enum category k = 0; k < CATEGORY_MAX; k++)
                        assert(!(p->spec.categories & BIT(k)) || p->spec.at[k].bucket);
                (void)config_wants_course(p, "Org-Course-Run");
                (void)config_group(p, CATEGORY_RDX);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_close_ int fd = memfd_create("config", MFD_CLOEXEC);
        _cleanup_(strv_done) struct strv more = {};
        _cleanup_(cleanup_config) struct config *c = NULL;
        struct error e = {};
        char path[64];
        if (fd < 0 || write_all(fd, data, size) < 0)
                return 0;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int r = config_load(path, &c, &e, &more);
        if (r < 0) {
                assert(!c && str_after(e.text, path) && name_is_printable(e.text));
                for (size_t i = 0; i < more.n; i++)
                        assert(str_after(more.v[i], path) && name_is_printable(more.v[i]));
                return 0;
        }
        check_whole(c);
        assert(!config_needs_restart(c, c));
        return 0;
}
