/* One request: who is asking (once per client request), and what that means here (per request_rec).
 */
#include "mod_privacy.h"

#include "apr_time.h"
#include "mod_ssl.h"

prv_str prv_str_of(const char *text)
{
    return text ? (prv_str){text, strlen(text)} : PRV_NONE;
}

char *prv_text(const request_rec *r, prv_str s)
{
    return apr_pstrmemdup(r->pool, s.p ? s.p : "", s.n);
}

const apr_table_entry_t *prv_entries(const apr_table_t *table, int *n)
{
    const apr_array_header_t *all = apr_table_elts(table);
    *n = all->nelts;
    return (const apr_table_entry_t *)(const void *)all->elts;
}

bool prv_is_cookie_field(const char *name)
{
    return (name[0] | 0x20) == 'c' &&
           (strcmp(name, "Cookie") == 0 || ap_cstr_casecmp(name, "Cookie") == 0);
}

bool prv_has_own_field(const apr_table_t *table)
{
    int n;
    const apr_table_entry_t *entry = prv_entries(table, &n);
    for (int i = 0; i < n; i++) {
        if ((entry[i].key[0] | 0x20) == 'p' && prv_is_privacy_field(prv_str_of(entry[i].key))) {
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ the environment of the core */

static void *env_alloc(void *ctx, size_t n)
{
    return apr_palloc(((const prv_root *)ctx)->r->pool, n);
}

static void env_log(void *ctx, prv_level level, prv_str line)
{
    static const int levels[] = {APLOG_ERR, APLOG_WARNING, APLOG_NOTICE, APLOG_INFO};
    const prv_root *root = ctx;
    ap_log_rerror(APLOG_MARK, levels[level], 0, root->r, "%.*s", (int)line.n, line.p);
}

/* ------------------------------------------------------------------ root and view */

static request_rec *first_of(request_rec *r)
{
    while (r->main || r->prev) {
        r = r->main ? r->main : r->prev;
    }
    return r;
}

static prv_view *view_new(request_rec *r, prv_root *root)
{
    prv_view *view = apr_pcalloc(r->pool, sizeof(*view));
    view->root = root;
    ap_set_module_config(r->request_config, &privacy_module, view);
    return view;
}

prv_root *prv_root_get(request_rec *r)
{
    request_rec *first = first_of(r);
    prv_view *view = ap_get_module_config(first->request_config, &privacy_module);
    if (!view) {
        prv_root *root = apr_pcalloc(first->pool, sizeof(*root));
        root->r = first;
        root->server = prv_server_of(first->server);
        root->env =
            (prv_env){.ctx = root, .alloc = env_alloc, .random = prv_random, .log = env_log};
        view = view_new(first, root);
    }
    return view->root;
}

prv_view *prv_view_get(request_rec *r)
{
    prv_view *view = ap_get_module_config(r->request_config, &privacy_module);
    if (!view) {
        prv_root *root = prv_root_get(r);
        view = root->r == r ? ap_get_module_config(r->request_config, &privacy_module)
                            : view_new(r, root);
    }
    prv_dir_conf *dir = prv_dir_of(r);
    if (view->dir != dir) {
        view->dir = dir;
        view->decided = false;
    }
    return view;
}

/* ------------------------------------------------------------------ state */

static void capture(prv_root *root)
{
    int n;
    const apr_table_entry_t *entry = prv_entries(root->r->headers_in, &n);
    size_t found = 0;
    for (int i = 0; i < n; i++) {
        found += prv_is_cookie_field(entry[i].key);
    }
    root->cookies = found > 0 ? apr_palloc(root->r->pool, found * sizeof(prv_str)) : NULL;
    root->rq.cookies = root->cookies;
    root->rq.n_cookies = 0;
    for (int i = 0; root->rq.n_cookies < found; i++) {
        if (prv_is_cookie_field(entry[i].key)) {
            root->cookies[root->rq.n_cookies++] = prv_str_of(entry[i].val);
        }
    }
    root->captured = true;
}

typedef struct browser {
    unsigned signals;
    const char *mode, *accept;
} browser;

/* Repeated fields of these arrive joined, but for those that a module added; a first one counts, as
 * apr_table_get() has it. */
static browser browser_of(const request_rec *r)
{
    browser out = {0, NULL, NULL};
    int n;
    const apr_table_entry_t *entry = prv_entries(r->headers_in, &n);
    for (int i = 0; i < n; i++) {
        const char *name = entry[i].key;
        switch (name[0] | 0x20) {
        case 'a':
            if (!out.accept && ap_cstr_casecmp(name, "Accept") == 0) {
                out.accept = entry[i].val;
            }
            break;
        case 'd':
            if (ap_cstr_casecmp(name, "DNT") == 0) {
                out.signals |= prv_signal_dnt(prv_str_of(entry[i].val));
            }
            break;
        case 's':
            if (ap_cstr_casecmp(name, "Sec-GPC") == 0) {
                out.signals |= prv_signal_gpc(prv_str_of(entry[i].val));
            } else if (!out.mode && ap_cstr_casecmp(name, "Sec-Fetch-Mode") == 0) {
                out.mode = entry[i].val;
            }
            break;
        default:
            break;
        }
    }
    return out;
}

int prv_post_read_last(request_rec *r)
{
    /* Later hooks and locations may edit the field: the client's own lines are kept. */
    if (prv_server_of(r->server)->strongest != PRV_MODE_OFF && !r->main && !r->prev) {
        prv_root *root = prv_root_get(r);
        root->server = prv_server_of(r->server);
        capture(root);
    }
    return DECLINED;
}

prv_backend *prv_backend_of(const prv_root *root)
{
    return root->server->shared ? root->server->shared->backend : NULL;
}

static void set_clock(prv_root *root)
{
    root->env.now_ms = apr_time_as_msec(apr_time_now());
    root->env.mono_ms = prv_mono_ms();
}

/* Until the account is known. false: that needs the store, which is not asked now. */
static bool account_step(prv_root *root, prv_step step, prv_op *op, bool io)
{
    while (step == PRV_STEP_NEED_STORE) {
        if (!io) {
            return false;
        }
        prv_reply reply;
        prv_flight *flight = prv_backend_call(prv_backend_of(root), op, &reply);
        set_clock(root);
        step = prv_subject_feed(&root->rq, &reply, op);
        prv_flight_free(flight);
    }
    return true;
}

void prv_root_account_write(prv_root *root)
{
    prv_op op;
    while (prv_account_want(&root->rq, &op)) {
        prv_backend_queue(prv_backend_of(root), &op);
        root->generation++;
    }
}

/* Reads token and cache, and asks the store when io. */
static void begin(prv_root *root, bool io)
{
    request_rec *r = root->r;
    prv_request *rq = &root->rq;
    prv_op op;
    if (!root->captured) {
        capture(root);
    }
    const browser said = browser_of(r);
    set_clock(root);
    rq->env = &root->env;
    rq->site = &root->server->site;
    rq->zone = root->server->shared ? root->server->shared->zone : NULL;
    rq->tally = &root->tally;
    rq->signals = (uint8_t)said.signals;
    /* HTTP/1 joins repeated fields with a comma, HTTP/2 with a semicolon. */
    rq->comma_joined = strncmp(r->protocol ? r->protocol : "", "HTTP/2", 6) != 0;
    rq->navigation =
        prv_is_navigation(prv_str_of(r->method), prv_str_of(said.mode), prv_str_of(said.accept));
    prv_step step = prv_request_begin(rq, &op);
    root->begun = true;
    root->generation++;
    if (step == PRV_STEP_NEED_STORE && io) {
        prv_reply reply;
        prv_flight *flight = prv_backend_call(prv_backend_of(root), &op, &reply);
        set_clock(root);
        prv_request_feed(rq, &reply);
        prv_flight_free(flight);
        step = PRV_STEP_READY;
    }
    root->resolved =
        step == PRV_STEP_READY && account_step(root, prv_subject_begin(rq, PRV_NONE, &op), &op, io);
}

void prv_root_resolve(prv_root *root)
{
    if (root->resolved) {
        return;
    }
    if (root->begun) {
        /* An earlier hook looked without asking the store: from the start, with the client's own
         * lines. */
        prv_request again = {.cookies = root->rq.cookies, .n_cookies = root->rq.n_cookies};
        root->rq = again;
    }
    begin(root, true);
    prv_op op;
    if (prv_request_repair(&root->rq, &op)) {
        prv_backend_queue(prv_backend_of(root), &op);
    }
    prv_root_account_write(root);
}

/* An error document runs in a request of its own, and where it shares the configuration httpd gives
 * it the user whom the first one claimed, with a wrong password too. */
static bool is_error_document(const request_rec *r)
{
    for (; r; r = r->prev) {
        if (r->prev && ap_is_HTTP_ERROR(r->prev->status)) {
            return true;
        }
    }
    return false;
}

/* By an authentication module, or by a client certificate that was verified: SSLUserName alone
 * takes any. */
static bool is_authenticated(request_rec *r)
{
    if (!r->user || !r->user[0] || is_error_document(r)) {
        return false;
    }
    if (r->ap_auth_type) {
        return true;
    }
    APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *lookup = APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
    char name[] = "SSL_CLIENT_VERIFY";
    const char *verified = lookup ? lookup(r->pool, r->server, r->connection, r, name) : NULL;
    return verified && strcmp(verified, "SUCCESS") == 0;
}

void prv_root_subject(prv_view *view, request_rec *r)
{
    prv_root *root = view->root;
    const char *err = NULL;
    prv_op op;
    if (!view->dir->subject || r->main || !is_authenticated(r)) {
        return;
    }
    const char *account = ap_expr_str_exec(r, view->dir->subject, &err);
    if (err) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "PrivacySubject: %s", err);
        return;
    }
    if (!account || !account[0] || (root->account && strcmp(root->account, account) == 0)) {
        return;
    }
    root->account = apr_pstrdup(root->r->pool, account);
    prv_root_resolve(root);
    set_clock(root);
    root->authenticated = true;
    prv_step step = prv_subject_begin(&root->rq, prv_str_of(account), &op);
    account_step(root, step, &op, true);
    root->generation++;
    prv_root_account_write(root);
}

/* ------------------------------------------------------------------ decision */

bool prv_is_endpoint(const prv_dir_conf *dir)
{
    return dir->endpoint == PRV_YES;
}

bool prv_is_well_known(const prv_dir_conf *dir, const char *path)
{
    return dir->well_known == PRV_YES && path &&
           (strcmp(path, "/.well-known/gpc.json") == 0 || strcmp(path, "/.well-known/dnt") == 0 ||
            strncmp(path, "/.well-known/dnt/", 17) == 0);
}

bool prv_is_status(const prv_dir_conf *dir)
{
    return dir->status == PRV_YES;
}

/* false: a gate whose names were never checked; cannot be, and then refuses. */
static bool rules_fill(const prv_view *view, const request_rec *r, prv_rules *rules)
{
    const prv_dir_conf *dir = view->dir;
    const prv_policy *policy = view->root->server->site.policy;
    prv_rules_init(rules);
    rules->mode = dir->mode == PRV_MODE_UNSET ? PRV_MODE_OFF : (prv_mode)dir->mode;
    rules->store_failure_deny = dir->failure_deny == PRV_YES;
    rules->forward = dir->forward != PRV_NO;
    rules->exempt = prv_is_endpoint(dir) || prv_is_well_known(dir, r->uri) || prv_is_status(dir);
    rules->min_age = (uint8_t)dir->min_age;
    rules->age_answer = dir->age_answer;
    const prv_bound *require = dir->require ? prv_named_under(dir->require, policy) : NULL;
    const prv_bound *vendor = dir->vendor ? prv_named_under(dir->vendor, policy) : NULL;
    if (require) {
        rules->require = require->mask;
        rules->require_answer = dir->require->require.answer;
    }
    if (vendor) {
        rules->vendor = vendor->vendor;
    }
    return !dir->require == !require && !dir->vendor == !vendor;
}

static prv_region region_of(const prv_view *view, request_rec *r)
{
    const char *err = NULL;
    const char *text = view->dir->region ? ap_expr_str_exec(r, view->dir->region, &err) : NULL;
    if (err) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "PrivacyRegion: %s", err);
        text = NULL;
    }
    return prv_region_parse(prv_str_of(text));
}

