#include "visit_fixture.h"

state_fixture visit_fix;

static uint32_t mask(const char *names)
{
    return sf_mask(visit_fix.policy, fix_str(names));
}

prv_state visit_state(const view *v)
{
    prv_state s = {.present = true,
                   .stored = v->stored,
                   .restricted = v->restricted,
                   .version = visit_fix.policy->version,
                   .seq = v->seq,
                   .at = SF_NOW,
                   .granted = mask(v->granted ? v->granted : ""),
                   .refused = mask(v->refused ? v->refused : ""),
                   .age = v->age};
    if (v->id) {
        s.id_len = PRV_ID_LEN;
        memcpy(s.id, v->id, PRV_ID_LEN);
    }
    s.expires = prv_state_expires(visit_fix.policy, &s);
    return s;
}

prv_str visit_cookie(const view *v)
{
    const prv_state s = visit_state(v);
    char *text = visit_fix.env.alloc(visit_fix.env.ctx, 512), token[PRV_TOKEN_MAX + 1];
    assert_true(prv_token_write(&visit_fix.site, &s, token) > 0);
    return (prv_str){text, (size_t)snprintf(text, 512, "__Host-privacy=%s", token)};
}

prv_str visit_format(const char *form, prv_str a, prv_str b)
{
    char *text = visit_fix.env.alloc(visit_fix.env.ctx, 2048);
    return (prv_str){text, (size_t)snprintf(text, 2048, form, (int)a.n, a.p, (int)b.n, b.p)};
}

prv_request visit_request(const prv_str *cookies, size_t n)
{
    return (prv_request){.env = &visit_fix.env,
                         .site = &visit_fix.site,
                         .zone = visit_fix.zone,
                         .cookies = cookies,
                         .n_cookies = n,
                         .navigation = true};
}

prv_step visit_begin(prv_request *rq)
{
    prv_op op = {0};
    const prv_step step = prv_request_begin(rq, &op);
    if (step == PRV_STEP_NEED_STORE)
        assert_int_equal(op.kind, PRV_OP_READ);
    return step;
}

prv_request visit_begun(prv_str cookie)
{
    static prv_str kept;
    kept = cookie;
    prv_request rq = visit_request(&kept, 1);
    visit_begin(&rq);
    return rq;
}

prv_reply visit_reply(const view *v, prv_str *pairs)
{
    prv_op op;
    const prv_state s = visit_state(v);
    const prv_record_meta meta = {.method = PRV_STR("form"), .change = PRV_STR("c")};
    assert_true(prv_record_change(visit_fix.policy, visit_fix.keys, visit_fix.site.prefix, &s, 0,
                                  &meta, &visit_fix.env, &op));
    const size_t n = 2 * (size_t)sf_number(op.args[3]);
    memcpy(pairs, &op.args[4], n * sizeof *pairs);
    return (prv_reply){.status = PRV_REPLY_RECORD, .n = n, .pairs = pairs};
}

const prv_reply visit_absent = {.status = PRV_REPLY_ABSENT};
const prv_reply visit_unreadable = {.status = PRV_REPLY_UNREADABLE};
const prv_reply visit_unavailable = {.status = PRV_REPLY_UNAVAILABLE};

prv_request visit_met(const view *token, const view *record)
{
    prv_str pairs[PRV_OP_ARGS_MAX];
    prv_request rq = visit_begun(visit_cookie(token));
    assert_true(rq.pending);
    const prv_reply reply = record ? visit_reply(record, pairs) : visit_absent;
    prv_request_feed(&rq, &reply);
    assert_false(rq.pending);
    assert_int_equal(rq.source, PRV_SOURCE_STORE);
    return rq;
}

void visit_expect(const prv_request *rq, const char *granted, const char *refused)
{
    assert_string_equal(sf_names(visit_fix.policy, rq->state.granted), granted);
    assert_string_equal(sf_names(visit_fix.policy, rq->state.refused), refused);
}

int visit_setup(void **state)
{
    (void)state;
    sf_reset(&visit_fix);
    return 0;
}

int visit_setup_store(void **state)
{
    visit_setup(state);
    visit_fix.site.store = true;
    return 0;
}
