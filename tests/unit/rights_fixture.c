#include "rights_fixture.h"

const char rig_policy[] =
    "{\"schema\":1,\"policy\":{\"id\":\"site\",\"version\":\"2024-03-15\",\"since\":\"2024-01-01\","
    "\"effective\":\"2024-03-20\",\"url\":\"/privacy-policy\",\"controller\":\"A & B <Ltd>\","
    "\"contact\":\"privacy@example.com\",\"storage_region\":\"EU\","
    "\"authority\":{\"FR\":\"https://www.cnil.fr/\",\"*\":\"https://edpb.europa.eu/\"}},"
    "\"purposes\":{"
    "\"necessary\":{\"basis\":\"contract\",\"title\":{\"en\":\"Necessary\"}},"
    "\"security\":{\"basis\":\"legitimate_interests\",\"title\":{\"en\":\"Security\"}},"
    "\"preferences\":{\"basis\":\"consent\"},"
    "\"statistics\":{\"basis\":\"consent\",\"gpc\":\"yield\",\"dnt\":\"yield\","
    "\"title\":{\"en\":\"Statistics\",\"fr\":\"Statistiques\"},"
    "\"description\":{\"en\":\"Counts <visits>\"}},"
    "\"marketing\":{\"basis\":\"consent\",\"gpc\":\"deny\",\"dnt\":\"deny\",\"sale\":true},"
    "\"old\":{\"basis\":\"consent\",\"off\":true}},"
    "\"vendors\":{\"ga\":{\"purpose\":\"statistics\",\"title\":\"Analytics "
    "\\\"x\\\"\",\"location\":\"US\","
    "\"safeguard\":\"SCC\",\"hosts\":[\"a.example\"]}},"
    "\"cookies\":{\"statistics\":[\"_ga\",{\"name\":\"_ga_*\",\"vendor\":\"ga\",\"life\":\"2y\"}],"
    "\"marketing\":[\"_fbp\"],\"security\":[\"guard\"],\"necessary\":[\"session\"]},"
    "\"unknown_cookies\":\"deny\","
    "\"jurisdictions\":{\"opt-in\":{\"regions\":[\"FR\",\"DE\"],\"default\":\"deny\"},"
    "\"opt-out\":{\"regions\":[\"US\"],\"default\":\"allow\",\"notice\":\"opt-out\"},"
    "\"*\":{\"default\":\"deny\"}},"
    "\"age\":{\"minimum\":13,\"unknown_region\":16,\"sale_opt_in\":16,\"regions\":{\"FR\":15,"
    "\"DE\":16}},"
    "\"strings\":{\"en\":{\"accept\":\"Yes & all\"},\"nl\":{\"refuse\":\"Alles weigeren\"}}}";

prv_str rig_str(const char *text)
{
    return (prv_str){text, strlen(text)};
}

static void *rig_alloc(void *ctx, size_t n)
{
    rig *r = ctx;
    r->allocs++;
    if ((r->fail_at != 0 && r->allocs >= r->fail_at) ||
        r->n_blocks == sizeof r->blocks / sizeof r->blocks[0])
        return NULL;
    void *p = malloc(n > 0 ? n : 1);
    r->blocks[r->n_blocks++] = p;
    return p;
}

static void free_blocks(rig *r)
{
    while (r->n_blocks > 0)
        free(r->blocks[--r->n_blocks]);
}

void rig_open(rig *r, const char *policy, bool store)
{
    prv_error err = {0};
    memset(r, 0, sizeof *r);
    if (prv_policy_compile(rig_str(policy), "rig", &r->policy, &err) != PRV_OK)
        fail_msg("%s", err.text);
    if (prv_keyring_parse(PRV_STR("token k1 MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\n"), "keys",
                          &r->keys, &err) != PRV_OK)
        fail_msg("%s", err.text);
    r->zone_memory = aligned_alloc(64, PRV_ZONE_MIN);
    assert_non_null(r->zone_memory);
    memset(r->zone_memory, 0, PRV_ZONE_MIN);
    r->env = (prv_env){.ctx = r, .alloc = rig_alloc, .random = prv_random, .now_ms = RIG_NOW_MS};
    r->site = (prv_site){.policy = r->policy,
                         .keys = r->keys,
                         .home = PRV_STR("/privacy/"),
                         .store = store,
                         .prefix = PRV_STR("privacy:")};
    prv_cookie_conf_init(&r->site.cookie);
    prv_limit_conf_init(&r->site.limit);
    r->site.limit.off = true;
    prv_rules_init(&r->rules);
    r->rules.mode = PRV_MODE_ON;
    r->rules.exempt = true;
    r->http = (prv_http){.mount = PRV_STR("/privacy/"),
                         .host = PRV_STR("www.example.com"),
                         .tls = true,
                         .addr = PRV_STR("192.0.2.7"),
                         .sec_fetch_site = PRV_STR("same-origin"),
                         .accept_language = PRV_STR("en"),
                         .region = prv_region_parse(PRV_STR("FR"))};
}

