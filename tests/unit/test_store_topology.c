/* What sentinels and nodes of a cluster say: slots of keys, announced addresses, garbled answers.
 */
#include "redis/topology.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static prv_str str(const char *s)
{
    return (prv_str){s, strlen(s)};
}

/* Through the bounds, as from a connection that asks for a slot map. NULL: out of bounds. */
static redisReply *reply(const char *text, size_t n)
{
    prv_feed feed;
    redisReply *r = NULL;
    assert_true(prv_feed_init(&feed));
    feed.bound.wide = true;
    memcpy(prv_feed_room(&feed, n), text, n);
    prv_feed_add(&feed, n);
    prv_feed_next(&feed, &r);
    prv_feed_free(&feed);
    return r;
}

/* CRC16 and hash tags, as the cluster specification has them; slots by `CLUSTER KEYSLOT`. */
static void test_slots_of_keys(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        unsigned slot;
    } rows[] = {
        {"123456789", 0x31c3},
        {"foo", 12182},
        {"", 0},
        {"somekey", 11058},
        {"foo{hash_tag}", 2515},
        {"bar{hash_tag}", 2515},
        {"hash_tag", 2515},
        {"{user1000}.following", 3443},
        {"{user1000}.followers", 3443},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"{bar", 4015},
        {"foo{bar}{zap}", 5061},
        {"bar", 5061},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (prv_slot_of(str(rows[i].key)) != rows[i].slot)
            fail_msg("%s: %u, not %u", rows[i].key, prv_slot_of(str(rows[i].key)), rows[i].slot);
    }
    /* Everything of one visitor is in one slot. */
    assert_int_equal(prv_slot_of(str("privacy:consent:{abc}")),
                     prv_slot_of(str("privacy:history:{abc}")));
}

static void test_literals(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        long long port;
        prv_told told;
        const char *label;
    } rows[] = {
        {"127.0.0.1", 6379, PRV_TOLD, "127.0.0.1:6379"},
        {"::1", 6379, PRV_TOLD, "[::1]:6379"},
        {"0:0:0::1", 6379, PRV_TOLD, "[::1]:6379"},
        {"redis-1.example.com", 6379, PRV_TOLD_NAME, ""},
        {"localhost", 6379, PRV_TOLD_NAME, ""},
        {"", 6379, PRV_TOLD_NAME, ""},
        {"?", 6379, PRV_TOLD_NAME, ""},
        {"127.0.0.1 ", 6379, PRV_TOLD_NAME, ""},
        {"127.1", 6379, PRV_TOLD_NAME, ""},
        {"2130706433", 6379, PRV_TOLD_NAME, ""},
        {"fe80::1%lo", 6379, PRV_TOLD_NAME, ""},
        {"/run/redis.sock", 6379, PRV_TOLD_NAME, ""},
        {"1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111", 6379, PRV_TOLD_NAME, ""},
        {"127.0.0.1", 0, PRV_TOLD_NONSENSE, ""},
        {"127.0.0.1", -1, PRV_TOLD_NONSENSE, ""},
        {"127.0.0.1", 65536, PRV_TOLD_NONSENSE, ""},
        {"127.0.0.1", 4294973675, PRV_TOLD_NONSENSE, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        prv_peer peer;
        if (prv_peer_literal(str(rows[i].host), rows[i].port, &peer) != rows[i].told)
            fail_msg("%s %lld", rows[i].host, rows[i].port);
        if (rows[i].told == PRV_TOLD)
            assert_string_equal(peer.label, rows[i].label);
    }
}

static void test_sentinel_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        prv_told told;
    } rows[] = {
        {"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n7000\r\n", PRV_TOLD},
        {"*-1\r\n", PRV_TOLD_NOTHING},
        {"*2\r\n$9\r\nlocalhost\r\n$4\r\n7000\r\n", PRV_TOLD_NAME},
        {"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n70000\r\n", PRV_TOLD_NONSENSE},
        {"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n+7000\r\n", PRV_TOLD_NONSENSE},
        {"*2\r\n$9\r\n127.0.0.1\r\n:7000\r\n", PRV_TOLD_NONSENSE},
        {"*1\r\n$9\r\n127.0.0.1\r\n", PRV_TOLD_NONSENSE},
        {"*0\r\n", PRV_TOLD_NONSENSE},
        {"$9\r\n127.0.0.1\r\n", PRV_TOLD_NONSENSE},
        {"-NOAUTH Authentication required.\r\n", PRV_TOLD_NONSENSE},
        {"*2\r\n*1\r\n$1\r\na\r\n$4\r\n7000\r\n", PRV_TOLD_NONSENSE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        prv_peer peer;
        redisReply *r = reply(rows[i].text, strlen(rows[i].text));
        if (prv_sentinel_read(r, &peer) != rows[i].told)
            fail_msg("%s", rows[i].text);
        freeReplyObject(r);
    }
}

