/*
 * The policy compiler over tests/vectors/policy: good/NAME.json with facts in NAME.txt,
 * bad/NAME.json with the message in NAME.err, forms.txt for the small forms.
 */
#include "policy_vectors.h"

/* ---- bad */

static void check_bad(const char *stem)
{
    char path[600], expected[1024];
    size_t n, m;
    prv_policy *policy;
    prv_error err;
    const char *name = strrchr(stem, '/') + 1;
    snprintf(path, sizeof path, "%s.json", stem);
    char *text = slurp(path, &n);
    snprintf(path, sizeof path, "%s.err", stem);
    char *message = slurp(path, &m);
    message[strcspn(message, "\n")] = 0;
    prv_code code = prv_policy_compile((prv_str){text, n}, name, &policy, &err);
    if (code == PRV_OK) {
        fail_msg("%s compiled", stem);
    }
    assert_null(policy);
    assert_int_equal(code, err.code);
    snprintf(expected, sizeof expected, "%s:%s", name, message);
    assert_string_equal(err.text, expected);
    snprintf(expected, sizeof expected, "%s:%u:%u: ", name, err.line, err.column);
    assert_memory_equal(err.text, expected, strlen(expected));
    free(text);
    free(message);
}

static void bad_policies_say_where_and_what(void **state)
{
    (void)state;
    assert_true(walk(VECTORS "/bad", check_bad) >= 150);
}

/* ---- good: facts */

static char fact[4096];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list args;
    size_t n = strlen(fact);
    va_start(args, format);
    vsnprintf(fact + n, sizeof fact - n, format, args);
    va_end(args);
}

static void say_str(prv_str s)
{
    say("%s%.*s", fact[0] != 0 ? "," : "", (int)s.n, s.p);
}

static void say_mask(const prv_policy *p, uint32_t mask)
{
    for (size_t i = 0; i < p->n_purposes; i++) {
        if ((mask >> i & 1) != 0) {
            say_str(p->purposes[i].name);
        }
    }
}

static uint32_t subject_mask(const prv_policy *p)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < p->n_purposes; i++) {
        mask |= p->purposes[i].subject_required ? UINT32_C(1) << i : 0;
    }
    return mask;
}

static void say_version(uint32_t version)
{
    char text[16];
    say_str((prv_str){text, prv_version_format(version, text)});
}

/* Facts about the policy as a whole. */
static bool fact_policy(const prv_policy *p, const char *kind)
{
    const struct {
        const char *kind;
        prv_str s;
    } strings[] = {{"id", p->id},
                   {"version", p->version_text},
                   {"since", p->since_text},
                   {"effective", p->effective},
                   {"url", p->url},
                   {"link", p->link},
                   {"contact", p->contact},
                   {"controller", p->controller},
                   {"storage", p->storage_region}};
    const struct {
        const char *kind;
        uint32_t mask;
    } masks[] = {
        {"purposes", UINT32_MAX},     {"row2", p->row2},       {"off", p->off},
        {"consent", p->consent},      {"sale", p->sale},       {"objectable", p->objectable},
        {"subject", subject_mask(p)}, {"gpc", p->listens_gpc}, {"dnt-listeners", p->listens_dnt}};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        if (strcmp(kind, strings[i].kind) == 0) {
            say_str(strings[i].s);
            return true;
        }
    }
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        if (strcmp(kind, masks[i].kind) == 0) {
            say_mask(p, masks[i].mask);
            return true;
        }
    }
    if (strcmp(kind, "unknown") == 0) {
        static const char *const words[] = {"report", "allow", "deny"};
        say("%s", words[p->unknown_cookies]);
    } else if (strcmp(kind, "dnt") == 0) {
        say("%s", prv_policy_names_dnt(p) ? "yes" : "no");
    } else if (strcmp(kind, "warnings") == 0) {
        say("%zu", p->n_warnings);
    } else if (strcmp(kind, "age-sale") == 0) {
        say("%u", p->age_sale);
    } else if (strcmp(kind, "last") == 0) {
        say_str(p->jurisdictions[p->n_jurisdictions - 1].name);
    } else if (strcmp(kind, "vendors") == 0) {
        for (size_t i = 0; i < p->n_vendors; i++) {
            say_str(p->vendors[i].name);
        }
    } else if (strcmp(kind, "vendor-off") == 0) {
        for (size_t i = 0; i < p->n_vendors; i++) {
            if (p->vendors[i].off) {
                say_str(p->vendors[i].name);
            }
        }
    } else {
        return false;
    }
    return true;
}

