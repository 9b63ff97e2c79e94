/*
 * privacyctl explain: the same begin, feed and decide that the servers call, on a request described by options, or, with
 * --batch, on one JSON object a line from standard input.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define RECORD_FIELDS_MAX 32

typedef struct explain_case {
    size_t n_cookies;
    prv_str cookies[CTL_MAX_MULTI];
    unsigned signals;
    prv_region region;
    bool store;
    prv_reply_status status;
    size_t n_pairs;
    prv_str pairs[2 * RECORD_FIELDS_MAX];
    prv_rules rules;
} explain_case;

static json_t *string(prv_str s)
{
    return json_stringn_nocheck(s.p == NULL ? "" : s.p, s.n);
}

static prv_str state_word(const prv_request *rq, const explain_case *in)
{
    const prv_var_input v = {.rq = rq, .rules = &in->rules};
    return prv_variable(PRV_VAR_STATE, &v);
}

static json_t *purposes_json(const ctl *c, const prv_decision *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->policy->n_purposes; i++) {
        json_array_append_new(
            list, json_pack("{s:o, s:b, s:i, s:o}", "name", string(c->policy->purposes[i].name),
                            "allowed", (int)(d->allowed >> i & 1u), "row", (int)d->row[i],
                            "reason", string(prv_row_reason(d->row[i]))));
    }
    return list;
}

static json_t *vendors_json(const ctl *c, const prv_decision *d)
{
    json_t *out = json_object();
    for (size_t i = 0; i < c->policy->n_vendors; i++) {
        prv_str name = c->policy->vendors[i].name;
        json_object_set_new(out, ctl_text((ctl *)c, name),
                            json_boolean(prv_vendor_allowed(c->policy, d, (int)i)));
    }
    return out;
}

static json_t *result_json(ctl *c, const explain_case *in, prv_request *rq, const prv_decision *d)
{
    static const char *const verdicts[] = {"pass", "refuse", "ask"};
    const prv_var_input v = {.rq = rq, .rules = &in->rules, .d = d};
    json_t *out = json_object();
    prv_str jurisdiction = d->jurisdiction < c->policy->n_jurisdictions
                               ? c->policy->jurisdictions[d->jurisdiction].name
                               : PRV_STR("*");
    json_object_set_new(out, "policy", string(c->policy->id));
    json_object_set_new(out, "version", string(c->policy->version_text));
    json_object_set_new(out, "jurisdiction", string(jurisdiction));
    json_object_set_new(out, "region", string((prv_str){in->region.c, in->region.n}));
    json_object_set_new(out, "signals", string(prv_variable(PRV_VAR_SIGNALS, &v)));
    json_object_set_new(out, "state", string(state_word(rq, in)));
    json_object_set_new(out, "id", string((prv_str){rq->state.id, rq->state.id_len}));
    json_object_set_new(out, "age", string(prv_variable(PRV_VAR_AGE, &v)));
    json_object_set_new(out, "purposes", purposes_json(c, d));
    json_object_set_new(out, "vendors", vendors_json(c, d));
    json_object_set_new(out, "verdict", json_string(verdicts[d->verdict]));
    json_object_set_new(out, "removed", string(prv_variable(PRV_VAR_REMOVED, &v)));
    json_object_set_new(out, "unknown", string(prv_variable(PRV_VAR_UNKNOWN, &v)));
    json_object_set_new(out, "variant", string(prv_variable(PRV_VAR_VARIANT, &v)));
    json_object_set_new(out, "privacy_consent", string(prv_header_consent(rq, d)));
    json_object_set_new(out, "privacy_age", string(prv_header_age(rq, d)));
    return out;
}

static json_t *explain(ctl *c, const explain_case *in)
{
    prv_request rq = {.env = &c->env,
                      .site = &c->site,
                      .cookies = in->cookies,
                      .n_cookies = in->n_cookies,
                      .signals = (uint8_t)in->signals};
    prv_op op = {0};
    prv_decision d;
    ctl_site(c, in->store);
    if (prv_request_begin(&rq, &op) == PRV_STEP_NEED_STORE) {
        const prv_reply reply = {.status = in->status, .n = in->n_pairs, .pairs = in->pairs};
        prv_request_feed(&rq, &reply);
    }
    prv_decide(c->policy, &in->rules, &rq.state, rq.degraded, in->signals, in->region,
               c->env.now_ms / 1000, &d);
    return result_json(c, in, &rq, &d);
}

static void print_text(const json_t *r)
{
    const char *get[] = {"policy", "version", "region", "jurisdiction", "signals", "state"};
    for (size_t i = 0; i < sizeof get / sizeof *get; i++) {
        const char *value = json_string_value(json_object_get(r, get[i]));
        printf("%-13s %s\n", get[i], value == NULL || *value == '\0' ? "-" : value);
    }
    size_t i;
    json_t *p;
    json_array_foreach(json_object_get(r, "purposes"), i, p)
    {
        printf("  %-20s %-5s row %-2d %s\n", json_string_value(json_object_get(p, "name")),
               json_is_true(json_object_get(p, "allowed")) ? "allow" : "deny",
               (int)json_integer_value(json_object_get(p, "row")),
               json_string_value(json_object_get(p, "reason")));
    }
    const char *rest[] = {"age", "verdict", "removed", "unknown", "variant", "privacy_consent",
                          "privacy_age"};
    for (i = 0; i < sizeof rest / sizeof *rest; i++) {
        const char *value = json_string_value(json_object_get(r, rest[i]));
        printf("%-16s %s\n", rest[i], value == NULL || *value == '\0' ? "-" : value);
    }
}

static bool rules_read(ctl *c, explain_case *in, const prv_str *names, size_t n)
{
    prv_error err = {0};
    prv_rules_init(&in->rules);
    in->rules.mode = PRV_MODE_ON;
    in->rules.store_failure_deny = c->deny_on_failure;
    if (n > 0) {
        prv_require_conf conf = {0};
        if (prv_require_parse(names, n, &conf, &err) != PRV_OK ||
            prv_require_resolve(&conf, c->policy, &in->rules.require, &err) != PRV_OK) {
            ctl_fail("%s", err.text);
            return false;
        }
    }
    if (c->min_age != NULL) {
        unsigned age;
        const prv_str arg = ctl_str(c->min_age);
        if (prv_min_age_parse(&arg, 1, &age, &in->rules.age_answer, &err) != PRV_OK) {
            ctl_fail("%s", err.text);
            return false;
        }
        in->rules.min_age = (uint8_t)age;
    }
    return true;
}

static bool case_from_options(ctl *c, explain_case *in)
{
    if (c->gpc != NULL) {
        in->signals |= prv_signal_gpc(ctl_str(c->gpc));
    }
    if (c->dnt != NULL) {
        in->signals |= prv_signal_dnt(ctl_str(c->dnt));
    }
    in->region = prv_region_parse(ctl_str(c->region));
    memcpy(in->cookies, c->cookies.v, sizeof in->cookies);
    in->n_cookies = c->cookies.n;
    in->store = c->records.n > 0 || c->absent || c->unavailable;
    in->status = c->unavailable   ? PRV_REPLY_UNAVAILABLE
                 : c->records.n > 0 ? PRV_REPLY_RECORD
                                    : PRV_REPLY_ABSENT;
    if (c->records.n > RECORD_FIELDS_MAX) {
        ctl_fail("at most %d --record fields", RECORD_FIELDS_MAX);
        return false;
    }
    for (size_t i = 0; i < c->records.n; i++) {
        prv_str field = c->records.v[i];
        const char *eq = memchr(field.p, '=', field.n);
        if (eq == NULL) {
            ctl_fail("--record wants FIELD=VALUE, not \"%s\"", field.p);
            return false;
        }
        in->pairs[in->n_pairs++] = (prv_str){field.p, (size_t)(eq - field.p)};
        in->pairs[in->n_pairs++] = (prv_str){eq + 1, field.n - (size_t)(eq + 1 - field.p)};
    }
    return rules_read(c, in, c->require.v, c->require.n);
}

static prv_str json_view(const json_t *s)
{
    return (prv_str){json_string_value(s), json_string_length(s)};
}

/* {"cookies":[…],"gpc":[…],"dnt":[…],"region":"FR","record":{…}|null|"unavailable"|"unreadable","require":[…]};
 * without "record" the store is off. */
