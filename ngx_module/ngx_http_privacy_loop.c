/*
 * The store client's event loop over nginx's own, and the client of this process.
 *
 * Events are level-triggered, because hiredis reads at most 16 KiB a call. Timers are cancelable,
 * so that an idle connection does not keep a worker alive that shuts down. The connection is marked
 * idle for the same reason.
 */
#include "ngx_http_privacy.h"

typedef struct {
    ngx_connection_t *c;
    void (*ready)(void *arg, bool readable, bool writable);
    void *arg;
} io_t;

static void read_ready(ngx_event_t *ev)
{
    ngx_connection_t *c = ev->data;
    io_t *io = c->data;
    if (c->close) {
        /* A worker that shuts down closes its idle connections. Ours ends with the process. What it may have to read is left
         * for the next turn: a request resumed here would wait for one that a worker without timers does not take. */
        c->close = 0;
        return;
    }
    io->ready(io->arg, true, false);
}

static void write_ready(ngx_event_t *ev)
{
    ngx_connection_t *c = ev->data;
    io_t *io = c->data;
    io->ready(io->arg, false, true);
}

static void *io_open(void *ctx, int fd, void (*ready)(void *arg, bool readable, bool writable),
                     void *arg)
{
    (void)ctx;
    io_t *io = ngx_alloc(sizeof(*io), ngx_cycle->log);
    if (io == NULL) {
        return NULL;
    }
    ngx_connection_t *c = ngx_get_connection(fd, ngx_cycle->log);
    if (c == NULL) {
        ngx_free(io);
        return NULL;
    }
    io->c = c;
    io->ready = ready;
    io->arg = arg;
    c->data = io;
    c->idle = 1;
    c->read->handler = read_ready;
    c->write->handler = write_ready;
    c->read->log = ngx_cycle->log;
    c->write->log = ngx_cycle->log;
    return io;
}

static void want(ngx_event_t *ev, ngx_int_t event, bool wanted)
{
    if (wanted && !ev->active) {
        (void)ngx_add_event(ev, event, NGX_LEVEL_EVENT);
    } else if (!wanted && ev->active) {
        (void)ngx_del_event(ev, event, 0);
    }
}

static void io_want(void *p, bool read, bool write)
{
    const io_t *io = p;
    want(io->c->read, NGX_READ_EVENT, read);
    want(io->c->write, NGX_WRITE_EVENT, write);
}

static void io_close(void *p)
{
    io_t *io = p;
    ngx_connection_t *c = io->c;

    io_want(io, false, false);
    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }
    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }
    c->idle = 0;
    ngx_free_connection(c);
    c->fd = (ngx_socket_t)-1; /* events of this turn that are still to come are stale */
    ngx_free(io);
}

/* nginx's debug log takes an event's data for a connection and prints its fd. */
typedef struct {
    void *data;
    ngx_event_t *read;
    ngx_event_t *write;
    ngx_socket_t fd;
    ngx_event_t ev;
    void (*fire)(void *arg);
    void *arg;
} loop_timer_t;

static void timer_fired(ngx_event_t *ev)
{
    const loop_timer_t *t = ev->data;
    t->fire(t->arg);
}

static void *timer_open(void *ctx, void (*fire)(void *arg), void *arg)
{
    (void)ctx;
    loop_timer_t *t = ngx_calloc(sizeof(*t), ngx_cycle->log);
    if (t == NULL) {
        return NULL;
    }
    t->fd = (ngx_socket_t)-1;
    t->fire = fire;
    t->arg = arg;
    t->ev.handler = timer_fired;
    t->ev.data = t;
    t->ev.log = ngx_cycle->log;
    t->ev.cancelable = 1;
    return t;
}

static void timer_clear(void *p)
{
    loop_timer_t *t = p;
    if (t->ev.timer_set) {
        ngx_del_timer(&t->ev);
    }
}

/* ngx_add_timer() leaves a timer alone that is less than 300 ms off. */
static void timer_set(void *p, uint32_t ms)
{
    loop_timer_t *t = p;
    timer_clear(t);
    ngx_add_timer(&t->ev, ms);
}

static void timer_close(void *p)
{
    timer_clear(p);
    ngx_free(p);
}

/* Not nginx's own, which stands still while a worker is busy, and after it was stopped. */
int64_t ngx_http_privacy_mono_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t now_ms(void *ctx)
{
    (void)ctx;
    return ngx_http_privacy_mono_ms();
}

static void log_line(void *ctx, prv_level level, prv_str line)
{
    static const ngx_uint_t levels[] = {[PRV_LOG_ERROR] = NGX_LOG_ERR,
                                        [PRV_LOG_WARN] = NGX_LOG_WARN,
                                        [PRV_LOG_NOTICE] = NGX_LOG_NOTICE,
                                        [PRV_LOG_INFO] = NGX_LOG_INFO};
    (void)ctx;
    ngx_log_error(levels[level], ngx_cycle->log, 0, "privacy: %*s", line.n, line.p);
}

static const prv_loop loop = {.io_open = io_open,
                              .io_want = io_want,
                              .io_close = io_close,
                              .timer_open = timer_open,
                              .timer_set = timer_set,
                              .timer_clear = timer_clear,
                              .timer_close = timer_close,
                              .now_ms = now_ms,
                              .log = log_line};

prv_store *ngx_http_privacy_store(ngx_http_privacy_main_conf_t *mcf)
{
    if (mcf->store == NULL && mcf->store_conf && !mcf->store_failed) {
        mcf->store = prv_store_open(mcf->store_conf, &loop, mcf->zone);
        mcf->store_failed = mcf->store == NULL;
        if (mcf->store && !prv_store_follow(mcf->store)) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "privacy: no memory for the invalidation link in this process");
        }
    }
    return mcf->store;
}

void ngx_http_privacy_store_close(ngx_http_privacy_main_conf_t *mcf)
{
    if (mcf->store) {
        prv_store_close(mcf->store);
        mcf->store = NULL;
    }
}
