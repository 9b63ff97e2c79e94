/* Which backend a command goes to; answers that send it elsewhere (Redis Cluster specification,
 * "Redirection and resharding"). */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#define TRYAGAIN_MS 20 /* then twice as long each time */
#define IDLE_MS 2000   /* a backend that is no primary any more is kept so long */

prv_backend *prv_route(const prv_store *s, prv_str key)
{
    if (s->conf->topology != PRV_CLUSTER)
        return s->n_backends > 0 ? s->backends[0] : NULL;
    uint8_t at = s->slots[prv_slot_of(key)];
    return at > 0 ? s->backends[at - 1] : NULL;
}

static void cmd_fail(prv_store *s, prv_cmd *cmd)
{
    prv_cmds one = {cmd, cmd};
    cmd->next = NULL;
    prv_cmds_fail(s, &one);
}

void prv_route_cmd(prv_store *s, prv_cmd *cmd)
{
    prv_backend *b = prv_route(s, cmd->op->key);
    if (b != NULL) {
        prv_backend_add(b, cmd);
        return;
    }
    cmd->backend = NULL;
    cmd->sent_ms = 0;
    prv_cmds_add(&s->unrouted, cmd);
}

void prv_route_known(prv_store *s)
{
    prv_cmds all = s->unrouted, none = {NULL, NULL};
    s->unrouted = none;
    for (prv_cmd *cmd = prv_cmds_take(&all); cmd != NULL; cmd = prv_cmds_take(&all)) {
        prv_backend *b = prv_route(s, cmd->op->key);
        if (b == NULL || prv_cell_due(b->cell) != 0)
            prv_cmds_add(&none, cmd); /* a slot that nobody serves; a primary that is down */
        else
            prv_backend_add(b, cmd);
    }
    prv_cmds_fail(s, &none);
}

/* ---- answers that send elsewhere */

static prv_backend *backend_at(prv_store *s, const prv_peer *peer)
{
    for (size_t i = 0; i < s->n_backends; i++) {
        if (s->backends[i]->of == NULL && prv_peer_same(&s->backends[i]->peer, peer))
            return s->backends[i];
    }
    return prv_backend_new(s, peer);
}

static uint8_t place_of(const prv_store *s, const prv_backend *b)
{
    for (size_t i = 0; i < s->n_backends; i++) {
        if (s->backends[i] == b)
            return (uint8_t)(i + 1);
    }
    return 0;
}

static bool error_is(const redisReply *r, const char *word)
{
    size_t n = strlen(word);
    return r->type == REDIS_REPLY_ERROR && (size_t)r->len >= n && memcmp(r->str, word, n) == 0;
}

static void cmd_unanswer(prv_cmd *cmd)
{
    freeReplyObject(cmd->reply);
    cmd->reply = NULL;
    cmd->again++;
}

/* A demoted primary: writes are READONLY there, and reads may be old. */
static bool again_sentinel(prv_cmd *cmd)
{
    prv_backend *b = cmd->backend;
    if (!error_is(cmd->reply, "READONLY") && !error_is(cmd->reply, "MASTERDOWN"))
        return false;
    cmd_unanswer(cmd);
    prv_backend_add(b, cmd);
    if (!b->left)
        prv_backend_leave(b);
    return true;
}

static bool again_cluster(prv_store *s, prv_cmd *cmd)
{
    unsigned slot = 0;
    prv_peer to;
    prv_redirect_kind kind = prv_redirect_read(cmd->reply, &cmd->backend->peer, &slot, &to);
    if (kind == PRV_REDIRECT_NONE) {
        s->scout.wanted = s->scout.wanted || error_is(cmd->reply, "CLUSTERDOWN");
        return false;
    }
    if (kind == PRV_REDIRECT_TRYAGAIN) {
        cmd->due_ms = prv_store_now(s) + (TRYAGAIN_MS << cmd->again);
        cmd_unanswer(cmd);
        cmd->backend = NULL;
        prv_cmds_add(&s->later, cmd);
        return true;
    }
    s->scout.wanted = s->scout.wanted || kind != PRV_REDIRECT_ASK;
    if (kind == PRV_REDIRECT_BAD || slot != prv_slot_of(cmd->op->key))
        return false;
    prv_backend *b = backend_at(s, &to);
    if (b == NULL || (prv_cell_due(b->cell) != 0 && !b->probe && !b->probing))
        return false;
    cmd_unanswer(cmd);
    cmd->asking = kind == PRV_REDIRECT_ASK;
    if (kind == PRV_REDIRECT_MOVED) {
        b->listed = true;
        s->slots[slot] = place_of(s, b);
    }
    prv_backend_add(b, cmd);
    return true;
}

