/*
 * $privacy_* variables, and core variables that must not show what a location may not pass on.
 */
#include "ngx_http_privacy.h"

static ngx_int_t set_value(ngx_http_variable_value_t *v, prv_str s)
{
    v->len = (unsigned)(s.n & 0xfffffff);
    v->data = (u_char *)(uintptr_t)s.p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    return NGX_OK;
}

static void *plain_alloc(void *ctx, size_t n)
{
    const ngx_http_request_t *r = ctx;
    return ngx_palloc(r->pool, n);
}

/* Where privacy is off for the whole server only what needs no decision has a value. */
static ngx_int_t variable_off(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                              prv_var_input *in, prv_var var)
{
    prv_env env = {.ctx = r, .alloc = plain_alloc, .random = prv_random};
    prv_site site = {.policy = prv_policy_empty()};
    prv_request rq;
    prv_decision d;

    if (var != PRV_VAR_ADDR && var != PRV_VAR_REQUEST_URI) {
        v->not_found = 1;
        return NGX_OK;
    }
    ngx_memzero(&rq, sizeof(rq));
    ngx_memzero(&d, sizeof(d));
    rq.env = &env;
    rq.site = &site;
    in->rq = &rq;
    in->d = &d;
    return set_value(v, prv_variable(var, in));
}

static ngx_int_t variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    const ngx_http_privacy_loc_conf_t *lcf = ngx_http_privacy_loc(r);
    prv_var_input in = {.rules = &lcf->rules,
                        .addr = ngx_http_privacy_view(&r->connection->addr_text),
                        .uri = ngx_http_privacy_view(&r->unparsed_uri)};
    if (lcf->scrub) {
        in.scrub = lcf->scrub->elts;
        in.n_scrub = lcf->scrub->nelts;
    }
    if (ngx_http_privacy_srv(r)->strongest == PRV_MODE_OFF) {
        return variable_off(r, v, &in, (prv_var)data);
    }
    const ngx_http_privacy_ctx_t *ctx = ngx_http_privacy_decide(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }
    in.rq = &ctx->st->rq;
    in.d = &ctx->d;
    in.set_cookies = ctx->st->set_cookies;
    in.n_set_cookies = ctx->st->n_set_cookies;
    return set_value(v, prv_variable((prv_var)data, &in));
}

ngx_int_t ngx_http_privacy_add_variables(ngx_conf_t *cf)
{
    for (uintptr_t i = 0; i < PRV_VAR_COUNT; i++) {
        ngx_str_t name;
        name.len = sizeof("privacy_") - 1 + prv_var_names[i].n;
        name.data = ngx_pnalloc(cf->pool, name.len);
        if (name.data == NULL) {
            return NGX_ERROR;
        }
        ngx_memcpy(ngx_cpymem(name.data, "privacy_", sizeof("privacy_") - 1), prv_var_names[i].p,
                   prv_var_names[i].n);
        ngx_http_variable_t *var = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);
        if (var == NULL) {
            return NGX_ERROR;
        }
        var->get_handler = variable;
        var->data = i;
    }
    return NGX_OK;
}

/* ---- addresses on their way to a vendor */

static prv_str trim(prv_str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

/* 192.0.2.1:4711 and [2001:db8::1]:4711 are seen in X-Forwarded-For. */
static prv_str without_port(prv_str s)
{
    const char *colon;
    if (s.n && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        return end ? (prv_str){s.p + 1, (size_t)(end - s.p) - 1} : PRV_NONE;
    }
    colon = memchr(s.p, ':', s.n);
    if (colon && memchr(colon + 1, ':', s.n - (size_t)(colon + 1 - s.p)) == NULL) {
        s.n = (size_t)(colon - s.p);
    }
    return s;
}

prv_str ngx_http_privacy_cut(const prv_env *env, prv_str list)
{
    /* A cut address has no more characters than it had, but for "::" after three short groups. */
    size_t cap = 2 * list.n + 8, n = 0;
    char *out = env->alloc(env->ctx, cap);
    if (out == NULL) {
        return PRV_NONE;
    }
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        prv_str one = {list.p, comma ? (size_t)(comma - list.p) : list.n};
        list.p += one.n + (comma != NULL);
        list.n -= one.n + (comma != NULL);
        one = trim(one);
        if (one.n == 0) {
            continue;
        }
        prv_str cut = prv_addr_cut(env, without_port(one));
        if (cut.n == 0 || n + 2 + cut.n > cap) {
            continue;
        }
        if (n) {
            out[n++] = ',';
            out[n++] = ' ';
        }
        ngx_memcpy(out + n, cut.p, cut.n);
        n += cut.n;
    }
    return (prv_str){out, n};
}

typedef struct {
    ngx_http_get_variable_pt get_handler;
    uintptr_t data;
} wrapped_t;

static ngx_int_t address_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                                  uintptr_t data)
{
    const wrapped_t *original = (const wrapped_t *)data;
    const ngx_http_privacy_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_privacy_module);

    ngx_int_t rc = original->get_handler(r, v, original->data);
    if (rc != NGX_OK || v->not_found || ctx == NULL || !ctx->vendor || ctx->st->logging) {
        return rc;
    }
    return set_value(v,
                     ngx_http_privacy_cut(&ctx->st->env, (prv_str){(const char *)v->data, v->len}));
}

static ngx_int_t wrap(ngx_conf_t *cf, ngx_http_variable_t *var)
{
    wrapped_t *original = ngx_palloc(cf->pool, sizeof(*original));
    if (original == NULL) {
        return NGX_ERROR;
    }
    original->get_handler = var->get_handler;
    original->data = var->data;
    var->get_handler = address_variable;
    var->data = (uintptr_t)original;
    var->flags |= NGX_HTTP_VAR_NOCACHEABLE;
    return NGX_OK;
}

static ngx_uint_t is_one_of(const ngx_str_t *name, const char *const *names)
{
    for (; *names; names++) {
        if (name->len == ngx_strlen(*names) && ngx_strncmp(name->data, *names, name->len) == 0) {
            return 1;
        }
    }
    return 0;
}

ngx_int_t ngx_http_privacy_wrap_variables(ngx_conf_t *cf, ngx_http_privacy_main_conf_t *mcf)
{
    static const char *const changing[] = {"http_cookie", "http_x_forwarded_for", NULL};
    static const char *const addresses[] = {"remote_addr", "proxy_add_x_forwarded_for",
                                            "realip_remote_addr", "proxy_protocol_addr", NULL};
    static const char *const prefixes[] = {"http_", "cookie_", NULL};
    ngx_http_core_main_conf_t *cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    ngx_hash_key_t *key = cmcf->variables_keys->keys.elts;
    for (ngx_uint_t i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        ngx_http_variable_t *var = key[i].value;
        if (is_one_of(&key[i].key, changing)) {
            var->flags |= NGX_HTTP_VAR_NOCACHEABLE;
        }
        if (mcf->vendors && var->get_handler && is_one_of(&key[i].key, addresses) &&
            wrap(cf, var) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    ngx_http_variable_t *prefix = cmcf->prefix_variables.elts;
    for (ngx_uint_t i = 0; i < cmcf->prefix_variables.nelts; i++) {
        if (is_one_of(&prefix[i].name, prefixes)) {
            prefix[i].flags |= NGX_HTTP_VAR_NOCACHEABLE;
        }
    }
    return NGX_OK;
}
