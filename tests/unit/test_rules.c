/* Directive values: tests/vectors/rules; and what a whole server must have. */
#include "request_fixture.h"

#include <stdio.h>

#define ARGS_MAX 40

static fixture fix;

static size_t args_split(prv_str text, prv_str args[ARGS_MAX])
{
    size_t n = 0, at = 0;

    while (at < text.n) {
        size_t from = at;
        while (at < text.n && text.p[at] != ' ') {
            at++;
        }
        assert_true(n < ARGS_MAX);
        args[n++] = (prv_str){text.p + from, at - from};
        at += at < text.n;
    }
    /* an argument "" is what a server hands in for two quotes */
    for (size_t i = 0; i < n; i++) {
        if (args[i].n == 2 && memcmp(args[i].p, "\"\"", 2) == 0) {
            args[i].n = 0;
        }
    }
    return n;
}

#define SHOW(s) (int)(s).n, ((s).n ? (s).p : "")

static const char *const samesites[] = {"Lax", "Strict", "None"};

typedef struct outcome {
    prv_code code;
    prv_error err;
    char text[1024];
    prv_require_conf require;
} outcome;

static void run_cookie(const prv_str *args, size_t n, outcome *out)
{
    prv_cookie_conf conf;

    out->code = prv_cookie_conf_parse(args, n, &conf, &out->err);
    if (out->code == PRV_OK) {
        snprintf(out->text, sizeof(out->text),
                 "name=%.*s domain=%.*s path=%.*s samesite=%s secure=%s", SHOW(conf.name),
                 SHOW(conf.domain), SHOW(conf.path), samesites[conf.samesite],
                 conf.secure ? "on" : "off");
    }
}

static void run_require(const prv_str *args, size_t n, outcome *out)
{
    size_t at = 0;

    out->code = prv_require_parse(args, n, &out->require, &out->err);
    if (out->code != PRV_OK) {
        return;
    }
    for (size_t i = 0; i < out->require.n_names; i++) {
        at += (size_t)snprintf(out->text + at, sizeof(out->text) - at, "%s%.*s", i ? "," : "",
                               SHOW(out->require.names[i]));
    }
    snprintf(out->text + at, sizeof(out->text) - at, " status=%d redirect=%.*s",
             out->require.answer.status, SHOW(out->require.answer.redirect));
}

static void run_min_age(const prv_str *args, size_t n, outcome *out)
{
    prv_answer answer;
    unsigned age = 0;
    char word[16];

    out->code = prv_min_age_parse(args, n, &age, &answer, &out->err);
    snprintf(word, sizeof(word), "%u", age);
    snprintf(out->text, sizeof(out->text), "%s status=%d redirect=%.*s",
             age == PRV_AGE_POLICY ? "policy" : word, answer.status, SHOW(answer.redirect));
}

static void run_limit(const prv_str *args, size_t n, outcome *out)
{
    prv_limit_conf conf;

    out->code = prv_limit_parse(args, n, &conf, &out->err);
    snprintf(out->text, sizeof(out->text), conf.off ? "off" : "%u burst=%u", conf.per_minute,
             conf.burst);
}

static void run_zone(const prv_str *args, size_t n, outcome *out)
{
    prv_str name = PRV_NONE;
    size_t bytes = 0;

    assert_int_equal(n, 1);
    out->code = prv_zone_parse(args[0], &name, &bytes, &out->err);
    snprintf(out->text, sizeof(out->text), "%.*s %zu", SHOW(name), bytes);
}

static void run_timeout(const prv_str *args, size_t n, outcome *out)
{
    uint32_t ms = 0;

    assert_int_equal(n, 1);
    out->code = prv_timeout_parse(args[0], &ms, &out->err);
    snprintf(out->text, sizeof(out->text), "%u", ms);
}

static void run_home(const prv_str *args, size_t n, outcome *out)
{
    prv_str home = PRV_NONE;

    assert_int_equal(n, 1);
    out->code = prv_home_parse(args[0], &home, &out->err);
    snprintf(out->text, sizeof(out->text), "%.*s", SHOW(home));
}

