/* The connection: connecting, greeting, flushing, replies in their order, and its end. */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define READS_A_TURN 16 /* of 16 KiB: other events have their turn too */

static void link_ready(void *arg, bool readable, bool writable);

static int64_t link_patience(const prv_store *s)
{
    return s->conf->timeout_ms > PRV_HANG_MS ? s->conf->timeout_ms : PRV_HANG_MS;
}

void prv_link_close(prv_store *s, prv_cmds *left)
{
    if (s->io != NULL)
        s->loop.io_close(s->io);
    prv_conn_close(s->conn);
    s->io = NULL;
    s->conn = NULL;
    s->link = PRV_LINK_DOWN;
    prv_cmds_append(left, &s->held);
    prv_cmds_append(left, &s->sent);
}

/* The connection is no good: nothing on it or waiting for it will be answered. */
static void link_fail(prv_store *s, const char *why)
{
    prv_cmds left = {NULL, NULL};
    prv_link_close(s, &left);
    prv_cmds_append(&left, &s->pending);
    s->probe = false;
    prv_store_lost(s, why);
    prv_cmds_fail(s, &left);
}

/*
 * Redis (or something between) closed the connection. Between two replies that is ordinary: an idle
 * time-out, CLIENT KILL. Then what was sent on it is sent once more, on a new connection: every
 * operation may be repeated. Only if that fails as well is Redis unavailable.
 */
static void link_ended(prv_store *s)
{
    if (s->link != PRV_LINK_UP || s->held.head != NULL || !prv_feed_empty(&s->conn->feed)) {
        link_fail(s, s->link == PRV_LINK_UP ? "closed the connection within an answer"
                                            : "closed the connection at once");
        return;
    }
    prv_cmds left = {NULL, NULL}, again = {NULL, NULL}, dead = {NULL, NULL};
    bool failed = false;
    prv_link_close(s, &left);
    for (prv_cmd *cmd = prv_cmds_take(&left); cmd != NULL; cmd = prv_cmds_take(&left)) {
        if (cmd->kind == PRV_CMD_OP && cmd->first != NULL && !cmd->retried) {
            cmd->retried = true;
            cmd->sent_ms = 0;
            prv_cmds_add(&again, cmd);
            continue;
        }
        failed = failed || (cmd->kind == PRV_CMD_OP && cmd->first != NULL);
        prv_cmds_add(&dead, cmd);
    }
    if (failed) {
        prv_cmds_append(&again, &s->pending);
        prv_cmds_append(&dead, &again);
        s->probe = false;
        prv_store_lost(s, "closes the connection on every request");
    } else {
        prv_cmds_append(&again, &s->pending);
        s->pending = again;
        s->probe = s->probe || s->probing;
    }
    prv_cmds_fail(s, &dead);
}

/* ---- connecting */

static bool link_try(prv_store *s)
{
    s->conn = prv_conn_open(s->conf, s->addr);
    if (s->conn == NULL)
        return false;
    s->io = s->loop.io_open(s->loop.ctx, s->conn->fd, link_ready, s);
    if (s->io == NULL) {
        prv_conn_close(s->conn);
        s->conn = NULL;
        errno = ENOMEM;
        return false;
    }
    s->link = PRV_LINK_CONNECTING;
    s->io_writing = true;
    s->loop.io_want(s->io, false, true);
    return true;
}

/* Tries the addresses in turn, the one that worked last first. */
static void link_connect(prv_store *s, int error)
{
    size_t n = s->conf->n_addrs > 0 ? s->conf->n_addrs : 1;
    while (s->addr_tries < n) {
        if (s->addr_tries++ > 0)
            s->addr = (s->addr + 1) % n;
        if (link_try(s))
            return;
        error = errno;
    }
    char why[128], text[96];
    snprintf(why, sizeof why, "cannot be reached: %s", strerror_r(error, text, sizeof text));
    link_fail(s, why);
}

static void link_begin(prv_store *s)
{
    s->addr_tries = 0;
    s->link_deadline = prv_store_now(s) + link_patience(s);
    link_connect(s, 0);
}

/* ---- sending */

