/* Framing of RESP2, byte by byte, and the buffer in front of hiredis' parser. */
#include "client.h"

#include <stdlib.h>
#include <string.h>

enum { AT_TYPE, AT_NUMBER, AT_LINE, AT_HEADER_LF, AT_BULK, AT_BULK_CR, AT_BULK_LF };

#define NUMBER_DIGITS 6   /* of a length: more than either bound has */
#define INTEGER_DIGITS 19 /* of an integer reply: 64 bits */

static size_t bound_max(const prv_bound *b)
{
    return b->link ? PRV_BOUND_LINK_REPLY_MAX
                   : b->wide ? PRV_BOUND_WIDE_REPLY_MAX : PRV_BOUND_REPLY_MAX;
}

static uint32_t bound_array(const prv_bound *b)
{
    return b->link ? PRV_BOUND_LINK_ARRAY : b->wide ? PRV_BOUND_WIDE_ARRAY : PRV_BOUND_ARRAY;
}

/* An element is complete: so may be the arrays around it. */
static prv_bound_result bound_element(prv_bound *b)
{
    b->state = AT_TYPE;
    while (b->depth > 0) {
        if (--b->left[b->depth - 1] > 0)
            return PRV_BOUND_MORE;
        b->depth--;
    }
    b->total = 0;
    return PRV_BOUND_WHOLE;
}

static prv_bound_result bound_header(prv_bound *b)
{
    if (b->type != '$' && b->type != '*')
        return bound_element(b);
    if (b->negative) /* -1: null */
        return b->number == 1 ? bound_element(b) : PRV_BOUND_BAD;
    if (b->type == '$') {
        if (b->number > PRV_BOUND_BULK || b->total + b->number + 2 > bound_max(b))
            return PRV_BOUND_BAD;
        b->state = b->number > 0 ? AT_BULK : AT_BULK_CR;
        return PRV_BOUND_MORE;
    }
    if (b->number == 0)
        return bound_element(b);
    if (b->number > bound_array(b) ||
        b->depth == (b->wide ? PRV_BOUND_WIDE_DEPTH : PRV_BOUND_DEPTH))
        return PRV_BOUND_BAD;
    b->left[b->depth++] = b->number;
    b->state = AT_TYPE;
    return PRV_BOUND_MORE;
}

static prv_bound_result bound_type(prv_bound *b, char c)
{
    b->type = (uint8_t)c;
    b->negative = false;
    b->number = 0;
    b->digits = 0;
    switch (c) {
    case '+':
    case '-':
        b->state = AT_LINE;
        return PRV_BOUND_MORE;
    case ':':
    case '$':
    case '*':
        b->state = AT_NUMBER;
        return PRV_BOUND_MORE;
    default: /* RESP3 too: we did not ask for it */
        return PRV_BOUND_BAD;
    }
}

static prv_bound_result bound_number(prv_bound *b, char c)
{
    if (c == '\r' && b->digits > 0) {
        b->state = AT_HEADER_LF;
        return PRV_BOUND_MORE;
    }
    if (c == '-' && b->digits == 0 && !b->negative) {
        b->negative = true;
        return PRV_BOUND_MORE;
    }
    if (c < '0' || c > '9' || b->digits == (b->type == ':' ? INTEGER_DIGITS : NUMBER_DIGITS))
        return PRV_BOUND_BAD;
    b->digits++;
    if (b->type != ':')
        b->number = b->number * 10 + (uint32_t)(c - '0');
    return PRV_BOUND_MORE;
}

static prv_bound_result bound_byte(prv_bound *b, char c)
{
    switch (b->state) {
    case AT_TYPE:
        return bound_type(b, c);
    case AT_NUMBER:
        return bound_number(b, c);
    case AT_LINE:
        if (c == '\r')
            b->state = AT_HEADER_LF;
        return c == '\n' ? PRV_BOUND_BAD : PRV_BOUND_MORE;
    case AT_HEADER_LF:
        return c == '\n' ? bound_header(b) : PRV_BOUND_BAD;
    case AT_BULK_CR:
        b->state = AT_BULK_LF;
        return c == '\r' ? PRV_BOUND_MORE : PRV_BOUND_BAD;
    default: /* AT_BULK_LF */
        return c == '\n' ? bound_element(b) : PRV_BOUND_BAD;
    }
}

prv_bound_result prv_bound_scan(prv_bound *b, const char *p, size_t n, size_t *used)
{
    size_t i = 0;
    while (i < n) {
        if (b->state == AT_BULK) {
            size_t step = n - i < b->number ? n - i : b->number;
            b->number -= (uint32_t)step;
            b->total += step;
            i += step;
            if (b->number == 0)
                b->state = AT_BULK_CR;
            continue;
        }
        b->total++;
        prv_bound_result r = b->total > bound_max(b) ? PRV_BOUND_BAD : bound_byte(b, p[i++]);
        if (r != PRV_BOUND_MORE) {
            *used = i;
            return r;
        }
    }
    *used = i;
    return PRV_BOUND_MORE;
}

/* ---- the buffer */

#define FEED_KEEP 65536 /* an empty buffer larger than this is given back */

bool prv_feed_init(prv_feed *feed)
{
    memset(feed, 0, sizeof *feed);
    feed->reader = redisReaderCreate();
    return feed->reader != NULL;
}

void prv_feed_free(prv_feed *feed)
{
    if (feed->reader != NULL)
        redisReaderFree(feed->reader);
    free(feed->buf);
    memset(feed, 0, sizeof *feed);
}

char *prv_feed_room(prv_feed *feed, size_t want)
{
    if (feed->start > 0) {
        memmove(feed->buf, feed->buf + feed->start, feed->len - feed->start);
        feed->len -= feed->start;
        feed->scanned -= feed->start;
        feed->start = 0;
    }
    if (feed->len == 0 && feed->cap > FEED_KEEP) {
        free(feed->buf);
        feed->buf = NULL;
        feed->cap = 0;
    }
    if (feed->cap - feed->len < want) {
        char *buf = realloc(feed->buf, feed->len + want);
        if (buf == NULL)
            return NULL;
        feed->buf = buf;
        feed->cap = feed->len + want;
    }
    return feed->buf + feed->len;
}

void prv_feed_add(prv_feed *feed, size_t n)
{
    feed->len += n;
}

bool prv_feed_empty(const prv_feed *feed)
{
    return feed->start == feed->len && !feed->bad;
}

prv_feed_result prv_feed_next(prv_feed *feed, redisReply **out)
{
    *out = NULL;
    if (feed->bad)
        return PRV_FEED_BAD;
    if (feed->scanned == feed->len)
        return PRV_FEED_MORE;
    size_t used = 0;
    prv_bound_result r =
        prv_bound_scan(&feed->bound, feed->buf + feed->scanned, feed->len - feed->scanned, &used);
    feed->scanned += used;
    if (r == PRV_BOUND_MORE)
        return PRV_FEED_MORE;
    void *reply = NULL;
    feed->bad = r == PRV_BOUND_BAD ||
                redisReaderFeed(feed->reader, feed->buf + feed->start,
                                feed->scanned - feed->start) != REDIS_OK ||
                redisReaderGetReply(feed->reader, &reply) != REDIS_OK || reply == NULL;
    if (feed->bad)
        return PRV_FEED_BAD;
    feed->start = feed->scanned;
    *out = reply;
    return PRV_FEED_REPLY;
}
