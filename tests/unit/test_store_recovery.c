/* Redis goes and comes back; the queue of writes. */
#include "store_fixture.h"

#include <signal.h>

/* ---- Redis goes and comes */

static void test_down_at_start(void **state)
{
    (void)state;
    store_fixture f;
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_free_port());
    store_open_with(&f, url, "", TIMEOUT);
    const prv_op op = store_op_read("privacy:consent:{a}");
    int64_t start = test_loop_now();
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_true(test_loop_now() - start < TIMEOUT); /* refused: at once */
    for (int i = 0; i < 100; i++)
        assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
    test_loop_run(f.loop, 600);
    assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
    assert_int_equal(test_loop_logged(f.loop, "cannot be reached: Connection refused"), 1);
    assert_int_equal(test_loop_logged(f.loop, "\n"), 1);
    store_shut(&f);
}

static void test_killed_and_started_again(void **state)
{
    (void)state;
    store_fixture f;
    store_answer a[20] = {0};
    char key[40];
    store_open_unix(&f);
    prv_op op = store_op_read("privacy:consent:{a}");
    store_ask(&f, &op);
    kill(store_redis.pid, SIGSTOP);
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "privacy:consent:{%d}", i);
        op = store_op_read(key);
        prv_store_submit(f.store, &op, store_on_done, &a[i]);
    }
    test_loop_run(f.loop, 20);
    test_redis_stop(&store_redis);
    test_loop_run(f.loop, 100);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(a[i].times, 1);
        assert_int_equal(a[i].status, PRV_REPLY_UNAVAILABLE);
    }
    assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
    test_loop_run(f.loop, 1500);
    test_redis_start(&store_redis, NULL);
    int64_t back = store_until_back(&f, "privacy:consent:{a}", 3000);
    assert_in_range(back, 0, 1000);
    test_loop_run(f.loop, 20);
    assert_int_equal(test_loop_logged(f.loop, "deciding without it"), 1);
    assert_int_equal(test_loop_logged(f.loop, "answers again"), 1);
    store_shut(&f);
}

static void test_back_without_traffic(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    const prv_op op = store_op_read("privacy:consent:{a}");
    store_ask(&f, &op);
    test_redis_stop(&store_redis);
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    test_redis_start(&store_redis, NULL);
    test_loop_run(f.loop, 1000); /* nobody asks meanwhile */
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_ABSENT);
    store_shut(&f);
}

static void test_hung(void **state)
{
    (void)state;
    store_fixture f;
    store_answer a[10] = {0};
    store_open_unix(&f);
    prv_op op = store_op_read("privacy:consent:{a}");
    store_ask(&f, &op);
    kill(store_redis.pid, SIGSTOP);
    int64_t start = test_loop_now();
    for (int i = 0; i < 10; i++)
        prv_store_submit(f.store, &op, store_on_done, &a[i]);
    test_loop_until(f.loop, &a[9].done, 2000);
    assert_in_range(test_loop_now() - start, TIMEOUT - 2, TIMEOUT + 300);
    assert_null(prv_store_submit(f.store, &op, store_on_done, NULL)); /* once, not again */
    test_loop_run(f.loop, 100);
    kill(store_redis.pid, SIGCONT); /* its late replies belong to nobody */
    store_say("HSET privacy:consent:{b} id b");
    int64_t back = store_until_back(&f, "privacy:consent:{b}", 3000);
    assert_in_range(back, 0, 1000);
    op = store_op_read("privacy:consent:{b}");
    assert_string_equal(store_ask(&f, &op).text, "id=b ");

    kill(store_redis.pid, SIGSTOP); /* so long that the connection is given up */
    memset(a, 0, sizeof a);
    prv_store_submit(f.store, &op, store_on_done, &a[0]);
    test_loop_run(f.loop, 2500);
    assert_int_equal(a[0].status, PRV_REPLY_UNAVAILABLE);
    kill(store_redis.pid, SIGCONT);
    back = store_until_back(&f, "privacy:consent:{b}", 3000);
    assert_in_range(back, 0, 1200);
    for (int i = 0; i < 10; i++)
        assert_in_range(a[i].times, 0, 1);
    store_shut(&f);
}

static void test_connection_closed_while_idle(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    const prv_op op = store_op_read("privacy:consent:{a}");
    store_ask(&f, &op);
    store_say("CLIENT KILL TYPE normal");
    assert_int_equal(store_ask(&f, &op).status,
                     PRV_REPLY_ABSENT); /* not even seen yet: the write meets a closed socket */
    store_say("CLIENT KILL TYPE normal");
    test_loop_run(f.loop, 20); /* seen */
    assert_int_equal(test_loop_ios(f.loop), 0);
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_ABSENT);

    store_answer a = {0}; /* and in mid-flight */
    store_say("CLIENT PAUSE 60 WRITE");
    kill(store_redis.pid, SIGSTOP);
    prv_store_submit(f.store, &op, store_on_done, &a);
    test_loop_run(f.loop, 10);
    kill(store_redis.pid, SIGCONT);
    store_say("CLIENT KILL TYPE normal");
    test_loop_until(f.loop, &a.done, 2000);
    assert_int_equal(a.status, PRV_REPLY_ABSENT);
    assert_int_equal(test_loop_logged(f.loop, "Redis"), 0);
    store_shut(&f);
}

