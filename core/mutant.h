/*
 * Mistakes on purpose. `make MUTANTS=1` builds modules that make one of them, named by PRV_MUTANT in the environment of the
 * server, so that tests/faults/ can show that its checker sees it. In every other build PRV_MUTANT(name) is `false` and
 * nothing of this file is compiled; tests/guards/check_mutants.py holds that of what is shipped.
 *
 *   no-seq-compare   what was last seen counts for more than a later cookie
 *   ack-early        a choice is acknowledged without the store's reply
 *   serve-stale      invalidations are not heard
 *   drop-epoch       what was kept before the link was lost is authoritative again after it
 *   poll             entries are trusted until the end of a two-second slice, whatever is pushed
 */
#ifndef PRV_MUTANT_H
#define PRV_MUTANT_H

#ifdef PRV_MUTANTS
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char prv_mutant_name[32];

/* When the module is loaded: nginx takes the environment from its workers. */
__attribute__((constructor, unused)) static void prv_mutant_choose(void)
{
    const char *name = getenv("PRV_MUTANT");
    if (name != NULL && strlen(name) < sizeof prv_mutant_name)
        memcpy(prv_mutant_name, name, strlen(name) + 1);
}

static inline uint32_t prv_mutant_slice(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ((uint32_t)(ts.tv_sec / 2) & 0xfffffffu) | 1u << 30;
}

#define PRV_MUTANT(name) (strcmp(prv_mutant_name, name) == 0)
#else
#define PRV_MUTANT(name) false
#endif

#endif
