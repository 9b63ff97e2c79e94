/*
 * The policy in force as JSON. What it gives compiles again to the same decisions: the form is that
 * of the file, less comments, overridden strings and what is as by default.
 */
#include "compile.h"

#include <stdio.h>
#include <string.h>

static const char *const basis_names[] = {"contract",    "legal_obligation",     "vital_interests",
                                          "public_task", "legitimate_interests", "consent"};
static const char *const listen_names[] = {"ignore", "deny", "yield"};
static const char *const unknown_names[] = {"report", "allow", "deny"};

/* Each put_* owns what it makes and gives false when memory is out; jansson takes NULL values as a
 * failure. */
static bool put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static bool put_str(json_t *object, const char *key, prv_str s)
{
    return s.n == 0 || put(object, key, json_stringn(s.p, s.n));
}

static bool put_flag(json_t *object, const char *key, bool is, bool value)
{
    return !is || put(object, key, json_boolean(value));
}

static bool put_texts(json_t *object, const char *key, const prv_texts *texts)
{
    if (texts->n == 0) {
        return true;
    }
    json_t *by_lang = json_object();
    bool ok = put(object, key, by_lang);
    for (size_t i = 0; ok && i < texts->n; i++) {
        ok = put_str(by_lang, texts->lang[i].p, texts->text[i]);
    }
    return ok;
}

static bool put_version(json_t *object, const char *key, uint32_t version)
{
    char text[16];
    return put(object, key, json_stringn(text, prv_version_format(version, text)));
}

/* In the greatest unit that divides it. */
static bool put_duration(json_t *object, const char *key, int64_t seconds)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'y', 365 * PRV_DAY}, {'d', PRV_DAY}, {'h', 3600}, {'m', 60}, {'s', 1}};
    size_t i = 0;
    while (seconds % units[i].seconds != 0) {
        i++;
    }
    return put(object, key,
               json_sprintf("%lld%c", (long long)(seconds / units[i].seconds), units[i].unit));
}

static bool put_regions(json_t *object, const prv_region *regions, size_t n)
{
    json_t *list = json_array();
    bool ok = put(object, "regions", list);
    for (size_t i = 0; ok && i < n; i++) {
        ok = json_array_append_new(list, json_stringn(regions[i].c, regions[i].n)) == 0;
    }
    return ok;
}

/* ---- the sections */

static bool show_identity(json_t *root, const prv_policy *policy)
{
    json_t *o = json_object(), *authority;
    bool ok =
        put(root, "policy", o) && put_str(o, "id", policy->id) &&
        put_str(o, "version", policy->version_text) && put_str(o, "since", policy->since_text) &&
        put_str(o, "effective", policy->effective) && put_str(o, "url", policy->url) &&
        put_str(o, "controller", policy->controller) && put_str(o, "contact", policy->contact) &&
        put_str(o, "storage_region", policy->storage_region);
    if (!ok || policy->n_authority == 0) {
        return ok;
    }
    authority = json_object();
    ok = put(o, "authority", authority);
    for (size_t i = 0; ok && i < policy->n_authority; i++) {
        ok = put_str(authority, policy->authority[i].name.p, policy->authority[i].value);
    }
    return ok;
}

static bool show_purpose(json_t *purposes, const prv_policy *policy, const prv_purpose *p)
{
    bool interest = p->basis == PRV_BASIS_PUBLIC_TASK || p->basis == PRV_BASIS_LEGITIMATE_INTERESTS;
    json_t *o = json_object();
    return put(purposes, p->name.p, o) && put(o, "basis", json_string(basis_names[p->basis])) &&
           put_texts(o, "title", &p->title) && put_texts(o, "description", &p->description) &&
           put(o, "gpc", json_string(listen_names[p->gpc])) &&
           put(o, "dnt", json_string(listen_names[p->dnt])) && put_flag(o, "sale", p->sale, true) &&
           put_flag(o, "off", p->off, true) && put_flag(o, "objection", interest, p->objection) &&
           put_str(o, "subject", p->subject_required ? PRV_STR("required") : PRV_NONE) &&
           (p->since == policy->since || put_version(o, "since", p->since)) &&
           put_str(o, "exempt", p->exempt);
}

static bool show_purposes(json_t *root, const prv_policy *policy)
{
    json_t *purposes = json_object();
    bool ok = put(root, "purposes", purposes);
    for (size_t i = 0; ok && i < policy->n_purposes; i++) {
        ok = show_purpose(purposes, policy, &policy->purposes[i]);
    }
    return ok;
}