static void link_send(prv_store *s)
{
    prv_io io = prv_conn_send(s->conn);
    if (io == PRV_IO_DEAD) {
        link_ended(s);
        return;
    }
    bool writing = io == PRV_IO_WAIT;
    if (writing != s->io_writing) {
        s->io_writing = writing;
        s->loop.io_want(s->io, true, writing);
    }
}

static void link_expect(prv_store *s, prv_cmd *cmd, int64_t now)
{
    if (s->sent.head == NULL)
        s->link_deadline = now + link_patience(s);
    cmd->sent_ms = now > 0 ? now : 1;
    prv_cmds_add(&s->sent, cmd);
}

static prv_cmd *ping_new(prv_store *s)
{
    prv_cmd *ping = prv_cmd_new(s, PRV_CMD_PING);
    if (ping != NULL && !prv_nonce_make(ping->nonce)) {
        prv_cmd_free(s, ping);
        ping = NULL;
    }
    return ping;
}

static void link_greet(prv_store *s)
{
    size_t replies = 0;
    int64_t now = prv_store_now(s);
    prv_cmd *ping = ping_new(s);
    bool ok = ping != NULL && prv_conn_greet(s->conn, s->conf, ping->nonce, &replies);
    for (; ok && replies > 1; replies--) {
        prv_cmd *cmd = prv_cmd_new(s, PRV_CMD_GREETING);
        ok = cmd != NULL;
        if (ok)
            link_expect(s, cmd, now);
    }
    if (!ok) {
        if (ping != NULL)
            prv_cmd_free(s, ping);
        link_fail(s, "cannot be greeted: no memory or no randomness");
        return;
    }
    s->link_deadline = now + link_patience(s);
    link_expect(s, ping, now);
    s->link = PRV_LINK_GREETING;
    s->io_writing = false;
    s->loop.io_want(s->io, true, false);
    link_send(s);
}

static bool link_format(prv_store *s, prv_cmd *cmd)
{
    char *text = NULL;
    size_t n = 0;
    if (!prv_op_format(cmd->op, &s->scripts, cmd->eval, &text, &n))
        return false;
    bool ok = prv_conn_add(s->conn, text, n);
    redisFreeCommand(text);
    return ok;
}

static bool link_ping(prv_store *s, prv_cmd *ping, int64_t now)
{
    const prv_str words[] = {PRV_STR("PING"), {ping->nonce, PRV_NONCE_LEN}};
    char *text = NULL;
    size_t n = 0;
    if (!prv_words_format(words, 2, &text, &n))
        return false;
    bool ok = prv_conn_add(s->conn, text, n);
    redisFreeCommand(text);
    if (ok)
        link_expect(s, ping, now);
    return ok;
}

/* Everything pending in one write, with a nonce behind it. */
static void link_write(prv_store *s)
{
    int64_t now = prv_store_now(s);
    prv_cmds dead = {NULL, NULL};
    bool any = s->probe;
    for (prv_cmd *cmd = prv_cmds_take(&s->pending); cmd != NULL; cmd = prv_cmds_take(&s->pending)) {
        /* Nobody waits any more: a read is pointless, and a write was reported as not done. */
        bool pointless = cmd->first == NULL && (cmd->op->kind == PRV_OP_READ || cmd->dropped);
        if (pointless || !link_format(s, cmd)) {
            prv_cmds_add(&dead, cmd);
            continue;
        }
        link_expect(s, cmd, now);
        any = true;
    }
    s->probing = s->probing || s->probe;
    s->probe = false;
    if (any) {
        prv_cmd *ping = ping_new(s);
        if (ping == NULL || !link_ping(s, ping, now)) {
            if (ping != NULL)
                prv_cmd_free(s, ping);
            link_fail(s, "cannot be asked: no memory or no randomness");
        } else {
            link_send(s);
        }
    }
    prv_cmds_fail(s, &dead);
}

void prv_link_flush(prv_store *s)
{
    if (s->pending.head == NULL && !s->probe)
        return;
    if (s->link == PRV_LINK_UP) {
        link_write(s);
        return;
    }
    s->probing = s->probing || s->probe;
    s->probe = false;
    if (s->link == PRV_LINK_DOWN && s->conn == NULL)
        link_begin(s);
}

