/* Bodies (tests/vectors/form, tests/vectors/json-body), form iteration, dates of birth. */
#include "request_fixture.h"
#include "rights_fixture.h"

static rig r;

static int setup(void **state)
{
    (void)state;
    rig_open(&r, rig_policy, false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_close(&r);
    return 0;
}

/* ------------------------------------------------------------------ vectors */

static uint32_t mask_of(const vec_case *c, const char *key)
{
    prv_str names = vec_get(c, key, 0);
    uint32_t mask = 0;
    while (names.n > 0) {
        const char *space = memchr(names.p, ' ', names.n);
        size_t n = space ? (size_t)(space - names.p) : names.n;
        int i = prv_policy_purpose(r.policy, (prv_str){names.p, n});
        if (i < 0)
            fail_msg("%s:%u: no purpose %.*s", c->file, c->line, (int)n, names.p);
        mask |= 1u << i;
        names = space ? (prv_str){space + 1, names.n - n - 1} : PRV_NONE;
    }
    return mask;
}

static void expect_error(const vec_case *c, prv_code code, const prv_error *err)
{
    prv_str want = vec_get(c, "error", 0);
    if (code != PRV_ERR_SYNTAX && code != PRV_ERR_VALUE)
        fail_msg("%s:%u: accepted", c->file, c->line);
    if (memmem(err->text, strlen(err->text), want.p, want.n) == NULL)
        fail_msg("%s:%u: \"%s\" lacks \"%.*s\"", c->file, c->line, err->text, (int)want.n, want.p);
}

static void expect_ok(const vec_case *c, prv_code code, const prv_error *err)
{
    if (code != PRV_OK)
        fail_msg("%s:%u: %s", c->file, c->line, err->text);
}

static void expect_return(const vec_case *c, prv_str got)
{
    prv_str want = vec_get(c, "return", 0);
    if (want.n != got.n || (got.n > 0 && memcmp(got.p, want.p, got.n) != 0))
        fail_msg("%s:%u: return \"%.*s\"", c->file, c->line, (int)got.n, got.n ? got.p : "");
}

static void run_age(const vec_case *c, bool json)
{
    prv_age_input got;
    prv_error err = {0};
    char date[64];
    const prv_str body = vec_get(c, "body", 0);
    const prv_code code =
        json ? prv_input_age_json(body, &got, &err) : prv_input_age_form(&r.env, body, &got, &err);
    if (vec_get(c, "error", 0).p != NULL) {
        expect_error(c, code, &err);
        return;
    }
    expect_ok(c, code, &err);
    snprintf(date, sizeof date, "%u %u %u", got.year, got.month, got.day);
    if (!vec_is(c, "date", date))
        fail_msg("%s:%u: got %s", c->file, c->line, date);
    assert_int_equal(got.bad_date, got.year == 0 || got.month == 0 || got.day == 0);
    expect_return(c, got.return_path);
}

static void run(const vec_case *c, void *arg)
{
    static const char *const keys[] = {"case",   "body", "form",   "now-refused", "grant",
                                       "refuse", "date", "return", "error",       "everything"};
    const bool json = *(const bool *)arg;
    prv_consent_input got;
    prv_error err = {0};
    const prv_str body = vec_get(c, "body", 0);
    vec_only(c, keys, sizeof keys / sizeof keys[0]);
    if (vec_is(c, "form", "age")) {
        run_age(c, json);
        return;
    }
    const prv_code code = json ? prv_input_consent_json(r.policy, body, &got, &err)
                               : prv_input_consent_form(&r.env, r.policy, body,
                                                        mask_of(c, "now-refused"), &got, &err);
    if (vec_get(c, "error", 0).p != NULL) {
        expect_error(c, code, &err);
        return;
    }
    expect_ok(c, code, &err);
    if (got.grant != mask_of(c, "grant") || got.refuse != mask_of(c, "refuse"))
        fail_msg("%s:%u: grant %#x refuse %#x", c->file, c->line, got.grant, got.refuse);
    if (got.everything != vec_is(c, "everything", "yes"))
        fail_msg("%s:%u: everything", c->file, c->line);
    expect_return(c, got.return_path);
}

static void test_forms(void **state)
{
    (void)state;
    bool json = false;
    vec_each("form", run, &json);
}

static void test_json(void **state)
{
    (void)state;
    bool json = true;
    vec_each("json-body", run, &json);
}

/* ------------------------------------------------------------------ what vectors cannot say */

static void test_fields_are_kept_for_the_form_to_be_shown_again(void **state)
{
    (void)state;
    prv_consent_input got;
    prv_error err = {0};
    assert_int_equal(
        prv_input_consent_form(&r.env, r.policy,
                               PRV_STR("choice=save&x=1&asked=statistics&token=t&return=//e"), 0,
                               &got, &err),
        PRV_OK);
    assert_int_equal(got.n_fields, 3);
    fix_assert_str(got.fields[1].name, "asked", "name");
    fix_assert_str(got.fields[1].value, "statistics", "value");
    fix_assert_str(got.token, "t", "token");
    assert_int_equal(got.return_path.n, 0);
}

static void test_too_many_fields(void **state)
{
    (void)state;
    prv_consent_input got;
    prv_error err = {0};
    char body[4096] = "choice=save";
    size_t n = strlen(body);
    for (unsigned i = 0; i < 128; i++)
        n += (size_t)snprintf(body + n, sizeof body - n, "&asked=statistics");
    assert_int_equal(prv_input_consent_form(&r.env, r.policy, rig_str(body), 0, &got, &err),
                     PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "too many"));
}

