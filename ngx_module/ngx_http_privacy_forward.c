/*
 * What goes upstream: the Cookie fields that this location's decision leaves, Privacy-Consent and
 * Privacy-Age, and for a vendor neither credentials nor a whole address. Edits start from the
 * client's own fields each time, so that an internal redirect does not inherit those of the
 * location before.
 */
#include "ngx_http_privacy.h"

/* Fields that vendors do not get as they are. */
typedef enum { WITHHOLD, CUT } treat_t;
static const struct {
    const char *name;
    treat_t treat;
} vendor_fields[] = {
    {"authorization", WITHHOLD},
    {"proxy-authorization", WITHHOLD},
    {"x-forwarded-for", CUT},
    {"x-real-ip", CUT},
    {"forwarded", WITHHOLD},
    {"forwarded-for", WITHHOLD},
    {"x-forwarded", WITHHOLD},
    {"x-client-ip", WITHHOLD},
    {"x-cluster-client-ip", WITHHOLD},
    {"x-original-forwarded-for", WITHHOLD},
    {"x-originating-ip", WITHHOLD},
    {"x-remote-ip", WITHHOLD},
    {"x-remote-addr", WITHHOLD},
    {"x-proxyuser-ip", WITHHOLD},
    {"client-ip", WITHHOLD},
    {"true-client-ip", WITHHOLD},
    {"cf-connecting-ip", WITHHOLD},
    {"cf-connecting-ipv6", WITHHOLD},
    {"fastly-client-ip", WITHHOLD},
    {"fly-client-ip", WITHHOLD},
    {"x-azure-clientip", WITHHOLD},
    {"x-azure-socketip", WITHHOLD},
    {"x-envoy-external-address", WITHHOLD},
};
#define N_VENDOR_FIELDS (sizeof(vendor_fields) / sizeof(vendor_fields[0]))

/* Applications that read their fields as environment variables take `_` for `-`. */
static ngx_uint_t same_name(const u_char *sent, const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((sent[i] == '_' ? '-' : sent[i]) != (u_char)name[i]) {
            return 0;
        }
    }
    return 1;
}

static int vendor_field(const ngx_table_elt_t *h)
{
    for (size_t i = 0; i < N_VENDOR_FIELDS; i++) {
        size_t n = ngx_strlen(vendor_fields[i].name);
        if (h->key.len == n && same_name(h->lowcase_key, vendor_fields[i].name, n)) {
            return (int)i;
        }
    }
    return -1;
}

static ngx_uint_t is_named(const ngx_table_elt_t *h, const char *name)
{
    size_t n = ngx_strlen(name);
    return h->key.len == n && ngx_strncmp(h->lowcase_key, name, n) == 0;
}

/* What every edit takes out of the list before it puts its own fields in. */
static ngx_uint_t drop_edited(const ngx_table_elt_t *h, void *data)
{
    const ngx_http_privacy_state_t *st = data;
    if (h->key.len == sizeof("cookie") - 1 &&
        ngx_memcmp(h->lowcase_key, "cookie", sizeof("cookie") - 1) == 0) {
        return 1;
    }
    return ngx_http_privacy_is_own(h) || (st->withholding && vendor_field(h) >= 0);
}

static void set_field(ngx_table_elt_t *h, const ngx_http_privacy_name_t *name, prv_str value)
{
    ngx_memzero(h, sizeof(*h));
    h->hash = name->hash;
    h->key = name->key;
    h->lowcase_key = name->lowcase;
    h->value = ngx_http_privacy_str(value);
}

/* The client's fields that vendors do not get; read once, before the first of them is taken out. */
static ngx_int_t keep_withheld(ngx_http_request_t *r, ngx_http_privacy_state_t *st)
{
    ngx_http_privacy_walk_t walk;
    ngx_table_elt_t *h;

    if (st->withheld) {
        return NGX_OK;
    }
    st->withheld = ngx_array_create(r->pool, 4, sizeof(ngx_table_elt_t *));
    if (st->withheld == NULL) {
        return NGX_ERROR;
    }
    ngx_http_privacy_walk_init(&walk, &r->headers_in.headers);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (vendor_field(h) >= 0) {
            ngx_table_elt_t **slot = ngx_array_push(st->withheld);
            if (slot == NULL) {
                return NGX_ERROR;
            }
            *slot = h;
        }
    }
    return NGX_OK;
}

