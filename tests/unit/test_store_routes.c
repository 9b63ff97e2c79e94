/* Sentinels and a cluster that are scripted: redirections, what is announced, and who is asked. */
#include "store_fixture.h"

#include <signal.h>

#define WAIT 1500 /* of requests, where nothing should wait so long */

typedef struct rule {
    const char *name;
    const char *text;
    int times; /* left; -1: always */
    test_fake_do what;
} rule;

typedef struct server {
    test_fake *fake;
    rule rules[8];
    char text[8][400];
} server;

static test_fake_do play(void *arg, unsigned connection, unsigned command, const char *name,
                         const char **text)
{
    server *s = arg;
    (void)connection;
    (void)command;
    for (rule *r = s->rules; r->name != NULL; r++) {
        if (strcmp(r->name, name) != 0 || r->times == 0)
            continue;
        r->times -= r->times > 0;
        *text = r->text;
        return r->what;
    }
    return FAKE_ANSWER;
}

static void start(server *s)
{
    memset(s, 0, sizeof *s);
    s->fake = test_fake_start(play, s, 0);
}

/* Rule `i`: what is answered to `name`. */
__attribute__((format(printf, 5, 6))) static void answer(server *s, int i, const char *name,
                                                         int times, const char *form, ...)
{
    va_list ap;
    va_start(ap, form);
    vsnprintf(s->text[i], sizeof s->text[i], form, ap);
    va_end(ap);
    s->rules[i].text = s->text[i];
    s->rules[i].what = FAKE_TEXT;
    s->rules[i].times = times;
    s->rules[i].name = name;
}

static int port(const server *s)
{
    return test_fake_port(s->fake);
}

static void open_to(store_fixture *f, const char *scheme, const server *a, const server *b,
                    const char *tail, unsigned timeout)
{
    char url[200];
    snprintf(url, sizeof url, "%s://127.0.0.1:%d,127.0.0.1:%d%s", scheme, port(a), port(b), tail);
    store_open_with(f, url, "", timeout);
}

static store_answer read_of(store_fixture *f, const char *key)
{
    const prv_op op = store_op_read(key);
    return store_ask(f, &op);
}

/* ---- Cluster */

#define KEY "privacy:consent:{a}"

static void all_slots(server *at, int i, const server *owner)
{
    answer(at, i, "CLUSTER", -1,
           "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$1\r\nx\r\n", port(owner));
}

static void cluster_open(store_fixture *f, server *a, server *b)
{
    start(a);
    start(b);
    all_slots(a, 0, a);
    all_slots(b, 0, a);
    open_to(f, "redis+cluster", a, b, "", WAIT);
}

static void shut(store_fixture *f, server *a, server *b)
{
    store_shut(f);
    test_fake_stop(a->fake);
    test_fake_stop(b->fake);
}

static void test_moved(void **state)
{
    (void)state;
    store_fixture f;
    server a, b;
    cluster_open(&f, &a, &b);
    assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
    answer(&a, 1, "HGETALL", -1, "-MOVED %u 127.0.0.1:%d\r\n", prv_slot_of(store_str(KEY)),
           port(&b));
    all_slots(&a, 0, &b);
    all_slots(&b, 0, &b);
    assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
    assert_int_equal(test_fake_count(b.fake, "HGETALL"), 1);
    read_of(&f, KEY);
    assert_int_equal(test_fake_count(a.fake, "HGETALL"), 2); /* the map was brought up to date */
    assert_int_equal(test_fake_count(b.fake, "ASKING"), 0);
    test_loop_run(f.loop, 500);
    assert_int_equal(test_fake_count(a.fake, "CLUSTER") + test_fake_count(b.fake, "CLUSTER"), 2);
    assert_int_equal(test_loop_logged(f.loop, "\n"), 0);
    shut(&f, &a, &b);
}

static void test_ask(void **state)
{
    (void)state;
    store_fixture f;
    server a, b;
    cluster_open(&f, &a, &b);
    answer(&a, 1, "HGETALL", 1, "-ASK %u 127.0.0.1:%d\r\n", prv_slot_of(store_str(KEY)), port(&b));
    assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
    assert_int_equal(test_fake_count(b.fake, "ASKING"), 1);
    assert_int_equal(test_fake_count(b.fake, "HGETALL"), 1);
    assert_string_equal(read_of(&f, KEY).text,
                        "name=" KEY " "); /* once, and it says nothing of the map */
    assert_int_equal(test_fake_count(a.fake, "HGETALL"), 2);
    assert_int_equal(test_fake_count(b.fake, "HGETALL"), 1);
    test_loop_run(f.loop, 300);
    assert_int_equal(test_fake_count(a.fake, "CLUSTER"), 1);
    shut(&f, &a, &b);
}

