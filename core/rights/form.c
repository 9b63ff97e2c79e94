#include "form.h"

#include "../request/view.h"

bool prv_form_begin(prv_form *form, const prv_env *env, prv_str body)
{
    *form = (prv_form){.rest = body, .out = env->alloc(env->ctx, body.n + 1)};
    return form->out != NULL;
}

/* Decodes one name or value; control bytes have no business in any field of ours. */
static bool decode(prv_form *form, prv_str text, prv_str *out)
{
    char *p = form->out;
    size_t n = 0;
    for (size_t i = 0; i < text.n;) {
        const char raw = text.p[i];
        const size_t from = i;
        unsigned char c = prv_view_decode(text, &i);
        if (raw == '+')
            c = ' ';
        if (c < 0x20 || c == 0x7f || (raw == '%' && i == from + 1))
            return false;
        p[n++] = (char)c;
    }
    form->out += n;
    *out = (prv_str){p, n};
    return true;
}

bool prv_form_next(prv_form *form, prv_str *name, prv_str *value)
{
    prv_str pair;
    while (!form->malformed && prv_view_split(&form->rest, '&', &pair)) {
        if (pair.n == 0)
            continue;
        const size_t eq = prv_view_find(pair, '=');
        const prv_str raw = eq < pair.n ? prv_view_from(pair, eq + 1) : PRV_STR("");
        if (decode(form, (prv_str){pair.p, eq}, name) && decode(form, raw, value))
            return true;
        form->malformed = true;
    }
    return false;
}

prv_str prv_form_find(const prv_env *env, prv_str text, prv_str name)
{
    prv_form form;
    prv_str one, value;
    if (text.n == 0 || !prv_form_begin(&form, env, text))
        return PRV_NONE;
    while (prv_form_next(&form, &one, &value)) {
        if (prv_view_equal(one, name))
            return value;
    }
    return PRV_NONE;
}