typedef struct {
    ngx_table_elt_t *elts;
    ngx_uint_t n_cookies; /* they come first */
    ngx_uint_t n_forwarded;
    ngx_uint_t n;
} added_t;

static void add_cookies(const ngx_http_privacy_state_t *st, const prv_str *values, added_t *add)
{
    for (ngx_uint_t i = 0; i < st->n_lines; i++) {
        if (values && values[i].n == 0) {
            continue;
        }
        ngx_table_elt_t *h = &add->elts[add->n++];
        *h = *st->lines[i];
        if (values) {
            h->value = ngx_http_privacy_str(values[i]);
        }
    }
    add->n_cookies = add->n;
}

static void add_withheld(const ngx_http_privacy_state_t *st, ngx_uint_t vendor, added_t *add)
{
    if (!st->withholding) {
        return;
    }
    ngx_table_elt_t **kept = st->withheld->elts;
    /* X-Forwarded-For first: the request's own list of them is made from these elements. */
    for (int forwarded = 1; forwarded >= 0; forwarded--) {
        for (ngx_uint_t i = 0; i < st->withheld->nelts; i++) {
            if (is_named(kept[i], "x-forwarded-for") != (ngx_uint_t)forwarded) {
                continue;
            }
            prv_str value = ngx_http_privacy_view(&kept[i]->value);
            if (vendor) {
                value = vendor_fields[vendor_field(kept[i])].treat == CUT
                            ? ngx_http_privacy_cut(&st->env, value)
                            : PRV_NONE;
                if (value.n == 0) {
                    continue;
                }
            }
            ngx_table_elt_t *h = &add->elts[add->n++];
            *h = *kept[i];
            h->value = ngx_http_privacy_str(value);
        }
        if (forwarded) {
            add->n_forwarded = add->n - add->n_cookies;
        }
    }
}

/* nginx's shortcuts to the fields that were replaced. */
static ngx_int_t set_shortcuts(ngx_http_request_t *r, const ngx_http_privacy_state_t *st,
                               ngx_uint_t vendor, const added_t *add)
{
    if (ngx_http_privacy_multi_set(r->pool, &ngx_http_privacy_cookies(r), add->elts,
                                   add->n_cookies) != NGX_OK) {
        return NGX_ERROR;
    }
    if (!st->withholding) {
        return NGX_OK;
    }
    r->headers_in.authorization = vendor ? NULL : st->authorization;
#if (NGX_HTTP_X_FORWARDED_FOR)
    if (ngx_http_privacy_multi_set(r->pool, &r->headers_in.x_forwarded_for,
                                   add->elts + add->n_cookies, add->n_forwarded) != NGX_OK) {
        return NGX_ERROR;
    }
#endif
#if (NGX_HTTP_REALIP)
    r->headers_in.x_real_ip = NULL;
    for (ngx_uint_t i = add->n_cookies; i < add->n; i++) {
        if (is_named(&add->elts[i], "x-real-ip")) {
            r->headers_in.x_real_ip = &add->elts[i];
            break;
        }
    }
#endif
    return NGX_OK;
}

