/*
 * Who sent a state-changing call (INTERFACE 4): Sec-Fetch-Site where the browser says it, else
 * Origin against our host and port, else, for forms, a token that only our own page carries.
 */
#include "../request/headers.h"
#include "endpoint.h"

#define TOKEN_LIFE 600    /* seconds */
#define TOKEN_TEXT_MAX 64 /* 16 of kid, 20 of time, 22 of MAC, two dots */

/* ------------------------------------------------------------------ fields */

/* host[:port] without the port that is the scheme's own. */
static prv_str without_port(prv_str host, prv_str port)
{
    return host.n > port.n && prv_view_equal(prv_view_from(host, host.n - port.n), port)
               ? (prv_str){host.p, host.n - port.n}
               : host;
}

static bool origin_own(prv_str origin, const prv_http *http)
{
    const prv_str https = PRV_STR("https://");
    const prv_str plain = PRV_STR("http://");
    prv_str host;
    /* Where TLS ends in front of us the scheme is https though the connection is not. */
    if (prv_view_istarts(origin, https))
        host = without_port(prv_view_from(origin, https.n), PRV_STR(":443"));
    else if (prv_view_istarts(origin, plain) && !http->tls)
        host = without_port(prv_view_from(origin, plain.n), PRV_STR(":80"));
    else
        return false;
    const prv_str ours =
        without_port(prv_view_trim(http->host), http->tls ? PRV_STR(":443") : PRV_STR(":80"));
    return ours.n > 0 && prv_view_iequal(host, ours);
}

prv_origin prv_origin_check(const prv_site *site, const prv_http *http)
{
    const prv_str fetch = prv_view_trim(http->sec_fetch_site);
    const prv_str origin = prv_view_trim(http->origin);
    /* An empty field is there, and is not ours: only a view without a pointer says that there is
     * none. */
    if (fetch.p != NULL) {
        bool own = prv_view_equal(fetch, PRV_STR("same-origin")) ||
                   prv_view_equal(fetch, PRV_STR("none")) ||
                   (site->cookie.domain.n > 0 && prv_view_equal(fetch, PRV_STR("same-site")));
        return own ? PRV_ORIGIN_OWN : PRV_ORIGIN_FOREIGN;
    }
    if (origin.p != NULL)
        return origin_own(origin, http) ? PRV_ORIGIN_OWN : PRV_ORIGIN_FOREIGN;
    return PRV_ORIGIN_UNKNOWN;
}

/* ------------------------------------------------------------------ form tokens */

static void token_mac(const prv_request *rq, const prv_key *key, prv_str addr, prv_str expiry,
                      uint8_t mac[PRV_MAC_LEN])
{
    const prv_str line = PRV_STR("\n");
    const prv_str parts[] = {PRV_STR("form\n"),
                             rq->site->policy->id,
                             line,
                             rq->site->cookie.name,
                             line,
                             expiry,
                             line,
                             prv_addr_cut(rq->env, addr),
                             line,
                             {rq->state.id, rq->state.id_len},
                             {(const char *)rq->subject, rq->known ? sizeof rq->subject : 0}};
    prv_key_mac(key, parts, sizeof parts / sizeof parts[0], mac);
}

prv_str prv_form_token_make(const prv_request *rq, prv_str addr)
{
    const prv_key *key = prv_keyring_signer(rq->site->keys, PRV_KEY_TOKEN);
    uint8_t mac[PRV_MAC_LEN];
    char text[PRV_MAC_TEXT];
    prv_out out;
    if (key == NULL || !prv_out_open(&out, rq->env, TOKEN_TEXT_MAX))
        return PRV_NONE;
    prv_out_put(&out, prv_key_id(key));
    prv_out_char(&out, '.');
    const size_t from = out.n;
    prv_out_number(&out, (unsigned)(rq->env->now_ms / 1000 + TOKEN_LIFE));
    token_mac(rq, key, addr, prv_view_from(prv_out_view(&out), from), mac);
    prv_out_char(&out, '.');
    prv_out_put(&out, (prv_str){text, prv_base64url_encode(mac, sizeof mac, text)});
    return prv_out_view(&out);
}

static int64_t seconds(prv_str text)
{
    int64_t n = 0;
    if (text.n == 0 || text.n > 12)
        return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        n = n * 10 + (text.p[i] - '0');
    }
    return n;
}

bool prv_form_token_valid(const prv_request *rq, prv_str addr, prv_str token)
{
    prv_str kid, expiry, text;
    uint8_t sent[PRV_MAC_LEN], mac[PRV_MAC_LEN];
    size_t n = 0;
    if (token.n > TOKEN_TEXT_MAX || !prv_view_split(&token, '.', &kid) ||
        !prv_view_split(&token, '.', &expiry) || !prv_view_split(&token, '.', &text) || token.n > 0)
        return false;
    const prv_key *key = prv_keyring_find(rq->site->keys, PRV_KEY_TOKEN, kid);
    if (key == NULL || !prv_base64url_decode(text, sent, sizeof sent, &n) || n != sizeof sent)
        return false;
    token_mac(rq, key, addr, expiry, mac);
    const int64_t left = seconds(expiry) - rq->env->now_ms / 1000;
    return prv_mac_equal(sent, mac) && left > 0 && left <= TOKEN_LIFE;
}
