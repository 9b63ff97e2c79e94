/* The asynchronous client against a real redis-server: what it reads, writes and survives. Faults
 * that a real server does not commit are in test_store_faults.c. */
#include "loop.h"
#include "redis/client.h"
#include "redis/sync.h"
#include "redis_server.h"
#include "state/zone.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT 200 /* of requests; valgrind is slow */

static test_redis redis;

typedef struct fixture {
    test_loop *loop;
    prv_loop api;
    prv_store_conf *conf;
    prv_store *store;
    void *zone_mem;
    prv_zone *zone;
} fixture;

typedef struct answer {
    bool done;
    unsigned times;
    prv_reply_status status;
    size_t n;
    char text[400]; /* name=value ... as they came */
} answer;

static void on_done(void *arg, const prv_reply *reply)
{
    answer *a = arg;
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

static prv_str str(const char *s)
{
    return (prv_str){s, strlen(s)};
}

static prv_op op_read(const char *key)
{
    return (prv_op){.kind = PRV_OP_READ, .key = str(key)};
}

static void say(const char *line)
{
    char out[2000];
    test_redis_say(&redis, line, out, sizeof out);
    if (out[0] == '-')
        fail_msg("%s: %s", line, out);
}

static void say_gives(const char *line, const char *expected)
{
    char out[2000];
    test_redis_say(&redis, line, out, sizeof out);
    if (strstr(out, expected) == NULL)
        fail_msg("%s: `%s` has no `%s`", line, out, expected);
}

static void open_with(fixture *f, const char *url, const char *password_file, uint32_t timeout)
{
    prv_error err;
    if (prv_store_conf_parse(str(url), password_file, timeout, PRV_STR("privacy:"), &f->conf,
                             &err) != PRV_OK)
        fail_msg("%s: %s", url, err.text);
    f->loop = test_loop_new();
    f->api = test_loop_api(f->loop);
    f->zone_mem = aligned_alloc(64, PRV_ZONE_MIN);
    memset(f->zone_mem, 0, PRV_ZONE_MIN);
    f->zone = prv_zone_attach(f->zone_mem, PRV_ZONE_MIN);
    f->store = prv_store_open(f->conf, &f->api, f->zone);
    assert_non_null(f->store);
}

static void open_unix(fixture *f)
{
    char url[160];
    snprintf(url, sizeof url, "redis+unix://%s", redis.socket);
    open_with(f, url, "", TIMEOUT);
}

static void open_tcp(fixture *f)
{
    char url[160];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", redis.port);
    open_with(f, url, "", TIMEOUT);
}

static void shut(fixture *f)
{
    prv_store_close(f->store);
    test_loop_free(f->loop);
    prv_store_conf_free(f->conf);
    free(f->zone_mem);
}

/* Submits and waits; fails if submit is refused. */
static answer ask(fixture *f, const prv_op *op)
{
    answer a = {0};
    prv_wait *w = prv_store_submit(f->store, op, on_done, &a);
    assert_non_null(w);
    assert_false(a.done);
    assert_true(test_loop_until(f->loop, &a.done, TIMEOUT + 2000));
    assert_int_equal(a.times, 1);
    return a;
}

/* Turns until reads of `key` are answered again, and how long that took. */
static int64_t until_back(fixture *f, const char *key, int limit_ms)
{
    const prv_op op = op_read(key);
    int64_t start = test_loop_now();
    while (test_loop_now() - start < limit_ms) {
        answer a = {0};
        if (prv_store_submit(f->store, &op, on_done, &a) != NULL &&
            test_loop_until(f->loop, &a.done, TIMEOUT + 2000) && a.status != PRV_REPLY_UNAVAILABLE)
            return test_loop_now() - start;
        test_loop_run(f->loop, 10);
    }
    return -1;
}

static int setup(void **state)
{
    (void)state;
    test_redis_init(&redis);
    test_redis_start(&redis, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_redis_remove(&redis);
    return 0;
}

static int flush(void **state)
{
    (void)state;
    say("FLUSHALL");
    return 0;
}

/* ---- reading */

static void check_reads(fixture *f)
{
    say("HSET privacy:consent:{a} id a seq 3");
    say("SET privacy:consent:{s} text");
    prv_op op = op_read("privacy:consent:{a}");
    answer a = ask(f, &op);
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    assert_string_equal(a.text, "id=a seq=3 ");
    op = op_read("privacy:consent:{none}");
    a = ask(f, &op);
    assert_int_equal(a.status, PRV_REPLY_ABSENT);
    assert_int_equal(a.n, 0);
    op = op_read("privacy:consent:{s}");
    a = ask(f, &op);
    assert_int_equal(a.status, PRV_REPLY_UNREADABLE);
    assert_int_equal(test_loop_logged(f->loop, "Redis"), 0);
}

static void test_reads_over_a_unix_socket(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
    check_reads(&f);
    shut(&f);
}

static void test_reads_over_tcp(void **state)
{
    (void)state;
    fixture f;
    open_tcp(&f);
    check_reads(&f);
    shut(&f);
}

static void test_any_of_the_addresses_of_a_name(void **state)
{
    (void)state;
    fixture f;
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", redis.port);
    open_with(&f, url, "", TIMEOUT);
    /* The first address refuses; the second is where Redis listens. */
    snprintf(f.conf->addrs[1], PRV_STORE_ADDR_MAX, "127.0.0.1");
    snprintf(f.conf->addrs[0], PRV_STORE_ADDR_MAX, "::1");
    f.conf->n_addrs = 2;
    prv_op op = op_read("privacy:consent:{none}");
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_ABSENT);
    assert_int_equal(test_loop_logged(f.loop, "Redis"), 0);
    shut(&f);
}

static void test_database(void **state)
{
    (void)state;
    fixture f;
    char url[64];
    say("HSET privacy:consent:{a} id zero");
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/5", redis.port);
    open_with(&f, url, "", TIMEOUT);
    prv_op op = op_read("privacy:consent:{a}");
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_ABSENT);
    shut(&f);

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/4000", redis.port); /* there is none */
    open_with(&f, url, "", TIMEOUT);
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_null(prv_store_submit(f.store, &op, on_done, NULL));
    shut(&f);
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
    fixture f;
    char url[160], path[128];
    answer a;
    const prv_op op = op_read("privacy:consent:{none}");
    snprintf(path, sizeof path, "%s/password", redis.dir);
    say("ACL SETUSER node on >SECRET-node ~privacy:* &* -@all +ping +select +hgetall +eval "
        "+evalsha "
        "+hget +hset +hdel +del +exists +expire +expireat");

    snprintf(url, sizeof url, "redis+unix://node@%s", redis.socket);
    write_password(path, "SECRET-node\n");
    open_with(&f, url, path, TIMEOUT);
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_ABSENT);
    const prv_op elsewhere = op_read("other:{a}");
    a = ask(&f, &elsewhere); /* NOPERM is not "no record" */
    assert_int_equal(a.status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_loop_logged(f.loop, "does not permit"), 1);
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_ABSENT); /* and no reason to give up Redis */
    shut(&f);

    write_password(path, "SECRET-wrong\n");
    open_with(&f, url, path, TIMEOUT);
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_loop_logged(f.loop, "does not accept the user or the password"), 1);
    assert_int_equal(test_loop_logged(f.loop, "SECRET"), 0);
    assert_int_equal(test_loop_logged(f.loop, "node"), 0);
    shut(&f);

    say("CONFIG SET requirepass SECRET-default");
    open_unix(&f); /* without one */
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_loop_logged(f.loop, "asks for a password"), 1);
    shut(&f);

    snprintf(url, sizeof url, "redis://127.0.0.1:%d", redis.port);
    write_password(path, "SECRET-default");
    open_with(&f, url, path, TIMEOUT);
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_ABSENT);
    shut(&f);
    unlink(path);

    char out[64];
    test_redis_say(&redis, "AUTH SECRET-default\r\nCONFIG SET requirepass \"\"\r\nACL DELUSER node",
                   out, sizeof out);
    assert_string_equal(out, "+OK\r\n+OK\r\n:1\r\n");
}

