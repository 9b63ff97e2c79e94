/* The signed cookie: tests/vectors/token, and every way to spoil one. */
#include "state_fixture.h"

#include <stdio.h>

static state_fixture fix;

/* ------------------------------------------------------------------ vectors */

static void put_other(prv_state *state, prv_str list, bool granted)
{
    for (size_t at = 0; at + 4 <= list.n; at += 5) {
        unsigned hash;
        assert_int_equal(sscanf(list.p + at, "%4x", &hash), 1);
        state->other[state->n_other++] = (prv_other){(uint16_t)hash, granted};
    }
}

static prv_state state_of(const vec_case *c)
{
    prv_state s = {.present = true};
    const prv_str id = vec_get(c, "id", 0), version = vec_get(c, "version", 0);
    const prv_str age = vec_get(c, "age", 0), age_at = vec_get(c, "age-at", 0);
    if (id.n) {
        assert_int_equal(id.n, PRV_ID_LEN);
        s.id_len = PRV_ID_LEN;
        memcpy(s.id, id.p, id.n);
    }
    s.seq = (uint32_t)sf_number(vec_get(c, "seq", 0));
    s.version = version.n ? prv_version_parse(version) : 0;
    s.at = sf_number(vec_get(c, "at", 0));
    s.expires = sf_number(vec_get(c, "expires", 0));
    s.signals = sf_signals(vec_get(c, "signals", 0));
    s.granted = sf_mask(fix.policy, vec_get(c, "granted", 0));
    s.refused = sf_mask(fix.policy, vec_get(c, "refused", 0));
    s.stored = vec_is(c, "stored", "yes");
    s.restricted = vec_is(c, "restricted", "yes");
    s.swept = vec_is(c, "swept", "yes");
    put_other(&s, vec_get(c, "other-refused", 0), false);
    put_other(&s, vec_get(c, "other-granted", 0), true);
    if (age.n)
        assert_true(prv_age_parse(age, &s.age));
    s.age.at = age_at.n ? sf_number(age_at) : 0;
    const prv_str subject = vec_get(c, "subject", 0);
    if (subject.n) {
        assert_true(prv_id_valid(subject));
        s.has_subject = true;
        prv_id_pack(subject.p, s.subject);
    }
    s.session = vec_is(c, "bound", "session");
    s.owned = vec_is(c, "bound", "owned");
    s.over = sf_mask(fix.policy, vec_get(c, "over", 0));
    s.owed = sf_mask(fix.policy, vec_get(c, "owed", 0));
    return s;
}

static void assert_same(const prv_state *a, const prv_state *b)
{
    assert_int_equal(a->present, b->present);
    assert_int_equal(a->unreadable, b->unreadable);
    assert_int_equal(a->stored, b->stored);
    assert_int_equal(a->restricted, b->restricted);
    assert_int_equal(a->swept, b->swept);
    assert_int_equal(a->signals, b->signals);
    assert_int_equal(a->id_len, b->id_len);
    assert_memory_equal(a->id, b->id, PRV_ID_LEN);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->at, b->at);
    assert_int_equal(a->expires, b->expires);
    assert_int_equal(a->granted, b->granted);
    assert_int_equal(a->refused, b->refused);
    assert_int_equal(a->age.ok, b->age.ok);
    assert_int_equal(a->age.under, b->age.under);
    assert_int_equal(a->age.parental, b->age.parental);
    assert_int_equal(a->age.at, b->age.at);
    assert_int_equal(a->has_subject, b->has_subject);
    assert_int_equal(a->session, b->session);
    assert_int_equal(a->owned, b->owned);
    assert_int_equal(a->over, b->over);
    assert_int_equal(a->owed, b->owed);
    assert_memory_equal(a->subject, b->subject, PRV_SUBJECT_LEN);
    assert_int_equal(a->n_other, b->n_other);
    for (size_t i = 0; i < a->n_other; i++) {
        assert_int_equal(a->other[i].hash, b->other[i].hash);
        assert_int_equal(a->other[i].granted, b->other[i].granted);
    }
}

static void token_case(const vec_case *c, void *arg)
{
    static const char *const keys[] = {
        "case",    "id",      "seq",    "version",    "at",    "expires",       "signals",
        "granted", "refused", "stored", "restricted", "swept", "other-granted", "other-refused",
        "age",     "age-at",  "token",  "bad",        "subject", "bound",     "over",
        "owed"};
    const prv_str text = vec_get(c, "token", 0);
    prv_state got;
    bool old_key = true;
    (void)arg;
    vec_only(c, keys, sizeof keys / sizeof *keys);
    const prv_token_result result = prv_token_read(&fix.site, text, &got, &old_key, NULL);
    if (vec_is(c, "bad", "yes")) {
        const prv_state none = {0};
        if (result != PRV_TOKEN_BAD)
            fail_msg("%s:%u: read", c->file, c->line);
        assert_same(&got, &none);
        return;
    }
    if (result != PRV_TOKEN_OK)
        fail_msg("%s:%u: not read", c->file, c->line);
    assert_false(old_key);
    const prv_state want = state_of(c);
    assert_same(&got, &want);
    char out[PRV_TOKEN_MAX + 1];
    const size_t n = prv_token_write(&fix.site, &want, out);
    sf_same(c, "token", (prv_str){out, n});
}

