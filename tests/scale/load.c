/*
 * load POLICY KEYS TIME SOCKET FROM TO [script]: writes the records of visitors FROM..TO-1 into
 * Redis, as the write script leaves them; with `script`, by the script itself (slower; the two are
 * compared). Then reads a thousand back and verifies them.
 */
#include "visitors.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 512 /* records on their way */
#define CHECKED 1000

typedef struct pipe_end {
    redisContext *redis;
    char *out;
    size_t n, cap;
    size_t owed; /* replies */
} pipe_end;

static void put(pipe_end *e, const char *p, size_t n)
{
    if (e->n + n > e->cap) {
        e->cap = 2 * (e->n + n);
        e->out = realloc(e->out, e->cap);
        if (!e->out)
            give_up("There is no memory.");
    }
    memcpy(e->out + e->n, p, n);
    e->n += n;
}

static void put_head(pipe_end *e, char mark, size_t n)
{
    char head[32];
    put(e, head, (size_t)snprintf(head, sizeof head, "%c%zu\r\n", mark, n));
}

static void put_text(pipe_end *e, prv_str text)
{
    put_head(e, '$', text.n);
    put(e, text.p, text.n);
    put(e, "\r\n", 2);
}

static void put_record(pipe_end *e, const prv_op *op)
{
    const prv_reply fields = visitor_reply(op);
    put_head(e, '*', 4 + fields.n);
    put_text(e, PRV_STR("HSET"));
    put_text(e, op->key);
    put_text(e, PRV_STR("change")); /* the script sets it first */
    put_text(e, op->args[0]);
    for (size_t i = 0; i < fields.n; i++)
        put_text(e, fields.pairs[i]);
    put_head(e, '*', 3);
    put_text(e, PRV_STR("EXPIREAT"));
    put_text(e, op->key);
    put_text(e, op->args[2]);
    e->owed += 2;
}

static void put_script(pipe_end *e, const prv_op *op)
{
    put_head(e, '*', 4 + op->n_args);
    put_text(e, PRV_STR("EVAL"));
    put_text(e, (prv_str){prv_script_change, strlen(prv_script_change)});
    put_text(e, PRV_STR("1"));
    put_text(e, op->key);
    for (size_t i = 0; i < op->n_args; i++)
        put_text(e, op->args[i]);
    e->owed += 1;
}

static void flush(pipe_end *e)
{
    for (size_t at = 0; at < e->n;) {
        const ssize_t n = write(e->redis->fd, e->out + at, e->n - at);
        if (n < 0 && errno != EINTR)
            give_up("Redis does not take the records: %s.", strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    e->n = 0;
    while (e->owed > 0) {
        redisReply *reply = NULL;
        if (redisGetReply(e->redis, (void **)&reply) != REDIS_OK)
            give_up("Redis does not answer: %s.", e->redis->errstr);
        if (reply->type == REDIS_REPLY_ERROR)
            give_up("Redis refuses a record: %s.", reply->str);
        freeReplyObject(reply);
        e->owed--;
    }
}

static void check(people *p, redisContext *redis, uint64_t i)
{
    const prv_state want = visitor_state(p, i);
    char key[64];
    const size_t n = prv_record_key(p->site.prefix, (prv_str){want.id, PRV_ID_LEN}, key);
    redisReply *reply = redisCommand(redis, "HGETALL %b", key, n);
    prv_str pairs[64];
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements > 64)
        give_up("Visitor %" PRIu64 " has no record.", i);
    for (size_t k = 0; k < reply->elements; k++)
        pairs[k] = (prv_str){reply->element[k]->str, (size_t)reply->element[k]->len};
    const prv_reply read = {.status = PRV_REPLY_RECORD, .n = reply->elements, .pairs = pairs};
    prv_state got;
    bool no_ttl = false;
    p->used = 0;
    if (prv_record_read(p->policy, p->keys, (prv_str){want.id, PRV_ID_LEN}, &read, &p->env, &got,
                        NULL, &no_ttl) != PRV_RECORD_OK ||
        got.granted != want.granted || got.refused != want.refused || got.seq != want.seq || no_ttl)
        give_up("The record of visitor %" PRIu64 " says something else than was written.", i);
    freeReplyObject(reply);
    reply = redisCommand(redis, "TTL %b", key, n);
    if (!reply || reply->type != REDIS_REPLY_INTEGER || reply->integer <= 0)
        give_up("The record of visitor %" PRIu64 " has no TTL.", i);
    freeReplyObject(reply);
}

int main(int argc, char **argv)
{
    static people p;
    if (argc < 7)
        give_up("usage: load " PEOPLE_ARGS " SOCKET FROM TO [script]");
    people_open(&p, argv + 1);
    const uint64_t from = strtoull(argv[5], NULL, 10), to = strtoull(argv[6], NULL, 10);
    const bool script = argc > 7;
    pipe_end e = {.redis = redisConnectUnix(argv[4])};
    if (!e.redis || e.redis->err)
        give_up("No Redis at %s.", argv[4]);
    freeReplyObject(redisCommand(e.redis, "AUTH admin x"));
    if (script)
        freeReplyObject(redisCommand(e.redis, "SELECT 1"));

    const int64_t began = clock_ns();
    int64_t told = began;
    for (uint64_t i = from; i < to; i++) {
        (script ? put_script : put_record)(&e, visitor_change(&p, i));
        if ((i - from) % BATCH == BATCH - 1 || i + 1 == to)
            flush(&e);
        if ((i & 1023) == 0 && clock_ns() - told > INT64_C(5000000000)) {
            told = clock_ns();
            printf("  %" PRIu64 " of %" PRIu64 " records, %.0f a second\n", i, to,
                   (double)(i - from) * 1e9 / (double)(told - began));
            fflush(stdout);
        }
    }
    for (uint64_t k = 0; k < CHECKED; k++)
        check(&p, e.redis, from + prv_mix64(k) % (to - from));
    redisFree(e.redis);
    free(e.out);
    people_close(&p);
    return 0;
}
