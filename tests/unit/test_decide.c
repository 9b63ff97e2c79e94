/* The decision table: tests/vectors/decide, and every subset of its conditions. */
#include "state_fixture.h"

#include <stdio.h>

static state_fixture fix;

/* ------------------------------------------------------------------ vectors */

static const char *const keys[] = {
    "case",           "region",     "signals",    "granted",  "refused",   "version", "expires",
    "choice-signals", "restricted", "unreadable", "degraded", "age",       "age-at",  "mode",
    "failure",        "require",    "vendor",     "min-age",  "rows",      "allowed", "unanswered",
    "age-is",         "verdict",    "vary",       "vendors",  "gpc-shown", "account"};

static prv_state state_of(const vec_case *c)
{
    prv_state state = {.present = true, .seq = 1, .version = fix.policy->version};
    const prv_str version = vec_get(c, "version", 0), expires = vec_get(c, "expires", 0);
    const prv_str age = vec_get(c, "age", 0), age_at = vec_get(c, "age-at", 0);
    state.granted = sf_mask(fix.policy, vec_get(c, "granted", 0));
    state.refused = sf_mask(fix.policy, vec_get(c, "refused", 0));
    if (version.p)
        assert_true((state.version = prv_version_parse(version)) != 0);
    state.at = SF_NOW - 3600;
    state.expires = SF_NOW + (expires.p ? sf_number(expires) : 86400);
    state.signals = sf_signals(vec_get(c, "choice-signals", 0));
    state.restricted = vec_is(c, "restricted", "yes");
    state.unreadable = vec_is(c, "unreadable", "yes");
    state.account = vec_is(c, "account", "yes");
    if (age.p)
        assert_true(prv_age_parse(age, &state.age));
    if (age_at.p)
        state.age.at = SF_NOW - sf_number(age_at);
    return state;
}

static prv_rules rules_of(const vec_case *c)
{
    prv_rules rules;
    const prv_str vendor = vec_get(c, "vendor", 0), min_age = vec_get(c, "min-age", 0);
    prv_rules_init(&rules);
    rules.mode = vec_is(c, "mode", "off")      ? PRV_MODE_OFF
                 : vec_is(c, "mode", "report") ? PRV_MODE_REPORT
                                               : PRV_MODE_ON;
    rules.exempt = vec_is(c, "mode", "exempt");
    rules.store_failure_deny = vec_is(c, "failure", "deny");
    rules.require = sf_mask(fix.policy, vec_get(c, "require", 0));
    if (vendor.p)
        assert_true((rules.vendor = prv_policy_vendor(fix.policy, vendor)) >= 0);
    if (min_age.p)
        rules.min_age =
            vec_is(c, "min-age", "policy") ? PRV_AGE_POLICY : (uint8_t)sf_number(min_age);
    return rules;
}

static void expect_rows(const vec_case *c, const prv_decision *d)
{
    prv_str rest = vec_get(c, "rows", 0);
    while (rest.n > 0) {
        const char *space = memchr(rest.p, ' ', rest.n);
        const size_t n = space ? (size_t)(space - rest.p) : rest.n;
        const char *equals = memchr(rest.p, '=', n);
        assert_non_null(equals);
        const prv_str name = {rest.p, (size_t)(equals - rest.p)};
        const int i = prv_policy_purpose(fix.policy, name);
        const long long row = sf_number((prv_str){equals + 1, n - name.n - 1});
        if (i < 0 || d->row[i] != row)
            fail_msg("%s:%u: %.*s: row %d, expected %lld", c->file, c->line, (int)name.n, name.p,
                     i < 0 ? -1 : d->row[i], row);
        rest = (prv_str){rest.p + n + (space != NULL), rest.n - n - (space != NULL)};
    }
}

static prv_str verdict_text(const prv_decision *d, char out[48])
{
    static const char *const verdicts[] = {"pass", "refuse", "ask"};
    static const char *const gates[] = {"none", "vendor", "require", "age"};
    const int n = d->verdict == PRV_PASS ? snprintf(out, 48, "pass")
                                         : snprintf(out, 48, "%s %s %d", verdicts[d->verdict],
                                                    gates[d->gate], d->gate_row);
    return (prv_str){out, (size_t)n};
}

