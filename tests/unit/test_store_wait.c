/* privacy_store_wait: what counts as stored, what is taken back, and who waits. */
#include "store_fixture.h"

#define RECORD "privacy:consent:{a}"

static test_redis replica;

static void open_waiting(store_fixture *f, const char *url, uint32_t timeout, uint32_t replicas)
{
    store_open_with(f, url, "", timeout);
    prv_store_close(f->store);
    f->conf->wait = replicas;
    f->store = prv_store_open(f->conf, &f->api, f->zone);
    assert_non_null(f->store);
}

static void open_real(store_fixture *f, uint32_t replicas)
{
    char url[160];
    snprintf(url, sizeof url, "redis+unix://%s", store_redis.socket);
    open_waiting(f, url, 1200, replicas);
}

static prv_op grant(const char *change, const char *seq)
{
    prv_op op = store_op_change(change, seq);
    op.raises = true;
    return op;
}

static void test_a_grant_without_replicas_is_taken_back(void **state)
{
    (void)state;
    store_fixture f;
    const prv_op read = store_op_read(RECORD);
    open_real(&f, 1);
    prv_op op = grant("c1", "0");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    store_say_gives("EXISTS " RECORD, ":0"); /* when it is told */
    assert_int_equal(
        test_loop_logged(f.loop, "has 0 replicas in step, and privacy_store_wait wants 1"), 1);
    assert_int_equal(test_loop_logged(f.loop, "\n"), 1);

    store_say("HSET " RECORD " change c0 seq 7 granted marketing refused statistics own stays");
    store_say("EXPIRE " RECORD " 1000");
    op = grant("c2", "7");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_string_equal(store_ask(&f, &read).text,
                        "change=c0 seq=7 granted=marketing own=stays refused=statistics ");
    store_say_gives("TTL " RECORD, ":");
    op = grant("c3", "6"); /* a conflict is what it was: nothing was written */
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_CONFLICT);
    assert_int_equal(test_loop_logged(f.loop, "\n"), 1);
    store_shut(&f);
}

static void test_what_lowers_stays(void **state)
{
    (void)state;
    store_fixture f;
    const prv_op read = store_op_read(RECORD);
    open_real(&f, 1);
    prv_op op = store_op_change("c1", "0");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_string_equal(store_ask(&f, &read).text, "change=c1 seq=8 granted=statistics ");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE); /* nor by being repeated */
    store_shut(&f);
}

static void test_nobody_waits_with_a_change(void **state)
{
    (void)state;
    store_fixture f;
    const prv_op read = store_op_read(RECORD), op = grant("c1", "0");
    store_answer change = {0};
    open_real(&f, 1);
    store_ask(&f, &read);
    int64_t began = test_loop_now();
    assert_non_null(prv_store_submit(f.store, &op, store_on_done, &change));
    for (int i = 0; i < 5; i++)
        store_ask(&f, &read);
    assert_false(change.done);
    assert_true(test_loop_now() - began < 800);
    assert_true(test_loop_until(f.loop, &change.done, 2000));
    /* three quarters, and Redis' tenth of a second; a busy machine adds to it */
    assert_in_range(test_loop_now() - began, 890, 3000);
    assert_int_equal(prv_cell_due(&f.zone->breaker), 0);
    store_shut(&f);
}

static void test_with_replicas(void **state)
{
    (void)state;
    store_fixture f;
    char port[8], out[100];
    snprintf(port, sizeof port, "%d", store_redis.port);
    const char *const extra[] = {"--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay",
                                 "0",           NULL};
    test_redis_init(&replica);
    test_redis_start(&replica, extra);
    for (int i = 0; i < 400; i++) {
        test_redis_say(&store_redis, "WAIT 1 50", out, sizeof out);
        if (strcmp(out, ":1\r\n") == 0)
            break;
    }
    open_real(&f, 1);
    prv_op op = grant("c1", "0");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_RECORD);
    test_redis_say(&replica, "HGET " RECORD " change", out, sizeof out);
    assert_string_equal(out, "$2\r\nc1\r\n");
    store_answer a[20] = {0};
    char keys[20][40];
    for (int i = 0; i < 20; i++) { /* together: one WAIT */
        snprintf(keys[i], sizeof keys[i], "privacy:consent:{%d}", i);
        op.key = store_str(keys[i]);
        prv_store_submit(f.store, &op, store_on_done, &a[i]);
    }
    assert_true(test_loop_until(f.loop, &a[19].done, 2000));
    for (int i = 0; i < 20; i++)
        assert_int_equal(a[i].status, PRV_REPLY_RECORD);
    test_redis_say(&store_redis, "INFO commandstats", out, sizeof out);
    store_shut(&f);

    open_real(&f, 2); /* one is not two */
    op = grant("c2", "8");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    test_redis_say(&replica, "HGET " RECORD " change", out, sizeof out);
    assert_string_equal(out, "$2\r\nc1\r\n"); /* taken back there, too */
    store_shut(&f);
    test_redis_remove(&replica);
}

