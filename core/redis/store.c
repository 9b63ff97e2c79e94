/* The store as its users see it: submit, cancel, deadlines, shared reads. */
#include "store.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t prv_store_now(const prv_store *s)
{
    return s->loop.now_ms(s->loop.ctx);
}

void prv_store_say(const prv_store *s, prv_level level, const char *form, ...)
{
    char line[800];
    va_list ap;
    if (s->loop.log == NULL)
        return;
    va_start(ap, form);
    int n = vsnprintf(line, sizeof line, form, ap);
    va_end(ap);
    if (n > 0)
        s->loop.log(s->loop.ctx, level,
                    (prv_str){line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1});
}

/* ---- lists */

void prv_cmds_add(prv_cmds *list, prv_cmd *cmd)
{
    cmd->next = NULL;
    if (list->tail != NULL)
        list->tail->next = cmd;
    else
        list->head = cmd;
    list->tail = cmd;
}

prv_cmd *prv_cmds_take(prv_cmds *list)
{
    prv_cmd *cmd = list->head;
    if (cmd != NULL) {
        list->head = cmd->next;
        if (list->head == NULL)
            list->tail = NULL;
        cmd->next = NULL;
    }
    return cmd;
}

void prv_cmds_append(prv_cmds *list, prv_cmds *more)
{
    if (more->head == NULL)
        return;
    if (list->tail != NULL)
        list->tail->next = more->head;
    else
        list->head = more->head;
    list->tail = more->tail;
    *more = (prv_cmds){NULL, NULL};
}

static void wait_unlink(prv_wait *w)
{
    prv_store *s = w->store;
    *(w->deadline_prev ? &w->deadline_prev->deadline_next : &s->deadline_head) = w->deadline_next;
    *(w->deadline_next ? &w->deadline_next->deadline_prev : &s->deadline_tail) = w->deadline_prev;
    *(w->prev ? &w->prev->next : &w->cmd->first) = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
}

static void wait_link(prv_store *s, prv_cmd *cmd, prv_wait *w)
{
    w->store = s;
    w->cmd = cmd;
    w->prev = NULL;
    w->next = cmd->first;
    if (w->next != NULL)
        w->next->prev = w;
    cmd->first = w;
    /* In order; nearly always the last. */
    prv_wait *before = s->deadline_tail;
    while (before != NULL && before->deadline > w->deadline)
        before = before->deadline_prev;
    w->deadline_prev = before;
    w->deadline_next = before != NULL ? before->deadline_next : s->deadline_head;
    *(before != NULL ? &before->deadline_next : &s->deadline_head) = w;
    *(w->deadline_next ? &w->deadline_next->deadline_prev : &s->deadline_tail) = w;
}

static int64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The one end of a wait that its submitter hears of; `outcome` is what is counted. */
static void wait_end(prv_wait *w, const prv_reply *reply, prv_tick outcome)
{
    prv_zone *zone = w->store->zone;
    prv_done done = w->done;
    void *arg = w->arg;
    prv_count(zone, outcome);
    prv_count_latency(zone, clock_us() - w->asked_us);
    wait_unlink(w);
    free(w);
    done(arg, reply);
}

/* ---- reads that can be joined */

static prv_cmd **bucket_of(prv_store *s, uint64_t hash)
{
    return &s->bucket[hash % PRV_BUCKETS];
}

static void cmd_close(prv_store *s, prv_cmd *cmd)
{
    if (!cmd->joinable)
        return;
    cmd->joinable = false;
    for (prv_cmd **at = bucket_of(s, cmd->hash); *at != NULL; at = &(*at)->chain) {
        if (*at == cmd) {
            *at = cmd->chain;
            return;
        }
    }
}

static prv_cmd *cmd_find(prv_store *s, prv_str key, uint64_t hash)
{
    for (prv_cmd *cmd = *bucket_of(s, hash); cmd != NULL; cmd = cmd->chain) {
        if (cmd->hash == hash && cmd->op->key.n == key.n &&
            memcmp(cmd->op->key.p, key.p, key.n) == 0)
            return cmd;
    }
    return NULL;
}