static void test_redirections_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned most, least;
    } rows[] = {
        {"-MOVED %u 127.0.0.1:%d\r\n", PRV_AGAIN_MAX + 1, PRV_AGAIN_MAX + 1}, /* to itself */
        {"-ASK %u 127.0.0.1:%d\r\n", PRV_AGAIN_MAX + 1, PRV_AGAIN_MAX + 1},
        {"-TRYAGAIN later %u %d\r\n", PRV_AGAIN_MAX + 1, 3},
        {"-CLUSTERDOWN Hash slot not served %u %d\r\n", 1, 1},
        {"-MOVED %u redis.example.com:%d\r\n", 1, 1},
        {"-MOVED 1%u 127.0.0.1:%d\r\n", 1, 1}, /* of another slot, or of none */
        {"-MOVED %u:%d\r\n", 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        store_fixture f;
        server a, b;
        cluster_open(&f, &a, &b);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        answer(&a, 1, "HGETALL", -1, rows[i].text, prv_slot_of(store_str(KEY)), port(&a));
#pragma GCC diagnostic pop
        assert_int_equal(read_of(&f, KEY).status, PRV_REPLY_UNAVAILABLE);
        assert_in_range(test_fake_count(a.fake, "HGETALL"), rows[i].least, rows[i].most);
        a.rules[1].times = 0; /* no breaker has opened: it is this operation's answer alone */
        assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
        shut(&f, &a, &b);
    }
}

static void test_try_again_comes_right(void **state)
{
    (void)state;
    store_fixture f;
    server a, b;
    cluster_open(&f, &a, &b);
    answer(&a, 1, "HGETALL", 3, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
    assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
    assert_int_equal(test_fake_count(a.fake, "HGETALL"), 4);
    shut(&f, &a, &b);
}

static void test_maps_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *map, *says;
    } rows[] = {
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$5\r\nredis\r\n:6379\r\n$1\r\nx\r\n",
         "is no IP address"},
        {"*1\r\n*3\r\n:0\r\n:99999\r\n*3\r\n$9\r\n127.0.0.1\r\n:1\r\n$1\r\nx\r\n", "no slot map"},
        {"*0\r\n", "knows no primary"},
        {"*4097\r\n", "beyond all bounds"},
        {"-ERR This instance has cluster support disabled\r\n", "answers with an error"},
        {"-NOPERM no permissions\r\n", "config/redis.acl"},
        {"*2147483647\r\n", "beyond all bounds"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        store_fixture f;
        server a, b;
        cluster_open(&f, &a, &b);
        answer(&a, 0, "CLUSTER", -1, "%s", rows[i].map);
        answer(&b, 0, "CLUSTER", -1, "%s", rows[i].map);
        assert_int_equal(read_of(&f, KEY).status, PRV_REPLY_UNAVAILABLE);
        const prv_op op = store_op_read(KEY);
        assert_null(
            prv_store_submit(f.store, &op, store_on_done, NULL)); /* nobody waits for it again */
        test_loop_run(f.loop, 400);
        if (test_loop_logged(f.loop, rows[i].says) != 1 || test_loop_logged(f.loop, "\n") != 1)
            fail_msg("`%s` is not said once", rows[i].says);
        all_slots(&b, 0, &b); /* it comes right */
        assert_true(store_until_back(&f, KEY, 3000) >= 0);
        assert_int_equal(test_loop_logged(f.loop, "says where the primary"),
                         2); /* and nobody did */
        shut(&f, &a, &b);
    }
}

static void test_a_dead_node_is_not_the_only_one_to_ask(void **state)
{
    (void)state;
    store_fixture f;
    server a, b;
    char url[100];
    start(&a);
    start(&b);
    all_slots(&b, 0, &b);
    answer(&a, 0, "PING", -1, "%s", "");
    a.rules[0].what = FAKE_SILENT;
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d",
             test_free_port(), port(&a), port(&b));
    store_open_with(&f, url, "", WAIT);
    assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
    assert_int_equal(test_fake_count(a.fake, "CLUSTER"), 1);
    shut(&f, &a, &b);
}

