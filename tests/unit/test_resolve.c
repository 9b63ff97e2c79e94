/* One request before the store is asked: copies of our cookie, and the cache. */
#include "visit_fixture.h"

/* ------------------------------------------------------------------ finding our cookie */

static void test_no_cookie(void **state)
{
    const prv_str cookies[] = {PRV_STR("a=1; b=2"), PRV_STR("")};
    prv_request rq = visit_request(cookies, 2);
    (void)state;
    assert_int_equal(visit_begin(&rq), PRV_STEP_READY);
    assert_int_equal(rq.source, PRV_SOURCE_NONE);
    assert_false(rq.has_token || rq.state.present || rq.state.unreadable);
}

static void test_names_are_exact(void **state)
{
    const prv_str token = visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "preferences"});
    const prv_str value = {token.p + 15, token.n - 15};
    static const char *const forms[] = {"__host-privacy=%.*s%.*s", "__Host-privacy2=%.*s%.*s",
                                        "x__Host-privacy=%.*s%.*s", "__Host-privac=%.*s%.*s",
                                        "a=\"; b=%.*s%.*s"};
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        prv_request rq = visit_begun(visit_format(forms[i], value, PRV_STR("")));
        assert_false(rq.has_token);
        assert_false(rq.state.unreadable);
    }
    prv_request rq =
        visit_begun(visit_format("a=1;  __Host-privacy = %.*s ; b=2%.*s", value, PRV_STR("")));
    visit_expect(&rq, "preferences", "");
}

static void test_bad_cookie_is_no_consent(void **state)
{
    const prv_str token = visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "preferences"});
    (void)state;
    const prv_str bad[] = {PRV_STR("__Host-privacy="),
                           PRV_STR("__Host-privacy=yes"),
                           {token.p, token.n - 1},
                           visit_format("%.*sA%.*s", token, PRV_STR(""))};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        prv_request rq = visit_begun(bad[i]);
        assert_false(rq.has_token || rq.state.present);
        assert_true(rq.state.unreadable);
        assert_int_equal(rq.source, PRV_SOURCE_NONE);
        visit_expect(&rq, "", "");
    }
    visit_fix.site.keys = NULL;
    prv_request rq = visit_begun(token);
    assert_true(rq.state.unreadable);
    assert_false(rq.has_token);
}

static void test_same_id_highest_seq(void **state)
{
    const prv_str cookies[] = {
        visit_cookie(
            &(view){.id = SF_ID, .seq = 2, .granted = "preferences", .refused = "marketing"}),
        visit_cookie(
            &(view){.id = SF_ID, .seq = 3, .granted = "statistics", .refused = "preferences"}),
        visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "marketing"})};
    prv_request rq = visit_request(cookies, 3);
    (void)state;
    visit_begin(&rq);
    assert_int_equal(rq.state.seq, 3);
    visit_expect(&rq, "statistics", "preferences");
    assert_false(rq.state.unreadable);
}

static void test_different_ids(void **state)
{
    const prv_str cookies[] = {
        PRV_STR("__Host-privacy=forged"),
        visit_cookie(
            &(view){.id = SF_ID, .seq = 2, .granted = "preferences statistics", .age = {.ok = 16}}),
        visit_cookie(&(view){.id = SF_ID2,
                             .seq = 9,
                             .granted = "preferences",
                             .refused = "research",
                             .age = {.under = 13}}),
    };
    prv_request rq = visit_request(cookies, 3);
    (void)state;
    visit_begin(&rq);
    assert_memory_equal(rq.state.id, SF_ID, PRV_ID_LEN);
    assert_int_equal(rq.state.seq, 2);
    visit_expect(&rq, "preferences", "research");
    assert_int_equal(rq.state.age.under, 13);
    assert_int_equal(rq.state.age.ok, 0);
    assert_true(rq.state.unreadable);
}

static void test_four_copies_at_most(void **state)
{
    const prv_str bad = PRV_STR("__Host-privacy=x");
    const prv_str good = visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "preferences"});
    const prv_str four[] = {bad, bad, bad, good};
    const prv_str five[] = {bad, bad, bad, bad, good};
    prv_request rq = visit_request(four, 4);
    (void)state;
    visit_begin(&rq);
    visit_expect(&rq, "preferences", "");
    rq = visit_request(five, 5);
    visit_begin(&rq);
    assert_false(rq.has_token);
    assert_true(rq.state.unreadable);
    /* Five good ones: the fifth is not looked at, and says so. */
    const prv_str many[] = {good, good, good, good,
                            visit_cookie(&(view){.id = SF_ID, .seq = 9, .refused = "preferences"})};
    rq = visit_request(many, 5);
    visit_begin(&rq);
    visit_expect(&rq, "preferences", "");
    assert_true(rq.state.unreadable);
}

