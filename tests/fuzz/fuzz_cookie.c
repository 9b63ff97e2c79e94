/*
 * The Cookie field: whatever arrives, nothing denied is left after editing, an edited field needs
 * no further editing, and every kept byte is one that arrived.
 */
#include "fuzz_request.h"
#include "request/cookie.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_nothing_denied(const fuzz_request *f, prv_str field, bool joined)
{
    prv_cookie_iter it;
    prv_str name, value, pair;

    prv_cookie_iter_init(&it, field, joined);
    while (prv_cookie_next(&it, &name, &value, &pair)) {
        const prv_cookie_rule *rule = name.n > 0 ? prv_policy_cookie(&f->policy, name) : NULL;
        fuzz_check(!(name.n == 3 && memcmp(name.p, "own", 3) == 0));
        fuzz_check(rule == NULL || (f->d.allowed >> rule->purpose & 1) != 0);
        /* an empty first line leaves a comma in front; a name that begins with one is in no list */
        if (name.n > 0 && name.p[0] == ',') {
            continue;
        }
        fuzz_check(rule != NULL || f->policy.unknown_cookies != PRV_UNKNOWN_DENY);
        fuzz_check(f->rules.vendor < 0 || (rule != NULL && rule->vendor == f->rules.vendor));
        for (size_t i = 0; i < pair.n; i++) {
            fuzz_check((uint8_t)pair.p[i] >= 0x20 || pair.p[i] == '\t');
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request f;
    prv_str in, out;
    unsigned vary = 0;

    if (!fuzz_open(&f, &data, &size)) {
        return 0;
    }
    in = (prv_str){(const char *)data, size};
    f.rq.cookies = &in;
    f.rq.n_cookies = 1;
    bool edit = prv_cookies_need_edit(&f.rq, &f.rules, &f.d);
    fuzz_check(prv_edit_cookies(&f.rq, &f.rules, &f.d, &out, &vary) == PRV_OK);
    fuzz_check(edit || (out.p == in.p && out.n == in.n));
    /* a missing space behind a kept `;` is all that an edited field may gain */
    fuzz_check(out.n <= 2 * in.n);
    check_nothing_denied(&f, out, f.rq.comma_joined);
    check_nothing_denied(&f, out, false);

    prv_str again;
    unsigned vary_again = 0;
    prv_cookie_pairs(&f.rq);
    fuzz_check(prv_cookies_need_edit(&f.rq, &f.rules, &f.d) == edit);
    fuzz_check(prv_edit_cookies(&f.rq, &f.rules, &f.d, &again, &vary_again) == PRV_OK);
    fuzz_check(again.n == out.n && (out.n == 0 || memcmp(again.p, out.p, out.n) == 0));
    fuzz_check(vary_again == vary);

    prv_var_input input = {.rq = &f.rq, .rules = &f.rules, .d = &f.d};
    fuzz_check_log(prv_variable(PRV_VAR_REMOVED, &input));
    fuzz_check_log(prv_variable(PRV_VAR_UNKNOWN, &input));

    prv_str expired[PRV_EXPIRE_MAX];
    size_t n =
        prv_expire_cookies(&f.rq, &f.d, ~0u, PRV_STR("www.example.com"), expired, PRV_EXPIRE_MAX);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < expired[i].n; k++) {
            fuzz_check(expired[i].p[k] >= ' ' && expired[i].p[k] < 0x7f);
        }
    }

    f.rq.cookies = &out;
    fuzz_check(!prv_cookies_need_edit(&f.rq, &f.rules, &f.d));
    fuzz_close(&f);
    return 0;
}
