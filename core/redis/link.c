/* A backend's connection: connecting, greeting, flushing, replies in their order, and its end. */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define READS_A_TURN 16 /* of 16 KiB: other events have their turn too */

static void link_ready(void *arg, bool readable, bool writable);

static int64_t link_patience(const prv_backend *b)
{
    return b->store->conf->timeout_ms > PRV_HANG_MS ? b->store->conf->timeout_ms : PRV_HANG_MS;
}

void prv_link_close(prv_backend *b, prv_cmds *left)
{
    if (b->io != NULL)
        b->store->loop.io_close(b->io);
    prv_conn_close(b->conn);
    b->io = NULL;
    b->conn = NULL;
    b->link = PRV_LINK_DOWN;
    b->scripted = false;
    prv_cmds_append(left, &b->held);
    prv_cmds_append(left, &b->sent);
}

/* The connection is no good: nothing on it or waiting for it will be answered. */
static void link_fail(prv_backend *b, const char *why)
{
    prv_cmds left = {NULL, NULL};
    char text[PRV_WHY_MAX]; /* may be the connection's own words, and that goes */
    snprintf(text, sizeof text, "%s", why);
    prv_link_close(b, &left);
    prv_cmds_append(&left, &b->pending);
    b->probe = false;
    prv_backend_lost(b, text);
    prv_cmds_fail(b->store, &left);
}

/*
 * Redis (or something between) closed the connection. Between two replies that is ordinary: an idle
 * time-out, CLIENT KILL. Then what was sent on it is sent once more, on a new connection: every
 * operation may be repeated. Only if that fails as well is Redis unavailable.
 */
static void link_ended(prv_backend *b)
{
    bool up = b->link == PRV_LINK_UP;
    const char *why = prv_conn_why(b->conn, NULL);
    if (!up || why != NULL || b->held.head != NULL || !prv_feed_empty(&b->conn->feed)) {
        link_fail(b, why != NULL ? why
                     : up        ? "closed the connection within an answer"
                                 : "closed the connection at once");
        return;
    }
    prv_cmds left = {NULL, NULL}, again = {NULL, NULL}, dead = {NULL, NULL};
    bool failed = false;
    prv_link_close(b, &left);
    for (prv_cmd *cmd = prv_cmds_take(&left); cmd != NULL; cmd = prv_cmds_take(&left)) {
        if (cmd->kind == PRV_CMD_OP && (cmd->first != NULL || cmd->undoing) && !cmd->retried) {
            cmd->retried = true;
            cmd->sent_ms = 0;
            prv_cmds_add(&again, cmd);
            continue;
        }
        failed = failed || (cmd->kind == PRV_CMD_OP && cmd->first != NULL);
        prv_cmds_add(&dead, cmd);
    }
    if (failed) {
        prv_cmds_append(&again, &b->pending);
        prv_cmds_append(&dead, &again);
        b->probe = false;
        prv_backend_lost(b, "closes the connection on every request");
    } else {
        prv_cmds_append(&again, &b->pending);
        b->pending = again;
        b->probe = b->probe || b->probing;
    }
    prv_cmds_fail(b->store, &dead);
}

/* ---- connecting */

static bool link_try(prv_backend *b)
{
    b->conn = prv_conn_open(&b->peer, b->addr);
    if (b->conn == NULL)
        return false;
    b->io = b->store->loop.io_open(b->store->loop.ctx, b->conn->fd, link_ready, b);
    if (b->io == NULL) {
        prv_conn_close(b->conn);
        b->conn = NULL;
        errno = ENOMEM;
        return false;
    }
    b->link = PRV_LINK_CONNECTING;
    b->io_writing = true;
    b->store->loop.io_want(b->io, false, true);
    return true;
}

/* Tries the addresses in turn, the one that worked last first. */
static void link_connect(prv_backend *b, int error)
{
    size_t addrs = prv_peer_addrs(&b->peer);
    while (b->addr_tries < addrs) {
        if (b->addr_tries++ > 0)
            b->addr = (b->addr + 1) % addrs;
        if (link_try(b))
            return;
        error = errno;
    }
    char why[128], text[96];
    snprintf(why, sizeof why, "cannot be reached: %s", strerror_r(error, text, sizeof text));
    link_fail(b, why);
}

static void link_begin(prv_backend *b)
{
    b->addr_tries = 0;
    b->deadline = prv_store_now(b->store) + link_patience(b);
    link_connect(b, 0);
}

