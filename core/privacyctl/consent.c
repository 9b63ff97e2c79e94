/*
 * privacyctl consent and age: an operator reads and changes records as a visitor would, through the same change and
 * the same write script; `age` also says what only an operator knows.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../rights/change.h"
#include "ctl.h"

static bool id_word(const ctl *c, prv_str *id)
{
    *id = c->words.v[0];
    if (prv_id_valid(*id)) {
        return true;
    }
    ctl_fail("an id has 26 characters a-z2-7, as the preferences page shows it");
    return false;
}

static void read_op(ctl *c, prv_str id, prv_op *op)
{
    char *key = c->env.alloc(c->env.ctx, c->site.prefix.n + 64);
    *op = (prv_op){.kind = PRV_OP_READ};
    if (key != NULL) {
        op->key = (prv_str){key, prv_record_key(c->site.prefix, id, key)};
    }
}

/* Reads the record into rq as a server would for a visitor of that id. */
static int load(ctl *c, prv_str id, prv_request *rq, prv_reply *reply)
{
    prv_op op;
    bool no_ttl = false;
    prv_state record = {0};
    read_op(c, id, &op);
    prv_sync_op(c->sync, &op, reply);
    if (reply->status == PRV_REPLY_UNAVAILABLE) {
        return ctl_fail("the store does not answer");
    }
    if (reply->status == PRV_REPLY_ABSENT) {
        return ctl_fail("there is no record of %.*s", (int)id.n, id.p);
    }
    *rq = (prv_request){.env = &c->env, .site = &c->site};
    prv_record_status status =
        prv_record_read(c->policy, c->keys, id, reply, &c->env, &record, NULL, &no_ttl);
    if (status == PRV_RECORD_ABSENT) {
        return ctl_fail("the record is of another site than %.*s", (int)c->policy->id.n,
                        c->policy->id.p);
    }
    rq->state = record;
    rq->of_account = record.of_account;
    memcpy(rq->subject, record.subject, sizeof rq->subject);
    rq->state.present = true;
    rq->state.stored = true;
    rq->state.id_len = PRV_ID_LEN;
    memcpy(rq->state.id, id.p, PRV_ID_LEN);
    return CTL_OK;
}

static bool open_all(ctl *c, bool keys)
{
    if (!ctl_need_policy(c) || ((keys || c->keys_path != NULL) && !ctl_need_keys(c)) ||
        !ctl_need_store(c)) {
        return false;
    }
    ctl_site(c, true);
    return true;
}

static json_t *fields_json(const prv_reply *reply)
{
    json_t *out = json_object();
    for (size_t i = 0; i + 1 < reply->n; i += 2) {
        json_t *value = json_stringn(reply->pairs[i + 1].p, reply->pairs[i + 1].n);
        char name[65];
        size_t n = reply->pairs[i].n < 64 ? reply->pairs[i].n : 64;
        memcpy(name, reply->pairs[i].p, n);
        name[n] = '\0';
        json_object_set_new(out, name, value != NULL ? value : json_string("(not UTF-8)"));
    }
    return out;
}

