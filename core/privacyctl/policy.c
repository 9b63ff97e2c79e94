/* privacyctl policy check|show */
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

static bool load(ctl *c, const char *usage)
{
    if (!ctl_need_words(c, 1, 1, usage)) {
        return false;
    }
    c->policy_path = c->words.v[0].p;
    return ctl_need_policy(c);
}

int ctl_policy_check(ctl *c)
{
    if (!load(c, "policy check FILE [--strict]")) {
        return c->words.n == 1 ? CTL_FAILED : CTL_USAGE;
    }
    size_t n = 0;
    for (prv_str w; (w = prv_policy_warning(c->policy, n)).n > 0; n++) {
        fprintf(stderr, "warning: %.*s\n", (int)w.n, w.p);
    }
    prv_str id = prv_policy_id(c->policy);
    printf("%s: policy %.*s %.*s, %zu purposes, %zu vendors, %zu cookies, %zu warnings\n",
           c->policy_path, (int)id.n, id.p, (int)c->policy->version_text.n,
           c->policy->version_text.p, c->policy->n_purposes, c->policy->n_vendors,
           c->policy->n_cookies, n);
    return n > 0 && c->strict ? CTL_FAILED : CTL_OK;
}

int ctl_policy_show(ctl *c)
{
    if (!load(c, "policy show FILE")) {
        return c->words.n == 1 ? CTL_FAILED : CTL_USAGE;
    }
    char *text = prv_policy_json(c->policy);
    if (text == NULL) {
        return ctl_fail("no memory");
    }
    puts(text);
    free(text);
    return CTL_OK;
}
