/*
 * What an account chooses goes to the account's record; the browser's cookie keeps what is the
 * browser's, and to what the account granted here over a refusal of the browser (`over`).
 *
 * First the record, then the pointer to it: they are in two slots of a cluster, and a pointer to
 * nothing would be worse than a record that the next write finds by its id, which is derived from
 * the account.
 */
#include "account.h"

#include <stdio.h>
#include <string.h>

/* What GPC denies, whatever was granted: these a signal that was seen with an account refuses. */
static uint32_t gpc_refuses(const prv_policy *policy)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < policy->n_purposes; i++) {
        if (policy->purposes[i].gpc == PRV_LISTEN_DENY)
            mask |= 1u << i;
    }
    return mask & prv_refusable(policy);
}

/* ------------------------------------------------------------------ the pointer */

static bool bind_op(prv_request *a, prv_op *op)
{
    const prv_env *env = a->env;
    const size_t cap = 24, room = a->site->prefix.n + 40;
    char *text = env->alloc(env->ctx, room + cap + PRV_ID_LEN);
    if (text == NULL)
        return false;
    char *id = text + room + cap;
    const int n =
        snprintf(text + room, cap, "%lld", (long long)prv_state_end(a->site->policy, &a->state));
    memcpy(id, a->state.id, PRV_ID_LEN);
    *op = (prv_op){.kind = PRV_OP_BIND, .n_args = 2};
    op->key = (prv_str){text, prv_subject_key(a->site->prefix, a->subject, text)};
    op->args[0] = (prv_str){id, PRV_ID_LEN};
    op->args[1] = (prv_str){text + room, (size_t)n};
    return true;
}

/* ------------------------------------------------------------------ the browser */

/* What the account granted here, the browser's own refusal does not hold against. */
static void grant_over(prv_account_run *run)
{
    prv_request *rq = run->rq;
    prv_state *token = &rq->token;
    const uint32_t refused = rq->split ? rq->browser.refused : rq->state.refused;
    const bool bound = token->has_subject && prv_subject_same(token->subject, rq->subject);
    const uint32_t before = bound ? token->over : 0;
    const uint32_t over =
        ((before | (run->change.grant & refused)) & ~run->change.refuse) & refused & token->refused;
    if (over == before)
        return;
    if (!bound) { /* whose session it was, if anybody's, it is no more */
        prv_state_bind(token, &(prv_state){0});
        token->has_subject = true;
        memcpy(token->subject, rq->subject, sizeof token->subject);
    }
    token->over = over;
    run->set_cookie = true;
}

/* The store is away: what lowers holds by the browser's cookie, which owes it to the account. */
static prv_change_step lower_here(prv_account_run *run)
{
    prv_request *rq = run->rq;
    const prv_site *site = rq->site;
    prv_site alone = *site;
    prv_request browser = *rq;
    prv_change change = run->change;
    prv_change_run here;
    prv_op none;

    alone.store = false;
    change.grant = 0;
    if (change.restricted == 0)
        change.restricted = -1;
    if (change.set_age && change.age.under == 0)
        change.set_age = false;
    if (change.set_age)
        change.age = (prv_age){.ok = rq->browser.age.ok < change.age.under ? rq->browser.age.ok : 0,
                               .under = change.age.under,
                               .parental = rq->browser.age.parental,
                               .at = change.age.at};
    if (change.refuse == 0 && !change.refuse_other && change.restricted != 1 && !change.set_age)
        return PRV_CHANGE_UNAVAILABLE;
    /* Without an id the cookie is all there is of the browser. */
    if (rq->browser.id_len == 0 && change.restricted != 1)
        browser.site = &alone;
    browser.degraded = true;
    browser.state = rq->browser;
    browser.split = browser.known = false;
    browser.account = NULL;
    const prv_change_step done = prv_change_begin(&here, &browser, &change, &none);
    if (done != PRV_CHANGE_DONE && done != PRV_CHANGE_LOCAL)
        return PRV_CHANGE_UNAVAILABLE;
    prv_state next = browser.state;
    const prv_state *token = &rq->token;
    const bool bound = token->has_subject && prv_subject_same(token->subject, rq->subject);
    prv_state_bind(&next, bound ? token : &(prv_state){0});
    next.has_subject = true;
    next.over &= next.refused & ~change.refuse;
    next.owed = (next.owed | change.refuse) & next.refused;
    next.at = rq->env->now_ms / 1000; /* to the second: what the account grants later is later */
    memcpy(next.subject, rq->subject, sizeof next.subject);
    rq->browser = next;
    rq->token = next;
    rq->has_token = true;
    rq->renew = rq->foreign_key = false;
    run->run.partly = run->change.grant != 0;
    run->set_cookie = true;
    prv_subject_compose(rq);
    return PRV_CHANGE_LOCAL;
}

/* ------------------------------------------------------------------ the change */

