/* The invalidation link against a real Redis: what it hears, who holds it, what it does when it is
 * not answered. */
#include "store_fixture.h"

#define ID1 "aaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID2 "bbbbbbbbbbbbbbbbbbbbbbbbba"
#define TAG 7

static prv_cache_key key_of(const char *id)
{
    prv_cache_key key;
    prv_id_pack(id, key.b);
    return key;
}

static void put(prv_zone *zone, const char *id)
{
    const prv_state s = {.present = true, .id_len = PRV_ID_LEN, .seq = 1, .granted = 6};
    const prv_cache_put_how how = {.stamp = prv_cache_stamp(zone, key_of(id))};
    prv_cache_put(zone, key_of(id), TAG, &s, &how, 1);
}

static prv_cached get(prv_zone *zone, const char *id)
{
    prv_cached got;
    assert_true(prv_cache_get(zone, key_of(id), TAG, test_loop_now(), &got));
    return got;
}

static bool until_up(store_fixture *f, bool up, int ms)
{
    for (int64_t end = test_loop_now() + ms; test_loop_now() < end; test_loop_turn(f->loop, 5)) {
        if (prv_zone_link_up(f->zone, test_loop_now()) == up)
            return true;
    }
    return false;
}

static bool until_buried(store_fixture *f, const char *id)
{
    for (int64_t end = test_loop_now() + 2000; test_loop_now() < end; test_loop_turn(f->loop, 5)) {
        if (get(f->zone, id).tombstone)
            return true;
    }
    return false;
}

static void open_up(store_fixture *f)
{
    store_open_unix(f);
    assert_true(prv_store_follow(f->store) && prv_store_follow(f->store));
    assert_true(until_up(f, true, 3000));
}

static void test_every_kind_of_change_is_heard(void **state)
{
    static const char *const changes[] = {
        "HSET privacy:consent:{" ID1 "} refused statistics",
        "HDEL privacy:consent:{" ID1 "} refused",
        "PEXPIRE privacy:consent:{" ID1 "} 20",
        "SET privacy:consent:{" ID1 "} x",
        "DEL privacy:consent:{" ID1 "}",
        "SET privacy:subject:{" ID1 "} " ID2,
        "FLUSHALL",
        "FLUSHDB",
    };
    store_fixture f;
    (void)state;
    open_up(&f);
    store_say("HSET privacy:consent:{" ID1 "} a b");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        test_loop_run(f.loop, 20); /* what was said before has come */
        put(f.zone, ID1);
        put(f.zone, ID2);
        assert_true(get(f.zone, ID1).fresh && get(f.zone, ID2).fresh);
        store_say(changes[i]);
        assert_true(until_buried(&f, ID1));
        if (strncmp(changes[i], "FLUSH", 5) != 0)
            assert_false(get(f.zone, ID2).tombstone);
        else
            assert_true(get(f.zone, ID2).tombstone);
    }
    /* Keys that are none of ours change nothing. */
    test_loop_run(f.loop, 20);
    put(f.zone, ID1);
    store_say("SET privacy:consent:{short} x");
    store_say("SET privacy:request:{" ID1 "} x");
    store_say("SET other:consent:{" ID1 "} x");
    test_loop_run(f.loop, 50);
    assert_true(get(f.zone, ID1).fresh);
    store_shut(&f);
}

static void test_many_keys_in_one_message(void **state)
{
    store_fixture f;
    (void)state;
    open_up(&f);
    put(f.zone, ID1);
    store_say("EVAL \"for i = 1, 3000 do redis.call('SET', 'privacy:consent:{' .. "
              "string.format('%026d', i) .. '}', 'x') end "
              "return redis.call('SET', 'privacy:consent:{" ID1 "}', 'x')\" 0");
    assert_true(until_buried(&f, ID1));
    assert_true(prv_zone_link_up(f.zone, test_loop_now()));
    store_shut(&f);
}

static void test_two_processes_one_link(void **state)
{
    store_fixture f;
    (void)state;
    open_up(&f);
    prv_store *second = prv_store_open(f.conf, &f.api, f.zone);
    assert_true(prv_store_follow(second));
    test_loop_run(f.loop, 400);
    const uint64_t epoch = prv_zone_epoch(f.zone);
    char out[4096];
    test_redis_say(&store_redis, "CLIENT LIST TYPE pubsub", out, sizeof out);
    assert_non_null(strstr(out, "id="));
    assert_null(strstr(strstr(out, "id=") + 3, "\nid="));
    /* The holder ends: authority ends with it, and the other takes over within a second. */
    prv_store_close(f.store);
    assert_false(prv_zone_link_up(f.zone, test_loop_now()));
    const int64_t start = test_loop_now();
    assert_true(until_up(&f, true, 3000));
    assert_in_range(test_loop_now() - start, 0, 1500);
    assert_true(prv_zone_epoch(f.zone) > epoch);
    put(f.zone, ID1);
    store_say("SET privacy:consent:{" ID1 "} x");
    assert_true(until_buried(&f, ID1));
    f.store = second;
    store_shut(&f);
}

