/* Questions that requests ask a compiled policy; nothing here allocates. */
#include "compile.h"

#include <string.h>

/* What `privacy report;` without a policy file decides by: no purposes, nothing classified. */
static const prv_jurisdiction empty_rest = {.name = {"*", 1}, .opt_in = true};
static const prv_policy empty = {
    .unknown_cookies = PRV_UNKNOWN_REPORT,
    .n_jurisdictions = 1,
    .jurisdictions = &empty_rest,
    .lifetimes = PRV_LIFETIMES_DEFAULT,
};

const prv_policy *prv_policy_empty(void)
{
    return &empty;
}

prv_str prv_policy_id(const prv_policy *policy)
{
    return policy->id;
}

int prv_policy_purpose(const prv_policy *policy, prv_str name)
{
    for (size_t i = 0; i < policy->n_purposes; i++) {
        if (prv_str_same(policy->purposes[i].name, name)) {
            return (int)i;
        }
    }
    return -1;
}

int prv_policy_vendor(const prv_policy *policy, prv_str name)
{
    for (size_t i = 0; i < policy->n_vendors; i++) {
        if (prv_str_same(policy->vendors[i].name, name)) {
            return (int)i;
        }
    }
    return -1;
}

prv_str prv_policy_warning(const prv_policy *policy, size_t i)
{
    return i < policy->n_warnings ? policy->warnings[i] : PRV_NONE;
}

prv_str prv_policy_url(const prv_policy *policy)
{
    return policy->url;
}

prv_str prv_header_link(const prv_policy *policy)
{
    return policy->link;
}

bool prv_policy_names_dnt(const prv_policy *policy)
{
    return policy->listens_dnt != 0;
}

/* ---- regions */

static bool alpha(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

prv_region prv_region_parse(prv_str text)
{
    prv_region out = {0};
    const prv_region unknown = {0};
    if (text.n < 2 || text.n > 6 || text.n == 3 || !alpha(text.p[0]) || !alpha(text.p[1]) ||
        (text.n > 2 && text.p[2] != '-')) {
        return unknown;
    }
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (i > 2 && !alpha(c) && !(c >= '0' && c <= '9')) {
            return unknown;
        }
        out.c[i] = c >= 'a' && c <= 'z' ? (char)(c - 0x20) : c;
    }
    /* What geolocation says when it does not know; ISO 3166 gives both to nobody. */
    if (memcmp(out.c, "XX", 2) == 0 || memcmp(out.c, "ZZ", 2) == 0) {
        return unknown;
    }
    out.n = (uint8_t)text.n;
    return out;
}

bool prv_region_covers(prv_region outer, prv_region inner)
{
    if (outer.n == 0 || outer.n > sizeof outer.c || inner.n < outer.n) {
        return false;
    }
    return memcmp(outer.c, inner.c, outer.n) == 0 &&
           (inner.n == outer.n || (outer.n == 2 && inner.c[2] == '-'));
}

size_t prv_policy_jurisdiction(const prv_policy *policy, prv_region region)
{
    size_t rest = policy->n_jurisdictions - 1, best = rest;
    unsigned length = 0;
    for (size_t i = 0; region.n > 0 && i < rest; i++) {
        const prv_jurisdiction *j = &policy->jurisdictions[i];
        for (size_t k = 0; k < j->n_regions; k++) {
            if (j->regions[k].n > length && prv_region_covers(j->regions[k], region)) {
                length = j->regions[k].n;
                best = i;
            }
        }
    }
    return best;
}

static unsigned greater(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

unsigned prv_policy_age_min(const prv_policy *policy, prv_region region)
{
    unsigned age = 0, length = 0;
    if (!policy->has_age) {
        return 0;
    }
    for (size_t i = 0; region.n > 0 && i < policy->n_age_regions; i++) {
        const prv_age_region *entry = &policy->age_regions[i];
        if (entry->region.n > length && prv_region_covers(entry->region, region)) {
            length = entry->region.n;
            age = entry->age;
        }
    }
    if (length == 0 &&
        (region.n == 0 || policy->jurisdictions[prv_policy_jurisdiction(policy, region)].opt_in)) {
        age = policy->age_unknown;
    }
    return greater(policy->age_minimum, age);
}
