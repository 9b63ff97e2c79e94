/*
 * Bodies of POST consent and POST age. Forms ignore fields they don't know; JSON refuses members it
 * doesn't know. Both refuse purposes that nobody can choose, by name.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "../request/view.h"
#include "form.h"

#define NAME_SHOWN 64 /* bytes of a visitor's text that a message repeats */

/* ------------------------------------------------------------------ messages */

/* A name for a message: ASCII only, bounded. */
typedef struct shown {
    char text[NAME_SHOWN + 4];
} shown;

static shown show(prv_str name)
{
    shown s;
    size_t n = 0;
    for (; n < name.n && n < NAME_SHOWN; n++)
        s.text[n] = name.p[n] >= ' ' && name.p[n] < 0x7f ? name.p[n] : '?';
    if (n < name.n) {
        memcpy(s.text + n, "...", 3);
        n += 3;
    }
    s.text[n] = '\0';
    return s;
}

__attribute__((format(printf, 3, 4))) static prv_code fail(prv_error *err, prv_code code,
                                                           const char *format, ...)
{
    va_list args;
    *err = (prv_error){.code = code};
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return code;
}

static prv_code nomem(prv_error *err)
{
    return fail(err, PRV_ERR_NOMEM, "no memory");
}

/* The bit of a purpose that can be chosen; 0: *err says why not. */
static uint32_t choosable(const prv_policy *policy, prv_str name, prv_error *err)
{
    const int i = prv_policy_purpose(policy, name);
    if (i < 0) {
        (void)fail(err, PRV_ERR_VALUE, "There is no purpose \"%s\".", show(name).text);
        return 0;
    }
    const uint32_t bit = 1u << i;
    if (policy->off & bit)
        (void)fail(err, PRV_ERR_VALUE, "The purpose \"%s\" is switched off.", show(name).text);
    else if (policy->row2 & bit)
        (void)fail(err, PRV_ERR_VALUE,
                   "The purpose \"%s\" does not rest on a choice: it can be neither granted nor "
                   "refused.",
                   show(name).text);
    return prv_refusable(policy) & bit;
}

/* ------------------------------------------------------------------ consent as a form */

typedef struct sets {
    prv_str choice;
    bool has_choice, has_return, has_token;
    uint32_t asked, ticked, objected;
} sets;

static prv_code once(bool *seen, prv_str name, prv_error *err)
{
    if (*seen)
        return fail(err, PRV_ERR_VALUE, "The field \"%s\" is given twice.", show(name).text);
    *seen = true;
    return PRV_OK;
}

/* Keeps a known field, so that the form can be shown again. */
static prv_code keep(prv_field *fields, size_t cap, size_t *n, prv_str name, prv_str value,
                     prv_error *err)
{
    if (*n == cap)
        return fail(err, PRV_ERR_VALUE, "The form has too many fields.");
    fields[(*n)++] = (prv_field){name, value};
    return PRV_OK;
}

static prv_code consent_field(const prv_policy *policy, prv_str name, prv_str value, sets *s,
                              prv_consent_input *out, prv_error *err)
{
    const struct {
        const char *name;
        uint32_t *mask;
    } lists[] = {{"asked", &s->asked}, {"purpose", &s->ticked}, {"object", &s->objected}};
    prv_code code = PRV_OK;

    if (prv_view_equal(name, PRV_STR("token"))) {
        out->token = value;
        return once(&s->has_token, name, err);
    }
    if (prv_view_equal(name, PRV_STR("choice"))) {
        s->choice = value;
        code = once(&s->has_choice, name, err);
    } else if (prv_view_equal(name, PRV_STR("return"))) {
        out->return_path = prv_return_valid(value) ? value : PRV_NONE;
        code = once(&s->has_return, name, err);
    } else {
        uint32_t *mask = NULL;
        for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
            if (prv_view_equal(name, (prv_str){lists[i].name, strlen(lists[i].name)}))
                mask = lists[i].mask;
        }
        if (mask == NULL)
            return PRV_OK;
        const uint32_t bit = choosable(policy, value, err);
        if (bit == 0)
            return err->code;
        *mask |= bit;
    }
    if (code != PRV_OK)
        return code;
    return keep(out->fields, sizeof out->fields / sizeof out->fields[0], &out->n_fields, name,
                value, err);
}

