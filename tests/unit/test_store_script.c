/* What the scripts do to a record, and the blocking client. */
#include "store_fixture.h"
#include "redis/sync.h"
#include "state/state.h"

/* ---- the scripts */

static void test_change(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    store_say("SCRIPT FLUSH");
    prv_op op = store_op_change("change-1", "0");
    store_answer a = store_ask(&f, &op); /* NOSCRIPT, then the text */
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    assert_string_equal(a.text, "change=change-1 seq=8 granted=statistics ");
    store_say_gives("TTL privacy:consent:{a}", ":");
    store_say_gives("EXPIRETIME privacy:consent:{a}", ":4000000000");
    store_say_gives("INFO commandstats", "cmdstat_eval:calls=1,");

    a = store_ask(&f, &op); /* the same change again */
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    store_say_gives("INFO commandstats", "cmdstat_eval:calls=1,");

    op = store_op_change("change-2", "7");
    a = store_ask(&f, &op);
    assert_int_equal(a.status, PRV_REPLY_CONFLICT);
    assert_string_equal(a.text, "change=change-1 seq=8 granted=statistics ");

    store_say("HSET privacy:consent:{a} refused marketing subject x");
    op = store_op_change("change-2", "8");
    op.args[5] = PRV_STR("9");
    a = store_ask(&f, &op); /* named fields change, `refused` goes, others stay */
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    assert_string_equal(a.text, "change=change-2 seq=9 granted=statistics subject=x ");
    store_shut(&f);
}

/* An operator's HSET between a read and the write has no seq of its own. */
static void test_change_over_a_hand_edit(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    static const char *const edits[] = {
        "HSET privacy:consent:{a} refused marketing", "HSET privacy:consent:{a} age under:13",
        "HSET privacy:consent:{a} restricted 1", "HSET privacy:consent:{a} note mine"};
    const prv_str pairs[] = {PRV_STR("seq"), PRV_STR("4")};
    const prv_reply read = {.status = PRV_REPLY_RECORD, .n = 2, .pairs = pairs};
    char expected[2 + PRV_SEEN_LEN + 1] = "4:";
    assert_true(prv_record_seen(&read, expected + 2));
    expected[2 + PRV_SEEN_LEN] = '\0';
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        store_say("FLUSHALL");
        store_say("HSET privacy:consent:{a} seq 4");
        store_say(edits[i]);
        prv_op op = store_op_change("c", expected);
        store_answer a = store_ask(&f, &op);
        const bool lowered = i < 3;
        assert_int_equal(a.status, lowered ? PRV_REPLY_CONFLICT : PRV_REPLY_RECORD);
    }
    store_shut(&f);
}

static void test_change_over_odd_keys(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    static const struct {
        const char *before;
        const char *expected_seq;
        prv_reply_status status;
        const char *record;
    } rows[] = {
        {"SET privacy:consent:{a} text", "0", PRV_REPLY_RECORD,
         "change=c seq=8 granted=statistics "},
        {"SET privacy:consent:{a} text", "5", PRV_REPLY_CONFLICT, ""},
        {"HSET privacy:consent:{a} seq x", "0", PRV_REPLY_RECORD,
         "seq=8 change=c granted=statistics "},
        {"HSET privacy:consent:{a} seq 4294967296", "0", PRV_REPLY_RECORD,
         "seq=8 change=c granted=statistics "},
        {"HSET privacy:consent:{a} seq 4294967295", "0", PRV_REPLY_CONFLICT, "seq=4294967295 "},
        {"HSET privacy:consent:{a} seq 0x8", "0", PRV_REPLY_RECORD,
         "seq=8 change=c granted=statistics "},
        {"HSET privacy:consent:{a} age under:13", "0", PRV_REPLY_RECORD,
         "age=under:13 change=c seq=8 granted=statistics "},
        {"HSET privacy:consent:{b} age under:13", "3", PRV_REPLY_CONFLICT, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        store_say("FLUSHALL");
        store_say(rows[i].before);
        prv_op op = store_op_change("c", rows[i].expected_seq);
        store_answer a = store_ask(&f, &op);
        if (a.status != rows[i].status || strcmp(a.text, rows[i].record) != 0)
            fail_msg("%s: %d `%s`", rows[i].before, (int)a.status, a.text);
    }
    store_say_gives("TYPE privacy:consent:{a}", "none");
    store_shut(&f);
}

static void test_age(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    static const struct {
        const char *before; /* fields as HSET takes them */
        const char *read, *wanted;
        const char *record;
    } rows[] = {
        {"id a", "", "under:13", "id=a age=under:13 age_proof=P age_at=T "},
        {"id a age ok:13", "ok:13", "under:13", "id=a age=under:13 age_proof=P age_at=T "},
        {"id a age ok:13,under:16", "ok:13", "under:13", "id=a age=ok:13,under:13 "},
        {"id a age under:13 age_proof x", "", "under:16", "id=a age=under:13 age_proof=x "},
        {"id a age under:16 age_proof x age_at y", "", "under:13", "id=a age=under:13 "},
        {"id a age ok:16", "", "ok:18", "id=a age=ok:16 "},
        {"id a age junk", "", "under:13", "id=a age=under:13 "},
        {"id a age parental:13", "ok:13", "ok:13,under:16", "id=a age=parental:13,under:16 "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[200];
        store_say("FLUSHALL");
        snprintf(line, sizeof line, "HSET privacy:consent:{a} %s", rows[i].before);
        store_say(line);
        prv_op op = {.kind = PRV_OP_AGE, .key = PRV_STR("privacy:consent:{a}"), .n_args = 4};
        op.args[0] = store_str(rows[i].read);
        op.args[1] = store_str(rows[i].wanted);
        op.args[2] = PRV_STR("P");
        op.args[3] = PRV_STR("T");
        store_answer a = store_ask(&f, &op);
        if (a.status != PRV_REPLY_RECORD || strcmp(a.text, rows[i].record) != 0)
            fail_msg("%s + %s: %d `%s`", rows[i].before, rows[i].wanted, (int)a.status, a.text);
        /* The same again finds its own work. */
        a = store_ask(&f, &op);
        assert_string_equal(a.text, rows[i].record);
    }
    store_say("FLUSHALL");
    prv_op op = {.kind = PRV_OP_AGE, .key = PRV_STR("privacy:consent:{a}"), .n_args = 4};
    op.args[1] = PRV_STR("under:13");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_ABSENT);
    store_say_gives("EXISTS privacy:consent:{a}", ":0");
    store_say("SET privacy:consent:{a} text");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNREADABLE);
    store_shut(&f);
}

