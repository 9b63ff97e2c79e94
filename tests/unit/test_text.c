/* base64url, ids, times and age bounds. */
#include "state_fixture.h"

#include <stdio.h>

static void test_base64url(void **state)
{
    static const char *const pairs[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xfe", "-__-"}};
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char text[16];
        uint8_t bytes[16];
        size_t n = strlen(pairs[i][0]), got = 99;
        assert_int_equal(prv_base64url_encode((const uint8_t *)pairs[i][0], n, text),
                         strlen(pairs[i][1]));
        assert_memory_equal(text, pairs[i][1], strlen(pairs[i][1]));
        assert_true(prv_base64url_decode(fix_str(pairs[i][1]), bytes, n, &got));
        assert_int_equal(got, n);
        assert_memory_equal(bytes, pairs[i][0], n);
        if (n > 0)
            assert_false(prv_base64url_decode(fix_str(pairs[i][1]), bytes, n - 1, &got));
    }
}

static void test_base64url_strict(void **state)
{
    static const char *const bad[] = {"Z",    "Zg==", "Zg=",  "Zm9vY", "Zh",    "Zm9",
                                      "Zm+v", "Zm/v", "Zm 8", "Zm.",   "Zm8\n", "\xc3\xa4Zm"};
    uint8_t out[16];
    size_t n;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (prv_base64url_decode(fix_str(bad[i]), out, sizeof out, &n))
            fail_msg("accepted \"%s\"", bad[i]);
    }
}

static void test_ids(void **state)
{
    uint8_t bytes[16], back[16];
    char id[PRV_ID_LEN];
    (void)state;
    for (uint8_t i = 0; i < 16; i++)
        bytes[i] = i;
    prv_id_unpack(bytes, id);
    assert_memory_equal(id, SF_ID, PRV_ID_LEN);
    prv_id_pack(id, back);
    assert_memory_equal(back, bytes, 16);
    memset(bytes, 0xff, 16);
    prv_id_unpack(bytes, id);
    assert_memory_equal(id, "77777777777777777777777774", PRV_ID_LEN);
    assert_true(prv_id_valid((prv_str){id, PRV_ID_LEN}));

    assert_true(prv_id_valid(PRV_STR(SF_ID)));
    assert_false(prv_id_valid(PRV_STR("")));
    assert_false(prv_id_valid(PRV_STR("aaaqeayeaudaocajbifqydiob")));
    assert_false(prv_id_valid(PRV_STR("aaaqeayeaudaocajbifqydiob44")));
    assert_false(prv_id_valid(PRV_STR("AAAQEAYEAUDAOCAJBIFQYDIOB4")));
    assert_false(prv_id_valid(PRV_STR("aaaqeayeaudaocajbifqydiob1")));
    assert_false(prv_id_valid(PRV_STR("aaaqeayeaudaocajbifqydiob5"))); /* spare bits */
}

static bool no_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    (void)out;
    (void)n;
    return false;
}

static void test_id_make(void **state)
{
    char a[PRV_ID_LEN], b[PRV_ID_LEN];
    prv_env env = {.random = prv_random};
    (void)state;
    assert_true(prv_id_make(&env, a));
    assert_true(prv_id_make(&env, b));
    assert_memory_not_equal(a, b, PRV_ID_LEN);
    assert_true(prv_id_valid((prv_str){a, PRV_ID_LEN}));
    env.random = no_random;
    assert_false(prv_id_make(&env, a));
}

static bool all_ones(void *ctx, void *out, size_t n)
{
    (void)ctx;
    memset(out, 0xff, n);
    return true;
}

/* As Redis packs integers: canonical decimal, 63 bits at most. */
static void test_change_make(void **state)
{
    char a[PRV_CHANGE_LEN], b[PRV_CHANGE_LEN];
    prv_env env = {.random = prv_random};
    (void)state;
    const size_t n = prv_change_make(&env, a), m = prv_change_make(&env, b);
    assert_in_range(n, 1, PRV_CHANGE_LEN);
    for (size_t i = 0; i < n; i++)
        assert_in_range(a[i], '0', '9');
    assert_true(n == 1 || a[0] != '0');
    assert_true(n != m || memcmp(a, b, n) != 0);
    env.random = all_ones;
    assert_int_equal(prv_change_make(&env, a), PRV_CHANGE_LEN);
    assert_memory_equal(a, "9223372036854775807", PRV_CHANGE_LEN);
    env.random = no_random;
    assert_int_equal(prv_change_make(&env, a), 0);
}

