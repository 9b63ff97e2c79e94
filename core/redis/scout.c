/*
 * Finds out where primaries are: one connection that asks one sentinel, or one node of a cluster,
 * after the other until somebody answers. A sentinel is then listened to. Nothing here takes part
 * in answering requests: with nobody left to ask, the primaries that are known stay in use.
 */
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCOUT_MS 500   /* for one candidate to connect and answer */
#define AGAIN_MS 200   /* between two rounds */
#define LISTEN_MS 1000 /* a sentinel is asked so often whether it is alive */
#define READS_A_TURN 16

static void scout_ready(void *arg, bool readable, bool writable);
static void scout_try(prv_store *s);

/* ---- whom to ask */

/* In a cluster the nodes that are known come first. */
static size_t candidates(const prv_store *s)
{
    return s->conf->n_seeds + (s->conf->topology == PRV_CLUSTER ? s->n_backends : 0);
}

static const prv_peer *candidate(const prv_store *s, size_t at)
{
    size_t known = s->conf->topology == PRV_CLUSTER ? s->n_backends : 0;
    if (at < known)
        return &s->backends[at]->peer;
    return &s->conf->seeds[(at - known) % s->conf->n_seeds];
}

/* A node that we lost ourselves is asked when there is no other: it may hang. */
static bool candidate_lost(const prv_store *s, size_t at)
{
    for (size_t i = 0; s->conf->topology == PRV_CLUSTER && i < s->n_backends; i++) {
        const prv_backend *b = s->backends[i];
        const prv_peer *peer = candidate(s, at);
        if (b->lost && b->peer.port == peer->port && strcmp(b->peer.addrs[0], peer->addrs[0]) == 0)
            return true;
    }
    return false;
}

static bool nobody_known(const prv_store *s)
{
    return s->n_backends == 0;
}

bool prv_scout_needed(const prv_store *s, int64_t now)
{
    if (s->scout.wanted || s->unrouted.head != NULL)
        return true;
    if (nobody_known(s) || !prv_store_wanted(s, now))
        return false;
    for (size_t i = 0; i < s->n_backends; i++) {
        const prv_backend *b = s->backends[i];
        if (b->listed && (b->left || b->lost))
            return true;
    }
    return s->conf->topology == PRV_SENTINEL && s->scout.state != PRV_SCOUT_LISTENING;
}

/* ---- ends of a round */

static void scout_idle(prv_store *s)
{
    prv_scout *sc = &s->scout;
    if (sc->io != NULL)
        s->loop.io_close(sc->io);
    prv_conn_close(sc->conn);
    sc->io = NULL;
    sc->conn = NULL;
    sc->state = PRV_SCOUT_IDLE;
}

static const char *whom(const prv_store *s)
{
    return s->conf->topology == PRV_SENTINEL ? "sentinel" : "node";
}

static void scout_step(prv_store *s)
{
    prv_scout *sc = &s->scout;
    sc->addr = 0;
    sc->at = (sc->at + 1) % candidates(s);
    sc->left--;
}

/* This candidate is of no help; on to the next one. */
static void scout_next_one(prv_store *s, const char *why)
{
    prv_scout *sc = &s->scout;
    snprintf(sc->why, sizeof sc->why, "the %s at %s %s", whom(s), sc->peer.label, why);
    scout_idle(s);
    if (++sc->addr >= prv_peer_addrs(candidate(s, sc->at)))
        scout_step(s);
    scout_try(s);
}

static void scout_failed(prv_store *s)
{
    prv_scout *sc = &s->scout;
    int64_t now = prv_store_now(s);
    sc->next_ms = now + (nobody_known(s) ? AGAIN_MS : LISTEN_MS);
    for (size_t i = 0; i < s->n_backends; i++) {
        if (s->backends[i]->listed && (s->backends[i]->left || s->backends[i]->lost))
            sc->next_ms = now + AGAIN_MS;
    }
    if (!sc->said) {
        sc->said = true;
        prv_store_say(
            s, PRV_LOG_WARN, "nobody says where the primary of %s is; %s; %s", s->conf->label,
            sc->why, nobody_known(s) ? "deciding without it" : "what was known of it stays in use");
    }
    if (nobody_known(s))
        prv_cell_report(s->cell, false, now);
    prv_cmds waiting = s->unrouted;
    s->unrouted = (prv_cmds){NULL, NULL};
    prv_cmds_fail(s, &waiting);
}

