/*
 * privacy_cookie: the name and attributes of our own cookie. What a browser would drop is refused
 * here, because a dropped cookie is a choice that silently never holds.
 */
#include "conf.h"

#define NAME_MAX_LEN 64
#define PATH_MAX_LEN 1024 /* browsers ignore longer attribute values */
#define DOMAIN_MAX_LEN 253
#define LABEL_MAX_LEN 63

/* RFC 6265bis 4.1.3. Browsers compare these prefixes without regard to case. */
static const struct name_prefix {
    prv_str prefix;
    bool host; /* no Domain, Path=/ */
} name_prefixes[] = {
    {{"__Host-", 7}, true},
    {{"__Secure-", 9}, false},
    {{"__Http-", 7}, false},
};

void prv_cookie_conf_init(prv_cookie_conf *conf)
{
    *conf = (prv_cookie_conf){
        .name = PRV_STR("__Host-privacy"),
        .domain = PRV_NONE,
        .path = PRV_STR("/"),
        .samesite = PRV_SAMESITE_LAX,
        .secure = true,
    };
}

static prv_code name_set(prv_str value, prv_cookie_conf *out, prv_error *err)
{
    bool valid = value.n > 0 && value.n <= NAME_MAX_LEN;

    for (size_t i = 0; valid && i < value.n; i++) {
        valid = prv_char_token(value.p[i]);
    }
    if (!valid) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "cookie name \"%.*s\": expected 1 to %d letters, digits and !#$%%&'*+-.^_`|~",
            PRV_CONF_SHOW(value), NAME_MAX_LEN);
    }
    out->name = value;
    return PRV_OK;
}

static bool label_valid(prv_str label)
{
    if (label.n == 0 || label.n > LABEL_MAX_LEN || label.p[0] == '-' ||
        label.p[label.n - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < label.n; i++) {
        if (!prv_char_alnum(label.p[i]) && label.p[i] != '-') {
            return false;
        }
    }
    return true;
}

static prv_code domain_set(prv_str value, prv_cookie_conf *out, prv_error *err)
{
    prv_str rest = value;
    prv_str label = PRV_NONE;
    size_t labels = 0;
    uint64_t number;
    bool valid = value.n > 0 && value.n <= DOMAIN_MAX_LEN && value.p[value.n - 1] != '.';

    while (valid && prv_view_split(&rest, '.', &label)) {
        valid = label_valid(label);
        labels++;
    }
    /* A last label of digits makes it an address, which takes no Domain. */
    if (!valid || labels < 2 || prv_conf_number(label, UINT64_MAX, &number)) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "domain \"%.*s\": expected a host name of two labels or more without a dot "
            "at its ends, such as example.com",
            PRV_CONF_SHOW(value));
    }
    out->domain = value;
    return PRV_OK;
}

static prv_code path_set(prv_str value, prv_cookie_conf *out, prv_error *err)
{
    bool valid = value.n > 0 && value.n <= PATH_MAX_LEN && value.p[0] == '/';

    for (size_t i = 0; valid && i < value.n; i++) {
        valid = value.p[i] > ' ' && value.p[i] < 0x7f && value.p[i] != ';' && value.p[i] != ',';
    }
    if (!valid) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "path \"%.*s\": expected a path that begins with / and has no space, comma "
            "or semicolon",
            PRV_CONF_SHOW(value));
    }
    out->path = value;
    return PRV_OK;
}

static prv_code samesite_set(prv_str value, prv_cookie_conf *out, prv_error *err)
{
    static const struct {
        prv_str word;
        prv_samesite value;
    } words[] = {
        {{"Lax", 3}, PRV_SAMESITE_LAX},
        {{"Strict", 6}, PRV_SAMESITE_STRICT},
        {{"None", 4}, PRV_SAMESITE_NONE},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (prv_view_iequal(value, words[i].word)) {
            out->samesite = words[i].value;
            return PRV_OK;
        }
    }
    return prv_conf_fail(err, PRV_ERR_VALUE, "samesite \"%.*s\": expected Lax, Strict or None",
                         PRV_CONF_SHOW(value));
}

