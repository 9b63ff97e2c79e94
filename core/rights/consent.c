/* The state-changing calls: POST and DELETE consent, POST age. From body to change, from change to
 * answer. */
#include "../request/headers.h"
#include "../state/count.h"
#include "endpoint.h"

#define STORE_RETRY_S 5 /* a store that comes back is found by one probe within about that time */

static const prv_str json_type = {"application/json", 16};

void prv_endpoint_decide(prv_endpoint *ep)
{
    const prv_request *rq = ep->rq;
    prv_decide(rq->site->policy, &ep->rules, &rq->state, rq->degraded, rq->signals, ep->http.region,
               rq->env->now_ms / 1000, &ep->d);
}

prv_page prv_endpoint_page(const prv_endpoint *ep)
{
    return (prv_page){.rq = ep->rq,
                      .d = &ep->d,
                      .http = &ep->http,
                      .base = ep->base,
                      .return_path = ep->return_path};
}

static prv_ep_step problem(prv_endpoint *ep, prv_response *response, int status, prv_str detail)
{
    prv_respond_problem(ep->rq->env, response, status, detail);
    return PRV_EP_RESPOND;
}

/* ------------------------------------------------------------------ before the body is read */

static bool limited(const prv_endpoint *ep, uint32_t *retry_s)
{
    const prv_request *rq = ep->rq;
    const int64_t now_ms = rq->env->now_ms;
    const prv_str cut = prv_addr_cut(rq->env, ep->http.addr);
    uint64_t seed = prv_fnv64(PRV_FNV64_SEED, rq->site->policy->id);
    uint32_t by_addr = 0, by_id = 0;
    if (rq->zone == NULL || rq->site->limit.off)
        return false;
    bool over =
        !prv_limit_take(rq->zone, &rq->site->limit,
                        prv_fnv64(prv_fnv64(seed, PRV_STR("\naddr\n")), cut), now_ms, &by_addr);
    if (rq->state.id_len > 0) {
        const prv_str id = {rq->state.id, rq->state.id_len};
        over |= !prv_limit_take(rq->zone, &rq->site->limit,
                                prv_fnv64(prv_fnv64(seed, PRV_STR("\nid\n")), id), now_ms, &by_id);
    }
    *retry_s = by_addr > by_id ? by_addr : by_id;
    return over;
}

/* false: *response says why the call goes no further. */
static bool admitted(prv_endpoint *ep, prv_response *response)
{
    const prv_env *env = ep->rq->env;
    uint32_t retry_s = 1;
    if (prv_origin_check(ep->rq->site, &ep->http) == PRV_ORIGIN_FOREIGN) {
        prv_respond_problem(env, response, 403, PRV_STR("This call comes from another site."));
        return false;
    }
    if (ep->rq->site->keys == NULL) {
        prv_respond_retry(env, response, 503, 60,
                          PRV_STR("The server has no key to keep choices with."));
        return false;
    }
    if (limited(ep, &retry_s)) {
        prv_cold_add(ep->rq->zone, prv_limited_key(ep->rq->site->policy), 1);
        prv_respond_retry(env, response, 429, retry_s,
                          PRV_STR("Too many changes; try again later."));
        return false;
    }
    if (ep->http.body_too_large || ep->http.body.n > PRV_BODY_MAX) {
        prv_respond_problem(env, response, 413, PRV_STR("The body has more than 16 KiB."));
        return false;
    }
    return true;
}

/* false: 415. */
static bool body_type(prv_endpoint *ep, prv_response *response)
{
    prv_str rest = ep->http.content_type;
    prv_str type = PRV_NONE;
    (void)prv_view_split(&rest, ';', &type);
    type = prv_view_trim(type);
    ep->form = prv_view_iequal(type, PRV_STR("application/x-www-form-urlencoded"));
    if (ep->form || prv_view_iequal(type, json_type))
        return true;
    prv_respond_problem(ep->rq->env, response, 415,
                        PRV_STR("The body must be application/json or "
                                "application/x-www-form-urlencoded."));
    return false;
}

static prv_ep_step malformed(prv_endpoint *ep, const prv_error *err, prv_response *response)
{
    if (err->code == PRV_ERR_NOMEM) {
        prv_respond_body(response, 503, PRV_NONE, PRV_NONE);
        return PRV_EP_RESPOND;
    }
    return problem(ep, response, 400, (prv_str){err->text, strlen(err->text)});
}

/* A form that does not say where it comes from needs a token; without one it is shown again,
 * carrying it. */