static void scout_helped(prv_store *s)
{
    prv_scout *sc = &s->scout;
    sc->next_ms = prv_store_now(s) + AGAIN_MS;
    if (sc->said) {
        sc->said = false;
        prv_store_say(s, PRV_LOG_NOTICE, "the %s at %s says where the primary of %s is", whom(s),
                      sc->peer.label, s->conf->label);
    }
    if (prv_cell_due(s->cell) != 0)
        prv_cell_report(s->cell, true, prv_store_now(s));
}

/* ---- asking */

static bool scout_open(prv_store *s)
{
    prv_scout *sc = &s->scout;
    const prv_peer *peer = candidate(s, sc->at);
    sc->peer = *peer;
    if (peer->n_addrs > 0) {
        memcpy(sc->peer.addrs[0], peer->addrs[sc->addr], sizeof sc->peer.addrs[0]);
        sc->peer.n_addrs = 1;
    }
    sc->conn = prv_conn_open(&sc->peer, 0);
    if (sc->conn == NULL)
        return false;
    sc->opened++;
    sc->conn->feed.bound.wide = true;
    sc->io = s->loop.io_open(s->loop.ctx, sc->conn->fd, scout_ready, s);
    if (sc->io == NULL) {
        prv_conn_close(sc->conn);
        sc->conn = NULL;
        errno = ENOMEM;
        return false;
    }
    sc->state = PRV_SCOUT_CONNECTING;
    sc->deadline = prv_store_now(s) + SCOUT_MS;
    s->loop.io_want(sc->io, false, true);
    return true;
}

static void scout_unreachable(prv_store *s, int error)
{
    char why[128], text[96];
    snprintf(why, sizeof why, "cannot be reached: %s", strerror_r(error, text, sizeof text));
    scout_next_one(s, why);
}

static void scout_try(prv_store *s)
{
    while (s->scout.left > 0 && !s->scout.lost_too && candidate_lost(s, s->scout.at))
        scout_step(s);
    if (s->scout.left == 0)
        scout_failed(s);
    else if (!scout_open(s))
        scout_unreachable(s, errno);
}

static bool scout_words(prv_store *s)
{
    prv_scout *sc = &s->scout;
    const prv_str nonce = {sc->nonce, PRV_NONCE_LEN};
    const prv_str master = {s->conf->master, strlen(s->conf->master)};
    if (!prv_nonce_make(sc->nonce))
        return false;
    if (s->conf->topology == PRV_CLUSTER) {
        const prv_str slots[] = {PRV_STR("CLUSTER"), PRV_STR("SLOTS")};
        return prv_conn_greet(sc->conn, s->conf, sc->nonce, &sc->replies) &&
               prv_conn_words(sc->conn, slots, 2) && ++sc->replies > 0;
    }
    /* In one write, so that no switch falls between the answer and the subscription. */
    const prv_str ping[] = {PRV_STR("PING"), nonce};
    const prv_str where[] = {PRV_STR("SENTINEL"), PRV_STR("GET-MASTER-ADDR-BY-NAME"), master};
    const prv_str listen[] = {PRV_STR("SUBSCRIBE"), PRV_STR("+switch-master")};
    sc->replies = 3;
    return prv_conn_words(sc->conn, ping, 2) && prv_conn_words(sc->conn, where, 3) &&
           prv_conn_words(sc->conn, listen, 2);
}