/* ---- the scripts */

static prv_op op_change(const char *change, const char *seq)
{
    prv_op op = {.kind = PRV_OP_CHANGE, .key = PRV_STR("privacy:consent:{a}"), .n_args = 9};
    op.args[0] = str(change);
    op.args[1] = str(seq);
    op.args[2] = PRV_STR("4000000000");
    op.args[3] = PRV_STR("2");
    op.args[4] = PRV_STR("seq");
    op.args[5] = PRV_STR("8");
    op.args[6] = PRV_STR("granted");
    op.args[7] = PRV_STR("statistics");
    op.args[8] = PRV_STR("refused");
    return op;
}

static void test_change(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
    say("SCRIPT FLUSH");
    prv_op op = op_change("change-1", "0");
    answer a = ask(&f, &op); /* NOSCRIPT, then the text */
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    assert_string_equal(a.text, "change=change-1 seq=8 granted=statistics ");
    say_gives("TTL privacy:consent:{a}", ":");
    say_gives("EXPIRETIME privacy:consent:{a}", ":4000000000");
    say_gives("INFO commandstats", "cmdstat_eval:calls=1,");

    a = ask(&f, &op); /* the same change again */
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    say_gives("INFO commandstats", "cmdstat_eval:calls=1,");

    op = op_change("change-2", "7");
    a = ask(&f, &op);
    assert_int_equal(a.status, PRV_REPLY_CONFLICT);
    assert_string_equal(a.text, "change=change-1 seq=8 granted=statistics ");

    say("HSET privacy:consent:{a} refused marketing subject x");
    op = op_change("change-2", "8");
    op.args[5] = PRV_STR("9");
    a = ask(&f, &op); /* named fields change, `refused` goes, others stay */
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    assert_string_equal(a.text, "change=change-2 seq=9 granted=statistics subject=x ");
    shut(&f);
}

