/* Who may vouch for the cache: the lease of the invalidation link, holders that die, stop and wake
 * up. */
#include "state/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static prv_zone *zone;

static int setup(void **state)
{
    (void)state;
    void *mem = aligned_alloc(64, PRV_ZONE_MIN);
    zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    return zone == NULL;
}

static int teardown(void **state)
{
    (void)state;
    free(zone);
    return 0;
}

static void test_one_holds(void **state)
{
    prv_lease a = {0}, b = {0};
    (void)state;
    assert_true(prv_lease_hold(&a, zone, 1000));
    assert_false(prv_lease_hold(&b, zone, 1000));
    assert_true(prv_lease_hold(&a, zone, 1500)); /* renewed */
    assert_false(prv_lease_hold(&b, zone, 1500 + PRV_LEASE_MS - 1));
    assert_true(prv_lease_hold(&b, zone, 1500 + PRV_LEASE_MS)); /* a has been stopped */
    assert_false(prv_lease_hold(&a, zone, 1500 + PRV_LEASE_MS));
    prv_lease_release(&b);
    assert_true(prv_lease_hold(&a, zone, 1501 + PRV_LEASE_MS)); /* at once */
    assert_false(prv_lease_hold(&a, NULL, 1));
}

static void test_up_while_heard(void **state)
{
    prv_lease a = {0};
    (void)state;
    assert_false(prv_zone_link_up(zone, 1000));
    assert_false(prv_zone_link_up(NULL, 1000));
    assert_true(prv_lease_hold(&a, zone, 1000));
    assert_false(prv_zone_link_up(zone, 1000));
    const uint64_t before = prv_zone_epoch(zone);
    assert_true(prv_lease_heard(&a, 1000));
    assert_true(prv_zone_link_up(zone, 1000));
    assert_true(prv_zone_link_up(zone, 995)); /* a clock that lags a little */
    assert_true(prv_zone_link_up(zone, 1000 + PRV_LINK_FRESH_MS - 1));
    assert_false(prv_zone_link_up(zone, 1000 + PRV_LINK_FRESH_MS));
    assert_false(prv_zone_link_up(zone, 1));        /* another clock altogether */
    assert_int_equal(prv_zone_epoch(zone), before); /* who links moves it, before he is heard */
    prv_lease_unheard(&a);
    assert_false(prv_zone_link_up(zone, 1000));
    assert_true(prv_zone_epoch(zone) > before);
    assert_true(prv_lease_heard(&a, 1100));
    prv_lease_release(&a);
    assert_false(prv_zone_link_up(zone, 1100));
}

/* Whatever one does that was stopped and wakes up after another took over: it gives no authority.
 */
static void test_a_holder_that_wakes_up(void **state)
{
    (void)state;
    for (int what = 0; what < 5; what++) {
        prv_lease a = {0}, b = {0};
        zone->lease = zone->heard = 0;
        assert_true(prv_lease_hold(&a, zone, 1000) && prv_lease_heard(&a, 1000));
        assert_true(prv_lease_hold(&b, zone, 5000));
        assert_false(prv_zone_link_up(zone, 5000)); /* b has heard nothing yet */
        const uint64_t epoch = prv_zone_epoch(zone);
        switch (what) {
        case 0:
            assert_false(prv_lease_heard(&a, 5000));
            break;
        case 1:
            assert_false(prv_lease_hold(&a, zone, 5000));
            break;
        case 2:
            prv_lease_unheard(&a);
            break;
        case 3:
            prv_lease_release(&a);
            break;
        default:
            prv_lease_targets(&a, (const uint64_t[]){7}, 1);
        }
        assert_false(prv_zone_link_up(zone, 5000));
        assert_true(prv_lease_heard(&b, 5000)); /* and b is not disturbed */
        assert_true(prv_zone_link_up(zone, 5000));
        assert_true(prv_lease_hold(&b, zone, 5100));
        assert_true(prv_zone_epoch(zone) >= epoch);
        assert_false(prv_lease_heard(&a, 5100));
    }
}

/* Stopped between taking the lease and its first word, and overtaken: the loser's late word takes
 * authority away once, and the winner sees that and begins anew. */
static void test_a_taker_that_is_stopped_at_once(void **state)
{
    prv_lease a = {0}, b = {0};
    (void)state;
    assert_true(prv_lease_hold(&a, zone, 1000));
    assert_true(prv_lease_hold(&b, zone, 3000) && prv_lease_heard(&b, 3000));
    zone->heard = (uint64_t)a.holder << 40; /* what a was about to store */
    assert_false(prv_zone_link_up(zone, 3000));
    assert_false(prv_lease_heard(&b, 3100));
    assert_true(prv_lease_hold(&b, zone, 3100));
    const uint64_t epoch = prv_zone_epoch(zone);
    prv_lease_unheard(&b);
    assert_true(prv_zone_epoch(zone) > epoch);
    assert_true(prv_lease_heard(&b, 3200) && prv_zone_link_up(zone, 3200));
}

static void test_targets(void **state)
{
    prv_lease a = {0};
    const uint64_t names[] = {11, 12};
    (void)state;
    prv_lease_targets(&a, names, 2); /* not held: says nothing */
    assert_false(prv_zone_targeted(zone, 11));
    assert_true(prv_lease_hold(&a, zone, 1000));
    assert_true(prv_lease_asked(&a));
    assert_false(prv_lease_asked(&a));
    prv_lease_targets(&a, names, 2);
    assert_true(prv_zone_targeted(zone, 11) && prv_zone_targeted(zone, 12));
    assert_false(prv_lease_asked(&a));
    assert_false(prv_zone_targeted(zone, 13));
    assert_true(prv_lease_asked(&a));
    prv_lease_targets(&a, names, 1);
    assert_false(prv_zone_targeted(zone, 12));
    assert_false(prv_zone_targeted(NULL, 11));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_one_holds),
        TEST(test_up_while_heard),
        TEST(test_a_holder_that_wakes_up),
        TEST(test_a_taker_that_is_stopped_at_once),
        TEST(test_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
