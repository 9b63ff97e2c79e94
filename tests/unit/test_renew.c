/* Our cookie in other answers: renewal, sweep, reports of an age; and memory. */
#include "visit_fixture.h"

/* ------------------------------------------------------------------ renewal and sweep */

static void test_renewal(void **state)
{
    prv_request rq =
        visit_met(&(view){.id = SF_ID, .seq = 1, .granted = "statistics", .stored = true},
                  &(view){.id = SF_ID,
                          .seq = 2,
                          .granted = "preferences",
                          .refused = "marketing",
                          .stored = true});
    char token[PRV_TOKEN_MAX + 1];
    (void)state;
    const size_t n = prv_token_write(&visit_fix.site, &rq.state, token);
    rq.navigation = false;
    assert_null(prv_request_renewal(&rq).p);
    rq.navigation = true;
    const prv_str cookie = prv_request_renewal(&rq);
    assert_true(cookie.n > 15 + n);
    assert_memory_equal(cookie.p, "__Host-privacy=", 15);
    assert_memory_equal(cookie.p + 15, token, n);
    assert_null(prv_request_renewal(&rq).p); /* once */
}

static void test_renewal_by_a_new_key(void **state)
{
    const prv_str cookie = visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "preferences"});
    prv_keyring *keys = sf_keys("token b " SF_KEY_B "\ntoken a " SF_KEY_A "\n");
    (void)state;
    assert_null((visit_begun(cookie).state.granted == 0) ? "not read" : NULL);
    prv_request rq = visit_begun(cookie);
    assert_null(prv_request_renewal(&rq).p);
    visit_fix.site.keys = keys;
    for (int i = 0; i < 2; i++) { /* verified, and from the cache */
        rq = visit_begun(cookie);
        const prv_str renewed = prv_request_renewal(&rq);
        assert_true(renewed.n > 0);
        assert_memory_equal(renewed.p, "__Host-privacy=1.b.", 19);
    }
    prv_keyring_free(keys);
}

static void test_no_renewal_without_a_token(void **state)
{
    prv_request rq = visit_begun(PRV_STR("__Host-privacy=x"));
    (void)state;
    assert_null(prv_request_renewal(&rq).p);
    rq = visit_begun(PRV_STR("a=1"));
    assert_null(prv_request_renewal(&rq).p);
}

/* The answer's Set-Cookie fields for a visitor whose cookie is `token` and who carries `rest`. */
static size_t sweep(prv_request *rq, const view *token, const char *rest, prv_str *out)
{
    static prv_str line;
    prv_rules rules;
    prv_decision d;
    line = visit_format("%.*s; %.*s", visit_cookie(token), fix_str(rest));
    *rq = visit_request(&line, 1);
    visit_begin(rq);
    prv_rules_init(&rules);
    rules.mode = PRV_MODE_ON;
    prv_decide(visit_fix.policy, &rules, &rq->state, rq->degraded, 0, (prv_region){0}, SF_NOW, &d);
    return prv_request_sweep(rq, &d, PRV_STR("www.example.com"), out);
}

static void test_sweep_once_after_a_refusal(void **state)
{
    const view refused = {.seq = 1, .refused = "marketing"};
    prv_str out[PRV_EXPIRE_MAX];
    prv_request rq;
    (void)state;
    const size_t n = sweep(&rq, &refused, "ad=1; _ga=2; session=3", out);
    assert_true(n >= 2);
    assert_memory_equal(out[0].p, "__Host-privacy=1.a.", 19);
    for (size_t i = 1; i < n; i++) {
        assert_memory_equal(out[i].p, "ad=;", 4); /* _ga is denied by silence, and stays */
        assert_non_null(memmem(out[i].p, out[i].n, "Max-Age=0", 9));
    }
    assert_true(rq.state.swept);
    assert_null(prv_request_renewal(&rq).p);

    const char *end = memchr(out[0].p, ';', out[0].n);
    rq = visit_begun((prv_str){out[0].p, (size_t)(end - out[0].p)});
    assert_true(rq.state.swept);
    visit_expect(&rq, "", "marketing");
}

static void test_sweep_after_an_age(void **state)
{
    const view child = {.seq = 1, .age = {.under = 13}};
    prv_str out[PRV_EXPIRE_MAX];
    prv_request rq;
    (void)state;
    assert_true(sweep(&rq, &child, "_ga=2; session=3", out) >= 2);
    assert_memory_equal(out[1].p, "_ga=;", 5);
}

