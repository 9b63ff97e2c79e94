/* The sections `vendors`, `cookies` and `unknown_cookies`. */
#include "compile.h"

#include <string.h>

/* ---- names of what was compiled before */

static bool find_purpose(const prv_node *node, prv_part part, const char *name, uint8_t *out)
{
    const prv_policy *policy = node->c->policy;
    char path[PRV_PATH], quoted[PRV_QUOTED];
    prv_hint hint;
    unsigned best = UINT32_MAX;
    prv_hint_init(&hint);
    for (size_t i = 0; i < policy->n_purposes; i++) {
        if (prv_str_is(policy->purposes[i].name, name)) {
            *out = (uint8_t)i;
            return true;
        }
        prv_hint_offer(&hint, &best, name, policy->purposes[i].name);
    }
    return prv_node_fail(node, part, PRV_ERR_VALUE,
                         "%s names the purpose %s, which is not in purposes%s",
                         prv_node_path(node, path), prv_quoted(name, quoted), hint.text);
}

static bool find_vendor(const prv_node *node, const char *name, int *out)
{
    const prv_policy *policy = node->c->policy;
    char path[PRV_PATH], quoted[PRV_QUOTED];
    prv_hint hint;
    unsigned best = UINT32_MAX;
    prv_hint_init(&hint);
    for (size_t i = 0; i < policy->n_vendors; i++) {
        if (prv_str_is(policy->vendors[i].name, name)) {
            *out = (int)i;
            return true;
        }
    }
    for (size_t i = 0; i < policy->n_vendors; i++) {
        prv_hint_offer(&hint, &best, name, policy->vendors[i].name);
    }
    return prv_node_fail(node, PRV_AT_VALUE, PRV_ERR_VALUE,
                         "%s names the vendor %s, which is not in vendors%s",
                         prv_node_path(node, path), prv_quoted(name, quoted), hint.text);
}

/* ---- vendors */

static bool read_vendor(const prv_node *node, prv_vendor *v)
{
    static const char *const known[] = {"purpose", "title",   "location", "safeguard", "off",
                                        "since",   "regions", "hosts",    NULL};
    const char *text;
    prv_node member;
    if (!prv_read_name(node, "vendor", "._-", &v->name) || !prv_node_members(node, known) ||
        !prv_node_need(node, "purpose", &member) || !prv_read_string(&member, &text) ||
        !find_purpose(&member, PRV_AT_VALUE, text, &v->purpose) ||
        !prv_read_since(node, &v->since)) {
        return false;
    }
    return (!prv_node_get(node, "title", &member) || prv_read_text(&member, &v->title)) &&
           (!prv_node_get(node, "location", &member) || prv_read_text(&member, &v->location)) &&
           (!prv_node_get(node, "safeguard", &member) || prv_read_text(&member, &v->safeguard)) &&
           (!prv_node_get(node, "off", &member) || prv_read_bool(&member, &v->off)) &&
           (!prv_node_get(node, "regions", &member) ||
            prv_read_regions(&member, &v->regions, &v->n_regions)) &&
           (!prv_node_get(node, "hosts", &member) ||
            prv_read_hosts(&member, &v->hosts, &v->n_hosts));
}

bool prv_compile_vendors(const prv_node *root)
{
    prv_policy *policy = root->c->policy;
    prv_node at;
    const char *key;
    json_t *value;
    if (!prv_node_get(root, "vendors", &at)) {
        return true;
    }
    if (!prv_node_is_object(&at)) {
        return false;
    }
    size_t count = prv_node_count(&at);
    if (count > PRV_VENDORS_MAX) {
        return prv_node_fail(&at, PRV_AT_VALUE, PRV_ERR_VALUE, "%zu vendors; expected at most %d",
                             count, PRV_VENDORS_MAX);
    }
    prv_vendor *vendors = prv_compile_alloc(root->c, count, sizeof *vendors);
    if (vendors == NULL) {
        return false;
    }
    policy->vendors = vendors;
    json_object_foreach(at.value, key, value)
    {
        prv_node node = prv_node_of(&at, key, value);
        if (prv_node_ignored(key)) {
            continue;
        }
        if (!read_vendor(&node, &vendors[policy->n_vendors])) {
            return false;
        }
        policy->n_vendors++;
    }
    return true;
}

/* ---- cookies */

/* A token of RFC 6265 4.1.1, with `*` only as the last character and not alone. */
static bool read_pattern(const prv_node *node, prv_cookie_rule *rule)
{
    char quoted[PRV_QUOTED];
    const char *text;
    if (!prv_read_string(node, &text)) {
        return false;
    }
    size_t n = strlen(text);
    rule->prefix = n > 0 && text[n - 1] == '*';
    n -= rule->prefix ? 1 : 0;
    bool ok = n > 0 && n <= PRV_COOKIE_NAME_MAX;
    for (size_t i = 0; ok && i < n; i++) {
        ok = text[i] > 0x20 && text[i] < 0x7F && strchr("()<>@,;:\\\"/[]?={}*", text[i]) == NULL;
    }
    if (!ok) {
        return prv_node_fail(node, PRV_AT_VALUE, PRV_ERR_VALUE,
                             "%s is no name of a cookie; expected 1 to %d letters, digits and "
                             "!#$%%&'+-.^_`|~, then * if all that begin so are meant",
                             prv_quoted(text, quoted), PRV_COOKIE_NAME_MAX);
    }
    if (!prv_compile_copy(node->c, text, &rule->name)) {
        return false;
    }
    rule->name.n = n;
    return true;
}

