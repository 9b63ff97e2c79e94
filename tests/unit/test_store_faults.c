/* What a Redis, or something in its place, may do wrong, from a scripted server: out of step, out
 * of bounds, half a reply, silence, closing, error replies in each place; and what several
 * processes share. */
#include "loop.h"
#include "redis/client.h"
#include "redis_server.h"
#include "state/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT 150

typedef struct answer {
    bool done;
    unsigned times;
    prv_reply_status status;
    char value[64]; /* of the only field */
} answer;

typedef struct fixture {
    test_fake *fake;
    test_loop *loop;
    prv_loop api;
    prv_store_conf *conf;
    prv_store *store;
    void *mem;
    prv_zone *zone;
} fixture;

static void on_done(void *arg, const prv_reply *reply)
{
    answer *a = arg;
    a->done = true;
    a->times++;
    a->status = reply->status;
    if (reply->n == 2)
        snprintf(a->value, sizeof a->value, "%.*s", (int)reply->pairs[1].n, reply->pairs[1].p);
}

static prv_op op_read(const char *key)
{
    return (prv_op){.kind = PRV_OP_READ, .key = {key, strlen(key)}};
}

static void open_timeout(fixture *f, test_fake_script script, void *arg, unsigned delay,
                         unsigned timeout)
{
    char url[64];
    prv_error err;
    f->fake = test_fake_start(script, arg, delay);
    int n = snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_fake_port(f->fake));
    const prv_store_settings settings = {
        .url = {url, (size_t)n}, .prefix = PRV_STR("p:"), .timeout_ms = timeout};
    assert_int_equal(prv_store_conf_parse(&settings, &f->conf, &err), PRV_OK);
    f->loop = test_loop_new();
    f->api = test_loop_api(f->loop);
    f->mem = aligned_alloc(64, PRV_ZONE_MIN);
    memset(f->mem, 0, PRV_ZONE_MIN);
    f->zone = prv_zone_attach(f->mem, PRV_ZONE_MIN);
    f->store = prv_store_open(f->conf, &f->api, f->zone);
    assert_non_null(f->store);
}

static void open_fake(fixture *f, test_fake_script script, void *arg)
{
    open_timeout(f, script, arg, 0, TIMEOUT);
}

static void shut(fixture *f)
{
    prv_store_close(f->store);
    test_loop_free(f->loop);
    test_fake_stop(f->fake);
    prv_store_conf_free(f->conf);
    free(f->mem);
}

static answer ask(fixture *f, const char *key)
{
    answer a = {0};
    const prv_op op = op_read(key);
    assert_non_null(prv_store_submit(f->store, &op, on_done, &a));
    assert_true(test_loop_until(f->loop, &a.done, TIMEOUT + 1000));
    assert_int_equal(a.times, 1);
    return a;
}

static bool is_open(fixture *f)
{
    return prv_cell_due(&f->zone->breaker) != 0;
}

/* ---- one visitor's record must not answer for another */

typedef struct script {
    unsigned connection, command; /* where the fault is */
    test_fake_do what;
    const char *text;
    bool always;
} script;

static test_fake_do play(void *arg, unsigned connection, unsigned command, const char *name,
                         const char **text)
{
    const script *s = arg;
    (void)name;
    *text = s->text;
    bool here =
        s->always ? command >= s->command : connection == s->connection && command == s->command;
    return here ? s->what : FAKE_ANSWER;
}

