/*
 * The invalidation link (core/redis/README.md, "Coherence"). Whoever holds the zone's lease keeps
 * one line open to every primary; on each, CLIENT TRACKING in broadcasting mode is redirected to
 * the line itself, and SUBSCRIBE is repeated four times a second. Its answer says that all
 * invalidations from before it was sent have come, since one connection keeps their order; so that
 * time, and not the answer's, is what the zone is told. No PING: hiredis 0.14 swallows the pong of
 * a subscribed connection.
 *
 * What a line says is untrusted: bounded before it is parsed, and anything but an acknowledgement
 * or a message ends it. When in doubt the epoch moves, and everybody reads.
 */
#include "push.h"
#include "topology.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHANNEL PRV_STR("__redis__:invalidate")
#define READS_A_TURN 64
#define RETRY_FIRST_MS 100
#define RETRY_LAST_MS 450 /* a return of Redis is noticed within a second */

typedef enum line_phase {
    LINE_DOWN,
    LINE_CONNECTING,
    LINE_GREETING,
    LINE_ASKING,   /* CLIENT ID */
    LINE_TRACKING, /* CLIENT TRACKING and the first SUBSCRIBE */
    LINE_SUBSCRIBED
} line_phase;

typedef struct push_line {
    prv_push *push;
    prv_peer peer;
    bool gone; /* no primary any more: freed in the next turn */
    line_phase phase;
    prv_conn *conn;
    void *io;
    bool writing;
    size_t addr, addr_tries;
    size_t replies; /* of the greeting, still to come */
    char nonce[PRV_NONCE_LEN + 1];
    int64_t began;    /* to connect */
    int64_t retry_at; /* while down */
    unsigned failures;
    size_t n_sent;
    int64_t sent[PRV_PUSH_SENT_MAX]; /* when the unanswered SUBSCRIBEs were sent */
    int64_t heard;                   /* when the last answered one was; 0: none yet */
    bool late;                       /* said to be late */
} push_line;

struct prv_push {
    const prv_store_conf *conf;
    prv_loop loop;
    prv_zone *zone;
    prv_push_events events;
    prv_lease lease;
    void *timer;
    int64_t tick_at;
    bool holding;
    bool up;
    bool refused; /* said so */
    size_t n_lines;
    push_line *lines[PRV_PUSH_LINES_MAX];
    size_t n_late;
    prv_cache_key late[PRV_PUSH_LATE_MAX];
};

static void line_ready(void *arg, bool readable, bool writable);

static int64_t push_now(const prv_push *p)
{
    return p->loop.now_ms(p->loop.ctx);
}

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the link as a whole */

static void push_down(prv_push *p)
{
    if (p->up || p->lease.heard_word != 0)
        prv_lease_unheard(&p->lease);
    if (p->up)
        prv_count(p->zone, PRV_TICK_LINK_LOST);
    p->up = false;
}

static void line_close(push_line *line)
{
    if (line->io != NULL)
        line->push->loop.io_close(line->io);
    prv_conn_close(line->conn);
    line->io = NULL;
    line->conn = NULL;
    line->phase = LINE_DOWN;
    line->n_sent = 0;
    line->heard = 0;
    line->late = false;
}

static int64_t line_backoff(push_line *line, int64_t now)
{
    int64_t delay = line->failures > 2 ? RETRY_LAST_MS : RETRY_FIRST_MS << line->failures;
    line->failures++;
    uint64_t jitter = prv_mix64((uint64_t)now ^ (uintptr_t)line) % (uint64_t)(delay / 4);
    return now + delay - (int64_t)jitter;
}

/* Redis is not there, or does not answer. */
static void line_fail(push_line *line, const char *why)
{
    prv_push *p = line->push;
    line_close(line);
    push_down(p);
    line->retry_at = line_backoff(line, push_now(p));
    p->events.lost(p->events.arg, &line->peer, why);
}

/* It is there, but the line is no good: that says nothing of the store's own connections. */
static void line_drop(push_line *line, int64_t retry_at)
{
    line_close(line);
    push_down(line->push);
    line->retry_at = retry_at;
}

static void line_refused(push_line *line, const redisReply *reply)
{
    prv_push *p = line->push;
    int64_t now = push_now(p);
    const char *why = prv_answer_trouble(reply);
    if (line->phase == LINE_GREETING) { /* LOADING, NOAUTH: the store's own connection says so */
        line_drop(line, line_backoff(line, now));
        return;
    }
    if (!p->refused) {
        char text[400];
        snprintf(text, sizeof text,
                 "Redis at %s %s: the invalidation link is refused, so every request of a known "
                 "visitor reads its record",
                 line->peer.label, why);
        p->events.say(p->events.arg, PRV_LOG_WARN, text);
    }
    p->refused = true;
    line_drop(line, now + PRV_PUSH_REFUSED_MS);
}

