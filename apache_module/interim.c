/*
 * Header blocks that reach the client past the request's own filters: interim answers (100, 103),
 * 101, and whatever mod_proxy_wstunnel copies without reading it. They are written straight to the
 * connection, so a filter of the connection edits them. It looks until the real answer begins:
 * that one has passed the filter of output.c.
 */
#include "mod_privacy.h"

#include "http_protocol.h"
#include "util_filter.h"

/* More of a header than any server of ours writes. */
#define BLOCK_MAX ((size_t)256 * 1024)
#define STATUS_AT 9 /* "HTTP/1.1 103" */

static ap_filter_rec_t *handle;

/* One connection. */
typedef struct watch {
    request_rec *r; /* whose answer has not begun; NULL: everything passes */
    char *held;     /* the start of a block, in the pool of r */
    size_t n;
    size_t room;
} watch;

/* ------------------------------------------------------------------ one header block */

typedef struct line {
    prv_str all; /* as it stands, with its end and what is folded into it */
    prv_str name;
    prv_str value;
} line;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static prv_str trim(const char *from, const char *to)
{
    while (from < to && is_blank(*from)) {
        from++;
    }
    while (from < to && is_blank(to[-1])) {
        to--;
    }
    return (prv_str){from, (size_t)(to - from)};
}

/* The first line of the text. */
static line line_of(const char *p, const char *end)
{
    const char *stop = p;
    do {
        const char *newline = memchr(stop, '\n', (size_t)(end - stop));
        stop = newline ? newline + 1 : end;
    } while (stop < end && (*stop == ' ' || *stop == '\t'));
    const char *colon = memchr(p, ':', (size_t)(stop - p));
    line out = {.all = {p, (size_t)(stop - p)}};
    if (colon) {
        out.name = trim(p, colon);
        out.value = trim(colon + 1, stop);
    }
    return out;
}

static bool is_named(const line *field, const char *name)
{
    return field->name.n == strlen(name) &&
           ap_cstr_casecmpn(field->name.p, name, field->name.n) == 0;
}

static bool is_subject(const line *field)
{
    return is_named(field, "Privacy-Subject") || is_named(field, "Privacy-Subject-Age");
}

/* 0: the block is not complete. */
static size_t block_length(const char *p, size_t n)
{
    for (const char *at = p, *end = p + n; (at = memchr(at, '\n', (size_t)(end - at))); at++) {
        const char *next = at + 1 < end && at[1] == '\r' ? at + 2 : at + 1;
        if (next < end && *next == '\n') {
            return (size_t)(next + 1 - p);
        }
    }
    return 0;
}

/* The application's word about the age holds as it does in any answer. */
static void hear(request_rec *r, const char *block, const char *end)
{
    apr_table_t *own = r->headers_out; /* its sender may be walking over it */
    r->headers_out = apr_table_make(r->pool, 2);
    for (const char *p = block; p < end;) {
        line field = line_of(p, end);
        if (is_subject(&field)) {
            apr_table_addn(r->headers_out, prv_text(r, field.name), prv_text(r, field.value));
        }
        p += field.all.n;
    }
    prv_hear_application(r);
    r->headers_out = own;
}

static void remember(prv_root *root, prv_str value)
{
    if (root->server->shared->env_wanted & (1u << PRV_VAR_REMOVED | 1u << PRV_VAR_UNKNOWN)) {
        if (!root->set_cookies) {
            root->set_cookies = apr_array_make(root->r->pool, 2, sizeof(prv_str));
        }
        APR_ARRAY_PUSH(root->set_cookies, prv_str) = value;
    }
}

static bool is_kept(prv_view *view, request_rec *r, const line *field)
{
    if (is_subject(field)) {
        return false;
    }
    if (!is_named(field, "Set-Cookie")) {
        return true;
    }
    prv_str value = prv_str_of(prv_text(r, field->value));
    unsigned vary = 0;
    remember(view->root, value);
    if (view->rules.mode != PRV_MODE_ON ||
        prv_edit_set_cookie(&view->root->rq, &view->rules, &view->d, value, &vary) == PRV_KEEP) {
        return true;
    }
    view->root->tally.set_cookies++;
    return false;
}

static void put(apr_bucket_brigade *out, const char *p, size_t n)
{
    apr_brigade_write(out, NULL, NULL, p, n);
}

/* last: no other header of this request follows. */
static void edit_block(request_rec *r, const char *block, size_t n, bool last,
                       apr_bucket_brigade *out)
{
    prv_view *view = prv_view_get(r);
    const prv_root *root = view->root;
    const char *end = block + n;
    if (last) {
        if (root->client_ip) {
            r->useragent_ip = root->client_ip; /* a vendor has got the cut one */
        }
        hear(r, block, end);
    }
    prv_view_decide(view, r, false);
    line field = line_of(block, end);
    put(out, field.all.p, field.all.n);
    for (const char *p = block + field.all.n; p < end; p += field.all.n) {
        field = line_of(p, end);
        if (field.name.n == 0 && trim(p, p + field.all.n).n == 0) {
            break; /* the empty line */
        }
        if (is_kept(view, r, &field)) {
            put(out, field.all.p, field.all.n);
        }
    }
    if (last && view->rules.mode == PRV_MODE_ON && root->own_cookie.n > 0) {
        put(out, "Set-Cookie: ", 12);
        put(out, root->own_cookie.p, root->own_cookie.n);
        put(out, "\r\n", 2);
    }
    put(out, "\r\n", 2);
    APR_BRIGADE_INSERT_TAIL(out, apr_bucket_flush_create(r->connection->bucket_alloc));
}