/* ---- sending */

static void link_send(prv_backend *b)
{
    prv_io io = prv_conn_send(b->conn);
    if (io == PRV_IO_DEAD) {
        link_ended(b);
        return;
    }
    bool writing = io == PRV_IO_WAIT;
    if (writing != b->io_writing) {
        b->io_writing = writing;
        b->store->loop.io_want(b->io, true, writing);
    }
}

static void link_expect(prv_backend *b, prv_cmd *cmd, int64_t now)
{
    if (b->sent.head == NULL)
        b->deadline = now + link_patience(b);
    cmd->backend = b;
    cmd->sent_ms = now > 0 ? now : 1;
    prv_cmds_add(&b->sent, cmd);
}

static prv_cmd *ping_new(prv_backend *b)
{
    prv_cmd *ping = prv_cmd_new(b->store, PRV_CMD_PING);
    if (ping != NULL && !prv_nonce_make(ping->nonce)) {
        prv_cmd_free(b->store, ping);
        ping = NULL;
    }
    return ping;
}

static void link_greet(prv_backend *b)
{
    size_t replies = 0;
    int64_t now = prv_store_now(b->store);
    prv_cmd *ping = ping_new(b);
    bool ok = ping != NULL && prv_conn_greet(b->conn, b->store->conf, ping->nonce, &replies);
    for (; ok && replies > 1; replies--) {
        prv_cmd *cmd = prv_cmd_new(b->store, PRV_CMD_GREETING);
        ok = cmd != NULL;
        if (ok) {
            cmd->left = replies;
            link_expect(b, cmd, now);
        }
    }
    if (!ok) {
        if (ping != NULL)
            prv_cmd_free(b->store, ping);
        link_fail(b, "cannot be greeted: no memory or no randomness");
        return;
    }
    b->deadline = now + link_patience(b);
    link_expect(b, ping, now);
    b->link = PRV_LINK_GREETING;
    b->io_writing = false;
    b->store->loop.io_want(b->io, true, false);
    link_send(b);
}

static bool link_format(prv_backend *b, prv_cmd *cmd)
{
    char *text = NULL;
    size_t len = 0;
    if (!(cmd->undoing ? prv_undo_format(cmd->op, cmd->before, &text, &len)
                       : prv_op_format(cmd->op, &b->store->scripts, cmd->eval, &text, &len)))
        return false;
    bool ok = prv_conn_add(b->conn, text, len);
    redisFreeCommand(text);
    return ok;
}

/* A command that is no operation. */
static bool link_words(prv_backend *b, prv_cmd_kind kind, const prv_str *words, size_t n,
                       int64_t now)
{
    prv_cmd *cmd = prv_cmd_new(b->store, kind);
    if (cmd == NULL || !prv_conn_words(b->conn, words, n)) {
        if (cmd != NULL)
            prv_cmd_free(b->store, cmd);
        return false;
    }
    cmd->left = PRV_STATUS_WANTED;
    link_expect(b, cmd, now);
    return true;
}

/* An operation with what belongs before it. ASKING opens a slot that is moving in for the next
 * command alone. */
static bool link_operation(prv_backend *b, prv_cmd *cmd, int64_t now)
{
    const prv_str asking = PRV_STR("ASKING"), before[] = {PRV_STR("HGETALL"), cmd->op->key};
    cmd->eval = cmd->eval || (b->of != NULL && !b->scripted);
    b->scripted = b->of != NULL;
    bool looks = b->of != NULL && cmd->op->raises && !cmd->undoing;
    if (looks && ((cmd->asking && !link_words(b, PRV_CMD_GREETING, &asking, 1, now)) ||
                  !link_words(b, PRV_CMD_BEFORE, before, 2, now)))
        return false;
    if ((cmd->asking && !link_words(b, PRV_CMD_GREETING, &asking, 1, now)) || !link_format(b, cmd))
        return false;
    link_expect(b, cmd, now);
    return true;
}

/* The replicas have less time than the request, so that their silence is not taken for Redis'. */
static bool link_wait(prv_backend *b, int64_t now)
{
    char replicas[12], ms[12];
    const prv_store_conf *conf = b->store->conf;
    int n = snprintf(replicas, sizeof replicas, "%u", (unsigned)conf->wait);
    int m = snprintf(ms, sizeof ms, "%u", (unsigned)(conf->timeout_ms - conf->timeout_ms / 4));
    const prv_str words[] = {PRV_STR("WAIT"), {replicas, (size_t)n}, {ms, (size_t)m}};
    return link_words(b, PRV_CMD_WAIT, words, 3, now);
}

