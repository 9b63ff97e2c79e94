/* Answers of the endpoints: the header fields that each kind carries, and RFC 9457 problem
 * documents. */
#include "../request/headers.h"
#include "endpoint.h"

static const struct {
    int status;
    prv_str title;
} titles[] = {{400, {"Bad Request", 11}},
              {403, {"Forbidden", 9}},
              {404, {"Not Found", 9}},
              {405, {"Method Not Allowed", 18}},
              {409, {"Conflict", 8}},
              {413, {"Content Too Large", 17}},
              {415, {"Unsupported Media Type", 22}},
              {429, {"Too Many Requests", 17}},
              {503, {"Service Unavailable", 19}}};

static const prv_str problem_type = {"application/problem+json", 24};

/* The answer when there is no memory to make one. */
static const char no_memory[] =
    "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
    "\"detail\":\"The server has no memory for this now.\"}\n";

void prv_respond_header(prv_response *response, prv_str name, prv_str value)
{
    if (response->n_headers < PRV_HEADERS_MAX && value.n > 0)
        response->headers[response->n_headers++] = (prv_field){name, value};
}

static void start(prv_response *response, int status, prv_str type, prv_str body)
{
    *response = (prv_response){.status = status, .body = body};
    prv_respond_header(response, PRV_STR("Content-Type"), type);
    prv_respond_header(response, PRV_STR("X-Content-Type-Options"), PRV_STR("nosniff"));
}

void prv_respond_body(prv_response *response, int status, prv_str type, prv_str body)
{
    if (body.p == NULL) {
        start(response, 503, problem_type, PRV_STR(no_memory));
        prv_respond_header(response, PRV_STR("Retry-After"), PRV_STR("5"));
    } else {
        start(response, status, type, body);
    }
    prv_respond_header(response, PRV_STR("Cache-Control"), PRV_STR("no-store"));
    prv_respond_header(response, PRV_STR("X-Robots-Tag"), PRV_STR("noindex"));
}

void prv_respond_page(prv_response *response, int status, prv_str html)
{
    prv_respond_body(response, status, PRV_STR("text/html; charset=utf-8"), html);
    prv_respond_header(response, PRV_STR("Content-Security-Policy"),
                       PRV_STR("default-src 'none'; style-src 'self'; form-action 'self'; "
                               "base-uri 'none'; frame-ancestors 'none'"));
    /* The age gate tells by the Referer whether the visitor comes from the age page. */
    prv_respond_header(response, PRV_STR("Referrer-Policy"), PRV_STR("same-origin"));
}

void prv_respond_asset(prv_response *response, prv_str type, prv_str cache, prv_str body)
{
    start(response, 200, type, body);
    prv_respond_header(response, PRV_STR("Cache-Control"), cache);
}

void prv_respond_redirect(const prv_env *env, prv_response *response, prv_str path)
{
    const prv_str to = prv_url_path(env, path);
    prv_respond_body(response, 303, PRV_STR("text/plain"), to.p == NULL ? PRV_NONE : PRV_STR(""));
    prv_respond_header(response, PRV_STR("Location"), to);
}

/* ------------------------------------------------------------------ problems */

static void text_put(prv_out *out, prv_str text)
{
    for (size_t i = 0; i < text.n; i++) {
        const char c = text.p[i];
        if (c == '"' || c == '\\')
            prv_out_char(out, '\\');
        prv_out_char(out, (unsigned char)c < 0x20 ? ' ' : c);
    }
}

static void problem_put(prv_out *out, int status, prv_str title, prv_str detail)
{
    prv_out_put(out, PRV_STR("{\"type\":\"about:blank\",\"title\":\""));
    prv_out_put(out, title);
    prv_out_put(out, PRV_STR("\",\"status\":"));
    prv_out_number(out, (unsigned)status);
    prv_out_put(out, PRV_STR(",\"detail\":\""));
    text_put(out, detail);
    prv_out_put(out, PRV_STR("\"}\n"));
}

void prv_respond_problem(const prv_env *env, prv_response *response, int status, prv_str detail)
{
    prv_str title = PRV_NONE;
    prv_out counted = {0};
    prv_out body;
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        if (titles[i].status == status)
            title = titles[i].title;
    }
    problem_put(&counted, status, title, detail);
    if (!prv_out_open(&body, env, counted.n)) {
        prv_respond_body(response, status, problem_type, PRV_NONE);
        return;
    }
    problem_put(&body, status, title, detail);
    prv_respond_body(response, status, problem_type, prv_out_view(&body));
}

void prv_respond_retry(const prv_env *env, prv_response *response, int status, uint32_t seconds,
                       prv_str detail)
{
    prv_out text;
    prv_respond_problem(env, response, status, detail);
    if (response->status != status)
        return;
    if (prv_out_open(&text, env, 10)) {
        prv_out_number(&text, seconds > 0 ? seconds : 1);
        prv_respond_header(response, PRV_STR("Retry-After"), prv_out_view(&text));
    } else {
        prv_respond_header(response, PRV_STR("Retry-After"), PRV_STR("60"));
    }
}
