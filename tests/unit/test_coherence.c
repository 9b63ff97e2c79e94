/* Cache entries that stand for the record: when they do, when no more, and what is left of them
 * then. */
#include "state/zone.h"
#include "visit_fixture.h"

#define NOW_MS (FIX_NOW_MS)
#define TAG 7

static prv_lease lease;
static int64_t mono;

/* The link comes up, as push.c does it. */
static void link_up(void)
{
    assert_true(prv_lease_hold(&lease, visit_fix.zone, mono));
    prv_zone_epoch_move(visit_fix.zone);
    assert_true(prv_lease_heard(&lease, mono));
}

static int setup(void **state)
{
    visit_setup_store(state);
    lease = (prv_lease){0};
    mono = 1000000;
    visit_fix.env.mono_ms = mono;
    link_up();
    return 0;
}

static prv_cache_key key_of(const char *id)
{
    prv_cache_key key;
    prv_id_pack(id, key.b);
    return key;
}

static void invalidate(const char *id)
{
    assert_true(prv_cache_invalidate(visit_fix.zone, key_of(id), NOW_MS));
}

static bool get(const char *id, prv_cached *out)
{
    return prv_cache_get(visit_fix.zone, key_of(id), TAG, mono, out);
}

static prv_state state_of(uint32_t seq, uint32_t granted, uint32_t refused)
{
    prv_state s = {.present = true,
                   .stored = true,
                   .id_len = PRV_ID_LEN,
                   .seq = seq,
                   .granted = granted,
                   .refused = refused,
                   .age = {.ok = 16, .under = 18, .parental = 13},
                   .expires = SF_NOW + 1000};
    memcpy(s.id, SF_ID, PRV_ID_LEN);
    return s;
}

static void put(const prv_state *s, uint32_t stamp)
{
    const prv_cache_put_how how = {.stamp = stamp};
    prv_cache_put(visit_fix.zone, key_of(SF_ID), TAG, s, &how, NOW_MS);
}

static uint32_t stamp(void)
{
    return prv_cache_stamp(visit_fix.zone, key_of(SF_ID));
}

/* ------------------------------------------------------------------ entries */

static void test_fresh_until_something_moves(void **state)
{
    const prv_state s = state_of(3, 6, 1);
    prv_cached got;
    (void)state;
    put(&s, stamp());
    assert_true(get(SF_ID, &got) && got.fresh && !got.tombstone);
    mono += PRV_LINK_FRESH_MS; /* not heard */
    assert_true(get(SF_ID, &got) && !got.fresh && got.state.granted == 6);
    mono -= PRV_LINK_FRESH_MS;
    assert_true(get(SF_ID, &got) && got.fresh);
    prv_zone_epoch_move(visit_fix.zone);
    assert_true(get(SF_ID, &got) && !got.fresh && !got.tombstone && got.state.granted == 6);
    put(&s, stamp());
    assert_true(get(SF_ID, &got) && got.fresh);
    put(&s, 0); /* of no read */
    assert_true(get(SF_ID, &got) && !got.fresh);
}

static void test_an_invalidation_buries(void **state)
{
    const prv_state s = state_of(3, 6, 1);
    prv_cached got;
    (void)state;
    put(&s, stamp());
    invalidate(SF_ID);
    assert_true(get(SF_ID, &got) && got.tombstone && !got.fresh);
    assert_int_equal(got.state.granted, 0);
    assert_int_equal(got.state.refused, 1);
    assert_int_equal(got.state.seq, 3);
    assert_int_equal(got.state.age.under, 18);
    assert_int_equal(got.state.age.ok + got.state.age.parental, 0);
    /* What somebody did here at that seq or before does not lift it; what was done later does. */
    const prv_state same = state_of(3, 6, 8), later = state_of(4, 2, 0);
    put(&same, 0);
    assert_true(get(SF_ID, &got) && got.tombstone && got.state.granted == 0 &&
                got.state.refused == 9);
    put(&later, 0);
    assert_true(get(SF_ID, &got) && !got.tombstone && !got.fresh && got.state.granted == 2);
    /* And a read does, whatever its seq. */
    invalidate(SF_ID);
    const prv_state older = state_of(2, 4, 0);
    put(&older, stamp());
    assert_true(get(SF_ID, &got) && got.fresh && got.state.granted == 4 && got.state.seq == 2);
}