/* ---- receiving */

static void link_pong(prv_store *s, prv_cmd *ping)
{
    int64_t took = prv_store_now(s) - ping->sent_ms;
    bool greeting = s->link == PRV_LINK_GREETING;
    prv_conn *conn = s->conn;
    prv_cmd_free(s, ping);
    if (greeting)
        s->link = PRV_LINK_UP;
    bool fast = took <= s->conf->timeout_ms;
    bool closed = prv_cell_due(s->cell) == 0; /* by another process' probe */
    if (fast && (greeting || s->probing || (s->lost && closed)))
        prv_store_regained(s);
    else if (greeting || s->probing)
        prv_store_lost(s, "answers more slowly than privacy_store_timeout");
    while (s->conn == conn && !s->closing && s->held.head != NULL)
        prv_cmd_deliver(s, prv_cmds_take(&s->held));
}

/* A reply in its place; takes `reply`. */
static void link_reply(prv_store *s, redisReply *reply)
{
    prv_cmd *cmd = prv_cmds_take(&s->sent);
    if (s->sent.head != NULL && s->link == PRV_LINK_UP)
        s->link_deadline = s->sent.head->sent_ms + link_patience(s);
    if (cmd == NULL) {
        freeReplyObject(reply);
        link_fail(s, "answers what was not asked");
        return;
    }
    cmd->reply = reply;
    if (cmd->kind == PRV_CMD_OP) {
        prv_cmds_add(&s->held, cmd);
        return;
    }
    bool good = cmd->kind == PRV_CMD_PING ? prv_nonce_matches(cmd->nonce, reply)
                                          : reply->type == REDIS_REPLY_STATUS;
    if (good && cmd->kind == PRV_CMD_PING) {
        link_pong(s, cmd);
        return;
    }
    const char *why = prv_answer_trouble(reply);
    prv_cmd_free(s, cmd);
    if (!good)
        link_fail(s, why);
}

/* Gives out what has come whole. False: the connection is gone. */
static bool link_replies(prv_store *s, const prv_conn *conn)
{
    for (;;) {
        redisReply *reply = NULL;
        prv_feed_result r = prv_feed_next(&s->conn->feed, &reply);
        if (r == PRV_FEED_MORE)
            return true;
        if (r == PRV_FEED_REPLY)
            link_reply(s, reply);
        else
            link_fail(s, "answers with something that is no record");
        if (s->closing || s->conn != conn)
            return false;
    }
}

void prv_link_read(prv_store *s)
{
    const prv_conn *conn = s->conn;
    for (int i = 0; i < READS_A_TURN; i++) {
        prv_io io = prv_conn_recv(s->conn);
        if (io == PRV_IO_WAIT)
            return;
        if (io == PRV_IO_DEAD) {
            link_ended(s);
            return;
        }
        if (!link_replies(s, conn))
            return;
    }
}

static void link_connected(prv_store *s)
{
    int error = prv_conn_error(s->conn);
    if (error == 0) {
        link_greet(s);
        return;
    }
    prv_cmds none = {NULL, NULL};
    prv_link_close(s, &none);
    link_connect(s, error);
}

static void link_ready(void *arg, bool readable, bool writable)
{
    prv_store *s = arg;
    prv_store_enter(s);
    if (s->link == PRV_LINK_CONNECTING) {
        link_connected(s);
    } else if (s->conn != NULL) {
        const prv_conn *conn = s->conn;
        if (writable)
            link_send(s);
        if ((readable || !writable) && s->conn == conn)
            prv_link_read(s);
        if (!s->closing && s->link == PRV_LINK_UP)
            prv_link_flush(s);
    }
    prv_store_leave(s);
}

/* ---- a peer that hangs */

void prv_link_check(prv_store *s, int64_t now)
{
    bool waiting = s->link == PRV_LINK_CONNECTING || s->link == PRV_LINK_GREETING ||
                   (s->link == PRV_LINK_UP && s->sent.head != NULL);
    if (waiting && now >= s->link_deadline)
        link_fail(s, s->link == PRV_LINK_UP ? "hangs" : "does not answer a new connection");
}