/* httpd on HTTP/1.1: `x=1, __Host-privacy=…` may be the value of x, which another host of the
 * domain may have set. */
static void test_behind_a_comma_it_only_lowers(void **state)
{
    const prv_str token = visit_cookie(&(view){.id = SF_ID,
                                               .seq = 1,
                                               .granted = "preferences",
                                               .refused = "marketing",
                                               .age = {.ok = 16}});
    const prv_str line = visit_format("x=1, %.*s%.*s", token, PRV_STR(""));
    prv_request rq = visit_request(&line, 1);
    (void)state;
    visit_begin(&rq);
    assert_false(rq.has_token);
    rq = visit_request(&line, 1);
    rq.comma_joined = true;
    visit_begin(&rq);
    visit_expect(&rq, "", "marketing");
    assert_true(rq.state.unreadable);
    assert_int_equal(rq.state.id_len, 0);
    assert_int_equal(rq.state.age.ok, 0);
    const prv_str first = visit_format("%.*s, x=1%.*s", token, PRV_STR(""));
    rq = visit_request(&first, 1);
    rq.comma_joined = true;
    visit_begin(&rq);
    visit_expect(&rq, "preferences", "marketing");
    assert_false(rq.state.unreadable);
}

static void test_answered_age_runs_out(void **state)
{
    const int64_t life = visit_fix.policy->lifetimes.age;
    (void)state;
    prv_request rq = visit_begun(
        visit_cookie(&(view){.seq = 1, .age = {.under = 13, .at = SF_NOW - life + 3600}}));
    assert_int_equal(rq.state.age.under, 13);
    rq = visit_begun(visit_cookie(&(view){.seq = 1, .age = {.under = 13, .at = SF_NOW - life}}));
    assert_int_equal(rq.state.age.under, 0);
}

/* ------------------------------------------------------------------ the cache without a store */

static void test_repeat_comes_from_the_cache(void **state)
{
    const prv_str cookie = visit_cookie(
        &(view){.id = SF_ID, .seq = 1, .granted = "preferences", .refused = "marketing"});
    (void)state;
    prv_request rq = visit_begun(cookie);
    assert_int_equal(rq.source, PRV_SOURCE_TOKEN);
    rq = visit_begun(cookie);
    assert_int_equal(rq.source, PRV_SOURCE_CACHE);
    visit_expect(&rq, "preferences", "marketing");
    assert_memory_equal(rq.state.id, SF_ID, PRV_ID_LEN);

    const prv_str no_id = visit_cookie(&(view){.seq = 1, .refused = "marketing"});
    rq = visit_begun(no_id);
    rq = visit_begun(no_id);
    assert_int_equal(rq.source, PRV_SOURCE_CACHE);
    assert_int_equal(rq.state.id_len, 0);
    visit_expect(&rq, "", "marketing");
}

/* A rewritten body under a MAC that was just verified does not repeat, and so does not verify. */
static void test_body_under_a_cached_mac(void **state)
{
    const prv_str cookie = visit_cookie(
        &(view){.id = SF_ID, .seq = 1, .granted = "preferences", .refused = "marketing"});
    const prv_str other = visit_cookie(
        &(view){.id = SF_ID, .seq = 1, .granted = "marketing", .refused = "preferences"});
    (void)state;
    visit_begun(cookie);
    char *mixed = visit_fix.env.alloc(visit_fix.env.ctx, other.n);
    assert_int_equal(cookie.n, other.n);
    memcpy(mixed, other.p, other.n - 22);
    memcpy(mixed + other.n - 22, cookie.p + cookie.n - 22, 22);
    prv_request rq = visit_begun((prv_str){mixed, other.n});
    assert_false(rq.has_token);
    assert_true(rq.state.unreadable);
    visit_expect(&rq, "", "");

    memcpy(mixed, cookie.p, cookie.n);
    for (size_t at = cookie.n - 22; at < cookie.n; at++) { /* each character of the MAC */
        mixed[at] = mixed[at] == 'A' ? 'Q' : 'A';
        rq = visit_begun((prv_str){mixed, other.n});
        assert_false(rq.has_token);
        mixed[at] = cookie.p[at];
    }
    mixed[15] = '2'; /* the form's version */
    rq = visit_begun((prv_str){mixed, other.n});
    assert_false(rq.has_token);
    mixed[15] = '1';
    mixed[17] = 'z'; /* the kid */
    rq = visit_begun((prv_str){mixed, other.n});
    assert_false(rq.has_token);
    mixed[17] = 'a';
    memcpy(mixed + 19, SF_ID2, PRV_ID_LEN); /* another's id */
    rq = visit_begun((prv_str){mixed, other.n});
    assert_false(rq.has_token);
}

