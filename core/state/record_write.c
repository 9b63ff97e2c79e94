/* Writing privacy:consent:{ID}: the arguments of the write scripts (core/redis/script.h), and how
 * long things last. */
#include "proof.h"

#include <stdio.h>
#include <string.h>

#define LIST_MAX 4096 /* 32 names of 64, and what is kept of other versions is cut to fit */
#define SCRATCH_MAX (2 * LIST_MAX + 1024)
#define OP_HEAD 4

/* ------------------------------------------------------------------ lifetimes */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool any_other(const prv_state *state, bool granted)
{
    for (size_t i = 0; i < state->n_other && i < PRV_MAX_OTHER; i++) {
        if (state->other[i].granted == granted)
            return true;
    }
    return false;
}

static int64_t capped(const prv_policy *policy, const prv_state *state, int64_t end)
{
    const int64_t last = state->at + policy->lifetimes.maximum;
    return end < last ? end : last;
}

int64_t prv_state_expires(const prv_policy *policy, const prv_state *state)
{
    const prv_lifetimes *life = &policy->lifetimes;
    const bool grants = state->granted || any_other(state, true);
    return capped(policy, state, state->at + (grants ? life->choice : life->refusal));
}

int64_t prv_state_end(const prv_policy *policy, const prv_state *state)
{
    const prv_lifetimes *life = &policy->lifetimes;
    const prv_age *age = &state->age;
    const bool grants = state->granted || any_other(state, true);
    const bool lowers = state->refused || state->restricted || any_other(state, false);
    const bool bounds = age->ok || age->under;
    int64_t end = 0;
    if (grants)
        end = later(end, state->at + life->choice);
    /* A record of nothing is kept as long as a refusal, so that its seq outlives older cookies. */
    if (lowers || (!grants && !bounds && !age->parental))
        end = later(end, state->at + life->refusal);
    if (bounds && age->at)
        end = later(end, age->at + life->age);
    if (age->parental || (bounds && !age->at))
        end = later(end, state->at + life->maximum);
    return capped(policy, state, end);
}

/* ------------------------------------------------------------------ text in one scratch area */

typedef struct scratch {
    char *p;
    size_t n;
    size_t cap;
    bool full;
} scratch;

static bool scratch_open(scratch *s, const prv_env *env, size_t cap)
{
    *s = (scratch){.p = env->alloc(env->ctx, cap), .cap = cap};
    return s->p != NULL;
}

static char *room(scratch *s, size_t n)
{
    if (n > s->cap - s->n) {
        s->full = true;
        return NULL;
    }
    return s->p + s->n;
}

static prv_str took(scratch *s, size_t n)
{
    prv_str out = {s->p + s->n, n};
    s->n += n;
    return out;
}

static prv_str copy(scratch *s, prv_str text)
{
    char *out = room(s, text.n);
    if (!out)
        return PRV_NONE;
    memcpy(out, text.p, text.n);
    return took(s, text.n);
}

static prv_str number(scratch *s, int64_t value)
{
    char *out = room(s, 24);
    return out ? took(s, (size_t)snprintf(out, 24, "%lld", (long long)value)) : PRV_NONE;
}

static prv_str moment(scratch *s, int64_t value)
{
    char *out = room(s, 24);
    return out ? took(s, prv_rfc3339_format(value, out)) : PRV_NONE;
}

static prv_str version(scratch *s, uint32_t value)
{
    char *out = room(s, 16);
    return out ? took(s, prv_version_format(value, out)) : PRV_NONE;
}

static prv_str age_text(scratch *s, const prv_age *age)
{
    char *out = room(s, 48);
    return out ? took(s, prv_age_format(age, out)) : PRV_NONE;
}

static prv_str signals_text(unsigned signals)
{
    static const prv_str texts[] = {{"", 0}, PRV_STR("gpc"), PRV_STR("dnt"), PRV_STR("gpc,dnt")};
    return texts[signals & (PRV_SIGNAL_GPC | PRV_SIGNAL_DNT)];
}

static prv_str key_text(scratch *s, prv_str prefix, prv_str id)
{
    char *out = room(s, prefix.n + 40);
    return out ? took(s, prv_record_key(prefix, id, out)) : PRV_NONE;
}

size_t prv_record_key(prv_str prefix, prv_str id, char *out)
{
    const prv_str parts[] = {prefix, PRV_STR("consent:{"), id, PRV_STR("}")};
    size_t n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].n > 0)
            memcpy(out + n, parts[i].p, parts[i].n);
        n += parts[i].n;
    }
    return n;
}

/* ------------------------------------------------------------------ choices */

typedef struct choices {
    scratch *s;
    const prv_policy *policy;
    const prv_state *state;
    size_t n; /* of hashes */
    uint16_t hashes[PRV_PROOF_HASHES];
} choices;

static void add_name(scratch *s, prv_str *list, prv_str name)
{
    const size_t n = name.n + (list->n > 0);
    char *out = room(s, n);
    if (!out)
        return;
    if (list->n > 0)
        *out++ = ',';
    else
        list->p = out;
    memcpy(out, name.p, name.n);
    took(s, n);
    list->n += n;
}

