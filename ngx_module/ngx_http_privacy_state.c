/*
 * What is kept for one client request. It is made at the first look and found again after internal
 * redirects, in named locations, on error pages and in subrequests through the pool's cleanups
 * (r->ctx does not survive those).
 */
#include "ngx_http_privacy.h"

static void *env_alloc(void *ctx, size_t n)
{
    const ngx_http_request_t *r = ctx;
    return ngx_palloc(r->pool, n);
}

static void env_log(void *ctx, prv_level level, prv_str line)
{
    static const ngx_uint_t levels[] = {[PRV_LOG_ERROR] = NGX_LOG_ERR,
                                        [PRV_LOG_WARN] = NGX_LOG_WARN,
                                        [PRV_LOG_NOTICE] = NGX_LOG_NOTICE,
                                        [PRV_LOG_INFO] = NGX_LOG_INFO};
    const ngx_http_request_t *r = ctx;
    ngx_log_error(levels[level], r->connection->log, 0, "privacy: %*s", line.n, line.p);
}

void ngx_http_privacy_env(ngx_http_request_t *r, prv_env *env)
{
    ngx_memzero(env, sizeof(*env));
    env->ctx = r;
    env->alloc = env_alloc;
    env->random = prv_random;
    env->log = env_log;
}

static void state_cleanup(void *data)
{
    ngx_http_privacy_detach(data);
}

static int64_t wall_ms(void)
{
    const ngx_time_t *tp = ngx_timeofday();
    return (int64_t)tp->sec * 1000 + (int64_t)tp->msec;
}

void ngx_http_privacy_clock(ngx_http_privacy_state_t *st)
{
    st->env.now_ms = wall_ms();
    st->env.mono_ms = ngx_http_privacy_mono_ms();
}

static ngx_http_privacy_ctx_t *ctx_get(ngx_http_request_t *r)
{
    return ngx_http_get_module_ctx(r, ngx_http_privacy_module);
}

ngx_http_privacy_state_t *ngx_http_privacy_state_find(ngx_http_request_t *r)
{
    const ngx_http_privacy_ctx_t *ctx = ctx_get(r);
    if (ctx) {
        return ctx->st;
    }
    for (const ngx_pool_cleanup_t *cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == state_cleanup) {
            return cln->data;
        }
    }
    return NULL;
}

/* ---- the first look */

static ngx_uint_t drop_privacy(const ngx_table_elt_t *h, void *data)
{
    (void)data;
    return ngx_http_privacy_is_own(h);
}

typedef struct {
    prv_request *rq;
    prv_str mode;
    prv_str accept;
    ngx_uint_t spoofed;
} scan_t;

/* Most fields are of another length than those that are looked for. */
static void scan_field(scan_t *scan, const ngx_table_elt_t *h)
{
    prv_request *rq = scan->rq;
    prv_str value = ngx_http_privacy_view(&h->value);
#define IS(text) (ngx_memcmp(h->lowcase_key, text, sizeof(text) - 1) == 0)
    switch (h->key.len) {
    case sizeof("dnt") - 1:
        if (IS("dnt")) {
            rq->signals = (uint8_t)(rq->signals | prv_signal_dnt(value));
        }
        break;
    case sizeof("accept") - 1:
        if (IS("accept") && scan->accept.p == NULL) {
            scan->accept = value;
        }
        break;
    case sizeof("sec-gpc") - 1:
        if (IS("sec-gpc")) {
            rq->signals = (uint8_t)(rq->signals | prv_signal_gpc(value));
        }
        break;
    case sizeof("sec-fetch-mode") - 1:
        if (IS("sec-fetch-mode")) {
            scan->mode = value;
            break;
        } /* fall through */
    default:
        scan->spoofed |= ngx_http_privacy_is_own(h);
    }
#undef IS
}

/* One walk: signals, and whether there is anything to strip. */
static ngx_uint_t scan_fields(ngx_http_request_t *r, prv_request *rq)
{
    scan_t scan = {.rq = rq, .mode = PRV_NONE, .accept = PRV_NONE, .spoofed = 0};

    for (const ngx_list_part_t *part = &r->headers_in.headers.part; part; part = part->next) {
        const ngx_table_elt_t *h = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            scan_field(&scan, &h[i]);
        }
    }
    rq->navigation =
        prv_is_navigation(ngx_http_privacy_view(&r->method_name), scan.mode, scan.accept);
    return scan.spoofed;
}

static ngx_int_t keep_cookies(ngx_http_request_t *r, ngx_http_privacy_state_t *st)
{
    st->cookies = ngx_http_privacy_cookies(r);
    st->n_lines = ngx_http_privacy_multi_count(&st->cookies);
    if (st->n_lines == 0) {
        return NGX_OK;
    }
    prv_str *values = ngx_palloc(r->pool, st->n_lines * sizeof(prv_str));
    st->lines = ngx_palloc(r->pool, st->n_lines * sizeof(ngx_table_elt_t *));
    if (values == NULL || st->lines == NULL) {
        return NGX_ERROR;
    }
    ngx_http_privacy_multi_get(&st->cookies, st->lines);
    for (ngx_uint_t i = 0; i < st->n_lines; i++) {
        values[i] = ngx_http_privacy_view(&st->lines[i]->value);
    }
    st->rq.cookies = values;
    st->rq.n_cookies = st->n_lines;
    return NGX_OK;
}