static void run_prefix(const prv_str *args, size_t n, outcome *out)
{
    prv_str prefix = PRV_NONE;

    assert_int_equal(n, 1);
    out->code = prv_prefix_parse(args[0], &prefix, &out->err);
    snprintf(out->text, sizeof(out->text), "%.*s", SHOW(prefix));
}

static void run_return(const prv_str *args, size_t n, outcome *out)
{
    out->code = PRV_OK;
    snprintf(out->text, sizeof(out->text),
             prv_return_valid(n > 0 ? args[0] : PRV_NONE) ? "valid" : "invalid");
}

static const struct runner {
    const char *directive;
    void (*run)(const prv_str *args, size_t n, outcome *out);
} runners[] = {
    {"cookie", run_cookie}, {"require", run_require}, {"min_age", run_min_age},
    {"limit", run_limit},   {"zone", run_zone},       {"timeout", run_timeout},
    {"home", run_home},     {"prefix", run_prefix},   {"return", run_return},
};

static void require_check(const vec_case *c, outcome *out)
{
    uint32_t mask = 0;
    char names[256] = "";
    prv_str unresolved = vec_get(c, "unresolved", 0);
    prv_code code = prv_require_resolve(&out->require, &fix.policy, &mask, &out->err);

    if (unresolved.p != NULL) {
        assert_int_equal(code, PRV_ERR_VALUE);
        assert_non_null(memmem(out->err.text, strlen(out->err.text), unresolved.p, unresolved.n));
        return;
    }
    assert_int_equal(code, PRV_OK);
    for (size_t i = 0; i < fix.policy.n_purposes; i++) {
        if (mask >> i & 1) {
            size_t at = strlen(names);
            snprintf(names + at, sizeof(names) - at, "%s%.*s", at ? "," : "",
                     SHOW(fix.policy.purposes[i].name));
        }
    }
    fix_assert_str(vec_get(c, "mask", 0), names, "mask");
}

static void rule_case(const vec_case *c, void *arg)
{
    static const char *const keys[] = {"case",  "directive", "args",      "result",
                                       "error", "mask",      "unresolved"};
    prv_str args[ARGS_MAX];
    outcome out = {0};
    size_t i = 0;

    (void)arg;
    vec_only(c, keys, sizeof(keys) / sizeof(keys[0]));
    size_t n = args_split(vec_get(c, "args", 0), args);
    while (i < sizeof(runners) / sizeof(runners[0]) &&
           !vec_is(c, "directive", runners[i].directive)) {
        i++;
    }
    if (i == sizeof(runners) / sizeof(runners[0])) {
        fail_msg("%s:%u: unknown directive", c->file, c->line);
        return;
    }
    runners[i].run(args, n, &out);

    prv_str error = vec_get(c, "error", 0);
    if ((out.code != PRV_OK) != (error.p != NULL)) {
        fail_msg("%s:%u: code %d %s", c->file, c->line, out.code, out.err.text);
    }
    if (error.p != NULL) {
        assert_int_equal(out.err.code, out.code);
        if (memmem(out.err.text, strlen(out.err.text), error.p, error.n) == NULL) {
            fail_msg("%s:%u: the sentence is: %s", c->file, c->line, out.err.text);
        }
        return;
    }
    prv_str result = vec_get(c, "result", 0);
    if (result.n != strlen(out.text) || memcmp(result.p, out.text, result.n) != 0) {
        fail_msg("%s:%u: got %s", c->file, c->line, out.text);
    }
    if (vec_is(c, "directive", "require")) {
        require_check(c, &out);
    }
}

static void test_vectors(void **state)
{
    (void)state;
    vec_each("rules", rule_case, NULL);
}

static void test_no_policy_has_no_purpose(void **state)
{
    const prv_str args[] = {PRV_STR("statistics")};
    prv_require_conf conf;
    prv_error err;
    uint32_t mask;

    (void)state;
    assert_int_equal(prv_require_parse(args, 1, &conf, NULL), PRV_OK);
    assert_int_equal(prv_require_resolve(&conf, prv_policy_empty(), &mask, &err), PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "no policy is set"));
}