/* 1 granted, 0 refused, -1 not known: what the state says of a name that this policy lacks. */
static int other_says(const prv_state *state, uint16_t hash)
{
    for (size_t i = 0; i < state->n_other && i < PRV_MAX_OTHER; i++) {
        if (state->other[i].hash == hash)
            return state->other[i].granted;
    }
    return -1;
}

static bool in_list(prv_str list, prv_str name)
{
    prv_str one;
    while (prv_names_next(&list, &one)) {
        if (one.n == name.n && memcmp(one.p, name.p, name.n) == 0)
            return true;
    }
    return false;
}

static prv_str granted_text(choices *c, const prv_record_kept *kept)
{
    prv_str list = PRV_NONE, rest = kept->granted, name;
    for (size_t i = 0; i < c->policy->n_purposes; i++) {
        if (!(c->state->granted & ~c->state->refused & 1u << i))
            continue;
        add_name(c->s, &list, c->policy->purposes[i].name);
        c->hashes[c->n++] = c->policy->purposes[i].hash;
    }
    while (prv_names_next(&rest, &name)) {
        const uint16_t hash = prv_purpose_hash(name);
        if (name.n == 0 || other_says(c->state, hash) == 0 || in_list(kept->refused, name) ||
            in_list(list, name) || prv_policy_purpose(c->policy, name) >= 0 ||
            c->n == PRV_PROOF_HASHES)
            continue;
        add_name(c->s, &list, name);
        c->hashes[c->n++] = hash;
    }
    return list;
}

static prv_str refused_text(choices *c, const prv_record_kept *kept)
{
    prv_str list = PRV_NONE, rest = kept->refused, name;
    for (size_t i = 0; i < c->policy->n_purposes; i++) {
        if (c->state->refused & 1u << i)
            add_name(c->s, &list, c->policy->purposes[i].name);
    }
    while (prv_names_next(&rest, &name)) {
        if (name.n > 0 && !in_list(list, name))
            add_name(c->s, &list, name);
    }
    for (rest = kept->granted; prv_names_next(&rest, &name);) {
        if (name.n > 0 && other_says(c->state, prv_purpose_hash(name)) == 0 && !in_list(list, name))
            add_name(c->s, &list, name);
    }
    return list;
}

/* ------------------------------------------------------------------ the change */

typedef struct fields {
    prv_op *op;
    size_t set; /* fields set so far */
    size_t deleted;
    prv_str gone[PRV_OP_ARGS_MAX];
} fields;

/* Empty: the field is deleted, since one is there only when it says something. */
static void field(fields *f, prv_str name, prv_str value)
{
    if (value.n == 0) {
        f->gone[f->deleted++] = name;
        return;
    }
    f->op->args[OP_HEAD + 2 * f->set] = name;
    f->op->args[OP_HEAD + 2 * f->set + 1] = value;
    f->set++;
}

/* 20 fields: each takes two arguments, or one when it goes. */
_Static_assert(OP_HEAD + 2 * 20 <= PRV_OP_ARGS_MAX, "a change fits one operation");

static void age_fields(fields *f, scratch *s, const prv_keyring *keys, const prv_record_meta *meta,
                       const prv_proof_fields *vouched, const prv_age *age)
{
    const prv_str text = age_text(s, age);
    const prv_str at = text.n && age->at ? moment(s, age->at) : PRV_NONE;
    prv_str proof = PRV_NONE;
    char *out = room(s, PRV_AGE_PROOF_MAX);
    if (text.n && out)
        proof = took(s, prv_age_proof_make(keys, vouched, text, at, out));
    if (!meta->only_proofs) {
        field(f, PRV_STR("age"), text);
        field(f, PRV_STR("age_at"), at);
    }
    if (!meta->only_proofs || proof.n)
        field(f, PRV_STR("age_proof"), proof);
}

static void choice_fields(fields *f, choices *c, const prv_keyring *keys,
                          const prv_record_meta *meta, const prv_proof_fields *vouched)
{
    const prv_str granted = granted_text(c, &meta->kept);
    prv_str proof = PRV_NONE;
    char *out = room(c->s, PRV_PROOF_MAX);
    if (granted.n && out)
        proof = took(c->s, prv_proof_make(keys, vouched, c->hashes, c->n, out));
    if (!meta->only_proofs) {
        field(f, PRV_STR("granted"), granted);
        field(f, PRV_STR("refused"), refused_text(c, &meta->kept));
    }
    if (!meta->only_proofs || proof.n)
        field(f, PRV_STR("proof"), proof);
}

