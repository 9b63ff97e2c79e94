/*
 * What the asynchronous client (store.c, link.c, queue.c) and the blocking one (sync.c) share:
 * configuration, bounds, commands and their answers, a socket. Private to core/redis.
 */
#ifndef PRV_CLIENT_H
#define PRV_CLIENT_H

#include "../privacy.h"
#include "script.h"
#include "tls.h"

#include <hiredis/hiredis.h>

/* ---- conf.c */
#define PRV_STORE_ADDRS 4      /* `localhost` is two, and only one may listen */
#define PRV_STORE_ADDR_MAX 80  /* an IPv6 literal with its scope */
#define PRV_STORE_PATH_MAX 108 /* sun_path */
#define PRV_STORE_NAME_MAX 64  /* user, prefix */
#define PRV_STORE_PASSWORD_MAX 1024

#define PRV_SEEDS_MAX 16 /* addresses in privacy_store: sentinels, nodes of a cluster */

/* Where a connection goes. Connecting never resolves: addresses are literals. */
typedef struct prv_peer {
    char path[PRV_STORE_PATH_MAX]; /* Unix socket; empty: TCP */
    size_t n_addrs;
    char addrs[PRV_STORE_ADDRS][PRV_STORE_ADDR_MAX]; /* tried in turn */
    int port;
    const prv_tls *tls; /* the configuration's; NULL: plain */
    char label[300];    /* for people: host:port or the path, never user or password */
} prv_peer;

typedef enum prv_topology { PRV_STANDALONE, PRV_SENTINEL, PRV_CLUSTER } prv_topology;

struct prv_store_conf {
    prv_topology topology;
    size_t n_seeds;
    prv_peer seeds[PRV_SEEDS_MAX];       /* standalone: the Redis itself */
    char master[PRV_STORE_NAME_MAX + 1]; /* what sentinels call the primary */
    unsigned db;
    uint32_t timeout_ms;
    uint32_t wait; /* replicas that must have a change */
    bool auth;
    char user[PRV_STORE_NAME_MAX + 1];
    char password[PRV_STORE_PASSWORD_MAX + 1];
    char prefix[PRV_STORE_NAME_MAX + 1];
    prv_tls *tls;    /* of rediss://; NULL: plain */
    char label[300]; /* of the whole store */
};

/* ---- bound.c: RESP2 framing, walked before hiredis sees it. A reply that is not RESP2, or larger
 * than a record can be, is refused at its first wrong byte. */
#define PRV_BOUND_BULK 65536u
#define PRV_BOUND_ARRAY 512u
#define PRV_BOUND_DEPTH 3
#define PRV_BOUND_REPLY_MAX 262144u
/* A slot map may be larger: a range, its primary, the replicas and their host names. */
#define PRV_BOUND_WIDE_ARRAY 4096u
#define PRV_BOUND_WIDE_DEPTH 4
#define PRV_BOUND_WIDE_REPLY_MAX 2097152u
/* Messages of the invalidation link name all keys that one turn of Redis changed. */
#define PRV_BOUND_LINK_ARRAY 262144u
#define PRV_BOUND_LINK_REPLY_MAX 33554432u

typedef enum prv_bound_result { PRV_BOUND_MORE, PRV_BOUND_WHOLE, PRV_BOUND_BAD } prv_bound_result;

typedef struct prv_bound {
    uint8_t state;
    uint8_t type;
    uint8_t depth;
    uint8_t digits;
    bool negative;
    bool wide; /* a slot map's bounds */
    bool link; /* the invalidation link's */
    uint32_t left[PRV_BOUND_WIDE_DEPTH]; /* elements still to come at each depth */
    uint32_t number;
    size_t total; /* bytes of this reply */
} prv_bound;

/* Walks bytes until a whole reply has passed (zero a prv_bound to start, but for `wide` and `link`); *used
 * tells how many. */
prv_bound_result prv_bound_scan(prv_bound *b, const char *p, size_t n, size_t *used);

/* Bytes in, whole replies out: hiredis is fed nothing but complete replies within bounds. */
typedef struct prv_feed {
    prv_bound bound;
    redisReader *reader;
    char *buf;
    size_t cap, len;
    size_t start;   /* of the reply that is being walked */
    size_t scanned; /* walked so far */
    bool bad;
} prv_feed;

typedef enum prv_feed_result { PRV_FEED_MORE, PRV_FEED_REPLY, PRV_FEED_BAD } prv_feed_result;

bool prv_feed_init(prv_feed *feed);
void prv_feed_free(prv_feed *feed);
/* Room for at least `want` bytes at the end of the buffer, NULL: no memory; then tell how many
 * came. */
