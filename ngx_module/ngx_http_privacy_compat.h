/*
 * What differs between nginx versions, in one place: repeated request fields are an array of
 * pointers below 1.23 and a list linked through `next` from 1.23 on.
 */
#ifndef NGX_HTTP_PRIVACY_COMPAT_H
#define NGX_HTTP_PRIVACY_COMPAT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#if (nginx_version >= 1023000)

typedef ngx_table_elt_t *ngx_http_privacy_multi_t;

#define ngx_http_privacy_cookies(r) ((r)->headers_in.cookie)

static ngx_inline ngx_uint_t ngx_http_privacy_multi_count(const ngx_http_privacy_multi_t *multi)
{
    ngx_uint_t n = 0;
    for (const ngx_table_elt_t *h = *multi; h; h = h->next) {
        n++;
    }
    return n;
}

static ngx_inline void ngx_http_privacy_multi_get(const ngx_http_privacy_multi_t *multi,
                                                  ngx_table_elt_t **out)
{
    for (ngx_table_elt_t *h = *multi; h; h = h->next) {
        *out++ = h;
    }
}

/* The elements must be the caller's own: their links are written. */
static ngx_inline ngx_int_t ngx_http_privacy_multi_set(ngx_pool_t *pool,
                                                       ngx_http_privacy_multi_t *multi,
                                                       ngx_table_elt_t *elts, ngx_uint_t n)
{
    (void)pool;
    for (ngx_uint_t i = 0; i < n; i++) {
        elts[i].next = i + 1 < n ? &elts[i + 1] : NULL;
    }
    *multi = n ? elts : NULL;
    return NGX_OK;
}

#else

typedef ngx_array_t ngx_http_privacy_multi_t;

#define ngx_http_privacy_cookies(r) ((r)->headers_in.cookies)

static ngx_inline ngx_uint_t ngx_http_privacy_multi_count(const ngx_http_privacy_multi_t *multi)
{
    return multi->elts ? multi->nelts : 0;
}

static ngx_inline void ngx_http_privacy_multi_get(const ngx_http_privacy_multi_t *multi,
                                                  ngx_table_elt_t **out)
{
    if (multi->elts) {
        ngx_memcpy(out, multi->elts, multi->nelts * sizeof(ngx_table_elt_t *));
    }
}

/* A new array: subrequests share the elements of the old one. */
static ngx_inline ngx_int_t ngx_http_privacy_multi_set(ngx_pool_t *pool,
                                                       ngx_http_privacy_multi_t *multi,
                                                       ngx_table_elt_t *elts, ngx_uint_t n)
{
    ngx_memzero(multi, sizeof(*multi));
    if (n == 0) {
        return NGX_OK;
    }
    if (ngx_array_init(multi, pool, n, sizeof(ngx_table_elt_t *)) != NGX_OK) {
        return NGX_ERROR;
    }
    for (ngx_uint_t i = 0; i < n; i++) {
        ngx_table_elt_t **slot = ngx_array_push(multi);
        *slot = &elts[i];
    }
    return NGX_OK;
}

#endif

#endif