static void test_switches(void **state)
{
    (void)state;
    static const struct {
        const char *event, *text;
        int told; /* -1: not for us */
    } rows[] = {
        {"+switch-master", "m 127.0.0.1 7000 127.0.0.1 7001", PRV_TOLD},
        {"+switch-master", "mm 127.0.0.1 7000 127.0.0.1 7001", -1},
        {"+switch-master", "n 127.0.0.1 7000 127.0.0.1 7001", -1},
        {"+slave", "m 127.0.0.1 7000 127.0.0.1 7001", -1},
        {"+switch-master", "m 127.0.0.1 7000 replica 7001", PRV_TOLD_NAME},
        {"+switch-master", "m 127.0.0.1 7000 127.0.0.1", PRV_TOLD_NONSENSE},
        {"+switch-master", "m 127.0.0.1 7000 127.0.0.1 7001 x", PRV_TOLD_NONSENSE},
        {"+switch-master", "m", PRV_TOLD_NONSENSE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];
        int n = snprintf(text, sizeof text, "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
                         strlen(rows[i].event), rows[i].event, strlen(rows[i].text), rows[i].text);
        redisReply *r = reply(text, (size_t)n);
        prv_told told = PRV_TOLD_NONSENSE;
        prv_peer peer;
        bool ours = prv_switch_read(r, "m", &told, &peer);
        if (ours != (rows[i].told >= 0) || (ours && (int)told != rows[i].told))
            fail_msg("%s %s: %d %d", rows[i].event, rows[i].text, ours, told);
        if (ours && told == PRV_TOLD)
            assert_string_equal(peer.label, "127.0.0.1:7001");
        freeReplyObject(r);
    }
}

#define NODE(port) "*4\r\n$9\r\n127.0.0.1\r\n:" #port "\r\n$2\r\nid\r\n*0\r\n"

static void test_slot_maps(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        prv_told told;
    } rows[] = {
        {"*2\r\n*3\r\n:0\r\n:5460\r\n" NODE(7000) "*4\r\n:5461\r\n:16383\r\n" NODE(7001) NODE(7002),
         PRV_TOLD},
        {"*2\r\n*3\r\n:0\r\n:1\r\n" NODE(7000) "*3\r\n:3\r\n:4\r\n" NODE(7000), PRV_TOLD},
        /* Redis 7 with host names: one level deeper */
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n*2\r\n$8\r\n"
         "hostname\r\n$1\r\na\r\n",
         PRV_TOLD},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*3\r\n$-1\r\n:7000\r\n$2\r\nid\r\n",
         PRV_TOLD}, /* where we asked */
        {"*1\r\n*3\r\n:0\r\n:1\r\n*3\r\n$0\r\n\r\n:7000\r\n$2\r\nid\r\n", PRV_TOLD},
        {"*0\r\n", PRV_TOLD_NOTHING},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*3\r\n$1\r\na\r\n:7000\r\n$2\r\nid\r\n", PRV_TOLD_NAME},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*3\r\n$1\r\n?\r\n:7000\r\n$2\r\nid\r\n", PRV_TOLD_NAME},
        {"*1\r\n*3\r\n:0\r\n:16384\r\n" NODE(7000), PRV_TOLD_NONSENSE},
        {"*1\r\n*3\r\n:-1\r\n:1\r\n" NODE(7000), PRV_TOLD_NONSENSE},
        {"*1\r\n*3\r\n:5\r\n:4\r\n" NODE(7000), PRV_TOLD_NONSENSE},
        {"*1\r\n*3\r\n:0\r\n:9223372036854775807\r\n" NODE(7000), PRV_TOLD_NONSENSE},
        {"*1\r\n*3\r\n:0\r\n:1\r\n" NODE(0), PRV_TOLD_NONSENSE},
        {"*1\r\n*3\r\n:0\r\n:1\r\n" NODE(65536), PRV_TOLD_NONSENSE},
        {"*2\r\n*3\r\n:0\r\n:5\r\n" NODE(7000) "*3\r\n:5\r\n:6\r\n" NODE(7001), PRV_TOLD_NONSENSE},
        {"*1\r\n*2\r\n:0\r\n:1\r\n", PRV_TOLD_NONSENSE},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$9\r\n127.0.0.1\r\n", PRV_TOLD_NONSENSE},
        {"*1\r\n*3\r\n$1\r\n0\r\n:1\r\n" NODE(7000), PRV_TOLD_NONSENSE},
        {"*1\r\n:5\r\n", PRV_TOLD_NONSENSE},
        {"$2\r\nno\r\n", PRV_TOLD_NONSENSE},
        {"-ERR This instance has cluster support disabled\r\n", PRV_TOLD_NONSENSE},
    };
    prv_slot_map *map = malloc(sizeof *map);
    prv_peer asked;
    assert_int_equal(prv_peer_literal(str("10.0.0.1"), 1, &asked), PRV_TOLD);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        redisReply *r = reply(rows[i].text, strlen(rows[i].text));
        assert_non_null(r);
        if (prv_slots_read(r, &asked, map) != rows[i].told)
            fail_msg("%zu: %s", i, rows[i].text);
        if (i == 0) {
            assert_int_equal(map->n, 2); /* replicas are none of ours */
            assert_string_equal(map->peers[map->slot[5460] - 1].label, "127.0.0.1:7000");
            assert_string_equal(map->peers[map->slot[5461] - 1].label, "127.0.0.1:7001");
        }
        if (i == 1) {
            assert_int_equal(map->n, 1);
            assert_int_equal(map->slot[2], 0);
            assert_int_equal(map->slot[4], 1);
        }
        if (i == 3 || i == 4)
            assert_string_equal(map->peers[0].label, "10.0.0.1:7000");
        freeReplyObject(r);
    }
    free(map);
}

