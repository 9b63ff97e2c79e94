/*
 * Bytes that a Redis, or whatever sits in its place, may send: through the bounds and hiredis'
 * parser to the answers of all operations. The first two bytes choose the operation and the size of
 * the pieces; the outcome must not depend on the latter.
 */
#include "redis/client.h"
#include "state/zone.h"

#include <stdlib.h>
#include <string.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

static uint64_t mix(uint64_t h, prv_str s)
{
    return prv_mix64(h ^ prv_fnv64(PRV_FNV64_SEED, s));
}

/* A hash of all replies and how the stream ended. */
static uint64_t run(const prv_op *op, const char *p, size_t n, size_t step)
{
    prv_feed feed;
    prv_str pairs[PRV_PAIRS_MAX];
    uint64_t h = 1;
    check(prv_feed_init(&feed));
    for (size_t at = 0; at < n; at += step) {
        size_t piece = n - at < step ? n - at : step;
        char *room = prv_feed_room(&feed, piece);
        check(room != NULL && feed.cap <= PRV_BOUND_REPLY_MAX + n);
        memcpy(room, p + at, piece);
        prv_feed_add(&feed, piece);
        for (;;) {
            redisReply *r = NULL;
            prv_feed_result got = prv_feed_next(&feed, &r);
            if (got != PRV_FEED_REPLY) {
                check(r == NULL);
                if (got == PRV_FEED_BAD) {
                    prv_feed_free(&feed);
                    return mix(h, PRV_STR("bad"));
                }
                break;
            }
            prv_reply reply;
            prv_answer_read(op, r, &reply, pairs);
            check(reply.n % 2 == 0 && reply.n <= PRV_PAIRS_MAX);
            check(reply.n == 0 || reply.pairs == pairs);
            check(reply.n == 0 || reply.status == PRV_REPLY_RECORD ||
                  reply.status == PRV_REPLY_CONFLICT);
            check(reply.status != PRV_REPLY_CONFLICT || op->kind == PRV_OP_CHANGE);
            check(r->type != REDIS_REPLY_ERROR || reply.status == PRV_REPLY_UNAVAILABLE ||
                  reply.status == PRV_REPLY_UNREADABLE);
            h = prv_mix64(h + (unsigned)reply.status);
            for (size_t i = 0; i < reply.n; i++) {
                check(reply.pairs[i].n <= PRV_BOUND_BULK);
                h = mix(h, reply.pairs[i]);
            }
            check(strlen(prv_answer_trouble(r)) > 0);
            prv_answer_noscript(r);
            prv_nonce_matches("0123456789abcdef0123456789abcdef", r);
            freeReplyObject(r);
        }
    }
    h = mix(h, prv_feed_empty(&feed) ? PRV_STR("end") : PRV_STR("part"));
    prv_feed_free(&feed);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const prv_op_kind kinds[] = {PRV_OP_READ,   PRV_OP_CHANGE,  PRV_OP_AGE,
                                         PRV_OP_EXPIRE, PRV_OP_SUBJECT, PRV_OP_BIND};
    if (size < 2)
        return 0;
    const prv_op op = {.kind = kinds[data[0] % 6]};
    const char *p = (const char *)data + 2;
    size_t step = (size_t)data[1] + 1;
    check(run(&op, p, size - 2, step) == run(&op, p, size - 2, size));
    return 0;
}