static bool fact_purpose(const prv_policy *p, const char *kind, const char *name, const char *more)
{
    static const char *const listen[] = {"ignore", "deny", "yield"};
    int i = prv_policy_purpose(p, view(name));
    if (i < 0) {
        return false;
    }
    const prv_purpose *purpose = &p->purposes[i];
    if (strcmp(kind, "gpc-of") == 0) {
        say("%s", listen[purpose->gpc]);
    } else if (strcmp(kind, "dnt-of") == 0) {
        say("%s", listen[purpose->dnt]);
    } else if (strcmp(kind, "since-of") == 0) {
        say_version(purpose->since);
    } else if (strcmp(kind, "exempt") == 0) {
        say_str(purpose->exempt);
    } else if (strcmp(kind, "title") == 0) {
        say_str(prv_texts_pick(&purpose->title, view(more)));
    } else if (strcmp(kind, "member") == 0) {
        const prv_str member = purpose->member[atoi(more)];
        if (member.n > 0)
            assert_memory_equal(member.p, ", ", 2);
        say_str(member.n > 0 ? (prv_str){member.p + 2, member.n - 2} : PRV_NONE);
    } else {
        return false;
    }
    return true;
}

static bool fact_vendor(const prv_policy *p, const char *kind, const char *name)
{
    int i = prv_policy_vendor(p, view(name));
    if (i < 0) {
        return false;
    }
    const prv_vendor *v = &p->vendors[i];
    if (strcmp(kind, "vendor-since") == 0) {
        say_version(v->since);
    } else if (strcmp(kind, "vendor-purpose") == 0) {
        say_str(p->purposes[v->purpose].name);
    } else if (strcmp(kind, "vendor-regions") == 0) {
        for (size_t k = 0; k < v->n_regions; k++) {
            say_str((prv_str){v->regions[k].c, v->regions[k].n});
        }
    } else if (strcmp(kind, "vendor-hosts") == 0) {
        for (size_t k = 0; k < v->n_hosts; k++) {
            say_str(v->hosts[k]);
        }
    } else {
        return false;
    }
    return true;
}

static bool fact_cookie(const prv_policy *p, const char *kind, const char *name)
{
    const prv_cookie_rule *rule = prv_policy_cookie(p, view(name));
    if (strcmp(kind, "cookie") == 0) {
        say_str(rule != NULL ? p->purposes[rule->purpose].name : PRV_NONE);
    } else if (strcmp(kind, "cookie-vendor") == 0) {
        say_str(rule != NULL && rule->vendor >= 0 ? p->vendors[rule->vendor].name : PRV_NONE);
    } else if (strcmp(kind, "cookie-life") == 0) {
        say_str(rule != NULL ? rule->life : PRV_NONE);
    } else {
        return false;
    }
    return true;
}

static bool fact_place(const prv_policy *p, const char *kind, const char *name)
{
    prv_region region = prv_region_parse(view(name));
    if (strcmp(kind, "jurisdiction") == 0) {
        say_str(p->jurisdictions[prv_policy_jurisdiction(p, region)].name);
        return true;
    }
    if (strcmp(kind, "age") == 0) {
        say("%u", prv_policy_age_min(p, region));
        return true;
    }
    if (strcmp(kind, "authority") == 0) {
        for (size_t i = 0; i < p->n_authority; i++) {
            if (prv_str_is(p->authority[i].name, name)) {
                say_str(p->authority[i].value);
            }
        }
        return true;
    }
    for (size_t i = 0; i < p->n_jurisdictions; i++) {
        if (prv_str_is(p->jurisdictions[i].name, name)) {
            if (strcmp(kind, "default") == 0) {
                say("%s", p->jurisdictions[i].allow ? "allow" : "deny");
                return true;
            }
            if (strcmp(kind, "notice") == 0) {
                say("%s", p->jurisdictions[i].opt_in ? "opt-in" : "opt-out");
                return true;
            }
        }
    }
    return false;
}

static bool fact_lifetime(const prv_policy *p, const char *name)
{
    const struct {
        const char *name;
        int64_t seconds;
    } all[] = {{"choice", p->lifetimes.choice},   {"refusal", p->lifetimes.refusal},
               {"maximum", p->lifetimes.maximum}, {"history", p->lifetimes.history},
               {"age", p->lifetimes.age},         {"requests", p->lifetimes.requests}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(name, all[i].name) == 0) {
            say("%lld", (long long)all[i].seconds);
            return true;
        }
    }
    return false;
}

