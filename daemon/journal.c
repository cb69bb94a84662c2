/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where programs speak. An entry is gathered once, as NAME=VALUE fields in a buffer on the
 * stack, and then leaves by one of two doors: sd_journal_sendv(), or one line with one write() on stderr.
 * Nothing here allocates, so running out of memory can still be told; what does not fit is cut. */
#include "journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "fsx.h"
#include "name.h"
#include "str.h"

enum {
        MESSAGE_SIZE = 4096,
        ENTRY_SIZE = 24 * 1024,
        FIELDS_MAX = 32,
};

static const struct {
        const char *name, *message_id;
        int priority;
} events[EVENT_MAX] = {
#define X(id, n, prio, mid) [EVENT_##id] = {.name = n, .message_id = mid, .priority = prio},
        JOURNAL_EVENTS(X)
#undef X
};

static struct {
        const char *audit_head; /* NULL: none */
        int level;
        bool to_journal;
        bool for_people;    /* somebody waits at a terminal */
        bool at_terminal;   /* and it is our stderr, not one of whoever started us */
        char progress[256]; /* what stands in the terminal's last line */
} journal = {.level = LOG_INFO};

/* fields[i] is NUL-terminated "NAME=VALUE" in buf; value[i] is how long "NAME=" is. */
struct entry {
        char buf[ENTRY_SIZE];
        size_t used, n, head; /* the first fields, MESSAGE, PRIORITY, MESSAGE_ID: not NAME=VALUE on stderr */
        struct {
                const char *text;
                size_t name_len, len;
        } fields[FIELDS_MAX];
};

/* systemd.exec(5): the variable holds device and inode of the stream that systemd connected; a program that
 * was given another stderr since must not believe it. */
