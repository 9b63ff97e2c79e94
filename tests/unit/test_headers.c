/* Privacy-Consent, Privacy-Age, Tk and Vary. */
#include "request_fixture.h"

static fixture fix;

static int reset(void **state)
{
    (void)state;
    fix_reset(&fix);
    return 0;
}

static int index_of(const char *purpose)
{
    int index = prv_policy_purpose(&fix.policy, fix_str(purpose));

    assert_true(index >= 0);
    return index;
}

static void test_consent(void **state)
{
    (void)state;
    fix_assert_str(prv_header_consent(&fix.rq, &fix.d),
                   "preferences=?0;r=none, statistics=?0;r=none, marketing=?0;r=none", "denied");

    fix_allow(&fix, "necessary preferences marketing");
    fix.d.row[index_of("statistics")] = 8;
    fix_assert_str(prv_header_consent(&fix.rq, &fix.d),
                   "preferences, statistics=?0;r=gpc, marketing", "some");

    /* an `off` purpose of row 2's basis is denied by row 1 and has to be said */
    fix_allow(&fix, "preferences statistics marketing");
    fix.d.row[index_of("necessary")] = 1;
    fix_assert_str(prv_header_consent(&fix.rq, &fix.d),
                   "necessary=?0;r=off, preferences, statistics, marketing", "off");

    fix.site.policy = prv_policy_empty();
    assert_int_equal(prv_header_consent(&fix.rq, &fix.d).n, 0);
}

static void test_age(void **state)
{
    (void)state;
    fix_assert_str(prv_header_age(&fix.rq, &fix.d), "unknown", "none");
    fix.d.age_min = 13;
    fix_assert_str(prv_header_age(&fix.rq, &fix.d), "unknown", "unknown");
    fix.d.age = PRV_AGE_OK;
    fix_assert_str(prv_header_age(&fix.rq, &fix.d), "ok;min=13", "ok");
    fix.d.age_min = 120;
    fix.d.age = PRV_AGE_UNDER;
    fix_assert_str(prv_header_age(&fix.rq, &fix.d), "under;min=120", "under");
}

static void test_no_memory(void **state)
{
    (void)state;
    fix.fail_at = 1;
    fix.d.age_min = 13;
    fix.d.age = PRV_AGE_OK;
    assert_null(prv_header_consent(&fix.rq, &fix.d).p);
    assert_null(prv_header_age(&fix.rq, &fix.d).p);
    assert_int_equal(fix.allocs, 2);
}

static void test_vary(void **state)
{
    static const char *const values[] = {
        "",    "Cookie",      "Sec-GPC",      "Cookie, Sec-GPC",
        "DNT", "Cookie, DNT", "Sec-GPC, DNT", "Cookie, Sec-GPC, DNT"};

    (void)state;
    for (unsigned bits = 0; bits < 8; bits++) {
        fix_assert_str(prv_vary_value(bits), values[bits], "vary");
    }
    fix_assert_str(prv_vary_value(PRV_VARY_COOKIE | PRV_VARY_GPC), "Cookie, Sec-GPC", "by name");
    fix_assert_str(prv_vary_value(PRV_VARY_DNT), "DNT", "by name");
}

/* `rows`: purposes allowed by another row than 11. */
static void tk_expect(bool dnt, const char *allow, const char *by_default, const char *want)
{
    fix_allow(&fix, allow);
    if (by_default != NULL) {
        int index = index_of(by_default);
        fix.d.allowed |= 1u << index;
        fix.d.row[index] = 14;
    }
    fix.rq.signals = dnt ? PRV_SIGNAL_DNT : 0;
    fix_assert_str(prv_header_tk(&fix.rq, &fix.d), want, allow);
}

static void test_tk(void **state)
{
    (void)state;
    tk_expect(false, "necessary", NULL, "T");
    tk_expect(true, "necessary", NULL, "T");
    tk_expect(false, "necessary preferences", NULL, "T");
    tk_expect(false, "necessary statistics", NULL, "C");
    tk_expect(true, "necessary statistics", NULL, "C");
    tk_expect(true, "necessary statistics preferences", NULL, "C");
    tk_expect(true, "necessary preferences", NULL, "D");
    tk_expect(true, "necessary", "preferences", "D");
    tk_expect(true, "necessary statistics", "preferences", "D");
    tk_expect(false, "necessary", "preferences", "T");
    /* a listening purpose that the default allows while DNT is off */
    tk_expect(false, "necessary", "statistics", "T");
}

static void test_tk_never_says_n_falsely(void **state)
{
    (void)state;
    fix.policy.off = 14; /* preferences, statistics, marketing */
    tk_expect(true, "necessary", NULL, "N");
    assert_false(prv_could_track(&fix.policy));
    fix.policy.unknown_cookies = PRV_UNKNOWN_REPORT;
    tk_expect(true, "necessary", NULL, "T");
    fix.policy.unknown_cookies = PRV_UNKNOWN_DENY;
    fix.policy.off = 6;
    tk_expect(true, "necessary", NULL, "T");
    assert_true(prv_could_track(&fix.policy));
}

static void test_tk_only_when_the_policy_names_dnt(void **state)
{
    (void)state;
    fix.site.policy = prv_policy_empty();
    assert_int_equal(prv_header_tk(&fix.rq, &fix.d).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_consent, reset),
        cmocka_unit_test_setup(test_age, reset),
        cmocka_unit_test_setup(test_no_memory, reset),
        cmocka_unit_test_setup(test_vary, reset),
        cmocka_unit_test_setup(test_tk, reset),
        cmocka_unit_test_setup(test_tk_never_says_n_falsely, reset),
        cmocka_unit_test_setup(test_tk_only_when_the_policy_names_dnt, reset),
    };

    fix_open(&fix);
    int failed = cmocka_run_group_tests_name("headers", tests, NULL, NULL);
    fix_close(&fix);
    return failed;
}
