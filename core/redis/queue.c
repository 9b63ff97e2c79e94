/* Operations that nobody waits for: kept for a minute, tried again with backoff while Redis is
 * unavailable. */
#include "store.h"

#include <stdlib.h>

static void item_free(prv_store *s, prv_item *item)
{
    prv_queue *q = &s->queue;
    *(item->prev ? &item->prev->next : &q->head) = item->next;
    *(item->next ? &item->next->prev : &q->tail) = item->prev;
    q->n--;
    if (item->wait != NULL) {
        q->flying--;
        prv_wait_cancel(item->wait);
    }
    if (q->n == 0)
        q->overflowed = false;
    free(item->op);
    free(item);
}

/* Backoff with jitter; a minute after it came, an operation is given up. */
static void item_later(prv_item *item, int64_t now)
{
    prv_store *s = item->store;
    if (now - item->first_ms >= PRV_QUEUE_MS) {
        prv_store_say(s, PRV_LOG_WARN,
                      "Redis at %s has not taken a queued change for a minute; it is dropped",
                      s->conf->label);
        item_free(s, item);
        return;
    }
    uint64_t jitter = prv_mix64((uint64_t)now ^ (uintptr_t)item) % (item->delay / 2);
    item->next_ms = now + item->delay * 3 / 4 + (int64_t)jitter;
    item->delay = item->delay * 2 > PRV_QUEUE_LAST_MS ? PRV_QUEUE_LAST_MS : item->delay * 2;
    if (item->next_ms < s->queue.next_ms)
        s->queue.next_ms = item->next_ms;
}

static void item_done(void *arg, const prv_reply *reply)
{
    prv_item *item = arg;
    prv_store *s = item->store;
    item->wait = NULL;
    s->queue.flying--;
    if (reply->status == PRV_REPLY_UNAVAILABLE)
        item_later(item, prv_store_now(s));
    else
        item_free(s, item);
    if (s->queue.n > s->queue.flying && s->queue.next_ms == INT64_MAX)
        s->queue.next_ms = prv_store_now(s);
}

void prv_store_queue(prv_store *s, const prv_op *op)
{
    if (s == NULL || s->closing)
        return;
    prv_queue *q = &s->queue;
    prv_item *item = calloc(1, sizeof *item);
    prv_op *copy = prv_op_copy(op);
    if (item == NULL || copy == NULL) {
        free(item);
        free(copy);
        return;
    }
    prv_store_enter(s);
    if (q->n == PRV_QUEUE_MAX) {
        if (!q->overflowed)
            prv_store_say(s, PRV_LOG_WARN,
                          "more than %d changes wait for Redis at %s; the oldest are dropped",
                          PRV_QUEUE_MAX, s->conf->label);
        q->overflowed = true;
        item_free(s, q->head);
    }
    item->store = s;
    item->op = copy;
    item->first_ms = item->next_ms = prv_store_now(s);
    item->delay = PRV_QUEUE_FIRST_MS;
    item->prev = q->tail;
    *(q->tail ? &q->tail->next : &q->head) = item;
    q->tail = item;
    q->n++;
    q->next_ms = item->next_ms;
    prv_store_leave(s);
}

void prv_queue_run(prv_store *s, int64_t now)
{
    prv_queue *q = &s->queue;
    if (now < q->next_ms)
        return;
    q->next_ms = INT64_MAX;
    for (prv_item *item = q->head, *next; item != NULL; item = next) {
        next = item->next;
        if (item->wait != NULL)
            continue;
        if (item->next_ms > now) {
            if (item->next_ms < q->next_ms)
                q->next_ms = item->next_ms;
            continue;
        }
        if (q->flying == PRV_QUEUE_FLIGHT)
            break;
        item->wait = prv_store_submit(s, item->op, item_done, item);
        if (item->wait != NULL)
            q->flying++;
        else
            item_later(item, now);
    }
}

void prv_queue_wake(prv_store *s, int64_t now)
{
    prv_queue *q = &s->queue;
    for (prv_item *item = q->head; item != NULL; item = item->next) {
        if (item->wait == NULL && item->next_ms > now)
            item->next_ms = now;
        item->delay = PRV_QUEUE_FIRST_MS;
    }
    if (q->n > q->flying)
        q->next_ms = now;
}

void prv_queue_free(prv_store *s)
{
    if (s->queue.n > 0)
        prv_store_say(s, PRV_LOG_NOTICE, "%zu changes that wait for Redis at %s are dropped",
                      s->queue.n, s->conf->label);
    while (s->queue.head != NULL)
        item_free(s, s->queue.head);
}