/* The sum that resolve.c mixes into the MAC an entry keeps, written the way that undoes it: anybody
 * can compute it. */
static void mac_of_zeros(prv_str head, uint8_t mac[PRV_MAC_LEN])
{
    uint64_t sum = PRV_FNV64_SEED ^ head.n;
    for (size_t at = 0; at < head.n; at += sizeof sum) {
        uint64_t word = 0;
        memcpy(&word, head.p + at, head.n - at < sizeof word ? head.n - at : sizeof word);
        sum = (sum ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        sum ^= sum >> 29;
    }
    sum *= UINT64_C(0x9E3779B97F4A7C15); /* the second half of the MAC: zeros */
    sum ^= sum >> 29;
    memset(mac, 0, PRV_MAC_LEN);
    memcpy(mac, &sum, sizeof sum);
}

/* An entry without a MAC, as a change leaves it, must not answer for a token that comes to zeros.
 */
static void test_no_mac_is_no_match(void **state)
{
    prv_request rq =
        visit_begun(visit_cookie(&(view){.id = SF_ID, .seq = 5, .granted = "preferences"}));
    char text[PRV_TOKEN_MAX] = "__Host-privacy=1.a." SF_ID ".AAAA";
    const prv_str head = {text + 15, strlen(text) - 15};
    uint8_t mac[PRV_MAC_LEN];
    (void)state;
    prv_request_remember(&rq, 0);
    mac_of_zeros(head, mac);
    size_t n = 15 + head.n;
    text[n++] = '.';
    n += prv_base64url_encode(mac, sizeof mac, text + n);
    rq = visit_begun((prv_str){text, n});
    assert_false(rq.has_token);
    assert_true(rq.state.unreadable);
}

static void test_another_keyring_or_site_misses(void **state)
{
    const prv_str cookie = visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "preferences"});
    (void)state;
    visit_begun(cookie);
    prv_keyring *other = sf_keys("token b " SF_KEY_B "\n");
    visit_fix.site.keys = other;
    prv_request rq = visit_begun(cookie);
    assert_false(rq.has_token);
    visit_fix.site.keys = visit_fix.keys;

    /* The same token under another cookie name, as another server block would have it. */
    visit_fix.site.cookie.name = PRV_STR("__Host-consent");
    const prv_str value = {cookie.p + 15, cookie.n - 15};
    rq = visit_begun(visit_format("__Host-consent=%.*s%.*s", value, PRV_STR("")));
    assert_false(rq.has_token);
    prv_keyring_free(other);
}

static void test_an_older_cookie_played_again(void **state)
{
    const prv_str old =
        visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "preferences statistics"});
    const prv_str now = visit_cookie(&(view){.id = SF_ID,
                                             .seq = 2,
                                             .granted = "preferences",
                                             .refused = "statistics",
                                             .restricted = true,
                                             .age = {.under = 13}});
    (void)state;
    visit_begun(old);
    visit_begun(now);
    prv_request rq = visit_begun(old);
    visit_expect(&rq, "preferences", "statistics");
    assert_true(rq.state.restricted);
    assert_int_equal(rq.state.age.under, 13);
    rq = visit_begun(now); /* and the entry is still the later one */
    assert_int_equal(rq.source, PRV_SOURCE_CACHE);
}

int main(void)
{
#define PLAIN(name) cmocka_unit_test_setup(name, visit_setup)
#define STORE(name) cmocka_unit_test_setup(name, visit_setup_store)
    const struct CMUnitTest tests[] = {
        PLAIN(test_no_cookie),
        PLAIN(test_names_are_exact),
        PLAIN(test_bad_cookie_is_no_consent),
        PLAIN(test_same_id_highest_seq),
        PLAIN(test_different_ids),
        PLAIN(test_four_copies_at_most),
        PLAIN(test_behind_a_comma_it_only_lowers),
        PLAIN(test_answered_age_runs_out),
        PLAIN(test_repeat_comes_from_the_cache),
        PLAIN(test_body_under_a_cached_mac),
        PLAIN(test_no_mac_is_no_match),
        PLAIN(test_another_keyring_or_site_misses),
        PLAIN(test_an_older_cookie_played_again),
    };
    sf_open(&visit_fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&visit_fix);
    return failed;
}
