/* The Cookie field: iterator, editing (tests/vectors/cookie), memory. */
#include "request_fixture.h"

#include "request/cookie.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static fixture fix;

static void say(const vec_case *c, const char *what, prv_str got, prv_str want)
{
    if (got.n != want.n || (got.n > 0 && memcmp(got.p, want.p, got.n) != 0)) {
        fail_msg("%s:%u: %s: got \"%.*s\", expected \"%.*s\"", c->file, c->line, what, (int)got.n,
                 got.n ? got.p : "", (int)want.n, want.n ? want.p : "");
    }
}

static prv_rules rules_of(const vec_case *c)
{
    prv_rules rules = fix.rules;
    prv_str vendor = vec_get(c, "vendor", 0);

    if (vec_is(c, "mode", "off")) {
        rules.mode = PRV_MODE_OFF;
    } else if (vec_is(c, "mode", "report")) {
        rules.mode = PRV_MODE_REPORT;
    } else if (vec_is(c, "mode", "exempt")) {
        rules.exempt = true;
    }
    if (vendor.n > 0) {
        rules.vendor = prv_policy_vendor(&fix.policy, vendor);
        assert_true(rules.vendor >= 0);
    }
    return rules;
}

static void decision_of(const vec_case *c)
{
    char text[256];
    prv_str allow = vec_get(c, "allow", 0);
    prv_str region = vec_get(c, "region", 0);

    if (allow.p != NULL) {
        snprintf(text, sizeof(text), "%.*s", (int)allow.n, allow.p);
        fix_allow(&fix, text);
    }
    fix.d.region = prv_region_parse(region);
    if (vec_is(c, "unknown", "allow")) {
        fix.policy.unknown_cookies = PRV_UNKNOWN_ALLOW;
    } else if (vec_is(c, "unknown", "report")) {
        fix.policy.unknown_cookies = PRV_UNKNOWN_REPORT;
    }
}

static void edit_case(const vec_case *c, void *arg)
{
    static const char *const keys[] = {"case",   "allow", "region",  "unknown",
                                       "vendor", "mode",  "joined",  "in",
                                       "out",    "vary",  "removed", "unlisted"};
    prv_str in[8], out[8];
    size_t n = 0;
    unsigned vary = 0;
    bool changed = false;

    (void)arg;
    vec_only(c, keys, sizeof(keys) / sizeof(keys[0]));
    fix_reset(&fix);
    decision_of(c);
    prv_rules rules = rules_of(c);
    while (n < 8 && vec_get(c, "in", n).p != NULL) {
        in[n] = vec_get(c, "in", n);
        changed = changed || in[n].n != vec_get(c, "out", n).n ||
                  memcmp(in[n].p, vec_get(c, "out", n).p, in[n].n) != 0;
        n++;
    }
    assert_true(n > 0);
    assert_null(vec_get(c, "out", n).p);
    fix.rq.cookies = in;
    fix.rq.n_cookies = n;
    fix.rq.comma_joined = vec_is(c, "joined", "yes");

    /* taken apart at each walk, and noted once */
    for (int noted = 0; noted < 2; noted++) {
        fix.rq.paired = NULL;
        if (noted) {
            prv_cookie_pairs(&fix.rq);
        }
        if (prv_cookies_need_edit(&fix.rq, &rules, &fix.d) != changed) {
            fail_msg("%s:%u: need_edit is not %d", c->file, c->line, changed);
        }
        unsigned before = fix.allocs;
        vary = 0;
        assert_int_equal(prv_edit_cookies(&fix.rq, &rules, &fix.d, out, &vary), PRV_OK);
        assert_true(changed || fix.allocs == before);
        for (size_t i = 0; i < n; i++) {
            prv_str want = vec_get(c, "out", i);
            say(c, "out", out[i], want);
            if (in[i].n == want.n && memcmp(in[i].p, want.p, want.n) == 0) {
                assert_ptr_equal(out[i].p, in[i].p);
            }
        }
        say(c, "vary", prv_vary_value(vary), vec_get(c, "vary", 0));
    }

    prv_var_input input = {.rq = &fix.rq, .rules = &rules, .d = &fix.d};
    say(c, "removed", prv_variable(PRV_VAR_REMOVED, &input), vec_get(c, "removed", 0));
    prv_str unlisted = vec_get(c, "unlisted", 0);
    if (unlisted.p != NULL) {
        say(c, "unlisted", prv_variable(PRV_VAR_UNKNOWN, &input), unlisted);
    }
}

static void test_vectors(void **state)
{
    (void)state;
    vec_each("cookie", edit_case, NULL);
}

/* One more than are noted: all of them are taken apart at each walk. */
static void test_more_than_are_noted(void **state)
{
    (void)state;
    for (size_t n = PRV_MAX_PAIRS; n <= PRV_MAX_PAIRS + 1; n++) {
        char text[PRV_MAX_PAIRS * 16] = "", want[PRV_MAX_PAIRS * 16] = "";
        for (size_t i = 0; i < n; i++) {
            const bool last = i + 1 == n;
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%zu=1", i ? "; " : "",
                     last ? "_ga_" : "x", i);
            if (!last) {
                snprintf(want + strlen(want), sizeof want - strlen(want), "%sx%zu=1",
                         i ? "; " : "", i);
            }
        }
        const prv_str in = fix_str(text);
        prv_str out;
        unsigned vary = 0;
        fix_reset(&fix);
        fix.policy.unknown_cookies = PRV_UNKNOWN_ALLOW;
        prv_rules rules = fix.rules;
        fix.rq.cookies = &in;
        fix.rq.n_cookies = 1;
        prv_cookie_pairs(&fix.rq);
        assert_int_equal(fix.rq.paired != NULL, n == PRV_MAX_PAIRS);
        assert_true(prv_cookies_need_edit(&fix.rq, &rules, &fix.d));
        assert_int_equal(prv_edit_cookies(&fix.rq, &rules, &fix.d, &out, &vary), PRV_OK);
        fix_assert_str(out, want, "all but the last");
    }
}