static void test_vectors(void **state)
{
    (void)state;
    vec_each("token", token_case, NULL);
}

/* ------------------------------------------------------------------ spoiling */

static prv_state sample(void)
{
    prv_state s = {.present = true,
                   .stored = true,
                   .id_len = PRV_ID_LEN,
                   .version = fix.policy->version,
                   .seq = 300,
                   .at = SF_NOW,
                   .expires = SF_NOW + 182 * 86400,
                   .granted = sf_mask(fix.policy, PRV_STR("preferences statistics")),
                   .refused = sf_mask(fix.policy, PRV_STR("marketing")),
                   .age = {.ok = 13}};
    memcpy(s.id, SF_ID, PRV_ID_LEN);
    return s;
}

static prv_token_result reads(const char *text, size_t n)
{
    prv_state got;
    bool old_key;
    /* At the end of its own block, so that a sanitizer sees a byte too many. */
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    const prv_token_result result =
        prv_token_read(&fix.site, (prv_str){copy, n}, &got, &old_key, NULL);
    free(copy);
    return result;
}

static void test_truncations(void **state)
{
    char text[PRV_TOKEN_MAX + 1];
    const prv_state s = sample();
    const size_t n = prv_token_write(&fix.site, &s, text);
    (void)state;
    assert_true(n > 60);
    assert_int_equal(reads(text, n), PRV_TOKEN_OK);
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(reads(text, cut), PRV_TOKEN_BAD);
        assert_int_equal(reads(text + n - cut, cut), PRV_TOKEN_BAD);
    }
}

static void test_bit_flips(void **state)
{
    char text[PRV_TOKEN_MAX + 1];
    const prv_state s = sample();
    const size_t n = prv_token_write(&fix.site, &s, text);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ (1 << bit));
            if (reads(text, n) != PRV_TOKEN_BAD)
                fail_msg("bit %u of byte %zu", bit, i);
            text[i] = (char)(text[i] ^ (1 << bit));
        }
    }
    assert_int_equal(reads(text, n), PRV_TOKEN_OK);
}

static void test_insertions(void **state)
{
    char text[PRV_TOKEN_MAX + 2], longer[PRV_TOKEN_MAX + 3];
    const prv_state s = sample();
    const size_t n = prv_token_write(&fix.site, &s, text);
    (void)state;
    for (size_t i = 0; i <= n; i++) {
        static const char inserted[] = {'A', '.', '=', '\0', ' '};
        for (size_t k = 0; k < sizeof inserted; k++) {
            memcpy(longer, text, i);
            longer[i] = inserted[k];
            memcpy(longer + i + 1, text + i, n - i);
            assert_int_equal(reads(longer, n + 1), PRV_TOKEN_BAD);
        }
    }
}

/* ------------------------------------------------------------------ keys */

static void use_keys(const char *text)
{
    prv_keyring_free(fix.keys);
    fix.keys = sf_keys(text);
    fix.site.keys = fix.keys;
}

static void test_rotation(void **state)
{
    char text[PRV_TOKEN_MAX + 1];
    const prv_state s = sample();
    prv_state got;
    bool old_key = true;
    (void)state;
    const prv_str token = {text, prv_token_write(&fix.site, &s, text)};
    use_keys("token a " SF_KEY_A "\ntoken b " SF_KEY_B "\n");
    assert_int_equal(prv_token_read(&fix.site, token, &got, &old_key, NULL), PRV_TOKEN_OK);
    assert_false(old_key);
    use_keys("token b " SF_KEY_B "\ntoken a " SF_KEY_A "\n");
    assert_int_equal(prv_token_read(&fix.site, token, &got, &old_key, NULL), PRV_TOKEN_OK);
    assert_true(old_key);
    assert_int_equal(got.granted, s.granted);
    use_keys("token b " SF_KEY_B "\n");
    assert_int_equal(prv_token_read(&fix.site, token, &got, &old_key, NULL), PRV_TOKEN_BAD);
    use_keys("token a " SF_KEY_B "\n"); /* the kid with another secret */
    assert_int_equal(prv_token_read(&fix.site, token, &got, &old_key, NULL), PRV_TOKEN_BAD);
    use_keys("token b " SF_KEY_B "\nlink a " SF_KEY_A "\n"); /* the secret for another use */
    assert_int_equal(prv_token_read(&fix.site, token, &got, &old_key, NULL), PRV_TOKEN_BAD);
    fix.site.keys = NULL;
    assert_int_equal(prv_token_read(&fix.site, token, &got, &old_key, NULL), PRV_TOKEN_BAD);
    assert_int_equal(prv_token_write(&fix.site, &s, text), 0);
    sf_reset(&fix);
}

