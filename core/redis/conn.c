/*
 * One non-blocking socket. hiredis connects and owns it; reading and writing are ours, so that
 * replies are bounded before they are parsed. conn_write() and conn_read() are the only two places
 * where bytes cross. With TLS, what crosses comes from and goes to tls.c, and everything above this
 * file stays as it is: a handshake is a command that is not yet sent and a reply that is not yet
 * there.
 */
#include "topology.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECV_STEP 16384
#define RECV_STEPS                                                                                 \
    16 /* without a byte for us: a peer that talks TLS for ever has its turns too                  \
        */

static ssize_t conn_write(const prv_conn *conn, const char *p, size_t n)
{
    return send(conn->fd, p, n, MSG_NOSIGNAL);
}

static ssize_t conn_read(const prv_conn *conn, char *p, size_t n)
{
    return recv(conn->fd, p, n, 0);
}

size_t prv_peer_addrs(const prv_peer *peer)
{
    return peer->n_addrs > 0 ? peer->n_addrs : 1;
}

prv_conn *prv_conn_open(const prv_peer *peer, size_t addr)
{
    prv_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return NULL;
    if (peer->path[0] != '\0')
        conn->c = redisConnectUnixNonBlock(peer->path);
    else if (addr < peer->n_addrs)
        conn->c = redisConnectNonBlock(peer->addrs[addr], peer->port);
    if (conn->c == NULL || conn->c->err != 0 || !prv_feed_init(&conn->feed)) {
        int why = conn->c != NULL && conn->c->err == REDIS_ERR_IO ? errno : ENOMEM;
        prv_conn_close(conn);
        errno = why;
        return NULL;
    }
    if (peer->tls != NULL && (conn->tls = prv_tls_begin(peer->tls)) == NULL) {
        prv_conn_close(conn);
        errno = ENOMEM;
        return NULL;
    }
    conn->fd = conn->c->fd;
    (void)fcntl(conn->fd, F_SETFD, FD_CLOEXEC);
    return conn;
}

void prv_conn_close(prv_conn *conn)
{
    if (conn == NULL)
        return;
    if (conn->c != NULL)
        redisFree(conn->c);
    prv_tls_end(conn->tls);
    prv_feed_free(&conn->feed);
    if (conn->tx != NULL)
        explicit_bzero(conn->tx, conn->tx_cap); /* AUTH went through it */
    free(conn->tx);
    free(conn);
}

int prv_conn_error(const prv_conn *conn)
{
    int err = 0;
    socklen_t n = sizeof err;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &n) != 0)
        return errno;
    return err;
}

bool prv_conn_add(prv_conn *conn, const char *p, size_t n)
{
    if (conn->tx_sent == conn->tx_len)
        conn->tx_sent = conn->tx_len = 0;
    if (conn->tx_cap - conn->tx_len < n) {
        size_t cap = conn->tx_cap < 4096 ? 4096 : conn->tx_cap;
        while (cap - conn->tx_len < n)
            cap *= 2;
        char *tx = realloc(conn->tx, cap);
        if (tx == NULL)
            return false;
        conn->tx = tx;
        conn->tx_cap = cap;
    }
    memcpy(conn->tx + conn->tx_len, p, n);
    conn->tx_len += n;
    return true;
}

bool prv_conn_words(prv_conn *conn, const prv_str *words, size_t n)
{
    char *out = NULL;
    size_t len = 0;
    if (!prv_words_format(words, n, &out, &len))
        return false;
    bool ok = prv_conn_add(conn, out, len);
    explicit_bzero(out, len);
    redisFreeCommand(out);
    return ok;
}

bool prv_conn_greet(prv_conn *conn, const prv_store_conf *conf, const char *nonce, size_t *replies)
{
    prv_str words[3];
    size_t n = 0;
    *replies = 1;
    if (conf->auth) {
        words[n++] = PRV_STR("AUTH");
        if (conf->user[0] != '\0')
            words[n++] = (prv_str){conf->user, strlen(conf->user)};
        words[n++] = (prv_str){conf->password, strlen(conf->password)};
        if (!prv_conn_words(conn, words, n))
            return false;
        ++*replies;
    }
    if (conf->db != 0) {
        char db[12];
        int len = snprintf(db, sizeof db, "%u", conf->db);
        words[0] = PRV_STR("SELECT");
        words[1] = (prv_str){db, (size_t)len};
        if (!prv_conn_words(conn, words, 2))
            return false;
        ++*replies;
    }
    if (conf->topology == PRV_SENTINEL) {
        words[0] = PRV_STR("ROLE");
        if (!prv_conn_words(conn, words, 1))
            return false;
        ++*replies;
    }
    words[0] = PRV_STR("PING");
    words[1] = (prv_str){nonce, strlen(nonce)};
    return prv_conn_words(conn, words, 2);
}

