/*
 * What a browser says before anybody asked: Sec-GPC, DNT, and whether this is a navigation. And the
 * names that only this server may say.
 */
#include "request.h"

#include "view.h"

/* Members of a list field are looked at one by one: httpd joins repeated fields with a comma, and
 * one that is on must not hide behind one that is off. */
static bool list_has(prv_str field, bool (*on)(prv_str member))
{
    prv_str member;

    while (prv_view_split(&field, ',', &member)) {
        if (on(prv_view_trim(member))) {
            return true;
        }
    }
    return false;
}

static bool gpc_on(prv_str member)
{
    return prv_view_equal(member, PRV_STR("1"));
}

static bool dnt_on(prv_str member)
{
    return member.n > 0 && member.p[0] == '1';
}

unsigned prv_signal_gpc(prv_str field)
{
    return list_has(field, gpc_on) ? PRV_SIGNAL_GPC : 0;
}

unsigned prv_signal_dnt(prv_str field)
{
    return list_has(field, dnt_on) ? PRV_SIGNAL_DNT : 0;
}

/* A q of zero says "not this one" (RFC 9110 12.4.2). */
static bool weight_zero(prv_str parameters)
{
    prv_str parameter;

    while (prv_view_split(&parameters, ';', &parameter)) {
        parameter = prv_view_trim(parameter);
        if (!prv_view_istarts(parameter, PRV_STR("q="))) {
            continue;
        }
        for (size_t i = 2; i < parameter.n; i++) {
            if (parameter.p[i] != '0' && parameter.p[i] != '.') {
                return false;
            }
        }
        return true;
    }
    return false;
}

bool prv_accepts(prv_str accept, prv_str type)
{
    prv_str member, range;

    while (prv_view_split(&accept, ',', &member)) {
        if (prv_view_split(&member, ';', &range) && prv_view_iequal(prv_view_trim(range), type) &&
            !weight_zero(member)) {
            return true;
        }
    }
    return false;
}

bool prv_is_navigation(prv_str method, prv_str sec_fetch_mode, prv_str accept)
{
    if (!prv_view_equal(method, PRV_STR("GET"))) {
        return false;
    }
    sec_fetch_mode = prv_view_trim(sec_fetch_mode);
    if (sec_fetch_mode.n > 0) {
        return prv_view_equal(sec_fetch_mode, PRV_STR("navigate"));
    }
    return prv_accepts(accept, PRV_STR("text/html"));
}

bool prv_is_privacy_field(prv_str name)
{
    return prv_view_istarts(name, PRV_STR("privacy-")) ||
           prv_view_istarts(name, PRV_STR("privacy_"));
}