static void test_change_over_odd_keys(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
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
        say("FLUSHALL");
        say(rows[i].before);
        prv_op op = op_change("c", rows[i].expected_seq);
        answer a = ask(&f, &op);
        if (a.status != rows[i].status || strcmp(a.text, rows[i].record) != 0)
            fail_msg("%s: %d `%s`", rows[i].before, (int)a.status, a.text);
    }
    say_gives("TYPE privacy:consent:{a}", "none");
    shut(&f);
}

static void test_age(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
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
        say("FLUSHALL");
        snprintf(line, sizeof line, "HSET privacy:consent:{a} %s", rows[i].before);
        say(line);
        prv_op op = {.kind = PRV_OP_AGE, .key = PRV_STR("privacy:consent:{a}"), .n_args = 4};
        op.args[0] = str(rows[i].read);
        op.args[1] = str(rows[i].wanted);
        op.args[2] = PRV_STR("P");
        op.args[3] = PRV_STR("T");
        answer a = ask(&f, &op);
        if (a.status != PRV_REPLY_RECORD || strcmp(a.text, rows[i].record) != 0)
            fail_msg("%s + %s: %d `%s`", rows[i].before, rows[i].wanted, (int)a.status, a.text);
        /* The same again finds its own work. */
        a = ask(&f, &op);
        assert_string_equal(a.text, rows[i].record);
    }
    say("FLUSHALL");
    prv_op op = {.kind = PRV_OP_AGE, .key = PRV_STR("privacy:consent:{a}"), .n_args = 4};
    op.args[1] = PRV_STR("under:13");
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_ABSENT);
    say_gives("EXISTS privacy:consent:{a}", ":0");
    say("SET privacy:consent:{a} text");
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_UNREADABLE);
    shut(&f);
}

static void test_expire_only_where_there_is_no_ttl(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
    prv_op op = {.kind = PRV_OP_EXPIRE, .key = PRV_STR("privacy:consent:{a}"), .n_args = 1};
    op.args[0] = PRV_STR("1000");
    say("HSET privacy:consent:{a} id a");
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_RECORD);
    say_gives("TTL privacy:consent:{a}", ":1000");
    op.args[0] = PRV_STR("5000");
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_RECORD);
    say_gives("TTL privacy:consent:{a}", ":1000");
    shut(&f);
}

/* ---- shared reads */

static void test_reads_of_one_key_share_a_flight(void **state)
{
    (void)state;
    fixture f;
    answer a[10] = {0};
    open_unix(&f);
    const prv_op op = op_read("privacy:consent:{a}");
    say("HSET privacy:consent:{a} id a");
    ask(&f, &op);
    say("CONFIG RESETSTAT");
    for (int i = 0; i < 10; i++)
        assert_non_null(prv_store_submit(f.store, &op, on_done, &a[i]));
    test_loop_until(f.loop, &a[9].done, TIMEOUT);
    for (int i = 0; i < 10; i++)
        assert_string_equal(a[i].text, "id=a ");
    say_gives("INFO commandstats", "cmdstat_hgetall:calls=1,");
    shut(&f);
}

