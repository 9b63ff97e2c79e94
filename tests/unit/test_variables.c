/* Variables: words, variant, names, addresses, scrubbed targets. */
#include "request_fixture.h"

#include <stdio.h>

static fixture fix;
static prv_var_input input;

static int reset(void **state)
{
    (void)state;
    fix_reset(&fix);
    input = (prv_var_input){.rq = &fix.rq, .rules = &fix.rules, .d = &fix.d};
    return 0;
}

static void expect(prv_var var, const char *want)
{
    fix_assert_str(prv_variable(var, &input), want, prv_var_names[var].p);
}

static void test_names(void **state)
{
    static const char *const names[] = {"purposes", "denied",  "reason",      "variant", "id",
                                        "age",      "signals", "region",      "state",   "removed",
                                        "unknown",  "addr",    "request_uri", "rows"};

    (void)state;
    assert_int_equal(sizeof(names) / sizeof(names[0]), PRV_VAR_COUNT);
    for (size_t i = 0; i < PRV_VAR_COUNT; i++) {
        fix_assert_str(prv_var_names[i], names[i], "name");
    }
    assert_int_equal(prv_variable(PRV_VAR_COUNT, &input).n, 0);
}

static void test_purposes(void **state)
{
    (void)state;
    expect(PRV_VAR_PURPOSES, "necessary");
    expect(PRV_VAR_DENIED, "preferences,statistics,marketing");
    expect(PRV_VAR_REASON, "none");
    fix_allow(&fix, "necessary preferences marketing");
    fix.d.row[2] = 9;
    expect(PRV_VAR_PURPOSES, "necessary,preferences,marketing");
    expect(PRV_VAR_DENIED, "statistics");
    expect(PRV_VAR_REASON, "dnt");
    fix_allow(&fix, "necessary preferences statistics marketing");
    expect(PRV_VAR_DENIED, "");
    expect(PRV_VAR_REASON, "ok");
    fix_allow(&fix, "");
    expect(PRV_VAR_PURPOSES, "");
}

static void test_rows(void **state)
{
    (void)state;
    expect(PRV_VAR_ROWS, "2,15,15,15");
    fix_allow(&fix, "statistics");
    fix.d.row[3] = 8;
    expect(PRV_VAR_ROWS, "15,15,11,8");
    fix.site.policy = prv_policy_empty();
    expect(PRV_VAR_ROWS, "");
}

/* The hex was computed outside this program. The same bytes on both servers, in every version. */
static void test_variant(void **state)
{
    (void)state;
    fix.d.unanswered = 6;
    expect(PRV_VAR_VARIANT, "9f20d7445da8e7fd");
    fix.d.unanswered = 0;
    expect(PRV_VAR_VARIANT, "f511d4f1bbecd36a");
    fix.d.unanswered = 6;
    fix.d.jurisdiction = 0; /* opt-out: nobody is asked */
    expect(PRV_VAR_VARIANT, "f511d4f1bbecd36a");
    fix_allow(&fix, "");
    expect(PRV_VAR_VARIANT, "ad4f2e1ea385dbc1");
    fix_allow(&fix, "necessary statistics");
    fix.d.age = PRV_AGE_OK;
    expect(PRV_VAR_VARIANT, "118ead8d1e4b9e1b");
    fix.d.age = PRV_AGE_UNDER;
    fix.d.gpc_shown = true;
    expect(PRV_VAR_VARIANT, "e43932b241087a29");
}