/* What is asked fits any socket's buffer. */
static void scout_send(prv_store *s)
{
    if (prv_conn_send(s->scout.conn) == PRV_IO_DEAD)
        scout_next_one(s, "closed the connection");
    else
        s->loop.io_want(s->scout.io, true, s->scout.conn->tx_sent < s->scout.conn->tx_len);
}

static void scout_ask(prv_store *s)
{
    s->scout.state = PRV_SCOUT_ASKING;
    if (scout_words(s))
        scout_send(s);
    else
        scout_next_one(s, "cannot be asked: no memory or no randomness");
}

/* ---- answers */

static void scout_cluster(prv_store *s, const redisReply *r)
{
    prv_scout *sc = &s->scout;
    if (sc->replies > 1) {
        const char *why = prv_greeting_trouble(s->conf, sc->nonce, sc->replies - 1, r);
        sc->replies--;
        if (why != NULL)
            scout_next_one(s, why);
        return;
    }
    prv_slot_map *map = malloc(sizeof *map);
    prv_told told = PRV_TOLD_NONSENSE;
    if (map != NULL)
        told = prv_slots_read(r, &sc->peer, map);
    if (told != PRV_TOLD) {
        scout_next_one(s, r->type == REDIS_REPLY_ERROR ? prv_answer_trouble(r)
                                                       : prv_told_trouble(told));
    } else {
        scout_idle(s);
        scout_helped(s);
        prv_route_slots(s, map);
    }
    free(map);
}

static void scout_listen(prv_store *s, bool heard)
{
    prv_scout *sc = &s->scout;
    const prv_peer found = sc->found;
    if (heard) {
        sc->state = PRV_SCOUT_LISTENING;
        sc->pinged = false;
        sc->deadline = prv_store_now(s) + LISTEN_MS;
        scout_helped(s);
    } else { /* it gives addresses and permits no subscription */
        scout_idle(s);
        scout_helped(s);
        sc->next_ms = prv_store_now(s) + LISTEN_MS;
    }
    prv_route_primary(s, &found);
}

static void scout_sentinel(prv_store *s, const redisReply *r)
{
    prv_scout *sc = &s->scout;
    switch (sc->replies--) {
    case 3:
        if (!prv_nonce_matches(sc->nonce, r))
            scout_next_one(s, prv_answer_trouble(r));
        return;
    case 2: {
        prv_told told = prv_sentinel_read(r, &sc->found);
        if (told != PRV_TOLD)
            scout_next_one(s, r->type == REDIS_REPLY_ERROR ? prv_answer_trouble(r)
                                                           : prv_told_trouble(told));
        return;
    }
    default:
        scout_listen(s, r->type == REDIS_REPLY_ARRAY);
    }
}

/* A pong, or a switch. */
static void scout_heard(prv_store *s, const redisReply *r)
{
    prv_scout *sc = &s->scout;
    prv_told told;
    prv_peer peer;
    if (prv_switch_read(r, s->conf->master, &told, &peer)) {
        if (told == PRV_TOLD)
            prv_route_primary(s, &peer);
        else
            prv_store_say(s, PRV_LOG_WARN, "the sentinel at %s %s", sc->peer.label,
                          prv_told_trouble(told));
        return;
    }
    bool pong = r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
                prv_nonce_matches(sc->nonce, r->element[1]);
    if (pong) {
        sc->pinged = false;
        sc->deadline = prv_store_now(s) + LISTEN_MS;
    }
}

static void scout_ping(prv_store *s)
{
    prv_scout *sc = &s->scout;
    const prv_str ping[] = {PRV_STR("PING"), {sc->nonce, PRV_NONCE_LEN}};
    if (!prv_nonce_make(sc->nonce) || !prv_conn_words(sc->conn, ping, 2)) {
        scout_idle(s);
        return;
    }
    sc->pinged = true;
    sc->deadline = prv_store_now(s) + LISTEN_MS;
    if (prv_conn_send(sc->conn) == PRV_IO_DEAD)
        scout_idle(s);
}

