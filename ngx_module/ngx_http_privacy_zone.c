/*
 * The shared memory zone. nginx owns the head of the segment (its slab pool, whose mutex it unlocks
 * when a worker dies); the core's zone is one piece allocated from that, found again over a reload
 * through the pool's `data`.
 */
#include "ngx_http_privacy.h"

/* In front of the core's zone; keeps its alignment of 64. */
typedef union {
    size_t size;
    u_char align[64];
} zone_head_t;

/* The slab pool's head, and 24 bytes and a bit for each page. */
static size_t segment_size(size_t bytes)
{
    size_t size = bytes + sizeof(zone_head_t) + 8 * ngx_pagesize + bytes / 128;
    return ngx_align(size, ngx_pagesize);
}

static ngx_int_t zone_init(ngx_shm_zone_t *shm, void *data)
{
    ngx_http_privacy_main_conf_t *mcf = shm->data;
    ngx_slab_pool_t *pool = (ngx_slab_pool_t *)(void *)shm->shm.addr;
    (void)data;

    if (pool->data == NULL) {
        zone_head_t *made = ngx_slab_alloc(pool, sizeof(zone_head_t) + mcf->zone_size);
        if (made == NULL) {
            ngx_log_error(NGX_LOG_EMERG, shm->shm.log, 0, "privacy_zone \"%V\" is too small",
                          &shm->shm.name);
            return NGX_ERROR;
        }
        made->size = mcf->zone_size;
        pool->data = made;
        pool->log_nomem = 0;
    }
    zone_head_t *head = pool->data;
    mcf->zone = prv_zone_attach(head + 1, head->size);
    prv_site **sites = mcf->sites.elts;
    for (ngx_uint_t i = 0; i < mcf->sites.nelts; i++) {
        sites[i]->counts = prv_zone_site(mcf->zone, sites[i]->policy);
        if (sites[i]->counts == 0) {
            prv_str id = prv_policy_id(sites[i]->policy);
            ngx_log_error(NGX_LOG_WARN, shm->shm.log, 0,
                          "privacy_zone \"%V\" has no room to count the requests of policy \"%*s\": make it larger",
                          &shm->shm.name, id.n, id.p);
        }
    }
    return NGX_OK;
}

ngx_int_t ngx_http_privacy_zone_add(ngx_conf_t *cf, ngx_http_privacy_main_conf_t *mcf)
{
    ngx_str_t name = ngx_http_privacy_str(mcf->zone_name);

    mcf->shm =
        ngx_shared_memory_add(cf, &name, segment_size(mcf->zone_size), &ngx_http_privacy_module);
    if (mcf->shm == NULL) {
        return NGX_ERROR;
    }
    mcf->shm->init = zone_init;
    mcf->shm->data = mcf;
    return NGX_OK;
}