static bool form_trusted(prv_endpoint *ep, prv_str token, const prv_field *fields, size_t n,
                         prv_response *response)
{
    const prv_request *rq = ep->rq;
    if (prv_origin_check(rq->site, &ep->http) == PRV_ORIGIN_OWN ||
        prv_form_token_valid(rq, ep->http.addr, token))
        return true;
    prv_page page = prv_endpoint_page(ep);
    page.form_token = prv_form_token_make(rq, ep->http.addr);
    page.fields = fields;
    page.n_fields = n;
    page.action = ep->name;
    prv_respond_page(response, 403, page.form_token.n > 0 ? prv_page_confirm(&page) : PRV_NONE);
    return false;
}

/* ------------------------------------------------------------------ after the change */

static prv_str host_name(prv_str host)
{
    if (host.n > 0 && host.p[0] == '[')
        return (prv_str){host.p, prv_view_find(host, ']')};
    return (prv_str){host.p, prv_view_find(host, ':')};
}

/* Cookies whose denial is explicit: refused, or by a known age. Absence of a choice and signals
 * expire nothing. */
static void expire(const prv_endpoint *ep, prv_response *response)
{
    prv_str fields[PRV_EXPIRE_MAX];
    uint32_t mask = 0;
    for (unsigned i = 0; i < ep->rq->site->policy->n_purposes; i++) {
        const prv_str reason = prv_row_reason(ep->d.row[i]);
        if (prv_view_equal(reason, PRV_STR("refused")) || prv_view_equal(reason, PRV_STR("age")))
            mask |= 1u << i;
    }
    /* An objection hidden behind an earlier row is explicit, too. */
    mask |= ep->rq->state.refused & ~ep->d.allowed;
    const size_t n =
        prv_expire_cookies(ep->rq, &ep->d, mask, host_name(ep->http.host), fields, PRV_EXPIRE_MAX);
    for (size_t i = 0; i < n; i++)
        prv_respond_header(response, PRV_STR("Set-Cookie"), fields[i]);
}

static void answer(prv_endpoint *ep, bool local, prv_response *response)
{
    const prv_env *env = ep->rq->env;
    if (ep->form) {
        prv_str to = ep->return_path;
        if (to.n == 0 && ep->age) {
            prv_out path;
            if (prv_out_open(&path, env, ep->base.n + 3)) {
                prv_out_put(&path, ep->base);
                prv_out_put(&path, PRV_STR("age"));
                to = prv_out_view(&path);
            }
        }
        prv_respond_redirect(env, response, to.n > 0 ? to : ep->base);
        return;
    }
    prv_respond_body(response, local ? 202 : 200, json_type,
                     ep->age ? prv_document_age(ep, local)
                             : prv_document_consent(
                                   ep, local, local && (ep->run.partly || ep->account.run.partly)));
}

/* Of a visitor with an account it is the account's change. What grants does not happen while the store is away. */
static void count(const prv_endpoint *ep, prv_change_step step)
{
    const prv_change *made = ep->account.rq != NULL ? &ep->account.change : &ep->run.change;
    prv_tally_chosen(ep->rq, step == PRV_CHANGE_DONE ? made->grant : 0, made->refuse, made->method,
                     ep->d.jurisdiction);
}

prv_ep_step prv_change_answer(prv_endpoint *ep, prv_change_step step, prv_response *response)
{
    const prv_env *env = ep->rq->env;
    prv_str cookie = PRV_NONE;
    if (step == PRV_CHANGE_WRITE)
        return PRV_EP_STORE;
    /* An account's choice is not the browser's: nothing is set where that has nothing to say. */
    const bool silent = ep->account.rq != NULL && !ep->account.set_cookie && !ep->rq->has_token;
    if (step != PRV_CHANGE_UNAVAILABLE && !silent) {
        const prv_state own = prv_request_own(ep->rq);
        cookie = prv_token_cookie(ep->rq->site, &own, env);
    }
    if (step == PRV_CHANGE_UNAVAILABLE || (cookie.n == 0 && !silent)) {
        prv_respond_retry(env, response, 503, STORE_RETRY_S,
                          PRV_STR("The choice could not be kept; nothing was granted."));
        return PRV_EP_RESPOND;
    }
    prv_endpoint_decide(ep);
    count(ep, step);
    answer(ep, step == PRV_CHANGE_LOCAL, response);
    if (response->status == 503) /* no memory to say what holds: then nothing is said */
        return PRV_EP_RESPOND;
    prv_respond_header(response, PRV_STR("Tk"), PRV_STR("U"));
    if (cookie.n > 0)
        prv_respond_header(response, PRV_STR("Set-Cookie"), cookie);
    expire(ep, response);
    return PRV_EP_RESPOND;
}

