/* A store client over a private redis-server, for tests: each test opens its own, the server is
 * shared. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include "loop.h"
#include "redis/store.h"
#include "redis_server.h"
#include "state/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT 200 /* of requests; valgrind is slow */

extern test_redis store_redis;

typedef struct store_fixture {
    test_loop *loop;
    prv_loop api;
    prv_store_conf *conf;
    prv_store *store;
    void *zone_mem;
    prv_zone *zone;
} store_fixture;

typedef struct store_answer {
    bool done;
    unsigned times;
    prv_reply_status status;
    size_t n;
    char text[400]; /* name=value ... as they came */
} store_answer;

void store_on_done(void *arg, const prv_reply *reply);
prv_str store_str(const char *s);
prv_op store_op_read(const char *key);
void store_say(const char *line); /* an inline command, which must not fail */
void store_say_gives(const char *line, const char *expected);
void store_open_with(store_fixture *f, const char *url, const char *password_file,
                     uint32_t timeout);
void store_open_conf(store_fixture *f); /* with f->conf as it is */
void store_open_unix(store_fixture *f);
void store_open_tcp(store_fixture *f);
void store_shut(store_fixture *f);
/* Submits and waits; fails if submit is refused. */
store_answer store_ask(store_fixture *f, const prv_op *op);
/* Turns until reads of `key` are answered again: how long that took, -1: never. */
int64_t store_until_back(store_fixture *f, const char *key, int limit_ms);
int store_setup(void **state);
int store_teardown(void **state);
int store_flush(void **state);
prv_op store_op_change(const char *change, const char *seq);

#endif