void prv_view_decide(prv_view *view, request_rec *r, bool io)
{
    prv_root *root = view->root;
    if (io) {
        prv_root_resolve(root);
    } else if (!root->begun) {
        begin(root, false);
    }
    if (view->decided && view->generation == root->generation) {
        return;
    }
    view->unbound = !rules_fill(view, r, &view->rules);
    prv_decide(root->server->site.policy, &view->rules, &root->rq.state, root->rq.degraded,
               root->rq.signals, region_of(view, r), root->env.now_ms / 1000, &view->d);
    view->decided = true;
    view->generation = root->generation;
}

void prv_view_depends(prv_view *view, unsigned bits)
{
    prv_root *root = view->root;
    const apr_array_header_t *fields = view->dir->region_fields;
    root->vary |= bits | (bits && view->dir->subject ? PRV_VARY_ACCOUNT : 0);
    root->personal |= bits && root->authenticated;
    if (bits == 0 || !fields) {
        return;
    }
    if (!root->regions) {
        root->regions = apr_array_make(root->r->pool, 1, sizeof(fields));
    }
    for (int i = 0; i < root->regions->nelts; i++) {
        if (APR_ARRAY_IDX(root->regions, i, const apr_array_header_t *) == fields) {
            return;
        }
    }
    APR_ARRAY_PUSH(root->regions, const apr_array_header_t *) = fields;
}

prv_str prv_uri_of(const request_rec *r)
{
    const char *uri = r->unparsed_uri;
    if (!uri || uri[0] != '/') {
        uri = apr_uri_unparse(r->pool, &r->parsed_uri, APR_URI_UNP_OMITSITEPART);
    }
    return prv_str_of(uri && uri[0] ? uri : "/");
}