char *prv_feed_room(prv_feed *feed, size_t want);
void prv_feed_add(prv_feed *feed, size_t n);
prv_feed_result prv_feed_next(prv_feed *feed, redisReply **out);
/* Nothing has come that was not given out. */
bool prv_feed_empty(const prv_feed *feed);

/* ---- command.c */
#define PRV_PAIRS_MAX PRV_BOUND_ARRAY
#define PRV_NONCE_LEN 32

typedef struct prv_scripts { /* SHA-1 in hex; empty where libcrypto has none: then EVAL */
    char change[41];
    char age[41];
} prv_scripts;

void prv_scripts_init(prv_scripts *scripts);
/* Does it only read, so that it can be shared and be left undone? */
static inline bool prv_op_reads(const prv_op *op)
{
    return op->kind == PRV_OP_READ || op->kind == PRV_OP_SUBJECT;
}
/* A copy with its strings in one block, freed by free(); NULL: no memory. */
prv_op *prv_op_copy(const prv_op *op);
/* RESP for op, freed by redisFreeCommand(); false: no memory. eval: the script's text instead of
 * its SHA-1. */
bool prv_op_format(const prv_op *op, const prv_scripts *scripts, bool eval, char **out, size_t *n);
/* Takes back a change that was made, and nothing else: the record is as `before`, HGETALL's answer
 * from right before it; not an array: there was none. */
bool prv_undo_format(const prv_op *op, const redisReply *before, char **out, size_t *n);
/* Formats any command. */
bool prv_words_format(const prv_str *words, size_t n, char **out, size_t *len);
/* Redis' answer to op. The views point into `r`; r NULL: unavailable. */
void prv_answer_read(const prv_op *op, const redisReply *r, prv_reply *out,
                     prv_str pairs[PRV_PAIRS_MAX]);
/* A change that was made, now or before. */
bool prv_answer_done(const redisReply *r);
bool prv_answer_noscript(const redisReply *r);
/* What an error reply means, to stand behind "Redis at X ": never the server's own words, which may
 * quote what was sent. */
const char *prv_answer_trouble(const redisReply *r);
bool prv_nonce_make(char out[PRV_NONCE_LEN + 1]);
bool prv_nonce_matches(const char *nonce, const redisReply *r);

/* ---- conn.c: a non-blocking socket with its buffers */
typedef enum prv_io { PRV_IO_DONE, PRV_IO_WAIT, PRV_IO_DEAD } prv_io;

typedef struct prv_conn {
    redisContext *c;
    int fd;
    prv_feed feed;
    prv_tls_conn *tls; /* NULL: plain */
    char *tx;
    size_t tx_cap, tx_len, tx_sent;
} prv_conn;

/* Begins to connect; `addr` counts the addresses of peer. NULL: refused at once, see errno. */
prv_conn *prv_conn_open(const prv_peer *peer, size_t addr);
size_t prv_peer_addrs(const prv_peer *peer); /* at least 1 */
void prv_conn_close(prv_conn *conn);
/* Once writable: 0 or the errno of the attempt. */
int prv_conn_error(const prv_conn *conn);
bool prv_conn_add(prv_conn *conn, const char *p, size_t n);
bool prv_conn_words(prv_conn *conn, const prv_str *words, size_t n); /* any command */
/* Queues AUTH and SELECT as configured, for a primary of Sentinel ROLE, and PING nonce; *replies is
 * their number. */
bool prv_conn_greet(prv_conn *conn, const prv_store_conf *conf, const char *nonce, size_t *replies);
#define PRV_STATUS_WANTED 9 /* for `left`: of no greeting, but +OK all the same */
/* Is `r` what the greeting wants, with `left` replies still to come, it included? NULL: yes, else
 * what is wrong, as prv_answer_trouble() has it. */
const char *prv_greeting_trouble(const prv_store_conf *conf, const char *nonce, size_t left,
                                 const redisReply *r);
/* DONE: all of it, or (TLS handshake) all that can go before more was received */
prv_io prv_conn_send(prv_conn *conn);
prv_io prv_conn_recv(prv_conn *conn); /* DONE: something came; DEAD: end of stream or an error */
/* A receive left bytes to send (TLS): call prv_conn_send() when the socket is writable. */
bool prv_conn_blocked(const prv_conn *conn);
#define PRV_WHY_MAX 400
/* Why it is DEAD, to stand behind "Redis at X ": what TLS says, or else `otherwise`. */
const char *prv_conn_why(const prv_conn *conn, const char *otherwise);

#endif
