/* Counters in the zone: many processes at once, names over reloads, tables that are full. */
#include "state/count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PROCESSES 6
#define TIMES 20000

static void *shared(size_t size)
{
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(mem != MAP_FAILED);
    return mem;
}

static prv_policy named(const char *id)
{
    return (prv_policy){.id = {id, strlen(id)}};
}

static uint64_t site_key(const prv_policy *policy, uint64_t a, uint64_t b)
{
    const uint64_t parts[] = {a, b};
    return prv_cold_key(policy, PRV_COLD_CHOICE, parts, 2);
}

static void test_all_processes_add_to_the_same(void **state)
{
    (void)state;
    prv_zone *zone = prv_zone_attach(shared(PRV_ZONE_MIN), PRV_ZONE_MIN);
    const prv_policy policy = named("one");
    const uint32_t site = prv_zone_site(zone, &policy);
    assert_int_not_equal(site, 0);
    for (int p = 0; p < PROCESSES; p++) {
        if (fork() == 0) {
            for (int i = 0; i < TIMES; i++) {
                prv_count(zone, PRV_TICK_CACHE_HIT);
                atomic_fetch_add_explicit(&prv_count_site(zone, site)[PRV_SITE_COOKIES], 2,
                                          memory_order_relaxed);
                prv_cold_add(zone, site_key(&policy, 1, (uint64_t)i % 50), 1);
            }
            _exit(0);
        }
    }
    for (int p = 0; p < PROCESSES; p++)
        wait(NULL);
    assert_int_equal(prv_count_read(zone, PRV_TICK_CACHE_HIT), PROCESSES * TIMES);
    assert_int_equal(prv_count_read(zone, PRV_TICK_CACHE_MISS), 0);
    assert_int_equal(prv_count_site_read(zone, site, PRV_SITE_COOKIES), 2 * PROCESSES * TIMES);
    assert_int_equal(prv_count_site_read(zone, site, PRV_SITE_COOKIES + 1), 0);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(prv_cold_read(zone, site_key(&policy, 1, i)), PROCESSES * TIMES / 50);
        sum += prv_cold_read(zone, site_key(&policy, 1, i));
    }
    assert_int_equal(sum, PROCESSES * TIMES);
    assert_int_equal(prv_cold_read(zone, site_key(&policy, 2, 1)), 0);
    assert_int_equal(prv_count_read(zone, PRV_TICK_DROPPED), 0);
}

static void test_a_name_keeps_its_counters(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    const prv_policy one = named("one"), two = named("two"), again = named("one");
    const uint32_t a = prv_zone_site(zone, &one), b = prv_zone_site(zone, &two);
    assert_int_not_equal(a, b);
    atomic_fetch_add(&prv_count_site(zone, a)[PRV_SITE_REQUESTS], 7);
    prv_cold_add(zone, site_key(&one, 1, 2), 3);
    assert_ptr_equal(prv_zone_attach(mem, PRV_ZONE_MIN), zone);
    assert_int_equal(prv_zone_site(zone, &two), b);
    assert_int_equal(prv_zone_site(zone, &again), a);
    assert_int_equal(prv_count_site_read(zone, a, PRV_SITE_REQUESTS), 7);
    assert_int_equal(prv_count_site_read(zone, b, PRV_SITE_REQUESTS), 0);
    assert_int_equal(prv_cold_read(zone, site_key(&again, 1, 2)), 3);
    assert_int_equal(prv_cold_read(zone, site_key(&two, 1, 2)), 0);
    assert_int_equal(prv_cold_read(zone, site_key(&one, 2, 1)), 0);
}

