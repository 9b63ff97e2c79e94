/*
 * The signed cookie `1.<kid>.<id>.<body>.<mac>` (INTERFACE 6).
 *
 * Body, big-endian: policy version 4, flags 1, signals 1, seq as a varint, at 5 (s), time until
 * expiry 2 (hours, or seconds with FLAG_SECONDS), age bounds ok, under and parental 1 each, age's
 * at 3 (hours; 0 is durable), then the granted and the refused purposes, each as a count 1 and that
 * many 16-bit name hashes in ascending order. With FLAG_SUBJECT then: the keyed hash of an account
 * 16, binding bits 1, and for each of `over` and `owed` that is there one bit for each refused
 * hash, the first in the lowest bit of the first byte. One state has one body: anything else is
 * BAD.
 */
#include "request.h"

#include <stdio.h>
#include <string.h>

#define BODY_MAX 128
#define HOUR 3600
#define HASHES_MAX (PRV_MAX_PURPOSES + PRV_MAX_OTHER)
#define HASHES_BOUND                                                                               \
    36 /* beside an account; of what only other policies name the rest is dropped */
#define MARKS_MAX ((HASHES_BOUND + 7) / 8)
#define AT_MAX ((INT64_C(1) << 40) - 1)
#define AGE_AT_MAX ((INT64_C(1) << 24) - 1)
#define AGE_YEARS_MAX 120
#define COOKIE_LIFE_MAX (400 * INT64_C(86400)) /* browsers cut longer ones */

enum flag {
    FLAG_STORED = 1,
    FLAG_RESTRICTED = 2,
    FLAG_SWEPT = 4,
    FLAG_SECONDS = 8, /* lifetimes under 18 hours are exact */
    FLAG_SUBJECT = 16,
    FLAG_AWAY = 32,
    FLAGS_KNOWN = 63
};

enum binding { BIND_SESSION = 1, BIND_OVER = 2, BIND_OWED = 4, BIND_OWNED = 8, BIND_KNOWN = 15 };

#define SIGNALS_KNOWN (PRV_SIGNAL_GPC | PRV_SIGNAL_DNT)

/* ------------------------------------------------------------------ reading */

typedef struct reader {
    const uint8_t *p;
    size_t n;
    bool bad; /* sticky: once past the end, all that follows reads as 0 */
} reader;

static uint64_t take(reader *r, size_t n)
{
    uint64_t value = 0;
    if (n > r->n) {
        r->bad = true;
        r->n = 0;
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        value = value << 8 | r->p[i];
    r->p += n;
    r->n -= n;
    return value;
}

static uint32_t take_varint(reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint64_t byte = take(r, 1);
        value |= (byte & 127) << shift;
        if (!(byte & 128)) {
            if ((byte == 0 && shift > 0) || value > UINT32_MAX)
                r->bad = true; /* longer than needed, or too large */
            return (uint32_t)value;
        }
    }
    r->bad = true;
    return 0;
}

static uint8_t take_years(reader *r)
{
    uint64_t years = take(r, 1);
    if (years > AGE_YEARS_MAX)
        r->bad = true;
    return (uint8_t)years;
}

typedef struct hashes {
    size_t n;
    uint16_t h[HASHES_MAX];
} hashes;

static void take_hashes(reader *r, hashes *out)
{
    out->n = 0;
    size_t n = take(r, 1);
    if (n > HASHES_MAX) {
        r->bad = true;
        return;
    }
    for (size_t i = 0; i < n && !r->bad; i++) {
        uint16_t h = (uint16_t)take(r, 2);
        if (i > 0 && h <= out->h[i - 1])
            r->bad = true;
        out->h[out->n++] = h;
    }
}

static bool overlap(const hashes *a, const hashes *b)
{
    size_t i = 0, j = 0;
    while (i < a->n && j < b->n) {
        if (a->h[i] == b->h[j])
            return true;
        if (a->h[i] < b->h[j])
            i++;
        else
            j++;
    }
    return false;
}

