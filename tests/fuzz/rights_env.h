/* What the targets of core/rights share: a policy, memory that is freed after each input, checks
 * that abort. */
#ifndef PRV_FUZZ_RIGHTS_ENV_H
#define PRV_FUZZ_RIGHTS_ENV_H

#include <stdlib.h>
#include <string.h>

#include "rights/form.h"

static inline void rights_check(bool ok)
{
    if (!ok)
        abort();
}

static inline const prv_policy *rights_policy(void)
{
    static prv_policy *policy;
    static const char text[] =
        "{\"schema\":1,\"policy\":{\"id\":\"f\",\"version\":\"2024-03-15\"},\"purposes\":{"
        "\"necessary\":{\"basis\":\"contract\"},\"security\":{\"basis\":\"legitimate_interests\"},"
        "\"statistics\":{\"basis\":\"consent\"},\"marketing\":{\"basis\":\"consent\",\"sale\":true}"
        ","
        "\"old\":{\"basis\":\"consent\",\"off\":true}},\"jurisdictions\":{\"*\":{\"default\":"
        "\"deny\"}}}";
    prv_error err;
    if (policy == NULL)
        rights_check(prv_policy_compile(PRV_STR(text), "fuzz", &policy, &err) == PRV_OK);
    return policy;
}

static void *rights_blocks[16];
static size_t rights_n_blocks;

static inline void *rights_alloc(void *ctx, size_t n)
{
    (void)ctx;
    rights_check(rights_n_blocks < 16);
    return rights_blocks[rights_n_blocks++] = malloc(n);
}

static inline void rights_free(void)
{
    while (rights_n_blocks > 0)
        free(rights_blocks[--rights_n_blocks]);
}

static const prv_env rights_env = {.alloc = rights_alloc};

static inline void rights_check_consent(const prv_consent_input *in)
{
    const uint32_t all = prv_refusable(rights_policy());
    rights_check((in->grant & in->refuse) == 0 && ((in->grant | in->refuse) & ~all) == 0);
    rights_check(in->return_path.n == 0 || prv_return_valid(in->return_path));
    rights_check(!in->everything || in->grant == 0);
}

#endif