static bool link_ping(prv_backend *b, prv_cmd *ping, int64_t now)
{
    const prv_str words[] = {PRV_STR("PING"), {ping->nonce, PRV_NONCE_LEN}};
    bool ok = prv_conn_words(b->conn, words, 2);
    if (ok)
        link_expect(b, ping, now);
    return ok;
}

/* Everything pending in one write, with a nonce behind it. */
static void link_write(prv_backend *b)
{
    int64_t now = prv_store_now(b->store);
    prv_cmds dead = {NULL, NULL};
    bool any = b->probe, broken = false, changes = false;
    for (prv_cmd *cmd = prv_cmds_take(&b->pending); cmd != NULL; cmd = prv_cmds_take(&b->pending)) {
        /* Nobody waits any more: a read is pointless, and a write was reported as not done. */
        bool pointless =
            cmd->first == NULL && !cmd->undoing && (prv_op_reads(cmd->op) || cmd->dropped);
        bool sent = !pointless && link_operation(b, cmd, now);
        if (!sent)
            prv_cmds_add(&dead, cmd);
        any = any || sent;
        changes = changes || (sent && !cmd->undoing);
        broken = broken || (!sent && !pointless);
    }
    if (changes && b->of != NULL)
        broken = broken || !link_wait(b, now);
    b->probing = b->probing || b->probe;
    b->probe = false;
    if (any) {
        prv_cmd *ping = ping_new(b);
        if (broken || ping == NULL || !link_ping(b, ping, now)) {
            if (ping != NULL)
                prv_cmd_free(b->store, ping);
            link_fail(b, "cannot be asked: no memory or no randomness");
        } else {
            link_send(b);
        }
    }
    prv_cmds_fail(b->store, &dead);
}

void prv_link_flush(prv_backend *b)
{
    if (b->left || (b->pending.head == NULL && !b->probe))
        return;
    if (b->of != NULL && b->link == PRV_LINK_UP && b->sent.head != NULL)
        return;
    if (b->link == PRV_LINK_UP) {
        link_write(b);
        return;
    }
    b->probing = b->probing || b->probe;
    b->probe = false;
    if (b->link == PRV_LINK_DOWN && b->conn == NULL)
        link_begin(b);
}

/* ---- receiving */

static void link_pong(prv_backend *b, prv_cmd *ping)
{
    int64_t took = prv_store_now(b->store) - ping->sent_ms;
    bool greeting = b->link == PRV_LINK_GREETING;
    prv_conn *conn = b->conn;
    prv_cmd_free(b->store, ping);
    if (greeting)
        b->link = PRV_LINK_UP;
    bool fast = took <= b->store->conf->timeout_ms;
    bool closed = prv_cell_due(b->cell) == 0; /* by another process' probe */
    if (fast && (greeting || b->probing || (b->lost && closed)))
        prv_backend_regained(b);
    else if (greeting || b->probing)
        prv_backend_lost(b, "answers more slowly than privacy_store_timeout");
    while (b->conn == conn && !b->store->closing && b->held.head != NULL)
        prv_cmd_deliver(b->store, prv_cmds_take(&b->held));
}

/* How many replicas have all of this flush. */
static void link_waited(prv_backend *b, const redisReply *reply)
{
    const unsigned wanted = b->store->conf->wait;
    long long have = reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    bool kept = have >= (long long)wanted;
    for (prv_cmd *cmd = b->held.head; cmd != NULL && !kept; cmd = cmd->next)
        cmd->unkept = true;
    if (b->unkept_said != kept)
        return;
    b->unkept_said = !kept;
    if (kept)
        prv_store_say(b->store, PRV_LOG_NOTICE,
                      "Redis at %s has its replicas in step again; choices are stored",
                      b->peer.label);
    else if (have >= 0)
        prv_store_say(b->store, PRV_LOG_WARN,
                      "Redis at %s has %lld replicas in step, and privacy_store_wait wants %u; "
                      "choices are not stored",
                      b->peer.label, have, wanted);
    else
        prv_store_say(b->store, PRV_LOG_WARN,
                      "Redis at %s %s when asked for its replicas (WAIT); choices are not stored",
                      b->peer.label, prv_answer_trouble(reply));
}