static void test_read_only_replica_still_gives_records(void **state)
{
    (void)state;
    store_fixture f;
    char line[64];
    store_open_unix(&f);
    store_say("HSET privacy:consent:{b} id b");
    snprintf(line, sizeof line, "REPLICAOF 127.0.0.1 %d", test_free_port());
    store_say(line);
    prv_op read = store_op_read("privacy:consent:{b}"), change = store_op_change("c", "0");
    assert_int_equal(store_ask(&f, &change).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(store_ask(&f, &change).status, PRV_REPLY_UNAVAILABLE);
    assert_string_equal(store_ask(&f, &read).text, "id=b ");
    assert_int_equal(
        test_loop_logged(f.loop, "is a replica and takes no writes; choices are not stored"), 1);
    store_say("CONFIG SET replica-serve-stale-data no");
    assert_int_equal(store_ask(&f, &read).status,
                     PRV_REPLY_UNAVAILABLE); /* MASTERDOWN is not "no record" */
    store_say("CONFIG SET replica-serve-stale-data yes");
    store_say("REPLICAOF NO ONE");
    assert_true(store_until_back(&f, "privacy:consent:{b}", 2000) >= 0);
    assert_int_equal(store_ask(&f, &change).status, PRV_REPLY_RECORD);
    assert_int_equal(test_loop_logged(f.loop, "takes choices again"), 1);
    store_shut(&f);
}

/* ---- the queue */

static void test_queue_waits_for_redis(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    prv_op change = store_op_change("queued", "0");
    const prv_op read = store_op_read("privacy:consent:{a}");
    prv_store_queue(f.store, &change);
    test_loop_run(f.loop, 50);
    assert_string_equal(store_ask(&f, &read).text, "change=queued seq=8 granted=statistics ");

    test_redis_stop(&store_redis);
    assert_int_equal(store_ask(&f, &read).status, PRV_REPLY_UNAVAILABLE);
    change = store_op_change("queued-2", "0");
    prv_store_queue(f.store, &change);
    test_loop_run(f.loop, 700);
    test_redis_start(&store_redis, NULL);
    test_loop_run(f.loop, 1200);
    assert_string_equal(store_ask(&f, &read).text, "change=queued-2 seq=8 granted=statistics ");
    store_say("HSET privacy:consent:{a} seq 20");
    change = store_op_change("queued-3", "8"); /* a conflict ends it */
    prv_store_queue(f.store, &change);
    test_loop_run(f.loop, 50);
    store_say("CONFIG RESETSTAT");
    test_loop_run(f.loop, 500);
    char out[2000];
    test_redis_say(&store_redis, "INFO commandstats", out, sizeof out);
    assert_null(strstr(out, "evalsha"));
    store_shut(&f);
}

static void test_queue_is_bounded(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    test_redis_stop(&store_redis);
    char key[40];
    prv_op op = {.kind = PRV_OP_CHANGE, .n_args = 4};
    op = store_op_change("c", "0");
    for (int i = 0; i < 1100; i++) {
        snprintf(key, sizeof key, "privacy:consent:{%d}", i);
        op.key = store_str(key);
        prv_store_queue(f.store, &op);
    }
    assert_int_equal(test_loop_logged(f.loop, "the oldest are dropped"), 1);
    test_loop_run(f.loop, 300);
    test_redis_start(&store_redis, NULL);
    for (int i = 0; i < 40; i++) {
        char out[64];
        test_loop_run(f.loop, 100);
        test_redis_say(&store_redis, "DBSIZE", out, sizeof out);
        if (strcmp(out, ":1024\r\n") == 0)
            break;
    }
    store_say_gives("DBSIZE", ":1024\r\n");
    store_say_gives("EXISTS privacy:consent:{75}", ":0");
    store_say_gives("EXISTS privacy:consent:{76}", ":1");
    store_say_gives("EXISTS privacy:consent:{1099}", ":1");
    store_shut(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_down_at_start, store_flush),
        cmocka_unit_test_setup(test_killed_and_started_again, store_flush),
        cmocka_unit_test_setup(test_back_without_traffic, store_flush),
        cmocka_unit_test_setup(test_hung, store_flush),
        cmocka_unit_test_setup(test_connection_closed_while_idle, store_flush),
        cmocka_unit_test_setup(test_read_only_replica_still_gives_records, store_flush),
        cmocka_unit_test_setup(test_queue_waits_for_redis, store_flush),
        cmocka_unit_test_setup(test_queue_is_bounded, store_flush),
    };
    return cmocka_run_group_tests(tests, store_setup, store_teardown);
}
