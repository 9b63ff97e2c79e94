/* One question to the core, many times: `micro WHAT SIZE TIMES` prints nanoseconds each. Under
 * callgrind,
 * --toggle-collect=measured counts the instructions of the questions alone. */
#include "../../unit/visit_fixture.h"
#include "request/cookie.h"
#include "state/count.h"

#include <time.h>

typedef struct bench {
    size_t size;
    prv_policy *policy;
    prv_keyring *keys;
    prv_site site;
    prv_env env;
    prv_zone *zone;
    prv_str field, token, names[64];
    prv_state state;
    prv_rules rules;
    prv_request rq;
    uint64_t sum; /* of what was answered: the questions are not left out */
} bench;

typedef void question(bench *b, uint64_t i);

static void die(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(2);
}

/* ---- what is asked about */

static char *text_of(size_t room)
{
    char *text = malloc(room);
    if (text == NULL)
        die("no memory");
    text[0] = '\0';
    return text;
}

/* n purposes, the first a contract's and all others consent; `rules` cookies, one in ten a prefix.
 */
static prv_policy *policy_of(size_t purposes, size_t rules)
{
    const size_t room = 4096 + purposes * 200 + rules * 64;
    char *text = text_of(room);
    size_t n = (size_t)snprintf(
        text, room,
        "{\"schema\":1,\"policy\":{\"id\":\"bench\",\"version\":\"2026-01-01\",\"effective\":"
        "\"2026-01-01\",\"controller\":\"Example\",\"contact\":\"privacy@example.test\"},"
        "\"purposes\":{");
    for (size_t i = 0; i < purposes; i++)
        n += (size_t)snprintf(text + n, room - n,
                              "%s\"purpose-%zu\":{\"basis\":\"%s\",\"gpc\":\"%s\"}", i ? "," : "",
                              i, i ? "consent" : "contract", i % 3 == 1 ? "deny" : "yield");
    n += (size_t)snprintf(text + n, room - n, "},\"cookies\":{\"purpose-0\":[");
    for (size_t i = 0; i < rules; i++)
        n += (size_t)snprintf(text + n, room - n, "%s\"cookie_%zu%s\"", i ? "," : "", i,
                              i % 10 == 9 ? "_*" : "");
    snprintf(text + n, room - n, "]},\"jurisdictions\":{\"*\":{\"default\":\"deny\"}}}");
    prv_policy *policy = NULL;
    prv_error err = {0};
    if (prv_policy_compile((prv_str){text, strlen(text)}, "bench", &policy, &err) != PRV_OK)
        die(err.text);
    free(text);
    return policy;
}

static void *alloc(void *ctx, size_t n)
{
    static char memory[1 << 16]; /* every answer is forgotten */
    (void)ctx;
    return n <= sizeof memory ? memory : NULL;
}

static void open_site(bench *b, size_t purposes, size_t rules)
{
    b->policy = policy_of(purposes, rules);
    prv_error err = {0};
    if (prv_keyring_parse(PRV_STR("token a " SF_KEY_A "\n"), "keys", &b->keys, &err) != PRV_OK)
        die(err.text);
    b->env = (prv_env){.alloc = alloc, .random = prv_random, .now_ms = FIX_NOW_MS, .mono_ms = 1010};
    b->site = (prv_site){.policy = b->policy,
                         .keys = b->keys,
                         .home = PRV_STR("/privacy/"),
                         .prefix = PRV_STR("privacy:")};
    prv_cookie_conf_init(&b->site.cookie);
    prv_rules_init(&b->rules);
    b->rules.mode = PRV_MODE_ON;
    b->state = (prv_state){.present = true,
                           .version = b->policy->version,
                           .seq = 3,
                           .at = SF_NOW - 1000,
                           .expires = SF_NOW + 86400,
                           .granted = 0x5555aaaa & ~1u,
                           .refused = 0xaaaa5554 & ~1u,
                           .id_len = PRV_ID_LEN};
    const uint32_t all = purposes >= 32 ? UINT32_MAX : (1u << purposes) - 1;
    b->state.granted &= all;
    b->state.refused &= all & ~b->state.granted;
    memcpy(b->state.id, SF_ID, PRV_ID_LEN);
}

static void open_zone(bench *b, size_t bytes)
{
    bytes = bytes < PRV_ZONE_MIN ? PRV_ZONE_MIN : (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, bytes);
    if (memory == NULL)
        die("no memory");
    memset(memory, 0, bytes);
    b->zone = prv_zone_attach(memory, bytes);
}

static void ready(bench *b)
{
    b->rq = (prv_request){
        .env = &b->env, .site = &b->site, .zone = b->zone, .cookies = &b->field, .n_cookies = 1};
}

/* `size` cookies of which our own is in the middle. */
static void fill_field(bench *b)
{
    char token[PRV_TOKEN_MAX + 1];
    const size_t n = prv_token_write(&b->site, &b->state, token);
    const size_t room = n + 64 + b->size * 40;
    char *text = text_of(room);
    size_t at = 0;
    for (size_t i = 0; i < b->size; i++) {
        if (i == b->size / 2)
            at += (size_t)snprintf(text + at, room - at, "%s__Host-privacy=%.*s", i ? "; " : "",
                                   (int)n, token);
        else
            at += (size_t)snprintf(text + at, room - at, "%scookie_%zu=GA1.2.1234567.89",
                                   i ? "; " : "", i);
    }
    b->field = (prv_str){text, at};
    b->token = prv_view_from(b->field, prv_view_find(b->field, 'H') + 0);
    char *own = strstr(text, "__Host-privacy=") + sizeof "__Host-privacy=" - 1;
    b->token = (prv_str){own, n};
}