static uint32_t known_bit(const prv_policy *policy, uint16_t hash)
{
    for (size_t i = 0; i < policy->n_purposes; i++) {
        if (policy->purposes[i].hash == hash)
            return 1u << i;
    }
    return 0;
}

/* More than PRV_MAX_OTHER unknown ones: what does not fit is dropped, grants before refusals. */
static void put_choices(const prv_policy *policy, const hashes *list, bool granted, prv_state *out)
{
    for (size_t i = 0; i < list->n; i++) {
        uint32_t bit = known_bit(policy, list->h[i]);
        *(granted ? &out->granted : &out->refused) |= bit;
        if (!bit && out->n_other < PRV_MAX_OTHER)
            out->other[out->n_other++] = (prv_other){list->h[i], granted};
    }
}

/* One bit for each refused hash, at least one of them set. */
static uint32_t take_marks(const prv_policy *policy, reader *r, const hashes *refused)
{
    uint32_t mask = 0;
    bool any = false;
    for (size_t i = 0; i < refused->n; i += 8) {
        const unsigned byte = (unsigned)take(r, 1);
        for (size_t k = 0; k < 8; k++) {
            if (!(byte >> k & 1))
                continue;
            any = true;
            if (i + k >= refused->n)
                r->bad = true;
            else
                mask |= known_bit(policy, refused->h[i + k]);
        }
    }
    if (!any)
        r->bad = true;
    return mask;
}

static void take_subject(const prv_policy *policy, reader *r, const hashes *refused, prv_state *out)
{
    for (size_t i = 0; i < PRV_SUBJECT_LEN; i++)
        out->subject[i] = (uint8_t)take(r, 1);
    const unsigned bits = (unsigned)take(r, 1);
    if (bits == 0 || (bits & ~(unsigned)BIND_KNOWN))
        r->bad = true;
    out->has_subject = true;
    out->session = bits & BIND_SESSION;
    out->owned = bits & BIND_OWNED;
    if (bits & BIND_OVER)
        out->over = take_marks(policy, r, refused);
    if (bits & BIND_OWED)
        out->owed = take_marks(policy, r, refused);
}

static bool read_body(const prv_policy *policy, const uint8_t *body, size_t n, prv_state *out)
{
    reader r = {body, n, false};
    hashes granted, refused;
    out->version = (uint32_t)take(&r, 4);
    const unsigned flags = (unsigned)take(&r, 1);
    const unsigned signals = (unsigned)take(&r, 1);
    out->seq = take_varint(&r);
    out->at = (int64_t)take(&r, 5);
    out->expires = out->at + (int64_t)take(&r, 2) * (flags & FLAG_SECONDS ? 1 : HOUR);
    out->age.ok = take_years(&r);
    out->age.under = take_years(&r);
    out->age.parental = take_years(&r);
    out->age.at = (int64_t)take(&r, 3) * HOUR;
    take_hashes(&r, &granted);
    take_hashes(&r, &refused);
    if (flags & FLAG_SUBJECT)
        take_subject(policy, &r, &refused, out);
    if (r.bad || r.n > 0 || (flags & ~(unsigned)FLAGS_KNOWN) || (signals & ~SIGNALS_KNOWN) ||
        overlap(&granted, &refused))
        return false;
    out->stored = flags & FLAG_STORED;
    out->restricted = flags & FLAG_RESTRICTED;
    out->swept = flags & FLAG_SWEPT;
    out->away = flags & FLAG_AWAY;
    out->signals = (uint8_t)signals;
    put_choices(policy, &refused, false, out);
    put_choices(policy, &granted, true, out);
    return true;
}

bool prv_token_peek(prv_str text, prv_token_look *out)
{
    if (text.n < PRV_MAC_TEXT + 5 || text.n > PRV_TOKEN_MAX || text.p[0] != '1' || text.p[1] != '.')
        return false;
    const size_t end = text.n - PRV_MAC_TEXT - 1; /* the last dot */
    size_t at = 2;
    while (at < end && text.p[at] != '.')
        at++;
    out->kid = (prv_str){text.p + 2, at - 2};
    const size_t id = at + 1;
    if (id >= end || text.p[end] != '.')
        return false;
    out->id = (prv_str){text.p + id, text.p[id] == '.' ? 0 : PRV_ID_LEN};
    out->head = (prv_str){text.p, end};
    out->mac = text.p + end + 1;
    return id + out->id.n < end && text.p[id + out->id.n] == '.';
}

