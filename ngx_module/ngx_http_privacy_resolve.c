/*
 * Waiting for the store. Only the main request is ever suspended; it is resumed from the event
 * loop, never from inside the store's callback (which runs on another connection's event).
 */
#include "ngx_http_privacy.h"

/* nginx's debug log takes an event's data for a connection and prints its fd. */
static ngx_connection_t no_connection = {.fd = (ngx_socket_t)-1};

static void guard_fired(ngx_event_t *ev)
{
    (void)ev; /* the store client answers within its timeout; this only keeps the worker there until
                 then */
}

static void guard_set(ngx_http_privacy_state_t *st)
{
    const ngx_http_privacy_main_conf_t *mcf = ngx_http_privacy_main(st->request);
    st->guard.handler = guard_fired;
    st->guard.data = &no_connection;
    st->guard.log = ngx_cycle->log;
    if (!st->guard.timer_set) {
        ngx_add_timer(&st->guard, (ngx_msec_t)mcf->store_timeout + 1000);
    }
}

static void guard_clear(ngx_http_privacy_state_t *st)
{
    if (st->guard.timer_set) {
        ngx_del_timer(&st->guard);
    }
}

static void reply_arrived(void *arg, const prv_reply *reply)
{
    ngx_http_privacy_state_t *st = arg;
    st->wait = NULL;
    guard_clear(st);
    ngx_http_privacy_clock(st);
    st->arrived(st, reply);
}

void ngx_http_privacy_detach(ngx_http_privacy_state_t *st)
{
    guard_clear(st);
    if (st->wait) {
        prv_wait_cancel(st->wait);
        st->wait = NULL;
    }
}

ngx_int_t ngx_http_privacy_submit(ngx_http_privacy_state_t *st, const prv_op *op,
                                  void (*arrived)(void *state, const prv_reply *reply))
{
    prv_store *store = ngx_http_privacy_store(ngx_http_privacy_main(st->request));
    st->arrived = arrived;
    st->wait = store ? prv_store_submit(store, op, reply_arrived, st) : NULL;
    if (st->wait == NULL) {
        return NGX_DECLINED;
    }
    guard_set(st);
    return NGX_OK;
}

/* Posting the request alone is not enough (nobody would run it), posting the event alone neither (a
 * subrequest may be the connection's active one). */
void ngx_http_privacy_wake(ngx_http_privacy_state_t *st)
{
    ngx_http_request_t *r = st->request;
    if (ngx_http_post_request(r, NULL) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "privacy: no memory to resume a request");
    }
    ngx_post_event(r->connection->write, &ngx_posted_events);
}

/* A write needed to repair what the store holds; nobody waits for it. */
static void repair(ngx_http_privacy_state_t *st)
{
    prv_op op;
    prv_store *store = ngx_http_privacy_store(ngx_http_privacy_main(st->request));
    if (store && prv_request_repair(&st->rq, &op)) {
        prv_store_queue(store, &op);
    }
    ngx_http_privacy_account_write(st);
}

void ngx_http_privacy_account_write(ngx_http_privacy_state_t *st)
{
    prv_op op;
    prv_store *store = ngx_http_privacy_store(ngx_http_privacy_main(st->request));
    while (store && prv_account_want(&st->rq, &op)) {
        prv_store_queue(store, &op);
        st->generation++;
    }
}

static void account_arrived(void *state, const prv_reply *reply);

/* Goes on with the account until it is known (NGX_OK) or the store is asked (NGX_AGAIN). */
static ngx_int_t account_step(ngx_http_privacy_state_t *st, prv_step step, prv_op *op)
{
    static const prv_reply unavailable = {.status = PRV_REPLY_UNAVAILABLE};
    while (step == PRV_STEP_NEED_STORE) {
        if (ngx_http_privacy_submit(st, op, account_arrived) == NGX_OK) {
            return NGX_AGAIN;
        }
        step = prv_subject_feed(&st->rq, &unavailable, op);
    }
    st->resolved = 1;
    st->generation++;
    repair(st);
    return NGX_OK;
}

static void account_arrived(void *state, const prv_reply *reply)
{
    ngx_http_privacy_state_t *st = state;
    prv_op op;
    prv_step step = prv_subject_feed(&st->rq, reply, &op);
    if (account_step(st, step, &op) == NGX_OK) {
        ngx_http_privacy_wake(st);
    }
}

/* The browser is known; its session's account, if there is one, is not yet. */
static ngx_int_t record_fed(ngx_http_privacy_state_t *st, const prv_reply *reply)
{
    prv_op op;
    prv_request_feed(&st->rq, reply);
    return account_step(st, prv_subject_begin(&st->rq, PRV_NONE, &op), &op);
}

static void record_arrived(void *state, const prv_reply *reply)
{
    ngx_http_privacy_state_t *st = state;
    if (record_fed(st, reply) == NGX_OK) {
        ngx_http_privacy_wake(st);
    }
}

static void resume(ngx_http_request_t *r)
{
    const ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);

    if (st == NULL || st->wait) { /* the socket became writable, no more */
        if (ngx_handle_write_event(r->connection->write, 0) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        }
        return;
    }
    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

ngx_int_t ngx_http_privacy_park(ngx_http_request_t *r, ngx_http_event_handler_pt resumed)
{
    ngx_event_t *rev = r->connection->read;
    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);
    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        return NGX_ERROR;
    }
    r->read_event_handler = ngx_http_test_reading; /* notices a client that goes away */
    r->write_event_handler = resumed;
    return NGX_AGAIN;
}

ngx_int_t ngx_http_privacy_resolve(ngx_http_request_t *r, ngx_http_privacy_state_t *st)
{
    static const prv_reply unavailable = {.status = PRV_REPLY_UNAVAILABLE};
    ngx_int_t rc;

    ngx_http_privacy_begin(st);
    if (st->resolved || r != r->main) {
        return NGX_OK;
    }
    if (st->wait) {
        return NGX_AGAIN;
    }
    if (st->of_account) {
        rc = account_step(st, PRV_STEP_NEED_STORE, st->op);
    } else if (ngx_http_privacy_submit(st, st->op, record_arrived) == NGX_OK) {
        rc = NGX_AGAIN;
    } else {
        rc = record_fed(st, &unavailable);
    }
    return rc == NGX_AGAIN ? ngx_http_privacy_park(r, resume) : rc;
}

ngx_int_t ngx_http_privacy_account(ngx_http_request_t *r, ngx_http_privacy_state_t *st,
                                   prv_str account)
{
    prv_op op;
    if (st->wait) {
        return NGX_AGAIN;
    }
    ngx_http_privacy_clock(st);
    prv_step step = prv_subject_begin(&st->rq, account, &op);
    return account_step(st, step, &op) == NGX_AGAIN ? ngx_http_privacy_park(r, resume) : NGX_OK;
}
