/*
 * Values of single-word directives and of privacy_limit.
 */
#include "conf.h"

#include <stdarg.h>
#include <stdio.h>

#define ZONE_MAX ((uint64_t)64 << 30) /* bytes; more is a typo */
#define ZONE_NAME_MAX 64
#define TIMEOUT_MAX_MS 60000
#define HOME_MAX 128
#define PREFIX_MAX 64
#define LIMIT_RATE_MAX 1000000 /* requests per minute */

prv_code prv_conf_fail(prv_error *err, prv_code code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        err->code = code;
        err->line = 0;
        err->column = 0;
        va_start(args, format);
        vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
    }
    return code;
}

bool prv_conf_option(prv_str arg, prv_str *key, prv_str *value)
{
    size_t equals = prv_view_find(arg, '=');

    if (equals == arg.n) {
        return false;
    }
    *key = (prv_str){arg.p, equals};
    *value = prv_view_from(arg, equals + 1);
    return true;
}

bool prv_conf_number(prv_str text, uint64_t most, uint64_t *value)
{
    uint64_t sum = 0;

    if (text.n == 0) {
        return false;
    }
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(text.p[i] - '0');
        if (sum > (most - digit) / 10 || digit > most) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

/* A number with one of these endings; factor of the ending. */
typedef struct unit {
    prv_str ending;
    uint64_t factor;
} unit;

static bool number_with_unit(prv_str text, const unit *units, size_t n_units, uint64_t most,
                             uint64_t *value)
{
    for (size_t i = 0; i < n_units; i++) {
        prv_str ending = units[i].ending;
        if (text.n > ending.n && prv_view_iequal(prv_view_from(text, text.n - ending.n), ending)) {
            prv_str digits = {text.p, text.n - ending.n};
            if (prv_conf_number(digits, most / units[i].factor, value)) {
                *value *= units[i].factor;
                return true;
            }
        }
    }
    return false;
}

/* ---- privacy_limit */

void prv_limit_conf_init(prv_limit_conf *conf)
{
    *conf = (prv_limit_conf){.per_minute = 30, .burst = 30};
}

static prv_code limit_arg(prv_str arg, bool *has_rate, bool *has_burst, prv_limit_conf *out,
                          prv_error *err)
{
    static const unit rates[] = {{{"r/m", 3}, 1}, {{"r/s", 3}, 60}};
    prv_str key, text;
    uint64_t value;

    if (prv_conf_option(arg, &key, &text)) {
        if (!prv_view_equal(key, PRV_STR("burst"))) {
            return prv_conf_fail(err, PRV_ERR_VALUE,
                                 "\"%.*s\" is no option of privacy_limit; expected burst=30",
                                 PRV_CONF_SHOW(arg));
        }
        if (*has_burst || !prv_conf_number(text, LIMIT_RATE_MAX, &value)) {
            return prv_conf_fail(err, PRV_ERR_VALUE,
                                 "\"%.*s\": expected burst= once, with a number from 0 to %d",
                                 PRV_CONF_SHOW(arg), LIMIT_RATE_MAX);
        }
        *has_burst = true;
        out->burst = (uint32_t)value;
        return PRV_OK;
    }
    if (*has_rate || !number_with_unit(arg, rates, 2, LIMIT_RATE_MAX, &value) || value == 0) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "\"%.*s\": expected one rate such as 30r/m or 2r/s (at most %d a minute)",
            PRV_CONF_SHOW(arg), LIMIT_RATE_MAX);
    }
    *has_rate = true;
    out->per_minute = (uint32_t)value;
    return PRV_OK;
}

prv_code prv_limit_parse(const prv_str *args, size_t n, prv_limit_conf *out, prv_error *err)
{
    bool has_rate = false;
    bool has_burst = false;

    prv_limit_conf_init(out);
    if (n == 1 && prv_view_equal(args[0], PRV_STR("off"))) {
        out->off = true;
        return PRV_OK;
    }
    for (size_t i = 0; i < n; i++) {
        prv_code code = limit_arg(args[i], &has_rate, &has_burst, out, err);
        if (code != PRV_OK) {
            return code;
        }
    }
    if (!has_rate) {
        return prv_conf_fail(err, PRV_ERR_SYNTAX,
                             "privacy_limit names no rate; expected 30r/m [burst=30], or off");
    }
    return PRV_OK;
}

/* ---- single words */