bool prv_token_split(prv_str text, prv_token_parts *out)
{
    prv_token_look look;
    size_t mac_len = 0;
    if (!prv_token_peek(text, &look) || (look.id.n > 0 && !prv_id_valid(look.id)) ||
        !prv_base64url_decode((prv_str){look.mac, PRV_MAC_TEXT}, out->mac, sizeof out->mac,
                              &mac_len) ||
        mac_len != PRV_MAC_LEN)
        return false;
    const char *body = look.kid.p + look.kid.n + 1 + look.id.n + 1;
    out->kid = look.kid;
    out->id = look.id;
    out->head = look.head;
    out->body = (prv_str){body, (size_t)(look.head.p + look.head.n - body)};
    return out->body.n == 0 || memchr(out->body.p, '.', out->body.n) == NULL;
}

/* The MAC binds a token to its policy and cookie name: another server block's token does not
 * verify. */
static void token_mac(const prv_site *site, const prv_key *key, prv_str head,
                      uint8_t out[PRV_MAC_LEN])
{
    const prv_str parts[] = {site->policy->id, PRV_STR("\n"), site->cookie.name, PRV_STR("\n"),
                             head};
    prv_key_mac(key, parts, sizeof parts / sizeof *parts, out);
}

prv_token_result prv_token_read(const prv_site *site, prv_str text, prv_state *out, bool *old_key,
                                uint8_t mac[PRV_MAC_LEN])
{
    prv_token_parts parts;
    uint8_t expected[PRV_MAC_LEN];
    uint8_t body[BODY_MAX];
    size_t n = 0;
    *out = (prv_state){0};
    *old_key = false;
    if (!prv_token_split(text, &parts))
        return PRV_TOKEN_BAD;
    const prv_key *key = prv_keyring_find(site->keys, PRV_KEY_TOKEN, parts.kid);
    if (!key)
        return PRV_TOKEN_BAD;
    token_mac(site, key, parts.head, expected);
    if (!prv_mac_equal(expected, parts.mac))
        return PRV_TOKEN_BAD;
    if (!prv_base64url_decode(parts.body, body, sizeof body, &n) ||
        !read_body(site->policy, body, n, out)) {
        *out = (prv_state){0};
        return PRV_TOKEN_BAD;
    }
    out->present = true;
    out->id_len = (uint8_t)parts.id.n;
    memcpy(out->id, parts.id.p, parts.id.n);
    *old_key = key != prv_keyring_signer(site->keys, PRV_KEY_TOKEN);
    if (mac)
        memcpy(mac, parts.mac, PRV_MAC_LEN);
    return PRV_TOKEN_OK;
}

/* ------------------------------------------------------------------ writing */

typedef struct writer {
    uint8_t b[BODY_MAX];
    size_t n;
} writer;

static void put(writer *w, uint64_t value, size_t n)
{
    for (size_t i = n; i-- > 0; value >>= 8)
        w->b[w->n + i] = (uint8_t)value;
    w->n += n;
}

static void put_varint(writer *w, uint32_t value)
{
    for (; value > 127; value >>= 7)
        put(w, (value & 127) | 128, 1);
    put(w, value, 1);
}

static void insert(hashes *list, uint16_t hash)
{
    size_t i = list->n;
    while (i > 0 && list->h[i - 1] > hash)
        i--;
    if ((i > 0 && list->h[i - 1] == hash) || list->n == HASHES_MAX)
        return;
    memmove(&list->h[i + 1], &list->h[i], (list->n - i) * sizeof *list->h);
    list->h[i] = hash;
    list->n++;
}

static uint32_t mask_of(const prv_state *state, bool granted)
{
    return granted ? state->granted & ~state->refused : state->refused;
}