prv_cmd *prv_cmd_new(prv_store *s, prv_cmd_kind kind)
{
    bool room = kind != PRV_CMD_OP || s->n_cmds < PRV_COMMANDS_MAX;
    prv_cmd *cmd = room ? calloc(1, sizeof *cmd) : NULL;
    if (cmd != NULL) {
        cmd->kind = kind;
        s->n_cmds++;
    }
    return cmd;
}

void prv_cmd_free(prv_store *s, prv_cmd *cmd)
{
    cmd_close(s, cmd);
    if (cmd->reply != NULL)
        freeReplyObject(cmd->reply);
    if (cmd->before != NULL)
        freeReplyObject(cmd->before);
    free(cmd->op);
    free(cmd);
    s->n_cmds--;
}

/* A command for op: a read under way, or a new one. A read that was sent before a write to its key
 * was submitted may carry what stood there before, so a write ends the joining; so does an invalidation, which
 * moves the stamp; and what hangs is not joined either. */
static prv_cmd *cmd_for(prv_store *s, const prv_op *op, int64_t now)
{
    uint64_t hash = prv_fnv64(PRV_FNV64_SEED, op->key);
    prv_cmd *known = cmd_find(s, op->key, hash);
    if (known != NULL) {
        bool stale = known->sent_ms != 0 && now - known->sent_ms >= s->conf->timeout_ms;
        if (prv_op_reads(op) && op->kind == known->op->kind && op->stamp == known->op->stamp &&
            !stale) {
            known->dropped = false;
            return known;
        }
        cmd_close(s, known);
    }
    prv_cmd *cmd = prv_cmd_new(s, PRV_CMD_OP);
    if (cmd == NULL)
        return NULL;
    cmd->op = prv_op_copy(op);
    cmd->hash = hash;
    if (cmd->op == NULL) {
        prv_cmd_free(s, cmd);
        return NULL;
    }
    if (prv_op_reads(op)) {
        cmd->joinable = true;
        cmd->chain = *bucket_of(s, hash);
        *bucket_of(s, hash) = cmd;
    }
    prv_route_cmd(s, cmd);
    return cmd;
}

/* ---- delivery */

/* An answer that is an error: one line when it begins and one when it ends, for reads and for
 * writes. */
static void note_refusal(const prv_store *s, const prv_cmd *cmd, const prv_reply *reply)
{
    prv_backend *b = cmd->backend;
    bool writes = !prv_op_reads(cmd->op);
    bool failed = reply->status == PRV_REPLY_UNAVAILABLE;
    if (b == NULL || cmd->reply == NULL || b->refused[writes] == failed)
        return;
    b->refused[writes] = failed;
    if (failed)
        prv_store_say(s, PRV_LOG_WARN, "Redis at %s %s; %s", b->peer.label,
                      prv_answer_trouble(cmd->reply),
                      writes ? "choices are not stored" : "records are not read");
    else
        prv_store_say(s, PRV_LOG_NOTICE, "Redis at %s %s again", b->peer.label,
                      writes ? "takes choices" : "gives records");
}

/*
 * privacy_store_wait: a grant that was made and is not acknowledged, because too few replicas have
 * it or because nobody waits any more, is taken back before anybody is told. True: it is on its
 * way.
 */
static bool cmd_undo(const prv_store *s, prv_cmd *cmd)
{
    bool made = s->conf->wait > 0 && prv_answer_done(cmd->reply);
    bool refused = cmd->unkept || cmd->dropped;
    bool back = made && refused && cmd->op->raises && !cmd->undoing;
    if ((made && cmd->unkept) || back || (cmd->undoing && cmd->reply != NULL)) {
        freeReplyObject(cmd->reply);
        cmd->reply = NULL;
    }
    if (back) {
        cmd->undoing = true;
        prv_backend_add(cmd->backend, cmd);
    }
    return back;
}

