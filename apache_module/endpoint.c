/* The visitor's endpoints and the well-known documents. Enabled by directives only: SetHandler
 * works from .htaccess. */
#include "mod_privacy.h"

#include "http_core.h"
#include "http_protocol.h"
#include "util_filter.h"

#define ROUNDS_MAX 8 /* the core asks the store six times at most: a read, three writes, a pointer */
#define READ_SIZE 8192

/* ------------------------------------------------------------------ the request */

static prv_str field(const request_rec *r, const char *name)
{
    return prv_str_of(apr_table_get(r->headers_in, name));
}

static void fill_http(const prv_view *view, const request_rec *r, prv_http *http)
{
    const prv_root *root = view->root;
    *http = (prv_http){
        .method = prv_str_of(r->method),
        .mount = view->dir->mount ? prv_str_of(view->dir->mount) : root->server->site.home,
        .path = prv_str_of(r->uri),
        .query = prv_str_of(r->args),
        .host = field(r, "Host"),
        .tls = strcmp(ap_http_scheme(r), "https") == 0,
        .origin = field(r, "Origin"),
        .sec_fetch_site = field(r, "Sec-Fetch-Site"),
        .content_type = field(r, "Content-Type"),
        .accept = field(r, "Accept"),
        .accept_language = field(r, "Accept-Language"),
        .addr = prv_str_of(r->useragent_ip),
        .region = view->d.region,
    };
}

typedef struct body {
    char *text;
    size_t n;
    bool too_large;
    bool complete;
} body;

static apr_status_t take_brigade(apr_bucket_brigade *bb, body *in)
{
    for (apr_bucket *b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb);
         b = APR_BUCKET_NEXT(b)) {
        const char *data;
        apr_size_t n;
        if (APR_BUCKET_IS_EOS(b)) {
            in->complete = true;
            return APR_SUCCESS;
        }
        if (APR_BUCKET_IS_METADATA(b)) {
            continue;
        }
        apr_status_t rv = apr_bucket_read(b, &data, &n, APR_BLOCK_READ);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (n > PRV_BODY_MAX - in->n) {
            in->too_large = in->complete = true;
            return APR_SUCCESS;
        }
        memcpy(in->text + in->n, data, n);
        in->n += n;
    }
    return APR_SUCCESS;
}

/* OK, or the status of a body that could not be read. */
static int read_body(request_rec *r, prv_http *http)
{
    if (r->main || r->method_number == M_GET) {
        return OK;
    }
    body in = {.text = apr_palloc(r->pool, PRV_BODY_MAX)};
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_off_t length = 0;
    const char *claimed = apr_table_get(r->headers_in, "Content-Length");
    if (claimed && ap_parse_strict_length(&length, claimed) && length > PRV_BODY_MAX) {
        in.too_large = in.complete = true;
    }
    while (!in.complete) {
        apr_status_t rv =
            ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES, APR_BLOCK_READ, READ_SIZE);
        rv = rv == APR_SUCCESS ? take_brigade(bb, &in) : rv;
        apr_brigade_cleanup(bb);
        if (rv != APR_SUCCESS) {
            int status = ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
            if (status != HTTP_REQUEST_ENTITY_TOO_LARGE) {
                return status;
            }
            in.too_large = in.complete = true;
        }
    }
    http->body_too_large = in.too_large;
    http->body = in.too_large ? PRV_NONE : (prv_str){in.text, in.n};
    return OK;
}

/* ------------------------------------------------------------------ the answer */

static int respond(request_rec *r, const prv_response *response)
{
    r->status = response->status;
    bool conditional = false;
    for (size_t i = 0; i < response->n_headers; i++) {
        char *name = prv_text(r, response->headers[i].name);
        char *value = prv_text(r, response->headers[i].value);
        if (ap_cstr_casecmp(name, "Content-Type") == 0) {
            ap_set_content_type(r, value);
        } else {
            apr_table_addn(r->headers_out, name, value);
            conditional = conditional || ap_cstr_casecmp(name, "ETag") == 0;
        }
    }
    if (conditional && r->status == HTTP_OK) {
        int met = ap_meets_conditions(r);
        if (met != OK) {
            return met;
        }
    }
    if (response->status == HTTP_NO_CONTENT || response->status == HTTP_NOT_MODIFIED) {
        return OK;
    }
    ap_set_content_length(r, (apr_off_t)response->body.n);
    if (!r->header_only && response->body.n > 0) {
        ap_rwrite(response->body.p, (int)response->body.n, r);
    }
    return OK;
}

static void run_endpoint(prv_view *view, const prv_http *http, prv_response *response)
{
    prv_root *root = view->root;
    prv_endpoint *endpoint = NULL;
    prv_op op;
    prv_ep_step step = prv_endpoint_begin(&endpoint, &root->rq, &view->rules, http, &op, response);
    for (unsigned i = 0; step == PRV_EP_STORE && i < ROUNDS_MAX; i++) {
        prv_reply reply;
        prv_flight *flight = prv_backend_call(prv_backend_of(root), &op, &reply);
        step = prv_endpoint_feed(endpoint, &reply, &op, response);
        prv_flight_free(flight);
    }
    if (step == PRV_EP_STORE) {
        *response = (prv_response){.status = HTTP_INTERNAL_SERVER_ERROR};
    }
}

/* `/privacy` is meant as `/privacy/`. */
static bool lacks_slash(const prv_http *http)
{
    return http->path.n + 1 == http->mount.n &&
           memcmp(http->path.p, http->mount.p, http->path.n) == 0;
}

static int show_status(request_rec *r)
{
    const prv_shared *shared = prv_server_of(r->server)->shared;
    prv_response response = {0};
    if (r->main) {
        return HTTP_NOT_FOUND;
    }
    const prv_http http = {.method = prv_str_of(r->method), .accept = field(r, "Accept")};
    prv_root *root = prv_root_get(r);
    root->env.mono_ms = prv_mono_ms();
    prv_status status = {.env = &root->env};
    if (shared) {
        status.zone = shared->zone;
        status.sites = (const prv_site *const *)(const void *)shared->sites->elts;
        status.n_sites = (size_t)shared->sites->nelts;
        status.store = shared->store != NULL;
    }
    prv_status_respond(&status, &http, &response);
    return respond(r, &response);
}

int prv_handler(request_rec *r)
{
    if (prv_is_status(prv_dir_of(r))) {
        return show_status(r);
    }
    if (prv_server_of(r->server)->strongest == PRV_MODE_OFF) {
        return DECLINED;
    }
    prv_view *view = prv_view_get(r);
    const bool endpoint = prv_is_endpoint(view->dir);
    if (!endpoint && !prv_is_well_known(view->dir, r->uri)) {
        return DECLINED;
    }
    if (view->dir->mode == PRV_MODE_UNSET || view->dir->mode == (int)PRV_MODE_OFF) {
        return endpoint ? HTTP_NOT_FOUND : DECLINED;
    }
    prv_http http;
    prv_response response = {0};
    prv_view_decide(view, r, true);
    fill_http(view, r, &http);
    if (endpoint && lacks_slash(&http)) {
        apr_table_setn(r->headers_out, "Location", prv_text(r, http.mount));
        return HTTP_MOVED_PERMANENTLY;
    }
    int status = read_body(r, &http);
    if (status != OK) {
        return status;
    }
    if (endpoint) {
        run_endpoint(view, &http, &response);
    } else {
        prv_well_known(&view->root->rq, &view->rules, &http, &response);
    }
    view->root->generation++; /* a change holds for what is logged, too */
    return respond(r, &response);
}
