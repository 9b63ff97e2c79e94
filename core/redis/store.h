/*
 * Inside the asynchronous client. A submit makes a prv_cmd (or joins one) and a prv_wait; nothing
 * else happens until the loop's next turn. A command belongs to a backend: one Redis, one
 * connection. On it commands move pending -> sent -> held and are then delivered:
 *
 *   pending   not yet written; written together in one flush that ends in PING <nonce>
 *   sent      written; replies come back in this order, PINGs among them
 *   held      answered, but the flush's nonce has not come back yet
 *
 * A wait ends by delivery, by its deadline or by cancel, whichever is first; its command lives on
 * without it, because its place among the replies must stay.
 */
#ifndef PRV_STORE_H
#define PRV_STORE_H

#include "../state/count.h"
#include "push.h"
#include "topology.h"

#define PRV_HANG_MS 1000    /* no reply for so long (or the timeout, if longer): a new connection */
#define PRV_DEMAND_MS 30000 /* a store that nobody asked for so long is not probed */
#define PRV_COMMANDS_MAX 16384 /* more at once are unavailable: memory is bounded */
#define PRV_BUCKETS 256        /* of reads that can be joined, by key */
#define PRV_AGAIN_MAX 6        /* times that one command is sent elsewhere, or again */
#define PRV_QUEUE_MAX 1024
#define PRV_QUEUE_FLIGHT 64 /* queued operations that are under way at once */
#define PRV_QUEUE_MS 60000
#define PRV_QUEUE_FIRST_MS 100
#define PRV_QUEUE_LAST_MS 5000

typedef enum prv_cmd_kind {
    PRV_CMD_OP,
    PRV_CMD_PING,
    PRV_CMD_GREETING,
    PRV_CMD_BEFORE, /* reads the record that the next operation may have to put back */
    PRV_CMD_WAIT
} prv_cmd_kind;

typedef struct prv_backend prv_backend;

typedef struct prv_cmd {
    struct prv_cmd *next;  /* in its list */
    struct prv_cmd *chain; /* in its bucket */
    prv_backend *backend;  /* on whose lists it is; NULL: the store's own */
    prv_cmd_kind kind;
    bool joinable;
    bool retried;
    bool eval;
    bool dropped; /* its last waiter was told `unavailable` */
    bool asking;  /* sent where a slot is moving to */
    bool unkept;  /* too few replicas have it */
    bool undoing; /* so it is taken back */
    uint8_t again;
    uint64_t hash;
    size_t left;     /* of a greeting: replies to come, this one included */
    int64_t sent_ms; /* 0: not yet */
    int64_t due_ms;  /* of one that is tried again later */
    redisReply *reply;
    redisReply *before;
    prv_op *op;
    prv_wait *first; /* waits */
    char nonce[PRV_NONCE_LEN + 1];
} prv_cmd;

typedef struct prv_cmds {
    prv_cmd *head;
    prv_cmd *tail;
} prv_cmds;

struct prv_wait {
    prv_store *store;
    prv_cmd *cmd;
    prv_wait *next, *prev;                   /* of one command */
    prv_wait *deadline_next, *deadline_prev; /* of the store, by deadline */
    int64_t deadline;
    int64_t asked_us; /* when it was submitted, for the latency */
    bool whole;       /* the whole time-out was waited: that says something about the store */
    prv_done done;
    void *arg;
};

typedef struct prv_item { /* a queued operation */
    struct prv_item *next, *prev;
    prv_store *store;
    prv_op *op;
    prv_wait *wait; /* under way */
    int64_t first_ms, next_ms;
    uint32_t delay;
} prv_item;

typedef struct prv_queue {
    prv_item *head, *tail;
    size_t n, flying;
    int64_t next_ms; /* INT64_MAX: nothing to do until a reply comes */
    bool overflowed; /* said so */
} prv_queue;

typedef enum prv_link {
    PRV_LINK_DOWN,
    PRV_LINK_CONNECTING,
    PRV_LINK_GREETING,
    PRV_LINK_UP
} prv_link;

struct prv_backend {
    prv_store *store;
    prv_peer peer;
    prv_cell *cell; /* the zone's, or its own */
    prv_cell own;
    prv_backend *writer; /* privacy_store_wait: the connection for changes, to the same Redis */
    prv_backend *of;     /* a writer's own backend */
    bool unkept_said;
    bool
        scripted; /* a writer's connection has sent the script's text: NOSCRIPT would cost a WAIT */
    bool listed;  /* a primary as far as we were told; others go when they are idle */
    bool left;    /* is no primary: nothing is sent until we are told who is */
    int64_t used_ms;
    prv_link link;
    prv_conn *conn;
    void *io;
    bool io_writing;
    int64_t deadline; /* of connecting, greeting and the first reply */
    size_t addr, addr_tries;
    bool probe;   /* asked to find out whether Redis is well */
    bool probing; /* under way */
    prv_cmds pending, sent, held;

    bool lost, lost_said;
    int64_t lost_said_ms;
    bool refused[2]; /* reads, writes: Redis answered with an error, and it was said */
};

#define PRV_BACKENDS_MAX                                                                           \
    (2 * (PRV_PRIMARIES_MAX + 16)) /* and where slots are moving to; writers                       \
                                    */

/* scout.c: the connection that finds out where primaries are */
typedef enum prv_scout_state {
    PRV_SCOUT_IDLE,
    PRV_SCOUT_CONNECTING,
    PRV_SCOUT_ASKING,
    PRV_SCOUT_LISTENING /* to a sentinel's +switch-master */
} prv_scout_state;