static void test_a_read_that_was_overtaken_is_dropped(void **state)
{
    const prv_state before = state_of(3, 6, 0);
    prv_cached got;
    (void)state;
    uint32_t noted = stamp();
    invalidate(SF_ID); /* there was no entry: the set has counted it all the same */
    put(&before, noted);
    assert_false(get(SF_ID, &got));
    noted = stamp();
    prv_zone_epoch_move(visit_fix.zone);
    put(&before, noted);
    assert_false(get(SF_ID, &got));
    put(&before, stamp());
    noted = stamp();
    invalidate(SF_ID);
    put(&before, noted);
    assert_true(get(SF_ID, &got) && got.tombstone); /* and the tombstone stays */
}

static void test_a_flush_buries_all(void **state)
{
    const prv_state s = state_of(3, 6, 1);
    prv_cached got;
    (void)state;
    put(&s, stamp());
    const uint32_t noted = stamp();
    prv_zone_flush(visit_fix.zone);
    assert_true(get(SF_ID, &got) && got.tombstone && got.state.granted == 0 &&
                got.state.refused == 1);
    put(&s, noted);
    assert_true(get(SF_ID, &got) && got.tombstone);
    put(&s, 0);
    assert_true(get(SF_ID, &got) && got.tombstone);
    put(&s, stamp());
    assert_true(get(SF_ID, &got) && got.fresh && got.state.granted == 6);
    prv_zone_epoch_move(visit_fix.zone);
    assert_true(get(SF_ID, &got) && !got.tombstone); /* of an epoch since then */
}

/* The invalidation that one's own write causes says nothing new; the next one does. */
static void test_ones_own_write(void **state)
{
    const prv_state mine = state_of(4, 6, 0);
    prv_cached got;
    (void)state;
    const prv_cache_put_how how = {.own_stamp = stamp()};
    prv_cache_put(visit_fix.zone, key_of(SF_ID), TAG, &mine, &how, NOW_MS);
    assert_true(get(SF_ID, &got) && !got.fresh && got.state.granted == 6);
    const uint32_t noted = stamp();
    put(&mine, noted); /* read back before it was announced */
    assert_true(get(SF_ID, &got) && got.fresh);
    invalidate(SF_ID);
    assert_true(get(SF_ID, &got) && !got.fresh && !got.tombstone && got.state.granted == 6);
    invalidate(SF_ID);
    assert_true(get(SF_ID, &got) && got.tombstone);

    /* The link came up after the write, so nobody announces it: what was read since then is buried by the first that comes. */
    const prv_cache_put_how early = {.own_stamp = stamp()};
    prv_cache_put(visit_fix.zone, key_of(SF_ID), TAG, &(prv_state){.present = true, .seq = 9, .granted = 6},
                  &early, NOW_MS);
    prv_zone_epoch_move(visit_fix.zone);
    put(&mine, stamp());
    invalidate(SF_ID);
    assert_true(get(SF_ID, &got) && got.tombstone);

    /* The link came up between the write and its acknowledgement: nobody knows whether it announces it, so the first that comes buries. */
    const prv_cache_put_how between = {.own_stamp = stamp()};
    prv_zone_epoch_move(visit_fix.zone);
    prv_cache_put(visit_fix.zone, key_of(SF_ID), TAG, &(prv_state){.present = true, .seq = 12, .granted = 6},
                  &between, NOW_MS);
    put(&(prv_state){.present = true, .seq = 12, .granted = 6}, stamp());
    invalidate(SF_ID);
    assert_true(get(SF_ID, &got) && got.tombstone);

    /* Announced before it was acknowledged: then nothing is awaited. */
    const prv_state next = state_of(15, 6, 0);
    const prv_cache_put_how late = {.own_stamp = stamp()};
    invalidate(SF_ID);
    prv_cache_put(visit_fix.zone, key_of(SF_ID), TAG, &next, &late, NOW_MS);
    assert_true(get(SF_ID, &got) && !got.tombstone && got.state.granted == 6);
    invalidate(SF_ID);
    assert_true(get(SF_ID, &got) && got.tombstone);
}