/* values NULL: the client's own Cookie fields. */
static ngx_int_t replace(ngx_http_request_t *r, ngx_http_privacy_state_t *st, const prv_str *values,
                         prv_str consent, prv_str age, ngx_uint_t vendor)
{
    if (vendor) {
        if (keep_withheld(r, st) != NGX_OK) {
            return NGX_ERROR;
        }
        st->withholding = 1;
    }
    ngx_uint_t room = st->n_lines + 2 + (st->withheld ? st->withheld->nelts : 0);
    added_t add = {.elts = ngx_pcalloc(r->pool, room * sizeof(ngx_table_elt_t))};
    if (add.elts == NULL) {
        return NGX_ERROR;
    }
    add_cookies(st, values, &add);
    add_withheld(st, vendor, &add);
    if (set_shortcuts(r, st, vendor, &add) != NGX_OK) {
        return NGX_ERROR;
    }
    const ngx_http_privacy_main_conf_t *mcf = ngx_http_privacy_main(r);
    if (consent.n) {
        set_field(&add.elts[add.n++], &mcf->consent_field, consent);
    }
    if (age.n) {
        set_field(&add.elts[add.n++], &mcf->age_field, age);
    }
    if (ngx_http_privacy_list_replace(r->pool, &r->headers_in.headers, drop_edited, st, add.elts,
                                      add.n) != NGX_OK) {
        return NGX_ERROR;
    }
    st->edited = 1;
    return NGX_OK;
}

static ngx_int_t edit(ngx_http_request_t *r, ngx_http_privacy_ctx_t *ctx)
{
    ngx_http_privacy_state_t *st = ctx->st;
    const prv_rules *rules = &ctx->lcf->rules;
    prv_str consent = PRV_NONE, age = PRV_NONE;
    prv_str *values = NULL;
    ngx_uint_t vendor = rules->vendor >= 0;
    unsigned vary = 0;

    if (st->n_lines && prv_cookies_need_edit(&st->rq, rules, &ctx->d)) {
        values = ngx_pcalloc(r->pool, st->n_lines * sizeof(prv_str));
        if (values == NULL) {
            return NGX_ERROR;
        }
        if (prv_edit_cookies(&st->rq, rules, &ctx->d, values, &vary) != PRV_OK) {
            ngx_memzero(values, st->n_lines * sizeof(prv_str));
        }
        st->edit_vary |= vary;
    }
    /* Files have no use for them. */
    if (rules->forward && !vendor && r->content_handler) {
        consent = prv_header_consent(&st->rq, &ctx->d);
        age = prv_header_age(&st->rq, &ctx->d);
        st->forwarded = 1;
        vary |= prv_vary(st->rq.site->policy, UINT32_MAX);
    }
    if (ngx_http_privacy_depends(ctx, vary) != NGX_OK) {
        return NGX_ERROR;
    }
    if (values == NULL && !consent.n && !age.n && !vendor && !st->edited) {
        return NGX_OK;
    }
    ctx->vendor = vendor & 1;
    return replace(r, st, values, consent, age, vendor);
}

ngx_int_t ngx_http_privacy_precontent_handler(ngx_http_request_t *r)
{
    const ngx_http_privacy_loc_conf_t *lcf = ngx_http_privacy_loc(r);
    const prv_rules *rules = &lcf->rules;
    ngx_int_t rc = NGX_OK;

    if (rules->mode != PRV_MODE_OFF && lcf->subject) {
        ngx_http_privacy_state_t *st = ngx_http_privacy_state_get(r);
        rc = st ? ngx_http_privacy_subject(r, st) : NGX_ERROR;
        if (rc != NGX_OK) {
            return rc == NGX_AGAIN ? NGX_AGAIN : NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
        rc = ngx_http_privacy_gate_last(r);
        if (rc != NGX_DECLINED) {
            return rc;
        }
        rc = NGX_OK;
    }
    if (rules->mode == PRV_MODE_ON && !rules->exempt) {
        ngx_http_privacy_ctx_t *ctx = ngx_http_privacy_decide(r);
        rc = ctx ? edit(r, ctx) : NGX_ERROR;
    } else if (ngx_http_privacy_srv(r)->strongest != PRV_MODE_OFF) {
        ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);
        if (st && st->edited) {
            rc = replace(r, st, NULL, PRV_NONE, PRV_NONE, 0);
        }
    }
    return rc == NGX_OK ? NGX_DECLINED : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

ngx_int_t ngx_http_privacy_log_handler(ngx_http_request_t *r)
{
    if (ngx_http_privacy_srv(r)->strongest != PRV_MODE_OFF) {
        ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);
        if (st) {
            st->logging = 1;
            ngx_http_privacy_count(r, st);
        }
    }
    return NGX_OK;
}