static bool case_from_json(ctl *c, const json_t *j, explain_case *in)
{
    size_t i;
    json_t *v;
    const json_t *record = json_object_get(j, "record");
    json_array_foreach(json_object_get(j, "cookies"), i, v)
    {
        if (in->n_cookies < CTL_MAX_MULTI) {
            in->cookies[in->n_cookies++] = json_view(v);
        }
    }
    json_array_foreach(json_object_get(j, "gpc"), i, v)
    {
        in->signals |= prv_signal_gpc(json_view(v));
    }
    json_array_foreach(json_object_get(j, "dnt"), i, v)
    {
        in->signals |= prv_signal_dnt(json_view(v));
    }
    in->region = prv_region_parse(json_view(json_object_get(j, "region")));
    in->store = record != NULL;
    in->status = PRV_REPLY_ABSENT;
    if (json_is_string(record)) {
        in->status = strcmp(json_string_value(record), "unreadable") == 0 ? PRV_REPLY_UNREADABLE
                                                                          : PRV_REPLY_UNAVAILABLE;
    } else if (json_is_object(record)) {
        const char *name;
        in->status = PRV_REPLY_RECORD;
        json_object_foreach((json_t *)(uintptr_t)record, name, v)
        {
            if (in->n_pairs + 2 <= 2 * RECORD_FIELDS_MAX) {
                in->pairs[in->n_pairs++] = ctl_str(name);
                in->pairs[in->n_pairs++] = json_view(v);
            }
        }
    }
    prv_str names[PRV_REQUIRE_NAMES_MAX];
    size_t n = 0;
    json_array_foreach(json_object_get(j, "require"), i, v)
    {
        if (n < PRV_REQUIRE_NAMES_MAX) {
            names[n++] = json_view(v);
        }
    }
    return rules_read(c, in, names, n);
}

