/*
 * Form bodies and queries: whatever arrives, a change names only what can be chosen, nothing both
 * ways, and leads back to our own paths only.
 */
#include "rights_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const prv_policy *policy = rights_policy();
    const prv_str body = {(const char *)data, size};
    prv_consent_input consent;
    prv_age_input age;
    prv_error err;
    prv_form form;
    prv_str name, value;

    if (prv_form_begin(&form, &rights_env, body)) {
        size_t seen = 0;
        while (prv_form_next(&form, &name, &value))
            seen += name.n + value.n;
        rights_check(seen <= size);
    }
    if (prv_input_consent_form(&rights_env, policy, body, prv_refusable(policy), &consent, &err) ==
        PRV_OK)
        rights_check_consent(&consent);
    else
        rights_check(memchr(err.text, '\0', sizeof err.text) != NULL && err.text[0] != '\0');
    if (prv_input_age_form(&rights_env, body, &age, &err) == PRV_OK) {
        rights_check(age.return_path.n == 0 || prv_return_valid(age.return_path));
        rights_check(age.year <= 9999 && age.month <= 99 && age.day <= 99);
        (void)prv_age_years(age.year, age.month, age.day, 1795446000);
    }
    rights_free();
    return 0;
}