static prv_str vendors_text(const prv_decision *d, char out[256])
{
    size_t n = 0;
    for (size_t i = 0; i < fix.policy->n_vendors; i++) {
        const prv_str name = fix.policy->vendors[i].name;
        if (prv_vendor_allowed(fix.policy, d, (int)i))
            n += (size_t)snprintf(out + n, 256 - n, "%s%.*s", n ? " " : "", (int)name.n, name.p);
    }
    return (prv_str){out, n};
}

static void decide_case(const vec_case *c, void *arg)
{
    static const char *const ages[] = {"unknown", "ok", "under"};
    char text[256];
    prv_decision d;
    (void)arg;
    vec_only(c, keys, sizeof keys / sizeof *keys);
    const prv_state state = state_of(c);
    const prv_rules rules = rules_of(c);
    prv_decide(fix.policy, &rules, &state, vec_is(c, "degraded", "yes"),
               sf_signals(vec_get(c, "signals", 0)), prv_region_parse(vec_get(c, "region", 0)),
               SF_NOW, &d);
    expect_rows(c, &d);
    sf_same(c, "allowed", fix_str(sf_names(fix.policy, d.allowed)));
    sf_same(c, "unanswered", fix_str(sf_names(fix.policy, d.unanswered)));
    sf_same(c, "verdict", verdict_text(&d, text));
    sf_same(c, "vary", prv_vary_value(d.vary));
    sf_same(c, "vendors", vendors_text(&d, text));
    sf_same(c, "gpc-shown", d.gpc_shown ? PRV_STR("yes") : PRV_STR("no"));
    snprintf(text, sizeof text, "%s %d", ages[d.age], d.age_min);
    sf_same(c, "age-is", fix_str(text));
}

static void test_vectors(void **state)
{
    (void)state;
    vec_each("decide", decide_case, NULL);
}

/* ------------------------------------------------------------------ every subset of the conditions
 */

/* One condition a row: the lowest one that holds must win, whatever else does. */
static const unsigned rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14};
#define N_ROWS (sizeof rows / sizeof *rows)

typedef struct setting {
    prv_policy policy;
    prv_purpose purpose;
    prv_jurisdiction jurisdiction;
    prv_rules rules;
    prv_state state;
    bool degraded;
    unsigned signals;
} setting;

static void hold(setting *s, unsigned row)
{
    switch (row) {
    case 1:
        s->purpose.off = true;
        break;
    case 2:
        s->policy.row2 = 1;
        break;
    case 3:
        s->degraded = s->rules.store_failure_deny = true;
        break;
    case 4:
        s->purpose.subject_required = true;
        break;
    case 5:
        s->state.restricted = true;
        break;
    case 6:
        s->state.age.under = 13;
        break;
    case 7:
        s->state.refused = 1;
        break;
    case 8:
        s->purpose.gpc = PRV_LISTEN_DENY;
        s->signals |= PRV_SIGNAL_GPC;
        break;
    case 9:
        s->purpose.dnt = PRV_LISTEN_DENY;
        s->signals |= PRV_SIGNAL_DNT;
        break;
    case 11:
        s->state.granted = 1;
        break;
    case 13:
        s->purpose.basis = PRV_BASIS_LEGITIMATE_INTERESTS;
        break;
    case 14:
        s->jurisdiction.allow = true;
        break;
    default:
        fail();
    }
}

static void test_first_row_wins(void **state)
{
    const uint32_t allow = 1u << 2 | 1u << 11 | 1u << 13 | 1u << 14;
    (void)state;
    for (unsigned set = 0; set < 1u << N_ROWS; set++) {
        setting s = {.policy = *fix.policy,
                     .purpose = {.basis = PRV_BASIS_CONSENT, .objection = true, .since = 1}};
        prv_decision d;
        unsigned first = 15;
        s.policy.n_purposes = 1;
        s.policy.purposes = &s.purpose;
        s.policy.n_jurisdictions = 1;
        s.policy.jurisdictions = &s.jurisdiction;
        s.policy.n_vendors = 0;
        s.policy.row2 = s.policy.off = s.policy.consent = s.policy.objectable = s.policy.sale = 0;
        s.policy.listens_gpc = s.policy.listens_dnt = s.policy.obeys_gpc = s.policy.obeys_dnt = 0;
        s.policy.subject_required = s.policy.interest = s.policy.since_latest = 0;
        prv_rules_init(&s.rules);
        s.rules.mode = PRV_MODE_ON;
        s.rules.require = 1;
        s.state = (prv_state){.present = true, .version = 1, .expires = SF_NOW + 1};
        for (size_t i = N_ROWS; i-- > 0;) {
            if (set & 1u << i) {
                hold(&s, rows[i]);
                first = rows[i];
            }
        }
        prv_policy_mark(&s.policy, &s.purpose, 1);
        prv_decide(&s.policy, &s.rules, &s.state, s.degraded, s.signals, (prv_region){0}, SF_NOW,
                   &d);
        if (d.row[0] != first)
            fail_msg("conditions %x: row %d, expected %u", set, d.row[0], first);
        const bool allowed = allow >> first & 1;
        assert_int_equal(d.allowed, allowed);
        assert_int_equal(d.verdict, allowed ? PRV_PASS : PRV_REFUSE);
        assert_int_equal(d.gate_row, allowed ? 0 : first);
    }
}

