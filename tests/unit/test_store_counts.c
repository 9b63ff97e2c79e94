/* What the store client counts: every wait that ends, once, by what became of it. */
#include "store_fixture.h"

#include "state/count.h"

static uint64_t counted(const store_fixture *f, prv_tick tick)
{
    return prv_count_read(f->zone, tick);
}

static uint64_t latencies(const store_fixture *f)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i <= PRV_LATENCIES; i++)
        sum += counted(f, (prv_tick)(PRV_TICK_LATENCY + i));
    return sum;
}

static void test_answered(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    const prv_op op = store_op_read("privacy:consent:{a}");
    store_ask(&f, &op);
    store_answer one = {0}, two = {0}, gone = {0}; /* one flight, two who wait for it, and one who leaves */
    assert_non_null(prv_store_submit(f.store, &op, store_on_done, &one));
    assert_non_null(prv_store_submit(f.store, &op, store_on_done, &two));
    prv_wait_cancel(prv_store_submit(f.store, &op, store_on_done, &gone));
    assert_true(test_loop_until(f.loop, &one.done, TIMEOUT + 2000));
    assert_true(two.done && !gone.done);
    assert_int_equal(counted(&f, PRV_TICK_STORE_ANSWERED), 3);
    assert_int_equal(latencies(&f), 3);
    const uint64_t us = counted(&f, PRV_TICK_STORE_US);
    assert_true(us > 0 && us < 3 * (uint64_t)TIMEOUT * 1000);
    assert_int_equal(counted(&f, PRV_TICK_STORE_FAILED) + counted(&f, PRV_TICK_STORE_LATE) +
                         counted(&f, PRV_TICK_STORE_UNSENT) + counted(&f, PRV_TICK_BREAKER_OPENED),
                     0);
    store_shut(&f);
}

static test_fake_do script(void *arg, unsigned connection, unsigned command, const char *name,
                           const char **text)
{
    (void)connection;
    (void)command;
    *text = "-OOM command not allowed\r\n";
    return strcmp(name, "HGETALL") != 0 ? FAKE_ANSWER : *(const test_fake_do *)arg;
}

static void open_fake(store_fixture *f, const test_fake *fake)
{
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_fake_port(fake));
    store_open_with(f, url, "", TIMEOUT);
}

static void test_an_error_is_a_failure(void **state)
{
    (void)state;
    store_fixture f;
    test_fake_do act = FAKE_TEXT;
    test_fake *fake = test_fake_start(script, &act, 0);
    open_fake(&f, fake);
    const prv_op op = store_op_read("privacy:consent:{a}");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(counted(&f, PRV_TICK_STORE_FAILED), 1);
    assert_int_equal(counted(&f, PRV_TICK_BREAKER_OPENED), 0);
    assert_int_equal(latencies(&f), 1);
    store_shut(&f);
    test_fake_stop(fake);
}

static void test_late_then_unsent(void **state)
{
    (void)state;
    store_fixture f;
    test_fake_do act = FAKE_SILENT;
    test_fake *fake = test_fake_start(script, &act, 0);
    open_fake(&f, fake);
    const prv_op op = store_op_read("privacy:consent:{a}");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(counted(&f, PRV_TICK_STORE_LATE), 1);
    assert_int_equal(counted(&f, PRV_TICK_BREAKER_OPENED), 1);
    assert_true(counted(&f, PRV_TICK_STORE_US) >= TIMEOUT * 1000 * 9 / 10);
    store_answer a = {0};
    assert_null(prv_store_submit(f.store, &op, store_on_done, &a));
    assert_int_equal(counted(&f, PRV_TICK_STORE_UNSENT), 1);
    assert_int_equal(latencies(&f), 1);
    store_shut(&f);
    test_fake_stop(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answered),
        cmocka_unit_test(test_an_error_is_a_failure),
        cmocka_unit_test(test_late_then_unsent),
    };
    return cmocka_run_group_tests_name("store counts", tests, store_setup, store_teardown);
}
