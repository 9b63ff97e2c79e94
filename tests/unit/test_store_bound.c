/* The bounds of a reply, each at its edge, in one piece and byte by byte. */
#include "redis/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct text {
    char *p;
    size_t n;
} text;

static void add(text *t, const char *s, size_t times)
{
    size_t n = strlen(s);
    t->p = realloc(t->p, t->n + n * times + 1);
    assert_non_null(t->p);
    for (size_t i = 0; i < times; i++, t->n += n)
        memcpy(t->p + t->n, s, n);
}

/* Whole replies in t, or -1 when it is refused. */
static int replies(const text *t, size_t step)
{
    prv_feed feed;
    int n = 0;
    prv_feed_result r = PRV_FEED_MORE;
    assert_true(prv_feed_init(&feed));
    for (size_t at = 0; at < t->n && r != PRV_FEED_BAD; at += step) {
        size_t piece = t->n - at < step ? t->n - at : step;
        memcpy(prv_feed_room(&feed, piece), t->p + at, piece);
        prv_feed_add(&feed, piece);
        redisReply *reply;
        while ((r = prv_feed_next(&feed, &reply)) == PRV_FEED_REPLY) {
            freeReplyObject(reply);
            n++;
        }
    }
    prv_feed_free(&feed);
    return r == PRV_FEED_BAD ? -1 : n;
}

static void expect(text *t, int n)
{
    assert_int_equal(replies(t, t->n), n);
    assert_int_equal(replies(t, 1), n);
    assert_int_equal(replies(t, 7), n);
    free(t->p);
    *t = (text){NULL, 0};
}

static void one(const char *s, int n)
{
    text t = {NULL, 0};
    add(&t, s, 1);
    if (replies(&t, t.n) != n)
        fail_msg("`%s`: %d", s, replies(&t, t.n));
    expect(&t, n);
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        int n;
    } rows[] = {
        {"+OK\r\n", 1},
        {"+\r\n", 1},
        {"-ERR x\r\n:1\r\n", 2},
        {":-9223372036854775808\r\n", 1},
        {"$0\r\n\r\n", 1},
        {"$-1\r\n", 1},
        {"*-1\r\n", 1},
        {"*0\r\n", 1},
        {"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", 1},
        {"*2\r\n$1\r\na\r\n*1\r\n", 0},
        {"$3\r\nabc", 0},
        {"*1\r\n*1\r\n*1\r\n:1\r\n", 1},
        {"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", -1},
        {"*513\r\n", -1},
        {"*2147483647\r\n", -1},
        {"$65537\r\n", -1},
        {"$99999999999999999999\r\n", -1},
        {"$-2\r\n", -1},
        {"*-2\r\n", -1},
        {"$--1\r\n", -1},
        {"$\r\n", -1},
        {"*\r\n", -1},
        {":\r\n", -1},
        {":1x\r\n", -1},
        {":12345678901234567890\r\n", -1},
        {"$3\r\nabcd\r\n", -1},
        {"$3\r\nabc\n\r", -1},
        {"$3\nabc\r\n", -1},
        {"+OK\n", -1},
        {"+O\rK\r\n", -1},
        {"%1\r\n+a\r\n+b\r\n", -1},
        {"_\r\n", -1},
        {">2\r\n+a\r\n+b\r\n", -1},
        {"|1\r\n", -1},
        {",1.5\r\n", -1},
        {"#t\r\n", -1},
        {"HTTP/1.1 400 Bad Request\r\n", -1},
        {"\r\n", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        one(rows[i].bytes, rows[i].n);
}

static void test_edges(void **state)
{
    (void)state;
    text t = {NULL, 0};
    add(&t, "*512\r\n", 1);
    add(&t, ":1\r\n", 512);
    expect(&t, 1);

    add(&t, "$65536\r\n", 1);
    add(&t, "x", 65536);
    add(&t, "\r\n+OK\r\n", 1);
    expect(&t, 2);

    add(&t, "*4\r\n", 1); /* 4 * (65400 + 10) + 4 bytes: under 256 KiB */
    for (int i = 0; i < 4; i++) {
        add(&t, "$65400\r\n", 1);
        add(&t, "x", 65400);
        add(&t, "\r\n", 1);
    }
    expect(&t, 1);

    add(&t, "*4\r\n", 1); /* and 36 bytes over */
    for (int i = 0; i < 4; i++) {
        add(&t, "$65534\r\n", 1);
        add(&t, "x", 65534);
        add(&t, "\r\n", 1);
    }
    expect(&t, -1);

    add(&t, "+", 1); /* a line without end */
    add(&t, "x", PRV_BOUND_REPLY_MAX);
    expect(&t, -1);

    for (int i = 0; i < 200; i++) { /* many replies are not one large one */
        add(&t, "$2000\r\n", 1);
        add(&t, "x", 2000);
        add(&t, "\r\n", 1);
    }
    expect(&t, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
