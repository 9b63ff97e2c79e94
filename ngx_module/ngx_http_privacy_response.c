/*
 * What leaves: Set-Cookie, Vary, Tk, Link, our own cookie. The filter stands behind add_header and
 * userid (`config` gives the order) and sees every answer of the main request, also those that
 * never came to PREACCESS.
 */
#include "ngx_http_privacy.h"

static ngx_http_output_header_filter_pt next_header_filter;

/* Most fields are of another length, and those of the name are mostly written as we write it. */
static ngx_inline ngx_uint_t is_named(const ngx_table_elt_t *h, const char *name, size_t n)
{
    return h->key.len == n && h->hash != 0 &&
           (ngx_memcmp(h->key.data, name, n) == 0 ||
            ngx_strncasecmp(h->key.data, (u_char *)(uintptr_t)name, n) == 0);
}
#define is_name(h, literal) is_named(h, literal, sizeof(literal) - 1)

static ngx_int_t push(ngx_http_request_t *r, prv_str name, prv_str value)
{
    ngx_table_elt_t *h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }
    ngx_memzero(h, sizeof(*h));
    h->hash = 1;
    h->key = ngx_http_privacy_str(name);
    h->value = ngx_http_privacy_str(value);
    return NGX_OK;
}

static void drop_named(ngx_http_request_t *r, prv_str name)
{
    ngx_http_privacy_walk_t walk;
    ngx_table_elt_t *h;
    ngx_http_privacy_walk_init(&walk, &r->headers_out.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (is_named(h, name.p, name.n)) {
            h->hash = 0;
        }
    }
}

/* Whatever the operator's own fields say. */
static ngx_int_t set_cache_control(ngx_http_request_t *r, prv_str value)
{
    drop_named(r, PRV_STR("Cache-Control"));
    drop_named(r, PRV_STR("Expires"));
    drop_named(r, PRV_STR("CDN-Cache-Control"));
    drop_named(r, PRV_STR("Surrogate-Control"));
    return push(r, PRV_STR("Cache-Control"), value);
}

static ngx_uint_t is_html(const ngx_http_request_t *r)
{
    size_t n = sizeof("text/html") - 1;
    const ngx_str_t *type = &r->headers_out.content_type;
    return type->len >= n &&
           (ngx_memcmp(type->data, "text/html", sizeof("text/html") - 1) == 0 ||
            ngx_strncasecmp(type->data, (u_char *)(uintptr_t) "text/html", n) == 0) &&
           (type->len == n || type->data[n] == ';' || type->data[n] == ' ');
}

/* ---- what the application said */

static ngx_uint_t from_cache(const ngx_http_request_t *r)
{
#if (NGX_HTTP_CACHE)
    return r->cached;
#else
    (void)r;
    return 0;
#endif
}

static void hear_age(ngx_http_request_t *r, ngx_http_privacy_state_t *st, prv_str value)
{
    prv_op op;
    prv_store *store;

    ngx_http_privacy_begin(st);
    ngx_http_privacy_clock(st);
    if (prv_request_report_age(&st->rq, value, &st->told_cookie, &op)) {
        store = ngx_http_privacy_store(ngx_http_privacy_main(r));
        if (store) {
            prv_store_queue(store, &op);
        }
    }
    ngx_http_privacy_account_write(st);
    st->generation++;
}

/* Who is logged in from now on. */
static ngx_int_t hear_subject(ngx_http_request_t *r, ngx_http_privacy_state_t *st)
{
    ngx_http_privacy_walk_t walk;
    const ngx_table_elt_t *h;
    ngx_array_t values;
    prv_str *value, cookie;

    if (ngx_array_init(&values, r->pool, 2, sizeof(prv_str)) != NGX_OK) {
        return NGX_ERROR;
    }
    ngx_http_privacy_walk_init(&walk, &r->upstream->headers_in.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (is_name(h, "Privacy-Subject")) {
            value = ngx_array_push(&values);
            if (value == NULL) {
                return NGX_ERROR;
            }
            *value = ngx_http_privacy_view(&h->value);
        }
    }
    if (values.nelts == 0) {
        return NGX_OK;
    }
    ngx_http_privacy_begin(st);
    ngx_http_privacy_clock(st);
    prv_request_report_subject(&st->rq, values.elts, values.nelts, &cookie);
    if (cookie.n) {
        st->told_cookie = cookie;
    }
    return NGX_OK;
}