/* Command 0 is the greeting's PING; then three reads (1, 2, 3) and their PING (4). */
static void test_a_reply_belongs_to_its_request(void **state)
{
    (void)state;
    static const script faults[] = {
        {0, 1, FAKE_BOTH, "*2\r\n$4\r\nname\r\n$6\r\nsecret\r\n", false}, /* one extra reply */
        {0, 2, FAKE_BOTH, "*0\r\n", false},
        {0, 3, FAKE_BOTH, "$32\r\n0123456789abcdef0123456789abcdef\r\n",
         false},                        /* a nonce of somebody else's */
        {0, 2, FAKE_SILENT, "", false}, /* one missing */
        {0, 4, FAKE_BOTH, "*0\r\n", false},
        {0, 4, FAKE_TEXT, "+PONG\r\n", false},
        {0, 4, FAKE_TEXT, "-LOADING Redis is loading the dataset in memory\r\n", false},
        {0, 2, FAKE_TEXT, "%1\r\n+a\r\n+b\r\n", false}, /* RESP3 */
        {0, 2, FAKE_TEXT, "*2147483647\r\n", false},
        {0, 2, FAKE_TEXT, "$1073741824\r\n", false},
        {0, 2, FAKE_TEXT, "HTTP/1.1 200 OK\r\n\r\n", false},
        {0, 2, FAKE_TEXT_CLOSE, "*2\r\n$4\r\nname\r\n$8\r\nprivacy", false}, /* half a reply */
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fixture f;
        script s = faults[i];
        answer a[3] = {0};
        static const char *const keys[] = {"privacy:1", "privacy:2", "privacy:3"};
        open_fake(&f, play, &s);
        for (int k = 0; k < 3; k++) {
            const prv_op op = op_read(keys[k]);
            assert_non_null(prv_store_submit(f.store, &op, on_done, &a[k]));
        }
        test_loop_run(f.loop, TIMEOUT + 30);
        for (int k = 0; k < 3; k++) {
            if (a[k].times != 1 || a[k].status != PRV_REPLY_UNAVAILABLE)
                fail_msg("fault %zu, read %d: %u times, status %d %s", i, k, a[k].times,
                         (int)a[k].status, a[k].value);
        }
        /* Back at once on a new connection, and in step. */
        answer b = {0};
        for (int tries = 0; tries < 100 && (!b.done || b.status != PRV_REPLY_RECORD); tries++) {
            const prv_op op = op_read("privacy:4");
            b = (answer){0};
            if (prv_store_submit(f.store, &op, on_done, &b) != NULL)
                test_loop_until(f.loop, &b.done, TIMEOUT + 100);
            else
                test_loop_run(f.loop, 10);
        }
        assert_string_equal(b.value, "privacy:4");
        assert_int_equal(test_fake_connections(f.fake), 2);
        shut(&f);
    }
}

/* Half a reply, silence past the deadline, then the rest: it belongs to nobody, and the next one is
 * in step. */
static test_fake_do play_late(void *arg, unsigned connection, unsigned command, const char *name,
                              const char **text)
{
    (void)arg;
    (void)connection;
    (void)name;
    static char both[64];
    if (command == 1) {
        *text = "*2\r\n$4\r\nname\r\n$4\r\nla";
        return FAKE_TEXT;
    }
    if (command == 3) { /* asked after the deadline */
        snprintf(both, sizeof both, "te\r\n");
        *text = both;
        return FAKE_TEXT;
    }
    return command == 2 ? FAKE_SILENT : FAKE_ANSWER;
}

static void test_a_stall_after_half_a_reply(void **state)
{
    (void)state;
    fixture f;
    open_fake(&f, play_late, NULL);
    answer a = ask(&f, "privacy:1");
    assert_int_equal(a.status, PRV_REPLY_UNAVAILABLE);
    assert_string_equal(a.value, "");
    test_loop_run(f.loop, 400); /* the probe's PING gets the other half: out of step */
    answer b = {0};
    const prv_op op = op_read("privacy:2");
    for (int i = 0; i < 100 && !b.done; i++) {
        if (prv_store_submit(f.store, &op, on_done, &b) != NULL)
            test_loop_until(f.loop, &b.done, 1000);
        test_loop_run(f.loop, 10);
    }
    assert_true(b.status == PRV_REPLY_UNAVAILABLE || strcmp(b.value, "privacy:2") == 0);
    assert_int_equal(a.times, 1);
    shut(&f);
}

/* ---- replies in the greeting */