/* ------------------------------------------------------------------ limits */

static void test_longest(void **state)
{
    char text[PRV_TOKEN_MAX + 1], names[PRV_MAX_PURPOSES][8];
    prv_purpose purposes[PRV_MAX_PURPOSES];
    prv_policy policy = *fix.policy;
    prv_site site = fix.site;
    prv_state s = sample(), got;
    bool old_key;
    prv_keyring *keys = sf_keys("token 0123456789abcdef " SF_KEY_A "\n");
    memset(purposes, 0, sizeof purposes);
    (void)state;
    for (unsigned i = 0; i < PRV_MAX_PURPOSES; i++) {
        snprintf(names[i], sizeof names[i], "p%u", i);
        purposes[i].name = fix_str(names[i]);
        purposes[i].hash = (uint16_t)(1000 + i * 7);
    }
    policy.purposes = purposes;
    policy.n_purposes = PRV_MAX_PURPOSES;
    site.policy = &policy;
    site.keys = keys;
    s.seq = UINT32_MAX;
    s.granted = 0xaaaaaaaa;
    s.refused = 0x55555555;
    for (unsigned i = 0; i < PRV_MAX_OTHER; i++)
        s.other[i] = (prv_other){(uint16_t)(60000 - i), i >= 8};
    s.n_other = PRV_MAX_OTHER;
    const size_t n = prv_token_write(&site, &s, text);
    assert_true(n > 200 && n <= PRV_TOKEN_MAX);
    assert_int_equal(prv_token_read(&site, (prv_str){text, n}, &got, &old_key, NULL), PRV_TOKEN_OK);
    assert_int_equal(got.granted, s.granted);
    assert_int_equal(got.refused, s.refused);
    assert_int_equal(got.n_other, PRV_MAX_OTHER);
    assert_int_equal(got.seq, UINT32_MAX);

    /* Read under a policy that knows none of them: 32 grants and refusals do not fit, refusals
     * stay. */
    policy.n_purposes = 0;
    assert_int_equal(prv_token_read(&site, (prv_str){text, n}, &got, &old_key, NULL), PRV_TOKEN_OK);
    assert_int_equal(got.n_other, PRV_MAX_OTHER);
    for (unsigned i = 0; i < PRV_MAX_OTHER; i++)
        assert_false(got.other[i].granted);
    prv_keyring_free(keys);
}

static void test_choices_survive_a_smaller_policy(void **state)
{
    char text[PRV_TOKEN_MAX + 1];
    prv_policy smaller = *fix.policy;
    prv_site site = fix.site;
    prv_state s = sample(), got;
    bool old_key;
    (void)state;
    smaller.n_purposes = 8; /* up to preferences */
    site.policy = &smaller;
    size_t n = prv_token_write(&fix.site, &s, text);
    assert_int_equal(prv_token_read(&site, (prv_str){text, n}, &got, &old_key, NULL), PRV_TOKEN_OK);
    assert_int_equal(got.granted, sf_mask(fix.policy, PRV_STR("preferences")));
    assert_int_equal(got.n_other, 2);
    n = prv_token_write(&site, &got, text);
    assert_int_equal(prv_token_read(&fix.site, (prv_str){text, n}, &got, &old_key, NULL),
                     PRV_TOKEN_OK);
    assert_same(&got, &s);
}

static void test_refusal_wins(void **state)
{
    char text[PRV_TOKEN_MAX + 1];
    prv_state s = sample(), got;
    bool old_key;
    (void)state;
    s.refused |= s.granted;
    const size_t n = prv_token_write(&fix.site, &s, text);
    assert_int_equal(prv_token_read(&fix.site, (prv_str){text, n}, &got, &old_key, NULL),
                     PRV_TOKEN_OK);
    assert_int_equal(got.granted, 0);
    assert_int_equal(got.refused, s.refused);
}