const char *prv_greeting_trouble(const prv_store_conf *conf, const char *nonce, size_t left,
                                 const redisReply *r)
{
    if (left == 2 && conf->topology == PRV_SENTINEL && prv_role_is_replica(r))
        return "is a replica";
    bool good = left == 1                                     ? prv_nonce_matches(nonce, r)
                : left == 2 && conf->topology == PRV_SENTINEL ? prv_role_is_primary(r)
                                                              : r->type == REDIS_REPLY_STATUS;
    return good ? NULL : prv_answer_trouble(r);
}

/* Nothing for us now (errno of a call that returned n <= 0), or nothing ever again? */
static prv_io conn_none(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? PRV_IO_WAIT : PRV_IO_DEAD;
}

static prv_io raw_recv(const prv_conn *conn, char *p, size_t room, size_t *n)
{
    ssize_t got;
    do {
        got = conn_read(conn, p, room);
    } while (got < 0 && errno == EINTR);
    *n = got > 0 ? (size_t)got : 0;
    return got > 0 ? PRV_IO_DONE : conn_none(got);
}

/* ---- TLS: the same two calls */

/* What TLS has for the wire. */
static prv_io tls_flush(prv_conn *conn)
{
    const char *p;
    for (size_t left = prv_tls_leaving(conn->tls, &p); left > 0;
         left = prv_tls_leaving(conn->tls, &p)) {
        ssize_t n = conn_write(conn, p, left);
        if (n > 0)
            prv_tls_left(conn->tls, (size_t)n);
        else if (n == 0 || errno != EINTR)
            return conn_none(n);
    }
    return PRV_IO_DONE;
}

/* From the wire to TLS. */
static prv_io tls_fill(prv_conn *conn)
{
    char wire[RECV_STEP];
    size_t n;
    prv_io io = raw_recv(conn, wire, sizeof wire, &n);
    return io == PRV_IO_DONE && !prv_tls_came(conn->tls, wire, n) ? PRV_IO_DEAD : io;
}

/* Gives all that TLS has for us to the feed: what stayed inside would wake nobody. */
static prv_io tls_drain(prv_conn *conn)
{
    prv_io io = PRV_IO_WAIT;
    for (;;) {
        char *room = prv_feed_room(&conn->feed, RECV_STEP);
        ssize_t n = room != NULL ? prv_tls_get(conn->tls, room, RECV_STEP) : -1;
        if (n <= 0)
            return n < 0 && io == PRV_IO_WAIT ? PRV_IO_DEAD : io; /* first what came before it */
        prv_feed_add(&conn->feed, (size_t)n);
        io = PRV_IO_DONE;
    }
}

static prv_io tls_send(prv_conn *conn)
{
    for (;;) {
        prv_io io = tls_flush(conn);
        if (io == PRV_IO_DEAD && tls_fill(conn) == PRV_IO_DONE)
            (void)tls_drain(conn); /* the peer may have said why */
        if (io != PRV_IO_DONE || conn->tx_sent == conn->tx_len)
            return io;
        ssize_t n = prv_tls_put(conn->tls, conn->tx + conn->tx_sent, conn->tx_len - conn->tx_sent);
        if (n <= 0) { /* in the handshake its bytes go, the rest follows what the peer says */
            io = tls_flush(conn);
            return n < 0 ? PRV_IO_DEAD : io;
        }
        conn->tx_sent += (size_t)n;
    }
}

static prv_io tls_recv(prv_conn *conn)
{
    for (int i = 0;; i++) {
        prv_io io = tls_drain(conn);
        /* A step of the handshake may be due, what waited for it, or the alert that we refuse. */
        bool sent = tls_send(conn) != PRV_IO_DEAD;
        if (io != PRV_IO_WAIT)
            return io;
        if (!sent)
            return PRV_IO_DEAD;
        if (i == RECV_STEPS)
            return PRV_IO_WAIT;
        io = tls_fill(conn);
        if (io != PRV_IO_DONE)
            return io;
    }
}

bool prv_conn_blocked(const prv_conn *conn)
{
    const char *p;
    return conn->tls != NULL && prv_tls_leaving(conn->tls, &p) > 0;
}

const char *prv_conn_why(const prv_conn *conn, const char *otherwise)
{
    const char *why = conn->tls != NULL ? prv_tls_why(conn->tls) : NULL;
    return why != NULL ? why : otherwise;
}

/* ---- */

prv_io prv_conn_send(prv_conn *conn)
{
    if (conn->tls != NULL)
        return tls_send(conn);
    while (conn->tx_sent < conn->tx_len) {
        ssize_t n = conn_write(conn, conn->tx + conn->tx_sent, conn->tx_len - conn->tx_sent);
        if (n > 0)
            conn->tx_sent += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return conn_none(n);
    }
    return PRV_IO_DONE;
}

prv_io prv_conn_recv(prv_conn *conn)
{
    if (conn->tls != NULL)
        return tls_recv(conn);
    char *room = prv_feed_room(&conn->feed, RECV_STEP);
    size_t n;
    if (room == NULL)
        return PRV_IO_DEAD;
    prv_io io = raw_recv(conn, room, RECV_STEP, &n);
    prv_feed_add(&conn->feed, n);
    return io;
}