static void test_tombstones_are_not_pushed_out(void **state)
{
    const prv_state s = state_of(3, 6, 0);
    prv_cached got;
    prv_zone *zone = visit_fix.zone;
    (void)state;
    put(&s, stamp());
    invalidate(SF_ID);
    /* Many times as many as there are places, all newer. */
    for (uint32_t i = 0; i < zone->cache_sets * PRV_CACHE_WAYS * 4; i++) {
        prv_cache_key key;
        const uint64_t w[2] = {prv_mix64(i + 1), prv_mix64(i + 77)};
        memcpy(key.b, w, sizeof w);
        const prv_cache_put_how how = {.stamp = prv_cache_stamp(zone, key)};
        prv_cache_put(zone, key, TAG, &s, &how, NOW_MS + 59000);
    }
    assert_true(get(SF_ID, &got) && got.tombstone);
    for (uint32_t i = 0; i < zone->cache_sets * PRV_CACHE_WAYS * 8; i++) {
        prv_cache_key key;
        const uint64_t w[2] = {prv_mix64(~(uint64_t)i), prv_mix64(i + 99)};
        memcpy(key.b, w, sizeof w);
        const prv_cache_put_how how = {.stamp = prv_cache_stamp(zone, key)};
        prv_cache_put(zone, key, TAG, &s, &how, NOW_MS + 61000);
    }
    assert_false(get(SF_ID, &got)); /* a minute later it may go */
}

/* ------------------------------------------------------------------ requests */

static const view granted = {.id = SF_ID, .seq = 3, .granted = "preferences", .stored = true};

static prv_request ask(const view *token)
{
    return visit_begun(visit_cookie(token));
}

static void feed(prv_request *rq, const view *record)
{
    prv_str pairs[PRV_OP_ARGS_MAX];
    const prv_reply reply = record ? visit_reply(record, pairs) : visit_absent;
    assert_true(rq->pending);
    prv_request_feed(rq, &reply);
}

static void expect_cached(const view *token, const char *may, const char *refused)
{
    prv_request rq = ask(token);
    assert_false(rq.pending);
    assert_int_equal(rq.source, PRV_SOURCE_CACHE);
    assert_false(rq.degraded);
    visit_expect(&rq, may, refused);
}

static void test_read_once(void **state)
{
    (void)state;
    prv_request rq = ask(&granted);
    feed(&rq, &granted);
    expect_cached(&granted, "preferences", "");
    expect_cached(&granted, "preferences", "");
    rq = ask(&granted);
    prv_op op;
    assert_false(prv_request_repair(&rq, &op));
    assert_null(prv_request_renewal(&rq).p);
    invalidate(SF_ID);
    rq = ask(&granted);
    assert_true(rq.pending);
    visit_expect(&rq, "", ""); /* until it is read again, and if it cannot be */
    feed(&rq, &(view){.id = SF_ID,
                      .seq = 3,
                      .granted = "preferences",
                      .refused = "statistics",
                      .stored = true});
    visit_expect(&rq, "preferences", "statistics");
}

static void test_nothing_is_authoritative_without_the_link(void **state)
{
    (void)state;
    prv_request rq = ask(&granted);
    feed(&rq, &granted);
    visit_fix.env.mono_ms += PRV_LINK_FRESH_MS;
    rq = ask(&granted);
    assert_true(rq.pending);
    prv_request_feed(&rq, &visit_unavailable);
    assert_true(rq.degraded);
    visit_expect(&rq, "preferences", ""); /* last seen */
}

/* Also a later refusal, an older cookie, and one that lags behind are answered from the entry where
 * that is all there is to know; what the store does not know is read, so that it is written. */
