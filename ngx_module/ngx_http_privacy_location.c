/*
 * What a location says, and merging: the nearest level wins, a child's list replaces its parent's.
 */
#include "ngx_http_privacy.h"

void *ngx_http_privacy_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_privacy_loc_conf_t *lcf = ngx_pcalloc(cf->pool, sizeof(*lcf));
    if (lcf == NULL) {
        return NULL;
    }
    lcf->mode = NGX_CONF_UNSET_UINT;
    lcf->store_failure = NGX_CONF_UNSET_UINT;
    lcf->forward = NGX_CONF_UNSET;
    lcf->region = NGX_CONF_UNSET_PTR;
    lcf->subject = NGX_CONF_UNSET_PTR;
    lcf->min_age = NGX_CONF_UNSET_UINT;
    lcf->endpoint = NGX_CONF_UNSET;
    lcf->well_known = NGX_CONF_UNSET;
    lcf->status = NGX_CONF_UNSET;
    prv_rules_init(&lcf->rules);
    return lcf;
}

/* `$http_x_region` reads X-Region. `at` to `end` is what stands behind `http_`. */
static ngx_int_t region_field(ngx_conf_t *cf, ngx_http_privacy_loc_conf_t *lcf, const u_char *at,
                              const u_char *end)
{
    size_t n = (size_t)(end - at);
    u_char *name = ngx_pnalloc(cf->pool, n);
    ngx_uint_t first = 1;

    if (lcf->region_fields == NULL) {
        lcf->region_fields = ngx_array_create(cf->pool, 1, sizeof(prv_str));
    }
    prv_str *field = lcf->region_fields ? ngx_array_push(lcf->region_fields) : NULL;
    if (name == NULL || field == NULL) {
        return NGX_ERROR;
    }
    for (size_t i = 0; i < n; i++) {
        u_char c = at[i] == '_' ? '-' : first ? ngx_toupper(at[i]) : ngx_tolower(at[i]);
        first = c == '-';
        name[i] = c;
    }
    *field = (prv_str){(const char *)name, n};
    return NGX_OK;
}

static ngx_uint_t in_name(u_char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
}

char *ngx_http_privacy_set_region(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_loc_conf_t *lcf = conf;
    const ngx_str_t *value = cf->args->elts;
    const u_char *p = value[1].data, *end = p + value[1].len;
    char *rv = ngx_http_set_complex_value_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }
    while (p < end) {
        if (*p++ != '$') {
            continue;
        }
        p += p < end && *p == '{';
        const u_char *from = p;
        while (p < end && in_name(*p)) {
            p++;
        }
        if (p - from > 5 &&
            ngx_strncasecmp((u_char *)(uintptr_t)from, (u_char *)(uintptr_t) "http_", 5) == 0 &&
            region_field(cf, lcf, from + 5, p) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }
    return NGX_CONF_OK;
}

