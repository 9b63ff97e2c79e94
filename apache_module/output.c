/*
 * The answer's header, as late as it can be: behind mod_headers (CONTENT_SET) and behind
 * mod_cache's filters (CONTENT_SET + 1), so that what is stored is nobody's own and each hit is
 * filtered for who asks. Added from insert_filter and insert_error_filter: redirects and errors
 * start with an empty chain.
 */
#include "mod_privacy.h"

#include "http_core.h"
#include "http_protocol.h"
#include "mod_cache.h"
#include "mod_core.h"
#include "util_filter.h"

static ap_filter_rec_t *handle;

/* ------------------------------------------------------------------ fields of both tables */

static int see_cookie(void *list, const char *name, const char *value)
{
    (void)name;
    APR_ARRAY_PUSH((apr_array_header_t *)list, prv_str) = prv_str_of(value);
    return 1;
}

static void remember_cookies(prv_root *root, request_rec *r)
{
    if (!root->set_cookies) {
        root->set_cookies = apr_array_make(root->r->pool, 2, sizeof(prv_str));
    }
    apr_table_do(see_cookie, root->set_cookies, r->headers_out, "Set-Cookie", NULL);
    apr_table_do(see_cookie, root->set_cookies, r->err_headers_out, "Set-Cookie", NULL);
}

/* An endpoint's own cookie and expiries are kept as on any page; a tracking module's are not
 * welcome there. */
static void edit_set_cookies(prv_view *view, request_rec *r, apr_table_t *table)
{
    if (!apr_table_get(table, "Set-Cookie")) {
        return;
    }
    prv_root *root = view->root;
    prv_rules rules = view->rules;
    rules.exempt = false;
    apr_array_header_t *all = apr_array_make(r->pool, 2, sizeof(prv_str));
    apr_array_header_t *kept = apr_array_make(r->pool, 2, sizeof(const char *));
    apr_table_do(see_cookie, all, table, "Set-Cookie", NULL);
    unsigned vary = 0;
    for (int i = 0; i < all->nelts; i++) {
        prv_str value = APR_ARRAY_IDX(all, i, prv_str);
        if (prv_edit_set_cookie(&root->rq, &rules, &view->d, value, &vary) == PRV_KEEP) {
            APR_ARRAY_PUSH(kept, const char *) = value.p;
        } else {
            root->tally.set_cookies++;
        }
    }
    prv_view_depends(view, vary);
    if (kept->nelts == all->nelts) {
        return;
    }
    apr_table_unset(table, "Set-Cookie");
    for (int i = 0; i < kept->nelts; i++) {
        apr_table_addn(table, "Set-Cookie", APR_ARRAY_IDX(kept, i, const char *));
    }
}

static void unset_both(request_rec *r, const char *name)
{
    apr_table_unset(r->headers_out, name);
    apr_table_unset(r->err_headers_out, name);
}

static bool has_field(const request_rec *r, const char *name)
{
    return apr_table_get(r->headers_out, name) || apr_table_get(r->err_headers_out, name);
}

static bool list_has(const char *list, const char *token)
{
    return list && (ap_find_token(NULL, list, token) || ap_find_token(NULL, list, "*"));
}

static void add_vary(request_rec *r, const char *name)
{
    if (!list_has(apr_table_getm(r->pool, r->headers_out, "Vary"), name) &&
        !list_has(apr_table_getm(r->pool, r->err_headers_out, "Vary"), name)) {
        apr_table_mergen(r->headers_out, "Vary", name);
    }
}

static void merge_vary(const prv_root *root, request_rec *r)
{
    if (root->vary == 0 && !root->regions) {
        return;
    }
    char *last = NULL;
    char *names = NULL;
    if (has_field(r, "Vary")) {
        names = prv_text(r, prv_vary_value(root->vary));
    } else if (root->vary != 0) {
        apr_table_setn(r->headers_out, "Vary", prv_vary_value(root->vary).p); /* static */
    }
    for (char *name = names ? apr_strtok(names, ", ", &last) : NULL; name;
         name = apr_strtok(NULL, ", ", &last)) {
        add_vary(r, name);
    }
    for (int i = 0; root->regions && i < root->regions->nelts; i++) {
        const apr_array_header_t *fields =
            APR_ARRAY_IDX(root->regions, i, const apr_array_header_t *);
        for (int k = 0; k < fields->nelts; k++) {
            add_vary(r, APR_ARRAY_IDX(fields, k, const char *));
        }
    }
}