/* Times out of range are cut, never wrapped; expiry is rounded down. */
static void test_times(void **state)
{
    const struct {
        int64_t at, expires, want_at, want_expires;
    } cases[] = {{-5, 100, 0, 100},
                 {INT64_C(1) << 41, INT64_C(1) << 42, (INT64_C(1) << 40) - 1,
                  (INT64_C(1) << 40) - 1 + 65535 * 3600},
                 {SF_NOW, SF_NOW - 10, SF_NOW, SF_NOW},
                 {SF_NOW, SF_NOW + 100 * 3600 + 3599, SF_NOW, SF_NOW + 100 * 3600}};
    char text[PRV_TOKEN_MAX + 1];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        prv_state s = sample(), got;
        bool old_key;
        s.at = cases[i].at;
        s.expires = cases[i].expires;
        const size_t n = prv_token_write(&fix.site, &s, text);
        assert_int_equal(prv_token_read(&fix.site, (prv_str){text, n}, &got, &old_key, NULL),
                         PRV_TOKEN_OK);
        assert_int_equal(got.at, cases[i].want_at);
        assert_int_equal(got.expires, cases[i].want_expires);
    }
}

static void test_no_id_rounds_to_the_hour(void **state)
{
    char text[PRV_TOKEN_MAX + 1];
    prv_state s = sample(), got;
    bool old_key;
    (void)state;
    s.id_len = 0;
    s.at = SF_NOW + 1234;
    s.expires = s.at + 395 * 86400;
    const size_t n = prv_token_write(&fix.site, &s, text);
    assert_int_equal(prv_token_read(&fix.site, (prv_str){text, n}, &got, &old_key, NULL),
                     PRV_TOKEN_OK);
    assert_int_equal(got.at, SF_NOW);
    assert_int_equal(got.expires, SF_NOW + 395 * 86400);
    assert_int_equal(got.id_len, 0);
}

/* ------------------------------------------------------------------ Set-Cookie */

static void expect_cookie(const prv_state *s, const char *attributes)
{
    char token[PRV_TOKEN_MAX + 1], want[1024];
    prv_token_write(&fix.site, s, token);
    snprintf(want, sizeof want, "%.*s=%s; %s", (int)fix.site.cookie.name.n, fix.site.cookie.name.p,
             token, attributes);
    fix_assert_str(prv_token_cookie(&fix.site, s, &fix.env), want, "Set-Cookie");
}

static void test_cookie(void **state)
{
    prv_state s = sample();
    (void)state;
    /* a grant lives lifetimes.choice, a refusal lifetimes.refusal: the longer */
    expect_cookie(&s, "Path=/; Max-Age=34128000; SameSite=Lax; Secure; HttpOnly");
    s.refused = 0;
    s.age.ok = 0;
    expect_cookie(&s, "Path=/; Max-Age=15724800; SameSite=Lax; Secure; HttpOnly");
    s.at -= 86400;
    expect_cookie(&s, "Path=/; Max-Age=15638400; SameSite=Lax; Secure; HttpOnly");
    s.at -= 400 * 86400;
    expect_cookie(&s, "Path=/; Max-Age=0; SameSite=Lax; Secure; HttpOnly");

    s = sample();
    fix.site.cookie = (prv_cookie_conf){.name = PRV_STR("consent"),
                                        .domain = PRV_STR("example.com"),
                                        .path = PRV_STR("/app"),
                                        .samesite = PRV_SAMESITE_NONE,
                                        .secure = true};
    expect_cookie(
        &s, "Path=/app; Domain=example.com; Max-Age=34128000; SameSite=None; Secure; HttpOnly");
    fix.site.cookie.secure = false;
    fix.site.cookie.samesite = PRV_SAMESITE_STRICT;
    expect_cookie(&s, "Path=/app; Domain=example.com; Max-Age=34128000; SameSite=Strict; HttpOnly");
    fix.fail_at = 1;
    assert_null(prv_token_cookie(&fix.site, &s, &fix.env).p);
    sf_reset(&fix);
    fix.site.keys = NULL;
    assert_null(prv_token_cookie(&fix.site, &s, &fix.env).p);
    sf_reset(&fix);
}

static void test_cookie_is_capped_at_400_days(void **state)
{
    prv_policy policy = *fix.policy;
    prv_state s = sample();
    (void)state;
    policy.lifetimes.refusal = policy.lifetimes.maximum = 1000 * 86400;
    fix.site.policy = &policy;
    expect_cookie(&s, "Path=/; Max-Age=34560000; SameSite=Lax; Secure; HttpOnly");
    sf_reset(&fix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_insertions),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_longest),
        cmocka_unit_test(test_choices_survive_a_smaller_policy),
        cmocka_unit_test(test_refusal_wins),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_no_id_rounds_to_the_hour),
        cmocka_unit_test(test_cookie),
        cmocka_unit_test(test_cookie_is_capped_at_400_days),
    };
    sf_open(&fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&fix);
    return failed;
}
