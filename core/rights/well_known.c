/*
 * `/.well-known/gpc.json` (GPC) and `/.well-known/dnt/` (Tracking Preference Expression, tracking
 * status resource). Both say what the configuration does, never more: in report mode nothing is
 * honoured yet.
 */
#include "../request/headers.h"
#include "endpoint.h"

static bool gpc_honoured(const prv_policy *policy, const prv_rules *rules)
{
    return rules->mode != PRV_MODE_REPORT && policy->listens_gpc != 0 &&
           (policy->sale & ~policy->off & ~policy->listens_gpc) == 0;
}

/* The day since which it holds. */
static prv_str last_update(const prv_policy *policy)
{
    if (policy->effective.n == 10 && prv_version_parse(policy->effective) != 0)
        return policy->effective;
    if (policy->version_text.n >= 10)
        return (prv_str){policy->version_text.p, 10};
    return PRV_STR("1970-01-01");
}

static void gpc(prv_request *rq, const prv_rules *rules, prv_response *response)
{
    const prv_policy *policy = rq->site->policy;
    prv_out out;
    if (!prv_out_open(&out, rq->env, 64)) {
        prv_respond_body(response, 503, PRV_NONE, PRV_NONE);
        return;
    }
    prv_out_put(&out,
                gpc_honoured(policy, rules) ? PRV_STR("{\"gpc\":true") : PRV_STR("{\"gpc\":false"));
    prv_out_put(&out, PRV_STR(",\"lastUpdate\":\""));
    prv_out_put(&out, last_update(policy));
    prv_out_put(&out, PRV_STR("\"}\n"));
    prv_respond_asset(response, PRV_STR("application/json"), PRV_STR("public, max-age=3600"),
                      prv_out_view(&out));
}

/* `!`: under test. Where the policy names no DNT there is no Tk, but the resource is asked for
 * explicitly. */
static prv_str tracking(const prv_request *rq, const prv_rules *rules, const prv_decision *d)
{
    const prv_policy *policy = rq->site->policy;
    if (rules->mode == PRV_MODE_REPORT)
        return PRV_STR("!");
    const prv_str tk = prv_header_tk(rq, d);
    if (tk.n == 1)
        return tk;
    if (!prv_could_track(policy))
        return PRV_STR("N");
    return rq->signals & PRV_SIGNAL_DNT ? PRV_STR("D") : PRV_STR("T");
}

static void text_put(prv_out *out, prv_str value)
{
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"' || value.p[i] == '\\')
            prv_out_char(out, '\\');
        prv_out_char(out, (unsigned char)value.p[i] < 0x20 ? ' ' : value.p[i]);
    }
}

static void member_put(prv_out *out, prv_str name, prv_str value)
{
    if (value.n == 0)
        return;
    prv_out_put(out, PRV_STR(",\""));
    prv_out_put(out, name);
    prv_out_put(out, PRV_STR("\":\""));
    text_put(out, value);
    prv_out_char(out, '"');
}

static void status_put(prv_out *out, const prv_request *rq, prv_str value)
{
    prv_out_put(out, PRV_STR("{\"tracking\":\""));
    prv_out_put(out, value);
    prv_out_char(out, '"');
    /* URIs all three: the policy's page is where the controller names itself. */
    const prv_str url = rq->site->policy->url.n > 0 ? rq->site->policy->url : rq->site->home;
    member_put(out, PRV_STR("policy"), url);
    prv_out_put(out, PRV_STR(",\"controller\":[\""));
    text_put(out, url);
    prv_out_put(out, PRV_STR("\"]"));
    member_put(out, PRV_STR("config"), rq->site->home);
    prv_out_put(out, PRV_STR("}\n"));
}

static void dnt(prv_request *rq, const prv_rules *rules, const prv_http *http,
                prv_response *response)
{
    prv_decision d;
    prv_out counted = {0};
    prv_out out;
    prv_decide(rq->site->policy, rules, &rq->state, rq->degraded, rq->signals, http->region,
               rq->env->now_ms / 1000, &d);
    const prv_str value = tracking(rq, rules, &d);
    status_put(&counted, rq, value);
    if (!prv_out_open(&out, rq->env, counted.n)) {
        prv_respond_body(response, 503, PRV_NONE, PRV_NONE);
        return;
    }
    status_put(&out, rq, value);
    prv_respond_body(response, 200, PRV_STR("application/tracking-status+json"),
                     prv_out_view(&out));
    /* C depends on the visitor's grants, D on the field. */
    if (rules->mode != PRV_MODE_REPORT && response->status == 200)
        prv_respond_header(response, PRV_STR("Vary"), PRV_STR("Cookie, DNT"));
}

void prv_well_known(prv_request *rq, const prv_rules *rules, const prv_http *http,
                    prv_response *response)
{
    const bool is_gpc = prv_view_equal(http->path, PRV_STR("/.well-known/gpc.json"));
    if (!is_gpc && !prv_view_equal(http->path, PRV_STR("/.well-known/dnt/"))) {
        prv_respond_problem(rq->env, response, 404, PRV_STR("There is nothing here."));
    } else if (!prv_view_equal(http->method, PRV_STR("GET")) &&
               !prv_view_equal(http->method, PRV_STR("HEAD"))) {
        prv_respond_problem(rq->env, response, 405, PRV_STR("This resource has no such method."));
        if (response->status == 405)
            prv_respond_header(response, PRV_STR("Allow"), PRV_STR("GET, HEAD"));
    } else if (is_gpc) {
        gpc(rq, rules, response);
    } else {
        dnt(rq, rules, http, response);
    }
}
