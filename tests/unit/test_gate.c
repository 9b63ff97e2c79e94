/* How a closed gate answers, and how denied cookies are taken off a browser. */
#include "request_fixture.h"

#include <stdio.h>
#include <jansson.h>

static fixture fix;
static prv_gate_answer answer;

static int reset(void **state)
{
    (void)state;
    fix_reset(&fix);
    fix.rq.navigation = true;
    fix.d.verdict = PRV_REFUSE;
    return 0;
}

static void respond(const char *uri, const char *referer)
{
    memset(&answer, 0xff, sizeof(answer));
    prv_gate_respond(&fix.rq, &fix.rules, &fix.d, fix_str(uri), fix_str(referer), &answer);
}

static void expect_redirect(const char *uri, const char *referer, const char *location)
{
    respond(uri, referer);
    assert_int_equal(answer.status, 303);
    fix_assert_str(answer.location, location, uri);
    assert_int_equal(answer.body.n, 0);
}

/* The body is one JSON object with exactly these members; NULL: absent. */
static void expect_problem(int status, const char *title, const char *purpose, const char *reason)
{
    json_error_t err;
    json_t *body = json_loadb(answer.body.p, answer.body.n, JSON_REJECT_DUPLICATES, &err);

    assert_int_equal(answer.status, status);
    assert_int_equal(answer.location.n, 0);
    assert_non_null(body);
    assert_string_equal(json_string_value(json_object_get(body, "type")), "about:blank");
    assert_string_equal(json_string_value(json_object_get(body, "title")), title);
    assert_int_equal(json_integer_value(json_object_get(body, "status")), status);
    assert_true(json_string_length(json_object_get(body, "detail")) > 10);
    assert_string_equal(json_string_value(json_object_get(body, "reason")), reason);
    if (purpose != NULL) {
        assert_string_equal(json_string_value(json_object_get(body, "purpose")), purpose);
    }
    assert_int_equal(json_object_size(body), purpose != NULL ? 6 : 5);
    json_decref(body);
}

static void gate_require(void)
{
    fix.d.gate = PRV_GATE_REQUIRE;
    fix.d.gate_row = 8;
    fix.d.row[2] = 8;
    fix.rules.require = 1u << 0 | 1u << 2 | 1u << 3; /* necessary statistics marketing */
}

static void gate_age(prv_age_status age)
{
    fix.d.gate = PRV_GATE_AGE;
    fix.d.age = age;
    fix.d.age_min = 13;
    fix.d.verdict = age == PRV_AGE_UNKNOWN ? PRV_ASK : PRV_REFUSE;
}

static void test_vendor(void **state)
{
    (void)state;
    fix.d.gate = PRV_GATE_VENDOR;
    respond("/collect", "");
    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body.n, 0);
    assert_int_equal(answer.location.n, 0);
}

static void test_require(void **state)
{
    static const struct {
        int status;
        const char *title;
    } statuses[] = {{404, "Not Found"},
                    {409, "Conflict"},
                    {451, "Unavailable For Legal Reasons"},
                    {403, "Forbidden"}};

    (void)state;
    gate_require();
    respond("/video", "");
    expect_problem(403, "Forbidden", "statistics", "gpc");
    for (size_t i = 0; i < 4; i++) {
        fix.rules.require_answer.status = statuses[i].status;
        respond("/video", "");
        expect_problem(statuses[i].status, statuses[i].title, "statistics", "gpc");
    }
    fix.rules.require_answer.status = 204;
    respond("/video", "");
    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body.n, 0);
}

static void test_require_redirect(void **state)
{
    (void)state;
    gate_require();
    fix.rules.require_answer.redirect = PRV_STR("/why");
    expect_redirect("/video?x=1", "", "/why");
    fix.rules.require_answer.redirect = PRV_STR("/privacy/");
    expect_redirect("/video?x=a b&y=1~_.-", "", "/privacy/");
    expect_redirect("/video?x=a+b&y=1~_.-", "",
                    "/privacy/?return=%2Fvideo%3Fx%3Da%2Bb%26y%3D1~_.-");
    fix.rules.require_answer.redirect = PRV_STR("/privacy/?from=video");
    expect_redirect("/video", "", "/privacy/?from=video&return=%2Fvideo");
    /* programs are not led anywhere */
    fix.rq.navigation = false;
    respond("/video", "");
    expect_problem(403, "Forbidden", "statistics", "gpc");
}