static void test_errors_in_the_greeting(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"-LOADING Redis is loading the dataset in memory\r\n", "is loading its data"},
        {"-NOAUTH Authentication required.\r\n", "asks for a password"},
        {"-NOPERM this user has no permissions SECRET\r\n", "does not permit"},
        {"-MASTERDOWN Link with MASTER is down\r\n", "lost its master"},
        {"-ERR max number of clients reached SECRET\r\n", "answers with an error"},
        {"+PONG\r\n", "answers out of step"},
        {"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "answers with something that is no record"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fixture f;
        script s = {0, 0, FAKE_TEXT, rows[i].text, true};
        open_fake(&f, play, &s);
        assert_int_equal(ask(&f, "privacy:1").status, PRV_REPLY_UNAVAILABLE);
        assert_true(is_open(&f));
        if (test_loop_logged(f.loop, rows[i].says) != 1)
            fail_msg("row %zu does not say `%s`", i, rows[i].says);
        assert_int_equal(test_loop_logged(f.loop, "SECRET"), 0);
        shut(&f);
    }
}

/* ---- error replies to one operation */

static void test_an_error_is_never_no_record(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        prv_reply_status status;
    } rows[] = {
        {"-LOADING Redis is loading the dataset in memory\r\n", PRV_REPLY_UNAVAILABLE},
        {"-READONLY You can't write against a read only replica.\r\n", PRV_REPLY_UNAVAILABLE},
        {"-MASTERDOWN Link with MASTER is down\r\n", PRV_REPLY_UNAVAILABLE},
        {"-NOAUTH Authentication required.\r\n", PRV_REPLY_UNAVAILABLE},
        {"-NOPERM this user has no permissions\r\n", PRV_REPLY_UNAVAILABLE},
        {"-CLUSTERDOWN The cluster is down\r\n", PRV_REPLY_UNAVAILABLE},
        {"-MISCONF Redis is configured to save RDB snapshots\r\n", PRV_REPLY_UNAVAILABLE},
        {"-OOM command not allowed when used memory > 'maxmemory'.\r\n", PRV_REPLY_UNAVAILABLE},
        {"-MOVED 1 127.0.0.1:1\r\n", PRV_REPLY_UNAVAILABLE},
        {"-ERR unknown command\r\n", PRV_REPLY_UNAVAILABLE},
        {"-WRONGTYPED is another word\r\n", PRV_REPLY_UNAVAILABLE},
        {"$-1\r\n", PRV_REPLY_UNAVAILABLE},
        {"*-1\r\n", PRV_REPLY_UNAVAILABLE},
        {"+OK\r\n", PRV_REPLY_UNAVAILABLE},
        {":0\r\n", PRV_REPLY_UNAVAILABLE},
        {"*1\r\n$1\r\na\r\n", PRV_REPLY_UNAVAILABLE},
        {"*2\r\n$1\r\na\r\n:1\r\n", PRV_REPLY_UNAVAILABLE},
        {"*2\r\n$1\r\na\r\n$-1\r\n", PRV_REPLY_UNAVAILABLE},
        {"-WRONGTYPE Operation against a key\r\n", PRV_REPLY_UNREADABLE},
        {"*0\r\n", PRV_REPLY_ABSENT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fixture f;
        script s = {0, 1, FAKE_TEXT, rows[i].text, false};
        open_fake(&f, play, &s);
        if (ask(&f, "privacy:1").status != rows[i].status)
            fail_msg("%s", rows[i].text);
        assert_false(is_open(&f)); /* its PING was answered */
        assert_string_equal(ask(&f, "privacy:2").value, "privacy:2");
        assert_int_equal(test_fake_connections(f.fake), 1);
        shut(&f);
    }
}

/* ---- closing and silence */

