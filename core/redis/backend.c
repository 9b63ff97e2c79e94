/* A backend: one Redis, its breaker, and what is said about it. */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#define SAY_AGAIN_MS 1000 /* a flapping Redis is one line a second */

static prv_cell *backend_cell(prv_backend *b)
{
    prv_store *s = b->store;
    if (s->conf->topology == PRV_STANDALONE)
        return s->cell;
    prv_str label = {b->peer.label, strlen(b->peer.label)};
    return s->zone != NULL ? prv_zone_cell(s->zone, prv_fnv64(PRV_FNV64_SEED, label)) : &b->own;
}

static prv_backend *backend_make(prv_store *s, const prv_peer *peer)
{
    prv_backend *b = s->n_backends < PRV_BACKENDS_MAX ? calloc(1, sizeof *b) : NULL;
    if (b == NULL)
        return NULL;
    b->store = s;
    b->peer = *peer;
    b->cell = backend_cell(b);
    b->listed = s->conf->topology == PRV_STANDALONE;
    b->lost_said_ms = prv_store_now(s) - SAY_AGAIN_MS;
    s->backends[s->n_backends++] = b;
    return b;
}

prv_backend *prv_backend_new(prv_store *s, const prv_peer *peer)
{
    prv_backend *b = backend_make(s, peer);
    if (b == NULL || s->conf->wait == 0)
        return b;
    b->writer = backend_make(s, peer);
    if (b->writer == NULL) {
        prv_backend_free(b);
        return NULL;
    }
    b->writer->of = b;
    b->writer->cell = b->cell;
    b->writer->listed = false; /* it is the other one that probes */
    return b;
}

void prv_backend_free(prv_backend *b)
{
    prv_store *s = b->store;
    for (size_t i = 0; i < s->n_backends; i++) {
        if (s->backends[i] == b) {
            s->backends[i] = s->backends[--s->n_backends];
            break;
        }
    }
    free(b);
}

void prv_backend_add(prv_backend *b, prv_cmd *cmd)
{
    if (b->writer != NULL && cmd->op->kind == PRV_OP_CHANGE)
        b = b->writer;
    cmd->backend = b;
    cmd->sent_ms = 0;
    b->used_ms = prv_store_now(b->store);
    prv_cmds_add(&b->pending, cmd);
}

void prv_backend_lost(prv_backend *b, const char *why)
{
    b->probing = false;
    b = b->of != NULL ? b->of : b;
    prv_store *s = b->store;
    int64_t now = prv_store_now(s);
    if (prv_cell_report(b->cell, false, now))
        prv_count(s->zone, PRV_TICK_BREAKER_OPENED);
    b->probing = false;
    b->lost = true;
    if (!b->lost_said && now - b->lost_said_ms >= SAY_AGAIN_MS) {
        b->lost_said = true;
        b->lost_said_ms = now;
        prv_store_say(s, PRV_LOG_WARN, "Redis at %s %s; deciding without it", b->peer.label, why);
    }
}

void prv_backend_regained(prv_backend *b)
{
    b->probing = false;
    b = b->of != NULL ? b->of : b;
    prv_store *s = b->store;
    int64_t now = prv_store_now(s);
    prv_cell_report(b->cell, true, now);
    b->probing = false;
    b->lost = false;
    if (b->lost_said) {
        b->lost_said = false;
        prv_store_say(s, PRV_LOG_NOTICE, "Redis at %s answers again", b->peer.label);
    }
    prv_queue_wake(s, now);
}

int64_t prv_backend_next(const prv_backend *b, int64_t now, bool wanted)
{
    bool ready = b->link == PRV_LINK_DOWN || b->link == PRV_LINK_UP;
    bool turn =
        b->of == NULL || b->sent.head == NULL; /* a writer writes once the replicas have said */
    if (ready && turn && !b->left && (b->pending.head != NULL || b->probe))
        return now;
    int64_t at = !ready || b->sent.head != NULL ? b->deadline : INT64_MAX;
    int64_t due = prv_cell_due(b->cell);
    return wanted && b->listed && due != 0 && due < at ? due : at;
}

/* The connection is closed, and what was on it is to be sent again: every operation may be. */
static void backend_rewind(prv_backend *b)
{
    prv_cmds on = {NULL, NULL}, again = {NULL, NULL};
    prv_link_close(b, &on);
    for (prv_cmd *cmd = prv_cmds_take(&on); cmd != NULL; cmd = prv_cmds_take(&on)) {
        if (cmd->kind != PRV_CMD_OP || (cmd->first == NULL && !cmd->undoing)) {
            prv_cmd_free(b->store, cmd);
            continue;
        }
        if (cmd->reply != NULL)
            freeReplyObject(cmd->reply);
        cmd->reply = NULL;
        cmd->sent_ms = 0;
        prv_cmds_add(&again, cmd);
    }
    prv_cmds_append(&again, &b->pending);
    b->pending = again;
    b->probe = b->probe || b->probing;
    b->probing = false;
}

void prv_backend_point(prv_backend *b, const prv_peer *peer)
{
    b->left = false;
    if (!prv_peer_same(&b->peer, peer)) {
        backend_rewind(b);
        b->peer = *peer;
        b->cell = b->of != NULL ? b->of->cell : backend_cell(b);
        b->addr = 0;
        b->refused[0] = b->refused[1] = b->unkept_said = false;
    }
    if (b->writer != NULL)
        prv_backend_point(b->writer, peer);
}

void prv_backend_leave(prv_backend *b)
{
    b = b->of != NULL ? b->of : b;
    b->left = true;
    backend_rewind(b);
    if (b->writer != NULL) {
        b->writer->left = true;
        backend_rewind(b->writer);
    }
}