static void test_never_a_loop(void **state)
{
    static const struct {
        const char *target, *uri;
        bool back;
    } table[] = {
        {"/why", "/why", true},
        {"/why", "/why?x", true},
        {"/why", "/why/", true},
        {"/why/", "/why", true},
        {"/why/", "/why/a", true},
        {"/why?x=1", "/why", true},
        {"/why", "/whynot", false},
        {"/why", "/", false},
        {"/", "/", true},
        {"/", "/?x", true},
        {"/", "/members", false},
        {"/why/a", "/why/b", false},
        {"/privacy/age", "/privacy/age?return=%2F", true},
    };

    (void)state;
    gate_require();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        fix.rules.require_answer.redirect = fix_str(table[i].target);
        respond(table[i].uri, "");
        if ((answer.status == 403) != table[i].back) {
            fail_msg("%s to %s: %d", table[i].uri, table[i].target, answer.status);
        }
    }
    gate_age(PRV_AGE_UNKNOWN);
    fix.rules.age_answer = (prv_answer){0};
    respond("/privacy/age?return=%2F", "");
    expect_problem(403, "Forbidden", NULL, "age");
}

static void test_age(void **state)
{
    (void)state;
    gate_age(PRV_AGE_UNKNOWN);
    expect_redirect("/signup?plan=a&b=c%20d", "",
                    "/privacy/age?return=%2Fsignup%3Fplan%3Da%26b%3Dc%2520d");
    gate_age(PRV_AGE_UNDER);
    expect_redirect("/signup", "", "/privacy/age?return=%2Fsignup");

    fix.rq.navigation = false;
    respond("/signup", "");
    expect_problem(403, "Forbidden", NULL, "age");
    assert_non_null(memmem(answer.body.p, answer.body.n, "under the age of 13", 19));
    gate_age(PRV_AGE_UNKNOWN);
    respond("/signup", "");
    assert_non_null(memmem(answer.body.p, answer.body.n, "reached the age of 13", 21));

    fix.rq.navigation = true;
    fix.rules.age_answer.status = 451;
    respond("/signup", "");
    expect_problem(451, "Unavailable For Legal Reasons", NULL, "age");
    fix.rules.age_answer = (prv_answer){.redirect = PRV_STR("/too-young")};
    expect_redirect("/signup", "", "/too-young");
    /* the require gate's answer is not the age gate's */
    fix.rules.require_answer.status = 409;
    expect_redirect("/signup", "", "/too-young");
}

static void test_unfit_return_is_left_out(void **state)
{
    static char longest[2060];

    (void)state;
    gate_age(PRV_AGE_UNKNOWN);
    expect_redirect("//evil.example/", "", "/privacy/age");
    expect_redirect("/%2fevil.example/", "", "/privacy/age");
    expect_redirect("http://evil.example/", "", "/privacy/age");
    expect_redirect("/a\r\nb", "", "/privacy/age");
    memset(longest, 'a', 2049);
    longest[0] = '/';
    expect_redirect(longest, "", "/privacy/age");
    longest[2048] = '\0';
    respond(longest, "");
    assert_int_equal(answer.location.n, strlen("/privacy/age?return=%2F") + 2047);
}