static ngx_http_privacy_state_t *state_make(ngx_http_request_t *r)
{
    ngx_http_request_t *m = r->main;
    ngx_pool_cleanup_t *cln = ngx_pool_cleanup_add(m->pool, sizeof(ngx_http_privacy_state_t));
    if (cln == NULL) {
        return NULL;
    }
    ngx_http_privacy_state_t *st = cln->data;
    ngx_memzero(st, sizeof(*st));
    st->request = m;
    st->srv = ngx_http_privacy_srv(m);
    ngx_http_privacy_env(m, &st->env);
    ngx_http_privacy_clock(st);
    st->rq.env = &st->env;
    st->rq.site = &st->srv->site;
    st->rq.zone = ngx_http_privacy_main(m)->zone;
    st->rq.tally = &st->tally;
    st->authorization = m->headers_in.authorization;
    st->generation = 1;

    if (scan_fields(m, &st->rq) &&
        (ngx_http_privacy_list_replace(m->pool, &m->headers_in.headers, drop_privacy, NULL, NULL,
                                       0) != NGX_OK ||
         (r != m && ngx_http_privacy_list_replace(m->pool, &r->headers_in.headers, drop_privacy,
                                                  NULL, NULL, 0) != NGX_OK))) {
        return NULL;
    }
    if (keep_cookies(m, st) != NGX_OK) {
        return NULL;
    }
    cln->handler = state_cleanup; /* only a whole state is found */
    return st;
}

ngx_http_privacy_state_t *ngx_http_privacy_state_get(ngx_http_request_t *r)
{
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);
    return st ? st : state_make(r);
}

ngx_int_t ngx_http_privacy_first_look(ngx_http_request_t *r)
{
    if (ngx_http_privacy_srv(r)->strongest == PRV_MODE_OFF) {
        return NGX_DECLINED;
    }
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_get(r);
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ngx_http_privacy_hear_upstream(r, st);
    return NGX_DECLINED;
}

/* ---- the core's request and the decision */

void ngx_http_privacy_begin(ngx_http_privacy_state_t *st)
{
    static const prv_reply unavailable = {.status = PRV_REPLY_UNAVAILABLE};
    prv_op op;

    if (st->begun) {
        return;
    }
    st->begun = 1;
    if (prv_request_begin(&st->rq, &op) == PRV_STEP_READY) {
        if (prv_subject_begin(&st->rq, PRV_NONE, &op) == PRV_STEP_READY) {
            st->resolved = 1;
            return;
        }
        st->of_account = 1;
    }
    st->op = ngx_palloc(st->request->pool, sizeof(op));
    if (st->op) {
        *st->op = op;
        return;
    }
    if (!st->of_account) {
        prv_request_feed(&st->rq, &unavailable);
        if (prv_subject_begin(&st->rq, PRV_NONE, &op) == PRV_STEP_NEED_STORE) {
            (void)prv_subject_feed(&st->rq, &unavailable, &op);
        }
    } else {
        (void)prv_subject_feed(&st->rq, &unavailable, &op);
    }
    st->resolved = 1;
}

static prv_region region_of(ngx_http_request_t *r, const ngx_http_privacy_loc_conf_t *lcf)
{
    ngx_str_t text = ngx_null_string;
    if (lcf->region && ngx_http_complex_value(r, lcf->region, &text) != NGX_OK) {
        ngx_str_null(&text);
    }
    return prv_region_parse(ngx_http_privacy_view(&text));
}

ngx_http_privacy_ctx_t *ngx_http_privacy_decide(ngx_http_request_t *r)
{
    ngx_http_privacy_loc_conf_t *lcf = ngx_http_privacy_loc(r);
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_get(r);
    ngx_http_privacy_ctx_t *ctx = ctx_get(r);

    if (st == NULL) {
        return NULL;
    }
    if (ctx == NULL) {
        ctx = ngx_pcalloc(r->pool, sizeof(*ctx));
        if (ctx == NULL) {
            return NULL;
        }
        ctx->st = st;
        ngx_http_set_ctx(r, ctx, ngx_http_privacy_module);
    }
    ngx_http_privacy_begin(st);
    if (ctx->lcf == lcf && ctx->generation == st->generation) {
        return ctx;
    }
    st->env.now_ms = wall_ms(); /* the request may have waited for the store */
    prv_decide(st->rq.site->policy, &lcf->rules, &st->rq.state, st->rq.degraded, st->rq.signals,
               region_of(r, lcf), st->env.now_ms / 1000, &ctx->d);
    ctx->lcf = lcf;
    ctx->generation = st->generation;
    return ctx;
}

ngx_int_t ngx_http_privacy_depends(ngx_http_privacy_ctx_t *ctx, unsigned bits)
{
    ngx_http_privacy_state_t *st = ctx->st;
    ngx_array_t *fields = ctx->lcf->region_fields;

    if (bits && ctx->lcf->subject) {
        st->vary |= PRV_VARY_ACCOUNT;
    }
    st->personal |= bits && st->authenticated;
    if (bits == 0 || fields == NULL) {
        return NGX_OK;
    }
    if (st->regions == NULL) {
        st->regions = ngx_array_create(st->request->pool, 1, sizeof(ngx_array_t *));
        if (st->regions == NULL) {
            return NGX_ERROR;
        }
    }
    ngx_array_t **noted = st->regions->elts;
    for (ngx_uint_t i = 0; i < st->regions->nelts; i++) {
        if (noted[i] == fields) {
            return NGX_OK;
        }
    }
    noted = ngx_array_push(st->regions);
    if (noted == NULL) {
        return NGX_ERROR;
    }
    *noted = fields;
    return NGX_OK;
}