/* Half of the slots are away: they cost one time-out, the other half nothing. */
static void test_breakers_are_per_primary(void **state)
{
    (void)state;
    store_fixture f;
    server a, b;
    char low[32], high[32];
    for (int i = 0;; i++) {
        snprintf(low, sizeof low, "privacy:consent:{%d}", i);
        if (prv_slot_of(store_str(low)) < 8192)
            break;
    }
    for (int i = 0;; i++) {
        snprintf(high, sizeof high, "privacy:consent:{%d}", i);
        if (prv_slot_of(store_str(high)) >= 8192)
            break;
    }
    start(&a);
    start(&b);
    server *both[] = {&a, &b};
    for (int i = 0; i < 2; i++)
        answer(both[i], 0, "CLUSTER", -1,
               "*2\r\n*3\r\n:0\r\n:8191\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$1\r\nx\r\n"
               "*3\r\n:8192\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$1\r\nx\r\n",
               port(&a), port(&b));
    open_to(&f, "redis+cluster", &a, &b, "", 100);
    assert_int_equal(read_of(&f, low).status, PRV_REPLY_RECORD);
    assert_int_equal(read_of(&f, high).status, PRV_REPLY_RECORD);
    answer(&a, 1, "HGETALL", -1, "%s", "");
    answer(&a, 2, "PING", -1, "%s", "");
    a.rules[1].what = a.rules[2].what = FAKE_SILENT;
    assert_int_equal(read_of(&f, low).status, PRV_REPLY_UNAVAILABLE);
    const prv_op op = store_op_read(low);
    for (int i = 0; i < 20; i++) {
        assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
        assert_int_equal(read_of(&f, high).status, PRV_REPLY_RECORD);
    }
    a.rules[1].times = a.rules[2].times = 0;
    assert_true(store_until_back(&f, low, 3000) >= 0);
    shut(&f, &a, &b);
}

/* ---- Sentinel: `a` answers as two sentinels, `b` and `c` as Redis */

static void says(server *sentinel, const char *host, int at)
{
    char number[8];
    snprintf(number, sizeof number, "%d", at);
    answer(sentinel, 0, "SENTINEL", -1, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(host), host,
           strlen(number), number);
}

static void role(server *s, const char *word)
{
    answer(s, 0, "ROLE", -1, "*3\r\n$%zu\r\n%s\r\n:0\r\n*0\r\n", strlen(word), word);
}

static void sentinel_open(store_fixture *f, server *a, server *b, server *c)
{
    start(a);
    start(b);
    start(c);
    says(a, "127.0.0.1", port(b));
    answer(a, 1, "SUBSCRIBE", -1, "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n");
    role(b, "master");
    role(c, "master");
    open_to(f, "redis+sentinel", a, a, "/m", WAIT);
}

static void sentinel_shut(store_fixture *f, server *a, server *b, server *c)
{
    test_fake_stop(c->fake);
    shut(f, a, b);
}

static void test_sentinel_names_the_primary(void **state)
{
    (void)state;
    store_fixture f;
    server a, b, c;
    sentinel_open(&f, &a, &b, &c);
    assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
    assert_int_equal(test_fake_count(b.fake, "ROLE"), 1);
    assert_int_equal(test_fake_count(a.fake, "SUBSCRIBE"), 1);
    says(&a, "127.0.0.1", port(&c));
    answer(&a, 2, "PING", 1,
           "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$%zu\r\nm 127.0.0.1 1 127.0.0.1 %d\r\n",
           strlen("m 127.0.0.1 1 127.0.0.1 ") + (size_t)snprintf(NULL, 0, "%d", port(&c)),
           port(&c));
    test_loop_run(f.loop, 1200); /* that long a sentinel is left in peace */
    assert_int_equal(test_fake_count(a.fake, "SENTINEL"), 1);
    assert_int_equal(test_loop_logged(f.loop, "the primary of `m`"), 1);
    assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
    assert_int_equal(test_fake_count(c.fake, "HGETALL"), 1);
    assert_int_equal(test_fake_count(b.fake, "HGETALL"), 1);
    sentinel_shut(&f, &a, &b, &c);
}

static void test_a_replica_is_left(void **state)
{
    (void)state;
    store_fixture f;
    server a, b, c;
    sentinel_open(&f, &a, &b, &c);
    role(&b, "slave"); /* what the sentinels say is not true yet */
    store_answer got = {0};
    const prv_op op = store_op_read(KEY);
    assert_non_null(prv_store_submit(f.store, &op, store_on_done, &got));
    test_loop_run(f.loop, 300);
    assert_false(got.done);
    assert_in_range(test_fake_count(b.fake, "ROLE"), 1, 4); /* with a pause between */
    says(&a, "127.0.0.1", port(&c));
    assert_true(test_loop_until(f.loop, &got.done, WAIT));
    assert_string_equal(got.text, "name=" KEY " ");
    assert_int_equal(test_fake_count(b.fake, "HGETALL"), 0);

    role(&c, "slave"); /* demoted while the connection stands */
    role(&b, "master");
    says(&a, "127.0.0.1", port(&b));
    answer(&c, 1, "EVALSHA", -1, "-READONLY You can't write against a read only replica.\r\n");
    answer(&b, 1, "EVALSHA", -1, "*1\r\n$4\r\ndone\r\n");
    const prv_op change = store_op_change("c", "0");
    assert_int_equal(store_ask(&f, &change).status, PRV_REPLY_RECORD);
    assert_int_equal(test_fake_count(c.fake, "EVALSHA"), 1);
    assert_int_equal(test_fake_count(b.fake, "EVALSHA"), 1);
    sentinel_shut(&f, &a, &b, &c);
}

