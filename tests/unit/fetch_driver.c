/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "digest.h"
#include "fetch_driver.h"
#include "fsx.h"
#include "limits.h"

/* --- the world --- */

void world_write(const struct world *w, const char *path, const void *p, size_t n)
{
        char folder[1200];
        snprintf(folder, sizeof(folder), "%s", path);
        for (char *slash = folder; (slash = strchr(slash, '/')); *slash++ = '/') {
                *slash = 0;
                (void)mkdirat(w->dir_fd, folder, 0755);
        }
        _cleanup_close_ int fd = openat(w->dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, p, n), 0);
}

static void write_text(const struct world *w, const char *path, const char *text)
{
        world_write(w, path, text, strlen(text));
}

static void run(const char *line)
{
        assert_int_equal(system(line), 0);
}

static void start_s3d(struct world *w, const struct world_options *o)
{
        char root[80], credentials[80], port[80], behaviours[80], log[80], cert[80], key[80];
        snprintf(root, sizeof(root), "%s/root", w->dir);
        snprintf(credentials, sizeof(credentials), "%s/s3d.credentials", w->dir);
        snprintf(port, sizeof(port), "%s/port", w->dir);
        snprintf(behaviours, sizeof(behaviours), "%s/behave", w->dir);
        snprintf(log, sizeof(log), "%s/log", w->dir);
        snprintf(cert, sizeof(cert), "%s/cert.pem", w->dir);
        snprintf(key, sizeof(key), "%s/key.pem", w->dir);
        const char *argv[24] = {S3D, "--root", root, "--credentials", credentials, "--port-file", port,
                "--behaviour-dir", behaviours, "--log", log};
        size_t n = 11;
        if (o->tls) {
                argv[n++] = "--tls";
                argv[n++] = cert;
                argv[n++] = key;
        }
        if (o->no_part_number)
                argv[n++] = "--no-part-number";
        if (o->tls_priorities) {
                argv[n++] = "--tls-priorities";
                argv[n++] = o->tls_priorities;
        }
        w->s3d = fork();
        assert_true(w->s3d >= 0);
        if (w->s3d == 0) {
                union {
                        const char **in;
                        char **out;
                } args = {.in = argv};
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                execv(S3D, args.out);
                _exit(127);
        }
        for (int i = 0; i < PATIENCE_MSEC / 10; i++) {
                _cleanup_free_ char *text = NULL;
                size_t len;
                if (read_file_at(w->dir_fd, "port", 16, &text, &len) == 0 && strchr(text, '\n')) {
                        w->port = (unsigned)atoi(text);
                        return;
                }
                usleep(10000);
        }
        fail_msg("s3d does not listen");
}

