/* SPDX-License-Identifier: Apache-2.0 */
/* One request, from its raw request line to its line in the log.
 *
 *   struct server (main.c)        what the command line said; lives as long as the program
 *      ^
 *   struct request (server.c)     made when the request line was read, freed when the answer is complete
 *      |-- struct behaviour       what is to go wrong (behave.h)
 *      |-- struct reply           status, headers and body, until it is queued (reply.c)
 *      |-- struct body            the body on its way, with its faults (body.c)
 *      `-- struct upload          of a PUT (put.c)
 */
#pragma once

#include <microhttpd.h>

#include "auth.h"
#include "behave.h"
#include "store.h"

struct server {
        struct store store;
        const char *credentials, *policy, *behaviour_dir, *region;
        bool no_part_number, no_checksums;
        int log_fd;  /* -1: none */
        int stop_fd; /* readable when the program ends */
};

enum op { OP_LIST, OP_GET, OP_HEAD, OP_PUT, OP_DELETE, OP_BUCKET, OP_OTHER };

struct body;
struct upload;

struct reply {
        int status;
        struct name_value *headers;
        size_t n_headers;
        struct content *content; /* NULL: no body */
        uint64_t start, length;  /* what of it */
};

struct request {
        struct server *server;
        struct MHD_Connection *connection;
        char *target, *method;
        struct sv_header *headers;
        size_t n_headers;
        char *bucket, *key; /* NULL: none */
        struct name_value *params;
        size_t n_params;
        enum op op;
        bool started;
        int parsed; /* what request_parse() said */
        struct credentials credentials;
        const struct credential *who;
        struct behaviour *behaviour;
        struct upload *upload;
        struct reply reply;
        /* for the log */
        const char *code;
        int status;
        uint64_t sent;
        unsigned at_once; /* GETs under way when this one came, itself included; 0: no GET */
        bool logged;
};

/* request.c: what is asked */
struct request *request_new(struct server *s, const char *raw_target);
/* Fills method, headers, bucket, key, parameters, op. 0, or -EINVAL: a 400. */
int request_parse(struct request *q, const char *method);
const char *request_header(const struct request *q, const char *name);
const char *request_param(const struct request *q, const char *name);
const char *op_name(enum op op);
struct request *request_free(struct request *q);

/* policy.c: whether the one who asks may */
bool policy_allows(const struct request *q);
/* Whether a key that is absent is a 404 (or, for who may not list, a 403). */
bool policy_shows_absence(const struct request *q);

/* reply.c: each returns what the access handler returns to libmicrohttpd */
void reply_header(struct request *q, const char *name, const char *format, ...) _printf_(3, 4);
enum MHD_Result reply_error(
        struct request *q, int status, const char *code, const char *message, const char *extra);
enum MHD_Result reply_text(struct request *q, int status, const char *content_type, char *body, size_t n);
/* Queues q->reply, as its behaviour changes it. */
enum MHD_Result reply_send(struct request *q);
time_t request_now(const struct request *q);
/* One line, once: METHOD bucket key op range status bytes code=... behaviour=... if_match=... connection=N
 * at_once=M. Requests with the same N came on one connection; the first is 1. M of a GET: how many were under
 * way when it came, itself included. */
void request_log(struct request *q);
/* From here to its line it is under way. */
void request_count(struct request *q);

/* body.c: a response that sends q->reply's bytes with the faults of q->behaviour. Takes the content. */
struct MHD_Response *body_response(struct request *q);
/* 0 when the time is over, -EPIPE when the client or we are going. */
int request_wait(struct request *q, uint64_t usec);
/* Ends the connection with RST, once the client has what was sent. */
void request_reset(struct request *q);

/* the operations */
enum MHD_Result list_objects(struct request *q);
enum MHD_Result get_object(struct request *q); /* and HEAD */
enum MHD_Result put_begin(struct request *q);  /* MHD_YES without an answer: go on with put_data() */
void put_data(struct request *q, const char *p, size_t n);
enum MHD_Result put_end(struct request *q);
enum MHD_Result delete_object(struct request *q);
struct upload *upload_free(struct upload *u);
