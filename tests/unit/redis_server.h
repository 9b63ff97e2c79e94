/* A private redis-server, and a scripted server that misbehaves, for tests of the store client. */
#ifndef TEST_REDIS_SERVER_H
#define TEST_REDIS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct test_redis {
    char dir[64];
    char socket[96];
    int port;
    pid_t pid;
} test_redis;

/* Makes the directory and picks a port. */
void test_redis_init(test_redis *redis);
/* `extra`: further arguments, NULL-terminated; may be NULL. Returns when it answers. */
void test_redis_start(test_redis *redis, const char *const *extra);
void test_redis_stop(test_redis *redis); /* SIGKILL */
void test_redis_remove(test_redis *redis);
/* Sends one inline command over the socket, out gets the raw reply. */
void test_redis_say(const test_redis *redis, const char *line, char *out, size_t cap);
int test_free_port(void);

/*
 * The scripted server. For each command it counts (greeting included, from 0 per connection), the
 * script is asked what to do, by one connection at a time. It answers HGETALL as `*2 $4
 * name $<key>` and PING with its argument unless told otherwise.
 */
typedef struct test_fake test_fake;
typedef enum test_fake_do {
    FAKE_ANSWER, /* as described */
    FAKE_TEXT,   /* `text` instead */
    FAKE_BOTH,   /* `text` and then the ordinary answer */
    FAKE_SILENT, /* nothing */
    FAKE_CLOSE,  /* closes the connection */
    FAKE_TEXT_CLOSE
} test_fake_do;
typedef test_fake_do (*test_fake_script)(void *arg, unsigned connection, unsigned command,
                                         const char *name, const char **text);

test_fake *test_fake_start(test_fake_script script, void *arg, unsigned delay_ms);
int test_fake_port(const test_fake *fake);
unsigned test_fake_connections(test_fake *fake);
unsigned test_fake_count(test_fake *fake, const char *name); /* commands of that name seen */
void test_fake_stop(test_fake *fake);

#endif
