/* SPDX-License-Identifier: Apache-2.0 */
/* A table: what was delivered, what is staged, what is asked; what is due. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "courses.h"
#include "due.h"

#define BASE "A/events/edx/2024-01-01.log.gz.gpg"
#define AGAIN "A/events/edx/2024-01-01-r2.log.gz.gpg"
#define ID "k events/edx/2024-01-01"
#define DAY 86400
#define NOW ((int64_t)20000 * DAY)
#define H1 "1111111111111111111111111111111111111111111111111111111111111111"
#define H2 "2222222222222222222222222222222222222222222222222222222222222222"

/* Of a row: it was delivered with the input H1, and its record stands at that state. */
#define DELIVERED(state_) .has_record = true, .state = (state_), .was = H1

static enum input_word word;

static enum input_word say_word(void *arg, const char *path)
{
        (void)arg;
        (void)path;
        return word;
}

struct row {
        const char *what;
        enum delivery_mode mode;
        bool over, has_record, revoked, again, more, held, renamed, older, unsplit;
        const char *recipients, *had; /* now, and then; NULL: "a" */
        enum record_state state;
        int age_days;
        const char *was, *now; /* hash of the input; NULL: none */
        enum input_word word;
        const char *item,
                *leaves; /* the name that is due, the reason of the record's leave ("": its time is over) */
        bool supersedes;
        size_t waiting;
};

static const struct row rows[] = {
        {.what = "new", .now = H1, .item = BASE},
        {.what = "delivered", DELIVERED(RECORD_OUT), .now = H1},
        {.what = "left, the same", DELIVERED(RECORD_LEFT), .now = H1},
        {.what = "replaced", DELIVERED(RECORD_OUT), .now = H2, .item = AGAIN, .supersedes = true},
        {.what = "redacted",
                DELIVERED(RECORD_OUT),
                .now = H2,
                .word = INPUT_REDACTED,
                .item = AGAIN,
                .leaves = "redacted"},
        {.what = "removed", DELIVERED(RECORD_OUT), .word = INPUT_REMOVED, .leaves = "removed"},
        {.what = "removed after it left", DELIVERED(RECORD_LEFT), .word = INPUT_REMOVED, .leaves = "removed"},
        {.what = "missing", DELIVERED(RECORD_OUT), .word = INPUT_MISSING},
        {.what = "not listed", DELIVERED(RECORD_OUT), .word = INPUT_THERE, .leaves = "not listed any more"},
        {.what = "not listed after it left",
                DELIVERED(RECORD_LEFT),
                .word = INPUT_THERE,
                .leaves = "not listed any more"},
        {.what = "its time is over", .age_days = 31, DELIVERED(RECORD_OUT), .now = H1, .leaves = ""},
        {.what = "destroyed, listed again", DELIVERED(RECORD_DESTROY), .now = H1, .item = AGAIN},
        {.what = "until", .over = true, DELIVERED(RECORD_OUT), .now = H2, .leaves = "the delivery is over"},
        {.what = "until, nothing delivered", .over = true, .now = H1},
        {.what = "revoked", .revoked = true, DELIVERED(RECORD_LEFT), .now = H2, .leaves = "why"},
        {.what = "later recipients", .recipients = "a b", DELIVERED(RECORD_OUT), .now = H1},
        {.what = "later recipients, again",
                .recipients = "a b",
                .again = true,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .supersedes = true},
        {.what = "the same recipients, again", .again = true, DELIVERED(RECORD_OUT), .now = H1},
        {.what = "a recipient is taken off",
                .had = "a b",
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .leaves = "a recipient is not listed any more"},
        {.what = "a recipient is taken off, in mode once, and something newer came",
                .mode = DELIVERY_ONCE,
                .older = true,
                .more = true,
                .had = "b a",
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .leaves = "a recipient is not listed any more"},
        {.what = "a recipient is taken off after it left", .had = "a b", DELIVERED(RECORD_LEFT), .now = H1},
        {.what = "a recipient is taken off, and its time is over",
                .had = "a b",
                .age_days = 31,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .leaves = ""},
        {.what = "once: more is no reason",
                .mode = DELIVERY_ONCE,
                .more = true,
                DELIVERED(RECORD_OUT),
                .now = H1},
        {.what = "follow: more is one",
                .more = true,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .supersedes = true},
        {.what = "once: more is one when asked",
                .mode = DELIVERY_ONCE,
                .more = true,
                .again = true,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .supersedes = true},
        {.what = "once: replaced",
                .mode = DELIVERY_ONCE,
                DELIVERED(RECORD_OUT),
                .now = H2,
                .item = AGAIN,
                .supersedes = true},
        {.what = "once: a newer snapshot is no reason",
                .mode = DELIVERY_ONCE,
                .older = true,
                .more = true,
                DELIVERED(RECORD_OUT),
                .now = H1},
        {.what = "once: later recipients, and something newer came",
                .mode = DELIVERY_ONCE,
                .older = true,
                .more = true,
                .recipients = "a b",
                .again = true,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .supersedes = true},
        {.what = "the same recipients in another order, again",
                .recipients = "b a",
                .had = "a b",
                .again = true,
                DELIVERED(RECORD_OUT),
                .now = H1},
        {.what = "held: nothing new, nothing back", .held = true, DELIVERED(RECORD_OUT), .now = H1},
        {.what = "held, and replaced", .held = true, .has_record = true, .was = H1, .now = H2},
        {.what = "held, never delivered", .held = true, .now = H1},
        {.what = "held, its day came again with another name of the file",
                .held = true,
                .renamed = true,
                .word = INPUT_REMOVED,
                DELIVERED(RECORD_OUT),
                .now = H1},
        {.what = "its day came again with another name of the file",
                .renamed = true,
                .word = INPUT_REMOVED,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .supersedes = true},
        {.what = "a part is not listed any more: it leaves, and the rest is handed out",
                .renamed = true,
                .word = INPUT_THERE,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .leaves = "not listed any more"},
        {.what = "a part is not listed any more, in mode once",
                .mode = DELIVERY_ONCE,
                .renamed = true,
                .word = INPUT_THERE,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .item = AGAIN,
                .leaves = "not listed any more"},
        {.what = "a part is not listed any more after keep: who has it is to destroy it, and gets the rest",
                .renamed = true,
                .word = INPUT_THERE,
                DELIVERED(RECORD_LEFT),
                .now = H1,
                .item = AGAIN,
                .leaves = "not listed any more"},
        {.what = "a part is not listed any more, and the rest is held",
                .held = true,
                .renamed = true,
                .word = INPUT_THERE,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .leaves = "not listed any more"},
        {.what = "once: it waits for days that are not split",
                .mode = DELIVERY_ONCE,
                .unsplit = true,
                .now = H1,
                .waiting = 1},
        {.what = "once: it does not wait when it is asked for",
                .mode = DELIVERY_ONCE,
                .unsplit = true,
                .again = true,
                .now = H1,
                .item = BASE},
        {.what = "once: what is done waits for nothing",
                .mode = DELIVERY_ONCE,
                .unsplit = true,
                DELIVERED(RECORD_OUT),
                .now = H1},
        {.what = "once: what is not listed any more leaves, and the rest waits",
                .mode = DELIVERY_ONCE,
                .unsplit = true,
                .renamed = true,
                .word = INPUT_THERE,
                DELIVERED(RECORD_OUT),
                .now = H1,
                .leaves = "not listed any more",
                .waiting = 1},
        {.what = "follow: a day does not wait for another", .unsplit = true, .now = H1, .item = BASE},
        {.what = "a crash came before its name", DELIVERED(RECORD_BEGUN), .now = H1, .item = BASE},
};

