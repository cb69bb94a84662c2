/* SPDX-License-Identifier: Apache-2.0 */
/* czard-fetch: the side of czard that has the network and the AWS credentials. It reads its own
 * configuration, takes one connection from czard (as its child, or socket-activated), serves requests until
 * czard closes it, and ends.
 *
 *   main -> options, configuration, credentials -> run -> desk.c (requests) -> list.c, get.c -> s3.c ->
 * http.c */
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <uv.h>

#include "../journal.h"
#include "access.h"
#include "config.h"
#include "fetch.h"
#include "fsx.h"
#include "http.h"
#include "s3.h"
#include "sandbox.h"
#include "secret.h"

#define EXIT_USAGE 2
#define EXIT_CANNOT 3
#define PROXY_CREDENTIAL "czard.proxy"
#define PROXY_MAX 2048
#define PORT_DNS 53

struct fetch_options {
        const char *config;
        int channel, listener; /* -1: not given */
};

struct fetch_program {
        uv_loop_t loop;
        uv_poll_t signals;
        int signal_fd; /* SIGTERM and SIGINT, which are blocked */
        uv_timer_t watchdog;
        uv_poll_t listener; /* while we wait for czard under systemd */
        int listen_fd;      /* -1: none */
        struct config *config;
        struct access *access;
        struct secret proxy;
        struct strbuf source; /* for HELLO */
        char missing[256];    /* for HELLO: what could not be locked */
        struct http *http;
        struct s3 *s3;
        struct desk *desk;
        int status; /* to exit with */
};

/* --- the end --- */

static void stop(struct fetch_program *f, int status)
{
        f->status = status;
        uv_stop(&f->loop);
}

static int fatal(const struct error *e)
{
        journal_event(EVENT_FAILED, &(struct journal_fields){.cause = e->cause}, "%s", e->text);
        return e->cause == CAUSE_CONFIG ? EXIT_USAGE : EXIT_CANNOT;
}

static void on_signal(uv_poll_t *poll, int status, int events)
{
        (void)status;
        (void)events;
        stop(poll->data, 0);
}

static void on_desk_closed(void *arg, const struct error *e)
{
        stop(arg, e->err == EPIPE || e->err == ECONNRESET ? 0 : fatal(e));
}

/* --- the connection --- */

static int serve(struct fetch_program *f, int fd)
{
        const struct desk_config config = {
                .access = f->access,
                .s3 = f->s3,
                .source = f->source.s,
                .warning = f->missing,
                .closed = on_desk_closed,
                .arg = f,
        };
        return desk_new(&f->loop, fd, &config, &f->desk);
}

/* The first connection is czard's, and the only one we take. Our descriptor of the listening socket is closed
 * then: a later connection waits in systemd's until this process has ended, and starts the next one. So after
 * a reload czard can connect again while its running transfers end here. */
static void on_connection(uv_poll_t *poll, int status, int events)
{
        struct fetch_program *f = poll->data;
        (void)status;
        (void)events;
        int fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return;
        uv_poll_stop(&f->listener);
        uv_close((uv_handle_t *)&f->listener, NULL);
        f->listen_fd = close_fd(f->listen_fd);
        int r = serve(f, fd);
        if (r < 0) {
                struct error e;
                error_set(&e, CAUSE_INTERNAL, -r, "cannot serve the connection: %s", strerror(-r));
                stop(f, fatal(&e));
        }
}

static int wait_for_connection(struct fetch_program *f, int fd)
{
        int r = fd_nonblock(fd, 1);
        if (r >= 0)
                r = uv_poll_init(&f->loop, &f->listener, fd);
        if (r < 0)
                return r;
        f->listen_fd = fd;
        f->listener.data = f;
        return uv_poll_start(&f->listener, UV_READABLE, on_connection);
}

/* --- the start --- */