int ctl_consent_get(ctl *c)
{
    prv_str id;
    prv_reply reply;
    prv_op op;
    if (!ctl_need_words(c, 1, 1, "consent get ID --store URL")) {
        return CTL_USAGE;
    }
    if (!id_word(c, &id) || !ctl_need_store(c)) {
        return CTL_FAILED;
    }
    ctl_site(c, true);
    read_op(c, id, &op);
    prv_sync_op(c->sync, &op, &reply);
    switch (reply.status) {
    case PRV_REPLY_RECORD:
        break;
    case PRV_REPLY_ABSENT:
        return ctl_fail("there is no record of %.*s", (int)id.n, id.p);
    case PRV_REPLY_UNREADABLE:
        return ctl_fail("the key of %.*s holds no hash", (int)id.n, id.p);
    default:
        return ctl_fail("the store does not answer");
    }
    json_t *out = fields_json(&reply);
    json_dumpf(out, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(out);
    return CTL_OK;
}

static int apply(ctl *c, prv_request *rq, const prv_change *change)
{
    prv_change_run run;
    prv_op op = {0};
    prv_reply reply;
    prv_change_step step = prv_change_begin(&run, rq, change, &op);
    while (step == PRV_CHANGE_WRITE) {
        prv_sync_op(c->sync, &op, &reply);
        step = prv_change_feed(&run, &reply, &op);
    }
    if (step != PRV_CHANGE_DONE) {
        return ctl_fail("the store did not take the change; nothing is changed");
    }
    printf("done: seq %u\n", rq->state.seq);
    return CTL_OK;
}

static int change(ctl *c, prv_change *ch)
{
    prv_str id;
    prv_reply reply;
    prv_request rq;
    if (!id_word(c, &id) || !open_all(c, true)) {
        return CTL_FAILED;
    }
    int status = load(c, id, &rq, &reply);
    if (status != CTL_OK) {
        return status;
    }
    ch->restricted = -1;
    ch->method = PRV_STR("ops");
    ch->signals = rq.state.signals;
    return apply(c, &rq, ch);
}

int ctl_consent_set(ctl *c)
{
    prv_change ch = {0};
    if (!ctl_need_words(c, 2, CTL_MAX_MULTI, "consent set ID PURPOSE=grant|refuse…")) {
        return CTL_USAGE;
    }
    if (!ctl_need_policy(c)) {
        return CTL_FAILED;
    }
    for (size_t i = 1; i < c->words.n; i++) {
        prv_str word = c->words.v[i];
        const char *eq = memchr(word.p, '=', word.n);
        size_t n = eq == NULL ? word.n : (size_t)(eq - word.p);
        int purpose = prv_policy_purpose(c->policy, (prv_str){word.p, n});
        bool grant = eq != NULL && strcmp(eq + 1, "grant") == 0;
        if (eq == NULL || (!grant && strcmp(eq + 1, "refuse") != 0)) {
            return ctl_fail("\"%s\" should be PURPOSE=grant or PURPOSE=refuse", word.p);
        }
        if (purpose < 0 || !(prv_refusable(c->policy) >> purpose & 1u)) {
            return ctl_fail("\"%.*s\" is no purpose that a visitor can choose", (int)n, word.p);
        }
        *(grant ? &ch.grant : &ch.refuse) |= 1u << purpose;
    }
    if ((ch.grant & ch.refuse) != 0) {
        return ctl_fail("a purpose is both granted and refused");
    }
    return change(c, &ch);
}

int ctl_consent_withdraw(ctl *c)
{
    prv_change ch = {0};
    if (!ctl_need_words(c, 1, 1, "consent withdraw ID")) {
        return CTL_USAGE;
    }
    if (!ctl_need_policy(c)) {
        return CTL_FAILED;
    }
    ch.refuse = prv_refusable(c->policy);
    ch.refuse_other = true;
    return change(c, &ch);
}

/* Bounds that were not spoken of stay; a bound that contradicts what was said goes. Durable. */
static prv_age age_said(prv_age known, const prv_age *said)
{
    if (said->under != 0) {
        known.under = said->under;
        known.ok = known.ok >= said->under ? 0 : known.ok;
    }
    if (said->ok != 0) {
        known.ok = said->ok;
        known.under = known.under <= said->ok ? 0 : known.under;
    }
    if (said->parental != 0) {
        known.parental = said->parental;
    }
    known.at = 0;
    return known;
}

int ctl_age(ctl *c)
{
    prv_str id;
    prv_reply reply;
    prv_request rq;
    prv_op op = {0};
    prv_age said = {0};
    if (!ctl_need_words(c, 2, 2, "age ID under:N|ok:N|parental:N")) {
        return CTL_USAGE;
    }
    if (!prv_age_parse(c->words.v[1], &said)) {
        return ctl_fail("an age is under:N, ok:N or parental:N, or several with commas; N is 1 to 120");
    }
    if (!id_word(c, &id) || !open_all(c, true)) {
        return CTL_FAILED;
    }
    int status = load(c, id, &rq, &reply);
    if (status != CTL_OK) {
        return status;
    }
    const prv_age old = rq.state.age;
    rq.state.age = age_said(old, &said);
    if (!prv_record_age(c->policy, c->keys, c->site.prefix, &rq.state, &old, &c->env, &op)) {
        return ctl_fail("no key that signs, or no memory");
    }
    prv_sync_op(c->sync, &op, &reply);
    if (reply.status != PRV_REPLY_RECORD) {
        return ctl_fail(reply.status == PRV_REPLY_CONFLICT ? "the record changed meanwhile; try again"
                                                           : "the store did not take it");
    }
    puts("done");
    return CTL_OK;
}

/* Calls `each` for every record; stops when it returns false. */
static int walk(ctl *c, bool (*each)(ctl *c, prv_str id, void *arg), void *arg)
{
    prv_error err = {0};
    uint64_t cursor = 0;
    char pattern[160];
    int n = snprintf(pattern, sizeof pattern, "%sconsent:{*}", c->prefix);
    if (n < 0 || (size_t)n >= sizeof pattern || !ctl_need_store(c)) {
        return CTL_FAILED;
    }
    ctl_site(c, true);
    do {
        const prv_str *keys;
        size_t found;
        prv_str ids[1024];
        size_t n_ids = 0;
        if (prv_sync_scan(c->sync, (prv_str){pattern, (size_t)n}, &cursor, &keys, &found, &err) !=
            PRV_OK) {
            return ctl_fail("%s", err.text);
        }
        for (size_t i = 0; i < found && n_ids < 1024; i++) {
            size_t head = c->site.prefix.n + sizeof "consent:{" - 1;
            if (keys[i].n == head + PRV_ID_LEN + 1) {
                const prv_str id = {keys[i].p + head, PRV_ID_LEN};
                ids[n_ids++] = (prv_str){ctl_text(c, id), PRV_ID_LEN};
            }
        }
        for (size_t i = 0; i < n_ids; i++) {
            if (prv_id_valid(ids[i]) && !each(c, ids[i], arg)) {
                return CTL_FAILED;
            }
        }
        ctl_arena_reset(c);
    } while (cursor != 0);
    return CTL_OK;
}

static bool print_id(ctl *c, prv_str id, void *arg)
{
    (void)c;
    (void)arg;
    printf("%.*s\n", (int)id.n, id.p);
    return true;
}

int ctl_consent_list(ctl *c)
{
    return ctl_need_words(c, 0, 0, "consent list --store URL") ? walk(c, print_id, NULL) : CTL_USAGE;
}

typedef struct tally {
    size_t records, unreadable, restricted, under;
    size_t granted[PRV_MAX_PURPOSES], refused[PRV_MAX_PURPOSES];
} tally;

static bool add(ctl *c, prv_str id, void *arg)
{
    tally *t = arg;
    prv_op op;
    prv_reply reply;
    prv_state s = {0};
    bool no_ttl;
    read_op(c, id, &op);
    prv_sync_op(c->sync, &op, &reply);
    if (reply.status == PRV_REPLY_UNAVAILABLE) {
        ctl_fail("the store stopped answering");
        return false;
    }
    prv_record_status status =
        prv_record_read(c->policy, c->keys, id, &reply, NULL, &s, NULL, &no_ttl);
    if (status == PRV_RECORD_ABSENT) {
        return true;
    }
    t->records++;
    t->unreadable += status == PRV_RECORD_UNREADABLE;
    t->restricted += s.restricted;
    t->under += s.age.under != 0;
    for (size_t i = 0; i < c->policy->n_purposes; i++) {
        t->granted[i] += s.granted >> i & 1u;
        t->refused[i] += s.refused >> i & 1u;
    }
    return true;
}

int ctl_consent_count(ctl *c)
{
    tally t = {0};
    if (!ctl_need_words(c, 0, 0, "consent count --policy F --keys F --store URL")) {
        return CTL_USAGE;
    }
    if (!open_all(c, true)) {
        return CTL_FAILED;
    }
    int status = walk(c, add, &t);
    if (status != CTL_OK) {
        return status;
    }
    printf("records %zu\nunreadable %zu\nrestricted %zu\nunder age %zu\n", t.records, t.unreadable,
           t.restricted, t.under);
    for (size_t i = 0; i < c->policy->n_purposes; i++) {
        prv_str name = c->policy->purposes[i].name;
        printf("%.*s granted %zu refused %zu\n", (int)name.n, name.p, t.granted[i], t.refused[i]);
    }
    return CTL_OK;
}
