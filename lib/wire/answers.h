/* SPDX-License-Identifier: Apache-2.0 */
/* Which answers a request may have, and what the helper that answers it can know. One that says anything else
 * is broken or in other hands: it is to be killed, and what it said does not count. */
#pragma once

#include "proto.h"

/* A request, told apart as far as it matters for what can be known. */
enum request_kind {
        REQUEST_NONE, /* the message is no request */
        REQUEST_LIST,
        REQUEST_WHOLE, /* GET of an object */
        REQUEST_RANGE, /* GET of a part of one: its digests cannot be compared */
        REQUEST_SETUP,
        REQUEST_FILE, /* FILE of FORMAT_OPAQUE */
        REQUEST_GZIP, /* FILE of another format */
        REQUEST_DIRECTORY,
        REQUEST_MEMBERS,
        REQUEST_SPLIT,
        REQUEST_MAX
};
enum request_kind request_kind_of(const struct message *m);

/* 0, or -EPROTO and e (what the helper did, to stand behind its name): an answer of another type, or with a
 * check or a cause that is not in the table. */
int answer_check(enum request_kind kind, const struct message *answer, struct error *e);

/* The answers that a czard-decrypt, czard-index or czard-filter still owes: it does one request after the
 * other, and within a request one member after the other. */
#define OWED_MAX 4 /* requests */
struct owed {
        struct {
                uint32_t id, n, told; /* n: answers that end something: one, or one a member */
                enum request_kind kind;
        } v[OWED_MAX];
        size_t n;  /* 0: everything is answered */
        bool last; /* there is no other worker to do it: it must not answer CAUSE_REFERENCE */
};
/* It was sent. 0, or -ENOBUFS: too many are under way. */
int owed_add(struct owed *o, const struct message *request);
/* It answers. 0, or -EPROTO and e: an answer to something else, out of turn, or one that answer_check()
 * refuses. */
int owed_take(struct owed *o, const struct message *answer, struct error *e);
