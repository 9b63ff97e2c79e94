/*
 * Reading privacy:consent:{ID} (INTERFACE 7). The hash may have been edited by hand, by another
 * version or by an intruder: what lowers is believed, what raises is believed only with its proof.
 */
#include "proof.h"

#include <openssl/evp.h>

#include <string.h>

#define NAME_MAX_LEN 64 /* longer than any purpose that a policy accepts */
#define KEPT_MAX 2048   /* bytes of names that this policy lacks, per field */
#define ID_SHOWN 6      /* characters of an id in a log line */

typedef enum field {
    F_V,
    F_ID,
    F_SITE,
    F_SEQ,
    F_POLICY,
    F_GRANTED,
    F_REFUSED,
    F_AT,
    F_EXPIRES,
    F_SIGNALS,
    F_AGE,
    F_AGE_AT,
    F_AGE_PROOF,
    F_RESTRICTED,
    F_PROOF,
    F_SUBJECT,
    F_GPC,
    FIELDS
} field;

static const prv_str field_names[FIELDS] = {
    [F_V] = {"v", 1},
    [F_ID] = {"id", 2},
    [F_SITE] = {"site", 4},
    [F_SEQ] = {"seq", 3},
    [F_POLICY] = {"policy", 6},
    [F_GRANTED] = {"granted", 7},
    [F_REFUSED] = {"refused", 7},
    [F_AT] = {"at", 2},
    [F_EXPIRES] = {"expires", 7},
    [F_SIGNALS] = {"signals", 7},
    [F_AGE] = {"age", 3},
    [F_AGE_AT] = {"age_at", 6},
    [F_AGE_PROOF] = {"age_proof", 9},
    [F_RESTRICTED] = {"restricted", 10},
    [F_PROOF] = {"proof", 5},
    [F_SUBJECT] = {"subject", 7},
    [F_GPC] = {"gpc", 3},
};

typedef struct record {
    const prv_policy *policy;
    const prv_keyring *keys;
    const prv_env *env;
    prv_record_kept *kept;
    prv_str f[FIELDS]; /* p == NULL: not there */
    prv_state *out;
    bool unreadable;
} record;