void prv_cmd_deliver(prv_store *s, prv_cmd *cmd)
{
    prv_str pairs[PRV_PAIRS_MAX];
    prv_reply reply;
    if (prv_answer_noscript(cmd->reply) && !cmd->eval && cmd->first != NULL) {
        freeReplyObject(cmd->reply);
        cmd->reply = NULL;
        cmd->eval = true;
        prv_backend_add(cmd->backend, cmd);
        return;
    }
    if (prv_route_again(s, cmd) || cmd_undo(s, cmd))
        return;
    cmd_close(s, cmd);
    prv_answer_read(cmd->op, cmd->reply, &reply, pairs);
    if (prv_op_reads(cmd->op) && cmd->reply != NULL)
        reply.untracked = s->push != NULL && !prv_zone_targeted(s->zone, prv_peer_name(&cmd->backend->peer));
    note_refusal(s, cmd, &reply);
    prv_store_enter(s);
    const bool answered = reply.status != PRV_REPLY_UNAVAILABLE;
    while (cmd->first != NULL)
        wait_end(cmd->first, &reply, answered ? PRV_TICK_STORE_ANSWERED : PRV_TICK_STORE_FAILED);
    prv_cmd_free(s, cmd);
    prv_store_leave(s);
}

void prv_cmds_fail(prv_store *s, prv_cmds *list)
{
    for (prv_cmd *cmd = prv_cmds_take(list); cmd != NULL; cmd = prv_cmds_take(list)) {
        if (cmd->kind != PRV_CMD_OP) {
            prv_cmd_free(s, cmd);
            continue;
        }
        if (cmd->reply != NULL) {
            freeReplyObject(cmd->reply);
            cmd->reply = NULL;
        }
        prv_cmd_deliver(s, cmd);
    }
}

/* ---- the turn */

bool prv_store_wanted(const prv_store *s, int64_t now)
{
    return now - s->asked_ms < PRV_DEMAND_MS || s->queue.n > 0;
}

static int64_t store_next(const prv_store *s, int64_t now)
{
    int64_t at = s->deadline_head != NULL ? s->deadline_head->deadline : INT64_MAX;
    bool wanted = prv_store_wanted(s, now);
    for (size_t i = 0; i < s->n_backends; i++) {
        int64_t next = prv_backend_next(s->backends[i], now, wanted);
        at = next < at ? next : at;
    }
    if (s->conf->topology != PRV_STANDALONE) {
        int64_t next = prv_scout_next(s, now), later = prv_route_next(s);
        at = next < at ? next : at;
        at = later < at ? later : at;
    }
    return s->queue.next_ms < at ? s->queue.next_ms : at;
}

static void store_arm(prv_store *s)
{
    int64_t now = prv_store_now(s);
    int64_t at = store_next(s, now);
    if (at == s->armed)
        return;
    if (s->armed != INT64_MAX)
        s->loop.timer_clear(s->timer);
    s->armed = at;
    if (at != INT64_MAX)
        s->loop.timer_set(s->timer, at > now ? (uint32_t)(at - now) : 0);
}

static void expire_waits(prv_store *s, int64_t now)
{
    const prv_reply none = {.status = PRV_REPLY_UNAVAILABLE};
    bool any = false;
    for (prv_wait *w = s->deadline_head; w != NULL && w->deadline <= now; w = s->deadline_head) {
        prv_cmd *cmd = w->cmd;
        const bool whole = w->whole;
        if (cmd->first == w && w->next == NULL)
            cmd->dropped = true;
        if (whole && cmd->backend != NULL && cmd->backend->of == NULL &&
            (!any || !cmd->backend->lost)) {
            char why[64];
            snprintf(why, sizeof why, "does not answer within %u ms",
                     (unsigned)s->conf->timeout_ms);
            prv_backend_lost(cmd->backend, why);
            any = true;
        } else if (cmd->backend == NULL && s->n_backends == 0) {
            prv_cell_report(s->cell, false, now); /* whom we ask for the primary does not answer */
        }
        wait_end(w, &none, PRV_TICK_STORE_LATE);
    }
}