static void test_redis_goes_and_comes(void **state)
{
    store_fixture f;
    (void)state;
    open_up(&f);
    put(f.zone, ID1);
    const uint64_t epoch = prv_zone_epoch(f.zone);
    store_say("CLIENT KILL TYPE pubsub");
    assert_true(until_up(&f, false, 2000));
    assert_true(until_up(&f, true, 2000));
    assert_true(prv_zone_epoch(f.zone) > epoch);
    assert_false(get(f.zone, ID1).fresh || get(f.zone, ID1).tombstone); /* at best last seen */
    assert_int_equal(prv_cell_due(&f.zone->breaker), 0); /* Redis itself was never away */

    test_redis_stop(&store_redis);
    assert_true(until_up(&f, false, 2000));
    test_loop_run(f.loop, 50);
    assert_true(prv_cell_due(&f.zone->breaker) != 0); /* known before any request had to find out */
    const prv_op read = store_op_read("k");
    store_answer a = {0};
    assert_null(prv_store_submit(f.store, &read, store_on_done, &a));
    test_redis_start(&store_redis, NULL);
    assert_true(until_up(&f, true, 3000));
    assert_int_equal(prv_cell_due(&f.zone->breaker), 0); /* and so is its return */
    store_ask(&f, &read);
    store_shut(&f);
}

/* ---- a peer that misbehaves: the scripted server takes one connection at a time, the link's */

typedef struct script {
    const char *name; /* the command to which `text` is the answer */
    const char *text;
} script;

static test_fake_do said(void *arg, unsigned connection, unsigned command, const char *name,
                         const char **text)
{
    const script *s = arg;
    (void)connection;
    (void)command;
    if (strcasecmp(name, s->name) == 0) {
        *text = s->text;
        return FAKE_TEXT;
    }
    if (strcasecmp(name, "CLIENT") == 0) {
        *text = s->name[0] == '\0' ? "+OK\r\n" : ":7\r\n";
        return FAKE_TEXT;
    }
    return FAKE_ANSWER;
}

static void test_what_is_no_link_is_none(void **state)
{
    static const script scripts[] = {
        {"CLIENT", "+OK\r\n"},
        {"CLIENT", "-NOPERM this user has no permissions\r\n"},
        {"CLIENT", ":7\r\n:7\r\n:7\r\n"},
        {"CLIENT", "*2147483647\r\n"},
        {"SUBSCRIBE", "+OK\r\n"},
        {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n"},
        {"SUBSCRIBE", "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n:1\r\n"},
        {"SUBSCRIBE", "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n:1\r\n"},
        {"PING", "+PONG\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        store_fixture f;
        char url[64];
        test_fake *fake = test_fake_start(said, (void *)(uintptr_t)&scripts[i], 0);
        snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_fake_port(fake));
        store_open_with(&f, url, "", TIMEOUT);
        assert_true(prv_store_follow(f.store));
        assert_false(until_up(&f, true, 400));
        store_shut(&f);
        test_fake_stop(fake);
    }
}

/* ---- keys */

static void test_keys(void **state)
{
    static const struct {
        const char *key;
        bool ours;
    } rows[] = {
        {"p:consent:{" ID1 "}", true},
        {"p:subject:{" ID1 "}", true},
        {"p:history:{" ID1 "}", false},
        {"consent:{" ID1 "}", false},
        {"p:consent:{" ID1 "}x", false},
        {"p:consent:{" ID1, false},
        {"p:consent:{AAAAAAAAAAAAAAAAAAAAAAAAAA}", false},
        {"p:consent:{aaaaaaaaaaaaaaaaaaaaaaaaab}", false},
        {"p:consent:{}", false},
        {"p:", false},
        {"", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        prv_cache_key key;
        if (prv_push_key(PRV_STR("p:"), store_str(rows[i].key), &key) != rows[i].ours)
            fail_msg("%s", rows[i].key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_kind_of_change_is_heard, store_flush),
        cmocka_unit_test_setup(test_many_keys_in_one_message, store_flush),
        cmocka_unit_test_setup(test_two_processes_one_link, store_flush),
        cmocka_unit_test(test_redis_goes_and_comes),
        cmocka_unit_test(test_what_is_no_link_is_none),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, store_setup, store_teardown);
}