static void test_closed_before_an_answer_is_asked_again_once(void **state)
{
    (void)state;
    fixture f;
    script s = {0, 2, FAKE_CLOSE, "",
                false}; /* reads 1 and PING 2: the connection ends behind a whole reply */
    open_fake(&f, play, &s);
    assert_int_equal(ask(&f, "privacy:1").status,
                     PRV_REPLY_UNAVAILABLE); /* an answer was there, its nonce not */
    shut(&f);

    s = (script){0, 1, FAKE_CLOSE, "", false};
    open_fake(&f, play, &s);
    assert_string_equal(ask(&f, "privacy:1").value, "privacy:1");
    assert_int_equal(test_loop_logged(f.loop, "Redis"), 0);
    shut(&f);

    s = (script){0, 1, FAKE_CLOSE, "", true}; /* every time */
    open_fake(&f, play, &s);
    assert_int_equal(ask(&f, "privacy:1").status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_fake_connections(f.fake), 2);
    assert_true(is_open(&f));
    assert_int_equal(test_loop_logged(f.loop, "closes the connection on every request"), 1);
    shut(&f);
}

static void test_accepts_and_says_nothing(void **state)
{
    (void)state;
    fixture f;
    script s = {0, 0, FAKE_SILENT, "", true};
    open_fake(&f, play, &s);
    int64_t start = test_loop_now();
    assert_int_equal(ask(&f, "privacy:1").status, PRV_REPLY_UNAVAILABLE);
    assert_in_range(test_loop_now() - start, TIMEOUT - 2, TIMEOUT + 300);
    const prv_op op = op_read("privacy:1");
    for (int i = 0; i < 150; i++) { /* nobody pays again */
        answer a = {0};
        assert_null(prv_store_submit(f.store, &op, on_done, &a));
        test_loop_run(f.loop, 10);
        assert_false(a.done);
    }
    assert_int_equal(test_loop_logged(f.loop, "\n"), 1);
    shut(&f);
}

static void test_nobody_asked_nobody_probes(void **state)
{
    (void)state;
    fixture f;
    open_fake(&f, NULL, NULL);
    test_loop_run(f.loop, 300);
    assert_int_equal(test_fake_connections(f.fake), 0); /* connected by the first submit */
    prv_breaker_report(f.zone, false, test_loop_now());
    test_loop_run(f.loop, 500);
    assert_int_equal(test_fake_connections(f.fake), 0);
    shut(&f);
}

/* ---- pipelining */

static void test_64_reads_take_one_round_trip(void **state)
{
    (void)state;
    fixture f;
    answer a[64] = {0};
    char keys[64][32];
    open_timeout(&f, NULL, NULL, 30, 500);
    assert_string_equal(ask(&f, "privacy:0").value, "privacy:0");
    int64_t start = test_loop_now();
    for (int i = 0; i < 64; i++) {
        snprintf(keys[i], sizeof keys[i], "privacy:%d", i);
        const prv_op op = op_read(keys[i]);
        assert_non_null(prv_store_submit(f.store, &op, on_done, &a[i]));
    }
    test_loop_until(f.loop, &a[63].done, 1000);
    assert_in_range(test_loop_now() - start, 28, 90);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(a[i].times, 1);
        assert_string_equal(a[i].value, keys[i]);
    }
    assert_int_equal(test_fake_count(f.fake, "PING"), 3); /* greeting, first read, all of these */
    shut(&f);
}

static void test_a_wait_has_its_own_deadline(void **state)
{
    (void)state;
    fixture f;
    answer first = {0}, second = {0};
    script s = {0, 1, FAKE_SILENT, "", true};
    open_fake(&f, play, &s);
    const prv_op op = op_read("privacy:1");
    assert_non_null(prv_store_submit(f.store, &op, on_done, &first));
    test_loop_run(f.loop, TIMEOUT / 2);
    int64_t start = test_loop_now();
    assert_non_null(prv_store_submit(f.store, &op, on_done, &second)); /* joins */
    test_loop_until(f.loop, &first.done, 1000);
    assert_false(second.done);
    test_loop_until(f.loop, &second.done, 1000);
    assert_in_range(test_loop_now() - start, TIMEOUT - 2, TIMEOUT + 300);
    assert_int_equal(test_fake_count(f.fake, "HGETALL"), 1);
    shut(&f);
}

