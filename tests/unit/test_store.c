/* The asynchronous client against a real redis-server: reading, users, shared reads, waits. Faults
 * that a real server does not commit are in test_store_faults.c. */
#include "store_fixture.h"

#include <fcntl.h>
#include <unistd.h>

/* ---- reading */

static void check_reads(store_fixture *f)
{
    store_say("HSET privacy:consent:{a} id a seq 3");
    store_say("SET privacy:consent:{s} text");
    prv_op op = store_op_read("privacy:consent:{a}");
    store_answer a = store_ask(f, &op);
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    assert_string_equal(a.text, "id=a seq=3 ");
    op = store_op_read("privacy:consent:{none}");
    a = store_ask(f, &op);
    assert_int_equal(a.status, PRV_REPLY_ABSENT);
    assert_int_equal(a.n, 0);
    op = store_op_read("privacy:consent:{s}");
    a = store_ask(f, &op);
    assert_int_equal(a.status, PRV_REPLY_UNREADABLE);
    assert_int_equal(test_loop_logged(f->loop, "Redis"), 0);
}

static void test_reads_over_a_unix_socket(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    check_reads(&f);
    store_shut(&f);
}

static void test_reads_over_tcp(void **state)
{
    (void)state;
    store_fixture f;
    store_open_tcp(&f);
    check_reads(&f);
    store_shut(&f);
}

static void test_any_of_the_addresses_of_a_name(void **state)
{
    (void)state;
    store_fixture f;
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", store_redis.port);
    store_open_with(&f, url, "", TIMEOUT);
    /* The first address refuses; the second is where Redis listens. */
    snprintf(f.conf->seeds[0].addrs[1], PRV_STORE_ADDR_MAX, "127.0.0.1");
    snprintf(f.conf->seeds[0].addrs[0], PRV_STORE_ADDR_MAX, "::1");
    f.conf->seeds[0].n_addrs = 2;
    prv_op op = store_op_read("privacy:consent:{none}");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_ABSENT);
    assert_int_equal(test_loop_logged(f.loop, "Redis"), 0);
    store_shut(&f);
}

static void test_database(void **state)
{
    (void)state;
    store_fixture f;
    char url[64];
    store_say("HSET privacy:consent:{a} id zero");
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/5", store_redis.port);
    store_open_with(&f, url, "", TIMEOUT);
    prv_op op = store_op_read("privacy:consent:{a}");
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_ABSENT);
    store_shut(&f);

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/4000", store_redis.port); /* there is none */
    store_open_with(&f, url, "", TIMEOUT);
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
    store_shut(&f);
}

/* ---- authentication */

static void write_password(const char *path, const char *password)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, password, strlen(password)), (ssize_t)strlen(password));
    close(fd);
}

static void test_user_and_password(void **state)
{
    (void)state;
    store_fixture f;
    char url[160], path[128];
    store_answer a;
    const prv_op op = store_op_read("privacy:consent:{none}");
    snprintf(path, sizeof path, "%s/password", store_redis.dir);
    store_say("ACL SETUSER node on >SECRET-node ~privacy:* &* -@all +ping +select +hgetall +eval "
              "+evalsha "
              "+hget +hset +hdel +del +exists +expire +expireat");

    snprintf(url, sizeof url, "redis+unix://node@%s", store_redis.socket);
    write_password(path, "SECRET-node\n");
    store_open_with(&f, url, path, TIMEOUT);
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_ABSENT);
    const prv_op elsewhere = store_op_read("other:{a}");
    a = store_ask(&f, &elsewhere); /* NOPERM is not "no record" */
    assert_int_equal(a.status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_loop_logged(f.loop, "does not permit"), 1);
    assert_int_equal(store_ask(&f, &op).status,
                     PRV_REPLY_ABSENT); /* and no reason to give up Redis */
    store_shut(&f);

    write_password(path, "SECRET-wrong\n");
    store_open_with(&f, url, path, TIMEOUT);
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_loop_logged(f.loop, "does not accept the user or the password"), 1);
    assert_int_equal(test_loop_logged(f.loop, "SECRET"), 0);
    assert_int_equal(test_loop_logged(f.loop, "node"), 0);
    store_shut(&f);

    store_say("CONFIG SET requirepass SECRET-default");
    store_open_unix(&f); /* without one */
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_loop_logged(f.loop, "asks for a password"), 1);
    store_shut(&f);

    snprintf(url, sizeof url, "redis://127.0.0.1:%d", store_redis.port);
    write_password(path, "SECRET-default");
    store_open_with(&f, url, path, TIMEOUT);
    assert_int_equal(store_ask(&f, &op).status, PRV_REPLY_ABSENT);
    store_shut(&f);
    unlink(path);

    char out[64];
    test_redis_say(&store_redis,
                   "AUTH SECRET-default\r\nCONFIG SET requirepass \"\"\r\nACL DELUSER node", out,
                   sizeof out);
    assert_string_equal(out, "+OK\r\n+OK\r\n:1\r\n");
}

