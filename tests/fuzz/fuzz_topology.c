/*
 * What sentinels and nodes of a cluster may answer, and keys of any bytes. Whatever is told, what is
 * connected to is an IP literal with a port, and a map has no slot without its primary.
 */
#include "redis/topology.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_peer(const prv_peer *peer)
{
    unsigned char bytes[16];
    int family = strchr(peer->addrs[0], ':') != NULL ? AF_INET6 : AF_INET;
    check(peer->n_addrs == 1 && peer->path[0] == '\0' && peer->tls == NULL);
    check(peer->port >= 1 && peer->port <= 65535);
    check(inet_pton(family, peer->addrs[0], bytes) == 1);
    check(strlen(peer->label) > 0 && prv_peer_same(peer, peer));
}

static void check_map(const redisReply *r, const prv_peer *asked, prv_slot_map *map)
{
    prv_told told = prv_slots_read(r, asked, map);
    check(strlen(prv_told_trouble(told)) > 0 && map->n <= PRV_PRIMARIES_MAX);
    if (told != PRV_TOLD)
        return;
    for (size_t i = 0; i < map->n; i++) {
        check_peer(&map->peers[i]);
        for (size_t k = 0; k < i; k++)
            check(!prv_peer_same(&map->peers[i], &map->peers[k]));
    }
    for (size_t i = 0; i < PRV_SLOTS; i++)
        check(map->slot[i] <= map->n);
}

static void run(const redisReply *r, const prv_peer *asked, prv_slot_map *map)
{
    prv_peer peer;
    prv_told told;
    unsigned slot = 0;
    if (prv_sentinel_read(r, &peer) == PRV_TOLD)
        check_peer(&peer);
    if (prv_switch_read(r, "m", &told, &peer) && told == PRV_TOLD)
        check_peer(&peer);
    check(!(prv_role_is_primary(r) && prv_role_is_replica(r)));
    check_map(r, asked, map);
    prv_redirect_kind kind = prv_redirect_read(r, asked, &slot, &peer);
    if (kind == PRV_REDIRECT_MOVED || kind == PRV_REDIRECT_ASK) {
        check(slot < PRV_SLOTS);
        check_peer(&peer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static prv_slot_map map;
    prv_feed feed;
    prv_peer asked;
    check(prv_peer_literal(PRV_STR("10.0.0.1"), 6379, &asked) == PRV_TOLD);
    check(prv_slot_of((prv_str){(const char *)data, size}) < PRV_SLOTS);
    check(prv_feed_init(&feed));
    feed.bound.wide = true;
    char *room = prv_feed_room(&feed, size + 1);
    check(room != NULL);
    if (size > 0)
        memcpy(room, data, size);
    prv_feed_add(&feed, size);
    redisReply *r = NULL;
    while (prv_feed_next(&feed, &r) == PRV_FEED_REPLY) {
        run(r, &asked, &map);
        freeReplyObject(r);
    }
    prv_feed_free(&feed);
    return 0;
}
