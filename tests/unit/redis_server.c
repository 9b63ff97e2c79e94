#include "redis_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    abort();
}

static void nap(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static int listen_any(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        die("listen");
    *port = ntohs(a.sin_port);
    return fd;
}

int test_free_port(void)
{
    int port;
    close(listen_any(&port));
    return port;
}

/* ---- redis-server */

void test_redis_init(test_redis *redis)
{
    memset(redis, 0, sizeof *redis);
    snprintf(redis->dir, sizeof redis->dir, "/tmp/prv-store-XXXXXX");
    if (mkdtemp(redis->dir) == NULL)
        die("mkdtemp");
    snprintf(redis->socket, sizeof redis->socket, "%s/redis.sock", redis->dir);
    redis->port = test_free_port();
}

static bool redis_try(const test_redis *redis, const char *line, char *out, size_t cap)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t have = 0;
    bool ok = false;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", redis->socket);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
        send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line) &&
        send(fd, "\r\n", 2, MSG_NOSIGNAL) == 2) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        /* The first piece may take long (LOADING), what follows comes at once. */
        for (int wait = 2000; have + 1 < cap && poll(&p, 1, wait) > 0; wait = 5) {
            ssize_t n = recv(fd, out + have, cap - 1 - have, 0);
            if (n <= 0)
                break;
            have += (size_t)n;
            ok = true;
        }
    }
    close(fd);
    out[have] = '\0';
    return ok;
}

void test_redis_say(const test_redis *redis, const char *line, char *out, size_t cap)
{
    if (!redis_try(redis, line, out, cap))
        die(line);
}

void test_redis_start(test_redis *redis, const char *const *extra)
{
    char port[8], out[256];
    const char *argv[40] = {
        "redis-server", "--port",    port,       "--bind", "127.0.0.1", "--unixsocket",
        redis->socket,  "--dir",     redis->dir, "--save", "",          "--appendonly",
        "no",           "--logfile", "redis.log"};
    size_t n = 15;
    const char *other = getenv("PRV_REDIS_SERVER"); /* valkey-server */
    argv[0] = other != NULL ? other : argv[0];
    snprintf(port, sizeof port, "%d", redis->port);
    for (; extra != NULL && *extra != NULL && n < 38; extra++)
        argv[n++] = *extra;
    argv[n] = NULL;
    redis->pid = fork();
    if (redis->pid == 0) {
        execvp(argv[0], (char *const *)(void *)argv);
        _exit(127);
    }
    for (int i = 0; i < 500; i++) {
        if (redis_try(redis, "PING", out, sizeof out))
            return;
        nap(10);
    }
    die("redis-server does not start");
}

void test_redis_stop(test_redis *redis)
{
    if (redis->pid > 0) {
        kill(redis->pid, SIGKILL);
        waitpid(redis->pid, NULL, 0);
    }
    redis->pid = 0;
}

void test_redis_remove(test_redis *redis)
{
    char path[128];
    test_redis_stop(redis);
    unlink(redis->socket);
    snprintf(path, sizeof path, "%s/redis.log", redis->dir);
    unlink(path);
    rmdir(redis->dir);
}

/* ---- the scripted server */

#define SEEN_MAX 4096
#define BUF_MAX (1 << 20)

#define CONNECTIONS_MAX 64 /* at once and in all */

typedef struct fake_connection {
    struct test_fake *fake;
    pthread_t thread;
    int fd;
    unsigned number;
    char buf[BUF_MAX];
} fake_connection;

struct test_fake {
    pthread_t thread;
    int listener, port;
    int stop[2];
    test_fake_script script;
    void *arg;
    unsigned delay_ms;
    atomic_uint connections;
    pthread_mutex_t lock;
    size_t n_seen;
    char seen[SEEN_MAX][16];
    unsigned n_served;
    fake_connection *served[CONNECTIONS_MAX];
};

/* One command of RESP arrays at p: bytes used, 0 if incomplete; the first two words are copied. */
static size_t parse(const char *p, size_t n, char name[16], char arg[256])
{
    const char *end = p + n, *at = p;
    char *stop;
    name[0] = arg[0] = '\0';
    if (n < 4 || *at != '*' || memchr(at, '\n', n) == NULL)
        return 0;
    long words = strtol(at + 1, &stop, 10);
    at = stop + 2;
    for (long i = 0; i < words; i++) {
        if (at >= end || memchr(at, '\n', (size_t)(end - at)) == NULL)
            return 0;
        long len = strtol(at + 1, &stop, 10);
        at = stop + 2;
        if (end - at < len + 2)
            return 0;
        char *to = i == 0 ? name : arg;
        long cap = i == 0 ? 15 : 255;
        if (i < 2) {
            memcpy(to, at, (size_t)(len < cap ? len : cap));
            to[len < cap ? len : cap] = '\0';
        }
        at += len + 2;
    }
    return (size_t)(at - p);
}