static void test_words(void **state)
{
    static const struct {
        prv_source source;
        const char *word;
    } sources[] = {{PRV_SOURCE_NONE, "none"},
                   {PRV_SOURCE_TOKEN, "token"},
                   {PRV_SOURCE_CACHE, "cache"},
                   {PRV_SOURCE_STORE, "store"},
                   {PRV_SOURCE_DEGRADED, "degraded"}};

    (void)state;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        fix.rq.source = sources[i].source;
        expect(PRV_VAR_STATE, sources[i].word);
    }
    expect(PRV_VAR_SIGNALS, "");
    fix.rq.signals = PRV_SIGNAL_GPC;
    expect(PRV_VAR_SIGNALS, "gpc");
    fix.rq.signals = PRV_SIGNAL_DNT;
    expect(PRV_VAR_SIGNALS, "dnt");
    fix.rq.signals = PRV_SIGNAL_GPC | PRV_SIGNAL_DNT;
    expect(PRV_VAR_SIGNALS, "gpc,dnt");
    expect(PRV_VAR_AGE, "unknown");
    fix.d.age = PRV_AGE_OK;
    expect(PRV_VAR_AGE, "ok");
    fix.d.age = PRV_AGE_UNDER;
    expect(PRV_VAR_AGE, "under");
    expect(PRV_VAR_REGION, "");
    fix_region(&fix, "us-ca");
    expect(PRV_VAR_REGION, "US-CA");
    expect(PRV_VAR_ID, "");
    fix.rq.state.id_len = PRV_ID_LEN;
    memcpy(fix.rq.state.id, "abcdefghijklmnopqrstuvwxyz", PRV_ID_LEN);
    expect(PRV_VAR_ID, "abcdefghijklmnopqrstuvwxyz");
}

static void test_both_directions(void **state)
{
    prv_str cookies[] = {PRV_STR("session=1; _ga=2; odd=3; __Host-privacy=x")};
    prv_str set[] = {PRV_STR("_fbp=1; Path=/"),   PRV_STR("_ga=2"),
                     PRV_STR("session=3"),        PRV_STR("odd2=4"),
                     PRV_STR("odd3=; Max-Age=0"), PRV_STR("__Host-privacy=y"),
                     PRV_STR("csrftoken=\x01")};

    (void)state;
    fix.rq.cookies = cookies;
    fix.rq.n_cookies = 1;
    input.set_cookies = set;
    input.n_set_cookies = sizeof(set) / sizeof(set[0]);
    expect(PRV_VAR_REMOVED, "_ga,odd,_fbp,odd2,csrftoken");
    expect(PRV_VAR_UNKNOWN, "odd,odd2,odd3");
    fix.rules.mode = PRV_MODE_OFF;
    expect(PRV_VAR_REMOVED, "");
    expect(PRV_VAR_UNKNOWN, "");
}

static void test_names_are_bounded(void **state)
{
    static char field[60000];
    prv_str cookies[1];
    size_t at = 0;

    (void)state;
    memset(field, 'L', 2000);
    at = 2000;
    at += (size_t)snprintf(field + at, sizeof(field) - at, "=1");
    for (unsigned i = 0; i < 2000; i++) {
        at += (size_t)snprintf(field + at, sizeof(field) - at, "; name%04u=1", i);
    }
    cookies[0] = (prv_str){field, at};
    fix.rq.cookies = cookies;
    fix.rq.n_cookies = 1;
    prv_str names = prv_variable(PRV_VAR_UNKNOWN, &input);
    assert_in_range(names.n, 1000, 1024);
    /* the long name did not push the others out, and the last one is whole */
    assert_non_null(memmem(names.p, names.n, ",name0000,", 10));
    assert_memory_equal(names.p + names.n - 9, ",name", 5);
}

static void test_every_failed_allocation_is_empty(void **state)
{
    prv_str cookies[] = {PRV_STR("_ga=2; odd=3")};
    prv_str scrub[] = {PRV_STR("t")};
    unsigned allocating = 0;

    (void)state;
    fix.rq.cookies = cookies;
    fix.rq.n_cookies = 1;
    fix.rq.state.id_len = PRV_ID_LEN;
    memset(fix.rq.state.id, 'a', PRV_ID_LEN);
    fix_region(&fix, "FR");
    input.addr = PRV_STR("192.0.2.1");
    input.uri = PRV_STR("/?t=1");
    input.scrub = scrub;
    input.n_scrub = 1;
    for (prv_var var = 0; var < PRV_VAR_COUNT; var++) {
        fix.allocs = 0;
        fix.fail_at = 1;
        prv_str value = prv_variable(var, &input);
        if (fix.allocs > 0) {
            allocating++;
            assert_null(value.p);
            assert_int_equal(value.n, 0);
        }
        fix.allocs = 0;
    }
    assert_int_equal(allocating, 10);
}

