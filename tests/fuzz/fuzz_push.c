/* What comes over the invalidation link: framing in its wider bounds, and the keys in messages. The first byte says how
 * the rest is cut into pieces. */
#include "redis/client.h"
#include "redis/push.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keys(const redisReply *r)
{
    for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++) {
        prv_cache_key key;
        const redisReply *e = r->element[i];
        if (e->type == REDIS_REPLY_ARRAY)
            keys(e);
        else if (e->type == REDIS_REPLY_STRING &&
                 prv_push_key(PRV_STR("privacy:"), (prv_str){e->str, (size_t)e->len}, &key) &&
                 e->len != 8 + 9 + PRV_ID_LEN + 1)
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prv_feed feed;
    if (size == 0 || !prv_feed_init(&feed))
        return 0;
    feed.bound.link = true;
    const size_t step = 1 + data[0];
    bool good = true;
    for (size_t at = 1; good && at < size; at += step) {
        const size_t n = size - at < step ? size - at : step;
        char *room = prv_feed_room(&feed, n);
        if (room == NULL)
            break;
        memcpy(room, data + at, n);
        prv_feed_add(&feed, n);
        for (;;) {
            redisReply *reply = NULL;
            const prv_feed_result got = prv_feed_next(&feed, &reply);
            if (reply != NULL) {
                keys(reply);
                freeReplyObject(reply);
            }
            good = got != PRV_FEED_BAD;
            if (got != PRV_FEED_REPLY)
                break;
        }
    }
    prv_feed_free(&feed);
    return 0;
}
