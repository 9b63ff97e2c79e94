/* Signals, navigations and fields of ours: tests/vectors/signals. */
#include "request_fixture.h"

static void expect(const vec_case *c, const char *key, bool got)
{
    prv_str want = vec_get(c, key, 0);

    if (want.p == NULL) {
        return;
    }
    assert_true(vec_is(c, key, "yes") || vec_is(c, key, "no"));
    if (got != vec_is(c, key, "yes")) {
        fail_msg("%s:%u: %s is %s", c->file, c->line, key, got ? "yes" : "no");
    }
}

static void signal_case(const vec_case *c, void *arg)
{
    static const char *const keys[] = {"case", "value",  "gpc",        "dnt",   "method",
                                       "mode", "accept", "navigation", "field", "ours"};
    unsigned *asserted = arg;

    vec_only(c, keys, sizeof(keys) / sizeof(keys[0]));
    unsigned gpc = prv_signal_gpc(vec_get(c, "value", 0));
    unsigned dnt = prv_signal_dnt(vec_get(c, "value", 0));
    assert_true(gpc == 0 || gpc == PRV_SIGNAL_GPC);
    assert_true(dnt == 0 || dnt == PRV_SIGNAL_DNT);
    expect(c, "gpc", gpc != 0);
    expect(c, "dnt", dnt != 0);
    expect(
        c, "navigation",
        prv_is_navigation(vec_get(c, "method", 0), vec_get(c, "mode", 0), vec_get(c, "accept", 0)));
    expect(c, "ours", prv_is_privacy_field(vec_get(c, "field", 0)));
    *asserted += vec_get(c, "gpc", 0).p != NULL || vec_get(c, "navigation", 0).p != NULL ||
                 vec_get(c, "ours", 0).p != NULL;
    assert_true(*asserted > 0);
}

static void test_vectors(void **state)
{
    unsigned asserted = 0;

    (void)state;
    vec_each("signals", signal_case, &asserted);
    assert_true(asserted >= 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors)};

    return cmocka_run_group_tests_name("signals", tests, NULL, NULL);
}
