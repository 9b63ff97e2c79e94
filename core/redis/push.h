/*
 * The invalidation link: what Redis says of changed keys, on connections of its own beside the
 * store's.
 */
#ifndef PRV_PUSH_H
#define PRV_PUSH_H

#include "../state/count.h"
#include "client.h"

#define PRV_PUSH_TICK_MS 250     /* the SUBSCRIBE is repeated so often, and the lease renewed */
#define PRV_PUSH_HANG_MS 1000    /* no answer for so long: a new connection */
#define PRV_PUSH_SENT_MAX 8      /* SUBSCRIBEs without an answer */
#define PRV_PUSH_LINES_MAX 128   /* primaries, and those that were a moment ago */
#define PRV_PUSH_LATE_MAX 64     /* keys whose set was locked */
#define PRV_PUSH_REFUSED_MS 5000 /* a link that Redis refuses is tried again so often */

typedef struct prv_push prv_push;

/* None of these may set targets or close the link. */
typedef struct prv_push_events {
    void *arg;
    /* That Redis does not answer: nobody should wait for it. */
    void (*lost)(void *arg, const prv_peer *peer, const char *why);
    void (*back)(void *arg, const prv_peer *peer); /* it does again, within the time-out */
    void (*say)(void *arg, prv_level level, const char *line);
    void (*outdated)(void *arg); /* the targets are not all that there is */
} prv_push_events;

/* Takes part in the zone's link from now on: holds it, or waits to take it over. NULL: no memory.
 * It is up as soon as it has targets and all of them are heard. */
prv_push *prv_push_open(const prv_store_conf *conf, const prv_loop *loop, prv_zone *zone,
                        const prv_push_events *events);
/* The primaries that there are now: all of them must be heard. A change moves the epoch. None: the
 * link is down. */
void prv_push_targets(prv_push *push, const prv_peer *peers, size_t n);
/* What a peer is called in the zone. */
uint64_t prv_peer_name(const prv_peer *peer);
/* The cache key that a changed key of Redis is about; false: none of ours. */
bool prv_push_key(prv_str prefix, prv_str text, prv_cache_key *key);
/* Gives the lease back. Not inside one of the events. */
void prv_push_close(prv_push *push);

#endif
