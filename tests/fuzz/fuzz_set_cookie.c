/*
 * Set-Cookie: a field with a control byte is never kept, and what is kept of a denied purpose is a
 * deletion: it stays kept with the name of any other denied cookie, and goes with a life added.
 */
#include "fuzz_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_control(prv_str field)
{
    for (size_t i = 0; i < field.n; i++) {
        uint8_t c = (uint8_t)field.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request f;
    unsigned vary = 0;
    char *longer;

    if (!fuzz_open(&f, &data, &size)) {
        return 0;
    }
    prv_str field = {(const char *)data, size};
    prv_keep keep = prv_edit_set_cookie(&f.rq, &f.rules, &f.d, field, &vary);
    if (has_control(field)) {
        fuzz_check(keep == PRV_DROP);
    }
    fuzz_check((vary & ~(PRV_VARY_COOKIE | PRV_VARY_GPC | PRV_VARY_DNT)) == 0);

    size_t equals = 0;
    while (equals < size && field.p[equals] != '=' && field.p[equals] != ';') {
        equals++;
    }
    longer = malloc(size + 32);
    if (longer != NULL && equals < size && field.p[equals] == '=') {
        /* the same value and attributes under the name of a denied cookie, with a life that counts
         */
        f.d.allowed = 1;
        memcpy(longer, "_g", 2);
        memcpy(longer + 2, field.p + equals, size - equals);
        memcpy(longer + 2 + size - equals, ";Max-Age=9", 10);
        prv_str denied = {longer, 2 + size - equals + 10};
        fuzz_check(prv_edit_set_cookie(&f.rq, &f.rules, &f.d, denied, &vary) == PRV_DROP);
        memcpy(longer + denied.n - 1, "0", 1);
        if (!has_control(denied)) {
            fuzz_check(prv_edit_set_cookie(&f.rq, &f.rules, &f.d, denied, &vary) == PRV_KEEP);
        }
    }
    free(longer);

    prv_var_input input = {
        .rq = &f.rq, .rules = &f.rules, .d = &f.d, .set_cookies = &field, .n_set_cookies = 1};
    fuzz_check_log(prv_variable(PRV_VAR_REMOVED, &input));
    fuzz_check_log(prv_variable(PRV_VAR_UNKNOWN, &input));
    fuzz_close(&f);
    return 0;
}
