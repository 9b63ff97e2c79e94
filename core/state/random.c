/* The default source of randomness, from libcrypto. */
#include "state.h"

#include <limits.h>

#include <openssl/rand.h>

bool prv_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    return n <= INT_MAX && RAND_bytes(out, (int)n) == 1;
}
