/* Slots and announced addresses: pure functions over replies. */
#include "topology.h"

#include <arpa/inet.h>
#include <string.h>

/* ---- slots */

static unsigned crc16(prv_str s)
{
    unsigned crc = 0;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (unsigned)(unsigned char)s.p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? (crc << 1 ^ 0x1021) & 0xffff : crc << 1;
    }
    return crc;
}

unsigned prv_slot_of(prv_str key)
{
    const char *open = key.n > 0 ? memchr(key.p, '{', key.n) : NULL;
    if (open != NULL) {
        prv_str tag = {open + 1, key.n - (size_t)(open + 1 - key.p)};
        const char *close = tag.n > 0 ? memchr(tag.p, '}', tag.n) : NULL;
        if (close != NULL && close != tag.p)
            key = (prv_str){tag.p, (size_t)(close - tag.p)};
    }
    return crc16(key) % PRV_SLOTS;
}

/* ---- addresses */

const char *prv_told_trouble(prv_told told)
{
    static const char *const words[] = {
        [PRV_TOLD] = "answers",
        [PRV_TOLD_NOTHING] = "knows no primary",
        [PRV_TOLD_NAME] = "announces a primary by something that is no IP address; names are not "
                          "followed, so it must announce IP addresses (resolve-hostnames and "
                          "announce-hostnames no, cluster-preferred-endpoint-type ip)",
        [PRV_TOLD_TOO_MANY] = "announces more than 64 primaries",
        [PRV_TOLD_NONSENSE] = "answers with something that is no address and no slot map",
    };
    return words[told];
}

prv_told prv_peer_literal(prv_str host, long long port, prv_peer *out)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    memset(out, 0, sizeof *out);
    if (port < 1 || port > 65535)
        return PRV_TOLD_NONSENSE;
    if (host.n == 0 || host.n >= sizeof text || memchr(host.p, '\0', host.n) != NULL)
        return PRV_TOLD_NAME;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    int family = memchr(host.p, ':', host.n) != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(family, text, bytes) != 1 ||
        inet_ntop(family, bytes, out->addrs[0], PRV_STORE_ADDR_MAX) == NULL)
        return PRV_TOLD_NAME;
    out->n_addrs = 1;
    out->port = (int)port;
    snprintf(out->label, sizeof out->label, family == AF_INET6 ? "[%s]:%d" : "%s:%d", out->addrs[0],
             out->port);
    return PRV_TOLD;
}

bool prv_peer_same(const prv_peer *a, const prv_peer *b)
{
    return a->port == b->port && a->n_addrs == b->n_addrs && strcmp(a->addrs[0], b->addrs[0]) == 0;
}

static bool is_text(const redisReply *r)
{
    return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS;
}

static bool is_word(const redisReply *r, const char *word)
{
    return is_text(r) && (size_t)r->len == strlen(word) && memcmp(r->str, word, strlen(word)) == 0;
}

static prv_str text_of(const redisReply *r)
{
    return (prv_str){r->str, (size_t)r->len};
}

/* A decimal number without sign or leading zeros, -1: none. */
static long long number_of(prv_str s)
{
    long long n = 0;
    if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[0] == '0'))
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        n = n * 10 + (s.p[i] - '0');
    }
    return n;
}

/* ---- Sentinel */

prv_told prv_sentinel_read(const redisReply *r, prv_peer *out)
{
    if (r->type == REDIS_REPLY_NIL)
        return PRV_TOLD_NOTHING;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || !is_text(r->element[0]) ||
        !is_text(r->element[1]))
        return PRV_TOLD_NONSENSE;
    return prv_peer_literal(text_of(r->element[0]), number_of(text_of(r->element[1])), out);
}

/* The next word of *s, up to a space. */
static prv_str next_word(prv_str *s)
{
    const char *at = s->n > 0 ? memchr(s->p, ' ', s->n) : NULL;
    prv_str word = {s->p, at != NULL ? (size_t)(at - s->p) : s->n};
    size_t used = at != NULL ? word.n + 1 : word.n;
    *s = (prv_str){s->n > 0 ? s->p + used : s->p, s->n - used};
    return word;
}

bool prv_switch_read(const redisReply *r, const char *master, prv_told *told, prv_peer *out)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3 || !is_word(r->element[0], "message") ||
        !is_word(r->element[1], "+switch-master") || !is_text(r->element[2]))
        return false;
    prv_str rest = text_of(r->element[2]); /* name, old address, new address */
    prv_str name = next_word(&rest);
    if (name.n != strlen(master) || memcmp(name.p, master, name.n) != 0)
        return false;
    next_word(&rest);
    next_word(&rest);
    prv_str host = next_word(&rest);
    *told = prv_peer_literal(host, number_of(next_word(&rest)), out);
    if (rest.n > 0)
        *told = PRV_TOLD_NONSENSE;
    return true;
}