void rig_close(rig *r)
{
    rig_delete_record(r);
    free_blocks(r);
    prv_keyring_free(r->keys);
    prv_policy_free(r->policy);
    free(r->zone_memory);
}

/* ------------------------------------------------------------------ the store */

static int field_at(const rig *r, prv_str name)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        if (strlen(r->names[i]) == name.n && memcmp(r->names[i], name.p, name.n) == 0)
            return (int)i;
    }
    return -1;
}

static void field_drop(rig *r, int at)
{
    if (at < 0)
        return;
    free(r->names[at]);
    free(r->values[at]);
    r->n_fields--;
    r->names[at] = r->names[r->n_fields];
    r->values[at] = r->values[r->n_fields];
}

static void field_set(rig *r, prv_str name, prv_str value)
{
    field_drop(r, field_at(r, name));
    assert_true(r->n_fields < RIG_FIELDS);
    r->names[r->n_fields] = strndup(name.n ? name.p : "", name.n);
    r->values[r->n_fields++] = strndup(value.n ? value.p : "", value.n);
}

void rig_set(rig *r, const char *name, const char *value)
{
    field_set(r, rig_str(name), rig_str(value));
}

const char *rig_field(const rig *r, const char *name)
{
    int at = field_at(r, rig_str(name));
    return at < 0 ? NULL : r->values[at];
}

void rig_delete_record(rig *r)
{
    while (r->n_fields > 0)
        field_drop(r, 0);
}

static unsigned number(prv_str text)
{
    unsigned n = 0;
    for (size_t i = 0; i < text.n && text.p[i] != ':'; i++)
        n = n * 10 + (unsigned)(text.p[i] - '0');
    return n;
}

/* As the write script: the seq, and behind a colon what lowers, are those that were read. */
static bool as_expected(const rig *r, prv_str expected)
{
    static const char *const lowering[] = {"refused", "age", "restricted"};
    prv_str pairs[6];
    prv_reply now = {.status = PRV_REPLY_RECORD, .pairs = pairs};
    char seen[PRV_SEEN_LEN];
    const char *seq = rig_field(r, "seq");
    if ((seq ? number(rig_str(seq)) : 0) != number(expected))
        return false;
    for (size_t i = 0; i < 3; i++) {
        const char *value = rig_field(r, lowering[i]);
        if (value) {
            pairs[now.n++] = rig_str(lowering[i]);
            pairs[now.n++] = rig_str(value);
        }
    }
    const char *colon = memchr(expected.p, ':', expected.n);
    return !colon || (prv_record_seen(&now, seen) && memcmp(colon + 1, seen, sizeof seen) == 0);
}

static void fill(const rig *r, prv_str pairs[2 * RIG_FIELDS], prv_reply *reply)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        pairs[2 * i] = rig_str(r->names[i]);
        pairs[2 * i + 1] = rig_str(r->values[i]);
    }
    reply->pairs = pairs;
    reply->n = 2 * r->n_fields;
}

static void carry_out(rig *r, const prv_op *op, prv_str pairs[2 * RIG_FIELDS], prv_reply *reply)
{
    *reply = (prv_reply){.status = PRV_REPLY_UNAVAILABLE};
    if (r->down)
        return;
    if (op->kind == PRV_OP_READ) {
        r->reads++;
        reply->status = r->wrong_type     ? PRV_REPLY_UNREADABLE
                        : r->n_fields > 0 ? PRV_REPLY_RECORD
                                          : PRV_REPLY_ABSENT;
        fill(r, pairs, reply);
        return;
    }
    assert_int_equal(op->kind, PRV_OP_CHANGE);
    r->writes++;
    if (r->rival > 0) {
        const char *seq = rig_field(r, "seq");
        char next[16];
        snprintf(next, sizeof next, "%u", (seq ? number(rig_str(seq)) : 0) + 1);
        rig_set(r, "seq", next);
        r->rival--;
    }
    if (!as_expected(r, op->args[1])) {
        reply->status = PRV_REPLY_CONFLICT;
        fill(r, pairs, reply);
        return;
    }
    r->wrong_type = false;
    const size_t n = number(op->args[3]);
    for (size_t i = 0; i < n; i++)
        field_set(r, op->args[4 + 2 * i], op->args[5 + 2 * i]);
    for (size_t i = 4 + 2 * n; i < op->n_args; i++)
        field_drop(r, field_at(r, op->args[i]));
    snprintf(r->key, sizeof r->key, "%.*s", (int)op->key.n, op->key.p);
    r->expire_at = (int64_t)strtoll(op->args[2].p, NULL, 10);
    if (r->deaf)
        return;
    reply->status = PRV_REPLY_RECORD;
    fill(r, pairs, reply);
}