static void test_a_sent_read_is_not_joined_after_a_write(void **state)
{
    (void)state;
    fixture f;
    answer before = {0}, joined = {0}, write = {0}, after = {0};
    open_timeout(&f, NULL, NULL, 30, 500);
    assert_string_equal(ask(&f, "privacy:0").value, "privacy:0");
    const prv_op op = op_read("privacy:1");
    const prv_op expire = {
        .kind = PRV_OP_EXPIRE, .key = PRV_STR("privacy:1"), .n_args = 1, .args = {PRV_STR("9")}};
    prv_store_submit(f.store, &op, on_done, &before);
    test_loop_run(f.loop, 5);
    prv_store_submit(f.store, &op, on_done, &joined);
    test_loop_run(f.loop, 5);
    prv_store_submit(f.store, &expire, on_done, &write);
    prv_store_submit(f.store, &op, on_done, &after);
    test_loop_until(f.loop, &after.done, 1000);
    assert_int_equal(before.times + joined.times + write.times + after.times, 4);
    assert_int_equal(test_fake_count(f.fake, "HGETALL"), 3); /* 0; before and joined; after */
    shut(&f);
}

/* ---- the zone's breaker, between processes */

static void test_one_process_pays_for_all(void **state)
{
    (void)state;
    fixture f;
    script s = {0, 0, FAKE_SILENT, "", true};
    open_fake(&f, play, &s);
    test_loop *other_loop = test_loop_new();
    prv_loop other_api = test_loop_api(other_loop);
    prv_store *other = prv_store_open(f.conf, &other_api, f.zone);
    const prv_op op = op_read("privacy:1");
    assert_int_equal(ask(&f, "privacy:1").status, PRV_REPLY_UNAVAILABLE);
    answer a = {0};
    assert_null(prv_store_submit(other, &op, on_done, &a));
    test_loop_run(other_loop, 20);
    assert_int_equal(test_loop_ios(other_loop), 0); /* the first one has the probe, or nobody yet */

    prv_breaker_report(f.zone, true, test_loop_now()); /* another's probe succeeded */
    s.always = false;
    s.connection = 1000;
    assert_non_null(prv_store_submit(other, &op, on_done, &a));
    test_loop_run(other_loop, 5);
    prv_store_close(other);
    assert_int_equal(a.times, 1);
    test_loop_free(other_loop);
    shut(&f);
}

static void test_a_slow_probe_is_no_recovery(void **state)
{
    (void)state;
    fixture f;
    open_timeout(&f, NULL, NULL, 60, 20); /* answers, but always after the timeout */
    assert_int_equal(ask(&f, "privacy:1").status, PRV_REPLY_UNAVAILABLE);
    const prv_op op = op_read("privacy:1");
    for (int i = 0; i < 80; i++) {
        answer a = {0};
        assert_null(prv_store_submit(f.store, &op, on_done, &a));
        test_loop_run(f.loop, 10);
    }
    assert_int_equal(test_loop_logged(f.loop, "answers again"), 0);
    shut(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reply_belongs_to_its_request),
        cmocka_unit_test(test_a_stall_after_half_a_reply),
        cmocka_unit_test(test_errors_in_the_greeting),
        cmocka_unit_test(test_an_error_is_never_no_record),
        cmocka_unit_test(test_closed_before_an_answer_is_asked_again_once),
        cmocka_unit_test(test_accepts_and_says_nothing),
        cmocka_unit_test(test_nobody_asked_nobody_probes),
        cmocka_unit_test(test_64_reads_take_one_round_trip),
        cmocka_unit_test(test_a_wait_has_its_own_deadline),
        cmocka_unit_test(test_a_sent_read_is_not_joined_after_a_write),
        cmocka_unit_test(test_one_process_pays_for_all),
        cmocka_unit_test(test_a_slow_probe_is_no_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
