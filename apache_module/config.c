/* Configuration: defaults and merging. The nearest level wins, a child's list replaces the
 * parent's. */
#include "mod_privacy.h"

#define POLICIES_KEY "mod_privacy policies"
#define USES_KEY "mod_privacy uses"

prv_dir_conf *prv_dir_of(const request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &privacy_module);
}

prv_server_conf *prv_server_of(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &privacy_module);
}

void *prv_dir_create(apr_pool_t *p, char *path)
{
    (void)path;
    prv_dir_conf *conf = apr_pcalloc(p, sizeof(*conf));
    conf->mode = PRV_MODE_UNSET;
    conf->failure_deny = PRV_UNSET;
    conf->forward = PRV_UNSET;
    conf->endpoint = PRV_UNSET;
    conf->well_known = PRV_UNSET;
    conf->status = PRV_UNSET;
    return conf;
}

#define NEAREST(field, unset) conf->field = add->field != (unset) ? add->field : base->field

void *prv_dir_merge(apr_pool_t *p, void *base_, void *add_)
{
    const prv_dir_conf *base = base_;
    const prv_dir_conf *add = add_;
    prv_dir_conf *conf = apr_pcalloc(p, sizeof(*conf));
    NEAREST(mode, PRV_MODE_UNSET);
    NEAREST(failure_deny, PRV_UNSET);
    NEAREST(forward, PRV_UNSET);
    NEAREST(well_known, PRV_UNSET);
    NEAREST(status, PRV_UNSET);
    NEAREST(subject, NULL);
    NEAREST(require, NULL);
    NEAREST(vendor, NULL);
    NEAREST(scrub, NULL);
    /* These come in pairs. */
    const prv_dir_conf *endpoint = add->endpoint != PRV_UNSET ? add : base;
    conf->endpoint = endpoint->endpoint;
    conf->mount = endpoint->mount;
    const prv_dir_conf *region = add->region ? add : base;
    conf->region = region->region;
    conf->region_fields = region->region_fields;
    const prv_dir_conf *age = add->min_age ? add : base;
    conf->min_age = age->min_age;
    conf->age_answer = age->age_answer;
    return conf;
}

void *prv_server_create(apr_pool_t *p, server_rec *s)
{
    (void)s;
    return apr_pcalloc(p, sizeof(prv_server_conf));
}

void *prv_server_merge(apr_pool_t *p, void *base_, void *add_)
{
    const prv_server_conf *base = base_;
    const prv_server_conf *add = add_;
    /* What only the main server may set is the same everywhere. */
    prv_server_conf *conf = apr_pmemdup(p, base, sizeof(*base));
    NEAREST(policy, NULL);
    NEAREST(keys, NULL);
    NEAREST(cookie, NULL);
    NEAREST(limit, NULL);
    NEAREST(home, NULL);
    /* Of the server's locations the one that asks for most: `on`, then `report`. */
    if (add->strongest == PRV_MODE_ON ||
        (add->strongest == PRV_MODE_REPORT && base->strongest == PRV_MODE_OFF)) {
        conf->strongest = add->strongest;
        conf->strongest_at = add->strongest_at;
    }
    conf->site.subject |= add->site.subject;
    conf->site.ages[0] |= add->site.ages[0];
    conf->site.ages[1] |= add->site.ages[1];
    return conf;
}

static apr_status_t policies_cleanup(void *set)
{
    prv_policies_free(set);
    return APR_SUCCESS;
}

prv_policies *prv_policies_of(apr_pool_t *pconf)
{
    void *set = NULL;
    apr_pool_userdata_get(&set, POLICIES_KEY, pconf);
    if (!set) {
        set = prv_policies_new();
        if (set) {
            apr_pool_cleanup_register(pconf, set, policies_cleanup, apr_pool_cleanup_null);
            apr_pool_userdata_setn(set, POLICIES_KEY, NULL, pconf);
        }
    }
    return set;
}

apr_array_header_t *prv_uses_of(apr_pool_t *pconf)
{
    void *uses = NULL;
    apr_pool_userdata_get(&uses, USES_KEY, pconf);
    if (!uses) {
        uses = apr_array_make(pconf, 8, sizeof(prv_use));
        apr_pool_userdata_setn(uses, USES_KEY, NULL, pconf);
    }
    return uses;
}

const prv_bound *prv_named_under(const prv_named *named, const prv_policy *policy)
{
    for (int i = 0; i < named->bound->nelts; i++) {
        const prv_bound *bound = &APR_ARRAY_IDX(named->bound, i, prv_bound);
        if (bound->policy == policy) {
            return bound;
        }
    }
    return NULL;
}
