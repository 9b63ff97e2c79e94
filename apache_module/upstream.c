/*
 * What the application may see of the request. Each location starts from the client's own fields:
 * both the headers table and its edits are carried along by internal redirects and copied by
 * subrequests.
 */
#include "mod_privacy.h"

#include "http_core.h"

#define CONSENT "Privacy-Consent"
#define AGE "Privacy-Age"

/* What a vendor gets in no form. */
static const char *const withheld[] = {"Authorization", "Proxy-Authorization", "Forwarded", NULL};

/* What a vendor gets with each address cut to its network. */
static const char *const addresses[] = {"X-Forwarded-For",
                                        "X-Real-IP",
                                        "X-Client-IP",
                                        "Client-IP",
                                        "True-Client-IP",
                                        "CF-Connecting-IP",
                                        "CF-Connecting-IPv6",
                                        "Fastly-Client-IP",
                                        "X-Cluster-Client-IP",
                                        "X-Original-Forwarded-For",
                                        NULL};

/* ------------------------------------------------------------------ back to the client's own */

static int add_back(void *table, const char *name, const char *value)
{
    apr_table_addn(table, name, value);
    return 1;
}

void prv_upstream_restore(prv_root *root, request_rec *r)
{
    if (root->client_ip) {
        r->useragent_ip = root->client_ip;
        root->r->useragent_ip = root->client_ip;
    }
    if (!root->edited) {
        return;
    }
    apr_table_unset(r->headers_in, CONSENT);
    apr_table_unset(r->headers_in, AGE);
    apr_table_unset(r->headers_in, "Cookie");
    for (size_t i = 0; i < root->rq.n_cookies; i++) {
        apr_table_addn(r->headers_in, "Cookie", prv_text(r, root->rq.cookies[i]));
    }
    if (root->withheld) {
        for (const char *const *name = withheld; *name; name++) {
            apr_table_unset(r->headers_in, *name);
        }
        for (const char *const *name = addresses; *name; name++) {
            apr_table_unset(r->headers_in, *name);
        }
        apr_table_do(add_back, r->headers_in, root->withheld, NULL);
    }
    if (!r->main) {
        root->edited = false;
        root->withheld = NULL;
    }
}

/* ------------------------------------------------------------------ cookies */

typedef struct current_cookies {
    const prv_request *rq;
    size_t n;
    bool same; /* as the client's, so far */
    apr_array_header_t *lines;
} current_cookies;

static int see_cookie(void *current_, const char *name, const char *value)
{
    (void)name;
    current_cookies *current = current_;
    APR_ARRAY_PUSH(current->lines, prv_str) = prv_str_of(value);
    const size_t i = current->n++;
    current->same = current->same && i < current->rq->n_cookies &&
                    current->rq->cookies[i].n == strlen(value) &&
                    memcmp(current->rq->cookies[i].p, value, current->rq->cookies[i].n) == 0;
    return 1;
}

/* Edits what stands in the field now: RequestHeader of this location may have changed it. */
static void edit_cookies(prv_view *view, request_rec *r)
{
    prv_root *root = view->root;
    current_cookies current = {&root->rq, 0, true, apr_array_make(r->pool, 1, sizeof(prv_str))};
    apr_table_do(see_cookie, &current, r->headers_in, "Cookie", NULL);
    if (current.n == 0) {
        return;
    }
    prv_request *rq = &root->rq;
    if (!current.same || current.n != rq->n_cookies) {
        rq = apr_pmemdup(r->pool, rq, sizeof(*rq));
        rq->cookies = (const prv_str *)(const void *)current.lines->elts;
        rq->n_cookies = current.n;
    }
    if (!prv_cookies_need_edit(rq, &view->rules, &view->d)) {
        return;
    }
    prv_str *out = apr_pcalloc(r->pool, sizeof(*out) * current.n);
    unsigned vary = 0;
    if (prv_edit_cookies(rq, &view->rules, &view->d, out, &vary) != PRV_OK) {
        memset(out, 0, sizeof(*out) * current.n);
        vary = PRV_VARY_COOKIE;
    }
    root->edited = true;
    apr_table_unset(r->headers_in, "Cookie");
    for (size_t i = 0; i < current.n; i++) {
        if (out[i].n > 0) {
            apr_table_addn(r->headers_in, "Cookie", prv_text(r, out[i]));
        }
    }
    prv_view_depends(view, view->dynamic ? vary : 0);
    view->edit_vary = vary;
}