static int batch(ctl *c)
{
    char *line = NULL;
    size_t cap = 0;
    int status = CTL_OK;
    for (ssize_t n; status == CTL_OK && (n = getline(&line, &cap, stdin)) > 0;) {
        json_error_t at;
        json_t *j = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, &at);
        explain_case in = {0};
        if (!json_is_object(j)) {
            status = ctl_fail("standard input: %s", j == NULL ? at.text : "a line is no object");
        } else if (!case_from_json(c, j, &in)) {
            status = CTL_FAILED;
        } else {
            json_t *r = explain(c, &in);
            json_dumpf(r, stdout, JSON_COMPACT);
            putchar('\n');
            json_decref(r);
        }
        json_decref(j);
        ctl_arena_reset(c);
    }
    free(line);
    return status;
}

int ctl_explain(ctl *c)
{
    if (!ctl_need_words(c, 0, 0, "explain --policy F [options]")) {
        return CTL_USAGE;
    }
    if (!ctl_need_policy(c) || (c->keys_path != NULL && !ctl_need_keys(c))) {
        return CTL_FAILED;
    }
    if (c->batch) {
        return batch(c);
    }
    explain_case in = {0};
    if (!case_from_options(c, &in)) {
        return CTL_FAILED;
    }
    json_t *r = explain(c, &in);
    if (c->json) {
        json_dumpf(r, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_text(r);
    }
    json_decref(r);
    return CTL_OK;
}