char *ngx_http_privacy_set_require(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_loc_conf_t *lcf = conf;
    prv_error err;
    size_t n;
    (void)cmd;
    if (lcf->require) {
        return "is duplicate";
    }
    const prv_str *args = ngx_http_privacy_args(cf, &n);
    lcf->require = ngx_pcalloc(cf->pool, sizeof(*lcf->require));
    if (args == NULL || lcf->require == NULL) {
        return NGX_CONF_ERROR;
    }
    ngx_http_privacy_place(cf, &lcf->require_place);
    if (prv_require_parse(args, n, lcf->require, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

char *ngx_http_privacy_set_min_age(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_loc_conf_t *lcf = conf;
    unsigned min_age;
    prv_error err;
    size_t n;
    (void)cmd;
    if (lcf->min_age != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }
    const prv_str *args = ngx_http_privacy_args(cf, &n);
    if (args == NULL) {
        return NGX_CONF_ERROR;
    }
    if (prv_min_age_parse(args, n, &min_age, &lcf->age_answer, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    lcf->min_age = min_age;
    ngx_http_privacy_place(cf, &lcf->age_place);
    return NGX_CONF_OK;
}

char *ngx_http_privacy_set_vendor(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_loc_conf_t *lcf = conf;
    ngx_http_privacy_place(cf, &lcf->vendor_place);
    return ngx_conf_set_str_slot(cf, cmd, conf);
}

char *ngx_http_privacy_set_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_loc_conf_t *lcf = conf;
    char *rv = ngx_conf_set_flag_slot(cf, &(ngx_command_t){.offset = cmd->offset}, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }
    if (*(ngx_flag_t *)(void *)((u_char *)conf + cmd->offset)) {
        ngx_http_core_loc_conf_t *clcf =
            ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
        clcf->handler = (ngx_http_handler_pt)(uintptr_t)cmd->post;
        ngx_http_privacy_place(cf, &lcf->endpoint_place);
    }
    return NGX_CONF_OK;
}

char *ngx_http_privacy_set_scrub(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_loc_conf_t *lcf = conf;
    size_t n;
    (void)cmd;
    if (lcf->scrub) {
        return "is duplicate";
    }
    const prv_str *args = ngx_http_privacy_args(cf, &n);
    lcf->scrub = ngx_array_create(cf->pool, n, sizeof(prv_str));
    if (args == NULL || lcf->scrub == NULL) {
        return NGX_CONF_ERROR;
    }
    prv_str *to = ngx_array_push_n(lcf->scrub, n);
    ngx_memcpy(to, args, n * sizeof(prv_str));
    return NGX_CONF_OK;
}

/* ---- merging a location */

static void merge_values(const ngx_http_privacy_loc_conf_t *prev, ngx_http_privacy_loc_conf_t *lcf)
{
    ngx_conf_merge_uint_value(lcf->mode, prev->mode, PRV_MODE_OFF);
    ngx_conf_merge_uint_value(lcf->store_failure, prev->store_failure, 0);
    ngx_conf_merge_value(lcf->forward, prev->forward, 1);
    if (lcf->region == NGX_CONF_UNSET_PTR) {
        lcf->region_fields = prev->region_fields;
    }
    ngx_conf_merge_ptr_value(lcf->region, prev->region, NULL);
    if (lcf->subject == NGX_CONF_UNSET_PTR) {
        lcf->client_verify = prev->client_verify;
    }
    ngx_conf_merge_ptr_value(lcf->subject, prev->subject, NULL);
    if (lcf->require == NULL) {
        lcf->require = prev->require;
        lcf->require_place = prev->require_place;
    }
    if (lcf->min_age == NGX_CONF_UNSET_UINT) {
        lcf->min_age = prev->min_age == NGX_CONF_UNSET_UINT ? 0 : prev->min_age;
        lcf->age_answer = prev->age_answer;
    }
    if (lcf->vendor.data == NULL) {
        lcf->vendor = prev->vendor;
        lcf->vendor_place = prev->vendor_place;
    }
    if (lcf->scrub == NULL) {
        lcf->scrub = prev->scrub;
    }
}

/* What answers here by a directive of ours; NULL: nothing. */
static ngx_http_handler_pt own_handler(const ngx_http_privacy_loc_conf_t *lcf)
{
    return lcf->endpoint     ? ngx_http_privacy_endpoint_handler
           : lcf->well_known ? ngx_http_privacy_well_known_handler
           : lcf->status     ? ngx_http_privacy_status_handler
                             : NULL;
}

/* `limit_except` and `if` make nameless locations that act for the one around them. */
static void merge_endpoint(ngx_conf_t *cf, const ngx_http_privacy_loc_conf_t *prev,
                           ngx_http_privacy_loc_conf_t *lcf)
{
    ngx_http_core_loc_conf_t *clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    ngx_conf_merge_value(lcf->endpoint, clcf->noname ? prev->endpoint : 0, 0);
    ngx_conf_merge_value(lcf->well_known, clcf->noname ? prev->well_known : 0, 0);
    ngx_conf_merge_value(lcf->status, clcf->noname ? prev->status : 0, 0);
    if (clcf->noname && clcf->handler == NULL && own_handler(lcf)) {
        lcf->mount = prev->mount;
        clcf->handler = own_handler(lcf);
    }
}

static char *merge_mount(ngx_conf_t *cf, ngx_http_privacy_srv_conf_t *scf,
                         ngx_http_privacy_loc_conf_t *lcf)
{
    ngx_http_core_loc_conf_t *clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    ngx_uint_t prefix = clcf->name.len && clcf->name.data[clcf->name.len - 1] == '/';

    if (own_handler(lcf) == NULL) {
        return NGX_CONF_OK;
    }
    if (lcf->mode == PRV_MODE_OFF && lcf->endpoint) {
        return ngx_http_privacy_fail_at(
            cf, &lcf->endpoint_place,
            "privacy_endpoint needs \"privacy on\" or \"privacy report\" here");
    }
    /* Such a location is never gated, so nothing else may answer there. */
    if (clcf->handler != own_handler(lcf)) {
        return ngx_http_privacy_fail_at(
            cf, &lcf->endpoint_place,
            lcf->endpoint ? "privacy_endpoint stands beside another directive that answers requests"
            : lcf->well_known
                ? "privacy_well_known stands beside another directive that answers requests"
                : "privacy_status stands beside another directive that answers requests");
    }
#if (NGX_PCRE)
    prefix = prefix && clcf->regex == NULL;
#endif
    if (lcf->mount.n == 0) {
        lcf->mount = prefix ? ngx_http_privacy_view(&clcf->name) : scf->home;
    }
    if (lcf->endpoint && lcf->mount.n == scf->home.n &&
        ngx_memcmp(lcf->mount.p, scf->home.p, scf->home.n) == 0) {
        scf->home_served = 1;
    }
    return NGX_CONF_OK;
}

static char *merge_rules(ngx_conf_t *cf, const ngx_http_privacy_srv_conf_t *scf,
                         ngx_http_privacy_loc_conf_t *lcf)
{
    ngx_http_privacy_main_conf_t *mcf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_privacy_module);
    const prv_policy *policy = scf->policy ? scf->policy : prv_policy_empty();
    prv_rules *rules = &lcf->rules;
    prv_error err;

    rules->mode = (prv_mode)lcf->mode;
    rules->store_failure_deny = lcf->store_failure != 0;
    rules->forward = lcf->forward != 0;
    rules->exempt = own_handler(lcf) != NULL;
    rules->min_age = (uint8_t)lcf->min_age;
    rules->age_answer = lcf->age_answer;
    if (lcf->require) {
        if (prv_require_resolve(lcf->require, policy, &rules->require, &err) != PRV_OK) {
            return ngx_http_privacy_fail_at(cf, &lcf->require_place, err.text);
        }
        rules->require_answer = lcf->require->answer;
    }
    if (lcf->vendor.data) {
        rules->vendor = prv_policy_vendor(policy, ngx_http_privacy_view(&lcf->vendor));
        if (rules->vendor < 0) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "privacy_vendor: the policy has no vendor \"%V\" in %s:%ui", &lcf->vendor,
                          lcf->vendor_place.file, lcf->vendor_place.line);
            return NGX_CONF_ERROR;
        }
        mcf->vendors = 1;
    }
    return NGX_CONF_OK;
}

/* A gate that does not hold is worth a word; only where it is written, not where it is inherited.
 */
static void warn_idle(ngx_conf_t *cf, const char *name, const ngx_http_privacy_place_t *place)
{
    if (place->file) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "%s has no effect because privacy is off here, in %s:%ui", name, place->file,
                      place->line);
    }
}

