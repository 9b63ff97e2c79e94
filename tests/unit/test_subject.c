/* Accounts: who is known, what the store says of them, and what that means beside the browser's own
 * state. */
#include "visit_fixture.h"

#include "rights/account.h"

#define ALICE PRV_STR("alice")
#define BOB PRV_STR("bob")

static void subject_of(prv_str name, uint8_t out[PRV_SUBJECT_LEN])
{
    assert_true(prv_subject_hash(visit_fix.policy, visit_fix.keys, name, out));
}

static void record_id(prv_str name, char out[PRV_ID_LEN])
{
    uint8_t subject[PRV_SUBJECT_LEN];
    subject_of(name, subject);
    assert_true(prv_subject_id(visit_fix.policy, visit_fix.keys, subject, out));
}

/* A cookie of the browser's, bound to `name` (empty: not bound). */
static prv_str cookie_of(const view *v, prv_str name, bool session, const char *over,
                         const char *owed, bool owned)
{
    prv_state s = visit_state(v);
    char *text = visit_fix.env.alloc(visit_fix.env.ctx, 512), token[PRV_TOKEN_MAX + 1];
    if (name.n > 0) {
        s.has_subject = true;
        s.session = session;
        s.owned = owned;
        s.over = sf_mask(visit_fix.policy, fix_str(over));
        s.owed = sf_mask(visit_fix.policy, fix_str(owed));
        subject_of(name, s.subject);
    }
    assert_true(prv_token_write(&visit_fix.site, &s, token) > 0);
    return (prv_str){text, (size_t)snprintf(text, 512, "__Host-privacy=%s", token)};
}

/* The account's record as the store holds it. */
static prv_reply record_of(prv_str name, const char *id, const view *v, bool gpc, prv_str *pairs)
{
    prv_op op;
    prv_state s = visit_state(v);
    const prv_record_meta meta = {.method = PRV_STR("form"), .change = PRV_STR("c")};
    s.of_account = true;
    s.gpc = gpc;
    s.id_len = PRV_ID_LEN;
    memcpy(s.id, id, PRV_ID_LEN);
    subject_of(name, s.subject);
    assert_true(prv_record_change(visit_fix.policy, visit_fix.keys, visit_fix.site.prefix, &s, 0,
                                  &meta, &visit_fix.env, &op));
    const size_t n = 2 * (size_t)sf_number(op.args[3]);
    memcpy(pairs, &op.args[4], n * sizeof *pairs);
    return (prv_reply){.status = PRV_REPLY_RECORD, .n = n, .pairs = pairs};
}

static bool key_is(const prv_op *op, const char *form, const char *id)
{
    char want[128];
    const int n = snprintf(want, sizeof want, form, PRV_ID_LEN, id);
    return op->key.n == (size_t)n && memcmp(op->key.p, want, op->key.n) == 0;
}

