/* From a date of birth to bounds. The date itself goes nowhere. */
#include "form.h"

#define AGE_MAX 120

typedef struct date {
    int64_t year;
    unsigned month, day;
} date;

static bool leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned month_days(int64_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && leap(year) ? 1u : 0u);
}

/* The day of a time, UTC. */
static date day_of(int64_t now)
{
    int64_t left = now / 86400;
    date d = {.year = 1970, .month = 1};
    while (left >= (leap(d.year) ? 366 : 365)) {
        left -= leap(d.year) ? 366 : 365;
        d.year++;
    }
    while (left >= (int64_t)month_days(d.year, d.month)) {
        left -= (int64_t)month_days(d.year, d.month);
        d.month++;
    }
    d.day = (unsigned)left + 1;
    return d;
}

int prv_age_years(unsigned year, unsigned month, unsigned day, int64_t now)
{
    const date today = day_of(now < 0 ? 0 : now);
    if (year < 1900 || year > today.year || month < 1 || month > 12 || day < 1 ||
        day > month_days(year, month))
        return -1;
    const bool had_birthday = today.month > month || (today.month == month && today.day >= day);
    const int64_t years = today.year - year - (had_birthday ? 0 : 1);
    return years < 0 ? -1 : (int)years;
}

static void place(unsigned threshold, unsigned years, prv_age *out)
{
    if (threshold == 0 || threshold > AGE_MAX)
        return;
    if (years >= threshold)
        out->ok = threshold > out->ok ? (uint8_t)threshold : out->ok;
    else if (out->under == 0 || threshold < out->under)
        out->under = (uint8_t)threshold;
}

void prv_site_age(prv_site *site, unsigned min_age)
{
    if (min_age > 0 && min_age <= AGE_MAX)
        site->ages[min_age / 64] |= UINT64_C(1) << min_age % 64;
}

bool prv_age_answer(const prv_site *site, unsigned years, const prv_age *known, int64_t now,
                    prv_age *out)
{
    const prv_policy *policy = site->policy;
    if (years < known->ok || (known->under != 0 && years >= known->under))
        return false;
    *out = *known;
    place(policy->age_minimum, years, out);
    place(policy->age_unknown, years, out);
    place(policy->age_sale, years, out);
    for (size_t i = 0; i < policy->n_age_regions; i++)
        place(policy->age_regions[i].age, years, out);
    for (unsigned age = 1; age <= AGE_MAX; age++) {
        if (site->ages[age / 64] >> age % 64 & 1)
            place(age, years, out);
    }
    /* An `under` that the application or an operator said stays as long as the record. */
    out->at = known->under != 0 && known->at == 0 ? 0 : now;
    return true;
}
