/* The blocking client: one command, one reply, over the same bounds as the asynchronous one. */
#include "ask.h"
#include "topology.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SYNC_MS 5000 /* an operator waits longer than a request does */
#define SYNC_AGAIN_MS 100
#define REDIRECTS_MAX 16
#define SCAN_COUNT "100"
#define SCAN_NEXT UINT64_MAX /* a cursor: the next primary's keys begin */

struct prv_sync {
    const prv_store_conf *conf;
    prv_scripts scripts;
    prv_conn *conn;
    prv_peer peer;     /* where it goes, or will go */
    prv_slot_map *map; /* of a cluster */
    bool stale;        /* something has moved since */
    size_t scanned;    /* primaries whose keys were all given out */
    redisReply *reply;
    prv_str strings[PRV_PAIRS_MAX];
    char why[PRV_WHY_MAX]; /* of the last failure */
};

static int64_t sync_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void sync_fail(prv_sync *sync, const char *why)
{
    snprintf(sync->why, sizeof sync->why, "%s", why);
    prv_conn_close(sync->conn);
    sync->conn = NULL;
}

static bool sync_poll(prv_sync *sync, short events, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - sync_now();
        struct pollfd p = {.fd = sync->conn->fd, .events = events};
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR) {
            sync_fail(sync, n == 0 ? "does not answer" : "cannot be waited for");
            return false;
        }
    }
}

static bool sync_send(prv_sync *sync, int64_t deadline)
{
    for (;;) {
        switch (prv_conn_send(sync->conn)) {
        case PRV_IO_DONE:
            return true;
        case PRV_IO_DEAD:
            sync_fail(sync, prv_conn_why(sync->conn, "closed the connection"));
            return false;
        case PRV_IO_WAIT:
            if (!sync_poll(sync, POLLOUT, deadline))
                return false;
        }
    }
}

/* The next reply into sync->reply. */
static bool sync_recv(prv_sync *sync, int64_t deadline)
{
    if (sync->reply != NULL)
        freeReplyObject(sync->reply);
    sync->reply = NULL;
    for (;;) {
        switch (prv_feed_next(&sync->conn->feed, &sync->reply)) {
        case PRV_FEED_REPLY:
            return true;
        case PRV_FEED_BAD:
            sync_fail(sync, "answers with something that is no record");
            return false;
        case PRV_FEED_MORE:
            break;
        }
        prv_io io = prv_conn_recv(sync->conn);
        if (io == PRV_IO_DEAD) {
            sync_fail(sync, prv_conn_why(sync->conn, "closed the connection"));
            return false;
        }
        if (io == PRV_IO_WAIT && !sync_poll(sync, POLLIN, deadline))
            return false;
    }
}

static bool sync_greet(prv_sync *sync, int64_t deadline)
{
    char nonce[PRV_NONCE_LEN + 1];
    size_t replies = 0;
    if (!prv_nonce_make(nonce) || !prv_conn_greet(sync->conn, sync->conf, nonce, &replies)) {
        sync_fail(sync, "cannot be greeted: no memory or no randomness");
        return false;
    }
    if (!sync_send(sync, deadline))
        return false;
    for (; replies > 0; replies--) {
        if (!sync_recv(sync, deadline))
            return false;
        const char *why = prv_greeting_trouble(sync->conf, nonce, replies, sync->reply);
        if (why != NULL) {
            sync_fail(sync, why);
            return false;
        }
    }
    return true;
}

/* Connects to one address of `peer`. */
static bool sync_open(prv_sync *sync, const prv_peer *peer, size_t addr, int64_t deadline)
{
    char text[96];
    prv_conn_close(sync->conn);
    sync->conn = prv_conn_open(peer, addr);
    int error = sync->conn == NULL ? errno : 0;
    if (error == 0) {
        if (!sync_poll(sync, POLLOUT, deadline))
            return false;
        error = prv_conn_error(sync->conn);
    }
    if (error == 0)
        return true;
    sync_fail(sync, "");
    snprintf(sync->why, sizeof sync->why, "cannot be reached: %s",
             strerror_r(error, text, sizeof text));
    return false;
}

static bool sync_connect_to(prv_sync *sync, const prv_peer *peer, int64_t deadline)
{
    for (size_t i = 0; i < prv_peer_addrs(peer); i++) {
        if (sync_open(sync, peer, i, deadline) && sync_greet(sync, deadline))
            return true;
    }
    return false;
}

/* ---- where the primary is */

static bool sync_words(prv_sync *sync, const prv_str *words, size_t n, int64_t deadline)
{
    if (!prv_conn_words(sync->conn, words, n)) {
        sync_fail(sync, "cannot be asked: no memory");
        return false;
    }
    return sync_send(sync, deadline) && sync_recv(sync, deadline);
}

