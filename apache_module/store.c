/*
 * The store in a threaded server. One thread per child process runs the client's loop; request
 * threads hand it flights and wait for their deadline.
 *
 * A flight is malloc'ed and belongs to both sides: operation and reply are copies, so that a
 * request thread that has given up (and its pool, and its client) can never be touched. Whoever
 * comes second frees it.
 */
#include "mod_privacy.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define PATIENCE_MS                                                                                \
    100 /* beyond the client's own deadline: a thread that gives up first learns nothing */
#define JOIN_MS                                                                                    \
    1000 /* a signal may end a prefork child while it holds a lock that the thread wants */

struct prv_flight {
    prv_flight *next;
    prv_backend *backend;
    pthread_mutex_t lock; /* done, abandoned, reply */
    pthread_cond_t landed;
    bool done;
    bool abandoned;
    bool nobody; /* sent for nobody */
    prv_op op;
    prv_reply reply;
    void *reply_memory;
};

struct prv_backend {
    apr_pool_t *pool;
    prv_turner *turner;
    const prv_shared *shared;
    pthread_t thread;
    pthread_mutex_t lock; /* first, last, woken, stopping, ended */
    pthread_cond_t end;
    prv_flight *first;
    prv_flight *last;
    bool woken; /* one wake for all that came since the thread last looked */
    bool stopping;
    bool ended;
};

/* ------------------------------------------------------------------ copies */

static size_t text_size(const prv_str *strings, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        size += strings[i].n;
    }
    return size;
}

static char *copy_text(char *to, prv_str *out, prv_str in)
{
    if (in.n > 0) {
        memcpy(to, in.p, in.n);
    }
    *out = (prv_str){to, in.n};
    return to + in.n;
}

static prv_flight *flight_new(prv_backend *backend, const prv_op *op)
{
    prv_flight *flight = calloc(1, sizeof(*flight) + op->key.n + text_size(op->args, op->n_args));
    if (!flight) {
        return NULL;
    }
    flight->op = *op; /* its views follow */
    char *text = copy_text((char *)(flight + 1), &flight->op.key, op->key);
    for (size_t i = 0; i < op->n_args; i++) {
        text = copy_text(text, &flight->op.args[i], op->args[i]);
    }
    flight->backend = backend;
    flight->reply.status = PRV_REPLY_UNAVAILABLE;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&flight->landed, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&flight->lock, NULL);
    return flight;
}

void prv_flight_free(prv_flight *flight)
{
    if (flight) {
        pthread_cond_destroy(&flight->landed);
        pthread_mutex_destroy(&flight->lock);
        free(flight->reply_memory);
        free(flight);
    }
}

static void copy_reply(prv_flight *flight, const prv_reply *reply)
{
    size_t views = reply->n * sizeof(prv_str);
    prv_str *pairs = malloc(views + text_size(reply->pairs, reply->n) + 1);
    if (!pairs) {
        return; /* stays unavailable */
    }
    char *text = (char *)pairs + views;
    for (size_t i = 0; i < reply->n; i++) {
        text = copy_text(text, &pairs[i], reply->pairs[i]);
    }
    flight->reply_memory = pairs;
    flight->reply = (prv_reply){reply->status, reply->n, pairs, reply->untracked};
}

/* ------------------------------------------------------------------ the loop thread */

static void land(prv_flight *flight, const prv_reply *reply)
{
    if (reply) {
        copy_reply(flight, reply); /* the request thread looks only after `done` */
    }
    pthread_mutex_lock(&flight->lock);
    bool mine = flight->abandoned;
    flight->done = true;
    pthread_cond_signal(&flight->landed);
    pthread_mutex_unlock(&flight->lock);
    if (mine) {
        prv_flight_free(flight);
    }
}

static void store_done(void *flight, const prv_reply *reply)
{
    land(flight, reply);
}

static void send_flight(prv_store *store, prv_flight *flight)
{
    if (flight->nobody) {
        if (store) {
            prv_store_queue(store, &flight->op);
        }
        prv_flight_free(flight);
        return;
    }
    pthread_mutex_lock(&flight->lock);
    bool late = flight->abandoned;
    pthread_mutex_unlock(&flight->lock);
    if (late || !store || !prv_store_submit(store, &flight->op, store_done, flight)) {
        land(flight, NULL);
    }
}

static void send_all(prv_store *store, prv_flight *flight)
{
    while (flight) {
        prv_flight *next = flight->next;
        send_flight(store, flight);
        flight = next;
    }
}

