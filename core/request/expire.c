/*
 * Taking cookies off a browser after a refusal, and the paths that a form may return to.
 */
#include "cookie.h"

#include "view.h"

#define EXPIRE_NAME_MAX 256 /* longer names are not echoed into an answer */
#define RETURN_MAX 2048     /* bytes of a path that we redirect to */

/* ---- expiry of denied cookies */

/* May this name of a request cookie stand in an answer? */
static bool name_echoes(prv_str name)
{
    if (name.n == 0 || name.n > EXPIRE_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] <= ' ' || name.p[i] >= 0x7f || name.p[i] == ',') {
            return false;
        }
    }
    return true;
}

static bool name_listed(const prv_str *names, size_t n, prv_str name)
{
    for (size_t i = 0; i < n; i++) {
        if (prv_view_equal(names[i], name)) {
            return true;
        }
    }
    return false;
}

/* Distinct names of the request's cookies that `mask` denies. */
static size_t denied_names(const prv_request *rq, const prv_decision *d, uint32_t mask,
                           prv_str names[PRV_EXPIRE_MAX])
{
    prv_cookie_iter it;
    prv_str name, value, pair;
    size_t n = 0;

    for (size_t i = 0; i < rq->n_cookies; i++) {
        prv_cookie_iter_init(&it, rq->cookies[i], rq->comma_joined);
        while (n < PRV_EXPIRE_MAX && prv_cookie_next(&it, &name, &value, &pair)) {
            if (prv_cookie_own(rq, name) || !name_echoes(name)) {
                continue;
            }
            const prv_cookie_rule *rule = prv_cookie_rule_of(rq, name);
            if (rule != NULL && (mask & ~d->allowed) >> rule->purpose & 1 &&
                !name_listed(names, n, name)) {
                names[n++] = name;
            }
        }
    }
    return n;
}

/* Only a name of two labels or more takes a Domain attribute; an address does not. */
static bool host_has_domain(prv_str host)
{
    size_t dots = 0;
    size_t label = 0; /* start of the last label */
    bool numeric = true;

    if (host.n == 0 || host.n > 253) {
        return false;
    }
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        if (c == '.') {
            if (i == label) {
                return false;
            }
            dots++;
            label = i + 1;
        } else if (!prv_char_alnum(c) && c != '-' && c != '_') {
            return false;
        }
    }
    for (size_t i = label; i < host.n; i++) {
        numeric = numeric && host.p[i] >= '0' && host.p[i] <= '9';
    }
    return dots > 0 && !numeric;
}

/* The parent domain with `labels` labels; empty: host has fewer. */
static prv_str host_domain(prv_str host, unsigned labels)
{
    for (size_t i = host.n; i > 0; i--) {
        if (host.p[i - 1] == '.' && --labels == 0) {
            return prv_view_from(host, i);
        }
    }
    return labels == 1 ? host : PRV_NONE;
}

static prv_str expiry_make(const prv_env *env, prv_str name, prv_str domain)
{
    static const prv_str end = {"; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT", 50};
    /* Browsers refuse a deletion of a prefixed cookie that breaks the prefix's own rules. */
    bool secure = prv_view_istarts(name, PRV_STR("__Host-")) ||
                  prv_view_istarts(name, PRV_STR("__Secure-")) ||
                  prv_view_istarts(name, PRV_STR("__Http-"));
    prv_out out;

    if (!prv_out_open(&out, env, name.n + domain.n + end.n + 40)) {
        return PRV_NONE;
    }
    prv_out_put(&out, name);
    prv_out_put(&out, PRV_STR("=; Path=/"));
    if (domain.n > 0) {
        prv_out_put(&out, PRV_STR("; Domain="));
        prv_out_put(&out, domain);
    }
    prv_out_put(&out, end);
    prv_out_put(&out, secure ? PRV_STR("; Secure") : PRV_NONE);
    return prv_out_view(&out);
}

/*
 * Host-only for each cookie first, then from the shortest domain (where analytics scripts set
 * theirs) to the longest, so that a full answer has done the likely ones of all cookies.
 */
size_t prv_expire_cookies(const prv_request *rq, const prv_decision *d, uint32_t mask, prv_str host,
                          prv_str *out, size_t cap)
{
    prv_str names[PRV_EXPIRE_MAX];
    size_t n_names = denied_names(rq, d, mask, names);
    size_t n = 0;

    if (host.n > 0 && host.p[host.n - 1] == '.') {
        host.n--;
    }
    bool has_domain = host_has_domain(host);
    for (unsigned labels = 1; n_names > 0; labels++) {
        prv_str domain = PRV_NONE; /* one label stands for host-only */
        if (labels > 1) {
            domain = has_domain ? host_domain(host, labels) : PRV_NONE;
            if (domain.n == 0) {
                break;
            }
        }
        for (size_t i = 0; i < n_names; i++) {
            if (domain.n > 0 && prv_view_istarts(names[i], PRV_STR("__Host-"))) {
                continue;
            }
            if (n == cap) {
                return n;
            }
            out[n] = expiry_make(rq->env, names[i], domain);
            if (out[n].n == 0) {
                return n;
            }
            n++;
        }
    }
    return n;
}

/* ---- return paths */

/* The segments of a path as a browser or a server behind us may come to see them: %-decoded, dots
 * removed. */
typedef struct path_shape {
    size_t depth;
    bool first_empty;
} path_shape;

/* Takes one segment in; false: the path would begin with `//`. */
static bool shape_add(path_shape *shape, size_t n, size_t dots)
{
    if (n == dots && n == 1) {
        return true;
    }
    if (n == dots && n == 2) {
        shape->depth -= shape->depth > 0;
        return true;
    }
    shape->first_empty = shape->depth == 0 ? n == 0 : shape->first_empty;
    shape->depth++;
    return !(shape->first_empty && shape->depth > 1);
}

static bool path_shape_valid(prv_str path)
{
    path_shape shape = {0};
    size_t n = 0, dots = 0; /* of the segment */

    for (size_t i = 1; i < path.n;) {
        unsigned char c = prv_view_decode(path, &i);
        if (c == '\\') {
            return false;
        }
        if (c == '/') {
            if (!shape_add(&shape, n, dots)) {
                return false;
            }
            n = dots = 0;
        } else {
            n++;
            dots += c == '.';
        }
    }
    return shape_add(&shape, n, dots);
}

bool prv_return_valid(prv_str path)
{
    if (path.n == 0 || path.n > RETURN_MAX || path.p[0] != '/') {
        return false;
    }
    for (size_t i = 0; i < path.n;) {
        unsigned char raw = (unsigned char)path.p[i];
        unsigned char c = prv_view_decode(path, &i);
        if (raw <= ' ' || raw >= 0x7f || raw == '\\' || c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    size_t end = prv_view_find(path, '?');
    size_t fragment = prv_view_find(path, '#');
    return path_shape_valid((prv_str){path.p, end < fragment ? end : fragment});
}