/* What is named both ways resolves to less. Legitimate interests change only when named. */
static prv_code consent_meaning(const prv_policy *policy, const sets *s, uint32_t refused,
                                prv_consent_input *out, prv_error *err)
{
    const uint32_t consent = policy->consent & prv_refusable(policy);
    if (prv_view_equal(s->choice, PRV_STR("accept"))) {
        const uint32_t asked = s->asked & consent;
        out->grant = (asked != 0 ? asked : consent) & ~s->objected;
        out->refuse = s->objected;
    } else if (prv_view_equal(s->choice, PRV_STR("refuse"))) {
        out->refuse = prv_refusable(policy);
        out->everything = true;
    } else if (prv_view_equal(s->choice, PRV_STR("save"))) {
        /* A tick counts for what was shown. A form that says of nothing that it was shown has only
         * its ticks. */
        const uint32_t seen = s->asked != 0 ? s->asked : s->ticked;
        const uint32_t lifted = s->asked & ~consent & refused;
        out->grant = ((s->ticked & seen) | lifted) & ~s->objected;
        out->refuse = (s->asked & consent & ~s->ticked) | s->objected;
    } else {
        return fail(err, PRV_ERR_VALUE,
                    "The field \"choice\" must be \"accept\", \"refuse\" or \"save\".");
    }
    return PRV_OK;
}

prv_code prv_input_consent_form(const prv_env *env, const prv_policy *policy, prv_str body,
                                uint32_t refused, prv_consent_input *out, prv_error *err)
{
    prv_form form;
    prv_str name, value;
    sets s = {0};

    *out = (prv_consent_input){0};
    if (!prv_form_begin(&form, env, body))
        return nomem(err);
    while (prv_form_next(&form, &name, &value)) {
        const prv_code code = consent_field(policy, name, value, &s, out, err);
        if (code != PRV_OK)
            return code;
    }
    if (form.malformed)
        return fail(err, PRV_ERR_SYNTAX, "The form is malformed: a %%-escape or a control byte.");
    return consent_meaning(policy, &s, refused, out, err);
}

/* ------------------------------------------------------------------ JSON */

static prv_code json_read(prv_str body, json_t **out, prv_error *err)
{
    json_error_t why = {0};
    *out = json_loadb(body.n > 0 ? body.p : "", body.n, JSON_REJECT_DUPLICATES, &why);
    if (*out == NULL) {
        /* jansson leaves the code at unknown where an allocation failed; mistakes have one each. */
        if (json_error_code(&why) == json_error_out_of_memory ||
            json_error_code(&why) == json_error_unknown)
            return nomem(err);
        const prv_str text = {why.text, strlen(why.text)};
        return fail(err, PRV_ERR_SYNTAX, "The body is not JSON: line %d, column %d: %s.", why.line,
                    why.column, show(text).text);
    }
    if (!json_is_object(*out)) {
        json_decref(*out);
        return fail(err, PRV_ERR_SYNTAX, "The body must be a JSON object.");
    }
    return PRV_OK;
}

static prv_code purposes_read(const prv_policy *policy, json_t *purposes, prv_consent_input *out,
                              prv_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(purposes))
        return fail(err, PRV_ERR_VALUE,
                    "The member \"purposes\" must be an object of purposes and true or false.");
    json_object_foreach(purposes, key, value)
    {
        const prv_str name = {key, strlen(key)};
        const uint32_t bit = choosable(policy, name, err);
        if (bit == 0)
            return err->code;
        if (!json_is_boolean(value))
            return fail(err, PRV_ERR_VALUE, "The member \"purposes.%s\" must be true or false.",
                        show(name).text);
        if (json_is_true(value))
            out->grant |= bit;
        else
            out->refuse |= bit;
    }
    return PRV_OK;
}

static prv_code consent_members(const prv_policy *policy, json_t *root, prv_consent_input *out,
                                prv_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        const prv_str name = {key, strlen(key)};
        if (prv_view_equal(name, PRV_STR("purposes"))) {
            const prv_code code = purposes_read(policy, value, out, err);
            if (code != PRV_OK)
                return code;
        } else if (!prv_view_equal(name, PRV_STR("replace"))) {
            return fail(err, PRV_ERR_VALUE, "There is no member \"%s\".", show(name).text);
        } else if (!json_is_boolean(value)) {
            return fail(err, PRV_ERR_VALUE, "The member \"replace\" must be true or false.");
        }
    }
    if (json_object_get(root, "purposes") == NULL)
        return fail(err, PRV_ERR_VALUE, "The member \"purposes\" is missing.");
    if (json_is_true(json_object_get(root, "replace")))
        out->refuse |= policy->consent & prv_refusable(policy) & ~out->grant;
    return PRV_OK;
}