/* If we were late ourselves, the replies are there. */
static void store_catch_up(prv_store *s)
{
    for (size_t i = 0; i < s->n_backends && !s->closing; i++) {
        if (s->backends[i]->link == PRV_LINK_UP && s->backends[i]->sent.head != NULL)
            prv_link_read(s->backends[i]);
    }
}

static void store_turn(void *arg)
{
    prv_store *s = arg;
    s->armed = INT64_MAX;
    prv_store_enter(s);
    int64_t now = prv_store_now(s);
    if (s->deadline_head != NULL && s->deadline_head->deadline <= now)
        store_catch_up(s);
    expire_waits(s, now);
    for (size_t i = 0; i < s->n_backends && !s->closing; i++)
        prv_link_check(s->backends[i], now);
    if (!s->closing)
        prv_queue_run(s, now);
    if (!s->closing && s->conf->topology != PRV_STANDALONE) {
        prv_scout_turn(s, now);
        prv_route_turn(s, now);
    }
    bool wanted = prv_store_wanted(s, now);
    for (size_t i = 0; i < s->n_backends && !s->closing; i++) {
        if (wanted && s->backends[i]->listed &&
            prv_cell_ask(s->backends[i]->cell, now) == PRV_BREAKER_PROBE)
            s->backends[i]->probe = true;
        prv_link_flush(s->backends[i]);
    }
    prv_store_leave(s);
}

void prv_store_enter(prv_store *s)
{
    s->depth++;
}

static void store_free(prv_store *s)
{
    while (s->n_backends > 0)
        prv_backend_free(s->backends[0]);
    if (s->timer != NULL)
        s->loop.timer_close(s->timer);
    free(s->slots);
    free(s);
}

void prv_store_leave(prv_store *s)
{
    if (--s->depth > 0)
        return;
    if (s->closing)
        store_free(s);
    else
        store_arm(s);
}

/* ---- the invalidation link: what it learns of a Redis counts here too */

static prv_backend *backend_of(prv_store *s, const prv_peer *peer)
{
    for (size_t i = 0; i < s->n_backends; i++) {
        if (s->backends[i]->of == NULL && prv_peer_same(&s->backends[i]->peer, peer))
            return s->backends[i];
    }
    return NULL;
}

static void push_lost(void *arg, const prv_peer *peer, const char *why)
{
    prv_store *s = arg;
    prv_backend *b = backend_of(s, peer);
    if (b == NULL)
        return;
    prv_store_enter(s);
    prv_backend_lost(b, why);
    prv_store_leave(s);
}

static void push_back(void *arg, const prv_peer *peer)
{
    prv_store *s = arg;
    prv_backend *b = backend_of(s, peer);
    if (b == NULL || (!b->lost && prv_cell_due(b->cell) == 0))
        return;
    prv_store_enter(s);
    prv_backend_regained(b);
    prv_store_leave(s);
}

static void push_say(void *arg, prv_level level, const char *line)
{
    prv_store_say(arg, level, "%s", line);
}

static void push_outdated(void *arg)
{
    prv_store *s = arg;
    if (s->conf->topology == PRV_STANDALONE)
        return;
    prv_store_enter(s);
    s->scout.wanted = true;
    prv_store_leave(s);
}

bool prv_store_follow(prv_store *s)
{
    const prv_push_events events = {s, push_lost, push_back, push_say, push_outdated};
    if (s->push != NULL)
        return true;
    s->push = prv_push_open(s->conf, &s->loop, s->zone, &events);
    prv_store_retarget(s);
    return s->push != NULL;
}