void world_start(struct world *w, const struct world_options *o)
{
        *w = (struct world){.tls = o->tls};
        char line[512];
        snprintf(w->dir, sizeof(w->dir), "/tmp/czard-fetch-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(w->dir_fd >= 0);
        write_text(w, "root/" FETCH_BUCKET "/other-org/x", "x");
        write_text(w, "root/course-data/universityx-2024-07-14.zip", "");
        write_text(w, "behave/.keep", "");
        write_text(w, "s3d.credentials", FETCH_ID " " FETCH_SECRET " policy=czar:universityx\n");
        if (o->tls) {
                snprintf(line, sizeof(line),
                        "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "
                        "2 "
                        "-subj /CN=s3d -addext subjectAltName=%s -keyout key.pem -out cert.pem 2>/dev/null",
                        w->dir, o->alt_name ? o->alt_name : "IP:127.0.0.1");
                run(line);
        }
        start_s3d(w, o);
}

void world_stop(struct world *w)
{
        char line[128];
        kill(w->s3d, SIGTERM);
        waitpid(w->s3d, NULL, 0);
        close(w->dir_fd);
        snprintf(line, sizeof(line), "rm -r %s", w->dir);
        run(line);
}

/* MD5 of the MD5s of the parts, or of all. */
static void make_etag(const uint8_t *p, size_t n, size_t part_size, char ret[64])
{
        uint8_t md5[DIGEST_MAX];
        char hex[33];
        unsigned parts = 0;
        struct digest *all;
        assert_int_equal(digest_new(DIGEST_MD5, &all), 0);
        for (size_t i = 0; part_size > 0 && i < n; i += part_size, parts++) {
                digest_once(DIGEST_MD5, p + i, MIN(part_size, n - i), md5);
                digest_update(all, md5, 16);
        }
        if (part_size == 0)
                digest_update(all, p, n);
        digest_final(all, md5);
        digest_free(all);
        hex_encode(md5, 16, hex);
        if (parts > 0)
                snprintf(ret, 64, "\"%s-%u\"", hex, parts);
        else
                snprintf(ret, 64, "\"%s\"", hex);
}

const char *world_object(
        const struct world *w, const char *name, const void *p, size_t n, const char *meta, char ret[64])
{
        char path[512];
        const char *part = meta ? strstr(meta, "part_size=") : NULL;
        snprintf(path, sizeof(path), "root/" FETCH_BUCKET "/" FETCH_EVENTS "%s", name);
        world_write(w, path, p, n);
        snprintf(path, sizeof(path), "root/.meta/" FETCH_BUCKET "/" FETCH_EVENTS "%s", name);
        if (meta)
                write_text(w, path, meta);
        make_etag(p, n, part ? strtoul(part + strlen("part_size="), NULL, 10) : 0, ret);
        return ret;
}

void world_behave(const struct world *w, const char *lines)
{
        /* A new name each time: s3d counts from when the file was written. */
        static unsigned serial;
        char name[32];
        snprintf(name, sizeof(name), "behave/%u", serial);
        unlinkat(w->dir_fd, name, 0);
        snprintf(name, sizeof(name), "behave/%u", ++serial);
        if (lines)
                write_text(w, name, lines);
}

unsigned world_count_log(const struct world *w, const char *text)
{
        _cleanup_free_ char *log = NULL;
        size_t n;
        unsigned count = 0;
        assert_int_equal(read_file_at(w->dir_fd, "log", 1 << 20, &log, &n), 0);
        char *rest = log;
        for (char *line; (line = strsep(&rest, "\n"));)
                count += strstr(line, text) != NULL;
        _cleanup_close_ int fd = openat(w->dir_fd, "log", O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_true(fd >= 0);
        return count;
}

/* --- czard-fetch --- */

static void write_config(const struct world *w, const struct fetch_options *o)
{
        char text[2048], credentials[512];
        int n = snprintf(text, sizeof(text),
                "[s3]\nendpoint = http%s://127.0.0.1:%u\ncredentials = %s/s3.csv\n%s\n", w->tls ? "s" : "",
                w->port, w->dir, o->s3 ? o->s3 : "");
        if (w->tls && !o->no_ca)
                n += snprintf(text + n, sizeof(text) - (size_t)n, "ca_file = %s/cert.pem\n", w->dir);
        snprintf(text + n, sizeof(text) - (size_t)n,
                "[staging]\npath = %s/staging\n[package universityx]\n"
                "events = s3://" FETCH_BUCKET "/universityx/\nrdx = s3://" FETCH_BUCKET "/universityx/\n"
                "database = s3://course-data/\nemail_opt_in = s3://course-data/email-opt-in/\n",
                w->dir);
        write_text(w, "czard.ini", text);
        snprintf(credentials, sizeof(credentials),
                "User Name,Access Key Id,Secret Access Key\r\n\"czar@universityx.org\"," FETCH_ID ",%s\r\n",
                o->secret ? o->secret : FETCH_SECRET);
        write_text(w, "s3.csv", o->credentials ? o->credentials : credentials);
}

static void exec_fetch(const struct world *w, const struct fetch_options *o, int fd)
{
        char config[80], directory[80];
        snprintf(config, sizeof(config), "%s/czard.ini", w->dir);
        if (o->directory) {
                snprintf(directory, sizeof(directory), "%s/%s", w->dir, o->directory);
                setenv("CREDENTIALS_DIRECTORY", directory, 1);
        }
        /* None of these may have any effect. */
        setenv("http_proxy", "http://127.0.0.1:9", 1);
        setenv("https_proxy", "http://127.0.0.1:9", 1);
        setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG", 1);
        setenv("AWS_SECRET_ACCESS_KEY", "wrong", 1);
        if (fd == 3)
                fd_cloexec(3, 0);
        else
                dup2(fd, 3);
        close_from(4);
        execl(CZARD_FETCH, CZARD_FETCH, "--config", config, o->activated ? "--socket-fd" : "--channel", "3",
                (char *)NULL);
        _exit(127);
}

static int listen_at(const struct world *w, struct sockaddr_un *ret)
{
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/socket", w->dir);
        unlink(ret->sun_path);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        union {
                struct sockaddr_un *un;
                struct sockaddr *generic;
        } address = {.un = ret};
        assert_int_equal(bind(fd, address.generic, sizeof(*ret)), 0);
        assert_int_equal(listen(fd, 4), 0);
        return fd;
}

static void wait_readable(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_MSEC), 1);
}

void fetch_receive(struct fetch *f, uint32_t id, struct message *ret)
{
        struct error e = {};
        int r;
        for (;;) {
                wait_readable(f->sock);
                r = proto_recv(f->sock, ret, &e);
                if (r < 0 || ret->type != PROTO_PROGRESS)
                        break;
                message_done(ret); /* it says that it lives */
        }
        if (r < 0)
                print_error("proto_recv: %s %s\n", strerror(-r), e.text);
        assert_int_equal(r, 0);
        assert_int_equal(ret->id, id);
}