/* When what was heard of all lines was sent; 0: not of all. */
static int64_t heard_of_all(const prv_push *p)
{
    int64_t heard = p->n_lines > 0 ? INT64_MAX : 0;
    for (size_t i = 0; i < p->n_lines; i++) {
        if (!p->lines[i]->gone && p->lines[i]->heard < heard)
            heard = p->lines[i]->heard;
    }
    return heard != INT64_MAX ? heard : 0;
}

/* What was read from now on is authoritative while all lines are heard. */
static void push_heard(prv_push *p, push_line *line)
{
    int64_t heard = heard_of_all(p);
    if (heard == 0)
        return;
    if (!p->up)
        prv_zone_epoch_move(p->zone);
    if (!prv_lease_heard(&p->lease, heard)) {
        line_drop(line, push_now(p)); /* another took over, or somebody who was late: begin anew */
        return;
    }
    if (!p->up && p->refused) {
        p->refused = false;
        p->events.say(p->events.arg, PRV_LOG_NOTICE, "the invalidation link is permitted again");
    }
    p->up = true;
}

/* ---- invalidations */

static void invalidate(prv_push *p, prv_cache_key key)
{
    prv_count(p->zone, PRV_TICK_INVALIDATED);
    if (prv_cache_invalidate(p->zone, key, wall_ms()))
        return;
    if (p->n_late == PRV_PUSH_LATE_MAX) { /* rather all than one too few */
        prv_zone_flush(p->zone);
        p->n_late = 0;
        return;
    }
    p->late[p->n_late++] = key;
}

/* Sets whose writer was in the middle: its time is over after a second. */
static void invalidate_late(prv_push *p)
{
    size_t left = 0;
    for (size_t i = 0; i < p->n_late; i++) {
        if (!prv_cache_invalidate(p->zone, p->late[i], wall_ms()))
            p->late[left++] = p->late[i];
    }
    p->n_late = left;
}

static bool str_starts(prv_str *s, prv_str with)
{
    if (s->n < with.n || memcmp(s->p, with.p, with.n) != 0)
        return false;
    *s = (prv_str){s->p + with.n, s->n - with.n};
    return true;
}

/* `<prefix>consent:{ID}` and `<prefix>subject:{HASH}`, both 26 characters. */
bool prv_push_key(prv_str prefix, prv_str text, prv_cache_key *key)
{
    if (!str_starts(&text, prefix) ||
        (!str_starts(&text, PRV_STR("consent:{")) && !str_starts(&text, PRV_STR("subject:{"))))
        return false;
    if (text.n != PRV_ID_LEN + 1 || text.p[PRV_ID_LEN] != '}' ||
        !prv_id_valid((prv_str){text.p, PRV_ID_LEN}))
        return false;
    prv_id_pack(text.p, key->b);
    return true;
}

static bool push_message(prv_push *p, const redisReply *keys)
{
    const prv_str prefix = {p->conf->prefix, strlen(p->conf->prefix)};
    if (keys->type == REDIS_REPLY_NIL) { /* FLUSHALL, FLUSHDB */
        prv_count(p->zone, PRV_TICK_INVALIDATED);
        prv_zone_flush(p->zone);
        return true;
    }
    if (keys->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *r = keys->element[i];
        prv_cache_key key;
        if (r->type != REDIS_REPLY_STRING)
            return false;
        if (prv_push_key(prefix, (prv_str){r->str, (size_t)r->len}, &key))
            invalidate(p, key);
    }
    return true;
}

/* ---- sending */

static void line_send(push_line *line)
{
    prv_io io = prv_conn_send(line->conn);
    if (io == PRV_IO_DEAD) {
        line_drop(line, push_now(line->push));
        return;
    }
    bool writing = io == PRV_IO_WAIT;
    if (writing != line->writing) {
        line->writing = writing;
        line->push->loop.io_want(line->io, true, writing);
    }
}

static bool line_words(push_line *line, const prv_str *words, size_t n)
{
    char *text = NULL;
    size_t len = 0;
    if (!prv_words_format(words, n, &text, &len))
        return false;
    bool ok = prv_conn_add(line->conn, text, len);
    redisFreeCommand(text);
    return ok;
}