static void test_sentinels_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"*2\r\n$5\r\nredis\r\n$4\r\n6379\r\n", "is no IP address"},
        {"*-1\r\n", "knows no primary"},
        {"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n", "no address"},
        {"-NOAUTH Authentication required.\r\n", "asks for a password"},
        {"*4097\r\n", "beyond all bounds"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        store_fixture f;
        server a, b, c;
        sentinel_open(&f, &a, &b, &c);
        answer(&a, 0, "SENTINEL", -1, "%s", rows[i].text);
        assert_int_equal(read_of(&f, KEY).status, PRV_REPLY_UNAVAILABLE);
        const prv_op op = store_op_read(KEY);
        assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
        test_loop_run(f.loop, 400);
        if (test_loop_logged(f.loop, rows[i].says) != 1 || test_loop_logged(f.loop, "\n") != 1)
            fail_msg("`%s` is not said once", rows[i].says);
        says(&a, "127.0.0.1", port(&b));
        assert_true(store_until_back(&f, KEY, 3000) >= 0);
        sentinel_shut(&f, &a, &b, &c);
    }
}

static void test_without_sentinels_the_primary_stays(void **state)
{
    (void)state;
    store_fixture f;
    server a, b, c;
    sentinel_open(&f, &a, &b, &c);
    read_of(&f, KEY);
    test_fake_stop(a.fake);
    for (int i = 0; i < 8; i++) {
        test_loop_run(f.loop, 200);
        assert_string_equal(read_of(&f, KEY).text, "name=" KEY " ");
    }
    assert_int_equal(test_loop_logged(f.loop, "what was known of it stays in use"), 1);
    assert_int_equal(test_loop_logged(f.loop, "\n"), 1);
    a.fake = test_fake_start(play, &a, 0); /* for shut() */
    sentinel_shut(&f, &a, &b, &c);
}

static void test_no_sentinel_at_all(void **state)
{
    (void)state;
    store_fixture f;
    char url[100];
    snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d/m", test_free_port(),
             test_free_port());
    store_open_with(&f, url, "", WAIT);
    int64_t began = test_loop_now();
    assert_int_equal(read_of(&f, KEY).status, PRV_REPLY_UNAVAILABLE);
    assert_true(test_loop_now() - began < WAIT / 2);
    const prv_op op = store_op_read(KEY);
    assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
    test_loop_run(f.loop, 600);
    assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
    assert_int_equal(test_loop_logged(f.loop, "nobody says where the primary of `m`"), 1);
    assert_int_equal(test_loop_logged(f.loop, "\n"), 1);
    store_shut(&f);
}

/* Sentinels that accept and say nothing: their silence opens the breaker, too. */
static void test_silent_sentinels(void **state)
{
    (void)state;
    store_fixture f;
    server a, b;
    start(&a);
    start(&b);
    answer(&a, 0, "SENTINEL", -1, "%s", "");
    a.rules[0].what = FAKE_SILENT;
    open_to(&f, "redis+sentinel", &a, &a, "/m", 100);
    assert_int_equal(read_of(&f, KEY).status, PRV_REPLY_UNAVAILABLE);
    const prv_op op = store_op_read(KEY);
    for (int i = 0; i < 30; i++) {
        assert_null(prv_store_submit(f.store, &op, store_on_done, NULL));
        test_loop_run(f.loop, 30);
    }
    shut(&f, &a, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_redirections_are_bounded),
        cmocka_unit_test(test_try_again_comes_right),
        cmocka_unit_test(test_maps_that_are_refused),
        cmocka_unit_test(test_a_dead_node_is_not_the_only_one_to_ask),
        cmocka_unit_test(test_breakers_are_per_primary),
        cmocka_unit_test(test_sentinel_names_the_primary),
        cmocka_unit_test(test_a_replica_is_left),
        cmocka_unit_test(test_sentinels_that_are_refused),
        cmocka_unit_test(test_without_sentinels_the_primary_stays),
        cmocka_unit_test(test_no_sentinel_at_all),
        cmocka_unit_test(test_silent_sentinels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