static void test_expire_only_where_there_is_no_ttl(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    prv_op op = {.kind = PRV_OP_EXPIRE, .key = PRV_STR("privacy:consent:{a}"), .n_args = 1};
    op.args[0] = PRV_STR("1000");
    store_say("HSET privacy:consent:{a} id a");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_RECORD);
    store_say_gives("TTL privacy:consent:{a}", ":1000");
    op.args[0] = PRV_STR("5000");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_RECORD);
    store_say_gives("TTL privacy:consent:{a}", ":1000");
    store_shut(&f);
}

/* ---- the blocking client */

static void test_sync(void **state)
{
    (void)state;
    char url[160];
    prv_store_conf *conf;
    prv_sync *sync;
    prv_error err;
    prv_reply reply;
    snprintf(url, sizeof url, "redis+unix://%s", store_redis.socket);
    const prv_store_settings settings = {
        .url = store_str(url), .prefix = PRV_STR("privacy:"), .timeout_ms = 50};
    assert_int_equal(prv_store_conf_parse(&settings, &conf, &err), PRV_OK);
    assert_int_equal(prv_sync_open(conf, &sync, &err), PRV_OK);
    prv_op read = store_op_read("privacy:consent:{a}"), change = store_op_change("c", "0");
    prv_sync_op(sync, &read, &reply);
    assert_int_equal(reply.status, PRV_REPLY_ABSENT);
    store_say("SCRIPT FLUSH");
    prv_sync_op(sync, &change, &reply);
    assert_int_equal(reply.status, PRV_REPLY_RECORD);
    prv_sync_op(sync, &change, &reply);
    assert_int_equal(reply.status, PRV_REPLY_RECORD);
    store_say("CLIENT KILL TYPE normal");
    prv_sync_op(sync, &read, &reply);
    assert_int_equal(reply.status, PRV_REPLY_RECORD);
    assert_int_equal(reply.n, 6);

    char line[64];
    for (int i = 0; i < 500; i++) {
        snprintf(line, sizeof line, "HSET privacy:consent:{k%d} id x", i);
        store_say(line);
    }
    store_say("SET other 1");
    uint64_t cursor = 0;
    size_t total = 0, n;
    const prv_str *keys;
    do {
        assert_int_equal(
            prv_sync_scan(sync, PRV_STR("privacy:consent:*"), &cursor, &keys, &n, &err), PRV_OK);
        for (size_t i = 0; i < n; i++)
            assert_memory_equal(keys[i].p, "privacy:consent:{", 17);
        total += n;
    } while (cursor != 0);
    assert_in_range(total, 501, 700); /* SCAN may repeat */

    test_redis_stop(&store_redis);
    prv_sync_op(sync, &read, &reply);
    assert_int_equal(reply.status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(prv_sync_scan(sync, PRV_STR("*"), &cursor, &keys, &n, &err), PRV_ERR_IO);
    assert_non_null(strstr(err.text, "cannot be reached: Connection refused"));
    prv_sync_close(sync);
    assert_int_equal(prv_sync_open(conf, &sync, &err), PRV_ERR_IO);
    assert_null(sync);
    prv_store_conf_free(conf);
    test_redis_start(&store_redis, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_change, store_flush),
        cmocka_unit_test_setup(test_change_over_a_hand_edit, store_flush),
        cmocka_unit_test_setup(test_change_over_odd_keys, store_flush),
        cmocka_unit_test_setup(test_age, store_flush),
        cmocka_unit_test_setup(test_expire_only_where_there_is_no_ttl, store_flush),
        cmocka_unit_test_setup(test_sync, store_flush),
    };
    return cmocka_run_group_tests(tests, store_setup, store_teardown);
}