/* What does not fit is counted as such; nothing beyond the region is touched. */
static void test_full_tables(void **state)
{
    (void)state;
    static const size_t sizes[] = {PRV_ZONE_MIN, PRV_ZONE_MIN + 12345, 1 << 20, 16 << 20};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t page = 4096, whole = (sizes[s] + page - 1) / page * page;
        char *mem = shared(whole + page);
        assert_int_equal(mprotect(mem + whole, page, PROT_NONE), 0);
        prv_zone *zone = prv_zone_attach(mem, sizes[s]);
        assert_true(zone->count_sites >= 8);
        assert_true(zone->count_cold >= 256);
        assert_true((char *)(prv_zone_cold(zone) + zone->count_cold) <= mem + sizes[s]);

        char names[1024][8];
        uint32_t made = 0;
        for (uint32_t i = 0; i < 1024; i++) {
            snprintf(names[i], sizeof names[i], "p%u", (unsigned)i);
            const prv_policy policy = named(names[i]);
            const uint32_t site = prv_zone_site(zone, &policy);
            made += site != 0;
            if (site != 0)
                atomic_fetch_add(&prv_count_site(zone, site)[PRV_SITE_WORDS - 1], i + 1);
        }
        assert_int_equal(made, zone->count_sites);
        const prv_policy policy = named("p0");
        for (uint64_t i = 0; i < 2 * (uint64_t)zone->count_cold; i++)
            prv_cold_add(zone, site_key(&policy, 9, i), 1);
        uint64_t kept = 0;
        for (uint64_t i = 0; i < 2 * (uint64_t)zone->count_cold; i++)
            kept += prv_cold_read(zone, site_key(&policy, 9, i));
        assert_true(kept > zone->count_cold / 2);
        assert_int_equal(kept + prv_count_read(zone, PRV_TICK_DROPPED), 2 * zone->count_cold);
        for (uint32_t i = 0; i < made; i++) {
            const prv_policy p = named(names[i]);
            assert_int_equal(
                prv_count_site_read(zone, prv_zone_site(zone, &p), PRV_SITE_WORDS - 1), i + 1);
        }
        munmap(mem, whole + page);
    }
}

static void test_latency(void **state)
{
    (void)state;
    prv_zone *zone = prv_zone_attach(shared(PRV_ZONE_MIN), PRV_ZONE_MIN);
    static const int64_t took[] = {-5, 0, 100, 101, 999, 2500000, 2500001, 90000000};
    for (size_t i = 0; i < sizeof took / sizeof *took; i++)
        prv_count_latency(zone, took[i]);
    assert_int_equal(prv_count_read(zone, PRV_TICK_LATENCY), 3);     /* at most 100 us */
    assert_int_equal(prv_count_read(zone, PRV_TICK_LATENCY + 1), 1); /* at most 250 us */
    assert_int_equal(prv_count_read(zone, PRV_TICK_LATENCY + 3), 1); /* at most 1 ms */
    assert_int_equal(prv_count_read(zone, PRV_TICK_LATENCY_LAST - 1), 1);
    assert_int_equal(prv_count_read(zone, PRV_TICK_LATENCY_LAST), 2);
    assert_int_equal(prv_count_read(zone, PRV_TICK_STORE_US), 100 + 101 + 999 + 2500000 + 2500001 + 90000000);
}

static void test_without_a_zone(void **state)
{
    (void)state;
    const prv_policy policy = named("one");
    prv_count(NULL, PRV_TICK_CACHE_HIT);
    prv_count_latency(NULL, 5);
    prv_cold_add(NULL, 5, 1);
    assert_int_equal(prv_count_read(NULL, PRV_TICK_CACHE_HIT), 0);
    assert_int_equal(prv_cold_read(NULL, 5), 0);
    assert_int_equal(prv_zone_site(NULL, &policy), 0);
    assert_int_equal(prv_count_site_read(NULL, 0, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_processes_add_to_the_same),
        cmocka_unit_test(test_a_name_keeps_its_counters),
        cmocka_unit_test(test_full_tables),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_without_a_zone),
    };
    return cmocka_run_group_tests_name("count", tests, NULL, NULL);
}
