/*
 * What the application may see of the request. Each location starts from the client's own fields:
 * both the headers table and its edits are carried along by internal redirects and copied by
 * subrequests.
 */
#include "mod_privacy.h"

#include "apr_lib.h"
#include "http_core.h"

#define CONSENT "Privacy-Consent"
#define AGE "Privacy-Age"

/* What a vendor gets in no form; the same list as nginx's. */
static const char *const withheld[] = {
    "authorization",       "proxy-authorization",
    "forwarded",           "forwarded-for",
    "x-forwarded",         "x-client-ip",
    "x-cluster-client-ip", "x-original-forwarded-for",
    "x-originating-ip",    "x-remote-ip",
    "x-remote-addr",       "client-ip",
    "true-client-ip",      "cf-connecting-ip",
    "cf-connecting-ipv6",  "fastly-client-ip",
    "fly-client-ip",       "x-envoy-external-address",
    "x-azure-clientip",    "x-azure-socketip",
    "x-proxyuser-ip",      NULL,
};

/* What a vendor gets with each address cut to its network. */
static const char *const addresses[] = {"X-Forwarded-For", "X-Real-IP", NULL};

/* Letters in lower case, and `_` for `-`, as programs fold names. */
static bool is_folded(const char *name, const char *folded)
{
    while (*folded && (*name == '_' ? '-' : apr_tolower(*name)) == *folded) {
        name++;
        folded++;
    }
    return !*name && !*folded;
}

/* Is it taken from a vendor's request before the location says its own? */
static bool is_withheld(const char *name)
{
    for (const char *const *known = withheld; *known; known++) {
        if (is_folded(name, *known)) {
            return true;
        }
    }
    return strchr(name, '_') &&
           (is_folded(name, "x-forwarded-for") || is_folded(name, "x-real-ip"));
}

typedef struct vendor_fields {
    apr_table_t *kept;
    apr_array_header_t *names; /* of those withheld */
} vendor_fields;

static int find_vendor_field(void *found_, const char *name, const char *value)
{
    vendor_fields *found = found_;
    const bool gone = is_withheld(name);
    if (gone) {
        APR_ARRAY_PUSH(found->names, const char *) = name;
    }
    for (const char *const *known = addresses; *known || gone; known++) {
        if (gone || ap_cstr_casecmp(name, *known) == 0) {
            apr_table_addn(found->kept, name, value);
            break;
        }
    }
    return 1;
}

/* Takes the withheld ones out; the client's fields, those to be cut included. */
static apr_table_t *take_vendor_fields(const prv_root *root, request_rec *r)
{
    vendor_fields found = {apr_table_make(root->r->pool, 4),
                           apr_array_make(r->pool, 4, sizeof(const char *))};
    apr_table_do(find_vendor_field, &found, r->headers_in, NULL);
    for (int i = 0; i < found.names->nelts; i++) {
        apr_table_unset(r->headers_in, APR_ARRAY_IDX(found.names, i, const char *));
    }
    return found.kept;
}

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
        take_vendor_fields(root, r);
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

static bool is_text(prv_str view, const char *text)
{
    return view.p == text || (strlen(text) == view.n && memcmp(view.p, text, view.n) == 0);
}

/* What stands in the field now: RequestHeader of this location may have changed it. The request
 * itself if it is as the client sent it, else one of these lines; NULL: there is none. */
static prv_request *current_cookies(prv_root *root, request_rec *r)
{
    prv_request *rq = &root->rq;
    int n;
    const apr_table_entry_t *entry = prv_entries(r->headers_in, &n);
    size_t found = 0;
    bool same = true;
    for (int i = 0; i < n; i++) {
        if (prv_is_cookie_field(entry[i].key)) {
            same = same && found < rq->n_cookies && is_text(rq->cookies[found], entry[i].val);
            found++;
        }
    }
    if (found == 0 || (same && found == rq->n_cookies)) {
        return found > 0 ? rq : NULL;
    }
    prv_str *lines = apr_palloc(r->pool, found * sizeof(*lines));
    rq = apr_pmemdup(r->pool, rq, sizeof(*rq));
    rq->cookies = lines;
    rq->n_cookies = found;
    for (int i = 0; found > 0; i++) {
        if (prv_is_cookie_field(entry[i].key)) {
            *lines++ = prv_str_of(entry[i].val);
            found--;
        }
    }
    return rq;
}

static void edit_cookies(prv_view *view, request_rec *r)
{
    prv_root *root = view->root;
    const prv_request *rq = current_cookies(root, r);
    if (!rq) {
        return;
    }
    if (!prv_cookies_need_edit(rq, &view->rules, &view->d)) {
        return;
    }
    prv_str *out = apr_pcalloc(r->pool, sizeof(*out) * rq->n_cookies);
    unsigned vary = 0;
    if (prv_edit_cookies(rq, &view->rules, &view->d, out, &vary) != PRV_OK) {
        memset(out, 0, sizeof(*out) * rq->n_cookies);
        vary = PRV_VARY_COOKIE;
    }
    root->edited = true;
    apr_table_unset(r->headers_in, "Cookie");
    for (size_t i = 0; i < rq->n_cookies; i++) {
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

/* Applications that are asked over HTTP see fields alone, and no environment. */
bool prv_reads_environment(const request_rec *r)
{
    static const char *const schemes[] = {"proxy:http:", "proxy:https:", "proxy:h2:", "proxy:h2c:",
                                          "proxy:ws:",   "proxy:wss:",   NULL};
    if (!r->proxyreq || !r->filename) {
        return true;
    }
    for (const char *const *scheme = schemes; *scheme; scheme++) {
        if (strncmp(r->filename, *scheme, strlen(*scheme)) == 0) {
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

void prv_upstream_withhold(prv_view *view, request_rec *r)
{
    prv_root *root = view->root;
    if (view->rules.vendor < 0 || view->withheld) {
        return;
    }
    apr_table_t *kept = take_vendor_fields(root, r);
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