typedef struct pair_want {
    const char *name, *value, *pair;
    bool after_comma;
} pair_want;

static void iterate(const char *field, bool joined, const pair_want *want, size_t n)
{
    prv_cookie_iter it;
    prv_str name, value, pair;
    size_t i = 0;

    prv_cookie_iter_init(&it, fix_str(field), joined);
    while (prv_cookie_next(&it, &name, &value, &pair)) {
        assert_true(i < n);
        fix_assert_str(name, want[i].name, field);
        fix_assert_str(value, want[i].value, field);
        fix_assert_str(pair, want[i].pair, field);
        assert_int_equal(it.after_comma, want[i].after_comma);
        i++;
    }
    assert_int_equal(i, n);
    assert_false(prv_cookie_next(&it, &name, &value, &pair));
}

static void test_iterator(void **state)
{
    static const pair_want plain[] = {{"a", "1", "a=1", false},
                                      {"b", "\"x y\"", "b = \"x y\"", false},
                                      {"", "bare", "bare", false},
                                      {"c", "=d=", "c==d=", false},
                                      {"", "e", "=e", false}};
    static const pair_want one[] = {{"a", "1, b=2", "a=1, b=2", false}, {"c", "3", "c=3", false}};
    static const pair_want split[] = {
        {"a", "1", "a=1", false}, {"b", "2", "b=2", true}, {"c", "3", "c=3", false}};
    static const pair_want no_space[] = {{"a", "1,b=2", "a=1,b=2", false}};
    static const pair_want no_name[] = {{"d", "Thu, 01 Jan", "d=Thu, 01 Jan", false}};
    static const pair_want reset[] = {{"a", "1", "a=1", false}, {"b", "2", "b=2", false}};
    static const pair_want gap[] = {{"a", "1", "a=1", false}, {"b", "2", "b=2", true}};

    (void)state;
    iterate("a=1;\tb = \"x y\" ;; bare; c==d=;=e; ", false, plain, 5);
    iterate("a=1, b=2; c=3", false, one, 2);
    iterate("a=1, b=2; c=3", true, split, 3);
    iterate("a=1,b=2", true, no_space, 1);
    iterate("d=Thu, 01 Jan", true, no_name, 1);
    iterate("a=1; , b=2", true, reset, 2);
    iterate("a=1, , b=2", true, gap, 2);
    iterate("", true, NULL, 0);
    iterate(" ; ;", true, NULL, 0);
}

static void test_no_memory_is_no_cookie(void **state)
{
    prv_str in[2] = {PRV_STR("session=1; _ga=2"), PRV_STR("theme=dark")};
    prv_str out[2];
    unsigned vary = 0;

    (void)state;
    fix_reset(&fix);
    fix_allow(&fix, "necessary preferences");
    fix.rq.cookies = in;
    fix.rq.n_cookies = 2;
    fix.fail_at = 1;
    assert_int_equal(prv_edit_cookies(&fix.rq, &fix.rules, &fix.d, out, &vary), PRV_ERR_NOMEM);
    assert_int_equal(out[0].n, 0);
    assert_int_equal(out[1].n, 0);
    assert_int_equal(vary, PRV_VARY_COOKIE | PRV_VARY_DNT);

    fix_reset(&fix);
    fix_allow(&fix, "necessary preferences");
    fix.rq.cookies = in;
    fix.rq.n_cookies = 2;
    assert_int_equal(prv_edit_cookies(&fix.rq, &fix.rules, &fix.d, out, &vary), PRV_OK);
    assert_int_equal(fix.allocs, 1);
    fix_assert_str(out[0], "session=1", "edited");
}

static int setup(void **state)
{
    (void)state;
    fix_open(&fix);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fix_close(&fix);
    return 0;
}

/* A field of commas costs steps by its length, not by the square of it: CPU time, with a margin of a hundred. */
static double seconds_for(size_t n)
{
    char *text = malloc(2 * n + 4);
    prv_cookie_iter it;
    prv_str name, value, pair;
    struct timespec from, to;
    size_t pieces = 0;

    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, i % 2 ? "a\t" : ",\t", 2);
    memcpy(text + 2 * n, "z=1", 3);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    prv_cookie_iter_init(&it, (prv_str){text, 2 * n + 3}, true);
    while (prv_cookie_next(&it, &name, &value, &pair))
        pieces++;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    assert_in_range(pieces, n / 2, n + 1);
    free(text);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

static void test_a_field_of_commas_is_linear(void **state)
{
    (void)state;
    (void)seconds_for(1000);
    assert_true(seconds_for(400000) < 2.0); /* a square: minutes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_more_than_are_noted),
        cmocka_unit_test(test_iterator),
        cmocka_unit_test(test_no_memory_is_no_cookie),
        cmocka_unit_test(test_a_field_of_commas_is_linear),
    };

    return cmocka_run_group_tests_name("cookie", tests, setup, teardown);
}