static prv_ep_step begin(prv_endpoint *ep, prv_change *change, prv_op *op, prv_response *response)
{
    change->signals = ep->rq->signals;
    change->region = ep->http.region;
    change->method = ep->form ? PRV_STR("form") : PRV_STR("api");
    change->restricted = -1;
    const prv_change_step step = ep->rq->known && ep->rq->site->store
                                     ? prv_account_begin(&ep->account, ep->rq, change, op)
                                     : prv_change_begin(&ep->run, ep->rq, change, op);
    return prv_change_answer(ep, step, response);
}

static prv_ep_step unchanged(prv_endpoint *ep, prv_response *response)
{
    answer(ep, false, response);
    return PRV_EP_RESPOND;
}

/* ------------------------------------------------------------------ consent */

prv_ep_step prv_consent_call(prv_endpoint *ep, prv_op *op, prv_response *response)
{
    const prv_policy *policy = ep->rq->site->policy;
    prv_consent_input input = {0};
    prv_error err = {0};

    if (!admitted(ep, response))
        return PRV_EP_RESPOND;
    if (prv_view_equal(ep->http.method, PRV_STR("DELETE"))) {
        input.refuse = prv_refusable(policy);
        input.everything = true;
    } else {
        if (!body_type(ep, response))
            return PRV_EP_RESPOND;
        const prv_code code = ep->form
                                  ? prv_input_consent_form(ep->rq->env, policy, ep->http.body,
                                                           ep->rq->state.refused, &input, &err)
                                  : prv_input_consent_json(policy, ep->http.body, &input, &err);
        if (code != PRV_OK)
            return malformed(ep, &err, response);
        ep->return_path = input.return_path;
        if (ep->form && !form_trusted(ep, input.token, input.fields, input.n_fields, response))
            return PRV_EP_RESPOND;
    }
    if (input.grant == 0 && input.refuse == 0 && !input.everything)
        return unchanged(ep, response);
    prv_change change = {
        .grant = input.grant, .refuse = input.refuse, .refuse_other = input.everything};
    return begin(ep, &change, op, response);
}

/* ------------------------------------------------------------------ age */

static prv_ep_step age_again(prv_endpoint *ep, int status, prv_word notice, prv_str detail,
                             prv_response *response)
{
    if (!ep->form)
        return problem(ep, response, status, detail);
    const prv_policy *policy = ep->rq->site->policy;
    prv_page page = prv_endpoint_page(ep);
    page.notice =
        prv_words_get(policy, prv_words_language(policy, ep->http.accept_language), notice);
    prv_respond_page(response, status, prv_page_age(&page));
    return PRV_EP_RESPOND;
}

prv_ep_step prv_age_call(prv_endpoint *ep, prv_op *op, prv_response *response)
{
    const int64_t now = ep->rq->env->now_ms / 1000;
    prv_age_input input = {0};
    prv_error err = {0};
    prv_state known = ep->rq->state;

    ep->age = true;
    if (!admitted(ep, response) || !body_type(ep, response))
        return PRV_EP_RESPOND;
    const prv_code code = ep->form ? prv_input_age_form(ep->rq->env, ep->http.body, &input, &err)
                                   : prv_input_age_json(ep->http.body, &input, &err);
    if (code != PRV_OK)
        return malformed(ep, &err, response);
    ep->return_path = input.return_path;
    if (ep->form && !form_trusted(ep, input.token, input.fields, input.n_fields, response))
        return PRV_EP_RESPOND;

    const int years = input.bad_date ? -1 : prv_age_years(input.year, input.month, input.day, now);
    if (years < 0)
        return age_again(
            ep, 400, PRV_WORD_AGE_BAD,
            PRV_STR("The member \"birth_date\" must be a day of the calendar, from 1900 "
                    "until today."),
            response);
    prv_state_age_expire(ep->rq->site->policy, &known, now);
    prv_change change = {.set_age = true};
    if (!prv_age_answer(ep->rq->site, (unsigned)years, &known.age, now, &change.age))
        return age_again(ep, 409, PRV_WORD_AGE_ANSWERED,
                         PRV_STR("The age was answered already, and this does not agree with it."),
                         response);
    if (change.age.ok == 0 && change.age.under == 0)
        return unchanged(ep, response);
    return begin(ep, &change, op, response);
}