/* ------------------------------------------------------------------ our own fields */

/* It is this visitor's alone, whatever the operator said of the page. */
static void make_private(request_rec *r)
{
    unset_both(r, "Cache-Control");
    unset_both(r, "Expires");
    apr_table_setn(r->headers_out, "Cache-Control", "private, no-store");
}

static void add_own_cookie(request_rec *r, prv_str value)
{
    apr_table_addn(r->headers_out, "Set-Cookie", prv_text(r, value));
    make_private(r);
}

/* A stored answer speaks of the visitor for whom it was made, not of this one. */
static bool from_cache(const request_rec *r)
{
    return apr_table_get(r->subprocess_env, AP_CACHE_HIT_ENV) ||
           apr_table_get(r->subprocess_env, AP_CACHE_REVALIDATE_ENV);
}

static void take_age(prv_root *root, const char *text)
{
    prv_str cookie = PRV_NONE;
    prv_op op;
    if (prv_request_report_age(&root->rq, prv_str_of(apr_pstrdup(root->r->pool, text)), &cookie,
                               &op)) {
        prv_backend_queue(prv_backend_of(root), &op);
    }
    prv_root_account_write(root);
    root->own_cookie = cookie.n > 0 ? cookie : root->own_cookie;
    root->generation++;
}

/* Who is logged in from now on. */
static void take_subject(prv_root *root, request_rec *r)
{
    prv_str cookie = PRV_NONE;
    apr_array_header_t *values = apr_array_make(r->pool, 1, sizeof(prv_str));
    apr_table_do(see_cookie, values, r->headers_out, "Privacy-Subject", NULL);
    apr_table_do(see_cookie, values, r->err_headers_out, "Privacy-Subject", NULL);
    prv_request_report_subject(&root->rq, (const prv_str *)(const void *)values->elts,
                               (size_t)values->nelts, &cookie);
    root->own_cookie = cookie.n > 0 ? cookie : root->own_cookie;
}

static int join(void *joined_, const char *name, const char *value)
{
    (void)name;
    apr_array_header_t *joined = joined_;
    const char *before = joined->nelts > 0 ? ", " : "";
    APR_ARRAY_PUSH(joined, const char *) = before;
    APR_ARRAY_PUSH(joined, const char *) = value;
    return 1;
}

/* Every field of this name in both tables; NULL: there is none. */
static const char *all_of(const request_rec *r, const char *name)
{
    apr_array_header_t *joined = apr_array_make(r->pool, 2, sizeof(const char *));
    apr_table_do(join, joined, r->headers_out, name, NULL);
    apr_table_do(join, joined, r->err_headers_out, name, NULL);
    return joined->nelts ? apr_array_pstrcat(r->pool, joined, 0) : NULL;
}

/* `Privacy-Subject-Age` of the application: holds at once, for this answer too. An error document's
 * request begins with empty fields: what the application said stands in the one before. What a
 * vendor says counts for nothing. */
void prv_hear_application(request_rec *r)
{
    for (; r; r = r->prev) {
        if (!prv_has_own_field(r->headers_out) && !prv_has_own_field(r->err_headers_out)) {
            continue;
        }
        prv_view *view = prv_view_get(r);
        if (view->dir->mode == PRV_MODE_UNSET || view->dir->mode == (int)PRV_MODE_OFF) {
            continue;
        }
        const char *age = all_of(r, "Privacy-Subject-Age");
        if (age && !view->dir->vendor && !from_cache(r)) {
            prv_view_decide(view, r, false);
            take_age(view->root, age);
        }
        if (has_field(r, "Privacy-Subject") && !view->dir->vendor && !from_cache(r)) {
            prv_view_decide(view, r, false);
            take_subject(view->root, r);
        }
        unset_both(r, "Privacy-Subject-Age");
        unset_both(r, "Privacy-Subject");
    }
}

static bool is_html(const request_rec *r)
{
    return r->content_type && ap_cstr_casecmpn(r->content_type, "text/html", 9) == 0;
}

static void add_own_cookies(prv_view *view, request_rec *r)
{
    prv_root *root = view->root;
    prv_str expired[PRV_EXPIRE_MAX];
    if (root->own_cookie.n > 0) {
        add_own_cookie(r, root->own_cookie);
        return;
    }
    if (root->rq.pending) {
        return;
    }
    size_t n =
        is_html(r) ? prv_request_sweep(&root->rq, &view->d, prv_str_of(r->hostname), expired) : 0;
    for (size_t i = 0; i < n; i++) {
        add_own_cookie(r, expired[i]);
    }
    prv_str renewed = n == 0 ? prv_request_renewal(&root->rq) : PRV_NONE;
    if (renewed.n > 0) {
        add_own_cookie(r, renewed);
    }
}

