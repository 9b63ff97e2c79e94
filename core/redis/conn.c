/*
 * One non-blocking socket. hiredis connects and owns it; reading and writing are ours, so that
 * replies are bounded before they are parsed. conn_write() and conn_read() are the only two places
 * where bytes cross: with hiredis >= 1.0 they become c->funcs->write and c->funcs->read over its
 * TLS context.
 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECV_STEP 16384

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
    words[0] = PRV_STR("PING");
    words[1] = (prv_str){nonce, strlen(nonce)};
    return prv_conn_words(conn, words, 2);
}

const char *prv_greeting_trouble(const prv_store_conf *conf, const char *nonce, size_t left,
                                 const redisReply *r)
{
    (void)conf;
    bool good = left > 1 ? r->type == REDIS_REPLY_STATUS : prv_nonce_matches(nonce, r);
    return good ? NULL : prv_answer_trouble(r);
}

prv_io prv_conn_send(prv_conn *conn)
{
    while (conn->tx_sent < conn->tx_len) {
        ssize_t n = conn_write(conn, conn->tx + conn->tx_sent, conn->tx_len - conn->tx_sent);
        if (n > 0) {
            conn->tx_sent += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? PRV_IO_WAIT : PRV_IO_DEAD;
    }
    return PRV_IO_DONE;
}

prv_io prv_conn_recv(prv_conn *conn)
{
    char *room = prv_feed_room(&conn->feed, RECV_STEP);
    if (room == NULL)
        return PRV_IO_DEAD;
    ssize_t n;
    do {
        n = conn_read(conn, room, RECV_STEP);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        prv_feed_add(&conn->feed, (size_t)n);
        return PRV_IO_DONE;
    }
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? PRV_IO_WAIT : PRV_IO_DEAD;
}
