/*
 * TLS towards Redis, over libssl and without a socket: bytes of the wire go in and come out, so
 * that conn.c stays the only place where they cross. TLS 1.2 or later; the chain and the peer's
 * name are always verified, there is no switch for it. Private to core/redis.
 */
#ifndef PRV_TLS_H
#define PRV_TLS_H

#include "../privacy.h"

#include <sys/types.h>

/* What a connection needs: authorities, our own certificate, the peer's name. Read when the
 * configuration loads, because a key is readable then and not later. */
typedef struct prv_tls prv_tls;

/* `host`: the name or IP literal in the URL; a certificate must have it among its subject
 * alternative names. Mistakes in the files of `settings` are refused in words. */
prv_code prv_tls_open(const prv_store_settings *settings, const char *host, prv_tls **out,
                      prv_error *err);
void prv_tls_free(prv_tls *tls);

/* One connection. */
typedef struct prv_tls_conn prv_tls_conn;

prv_tls_conn *prv_tls_begin(const prv_tls *tls); /* NULL: no memory */
void prv_tls_end(prv_tls_conn *t);

/* What we say: how many bytes were taken; 0: not before the peer has said more (the handshake); -1:
 * the end. */
ssize_t prv_tls_put(prv_tls_conn *t, const char *p, size_t n);
/* What the peer says: how many bytes; 0: not before more has come from the wire; -1: the end. */
ssize_t prv_tls_get(prv_tls_conn *t, char *p, size_t n);
/* Bytes that came from the wire. False: no memory. */
bool prv_tls_came(prv_tls_conn *t, const char *p, size_t n);
/* Bytes for the wire; tell how many of them went. */
size_t prv_tls_leaving(const prv_tls_conn *t, const char **p);
void prv_tls_left(prv_tls_conn *t, size_t n);
/* After -1: what an operator can do about it, to stand behind "Redis at X "; NULL: TLS is not to
 * blame. */
const char *prv_tls_why(const prv_tls_conn *t);

#endif