prv_code prv_input_consent_json(const prv_policy *policy, prv_str body, prv_consent_input *out,
                                prv_error *err)
{
    json_t *root;
    *out = (prv_consent_input){0};
    prv_code code = json_read(body, &root, err);
    if (code != PRV_OK)
        return code;
    code = consent_members(policy, root, out, err);
    json_decref(root);
    return code;
}

/* ------------------------------------------------------------------ dates of birth */

/* 1 to `digits` digits; 0 is no part of a date either. */
static unsigned number(prv_str text, size_t digits)
{
    unsigned n = 0;
    if (text.n == 0 || text.n > digits)
        return 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return 0;
        n = n * 10 + (unsigned)(text.p[i] - '0');
    }
    return n;
}

static prv_code age_field(prv_str name, prv_str value, prv_age_input *out, unsigned *seen,
                          prv_error *err)
{
    static const prv_str names[] = {
        {"token", 5}, {"return", 6}, {"year", 4}, {"month", 5}, {"day", 3}};
    size_t which = 0;
    while (which < 5 && !prv_view_equal(name, names[which]))
        which++;
    if (which == 5)
        return PRV_OK;
    if (*seen & 1u << which)
        return fail(err, PRV_ERR_VALUE, "The field \"%s\" is given twice.", show(name).text);
    *seen |= 1u << which;
    value = prv_view_trim(value);
    switch (which) {
    case 0:
        out->token = value;
        return PRV_OK;
    case 1:
        out->return_path = prv_return_valid(value) ? value : PRV_NONE;
        break;
    case 2:
        out->year = number(value, 4);
        break;
    case 3:
        out->month = number(value, 2);
        break;
    default:
        out->day = number(value, 2);
    }
    return keep(out->fields, 8, &out->n_fields, name, value, err);
}

prv_code prv_input_age_form(const prv_env *env, prv_str body, prv_age_input *out, prv_error *err)
{
    prv_form form;
    prv_str name, value;
    unsigned seen = 0;

    *out = (prv_age_input){0};
    if (!prv_form_begin(&form, env, body))
        return nomem(err);
    while (prv_form_next(&form, &name, &value)) {
        const prv_code code = age_field(name, value, out, &seen, err);
        if (code != PRV_OK)
            return code;
    }
    if (form.malformed)
        return fail(err, PRV_ERR_SYNTAX, "The form is malformed: a %%-escape or a control byte.");
    out->bad_date = out->year == 0 || out->month == 0 || out->day == 0;
    return PRV_OK;
}

static prv_code birth_date(prv_str text, prv_age_input *out, prv_error *err)
{
    if (text.n == 10 && text.p[4] == '-' && text.p[7] == '-') {
        out->year = number((prv_str){text.p, 4}, 4);
        out->month = number((prv_str){text.p + 5, 2}, 2);
        out->day = number((prv_str){text.p + 8, 2}, 2);
    }
    if (out->year == 0 || out->month == 0 || out->day == 0)
        return fail(err, PRV_ERR_VALUE, "The member \"birth_date\" must be a date, YYYY-MM-DD.");
    return PRV_OK;
}

static prv_code age_members(json_t *root, prv_age_input *out, prv_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "birth_date") != 0)
            return fail(err, PRV_ERR_VALUE, "There is no member \"%s\".",
                        show((prv_str){key, strlen(key)}).text);
    }
    value = json_object_get(root, "birth_date");
    if (!json_is_string(value))
        return fail(err, PRV_ERR_VALUE, "The member \"birth_date\" must be a date, YYYY-MM-DD.");
    return birth_date((prv_str){json_string_value(value), json_string_length(value)}, out, err);
}

prv_code prv_input_age_json(prv_str body, prv_age_input *out, prv_error *err)
{
    json_t *root;
    *out = (prv_age_input){0};
    prv_code code = json_read(body, &root, err);
    if (code != PRV_OK)
        return code;
    code = age_members(root, out, err);
    json_decref(root);
    return code;
}