static void test_a_read_after_a_write_sees_it(void **state)
{
    (void)state;
    fixture f;
    answer before = {0}, write = {0}, after = {0};
    open_unix(&f);
    prv_op read = op_read("privacy:consent:{a}"), change = op_change("c", "0");
    ask(&f, &read);
    assert_non_null(prv_store_submit(f.store, &read, on_done, &before));
    assert_non_null(prv_store_submit(f.store, &change, on_done, &write));
    assert_non_null(prv_store_submit(f.store, &read, on_done, &after));
    test_loop_until(f.loop, &after.done, TIMEOUT);
    assert_int_equal(before.status, PRV_REPLY_ABSENT);
    /* The write met NOSCRIPT or not; by the time it is acknowledged a new read finds it. */
    test_loop_until(f.loop, &write.done, TIMEOUT);
    assert_int_equal(write.status, PRV_REPLY_RECORD);
    assert_int_equal(ask(&f, &read).status, PRV_REPLY_RECORD);
    shut(&f);
}

/* ---- waits */

static void test_cancel(void **state)
{
    (void)state;
    fixture f;
    answer a[3] = {0}, other = {0};
    open_unix(&f);
    const prv_op op = op_read("privacy:consent:{a}"), op2 = op_read("privacy:consent:{b}");
    prv_wait *w[3];
    for (int i = 0; i < 3; i++)
        w[i] = prv_store_submit(f.store, &op, on_done, &a[i]);
    prv_wait_cancel(w[1]); /* before it is sent */
    test_loop_turn(f.loop, 0);
    prv_wait_cancel(w[0]); /* while it is */
    test_loop_until(f.loop, &a[2].done, TIMEOUT);
    assert_int_equal(a[0].times + a[1].times, 0);
    assert_int_equal(a[2].times, 1);

    prv_wait_cancel(prv_store_submit(f.store, &op, on_done, &a[0]));
    prv_store_submit(f.store, &op2, on_done, &other);
    test_loop_until(f.loop, &other.done, TIMEOUT);
    test_loop_run(f.loop, 20);
    assert_int_equal(a[0].times, 0);
    shut(&f);
}

typedef struct chain {
    fixture *f;
    prv_wait *victim;
    answer victim_answer, last;
    bool close;
    unsigned left;
} chain;

static void on_chain(void *arg, const prv_reply *reply)
{
    chain *c = arg;
    const prv_op op = op_read("privacy:consent:{a}");
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
        assert_non_null(prv_store_submit(c->f->store, &op, on_done, &c->last));
}

static void test_callbacks_may_submit_cancel_and_close(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
    const prv_op op = op_read("privacy:consent:{a}");
    chain c = {.f = &f, .left = 20};
    /* Waits are told in no promised order: the victim may have been told before. */
    assert_non_null(prv_store_submit(f.store, &op, on_chain, &c));
    const prv_op later = op_read("privacy:consent:{b}");
    c.victim = prv_store_submit(f.store, &later, on_done, &c.victim_answer);
    assert_true(test_loop_until(f.loop, &c.last.done, 2000));
    assert_int_equal(c.victim_answer.times, 0);

    chain closer = {.f = &f, .close = true};
    answer others[3] = {0};
    assert_non_null(prv_store_submit(f.store, &op, on_chain, &closer));
    for (int i = 0; i < 3; i++)
        assert_non_null(prv_store_submit(f.store, i == 2 ? &later : &op, on_done, &others[i]));
    test_loop_until(f.loop, &others[2].done, TIMEOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(others[i].times, 1);
    assert_int_equal(others[2].status, PRV_REPLY_UNAVAILABLE);
    f.store = NULL;
    shut(&f);
}

static void test_close_tells_everybody(void **state)
{
    (void)state;
    fixture f;
    answer a[4] = {0};
    open_unix(&f);
    const prv_op op = op_read("privacy:consent:{a}"), op2 = op_read("privacy:consent:{b}");
    ask(&f, &op);
    say("CLIENT PAUSE 100");
    for (int i = 0; i < 2; i++)
        prv_store_submit(f.store, &op, on_done, &a[i]);
    test_loop_run(f.loop, 10); /* sent */
    for (int i = 2; i < 4; i++)
        prv_store_submit(f.store, &op2, on_done, &a[i]); /* not sent */
    prv_store_close(f.store);
    f.store = NULL;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(a[i].times, 1);
        assert_int_equal(a[i].status, PRV_REPLY_UNAVAILABLE);
    }
    say("CLIENT UNPAUSE");
    shut(&f);
}

