#include "store_fixture.h"

test_redis store_redis;

void store_on_done(void *arg, const prv_reply *reply)
{
    store_answer *a = arg;
    a->done = true;
    a->times++;
    a->status = reply->status;
    a->n = reply->n;
    size_t at = 0;
    a->text[0] = '\0';
    for (size_t i = 0; i + 1 < reply->n && at < sizeof a->text; i += 2)
        at += (size_t)snprintf(a->text + at, sizeof a->text - at, "%.*s=%.*s ",
                               (int)reply->pairs[i].n, reply->pairs[i].p,
                               (int)reply->pairs[i + 1].n, reply->pairs[i + 1].p);
}

prv_str store_str(const char *s)
{
    return (prv_str){s, strlen(s)};
}

prv_op store_op_read(const char *key)
{
    return (prv_op){.kind = PRV_OP_READ, .key = store_str(key)};
}

void store_say(const char *line)
{
    char out[2000];
    test_redis_say(&store_redis, line, out, sizeof out);
    if (out[0] == '-')
        fail_msg("%s: %s", line, out);
}

void store_say_gives(const char *line, const char *expected)
{
    char out[2000];
    test_redis_say(&store_redis, line, out, sizeof out);
    if (strstr(out, expected) == NULL)
        fail_msg("%s: `%s` has no `%s`", line, out, expected);
}

void store_open_with(store_fixture *f, const char *url, const char *password_file, uint32_t timeout)
{
    prv_error err;
    const prv_store_settings settings = {.url = store_str(url),
                                         .prefix = PRV_STR("privacy:"),
                                         .timeout_ms = timeout,
                                         .password_file = password_file};
    if (prv_store_conf_parse(&settings, &f->conf, &err) != PRV_OK)
        fail_msg("%s: %s", url, err.text);
    store_open_conf(f);
}

void store_open_conf(store_fixture *f)
{
    f->loop = test_loop_new();
    f->api = test_loop_api(f->loop);
    f->zone_mem = aligned_alloc(64, PRV_ZONE_MIN);
    memset(f->zone_mem, 0, PRV_ZONE_MIN);
    f->zone = prv_zone_attach(f->zone_mem, PRV_ZONE_MIN);
    f->store = prv_store_open(f->conf, &f->api, f->zone);
    assert_non_null(f->store);
}

void store_open_unix(store_fixture *f)
{
    char url[160];
    snprintf(url, sizeof url, "redis+unix://%s", store_redis.socket);
    store_open_with(f, url, "", TIMEOUT);
}

void store_open_tcp(store_fixture *f)
{
    char url[160];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", store_redis.port);
    store_open_with(f, url, "", TIMEOUT);
}

void store_shut(store_fixture *f)
{
    prv_store_close(f->store);
    test_loop_free(f->loop);
    prv_store_conf_free(f->conf);
    free(f->zone_mem);
}

/* Submits and waits; fails if submit is refused. */
store_answer store_ask(store_fixture *f, const prv_op *op)
{
    store_answer a = {0};
    prv_wait *w = prv_store_submit(f->store, op, store_on_done, &a);
    assert_non_null(w);
    assert_false(a.done);
    assert_true(test_loop_until(f->loop, &a.done, TIMEOUT + 2000));
    assert_int_equal(a.times, 1);
    return a;
}

/* Turns until reads of `key` are answered again, and how long that took. */
int64_t store_until_back(store_fixture *f, const char *key, int limit_ms)
{
    const prv_op op = store_op_read(key);
    int64_t start = test_loop_now();
    while (test_loop_now() - start < limit_ms) {
        store_answer a = {0};
        if (prv_store_submit(f->store, &op, store_on_done, &a) != NULL &&
            test_loop_until(f->loop, &a.done, TIMEOUT + 2000) && a.status != PRV_REPLY_UNAVAILABLE)
            return test_loop_now() - start;
        test_loop_run(f->loop, 10);
    }
    return -1;
}

int store_setup(void **state)
{
    (void)state;
    test_redis_init(&store_redis);
    test_redis_start(&store_redis, NULL);
    return 0;
}

int store_teardown(void **state)
{
    (void)state;
    test_redis_remove(&store_redis);
    return 0;
}

int store_flush(void **state)
{
    (void)state;
    store_say("FLUSHALL");
    return 0;
}

prv_op store_op_change(const char *change, const char *seq)
{
    prv_op op = {.kind = PRV_OP_CHANGE, .key = PRV_STR("privacy:consent:{a}"), .n_args = 9};
    op.args[0] = store_str(change);
    op.args[1] = store_str(seq);
    op.args[2] = PRV_STR("4000000000");
    op.args[3] = PRV_STR("2");
    op.args[4] = PRV_STR("seq");
    op.args[5] = PRV_STR("8");
    op.args[6] = PRV_STR("granted");
    op.args[7] = PRV_STR("statistics");
    op.args[8] = PRV_STR("refused");
    return op;
}
