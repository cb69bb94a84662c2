/* SPDX-License-Identifier: Apache-2.0 */
/* s3d, a stand-in for S3 in tests: serves a folder of buckets on 127.0.0.1, verifies SigV4, keeps to a data
 * czar's policy, and misbehaves as small files tell it to (behave.h). What an object is on disk: store.h.
 *
 * The way of a request: server.c (on_request, handle) -> list.c, object.c, put.c -> reply.c -> body.c. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "request.h"
#include "server.h"

static const char usage[] =
        "s3d --root DIR --credentials FILE [--port N] [--port-file FILE] [--tls CERT.pem KEY.pem]\n"
        "    [--policy open|czar|czar:ORG] [--region R] [--behaviour-dir DIR] [--log FILE] [--encoded]\n"
        "    [--no-part-number] [--no-checksums] [--kms] [--tls-priorities GNUTLS-STRING]\n"
        "\n"
        "Serves each folder below DIR as a bucket on 127.0.0.1:N (0, the default: any free port, written to "
        "the port\n"
        "file once it listens). Credentials are lines \"ACCESS SECRET [TOKEN] [policy=open|czar:ORG]\"; "
        "lines without\n"
        "policy= get that of --policy (default czar, which then is an error).\n";

struct arguments {
        struct server server;
        uint64_t port;
        const char *port_file, *log, *cert, *key, *tls_priorities;
};

enum {
        OPT_ROOT = 256,
        OPT_PORT,
        OPT_PORT_FILE,
        OPT_TLS,
        OPT_PRIORITIES,
        OPT_CREDENTIALS,
        OPT_POLICY,
        OPT_BEHAVIOUR,
        OPT_REGION,
        OPT_LOG,
        OPT_NO_PART,
        OPT_NO_CHECKSUMS,
        OPT_KMS,
        OPT_ENCODED,
        OPT_HELP
};

static const struct option options[] = {
        {"root", required_argument, NULL, OPT_ROOT},
        {"port", required_argument, NULL, OPT_PORT},
        {"port-file", required_argument, NULL, OPT_PORT_FILE},
        {"tls", required_argument, NULL, OPT_TLS},
        {"tls-priorities", required_argument, NULL, OPT_PRIORITIES},
        {"credentials", required_argument, NULL, OPT_CREDENTIALS},
        {"policy", required_argument, NULL, OPT_POLICY},
        {"behaviour-dir", required_argument, NULL, OPT_BEHAVIOUR},
        {"region", required_argument, NULL, OPT_REGION},
        {"log", required_argument, NULL, OPT_LOG},
        {"no-part-number", no_argument, NULL, OPT_NO_PART},
        {"no-checksums", no_argument, NULL, OPT_NO_CHECKSUMS},
        {"kms", no_argument, NULL, OPT_KMS},
        {"encoded", no_argument, NULL, OPT_ENCODED},
        {"help", no_argument, NULL, OPT_HELP},
        {},
};

/* 0, or -EINVAL. */
static int set_option(struct arguments *a, int option, char **argv)
{
        switch (option) {
        case OPT_ROOT:
                a->server.store.root = optarg;
                return 0;
        case OPT_PORT:
                return parse_number(optarg, &a->port) < 0 || a->port > 65535 ? -EINVAL : 0;
        case OPT_PORT_FILE:
                a->port_file = optarg;
                return 0;
        case OPT_TLS: /* takes two */
                a->cert = optarg;
                a->key = argv[optind] ? argv[optind++] : NULL;
                return a->key ? 0 : -EINVAL;
        case OPT_PRIORITIES:
                a->tls_priorities = optarg;
                return 0;
        case OPT_CREDENTIALS:
                a->server.credentials = optarg;
                return 0;
        case OPT_POLICY:
                a->server.policy = optarg;
                return 0;
        case OPT_BEHAVIOUR:
                a->server.behaviour_dir = optarg;
                return 0;
        case OPT_REGION:
                a->server.region = optarg;
                return 0;
        case OPT_LOG:
                a->log = optarg;
                return 0;
        case OPT_NO_PART:
                return a->server.no_part_number = true, 0;
        case OPT_NO_CHECKSUMS:
                return a->server.no_checksums = true, 0;
        case OPT_KMS:
                return a->server.store.kms = true, 0;
        case OPT_ENCODED:
                return a->server.store.encoded = true, 0;
        default:
                return -EINVAL;
        }
}

static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
        struct arguments a = {.server = {.policy = "czar", .region = "us-east-1", .log_fd = -1},
                .tls_priorities = "NORMAL"};
        struct credentials check = {};
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (option == OPT_HELP || set_option(&a, option, argv) < 0)
                        return -EINVAL;
        if (optind != argc || !a.server.store.root || !a.server.credentials)
                return -EINVAL;
        if (credentials_read(a.server.credentials, a.server.policy, &check) < 0)
                return -EINVAL;
        credentials_done(&check);
        *ret = a;
        return 0;
}

/* Whole or not at all: who waits for the file may read it as soon as it is there. */
static int write_port(const char *path, unsigned port)
{
        _cleanup_free_ char *temp = text_printf("%s.new", path);
        _cleanup_fclose_ FILE *f = fopen(temp, "we");
        if (!f || fprintf(f, "%u\n", port) < 0 || fflush(f) != 0 || rename(temp, path) < 0)
                return -errno;
        return 0;
}

static int serve(struct arguments *a, const char *cert, const char *key)
{
        sigset_t wanted;
        int signal_number;
        sigemptyset(&wanted);
        sigaddset(&wanted, SIGTERM);
        sigaddset(&wanted, SIGINT);
        sigprocmask(SIG_BLOCK, &wanted, NULL); /* before any thread is made */
        signal(SIGPIPE, SIG_IGN);
        struct MHD_Daemon *d = server_start(&a->server, (unsigned)a->port, cert, key, a->tls_priorities);
        if (!d) {
                fprintf(stderr, "s3d: cannot listen on 127.0.0.1:%u\n", (unsigned)a->port);
                return 1;
        }
        unsigned port = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port;
        int r = a->port_file ? write_port(a->port_file, port) : 0;
        if (r < 0)
                fprintf(stderr, "s3d: %s: %s\n", a->port_file, strerror(-r));
        else
                sigwait(&wanted, &signal_number);
        eventfd_write(a->server.stop_fd, 1); /* wakes whoever waits in a behaviour */
        MHD_stop_daemon(d);
        return r < 0;
}

int main(int argc, char **argv)
{
        struct arguments a;
        _cleanup_free_ char *cert = NULL, *key = NULL;
        if (parse_arguments(argc, argv, &a) < 0) {
                fputs(usage, stderr);
                return 2;
        }
        if (a.cert && (read_whole(a.cert, MIB, &cert, NULL) < 0 || read_whole(a.key, MIB, &key, NULL) < 0)) {
                fprintf(stderr, "s3d: cannot read %s and %s\n", a.cert, a.key);
                return 2;
        }
        _cleanup_close_ int stop = eventfd(0, EFD_CLOEXEC);
        _cleanup_close_ int log = a.log ? open(a.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
        if (stop < 0 || (a.log && log < 0)) {
                fprintf(stderr, "s3d: %s: %m\n", a.log);
                return 1;
        }
        a.server.stop_fd = stop;
        a.server.log_fd = log;
        return serve(&a, cert, key);
}
