/*
 * The signed cookie. An even first byte: the rest is a token's text, which must not verify unless
 * it is one. An odd one: the rest is a body, which is signed here so that its reader is reached;
 * what is read is written and read again as the same.
 */
#include "fuzz_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const prv_state *a, const prv_state *b)
{
    if (a->n_other != b->n_other)
        return false;
    for (size_t i = 0; i < a->n_other; i++) {
        if (a->other[i].hash != b->other[i].hash || a->other[i].granted != b->other[i].granted)
            return false;
    }
    return a->stored == b->stored && a->away == b->away && a->restricted == b->restricted && a->swept == b->swept &&
           a->signals == b->signals && a->id_len == b->id_len && a->version == b->version &&
           a->seq == b->seq && a->at == b->at && a->expires == b->expires &&
           a->granted == b->granted && a->refused == b->refused && a->age.ok == b->age.ok &&
           a->age.under == b->age.under && a->age.parental == b->age.parental &&
           a->age.at == b->age.at && a->session == b->session && a->owned == b->owned &&
           a->over == b->over && a->owed == b->owed;
}

static void check_state(const fuzz_state *f, const prv_state *s)
{
    char text[PRV_TOKEN_MAX + 1];
    prv_state again;
    bool old_key;
    fuzz_check((s->granted & s->refused) == 0 && s->n_other <= PRV_MAX_OTHER);
    fuzz_check(s->age.ok <= 120 && s->age.under <= 120 && s->age.parental <= 120);
    fuzz_check(s->expires >= s->at && s->present && !s->unreadable);
    fuzz_check(((s->over | s->owed) & ~s->refused) == 0);
    fuzz_check(s->has_subject || !(s->session || s->owned || s->over || s->owed));
    const size_t n = prv_token_write(&f->site, s, text);
    fuzz_check(n > 0 && n <= PRV_TOKEN_MAX);
    fuzz_check(prv_token_read(&f->site, (prv_str){text, n}, &again, &old_key, NULL) ==
               PRV_TOKEN_OK);
    fuzz_check(same(s, &again));
}

static size_t sign(const fuzz_state *f, const uint8_t *body, size_t size, char *out)
{
    uint8_t mac[PRV_MAC_LEN];
    const char head[] = "1.a." FUZZ_ID ".";
    size_t n = sizeof head - 1;
    memcpy(out, head, n);
    n += prv_base64url_encode(body, size, out + n);
    const prv_str parts[] = {
        f->policy->id, PRV_STR("\n"), f->site.cookie.name, PRV_STR("\n"), {out, n}};
    prv_key_mac(prv_keyring_signer(f->keys, PRV_KEY_TOKEN), parts, 5, mac);
    out[n++] = '.';
    return n + prv_base64url_encode(mac, sizeof mac, out + n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_state f;
    prv_state s;
    bool old_key;
    if (size == 0)
        return 0;
    fuzz_open(&f);
    if (data[0] % 2 == 0) {
        const prv_str text = {(const char *)data + 1, size - 1};
        if (prv_token_read(&f.site, text, &s, &old_key, NULL) == PRV_TOKEN_OK)
            check_state(&f, &s);
        else
            fuzz_check(!s.present && s.granted == 0);
    } else if (size <= 160) {
        char text[320];
        const size_t n = sign(&f, data + 1, size - 1, text);
        if (prv_token_read(&f.site, (prv_str){text, n}, &s, &old_key, NULL) == PRV_TOKEN_OK)
            check_state(&f, &s);
    }
    fuzz_close(&f);
    return 0;
}
