/* prv_loop over an apr_pollset. Descriptors are level-triggered; timers stand in one list by due
 * time. */
#include "mod_privacy.h"

#include "apr_poll.h"
#include "apr_portable.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 32 /* seen in one turn; more wait for the next */

typedef struct turner_io {
    prv_turner *turner;
    apr_pool_t *pool;
    apr_pollfd_t pfd;
    apr_int16_t wanted;
    bool closed;
    struct turner_io *next_closed;
    void (*ready)(void *arg, bool readable, bool writable);
    void *arg;
} turner_io;

typedef struct turner_timer {
    struct turner_timer *prev;
    struct turner_timer *next;
    prv_turner *turner;
    int64_t due_ms;
    uint64_t turn; /* when it was armed: 0 ms means the next turn */
    bool armed;
    void (*fire)(void *arg);
    void *arg;
} turner_timer;

struct prv_turner {
    prv_loop loop;
    apr_pool_t *pool;
    server_rec *s;
    apr_pollset_t *set;
    turner_io *closed;   /* freed at the end of a turn: the batch may still name them */
    turner_timer timers; /* sentinel */
    uint64_t turn;
};

int64_t prv_mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t monotonic_ms(void *ctx)
{
    (void)ctx;
    return prv_mono_ms();
}

/* ------------------------------------------------------------------ descriptors */

static void *io_open(void *ctx, int fd, void (*ready)(void *, bool, bool), void *arg)
{
    prv_turner *turner = ctx;
    apr_pool_t *pool;
    if (apr_pool_create(&pool, turner->pool) != APR_SUCCESS) {
        return NULL;
    }
    turner_io *io = apr_pcalloc(pool, sizeof(*io));
    apr_socket_t *sock = NULL;
    if (apr_os_sock_put(&sock, &fd, pool) != APR_SUCCESS) {
        apr_pool_destroy(pool);
        return NULL;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC); /* CGI programs must not inherit it */
    io->turner = turner;
    io->pool = pool;
    io->ready = ready;
    io->arg = arg;
    io->pfd.p = pool;
    io->pfd.desc_type = APR_POLL_SOCKET;
    io->pfd.desc.s = sock;
    io->pfd.client_data = io;
    return io;
}

static void io_set(turner_io *io, apr_int16_t wanted)
{
    if (io->wanted == wanted) {
        return;
    }
    if (io->wanted) {
        apr_pollset_remove(io->turner->set, &io->pfd);
    }
    io->pfd.reqevents = wanted;
    io->wanted = wanted;
    if (wanted) {
        apr_status_t rv = apr_pollset_add(io->turner->set, &io->pfd);
        if (rv != APR_SUCCESS) {
            io->wanted = 0; /* its deadline will tell */
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, io->turner->s,
                         "the store's connection cannot be watched");
        }
    }
}

static void io_want(void *io, bool read, bool write)
{
    int wanted = (read ? APR_POLLIN : 0) | (write ? APR_POLLOUT : 0);
    io_set(io, (apr_int16_t)wanted);
}

static void io_close(void *io_)
{
    turner_io *io = io_;
    if (!io->closed) {
        io_set(io, 0);
        io->closed = true;
        io->next_closed = io->turner->closed;
        io->turner->closed = io;
    }
}

static void free_closed(prv_turner *turner)
{
    while (turner->closed) {
        turner_io *io = turner->closed;
        turner->closed = io->next_closed;
        apr_pool_destroy(io->pool);
    }
}

/* ------------------------------------------------------------------ timers */

static void *timer_open(void *ctx, void (*fire)(void *), void *arg)
{
    turner_timer *timer = calloc(1, sizeof(*timer));
    if (timer) {
        timer->turner = ctx;
        timer->fire = fire;
        timer->arg = arg;
    }
    return timer;
}

static void timer_clear(void *timer_)
{
    turner_timer *timer = timer_;
    if (timer->armed) {
        timer->prev->next = timer->next;
        timer->next->prev = timer->prev;
        timer->armed = false;
    }
}