static void test_reasons(void **state)
{
    static const char *const words[] = {
        "ok",  "off", "basis",   "unavailable", "anonymous", "restricted", "age",     "refused",
        "gpc", "dnt", "manager", "granted",     "manager",   "basis",      "default", "none"};
    (void)state;
    for (unsigned row = 0; row < PRV_ROWS; row++)
        fix_assert_str(prv_row_reason(row), words[row], "reason");
    fix_assert_str(prv_row_reason(200), "none", "reason past the table");
}

static void test_refusable(void **state)
{
    (void)state;
    assert_string_equal(sf_names(fix.policy, prv_refusable(fix.policy)),
                        "improvement civic preferences statistics replay marketing research");
    assert_int_equal(prv_refusable(prv_policy_empty()), 0);
    prv_policy all = {.n_purposes = PRV_MAX_PURPOSES};
    assert_int_equal(prv_refusable(&all), UINT32_MAX);
}

static void test_age_check(void **state)
{
    const struct {
        prv_age age;
        unsigned threshold;
        prv_age_status status;
    } cases[] = {
        {{0}, 13, PRV_AGE_UNKNOWN},
        {{.ok = 13}, 13, PRV_AGE_OK},
        {{.ok = 13}, 14, PRV_AGE_UNKNOWN},
        {{.under = 16}, 16, PRV_AGE_UNDER},
        {{.under = 16}, 15, PRV_AGE_UNKNOWN},
        {{.ok = 13, .under = 16}, 14, PRV_AGE_UNKNOWN},
        {{.ok = 16, .under = 13}, 14, PRV_AGE_UNDER},
        {{.under = 13, .parental = 13}, 13, PRV_AGE_OK},
        {{.under = 13, .parental = 13}, 16, PRV_AGE_UNDER},
        {{.ok = 120}, 120, PRV_AGE_OK},
        {{0}, 0, PRV_AGE_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(prv_age_check(&cases[i].age, cases[i].threshold), cases[i].status);
}

static void test_age_expires(void **state)
{
    (void)state;
    const int64_t life = fix.policy->lifetimes.age;
    prv_state s = {.age = {.ok = 13, .under = 16, .parental = 13, .at = 1000}};
    prv_state_age_expire(fix.policy, &s, 1000 + life - 1);
    assert_int_equal(s.age.under, 16);
    prv_state_age_expire(fix.policy, &s, 1000 + life);
    assert_int_equal(s.age.under, 0);
    assert_int_equal(s.age.ok, 0);
    assert_int_equal(s.age.parental, 13);
    s.age = (prv_age){.under = 16};
    prv_state_age_expire(fix.policy, &s, INT64_MAX);
    assert_int_equal(s.age.under, 16);
}

static void test_empty_policy(void **state)
{
    prv_rules rules;
    prv_decision d;
    const prv_state none = {0};
    (void)state;
    prv_rules_init(&rules);
    rules.mode = PRV_MODE_REPORT;
    prv_decide(prv_policy_empty(), &rules, &none, true, 3, prv_region_parse(PRV_STR("FR")), SF_NOW,
               &d);
    assert_int_equal(d.verdict, PRV_PASS);
    assert_int_equal(d.allowed, 0);
    assert_false(prv_vendor_allowed(prv_policy_empty(), &d, 0));
    assert_false(prv_vendor_allowed(prv_policy_empty(), &d, -1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),      cmocka_unit_test(test_first_row_wins),
        cmocka_unit_test(test_reasons),      cmocka_unit_test(test_refusable),
        cmocka_unit_test(test_age_check),    cmocka_unit_test(test_age_expires),
        cmocka_unit_test(test_empty_policy),
    };
    sf_open(&fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&fix);
    return failed;
}