/* ---- Redis goes and comes */

static void test_down_at_start(void **state)
{
    (void)state;
    fixture f;
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_free_port());
    open_with(&f, url, "", TIMEOUT);
    const prv_op op = op_read("privacy:consent:{a}");
    int64_t start = test_loop_now();
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    assert_true(test_loop_now() - start < TIMEOUT); /* refused: at once */
    for (int i = 0; i < 100; i++)
        assert_null(prv_store_submit(f.store, &op, on_done, NULL));
    test_loop_run(f.loop, 600);
    assert_null(prv_store_submit(f.store, &op, on_done, NULL));
    assert_int_equal(test_loop_logged(f.loop, "cannot be reached: Connection refused"), 1);
    assert_int_equal(test_loop_logged(f.loop, "\n"), 1);
    shut(&f);
}

static void test_killed_and_started_again(void **state)
{
    (void)state;
    fixture f;
    answer a[20] = {0};
    char key[40];
    open_unix(&f);
    prv_op op = op_read("privacy:consent:{a}");
    ask(&f, &op);
    kill(redis.pid, SIGSTOP);
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "privacy:consent:{%d}", i);
        op = op_read(key);
        prv_store_submit(f.store, &op, on_done, &a[i]);
    }
    test_loop_run(f.loop, 20);
    test_redis_stop(&redis);
    test_loop_run(f.loop, 100);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(a[i].times, 1);
        assert_int_equal(a[i].status, PRV_REPLY_UNAVAILABLE);
    }
    assert_null(prv_store_submit(f.store, &op, on_done, NULL));
    test_loop_run(f.loop, 1500);
    test_redis_start(&redis, NULL);
    int64_t back = until_back(&f, "privacy:consent:{a}", 3000);
    assert_in_range(back, 0, 1000);
    test_loop_run(f.loop, 20);
    assert_int_equal(test_loop_logged(f.loop, "deciding without it"), 1);
    assert_int_equal(test_loop_logged(f.loop, "answers again"), 1);
    shut(&f);
}

static void test_back_without_traffic(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
    const prv_op op = op_read("privacy:consent:{a}");
    ask(&f, &op);
    test_redis_stop(&redis);
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_UNAVAILABLE);
    test_redis_start(&redis, NULL);
    test_loop_run(f.loop, 1000); /* nobody asks meanwhile */
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_ABSENT);
    shut(&f);
}

static void test_hung(void **state)
{
    (void)state;
    fixture f;
    answer a[10] = {0};
    open_unix(&f);
    prv_op op = op_read("privacy:consent:{a}");
    ask(&f, &op);
    kill(redis.pid, SIGSTOP);
    int64_t start = test_loop_now();
    for (int i = 0; i < 10; i++)
        prv_store_submit(f.store, &op, on_done, &a[i]);
    test_loop_until(f.loop, &a[9].done, 2000);
    assert_in_range(test_loop_now() - start, TIMEOUT - 2, TIMEOUT + 300);
    assert_null(prv_store_submit(f.store, &op, on_done, NULL)); /* once, not again */
    test_loop_run(f.loop, 100);
    kill(redis.pid, SIGCONT); /* its late replies belong to nobody */
    say("HSET privacy:consent:{b} id b");
    int64_t back = until_back(&f, "privacy:consent:{b}", 3000);
    assert_in_range(back, 0, 1000);
    op = op_read("privacy:consent:{b}");
    assert_string_equal(ask(&f, &op).text, "id=b ");

    kill(redis.pid, SIGSTOP); /* so long that the connection is given up */
    memset(a, 0, sizeof a);
    prv_store_submit(f.store, &op, on_done, &a[0]);
    test_loop_run(f.loop, 2500);
    assert_int_equal(a[0].status, PRV_REPLY_UNAVAILABLE);
    kill(redis.pid, SIGCONT);
    back = until_back(&f, "privacy:consent:{b}", 3000);
    assert_in_range(back, 0, 1200);
    for (int i = 0; i < 10; i++)
        assert_in_range(a[i].times, 0, 1);
    shut(&f);
}

