/* A relay in front of a server, for tests: it passes a few bytes at a time and can spoil one. */
#ifndef TEST_TRICKLE_H
#define TEST_TRICKLE_H

typedef struct test_trickle test_trickle;

/* Relays to 127.0.0.1:target, one connection at a time, at most `step` bytes in a piece. */
test_trickle *test_trickle_start(int target, unsigned step);
int test_trickle_port(const test_trickle *trickle);
/* The next byte that comes from the target arrives changed. */
void test_trickle_spoil(test_trickle *trickle);
void test_trickle_stop(test_trickle *trickle);

#endif