static prv_change_step finish(prv_account_run *run)
{
    prv_request *rq = run->rq;
    const prv_request *a = rq->account;
    /* What this node has just written it does not find missing, though the push is still to come.
     */
    prv_subject_keep(a->zone, a->subject, prv_request_tag(a), a->state.id, 0, a->env->now_ms);
    rq->account->pointed = true;
    rq->account->has_token =
        false; /* prv_change keeps what it wrote as a cookie would; there is none */
    rq->account->wanted = rq->account->gpc_seen;
    rq->degraded = false;
    rq->source = PRV_SOURCE_STORE;
    grant_over(run);
    prv_subject_compose(rq);
    return PRV_CHANGE_DONE;
}

static prv_change_step step(prv_account_run *run, prv_change_step done, prv_op *op)
{
    switch (done) {
    case PRV_CHANGE_WRITE:
        return done;
    case PRV_CHANGE_DONE:
        if (!bind_op(run->rq->account, op))
            return lower_here(run);
        run->binding = true;
        return PRV_CHANGE_WRITE;
    default:
        return lower_here(run);
    }
}

prv_change_step prv_account_begin(prv_account_run *run, prv_request *rq, const prv_change *change,
                                  prv_op *op)
{
    prv_request *a = rq->account;
    prv_change asked = *change;
    *run = (prv_account_run){.rq = rq, .change = *change};
    if (a == NULL || a->site->keys == NULL)
        return PRV_CHANGE_UNAVAILABLE;
    if (rq->degraded || a->degraded)
        return lower_here(run);
    if ((rq->signals & PRV_SIGNAL_GPC) && !a->state.gpc) {
        asked.refuse |= gpc_refuses(rq->site->policy) & ~asked.grant;
        a->gpc_seen = true;
    }
    if (a->state.id_len != PRV_ID_LEN) { /* an account has an id, whatever it says first */
        memcpy(a->state.id, a->record_id, PRV_ID_LEN);
        a->state.id_len = PRV_ID_LEN;
    }
    a->has_token = false;
    return step(run, prv_change_begin(&run->run, a, &asked, op), op);
}

prv_change_step prv_account_feed(prv_account_run *run, const prv_reply *reply, prv_op *op)
{
    if (!run->binding)
        return step(run, prv_change_feed(&run->run, reply, op), op);
    if (reply->status == PRV_REPLY_RECORD || run->rq->account->pointed)
        return finish(run);
    return lower_here(run);
}

/* ------------------------------------------------------------------ what nobody asked for */

/* Refusals that the cookie owes to the account's record. Those that the record has, or has granted
 * since, it owes no longer. */
static uint32_t take_owed(prv_request *rq)
{
    const prv_state *state = &rq->account->state;
    prv_state *token = &rq->token;
    if (!token->has_subject || !prv_subject_same(token->subject, rq->subject) || !token->owed)
        return 0;
    const uint32_t later = state->at > token->at ? state->granted : 0;
    const uint32_t owed = token->owed & ~state->refused & ~later;
    if (owed == 0) {
        token->owed = 0;
        rq->renew = true;
    }
    return owed;
}

static bool want_change(prv_request *rq, prv_op *op)
{
    prv_request *a = rq->account;
    const prv_policy *policy = rq->site->policy;
    const bool gpc = (rq->signals & PRV_SIGNAL_GPC) && !a->state.gpc && gpc_refuses(policy) != 0;
    prv_change change = {.refuse = take_owed(rq),
                         .restricted = -1,
                         .signals = rq->signals,
                         .method = gpc ? PRV_STR("signal") : PRV_STR("api")};
    prv_change_run run;
    if (gpc)
        change.refuse |= gpc_refuses(policy);
    if (a->want_age && a->record_seq == 0) {
        change.set_age = true;
        change.age = a->state.age;
        a->want_age = false;
    }
    if (change.refuse == 0 && !gpc && !change.set_age)
        return false;
    if (gpc)
        a->gpc_seen = a->state.gpc = true;
    if (!prv_change_over(&run, a, &change, op))
        return false;
    a->repair = 0; /* it is signed by the key that signs now */
    a->want_bind = true;
    prv_subject_compose(rq);
    return true;
}

bool prv_account_want(prv_request *rq, prv_op *op)
{
    prv_request *a = rq->account;
    if (a == NULL || rq->pending || a->degraded || rq->site->keys == NULL)
        return false;
    if (!a->wanted) {
        a->wanted = true;
        if (want_change(rq, op))
            return true;
    }
    if (a->want_age) {
        a->want_age = false;
        if (a->record_seq == 0) {
            if (want_change(rq, op))
                return true;
        } else if (prv_record_age(rq->site->policy, rq->site->keys, rq->site->prefix, &a->state,
                                  &a->record_age, rq->env, op)) {
            return true;
        }
    }
    if (a->want_bind) {
        a->want_bind = false;
        return bind_op(a, op);
    }
    return prv_request_repair(a, op);
}
