#include "loop.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_MAX 65536
#define IOS_MAX 128

typedef struct loop_io {
    struct loop_io *next;
    int fd;
    bool read, write, dead;
    void (*ready)(void *arg, bool readable, bool writable);
    void *arg;
} loop_io;

typedef struct loop_timer {
    struct loop_timer *next;
    test_loop *loop;
    int64_t at; /* 0: not armed */
    bool dead;
    void (*fire)(void *arg);
    void *arg;
} loop_timer;

struct test_loop {
    loop_io *ios;
    loop_timer *timers;
    char log[LOG_MAX];
    size_t log_n;
};

int64_t test_loop_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *io_open(void *ctx, int fd, void (*ready)(void *, bool, bool), void *arg)
{
    test_loop *loop = ctx;
    loop_io *io = calloc(1, sizeof *io);
    *io = (loop_io){.next = loop->ios, .fd = fd, .ready = ready, .arg = arg};
    loop->ios = io;
    return io;
}

static void io_want(void *p, bool read, bool write)
{
    loop_io *io = p;
    io->read = read;
    io->write = write;
}

static void io_close(void *p)
{
    ((loop_io *)p)->dead = true;
}

static void *timer_open(void *ctx, void (*fire)(void *), void *arg)
{
    test_loop *loop = ctx;
    loop_timer *t = calloc(1, sizeof *t);
    *t = (loop_timer){.next = loop->timers, .loop = loop, .fire = fire, .arg = arg};
    loop->timers = t;
    return t;
}

static void timer_set(void *p, uint32_t ms)
{
    ((loop_timer *)p)->at = test_loop_now() + ms;
}

static void timer_clear(void *p)
{
    ((loop_timer *)p)->at = 0;
}

static void timer_close(void *p)
{
    ((loop_timer *)p)->dead = true;
}

static int64_t loop_now(void *ctx)
{
    (void)ctx;
    return test_loop_now();
}

static void loop_log(void *ctx, prv_level level, prv_str line)
{
    test_loop *loop = ctx;
    (void)level;
    if (loop->log_n + line.n + 2 > LOG_MAX)
        return;
    memcpy(loop->log + loop->log_n, line.p, line.n);
    loop->log_n += line.n;
    loop->log[loop->log_n++] = '\n';
    loop->log[loop->log_n] = '\0';
}

prv_loop test_loop_api(test_loop *loop)
{
    return (prv_loop){.ctx = loop,
                      .io_open = io_open,
                      .io_want = io_want,
                      .io_close = io_close,
                      .timer_open = timer_open,
                      .timer_set = timer_set,
                      .timer_clear = timer_clear,
                      .timer_close = timer_close,
                      .now_ms = loop_now,
                      .log = loop_log};
}

static void sweep(test_loop *loop)
{
    for (loop_io **at = &loop->ios; *at != NULL;) {
        loop_io *io = *at;
        if (!io->dead) {
            at = &io->next;
            continue;
        }
        *at = io->next;
        free(io);
    }
    for (loop_timer **at = &loop->timers; *at != NULL;) {
        loop_timer *t = *at;
        if (!t->dead) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        free(t);
    }
}

test_loop *test_loop_new(void)
{
    return calloc(1, sizeof(test_loop));
}

void test_loop_free(test_loop *loop)
{
    sweep(loop);
    if (loop->ios != NULL || loop->timers != NULL) {
        fprintf(stderr, "the store left an io or a timer open\n");
        abort();
    }
    free(loop);
}

size_t test_loop_ios(const test_loop *loop)
{
    size_t n = 0;
    for (const loop_io *io = loop->ios; io != NULL; io = io->next)
        n += !io->dead;
    return n;
}

static int until_timer(const test_loop *loop, int max_ms)
{
    int64_t now = test_loop_now();
    for (const loop_timer *t = loop->timers; t != NULL; t = t->next) {
        if (t->dead || t->at == 0)
            continue;
        int64_t left = t->at > now ? t->at - now : 0;
        if (left < max_ms)
            max_ms = (int)left;
    }
    return max_ms;
}

void test_loop_turn(test_loop *loop, int max_ms)
{
    struct pollfd fds[IOS_MAX];
    loop_io *ios[IOS_MAX];
    nfds_t n = 0;
    sweep(loop);
    for (loop_io *io = loop->ios; io != NULL && n < IOS_MAX; io = io->next) {
        short events = (short)((io->read ? POLLIN : 0) | (io->write ? POLLOUT : 0));
        if (events == 0)
            continue;
        fds[n] = (struct pollfd){.fd = io->fd, .events = events};
        ios[n++] = io;
    }
    if (poll(fds, n, until_timer(loop, max_ms)) > 0) {
        for (nfds_t i = 0; i < n; i++) {
            short got = fds[i].revents;
            bool broken = (got & (POLLERR | POLLHUP)) != 0;
            if (got != 0 && !ios[i]->dead)
                ios[i]->ready(ios[i]->arg, (got & POLLIN) != 0 || broken,
                              (got & POLLOUT) != 0 || (broken && ios[i]->write));
        }
    }
    int64_t now = test_loop_now();
    for (loop_timer *t = loop->timers; t != NULL; t = t->next) {
        if (!t->dead && t->at != 0 && t->at <= now) {
            t->at = 0;
            t->fire(t->arg);
        }
    }
    sweep(loop);
}

bool test_loop_until(test_loop *loop, const bool *done, int ms)
{
    int64_t end = test_loop_now() + ms;
    while (!*done) {
        int64_t left = end - test_loop_now();
        if (left <= 0)
            break;
        test_loop_turn(loop, (int)left);
    }
    return *done;
}

void test_loop_run(test_loop *loop, int ms)
{
    const bool never = false;
    test_loop_until(loop, &never, ms);
}

size_t test_loop_logged(const test_loop *loop, const char *text)
{
    size_t n = 0;
    for (const char *p = loop->log; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

void test_loop_log_clear(test_loop *loop)
{
    loop->log_n = 0;
    loop->log[0] = '\0';
}