static void test_addr(void **state)
{
    static const struct {
        const char *in, *out;
    } table[] = {
        {"192.0.2.129", "192.0.2.0"},
        {"255.255.255.255", "255.255.255.0"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1::"},
        {"2001:DB8:0:1::1", "2001:db8::"},
        {"2001:0:0:1::1", "2001::"},
        {"::1", "::"},
        {"fe80::1", "fe80::"},
        {"::ffff:192.0.2.129", "192.0.2.0"},
        {"::FFFF:c000:0281", "192.0.2.0"},
        {"2001:db8:1:2:3:4:192.0.2.1", "2001:db8:1::"},
        {"", ""},
        {"unix:", ""},
        {"192.0.2", ""},
        {"192.0.2.256", ""},
        {"192.0.2.1:80", ""},
        {" 192.0.2.1", ""},
        {"192.0.2.1 ", ""},
        {"fe80::1%eth0", ""},
        {"[2001:db8::1]", ""},
        {"example.com", ""},
        {"2001:db8:1:2:3:4:5:6:7", ""},
        {"1111111111111111111111111111111111111111111111111111", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        input.addr = fix_str(table[i].in);
        fix_assert_str(prv_variable(PRV_VAR_ADDR, &input), table[i].out, table[i].in);
    }
    /* a NUL inside ends nothing */
    input.addr = (prv_str){"192.0.2.1\0x", 11};
    expect(PRV_VAR_ADDR, "");
}

static void test_request_uri(void **state)
{
    static const prv_str scrub[] = {{"token", 5}, {"e mail", 6}, {"Nom\xc3\xa9", 5}};
    static const struct {
        const char *in, *out;
    } table[] = {
        {"/p?token=s3cret", "/p?token=-"},
        {"/p?a=1&token=s3cret;b=2", "/p?a=1&token=-;b=2"},
        {"/p?TOKEN=1&ToKen=2", "/p?TOKEN=-&ToKen=-"},
        {"/p?%74oken=1&t%6Fken=2", "/p?%74oken=-&t%6Fken=-"},
        {"/p?e+mail=1&e%20mail=2&e%2Bmail=3", "/p?e+mail=-&e%20mail=-&e%2Bmail=3"},
        {"/p?nom%C3%a9=1", "/p?nom%C3%a9=-"},
        {"/p?token=a=b", "/p?token=-"},
        {"/p?token=", "/p?token=-"},
        {"/p?token", "/p?token"},
        {"/p?xtoken=1&token2=2&toke=3", "/p?xtoken=1&token2=2&toke=3"},
        {"/p?a=token=1", "/p?a=token=1"},
        {"/p?a=?token=1", "/p?a=?token=1"},
        {"/p;token=1?a=2", "/p;token=1?a=2"},
        {"/p?&;&token=1&", "/p?&;&token=-&"},
        {"/p?%=1&%7=2&token=3", "/p?%=1&%7=2&token=-"},
        {"/p?", "/p?"},
        {"/p", "/p"},
        {"", ""},
    };

    (void)state;
    input.scrub = scrub;
    input.n_scrub = 3;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        input.uri = fix_str(table[i].in);
        prv_str got = prv_variable(PRV_VAR_REQUEST_URI, &input);
        fix_assert_str(got, table[i].out, table[i].in);
        if (strcmp(table[i].in, table[i].out) == 0) {
            assert_ptr_equal(got.p, table[i].in);
        }
    }
    input.n_scrub = 0;
    input.uri = PRV_STR("/p?token=1");
    expect(PRV_VAR_REQUEST_URI, "/p?token=1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_names, reset),
        cmocka_unit_test_setup(test_purposes, reset),
        cmocka_unit_test_setup(test_rows, reset),
        cmocka_unit_test_setup(test_variant, reset),
        cmocka_unit_test_setup(test_words, reset),
        cmocka_unit_test_setup(test_both_directions, reset),
        cmocka_unit_test_setup(test_names_are_bounded, reset),
        cmocka_unit_test_setup(test_every_failed_allocation_is_empty, reset),
        cmocka_unit_test_setup(test_addr, reset),
        cmocka_unit_test_setup(test_request_uri, reset),
    };

    fix_open(&fix);
    int failed = cmocka_run_group_tests_name("variables", tests, NULL, NULL);
    fix_close(&fix);
    return failed;
}
