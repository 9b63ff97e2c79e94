/* The JSON documents that the endpoints answer with. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../request/headers.h"
#include "endpoint.h"

/* Takes a malloc'ed text into the request's memory. */
static prv_str take(const prv_env *env, char *text)
{
    prv_str out = PRV_NONE;
    if (text == NULL)
        return out;
    const size_t n = strlen(text);
    char *p = env->alloc(env->ctx, n + 1);
    if (p != NULL) {
        memcpy(p, text, n);
        p[n] = '\n';
        out = (prv_str){p, n + 1};
    }
    free(text);
    return out;
}

static prv_str dump(const prv_env *env, json_t *root, bool good)
{
    char *text = good ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return take(env, text);
}

static json_t *string_of(prv_str text)
{
    return json_stringn(text.p != NULL ? text.p : "", text.n);
}

/* json_object_set_new refuses NULL, so an allocation that failed shows here. */
static bool set(json_t *root, const char *name, json_t *value)
{
    return json_object_set_new(root, name, value) == 0;
}

static json_t *time_of(int64_t at, bool known)
{
    char text[24];
    return known ? json_stringn(text, prv_rfc3339_format(at, text)) : json_null();
}

static json_t *signals_of(unsigned signals)
{
    json_t *list = json_array();
    if ((signals & PRV_SIGNAL_GPC) && json_array_append_new(list, json_string("gpc")) != 0) {
        json_decref(list);
        return NULL;
    }
    if ((signals & PRV_SIGNAL_DNT) && json_array_append_new(list, json_string("dnt")) != 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* The choice in force: a grant that ran out or was made under too old a version is none, a refusal
 * stays one. */
static json_t *choice_of(const prv_endpoint *ep, unsigned i)
{
    const prv_state *state = &ep->rq->state;
    const prv_purpose *purpose = &ep->rq->site->policy->purposes[i];
    if (!(prv_refusable(ep->rq->site->policy) & 1u << i))
        return json_null();
    if (state->refused & 1u << i)
        return json_string("refused");
    if ((state->granted & 1u << i) && state->version >= purpose->since &&
        ep->rq->env->now_ms / 1000 < state->expires)
        return json_string("granted");
    return json_null();
}

static json_t *purposes_of(const prv_endpoint *ep, bool *good)
{
    const prv_policy *policy = ep->rq->site->policy;
    json_t *all = json_object();
    for (unsigned i = 0; i < policy->n_purposes && *good; i++) {
        const prv_str name = policy->purposes[i].name;
        char key[256];
        json_t *one = json_object();
        *good = name.n < sizeof key && set(one, "allowed", json_boolean(ep->d.allowed >> i & 1u)) &&
                set(one, "reason", string_of(prv_row_reason(ep->d.row[i]))) &&
                set(one, "choice", choice_of(ep, i));
        if (!*good) {
            json_decref(one);
            break;
        }
        memcpy(key, name.p, name.n);
        key[name.n] = '\0';
        *good = set(all, key, one);
    }
    return all;
}

prv_str prv_document_consent(const prv_endpoint *ep, bool local, bool partly)
{
    const prv_state *state = &ep->rq->state;
    const prv_policy *policy = ep->rq->site->policy;
    const bool chosen = state->present && state->version != 0;
    const bool has_id = state->id_len > 0;
    const prv_str jurisdiction = ep->d.jurisdiction < policy->n_jurisdictions
                                     ? policy->jurisdictions[ep->d.jurisdiction].name
                                     : PRV_STR("*");
    json_t *root = json_object();
    bool good = true;
    json_t *purposes = purposes_of(ep, &good);

    good = good &&
           set(root, "id", has_id ? string_of((prv_str){state->id, state->id_len}) : json_null()) &&
           set(root, "policy_version", string_of(policy->version_text)) &&
           set(root, "jurisdiction", string_of(jurisdiction)) &&
           set(root, "signals", signals_of(ep->rq->signals)) &&
           set(root, "age", string_of(prv_age_word(ep->d.age))) &&
           set(root, "decided_at", time_of(state->at, chosen)) &&
           set(root, "expires_at", time_of(state->expires, chosen)) &&
           json_object_set(root, "purposes", purposes) == 0;
    json_decref(purposes);
    if (local)
        good = good && set(root, "stored", json_false());
    if (partly)
        good = good && set(root, "detail",
                           json_string("The store does not answer: what refuses was taken, what "
                                       "grants was not. Ask again later."));
    return dump(ep->rq->env, root, good);
}

prv_str prv_document_age(const prv_endpoint *ep, bool local)
{
    json_t *root = json_object();
    bool good = set(root, "age", string_of(prv_age_word(ep->d.age)));
    if (local)
        good = good && set(root, "stored", json_false());
    return dump(ep->rq->env, root, good);
}

prv_str prv_document_policy(const prv_endpoint *ep)
{
    return take(ep->rq->env, prv_policy_json(ep->rq->site->policy));
}
