/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of a feed over whatever stands in CHANGES.jsonl, which grows, is cut, replaced or goes between
 * two looks: what it tells is whole, numbered without a gap from where it was asked to begin, and stands in
 * the file; damage is said again. The input is pieces, each behind a byte that says what becomes of the file:
 * see enum deed. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "feed_reader.h"
#include "fsx.h"
#include "str.h"

#define ORG "o"
#define PIECE_END 0     /* this byte ends a piece */
#define LONG_LINE 70000 /* longer than the reader takes */
#define SINCE_MOST 6    /* one asks for the lines behind 0 to 5 */

enum deed { APPEND, REPLACE, CUT, GO, APPEND_LONG, STOP_EARLY, DEEDS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[] = "/dev/shm/czard-fuzz-feed-XXXXXX";
static char folder[64], file[80], fresh[80];

struct seen {
        uint64_t last;
        bool stop;
};

static void remove_all(void)
{
        (void)unlink(file);
        (void)unlink(fresh);
        (void)rmdir(folder);
        (void)rmdir(root);
}

static void start(void)
{
        if (!mkdtemp(root))
                abort();
        snprintf(folder, sizeof(folder), "%s/" ORG, root);
        snprintf(file, sizeof(file), "%s/" FEED_FILE, folder);
        snprintf(fresh, sizeof(fresh), "%s/fresh", folder);
        if (mkdir(folder, 0700) < 0)
                abort();
        atexit(remove_all);
}

static void put(const char *path, int flags, const uint8_t *p, size_t n)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
        if (fd < 0 || write_all(fd, p, n) < 0)
                abort();
        close(fd);
}

static void do_deed(enum deed deed, const uint8_t *p, size_t n)
{
        static uint8_t long_line[LONG_LINE];
        switch (deed) {
        case REPLACE:
                put(fresh, O_TRUNC, p, n);
                if (rename(fresh, file) < 0)
                        abort();
                break;
        case CUT:
                put(file, 0, p, 0);
                if (truncate(file, (off_t)n) < 0)
                        abort();
                break;
        case GO:
                (void)unlink(file);
                break;
        case APPEND_LONG:
                memset(long_line, n > 0 ? p[0] : '{', sizeof(long_line));
                put(file, O_APPEND, long_line, sizeof(long_line));
                put(file, O_APPEND, p, n);
                break;
        default:
                put(file, O_APPEND, p, n);
        }
}

static int on_line(const char *line, size_t len, uint64_t seq, void *arg)
{
        struct seen *s = arg;
        assert(seq == s->last + 1);
        assert(!memchr(line, '\n', len));
        s->last = seq;
        return s->stop;
}

static void look(struct feed_reader *r, struct seen *s, bool stop)
{
        struct error e = {};
        s->stop = stop;
        int told = feed_reader_each(r, on_line, s, &e);
        assert(told <= 0 || (told == 1 && stop));
        if (told < 0)
                assert(*e.text);
        if (told != -EBADMSG)
                return;
        uint64_t last = s->last;
        told = feed_reader_each(r, on_line, s, &e);
        assert(told == -EBADMSG && s->last == last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!*folder)
                start();
        if (size < 2)
                return 0;
        struct seen seen = {.last = data[0] % SINCE_MOST};
        struct feed_reader *r = NULL;
        struct error e = {};
        if (feed_reader_new(root, ORG, seen.last, &r, &e) < 0)
                abort();
        if (data[1] & 1)
                feed_reader_expect(r, "2024-01-01T00:00:00Z");
        bool watched = data[1] & 2;
        data += 2;
        size -= 2;
        while (size > 0) {
                enum deed deed = data[0] % DEEDS;
                data++;
                size--;
                const uint8_t *end = memchr(data, PIECE_END, size);
                size_t n = end ? (size_t)(end - data) : size;
                if (watched)
                        (void)feed_reader_watch(r, &e);
                do_deed(deed, data, n);
                look(r, &seen, deed == STOP_EARLY);
                n += end != NULL;
                data += n;
                size -= n;
        }
        feed_reader_free(r);
        (void)unlink(file);
        return 0;
}