/* Answers both rounds: the pointer leads to the record `v` under its own id; NULL: no pointer. */
static void known(prv_request *rq, prv_str name, const view *v, bool gpc)
{
    prv_str pairs[PRV_OP_ARGS_MAX];
    char id[PRV_ID_LEN], hash[PRV_ID_LEN];
    uint8_t subject[PRV_SUBJECT_LEN];
    prv_op op;
    subject_of(name, subject);
    prv_id_unpack(subject, hash);
    record_id(name, id);
    assert_int_equal(prv_subject_begin(rq, name, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(op.kind, PRV_OP_SUBJECT);
    assert_true(key_is(&op, "privacy:subject:{%.*s}", hash));
    assert_true(rq->pending);
    if (v == NULL) {
        assert_int_equal(prv_subject_feed(rq, &visit_absent, &op), PRV_STEP_READY);
        return;
    }
    const prv_str pointer[] = {PRV_STR("id"), {id, PRV_ID_LEN}};
    const prv_reply points = {.status = PRV_REPLY_RECORD, .n = 2, .pairs = pointer};
    assert_int_equal(prv_subject_feed(rq, &points, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(op.kind, PRV_OP_READ);
    assert_true(key_is(&op, "privacy:consent:{%.*s}", id));
    const prv_reply record = record_of(name, id, v, gpc, pairs);
    assert_int_equal(prv_subject_feed(rq, &record, &op), PRV_STEP_READY);
    assert_false(rq->pending);
}

static prv_request browser(const view *v)
{
    prv_str pairs[PRV_OP_ARGS_MAX];
    prv_request rq = visit_begun(visit_cookie(v));
    if (rq.pending) {
        const prv_reply reply = visit_reply(v, pairs);
        prv_request_feed(&rq, &reply);
    }
    return rq;
}

/* ------------------------------------------------------------------ whose record */

static void test_the_hash(void **state)
{
    uint8_t a[PRV_SUBJECT_LEN], b[PRV_SUBJECT_LEN];
    char id[PRV_ID_LEN], again[PRV_ID_LEN];
    (void)state;
    subject_of(ALICE, a);
    subject_of(BOB, b);
    assert_false(prv_subject_same(a, b));
    record_id(ALICE, id);
    record_id(ALICE, again);
    assert_memory_equal(id, again, PRV_ID_LEN);
    assert_true(prv_id_valid((prv_str){id, PRV_ID_LEN}));
    record_id(BOB, again);
    assert_memory_not_equal(id, again, PRV_ID_LEN);
    prv_keyring *none = sf_keys("token a " SF_KEY_A "\n");
    assert_false(prv_subject_hash(visit_fix.policy, none, ALICE, a));
    prv_keyring_free(none);
}

static void test_its_record_decides(void **state)
{
    prv_request rq =
        browser(&(view){.id = SF_ID, .seq = 4, .granted = "preferences", .stored = true});
    (void)state;
    known(&rq, ALICE, &(view){.seq = 2, .granted = "statistics"}, false);
    visit_expect(&rq, "statistics", "");
    assert_true(rq.state.account);
    const prv_state own = prv_request_own(&rq);
    assert_string_equal(sf_names(visit_fix.policy, own.granted), "preferences");
    assert_memory_equal(own.id, SF_ID, PRV_ID_LEN);
}

/* Shared device: A logged out, B logs in, nobody is logged in. */
static void test_nothing_is_merged(void **state)
{
    const view here = {.id = SF_ID, .seq = 4, .granted = "preferences", .stored = true};
    (void)state;
    prv_request rq = browser(&here);
    known(&rq, BOB, NULL, false);
    visit_expect(&rq, "", "");
    assert_int_equal(rq.state.id_len, 0);
    rq = browser(&here);
    visit_expect(&rq, "preferences", "");
    assert_false(rq.state.account);
    known(&rq, ALICE, &(view){.seq = 2, .granted = "statistics"}, false);
    known(&rq, BOB, &(view){.seq = 2, .granted = "research"}, false); /* another location */
    visit_expect(&rq, "research", "");
}

static void test_what_lowers_counts(void **state)
{
    (void)state;
    prv_request rq = browser(&(view){.id = SF_ID,
                                     .seq = 4,
                                     .granted = "preferences",
                                     .refused = "statistics",
                                     .restricted = true,
                                     .stored = true,
                                     .age = {.under = 13}});
    known(&rq, ALICE, &(view){.seq = 2, .granted = "statistics research", .age = {.ok = 18}},
          false);
    visit_expect(&rq, "research", "statistics");
    assert_true(rq.state.restricted);
    assert_int_equal(rq.state.age.under, 13);
    assert_int_equal(rq.state.age.ok, 0);
    /* A browser's answer about its age is another person's, perhaps. */
    rq = browser(&(view){.id = SF_ID, .seq = 4, .stored = true, .age = {.ok = 18, .parental = 13}});
    known(&rq, ALICE, &(view){.seq = 2}, false);
    assert_int_equal(rq.state.age.ok, 0);
    assert_int_equal(rq.state.age.parental, 0);
}

static void test_a_later_grant_over_a_refusal(void **state)
{
    const view refuses = {.seq = 4, .refused = "statistics marketing"};
    (void)state;
    prv_request rq = visit_begun(cookie_of(&refuses, ALICE, false, "statistics", "", false));
    visit_expect(&rq, "", "statistics marketing"); /* of the browser it is refused */
    known(&rq, ALICE, &(view){.seq = 2, .granted = "statistics marketing"}, false);
    visit_expect(&rq, "statistics", "marketing");
    rq = visit_begun(cookie_of(&refuses, ALICE, false, "statistics", "", false));
    known(&rq, BOB, &(view){.seq = 2, .granted = "statistics marketing"}, false);
    visit_expect(&rq, "", "statistics marketing");
}

/* ------------------------------------------------------------------ pointers and records that are
 * not what they seem */

static void feed_pointer(prv_request *rq, prv_str name, prv_str id, prv_step want, prv_op *op)
{
    const prv_str pointer[] = {PRV_STR("id"), id};
    const prv_reply points = {.status = PRV_REPLY_RECORD, .n = 2, .pairs = pointer};
    assert_int_equal(prv_subject_begin(rq, name, op), PRV_STEP_NEED_STORE);
    assert_int_equal(prv_subject_feed(rq, &points, op), want);
}

static void test_bad_pointers(void **state)
{
    const prv_str bad[] = {PRV_STR(""), PRV_STR("x"), PRV_STR("AAAQEAYEAUDAOCAJBIFQYDIOB4"),
                           PRV_STR("aaaqeayeaudaocajbifqydiob5"),
                           PRV_STR("aaaqeayeaudaocajbifqydiob4}")};
    prv_op op;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        prv_request rq = browser(&(view){.seq = 1, .refused = "marketing"});
        feed_pointer(&rq, ALICE, bad[i], PRV_STEP_READY, &op);
        visit_expect(&rq, "", "marketing");
        assert_true(rq.state.account);
        assert_false(rq.account->pointed);
    }
    prv_request rq = browser(&(view){.seq = 1});
    assert_int_equal(prv_subject_begin(&rq, ALICE, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(prv_subject_feed(&rq, &visit_unreadable, &op), PRV_STEP_READY);
    visit_expect(&rq, "", "");
}

/* Whoever can write to Redis may point one account at another's record, and rename that. */
static void test_another_accounts_record(void **state)
{
    prv_str pairs[PRV_OP_ARGS_MAX];
    char theirs[PRV_ID_LEN], hash[PRV_ID_LEN];
    uint8_t subject[PRV_SUBJECT_LEN];
    prv_op op;
    (void)state;
    record_id(BOB, theirs);
    prv_request rq = browser(&(view){.seq = 1});
    feed_pointer(&rq, ALICE, (prv_str){theirs, PRV_ID_LEN}, PRV_STEP_NEED_STORE, &op);
    prv_reply record =
        record_of(BOB, theirs, &(view){.seq = 2, .granted = "statistics"}, false, pairs);
    assert_int_equal(prv_subject_feed(&rq, &record, &op), PRV_STEP_READY);
    visit_expect(&rq, "", "");
    assert_int_equal(rq.state.id_len, 0);

    subject_of(ALICE, subject);
    prv_id_unpack(subject, hash);
    rq = browser(&(view){.seq = 1});
    feed_pointer(&rq, ALICE, (prv_str){theirs, PRV_ID_LEN}, PRV_STEP_NEED_STORE, &op);
    record = record_of(
        BOB, theirs,
        &(view){.seq = 2, .granted = "statistics", .refused = "marketing", .age = {.ok = 18}},
        false, pairs);
    for (size_t i = 0; i < record.n; i += 2) {
        if (pairs[i].n == 7 && memcmp(pairs[i].p, "subject", 7) == 0)
            pairs[i + 1] = (prv_str){hash, PRV_ID_LEN};
    }
    assert_int_equal(prv_subject_feed(&rq, &record, &op), PRV_STEP_READY);
    visit_expect(&rq, "", "marketing");
    assert_int_equal(rq.state.age.ok, 0);
}

/* A cookie of ours whose id is an account's record: only what lowers. */
static void test_a_cookie_names_no_account(void **state)
{
    prv_str pairs[PRV_OP_ARGS_MAX];
    (void)state;
    prv_request rq = visit_begun(
        visit_cookie(&(view){.id = SF_ID, .seq = 2, .granted = "research", .stored = true}));
    const prv_reply record =
        record_of(ALICE, SF_ID, &(view){.seq = 2, .granted = "statistics", .refused = "marketing"},
                  false, pairs);
    prv_request_feed(&rq, &record);
    visit_expect(&rq, "", "marketing");
}

/* ------------------------------------------------------------------ the store is away */

static void test_store_away(void **state)
{
    prv_op op;
    (void)state;
    prv_request rq = browser(&(view){.seq = 1, .granted = "preferences"});
    assert_int_equal(prv_subject_begin(&rq, ALICE, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(prv_subject_feed(&rq, &visit_unavailable, &op), PRV_STEP_READY);
    assert_true(rq.degraded && rq.state.account);
    visit_expect(&rq, "", ""); /* never seen here: nothing */
    assert_int_equal(rq.source, PRV_SOURCE_DEGRADED);

    rq = browser(&(view){.seq = 1});
    known(&rq, ALICE, &(view){.seq = 2, .granted = "statistics", .refused = "marketing"}, true);
    rq = browser(&(view){.seq = 1, .granted = "preferences"});
    assert_int_equal(prv_subject_begin(&rq, ALICE, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(prv_subject_feed(&rq, &visit_unavailable, &op), PRV_STEP_READY);
    visit_expect(&rq, "statistics", "marketing"); /* as last seen on this node */
    assert_true(rq.account->state.gpc);

    /* The store said that it is gone: then it is, also when the store goes away after that. */
    rq = browser(&(view){.seq = 1});
    known(&rq, ALICE, NULL, false);
    rq = browser(&(view){.seq = 1});
    assert_int_equal(prv_subject_begin(&rq, ALICE, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(prv_subject_feed(&rq, &visit_unavailable, &op), PRV_STEP_READY);
    visit_expect(&rq, "", "");
}

static void test_one_deadline(void **state)
{
    char id[PRV_ID_LEN];
    prv_op op;
    (void)state;
    record_id(ALICE, id);
    const prv_str pointer[] = {PRV_STR("id"), {id, PRV_ID_LEN}};
    const prv_reply points = {.status = PRV_REPLY_RECORD, .n = 2, .pairs = pointer};
    visit_fix.site.timeout_ms = 50;
    prv_request rq = visit_begun(visit_cookie(&(view){.id = SF_ID, .seq = 2, .stored = true}));
    visit_fix.env.mono_ms += 20;
    prv_request_feed(&rq, &visit_absent);
    visit_fix.env.mono_ms += 5000; /* authentication takes its time, and none of ours */
    assert_int_equal(prv_subject_begin(&rq, ALICE, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(op.wait_ms, 30);
    visit_fix.env.mono_ms += 29;
    assert_int_equal(prv_subject_feed(&rq, &points, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(op.wait_ms, 1);
    rq.account->asking = PRV_OP_SUBJECT;
    visit_fix.env.mono_ms += 1;
    assert_int_equal(prv_subject_feed(&rq, &points, &op), PRV_STEP_READY);
    assert_true(rq.degraded);
}

/* ------------------------------------------------------------------ names */

static void test_names(void **state)
{
    char longest[PRV_SUBJECT_MAX + 1];
    prv_op op;
    (void)state;
    memset(longest, 'a', sizeof longest);
    prv_request rq = browser(&(view){.seq = 1});
    assert_int_equal(prv_subject_begin(&rq, (prv_str){longest, PRV_SUBJECT_MAX}, &op),
                     PRV_STEP_NEED_STORE);
    const prv_str bad[] = {
        {longest, sizeof longest}, PRV_STR("a\nb"), {"a\0b", 3}, PRV_STR("\x7f")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        visit_fix.logged = 0;
        rq = browser(&(view){.seq = 1});
        assert_int_equal(prv_subject_begin(&rq, bad[i], &op), PRV_STEP_READY);
        assert_false(rq.known || rq.state.account);
        assert_int_equal(visit_fix.logged, 1);
        assert_null(strstr(visit_fix.log, "aaa"));
    }
}

static void test_claims(void **state)
{
    static const char *const claimed[] = {"$http_x_user",    "${http_x_user}", "$arg_user",
                                          "u-$cookie_user",  "%{HTTP:X-User}", "%{http:X-User}",
                                          "%{QUERY_STRING}", "req('X-User')",  "$args",
                                          "%{req:X-User}",   "%{HTTP_COOKIE}"};
    static const char *const not [] = {"$remote_user",
                                       "%{REMOTE_USER}",
                                       "$ssl_client_s_dn",
                                       "$user",
                                       "%{reqenv:USER}",
                                       "http",
                                       ""};
    (void)state;
    for (size_t i = 0; i < sizeof claimed / sizeof *claimed; i++)
        assert_true(prv_subject_claimed(fix_str(claimed[i])));
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++)
        assert_false(prv_subject_claimed(fix_str(not [i])));
}

/* ------------------------------------------------------------------ the session */

static void test_session(void **state)
{
    prv_op op;
    (void)state;
    prv_request rq = visit_begun(cookie_of(&(view){.seq = 1}, ALICE, true, "", "", false));
    assert_true(prv_subject_known(&rq));
    assert_int_equal(prv_subject_begin(&rq, PRV_NONE, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(prv_subject_feed(&rq, &visit_absent, &op), PRV_STEP_READY);
    assert_true(rq.state.account);
    /* The same one authenticates: nothing to ask. Another one: who authenticates now wins. */
    assert_int_equal(prv_subject_begin(&rq, ALICE, &op), PRV_STEP_READY);
    known(&rq, BOB, &(view){.seq = 3, .granted = "research"}, false);
    visit_expect(&rq, "research", "");
    /* Bound, but nobody is logged in. */
    rq = visit_begun(cookie_of(&(view){.seq = 1, .refused = "statistics"}, ALICE, false,
                               "statistics", "", false));
    assert_false(prv_subject_known(&rq));
    assert_int_equal(prv_subject_begin(&rq, PRV_NONE, &op), PRV_STEP_READY);
    assert_false(rq.state.account);
}

static prv_state told(prv_request *rq, const prv_str *values, size_t n, bool sets)
{
    prv_state out = {0};
    prv_str cookie;
    bool old;
    prv_request_report_subject(rq, values, n, &cookie);
    assert_int_equal(cookie.n > 0, sets);
    if (cookie.n > 0) {
        const char *end = memchr(cookie.p, ';', cookie.n);
        const prv_str text = {cookie.p + 15, (size_t)(end - cookie.p) - 15};
        assert_int_equal(prv_token_read(&visit_fix.site, text, &out, &old, NULL), PRV_TOKEN_OK);
    }
    return out;
}

static void test_login_and_logout(void **state)
{
    const prv_str alice = ALICE, bob = BOB, none = PRV_STR("-");
    const prv_str both[] = {ALICE, BOB}, twice[] = {ALICE, ALICE}, part[] = {ALICE, PRV_STR("-")};
    uint8_t subject[PRV_SUBJECT_LEN];
    (void)state;
    subject_of(ALICE, subject);
    prv_request rq = visit_request(NULL, 0);
    visit_begin(&rq);
    told(&rq, &none, 1, false); /* no cookie for who is nobody */
    prv_state s = told(&rq, &alice, 1, true);
    assert_true(s.session && s.has_subject && s.id_len == 0 && s.version == 0);
    assert_memory_equal(s.subject, subject, PRV_SUBJECT_LEN);
    assert_false(rq.state.account); /* from the next request on */
    told(&rq, twice, 2, false);
    s = told(&rq, &bob, 1, true);
    assert_memory_not_equal(s.subject, subject, PRV_SUBJECT_LEN);
    s = told(&rq, both, 2, true);
    assert_false(s.session);
    s = told(&rq, &alice, 1, true);
    s = told(&rq, part, 2, true);
    assert_false(s.session);

    /* The browser keeps its own. */
    rq = browser(&(view){.id = SF_ID, .seq = 4, .granted = "preferences", .stored = true});
    known(&rq, BOB, &(view){.seq = 3, .granted = "research"}, false);
    s = told(&rq, &alice, 1, true);
    assert_string_equal(sf_names(visit_fix.policy, s.granted), "preferences");
    assert_memory_equal(s.id, SF_ID, PRV_ID_LEN);
    assert_int_equal(s.seq, 4);
}

/* ------------------------------------------------------------------ without a store */

static void test_without_a_store(void **state)
{
    const view v = {.seq = 4, .granted = "preferences", .refused = "marketing"};
    prv_op op;
    (void)state;
    visit_fix.site.store = false;
    /* The browser's choices grant an account nothing. */
    prv_request rq = visit_begun(visit_cookie(&v));
    assert_int_equal(prv_subject_begin(&rq, ALICE, &op), PRV_STEP_READY);
    visit_expect(&rq, "", "marketing");
    assert_true(rq.state.account);
    /* An account's grant the browser nothing, nor another account. */
    rq = visit_begun(cookie_of(&v, ALICE, false, "", "", true));
    visit_expect(&rq, "", "marketing");
    assert_int_equal(prv_subject_begin(&rq, BOB, &op), PRV_STEP_READY);
    visit_expect(&rq, "", "marketing");
    assert_int_equal(prv_subject_begin(&rq, ALICE, &op), PRV_STEP_READY);
    visit_expect(&rq, "preferences", "marketing");
    const prv_state own = prv_request_own(&rq);
    assert_string_equal(sf_names(visit_fix.policy, own.granted), "preferences");
    /* With a store they grant nobody anything. */
    visit_fix.site.store = true;
    rq = visit_begun(cookie_of(&v, ALICE, false, "", "", true));
    visit_expect(&rq, "", "marketing");
    known(&rq, ALICE, NULL, false);
    visit_expect(&rq, "", "marketing");
}

static int setup(void **state)
{
    visit_setup_store(state);
    prv_keyring_free(visit_fix.keys);
    visit_fix.keys = sf_keys("token a " SF_KEY_A "\nsubject s " SF_KEY_B "\n");
    visit_fix.site.keys = visit_fix.keys;
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_the_hash),
        TEST(test_its_record_decides),
        TEST(test_nothing_is_merged),
        TEST(test_what_lowers_counts),
        TEST(test_a_later_grant_over_a_refusal),
        TEST(test_bad_pointers),
        TEST(test_another_accounts_record),
        TEST(test_a_cookie_names_no_account),
        TEST(test_store_away),
        TEST(test_one_deadline),
        TEST(test_names),
        TEST(test_claims),
        TEST(test_session),
        TEST(test_login_and_logout),
        TEST(test_without_a_store),
    };
    sf_open(&visit_fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&visit_fix);
    return failed;
}
