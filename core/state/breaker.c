/* The breaker: after a failure nobody asks Redis until one probe at a time finds it well again. */
#include "zone.h"

#define FIRST_MS 100   /* a restart of Redis takes about this long */
#define LAST_MS 450    /* recovery is to be noticed within a second, jitter and a probe included */
#define LEASE_MS 2000  /* a probe takes at most a second; after this its process is dead */
#define AHEAD_MS 10000 /* a time further ahead is of another clock: do not wait for it */
#define FAILURES_MAX 127u

static uint64_t cell_pack(int64_t due_ms, uint64_t failures, bool probing)
{
    uint64_t due = due_ms > 0 ? (uint64_t)due_ms : 1;
    return due << 8 | failures << 1 | (probing ? 1 : 0);
}

/* 100, 200, 400, 450, ... each between 75 and 125 per cent, so that nodes do not knock in step. */
static int64_t cell_delay(uint64_t failures, int64_t mono_ms)
{
    int64_t delay = failures > 3 ? LAST_MS : FIRST_MS << (failures - 1);
    if (delay > LAST_MS) {
        delay = LAST_MS;
    }
    uint64_t jitter = prv_mix64((uint64_t)mono_ms ^ failures << 56) % (uint64_t)(delay / 2);
    return delay - delay / 4 + (int64_t)jitter;
}

int64_t prv_cell_due(const prv_cell *cell)
{
    return (int64_t)(atomic_load_explicit(&cell->word, memory_order_acquire) >> 8);
}

prv_breaker prv_cell_ask(prv_cell *cell, int64_t mono_ms)
{
    uint64_t word = atomic_load_explicit(&cell->word, memory_order_acquire);
    if (word == 0) {
        return PRV_BREAKER_CLOSED;
    }
    int64_t due = (int64_t)(word >> 8);
    if (mono_ms < due && due - mono_ms <= AHEAD_MS) {
        return PRV_BREAKER_OPEN;
    }
    uint64_t probing = cell_pack(mono_ms + LEASE_MS, (word >> 1) & FAILURES_MAX, true);
    return atomic_compare_exchange_strong(&cell->word, &word, probing) ? PRV_BREAKER_PROBE
                                                                       : PRV_BREAKER_OPEN;
}

/* Of several failures at once only the first one counts: a second one finds the breaker open, with
 * no probe under way, and changes nothing. */
bool prv_cell_report(prv_cell *cell, bool ok, int64_t mono_ms)
{
    if (ok) {
        atomic_store_explicit(&cell->word, 0, memory_order_release);
        return false;
    }
    uint64_t word = atomic_load_explicit(&cell->word, memory_order_acquire);
    if (word != 0 && (word & 1) == 0) {
        return false;
    }
    const bool was_closed = word == 0;
    uint64_t failures = (word >> 1) & FAILURES_MAX;
    if (failures < FAILURES_MAX) {
        failures++;
    }
    uint64_t open = cell_pack(mono_ms + cell_delay(failures, mono_ms), failures, false);
    return atomic_compare_exchange_strong(&cell->word, &word, open) && was_closed;
}

prv_cell *prv_zone_cell(prv_zone *zone, uint64_t name)
{
    name += name == 0;
    for (unsigned i = 0; i < PRV_CELLS; i++) {
        prv_named_cell *at = &zone->cells[(prv_mix64(name) + i) % PRV_CELLS];
        uint64_t is = atomic_load_explicit(&at->name, memory_order_relaxed);
        if (is == name ||
            (is == 0 && (atomic_compare_exchange_strong(&at->name, &is, name) || is == name)))
            return &at->cell;
    }
    return &zone->cells[prv_mix64(name) % PRV_CELLS].cell;
}

prv_breaker prv_breaker_ask(prv_zone *zone, int64_t mono_ms)
{
    return zone == NULL ? PRV_BREAKER_CLOSED : prv_cell_ask(&zone->breaker, mono_ms);
}

void prv_breaker_report(prv_zone *zone, bool ok, int64_t mono_ms)
{
    if (zone != NULL) {
        prv_cell_report(&zone->breaker, ok, mono_ms);
    }
}