static bool sync_told(prv_sync *sync, prv_told told)
{
    bool error = sync->reply->type == REDIS_REPLY_ERROR;
    if (told != PRV_TOLD)
        sync_fail(sync, error ? prv_answer_trouble(sync->reply) : prv_told_trouble(told));
    return told == PRV_TOLD;
}

static bool sync_ask_sentinel(prv_sync *sync, const prv_peer *peer, size_t addr, int64_t deadline)
{
    const prv_str master = {sync->conf->master, strlen(sync->conf->master)};
    const prv_str words[] = {PRV_STR("SENTINEL"), PRV_STR("GET-MASTER-ADDR-BY-NAME"), master};
    return sync_open(sync, peer, addr, deadline) && sync_words(sync, words, 3, deadline) &&
           sync_told(sync, prv_sentinel_read(sync->reply, &sync->peer));
}

static bool sync_ask_node(prv_sync *sync, const prv_peer *peer, size_t addr, int64_t deadline)
{
    const prv_str words[] = {PRV_STR("CLUSTER"), PRV_STR("SLOTS")};
    prv_peer asked;
    if (!sync_open(sync, peer, addr, deadline) || !sync_greet(sync, deadline))
        return false;
    sync->conn->feed.bound.wide = true;
    bool ok =
        sync_words(sync, words, 2, deadline) &&
        sync_told(sync, prv_peer_literal((prv_str){peer->addrs[addr], strlen(peer->addrs[addr])},
                                         peer->port, &asked)) &&
        sync_told(sync, prv_slots_read(sync->reply, &asked, sync->map));
    prv_conn_close(sync->conn); /* it may be any node's */
    sync->conn = NULL;
    return ok;
}

/* Asks sentinels, or nodes of the cluster, in turn. */
static bool sync_find(prv_sync *sync, int64_t deadline)
{
    bool sentinel = sync->conf->topology == PRV_SENTINEL;
    for (size_t i = 0; i < sync->conf->n_seeds; i++) {
        const prv_peer *peer = &sync->conf->seeds[i];
        for (size_t k = 0; k < prv_peer_addrs(peer); k++) {
            int64_t now = sync_now(), end = now + SYNC_MS / 4;
            end = end < deadline ? end : deadline;
            if (sentinel ? sync_ask_sentinel(sync, peer, k, end)
                         : sync_ask_node(sync, peer, k, end))
                return true;
        }
    }
    return false;
}

/* To where `peer` is; of Sentinel, to the primary as it is known now: a fail-over takes its time.
 */
static bool sync_connect(prv_sync *sync, int64_t deadline)
{
    if (sync->conf->topology != PRV_SENTINEL)
        return sync_connect_to(sync, &sync->peer, deadline);
    do {
        if (sync_find(sync, deadline) && sync_connect_to(sync, &sync->peer, deadline))
            return true;
        poll(NULL, 0, SYNC_AGAIN_MS);
    } while (sync_now() < deadline);
    return false;
}

/* The next command goes there. */
static void sync_point(prv_sync *sync, const prv_peer *peer)
{
    if (sync->conn != NULL && !prv_peer_same(&sync->peer, peer))
        sync_fail(sync, "");
    sync->peer = *peer;
}

/* Sends `text` and receives its reply, on a new connection if the old one ended meanwhile. A reply
 * before the command was sent belongs to nothing: that connection is not used. */
static bool sync_ask_as(prv_sync *sync, bool asking, const char *text, size_t n)
{
    const prv_str word = PRV_STR("ASKING");
    int64_t deadline = sync_now() + SYNC_MS;
    for (int i = 0; i < 2; i++) {
        if (sync->conn != NULL) {
            prv_io io = prv_conn_recv(sync->conn);
            if (io != PRV_IO_WAIT)
                sync_fail(sync, "closed the connection");
        }
        if (sync->conn == NULL && !sync_connect(sync, deadline))
            return false;
        if (asking && !sync_words(sync, &word, 1, deadline))
            continue;
        if (!prv_conn_add(sync->conn, text, n)) {
            sync_fail(sync, "cannot be asked: no memory");
            return false;
        }
        if (sync_send(sync, deadline) && sync_recv(sync, deadline)) {
            if (!prv_feed_empty(&sync->conn->feed)) {
                sync_fail(sync, "answers what was not asked");
                return false;
            }
            return true;
        }
        if (sync_now() >= deadline)
            return false;
    }
    return false;
}

static bool sync_ask(prv_sync *sync, const char *text, size_t n)
{
    return sync_ask_as(sync, false, text, n);
}

