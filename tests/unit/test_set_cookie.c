/* Set-Cookie: tests/vectors/set-cookie. */
#include "request_fixture.h"

#include <stdio.h>

static fixture fix;

static void set_case(const vec_case *c, void *arg)
{
    static const char *const keys[] = {"case", "allow", "unknown", "region",
                                       "mode", "set",   "keep",    "vary"};
    char allow[256];
    unsigned vary = 0;

    (void)arg;
    vec_only(c, keys, sizeof(keys) / sizeof(keys[0]));
    fix_reset(&fix);
    prv_str names = vec_get(c, "allow", 0);
    snprintf(allow, sizeof(allow), "%.*s", (int)names.n, names.p);
    fix_allow(&fix, allow);
    fix.d.region = prv_region_parse(vec_get(c, "region", 0));
    if (vec_is(c, "unknown", "allow")) {
        fix.policy.unknown_cookies = PRV_UNKNOWN_ALLOW;
    }
    if (vec_is(c, "mode", "off")) {
        fix.rules.mode = PRV_MODE_OFF;
    } else if (vec_is(c, "mode", "report")) {
        fix.rules.mode = PRV_MODE_REPORT;
    } else if (vec_is(c, "mode", "exempt")) {
        fix.rules.exempt = true;
    }
    assert_true(vec_is(c, "keep", "yes") || vec_is(c, "keep", "no"));

    prv_keep keep = prv_edit_set_cookie(&fix.rq, &fix.rules, &fix.d, vec_get(c, "set", 0), &vary);
    if ((keep == PRV_KEEP) != vec_is(c, "keep", "yes")) {
        fail_msg("%s:%u: %s", c->file, c->line, keep == PRV_KEEP ? "kept" : "dropped");
    }
    prv_str got = prv_vary_value(vary);
    prv_str want = vec_get(c, "vary", 0);
    if (got.n != want.n || (got.n > 0 && memcmp(got.p, want.p, got.n) != 0)) {
        fail_msg("%s:%u: vary is \"%.*s\"", c->file, c->line, (int)got.n, got.n ? got.p : "");
    }
    assert_int_equal(fix.allocs, 0);
}

static void test_vectors(void **state)
{
    (void)state;
    vec_each("set-cookie", set_case, NULL);
}

static void test_vary_adds(void **state)
{
    unsigned vary = PRV_VARY_GPC;

    (void)state;
    fix_reset(&fix);
    prv_edit_set_cookie(&fix.rq, &fix.rules, &fix.d, PRV_STR("_ga=1"), &vary);
    assert_int_equal(vary, PRV_VARY_COOKIE | PRV_VARY_GPC | PRV_VARY_DNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_vary_adds),
    };

    fix_open(&fix);
    int failed = cmocka_run_group_tests_name("set-cookie", tests, NULL, NULL);
    fix_close(&fix);
    return failed;
}
