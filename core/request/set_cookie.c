/*
 * One Set-Cookie field of an answer (RFC 6265 5.2, read as browsers do): kept or dropped, never
 * rewritten.
 */
#include "cookie.h"

#include "view.h"

/* Days since 1970-01-01 of a day of the proleptic Gregorian calendar. */
static int64_t days_from(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Up to `most` digits at the start of s, at least `least`; -1: not so. *used: how many. */
static int digits_read(prv_str s, size_t least, size_t most, size_t *used)
{
    int value = 0;
    size_t i = 0;

    while (i < s.n && i < most && s.p[i] >= '0' && s.p[i] <= '9') {
        value = value * 10 + (s.p[i] - '0');
        i++;
    }
    *used = i;
    bool more = i < s.n && s.p[i] >= '0' && s.p[i] <= '9';
    return i < least || more ? -1 : value;
}

typedef struct cookie_date {
    int hour, minute, second, day, month, year; /* -1: not seen yet */
} cookie_date;

static bool date_time(cookie_date *date, prv_str token)
{
    int *part[3] = {&date->hour, &date->minute, &date->second};
    int found[3];

    for (int i = 0; i < 3; i++) {
        size_t used;
        found[i] = digits_read(token, 1, 2, &used);
        if (found[i] < 0) {
            return false;
        }
        token = prv_view_from(token, used);
        if (i < 2) {
            if (token.n == 0 || token.p[0] != ':') {
                return false;
            }
            token = prv_view_from(token, 1);
        }
    }
    for (int i = 0; i < 3; i++) {
        *part[i] = found[i];
    }
    return true;
}

static int month_find(prv_str token)
{
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";

    for (int i = 0; i < 12; i++) {
        if (prv_view_istarts(token, (prv_str){names + 3 * i, 3})) {
            return i + 1;
        }
    }
    return -1;
}

/* RFC 6265 5.1.1: each token is the first thing of these that it can be and that was not found
 * before. */
static void date_token(cookie_date *date, prv_str token)
{
    size_t used;
    int value;

    if (date->hour < 0 && date_time(date, token)) {
        return;
    }
    if (date->day < 0 && (value = digits_read(token, 1, 2, &used)) >= 0) {
        date->day = value;
        return;
    }
    if (date->month < 0 && (value = month_find(token)) > 0) {
        date->month = value;
        return;
    }
    if (date->year < 0 && (value = digits_read(token, 2, 4, &used)) >= 0) {
        date->year = value < 70 ? value + 2000 : value < 100 ? value + 1900 : value;
    }
}

static bool date_delimiter(char c)
{
    unsigned char u = (unsigned char)c;

    return u == 0x09 || (u >= 0x20 && u <= 0x2f) || (u >= 0x3b && u <= 0x40) ||
           (u >= 0x5b && u <= 0x60) || (u >= 0x7b && u <= 0x7e);
}

/* Seconds since 1970; false for what a browser would not take as a date. */
static bool date_parse(prv_str text, int64_t *s)
{
    cookie_date date = {-1, -1, -1, -1, -1, -1};

    for (size_t i = 0; i < text.n;) {
        size_t from = i;
        while (i < text.n && !date_delimiter(text.p[i])) {
            i++;
        }
        if (i > from) {
            date_token(&date, (prv_str){text.p + from, i - from});
        }
        i += i < text.n;
    }
    if (date.hour < 0 || date.day < 1 || date.month < 0 || date.year < 1601 || date.day > 31 ||
        date.hour > 23 || date.minute > 59 || date.second > 59) {
        return false;
    }
    *s = days_from(date.year, date.month, date.day) * 86400 + date.hour * 3600 + date.minute * 60 +
         date.second;
    return true;
}

/* RFC 6265 5.2.2: an optional `-` and digits. A value that is none never makes a deletion. */
static bool max_age_over(prv_str value)
{
    bool negative = value.n > 0 && value.p[0] == '-';
    bool zero = true;
    size_t i = negative ? 1 : 0;

    if (i == value.n) {
        return false;
    }
    for (; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9') {
            return false;
        }
        zero = zero && value.p[i] == '0';
    }
    return negative || zero;
}

/* Does this field take a cookie away? The last attribute of a name counts, Max-Age before Expires.
 */
static bool deletion(prv_str attributes, int64_t now)
{
    bool has_max_age = false;
    bool max_age = false;
    bool expires = false;
    prv_str attribute;

    while (prv_view_split(&attributes, ';', &attribute)) {
        while (attribute.n > 0 && (attribute.p[0] == ' ' || attribute.p[0] == '\t')) {
            attribute = prv_view_from(attribute, 1);
        }
        const char first = attribute.n > 0 ? prv_view_lower(attribute.p[0]) : '\0';
        if (first != 'm' && first != 'e') {
            continue;
        }
        size_t equals = prv_view_find(attribute, '=');
        prv_str name = prv_view_trim((prv_str){attribute.p, equals});
        prv_str value = PRV_NONE;
        if (equals < attribute.n) {
            value = prv_view_trim(prv_view_from(attribute, equals + 1));
        }
        if (prv_view_iequal(name, PRV_STR("max-age"))) {
            has_max_age = true;
            max_age = max_age_over(value);
        } else if (prv_view_iequal(name, PRV_STR("expires"))) {
            int64_t at = 0;
            expires = date_parse(value, &at) && at < now;
        }
    }
    return has_max_age ? max_age : expires;
}

prv_str prv_set_cookie_name(prv_str value)
{
    prv_str pair = {value.p, prv_view_find(value, ';')};
    size_t equals = prv_view_find(pair, '=');

    return equals < pair.n ? prv_view_trim((prv_str){pair.p, equals}) : (prv_str){value.p, 0};
}

/* A nameless cookie `=_ga=1` comes back, and is read by scripts, as `_ga=1`. */
static prv_str disguised_name(prv_str value)
{
    prv_str pair = prv_view_trim((prv_str){value.p, prv_view_find(value, ';')});

    if (pair.n == 0 || pair.p[0] != '=') {
        return PRV_NONE;
    }
    pair = prv_view_from(pair, 1);
    size_t equals = prv_view_find(pair, '=');
    return equals < pair.n ? prv_view_trim((prv_str){pair.p, equals}) : PRV_NONE;
}

prv_keep prv_edit_set_cookie(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                             prv_str value, unsigned *vary)
{
    if (!prv_rules_edit(rules)) {
        return PRV_KEEP;
    }
    if (prv_view_has_control(value)) {
        return PRV_DROP;
    }
    prv_str name = prv_set_cookie_name(value);
    if (prv_cookie_own(rq, name)) {
        return PRV_KEEP;
    }
    size_t first = prv_view_find(value, ';');
    prv_str attributes = first < value.n ? prv_view_from(value, first + 1) : PRV_NONE;
    if (deletion(attributes, rq->env->now_ms / 1000)) {
        return PRV_KEEP;
    }
    prv_str disguised = name.n == 0 ? disguised_name(value) : PRV_NONE;
    const prv_cookie_rule *rule = prv_cookie_rule_of(rq, disguised.n > 0 ? disguised : name);
    *vary |= prv_vary(rq->site->policy, prv_cookie_purposes(rq->site->policy, rule));
    bool keep = prv_cookie_allowed(rq, d, rule);
    if (disguised.n > 0) {
        keep = keep && prv_cookie_allowed(rq, d, NULL);
    }
    return keep ? PRV_KEEP : PRV_DROP;
}
