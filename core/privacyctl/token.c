/*
 * privacyctl token: a signed cookie for an operator's own tests, from the fields of a record. It grants nothing that
 * somebody who can read the key file could not grant anyway.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

static bool names(ctl *c, prv_str list, uint32_t *mask)
{
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        prv_str one = {list.p, comma == NULL ? list.n : (size_t)(comma - list.p)};
        int i = prv_policy_purpose(c->policy, one);
        if (i < 0) {
            ctl_fail("the policy has no purpose \"%.*s\"", (int)one.n, one.p);
            return false;
        }
        *mask |= 1u << i;
        list.p += one.n + (comma != NULL);
        list.n -= one.n + (comma != NULL);
    }
    return true;
}

static bool number(prv_str value, uint32_t *out)
{
    char *end;
    unsigned long n = strtoul(value.p, &end, 10);
    *out = (uint32_t)n;
    return value.n > 0 && end == value.p + value.n && n < UINT32_MAX;
}

static bool field(ctl *c, prv_str name, prv_str value, prv_state *state)
{
#define IS(word) (name.n == sizeof(word) - 1 && memcmp(name.p, word, name.n) == 0)
    if (IS("id")) {
        state->id_len = value.n == 0 ? 0 : PRV_ID_LEN;
        return value.n == 0 ||
               (prv_id_valid(value) && memcpy(state->id, value.p, PRV_ID_LEN) != NULL);
    }
    if (IS("granted") || IS("refused")) {
        return names(c, value, IS("granted") ? &state->granted : &state->refused);
    }
    if (IS("seq")) {
        return number(value, &state->seq);
    }
    if (IS("policy")) {
        return (state->version = prv_version_parse(value)) != 0;
    }
    if (IS("at") || IS("expires")) {
        return prv_rfc3339_parse(value, IS("at") ? &state->at : &state->expires);
    }
    if (IS("signals")) {
        state->signals = (uint8_t)((memmem(value.p, value.n, "gpc", 3) ? PRV_SIGNAL_GPC : 0) |
                                   (memmem(value.p, value.n, "dnt", 3) ? PRV_SIGNAL_DNT : 0));
        return true;
    }
    if (IS("age")) {
        return prv_age_parse(value, &state->age);
    }
    if (IS("age_at")) {
        return prv_rfc3339_parse(value, &state->age.at);
    }
    if (IS("stored") || IS("restricted")) {
        *(IS("stored") ? &state->stored : &state->restricted) = value.n == 1 && *value.p == '1';
        return true;
    }
    return false;
#undef IS
}

/* state is finished and printed as NAME=VALUE. */
static int print_token(ctl *c, prv_state *state)
{
    char text[PRV_TOKEN_MAX + 1];
    if (state->expires == 0) {
        state->expires = prv_state_expires(c->policy, state);
    }
    size_t n = prv_token_write(&c->site, state, text);
    if (n == 0) {
        return ctl_fail("%s has no token key that signs", c->keys_path);
    }
    printf("%.*s=%.*s\n", (int)c->site.cookie.name.n, c->site.cookie.name.p, (int)n, text);
    return CTL_OK;
}

static prv_state fresh(const ctl *c)
{
    return (prv_state){
        .present = true, .seq = 1, .at = c->env.now_ms / 1000, .version = c->policy->version};
}

static int bad_field(const char *what)
{
    return ctl_fail("\"%s\" is none of id granted refused seq policy at expires signals age "
                    "age_at stored restricted, or its value is malformed",
                    what);
}

/* One JSON object of fields a line. */
static int batch(ctl *c)
{
    char *line = NULL;
    size_t cap = 0;
    int status = CTL_OK;
    for (ssize_t n; status == CTL_OK && (n = getline(&line, &cap, stdin)) > 0;) {
        json_error_t at;
        json_t *j = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, &at);
        const char *name;
        json_t *v;
        prv_state state = fresh(c);
        if (!json_is_object(j)) {
            status = ctl_fail("standard input: %s", j == NULL ? at.text : "a line is no object");
        }
        json_object_foreach(j, name, v)
        {
            const prv_str value = {json_string_value(v), json_string_length(v)};
            if (status == CTL_OK &&
                (value.p == NULL || !field(c, ctl_str(name), value, &state))) {
                status = bad_field(name);
            }
        }
        status = status == CTL_OK ? print_token(c, &state) : status;
        json_decref(j);
    }
    free(line);
    return status;
}

int ctl_token(ctl *c)
{
    if (!ctl_need_policy(c) || !ctl_need_keys(c)) {
        return CTL_FAILED;
    }
    ctl_site(c, false);
    if (c->batch) {
        return batch(c);
    }
    prv_state state = fresh(c);
    for (size_t i = 0; i < c->words.n; i++) {
        prv_str word = c->words.v[i];
        const char *eq = memchr(word.p, '=', word.n);
        size_t n = eq == NULL ? 0 : (size_t)(eq - word.p);
        if (eq == NULL ||
            !field(c, (prv_str){word.p, n}, (prv_str){eq + 1, word.n - n - 1}, &state)) {
            return bad_field(word.p);
        }
    }
    return print_token(c, &state);
}