bool prv_route_again(prv_store *s, prv_cmd *cmd)
{
    if (cmd->reply == NULL || cmd->reply->type != REDIS_REPLY_ERROR || cmd->first == NULL ||
        cmd->again == PRV_AGAIN_MAX || s->closing)
        return false;
    cmd->asking = false;
    switch (s->conf->topology) {
    case PRV_SENTINEL:
        return again_sentinel(cmd);
    case PRV_CLUSTER:
        return again_cluster(s, cmd);
    case PRV_STANDALONE:
        break;
    }
    return false;
}

/* ---- what was told */

void prv_route_primary(prv_store *s, const prv_peer *peer)
{
    prv_backend *b = s->n_backends > 0 ? s->backends[0] : NULL;
    if (b == NULL) {
        b = prv_backend_new(s, peer);
    } else if (!prv_peer_same(&b->peer, peer)) {
        prv_store_say(s, PRV_LOG_NOTICE, "the primary of %s is Redis at %s now", s->conf->label,
                      peer->label);
    }
    if (b == NULL)
        return;
    b->listed = true;
    prv_backend_point(b, peer);
    prv_store_retarget(s);
    prv_route_known(s);
}

/* What waits for a backend that is no primary any more waits for another. */
static void cluster_reroute(prv_store *s, prv_backend *b)
{
    prv_cmds waiting = b->pending;
    b->pending = (prv_cmds){NULL, NULL};
    for (prv_cmd *cmd = prv_cmds_take(&waiting); cmd != NULL; cmd = prv_cmds_take(&waiting)) {
        if (cmd->asking)
            prv_backend_add(b, cmd);
        else
            prv_route_cmd(s, cmd);
    }
}

void prv_route_slots(prv_store *s, const prv_slot_map *map)
{
    uint8_t place[PRV_PRIMARIES_MAX + 1] = {0};
    for (size_t i = 0; i < s->n_backends; i++)
        s->backends[i]->listed = false;
    for (size_t i = 0; i < map->n; i++) {
        prv_backend *b = backend_at(s, &map->peers[i]);
        if (b != NULL)
            b->listed = true;
        place[i + 1] = b != NULL ? place_of(s, b) : 0;
    }
    for (size_t i = 0; i < PRV_SLOTS; i++)
        s->slots[i] = place[map->slot[i]];
    for (size_t i = 0; i < s->n_backends; i++) {
        const prv_backend *b = s->backends[i];
        if (!(b->of != NULL ? b->of : b)->listed)
            cluster_reroute(s, s->backends[i]);
    }
    prv_store_retarget(s);
    prv_route_known(s);
}

/* ---- the turn */

static bool is_idle(const prv_backend *b)
{
    return b->pending.head == NULL && b->sent.head == NULL && b->held.head == NULL;
}

static void retire(prv_store *s, size_t i)
{
    prv_cmds none = {NULL, NULL};
    prv_link_close(s->backends[i], &none);
    prv_backend_free(s->backends[i]);
    for (size_t slot = 0; slot < PRV_SLOTS; slot++) { /* the last one took its place */
        if (s->slots[slot] == s->n_backends + 1)
            s->slots[slot] = (uint8_t)(i + 1);
    }
}

void prv_route_turn(prv_store *s, int64_t now)
{
    prv_cmds later = s->later;
    s->later = (prv_cmds){NULL, NULL};
    for (prv_cmd *cmd = prv_cmds_take(&later); cmd != NULL; cmd = prv_cmds_take(&later)) {
        if (cmd->first == NULL)
            cmd_fail(s, cmd);
        else if (cmd->due_ms <= now)
            prv_route_cmd(s, cmd);
        else
            prv_cmds_add(&s->later, cmd);
    }
    for (size_t i = 0; s->conf->topology == PRV_CLUSTER && i < s->n_backends;) {
        prv_backend *b = s->backends[i];
        bool gone = b->of == NULL && !b->listed && is_idle(b) && now - b->used_ms >= IDLE_MS;
        if (gone && b->writer == NULL) {
            retire(s, i);
        } else if (gone && is_idle(b->writer)) {
            retire(s, place_of(s, b->writer) - 1u);
            b->writer = NULL;
            i = 0;
        } else {
            i++;
        }
    }
}

int64_t prv_route_next(const prv_store *s)
{
    int64_t at = INT64_MAX;
    for (const prv_cmd *cmd = s->later.head; cmd != NULL; cmd = cmd->next)
        at = cmd->due_ms < at ? cmd->due_ms : at;
    return at;
}