/* ------------------------------------------------------------------ Privacy-Consent, Privacy-Age
 */

static void set_field(request_rec *r, const char *name, prv_str value)
{
    if (value.n > 0) {
        apr_table_setn(r->headers_in, name, prv_text(r, value));
    }
}

static void forward(prv_view *view, request_rec *r)
{
    if (view->forwarded || !view->rules.forward || view->rules.vendor >= 0) {
        return;
    }
    prv_root *root = view->root;
    view->forwarded = true;
    root->edited = true;
    set_field(r, CONSENT, prv_header_consent(&root->rq, &view->d));
    set_field(r, AGE, prv_header_age(&root->rq, &view->d));
    if (view->dynamic) {
        prv_view_depends(view, prv_vary(root->server->site.policy, UINT32_MAX));
    }
}

void prv_upstream_dynamic(prv_view *view, request_rec *r)
{
    view->dynamic = true;
    prv_view_depends(view, view->edit_vary);
    forward(view, r);
}

bool prv_is_dynamic(const request_rec *r)
{
    static const char *const files[] = {"default-handler", "httpd/unix-directory", "send-as-is",
                                        "imap-file", NULL};
    if (!r->handler) {
        /* A type may name a handler. */
        return r->content_type && strncmp(r->content_type, "application/x-httpd", 19) == 0;
    }
    for (const char *const *name = files; *name; name++) {
        if (strcmp(r->handler, *name) == 0) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ vendors */

/* Every address in a comma-separated list cut; what is no address goes. */
static char *cut_list(prv_view *view, request_rec *r, const char *value)
{
    char *out = NULL;
    char *last = NULL;
    char *copy = apr_pstrdup(r->pool, value);
    for (char *part = apr_strtok(copy, ", \t", &last); part;
         part = apr_strtok(NULL, ", \t", &last)) {
        prv_str cut = prv_addr_cut(&view->root->env, prv_str_of(part));
        if (cut.n > 0) {
            char *text = prv_text(r, cut);
            out = out ? apr_pstrcat(r->pool, out, ", ", text, NULL) : text;
        }
    }
    return out;
}

static int keep(void *table, const char *name, const char *value)
{
    apr_table_addn(table, name, value);
    return 1;
}

void prv_upstream_withhold(prv_view *view, request_rec *r)
{
    prv_root *root = view->root;
    if (view->rules.vendor < 0 || view->withheld) {
        return;
    }
    apr_table_t *kept = apr_table_make(root->r->pool, 4);
    for (const char *const *name = withheld; *name; name++) {
        apr_table_do(keep, kept, r->headers_in, *name, NULL);
        apr_table_unset(r->headers_in, *name);
    }
    for (const char *const *name = addresses; *name; name++) {
        apr_table_do(keep, kept, r->headers_in, *name, NULL);
    }
    root->withheld = root->withheld ? root->withheld : kept;
    root->edited = true;
    view->withheld = true;
}

static void cut_addresses(prv_view *view, request_rec *r)
{
    prv_root *root = view->root;
    for (const char *const *name = addresses; *name; name++) {
        const char *value = apr_table_getm(r->pool, r->headers_in, *name);
        if (!value) {
            continue;
        }
        char *cut = cut_list(view, r, value);
        apr_table_unset(r->headers_in, *name);
        if (cut) {
            apr_table_setn(r->headers_in, *name, cut);
        }
    }
    /* mod_proxy and CGI tell r->useragent_ip; the true one is back when the answer begins. */
    prv_str cut = prv_addr_cut(&root->env, prv_str_of(r->useragent_ip));
    root->client_ip = root->client_ip ? root->client_ip : r->useragent_ip;
    r->useragent_ip = prv_text(r, cut.n > 0 ? cut : PRV_STR("0.0.0.0"));
}

void prv_upstream_edit(prv_view *view, request_rec *r)
{
    edit_cookies(view, r);
    if (view->rules.vendor >= 0) {
        prv_upstream_withhold(view, r); /* not yet, when mod_dir came here */
        cut_addresses(view, r);
    } else if (view->dynamic || view->root->server->shared->consent_wanted) {
        forward(view, r);
    }
}