static redisReply *map_of(unsigned nodes)
{
    char *text = malloc(200 * nodes + 20);
    int n = sprintf(text, "*%u\r\n", nodes);
    for (unsigned i = 0; i < nodes; i++)
        n += sprintf(text + n, "*3\r\n:%u\r\n:%u\r\n*3\r\n$9\r\n127.0.0.1\r\n:%u\r\n$1\r\nx\r\n", i,
                     i, 7000 + i);
    redisReply *r = reply(text, (size_t)n);
    free(text);
    return r;
}

static void test_more_nodes_than_the_bound(void **state)
{
    (void)state;
    prv_slot_map *map = malloc(sizeof *map);
    prv_peer asked = {.n_addrs = 1};
    redisReply *r = map_of(PRV_PRIMARIES_MAX);
    assert_int_equal(prv_slots_read(r, &asked, map), PRV_TOLD);
    assert_int_equal(map->n, PRV_PRIMARIES_MAX);
    assert_int_equal(map->slot[PRV_PRIMARIES_MAX - 1], PRV_PRIMARIES_MAX);
    freeReplyObject(r);
    r = map_of(PRV_PRIMARIES_MAX + 1);
    assert_int_equal(prv_slots_read(r, &asked, map), PRV_TOLD_TOO_MANY);
    freeReplyObject(r);
    assert_non_null(r = map_of(PRV_BOUND_WIDE_ARRAY)); /* ranges, before anything is read */
    freeReplyObject(r);
    assert_null(map_of(PRV_BOUND_WIDE_ARRAY + 1));
    free(map);
}

static void test_redirects(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        prv_redirect_kind kind;
        unsigned slot;
        const char *label;
    } rows[] = {
        {"-MOVED 3999 127.0.0.1:6381\r\n", PRV_REDIRECT_MOVED, 3999, "127.0.0.1:6381"},
        {"-MOVED 3999 ::1:6381\r\n", PRV_REDIRECT_MOVED, 3999, "[::1]:6381"},
        {"-MOVED 3999 :6381\r\n", PRV_REDIRECT_MOVED, 3999, "10.0.0.1:6381"},
        {"-ASK 16383 127.0.0.1:6381\r\n", PRV_REDIRECT_ASK, 16383, "127.0.0.1:6381"},
        {"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", PRV_REDIRECT_TRYAGAIN, 0,
         ""},
        {"-MOVED 3999 redis:6381\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVED 3999 ?:6381\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVED 16384 127.0.0.1:6381\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVED -1 127.0.0.1:6381\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVED 3999 127.0.0.1\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVED 3999 127.0.0.1:0\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVED 3999 127.0.0.1:99999\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVED 3999\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVED\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-ASK\r\n", PRV_REDIRECT_BAD, 0, ""},
        {"-MOVEDX 1 127.0.0.1:1\r\n", PRV_REDIRECT_NONE, 0, ""},
        {"-CLUSTERDOWN The cluster is down\r\n", PRV_REDIRECT_NONE, 0, ""},
        {"-ERR\r\n", PRV_REDIRECT_NONE, 0, ""},
        {"+MOVED 3999 127.0.0.1:6381\r\n", PRV_REDIRECT_NONE, 0, ""},
    };
    prv_peer asked;
    assert_int_equal(prv_peer_literal(str("10.0.0.1"), 1, &asked), PRV_TOLD);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned slot = 0;
        prv_peer to = {0};
        redisReply *r = reply(rows[i].text, strlen(rows[i].text));
        prv_redirect_kind kind = prv_redirect_read(r, &asked, &slot, &to);
        if (kind != rows[i].kind)
            fail_msg("%s: %d", rows[i].text, (int)kind);
        if (kind == PRV_REDIRECT_MOVED || kind == PRV_REDIRECT_ASK) {
            assert_int_equal(slot, rows[i].slot);
            assert_string_equal(to.label, rows[i].label);
        }
        freeReplyObject(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_of_keys),    cmocka_unit_test(test_literals),
        cmocka_unit_test(test_sentinel_answers), cmocka_unit_test(test_switches),
        cmocka_unit_test(test_slot_maps),        cmocka_unit_test(test_more_nodes_than_the_bound),
        cmocka_unit_test(test_redirects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
