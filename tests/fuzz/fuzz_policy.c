/*
 * Policies from any bytes. What compiles, shows itself as JSON that compiles again and shows the
 * same; what does not, gives a message. The small forms read the same bytes.
 */
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void small_forms(prv_str text)
{
    static const prv_str langs[] = {{"en", 2}, {"fr-ca", 5}, {"de", 2}};
    const prv_texts texts = {3, langs, langs};
    char out[16];
    uint32_t version = prv_version_parse(text);
    if (version != 0) {
        size_t n = prv_version_format(version, out);
        check(n == text.n && memcmp(out, text.p, n) == 0);
    }
    check(prv_duration_parse(text) >= -1);
    prv_region region = prv_region_parse(text);
    check(region.n == 0 || (region.n == text.n && prv_region_covers(region, region)));
    check(prv_texts_pick(&texts, text).n > 0);
}

static void check_policy(prv_policy *policy, prv_str text)
{
    prv_policy *again;
    prv_error err;
    const prv_cookie_rule *rule = prv_policy_cookie(policy, text);
    check(rule == NULL || rule->purpose < policy->n_purposes);
    for (size_t i = 0; i < policy->n_cookies; i++) {
        prv_str name = policy->cookies[i].name;
        rule = prv_policy_cookie(policy, name);
        check(rule == &policy->cookies[i] ||
              (policy->cookies[i].prefix && rule != NULL && !rule->prefix));
    }
    check(prv_policy_jurisdiction(policy, prv_region_parse(text)) < policy->n_jurisdictions);
    check(prv_policy_age_min(policy, prv_region_parse(text)) <= 120);
    char *shown = prv_policy_json(policy);
    check(shown != NULL);
    prv_code code = prv_policy_compile((prv_str){shown, strlen(shown)}, "shown", &again, &err);
    check(code == PRV_OK);
    char *twice = prv_policy_json(again);
    check(twice != NULL && strcmp(shown, twice) == 0);
    free(shown);
    free(twice);
    prv_policy_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prv_str text = {(const char *)data, size};
    prv_policy *policy;
    prv_error err;
    small_forms(text);
    if (prv_policy_compile(text, "fuzz", &policy, &err) == PRV_OK) {
        check_policy(policy, text);
        prv_policy_free(policy);
    } else {
        check(policy == NULL && err.code != PRV_OK && err.line > 0 && err.column > 0);
        check(strncmp(err.text, "fuzz:", 5) == 0 && strlen(err.text) < sizeof err.text);
        for (const char *p = err.text; *p != 0; p++) {
            check((unsigned char)*p >= 0x20 && *p != 0x7F);
        }
    }
    return 0;
}