static ngx_uint_t says_something(const ngx_list_t *list)
{
    ngx_http_privacy_walk_t walk;
    const ngx_table_elt_t *h;

    ngx_http_privacy_walk_init(&walk, list);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (ngx_http_privacy_is_own(h)) {
            return 1;
        }
    }
    return 0;
}

void ngx_http_privacy_hear_upstream(ngx_http_request_t *r, ngx_http_privacy_state_t *st)
{
    prv_str said;

    /* What a vendor says about a visitor counts for nothing. */
    if (r->upstream == NULL || r->upstream == st->heard || r != r->main || from_cache(r) ||
        st->withholding) {
        return;
    }
    if (!says_something(&r->upstream->headers_in.headers)) {
        st->heard = r->upstream;
        return;
    }
    if (ngx_http_privacy_joined(r->pool, &r->upstream->headers_in.headers, "Privacy-Subject-Age",
                                &said) != NGX_OK) {
        said = PRV_STR("under"); /* no memory for several lines: the least of what they can say */
    }
    st->heard = r->upstream;
    if (said.p) {
        hear_age(r, st, said);
    }
    if (hear_subject(r, st) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "privacy: no memory to hear who is logged in");
    }
}

static void drop_subject(ngx_http_request_t *r)
{
    ngx_http_privacy_walk_t walk;
    ngx_table_elt_t *h;
    ngx_http_privacy_walk_init(&walk, &r->headers_out.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (ngx_http_privacy_is_own(h) &&
            (is_name(h, "Privacy-Subject") || is_name(h, "Privacy-Subject-Age"))) {
            h->hash = 0;
        }
    }
}

/* ---- Set-Cookie */

static ngx_int_t keep_set_cookies(ngx_http_request_t *r, ngx_http_privacy_state_t *st)
{
    ngx_http_privacy_walk_t walk;
    const ngx_table_elt_t *h;
    ngx_uint_t n = 0;

    ngx_http_privacy_walk_init(&walk, &r->headers_out.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        n += is_name(h, "Set-Cookie");
    }
    st->n_set_cookies = 0;
    if (n == 0) {
        return NGX_OK;
    }
    st->set_cookies = ngx_palloc(r->pool, n * sizeof(prv_str));
    if (st->set_cookies == NULL) {
        return NGX_ERROR;
    }
    ngx_http_privacy_walk_init(&walk, &r->headers_out.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (is_name(h, "Set-Cookie")) {
            st->set_cookies[st->n_set_cookies++] = ngx_http_privacy_view(&h->value);
        }
    }
    return NGX_OK;
}

/* On our own pages too: the operator's modules set none there either without permission. */
static unsigned edit_set_cookies(ngx_http_request_t *r, const ngx_http_privacy_ctx_t *ctx)
{
    prv_rules rules = ctx->lcf->rules;
    ngx_http_privacy_walk_t walk;
    ngx_table_elt_t *h;
    unsigned vary = 0;

    if (ctx->st->n_set_cookies == 0) {
        return 0;
    }
    rules.exempt = false;
    ngx_http_privacy_walk_init(&walk, &r->headers_out.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (is_name(h, "Set-Cookie") &&
            prv_edit_set_cookie(&ctx->st->rq, &rules, &ctx->d, ngx_http_privacy_view(&h->value),
                                &vary) == PRV_DROP) {
            h->hash = 0;
            ctx->st->tally.set_cookies++;
        }
    }
    return vary;
}

/* ---- Vary */

static ngx_uint_t has_token(const ngx_str_t *list, prv_str token)
{
    const u_char *p = list->data, *end = p + list->len;
    while (p < end) {
        const u_char *from = p;
        while (p < end && *p != ',' && *p != ' ' && *p != '\t') {
            p++;
        }
        if ((size_t)(p - from) == token.n &&
            ngx_strncasecmp((u_char *)(uintptr_t)from, (u_char *)(uintptr_t)token.p, token.n) ==
                0) {
            return 1;
        }
        p += p < end;
    }
    return 0;
}

static ngx_int_t append_token(ngx_pool_t *pool, ngx_str_t *list, prv_str token)
{
    u_char *data = ngx_pnalloc(pool, list->len + 2 + token.n);
    if (data == NULL) {
        return NGX_ERROR;
    }
    u_char *p = ngx_cpymem(data, list->data, list->len);
    p = ngx_cpymem(p, ", ", list->len ? 2 : 0);
    ngx_memcpy(p, token.p, token.n);
    list->len = (size_t)(p - data) + token.n;
    list->data = data;
    return NGX_OK;
}