void prv_store_retarget(prv_store *s)
{
    static const size_t most = PRV_PRIMARIES_MAX;
    prv_peer *peers = s->push != NULL ? calloc(most, sizeof *peers) : NULL;
    size_t n = 0;
    for (size_t i = 0; peers != NULL && i < s->n_backends && n < most; i++) {
        if (s->backends[i]->listed)
            peers[n++] = s->backends[i]->peer;
    }
    prv_push_targets(s->push, peers, n); /* without memory none is heard, and everybody reads */
    free(peers);
}

/* ---- what privacy.h promises */

prv_store *prv_store_open(const prv_store_conf *conf, const prv_loop *loop, prv_zone *zone)
{
    prv_store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->conf = conf;
    s->loop = *loop;
    s->zone = zone;
    s->armed = INT64_MAX;
    s->queue.next_ms = INT64_MAX;
    s->asked_ms = prv_store_now(s) - PRV_DEMAND_MS;
    prv_scripts_init(&s->scripts);
    s->timer = loop->timer_open(loop->ctx, store_turn, s);
    s->zone = zone;
    s->cell = zone != NULL ? &zone->breaker : &s->own;
    bool ok = s->timer != NULL;
    if (conf->topology == PRV_CLUSTER)
        ok = ok && (s->slots = calloc(PRV_SLOTS, 1)) != NULL;
    if (conf->topology == PRV_STANDALONE)
        ok = ok && prv_backend_new(s, &conf->seeds[0]) != NULL;
    if (ok && conf->topology == PRV_STANDALONE)
        s->backends[0]->listed = true;
    if (!ok) {
        store_free(s);
        return NULL;
    }
    return s;
}

void prv_store_close(prv_store *s)
{
    if (s == NULL || s->closing)
        return;
    s->closing = true;
    prv_store_enter(s);
    prv_push_close(s->push);
    prv_queue_free(s);
    prv_cmds left = {NULL, NULL};
    for (size_t i = 0; i < s->n_backends; i++) {
        prv_link_close(s->backends[i], &left);
        prv_cmds_append(&left, &s->backends[i]->pending);
    }
    prv_scout_close(s);
    prv_cmds_append(&left, &s->unrouted);
    prv_cmds_append(&left, &s->later);
    prv_cmds_fail(s, &left);
    /* Waits of a command that is being delivered further up the stack. */
    const prv_reply none = {.status = PRV_REPLY_UNAVAILABLE};
    while (s->deadline_head != NULL)
        wait_end(s->deadline_head, &none, PRV_TICK_STORE_FAILED);
    prv_store_leave(s);
}

prv_wait *prv_store_submit(prv_store *s, const prv_op *op, prv_done done, void *arg)
{
    if (s == NULL || s->closing)
        return NULL;
    int64_t now = prv_store_now(s);
    s->asked_ms = now;
    prv_backend *b = prv_route(s, op->key);
    prv_breaker breaker = prv_cell_ask(b != NULL ? b->cell : s->cell, now);
    prv_wait *w = NULL;
    if (b == NULL && s->n_backends > 0 && now < s->scout.next_ms)
        s->scout.wanted = true; /* a slot that nobody served a moment ago */
    else if (breaker == PRV_BREAKER_PROBE)
        *(b != NULL ? &b->probe : &s->scout.wanted) = true;
    else if (breaker == PRV_BREAKER_CLOSED)
        w = malloc(sizeof *w);
    prv_cmd *cmd = w != NULL ? cmd_for(s, op, now) : NULL;
    if (cmd != NULL) {
        w->done = done;
        w->arg = arg;
        w->whole = op->wait_ms == 0 || op->wait_ms >= s->conf->timeout_ms;
        w->deadline = now + (w->whole ? s->conf->timeout_ms : op->wait_ms);
        w->asked_us = clock_us();
        wait_link(s, cmd, w);
    } else {
        prv_count(s->zone, PRV_TICK_STORE_UNSENT);
        free(w);
        w = NULL;
    }
    if (s->depth == 0)
        store_arm(s);
    return w;
}

void prv_wait_cancel(prv_wait *w)
{
    if (w == NULL)
        return;
    wait_unlink(w);
    free(w);
}
