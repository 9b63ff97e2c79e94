/* A token and what the store says to it: who wins, what is repaired, and what holds without the
 * store. */
#include "visit_fixture.h"

/* ------------------------------------------------------------------ the store */

/* `seq:seen`: over this record, and only while what lowers in it is as it was read. */
static void assert_expected_seq(const prv_op *op, const char *seq)
{
    const size_t n = strlen(seq);
    assert_int_equal(op->args[1].n, n + 1 + PRV_SEEN_LEN);
    fix_assert_str((prv_str){op->args[1].p, n}, seq, "expected seq");
    assert_int_equal(op->args[1].p[n], ':');
}

static void test_begin_asks_for_ids_only(void **state)
{
    prv_op op;
    (void)state;
    prv_str cookie = visit_cookie(&(view){.seq = 1, .refused = "marketing"});
    prv_request rq = visit_request(&cookie, 1);
    assert_int_equal(prv_request_begin(&rq, &op), PRV_STEP_READY);
    cookie = visit_cookie(&(view){.id = SF_ID, .seq = 1, .granted = "preferences", .stored = true});
    rq = visit_request(&cookie, 1);
    assert_int_equal(prv_request_begin(&rq, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(op.n_args, 0);
    fix_assert_str(op.key, "privacy:consent:{" SF_ID "}", "key");
    assert_true(rq.pending);
    visit_expect(&rq, "preferences", "");
    visit_fix.site.prefix =
        PRV_STR("0123456789012345678901234567890123456789012345678901234567890123");
    rq = visit_request(&cookie, 1);
    assert_int_equal(prv_request_begin(&rq, &op), PRV_STEP_NEED_STORE);
    assert_int_equal(op.key.n, 64 + 36);
}

static void test_record_wins(void **state)
{
    prv_request rq =
        visit_met(&(view){.id = SF_ID, .seq = 1, .granted = "statistics", .stored = true},
                  &(view){.id = SF_ID,
                          .seq = 2,
                          .granted = "preferences",
                          .refused = "marketing",
                          .stored = true});
    (void)state;
    visit_expect(&rq, "preferences", "marketing");
    assert_int_equal(rq.state.seq, 2);
    assert_true(rq.renew);
    assert_int_equal(rq.repair, 0);
}

static void test_a_later_grant_replaces_a_refusal(void **state)
{
    prv_request rq = visit_met(
        &(view){.id = SF_ID, .seq = 1, .refused = "preferences marketing", .stored = true},
        &(view){.id = SF_ID, .seq = 2, .granted = "preferences", .stored = true});
    (void)state;
    visit_expect(&rq, "preferences", "marketing"); /* marketing: nobody says otherwise */
    rq = visit_met(
        &(view){.id = SF_ID, .seq = 3, .granted = "preferences", .stored = true},
        &(view){.id = SF_ID, .seq = 2, .refused = "preferences marketing", .stored = true});
    visit_expect(&rq, "preferences", "marketing");
}

static void test_tie_counts_all_that_lowers(void **state)
{
    prv_request rq = visit_met(&(view){.id = SF_ID,
                                       .seq = 2,
                                       .granted = "preferences",
                                       .refused = "statistics",
                                       .stored = true,
                                       .restricted = true,
                                       .age = {.under = 16}},
                               &(view){.id = SF_ID,
                                       .seq = 2,
                                       .granted = "preferences statistics",
                                       .refused = "marketing",
                                       .stored = true,
                                       .age = {.ok = 16}});
    (void)state;
    visit_expect(&rq, "preferences", "statistics marketing");
    assert_true(rq.state.restricted);
    assert_int_equal(rq.state.age.under, 16);
    assert_int_equal(rq.state.age.ok, 0);
    assert_int_equal(rq.repair, PRV_REPAIR_WRITE | PRV_REPAIR_AGE | PRV_REPAIR_RESTRICTED);
}

static void test_tie_as_always(void **state)
{
    const view same = {.id = SF_ID,
                       .seq = 2,
                       .granted = "preferences",
                       .refused = "marketing",
                       .stored = true,
                       .age = {.ok = 13, .at = SF_NOW - 100}};
    prv_request rq = visit_met(&same, &same);
    (void)state;
    visit_expect(&rq, "preferences", "marketing");
    assert_false(rq.renew); /* the hour of the answer in the token, its second in the record */
    assert_int_equal(rq.repair, 0);
    assert_null(prv_request_renewal(&rq).p);
}

static void test_token_wins_and_repairs(void **state)
{
    prv_op op;
    prv_request rq = visit_met(&(view){.id = SF_ID,
                                       .seq = 5,
                                       .granted = "preferences",
                                       .refused = "statistics",
                                       .stored = true},
                               &(view){.id = SF_ID,
                                       .seq = 3,
                                       .granted = "preferences statistics",
                                       .refused = "marketing",
                                       .stored = true});
    (void)state;
    visit_expect(&rq, "preferences", "statistics marketing");
    assert_int_equal(rq.state.seq, 5);
    assert_true(prv_request_repair(&rq, &op));
    assert_int_equal(op.kind, PRV_OP_CHANGE);
    fix_assert_str(op.key, "privacy:consent:{" SF_ID "}", "key");
    assert_expected_seq(&op, "3");
    assert_false(prv_request_repair(&rq, &op)); /* once */

    /* Written so, the next request is a tie that agrees. */
    const size_t n = 2 * (size_t)sf_number(op.args[3]);
    const prv_reply reply = {.status = PRV_REPLY_RECORD, .n = n, .pairs = &op.args[4]};
    prv_request next = visit_begun(visit_cookie(&(view){.id = SF_ID,
                                                        .seq = 5,
                                                        .granted = "preferences",
                                                        .refused = "statistics marketing",
                                                        .stored = true}));
    prv_request_feed(&next, &reply);
    visit_expect(&next, "preferences", "statistics marketing");
    assert_int_equal(next.repair, 0);
    assert_false(next.renew);
}

/* A refusal made while the store was away: the cookie says that Redis lacks it, and Redis holds an
 * older record. */
static void test_a_record_seen_is_stored(void **state)
{
    prv_request rq = visit_met(&(view){.id = SF_ID, .seq = 5, .refused = "statistics"},
                               &(view){.id = SF_ID, .seq = 3, .stored = true});
    (void)state;
    assert_true(rq.state.stored);
    assert_int_equal(rq.state.seq, 5);
    assert_true(rq.renew);
}

/* Restrictions and durable ages are said in the store; a token that is later because of a refusal
 * does not lift them. */
static void test_a_later_token_lifts_no_restriction_and_no_age(void **state)
{
    prv_request rq = visit_met(&(view){.id = SF_ID,
                                       .seq = 5,
                                       .granted = "preferences",
                                       .refused = "statistics",
                                       .stored = true,
                                       .age = {.ok = 16, .parental = 13}},
                               &(view){.id = SF_ID,
                                       .seq = 3,
                                       .granted = "preferences",
                                       .stored = true,
                                       .restricted = true,
                                       .age = {.under = 13}});
    (void)state;
    assert_true(rq.state.restricted);
    assert_int_equal(rq.state.age.under, 13);
    assert_int_equal(rq.state.age.ok, 0);
    assert_int_equal(rq.state.age.parental, 0);
    /* But a later answer replaces an answer. */
    rq = visit_met(&(view){.id = SF_ID,
                           .seq = 5,
                           .granted = "preferences",
                           .refused = "statistics",
                           .stored = true,
                           .age = {.ok = 16, .at = SF_NOW}},
                   &(view){.id = SF_ID,
                           .seq = 3,
                           .granted = "preferences",
                           .stored = true,
                           .age = {.under = 16, .at = SF_NOW - DAY}});
    assert_int_equal(rq.state.age.ok, 16);
    assert_int_equal(rq.state.age.under, 0);
}

static void test_a_later_record_lifts(void **state)
{
    prv_request rq = visit_met(
        &(view){.id = SF_ID, .seq = 2, .stored = true, .restricted = true, .age = {.under = 13}},
        &(view){.id = SF_ID, .seq = 3, .stored = true, .age = {.ok = 16}});
    (void)state;
    assert_false(rq.state.restricted);
    assert_int_equal(rq.state.age.under, 0);
    assert_int_equal(rq.state.age.ok, 16);
    /* A later record that says nothing of age does not. */
    rq = visit_met(&(view){.id = SF_ID, .seq = 2, .stored = true, .age = {.under = 13}},
                   &(view){.id = SF_ID, .seq = 3, .stored = true});
    assert_int_equal(rq.state.age.under, 13);
}

/* A refusal made while the store was away: what a node saw long before says nothing against the cookie's grants. */
static void test_an_older_entry_takes_nothing_from_a_cookie_made_away(void **state)
{
    prv_op op;
    (void)state;
    visit_met(&(view){.id = SF_ID, .seq = 2, .refused = "preferences", .stored = true},
              &(view){.id = SF_ID, .seq = 2, .refused = "preferences", .stored = true});
    prv_state token = visit_state(
        &(view){.id = SF_ID, .seq = 70, .granted = "preferences", .refused = "marketing"});
    token.away = true;
    char text[PRV_TOKEN_MAX + 1];
    prv_token_write(&visit_fix.site, &token, text);
    const prv_str value = {text, strlen(text)};
    const prv_str cookie = visit_format("%.*s=%.*s", visit_fix.site.cookie.name, value);
    prv_request rq = visit_request(&cookie, 1);
    assert_int_equal(prv_request_begin(&rq, &op), PRV_STEP_NEED_STORE);
    prv_request_feed(&rq, &visit_unavailable);
    visit_expect(&rq, "preferences", "marketing");
}

static void test_absent_cancels_grants(void **state)
{
    prv_op op;
    prv_request rq = visit_met(&(view){.id = SF_ID,
                                       .seq = 2,
                                       .granted = "preferences",
                                       .refused = "marketing",
                                       .stored = true,
                                       .restricted = true,
                                       .age = {.under = 16}},
                               NULL);
    (void)state;
    visit_expect(&rq, "", "marketing");
    assert_true(rq.state.restricted);
    assert_int_equal(rq.state.age.under, 16);
    assert_false(prv_request_repair(&rq, &op)); /* what an operator deleted stays deleted */
    assert_true(rq.renew);
}

static void test_absent_adopts_a_token_from_before(void **state)
{
    prv_op op;
    prv_request rq = visit_met(&(view){.id = SF_ID,
                                       .seq = 2,
                                       .granted = "preferences",
                                       .refused = "marketing",
                                       .stored = false,
                                       .age = {.under = 16}},
                               NULL);
    (void)state;
    visit_expect(&rq, "preferences", "marketing");
    assert_true(prv_request_repair(&rq, &op));
    assert_int_equal(op.kind, PRV_OP_CHANGE);
    assert_expected_seq(&op, "0");
    const size_t n = 2 * (size_t)sf_number(op.args[3]);
    const prv_reply reply = {.status = PRV_REPLY_RECORD, .n = n, .pairs = &op.args[4]};
    prv_request next = visit_begun(visit_cookie(&(view){.id = SF_ID,
                                                        .seq = 2,
                                                        .granted = "preferences",
                                                        .refused = "marketing",
                                                        .stored = false,
                                                        .age = {.under = 16}}));
    prv_request_feed(&next, &reply);
    visit_expect(&next, "preferences", "marketing");
    assert_int_equal(next.state.age.under, 16);
    assert_true(next.state.stored);
    assert_true(next.renew); /* the flag */
    assert_int_equal(next.repair, 0);
}

static void test_unreadable(void **state)
{
    const view token = {
        .id = SF_ID, .seq = 2, .granted = "preferences", .refused = "marketing", .stored = true};
    prv_op op;
    (void)state;
    prv_request rq = visit_begun(visit_cookie(&token));
    prv_request_feed(&rq, &visit_unreadable); /* another type */
    visit_expect(&rq, "", "marketing");
    assert_false(prv_request_repair(&rq, &op));
    assert_int_equal(visit_fix.logged, 1);

    const prv_str by_hand[] = {PRV_STR("age"),        PRV_STR("under:13"),   PRV_STR("refused"),
                               PRV_STR("statistics"), PRV_STR("restricted"), PRV_STR("1")};
    const prv_reply reply = {.status = PRV_REPLY_RECORD, .n = 6, .pairs = by_hand};
    rq = visit_begun(visit_cookie(&token));
    prv_request_feed(&rq, &reply);
    visit_expect(&rq, "", "statistics marketing");
    assert_true(rq.state.restricted);
    assert_int_equal(rq.state.age.under, 13);
    assert_true(prv_request_repair(&rq, &op)); /* made by hand: no TTL */
    assert_int_equal(op.kind, PRV_OP_EXPIRE);
    fix_assert_str(op.args[0], "34128000", "lifetimes.maximum");
    assert_int_equal(op.n_args, 1);
}

static void test_unavailable(void **state)
{
    prv_op op;
    (void)state;
    prv_request rq = visit_begun(visit_cookie(&(view){
        .id = SF_ID, .seq = 2, .granted = "preferences", .refused = "marketing", .stored = true}));
    prv_request_feed(&rq, &visit_unavailable);
    assert_true(rq.degraded);
    assert_int_equal(rq.source, PRV_SOURCE_DEGRADED);
    visit_expect(&rq, "preferences", "marketing");
    assert_false(prv_request_repair(&rq, &op));
    assert_null(prv_request_renewal(&rq).p);
}

static void test_unavailable_remembers_what_was_seen(void **state)
{
    const view token = {.id = SF_ID, .seq = 2, .granted = "preferences statistics", .stored = true};
    (void)state;
    /* an operator's edit, seen once */
    visit_met(&token, &(view){.id = SF_ID,
                              .seq = 2,
                              .granted = "preferences statistics",
                              .refused = "statistics",
                              .stored = true,
                              .age = {.under = 13}});
    prv_request rq = visit_begun(visit_cookie(&token));
    assert_int_equal(rq.source, PRV_SOURCE_CACHE);
    visit_expect(&rq, "preferences", "statistics"); /* already before the store answers */
    prv_request_feed(&rq, &visit_unavailable);
    visit_expect(&rq, "preferences", "statistics");
    assert_int_equal(rq.state.age.under, 13);

    /* a token that is later than what was seen */
    rq = visit_begun(visit_cookie(&(view){
        .id = SF_ID, .seq = 3, .granted = "preferences", .refused = "marketing", .stored = true}));
    prv_request_feed(&rq, &visit_unavailable);
    visit_expect(&rq, "preferences", "statistics marketing");
    assert_int_equal(rq.state.seq, 3);
    assert_int_equal(rq.state.age.under, 13);

    /* a deleted record, seen once: its grants do not come back when the store goes */
    visit_met(&token, NULL);
    rq = visit_begun(visit_cookie(&token));
    prv_request_feed(&rq, &visit_unavailable);
    visit_expect(&rq, "", "");
}

static void test_unavailable_uses_a_later_entry(void **state)
{
    (void)state;
    visit_met(&(view){.id = SF_ID, .seq = 2, .refused = "preferences", .stored = true},
              &(view){.id = SF_ID, .seq = 4, .granted = "preferences", .stored = true});
    prv_request rq = visit_begun(
        visit_cookie(&(view){.id = SF_ID, .seq = 2, .refused = "preferences", .stored = true}));
    prv_request_feed(&rq, &visit_unavailable);
    visit_expect(&rq, "preferences", "");
    assert_int_equal(rq.state.seq, 4);
}

static void test_bad_copies_stay_known(void **state)
{
    prv_str pairs[PRV_OP_ARGS_MAX];
    const view v = {.id = SF_ID, .seq = 2, .granted = "preferences", .stored = true};
    const prv_str cookies[] = {PRV_STR("__Host-privacy=x"), visit_cookie(&v)};
    prv_request rq = visit_request(cookies, 2);
    (void)state;
    visit_begin(&rq);
    const prv_reply reply = visit_reply(&v, pairs);
    prv_request_feed(&rq, &reply);
    assert_true(rq.state.unreadable);
    visit_expect(&rq, "preferences", "");
}

static void test_wire_never_raises_past_uint32(void **state)
{
    prv_op op;
    prv_request rq = visit_met(
        &(view){.id = SF_ID, .seq = UINT32_MAX, .refused = "statistics", .stored = true},
        &(view){.id = SF_ID, .seq = UINT32_MAX, .granted = "preferences", .stored = true});
    (void)state;
    visit_expect(&rq, "preferences", "statistics");
    assert_false(prv_request_repair(&rq, &op));
}

/* A key was promoted: the proofs are made anew, and nothing else is touched, since an operator may
 * edit meanwhile. */
static void test_promoted_key_signs_records(void **state)
{
    const view v = {.id = SF_ID,
                    .seq = 2,
                    .granted = "preferences statistics",
                    .refused = "marketing",
                    .stored = true,
                    .age = {.ok = 13, .at = SF_NOW - 100}};
    prv_str pairs[PRV_OP_ARGS_MAX];
    prv_op op;
    (void)state;
    const prv_str cookie = visit_cookie(&v);
    const prv_reply reply = visit_reply(&v, pairs);
    prv_keyring *both = sf_keys("token b " SF_KEY_B "\ntoken a " SF_KEY_A "\n");
    prv_keyring *later = sf_keys("token b " SF_KEY_B "\n");
    visit_fix.site.keys = both;
    prv_request rq = visit_begun(cookie);
    prv_request_feed(&rq, &reply);
    visit_expect(&rq, "preferences statistics", "marketing");
    assert_true(prv_request_repair(&rq, &op));
    assert_expected_seq(&op, "2");
    fix_assert_str(op.args[3], "3", "proof, age_proof, change");
    assert_int_equal(op.n_args, 4 + 2 * 3);

    /* Set over the record, the old key may go; an edit made meanwhile holds. */
    for (size_t edited = 0; edited < 2; edited++) {
        prv_state got;
        bool no_ttl;
        for (size_t i = 0; i < reply.n; i += 2) {
            for (size_t k = 4; k < op.n_args; k += 2) {
                if (pairs[i].n == op.args[k].n && memcmp(pairs[i].p, op.args[k].p, pairs[i].n) == 0)
                    pairs[i + 1] = op.args[k + 1];
            }
            if (edited && pairs[i].n == 3 && memcmp(pairs[i].p, "age", 3) == 0)
                pairs[i + 1] = PRV_STR("under:13");
            if (edited && pairs[i].n == 7 && memcmp(pairs[i].p, "refused", 7) == 0)
                pairs[i + 1] = PRV_STR("statistics");
        }
        assert_int_equal(prv_record_read(visit_fix.policy, later, PRV_STR(SF_ID), &reply, NULL,
                                         &got, NULL, &no_ttl),
                         PRV_RECORD_OK);
        assert_string_equal(sf_names(visit_fix.policy, got.granted),
                            edited ? "preferences" : "preferences statistics");
        assert_int_equal(got.age.ok, edited ? 0 : 13);
        assert_int_equal(got.age.under, edited ? 13 : 0);
        assert_false(got.old_key);
    }
    prv_keyring_free(both);
    prv_keyring_free(later);
}

/* ------------------------------------------------------------------ merging by hand, as the
 * endpoints do */

static void test_merge_without_a_token(void **state)
{
    prv_request rq = visit_request(NULL, 0);
    (void)state;
    visit_begin(&rq);
    const prv_state record =
        visit_state(&(view){.id = SF_ID, .seq = 1, .granted = "preferences", .stored = true});
    prv_request_merge(&rq, PRV_RECORD_OK, &record);
    visit_expect(&rq, "preferences", "");
    assert_false(rq.renew);
    assert_int_equal(rq.repair, 0);
    const prv_state nothing = {0};
    prv_request_merge(&rq, PRV_RECORD_ABSENT, &nothing);
    visit_expect(&rq, "", "");
    assert_int_equal(rq.repair, 0);
}

int main(void)
{
#define PLAIN(name) cmocka_unit_test_setup(name, visit_setup)
#define STORE(name) cmocka_unit_test_setup(name, visit_setup_store)
    const struct CMUnitTest tests[] = {
        STORE(test_begin_asks_for_ids_only),
        STORE(test_record_wins),
        STORE(test_a_later_grant_replaces_a_refusal),
        STORE(test_tie_counts_all_that_lowers),
        STORE(test_tie_as_always),
        STORE(test_token_wins_and_repairs),
        STORE(test_a_record_seen_is_stored),
        STORE(test_a_later_token_lifts_no_restriction_and_no_age),
        STORE(test_a_later_record_lifts),
        STORE(test_an_older_entry_takes_nothing_from_a_cookie_made_away),
        STORE(test_absent_cancels_grants),
        STORE(test_absent_adopts_a_token_from_before),
        STORE(test_unreadable),
        STORE(test_unavailable),
        STORE(test_unavailable_remembers_what_was_seen),
        STORE(test_unavailable_uses_a_later_entry),
        STORE(test_bad_copies_stay_known),
        STORE(test_wire_never_raises_past_uint32),
        STORE(test_promoted_key_signs_records),
        STORE(test_merge_without_a_token),
    };
    sf_open(&visit_fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&visit_fix);
    return failed;
}
