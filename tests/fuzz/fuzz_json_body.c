/* JSON bodies: as fuzz_form, and messages stay printable whatever names a body has. */
#include "rights_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const prv_str body = {(const char *)data, size};
    prv_consent_input consent;
    prv_age_input age;
    prv_error err;

    if (prv_input_consent_json(rights_policy(), body, &consent, &err) == PRV_OK) {
        rights_check_consent(&consent);
    } else {
        for (const char *p = err.text; *p; p++)
            rights_check(*p >= ' ' && *p < 0x7f);
    }
    if (prv_input_age_json(body, &age, &err) == PRV_OK) {
        const int years = prv_age_years(age.year, age.month, age.day, 1795446000);
        rights_check(!age.bad_date && years >= -1 && years <= 126);
    }
    return 0;
}