static void test_other_cookies_of_the_visitor(void **state)
{
    const view record = {
        .id = SF_ID, .seq = 5, .granted = "preferences", .refused = "marketing", .stored = true};
    (void)state;
    prv_request rq = ask(&(view){
        .id = SF_ID, .seq = 5, .granted = "preferences", .refused = "marketing", .stored = true});
    feed(&rq, &record);
    expect_cached(&(view){.id = SF_ID, .seq = 2, .granted = "marketing statistics", .stored = true},
                  "preferences", "marketing");
    rq = ask(&(view){.id = SF_ID, .seq = 2, .granted = "marketing", .stored = true});
    assert_true(prv_request_renewal(&rq).n > 0); /* it lags */
    rq = ask(&(view){
        .id = SF_ID, .seq = 6, .granted = "preferences", .refused = "marketing", .stored = true});
    assert_true(rq.pending); /* later than the entry */
    rq = ask(&(view){.id = SF_ID,
                     .seq = 5,
                     .granted = "preferences",
                     .refused = "marketing statistics",
                     .stored = true});
    assert_true(rq.pending); /* a refusal that the store has not seen */
    feed(&rq, &record);
    prv_op op;
    assert_true(prv_request_repair(&rq, &op));
    /* As long as that has not been written, each request looks. */
    rq = ask(&(view){.id = SF_ID,
                     .seq = 5,
                     .granted = "preferences",
                     .refused = "marketing statistics",
                     .stored = true});
    assert_true(rq.pending);
}

static void test_an_absent_record_is_known_too(void **state)
{
    (void)state;
    prv_request rq = ask(&granted);
    feed(&rq, NULL);
    visit_expect(&rq, "", "");
    expect_cached(&granted, "", "");
    rq = ask(&(view){.id = SF_ID, .seq = 4, .granted = "preferences", .stored = true});
    assert_true(rq.pending); /* a cookie with a higher seq than a negative entry */
}

static void test_a_reply_of_an_untracked_redis_is_used_once(void **state)
{
    prv_str pairs[PRV_OP_ARGS_MAX];
    (void)state;
    prv_request rq = ask(&granted);
    prv_reply reply = visit_reply(&granted, pairs);
    reply.untracked = true;
    prv_request_feed(&rq, &reply);
    visit_expect(&rq, "preferences", "");
    rq = ask(&granted);
    assert_true(rq.pending);
}

/* A body under a MAC that was just seen is not read; and the entry of another id does not answer.
 */
static void test_a_changed_cookie_is_no_repeat(void **state)
{
    (void)state;
    prv_request rq = ask(&granted);
    feed(&rq, &granted);
    const prv_str cookie = visit_cookie(&granted);
    char *changed = visit_fix.env.alloc(visit_fix.env.ctx, cookie.n);
    for (size_t at = 15; at < cookie.n; at++) {
        memcpy(changed, cookie.p, cookie.n);
        if (changed[at] == '.')
            continue;
        changed[at] = changed[at] == 'q' ? 'a' : 'q';
        rq = visit_begun((prv_str){changed, cookie.n});
        assert_false(rq.has_token);
        assert_true(rq.state.unreadable);
        visit_expect(&rq, "", "");
    }
    expect_cached(&granted, "preferences", "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_fresh_until_something_moves),
        TEST(test_an_invalidation_buries),
        TEST(test_a_read_that_was_overtaken_is_dropped),
        TEST(test_a_flush_buries_all),
        TEST(test_ones_own_write),
        TEST(test_tombstones_are_not_pushed_out),
        TEST(test_read_once),
        TEST(test_nothing_is_authoritative_without_the_link),
        TEST(test_other_cookies_of_the_visitor),
        TEST(test_an_absent_record_is_known_too),
        TEST(test_a_reply_of_an_untracked_redis_is_used_once),
        TEST(test_a_changed_cookie_is_no_repeat),
    };
    sf_open(&visit_fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&visit_fix);
    return failed;
}