static void test_connection_closed_while_idle(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
    const prv_op op = op_read("privacy:consent:{a}");
    ask(&f, &op);
    say("CLIENT KILL TYPE normal");
    assert_int_equal(ask(&f, &op).status,
                     PRV_REPLY_ABSENT); /* not even seen yet: the write meets a closed socket */
    say("CLIENT KILL TYPE normal");
    test_loop_run(f.loop, 20); /* seen */
    assert_int_equal(test_loop_ios(f.loop), 0);
    assert_int_equal(ask(&f, &op).status, PRV_REPLY_ABSENT);

    answer a = {0}; /* and in mid-flight */
    say("CLIENT PAUSE 60 WRITE");
    kill(redis.pid, SIGSTOP);
    prv_store_submit(f.store, &op, on_done, &a);
    test_loop_run(f.loop, 10);
    kill(redis.pid, SIGCONT);
    say("CLIENT KILL TYPE normal");
    test_loop_until(f.loop, &a.done, 2000);
    assert_int_equal(a.status, PRV_REPLY_ABSENT);
    assert_int_equal(test_loop_logged(f.loop, "Redis"), 0);
    shut(&f);
}

static void test_read_only_replica_still_gives_records(void **state)
{
    (void)state;
    fixture f;
    char line[64];
    open_unix(&f);
    say("HSET privacy:consent:{b} id b");
    snprintf(line, sizeof line, "REPLICAOF 127.0.0.1 %d", test_free_port());
    say(line);
    prv_op read = op_read("privacy:consent:{b}"), change = op_change("c", "0");
    assert_int_equal(ask(&f, &change).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(ask(&f, &change).status, PRV_REPLY_UNAVAILABLE);
    assert_string_equal(ask(&f, &read).text, "id=b ");
    assert_int_equal(
        test_loop_logged(f.loop, "is a replica and takes no writes; choices are not stored"), 1);
    say("CONFIG SET replica-serve-stale-data no");
    assert_int_equal(ask(&f, &read).status,
                     PRV_REPLY_UNAVAILABLE); /* MASTERDOWN is not "no record" */
    say("CONFIG SET replica-serve-stale-data yes");
    say("REPLICAOF NO ONE");
    assert_true(until_back(&f, "privacy:consent:{b}", 2000) >= 0);
    assert_int_equal(ask(&f, &change).status, PRV_REPLY_RECORD);
    assert_int_equal(test_loop_logged(f.loop, "takes choices again"), 1);
    shut(&f);
}

/* ---- the queue */

static void test_queue_waits_for_redis(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
    prv_op change = op_change("queued", "0");
    const prv_op read = op_read("privacy:consent:{a}");
    prv_store_queue(f.store, &change);
    test_loop_run(f.loop, 50);
    assert_string_equal(ask(&f, &read).text, "change=queued seq=8 granted=statistics ");

    test_redis_stop(&redis);
    assert_int_equal(ask(&f, &read).status, PRV_REPLY_UNAVAILABLE);
    change = op_change("queued-2", "0");
    prv_store_queue(f.store, &change);
    test_loop_run(f.loop, 700);
    test_redis_start(&redis, NULL);
    test_loop_run(f.loop, 1200);
    assert_string_equal(ask(&f, &read).text, "change=queued-2 seq=8 granted=statistics ");
    say("HSET privacy:consent:{a} seq 20");
    change = op_change("queued-3", "8"); /* a conflict ends it */
    prv_store_queue(f.store, &change);
    test_loop_run(f.loop, 50);
    say("CONFIG RESETSTAT");
    test_loop_run(f.loop, 500);
    char out[2000];
    test_redis_say(&redis, "INFO commandstats", out, sizeof out);
    assert_null(strstr(out, "evalsha"));
    shut(&f);
}

static void test_queue_is_bounded(void **state)
{
    (void)state;
    fixture f;
    open_unix(&f);
    test_redis_stop(&redis);
    char key[40];
    prv_op op = {.kind = PRV_OP_CHANGE, .n_args = 4};
    op = op_change("c", "0");
    for (int i = 0; i < 1100; i++) {
        snprintf(key, sizeof key, "privacy:consent:{%d}", i);
        op.key = str(key);
        prv_store_queue(f.store, &op);
    }
    assert_int_equal(test_loop_logged(f.loop, "the oldest are dropped"), 1);
    test_loop_run(f.loop, 300);
    test_redis_start(&redis, NULL);
    for (int i = 0; i < 40; i++) {
        char out[64];
        test_loop_run(f.loop, 100);
        test_redis_say(&redis, "DBSIZE", out, sizeof out);
        if (strcmp(out, ":1024\r\n") == 0)
            break;
    }
    say_gives("DBSIZE", ":1024\r\n");
    say_gives("EXISTS privacy:consent:{75}", ":0");
    say_gives("EXISTS privacy:consent:{76}", ":1");
    say_gives("EXISTS privacy:consent:{1099}", ":1");
    shut(&f);
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
    snprintf(url, sizeof url, "redis+unix://%s", redis.socket);
    assert_int_equal(prv_store_conf_parse(str(url), "", 50, PRV_STR("privacy:"), &conf, &err),
                     PRV_OK);
    assert_int_equal(prv_sync_open(conf, &sync, &err), PRV_OK);
    prv_op read = op_read("privacy:consent:{a}"), change = op_change("c", "0");
    prv_sync_op(sync, &read, &reply);
    assert_int_equal(reply.status, PRV_REPLY_ABSENT);
    say("SCRIPT FLUSH");
    prv_sync_op(sync, &change, &reply);
    assert_int_equal(reply.status, PRV_REPLY_RECORD);
    prv_sync_op(sync, &change, &reply);
    assert_int_equal(reply.status, PRV_REPLY_RECORD);
    say("CLIENT KILL TYPE normal");
    prv_sync_op(sync, &read, &reply);
    assert_int_equal(reply.status, PRV_REPLY_RECORD);
    assert_int_equal(reply.n, 6);

    char line[64];
    for (int i = 0; i < 500; i++) {
        snprintf(line, sizeof line, "HSET privacy:consent:{k%d} id x", i);
        say(line);
    }
    say("SET other 1");
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

    test_redis_stop(&redis);
    prv_sync_op(sync, &read, &reply);
    assert_int_equal(reply.status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(prv_sync_scan(sync, PRV_STR("*"), &cursor, &keys, &n, &err), PRV_ERR_IO);
    assert_non_null(strstr(err.text, "cannot be reached: Connection refused"));
    prv_sync_close(sync);
    assert_int_equal(prv_sync_open(conf, &sync, &err), PRV_ERR_IO);
    assert_null(sync);
    prv_store_conf_free(conf);
    test_redis_start(&redis, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_reads_over_a_unix_socket, flush),
        cmocka_unit_test_setup(test_reads_over_tcp, flush),
        cmocka_unit_test_setup(test_any_of_the_addresses_of_a_name, flush),
        cmocka_unit_test_setup(test_database, flush),
        cmocka_unit_test_setup(test_user_and_password, flush),
        cmocka_unit_test_setup(test_change, flush),
        cmocka_unit_test_setup(test_change_over_odd_keys, flush),
        cmocka_unit_test_setup(test_age, flush),
        cmocka_unit_test_setup(test_expire_only_where_there_is_no_ttl, flush),
        cmocka_unit_test_setup(test_reads_of_one_key_share_a_flight, flush),
        cmocka_unit_test_setup(test_a_read_after_a_write_sees_it, flush),
        cmocka_unit_test_setup(test_cancel, flush),
        cmocka_unit_test_setup(test_callbacks_may_submit_cancel_and_close, flush),
        cmocka_unit_test_setup(test_close_tells_everybody, flush),
        cmocka_unit_test_setup(test_down_at_start, flush),
        cmocka_unit_test_setup(test_killed_and_started_again, flush),
        cmocka_unit_test_setup(test_back_without_traffic, flush),
        cmocka_unit_test_setup(test_hung, flush),
        cmocka_unit_test_setup(test_connection_closed_while_idle, flush),
        cmocka_unit_test_setup(test_read_only_replica_still_gives_records, flush),
        cmocka_unit_test_setup(test_queue_waits_for_redis, flush),
        cmocka_unit_test_setup(test_queue_is_bounded, flush),
        cmocka_unit_test_setup(test_sync, flush),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
