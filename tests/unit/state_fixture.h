/* What the tests of records, tokens and decisions share: the policy of tests/vectors/decide, keys,
 * memory, a zone. */
#ifndef PRV_STATE_FIXTURE_H
#define PRV_STATE_FIXTURE_H

#include "request_fixture.h"

/* Secrets of the bytes 0, 1, .. 31 and 100, 101, .. 131. */
#define SF_KEY_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define SF_KEY_B "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoM"
#define SF_NOW (FIX_NOW_MS / 1000)
#define SF_ID "aaaqeayeaudaocajbifqydiob4"  /* of the bytes 0, 1, .. 15 */
#define SF_ID2 "caireeyuculbogazdinryhi6d4" /* of the bytes 16, 17, .. 31 */

typedef struct state_fixture {
    prv_policy *policy;
    prv_keyring *keys;
    prv_site site;
    prv_env env;
    prv_zone *zone;
    void *zone_memory;
    unsigned logged;
    char log[256];
    size_t n_blocks;
    void *blocks[1024];
    size_t fail_at; /* 0: never; n: the n-th allocation and all after it fail */
    uint8_t random; /* what the next random bytes begin with */
} state_fixture;

void sf_open(state_fixture *f);
/* Memory freed, log empty, keys `token a`, no store, an empty zone. */
void sf_reset(state_fixture *f);
void sf_close(state_fixture *f);
prv_keyring *sf_keys(const char *text);

/* Names separated by spaces or commas; fails the test on an unknown one. */
uint32_t sf_mask(const prv_policy *policy, prv_str names);
/* The reverse, policy order, spaces. */
const char *sf_names(const prv_policy *policy, uint32_t mask);
uint8_t sf_signals(prv_str names);
long long sf_number(prv_str text);
/* Fails the test with the vector's place unless the two are equal. */
void sf_same(const vec_case *c, const char *key, prv_str got);

#endif
