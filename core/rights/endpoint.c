/*
 * The visitor's endpoints: which call it is, and the calls that change nothing. What changes
 * something is in consent.c.
 */
#include "../request/headers.h"
#include "endpoint.h"

#define METHOD_GET 1u
#define METHOD_POST 2u
#define METHOD_DELETE 4u

typedef void (*get_call)(prv_endpoint *ep, prv_response *response);
typedef prv_ep_step (*change_call)(prv_endpoint *ep, prv_op *op, prv_response *response);

/* ------------------------------------------------------------------ GET */

static prv_str query(const prv_endpoint *ep, prv_str name)
{
    return prv_form_find(ep->rq->env, ep->http.query, name);
}

/* A gate saw that the answer given here did not come back. */
static bool keeps_no_cookie(const prv_endpoint *ep)
{
    return !ep->rq->has_token && prv_view_equal(query(ep, PRV_STR("cookies")), PRV_STR("none"));
}

/* HEAD shows nothing. */
static void asked(const prv_endpoint *ep, prv_question question)
{
    if (prv_view_equal(ep->http.method, PRV_STR("GET")))
        prv_tally_asked(ep->rq, ep->rules.mode, question);
}

static void get_preferences(prv_endpoint *ep, prv_response *response)
{
    prv_page page = prv_endpoint_page(ep);
    if (keeps_no_cookie(ep)) {
        const prv_policy *policy = ep->rq->site->policy;
        page.notice = prv_words_get(policy, prv_words_language(policy, ep->http.accept_language),
                                    PRV_WORD_NO_COOKIES);
    }
    if (ep->d.unanswered != 0)
        asked(ep, PRV_ASK_CONSENT);
    prv_respond_page(response, 200, prv_page_preferences(&page));
}

static void get_consent(prv_endpoint *ep, prv_response *response)
{
    prv_respond_body(response, 200, PRV_STR("application/json"),
                     prv_document_consent(ep, false, false));
}

static void get_age(prv_endpoint *ep, prv_response *response)
{
    const prv_policy *policy = ep->rq->site->policy;
    const prv_page page = prv_endpoint_page(ep);
    if (keeps_no_cookie(ep)) {
        const prv_str language = prv_words_language(policy, ep->http.accept_language);
        prv_respond_page(
            response, 200,
            prv_page_explain(&page, prv_words_get(policy, language, PRV_WORD_NO_COOKIES_TITLE),
                             prv_words_get(policy, language, PRV_WORD_NO_COOKIES)));
        return;
    }
    if (ep->d.age == PRV_AGE_UNKNOWN)
        asked(ep, PRV_ASK_AGE);
    prv_respond_page(response, 200, prv_page_age(&page));
}

static void get_opt_out(prv_endpoint *ep, prv_response *response)
{
    const prv_page page = prv_endpoint_page(ep);
    asked(ep, PRV_ASK_OPT_OUT);
    prv_respond_page(response, 200, prv_page_opt_out(&page));
}

static void get_policy(prv_endpoint *ep, prv_response *response)
{
    prv_respond_body(response, 200, PRV_STR("application/json"), prv_document_policy(ep));
}

static void get_style(prv_endpoint *ep, prv_response *response)
{
    bool current = prv_view_equal(query(ep, PRV_STR("v")), prv_page_style_version());
    prv_respond_asset(response, PRV_STR("text/css; charset=utf-8"),
                      current ? PRV_STR("public, max-age=31536000, immutable")
                              : PRV_STR("public, max-age=300"),
                      prv_page_style());
}

/* ------------------------------------------------------------------ which call */

static const struct route {
    const char *name;
    unsigned methods;
    const char *allow;
    get_call get;
    change_call change;
} routes[] = {
    {"", METHOD_GET, "GET, HEAD", get_preferences, NULL},
    {"consent", METHOD_GET | METHOD_POST | METHOD_DELETE, "GET, HEAD, POST, DELETE", get_consent,
     prv_consent_call},
    {"age", METHOD_GET | METHOD_POST, "GET, HEAD, POST", get_age, prv_age_call},
    {"opt-out", METHOD_GET, "GET, HEAD", get_opt_out, NULL},
    {"policy", METHOD_GET, "GET, HEAD", get_policy, NULL},
    {"style.css", METHOD_GET, "GET, HEAD", get_style, NULL},
};

static prv_str view_of(const char *text)
{
    return (prv_str){text, strlen(text)};
}

static const struct route *route_find(prv_str name)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (prv_view_equal(name, view_of(routes[i].name)))
            return &routes[i];
    }
    return NULL;
}

static unsigned method_of(prv_str method)
{
    if (prv_view_equal(method, PRV_STR("GET")) || prv_view_equal(method, PRV_STR("HEAD")))
        return METHOD_GET;
    if (prv_view_equal(method, PRV_STR("POST")))
        return METHOD_POST;
    return prv_view_equal(method, PRV_STR("DELETE")) ? METHOD_DELETE : 0;
}

/* A mount with its slash, else the home (a location given as a pattern has no prefix). */
static bool locate(prv_endpoint *ep)
{
    const prv_str bases[] = {ep->http.mount, ep->rq->site->home};
    for (size_t i = 0; i < 2; i++) {
        const prv_str base = bases[i];
        if (base.n == 0 || !prv_view_starts(ep->http.path, base))
            continue;
        size_t n = base.n;
        if (base.p[n - 1] != '/') {
            if (ep->http.path.n == n || ep->http.path.p[n] != '/')
                continue;
            n++;
        }
        ep->base = (prv_str){ep->http.path.p, n};
        ep->name = prv_view_from(ep->http.path, n);
        return true;
    }
    return false;
}

static void prepare(prv_endpoint *ep)
{
    const prv_str to = query(ep, PRV_STR("return"));
    ep->return_path = prv_return_valid(to) ? to : PRV_NONE;
    prv_endpoint_decide(ep);
}

prv_ep_step prv_endpoint_begin(prv_endpoint **out, prv_request *rq, const prv_rules *rules,
                               const prv_http *http, prv_op *op, prv_response *response)
{
    const prv_env *env = rq->env;
    prv_endpoint *ep = env->alloc(env->ctx, sizeof *ep);
    *out = ep;
    if (ep == NULL) {
        prv_respond_body(response, 503, PRV_NONE, PRV_NONE);
        return PRV_EP_RESPOND;
    }
    *ep = (prv_endpoint){.rq = rq, .rules = *rules, .http = *http};
    ep->rules.exempt = true;
    ep->rules.min_age = 0;
    const struct route *route = locate(ep) ? route_find(ep->name) : NULL;
    if (route == NULL) {
        prv_respond_problem(env, response, 404, PRV_STR("There is nothing here."));
        return PRV_EP_RESPOND;
    }
    const unsigned method = method_of(http->method) & route->methods;
    if (method == 0) {
        prv_respond_problem(env, response, 405, PRV_STR("This resource has no such method."));
        if (response->status == 405)
            prv_respond_header(response, PRV_STR("Allow"), view_of(route->allow));
        return PRV_EP_RESPOND;
    }
    prepare(ep);
    if (method != METHOD_GET)
        return route->change(ep, op, response);
    route->get(ep, response);
    return PRV_EP_RESPOND;
}

prv_ep_step prv_endpoint_feed(prv_endpoint *ep, const prv_reply *reply, prv_op *op,
                              prv_response *response)
{
    const prv_change_step step = ep->account.rq != NULL ? prv_account_feed(&ep->account, reply, op)
                                                        : prv_change_feed(&ep->run, reply, op);
    return prv_change_answer(ep, step, response);
}
