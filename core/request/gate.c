/*
 * How a location that did not let a request pass answers it: navigations may be led somewhere,
 * programs get a problem document (RFC 9457), and nobody is sent round in a circle.
 */
#include "cookie.h"
#include "headers.h"

static const struct status_title {
    int status;
    prv_str title;
} status_titles[] = {
    {403, {"Forbidden", 9}},
    {404, {"Not Found", 9}},
    {409, {"Conflict", 8}},
    {451, {"Unavailable For Legal Reasons", 29}},
};

static prv_str status_title(int status)
{
    for (size_t i = 0; i < sizeof(status_titles) / sizeof(status_titles[0]); i++) {
        if (status_titles[i].status == status) {
            return status_titles[i].title;
        }
    }
    return status_titles[0].title;
}

/* ---- the problem document */

static void json_put(prv_out *out, prv_str text)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '"' || c == '\\') {
            prv_out_char(out, '\\');
            prv_out_char(out, (char)c);
        } else if (c < 0x20) {
            prv_out_put(out, PRV_STR("\\u00"));
            prv_out_char(out, hex[c >> 4]);
            prv_out_char(out, hex[c & 15]);
        } else {
            prv_out_char(out, (char)c);
        }
    }
}

typedef struct problem {
    int status;
    prv_str purpose; /* empty: not about one */
    prv_str reason;
    unsigned age_min; /* 0: not about age */
    bool under;
} problem;

static void detail_put(prv_out *out, const problem *about)
{
    if (about->purpose.n > 0) {
        prv_out_put(out, PRV_STR("This needs your permission for the purpose "));
        json_put(out, about->purpose);
    } else if (about->age_min > 0) {
        prv_out_put(out, about->under
                             ? PRV_STR("This is not open to visitors under the age of ")
                             : PRV_STR("This needs to know that you have reached the age of "));
        prv_out_number(out, about->age_min);
    } else {
        prv_out_put(out, PRV_STR("This is not open to you"));
    }
    prv_out_char(out, '.');
}

static void problem_put(prv_out *out, const problem *about)
{
    prv_out_put(out, PRV_STR("{\"type\":\"about:blank\",\"title\":\""));
    prv_out_put(out, status_title(about->status));
    prv_out_put(out, PRV_STR("\",\"status\":"));
    prv_out_number(out, (unsigned)about->status);
    prv_out_put(out, PRV_STR(",\"detail\":\""));
    detail_put(out, about);
    if (about->purpose.n > 0) {
        prv_out_put(out, PRV_STR("\",\"purpose\":\""));
        json_put(out, about->purpose);
    }
    prv_out_put(out, PRV_STR("\",\"reason\":\""));
    json_put(out, about->reason);
    prv_out_put(out, PRV_STR("\"}\n"));
}

/* Names the first required purpose that is denied, in policy order, and why it is. */
static void purpose_missing(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                            problem *about)
{
    const prv_policy *policy = rq->site->policy;
    uint32_t missing = rules->require & ~d->allowed;

    for (size_t i = 0; i < policy->n_purposes; i++) {
        if ((missing >> i & 1) != 0) {
            about->purpose = policy->purposes[i].name;
            about->reason = prv_row_reason(d->row[i]);
            return;
        }
    }
}

static void answer_problem(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                           int status, prv_gate_answer *out)
{
    problem about = {.status = status, .reason = prv_row_reason(d->gate_row)};
    prv_out counted = {0};
    prv_out body;

    *out = (prv_gate_answer){.status = status};
    if (status == 204) {
        return;
    }
    if (d->gate == PRV_GATE_REQUIRE) {
        purpose_missing(rq, rules, d, &about);
    } else if (d->gate == PRV_GATE_AGE) {
        about.reason = PRV_STR("age");
        about.age_min = d->age_min;
        about.under = d->age == PRV_AGE_UNDER;
    }
    problem_put(&counted, &about);
    if (prv_out_open(&body, rq->env, counted.n)) {
        problem_put(&body, &about);
        out->body = prv_out_view(&body);
    }
}

/* ---- redirects */

static prv_str path_of(prv_str uri)
{
    return (prv_str){uri.p, prv_view_find(uri, '?')};
}

/* `/age/` and `/age` are one page to a server that adds the slash by a redirect of its own. */
static prv_str path_bare(prv_str path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/') {
        path.n--;
    }
    return path;
}

/* Would following the redirect lead back to this gate? The root covers itself only, not the whole
 * site. */
static bool leads_back(prv_str uri, prv_str target)
{
    prv_str asked = path_bare(path_of(uri));
    prv_str bare = path_bare(path_of(target));

    if (bare.n <= 1) {
        return asked.n <= 1;
    }
    return prv_view_starts(asked, bare) && (asked.n == bare.n || asked.p[bare.n] == '/');
}