/* ---- shared reads */

static void test_reads_of_one_key_share_a_flight(void **state)
{
    (void)state;
    store_fixture f;
    store_answer a[10] = {0};
    store_open_unix(&f);
    const prv_op op = store_op_read("privacy:consent:{a}");
    store_say("HSET privacy:consent:{a} id a");
    store_ask(&f, &op);
    store_say("CONFIG RESETSTAT");
    for (int i = 0; i < 10; i++)
        assert_non_null(prv_store_submit(f.store, &op, store_on_done, &a[i]));
    test_loop_until(f.loop, &a[9].done, TIMEOUT);
    for (int i = 0; i < 10; i++)
        assert_string_equal(a[i].text, "id=a ");
    store_say_gives("INFO commandstats", "cmdstat_hgetall:calls=1,");
    store_shut(&f);
}

static void test_a_read_after_a_write_sees_it(void **state)
{
    (void)state;
    store_fixture f;
    store_answer before = {0}, write = {0}, after = {0};
    store_open_unix(&f);
    prv_op read = store_op_read("privacy:consent:{a}"), change = store_op_change("c", "0");
    store_ask(&f, &read);
    assert_non_null(prv_store_submit(f.store, &read, store_on_done, &before));
    assert_non_null(prv_store_submit(f.store, &change, store_on_done, &write));
    assert_non_null(prv_store_submit(f.store, &read, store_on_done, &after));
    test_loop_until(f.loop, &after.done, TIMEOUT);
    assert_int_equal(before.status, PRV_REPLY_ABSENT);
    /* The write met NOSCRIPT or not; by the time it is acknowledged a new read finds it. */
    test_loop_until(f.loop, &write.done, TIMEOUT);
    assert_int_equal(write.status, PRV_REPLY_RECORD);
    assert_int_equal(store_ask(&f, &read).status, PRV_REPLY_RECORD);
    store_shut(&f);
}

/* ---- waits */

static void test_cancel(void **state)
{
    (void)state;
    store_fixture f;
    store_answer a[3] = {0}, other = {0};
    store_open_unix(&f);
    const prv_op op = store_op_read("privacy:consent:{a}"),
                 op2 = store_op_read("privacy:consent:{b}");
    prv_wait *w[3];
    for (int i = 0; i < 3; i++)
        w[i] = prv_store_submit(f.store, &op, store_on_done, &a[i]);
    prv_wait_cancel(w[1]); /* before it is sent */
    test_loop_turn(f.loop, 0);
    prv_wait_cancel(w[0]); /* while it is */
    test_loop_until(f.loop, &a[2].done, TIMEOUT);
    assert_int_equal(a[0].times + a[1].times, 0);
    assert_int_equal(a[2].times, 1);

    prv_wait_cancel(prv_store_submit(f.store, &op, store_on_done, &a[0]));
    prv_store_submit(f.store, &op2, store_on_done, &other);
    test_loop_until(f.loop, &other.done, TIMEOUT);
    test_loop_run(f.loop, 20);
    assert_int_equal(a[0].times, 0);
    store_shut(&f);
}