typedef struct prv_scout {
    prv_scout_state state;
    prv_conn *conn;
    void *io;
    prv_peer peer; /* one literal address, the one that is asked */
    size_t at;     /* candidate, and which of its addresses */
    size_t addr;
    size_t left;     /* candidates of this round */
    size_t replies;  /* that are still to come */
    unsigned opened; /* connections so far: a freed one's address may come back */
    bool lost_too;   /* even candidates that are known to be lost */
    bool pinged;
    bool wanted;
    bool said;
    int64_t deadline; /* of what it does now */
    int64_t next_ms;  /* no round before */
    char nonce[PRV_NONCE_LEN + 1];
    char why[640]; /* the last candidate did not help */
    prv_peer found;
} prv_scout;

struct prv_store {
    const prv_store_conf *conf;
    prv_loop loop;
    prv_scripts scripts;
    prv_zone *zone; /* may be NULL */
    prv_cell *cell; /* for what belongs to no backend yet */
    prv_cell own;   /* without a zone */
    void *timer;
    int64_t armed;  /* when it fires; INT64_MAX: it does not */
    unsigned depth; /* of calls into here: what is freed is freed at the outermost end */
    bool closing;

    size_t n_backends;
    prv_backend *backends[PRV_BACKENDS_MAX];
    prv_cmds unrouted; /* nobody is known yet who could answer */
    prv_cmds later;    /* tried again at their due_ms */
    uint8_t *slots;    /* of a cluster: 1 + index into backends; 0: nobody known */
    prv_scout scout;

    size_t n_cmds;
    prv_cmd *bucket[PRV_BUCKETS];
    prv_wait *deadline_head, *deadline_tail;
    int64_t asked_ms;
    prv_queue queue;
    prv_push *push; /* NULL: takes no part in the zone's link */
};

int64_t prv_store_now(const prv_store *s);
void prv_store_enter(prv_store *s);
void prv_store_leave(prv_store *s); /* arms the timer, or frees a closed store */
__attribute__((format(printf, 3, 4))) void prv_store_say(const prv_store *s, prv_level level,
                                                         const char *form, ...);

/* ---- commands (store.c) */
void prv_cmds_add(prv_cmds *list, prv_cmd *cmd);
prv_cmd *prv_cmds_take(prv_cmds *list);
void prv_cmds_append(prv_cmds *list, prv_cmds *more); /* leaves `more` empty */
prv_cmd *prv_cmd_new(prv_store *s, prv_cmd_kind kind);
void prv_cmd_free(prv_store *s, prv_cmd *cmd);
/* Calls every waiter with cmd->reply (none: unavailable) and frees it; after NOSCRIPT it goes back
 * to pending. */
void prv_cmd_deliver(prv_store *s, prv_cmd *cmd);
void prv_cmds_fail(prv_store *s, prv_cmds *list);
bool prv_store_wanted(const prv_store *s, int64_t now); /* somebody asked of late */

/* ---- backend.c */
/* NULL: no memory, or too many. */
prv_backend *prv_backend_new(prv_store *s, const prv_peer *peer);
void prv_backend_free(prv_backend *b); /* without commands */
/* Transitions: the breaker is told, and one line is logged. */
void prv_backend_lost(prv_backend *b, const char *why);
void prv_backend_regained(prv_backend *b);
void prv_backend_add(prv_backend *b, prv_cmd *cmd); /* to its pending */
/* When the backend wants a turn; INT64_MAX: never. */
int64_t prv_backend_next(const prv_backend *b, int64_t now, bool wanted);
/* It is found elsewhere: what was sent is sent again there. */
void prv_backend_point(prv_backend *b, const prv_peer *peer);
/* It is no primary: what was sent waits until we are told who is. */
void prv_backend_leave(prv_backend *b);

/* ---- link.c */
void prv_link_flush(prv_backend *b); /* writes what is pending, connecting first if need be */
void prv_link_check(prv_backend *b, int64_t now); /* a peer that hangs */
void prv_link_read(prv_backend *b);
void prv_link_close(prv_backend *b,
                    prv_cmds *left); /* quietly; what was not delivered goes to *left */

/* ---- route.c: which backend a command goes to */
prv_backend *prv_route(const prv_store *s, prv_str key); /* NULL: nobody is known yet */
void prv_route_cmd(prv_store *s, prv_cmd *cmd);
/* Its reply sends it elsewhere, or asks for patience: it is on its way again, without the reply. */
bool prv_route_again(prv_store *s, prv_cmd *cmd);
void prv_route_known(prv_store *s); /* more is known: what waited for that is sent */
void prv_route_turn(prv_store *s, int64_t now);
int64_t prv_route_next(const prv_store *s);
/* The primaries that are listed are those whose invalidations must be heard. */
void prv_store_retarget(prv_store *s);
/* What was told is in force: the primary of Sentinel, the slots of a cluster. */
void prv_route_primary(prv_store *s, const prv_peer *peer);
void prv_route_slots(prv_store *s, const prv_slot_map *map);

/* ---- scout.c */
bool prv_scout_needed(const prv_store *s, int64_t now);
void prv_scout_turn(prv_store *s, int64_t now);
int64_t prv_scout_next(const prv_store *s, int64_t now);
void prv_scout_close(prv_store *s);

/* ---- queue.c */
void prv_queue_run(prv_store *s, int64_t now);
void prv_queue_wake(prv_store *s, int64_t now); /* Redis is back: do not wait for the backoff */
void prv_queue_free(prv_store *s);

#endif