static bool all_of(prv_str text, bool (*is)(char c))
{
    for (size_t i = 0; i < text.n; i++) {
        if (!is(text.p[i])) {
            return false;
        }
    }
    return true;
}

static bool zone_name_char(char c)
{
    return prv_char_alnum(c) || c == '_' || c == '-';
}

prv_code prv_zone_parse(prv_str arg, prv_str *name, size_t *bytes, prv_error *err)
{
    static const unit sizes[] = {
        {{"k", 1}, 1024}, {{"m", 1}, 1024 * 1024}, {{"g", 1}, 1024 * 1024 * 1024}, {{"", 0}, 1}};
    size_t colon = prv_view_find(arg, ':');
    prv_str label = {arg.p, colon};
    uint64_t size;

    if (colon == arg.n) {
        return prv_conf_fail(err, PRV_ERR_SYNTAX,
                             "zone \"%.*s\" has no size; expected name:size such as privacy:16m",
                             PRV_CONF_SHOW(arg));
    }
    if (label.n == 0 || label.n > ZONE_NAME_MAX || !all_of(label, zone_name_char)) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "zone name \"%.*s\": expected 1 to %d letters, digits, _ or -",
                             PRV_CONF_SHOW(label), ZONE_NAME_MAX);
    }
    prv_str text = prv_view_from(arg, colon + 1);
    if (!number_with_unit(text, sizes, 4, ZONE_MAX, &size) || size < PRV_ZONE_MIN ||
        size > SIZE_MAX) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "zone size \"%.*s\": expected a size from 256k to 64g, such as 16m",
                             PRV_CONF_SHOW(text));
    }
    *name = label;
    *bytes = (size_t)size;
    return PRV_OK;
}

prv_code prv_timeout_parse(prv_str arg, uint32_t *ms, prv_error *err)
{
    static const unit times[] = {{{"ms", 2}, 1}, {{"s", 1}, 1000}, {{"", 0}, 1}};
    uint64_t value;

    if (!number_with_unit(arg, times, 3, TIMEOUT_MAX_MS, &value) || value == 0) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "timeout \"%.*s\": expected 1ms to 60s, such as 50ms, 2s or 50",
                             PRV_CONF_SHOW(arg));
    }
    *ms = (uint32_t)value;
    return PRV_OK;
}

prv_code prv_store_wait_parse(prv_str arg, uint32_t *replicas, prv_error *err)
{
    static const unit one[] = {{{"", 0}, 1}};
    uint64_t value;

    if (!number_with_unit(arg, one, 1, PRV_WAIT_MAX, &value)) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "replicas to wait for \"%.*s\": expected a number from 0 to %d",
                             PRV_CONF_SHOW(arg), PRV_WAIT_MAX);
    }
    *replicas = (uint32_t)value;
    return PRV_OK;
}

prv_code prv_home_parse(prv_str arg, prv_str *out, prv_error *err)
{
    prv_str rest = arg;
    prv_str segment;
    bool valid = arg.n > 0 && arg.n <= HOME_MAX && arg.p[0] == '/' && arg.p[arg.n - 1] == '/';

    if (valid && arg.n > 1) {
        rest = prv_view_from(arg, 1);
        while (valid && prv_view_split(&rest, '/', &segment)) {
            valid = segment.n > 0 && all_of(segment, prv_char_unreserved) &&
                    !prv_view_equal(segment, PRV_STR(".")) &&
                    !prv_view_equal(segment, PRV_STR(".."));
        }
    }
    if (!valid) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "home \"%.*s\": expected a path such as /privacy/ that begins and ends with / "
            "and has only letters, digits and - . _ ~ between (at most %d bytes)",
            PRV_CONF_SHOW(arg), HOME_MAX);
    }
    *out = arg;
    return PRV_OK;
}

/* Keys are also matched by patterns and hashed by their braces. */
static bool prefix_char(char c)
{
    return c > ' ' && c < 0x7f && strchr("{}*?[]\\", c) == NULL;
}

prv_code prv_prefix_parse(prv_str arg, prv_str *out, prv_error *err)
{
    if (arg.n == 0 || arg.n > PREFIX_MAX || !all_of(arg, prefix_char)) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "store prefix \"%.*s\": expected 1 to %d printable ASCII characters "
                             "without spaces and none of { } * ? [ ] \\",
                             PRV_CONF_SHOW(arg), PREFIX_MAX);
    }
    *out = arg;
    return PRV_OK;
}