static bool show_vendor(json_t *vendors, const prv_policy *policy, const prv_vendor *v)
{
    json_t *o = json_object(), *hosts;
    bool ok = put(vendors, v->name.p, o) &&
              put_str(o, "purpose", policy->purposes[v->purpose].name) &&
              put_str(o, "title", v->title) && put_str(o, "location", v->location) &&
              put_str(o, "safeguard", v->safeguard) && put_flag(o, "off", v->off, true) &&
              (v->since == policy->since || put_version(o, "since", v->since)) &&
              (v->n_regions == 0 || put_regions(o, v->regions, v->n_regions));
    if (!ok || v->n_hosts == 0) {
        return ok;
    }
    hosts = json_array();
    ok = put(o, "hosts", hosts);
    for (size_t i = 0; ok && i < v->n_hosts; i++) {
        ok = json_array_append_new(hosts, json_stringn(v->hosts[i].p, v->hosts[i].n)) == 0;
    }
    return ok;
}

static bool show_vendors(json_t *root, const prv_policy *policy)
{
    json_t *vendors = json_object();
    bool ok = put(root, "vendors", vendors);
    for (size_t i = 0; ok && i < policy->n_vendors; i++) {
        ok = show_vendor(vendors, policy, &policy->vendors[i]);
    }
    return ok;
}

static bool show_cookie(json_t *list, const prv_policy *policy, const prv_cookie_rule *rule)
{
    json_t *name = json_sprintf("%.*s%s", (int)rule->name.n, rule->name.p, rule->prefix ? "*" : "");
    if (rule->vendor < 0 && rule->life.n == 0 && rule->about.n == 0) {
        return json_array_append_new(list, name) == 0;
    }
    json_t *o = json_object();
    if (json_array_append_new(list, o) != 0) {
        json_decref(name);
        return false;
    }
    return put(o, "name", name) &&
           put_str(o, "vendor", rule->vendor < 0 ? PRV_NONE : policy->vendors[rule->vendor].name) &&
           put_str(o, "life", rule->life) && put_texts(o, "about", &rule->about);
}

static bool show_cookies(json_t *root, const prv_policy *policy)
{
    json_t *cookies = json_object();
    bool ok = put(root, "cookies", cookies);
    for (size_t i = 0; ok && i < policy->n_cookies; i++) {
        const char *purpose = policy->purposes[policy->cookies[i].purpose].name.p;
        json_t *list = json_object_get(cookies, purpose);
        if (list == NULL) {
            list = json_array();
            ok = put(cookies, purpose, list);
        }
        ok = ok && show_cookie(list, policy, &policy->cookies[i]);
    }
    return ok && put(root, "unknown_cookies", json_string(unknown_names[policy->unknown_cookies]));
}

static bool show_jurisdictions(json_t *root, const prv_policy *policy)
{
    json_t *jurisdictions = json_object();
    bool ok = put(root, "jurisdictions", jurisdictions);
    for (size_t i = 0; ok && i < policy->n_jurisdictions; i++) {
        const prv_jurisdiction *j = &policy->jurisdictions[i];
        json_t *o = json_object();
        ok = put(jurisdictions, j->name.p, o) &&
             (j->n_regions == 0 || put_regions(o, j->regions, j->n_regions)) &&
             put(o, "default", json_string(j->allow ? "allow" : "deny")) &&
             put(o, "notice", json_string(j->opt_in ? "opt-in" : "opt-out"));
    }
    return ok;
}

static bool put_age(json_t *object, const char *key, uint8_t age)
{
    return age == 0 || put(object, key, json_integer(age));
}

static bool show_age(json_t *root, const prv_policy *policy)
{
    if (!policy->has_age) {
        return true;
    }
    json_t *o = json_object(), *regions = json_object();
    bool ok = put(root, "age", o) && put_age(o, "minimum", policy->age_minimum) &&
              put_age(o, "unknown_region", policy->age_unknown) &&
              put_age(o, "sale_opt_in", policy->age_sale);
    if (!ok) {
        json_decref(regions);
        return false;
    }
    ok = put(o, "regions", regions);
    for (size_t i = 0; ok && i < policy->n_age_regions; i++) {
        ok = put_age(regions, policy->age_regions[i].region.c, policy->age_regions[i].age);
    }
    return ok;
}

static bool show_lifetimes(json_t *root, const prv_policy *policy)
{
    const prv_lifetimes *life = &policy->lifetimes;
    json_t *o = json_object();
    return put(root, "lifetimes", o) && put_duration(o, "choice", life->choice) &&
           put_duration(o, "refusal", life->refusal) && put_duration(o, "maximum", life->maximum) &&
           put_duration(o, "history", life->history) && put_duration(o, "age", life->age) &&
           put_duration(o, "requests", life->requests);
}

char *prv_policy_json(const prv_policy *policy)
{
    json_t *root = json_object();
    char *text = NULL;
    if (root != NULL && put(root, "schema", json_integer(1)) && show_identity(root, policy) &&
        show_purposes(root, policy) && show_vendors(root, policy) && show_cookies(root, policy) &&
        show_jurisdictions(root, policy) && show_age(root, policy) &&
        show_lifetimes(root, policy)) {
        text = json_dumps(root, JSON_INDENT(2));
    }
    json_decref(root);
    return text;
}