static bool line_subscribe(push_line *line, int64_t now)
{
    const prv_str words[] = {PRV_STR("SUBSCRIBE"), CHANNEL};
    if (line->n_sent == PRV_PUSH_SENT_MAX)
        return true; /* it hangs, and is soon found to */
    if (!line_words(line, words, 2))
        return false;
    line->sent[line->n_sent++] = now;
    return true;
}

static bool line_track(push_line *line, long long id, int64_t now)
{
    char number[24], keys[2][PRV_STORE_NAME_MAX + 16];
    const char *prefix = line->push->conf->prefix;
    int n = snprintf(number, sizeof number, "%lld", id);
    int c = snprintf(keys[0], sizeof keys[0], "%sconsent:", prefix);
    int s = snprintf(keys[1], sizeof keys[1], "%ssubject:", prefix);
    const prv_str words[] = {PRV_STR("CLIENT"),   PRV_STR("TRACKING"),  PRV_STR("ON"),
                             PRV_STR("REDIRECT"), {number, (size_t)n},  PRV_STR("BCAST"),
                             PRV_STR("PREFIX"),   {keys[0], (size_t)c}, PRV_STR("PREFIX"),
                             {keys[1], (size_t)s}};
    return line_words(line, words, sizeof words / sizeof *words) && line_subscribe(line, now);
}

/* ---- receiving */

static bool text_is(const redisReply *r, prv_str text)
{
    return r->type == REDIS_REPLY_STRING && (size_t)r->len == text.n &&
           memcmp(r->str, text.p, text.n) == 0;
}

/* False: that was not in its place. */
static bool line_pushed(push_line *line, const redisReply *r)
{
    prv_push *p = line->push;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3 || !text_is(r->element[1], CHANNEL))
        return false;
    if (text_is(r->element[0], PRV_STR("message")))
        return push_message(p, r->element[2]);
    if (!text_is(r->element[0], PRV_STR("subscribe")) ||
        r->element[2]->type != REDIS_REPLY_INTEGER || line->n_sent == 0)
        return false;
    int64_t since = line->phase == LINE_TRACKING ? line->began : line->sent[0];
    bool back = line->phase == LINE_TRACKING || line->late;
    line->phase = LINE_SUBSCRIBED;
    line->heard = line->sent[0];
    line->n_sent--;
    memmove(line->sent, line->sent + 1, line->n_sent * sizeof line->sent[0]);
    line->failures = 0;
    line->late = false;
    if (back && push_now(p) - since < p->conf->timeout_ms)
        p->events.back(p->events.arg, &line->peer);
    push_heard(p, line);
    return true;
}

static bool line_reply(push_line *line, const redisReply *r, int64_t now)
{
    const prv_str ask[] = {PRV_STR("CLIENT"), PRV_STR("ID")};
    if (r->type == REDIS_REPLY_ERROR) {
        line_refused(line, r);
        return true;
    }
    switch (line->phase) {
    case LINE_GREETING:
        if (prv_greeting_trouble(line->push->conf, line->nonce, line->replies, r) != NULL)
            return false;
        if (--line->replies > 0)
            return true;
        line->phase = LINE_ASKING;
        return line_words(line, ask, 2);
    case LINE_ASKING:
        line->phase = LINE_TRACKING;
        return r->type == REDIS_REPLY_INTEGER && line_track(line, r->integer, now);
    case LINE_TRACKING:
        return r->type == REDIS_REPLY_STATUS || line_pushed(line, r);
    case LINE_SUBSCRIBED:
        return line_pushed(line, r);
    default:
        return false;
    }
}

/* False: the connection is gone. */
static bool line_replies(push_line *line)
{
    const prv_conn *conn = line->conn;
    for (;;) {
        redisReply *reply = NULL;
        prv_feed_result got = prv_feed_next(&line->conn->feed, &reply);
        if (got == PRV_FEED_MORE)
            return true;
        bool good = got == PRV_FEED_REPLY && line_reply(line, reply, push_now(line->push));
        if (reply != NULL)
            freeReplyObject(reply);
        if (line->conn != conn)
            return false;
        if (!good) {
            line_drop(line, line_backoff(line, push_now(line->push)));
            return false;
        }
    }
}

static void line_read(push_line *line)
{
    for (int i = 0; i < READS_A_TURN; i++) {
        prv_io io = prv_conn_recv(line->conn);
        if (io == PRV_IO_WAIT)
            return;
        if (io == PRV_IO_DEAD) {
            /* CLIENT KILL, a restart: whether Redis is there is found out by connecting again */
            bool was = line->phase == LINE_SUBSCRIBED;
            int64_t now = push_now(line->push);
            line_drop(line, was ? now : line_backoff(line, now));
            return;
        }
        if (!line_replies(line))
            return;
    }
}

