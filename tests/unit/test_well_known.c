/* The well-known documents say what the configuration does. */
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

static int call(const char *method, const char *path)
{
    prv_op op;
    prv_str cookie = rig_str(r.jar);
    r.http.method = rig_str(method);
    r.http.path = rig_str(path);
    r.rq = (prv_request){.env = &r.env,
                         .site = &r.site,
                         .cookies = &cookie,
                         .n_cookies = r.jar[0] ? 1 : 0,
                         .signals = r.signals};
    assert_int_equal(prv_request_begin(&r.rq, &op), PRV_STEP_READY);
    memset(&r.response, 0x5a, sizeof r.response);
    prv_well_known(&r.rq, &r.rules, &r.http, &r.response);
    assert_int_equal(rig_count(&r, "Set-Cookie"), 0);
    return r.response.status;
}

static void reopen(const char *purposes)
{
    char policy[1024];
    rig_close(&r);
    snprintf(
        policy, sizeof policy,
        "{\"schema\":1,\"policy\":{\"id\":\"s\",\"version\":\"2024-03-15.2\"},\"purposes\":{%s},"
        "\"unknown_cookies\":\"deny\",\"jurisdictions\":{\"*\":{\"default\":\"deny\"}}}",
        purposes);
    rig_open(&r, policy, false);
}

static void assert_type(const char *type)
{
    prv_str got = rig_header(&r, "Content-Type");
    assert_int_equal(got.n, strlen(type));
    assert_memory_equal(got.p, type, got.n);
}

static void test_gpc(void **state)
{
    (void)state;
    assert_int_equal(call("GET", "/.well-known/gpc.json"), 200);
    assert_type("application/json");
    assert_string_equal(rig_body(&r), "{\"gpc\":true,\"lastUpdate\":\"2024-03-20\"}\n");
    reopen("\"a\":{\"basis\":\"consent\",\"gpc\":\"deny\"}");
    call("GET", "/.well-known/gpc.json");
    assert_string_equal(rig_body(&r), "{\"gpc\":true,\"lastUpdate\":\"2024-03-15\"}\n");
}

static void test_gpc_is_not_claimed(void **state)
{
    (void)state;
    reopen("\"a\":{\"basis\":\"consent\"}");
    call("GET", "/.well-known/gpc.json");
    assert_string_equal(rig_body(&r), "{\"gpc\":false,\"lastUpdate\":\"2024-03-15\"}\n");
    reopen("\"a\":{\"basis\":\"consent\",\"gpc\":\"deny\"}");
    r.rules.mode = PRV_MODE_REPORT;
    call("GET", "/.well-known/gpc.json");
    assert_string_equal(rig_body(&r), "{\"gpc\":false,\"lastUpdate\":\"2024-03-15\"}\n");
}

static char tracking(void)
{
    assert_int_equal(call("GET", "/.well-known/dnt/"), 200);
    assert_type("application/tracking-status+json");
    const char *at = strstr(rig_body(&r), "{\"tracking\":\"");
    assert_non_null(at);
    assert_true(at[14] == '"');
    return at[13];
}

static void test_dnt(void **state)
{
    (void)state;
    assert_int_equal(tracking(), 'T');
    assert_string_equal(
        rig_body(&r),
        "{\"tracking\":\"T\",\"policy\":\"/privacy-policy\",\"controller\":[\"/privacy-policy\"],"
        "\"config\":\"/privacy/\"}\n");
    assert_true(rig_header(&r, "Vary").n > 0);
    rig_json(&r, "/privacy/consent", "{\"purposes\":{\"statistics\":true}}");
    assert_int_equal(tracking(), 'C');
}

static void test_dnt_never_claims_too_much(void **state)
{
    (void)state;
    reopen("\"a\":{\"basis\":\"consent\"}");
    assert_int_equal(tracking(), 'T');
    r.signals = PRV_SIGNAL_DNT;
    assert_int_equal(tracking(), 'D');
    r.signals = 0;
    reopen("\"a\":{\"basis\":\"contract\"}");
    assert_int_equal(tracking(), 'N');
    r.rules.mode = PRV_MODE_REPORT;
    assert_int_equal(tracking(), '!');
}

static void test_what_is_not_there(void **state)
{
    (void)state;
    static const char *const paths[] = {"/.well-known/", "/.well-known/dnt", "/.well-known/dnt/x",
                                        "/.well-known/gpc.json/", "/.well-known/GPC.json"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        assert_int_equal(call("GET", paths[i]), 404);
    assert_int_equal(call("POST", "/.well-known/gpc.json"), 405);
    assert_true(rig_header(&r, "Allow").n > 0);
    assert_int_equal(call("OPTIONS", "/.well-known/dnt/"), 405);
    assert_int_equal(call("HEAD", "/.well-known/dnt/"), 200);
}

static void test_no_memory(void **state)
{
    (void)state;
    r.allocs = 0;
    r.fail_at = 1;
    assert_int_equal(call("GET", "/.well-known/gpc.json"), 503);
    assert_int_equal(call("GET", "/.well-known/dnt/"), 503);
    assert_int_equal(call("GET", "/.well-known/x"), 503);
    r.fail_at = 0;
    assert_true(rig_has(&r, "\"status\":503"));
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_gpc),
        T(test_gpc_is_not_claimed),
        T(test_dnt),
        T(test_dnt_never_claims_too_much),
        T(test_what_is_not_there),
        T(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