/* What the proofs are over, and what comes with it. */
static void plain_fields(fields *f, scratch *s, const prv_record_meta *meta,
                         const prv_proof_fields *vouched, bool restricted)
{
    field(f, PRV_STR("v"), PRV_STR("1"));
    field(f, PRV_STR("id"), vouched->id);
    field(f, PRV_STR("site"), vouched->site);
    field(f, PRV_STR("seq"), vouched->seq);
    field(f, PRV_STR("policy"), vouched->policy);
    field(f, PRV_STR("at"), vouched->at);
    field(f, PRV_STR("expires"), vouched->expires);
    field(f, PRV_STR("signals"), vouched->signals);
    if (meta->method.n > 0) {
        field(f, PRV_STR("method"), copy(s, meta->method));
        field(f, PRV_STR("region"), copy(s, (prv_str){meta->region.c, meta->region.n}));
    }
    if (!meta->leave_restricted)
        field(f, PRV_STR("restricted"), restricted ? PRV_STR("1") : PRV_NONE);
    if (vouched->subject.n > 0)
        field(f, PRV_STR("subject"), vouched->subject);
    if (vouched->gpc.n > 0)
        field(f, PRV_STR("gpc"), vouched->gpc);
}

static prv_str subject_text(scratch *s, const prv_state *state)
{
    char *out = state->of_account ? room(s, PRV_ID_LEN) : NULL;
    if (!out)
        return PRV_NONE;
    prv_id_unpack(state->subject, out);
    return took(s, PRV_ID_LEN);
}

/* `seq` or `seq:seen`. */
static prv_str expected(scratch *s, uint32_t stored_seq, prv_str seen)
{
    const prv_str seq = number(s, stored_seq);
    if (seen.n == 0 || seq.n == 0)
        return seq;
    char *out = room(s, seq.n + 1 + seen.n);
    if (!out)
        return PRV_NONE;
    memcpy(out, seq.p, seq.n);
    out[seq.n] = ':';
    memcpy(out + seq.n + 1, seen.p, seen.n);
    return took(s, seq.n + 1 + seen.n);
}

bool prv_record_change(const prv_policy *policy, const prv_keyring *keys, prv_str prefix,
                       const prv_state *next, uint32_t stored_seq, const prv_record_meta *meta,
                       const prv_env *env, prv_op *op)
{
    scratch s;
    if (!prv_keyring_signer(keys, PRV_KEY_TOKEN) || next->id_len != PRV_ID_LEN || next->seq == 0 ||
        !scratch_open(&s, env, SCRATCH_MAX + prefix.n))
        return false;
    *op = (prv_op){.kind = PRV_OP_CHANGE};
    fields f = {.op = op};
    choices c = {.s = &s, .policy = policy, .state = next};
    const prv_proof_fields vouched = {.id = copy(&s, (prv_str){next->id, PRV_ID_LEN}),
                                      .site = policy->id,
                                      .seq = number(&s, next->seq),
                                      .policy = version(&s, next->version),
                                      .at = moment(&s, next->at),
                                      .expires = moment(&s, next->expires),
                                      .signals = signals_text(next->signals),
                                      .subject = subject_text(&s, next),
                                      .gpc = next->gpc ? PRV_STR("1") : PRV_NONE};
    op->key = key_text(&s, prefix, vouched.id);
    if (!meta->only_proofs)
        plain_fields(&f, &s, meta, &vouched, next->restricted);
    choice_fields(&f, &c, keys, meta, &vouched);
    if (!meta->leave_age)
        age_fields(&f, &s, keys, meta, &vouched, &next->age);
    field(&f, PRV_STR("change"), copy(&s, meta->change));

    op->args[0] = meta->change.n ? copy(&s, meta->change) : PRV_STR("");
    op->args[1] = expected(&s, stored_seq, meta->seen);
    op->args[2] = number(&s, prv_state_end(policy, next));
    op->args[3] = number(&s, (int64_t)f.set);
    op->n_args = OP_HEAD + 2 * f.set;
    memcpy(&op->args[op->n_args], f.gone, f.deleted * sizeof *f.gone);
    op->n_args += f.deleted;
    return !s.full;
}

bool prv_record_age(const prv_policy *policy, const prv_keyring *keys, prv_str prefix,
                    const prv_state *state, const prv_age *old, const prv_env *env, prv_op *op)
{
    scratch s;
    if (!prv_keyring_signer(keys, PRV_KEY_TOKEN) || state->id_len != PRV_ID_LEN ||
        !scratch_open(&s, env, 512 + prefix.n))
        return false;
    const prv_proof_fields vouched = {.id = copy(&s, (prv_str){state->id, PRV_ID_LEN}),
                                      .site = policy->id,
                                      .subject = subject_text(&s, state)};
    const prv_str text = age_text(&s, &state->age);
    *op = (prv_op){.kind = PRV_OP_AGE, .key = key_text(&s, prefix, vouched.id), .n_args = 4};
    op->args[0] = age_text(&s, old);
    op->args[1] = text;
    op->args[3] = text.n && state->age.at ? moment(&s, state->age.at) : PRV_STR("");
    char *out = room(&s, PRV_AGE_PROOF_MAX);
    if (!out || text.n == 0)
        return false;
    op->args[2] = took(&s, prv_age_proof_make(keys, &vouched, text, op->args[3], out));
    return !s.full;
}
