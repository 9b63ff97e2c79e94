/*
 * PRIVACY_* variables. httpd has no lazy environment, so a value is made only where somebody can
 * read it: the configuration mentions its name, or the request goes to a program (prv_is_dynamic,
 * SSI).
 */
#include "mod_privacy.h"

void prv_env_set(prv_view *view, request_rec *r, uint32_t wanted)
{
    const prv_root *root = view->root;
    const prv_shared *shared = root->server->shared;
    const apr_array_header_t *scrub = view->dir->scrub;
    const prv_var_input in = {
        .rq = &root->rq,
        .rules = &view->rules,
        .d = &view->d,
        .addr = prv_str_of(root->client_ip ? root->client_ip : root->r->useragent_ip),
        .uri = prv_uri_of(root->r),
        .set_cookies =
            root->set_cookies ? (const prv_str *)(const void *)root->set_cookies->elts : NULL,
        .n_set_cookies = root->set_cookies ? (size_t)root->set_cookies->nelts : 0,
        .scrub = scrub ? (const prv_str *)(const void *)scrub->elts : NULL,
        .n_scrub = scrub ? (size_t)scrub->nelts : 0,
    };
    for (unsigned i = 0; i < PRV_VAR_COUNT; i++) {
        if (wanted & (UINT32_C(1) << i)) {
            apr_table_setn(r->subprocess_env, shared->env_names[i],
                           prv_text(r, prv_variable((prv_var)i, &in)));
        }
    }
}

/* For the log: what became of the answer's cookies, and answers that never met the gate. */
static void complete(request_rec *r)
{
    prv_view *view = prv_view_get(r);
    const prv_shared *shared = view->root->server->shared;
    if (view->dir->mode == PRV_MODE_UNSET || view->dir->mode == (int)PRV_MODE_OFF) {
        return;
    }
    prv_view_decide(view, r, false);
    prv_env_set(view, r, shared->env_wanted);
}

/* By the location that answered; a request that could not be read came to none. */
static void count(request_rec *r, const prv_root *root)
{
    prv_view *view = prv_view_get(r);
    if (!root->captured || view->dir->mode == PRV_MODE_UNSET ||
        view->dir->mode == (int)PRV_MODE_OFF) {
        return;
    }
    prv_view_decide(view, r, false);
    const apr_array_header_t *set = root->set_cookies;
    prv_tally_count(&root->rq, &view->rules, &view->d,
                    set ? (const prv_str *)(const void *)set->elts : NULL,
                    set ? (size_t)set->nelts : 0);
}

int prv_log_transaction(request_rec *r)
{
    const prv_server_conf *server = prv_server_of(r->server);
    if (server->strongest == PRV_MODE_OFF) {
        return DECLINED;
    }
    const prv_root *root = prv_root_get(r);
    for (request_rec *any = r; any; any = any->next) {
        if (root->client_ip) {
            any->useragent_ip = root->client_ip;
        }
        /* mod_log_config reads the first and the last of a chain of redirects. */
        if (server->shared->env_wanted && (any == r || !any->next)) {
            complete(any);
        }
        if (!any->next) {
            count(any, root);
        }
    }
    return DECLINED;
}