/* ---- connecting */

static void line_greet(push_line *line)
{
    const prv_push *p = line->push;
    line->conn->feed.bound.link = true;
    if (!prv_nonce_make(line->nonce) ||
        !prv_conn_greet(line->conn, p->conf, line->nonce, &line->replies)) {
        line_drop(line, line_backoff(line, push_now(p)));
        return;
    }
    line->phase = LINE_GREETING;
    line->writing = false;
    p->loop.io_want(line->io, true, false);
    line_send(line);
}

static bool line_try(push_line *line)
{
    prv_push *p = line->push;
    line->conn = prv_conn_open(&line->peer, line->addr);
    if (line->conn == NULL)
        return false;
    line->io = p->loop.io_open(p->loop.ctx, line->conn->fd, line_ready, line);
    if (line->io == NULL) {
        prv_conn_close(line->conn);
        line->conn = NULL;
        errno = ENOMEM;
        return false;
    }
    line->phase = LINE_CONNECTING;
    line->writing = true;
    p->loop.io_want(line->io, false, true);
    return true;
}

static void line_connect(push_line *line, int error)
{
    size_t n = prv_peer_addrs(&line->peer);
    while (line->addr_tries < n) {
        if (line->addr_tries++ > 0)
            line->addr = (line->addr + 1) % n;
        if (line_try(line))
            return;
        error = errno;
    }
    char why[128], text[96];
    snprintf(why, sizeof why, "cannot be reached: %s", strerror_r(error, text, sizeof text));
    line_fail(line, why);
}

static void line_begin(push_line *line, int64_t now)
{
    line->addr_tries = 0;
    line->began = now;
    line_connect(line, 0);
}

static void line_connected(push_line *line)
{
    int error = prv_conn_error(line->conn);
    if (error == 0) {
        line_greet(line);
        return;
    }
    line_close(line);
    line_connect(line, error);
}

/* ---- time */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When something is due on this line, beside the tick. */
static int64_t line_next(const push_line *line)
{
    if (line->phase == LINE_DOWN)
        return line->retry_at;
    if (line->phase != LINE_SUBSCRIBED)
        return line->began + PRV_PUSH_HANG_MS;
    return line->n_sent > 0 && !line->late ? line->sent[0] + line->push->conf->timeout_ms
                                           : INT64_MAX;
}

static void line_turn(push_line *line, int64_t now, bool tick)
{
    prv_push *p = line->push;
    if (line->phase == LINE_DOWN) {
        if (now >= line->retry_at)
            line_begin(line, now);
        return;
    }
    if (line->phase != LINE_SUBSCRIBED) {
        if (now >= line->began + PRV_PUSH_HANG_MS)
            line_fail(line, "does not answer a new connection");
        return;
    }
    if (line->n_sent > 0 && now - line->sent[0] >= PRV_PUSH_HANG_MS) {
        line_fail(line, "hangs");
        return;
    }
    if (line->n_sent > 0 && !line->late && now - line->sent[0] >= p->conf->timeout_ms) {
        line->late = true; /* no request has to find that out by waiting */
        p->events.lost(p->events.arg, &line->peer, "answers the invalidation link late");
    }
    if (!tick)
        return;
    if (line_subscribe(line, now))
        line_send(line);
    else
        line_drop(line, line_backoff(line, now));
}

static void push_arm(prv_push *p)
{
    int64_t now = push_now(p);
    int64_t at = p->tick_at;
    for (size_t i = 0; p->holding && i < p->n_lines; i++)
        at = earlier(at, line_next(p->lines[i]));
    p->loop.timer_set(p->timer, at > now ? (uint32_t)(at - now) : 0);
}

static void lines_sweep(prv_push *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_lines; i++) {
        if (p->lines[i]->gone)
            free(p->lines[i]);
        else
            p->lines[n++] = p->lines[i];
    }
    p->n_lines = n;
}

uint64_t prv_peer_name(const prv_peer *peer)
{
    uint64_t h = prv_fnv64(PRV_FNV64_SEED, (prv_str){peer->path, strlen(peer->path)});
    for (size_t i = 0; i < peer->n_addrs; i++)
        h = prv_fnv64(h, (prv_str){peer->addrs[i], strlen(peer->addrs[i]) + 1});
    h = prv_mix64(h ^ (uint64_t)peer->port);
    return h != 0 ? h : 1;
}

