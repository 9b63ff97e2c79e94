/* A sample of the records: are they kept small, and do the keys of this node vouch for what stands in them? */
#include "doctor.h"

#include <string.h>

#define SAMPLE 200
#define STEPS 50 /* of SCAN: also where the pattern matches little */

typedef struct sample {
    size_t n;
    prv_str ids[SAMPLE];
} sample;

/* false: said. */
static bool take(doctor *d, sample *out)
{
    ctl *c = d->c;
    char pattern[160];
    uint64_t cursor = 0;
    const int len = snprintf(pattern, sizeof pattern, "%sconsent:{*}", c->prefix);
    const size_t head = c->site.prefix.n + sizeof "consent:{" - 1;
    for (unsigned step = 0; step < STEPS && out->n < SAMPLE; step++) {
        const prv_str *keys;
        size_t found;
        prv_error err = {0};
        if (prv_sync_scan(c->sync, (prv_str){pattern, (size_t)len}, &cursor, &keys, &found, &err) != PRV_OK) {
            doctor_say(d, DOCTOR_UNSEEN, "records", NULL, NULL,
                       "SCAN: this user may not ask (privacy-ops may)");
            return false;
        }
        for (size_t i = 0; i < found && out->n < SAMPLE; i++) {
            if (keys[i].n == head + PRV_ID_LEN + 1)
                out->ids[out->n++] =
                    (prv_str){ctl_text(c, (prv_str){keys[i].p + head, PRV_ID_LEN}), PRV_ID_LEN};
        }
        if (cursor == 0)
            break;
    }
    return true;
}

static char *key_of(ctl *c, prv_str id)
{
    char *key = c->env.alloc(c->env.ctx, c->site.prefix.n + 64);
    if (key != NULL)
        key[prv_record_key(c->site.prefix, id, key)] = '\0';
    return key;
}

static void check_encoding(doctor *d, const sample *s)
{
    size_t large = 0;
    for (size_t i = 0; i < s->n; i++) {
        const char *key = key_of(d->c, s->ids[i]);
        if (key == NULL || !prv_sync_aim(d->c->sync, ctl_str(key)))
            continue;
        const prv_answer *answer = DOCTOR_ASK(d, "OBJECT", "ENCODING", key);
        if (answer == NULL || prv_answer_is(answer) == PRV_ANSWER_ERROR) {
            doctor_say(d, DOCTOR_UNSEEN, "record size", NULL, NULL, "OBJECT ENCODING: %s",
                       doctor_reason(d, answer));
            return;
        }
        large += prv_answer_is_word(answer, "hashtable");
    }
    if (large > 0)
        doctor_say(d, DOCTOR_WRONG, "record size",
                   "A record with a field longer than hash-max-listpack-value (64 unless set: six purposes' names, or the proof of "
                   "fifteen grants) takes three times the memory.",
                   "redis-cli CONFIG SET hash-max-listpack-value 128, and the same line in redis.conf; a record is packed again when "
                   "Redis loads it",
                   "%zu of %zu records looked at are not list-packed.", large, s->n);
    else
        doctor_say(d, DOCTOR_OK, "record size", NULL, NULL, "All of %zu records looked at are list-packed.", s->n);
}

static bool has_grants(const prv_reply *reply)
{
    for (size_t i = 0; i + 1 < reply->n; i += 2) {
        if (reply->pairs[i].n == 7 && memcmp(reply->pairs[i].p, "granted", 7) == 0)
            return reply->pairs[i + 1].n > 0;
    }
    return false;
}

static void check_keys(doctor *d, const sample *s)
{
    ctl *c = d->c;
    size_t looked = 0, unvouched = 0, unreadable = 0;
    if (c->policy == NULL || c->keys == NULL)
        return;
    for (size_t i = 0; i < s->n; i++) {
        const char *key = key_of(c, s->ids[i]);
        const prv_op op = {.kind = PRV_OP_READ, .key = ctl_str(key)};
        prv_reply reply;
        prv_state state = {0};
        bool no_ttl = false;
        prv_sync_op(c->sync, &op, &reply);
        const prv_record_status status =
            prv_record_read(c->policy, c->keys, s->ids[i], &reply, NULL, &state, NULL, &no_ttl);
        if (status == PRV_RECORD_ABSENT)
            continue; /* another site's, or gone meanwhile */
        looked++;
        unreadable += status == PRV_RECORD_UNREADABLE;
        unvouched += status == PRV_RECORD_OK && has_grants(&reply) && state.granted == 0 && state.n_other == 0;
    }
    if (unvouched > 0)
        doctor_say(d, DOCTOR_WRONG, "keys",
                   "What this key file does not vouch for grants nothing: those visitors are asked again.",
                   "compare the key files of all nodes; a key that still signs somewhere stays in all of them until its last cookie "
                   "has run out",
                   "%zu of %zu records of %.*s have grants that these keys do not vouch for.", unvouched,
                   looked, (int)c->policy->id.n, c->policy->id.p);
    else
        doctor_say(d, DOCTOR_OK, "keys", NULL, NULL, "These keys vouch for all of %zu records of %.*s.",
                   looked, (int)c->policy->id.n, c->policy->id.p);
    if (unreadable > 0)
        doctor_say(d, DOCTOR_WRONG, "records",
                   "Of a record that cannot be read only what refuses counts.",
                   "privacyctl consent get ID shows a record; DEL its key if it was an accident",
                   "%zu of %zu records cannot be read.", unreadable, looked);
}

void doctor_records(doctor *d)
{
    sample s = {0};
    if (!take(d, &s))
        return;
    if (s.n == 0) {
        doctor_say(d, DOCTOR_OK, "records", NULL, NULL, "There are none yet under %sconsent:.", d->c->prefix);
        return;
    }
    check_encoding(d, &s);
    check_keys(d, &s);
}
