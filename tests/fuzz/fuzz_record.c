/*
 * A record under somebody's hands: the input is lines of `field value`, which are set over a record
 * that we wrote
 * (`-field` deletes one). Whatever stands there then adds no grant and no age, what is read is
 * within bounds, and it can be written and read again.
 */
#include "fuzz_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIELDS_MAX 40

typedef struct hash {
    size_t n;
    prv_str pairs[2 * FIELDS_MAX];
} hash;

static void set(hash *h, prv_str name, prv_str value)
{
    for (size_t i = 0; i < h->n; i += 2) {
        if (h->pairs[i].n == name.n && memcmp(h->pairs[i].p, name.p, name.n) == 0) {
            h->pairs[i + 1] = value;
            return;
        }
    }
    if (h->n == 2 * FIELDS_MAX)
        return;
    h->pairs[h->n++] = name;
    h->pairs[h->n++] = value;
}

static void drop(hash *h, prv_str name)
{
    for (size_t i = 0; i < h->n; i += 2) {
        if (h->pairs[i].n == name.n && memcmp(h->pairs[i].p, name.p, name.n) == 0) {
            h->n -= 2;
            h->pairs[i] = h->pairs[h->n];
            h->pairs[i + 1] = h->pairs[h->n + 1];
            return;
        }
    }
}

static void edit(hash *h, const char *p, size_t n)
{
    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        const size_t line = end ? (size_t)(end - p) : n;
        const char *space = line ? memchr(p, ' ', line) : NULL;
        if (line > 1 && p[0] == '-') {
            drop(h, (prv_str){p + 1, line - 1});
        } else if (line > 0) {
            const size_t name = space ? (size_t)(space - p) : line;
            set(h, (prv_str){p, name},
                (prv_str){p + name + (space != NULL), line - name - (space != NULL)});
        }
        p += line + (end != NULL);
        n -= line + (end != NULL);
    }
}

static prv_state written(void)
{
    prv_state s = {.present = true,
                   .stored = true,
                   .id_len = PRV_ID_LEN,
                   .version = prv_version_parse(PRV_STR("2024-03-15")),
                   .seq = 7,
                   .at = FUZZ_NOW,
                   .expires = FUZZ_NOW + 86400,
                   .granted = 1u << 1 | 1u << 2,
                   .refused = 1u << 3,
                   .age = {.ok = 13, .parental = 12}};
    memcpy(s.id, FUZZ_ID, PRV_ID_LEN);
    return s;
}

static void change(const fuzz_state *f, const prv_state *s, const prv_record_kept *kept, hash *h)
{
    prv_op op;
    const prv_record_meta meta = {
        .method = PRV_STR("ops"), .change = PRV_STR(FUZZ_ID), .kept = *kept};
    if (!prv_record_change(f->policy, f->keys, PRV_STR("privacy:"), s, s->seq, &meta, &f->env, &op))
        return;
    fuzz_check(op.n_args >= 4 && op.n_args <= PRV_OP_ARGS_MAX);
    const size_t n = (size_t)strtoul(op.args[3].p, NULL, 10);
    h->n = 0;
    for (size_t i = 0; i < n; i++)
        set(h, op.args[4 + 2 * i], op.args[5 + 2 * i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_state f;
    hash h = {.n = 0};
    prv_state got, again;
    prv_record_kept kept = {{NULL, 0}, {NULL, 0}};
    bool no_ttl;
    const prv_state before = written();
    fuzz_open(&f);
    change(&f, &before, &kept, &h);
    fuzz_check(h.n > 0);
    edit(&h, (const char *)data, size);

    prv_reply reply = {.status = PRV_REPLY_RECORD, .n = h.n, .pairs = h.pairs};
    const prv_record_status status =
        prv_record_read(f.policy, f.keys, PRV_STR(FUZZ_ID), &reply, &f.env, &got, &kept, &no_ttl);
    fuzz_check((got.granted & ~before.granted) == 0 && (got.granted & got.refused) == 0);
    fuzz_check((got.age.ok == 0 || got.age.ok == before.age.ok) && got.age.under <= 120);
    fuzz_check(got.age.parental == 0 || got.age.parental == before.age.parental);
    fuzz_check(got.n_other <= PRV_MAX_OTHER && kept.granted.n == 0);
    fuzz_check(status == PRV_RECORD_OK || got.granted == 0);
    if (got.granted)
        fuzz_check(got.seq == before.seq && got.at == before.at && got.expires == before.expires &&
                   got.version == before.version && got.signals == before.signals);
    if (status == PRV_RECORD_OK) {
        change(&f, &got, &kept, &h);
        reply = (prv_reply){PRV_REPLY_RECORD, h.n, h.pairs};
        fuzz_check(prv_record_read(f.policy, f.keys, PRV_STR(FUZZ_ID), &reply, &f.env, &again, NULL,
                                   &no_ttl) == PRV_RECORD_OK);
        fuzz_check(again.granted == got.granted && again.refused == got.refused);
        fuzz_check(again.restricted == got.restricted && again.age.under == got.age.under);
    }
    fuzz_close(&f);
    return 0;
}