/* ------------------------------------------------------------------ the filter */

static void hold(watch *w, const char *data, size_t n)
{
    if (w->n + n > w->room) {
        size_t room = 2 * (w->n + n);
        char *more = apr_palloc(w->r->pool, room);
        if (w->n > 0) {
            memcpy(more, w->held, w->n);
        }
        w->held = more;
        w->room = room;
    }
    memcpy(w->held + w->n, data, n);
    w->n += n;
}

static void stop(watch *w)
{
    w->r = NULL;
    w->held = NULL;
    w->n = w->room = 0;
}

/* Are filters of the request gone, so that bytes pass as the upstream wrote them? */
static bool is_tunnel(const request_rec *r)
{
    return r->output_filters == r->connection->output_filters;
}

typedef enum { WAIT, PASS, EDIT, ABORT } verdict;

static verdict judge(const watch *w)
{
    static const char version[] = "HTTP/1.";
    const bool tunnel = is_tunnel(w->r);
    size_t n = w->n < sizeof(version) - 1 ? w->n : sizeof(version) - 1;
    if (memcmp(w->held, version, n) != 0) {
        return tunnel ? ABORT : PASS;
    }
    if (w->n <= STATUS_AT) {
        return WAIT;
    }
    if (w->held[STATUS_AT] != '1' && !tunnel) {
        return PASS;
    }
    if (block_length(w->held, w->n) > 0) {
        return EDIT;
    }
    return w->n > BLOCK_MAX ? ABORT : WAIT;
}

/* Takes from what is held; false: the connection must end. */
static bool consume(watch *w, apr_bucket_brigade *out)
{
    while (w->r && w->n > 0) {
        switch (judge(w)) {
        case WAIT:
            return true;
        case ABORT:
            return false;
        case PASS:
            put(out, w->held, w->n);
            stop(w);
            break;
        case EDIT: {
            size_t n = block_length(w->held, w->n);
            bool last = w->held[STATUS_AT] != '1' || memcmp(w->held + STATUS_AT, "101", 3) == 0;
            edit_block(w->r, w->held, n, last, out);
            w->held += n;
            w->n -= n;
            w->room -= n;
            if (last) {
                put(out, w->held, w->n);
                stop(w);
            }
            break;
        }
        }
    }
    return true;
}

static apr_status_t give_up(watch *w, conn_rec *c)
{
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, w->r,
                  "an answer that cannot be filtered: the connection is closed");
    c->aborted = 1;
    stop(w);
    return APR_ECONNABORTED;
}

static apr_status_t take(watch *w, apr_bucket *e, apr_bucket_brigade *out, conn_rec *c)
{
    const char *data;
    apr_size_t n;
    if (APR_BUCKET_IS_METADATA(e)) {
        if (!APR_BUCKET_IS_FLUSH(e)) {
            stop(w); /* the answer has begun or will not come: half a block goes nowhere */
        }
        if (w->n == 0) {
            APR_BUCKET_REMOVE(e);
            APR_BRIGADE_INSERT_TAIL(out, e);
        } else {
            apr_bucket_delete(e);
        }
        return APR_SUCCESS;
    }
    apr_status_t status = apr_bucket_read(e, &data, &n, APR_BLOCK_READ);
    if (status != APR_SUCCESS) {
        return status;
    }
    hold(w, data, n);
    apr_bucket_delete(e);
    return consume(w, out) ? APR_SUCCESS : give_up(w, c);
}

static apr_status_t interim_filter(ap_filter_t *f, apr_bucket_brigade *bb)
{
    watch *w = f->ctx;
    if (!w->r) {
        return ap_pass_brigade(f->next, bb);
    }
    apr_bucket_brigade *out = apr_brigade_create(w->r->pool, f->c->bucket_alloc);
    while (w->r && !APR_BRIGADE_EMPTY(bb)) {
        apr_status_t status = take(w, APR_BRIGADE_FIRST(bb), out, f->c);
        if (status != APR_SUCCESS) {
            apr_brigade_cleanup(bb);
            apr_brigade_cleanup(out);
            return status;
        }
    }
    APR_BRIGADE_PREPEND(bb, out);
    return APR_BRIGADE_EMPTY(bb) ? APR_SUCCESS : ap_pass_brigade(f->next, bb);
}

/* ------------------------------------------------------------------ which request */

static apr_status_t forget(void *r)
{
    watch *w = ap_get_module_config(((request_rec *)r)->connection->conn_config, &privacy_module);
    if (w && w->r == r) {
        stop(w);
    }
    return APR_SUCCESS;
}

void prv_interim_watch(request_rec *r, bool wanted)
{
    conn_rec *c = r->connection;
    if (r->main || r->assbackwards) {
        return; /* a part of a page has no header; HTTP/0.9 has none at all */
    }
    watch *w = ap_get_module_config(c->conn_config, &privacy_module);
    if (!wanted) {
        if (w) {
            stop(w);
        }
        return;
    }
    if (!w) {
        w = apr_pcalloc(c->pool, sizeof(*w));
        ap_set_module_config(c->conn_config, &privacy_module, w);
        ap_add_output_filter_handle(handle, w, r, c);
    }
    if (w->r != r) {
        stop(w);
        w->r = r;
        apr_pool_cleanup_register(r->pool, r, forget, apr_pool_cleanup_null);
    }
}

void prv_interim_register(void)
{
    handle =
        ap_register_output_filter("PRIVACY_INTERIM", interim_filter, NULL, AP_FTYPE_CONNECTION);
}