/* ---- from a scripted server: connection 0 is the one for changes */

static test_fake_do play(void *arg, unsigned connection, unsigned command, const char *name,
                         const char **text)
{
    (void)connection;
    (void)command;
    if (strcmp(name, "WAIT") == 0) {
        *text = arg;
        return FAKE_TEXT;
    }
    if (strcmp(name, "EVALSHA") != 0 && strcmp(name, "EVAL") != 0)
        return FAKE_ANSWER;
    *text = "*1\r\n$4\r\ndone\r\n";
    return FAKE_TEXT;
}

static void test_who_gave_up_is_not_surprised(void **state)
{
    (void)state;
    store_fixture f;
    char url[64], one[] = ":1\r\n";
    store_answer a = {0};
    test_fake *fake = test_fake_start(play, one, 60);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_fake_port(fake));
    open_waiting(&f, url, 1000, 1);
    prv_op op = grant("c1", "0");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_RECORD);
    assert_int_equal(test_fake_count(fake, "EVAL"), 1); /* the script's text, once a connection */
    op.wait_ms = 20; /* a request that had little time left: it is told `unavailable` first */
    assert_non_null(prv_store_submit(f.store, &op, store_on_done, &a));
    test_loop_run(f.loop, 400);
    assert_int_equal(a.status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_fake_count(fake, "EVAL"), 2);
    op.raises = false;
    a = (store_answer){0};
    assert_non_null(prv_store_submit(f.store, &op, store_on_done, &a));
    test_loop_run(f.loop, 400);
    assert_int_equal(test_fake_count(fake, "EVAL"), 2);
    store_shut(&f);
    test_fake_stop(fake);
}

static void test_answers_to_wait(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        prv_reply_status status;
        const char *says;
    } rows[] = {
        {":1\r\n", PRV_REPLY_RECORD, ""},
        {":2\r\n", PRV_REPLY_RECORD, ""},
        {":0\r\n", PRV_REPLY_UNAVAILABLE, "has 0 replicas in step"},
        {":-5\r\n", PRV_REPLY_UNAVAILABLE, "answers out of step"},
        {"$1\r\n1\r\n", PRV_REPLY_UNAVAILABLE, "answers out of step"},
        {"-NOPERM no permissions\r\n", PRV_REPLY_UNAVAILABLE, "config/redis.acl"},
        {"-ERR WAIT cannot be used with replica instances\r\n", PRV_REPLY_UNAVAILABLE,
         "answers with an error"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        store_fixture f;
        char url[64], text[100];
        snprintf(text, sizeof text, "%s", rows[i].text);
        test_fake *fake = test_fake_start(play, text, 0);
        snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_fake_port(fake));
        open_waiting(&f, url, 1000, 1);
        prv_op op = grant("c1", "0");
        assert_int_equal(store_ask(&f, &op).status, rows[i].status);
        assert_int_equal(test_loop_logged(f.loop, "\n"), rows[i].says[0] != '\0');
        assert_true(rows[i].says[0] == '\0' || test_loop_logged(f.loop, rows[i].says) > 0);
        store_shut(&f);
        test_fake_stop(fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_grant_without_replicas_is_taken_back, store_flush),
        cmocka_unit_test_setup(test_what_lowers_stays, store_flush),
        cmocka_unit_test_setup(test_nobody_waits_with_a_change, store_flush),
        cmocka_unit_test_setup(test_with_replicas, store_flush),
        cmocka_unit_test(test_who_gave_up_is_not_surprised),
        cmocka_unit_test(test_answers_to_wait),
    };
    return cmocka_run_group_tests(tests, store_setup, store_teardown);
}
