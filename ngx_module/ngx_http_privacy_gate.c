/*
 * Gates. In PREACCESS, where `satisfy any` has no say, and before that in REWRITE, because `return`
 * and `rewrite` answer there. Both run again after every internal redirect.
 */
#include "ngx_http_privacy.h"

/* No path is waived, whatever location answers it: only locations that serve our endpoints are. */
static ngx_uint_t gated(ngx_http_request_t *r)
{
    const prv_rules *rules = &ngx_http_privacy_loc(r)->rules;
    return rules->mode == PRV_MODE_ON && !rules->exempt &&
           (rules->require || rules->min_age || rules->vendor >= 0);
}

/* `if` and `limit_except` make nameless locations that share the name of the one around them. */
static const u_char *location_name(ngx_http_request_t *r)
{
    const ngx_http_core_loc_conf_t *clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    return clcf->name.data;
}

/* The operator's page for this status, which nginx would serve if we ended with the bare status. */
static ngx_uint_t has_error_page(ngx_http_request_t *r, int status)
{
    const ngx_http_core_loc_conf_t *clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    if (r->error_page || clcf->error_pages == NULL || r->uri_changes == 0) {
        return 0;
    }
    const ngx_http_err_page_t *page = clcf->error_pages->elts;
    for (ngx_uint_t i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == status) {
            return 1;
        }
    }
    return 0;
}

static ngx_int_t refuse(ngx_http_request_t *r, ngx_http_privacy_ctx_t *ctx)
{
    ngx_http_privacy_state_t *st = ctx->st;
    prv_str referer = PRV_NONE;
    prv_gate_answer answer;
    prv_field fields[2];
    size_t n = 0;

    if (r->headers_in.referer) {
        referer = ngx_http_privacy_view(&r->headers_in.referer->value);
    }
    ngx_memzero(&answer, sizeof(answer));
    prv_gate_respond(&st->rq, &ctx->lcf->rules, &ctx->d, ngx_http_privacy_view(&r->unparsed_uri),
                     referer, &answer);
    if (r != r->main) {
        /* auth_request takes 2xx for yes, and a part of a page cannot redirect */
        return answer.status < NGX_HTTP_BAD_REQUEST ? NGX_HTTP_FORBIDDEN : answer.status;
    }
    st->refused = 1;
    if (!st->waiving && answer.location.n == 0 && has_error_page(r, answer.status)) {
        return answer.status;
    }
    if (answer.location.n) {
        fields[n++] = (prv_field){PRV_STR("Location"), answer.location};
    }
    if (answer.body.n) {
        fields[n++] = (prv_field){PRV_STR("Content-Type"), PRV_STR("application/problem+json")};
    }
    ngx_http_finalize_request(r, ngx_http_privacy_send(r, answer.status, fields, n, answer.body));
    return NGX_DONE;
}

/* NGX_DECLINED is the only pass. A subrequest cannot wait for the store: where its main request has
 * not either, because it was answered before PREACCESS, the cookie alone opens nothing. */
static ngx_int_t gate(ngx_http_request_t *r, ngx_uint_t last)
{
    ngx_http_privacy_ctx_t *ctx = ngx_http_privacy_decide(r);
    if (ctx == NULL || ngx_http_privacy_depends(ctx, ctx->d.vary) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ctx->st->vary |= ctx->d.vary;
    if (ctx->d.verdict == PRV_PASS) {
        return ctx->st->rq.pending ? NGX_HTTP_FORBIDDEN : NGX_DECLINED;
    }
    if (ctx->st->waiving && r == r->main && ctx->st->waived == location_name(r)) {
        return NGX_DECLINED;
    }
    /* Who is logged in may pass, and that is known behind ACCESS only. */
    if (!last && ctx->lcf->subject && r == r->main) {
        ctx->st->deferred = 1;
        ctx->st->waiting = &ctx->lcf->rules;
        ctx->st->without = ctx->d;
        return NGX_DECLINED;
    }
    return refuse(r, ctx);
}

ngx_int_t ngx_http_privacy_gate_last(ngx_http_request_t *r)
{
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);
    if (st && r == r->main) {
        st->deferred = 0;
    }
    return gated(r) ? gate(r, 1) : NGX_DECLINED;
}

/* The refusal of a gate that waited for an account, and will not meet one. */
static ngx_int_t refuse_waiting(ngx_http_privacy_state_t *st)
{
    prv_gate_answer answer;

    st->deferred = 0;
    st->refused = 1;
    ngx_memzero(&answer, sizeof(answer));
    prv_gate_respond(&st->rq, st->waiting, &st->without, PRV_STR("/"), PRV_NONE, &answer);
    return answer.status >= NGX_HTTP_BAD_REQUEST ? answer.status : NGX_HTTP_FORBIDDEN;
}

/* `return` and `rewrite` answer before PRECONTENT, and so may what another module does in ACCESS:
 * nothing but an error of the access phase leaves through a gate that was not decided. */
ngx_uint_t ngx_http_privacy_undecided(ngx_http_request_t *r, ngx_int_t *status)
{
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);

    if (st == NULL || !st->deferred ||
        (st->access && r->headers_out.status >= NGX_HTTP_BAD_REQUEST)) {
        return 0;
    }
    *status = refuse_waiting(st);
    return 1;
}

ngx_int_t ngx_http_privacy_access_handler(ngx_http_request_t *r)
{
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);
    if (st && r == r->main) {
        st->access = 1;
    }
    return NGX_DECLINED;
}

ngx_int_t ngx_http_privacy_rewrite_handler(ngx_http_request_t *r)
{
    ngx_http_privacy_state_t *st;

    if (ngx_http_privacy_srv(r)->strongest == PRV_MODE_OFF) {
        return NGX_DECLINED;
    }
    st = ngx_http_privacy_state_get(r);
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ngx_http_privacy_hear_upstream(r, st); /* named locations come here without a server rewrite */
    if (r == r->main) {
        /* `rewrite`, or `return` with an error page, came here from a location whose gate waits.
         * From its ACCESS only errors do. */
        if (st->deferred && !st->access) {
            return refuse_waiting(st);
        }
        st->deferred = st->access = 0;
    }
    /* Our own refusal led to an error page, whose location may inherit the gate: that one location
     * passes, and none that it leads to. */
    if (r == r->main && st->refused && !st->waiving) {
        st->waived = location_name(r);
        st->waiving = 1;
    }
    if (!gated(r)) {
        return NGX_DECLINED;
    }
    switch (ngx_http_privacy_resolve(r, st)) {
    case NGX_OK:
        return gate(r, 0);
    case NGX_AGAIN:
        return NGX_DONE;
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}

/* Also where privacy is off: what a page includes may be gated, and does not wait for the store. */
static ngx_uint_t state_wanted(ngx_http_request_t *r)
{
    if (ngx_http_privacy_loc(r)->rules.mode != PRV_MODE_OFF) {
        return 1;
    }
    return r == r->main && ngx_http_privacy_srv(r)->strongest == PRV_MODE_ON &&
           ngx_http_privacy_main(r)->store_conf != NULL;
}

ngx_int_t ngx_http_privacy_preaccess_handler(ngx_http_request_t *r)
{
    ngx_http_privacy_state_t *st;

    if (!state_wanted(r)) {
        return NGX_DECLINED;
    }
    st = ngx_http_privacy_state_get(r);
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    switch (ngx_http_privacy_resolve(r, st)) {
    case NGX_OK:
        return gated(r) ? gate(r, 0) : NGX_DECLINED;
    case NGX_AGAIN:
        return NGX_AGAIN;
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}