static void test_client_that_keeps_no_cookie(void **state)
{
    static const char asked[] = "/privacy/age?return=%2Fsignup";
    static const char none[] = "/privacy/age?return=%2Fsignup&cookies=none";
    prv_str own[] = {PRV_STR("a=1"), PRV_STR("b=2; __Host-privacy=garbage")};
    prv_str other[] = {PRV_STR("__host-privacy=1; x__Host-privacy=2")};

    (void)state;
    gate_age(PRV_AGE_UNKNOWN);
    expect_redirect("/signup", "https://example.com/privacy/age?return=%2Fsignup", none);
    expect_redirect("/signup", "http://example.com:8080/privacy/age", none);
    expect_redirect("/signup", "https://example.com/privacy/age#top", none);
    expect_redirect("/signup", "https://example.com/", asked);
    expect_redirect("/signup", "https://example.com/privacy/ages", asked);
    expect_redirect("/signup", "https://example.com", asked);
    expect_redirect("/signup", "/privacy/age", asked);
    expect_redirect("/signup", ":", asked);
    expect_redirect("/signup", "https://", asked);

    fix.rq.cookies = other;
    fix.rq.n_cookies = 1;
    expect_redirect("/signup", "https://example.com/privacy/age", none);
    fix.rq.cookies = own;
    fix.rq.n_cookies = 2;
    expect_redirect("/signup", "https://example.com/privacy/age", asked);

    fix.rq.n_cookies = 0;
    expect_redirect("//x", "https://example.com/privacy/age", "/privacy/age?cookies=none");
    gate_require();
    fix.rules.require_answer.redirect = PRV_STR("/privacy/");
    expect_redirect("/video", "https://example.com/privacy/age", "/privacy/?return=%2Fvideo");
}

static void test_no_memory_still_refuses(void **state)
{
    (void)state;
    gate_age(PRV_AGE_UNKNOWN);
    fix.fail_at = 1;
    respond("/signup", "");
    assert_int_equal(answer.status, 403);
    assert_int_equal(answer.location.n, 0);
    assert_int_equal(answer.body.n, 0);
    assert_int_equal(fix.allocs, 2);
    fix.allocs = 0;
    gate_require();
    respond("/video", "");
    assert_int_equal(answer.status, 403);
    assert_int_equal(answer.body.n, 0);
    fix.allocs = 0;
}

/* ---- expiry */

static size_t expire(const char *cookies, const char *host, prv_str *out, size_t cap)
{
    static prv_str field;

    field = fix_str(cookies);
    fix.rq.cookies = &field;
    fix.rq.n_cookies = 1;
    return prv_expire_cookies(&fix.rq, &fix.d, ~0u, fix_str(host), out, cap);
}

#define GONE "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"

static void test_expire_scopes(void **state)
{
    prv_str out[PRV_EXPIRE_MAX];

    (void)state;
    assert_int_equal(expire("session=1; _ga=2; _fbp=3; odd=4; _ga=5; __Host-privacy=6",
                            "www.Shop.example.com", out, PRV_EXPIRE_MAX),
                     8);
    fix_assert_str(out[0], "_ga=; Path=/" GONE, "host-only first");
    fix_assert_str(out[1], "_fbp=; Path=/" GONE, "host-only first");
    fix_assert_str(out[2], "_ga=; Path=/; Domain=example.com" GONE, "then the shortest");
    fix_assert_str(out[3], "_fbp=; Path=/; Domain=example.com" GONE, "then the shortest");
    fix_assert_str(out[4], "_ga=; Path=/; Domain=Shop.example.com" GONE, "up to");
    fix_assert_str(out[7], "_fbp=; Path=/; Domain=www.Shop.example.com" GONE, "the host");
}

static void test_expire_hosts(void **state)
{
    static const struct {
        const char *host;
        size_t n;
    } table[] = {
        {"example.com", 2}, {"example.com.", 2},  {"localhost", 1},      {"", 1},
        {"192.0.2.1", 1},   {"[2001:db8::1]", 1}, {"a..example.com", 1}, {".example.com", 1},
        {"a.b.c.d.e.f", 6}, {"exa mple.com", 1},  {"a.com\r\nX: y", 1},  {"a_b.example.com", 3},
    };
    prv_str out[PRV_EXPIRE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        size_t n = expire("_ga=1", table[i].host, out, PRV_EXPIRE_MAX);
        if (n != table[i].n) {
            fail_msg("%s: %zu fields", table[i].host, n);
        }
        fix_assert_str(out[0], "_ga=; Path=/" GONE, table[i].host);
    }
}