static bool same(prv_str a, prv_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static bool has(const record *r, field f)
{
    return r->f[f].p != NULL;
}

static void collect(record *r, const prv_reply *reply)
{
    for (size_t i = 0; i + 1 < reply->n; i += 2) {
        for (int f = 0; f < FIELDS; f++) {
            if (!same(reply->pairs[i], field_names[f]))
                continue;
            r->f[f] = reply->pairs[i + 1];
            if (!r->f[f].p)
                r->f[f] = PRV_STR("");
        }
    }
}

bool prv_record_seen(const prv_reply *reply, char out[PRV_SEEN_LEN])
{
    static const char digits[16] = "0123456789abcdef";
    static const field lowering[] = {F_REFUSED, F_AGE, F_RESTRICTED};
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    record r = {0};
    if (reply->status == PRV_REPLY_RECORD || reply->status == PRV_REPLY_CONFLICT)
        collect(&r, reply);
    EVP_MD_CTX *sum = EVP_MD_CTX_new();
    bool ok = sum && EVP_DigestInit_ex(sum, EVP_sha1(), NULL) == 1;
    for (size_t i = 0; ok && i < sizeof lowering / sizeof *lowering; i++) {
        const prv_str text = r.f[lowering[i]];
        ok = (text.n == 0 || EVP_DigestUpdate(sum, text.p, text.n) == 1) &&
             EVP_DigestUpdate(sum, "\n", 1) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(sum, digest, &n) == 1 && 2 * n == PRV_SEEN_LEN;
    EVP_MD_CTX_free(sum);
    for (unsigned i = 0; ok && i < n; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    return ok;
}

/* ------------------------------------------------------------------ single fields */

static bool seq_parse(prv_str text, uint32_t *out)
{
    uint64_t value = 0;
    if (text.n == 0 || text.n > 10 || text.p[0] == '0')
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.p[i] - '0');
    }
    if (value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool signals_parse(prv_str text, uint8_t *out)
{
    prv_str name;
    *out = 0;
    while (prv_names_next(&text, &name)) {
        if (same(name, PRV_STR("gpc")))
            *out |= PRV_SIGNAL_GPC;
        else if (same(name, PRV_STR("dnt")))
            *out |= PRV_SIGNAL_DNT;
        else
            return false;
    }
    return true;
}

static bool name_valid(prv_str name)
{
    if (name.n == 0 || name.n > NAME_MAX_LEN || name.p[0] < 'a' || name.p[0] > 'z')
        return false;
    for (size_t i = 1; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

/* `1` restricts; anything else that is not an evident no is unreadable, and lowers all the same. */
static void read_restricted(record *r)
{
    const prv_str text = r->f[F_RESTRICTED];
    if (!has(r, F_RESTRICTED) || text.n == 0 || same(text, PRV_STR("0")))
        return;
    r->out->restricted = true;
    if (!same(text, PRV_STR("1")))
        r->unreadable = true;
}

/* ------------------------------------------------------------------ choices */

/* Names that this policy lacks, joined by commas, so that writing the record loses none. */
static void keep_name(const record *r, prv_str *list, prv_str name)
{
    if (!r->kept || !r->env || list->n + name.n + 1 > KEPT_MAX)
        return;
    if (!list->p && !(list->p = r->env->alloc(r->env->ctx, KEPT_MAX)))
        return;
    char *out = (char *)(uintptr_t)list->p;
    if (list->n > 0)
        out[list->n++] = ',';
    memcpy(out + list->n, name.p, name.n);
    list->n += name.n;
}

static void put_other(prv_state *out, uint16_t hash, bool granted)
{
    for (size_t i = 0; i < out->n_other; i++) {
        if (out->other[i].hash == hash)
            return; /* refusals come first and stay */
    }
    if (out->n_other < PRV_MAX_OTHER)
        out->other[out->n_other++] = (prv_other){hash, granted};
}

static void read_refused(record *r)
{
    prv_str rest = r->f[F_REFUSED], name;
    while (prv_names_next(&rest, &name)) {
        const int i = prv_policy_purpose(r->policy, name);
        if (i >= 0) {
            r->out->refused |= 1u << i;
        } else if (name_valid(name)) {
            put_other(r->out, prv_purpose_hash(name), false);
            keep_name(r, r->kept ? &r->kept->refused : NULL, name);
        } else if (name.n > 0) {
            r->unreadable = true;
        }
    }
}

static bool listed(const uint16_t *hashes, size_t n, uint16_t hash)
{
    for (size_t i = 0; i < n; i++) {
        if (hashes[i] == hash)
            return true;
    }
    return false;
}

static void read_granted(record *r, const prv_proof_fields *fields)
{
    uint16_t hashes[PRV_PROOF_HASHES];
    size_t n = 0;
    prv_str rest = r->f[F_GRANTED], name;
    const bool proven =
        has(r, F_PROOF) && rest.n > 0 && prv_proof_read(r->keys, fields, r->f[F_PROOF], hashes, &n);
    r->out->old_key |= proven && prv_proof_old(r->keys, r->f[F_PROOF]);
    while (prv_names_next(&rest, &name)) {
        if (!name_valid(name)) {
            r->unreadable = r->unreadable || name.n > 0;
            continue;
        }
        const uint16_t hash = prv_purpose_hash(name);
        if (!proven || !listed(hashes, n, hash))
            continue;
        const int i = prv_policy_purpose(r->policy, name);
        if (i >= 0) {
            r->out->granted |= 1u << i & ~r->out->refused;
            continue;
        }
        put_other(r->out, hash, true);
        keep_name(r, r->kept ? &r->kept->granted : NULL, name);
    }
}

/* ------------------------------------------------------------------ age */

/* The lowest readable `under:N` of a text that is not an age as a whole. */
static uint8_t under_in(prv_str text)
{
    uint8_t lowest = 0;
    prv_str item;
    while (prv_names_next(&text, &item)) {
        prv_age one = {0};
        if (prv_age_parse(item, &one) && one.under && (!lowest || one.under < lowest))
            lowest = one.under;
    }
    return lowest;
}

static void read_age(record *r, const prv_proof_fields *fields)
{
    prv_age age = {0};
    const prv_str text = r->f[F_AGE], at = r->f[F_AGE_AT];
    if (!has(r, F_AGE) || text.n == 0)
        return;
    bool readable = prv_age_parse(text, &age);
    if (!readable)
        age = (prv_age){.under = under_in(text)};
    if (at.n > 0 && !prv_rfc3339_parse(at, &age.at))
        readable = false;
    if (!readable)
        r->unreadable = true;
    if (readable && prv_age_proof_check(r->keys, fields, text, at, r->f[F_AGE_PROOF])) {
        r->out->age = age;
        r->out->old_key |= prv_proof_old(r->keys, r->f[F_AGE_PROOF]);
    } else {
        r->out->age = (prv_age){.under = age.under}; /* by hand: durable, and it only lowers */
    }
}

/* ------------------------------------------------------------------ the record */

static void read_account(record *r)
{
    const prv_str subject = r->f[F_SUBJECT], gpc = r->f[F_GPC];
    if (has(r, F_SUBJECT) && prv_id_valid(subject)) {
        r->out->of_account = true;
        prv_id_pack(subject.p, r->out->subject);
    } else if (has(r, F_SUBJECT)) {
        r->unreadable = true;
    }
    r->out->gpc = same(gpc, PRV_STR("1"));
}

static void log_unreadable(const record *r, prv_str id)
{
    if (!r->env || !r->env->log)
        return;
    char line[96];
    const prv_str head = PRV_STR("consent record "),
                  tail = PRV_STR("... is unreadable: its grants do not count");
    const size_t shown = id.n < ID_SHOWN ? id.n : ID_SHOWN;
    size_t n = 0;
    memcpy(line, head.p, head.n);
    n += head.n;
    memcpy(line + n, id.p, shown);
    n += shown;
    memcpy(line + n, tail.p, tail.n);
    n += tail.n;
    r->env->log(r->env->ctx, PRV_LOG_WARN, (prv_str){line, n});
}

static prv_record_status unreadable(const record *r, prv_str id)
{
    prv_state *out = r->out;
    const uint32_t seq = out->seq;
    const bool restricted = out->restricted;
    const uint32_t refused = out->refused;
    const uint8_t under = out->age.under;
    *out = (prv_state){
        .seq = seq, .restricted = restricted, .refused = refused, .age = {.under = under}};
    if (r->kept)
        *r->kept = (prv_record_kept){.refused = r->kept->refused};
    log_unreadable(r, id);
    return PRV_RECORD_UNREADABLE;
}

static void read_fields(record *r)
{
    prv_state *out = r->out;
    if (!seq_parse(r->f[F_SEQ], &out->seq))
        r->unreadable = true;
    if (has(r, F_POLICY) && !(out->version = prv_version_parse(r->f[F_POLICY])))
        r->unreadable = true;
    if (!prv_rfc3339_parse(r->f[F_AT], &out->at))
        r->unreadable = true;
    if (has(r, F_EXPIRES) && !prv_rfc3339_parse(r->f[F_EXPIRES], &out->expires))
        r->unreadable = true;
    if (!signals_parse(r->f[F_SIGNALS], &out->signals))
        r->unreadable = true;
    const prv_proof_fields fields = {.id = r->f[F_ID],
                                     .site = r->f[F_SITE],
                                     .seq = r->f[F_SEQ],
                                     .policy = r->f[F_POLICY],
                                     .at = r->f[F_AT],
                                     .expires = r->f[F_EXPIRES],
                                     .signals = r->f[F_SIGNALS],
                                     .subject = r->f[F_SUBJECT],
                                     .gpc = r->f[F_GPC]};
    read_account(r);
    read_restricted(r);
    read_refused(r);
    read_granted(r, &fields);
    read_age(r, &fields);
    if (!has(r, F_EXPIRES))
        out->expires = prv_state_expires(r->policy, out);
}

prv_record_status prv_record_read(const prv_policy *policy, const prv_keyring *keys, prv_str id,
                                  const prv_reply *reply, const prv_env *env, prv_state *out,
                                  prv_record_kept *kept, bool *no_ttl)
{
    record r = {.policy = policy, .keys = keys, .env = env, .kept = kept, .out = out};
    *out = (prv_state){0};
    *no_ttl = false;
    if (kept)
        *kept = (prv_record_kept){{NULL, 0}, {NULL, 0}};
    if (reply->status == PRV_REPLY_ABSENT || (reply->status == PRV_REPLY_CONFLICT && reply->n == 0))
        return PRV_RECORD_ABSENT;
    if (reply->status != PRV_REPLY_RECORD && reply->status != PRV_REPLY_CONFLICT)
        return unreadable(&r, id);
    collect(&r, reply);
    if (has(&r, F_SITE) && !same(r.f[F_SITE], policy->id))
        return PRV_RECORD_ABSENT;
    *no_ttl = !has(&r, F_EXPIRES);
    r.unreadable = !same(r.f[F_V], PRV_STR("1")) || !same(r.f[F_ID], id) || !has(&r, F_SITE);
    read_fields(&r);
    if (r.unreadable)
        return unreadable(&r, id);
    out->present = true;
    out->stored = true;
    out->id_len = PRV_ID_LEN;
    memcpy(out->id, id.p, PRV_ID_LEN);
    return PRV_RECORD_OK;
}
