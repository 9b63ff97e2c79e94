/*
 * Counters: each client request is counted when it is logged, and privacy_status shows what the workers counted together.
 */
#include "ngx_http_privacy.h"

void ngx_http_privacy_count(ngx_http_request_t *r, ngx_http_privacy_state_t *st)
{
    const prv_rules *rules = &ngx_http_privacy_loc(r)->rules;
    if (r != r->main || rules->mode == PRV_MODE_OFF || rules->exempt) {
        return;
    }
    const ngx_http_privacy_ctx_t *ctx = ngx_http_privacy_decide(r);
    if (ctx) {
        prv_tally_count(&st->rq, rules, &ctx->d, st->set_cookies, st->n_set_cookies);
    }
}

/* Also where privacy is off: a server of its own for what watches it. */
ngx_int_t ngx_http_privacy_status_handler(ngx_http_request_t *r)
{
    const ngx_http_privacy_main_conf_t *mcf = ngx_http_privacy_main(r);
    prv_response response;
    prv_http http;
    prv_env env;

    if (r != r->main) {
        return NGX_HTTP_NOT_FOUND;
    }
    ngx_memzero(&http, sizeof(http));
    ngx_memzero(&response, sizeof(response));
    http.method = ngx_http_privacy_view(&r->method_name);
    if (ngx_http_privacy_joined(r->pool, &r->headers_in.headers, "accept", &http.accept) !=
        NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ngx_http_privacy_env(r, &env);
    env.mono_ms = ngx_http_privacy_mono_ms();
    const prv_status status = {.env = &env,
                               .zone = mcf->zone,
                               .sites = mcf->shown.elts,
                               .n_sites = mcf->shown.nelts,
                               .store = mcf->store_conf != NULL};
    prv_status_respond(&status, &http, &response);
    return ngx_http_privacy_respond(r, &response);
}
