/* What outlives a request: the shared memory, which survives graceful restarts, and each child's
 * store thread. */
#include "mod_privacy.h"

#include "http_core.h"
#include "apr_shm.h"

/*
 * The handle of the segment. It lives in the process pool, where nothing may point into this shared
 * object: it is unloaded and loaded again by every restart, while children of the older generation
 * still use the segment.
 */
typedef struct retained_zone {
    apr_shm_t *shm;
    apr_size_t size;
} retained_zone;

#define RETAINED_KEY "mod_privacy zone 1"
#define ZONE_ALIGN 64u

static prv_zone *attach_zone(server_rec *s, size_t size)
{
    retained_zone *kept = ap_retained_data_get(RETAINED_KEY);
    if (!kept) {
        kept = ap_retained_data_create(RETAINED_KEY, sizeof(*kept));
    }
    if (kept->shm && kept->size != size) {
        apr_shm_destroy(kept->shm); /* this process's mapping; older children keep theirs */
        kept->shm = NULL;
    }
    if (!kept->shm) {
        apr_status_t rv = apr_shm_create(&kept->shm, size + ZONE_ALIGN, NULL, s->process->pool);
        if (rv != APR_SUCCESS) {
            kept->shm = NULL;
            ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                         "PrivacyZone: no shared memory of %" APR_SIZE_T_FMT " bytes to be had.",
                         size);
            return NULL;
        }
        kept->size = size;
    }
    uintptr_t at = (uintptr_t)apr_shm_baseaddr_get(kept->shm);
    at = (at + ZONE_ALIGN - 1) / ZONE_ALIGN * ZONE_ALIGN;
    return prv_zone_attach((void *)at, size);
}

static void name_variables(apr_pool_t *p, prv_shared *shared)
{
    for (unsigned i = 0; i < PRV_VAR_COUNT; i++) {
        char *name = apr_pstrcat(p, "PRIVACY_",
                                 apr_pstrmemdup(p, prv_var_names[i].p, prv_var_names[i].n), NULL);
        ap_str_toupper(name);
        shared->env_names[i] = name;
    }
}

/* What counts, and what PrivacyStatus tells about. */
static const apr_array_header_t *note_sites(apr_pool_t *p, server_rec *main_server, prv_zone *zone)
{
    apr_array_header_t *sites = apr_array_make(p, 2, sizeof(const prv_site *));
    for (server_rec *s = main_server; s; s = s->next) {
        prv_server_conf *conf = prv_server_of(s);
        bool known = false;
        if (conf->strongest == PRV_MODE_OFF) {
            continue;
        }
        conf->site.counts = prv_zone_site(zone, conf->site.policy);
        if (conf->site.counts == 0) {
            const prv_str id = prv_policy_id(conf->site.policy);
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                         "PrivacyZone has no room to count the requests of policy '%.*s': make it larger.",
                         (int)id.n, id.p);
        }
        for (int i = 0; i < sites->nelts; i++) {
            known = known ||
                    APR_ARRAY_IDX(sites, i, const prv_site *)->policy == conf->site.policy;
        }
        if (!known) {
            APR_ARRAY_PUSH(sites, const prv_site *) = &conf->site;
        }
    }
    return sites;
}

int prv_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *main_server)
{
    (void)plog;
    (void)ptemp;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK; /* the configuration is read once more */
    }
    const prv_server_conf *conf = prv_server_of(main_server);
    bool used = false;
    for (server_rec *s = main_server; s; s = s->next) {
        used = used || prv_server_of(s)->strongest != PRV_MODE_OFF;
    }
    if (!used) {
        return OK;
    }
    prv_shared *shared = apr_pcalloc(pconf, sizeof(*shared));
    shared->store = conf->store;
    shared->timeout_ms = conf->timeout_ms;
    shared->zone = attach_zone(main_server, conf->zone_bytes ? conf->zone_bytes : PRV_ZONE_DEFAULT);
    if (!shared->zone) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    shared->sites = note_sites(pconf, main_server, shared->zone);
    name_variables(pconf, shared);
    prv_scan_variables(shared);
    for (server_rec *s = main_server; s; s = s->next) {
        prv_server_of(s)->shared = shared;
    }
    prv_check_warn(pconf, main_server);
    return OK;
}

void prv_child_init(apr_pool_t *pchild, server_rec *s)
{
    prv_shared *shared = prv_server_of(s)->shared;
    if (shared && shared->store) {
        shared->backend = prv_backend_start(pchild, s, shared);
    }
}