static void list_known(const prv_policy *policy, uint32_t mask, hashes *list)
{
    for (size_t i = 0; i < policy->n_purposes; i++) {
        if (mask & 1u << i)
            insert(list, policy->purposes[i].hash);
    }
}

/* At most `room` of them. */
static void list_other(const prv_policy *policy, const prv_state *state, bool granted, size_t room,
                       hashes *list)
{
    const size_t most = list->n + room;
    for (size_t i = 0; i < state->n_other && i < PRV_MAX_OTHER && list->n < most; i++) {
        if (state->other[i].granted == granted && !known_bit(policy, state->other[i].hash))
            insert(list, state->other[i].hash);
    }
}

static void put_hashes(writer *w, const hashes *list)
{
    put(w, list->n, 1);
    for (size_t i = 0; i < list->n; i++)
        put(w, list->h[i], 2);
}

/* false: nothing is marked, nothing was written. */
static bool put_marks(writer *w, const prv_policy *policy, const hashes *refused, uint32_t mask)
{
    uint8_t bytes[(HASHES_MAX + 7) / 8] = {0};
    bool any = false;
    for (size_t i = 0; i < refused->n; i++) {
        if (mask & known_bit(policy, refused->h[i])) {
            bytes[i / 8] |= (uint8_t)(1u << i % 8);
            any = true;
        }
    }
    for (size_t i = 0; any && i < (refused->n + 7) / 8; i++)
        put(w, bytes[i], 1);
    return any;
}

static bool is_bound(const prv_state *state)
{
    return state->has_subject &&
           (state->session || state->owned || ((state->over | state->owed) & state->refused));
}

static void put_subject(writer *w, const prv_policy *policy, const prv_state *state,
                        const hashes *refused)
{
    for (size_t i = 0; i < PRV_SUBJECT_LEN; i++)
        put(w, state->subject[i], 1);
    const size_t at = w->n;
    put(w, 0, 1);
    unsigned bits = (state->session ? BIND_SESSION : 0u) | (state->owned ? BIND_OWNED : 0u);
    if (put_marks(w, policy, refused, state->over))
        bits |= BIND_OVER;
    if (put_marks(w, policy, refused, state->owed))
        bits |= BIND_OWED;
    w->b[at] = (uint8_t)bits;
}

static int64_t clamp(int64_t value, int64_t lo, int64_t hi)
{
    return value < lo ? lo : value > hi ? hi : value;
}

static void put_times(writer *w, int64_t at, int64_t left)
{
    put(w, (uint64_t)at, 5);
    put(w, (uint64_t)(left <= UINT16_MAX ? left : clamp(left / HOUR, 0, UINT16_MAX)), 2);
}

static void write_body(const prv_policy *policy, const prv_state *state, writer *w)
{
    const bool bound = is_bound(state);
    /* Where nothing else does, no time may tell visitors apart: it is cut to the hour. */
    const int64_t grain = state->id_len || bound ? 1 : HOUR;
    const int64_t at = clamp(state->at - state->at % grain, 0, AT_MAX);
    const int64_t expires = clamp(state->expires - state->expires % grain, at, INT64_MAX);
    const prv_age *age = &state->age;
    const bool seconds = expires - at <= UINT16_MAX;
    const size_t most = bound ? HASHES_BOUND : HASHES_MAX;
    hashes granted = {0}, refused = {0};
    list_known(policy, mask_of(state, true), &granted);
    list_known(policy, mask_of(state, false), &refused);
    list_other(policy, state, false, most - granted.n - refused.n, &refused);
    list_other(policy, state, true, most - granted.n - refused.n, &granted);

    put(w, state->version, 4);
    put(w,
        (state->stored ? FLAG_STORED : 0) | (state->restricted ? FLAG_RESTRICTED : 0) |
            (state->swept ? FLAG_SWEPT : 0) | (seconds ? FLAG_SECONDS : 0) |
            (state->away ? FLAG_AWAY : 0) | (bound ? FLAG_SUBJECT : 0),
        1);
    put(w, state->signals & SIGNALS_KNOWN, 1);
    put_varint(w, state->seq);
    put_times(w, at, expires - at);
    put(w, (uint64_t)clamp(age->ok, 0, AGE_YEARS_MAX), 1);
    put(w, (uint64_t)clamp(age->under, 0, AGE_YEARS_MAX), 1);
    put(w, (uint64_t)clamp(age->parental, 0, AGE_YEARS_MAX), 1);
    put(w, (uint64_t)clamp(age->at / HOUR, 0, AGE_AT_MAX), 3);
    put_hashes(w, &granted);
    put_hashes(w, &refused);
    if (bound)
        put_subject(w, policy, state, &refused);
}