/* What was handed over; *stopping tells whether to end. */
static prv_flight *take_all(prv_backend *backend, bool *stopping)
{
    pthread_mutex_lock(&backend->lock);
    prv_flight *flights = backend->first;
    backend->first = backend->last = NULL;
    backend->woken = false;
    *stopping = backend->stopping;
    pthread_mutex_unlock(&backend->lock);
    return flights;
}

static void *run(void *backend_)
{
    prv_backend *backend = backend_;
    prv_store *store = prv_store_open(backend->shared->store, prv_turner_loop(backend->turner),
                                      backend->shared->zone);
    if (store) {
        (void)prv_store_follow(store); /* else each request reads */
    }
    bool stopping = false;
    while (!stopping) {
        send_all(store, take_all(backend, &stopping));
        if (!stopping) {
            prv_turner_run_once(backend->turner);
        }
    }
    if (store) {
        prv_store_close(store);
    }
    pthread_mutex_lock(&backend->lock);
    backend->ended = true;
    pthread_cond_signal(&backend->end);
    pthread_mutex_unlock(&backend->lock);
    return NULL;
}

/* ------------------------------------------------------------------ life with the child process */

static struct timespec in_ms(uint32_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static apr_status_t backend_stop(void *backend_)
{
    prv_backend *backend = backend_;
    struct timespec until = in_ms(JOIN_MS);
    pthread_mutex_lock(&backend->lock);
    backend->stopping = true;
    prv_turner_wake(backend->turner);
    int rc = 0;
    while (!backend->ended && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&backend->end, &backend->lock, &until);
    }
    bool ended = backend->ended;
    pthread_mutex_unlock(&backend->lock);
    if (!ended) {
        return APR_SUCCESS; /* the process ends, and the thread with it; its memory stays */
    }
    pthread_join(backend->thread, NULL);
    apr_pool_t *pool = backend->pool;
    pthread_cond_destroy(&backend->end);
    pthread_mutex_destroy(&backend->lock);
    apr_pool_destroy(pool);
    return APR_SUCCESS;
}

/* Signals are the server's business: none is delivered to the thread. */
static int start_thread(prv_backend *backend)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int rc = pthread_create(&backend->thread, NULL, run, backend);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

prv_backend *prv_backend_start(apr_pool_t *pchild, server_rec *s, const prv_shared *shared)
{
    /* A pool and an allocator of its own: the thread allocates beside the server's threads. */
    apr_pool_t *pool;
    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return NULL;
    }
    prv_backend *backend = apr_pcalloc(pool, sizeof(*backend));
    backend->pool = pool;
    backend->shared = shared;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&backend->end, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&backend->lock, NULL);
    backend->turner = prv_turner_create(pool, s);
    int rc = backend->turner ? start_thread(backend) : EAGAIN;
    if (rc != 0) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, APR_FROM_OS_ERROR(rc), s,
                     "no thread for the store: it counts as unavailable in this process");
        apr_pool_destroy(pool);
        return NULL;
    }
    apr_pool_pre_cleanup_register(pchild, backend, backend_stop);
    return backend;
}

/* ------------------------------------------------------------------ request threads */

static bool hand_over(prv_backend *backend, prv_flight *flight)
{
    pthread_mutex_lock(&backend->lock);
    bool taken = !backend->stopping;
    if (taken) {
        *(backend->last ? &backend->last->next : &backend->first) = flight;
        backend->last = flight;
        if (!backend->woken) {
            backend->woken = true;
            prv_turner_wake(backend->turner);
        }
    }
    pthread_mutex_unlock(&backend->lock);
    return taken;
}

prv_flight *prv_backend_call(prv_backend *backend, const prv_op *op, prv_reply *reply)
{
    *reply = (prv_reply){.status = PRV_REPLY_UNAVAILABLE};
    prv_flight *flight = backend ? flight_new(backend, op) : NULL;
    if (!flight) {
        return NULL;
    }
    struct timespec until = in_ms(backend->shared->timeout_ms + PATIENCE_MS);
    if (!hand_over(backend, flight)) {
        prv_flight_free(flight);
        return NULL;
    }
    pthread_mutex_lock(&flight->lock);
    int rc = 0;
    while (!flight->done && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&flight->landed, &flight->lock, &until);
    }
    bool done = flight->done;
    flight->abandoned = !done;
    pthread_mutex_unlock(&flight->lock);
    if (!done) {
        return NULL;
    }
    *reply = flight->reply;
    return flight;
}

void prv_backend_queue(prv_backend *backend, const prv_op *op)
{
    prv_flight *flight = backend ? flight_new(backend, op) : NULL;
    if (flight) {
        flight->nobody = true;
        if (!hand_over(backend, flight)) {
            prv_flight_free(flight);
        }
    }
}
