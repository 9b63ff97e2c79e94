/* A prv_loop over poll(), for tests: one thread, a log that can be searched. */
#ifndef TEST_LOOP_H
#define TEST_LOOP_H

#include "privacy.h"

typedef struct test_loop test_loop;

test_loop *test_loop_new(void);
void test_loop_free(test_loop *loop); /* fails the process if an io or a timer was left open */
prv_loop test_loop_api(test_loop *loop);
/* One turn: events, then timers; waits at most max_ms for something to happen. */
void test_loop_turn(test_loop *loop, int max_ms);
/* Turns until *done or until ms have passed; the value of *done. */
bool test_loop_until(test_loop *loop, const bool *done, int ms);
void test_loop_run(test_loop *loop, int ms);
int64_t test_loop_now(void);
/* Times that `text` stands in the log. */
size_t test_loop_logged(const test_loop *loop, const char *text);
void test_loop_log_clear(test_loop *loop);
size_t test_loop_ios(const test_loop *loop);

#endif