static void test_find(void **state)
{
    (void)state;
    fix_assert_str(prv_form_find(&r.env, PRV_STR("a=1&b=%2Fx+y&b=2"), PRV_STR("b")), "/x y", "b");
    assert_null(prv_form_find(&r.env, PRV_STR("a=1"), PRV_STR("b")).p);
    assert_null(prv_form_find(&r.env, PRV_STR("a=%&b=1"), PRV_STR("b")).p);
}

static void test_no_memory(void **state)
{
    (void)state;
    prv_consent_input consent;
    prv_age_input age;
    prv_error err = {0};
    r.allocs = 0;
    r.fail_at = 1;
    assert_int_equal(
        prv_input_consent_form(&r.env, r.policy, PRV_STR("choice=accept"), 0, &consent, &err),
        PRV_ERR_NOMEM);
    assert_int_equal(prv_input_age_form(&r.env, PRV_STR("year=1990"), &age, &err), PRV_ERR_NOMEM);
}

/* ------------------------------------------------------------------ ages */

static int64_t day(const char *date)
{
    char text[32];
    int64_t at = 0;
    snprintf(text, sizeof text, "%sT12:34:56Z", date);
    assert_true(prv_rfc3339_parse(rig_str(text), &at));
    return at;
}

static void test_years(void **state)
{
    (void)state;
    static const struct {
        unsigned y, m, d;
        const char *today;
        int years;
    } cases[] = {{2013, 11, 23, "2026-11-23", 13}, /* today counts */
                 {2013, 11, 24, "2026-11-23", 12}, {2013, 11, 22, "2026-11-23", 13},
                 {2012, 2, 29, "2025-02-28", 12},  {2012, 2, 29, "2025-03-01", 13},
                 {2012, 2, 29, "2028-02-28", 15},  {2012, 2, 29, "2028-02-29", 16},
                 {2012, 2, 29, "2100-02-28", 87},  {2012, 2, 29, "2100-03-01", 88},
                 {2026, 11, 23, "2026-11-23", 0},  {2026, 11, 24, "2026-11-23", -1},
                 {2027, 1, 1, "2026-12-31", -1},   {1900, 1, 1, "2026-11-23", 126},
                 {1899, 12, 31, "2026-11-23", -1}, {1900, 2, 29, "2026-11-23", -1},
                 {2000, 2, 29, "2026-11-23", 26},  {2001, 2, 29, "2026-11-23", -1},
                 {2001, 4, 31, "2026-11-23", -1},  {2001, 13, 1, "2026-11-23", -1},
                 {2001, 0, 1, "2026-11-23", -1},   {2001, 1, 0, "2026-11-23", -1},
                 {2001, 1, 32, "2026-11-23", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int got = prv_age_years(cases[i].y, cases[i].m, cases[i].d, day(cases[i].today));
        if (got != cases[i].years)
            fail_msg("case %zu: %d, expected %d", i, got, cases[i].years);
    }
}

static void assert_age(unsigned years, prv_age known, bool agrees, unsigned ok, unsigned under,
                       int64_t at)
{
    prv_age got = {0};
    assert_int_equal(prv_age_answer(&r.site, years, &known, 1000, &got), agrees);
    if (!agrees)
        return;
    assert_int_equal(got.ok, ok);
    assert_int_equal(got.under, under);
    assert_int_equal(got.at, at);
}

/* Thresholds of the policy: 13, 15 (FR), 16. */
static void test_bounds(void **state)
{
    (void)state;
    const prv_age none = {0};
    assert_age(0, none, true, 0, 13, 1000);
    assert_age(12, none, true, 0, 13, 1000);
    assert_age(13, none, true, 13, 15, 1000);
    assert_age(14, none, true, 13, 15, 1000);
    assert_age(15, none, true, 15, 16, 1000);
    assert_age(16, none, true, 16, 0, 1000);
    assert_age(99, none, true, 16, 0, 1000);
    assert_age(12, (prv_age){.ok = 13, .at = 5}, false, 0, 0, 0);
    assert_age(13, (prv_age){.ok = 13, .at = 5}, true, 13, 15, 1000);
    assert_age(15, (prv_age){.ok = 13, .under = 15, .at = 5}, false, 0, 0, 0);
    assert_age(10, (prv_age){.under = 16, .at = 0}, true, 0, 13, 0); /* durable stays durable */
    assert_age(16, (prv_age){.under = 16, .at = 0}, false, 0, 0, 0);
    prv_site_age(&r.site, 18);
    prv_site_age(&r.site, 0);
    prv_site_age(&r.site, 121);
    assert_age(17, none, true, 16, 18, 1000);
    assert_age(120, none, true, 18, 0, 1000);
    assert_int_equal(r.site.ages[0], UINT64_C(1) << 18);
    assert_int_equal(r.site.ages[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fields_are_kept_for_the_form_to_be_shown_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_too_many_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_years, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
