/*
 * Content handlers: the visitor's endpoints and the well-known documents. The state has been
 * resolved in PREACCESS; a change may need the store again, and the answer waits for it.
 */
#include "ngx_http_privacy.h"

typedef struct {
    prv_endpoint *core;
    prv_response response;
    prv_op op;
    unsigned done : 1;
} endpoint_t;

/* Two lines of which one is foreign are foreign: the core sees both. */
static ngx_int_t http_fields(ngx_http_request_t *r, prv_http *http)
{
    const struct {
        const char *name;
        prv_str *value;
    } fields[] = {{"origin", &http->origin},
                  {"sec-fetch-site", &http->sec_fetch_site},
                  {"content-type", &http->content_type},
                  {"accept", &http->accept},
                  {"accept-language", &http->accept_language}};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (ngx_http_privacy_joined(r->pool, &r->headers_in.headers, fields[i].name,
                                    fields[i].value) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    return NGX_OK;
}

static ngx_int_t http_fill(ngx_http_request_t *r, const ngx_http_privacy_ctx_t *ctx, prv_http *http)
{
    ngx_memzero(http, sizeof(*http));
    http->method = ngx_http_privacy_view(&r->method_name);
    http->mount = ctx->lcf->mount;
    http->path = ngx_http_privacy_view(&r->uri);
    http->query = ngx_http_privacy_view(&r->args);
    http->host = r->headers_in.host ? ngx_http_privacy_view(&r->headers_in.host->value)
                                    : ngx_http_privacy_view(&r->headers_in.server);
#if (NGX_HTTP_SSL)
    http->tls = r->connection->ssl != NULL;
#endif
    http->addr = ngx_http_privacy_view(&r->connection->addr_text);
    http->region = ctx->d.region;
    return http_fields(r, http);
}

ngx_int_t ngx_http_privacy_respond(ngx_http_request_t *r, const prv_response *response)
{
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);

    if (st) {
        st->generation++; /* the call may have been a change */
    }
    for (size_t i = 0; st && i < response->n_headers; i++) {
        if (response->headers[i].name.n == sizeof("Cache-Control") - 1 &&
            ngx_strncasecmp((u_char *)(uintptr_t)response->headers[i].name.p,
                            (u_char *)(uintptr_t) "Cache-Control",
                            sizeof("Cache-Control") - 1) == 0) {
            st->cache_control = response->headers[i].value;
        }
    }
    return ngx_http_privacy_send(r, response->status, response->headers, response->n_headers,
                                 response->body);
}

/* ---- the body */

static off_t body_size(const ngx_http_request_t *r)
{
    off_t size = 0;
    if (r->request_body) {
        for (const ngx_chain_t *cl = r->request_body->bufs; cl; cl = cl->next) {
            size += ngx_buf_size(cl->buf);
        }
    }
    return size;
}

/* The whole body in one piece, from memory or from the file that nginx spooled it to. */
static ngx_int_t body_read(ngx_http_request_t *r, prv_http *http)
{
    off_t size = body_size(r);
    if (size > PRV_BODY_MAX) {
        http->body_too_large = true;
        return NGX_OK;
    }
    if (size == 0) {
        return NGX_OK;
    }
    u_char *data = ngx_pnalloc(r->pool, (size_t)size);
    if (data == NULL) {
        return NGX_ERROR;
    }
    u_char *p = data;
    for (const ngx_chain_t *cl = r->request_body->bufs; cl; cl = cl->next) {
        const ngx_buf_t *b = cl->buf;
        size_t n = (size_t)ngx_buf_size(b);
        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, n);
        } else if (b->in_file && n) {
            ssize_t got = ngx_read_file(b->file, p, n, b->file_pos);
            if (got < 0 || (size_t)got != n) {
                return NGX_ERROR;
            }
            p += n;
        }
    }
    http->body = (prv_str){(const char *)data, (size_t)(p - data)};
    return NGX_OK;
}

/* ---- answering, at once or when the store has */

static void feed(endpoint_t *ep, const prv_reply *reply)
{
    if (prv_endpoint_feed(ep->core, reply, &ep->op, &ep->response) == PRV_EP_RESPOND) {
        ep->done = 1;
    }
}

static void step(ngx_http_privacy_state_t *st);

static void reply_arrived(void *state, const prv_reply *reply)
{
    ngx_http_privacy_state_t *st = state;
    feed(st->endpoint, reply);
    step(st);
    if (st->wait == NULL) {
        ngx_http_privacy_wake(st);
    }
}

/* Until the answer is complete or an operation is under way. */
static void step(ngx_http_privacy_state_t *st)
{
    static const prv_reply unavailable = {.status = PRV_REPLY_UNAVAILABLE};
    endpoint_t *ep = st->endpoint;
    while (!ep->done && ngx_http_privacy_submit(st, &ep->op, reply_arrived) != NGX_OK) {
        feed(ep, &unavailable);
    }
}

static void respond(ngx_http_request_t *r)
{
    ngx_http_privacy_state_t *st = ngx_http_privacy_state_find(r);
    const endpoint_t *ep = st->endpoint;

    if (!ep->done) { /* the socket became writable, no more */
        if (ngx_handle_write_event(r->connection->write, 0) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        }
        return;
    }
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    ngx_http_finalize_request(r, ngx_http_privacy_respond(r, &ep->response));
}

static ngx_int_t start(ngx_http_request_t *r, ngx_uint_t too_large)
{
    ngx_http_privacy_ctx_t *ctx = ngx_http_privacy_decide(r);
    endpoint_t *ep = ngx_pcalloc(r->pool, sizeof(*ep));
    prv_http http;

    if (ctx == NULL || ep == NULL || http_fill(r, ctx, &http) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    http.body_too_large = too_large;
    if (!too_large && body_read(r, &http) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ngx_http_privacy_clock(ctx->st);
    ctx->st->endpoint = ep;
    if (prv_endpoint_begin(&ep->core, &ctx->st->rq, &ctx->lcf->rules, &http, &ep->op,
                           &ep->response) == PRV_EP_RESPOND) {
        ep->done = 1;
    }
    step(ctx->st);
    if (ep->done) {
        return ngx_http_privacy_respond(r, &ep->response);
    }
    return ngx_http_privacy_park(r, respond) == NGX_AGAIN ? NGX_DONE : NGX_ERROR;
}

/* The body is there; nginx counts this as one more user of the request, which `finalize` gives
 * back. */
static void body_arrived(ngx_http_request_t *r)
{
    ngx_int_t rc = start(r, 0);
    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}

ngx_int_t ngx_http_privacy_endpoint_handler(ngx_http_request_t *r)
{
    ngx_int_t rc;

    if (r != r->main) {
        return NGX_HTTP_NOT_FOUND;
    }
    if (r->headers_in.content_length_n > PRV_BODY_MAX) {
        r->main->count++;
        rc = start(r, 1);
        if (rc != NGX_DONE) {
            ngx_http_finalize_request(r, rc);
        }
        return NGX_DONE;
    }
    rc = ngx_http_read_client_request_body(r, body_arrived);
    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}

ngx_int_t ngx_http_privacy_well_known_handler(ngx_http_request_t *r)
{
    prv_response response;
    prv_http http;
    ngx_http_privacy_ctx_t *ctx = ngx_http_privacy_decide(r);

    if (ctx == NULL || http_fill(r, ctx, &http) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ngx_memzero(&response, sizeof(response));
    prv_well_known(&ctx->st->rq, &ctx->lcf->rules, &http, &response);
    return ngx_http_privacy_respond(r, &response);
}
