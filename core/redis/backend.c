/* A backend: one Redis, its breaker, and what is said about it. */
#include "store.h"

#include <stdlib.h>

#define SAY_AGAIN_MS 1000 /* a flapping Redis is one line a second */

prv_backend *prv_backend_new(prv_store *s, const prv_peer *peer, prv_cell *cell)
{
    prv_backend *b = s->n_backends < PRV_BACKENDS_MAX ? calloc(1, sizeof *b) : NULL;
    if (b == NULL)
        return NULL;
    b->store = s;
    b->peer = *peer;
    b->cell = cell;
    b->lost_said_ms = prv_store_now(s) - SAY_AGAIN_MS;
    s->backends[s->n_backends++] = b;
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
    cmd->backend = b;
    cmd->sent_ms = 0;
    prv_cmds_add(&b->pending, cmd);
}

void prv_backend_lost(prv_backend *b, const char *why)
{
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
    if (ready && (b->pending.head != NULL || b->probe))
        return now;
    int64_t at = !ready || b->sent.head != NULL ? b->deadline : INT64_MAX;
    int64_t due = prv_cell_due(b->cell);
    return wanted && due != 0 && due < at ? due : at;
}