prv_code prv_sync_open(const prv_store_conf *conf, prv_sync **out, prv_error *err)
{
    prv_sync *sync = calloc(1, sizeof *sync);
    *out = NULL;
    if (sync != NULL) {
        int64_t deadline = sync_now() + SYNC_MS;
        bool cluster = conf->topology == PRV_CLUSTER;
        sync->conf = conf;
        sync->peer = conf->seeds[0];
        prv_scripts_init(&sync->scripts);
        sync->map = cluster ? calloc(1, sizeof *sync->map) : NULL;
        bool ok = !cluster || (sync->map != NULL && sync_find(sync, deadline));
        if (ok && cluster)
            sync->peer = sync->map->peers[0];
        ok = ok && sync_connect(sync, deadline);
        if (ok) {
            *out = sync;
            return PRV_OK;
        }
    }
    err->code = sync != NULL ? PRV_ERR_IO : PRV_ERR_NOMEM;
    err->line = err->column = 0;
    snprintf(err->text, sizeof err->text, "Redis at %s %s", conf->label,
             sync != NULL ? sync->why : "cannot be used: no memory");
    prv_code code = err->code;
    prv_sync_close(sync);
    return code;
}

void prv_sync_close(prv_sync *sync)
{
    if (sync == NULL)
        return;
    if (sync->reply != NULL)
        freeReplyObject(sync->reply);
    prv_conn_close(sync->conn);
    free(sync->map);
    free(sync);
}

/* Where a cluster keeps the key. False: nowhere. */
static bool sync_route(prv_sync *sync, prv_str key)
{
    uint8_t place = sync->map->slot[prv_slot_of(key)];
    if (place == 0 && sync_find(sync, sync_now() + SYNC_MS))
        place = sync->map->slot[prv_slot_of(key)];
    if (place == 0)
        return false;
    sync_point(sync, &sync->map->peers[place - 1]);
    return true;
}

/* A reply that sends elsewhere: true, and the next attempt goes there. */
static bool sync_redirected(prv_sync *sync, bool *asking)
{
    unsigned slot;
    prv_peer to;
    if (sync->conf->topology == PRV_SENTINEL) { /* demoted meanwhile */
        bool readonly =
            sync->reply->type == REDIS_REPLY_ERROR && strncmp(sync->reply->str, "READONLY", 8) == 0;
        if (readonly)
            sync_fail(sync, "is a replica and takes no writes");
        return readonly;
    }
    if (sync->conf->topology != PRV_CLUSTER)
        return false;
    switch (prv_redirect_read(sync->reply, &sync->peer, &slot, &to)) {
    case PRV_REDIRECT_MOVED: /* this one now, and by a new map from the next one on */
        sync->stale = true;
        sync_point(sync, &to);
        return true;
    case PRV_REDIRECT_ASK:
        *asking = true;
        sync_point(sync, &to);
        return true;
    case PRV_REDIRECT_TRYAGAIN:
        poll(NULL, 0, SYNC_AGAIN_MS);
        return true;
    default:
        return false;
    }
}

static bool sync_run(prv_sync *sync, const prv_op *op, bool eval)
{
    char *text = NULL;
    size_t n = 0;
    bool asking = false;
    if (!prv_op_format(op, &sync->scripts, eval, &text, &n))
        return false;
    bool ok = false;
    for (int i = 0; i < REDIRECTS_MAX; i++) {
        ok = sync_ask_as(sync, asking, text, n);
        asking = false;
        if (!ok || !sync_redirected(sync, &asking))
            break;
    }
    redisFreeCommand(text);
    return ok;
}

void prv_sync_op(prv_sync *sync, const prv_op *op, prv_reply *reply)
{
    bool ok = true;
    if (sync->conf->topology == PRV_CLUSTER) {
        if (sync->stale)
            sync->stale = !sync_find(sync, sync_now() + SYNC_MS);
        ok = sync_route(sync, op->key);
    }
    ok = ok && sync_run(sync, op, false);
    if (ok && prv_answer_noscript(sync->reply))
        ok = sync_run(sync, op, true);
    prv_answer_read(op, ok ? sync->reply : NULL, reply, sync->strings);
}

/* {cursor, {key, ...}} */
static bool scan_read(prv_sync *sync, uint64_t *cursor, size_t *n)
{
    const redisReply *r = sync->reply;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        r->element[0]->type != REDIS_REPLY_STRING || r->element[1]->type != REDIS_REPLY_ARRAY ||
        r->element[1]->elements > PRV_PAIRS_MAX)
        return false;
    *cursor = strtoull(r->element[0]->str, NULL, 10);
    *n = (size_t)r->element[1]->elements;
    for (size_t i = 0; i < *n; i++) {
        const redisReply *key = r->element[1]->element[i];
        if (key->type != REDIS_REPLY_STRING)
            return false;
        sync->strings[i] = (prv_str){key->str, (size_t)key->len};
    }
    return true;
}