static prv_code secure_set(prv_str value, prv_cookie_conf *out, prv_error *err)
{
    bool on = prv_view_iequal(value, PRV_STR("on"));

    if (!on && !prv_view_iequal(value, PRV_STR("off"))) {
        return prv_conf_fail(err, PRV_ERR_VALUE, "secure \"%.*s\": expected on or off",
                             PRV_CONF_SHOW(value));
    }
    out->secure = on;
    return PRV_OK;
}

static const struct cookie_option {
    prv_str key;
    prv_code (*set)(prv_str value, prv_cookie_conf *out, prv_error *err);
} cookie_options[] = {
    {{"domain", 6}, domain_set},
    {{"path", 4}, path_set},
    {{"samesite", 8}, samesite_set},
    {{"secure", 6}, secure_set},
};
#define N_COOKIE_OPTIONS (sizeof(cookie_options) / sizeof(cookie_options[0]))

static prv_code option_set(prv_str arg, unsigned *seen, prv_cookie_conf *out, prv_error *err)
{
    prv_str key = arg;
    prv_str value = PRV_NONE;
    bool pair = prv_conf_option(arg, &key, &value);

    for (size_t i = 0; pair && i < N_COOKIE_OPTIONS; i++) {
        if (!prv_view_equal(key, cookie_options[i].key)) {
            continue;
        }
        if ((*seen >> i & 1) != 0) {
            return prv_conf_fail(err, PRV_ERR_VALUE, "%.*s= stands twice", PRV_CONF_SHOW(key));
        }
        *seen |= 1u << i;
        return cookie_options[i].set(value, out, err);
    }
    return prv_conf_fail(
        err, PRV_ERR_SYNTAX,
        "\"%.*s\" is no option of privacy_cookie; expected domain=, path=, samesite= or secure=",
        PRV_CONF_SHOW(arg));
}

/* Combinations that a browser drops. */
static prv_code combination_check(const prv_cookie_conf *conf, prv_error *err)
{
    for (size_t i = 0; i < sizeof(name_prefixes) / sizeof(name_prefixes[0]); i++) {
        prv_str prefix = name_prefixes[i].prefix;
        if (!prv_view_istarts(conf->name, prefix)) {
            continue;
        }
        if (!conf->secure) {
            return prv_conf_fail(
                err, PRV_ERR_VALUE,
                "browsers drop a cookie that begins with %s without Secure: leave secure=off "
                "out, or take a name without that prefix",
                prefix.p);
        }
        if (name_prefixes[i].host && conf->domain.n > 0) {
            return prv_conf_fail(
                err, PRV_ERR_VALUE,
                "browsers drop a cookie that begins with %s that has a domain: take a name "
                "without that prefix for domain=%.*s",
                prefix.p, PRV_CONF_SHOW(conf->domain));
        }
        if (name_prefixes[i].host && !prv_view_equal(conf->path, PRV_STR("/"))) {
            return prv_conf_fail(
                err, PRV_ERR_VALUE,
                "browsers drop a cookie that begins with %s unless its path is /: take a name "
                "without that prefix for path=%.*s",
                prefix.p, PRV_CONF_SHOW(conf->path));
        }
    }
    if (conf->samesite == PRV_SAMESITE_NONE && !conf->secure) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "browsers drop a cookie with samesite=None without Secure: leave "
                             "secure=off out, or take samesite=Lax");
    }
    return PRV_OK;
}

prv_code prv_cookie_conf_parse(const prv_str *args, size_t n, prv_cookie_conf *out, prv_error *err)
{
    unsigned seen = 0;
    size_t i = 0;

    prv_cookie_conf_init(out);
    if (n == 0) {
        return prv_conf_fail(err, PRV_ERR_SYNTAX,
                             "privacy_cookie names nothing; expected a cookie name such as "
                             "__Host-privacy, or options");
    }
    if (prv_view_find(args[0], '=') == args[0].n) {
        prv_code code = name_set(args[0], out, err);
        if (code != PRV_OK) {
            return code;
        }
        i = 1;
    }
    for (; i < n; i++) {
        prv_code code = option_set(args[i], &seen, out, err);
        if (code != PRV_OK) {
            return code;
        }
    }
    return combination_check(out, err);
}
