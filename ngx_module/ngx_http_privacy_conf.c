/*
 * The directives, and those of http{} and server{}. The nearest level wins.
 */
#include "ngx_http_privacy.h"

#define DEFAULT_ZONE "privacy:16m"
#define DEFAULT_TIMEOUT "50ms"
#define DEFAULT_PREFIX "privacy:"
#define DEFAULT_HOME "/privacy/"

static char *set_policy(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_key_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_cookie(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_store(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_store_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_timeout(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_store_wait(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_prefix(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_home(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

static ngx_conf_enum_t modes[] = {{ngx_string("off"), PRV_MODE_OFF},
                                  {ngx_string("on"), PRV_MODE_ON},
                                  {ngx_string("report"), PRV_MODE_REPORT},
                                  {ngx_null_string, 0}};

static ngx_conf_enum_t failures[] = {
    {ngx_string("token"), 0}, {ngx_string("deny"), 1}, {ngx_null_string, 0}};

#define M NGX_HTTP_MAIN_CONF
#define S NGX_HTTP_SRV_CONF
#define L NGX_HTTP_LOC_CONF
#define MAIN(field) NGX_HTTP_MAIN_CONF_OFFSET, offsetof(ngx_http_privacy_main_conf_t, field)
#define SRV(field) NGX_HTTP_SRV_CONF_OFFSET, offsetof(ngx_http_privacy_srv_conf_t, field)
#define LOC(field) NGX_HTTP_LOC_CONF_OFFSET, offsetof(ngx_http_privacy_loc_conf_t, field)

ngx_command_t ngx_http_privacy_commands[] = {
    {ngx_string("privacy"), M | S | L | NGX_CONF_TAKE1, ngx_conf_set_enum_slot, LOC(mode), modes},
    {ngx_string("privacy_policy"), M | S | NGX_CONF_TAKE1, set_policy, SRV(policy), NULL},
    {ngx_string("privacy_key_file"), M | S | NGX_CONF_TAKE1, set_key_file, SRV(keys), NULL},
    {ngx_string("privacy_cookie"), M | S | NGX_CONF_1MORE, set_cookie, SRV(cookie), NULL},
    {ngx_string("privacy_zone"), M | NGX_CONF_TAKE1, set_zone, MAIN(zone_name), NULL},
    {ngx_string("privacy_store"), M | NGX_CONF_TAKE1, set_store, MAIN(store_url), NULL},
    {ngx_string("privacy_store_password_file"), M | NGX_CONF_TAKE1, set_store_file,
     MAIN(store_password_file), NULL},
    {ngx_string("privacy_store_tls_ca"), M | NGX_CONF_TAKE1, set_store_file, MAIN(store_tls_ca),
     NULL},
    {ngx_string("privacy_store_tls_cert"), M | NGX_CONF_TAKE1, set_store_file, MAIN(store_tls_cert),
     NULL},
    {ngx_string("privacy_store_tls_key"), M | NGX_CONF_TAKE1, set_store_file, MAIN(store_tls_key),
     NULL},
    {ngx_string("privacy_store_timeout"), M | NGX_CONF_TAKE1, set_timeout, MAIN(store_timeout),
     NULL},
    {ngx_string("privacy_store_wait"), M | NGX_CONF_TAKE1, set_store_wait, MAIN(store_wait), NULL},
    {ngx_string("privacy_store_prefix"), M | NGX_CONF_TAKE1, set_prefix, MAIN(store_prefix), NULL},
    {ngx_string("privacy_on_store_failure"), M | S | L | NGX_CONF_TAKE1, ngx_conf_set_enum_slot,
     LOC(store_failure), failures},
    {ngx_string("privacy_region"), M | S | L | NGX_CONF_TAKE1, ngx_http_privacy_set_region,
     LOC(region), NULL},
    {ngx_string("privacy_subject"), M | S | L | NGX_CONF_TAKE1, ngx_http_privacy_set_subject,
     LOC(subject), NULL},
    {ngx_string("privacy_require"), L | NGX_CONF_1MORE, ngx_http_privacy_set_require, LOC(require),
     NULL},
    {ngx_string("privacy_min_age"), L | NGX_CONF_1MORE, ngx_http_privacy_set_min_age, LOC(min_age),
     NULL},
    {ngx_string("privacy_vendor"), L | NGX_CONF_TAKE1, ngx_http_privacy_set_vendor, LOC(vendor),
     NULL},
    {ngx_string("privacy_home"), M | S | NGX_CONF_TAKE1, set_home, SRV(home), NULL},
    {ngx_string("privacy_endpoint"), L | NGX_CONF_FLAG, ngx_http_privacy_set_endpoint,
     LOC(endpoint), (void *)(uintptr_t)ngx_http_privacy_endpoint_handler},
    {ngx_string("privacy_well_known"), L | NGX_CONF_FLAG, ngx_http_privacy_set_endpoint,
     LOC(well_known), (void *)(uintptr_t)ngx_http_privacy_well_known_handler},
    {ngx_string("privacy_status"), L | NGX_CONF_FLAG, ngx_http_privacy_set_endpoint, LOC(status),
     (void *)(uintptr_t)ngx_http_privacy_status_handler},
    {ngx_string("privacy_limit"), M | S | NGX_CONF_1MORE, set_limit, SRV(limit), NULL},
    {ngx_string("privacy_forward"), M | S | L | NGX_CONF_FLAG, ngx_conf_set_flag_slot, LOC(forward),
     NULL},
    {ngx_string("privacy_scrub_args"), M | S | L | NGX_CONF_1MORE, ngx_http_privacy_set_scrub,
     LOC(scrub), NULL},
    ngx_null_command};

#undef M
#undef S
#undef L

/* ---- helpers */

char *ngx_http_privacy_fail(ngx_conf_t *cf, const prv_error *err)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", err->text);
    return NGX_CONF_ERROR;
}

/* The same form as ngx_conf_log_error(), for a directive that was read earlier. */
char *ngx_http_privacy_fail_at(ngx_conf_t *cf, const ngx_http_privacy_place_t *place,
                               const char *text)
{
    ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "%s in %s:%ui", text, place->file, place->line);
    return NGX_CONF_ERROR;
}

void ngx_http_privacy_place(ngx_conf_t *cf, ngx_http_privacy_place_t *place)
{
    place->file = cf->conf_file->file.name.data;
    place->line = cf->conf_file->line;
}

/* The directive's arguments as views; their text lives as long as the configuration. */
prv_str *ngx_http_privacy_args(ngx_conf_t *cf, size_t *n)
{
    const ngx_str_t *value = cf->args->elts;
    *n = cf->args->nelts - 1;
    prv_str *args = ngx_palloc(cf->pool, (*n ? *n : 1) * sizeof(prv_str));
    for (size_t i = 0; args && i < *n; i++) {
        args[i] = ngx_http_privacy_view(&value[i + 1]);
    }
    return args;
}

static void free_policies(void *data)
{
    prv_policies_free(data);
}

static void free_main(void *data)
{
    ngx_http_privacy_main_conf_t *mcf = data;
    ngx_http_privacy_keys_t *k = mcf->keyrings.elts;
    for (ngx_uint_t i = 0; i < mcf->keyrings.nelts; i++) {
        prv_keyring_free(k[i].keys);
    }
    ngx_http_privacy_store_close(mcf);
    if (mcf->store_conf) {
        prv_store_conf_free(mcf->store_conf);
    }
}

/* ---- http{} */

static ngx_int_t make_name(ngx_pool_t *pool, prv_str name, ngx_http_privacy_name_t *out)
{
    out->key = ngx_http_privacy_str(name);
    out->lowcase = ngx_pnalloc(pool, name.n);
    if (out->lowcase == NULL) {
        return NGX_ERROR;
    }
    out->hash = ngx_hash_strlow(out->lowcase, out->key.data, out->key.len);
    return NGX_OK;
}

void *ngx_http_privacy_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_privacy_main_conf_t *mcf = ngx_pcalloc(cf->pool, sizeof(*mcf));
    ngx_pool_cleanup_t *cln = ngx_pool_cleanup_add(cf->pool, 0);
    ngx_pool_cleanup_t *set = ngx_pool_cleanup_add(cf->pool, 0);
    if (mcf == NULL || cln == NULL || set == NULL) {
        return NULL;
    }
    if (ngx_array_init(&mcf->keyrings, cf->pool, 2, sizeof(ngx_http_privacy_keys_t)) != NGX_OK ||
        ngx_array_init(&mcf->sites, cf->pool, 4, sizeof(prv_site *)) != NGX_OK ||
        ngx_array_init(&mcf->shown, cf->pool, 2, sizeof(const prv_site *)) != NGX_OK) {
        return NULL;
    }
    if (make_name(cf->pool, PRV_STR("Privacy-Consent"), &mcf->consent_field) != NGX_OK ||
        make_name(cf->pool, PRV_STR("Privacy-Age"), &mcf->age_field) != NGX_OK) {
        return NULL;
    }
    mcf->policies = prv_policies_new();
    if (mcf->policies == NULL) {
        return NULL;
    }
    set->handler = free_policies;
    set->data = mcf->policies;
    cln->handler = free_main;
    cln->data = mcf;
    return mcf;
}

static char *set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_main_conf_t *mcf = conf;
    const ngx_str_t *value = cf->args->elts;
    prv_error err;
    (void)cmd;
    if (mcf->zone_name.n) {
        return "is duplicate";
    }
    if (prv_zone_parse(ngx_http_privacy_view(&value[1]), &mcf->zone_name, &mcf->zone_size, &err) !=
        PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

static char *set_store(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_main_conf_t *mcf = conf;
    ngx_http_privacy_place(cf, &mcf->store_place);
    return ngx_conf_set_str_slot(cf, cmd, conf);
}

static char *set_store_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_main_conf_t *mcf = conf;
    ngx_str_t *name = (ngx_str_t *)(void *)((char *)conf + cmd->offset);
    if (mcf->store_place.file == NULL) {
        ngx_http_privacy_place(cf, &mcf->store_place); /* unless privacy_store follows */
    }
    char *rc = ngx_conf_set_str_slot(cf, cmd, conf);
    if (rc == NGX_CONF_OK && ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        rc = NGX_CONF_ERROR;
    }
    return rc;
}

static char *set_timeout(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_main_conf_t *mcf = conf;
    const ngx_str_t *value = cf->args->elts;
    prv_error err;
    (void)cmd;
    if (mcf->store_timeout) {
        return "is duplicate";
    }
    if (prv_timeout_parse(ngx_http_privacy_view(&value[1]), &mcf->store_timeout, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

static char *set_store_wait(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_main_conf_t *mcf = conf;
    const ngx_str_t *value = cf->args->elts;
    prv_error err;
    (void)cmd;
    if (mcf->store_wait_set) {
        return "is duplicate";
    }
    mcf->store_wait_set = 1;
    if (prv_store_wait_parse(ngx_http_privacy_view(&value[1]), &mcf->store_wait, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

static char *set_prefix(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_main_conf_t *mcf = conf;
    const ngx_str_t *value = cf->args->elts;
    prv_error err;
    (void)cmd;
    if (mcf->store_prefix.n) {
        return "is duplicate";
    }
    if (prv_prefix_parse(ngx_http_privacy_view(&value[1]), &mcf->store_prefix, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

char *ngx_http_privacy_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_privacy_main_conf_t *mcf = conf;
    prv_store_settings settings = {0};
    prv_error err;

    if (mcf->zone_name.n == 0) {
        (void)prv_zone_parse(PRV_STR(DEFAULT_ZONE), &mcf->zone_name, &mcf->zone_size, &err);
    }
    if (mcf->store_timeout == 0) {
        (void)prv_timeout_parse(PRV_STR(DEFAULT_TIMEOUT), &mcf->store_timeout, &err);
    }
    if (mcf->store_prefix.n == 0) {
        mcf->store_prefix = PRV_STR(DEFAULT_PREFIX);
    }
    if (mcf->store_place.file == NULL) {
        return NGX_CONF_OK; /* neither a store nor a file of one */
    }
    settings.url = mcf->store_url.data ? ngx_http_privacy_view(&mcf->store_url) : PRV_STR("off");
    settings.password_file = (const char *)mcf->store_password_file.data;
    settings.tls_ca = (const char *)mcf->store_tls_ca.data;
    settings.tls_cert = (const char *)mcf->store_tls_cert.data;
    settings.tls_key = (const char *)mcf->store_tls_key.data;
    settings.prefix = mcf->store_prefix;
    settings.timeout_ms = mcf->store_timeout;
    settings.wait = mcf->store_wait;
    if (prv_store_conf_parse(&settings, &mcf->store_conf, &err) != PRV_OK) {
        return ngx_http_privacy_fail_at(cf, &mcf->store_place, err.text);
    }
    return NGX_CONF_OK;
}

/* ---- server{} */

void *ngx_http_privacy_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_privacy_srv_conf_t));
}

static char *set_policy(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_srv_conf_t *scf = conf;
    ngx_http_privacy_main_conf_t *mcf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_privacy_module);
    ngx_str_t path = ((ngx_str_t *)cf->args->elts)[1];
    prv_error err;
    (void)cmd;
    if (scf->policy) {
        return "is duplicate";
    }
    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }
    if (prv_policies_load(mcf->policies, (const char *)path.data, &scf->policy, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

static char *set_key_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_srv_conf_t *scf = conf;
    ngx_http_privacy_main_conf_t *mcf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_privacy_module);
    ngx_str_t path = ((ngx_str_t *)cf->args->elts)[1];
    ngx_http_privacy_keys_t *k = mcf->keyrings.elts;
    prv_keyring *keys;
    prv_error err;
    (void)cmd;
    if (scf->keys) {
        return "is duplicate";
    }
    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }
    for (ngx_uint_t i = 0; i < mcf->keyrings.nelts; i++) {
        if (k[i].path.len == path.len && ngx_memcmp(k[i].path.data, path.data, path.len) == 0) {
            scf->keys = k[i].keys;
            return NGX_CONF_OK;
        }
    }
    k = ngx_array_push(&mcf->keyrings);
    if (k == NULL) {
        return NGX_CONF_ERROR;
    }
    if (prv_keyring_load((const char *)path.data, &keys, &err) != PRV_OK) {
        mcf->keyrings.nelts--;
        return ngx_http_privacy_fail(cf, &err);
    }
    k->path = path;
    k->keys = keys;
    scf->keys = keys;
    return NGX_CONF_OK;
}

static char *set_cookie(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_srv_conf_t *scf = conf;
    prv_error err;
    size_t n;
    (void)cmd;
    if (scf->cookie) {
        return "is duplicate";
    }
    const prv_str *args = ngx_http_privacy_args(cf, &n);
    scf->cookie = ngx_pcalloc(cf->pool, sizeof(*scf->cookie));
    if (args == NULL || scf->cookie == NULL) {
        return NGX_CONF_ERROR;
    }
    if (prv_cookie_conf_parse(args, n, scf->cookie, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

static char *set_home(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_srv_conf_t *scf = conf;
    const ngx_str_t *value = cf->args->elts;
    prv_error err;
    (void)cmd;
    if (scf->home.n) {
        return "is duplicate";
    }
    if (prv_home_parse(ngx_http_privacy_view(&value[1]), &scf->home, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

static char *set_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_srv_conf_t *scf = conf;
    prv_error err;
    size_t n;
    (void)cmd;
    if (scf->limit) {
        return "is duplicate";
    }
    const prv_str *args = ngx_http_privacy_args(cf, &n);
    scf->limit = ngx_pcalloc(cf->pool, sizeof(*scf->limit));
    if (args == NULL || scf->limit == NULL) {
        return NGX_CONF_ERROR;
    }
    prv_limit_conf_init(scf->limit);
    if (prv_limit_parse(args, n, scf->limit, &err) != PRV_OK) {
        return ngx_http_privacy_fail(cf, &err);
    }
    return NGX_CONF_OK;
}

char *ngx_http_privacy_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    const ngx_http_privacy_srv_conf_t *prev = parent;
    ngx_http_privacy_srv_conf_t *scf = child;
    (void)cf;
    if (scf->policy == NULL) {
        scf->policy = prev->policy;
    }
    if (scf->keys == NULL) {
        scf->keys = prev->keys;
    }
    if (scf->cookie == NULL) {
        scf->cookie = prev->cookie;
    }
    if (scf->limit == NULL) {
        scf->limit = prev->limit;
    }
    if (scf->home.n == 0) {
        scf->home = prev->home.n ? prev->home : PRV_STR(DEFAULT_HOME);
    }
    return NGX_CONF_OK;
}