prv_code prv_sync_scan(prv_sync *sync, prv_str pattern, uint64_t *cursor, const prv_str **keys,
                       size_t *n, prv_error *err)
{
    char at[24], *text = NULL;
    size_t len = 0;
    *n = 0;
    *keys = sync->strings;
    if (sync->map != NULL) { /* one primary after the other */
        if (*cursor == 0)
            sync->scanned = 0;
        if (*cursor == SCAN_NEXT)
            *cursor = 0;
        sync_point(sync, &sync->map->peers[sync->scanned % sync->map->n]);
    }
    int digits = snprintf(at, sizeof at, "%llu", (unsigned long long)*cursor);
    const prv_str words[] = {PRV_STR("SCAN"), {at, (size_t)digits}, PRV_STR("MATCH"),
                             pattern,         PRV_STR("COUNT"),     PRV_STR(SCAN_COUNT)};
    bool ok = prv_words_format(words, 6, &text, &len);
    if (ok) {
        ok = sync_ask(sync, text, len);
        redisFreeCommand(text);
        if (ok && !scan_read(sync, cursor, n)) {
            snprintf(sync->why, sizeof sync->why, "%s", prv_answer_trouble(sync->reply));
            ok = false;
        }
    }
    if (ok && *cursor == 0 && sync->map != NULL && ++sync->scanned < sync->map->n)
        *cursor = SCAN_NEXT;
    if (ok)
        return PRV_OK;
    *n = 0;
    err->code = PRV_ERR_IO;
    err->line = err->column = 0;
    snprintf(err->text, sizeof err->text, "Redis at %s %s", sync->conf->label, sync->why);
    return PRV_ERR_IO;
}

/* ---- ask.h */

static bool words_out(const prv_str *words, size_t n, bool (*send)(prv_sync *sync, const char *text, size_t len),
                      prv_sync *sync)
{
    char *text = NULL;
    size_t len = 0;
    if (!prv_words_format(words, n, &text, &len))
        return false;
    const bool ok = send(sync, text, len);
    redisFreeCommand(text);
    return ok;
}

const prv_answer *prv_sync_ask(prv_sync *sync, const prv_str *words, size_t n)
{
    return words_out(words, n, sync_ask, sync) ? (const prv_answer *)(const void *)sync->reply
                                               : NULL;
}

static bool sync_say(prv_sync *sync, const char *text, size_t n)
{
    return sync->conn != NULL && prv_conn_add(sync->conn, text, n) &&
           sync_send(sync, sync_now() + SYNC_MS);
}

bool prv_sync_say(prv_sync *sync, const prv_str *words, size_t n)
{
    return words_out(words, n, sync_say, sync);
}

const char *prv_sync_why(const prv_sync *sync)
{
    return sync->why;
}

size_t prv_sync_primaries(const prv_sync *sync)
{
    return sync->map != NULL ? sync->map->n : 1;
}

void prv_sync_use(prv_sync *sync, size_t primary)
{
    if (sync->map != NULL && primary < sync->map->n)
        sync_point(sync, &sync->map->peers[primary]);
}

bool prv_sync_aim(prv_sync *sync, prv_str key)
{
    return sync->map == NULL || sync_route(sync, key);
}

const char *prv_sync_where(const prv_sync *sync)
{
    return sync->peer.label;
}

const prv_answer *prv_sync_wait(prv_sync *sync, int ms, bool *lost)
{
    const int64_t until = sync_now() + ms;
    *lost = sync->conn == NULL;
    while (sync->conn != NULL) {
        if (sync->reply != NULL)
            freeReplyObject(sync->reply);
        sync->reply = NULL;
        const prv_feed_result got = prv_feed_next(&sync->conn->feed, &sync->reply);
        if (got == PRV_FEED_REPLY)
            return (const prv_answer *)(const void *)sync->reply;
        const prv_io io = got == PRV_FEED_BAD ? PRV_IO_DEAD : prv_conn_recv(sync->conn);
        if (io == PRV_IO_DEAD) {
            sync_fail(sync, got == PRV_FEED_BAD ? "answers with more than this program takes"
                                                : "closed the connection");
            *lost = true;
        } else if (io == PRV_IO_WAIT) {
            const int64_t left = until - sync_now();
            struct pollfd p = {.fd = sync->conn->fd, .events = POLLIN};
            const int n = left > 0 ? poll(&p, 1, (int)left) : 0;
            if (n == 0 || (n < 0 && errno == EINTR))
                return NULL;
        }
    }
    return NULL;
}