char *ngx_http_privacy_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    const ngx_http_privacy_loc_conf_t *prev = parent;
    ngx_http_privacy_loc_conf_t *lcf = child;
    ngx_http_privacy_srv_conf_t *scf =
        ngx_http_conf_get_module_srv_conf(cf, ngx_http_privacy_module);

    if (lcf->mode == PRV_MODE_OFF || (lcf->mode == NGX_CONF_UNSET_UINT &&
                                      prev->mode != PRV_MODE_ON && prev->mode != PRV_MODE_REPORT)) {
        warn_idle(cf, "privacy_require", &lcf->require_place);
        warn_idle(cf, "privacy_min_age", &lcf->age_place);
        warn_idle(cf, "privacy_vendor", &lcf->vendor_place);
    }
    merge_values(prev, lcf);
    merge_endpoint(cf, prev, lcf);
    if (merge_mount(cf, scf, lcf) != NGX_CONF_OK || merge_rules(cf, scf, lcf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }
    prv_site_age(&scf->site, lcf->rules.min_age);
    scf->site.subject |= lcf->subject != NULL && lcf->mode != PRV_MODE_OFF;
    if (lcf->mode == PRV_MODE_ON || scf->strongest == PRV_MODE_OFF) {
        scf->strongest = (prv_mode)lcf->mode;
    }
    return NGX_CONF_OK;
}
