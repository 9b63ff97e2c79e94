/* The gate: from the first look at a request to the last moment before its handler. */
#include "mod_privacy.h"

#include "http_core.h"
#include "http_protocol.h"

static bool server_is_off(const request_rec *r)
{
    return prv_server_of(r->server)->strongest == PRV_MODE_OFF;
}

static prv_mode mode_of(const prv_view *view)
{
    return view->dir->mode == PRV_MODE_UNSET ? PRV_MODE_OFF : (prv_mode)view->dir->mode;
}

static bool is_exempt(const prv_view *view, const request_rec *r)
{
    return prv_is_endpoint(view->dir) || prv_is_well_known(view->dir, r->uri) ||
           prv_is_status(view->dir);
}

/* ------------------------------------------------------------------ first look */

static int find_spoofed(void *names, const char *name, const char *value)
{
    (void)value;
    if ((name[0] == 'P' || name[0] == 'p') && prv_is_privacy_field(prv_str_of(name))) {
        APR_ARRAY_PUSH((apr_array_header_t *)names, const char *) = name;
    }
    return 1;
}

/* mod_proxy drops the fields that Connection names: a client must not name those of which only we
 * or the decision say whether they go upstream. */
static bool is_ours(const char *token)
{
    return prv_is_privacy_field(prv_str_of(token)) || ap_cstr_casecmp(token, "cookie") == 0;
}

static int read_connection(void *fields, const char *name, const char *value)
{
    (void)name;
    APR_ARRAY_PUSH((apr_array_header_t *)fields, const char *) = value;
    return 1;
}

static void clean_connection(request_rec *r)
{
    apr_array_header_t *fields = apr_array_make(r->pool, 1, sizeof(const char *));
    const char *kept = NULL;
    bool dropped = false;
    apr_table_do(read_connection, fields, r->headers_in, "Connection", NULL);
    for (int i = 0; i < fields->nelts; i++) {
        const char *p = APR_ARRAY_IDX(fields, i, const char *);
        while (*p) {
            const char *token = ap_get_token(r->pool, &p, 0); /* as mod_proxy reads it */
            p += *p == ',' || *p == ';';
            if (is_ours(token)) {
                dropped = true;
            } else if (*token) {
                kept = kept ? apr_pstrcat(r->pool, kept, ", ", token, NULL) : token;
            }
        }
    }
    if (dropped && kept) {
        apr_table_setn(r->headers_in, "Connection", kept);
    } else if (dropped) {
        apr_table_unset(r->headers_in, "Connection");
    }
}

int prv_post_read_first(request_rec *r)
{
    if (server_is_off(r) || r->main || r->prev) {
        return DECLINED; /* redirects carry what we added ourselves */
    }
    if (prv_has_own_field(r->headers_in)) {
        apr_array_header_t *names = apr_array_make(r->pool, 1, sizeof(const char *));
        apr_table_do(find_spoofed, names, r->headers_in, NULL);
        for (int i = 0; i < names->nelts; i++) {
            apr_table_unset(r->headers_in, APR_ARRAY_IDX(names, i, const char *));
        }
    }
    if (apr_table_get(r->headers_in, "Connection")) {
        clean_connection(r);
    }
    return DECLINED;
}

/* ------------------------------------------------------------------ virtual locations */

/* No alias, proxy or rewrite rule of the server may take it. */
static int take(request_rec *r)
{
    r->proxyreq = PROXYREQ_NONE;
    r->handler = PRV_HANDLER; /* none would be FallbackResource's */
    r->filename = apr_pstrdup(r->pool, r->uri);
    return OK;
}

int prv_translate(request_rec *r)
{
    if (server_is_off(r)) {
        return prv_is_status(prv_dir_of(r)) ? take(r) : DECLINED;
    }
    prv_view *view = prv_view_get(r);
    if (r->prev) {
        prv_hear_application(r->prev);
    }
    prv_upstream_restore(view->root, r);
    view->endpoint =
        prv_is_status(view->dir) || (mode_of(view) != PRV_MODE_OFF && is_exempt(view, r));
    return view->endpoint ? take(r) : DECLINED;
}

int prv_map_to_storage(request_rec *r)
{
    if (server_is_off(r)) {
        return prv_is_status(prv_dir_of(r)) ? OK : DECLINED;
    }
    /* No file, no directory index, no .htaccess: only <Location> speaks here. */
    return prv_view_get(r)->endpoint ? OK : DECLINED;
}

/* ------------------------------------------------------------------ refusing */

/* The document that an operator shows for our own refusal must be served even where the gate is
 * inherited: that document alone, not what it includes or redirects to. */
static bool after_refusal(const prv_root *root, const request_rec *r)
{
    return root->refused && !r->main && r->prev == root->refused &&
           root->refused->status == root->refused_status;
}