static void test_no_sweep(void **state)
{
    const view refused = {.seq = 1, .refused = "marketing"};
    const view silent = {.seq = 1, .refused = "preferences"};
    prv_str out[PRV_EXPIRE_MAX];
    prv_request rq;
    prv_decision d = {0};
    (void)state;
    assert_int_equal(sweep(&rq, &refused, "_ga=2; session=3", out), 0);
    assert_false(rq.state.swept); /* a later navigation may carry them */
    assert_int_equal(sweep(&rq, &silent, "ad=1; _ga=2", out), 0);

    assert_true(sweep(&rq, &refused, "ad=1", out) > 0);
    rq.state.swept = false;
    rq.navigation = false;
    assert_int_equal(prv_request_sweep(&rq, &d, PRV_STR("example.com"), out), 0);
    rq.navigation = true;
    rq.degraded = true;
    assert_int_equal(prv_request_sweep(&rq, &d, PRV_STR("example.com"), out), 0);
    rq.degraded = false;
    visit_fix.fail_at = 1;
    assert_int_equal(prv_request_sweep(&rq, &d, PRV_STR("example.com"), out), 0);
    assert_false(rq.state.swept);
    visit_fix.fail_at = 0;
    assert_true(prv_request_sweep(&rq, &d, PRV_STR("example.com"), out) > 0);
}

/* ------------------------------------------------------------------ reports of an age */

static bool report(prv_request *rq, const char *value, prv_str *cookie, prv_op *op)
{
    *op = (prv_op){0};
    return prv_request_report_age(rq, fix_str(value), cookie, op);
}

static void test_report_malformed(void **state)
{
    static const char *const bad[] = {
        "",         "child",     "under:",   "under:0",        "under:121", "under:13x", "ok:+1",
        "parental", "parental:", "under 13", "UNDER",     "undera"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        prv_request rq = visit_begun(PRV_STR("a=1"));
        prv_str cookie;
        prv_op op;
        visit_fix.logged = 0;
        assert_false(report(&rq, bad[i], &cookie, &op));
        assert_null(cookie.p);
        assert_int_equal(visit_fix.logged, 1);
        assert_int_equal(rq.state.age.under + rq.state.age.ok + rq.state.age.parental, 0);
    }
}

/* Several fields of one answer: the lesser counts, whatever their order. */
static void test_report_of_several(void **state)
{
    static const char *const said[] = {"under:13,ok:16", "ok:16, under:13", "under:16,under:13",
                                       "child,under:13"};
    (void)state;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        prv_request rq = visit_begun(PRV_STR("a=1"));
        prv_str cookie;
        prv_op op;
        (void)report(&rq, said[i], &cookie, &op);
        assert_non_null(cookie.p);
        assert_int_equal(rq.state.age.under, 13);
        assert_int_equal(rq.state.age.ok, 0);
    }
}

static void test_report_on_a_first_visit(void **state)
{
    prv_request rq = visit_begun(PRV_STR("a=1"));
    prv_str cookie;
    prv_op op;
    (void)state;
    assert_false(report(&rq, " under\t", &cookie, &op));
    assert_int_equal(rq.state.age.under, 13); /* the policy's smallest */
    assert_int_equal(rq.state.age.at, 0);
    assert_true(cookie.n > 0);
    assert_null(memchr(cookie.p, '\n', cookie.n));
    const char *end = memchr(cookie.p, ';', cookie.n);
    rq = visit_begun((prv_str){cookie.p, (size_t)(end - cookie.p)});
    assert_true(rq.has_token);
    assert_int_equal(rq.state.id_len, 0);
    assert_int_equal(rq.state.age.under, 13);
    assert_int_equal(rq.state.seq, 1);
    assert_false(report(&rq, "under", &cookie, &op)); /* nothing new: the answer stays cacheable */
    assert_null(cookie.p);
    assert_int_equal(visit_fix.logged, 0);
}

static void test_report_bounds(void **state)
{
    const struct {
        prv_age before;
        const char *value;
        bool changes;
        prv_age after;
    } cases[] = {
        {{0}, "under:16", true, {.under = 16}},
        {{.under = 16}, "under:13", true, {.under = 13}},
        {{.under = 13}, "under:16", false, {.under = 13}},
        {{.ok = 16}, "under:13", true, {.under = 13}},
        {{.ok = 13}, "under:16", true, {.ok = 13, .under = 16}},
        {{0}, "ok:18", true, {.ok = 18}},
        {{0}, "ok", true, {.ok = 13}},
        {{.ok = 18}, "ok:13", false, {.ok = 18}},
        {{.under = 13}, "ok:18", false, {.under = 13}},
        {{.under = 16}, "ok:13", true, {.ok = 13, .under = 16}},
        {{.under = 13}, "parental:13", true, {.under = 13, .parental = 13}},
        {{.under = 13, .at = SF_NOW},
         "under:13",
         true,
         {.under = 13}}, /* an answer becomes durable */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        prv_str cookie;
        prv_op op;
        prv_request rq = visit_begun(visit_cookie(&(view){.seq = 4, .age = cases[i].before}));
        report(&rq, cases[i].value, &cookie, &op);
        assert_int_equal(cookie.n > 0, cases[i].changes);
        assert_int_equal(rq.state.age.ok, cases[i].after.ok);
        assert_int_equal(rq.state.age.under, cases[i].after.under);
        assert_int_equal(rq.state.age.parental, cases[i].after.parental);
        assert_int_equal(rq.state.seq, cases[i].changes ? 5 : 4);
        if (cases[i].changes)
            assert_int_equal(rq.state.age.at, 0);
    }
}

