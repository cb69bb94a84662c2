/* SPDX-License-Identifier: Apache-2.0 */
/* audit.jsonl as somebody may have left it: fields of a line, the seal, verification of a file, opening it
 * and going on. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "audit.h"
#include "audit_read.h"
#include "fsx.h"
#include "str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int dir_fd = -1;
static char dir_name[] = "/tmp/czard-fuzz-audit-XXXXXX";

static void remove_dir(void)
{
        (void)unlinkat(dir_fd, AUDIT_FILE, 0);
        (void)rmdir(dir_name);
}

static int count(const char *line, size_t len, uint64_t number, void *arg)
{
        (void)number;
        assert(strlen(line) <= len); /* a NUL in a line is shown as it is */
        ++*(uint64_t *)arg;
        return 0;
}

static void read_fields(const char *line, size_t size)
{
        static const char *const names[] = {"key", "sha256", "prev", "seq", "none"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char value[64];
                if (audit_field(line, size, names[i], value, sizeof(value)) == 0)
                        assert(strlen(value) < sizeof(value));
        }
}

/* Whatever stood there: once opened, what is appended is sealed and read back. */
static void go_on(void)
{
        struct audit *a = NULL;
        struct audit_entry entry = {.event = "start", .size = -1, .mtime = -1, .uid = -1};
        uint64_t before = 0, lines = 0;
        bool held = audit_verify(dir_fd, NULL, NULL, &before, NULL) == 0;
        (void)audit_each(dir_fd, count, &lines, NULL);
        if (audit_open(dir_fd, &a, NULL) < 0)
                return;
        int r = audit_append(a, &entry, NULL);
        assert(r == 0);
        if (held) {
                r = audit_verify(dir_fd, audit_head(a), NULL, &lines, NULL);
                assert(r == 0 && lines <= before + 1); /* members without their publication are cut off */
        }
        audit_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (dir_fd < 0) {
                if (!mkdtemp(dir_name))
                        abort();
                dir_fd = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                atexit(remove_dir);
        }
        if (size > 4 * AUDIT_LINE_MAX)
                return 0;
        _cleanup_free_ char *line = malloc(size + 1); /* of the exact length: a read behind it is caught */
        memcpy(line, data, size);
        line[size] = 0;
        struct audit_seal seal;
        read_fields(line, size);
        (void)audit_seal_read(line, size, &seal);
        _cleanup_close_ int fd = openat(dir_fd, AUDIT_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        if (fd < 0 || write_all(fd, data, size) < 0)
                abort();
        go_on();
        return 0;
}