static void hash_of(const char *path, const char *sha256, char ret[SHA256_HEX])
{
        struct digest *d;
        uint8_t sum[SHA256_SIZE];
        assert_int_equal(digest_new(DIGEST_SHA256, &d), 0);
        digest_update(d, path, strlen(path) + 1);
        digest_update(d, sha256, SHA256_HEX);
        digest_final(d, sum);
        digest_free(d);
        hex_encode(sum, sizeof(sum), ret);
}

/* As record.c has them. */
static int by_first(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void try_row(const struct row *t)
{
        static char in[] = "u/events-by-course/edx/2024/2024-01-01/A.log.gz",
                    other[] = "u/events-by-course/edx/2024/2024-01-01/A~1.log.gz", more[] = "u/x/more",
                    base[] = BASE, id[] = ID, course[] = "k", none[] = "", why[] = "why";
        struct config_delivery d = {.mode = t->mode,
                .until = (int)(NOW / DAY) + (t->over ? 0 : 9),
                .keep_usec = 30 * USEC_PER_DAY};
        /* of one id the newest first */
        struct staged_file files[2] = {{.path = t->renamed ? other : in, .newest = true, .held = t->held},
                {.path = more, .newest = true}};
        struct staged_file *by_path[] = {&files[0], &files[1]};
        if (t->older) {
                files[0].path = more;
                files[1] = (struct staged_file){.path = in};
                by_path[0] = &files[1];
                by_path[1] = &files[0];
        }
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                files[i].course = course;
                files[i].base = base;
                files[i].id = id;
                files[i].member = none;
        }
        struct delivery_staged s = {.v = files, .n = t->now ? 1 + t->more : 0, .by_path = by_path};
        struct record_input input = {.path = in};
        _cleanup_free_ char *had = strdup(t->had ? t->had : "a");
        struct delivery_record r = {.state = t->state,
                .base = base,
                .path = base,
                .id = id,
                .course = course,
                .recipients = had,
                .supersedes = none,
                .time = NOW - (int64_t)t->age_days * DAY,
                .inputs = &input,
                .n_inputs = 1};
        struct delivery_record *ids[] = {&r};
        struct place {
                const char *path;
                size_t at;
        } place = {.path = base};
        void *root = NULL;
        if (t->has_record)
                tsearch(&place, &root, by_first);
        struct records records = {.v = &r,
                .n = t->has_record,
                .by_id = ids,
                .by_path = root,
                .revoked = t->revoked ? why : NULL};
        struct due due;
        if (t->now)
                memcpy(files[t->older].sha256, t->now, SHA256_HEX);
        memcpy(files[!t->older].sha256, H2, SHA256_HEX);
        if (t->was) {
                memcpy(input.sha256, t->was, SHA256_HEX);
                hash_of(in, t->was, r.inputs_sha256);
        }
        word = t->word;
        const struct due_query q = {.delivery = &d,
                .staged = &s,
                .records = &records,
                .word = say_word,
                .recipients = t->recipients ? t->recipients : "a",
                .again = t->again,
                .unsplit = t->unsplit,
                .now = NOW};
        assert_int_equal(due_now(&q, &due), 0);
        assert_int_equal(due.n_items, t->item != NULL);
        assert_int_equal(due.n_leave, t->leaves != NULL);
        assert_int_equal(due.n_waiting, t->waiting);
        if (t->item) {
                assert_string_equal(due.items[0].path, t->item);
                assert_int_equal(due.items[0].supersedes != NULL, t->supersedes);
        }
        if (t->leaves)
                assert_string_equal(due.leave[0].reason ? due.leave[0].reason : "", t->leaves);
        due_done(&due);
        if (root)
                tdelete(&place, &root, by_first);
}