static void test_too_many_purposes(void **state)
{
    char names[PRV_REQUIRE_NAMES_MAX + 1][8];
    prv_str args[PRV_REQUIRE_NAMES_MAX + 1];
    prv_require_conf conf;
    prv_error err;

    (void)state;
    for (size_t i = 0; i <= PRV_REQUIRE_NAMES_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "p%zu", i);
        args[i] = fix_str(names[i]);
    }
    assert_int_equal(prv_require_parse(args, PRV_REQUIRE_NAMES_MAX, &conf, &err), PRV_OK);
    assert_int_equal(conf.n_names, PRV_REQUIRE_NAMES_MAX);
    assert_int_equal(prv_require_parse(args, PRV_REQUIRE_NAMES_MAX + 1, &conf, &err),
                     PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "32"));
}

static void test_return_length(void **state)
{
    char path[2049];

    (void)state;
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    assert_true(prv_return_valid((prv_str){path, 2048}));
    assert_false(prv_return_valid((prv_str){path, 2049}));
}

static void test_long_arguments_leave_the_sentence(void **state)
{
    char path[4000];
    prv_str home;
    prv_error err;

    (void)state;
    memset(path, 'x', sizeof(path));
    assert_int_equal(prv_home_parse((prv_str){path, sizeof(path)}, &home, &err), PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "begins and ends with /"));
    assert_int_equal(prv_home_parse(PRV_NONE, &home, NULL), PRV_ERR_VALUE);
}

static void test_defaults(void **state)
{
    prv_rules rules;
    prv_limit_conf limit;

    (void)state;
    memset(&rules, 0xff, sizeof(rules));
    prv_rules_init(&rules);
    assert_int_equal(rules.mode, PRV_MODE_OFF);
    assert_int_equal(rules.vendor, -1);
    assert_true(rules.forward);
    assert_false(rules.exempt);
    assert_int_equal(rules.require, 0);
    assert_int_equal(rules.min_age, 0);
    prv_limit_conf_init(&limit);
    assert_false(limit.off);
    assert_int_equal(limit.per_minute, 30);
    assert_int_equal(limit.burst, 30);
}

#define SECRET "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static prv_keyring *keys_of(const char *text)
{
    prv_keyring *keys = NULL;
    prv_error err = {0};

    if (prv_keyring_parse(fix_str(text), "keys", &keys, &err) != PRV_OK) {
        fail_msg("%s", err.text);
    }
    return keys;
}

static void site_expect(prv_mode mode, const char *sentence)
{
    prv_error err = {0};
    prv_code code = prv_site_check(&fix.site, mode, &err);

    if (sentence == NULL) {
        assert_int_equal(code, PRV_OK);
        return;
    }
    assert_int_equal(code, PRV_ERR_VALUE);
    if (strstr(err.text, sentence) == NULL) {
        fail_msg("the sentence is: %s", err.text);
    }
}

static void test_site(void **state)
{
    prv_keyring *token = keys_of("token k1 " SECRET "\n");

    (void)state;
    fix_reset(&fix);
    fix.site.keys = token;
    site_expect(PRV_MODE_ON, NULL);

    fix.site.keys = NULL;
    site_expect(PRV_MODE_ON, "needs keys");
    site_expect(PRV_MODE_REPORT, NULL);
    site_expect(PRV_MODE_OFF, NULL);

    fix.site.keys = token;
    fix.site.policy = prv_policy_empty();
    site_expect(PRV_MODE_ON, "needs a policy");
    site_expect(PRV_MODE_REPORT, NULL);

    fix.site.policy = &fix.policy;
    fix.site.cookie.path = PRV_STR("/app");
    site_expect(PRV_MODE_ON, "does not cover privacy_home");
    fix.site.home = PRV_STR("/application/privacy/");
    site_expect(PRV_MODE_ON, "does not cover privacy_home");
    fix.site.home = PRV_STR("/app/privacy/");
    site_expect(PRV_MODE_ON, NULL);
    prv_keyring_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_no_policy_has_no_purpose),
        cmocka_unit_test(test_too_many_purposes),
        cmocka_unit_test(test_return_length),
        cmocka_unit_test(test_long_arguments_leave_the_sentence),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_site),
    };

    fix_open(&fix);
    int failed = cmocka_run_group_tests_name("rules", tests, NULL, NULL);
    fix_close(&fix);
    return failed;
}
