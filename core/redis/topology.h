/*
 * What sentinels and nodes of a cluster say, as data: nothing here connects. All of it is
 * untrusted: an announced address must be an IP literal, because connecting never resolves and a
 * name could mean anything by then.
 */
#ifndef PRV_TOPOLOGY_H
#define PRV_TOPOLOGY_H

#include "client.h"

#define PRV_SLOTS 16384
#define PRV_PRIMARIES_MAX 64 /* of one cluster */

/* The slot of a key: CRC16 (XMODEM) over its hash tag, or over all of it, modulo PRV_SLOTS. */
unsigned prv_slot_of(prv_str key);

typedef enum prv_told {
    PRV_TOLD,
    PRV_TOLD_NOTHING,  /* knows no such primary; serves no slot */
    PRV_TOLD_NAME,     /* a name, where an IP literal must stand */
    PRV_TOLD_TOO_MANY, /* more than PRV_PRIMARIES_MAX */
    PRV_TOLD_NONSENSE
} prv_told;

/* What is wrong, to stand behind "X ". */
const char *prv_told_trouble(prv_told told);

/* A peer of an IP literal. PRV_TOLD_NAME for anything else. */
prv_told prv_peer_literal(prv_str host, long long port, prv_peer *out);
bool prv_peer_same(const prv_peer *a, const prv_peer *b);

/* SENTINEL GET-MASTER-ADDR-BY-NAME */
prv_told prv_sentinel_read(const redisReply *r, prv_peer *out);
/* A message of +switch-master: false if it is another one, or about another primary. */
bool prv_switch_read(const redisReply *r, const char *master, prv_told *told, prv_peer *out);
/* ROLE, of a replica. */
bool prv_role_is_replica(const redisReply *r);
bool prv_role_is_primary(const redisReply *r);

typedef struct prv_slot_map {
    size_t n;
    prv_peer peers[PRV_PRIMARIES_MAX];
    uint8_t slot[PRV_SLOTS]; /* 1 + index into peers; 0: nobody serves it */
} prv_slot_map;

/* CLUSTER SLOTS. `asked`: where it comes from, for a node that does not know its own address. */
prv_told prv_slots_read(const redisReply *r, const prv_peer *asked, prv_slot_map *map);

typedef enum prv_redirect_kind {
    PRV_REDIRECT_NONE, /* any other answer */
    PRV_REDIRECT_MOVED,
    PRV_REDIRECT_ASK,
    PRV_REDIRECT_TRYAGAIN,
    PRV_REDIRECT_BAD /* MOVED or ASK to what is no address */
} prv_redirect_kind;

/* An error reply that sends elsewhere. `asked`: for an address that is left out. */
prv_redirect_kind prv_redirect_read(const redisReply *r, const prv_peer *asked, unsigned *slot,
                                    prv_peer *to);

#endif