static bool put(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

static bool answer(int fd, const char *name, const char *arg)
{
    char text[600];
    if (strcmp(name, "HGETALL") == 0)
        snprintf(text, sizeof text, "*2\r\n$4\r\nname\r\n$%zu\r\n%s\r\n", strlen(arg), arg);
    else if (strcmp(name, "PING") == 0)
        snprintf(text, sizeof text, "$%zu\r\n%s\r\n", strlen(arg), arg);
    else if (strcmp(name, "EXPIRE") == 0)
        snprintf(text, sizeof text, ":1\r\n");
    else
        snprintf(text, sizeof text, "+OK\r\n");
    return put(fd, text);
}

static bool act(test_fake *fake, int fd, unsigned connection, unsigned command, const char *name,
                const char *arg)
{
    const char *text = "";
    pthread_mutex_lock(&fake->lock);
    if (fake->n_seen < SEEN_MAX)
        snprintf(fake->seen[fake->n_seen++], sizeof fake->seen[0], "%s", name);
    test_fake_do what = fake->script != NULL
                            ? fake->script(fake->arg, connection, command, name, &text)
                            : FAKE_ANSWER;
    pthread_mutex_unlock(&fake->lock);
    switch (what) {
    case FAKE_TEXT:
        return put(fd, text);
    case FAKE_TEXT_CLOSE:
        put(fd, text);
        return false;
    case FAKE_BOTH:
        return put(fd, text) && answer(fd, name, arg);
    case FAKE_SILENT:
        return true;
    case FAKE_CLOSE:
        return false;
    case FAKE_ANSWER:
        break;
    }
    return answer(fd, name, arg);
}

static void serve(fake_connection *c)
{
    test_fake *fake = c->fake;
    char *buf = c->buf;
    const int fd = c->fd;
    size_t have = 0;
    unsigned command = 0;
    for (;;) {
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
                              {.fd = fake->stop[0], .events = POLLIN}};
        poll(p, 2, -1);
        if (p[1].revents != 0)
            return;
        ssize_t n = recv(fd, buf + have, BUF_MAX - have, 0);
        if (n <= 0)
            return;
        have += (size_t)n;
        if (fake->delay_ms > 0)
            nap(fake->delay_ms);
        for (;;) {
            char name[16], arg[256];
            size_t used = parse(buf, have, name, arg);
            if (used == 0)
                break;
            memmove(buf, buf + used, have - used);
            have -= used;
            if (!act(fake, fd, c->number, command++, name, arg))
                return;
        }
    }
}

static void *run_connection(void *arg)
{
    fake_connection *c = arg;
    serve(c);
    close(c->fd);
    return NULL;
}

static void *run(void *arg)
{
    test_fake *fake = arg;
    for (;;) {
        struct pollfd p[2] = {{.fd = fake->listener, .events = POLLIN},
                              {.fd = fake->stop[0], .events = POLLIN}};
        poll(p, 2, -1);
        if (p[1].revents != 0)
            return NULL;
        int fd = accept(fake->listener, NULL, NULL);
        if (fd < 0)
            continue;
        if (fake->n_served == CONNECTIONS_MAX)
            die("too many connections");
        fake_connection *c = calloc(1, sizeof *c);
        c->fake = fake;
        c->fd = fd;
        c->number = atomic_fetch_add(&fake->connections, 1);
        if (pthread_create(&c->thread, NULL, run_connection, c) != 0)
            die("fake");
        fake->served[fake->n_served++] = c;
    }
}

test_fake *test_fake_start(test_fake_script script, void *arg, unsigned delay_ms)
{
    test_fake *fake = calloc(1, sizeof *fake);
    fake->script = script;
    fake->arg = arg;
    fake->delay_ms = delay_ms;
    fake->listener = listen_any(&fake->port);
    pthread_mutex_init(&fake->lock, NULL);
    if (pipe(fake->stop) != 0 || pthread_create(&fake->thread, NULL, run, fake) != 0)
        die("fake");
    return fake;
}

int test_fake_port(const test_fake *fake)
{
    return fake->port;
}

unsigned test_fake_connections(test_fake *fake)
{
    return atomic_load(&fake->connections);
}

unsigned test_fake_count(test_fake *fake, const char *name)
{
    unsigned n = 0;
    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->n_seen; i++)
        n += strcasecmp(fake->seen[i], name) == 0;
    pthread_mutex_unlock(&fake->lock);
    return n;
}

void test_fake_stop(test_fake *fake)
{
    if (write(fake->stop[1], "x", 1) != 1)
        die("stop");
    pthread_join(fake->thread, NULL);
    for (unsigned i = 0; i < fake->n_served; i++) {
        pthread_join(fake->served[i]->thread, NULL);
        free(fake->served[i]);
    }
    close(fake->stop[0]);
    close(fake->stop[1]);
    close(fake->listener);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}