static void the_table(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                print_message("%s\n", rows[i].what);
                try_row(&rows[i]);
        }
}

static void names(void **state)
{
        (void)state;
        static const struct {
                const char *base, *second;
        } v[] = {{"A/events/edx/2024-01-01.log.gz.gpg", "A/events/edx/2024-01-01-r2.log.gz.gpg"},
                {"A.1/state/2024-01-01.tar.gpg", "A.1/state/2024-01-01-r2.tar.gpg"},
                {"A_B.log_C.tar.gz.gpg", "A_B.log_C-r2.tar.gz.gpg"}};
        for (size_t i = 0; i < ELEMENTSOF(v); i++) {
                _cleanup_free_ char *one = item_name(v[i].base, 1), *two = item_name(v[i].base, 2);
                assert_string_equal(one, v[i].base);
                assert_string_equal(two, v[i].second);
        }
}

/* What a message is does not depend on what its course is called. */
static void ids(void **state)
{
        (void)state;
        static const struct {
                const char *base, *course, *id;
        } v[] = {{"A_B_C/events/edx/2024-01-01.log.gz.gpg", "A/B/C", "A/B/C events/edx/2024-01-01"},
                {"A_B_C~0123456789abcdef/events/edx/2024-01-01.log.gz.gpg", "A/B/C",
                        "A/B/C events/edx/2024-01-01"},
                {"A_B_C-D/state/2024-01-01.tar.gpg", "A-B-C-D", "A-B-C-D state/2024-01-01"},
                {"A_B-C_D/state/2024-01-01.tar.gpg", "A-B-C-D", "A-B-C-D state/2024-01-01"},
                {"email-opt-in/state/2024-01-01.tar.gpg", "", " state/2024-01-01"},
                {"A_B_C.tar.gz.gpg", "course-v1:A+B+C", "A-B-C"}, {"A_B_C.tar.gz.gpg", "A-B-C", "A-B-C"},
                {"A_B_C~0123456789abcdef.tar.gz.gpg", "A/B/C", "A/B/C"}, {"email-opt-in.tar.gz.gpg", "", ""}};
        for (size_t i = 0; i < ELEMENTSOF(v); i++) {
                _cleanup_free_ char *id = item_id(v[i].base, v[i].course);
                assert_string_equal(id, v[i].id);
        }
        /* with the hash of its form it is all of that form */
        _cleanup_free_ char *marked = item_parted("A_B_C.tar.gz.gpg", "A-B-C"),
                            *one = item_parted("A_B_C.tar.gz.gpg", "A/B/C"),
                            *folder = item_parted("A.B/state/2024-01-01.tar.gpg", "A.B"),
                            *id = item_id(marked, "A/B/C"), *id_of_one = item_id(one, "A/B/C");
        assert_string_equal(id, "A-B-C");
        assert_string_equal(id_of_one, "A/B/C");
        assert_int_equal(strlen(folder), strlen("A.B~0123456789abcdef/state/2024-01-01.tar.gpg"));
        assert_non_null(strstr(folder, "/state/2024-01-01.tar.gpg"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_table),
                cmocka_unit_test(names),
                cmocka_unit_test(ids),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