static bool read_life(const prv_node *node, prv_str *out)
{
    const char *text = json_string_value(node->value);
    int64_t seconds;
    bool ok = (text != NULL && strcmp(text, "session") == 0) ||
              prv_read_duration(node, 1, PRV_TEN_YEARS, "1s to 10y, or session", &seconds);
    return ok && prv_compile_copy(node->c, text, out);
}

static bool read_rule(const prv_node *node, prv_cookie_rule *rule, prv_node *name)
{
    static const char *const known[] = {"name", "vendor", "life", "about", NULL};
    const char *vendor;
    prv_node member;
    rule->vendor = -1;
    if (!json_is_object(node->value)) {
        *name = *node;
        return read_pattern(node, rule);
    }
    if (!prv_node_members(node, known) || !prv_node_need(node, "name", name) ||
        !read_pattern(name, rule)) {
        return false;
    }
    if (prv_node_get(node, "vendor", &member) &&
        (!prv_read_string(&member, &vendor) || !find_vendor(&member, vendor, &rule->vendor))) {
        return false;
    }
    return (!prv_node_get(node, "life", &member) || read_life(&member, &rule->life)) &&
           (!prv_node_get(node, "about", &member) || prv_read_texts(&member, &rule->about));
}

static bool read_list(const prv_node *list, prv_cookie_rule *rules, prv_cookie_index *index)
{
    prv_policy *policy = list->c->policy;
    uint8_t purpose;
    if (!find_purpose(list, PRV_AT_KEY, list->key, &purpose) || !prv_node_is_array(list)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(list->value); i++) {
        prv_node item = prv_node_item(list, i), name;
        prv_cookie_rule *rule = &rules[policy->n_cookies];
        rule->purpose = purpose;
        if (!read_rule(&item, rule, &name)) {
            return false;
        }
        long same = prv_cookie_index_add(index, rules, policy->n_cookies);
        if (same >= 0) {
            char quoted[PRV_QUOTED];
            return prv_node_fail(
                &name, PRV_AT_VALUE, PRV_ERR_VALUE,
                "the cookie %s stands already in the list of %s; expected each in one list",
                prv_quoted(json_string_value(name.value), quoted),
                policy->purposes[rules[same].purpose].name.p);
        }
        policy->n_cookies++;
    }
    return true;
}

static size_t count_rules(const prv_node *at)
{
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach(at->value, key, value)
    {
        n += json_array_size(value); /* 0 for what is no array */
    }
    return n;
}

static bool read_unknown(const prv_node *root)
{
    static const prv_word words[] = {{"report", PRV_UNKNOWN_REPORT},
                                     {"allow", PRV_UNKNOWN_ALLOW},
                                     {"deny", PRV_UNKNOWN_DENY},
                                     {NULL, 0}};
    prv_node node;
    int word = PRV_UNKNOWN_REPORT;
    if (prv_node_get(root, "unknown_cookies", &node) && !prv_read_word(&node, words, &word)) {
        return false;
    }
    root->c->policy->unknown_cookies = (prv_unknown)word;
    return true;
}

/* Interests that own cookies or vendors have to say why those are strictly necessary. */
static bool warn_exempt(const prv_node *root)
{
    const prv_policy *policy = root->c->policy;
    uint32_t cookies = 0, vendors = 0;
    prv_node at, node;
    for (size_t i = 0; i < policy->n_cookies; i++) {
        cookies |= UINT32_C(1) << policy->cookies[i].purpose;
    }
    for (size_t i = 0; i < policy->n_vendors; i++) {
        vendors |= UINT32_C(1) << policy->vendors[i].purpose;
    }
    prv_node_get(root, "purposes", &at);
    for (size_t i = 0; i < policy->n_purposes; i++) {
        const prv_purpose *p = &policy->purposes[i];
        bool interest =
            p->basis == PRV_BASIS_PUBLIC_TASK || p->basis == PRV_BASIS_LEGITIMATE_INTERESTS;
        bool owns = ((cookies | vendors) >> i & 1) != 0;
        if (!interest || !owns || p->off || p->exempt.n > 0) {
            continue;
        }
        prv_node_get(&at, p->name.p, &node);
        if (!prv_node_warn(
                &node, PRV_AT_KEY,
                "purposes.%s rests on %s and owns %s; \"exempt\" should say why they are strictly "
                "necessary, or the basis be consent",
                p->name.p,
                p->basis == PRV_BASIS_PUBLIC_TASK ? "a public task" : "legitimate interests",
                (cookies >> i & 1) != 0 ? "cookies" : "vendors")) {
            return false;
        }
    }
    return true;
}

bool prv_compile_cookies(const prv_node *root)
{
    prv_policy *policy = root->c->policy;
    prv_node at;
    const char *key;
    json_t *value;
    if (!read_unknown(root)) {
        return false;
    }
    if (!prv_node_get(root, "cookies", &at)) {
        return warn_exempt(root);
    }
    if (!prv_node_is_object(&at)) {
        return false;
    }
    size_t count = count_rules(&at);
    prv_cookie_rule *rules = prv_compile_alloc(root->c, count, sizeof *rules);
    prv_cookie_index *index = rules != NULL ? prv_cookie_index_new(root->c, count) : NULL;
    if (index == NULL) {
        return false;
    }
    policy->cookies = rules;
    policy->cookie_index = index;
    json_object_foreach(at.value, key, value)
    {
        prv_node list = prv_node_of(&at, key, value);
        if (!prv_node_ignored(key) && !read_list(&list, rules, index)) {
            return false;
        }
    }
    return warn_exempt(root);
}