/* What stood in the record that an operation changes. */
static void link_before(prv_backend *b, prv_cmd *cmd)
{
    prv_cmd *next = b->sent.head;
    while (next != NULL && next->kind == PRV_CMD_GREETING)
        next = next->next;
    if (next != NULL && next->kind == PRV_CMD_OP) {
        if (next->before != NULL)
            freeReplyObject(next->before);
        next->before = cmd->reply;
        cmd->reply = NULL;
    }
}

/* A reply in its place; takes `reply`. */
static void link_reply(prv_backend *b, redisReply *reply)
{
    prv_cmd *cmd = prv_cmds_take(&b->sent);
    if (b->sent.head != NULL && b->link == PRV_LINK_UP)
        b->deadline = b->sent.head->sent_ms + link_patience(b);
    if (cmd == NULL) {
        freeReplyObject(reply);
        link_fail(b, "answers what was not asked");
        return;
    }
    cmd->reply = reply;
    if (cmd->kind == PRV_CMD_OP) {
        prv_cmds_add(&b->held, cmd);
        return;
    }
    if (cmd->kind == PRV_CMD_WAIT || cmd->kind == PRV_CMD_BEFORE) {
        if (cmd->kind == PRV_CMD_WAIT)
            link_waited(b, reply);
        else
            link_before(b, cmd);
        prv_cmd_free(b->store, cmd);
        return;
    }
    bool ping = cmd->kind == PRV_CMD_PING;
    const char *why = prv_greeting_trouble(b->store->conf, cmd->nonce, ping ? 1 : cmd->left, reply);
    if (why == NULL && ping) {
        link_pong(b, cmd);
        return;
    }
    bool replica = !ping && prv_role_is_replica(reply);
    prv_cmd_free(b->store, cmd);
    if (why != NULL && replica)
        prv_backend_leave(b);
    else if (why != NULL)
        link_fail(b, why);
}

/* Gives out what has come whole. False: the connection is gone. */
static bool link_replies(prv_backend *b, const prv_conn *conn)
{
    for (;;) {
        redisReply *reply = NULL;
        prv_feed_result r = prv_feed_next(&b->conn->feed, &reply);
        if (r == PRV_FEED_MORE)
            return true;
        if (r == PRV_FEED_REPLY)
            link_reply(b, reply);
        else
            link_fail(b, "answers with something that is no record");
        if (b->store->closing || b->conn != conn)
            return false;
    }
}

void prv_link_read(prv_backend *b)
{
    const prv_conn *conn = b->conn;
    for (int i = 0; i < READS_A_TURN; i++) {
        prv_io io = prv_conn_recv(b->conn);
        if (io == PRV_IO_WAIT)
            return;
        if (io == PRV_IO_DEAD) {
            link_ended(b);
            return;
        }
        if (!link_replies(b, conn))
            return;
    }
}

static void link_connected(prv_backend *b)
{
    int error = prv_conn_error(b->conn);
    if (error == 0) {
        link_greet(b);
        return;
    }
    prv_cmds none = {NULL, NULL};
    prv_link_close(b, &none);
    link_connect(b, error);
}

static void link_ready(void *arg, bool readable, bool writable)
{
    prv_backend *b = arg;
    prv_store *s = b->store;
    prv_store_enter(s);
    if (b->link == PRV_LINK_CONNECTING) {
        link_connected(b);
    } else if (b->conn != NULL) {
        const prv_conn *conn = b->conn;
        if (writable)
            link_send(b);
        if ((readable || !writable) && b->conn == conn)
            prv_link_read(b);
        if (b->conn == conn && !b->io_writing && prv_conn_blocked(conn))
            link_send(b);
        if (!b->store->closing && b->link == PRV_LINK_UP)
            prv_link_flush(b);
    }
    prv_store_leave(s);
}

/* ---- a peer that hangs */

void prv_link_check(prv_backend *b, int64_t now)
{
    bool waiting = b->link == PRV_LINK_CONNECTING || b->link == PRV_LINK_GREETING ||
                   (b->link == PRV_LINK_UP && b->sent.head != NULL);
    if (waiting && now >= b->deadline)
        link_fail(b, b->link == PRV_LINK_UP ? "hangs" : "does not answer a new connection");
}