size_t prv_token_write(const prv_site *site, const prv_state *state, char out[PRV_TOKEN_MAX + 1])
{
    const prv_key *key = prv_keyring_signer(site->keys, PRV_KEY_TOKEN);
    writer body = {.n = 0};
    uint8_t mac[PRV_MAC_LEN];
    size_t n = 0;
    out[0] = '\0';
    if (!key)
        return 0;
    write_body(site->policy, state, &body);

    const prv_str kid = prv_key_id(key);
    memcpy(out, "1.", 2);
    n = 2;
    memcpy(out + n, kid.p, kid.n);
    n += kid.n;
    out[n++] = '.';
    memcpy(out + n, state->id, state->id_len);
    n += state->id_len;
    out[n++] = '.';
    n += prv_base64url_encode(body.b, body.n, out + n);
    token_mac(site, key, (prv_str){out, n}, mac);
    out[n++] = '.';
    n += prv_base64url_encode(mac, sizeof mac, out + n);
    out[n] = '\0';
    return n;
}

/* The longest token: "1." kid "." id "." body "." mac, with every purpose and every other choice in
 * it, or as many as there is room for beside an account. */
#define BODY_FREE (26 + 2 * HASHES_MAX)
#define BODY_BOUND (26 + 2 * HASHES_BOUND + PRV_SUBJECT_LEN + 1 + 2 * MARKS_MAX)
_Static_assert(2 + 16 + 1 + PRV_ID_LEN + 1 + (BODY_MAX * 4 + 2) / 3 + 1 + PRV_MAC_TEXT <=
                   PRV_TOKEN_MAX,
               "a token fits PRV_TOKEN_MAX");
_Static_assert(BODY_FREE <= BODY_MAX && BODY_BOUND <= BODY_MAX, "a body fits BODY_MAX");

prv_str prv_token_cookie(const prv_site *site, const prv_state *state, const prv_env *env)
{
    static const char *const samesite[] = {
        [PRV_SAMESITE_LAX] = "Lax", [PRV_SAMESITE_STRICT] = "Strict", [PRV_SAMESITE_NONE] = "None"};
    const prv_cookie_conf *conf = &site->cookie;
    char token[PRV_TOKEN_MAX + 1];
    if (prv_token_write(site, state, token) == 0)
        return PRV_NONE;
    const int64_t life =
        clamp(prv_state_end(site->policy, state) - env->now_ms / 1000, 0, COOKIE_LIFE_MAX);
    const size_t cap = conf->name.n + PRV_TOKEN_MAX + conf->path.n + conf->domain.n + 128;
    char *out = env->alloc(env->ctx, cap);
    if (!out)
        return PRV_NONE;
    int n = snprintf(out, cap, "%.*s=%s; Path=%.*s%s%.*s; Max-Age=%lld; SameSite=%s%s; HttpOnly",
                     (int)conf->name.n, conf->name.p, token, (int)conf->path.n, conf->path.p,
                     conf->domain.n ? "; Domain=" : "", (int)conf->domain.n,
                     conf->domain.n ? conf->domain.p : "", (long long)life,
                     samesite[conf->samesite], conf->secure ? "; Secure" : "");
    if (n < 0 || (size_t)n >= cap)
        return PRV_NONE;
    return (prv_str){out, (size_t)n};
}