/* The path of `https://host/path?query`. */
static prv_str referer_path(prv_str referer)
{
    size_t scheme = prv_view_find(referer, ':');

    if (referer.n - scheme < 3 || memcmp(referer.p + scheme, "://", 3) != 0) {
        return PRV_NONE;
    }
    prv_str rest = prv_view_from(referer, scheme + 3);
    rest = path_of(prv_view_from(rest, prv_view_find(rest, '/')));
    return (prv_str){rest.p, prv_view_find(rest, '#')};
}

static bool carries_own_cookie(const prv_request *rq)
{
    prv_cookie_iter it;
    prv_str name, value, pair;

    for (size_t i = 0; i < rq->n_cookies; i++) {
        prv_cookie_iter_init(&it, rq->cookies[i], rq->comma_joined);
        while (prv_cookie_next(&it, &name, &value, &pair)) {
            if (prv_cookie_own(rq, name)) {
                return true;
            }
        }
    }
    return false;
}

/* Somebody who comes from the page that asks and still has no cookie keeps none: asking again would
 * never end. */
static bool keeps_no_cookie(const prv_request *rq, prv_str base, prv_str page, prv_str referer)
{
    const prv_str path = path_bare(referer_path(referer));
    const prv_str asks = path_bare(path_of(base));

    if (page.n > 0) {
        return prv_view_starts(path, base) && prv_view_equal(prv_view_from(path, base.n), page) &&
               !carries_own_cookie(rq);
    }
    return prv_view_equal(path, asks) && !carries_own_cookie(rq);
}

void prv_out_encoded(prv_out *out, prv_str uri)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < uri.n; i++) {
        unsigned char c = (unsigned char)uri.p[i];
        if (prv_char_unreserved((char)c)) {
            prv_out_char(out, (char)c);
        } else {
            prv_out_char(out, '%');
            prv_out_char(out, hex[c >> 4]);
            prv_out_char(out, hex[c & 15]);
        }
    }
}

typedef struct redirect {
    prv_str base; /* home, or the whole target */
    prv_str page; /* behind base: `age`, or empty */
    prv_str uri;  /* for return=; empty: none */
    bool no_cookie;
} redirect;

static void redirect_put(prv_out *out, const redirect *to)
{
    char join = prv_view_find(to->base, '?') < to->base.n ? '&' : '?';

    prv_out_put(out, to->base);
    prv_out_put(out, to->page);
    if (to->uri.n > 0) {
        prv_out_char(out, join);
        prv_out_put(out, PRV_STR("return="));
        prv_out_encoded(out, to->uri);
        join = '&';
    }
    if (to->no_cookie) {
        prv_out_char(out, join);
        prv_out_put(out, PRV_STR("cookies=none"));
    }
}

/* false: no memory. */
static bool redirect_make(const prv_env *env, const redirect *to, prv_gate_answer *out)
{
    prv_out counted = {0};
    prv_out location;

    redirect_put(&counted, to);
    if (!prv_out_open(&location, env, counted.n)) {
        return false;
    }
    redirect_put(&location, to);
    *out = (prv_gate_answer){.status = 303, .location = prv_out_view(&location)};
    return true;
}

/* true: *out leads a navigation to where `answer` (or, for age, the default) says. */
static bool answer_redirect(const prv_request *rq, const prv_answer *answer, const prv_decision *d,
                            prv_str uri, prv_str referer, prv_gate_answer *out)
{
    bool age = d->gate == PRV_GATE_AGE;
    redirect to = {.base = answer->redirect};

    if (to.base.n == 0) {
        if (!age) {
            return false;
        }
        to.base = rq->site->home;
        to.page = PRV_STR("age");
    }
    if (!rq->navigation) {
        return false;
    }
    if (to.page.n > 0) {
        prv_str path = path_bare(path_of(uri));
        if (prv_view_starts(path, to.base) &&
            prv_view_equal(prv_view_from(path, to.base.n), to.page)) {
            return false;
        }
    } else if (leads_back(uri, to.base)) {
        return false;
    }
    if (prv_view_starts(to.base, rq->site->home)) {
        to.uri = prv_return_valid(uri) ? uri : PRV_NONE;
        to.no_cookie = keeps_no_cookie(rq, to.base, to.page, referer);
    }
    return redirect_make(rq->env, &to, out);
}

void prv_gate_respond(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                      prv_str uri, prv_str referer, prv_gate_answer *out)
{
    if (rq->tally != NULL && rq->tally->gate == PRV_GATE_NONE) {
        rq->tally->gate = d->gate;
        rq->tally->ask = d->verdict == PRV_ASK;
        rq->tally->row = d->gate_row;
    }
    if (d->gate == PRV_GATE_VENDOR) {
        *out = (prv_gate_answer){.status = 204};
        return;
    }
    const prv_answer *answer =
        d->gate == PRV_GATE_AGE ? &rules->age_answer : &rules->require_answer;
    if (answer->status == 0 && answer_redirect(rq, answer, d, uri, referer, out)) {
        return;
    }
    answer_problem(rq, rules, d, answer->status > 0 ? answer->status : 403, out);
}