/* The whole URL, with its password, so that it stands in no configuration file. */
static int load_proxy(struct fetch_program *f, struct error *e)
{
        _cleanup_close_ int dir = access_open_directory();
        if (dir < 0)
                return 0;
        _cleanup_close_ int fd = openat(dir, PROXY_CREDENTIAL, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        int r = fd < 0 ? -errno : secret_read_line(fd, PROXY_MAX, &f->proxy);
        if (r < 0)
                return error_set(e, CAUSE_CONFIG, -r, "credential " PROXY_CREDENTIAL ": %s", strerror(-r));
        return 0;
}

static int load_config(struct fetch_program *f, const char *path, struct error *e)
{
        struct strv more = {};
        int r = config_load(path, &f->config, e, &more);
        strv_done(&more); /* czard reads the same files and says it all */
        if (r < 0) {
                e->cause = CAUSE_CONFIG;
                return r;
        }
        journal_level(f->config->log_level);
        return 0;
}

static const char *const readable[] = {
        "/etc/ssl",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
        "/etc/resolv.conf",
        "/run/systemd/resolve",
        "/run/resolvconf",
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/host.conf",
        "/etc/gai.conf",
        "/etc/services",
        "/etc/localtime",
        "/usr/share/zoneinfo",
        "/etc/ld.so.cache", /* for the resolver's modules */
        "/usr/lib",
        "/lib",
        "/lib64",
        "/dev/urandom",
};

/* What can be reached from here on: no file but CA certificates, resolver and time zone data, no TCP but to
 * the endpoint or proxy and to name servers. A rule on a file holds for the file, not for its name: when
 * /etc/resolv.conf is replaced the name cannot be resolved any more; czard renews czard-fetch after a name
 * that did not resolve, which mends that. proxy: the one in force, NULL: none. missing: what the kernel
 * cannot restrict. */
static int lock_down(
        const struct config *config, const char *proxy, char *missing, size_t size, struct error *e)
{
        static const int families[] = {AF_UNIX, AF_INET, AF_INET6, -1};
        struct sandbox_path paths[ELEMENTSOF(readable) + 1];
        const uint16_t ports[] = {PORT_DNS, s3_host_port(&config->s3, proxy)};
        size_t n = 0;
        for (size_t i = 0; i < ELEMENTSOF(readable); i++)
                paths[n++] = (struct sandbox_path){readable[i], SANDBOX_READ};
        if (config->s3.ca_file)
                paths[n++] = (struct sandbox_path){config->s3.ca_file, SANDBOX_READ};
        const struct sandbox s = {.paths = paths,
                .n_paths = n,
                .tcp_ports = ports,
                .n_tcp_ports = ELEMENTSOF(ports),
                .families = families};
        return sandbox_enter(&s, missing, size, e);
}

static int start(struct fetch_program *f, const struct fetch_options *o, struct error *e)
{
        int r = load_config(f, o->config, e);
        if (r == 0)
                r = access_new(f->config, &f->access, e);
        if (r == 0)
                r = load_proxy(f, e);
        if (r < 0)
                return r;
        r = lock_down(f->config, f->proxy.len > 0 ? f->proxy.p : f->config->s3.proxy, f->missing,
                sizeof(f->missing), e);
        if (r < 0)
                return r;
        strbuf_printf(&f->source, "%s%s", access_source(f->access),
                f->proxy.len > 0 ? "; proxy from the credential " PROXY_CREDENTIAL : "");
        const struct config_s3 *s3 = &f->config->s3;
        const struct http_config http = {
                .ca_file = s3->ca_file,
                .proxy = f->proxy.len > 0 ? f->proxy.p : s3->proxy,
                .allow_http = s3->endpoint && str_after(s3->endpoint, "http://"),
                .stall_usec = s3->stall_timeout_usec,
                .bytes_per_second = s3->bandwidth_limit,
                .max_connections = (unsigned)s3->max_transfers + 2,
        };
        r = http_new(&f->loop, &http, &f->http, e);
        if (r < 0)
                return r;
        r = s3_new(f->http, s3, &f->s3);
        if (r == 0)
                r = f->source.err;
        if (r == 0)
                r = o->channel >= 0 ? serve(f, o->channel) : wait_for_connection(f, o->listener);
        return r < 0 ? error_set(e, CAUSE_INTERNAL, -r, "cannot start: %s", strerror(-r)) : 0;
}

static void on_watchdog(uv_timer_t *timer)
{
        (void)timer;
        sd_notify(0, "WATCHDOG=1");
}

static void start_watchdog(struct fetch_program *f)
{
        uint64_t usec = 0;
        uv_timer_init(&f->loop, &f->watchdog);
        if (sd_watchdog_enabled(0, &usec) <= 0)
                return;
        uv_timer_start(&f->watchdog, on_watchdog, 0, usec / USEC_PER_MSEC / 2);
        uv_unref((uv_handle_t *)&f->watchdog);
}

static void close_handle(uv_handle_t *h, void *arg)
{
        (void)arg;
        if (!uv_is_closing(h))
                uv_close(h, NULL);
}

/* For good, and before there are threads: one that comes while it ends must not change its exit status. */
static int block_signals(void)
{
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int run(const struct fetch_options *o, int signal_fd)
{
        struct fetch_program f = {.listen_fd = -1, .signal_fd = signal_fd};
        struct error e = {};
        uv_loop_init(&f.loop);
        uv_poll_init(&f.loop, &f.signals, f.signal_fd);
        f.signals.data = &f;
        uv_poll_start(&f.signals, UV_READABLE, on_signal);
        start_watchdog(&f);
        if (start(&f, o, &e) < 0) {
                f.status = fatal(&e);
        } else {
                journal_debug("czard-fetch " CZARD_VERSION " serves czard; %s", f.source.s);
                uv_run(&f.loop, UV_RUN_DEFAULT);
        }
        f.desk = desk_free(f.desk);
        f.s3 = s3_free(f.s3);
        f.http = http_free(f.http);
        /* What is still open is ours: signals and the listener. The rest closes itself. */
        uv_walk(&f.loop, close_handle, NULL);
        uv_run(&f.loop, UV_RUN_DEFAULT);
        uv_loop_close(&f.loop);
        close_fd(f.listen_fd);
        close_fd(f.signal_fd);
        f.access = access_free(f.access);
        f.config = config_free(f.config);
        secret_done(&f.proxy);
        strbuf_done(&f.source);
        return f.status;
}

/* --- options --- */

static void help(void)
{
        puts("czard-fetch [--config FILE] [--socket-fd N] [--version] [--help]\n"
             "\n"
             "Fetches from S3 for czard(8), which starts it, or systemd does when czard connects.\n"
             "There is nothing to be done with it by hand.\n"
             "\n"
             "  --config FILE    configuration (" CONFIG_DEFAULT_PATH ")\n"
             "  --socket-fd N    a listening SOCK_SEQPACKET socket instead of the one systemd passes\n"
             "  --version        print the version\n"
             "  --help           print this");
}

static int parse_fd(const char *s, int *ret)
{
        uint64_t v;
        if (parse_u64(s, 1 << 20, &v) < 0 || fcntl((int)v, F_GETFD) < 0) {
                fprintf(stderr, "czard-fetch: not an open descriptor: %s\n", s);
                return EXIT_USAGE;
        }
        *ret = (int)v;
        return -1;
}

/* -1: go on; else the status to exit with. */
static int parse_options(int argc, char **argv, struct fetch_options *o)
{
        enum { OPT_CONFIG = 256, OPT_CHANNEL, OPT_SOCKET, OPT_VERSION, OPT_HELP };
        static const struct option known[] = {
                {"config", required_argument, NULL, OPT_CONFIG},
                {"channel", required_argument, NULL, OPT_CHANNEL},
                {"socket-fd", required_argument, NULL, OPT_SOCKET},
                {"version", no_argument, NULL, OPT_VERSION},
                {"help", no_argument, NULL, OPT_HELP},
                {},
        };
        int r = -1;
        for (int c; r < 0 && (c = getopt_long(argc, argv, "", known, NULL)) >= 0;) {
                switch (c) {
                case OPT_CONFIG:
                        o->config = optarg;
                        break;
                case OPT_CHANNEL:
                        r = parse_fd(optarg, &o->channel);
                        break;
                case OPT_SOCKET:
                        r = parse_fd(optarg, &o->listener);
                        break;
                case OPT_VERSION:
                        puts("czard-fetch " CZARD_VERSION);
                        return 0;
                case OPT_HELP:
                        help();
                        return 0;
                default:
                        return EXIT_USAGE;
                }
        }
        if (r < 0 && optind < argc) {
                fprintf(stderr, "czard-fetch: unexpected argument: %s\n", argv[optind]);
                return EXIT_USAGE;
        }
        return r;
}

/* Where the connection comes from: --channel, --socket-fd, or systemd. */
static int find_socket(struct fetch_options *o)
{
        int n = sd_listen_fds(1);
        if (o->channel < 0 && o->listener < 0 && n == 1)
                o->listener = SD_LISTEN_FDS_START;
        if ((o->channel >= 0) != (o->listener >= 0))
                return -1;
        fputs("czard-fetch: no connection: czard starts it, or systemd through czard-fetch.socket\n", stderr);
        return EXIT_USAGE;
}

/* The connection, above standard error: systemd-run can hand it over as standard input only. Everything else
 * that we were not given is closed. The descriptor or -errno. */
static int own_descriptors(int fd)
{
        int null = fd == STDIN_FILENO ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
        if (fd == STDIN_FILENO) {
                fd = fcntl(fd, F_DUPFD, STDERR_FILENO + 1);
                if (fd < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
                        return -errno;
        }
        close_from(fd + 1);
        return fd;
}

int main(int argc, char **argv)
{
        struct fetch_options o = {.config = CONFIG_DEFAULT_PATH, .channel = -1, .listener = -1};
        process_harden();
        int r = parse_options(argc, argv, &o);
        if (r < 0)
                r = find_socket(&o);
        if (r >= 0)
                return r;
        int fd = own_descriptors(o.channel >= 0 ? o.channel : o.listener);
        if (fd < 0) {
                perror("czard-fetch: descriptors");
                return EXIT_CANNOT;
        }
        *(o.channel >= 0 ? &o.channel : &o.listener) = fd;
        fd_cloexec(fd, 1);
        journal_open();
        int signal_fd = block_signals();
        if (signal_fd < 0) {
                perror("czard-fetch: signalfd");
                return EXIT_CANNOT;
        }
        if (o.channel >= 0)
                prctl(PR_SET_PDEATHSIG, SIGTERM);
        signal(SIGPIPE, SIG_IGN);
        curl_global_init(CURL_GLOBAL_DEFAULT);
        r = run(&o, signal_fd);
        curl_global_cleanup();
        return r;
}
