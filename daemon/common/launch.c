/* SPDX-License-Identifier: Apache-2.0 */
#include "launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal.h"
#include "macro.h"
#include "str.h"

static const char *const passed_on[] = {"PATH", "TZ", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY",
        "RUNTIME_DIRECTORY", JOURNAL_FOR_PEOPLE, "CZARD_TESTING", "ASAN_OPTIONS", "LSAN_OPTIONS",
        "UBSAN_OPTIONS"};

int launch_find(const char *name, char *ret, size_t size)
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash = n > 0 ? (self[n] = 0, strrchr(self, '/')) : NULL;
        if (slash) {
                *slash = 0;
                snprintf(ret, size, "%s/../%s/%s", self, name, name);
                if (access(ret, X_OK) == 0)
                        return 0;
                snprintf(ret, size, "%s/../libexec/czard/%s", self, name);
                if (access(ret, X_OK) == 0)
                        return 0;
        }
        snprintf(ret, size, "%s/%s", CZARD_LIBEXECDIR, name);
        return access(ret, X_OK) == 0 ? 0 : -errno;
}

static char *borrowed(const char *s)
{
        union {
                const char *in;
                char *out;
        } pun = {.in = s}; /* execve(2) does not change them */
        return pun.out;
}

int launch_prepare(struct launch *ret, const char *name, const char *const *args, struct error *e)
{
        *ret = (struct launch){};
        int r = launch_find(name, ret->file, sizeof(ret->file));
        if (r < 0)
                return error_set(
                        e, CAUSE_HELPER, -r, "%s is not there (%s): reinstall czard", name, ret->file);
        size_t n = 0, k = 0;
        ret->argv[n++] = ret->file;
        for (; args && *args && n < LAUNCH_ARGUMENTS_MAX - 3; args++)
                ret->argv[n++] = borrowed(*args);
        ret->argv[n++] = borrowed("--channel");
        ret->argv[n++] = borrowed("3");
        ret->env = calloc(ELEMENTSOF(passed_on) + 1, sizeof(*ret->env));
        for (size_t i = 0; ret->env && i < ELEMENTSOF(passed_on); i++) {
                const char *v = getenv(passed_on[i]);
                if (v && (ret->env[k] = str_printf("%s=%s", passed_on[i], v)))
                        k++;
        }
        return ret->env ? 0 : error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
}

void launch_done(struct launch *l)
{
        for (char **v = l->env; v && *v; v++)
                free(*v);
        free(l->env);
        l->env = NULL;
}

int setup_message(const struct proto_setup *setup, const struct secret *passphrase, struct message *ret)
{
        *ret = (struct message){.type = PROTO_SETUP, .setup = *setup};
        if (!passphrase->p)
                return 0;
        int fd = secret_to_fd(passphrase);
        if (fd < 0)
                return fd;
        ret->fds[0] = fd;
        ret->n_fds = 1;
        return 0;
}