static void test_expire_only_denied(void **state)
{
    prv_str out[PRV_EXPIRE_MAX];
    prv_str field = PRV_STR("theme=1; _ga=2");

    (void)state;
    fix_allow(&fix, "necessary statistics");
    assert_int_equal(expire("_ga=1; session=2", "a.example", out, PRV_EXPIRE_MAX), 0);
    fix_allow(&fix, "necessary");
    fix.rq.cookies = &field;
    fix.rq.n_cookies = 1;
    /* statistics is denied, but not explicitly: only preferences were refused */
    assert_int_equal(
        prv_expire_cookies(&fix.rq, &fix.d, 1u << 1, PRV_STR("localhost"), out, PRV_EXPIRE_MAX), 1);
    fix_assert_str(out[0], "theme=; Path=/" GONE, "theme");
}

static void test_expire_prefixed_names(void **state)
{
    prv_str out[PRV_EXPIRE_MAX];

    (void)state;
    assert_int_equal(expire("__Host-stats=1; __Secure-stats=2", "a.example", out, PRV_EXPIRE_MAX),
                     3);
    fix_assert_str(out[0], "__Host-stats=; Path=/" GONE "; Secure", "__Host-");
    fix_assert_str(out[1], "__Secure-stats=; Path=/" GONE "; Secure", "__Secure-");
    fix_assert_str(out[2], "__Secure-stats=; Path=/; Domain=a.example" GONE "; Secure", "domain");
}

static void test_expire_bounds(void **state)
{
    prv_str out[PRV_EXPIRE_MAX];
    char field[2000];
    size_t at = 0;

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        at += (size_t)snprintf(field + at, sizeof(field) - at, "_ga_%u=1; ", i);
    }
    assert_int_equal(expire(field, "example.com", out, PRV_EXPIRE_MAX), PRV_EXPIRE_MAX);
    fix_assert_str(out[19], "_ga_19=; Path=/" GONE, "the last");
    fix_reset(&fix);
    assert_int_equal(expire(field, "example.com", out, 3), 3);
    assert_int_equal(expire(field, "example.com", out, 0), 0);
    /* names that must not be echoed */
    assert_int_equal(expire("_ga_\x01=1; _ga_ x=2; _ga_,y=3; _ga_\xff=4", "localhost", out, 20), 0);
    memset(field, 'x', sizeof(field));
    memcpy(field, "_ga_", 4);
    field[257] = '\0';
    field[256] = '=';
    assert_int_equal(expire(field, "localhost", out, 20), 1);
    field[256] = 'x';
    field[257] = '=';
    field[258] = '\0';
    assert_int_equal(expire(field, "localhost", out, 20), 0);
}

static void test_expire_allocation_sweep(void **state)
{
    prv_str out[PRV_EXPIRE_MAX];

    (void)state;
    for (unsigned fail = 1; fail <= 4; fail++) {
        fix_reset(&fix);
        fix.fail_at = fail;
        size_t n = expire("_ga=1; _fbp=2", "example.com", out, PRV_EXPIRE_MAX);
        assert_int_equal(n, fail - 1);
        for (size_t i = 0; i < n; i++) {
            assert_true(out[i].n > 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_vendor, reset),
        cmocka_unit_test_setup(test_require, reset),
        cmocka_unit_test_setup(test_require_redirect, reset),
        cmocka_unit_test_setup(test_never_a_loop, reset),
        cmocka_unit_test_setup(test_age, reset),
        cmocka_unit_test_setup(test_unfit_return_is_left_out, reset),
        cmocka_unit_test_setup(test_client_that_keeps_no_cookie, reset),
        cmocka_unit_test_setup(test_no_memory_still_refuses, reset),
        cmocka_unit_test_setup(test_expire_scopes, reset),
        cmocka_unit_test_setup(test_expire_hosts, reset),
        cmocka_unit_test_setup(test_expire_only_denied, reset),
        cmocka_unit_test_setup(test_expire_prefixed_names, reset),
        cmocka_unit_test_setup(test_expire_bounds, reset),
        cmocka_unit_test_setup(test_expire_allocation_sweep, reset),
    };

    fix_open(&fix);
    int failed = cmocka_run_group_tests_name("gate", tests, NULL, NULL);
    fix_close(&fix);
    return failed;
}