/* ------------------------------------------------------------------ calls */

static void keep_cookie(rig *r)
{
    for (size_t i = 0; i < r->response.n_headers; i++) {
        const prv_field *f = &r->response.headers[i];
        if (f->name.n != 10 || memcmp(f->name.p, "Set-Cookie", 10) != 0)
            continue;
        if (f->value.n < 15 || memcmp(f->value.p, "__Host-privacy=", 15) != 0)
            continue;
        const char *end = memchr(f->value.p, ';', f->value.n);
        size_t n = end ? (size_t)(end - f->value.p) : f->value.n;
        assert_true(n < sizeof r->jar);
        memcpy(r->jar, f->value.p, n);
        r->jar[n] = '\0';
    }
}

int rig_call(rig *r, const char *method, const char *path, const char *type, const char *body)
{
    prv_str pairs[2 * RIG_FIELDS];
    prv_str cookies[2];
    prv_reply reply;
    prv_op op;
    prv_endpoint *ep = NULL;
    size_t n = 0;

    free_blocks(r);
    r->allocs = 0;
    r->http.method = rig_str(method);
    const char *mark = strchr(path, '?');
    r->http.path = mark ? (prv_str){path, (size_t)(mark - path)} : rig_str(path);
    r->http.query = mark ? rig_str(mark + 1) : PRV_NONE;
    r->http.content_type = type ? rig_str(type) : PRV_NONE;
    r->http.body = body ? rig_str(body) : PRV_NONE;
    if (r->jar[0])
        cookies[n++] = rig_str(r->jar);
    if (r->other[0])
        cookies[n++] = rig_str(r->other);
    r->rq = (prv_request){.env = &r->env,
                          .site = &r->site,
                          .zone = prv_zone_attach(r->zone_memory, PRV_ZONE_MIN),
                          .cookies = cookies,
                          .n_cookies = n,
                          .signals = r->signals};
    if (prv_request_begin(&r->rq, &op) == PRV_STEP_NEED_STORE) {
        carry_out(r, &op, pairs, &reply);
        prv_request_feed(&r->rq, &reply);
    }
    memset(&r->response, 0x5a, sizeof r->response);
    prv_ep_step step = prv_endpoint_begin(&ep, &r->rq, &r->rules, &r->http, &op, &r->response);
    for (unsigned rounds = 0; step == PRV_EP_STORE; rounds++) {
        assert_true(rounds < 4);
        carry_out(r, &op, pairs, &reply);
        step = prv_endpoint_feed(ep, &reply, &op, &r->response);
    }
    keep_cookie(r);
    return r->response.status;
}

int rig_get(rig *r, const char *path)
{
    return rig_call(r, "GET", path, NULL, NULL);
}

int rig_json(rig *r, const char *path, const char *body)
{
    return rig_call(r, "POST", path, "application/json", body);
}

int rig_form(rig *r, const char *path, const char *body)
{
    return rig_call(r, "POST", path, "application/x-www-form-urlencoded", body);
}

prv_str rig_header(const rig *r, const char *name)
{
    for (size_t i = 0; i < r->response.n_headers; i++) {
        const prv_field *f = &r->response.headers[i];
        if (f->name.n == strlen(name) && memcmp(f->name.p, name, f->name.n) == 0)
            return f->value;
    }
    return PRV_NONE;
}

size_t rig_count(const rig *r, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < r->response.n_headers; i++) {
        const prv_field *f = &r->response.headers[i];
        n += f->name.n == strlen(name) && memcmp(f->name.p, name, f->name.n) == 0;
    }
    return n;
}

const char *rig_body(rig *r)
{
    const unsigned fail_at = r->fail_at;
    r->fail_at = 0;
    char *text = rig_alloc(r, r->response.body.n + 1);
    r->fail_at = fail_at;
    assert_non_null(text);
    if (r->response.body.n > 0)
        memcpy(text, r->response.body.p, r->response.body.n);
    text[r->response.body.n] = '\0';
    return text;
}

bool rig_has(rig *r, const char *text)
{
    return strstr(rig_body(r), text) != NULL;
}

void rig_assert_has(rig *r, const char *text)
{
    if (!rig_has(r, text))
        fail_msg("not in the body: %s\n%s", text, rig_body(r));
}

void rig_assert_lacks(rig *r, const char *text)
{
    if (rig_has(r, text))
        fail_msg("in the body: %s\n%s", text, rig_body(r));
}