static bool fact_string(const prv_policy *p, const char *lang, const char *key)
{
    for (size_t i = 0; i < p->n_strings; i++) {
        if (prv_str_is(p->strings[i].lang, lang) && prv_str_is(p->strings[i].key, key)) {
            say_str(p->strings[i].text);
            return true;
        }
    }
    return false;
}

/* Warnings: the text after the file name begins with what the line says. */
static bool has_warning(const prv_policy *p, const char *name, const char *text)
{
    for (size_t i = 0; prv_policy_warning(p, i).n > 0; i++) {
        const char *w = prv_policy_warning(p, i).p;
        if (strncmp(w, name, strlen(name)) == 0 &&
            strncmp(w + strlen(name), text, strlen(text)) == 0) {
            return true;
        }
    }
    return false;
}

/* Cuts the next word off *rest. */
static char *word(char **rest)
{
    char *start = *rest, *space = strchr(start, ' ');
    *rest = space != NULL ? space + 1 : start + strlen(start);
    if (space != NULL) {
        *space = 0;
    }
    return start;
}

static void check_fact(const prv_policy *p, const char *file, char *line)
{
    static const char *const takes_two[] = {"title", "member", "string"};
    char whole[1024], prefix[600], *rest = line;
    snprintf(whole, sizeof whole, "%s: %s", file, line);
    fact[0] = 0;
    char *kind = word(&rest);
    if (strcmp(kind, "warning") == 0) {
        snprintf(prefix, sizeof prefix, "%s.json:", file);
        if (!has_warning(p, prefix, rest)) {
            fail_msg("%s: no such warning", whole);
        }
        return;
    }
    bool known = fact_policy(p, kind);
    if (!known) {
        const char *name = word(&rest), *more = "";
        for (size_t i = 0; i < sizeof takes_two / sizeof takes_two[0]; i++) {
            more = strcmp(kind, takes_two[i]) == 0 ? word(&rest) : more;
        }
        known = strncmp(kind, "cookie", 6) == 0 ? fact_cookie(p, kind, name)
                : strcmp(kind, "lifetime") == 0 ? fact_lifetime(p, name)
                : strcmp(kind, "string") == 0   ? fact_string(p, name, more)
                : strncmp(kind, "vendor-", 7) == 0
                    ? fact_vendor(p, kind, name)
                    : fact_place(p, kind, name) || fact_purpose(p, kind, name, more);
    }
    if (!known) {
        fail_msg("%s: no such fact", whole);
    }
    if (strcmp(fact[0] != 0 ? fact : "-", rest) != 0) {
        fail_msg("%s: but it is %s", whole, fact);
    }
}

static void check_facts(const prv_policy *p, const char *stem, bool warnings)
{
    char path[600];
    size_t n;
    snprintf(path, sizeof path, "%s.txt", stem);
    char *text = slurp(path, &n), *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (warnings || (strncmp(line, "warning", 7) != 0 && strncmp(line, "string", 6) != 0)) {
            check_fact(p, stem, line);
        }
    }
    free(text);
}

/* The facts hold, and hold again for what prv_policy_json() gives, which gives itself. */
static void check_good(const char *stem)
{
    prv_error err;
    prv_policy *policy = compile_file(stem), *again;
    check_facts(policy, stem, true);
    char *shown = prv_policy_json(policy);
    assert_non_null(shown);
    if (prv_policy_compile(view(shown), "shown", &again, &err) != PRV_OK) {
        fail_msg("%s: %s", stem, err.text);
    }
    check_facts(again, stem, false);
    char *twice = prv_policy_json(again);
    assert_string_equal(shown, twice);
    assert_true(again->digest != policy->digest && again->digest != 0);
    free(shown);
    free(twice);
    prv_policy_free(again);
    prv_policy_free(policy);
}

static void good_policies_mean_what_they_say(void **state)
{
    (void)state;
    assert_true(walk(VECTORS "/good", check_good) >= 5);
}

static void the_samples_compile_without_a_warning(void **state)
{
    static const char *const stems[] = {PRV_TESTS "/../config/policy",
                                        PRV_TESTS "/../config/policy.self-managed"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        prv_policy *p = compile_file(stems[i]);
        assert_int_equal(prv_policy_warning(p, 0).n, 0);
        assert_true(prv_policy_names_dnt(p));
        assert_string_equal(prv_header_link(p).p, "</privacy-policy>; rel=\"privacy-policy\"");
        for (size_t k = 0; i == 1 && k < p->n_vendors; k++) {
            assert_true(p->vendors[k].off && (p->off >> p->vendors[k].purpose & 1) != 0);
        }
        prv_policy_free(p);
    }
}