/* ---- questions */

static void ask_scan(bench *b, uint64_t i)
{
    (void)i;
    prv_cookie_pairs(&b->rq);
    b->sum += b->rq.n_pairs;
}

static void ask_edit(bench *b, uint64_t i)
{
    prv_decision d = {.allowed = 1};
    prv_str out;
    unsigned vary = 0;
    (void)i;
    prv_edit_cookies(&b->rq, &b->rules, &d, &out, &vary);
    b->sum += out.n + 1;
}

static void ask_rule(bench *b, uint64_t i)
{
    b->sum += prv_policy_cookie(b->policy, b->names[i % 64]) != NULL;
}

static void ask_decide(bench *b, uint64_t i)
{
    prv_decision d;
    prv_decide(b->policy, &b->rules, &b->state, false, i & 1 ? PRV_SIGNAL_GPC : 0, (prv_region){0},
               SF_NOW, &d);
    b->sum += d.allowed;
}

static void ask_first(bench *b, uint64_t i)
{
    prv_state state;
    bool old_key;
    (void)i;
    b->sum += prv_token_read(&b->site, b->token, &state, &old_key, NULL) == PRV_TOKEN_OK;
}

static void ask_repeat(bench *b, uint64_t i)
{
    prv_op op;
    (void)i;
    b->sum += prv_request_begin(&b->rq, &op) == PRV_STEP_READY && b->rq.source == PRV_SOURCE_CACHE;
}

static prv_cache_key key_of(uint64_t i)
{
    const uint64_t w[2] = {prv_mix64(i + 1), prv_mix64(~i)};
    prv_cache_key key;
    memcpy(key.b, w, sizeof key.b);
    return key;
}

static void ask_hit(bench *b, uint64_t i)
{
    prv_cached seen;
    b->sum += prv_cache_get(b->zone, key_of(prv_mix64(i) % b->size), 7, 1010, &seen);
}

static void ask_miss(bench *b, uint64_t i)
{
    prv_cached seen;
    b->sum += !prv_cache_get(b->zone, key_of(b->size + i), 7, 1010, &seen);
}

/* ---- */

static void open_cookies(bench *b)
{
    open_site(b, 8, b->size + 1);
    fill_field(b);
    ready(b);
    prv_cookie_pairs(&b->rq);
}

static void open_rules(bench *b)
{
    open_site(b, 8, b->size);
    for (size_t i = 0; i < 64; i++) {
        char *name = text_of(32);
        snprintf(name, 32, i % 4 == 3 ? "other_%zu" : "cookie_%zu", prv_mix64(i) % b->size);
        b->names[i] = (prv_str){name, strlen(name)};
    }
}

static void open_purposes(bench *b)
{
    open_site(b, b->size, 12);
}

static void open_token(bench *b)
{
    open_site(b, 8, 12);
    open_zone(b, 0);
    fill_field(b);
    ready(b);
    prv_op op;
    prv_request_begin(&b->rq, &op);
}

static void open_cache(bench *b)
{
    open_site(b, 8, 12);
    open_zone(b, b->size * 160 + (1 << 20));
    const prv_cache_put_how how = {.print = (const uint8_t *)"0123456789ab"};
    for (uint64_t i = 0; i < b->size; i++)
        prv_cache_put(b->zone, key_of(i), 7, &b->state, &how, FIX_NOW_MS);
}

static const struct {
    const char *name;
    void (*open)(bench *b);
    question *ask;
    bool all; /* each answer is to be the one that was expected */
} kinds[] = {{"scan", open_cookies, ask_scan, false}, {"edit", open_cookies, ask_edit, false},
             {"rule", open_rules, ask_rule, false},   {"decide", open_purposes, ask_decide, false},
             {"first", open_token, ask_first, true},  {"repeat", open_token, ask_repeat, true},
             {"hit", open_cache, ask_hit, false},     {"miss", open_cache, ask_miss, true}};

__attribute__((noinline)) static void measured(bench *b, question *ask, uint64_t times)
{
    for (uint64_t i = 0; i < times; i++)
        ask(b, i);
}

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: micro WHAT SIZE TIMES");
    const uint64_t times = strtoull(argv[3], NULL, 10);
    bench b = {.size = strtoull(argv[2], NULL, 10)};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, argv[1]) != 0)
            continue;
        kinds[i].open(&b);
        for (uint64_t k = 0; k < times / 10; k++)
            kinds[i].ask(&b, k);
        b.sum = 0;
        const double began = now_ns();
        measured(&b, kinds[i].ask, times);
        const double took = now_ns() - began;
        if (b.sum == 0 || (kinds[i].all && b.sum != times))
            die("not the answers that were expected");
        if (strcmp(argv[1], "hit") == 0 && (double)b.sum < 0.95 * (double)times)
            die("what was put into the cache is not there");
        printf("ns=%.1f\n", took / (double)times);
        return 0;
    }
    die("no such question");
}