static void test_times(void **state)
{
    const struct {
        const char *text;
        int64_t s;
    } cases[] = {{"1970-01-01T00:00:00Z", 0},          {"2000-02-29T23:59:59Z", 951868799},
                 {"2024-02-29T00:00:00Z", 1709164800}, {"2026-11-23T15:00:00Z", 1795446000},
                 {"2038-01-19T03:14:08Z", 2147483648}, {"2100-02-28T12:00:00Z", 4107499200},
                 {"2100-03-01T00:00:00Z", 4107542400}, {"9999-12-31T23:59:59Z", 253402300799}};
    char out[24];
    int64_t s;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(prv_rfc3339_parse(fix_str(cases[i].text), &s));
        assert_int_equal(s, cases[i].s);
        assert_int_equal(prv_rfc3339_format(s, out), 20);
        assert_memory_equal(out, cases[i].text, 20);
    }
    assert_int_equal(prv_rfc3339_format(-1, out), 0);
    assert_int_equal(prv_rfc3339_format(253402300800, out), 0);
    for (int64_t day = 0; day < 80000; day++) { /* every day until 2189, there and back */
        assert_int_equal(prv_rfc3339_format(day * 86400 + 3661, out), 20);
        assert_true(prv_rfc3339_parse((prv_str){out, 20}, &s));
        assert_int_equal(s, day * 86400 + 3661);
    }
}

static void test_times_strict(void **state)
{
    static const char *const bad[] = {"",
                                      "2024-01-01",
                                      "2024-01-01T00:00:00",
                                      "2024-01-01T00:00:00+00:00",
                                      "2024-01-01t00:00:00Z",
                                      "2024-01-01 00:00:00Z",
                                      "2024-13-01T00:00:00Z",
                                      "2024-00-01T00:00:00Z",
                                      "2024-02-30T00:00:00Z",
                                      "2023-02-29T00:00:00Z",
                                      "2100-02-29T00:00:00Z",
                                      "2024-04-31T00:00:00Z",
                                      "2024-01-00T00:00:00Z",
                                      "2024-01-01T24:00:00Z",
                                      "2024-01-01T00:60:00Z",
                                      "2024-01-01T00:00:60Z",
                                      "1969-12-31T23:59:59Z",
                                      "2024-01-01T00:00:0 Z",
                                      "2024-01-01T00:00:00z",
                                      "+024-01-01T00:00:00Z",
                                      "2024-1-01T000:00:00Z",
                                      "2024-01-01T00:00:00.Z"};
    int64_t s;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (prv_rfc3339_parse(fix_str(bad[i]), &s))
            fail_msg("accepted \"%s\"", bad[i]);
    }
}

static void test_ages(void **state)
{
    const struct {
        const char *in, *out;
    } cases[] = {{"ok:13", "ok:13"},
                 {"under:16,ok:13", "ok:13,under:16"},
                 {"parental:13,under:13", "under:13,parental:13"},
                 {"ok:1,under:120,parental:99", "ok:1,under:120,parental:99"}};
    char out[48];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        prv_age age = {.ok = 99, .at = 7};
        assert_true(prv_age_parse(fix_str(cases[i].in), &age));
        const size_t n = prv_age_format(&age, out);
        fix_assert_str((prv_str){out, n}, cases[i].out, cases[i].in);
        assert_int_equal(age.at, 7);
    }
    const prv_age none = {.at = 5};
    assert_int_equal(prv_age_format(&none, out), 0);
}

static void test_ages_strict(void **state)
{
    static const char *const bad[] = {"",
                                      "ok",
                                      "ok:",
                                      "ok:0",
                                      "ok:013",
                                      "ok:121",
                                      "ok:1000",
                                      "ok:13,",
                                      ",ok:13",
                                      "ok:13,ok:13",
                                      "ok:13 ",
                                      "Ok:13",
                                      "under:-1",
                                      "under:+1",
                                      "ok:13,,under:16",
                                      "over:13",
                                      "ok:13;under:16",
                                      "ok:13,under"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        prv_age age = {.ok = 1, .under = 2, .parental = 3, .at = 4};
        if (prv_age_parse(fix_str(bad[i]), &age))
            fail_msg("accepted \"%s\"", bad[i]);
        assert_int_equal(age.ok, 1);
        assert_int_equal(age.under, 2);
    }
}

static void test_fnv64(void **state)
{
    (void)state; /* the published test values of FNV-1a */
    assert_true(prv_fnv64(PRV_FNV64_SEED, PRV_STR("")) == 0xcbf29ce484222325ull);
    assert_true(prv_fnv64(PRV_FNV64_SEED, PRV_STR("a")) == 0xaf63dc4c8601ec8cull);
    assert_true(prv_fnv64(PRV_FNV64_SEED, PRV_STR("foobar")) == 0x85944171f73967e8ull);
    assert_true(prv_fnv64(prv_fnv64(PRV_FNV64_SEED, PRV_STR("foo")), PRV_STR("bar")) ==
                0x85944171f73967e8ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64url), cmocka_unit_test(test_base64url_strict),
        cmocka_unit_test(test_ids),       cmocka_unit_test(test_id_make), cmocka_unit_test(test_change_make),
        cmocka_unit_test(test_times),     cmocka_unit_test(test_times_strict),
        cmocka_unit_test(test_ages),      cmocka_unit_test(test_ages_strict),
        cmocka_unit_test(test_fnv64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