/* False: the connection is gone. */
static bool scout_replies(prv_store *s)
{
    const unsigned opened = s->scout.opened;
    for (;;) {
        redisReply *r = NULL;
        prv_feed_result got = prv_feed_next(&s->scout.conn->feed, &r);
        if (got == PRV_FEED_MORE)
            return true;
        if (got == PRV_FEED_BAD) {
            scout_next_one(s, "answers with something that is no Redis' or beyond all bounds");
            return false;
        }
        if (s->scout.state == PRV_SCOUT_LISTENING)
            scout_heard(s, r);
        else if (s->conf->topology == PRV_CLUSTER)
            scout_cluster(s, r);
        else
            scout_sentinel(s, r);
        freeReplyObject(r);
        if (s->closing || s->scout.conn == NULL || s->scout.opened != opened)
            return false;
    }
}

static void scout_read(prv_store *s)
{
    for (int i = 0; i < READS_A_TURN; i++) {
        prv_io io = prv_conn_recv(s->scout.conn);
        if (io == PRV_IO_WAIT)
            return;
        if (io == PRV_IO_DEAD && s->scout.state == PRV_SCOUT_LISTENING)
            scout_idle(s);
        else if (io == PRV_IO_DEAD)
            scout_next_one(s, "closed the connection");
        if (io == PRV_IO_DEAD || !scout_replies(s))
            return;
    }
}

static void scout_ready(void *arg, bool readable, bool writable)
{
    prv_store *s = arg;
    prv_scout *sc = &s->scout;
    prv_store_enter(s);
    if (sc->state == PRV_SCOUT_CONNECTING) {
        int error = prv_conn_error(sc->conn);
        if (error != 0)
            scout_unreachable(s, error);
        else
            scout_ask(s);
    } else if (sc->conn != NULL) {
        const unsigned opened = sc->opened;
        if (writable)
            scout_send(s);
        if ((readable || !writable) && sc->conn != NULL && sc->opened == opened)
            scout_read(s);
    }
    prv_store_leave(s);
}

/* ---- the turn */

void prv_scout_turn(prv_store *s, int64_t now)
{
    prv_scout *sc = &s->scout;
    if (nobody_known(s) && prv_store_wanted(s, now) &&
        prv_cell_ask(s->cell, now) == PRV_BREAKER_PROBE)
        sc->wanted = true;
    bool busy = sc->state == PRV_SCOUT_CONNECTING || sc->state == PRV_SCOUT_ASKING;
    if (busy && now >= sc->deadline) {
        scout_next_one(s, "does not answer");
        return;
    }
    if (!busy && now >= sc->next_ms && prv_scout_needed(s, now)) {
        bool listening = sc->state == PRV_SCOUT_LISTENING;
        scout_idle(s);
        sc->wanted = false;
        sc->left = candidates(s);
        sc->at = (sc->at + listening) % sc->left; /* another one's view */
        sc->addr = 0;
        sc->lost_too = true;
        for (size_t i = 0; i < sc->left; i++)
            sc->lost_too = sc->lost_too && candidate_lost(s, i);
        scout_try(s);
        return;
    }
    if (sc->state == PRV_SCOUT_LISTENING && now >= sc->deadline) {
        if (sc->pinged)
            scout_idle(s);
        else
            scout_ping(s);
    }
}

int64_t prv_scout_next(const prv_store *s, int64_t now)
{
    const prv_scout *sc = &s->scout;
    int64_t at = sc->state != PRV_SCOUT_IDLE ? sc->deadline : INT64_MAX;
    bool busy = sc->state == PRV_SCOUT_CONNECTING || sc->state == PRV_SCOUT_ASKING;
    if (!busy && prv_scout_needed(s, now) && sc->next_ms < at)
        at = sc->next_ms;
    int64_t due = prv_cell_due(s->cell);
    if (nobody_known(s) && prv_store_wanted(s, now) && due != 0 && due < at)
        at = due;
    return at;
}

void prv_scout_close(prv_store *s)
{
    scout_idle(s);
}