/* ---- small forms */

static const char *pick(const char *accept)
{
    static const prv_str langs[] = {{"en", 2}, {"fr", 2},      {"fr-ca", 5},
                                    {"de", 2}, {"zh-hant", 7}, {"pt-br", 5}};
    const prv_texts texts = {sizeof langs / sizeof langs[0], langs, langs};
    return prv_texts_pick(&texts, view(accept)).p;
}

static void check_form(const char *kind, char *in, const char *out)
{
    char *rest = in;
    fact[0] = 0;
    if (strcmp(kind, "version") == 0) {
        say_version(prv_version_parse(view(in)));
    } else if (strcmp(kind, "order") == 0) {
        uint32_t a = prv_version_parse(view(in)), b = prv_version_parse(view(out));
        say("%s", a != 0 && a < b ? out : "not less");
    } else if (strcmp(kind, "duration") == 0) {
        int64_t s = prv_duration_parse(view(in));
        say(s < 0 ? "-" : "%lld", (long long)s);
    } else if (strcmp(kind, "region") == 0) {
        say("%s", prv_region_parse(view(in)).c);
    } else if (strcmp(kind, "covers") == 0) {
        prv_region outer = prv_region_parse(view(word(&rest)));
        say("%s", prv_region_covers(outer, prv_region_parse(view(rest))) ? "yes" : "no");
    } else if (strcmp(kind, "hash") == 0) {
        say("%04x", prv_purpose_hash(view(in)));
    } else if (strcmp(kind, "pick") == 0) {
        say("%s", pick(in));
    } else if (strcmp(kind, "row") == 0) {
        say_str(prv_row_reason((unsigned)atoi(in)));
    } else {
        fail_msg("no such kind: %s", kind);
    }
    if (strcmp(fact[0] != 0 ? fact : "-", out) != 0) {
        fail_msg("%s |%s| is %s, not %s", kind, in, fact, out);
    }
}

static void small_forms(void **state)
{
    size_t n, lines = 0;
    char *text = slurp(VECTORS "/forms.txt", &n), *save = NULL;
    (void)state;
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *in = strchr(line, '|'), *out = strrchr(line, '|');
        if (line[0] == '#') {
            continue;
        }
        assert_true(in != NULL && in != out);
        *in = *out = 0;
        check_form(line, in + 1, out + 1);
        lines++;
    }
    assert_true(lines > 100);
    free(text);
}

static void texts_fall_back(void **state)
{
    static const prv_str langs[] = {{"fr", 2}, {"de", 2}};
    const prv_texts none = {0, NULL, NULL}, two = {2, langs, langs};
    (void)state;
    assert_int_equal(prv_texts_pick(&none, PRV_STR("en")).n, 0);
    assert_string_equal(prv_texts_pick(&two, PRV_STR("it")).p, "fr");
    assert_string_equal(prv_texts_pick(&two, PRV_NONE).p, "fr");
}

static void the_empty_policy_decides_nothing(void **state)
{
    const prv_policy *p = prv_policy_empty();
    (void)state;
    assert_int_equal(p->digest, 0);
    assert_int_equal(prv_policy_id(p).n, 0);
    assert_int_equal(prv_policy_purpose(p, PRV_STR("a")), -1);
    assert_int_equal(prv_policy_vendor(p, PRV_STR("a")), -1);
    assert_int_equal(prv_header_link(p).n, 0);
    assert_null(prv_policy_cookie(p, PRV_STR("session")));
    assert_int_equal(prv_policy_jurisdiction(p, prv_region_parse(PRV_STR("US"))), 0);
    assert_false(p->jurisdictions[0].allow);
    assert_int_equal(prv_policy_age_min(p, prv_region_parse(PRV_STR("FR"))), 0);
    assert_true(p->lifetimes.choice > 0 && p->unknown_cookies == PRV_UNKNOWN_REPORT);
    prv_policy_free((prv_policy *)p);
    assert_true(prv_version_string().n >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_policies_say_where_and_what),
        cmocka_unit_test(good_policies_mean_what_they_say),
        cmocka_unit_test(the_samples_compile_without_a_warning),
        cmocka_unit_test(small_forms),
        cmocka_unit_test(texts_fall_back),
        cmocka_unit_test(the_empty_policy_decides_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