/* Who is listened to; before anything that these say is believed. */
static void push_publish(const prv_push *p)
{
    uint64_t names[PRV_TARGETS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < p->n_lines && n < PRV_TARGETS_MAX; i++) {
        if (!p->lines[i]->gone)
            names[n++] = prv_peer_name(&p->lines[i]->peer);
    }
    prv_lease_targets(&p->lease, names, n);
}

/* Four times a second: the lease. */
static void push_tick(prv_push *p, int64_t now)
{
    p->tick_at = now + PRV_PUSH_TICK_MS;
    bool held = prv_lease_hold(&p->lease, p->zone, now);
    if (held && (prv_lease_asked(&p->lease) || p->n_lines == 0))
        p->events.outdated(p->events.arg);
    if (held == p->holding)
        return;
    p->holding = held;
    push_publish(p);
    p->up = false;
    for (size_t i = 0; i < p->n_lines; i++) {
        line_close(p->lines[i]);
        p->lines[i]->retry_at = now;
        p->lines[i]->failures = 0;
    }
}

static void push_turn(void *arg)
{
    prv_push *p = arg;
    int64_t now = push_now(p);
    bool tick = now >= p->tick_at;
    lines_sweep(p);
    if (tick)
        push_tick(p, now);
    invalidate_late(p);
    for (size_t i = 0; p->holding && i < p->n_lines; i++)
        line_turn(p->lines[i], now, tick);
    push_arm(p);
}

static void line_ready(void *arg, bool readable, bool writable)
{
    push_line *line = arg;
    prv_push *p = line->push;
    if (line->phase == LINE_CONNECTING) {
        line_connected(line);
    } else if (line->conn != NULL) {
        const prv_conn *conn = line->conn;
        if (readable || !writable)
            line_read(line);
        if (line->conn == conn && line->conn->tx_sent < line->conn->tx_len)
            line_send(line);
        else if (line->conn == conn && (line->writing || prv_conn_blocked(conn)))
            line_send(line);
    }
    push_arm(p);
}

/* ---- what push.h promises */

prv_push *prv_push_open(const prv_store_conf *conf, const prv_loop *loop, prv_zone *zone,
                        const prv_push_events *events)
{
    prv_push *p = zone != NULL ? calloc(1, sizeof *p) : NULL;
    if (p == NULL)
        return NULL;
    p->conf = conf;
    p->loop = *loop;
    p->zone = zone;
    p->events = *events;
    p->timer = loop->timer_open(loop->ctx, push_turn, p);
    if (p->timer == NULL) {
        free(p);
        return NULL;
    }
    loop->timer_set(p->timer, 0);
    return p;
}

static push_line *line_of(prv_push *p, const prv_peer *peer)
{
    for (size_t i = 0; i < p->n_lines; i++) {
        if (!p->lines[i]->gone && prv_peer_same(&p->lines[i]->peer, peer))
            return p->lines[i];
    }
    return NULL;
}

static bool line_add(prv_push *p, const prv_peer *peer)
{
    push_line *line = p->n_lines < PRV_PUSH_LINES_MAX ? calloc(1, sizeof *line) : NULL;
    if (line == NULL)
        return false;
    line->push = p;
    line->peer = *peer;
    line->retry_at = push_now(p);
    p->lines[p->n_lines++] = line;
    return true;
}

/* A primary without a line is not heard: then nothing is authoritative, until targets are set
 * again. */
void prv_push_targets(prv_push *p, const prv_peer *peers, size_t n)
{
    if (p == NULL)
        return;
    bool whole = true, changed = n == 0;
    for (size_t i = 0; i < p->n_lines; i++) {
        push_line *line = p->lines[i];
        bool kept = line->gone;
        for (size_t k = 0; !kept && k < n; k++)
            kept = prv_peer_same(&line->peer, &peers[k]);
        if (!kept) {
            line_close(line);
            line->gone = true;
            changed = true;
        }
    }
    for (size_t k = 0; k < n; k++) {
        if (line_of(p, &peers[k]) == NULL) {
            changed = true;
            whole = whole && line_add(p, &peers[k]);
        }
    }
    for (size_t i = 0; !whole && i < p->n_lines; i++) {
        line_close(p->lines[i]);
        p->lines[i]->gone = true;
    }
    if (changed) {
        push_publish(p);
        push_down(p);
        p->loop.timer_set(p->timer, 0);
    }
}

void prv_push_close(prv_push *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n_lines; i++) {
        line_close(p->lines[i]);
        p->lines[i]->gone = true;
    }
    lines_sweep(p);
    prv_lease_release(&p->lease);
    p->loop.timer_close(p->timer);
    free(p);
}