bool prv_role_is_primary(const redisReply *r)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements > 0 && is_word(r->element[0], "master");
}

bool prv_role_is_replica(const redisReply *r)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements > 0 && is_word(r->element[0], "slave");
}

/* ---- Cluster */

/* Its place in the map, 1 and up. */
static prv_told map_peer(const redisReply *node, const prv_peer *asked, prv_slot_map *map,
                         uint8_t *place)
{
    prv_peer peer;
    if (node->type != REDIS_REPLY_ARRAY || node->elements < 2 ||
        node->element[1]->type != REDIS_REPLY_INTEGER)
        return PRV_TOLD_NONSENSE;
    const redisReply *host = node->element[0];
    bool own = host->type == REDIS_REPLY_NIL || (is_text(host) && host->len == 0);
    if (!own && !is_text(host))
        return PRV_TOLD_NONSENSE;
    prv_str address = own ? (prv_str){asked->addrs[0], strlen(asked->addrs[0])} : text_of(host);
    prv_told told = prv_peer_literal(address, node->element[1]->integer, &peer);
    if (told != PRV_TOLD)
        return told;
    for (size_t i = 0; i < map->n; i++) {
        if (prv_peer_same(&map->peers[i], &peer)) {
            *place = (uint8_t)(i + 1);
            return PRV_TOLD;
        }
    }
    if (map->n == PRV_PRIMARIES_MAX)
        return PRV_TOLD_TOO_MANY;
    map->peers[map->n++] = peer;
    *place = (uint8_t)map->n;
    return PRV_TOLD;
}

static prv_told map_range(const redisReply *range, const prv_peer *asked, prv_slot_map *map)
{
    uint8_t place = 0;
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
        range->element[0]->type != REDIS_REPLY_INTEGER ||
        range->element[1]->type != REDIS_REPLY_INTEGER)
        return PRV_TOLD_NONSENSE;
    long long first = range->element[0]->integer, last = range->element[1]->integer;
    if (first < 0 || last < first || last >= PRV_SLOTS)
        return PRV_TOLD_NONSENSE;
    prv_told told = map_peer(range->element[2], asked, map, &place);
    for (long long i = first; told == PRV_TOLD && i <= last; i++) {
        if (map->slot[i] != 0)
            told = PRV_TOLD_NONSENSE; /* two say that it is theirs */
        map->slot[i] = place;
    }
    return told;
}

prv_told prv_slots_read(const redisReply *r, const prv_peer *asked, prv_slot_map *map)
{
    memset(map, 0, sizeof *map);
    if (r->type != REDIS_REPLY_ARRAY)
        return PRV_TOLD_NONSENSE;
    prv_told told = r->elements == 0 ? PRV_TOLD_NOTHING : PRV_TOLD;
    for (size_t i = 0; told == PRV_TOLD && i < (size_t)r->elements; i++)
        told = map_range(r->element[i], asked, map);
    return told;
}

prv_redirect_kind prv_redirect_read(const redisReply *r, const prv_peer *asked, unsigned *slot,
                                    prv_peer *to)
{
    if (r == NULL || r->type != REDIS_REPLY_ERROR)
        return PRV_REDIRECT_NONE;
    prv_str rest = text_of(r), word = next_word(&rest);
    bool moved = word.n == 5 && memcmp(word.p, "MOVED", 5) == 0;
    if (word.n == 8 && memcmp(word.p, "TRYAGAIN", 8) == 0)
        return PRV_REDIRECT_TRYAGAIN;
    if (!moved && !(word.n == 3 && memcmp(word.p, "ASK", 3) == 0))
        return PRV_REDIRECT_NONE;
    long long number = number_of(next_word(&rest));
    const char *colon = rest.n > 0 ? memrchr(rest.p, ':', rest.n) : NULL;
    if (number < 0 || number >= PRV_SLOTS || colon == NULL)
        return PRV_REDIRECT_BAD;
    prv_str host = {rest.p, (size_t)(colon - rest.p)};
    prv_str port = {colon + 1, rest.n - host.n - 1};
    if (host.n == 0)
        host = (prv_str){asked->addrs[0], strlen(asked->addrs[0])};
    *slot = (unsigned)number;
    if (prv_peer_literal(host, number_of(port), to) != PRV_TOLD)
        return PRV_REDIRECT_BAD;
    return moved ? PRV_REDIRECT_MOVED : PRV_REDIRECT_ASK;
}