typedef struct chain {
    store_fixture *f;
    prv_wait *victim;
    store_answer victim_answer, last;
    bool close;
    unsigned left;
} chain;

static void on_chain(void *arg, const prv_reply *reply)
{
    chain *c = arg;
    const prv_op op = store_op_read("privacy:consent:{a}");
    (void)reply;
    if (c->victim != NULL) {
        prv_wait_cancel(c->victim);
        c->victim = NULL;
    }
    if (c->close)
        prv_store_close(c->f->store);
    else if (c->left-- > 0)
        assert_non_null(prv_store_submit(c->f->store, &op, on_chain, c));
    else
        assert_non_null(prv_store_submit(c->f->store, &op, store_on_done, &c->last));
}

static void test_callbacks_may_submit_cancel_and_close(void **state)
{
    (void)state;
    store_fixture f;
    store_open_unix(&f);
    const prv_op op = store_op_read("privacy:consent:{a}");
    chain c = {.f = &f, .left = 20};
    /* Waits are told in no promised order: the victim may have been told before. */
    assert_non_null(prv_store_submit(f.store, &op, on_chain, &c));
    const prv_op later = store_op_read("privacy:consent:{b}");
    c.victim = prv_store_submit(f.store, &later, store_on_done, &c.victim_answer);
    assert_true(test_loop_until(f.loop, &c.last.done, 2000));
    assert_int_equal(c.victim_answer.times, 0);

    chain closer = {.f = &f, .close = true};
    store_answer others[3] = {0};
    assert_non_null(prv_store_submit(f.store, &op, on_chain, &closer));
    for (int i = 0; i < 3; i++)
        assert_non_null(
            prv_store_submit(f.store, i == 2 ? &later : &op, store_on_done, &others[i]));
    test_loop_until(f.loop, &others[2].done, TIMEOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(others[i].times, 1);
    assert_int_equal(others[2].status, PRV_REPLY_UNAVAILABLE);
    f.store = NULL;
    store_shut(&f);
}

static void test_close_tells_everybody(void **state)
{
    (void)state;
    store_fixture f;
    store_answer a[4] = {0};
    store_open_unix(&f);
    const prv_op op = store_op_read("privacy:consent:{a}"),
                 op2 = store_op_read("privacy:consent:{b}");
    store_ask(&f, &op);
    store_say("CLIENT PAUSE 100");
    for (int i = 0; i < 2; i++)
        prv_store_submit(f.store, &op, store_on_done, &a[i]);
    test_loop_run(f.loop, 10); /* sent */
    for (int i = 2; i < 4; i++)
        prv_store_submit(f.store, &op2, store_on_done, &a[i]); /* not sent */
    prv_store_close(f.store);
    f.store = NULL;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(a[i].times, 1);
        assert_int_equal(a[i].status, PRV_REPLY_UNAVAILABLE);
    }
    store_say("CLIENT UNPAUSE");
    store_shut(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_reads_over_a_unix_socket, store_flush),
        cmocka_unit_test_setup(test_reads_over_tcp, store_flush),
        cmocka_unit_test_setup(test_any_of_the_addresses_of_a_name, store_flush),
        cmocka_unit_test_setup(test_database, store_flush),
        cmocka_unit_test_setup(test_user_and_password, store_flush),
        cmocka_unit_test_setup(test_reads_of_one_key_share_a_flight, store_flush),
        cmocka_unit_test_setup(test_a_read_after_a_write_sees_it, store_flush),
        cmocka_unit_test_setup(test_cancel, store_flush),
        cmocka_unit_test_setup(test_callbacks_may_submit_cancel_and_close, store_flush),
        cmocka_unit_test_setup(test_close_tells_everybody, store_flush),
    };
    return cmocka_run_group_tests(tests, store_setup, store_teardown);
}