static bool stderr_is_journal(void)
{
        const char *s = getenv("JOURNAL_STREAM");
        uint64_t dev, ino;
        char dev_text[32];
        struct stat st;
        const char *colon = s ? strchr(s, ':') : NULL;
        if (!colon || (size_t)(colon - s) >= sizeof(dev_text))
                return false;
        memcpy(dev_text, s, (size_t)(colon - s));
        dev_text[colon - s] = 0;
        return parse_u64(dev_text, UINT64_MAX, &dev) == 0 && parse_u64(colon + 1, UINT64_MAX, &ino) == 0 &&
               fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void journal_open(void)
{
        /* without the socket sd_journal_sendv() drops entries and says nothing */
        journal.to_journal = stderr_is_journal() && access("/run/systemd/journal/socket", W_OK) == 0;
        journal.for_people = !journal.to_journal && getenv(JOURNAL_FOR_PEOPLE);
        journal.at_terminal = journal.for_people && isatty(STDERR_FILENO);
}

void journal_audit_head(const char *head)
{
        journal.audit_head = head;
}

void journal_level(int level)
{
        journal.level = level;
}

/* Appends s to buf, which holds *used bytes, and keeps a byte for the NUL. Returns false when it was cut. */
static bool append_escaped(char *buf, size_t size, size_t *used, const char *s)
{
        while (*s) {
                char escape[5];
                size_t n;
                const char *from = name_shown_next(&s, escape, &n);
                if (*used + n >= size)
                        return false;
                memcpy(buf + *used, from, n);
                *used += n;
        }
        return true;
}

static void add(struct entry *e, const char *name, const char *value)
{
        size_t name_len = strlen(name) + 1;
        if (!value || e->n >= FIELDS_MAX || e->used + name_len + 1 >= sizeof(e->buf))
                return;
        char *text = e->buf + e->used;
        memcpy(text, name, name_len - 1);
        text[name_len - 1] = '=';
        size_t len = name_len;
        append_escaped(text, sizeof(e->buf) - e->used, &len, value);
        text[len] = 0;
        e->fields[e->n].text = text;
        e->fields[e->n].name_len = name_len;
        e->fields[e->n++].len = len;
        e->used += len + 1;
}

static void add_number(struct entry *e, const char *name, const uint64_t *value)
{
        char text[24];
        if (value) {
                snprintf(text, sizeof(text), "%" PRIu64, *value);
                add(e, name, text);
        }
}

static void add_fields(struct entry *e, const struct journal_fields *f)
{
        uint64_t attempt = f->attempt;
        add(e, "CZARD_ORG", f->org);
        add(e, "CZARD_CATEGORY", f->category);
        add(e, "CZARD_SITE", f->site);
        add(e, "CZARD_DATE", f->date);
        add(e, "CZARD_BUCKET", f->bucket);
        add(e, "CZARD_OBJECT", f->object);
        add(e, "CZARD_ETAG", f->etag);
        add_number(e, "CZARD_SIZE", f->size);
        add_number(e, "CZARD_PLAIN_SIZE", f->plain_size);
        add(e, "CZARD_SHA256", f->sha256);
        add(e, "CZARD_PATH", f->path);
        add(e, "CZARD_MEMBER", f->member);
        add(e, "CZARD_COURSE", f->course);
        add(e, "CZARD_TABLE", f->table);
        add(e, "CZARD_REQUEST", f->request);
        add_number(e, "CZARD_DURATION_USEC", f->duration_usec);
        add(e, "CZARD_CAUSE", f->cause != CAUSE_NONE ? cause_name(f->cause) : NULL);
        add_number(e, "CZARD_ATTEMPT", attempt ? &attempt : NULL);
        add(e, "CZARD_ACCESS_KEY_ID", f->access_key_id);
        add(e, "CZARD_FINGERPRINT", f->fingerprint);
        add_number(e, "CZARD_SUPPRESSED", f->suppressed);
        add(e, "CZARD_DELIVERY", f->delivery);
        add(e, "CZARD_RECIPIENTS", f->recipients);
}

static int send_to_journal(const struct entry *e)
{
        struct iovec iov[FIELDS_MAX];
        for (size_t i = 0; i < e->n; i++)
                iov[i] = (struct iovec){
                        .iov_base = (void *)(uintptr_t)e->fields[i].text, .iov_len = e->fields[i].len};
        return sd_journal_sendv(iov, (int)e->n);
}

struct journal_line {
        char s[ENTRY_SIZE + 4096];
        size_t n;
};

static void put(struct journal_line *l, const char *s, size_t n)
{
        n = MIN(n, sizeof(l->s) - 1 - l->n); /* one byte is left for the line feed */
        memcpy(l->s + l->n, s, n);
        l->n += n;
}

/* Quoted only where a reader that splits at blanks would go wrong. */
static void put_value(struct journal_line *l, const char *value)
{
        if (*value && !strpbrk(value, " \"")) {
                put(l, value, strlen(value));
                return;
        }
        put(l, "\"", 1);
        for (; *value; value++) {
                if (*value == '"' || *value == '\\')
                        put(l, "\\", 1);
                put(l, value, 1);
        }
        put(l, "\"", 1);
}

static const char *level_name(int priority)
{
        static const char *const names[] = {
                [LOG_ERR] = "err",
                [LOG_WARNING] = "warning",
                [LOG_NOTICE] = "notice",
                [LOG_INFO] = "info",
                [LOG_DEBUG] = "debug",
        };
        return names[MIN(MAX(priority, LOG_ERR), LOG_DEBUG)];
}

/* Clears what stands in the last line of the terminal. */
#define CLEAR_LINE "\r\033[K"

/* Only what calls for attention has its level told; no fields. The progress stays below. */
static void send_to_people(const struct entry *e, int priority)
{
        struct journal_line l = {.n = 0};
        const char *level = priority <= LOG_ERR ? "error: " : priority == LOG_WARNING ? "warning: " : "";
        if (journal.at_terminal)
                put(&l, CLEAR_LINE, strlen(CLEAR_LINE));
        put(&l, level, strlen(level));
        put(&l, e->fields[0].text + e->fields[0].name_len, e->fields[0].len - e->fields[0].name_len);
        put(&l, "\n", 1);
        put(&l, journal.progress, strlen(journal.progress));
        (void)write_all(STDERR_FILENO, l.s, l.n);
}

void journal_line(const char *text)
{
        struct entry e = {.n = 0};
        add(&e, "MESSAGE", text);
        if (journal.for_people) {
                send_to_people(&e, LOG_NOTICE);
                return;
        }
        struct journal_line l = {.n = 0};
        put(&l, e.fields[0].text + e.fields[0].name_len, e.fields[0].len - e.fields[0].name_len);
        put(&l, "\n", 1);
        (void)write_all(STDERR_FILENO, l.s, l.n);
}

void journal_progress(const char *text)
{
        struct winsize ws = {};
        char line[sizeof(journal.progress) + sizeof(CLEAR_LINE)];
        if (!journal.at_terminal)
                return;
        int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1 ? ws.ws_col - 1 : 79;
        snprintf(journal.progress, sizeof(journal.progress), "%.*s", width, text);
        int n = snprintf(line, sizeof(line), CLEAR_LINE "%s", journal.progress);
        (void)write_all(STDERR_FILENO, line, (size_t)n);
}

static void send_to_stderr(const struct entry *e, int priority)
{
        struct journal_line l = {.n = 0};
        const char *level = level_name(priority);
        if (journal.for_people) {
                send_to_people(e, priority);
                return;
        }
        put(&l, level, strlen(level));
        put(&l, " ", 1);
        for (size_t i = 0; i < e->n; i++) {
                const char *text = e->fields[i].text;
                size_t name_len = e->fields[i].name_len;
                if (i == 0)
                        put(&l, text + name_len, e->fields[i].len - name_len);
                if (i < e->head)
                        continue;
                put(&l, " ", 1);
                put(&l, text, name_len);
                put_value(&l, text + name_len);
        }
        l.s[l.n++] = '\n';
        (void)write_all(STDERR_FILENO, l.s, l.n);
}

static void _printf_(4, 0)
        begin(struct entry *e, const char *message_id, int priority, const char *format, va_list ap)
{
        char message[MESSAGE_SIZE];
        uint64_t number = (uint64_t)priority;
        if (vsnprintf(message, sizeof(message), format, ap) < 0)
                message[0] = 0;
        e->used = e->n = 0;
        add(e, "MESSAGE", message);
        add_number(e, "PRIORITY", &number);
        if (message_id)
                add(e, "MESSAGE_ID", message_id);
        e->head = e->n;
}

/* A journal that does not take the entry must not swallow it. */
static void finish(struct entry *e, int priority)
{
        add(e, "CZARD_AUDIT_HEAD", str_empty(journal.audit_head) ? NULL : journal.audit_head);
        if (!journal.to_journal || send_to_journal(e) < 0)
                send_to_stderr(e, priority);
}

void journal_event(enum journal_event event, const struct journal_fields *f, const char *format, ...)
{
        int saved = errno; /* the caller may look at it still */
        int priority = f && f->priority ? f->priority : events[event].priority;
        struct entry e;
        if (priority > journal.level)
                return;
        va_list ap;
        va_start(ap, format);
        begin(&e, events[event].message_id, priority, format, ap);
        va_end(ap);
        add(&e, "CZARD_EVENT", events[event].name);
        if (f)
                add_fields(&e, f);
        finish(&e, priority);
        errno = saved;
}

void journal_debug(const char *format, ...)
{
        int saved = errno;
        struct entry e;
        if (journal.level < LOG_DEBUG)
                return;
        va_list ap;
        va_start(ap, format);
        begin(&e, NULL, LOG_DEBUG, format, ap);
        va_end(ap);
        finish(&e, LOG_DEBUG);
        errno = saved;
}
