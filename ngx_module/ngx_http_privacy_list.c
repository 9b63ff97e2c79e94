/*
 * Lists of header elements. Subrequests copy headers_in by value and share the parts behind it, so
 * a list is replaced by one whose parts are slices of the old arrays: the elements stay where they
 * are, and pointers to them hold.
 */
#include "ngx_http_privacy.h"

void ngx_http_privacy_walk_init(ngx_http_privacy_walk_t *walk, const ngx_list_t *list)
{
    walk->part = &list->part;
    walk->i = 0;
}

ngx_table_elt_t *ngx_http_privacy_walk_next(ngx_http_privacy_walk_t *walk)
{
    while (walk->part && walk->i >= walk->part->nelts) {
        walk->part = walk->part->next;
        walk->i = 0;
    }
    if (walk->part == NULL) {
        return NULL;
    }
    return (ngx_table_elt_t *)walk->part->elts + walk->i++;
}

ngx_int_t ngx_http_privacy_joined(ngx_pool_t *pool, const ngx_list_t *list, const char *name,
                                  prv_str *value)
{
    ngx_http_privacy_walk_t walk;
    const ngx_table_elt_t *h;
    size_t n = ngx_strlen(name);

    *value = PRV_NONE;
    ngx_http_privacy_walk_init(&walk, list);
    while ((h = ngx_http_privacy_walk_next(&walk)) != NULL) {
        if (h->hash == 0 || h->key.len != n ||
            ngx_strncasecmp(h->key.data, (u_char *)(uintptr_t)name, n) != 0) {
            continue;
        }
        if (value->p == NULL) {
            *value = ngx_http_privacy_view(&h->value);
            continue;
        }
        u_char *data = ngx_pnalloc(pool, value->n + 2 + h->value.len);
        if (data == NULL) {
            return NGX_ERROR;
        }
        u_char *p = ngx_cpymem(data, value->p, value->n);
        p = ngx_cpymem(p, ", ", 2);
        p = ngx_cpymem(p, h->value.data, h->value.len);
        *value = (prv_str){(const char *)data, (size_t)(p - data)};
    }
    return NGX_OK;
}

/* Appends a part; the first one stands in the list itself. No part is ever empty: nginx's own loops
 * over lists look at the first element of a next part without asking. */
static ngx_int_t part_append(ngx_pool_t *pool, ngx_list_t *list, ngx_table_elt_t *elts,
                             ngx_uint_t n)
{
    ngx_list_part_t *part = list->last;
    if (n == 0) {
        return NGX_OK;
    }
    if (part->nelts) {
        part = ngx_palloc(pool, sizeof(*part));
        if (part == NULL) {
            return NGX_ERROR;
        }
        list->last->next = part;
        list->last = part;
    }
    part->elts = elts;
    part->nelts = n;
    part->next = NULL;
    return NGX_OK;
}

ngx_int_t ngx_http_privacy_list_replace(ngx_pool_t *pool, ngx_list_t *list,
                                        ngx_uint_t (*drop)(const ngx_table_elt_t *h, void *data),
                                        void *data, ngx_table_elt_t *added, ngx_uint_t n_added)
{
    ngx_list_t made = {.size = sizeof(ngx_table_elt_t), .pool = pool};
    made.last = &made.part;

    for (const ngx_list_part_t *part = &list->part; part; part = part->next) {
        ngx_table_elt_t *elts = part->elts;
        ngx_uint_t from = 0;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (drop(&elts[i], data)) {
                if (part_append(pool, &made, elts + from, i - from) != NGX_OK) {
                    return NGX_ERROR;
                }
                from = i + 1;
            }
        }
        if (part_append(pool, &made, elts + from, part->nelts - from) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    if (part_append(pool, &made, added, n_added) != NGX_OK) {
        return NGX_ERROR;
    }

    /* The last part is full: whoever pushes next gets a new one and does not write past a slice. */
    made.nalloc = made.last->nelts;
    if (made.nalloc == 0) {
        return ngx_list_init(list, pool, 4, sizeof(ngx_table_elt_t));
    }
    if (made.last == &made.part) {
        made.last = &list->part;
    }
    *list = made;
    return NGX_OK;
}