static void timer_set(void *timer_, uint32_t ms)
{
    turner_timer *timer = timer_;
    timer_clear(timer);
    timer->due_ms = monotonic_ms(NULL) + (int64_t)ms;
    timer->turn = timer->turner->turn;
    timer->armed = true;
    /* Most are set with the same delay and belong at the end. */
    turner_timer *at = timer->turner->timers.prev;
    while (at != &timer->turner->timers && at->due_ms > timer->due_ms) {
        at = at->prev;
    }
    timer->prev = at;
    timer->next = at->next;
    at->next->prev = timer;
    at->next = timer;
}

static void timer_close(void *timer)
{
    timer_clear(timer);
    free(timer);
}

static void fire_due(prv_turner *turner)
{
    const int64_t now = monotonic_ms(NULL);
    turner_timer *timer = turner->timers.next;
    while (timer != &turner->timers && timer->due_ms <= now) {
        if (timer->turn == turner->turn) {
            timer = timer->next;
            continue;
        }
        timer_clear(timer);
        timer->fire(timer->arg); /* may close it, and any other */
        timer = turner->timers.next;
    }
}

/* ------------------------------------------------------------------ the loop */

static void loop_log(void *ctx, prv_level level, prv_str line)
{
    static const int levels[] = {APLOG_ERR, APLOG_WARNING, APLOG_NOTICE, APLOG_INFO};
    const prv_turner *turner = ctx;
    ap_log_error(APLOG_MARK, levels[level], 0, turner->s, "%.*s", (int)line.n, line.p);
}

prv_turner *prv_turner_create(apr_pool_t *pool, server_rec *s)
{
    prv_turner *turner = apr_pcalloc(pool, sizeof(*turner));
    turner->pool = pool;
    turner->s = s;
    turner->timers.next = turner->timers.prev = &turner->timers;
    apr_status_t rv = apr_pollset_create(&turner->set, EVENTS_MAX, pool,
                                         APR_POLLSET_WAKEABLE | APR_POLLSET_NOCOPY);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "no pollset for the store's connection");
        return NULL;
    }
    turner->loop = (prv_loop){.ctx = turner,
                              .io_open = io_open,
                              .io_want = io_want,
                              .io_close = io_close,
                              .timer_open = timer_open,
                              .timer_set = timer_set,
                              .timer_clear = timer_clear,
                              .timer_close = timer_close,
                              .now_ms = monotonic_ms,
                              .log = loop_log};
    return turner;
}

const prv_loop *prv_turner_loop(prv_turner *turner)
{
    return &turner->loop;
}

static apr_interval_time_t until_first(const prv_turner *turner)
{
    if (turner->timers.next == &turner->timers) {
        return -1;
    }
    int64_t ms = turner->timers.next->due_ms - monotonic_ms(NULL);
    return ms > 0 ? apr_time_from_msec(ms) : 0;
}

void prv_turner_run_once(prv_turner *turner)
{
    const apr_pollfd_t *fds = NULL;
    apr_int32_t n = 0;
    turner->turn++;
    apr_status_t rv = apr_pollset_poll(turner->set, until_first(turner), &n, &fds);
    if (rv != APR_SUCCESS) {
        n = 0;
        if (!APR_STATUS_IS_TIMEUP(rv) && !APR_STATUS_IS_EINTR(rv)) {
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, turner->s, "waiting for the store failed");
            apr_sleep(apr_time_from_msec(10)); /* not a busy loop */
        }
    }
    for (apr_int32_t i = 0; i < n; i++) {
        turner_io *io = fds[i].client_data;
        int seen = fds[i].rtnevents;
        int failed = seen & (APR_POLLERR | APR_POLLHUP | APR_POLLNVAL);
        if (!io->closed) {
            io->ready(io->arg, (seen & APR_POLLIN) || (failed && (io->wanted & APR_POLLIN)),
                      (seen & APR_POLLOUT) || (failed && (io->wanted & APR_POLLOUT)));
        }
    }
    fire_due(turner);
    free_closed(turner);
}

void prv_turner_wake(prv_turner *turner)
{
    apr_pollset_wakeup(turner->set);
}