static request_rec *main_of(request_rec *r)
{
    while (r->main) {
        r = r->main;
    }
    return r;
}

static int refuse(prv_view *view, request_rec *r)
{
    prv_root *root = view->root;
    prv_gate_answer answer;
    prv_gate_respond(&root->rq, &view->rules, &view->d, prv_uri_of(root->r),
                     prv_str_of(apr_table_get(root->r->headers_in, "Referer")), &answer);
    if (!after_refusal(root, main_of(r))) { /* else a part of the document for the first one */
        root->refused = main_of(r);
        root->refused_status = answer.status;
        root->refused_body = answer.body.n > 0 ? prv_text(root->r, answer.body) : NULL;
    }
    if (answer.location.n > 0) {
        apr_table_setn(r->headers_out, "Location", prv_text(r, answer.location));
    }
    return answer.status;
}

/* DECLINED, or the status of the refusal. */
static int enforce(prv_view *view, request_rec *r, bool last)
{
    prv_root *root = view->root;
    if (view->rules.mode != PRV_MODE_ON || view->rules.exempt || after_refusal(root, r)) {
        return DECLINED;
    }
    if (view->unbound) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    prv_view_depends(view, view->d.vary);
    /* Who is logged in may pass, and that is known behind authentication only: fixups decide. */
    const bool waits = !last && view->dir->subject && !r->main;
    return view->d.verdict == PRV_PASS || waits ? DECLINED : refuse(view, r);
}

/* ------------------------------------------------------------------ header_parser: client requests
 * and redirects */

int prv_header_parser_first(request_rec *r)
{
    if (server_is_off(r)) {
        return DECLINED;
    }
    prv_view *view = prv_view_get(r);
    const prv_shared *shared = view->root->server->shared;
    if (mode_of(view) != PRV_MODE_OFF && shared->env_wanted) {
        prv_view_decide(view, r, true);
        prv_env_set(view, r, shared->env_wanted);
    }
    return DECLINED;
}

int prv_header_parser_last(request_rec *r)
{
    if (server_is_off(r)) {
        return DECLINED;
    }
    prv_view *view = prv_view_get(r);
    if (mode_of(view) == PRV_MODE_OFF || is_exempt(view, r)) {
        return DECLINED;
    }
    const prv_shared *shared = view->root->server->shared;
    const prv_region before = view->d.region;
    const bool had = view->decided;
    view->decided = view->decided && !view->dir->region; /* others may have told it meanwhile */
    prv_view_decide(view, r, true);
    if (shared->env_wanted && had && memcmp(&before, &view->d.region, sizeof(before)) != 0) {
        prv_env_set(view, r, shared->env_wanted);
    }
    return enforce(view, r, false);
}

/* ------------------------------------------------------------------ fixups: subrequests, mod_dir,
 * upstream */

int prv_fixups_first(request_rec *r)
{
    if (server_is_off(r)) {
        return DECLINED;
    }
    prv_view *view = prv_view_get(r);
    prv_upstream_restore(view->root, r);
    if (mode_of(view) != PRV_MODE_OFF) {
        prv_root_subject(view, r);
    }
    if (mode_of(view) == PRV_MODE_OFF || is_exempt(view, r)) {
        return DECLINED;
    }
    prv_view_decide(view, r, true);
    int refused = enforce(view, r, true);
    if (refused == DECLINED && view->rules.mode == PRV_MODE_ON) {
        prv_upstream_withhold(view, r); /* before RequestHeader, which may set the vendor's own */
    }
    return refused;
}

int prv_fixups_last(request_rec *r)
{
    if (server_is_off(r)) {
        return DECLINED;
    }
    prv_view *view = prv_view_get(r);
    const prv_shared *shared = view->root->server->shared;
    prv_interim_watch(r, mode_of(view) != PRV_MODE_OFF && !is_exempt(view, r));
    if (mode_of(view) == PRV_MODE_OFF) {
        return DECLINED;
    }
    prv_root_subject(view, r); /* a certificate's user is known to fixups only */
    if (is_exempt(view, r)) {
        r->handler = PRV_HANDLER;
        return DECLINED;
    }
    prv_view_decide(view, r, true);
    /* mod_dir may have put another location's configuration here. */
    int refused = enforce(view, r, true);
    if (refused != DECLINED) {
        return refused;
    }
    view->dynamic = prv_is_dynamic(r);
    uint32_t wanted =
        shared->env_wanted | (view->dynamic && prv_reads_environment(r) ? PRV_VARS_ALL : 0);
    if (view->rules.mode == PRV_MODE_ON) {
        prv_upstream_edit(view, r);
    }
    if (wanted) {
        prv_env_set(view, r, wanted);
    }
    return DECLINED;
}