static ngx_uint_t vary_has(ngx_http_request_t *r, prv_str token)
{
    ngx_http_privacy_walk_t walk;
    const ngx_table_elt_t *h;

    ngx_http_privacy_walk_init(&walk, &r->headers_out.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (is_name(h, "Vary") &&
            (has_token(&h->value, token) || has_token(&h->value, PRV_STR("*")))) {
            return 1;
        }
    }
    return 0;
}

static ngx_int_t add_vary(ngx_http_request_t *r, prv_str token)
{
    ngx_http_privacy_walk_t walk;
    ngx_table_elt_t *h;

    if (token.n == 0 || vary_has(r, token)) {
        return NGX_OK;
    }
    ngx_http_privacy_walk_init(&walk, &r->headers_out.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (is_name(h, "Vary")) {
            return append_token(r->pool, &h->value, token);
        }
    }
    return push(r, PRV_STR("Vary"), token);
}

static ngx_uint_t has_vary(const ngx_http_request_t *r)
{
    ngx_http_privacy_walk_t walk;
    const ngx_table_elt_t *h;

    ngx_http_privacy_walk_init(&walk, &r->headers_out.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (is_name(h, "Vary")) {
            return 1;
        }
    }
    return 0;
}

static ngx_int_t merge_vary(ngx_http_request_t *r, const ngx_http_privacy_state_t *st,
                            unsigned bits)
{
    ngx_uint_t whole = bits != 0 && !has_vary(r);
    if (whole && push(r, PRV_STR("Vary"), prv_vary_value(bits)) != NGX_OK) {
        return NGX_ERROR;
    }
    for (unsigned bit = 1; !whole && bit <= bits; bit <<= 1) {
        if (add_vary(r, prv_vary_value(bits & bit)) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    if (bits == 0 || st->regions == NULL) {
        return NGX_OK;
    }
    ngx_array_t *const *noted = st->regions->elts;
    for (ngx_uint_t i = 0; i < st->regions->nelts; i++) {
        const prv_str *fields = noted[i]->elts;
        for (ngx_uint_t k = 0; k < noted[i]->nelts; k++) {
            if (add_vary(r, fields[k]) != NGX_OK) {
                return NGX_ERROR;
            }
        }
    }
    return NGX_OK;
}

/* ---- our own fields */

static prv_str host_of(const ngx_http_request_t *r)
{
    return ngx_http_privacy_view(
        &r->headers_in.server); /* the Host field, lower case, without port */
}

/* *own: a cookie of ours goes out. */
static ngx_int_t own_cookies(ngx_http_request_t *r, ngx_http_privacy_ctx_t *ctx, ngx_uint_t *own)
{
    ngx_http_privacy_state_t *st = ctx->st;
    prv_str values[PRV_EXPIRE_MAX];
    size_t n = 0;

    if (st->rq.navigation && st->resolved && is_html(r)) {
        n = prv_request_sweep(&st->rq, &ctx->d, host_of(r), values);
    }
    if (n == 0 && st->told_cookie.n) {
        values[n++] = st->told_cookie;
    }
    if (n == 0 && st->resolved) {
        values[0] = prv_request_renewal(&st->rq);
        n = values[0].n ? 1 : 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (push(r, PRV_STR("Set-Cookie"), values[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    *own = n > 0;
    return NGX_OK;
}

static ngx_int_t own_fields(ngx_http_request_t *r, const ngx_http_privacy_ctx_t *ctx)
{
    const ngx_http_privacy_state_t *st = ctx->st;
    const prv_policy *policy = st->rq.site->policy;
    prv_str tk = prv_policy_names_dnt(policy) ? prv_header_tk(&st->rq, &ctx->d) : PRV_NONE;
    prv_str link = is_html(r) ? prv_header_link(policy) : PRV_NONE;

    if (tk.n && push(r, PRV_STR("Tk"), tk) != NGX_OK) {
        return NGX_ERROR;
    }
    if (link.n && push(r, PRV_STR("Link"), link) != NGX_OK) {
        return NGX_ERROR;
    }
    return NGX_OK;
}

static ngx_int_t edit_answer(ngx_http_request_t *r, ngx_http_privacy_ctx_t *ctx)
{
    ngx_http_privacy_state_t *st = ctx->st;
    ngx_uint_t own = 0;

    unsigned vary = edit_set_cookies(r, ctx);
    if (ngx_http_privacy_depends(ctx, vary) != NGX_OK) {
        return NGX_ERROR;
    }
    vary |= st->vary;
    if (r->upstream || r->content_handler) {
        vary |= st->edit_vary;
        if (st->forwarded) {
            vary |= prv_vary(st->rq.site->policy, UINT32_MAX);
        }
    }
    if (merge_vary(r, st, vary) != NGX_OK || own_fields(r, ctx) != NGX_OK ||
        own_cookies(r, ctx, &own) != NGX_OK) {
        return NGX_ERROR;
    }
    return own || st->refused || st->personal ? set_cache_control(r, PRV_STR("private, no-store"))
                                              : NGX_OK;
}

static ngx_int_t edit_own_page(ngx_http_request_t *r, const ngx_http_privacy_ctx_t *ctx)
{
    prv_str cache_control = ctx->st->cache_control;
    (void)edit_set_cookies(r, ctx);
    return cache_control.n ? set_cache_control(r, cache_control) : NGX_OK;
}

/*
 * nginx takes the first header block of an upstream for its answer, an interim one too, and would
 * pass on the real answer, header and all, as that one's body: past every filter. Switching
 * protocols is no such case.
 */
static bool is_interim(const ngx_http_request_t *r)
{
    return r->upstream != NULL && r->headers_out.status > NGX_HTTP_SWITCHING_PROTOCOLS &&
           r->headers_out.status < NGX_HTTP_OK;
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    const prv_rules *rules = &ngx_http_privacy_loc(r)->rules;
    ngx_int_t status;

    if (r != r->main || rules->mode == PRV_MODE_OFF) {
        return next_header_filter(r);
    }
    if (rules->mode == PRV_MODE_ON && is_interim(r)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "privacy: upstream sent the interim status %ui, which nginx takes for its "
                      "answer: nothing of it can be filtered",
                      r->headers_out.status);
        return ngx_http_filter_finalize_request(r, &ngx_http_privacy_module, NGX_HTTP_BAD_GATEWAY);
    }
    if (rules->mode == PRV_MODE_ON && ngx_http_privacy_undecided(r, &status)) {
        return ngx_http_filter_finalize_request(r, &ngx_http_privacy_module, status);
    }
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_get(r);
    if (st == NULL || keep_set_cookies(r, st) != NGX_OK) {
        return NGX_ERROR;
    }
    ngx_http_privacy_hear_upstream(r, st);
    drop_subject(r); /* meant for us, also in report mode */
    if (rules->mode == PRV_MODE_ON) {
        ngx_http_privacy_ctx_t *ctx = ngx_http_privacy_decide(r);
        if (ctx == NULL ||
            (rules->exempt ? edit_own_page(r, ctx) : edit_answer(r, ctx)) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    return next_header_filter(r);
}

ngx_int_t ngx_http_privacy_response_init(ngx_conf_t *cf)
{
    (void)cf;
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    return NGX_OK;
}

/* ---- whole answers */

static ngx_int_t set_content_type(ngx_http_request_t *r, prv_str value)
{
    const char *semicolon = memchr(value.p, ';', value.n);
    r->headers_out.content_type = ngx_http_privacy_str(value);
    r->headers_out.content_type_len = semicolon ? (size_t)(semicolon - value.p) : value.n;
    r->headers_out.content_type_lowcase = NULL;
    return NGX_OK;
}

static ngx_int_t send_fields(ngx_http_request_t *r, const prv_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        prv_str name = fields[i].name;
        if (name.n == sizeof("Content-Type") - 1 &&
            ngx_strncasecmp((u_char *)(uintptr_t)name.p, (u_char *)(uintptr_t) "Content-Type",
                            name.n) == 0) {
            (void)set_content_type(r, fields[i].value);
        } else if (push(r, name, fields[i].value) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    return NGX_OK;
}

ngx_int_t ngx_http_privacy_send(ngx_http_request_t *r, int status, const prv_field *fields,
                                size_t n, prv_str body)
{
    ngx_int_t rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }
    r->headers_out.status = (ngx_uint_t)status;
    r->headers_out.content_length_n = (off_t)body.n;
    ngx_str_null(&r->headers_out.content_type);
    r->headers_out.content_type_len = 0;
    if (send_fields(r, fields, n) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ngx_buf_t *b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }
    if (body.n) {
        b->pos = (u_char *)(uintptr_t)body.p;
        b->last = b->pos + body.n;
        b->memory = 1;
    }
    b->last_buf = 1;
    b->last_in_chain = 1;
    return ngx_http_output_filter(r, &(ngx_chain_t){.buf = b});
}