static void add_fields(prv_view *view, request_rec *r)
{
    const prv_root *root = view->root;
    const prv_policy *policy = root->server->site.policy;
    merge_vary(root, r);
    if (prv_policy_names_dnt(policy)) {
        prv_str tk = prv_header_tk(&root->rq, &view->d);
        if (tk.n > 0) {
            apr_table_setn(r->headers_out, "Tk", tk.p); /* static */
        }
    }
    prv_str link = is_html(r) ? prv_header_link(policy) : PRV_NONE;
    if (link.n > 0) {
        apr_table_addn(r->headers_out, "Link", prv_text(r, link));
    }
}

/* ------------------------------------------------------------------ the filter */

static void edit_answer(request_rec *r)
{
    prv_view *view = prv_view_get(r);
    prv_root *root = view->root;
    if (root->client_ip) {
        r->useragent_ip = root->client_ip; /* a vendor has got the cut one */
    }
    if (view->problem) {
        ap_set_content_type(r, "application/problem+json");
    }
    prv_view_decide(view, r, false);
    if (view->rules.mode == PRV_MODE_OFF) {
        return;
    }
    if (view->rules.mode == PRV_MODE_REPORT ||
        root->server->shared->env_wanted & (1u << PRV_VAR_REMOVED | 1u << PRV_VAR_UNKNOWN)) {
        remember_cookies(root, r);
    }
    prv_hear_application(r);
    prv_view_decide(view, r, false);
    if (view->rules.mode != PRV_MODE_ON || r->main) {
        return; /* a subrequest's fields go nowhere */
    }
    edit_set_cookies(view, r, r->headers_out);
    edit_set_cookies(view, r, r->err_headers_out);
    if (view->rules.exempt) {
        return; /* the core made the other fields */
    }
    add_own_cookies(view, r);
    if (root->personal || (root->refused && r->status == root->refused_status)) {
        make_private(r);
    }
    add_fields(view, r);
}

static apr_status_t output_filter(ap_filter_t *f, apr_bucket_brigade *bb)
{
    ap_remove_output_filter(f);
    edit_answer(f->r);
    return ap_pass_brigade(f->next, bb);
}

void prv_output_register(void)
{
    handle =
        ap_register_output_filter("PRIVACY_HEADERS", output_filter, NULL, AP_FTYPE_CONTENT_SET + 2);
}

/* SSI reads the request's environment and fields though the handler serves a file. */
static bool reads_request(const request_rec *r)
{
    for (const ap_filter_t *f = r->output_filters; f; f = f->next) {
        if (f->frec->name && ap_cstr_casecmp(f->frec->name, "includes") == 0) {
            return true;
        }
    }
    return false;
}

void prv_insert_filter(request_rec *r)
{
    if (prv_server_of(r->server)->strongest == PRV_MODE_OFF) {
        return;
    }
    prv_view *view = prv_view_get(r);
    if (view->decided && !view->rules.exempt && view->rules.mode != PRV_MODE_OFF &&
        (!view->dynamic || !prv_reads_environment(r)) && reads_request(r)) {
        prv_env_set(view, r, PRV_VARS_ALL);
        if (view->rules.mode == PRV_MODE_ON && !view->dynamic) {
            prv_upstream_dynamic(view, r);
        }
    }
    ap_add_output_filter_handle(handle, NULL, r, r->connection);
}

/* A refusal without the operator's own document: problem+json, through httpd's own error path, so
 * that logs, request bodies and connections are treated as for any error. */
static void explain_refusal(prv_view *view, request_rec *r)
{
    const prv_root *root = view->root;
    if (root->refused != r || root->refused_status != r->status || !root->refused_body) {
        return;
    }
    if (!ap_response_code_string(r, ap_index_of_response(r->status))) {
        ap_custom_response(r, r->status, root->refused_body);
        view->problem = true;
    }
}

void prv_insert_error_filter(request_rec *r)
{
    if (prv_server_of(r->server)->strongest == PRV_MODE_OFF) {
        return;
    }
    prv_hear_application(r); /* the fields are about to be cleared */
    if (!r->main) {
        explain_refusal(prv_view_get(r), r);
    }
    ap_add_output_filter_handle(handle, NULL, r, r->connection);
}