void fetch_start(struct fetch *f, const struct world *w, const struct fetch_options *o)
{
        static const struct fetch_options none;
        int pair[2] = {-1, -1};
        struct sockaddr_un address;
        o = o ? o : &none;
        *f = (struct fetch){};
        write_config(w, o);
        if (o->activated)
                pair[1] = listen_at(w, &address);
        else
                assert_int_equal(proto_pair(pair), 0);
        f->pid = fork();
        assert_true(f->pid >= 0);
        if (f->pid == 0)
                exec_fetch(w, o, pair[1]);
        if (o->activated) {
                union {
                        struct sockaddr_un *un;
                        struct sockaddr *generic;
                } to = {.un = &address};
                pair[0] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                assert_int_equal(connect(pair[0], to.generic, sizeof(address)), 0);
        }
        close(pair[1]);
        f->sock = pair[0];
        struct message m = {};
        fetch_receive(f, 0, &m);
        assert_int_equal(m.type, PROTO_HELLO);
        assert_int_equal(m.hello.version, PROTO_VERSION);
        f->source = strdup(m.hello.credentials_source);
        message_done(&m);
}

void fetch_stop(struct fetch *f)
{
        int status = -1;
        close(f->sock);
        free(f->source);
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        assert_int_equal(status, 0);
}

void fetch_ask_list(struct fetch *f, const char *bucket, const char *prefix, const char *start_after)
{
        struct message m = {
                .type = PROTO_LIST,
                .id = ++f->id,
                .list = {.bucket = bucket, .prefix = prefix, .start_after = start_after},
        };
        assert_int_equal(proto_send(f->sock, &m), 0);
}

void fetch_take_list(struct fetch *f, struct listing *ret)
{
        *ret = (struct listing){};
        for (;;) {
                struct message got = {};
                fetch_receive(f, f->id, &got);
                if (got.type == PROTO_DONE) {
                        ret->done = got;
                        return;
                }
                assert_int_equal(got.type, PROTO_LISTED);
                for (size_t i = 0; i < got.listed.n; i++) {
                        assert_int_equal(strv_add(&ret->keys, got.listed.objects[i].key), 0);
                        ret->objects = realloc(ret->objects, ret->keys.n * sizeof(*ret->objects));
                        assert_non_null(ret->objects);
                        ret->objects[ret->keys.n - 1] = got.listed.objects[i];
                }
                message_done(&got);
        }
}

void fetch_list(
        struct fetch *f, const char *bucket, const char *prefix, const char *start_after, struct listing *ret)
{
        fetch_ask_list(f, bucket, prefix, start_after);
        fetch_take_list(f, ret);
}

void listing_done(struct listing *l)
{
        strv_done(&l->keys);
        free(l->objects);
        message_done(&l->done);
}

uint32_t fetch_ask(struct fetch *f, const struct proto_get *get, int *ret_pipe)
{
        int p[2];
        char key[LIMIT_S3_KEY + 1];
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        snprintf(key, sizeof(key), "%s%s", get->bucket ? "" : FETCH_EVENTS, get->key);
        struct message m = {.type = PROTO_GET, .id = ++f->id, .get = *get, .fds = {p[1]}, .n_fds = 1};
        if (!get->bucket)
                m.get.bucket = FETCH_BUCKET;
        m.get.key = key;
        assert_int_equal(proto_send(f->sock, &m), 0);
        close(p[1]);
        *ret_pipe = p[0];
        return m.id;
}

void fetch_take(struct fetch *f, uint32_t id, int pipe, struct got *ret)
{
        *ret = (struct got){};
        size_t size = 0;
        for (;;) {
                wait_readable(pipe);
                if (ret->n == size)
                        ret->p = realloc(ret->p, size = size ? 2 * size : 65536);
                assert_non_null(ret->p);
                ssize_t k = read(pipe, ret->p + ret->n, size - ret->n);
                assert_true(k >= 0);
                if (k == 0)
                        break;
                ret->n += (size_t)k;
        }
        close(pipe);
        /* DONE was sent before: else the worker's word of a message that ends too early could come first. */
        struct pollfd sent = {.fd = f->sock, .events = POLLIN};
        assert_int_equal(poll(&sent, 1, 0), 1);
        fetch_receive(f, id, &ret->done);
        assert_int_equal(ret->done.type, PROTO_DONE);
}

void fetch_get(struct fetch *f, const struct proto_get *get, struct got *ret)
{
        int pipe;
        uint32_t id = fetch_ask(f, get, &pipe);
        fetch_take(f, id, pipe, ret);
}

void got_done(struct got *g)
{
        free(g->p);
        message_done(&g->done);
}

void fetch_cancel(struct fetch *f, uint32_t id)
{
        struct message m = {.type = PROTO_CANCEL, .id = id};
        assert_int_equal(proto_send(f->sock, &m), 0);
}

unsigned long fetch_ticks(const struct fetch *f)
{
        char path[64], text[1024];
        unsigned long user, system;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)f->pid);
        _cleanup_fclose_ FILE *file = fopen(path, "re");
        assert_non_null(file);
        assert_non_null(fgets(text, sizeof(text), file));
        const char *p = strrchr(text, ')');
        assert_int_equal(
                sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
        return user + system;
}