/* The cookie from before the report, played again on this node. */
static void test_report_outlives_an_older_cookie(void **state)
{
    const prv_str old = visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "preferences"});
    prv_request rq = visit_begun(old);
    prv_str cookie;
    prv_op op;
    (void)state;
    assert_false(report(&rq, "under:13", &cookie, &op));
    rq = visit_begun(old);
    assert_int_equal(rq.state.age.under, 13);
}

static void test_report_with_a_store(void **state)
{
    const view v = {
        .id = SF_ID, .seq = 3, .granted = "preferences", .stored = true, .age = {.ok = 13}};
    prv_request rq = visit_met(&v, &v);
    prv_str cookie;
    prv_op op;
    (void)state;
    assert_true(report(&rq, "under:16", &cookie, &op));
    assert_int_equal(op.kind, PRV_OP_AGE);
    fix_assert_str(op.key, "privacy:consent:{" SF_ID "}", "key");
    fix_assert_str(op.args[0], "ok:13", "old");
    fix_assert_str(op.args[1], "ok:13,under:16", "new");
    assert_true(cookie.n > 0);
    assert_int_equal(rq.state.seq, 3); /* the record's seq stays, so the cookie's does */

    rq = visit_begun(visit_cookie(&v)); /* at once on this node, even while the store is away */
    prv_request_feed(&rq, &visit_unavailable);
    assert_int_equal(rq.state.age.under, 16);
    visit_fix.site.keys = NULL;
    assert_false(report(&rq, "under:13", &cookie, &op));
    assert_null(cookie.p);
    assert_int_equal(rq.state.age.under, 13);
}

/* ------------------------------------------------------------------ memory */

static void test_hot_path_allocates_nothing(void **state)
{
    const view v = {
        .id = SF_ID, .seq = 3, .granted = "preferences", .refused = "marketing", .stored = true};
    prv_str pairs[PRV_OP_ARGS_MAX];
    const prv_str cookie = visit_cookie(&v);
    const prv_reply reply = visit_reply(&v, pairs);
    (void)state;
    const size_t before = visit_fix.n_blocks;
    prv_request rq = visit_begun(cookie);
    prv_request_feed(&rq, &reply);
    assert_int_equal(visit_fix.n_blocks, before);
    visit_expect(&rq, "preferences", "marketing");
}

static void test_no_memory(void **state)
{
    prv_op op;
    prv_str cookie;
    const view token = {.id = SF_ID, .seq = 5, .refused = "statistics", .stored = true};
    prv_request rq = visit_met(&token, &(view){.id = SF_ID, .seq = 3, .stored = true});
    (void)state;
    visit_fix.fail_at = 1;
    assert_int_equal(rq.repair, PRV_REPAIR_WRITE);
    assert_false(prv_request_repair(&rq, &op));
    assert_false(report(&rq, "under", &cookie, &op));
    assert_null(cookie.p);
    assert_int_equal(rq.state.age.under, 13);
    visit_fix.fail_at = 0;
    rq = visit_met(&(view){.id = SF_ID, .seq = 1, .stored = true}, &token);
    visit_fix.fail_at = 1;
    assert_null(prv_request_renewal(&rq).p);
    assert_true(rq.renew); /* the next navigation tries again */
}

int main(void)
{
#define PLAIN(name) cmocka_unit_test_setup(name, visit_setup)
#define STORE(name) cmocka_unit_test_setup(name, visit_setup_store)
    const struct CMUnitTest tests[] = {
        STORE(test_renewal),
        PLAIN(test_renewal_by_a_new_key),
        PLAIN(test_no_renewal_without_a_token),
        PLAIN(test_sweep_once_after_a_refusal),
        PLAIN(test_sweep_after_an_age),
        PLAIN(test_no_sweep),
        PLAIN(test_report_malformed),
        PLAIN(test_report_of_several),
        PLAIN(test_report_on_a_first_visit),
        PLAIN(test_report_bounds),
        PLAIN(test_report_outlives_an_older_cookie),
        STORE(test_report_with_a_store),
        STORE(test_hot_path_allocates_nothing),
        STORE(test_no_memory),
    };
    sf_open(&visit_fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&visit_fix);
    return failed;
}
