/* What visitors send: forms and JSON bodies, read into one shape. */
#ifndef PRV_FORM_H
#define PRV_FORM_H

#include "change.h"

/* ---- form.c: application/x-www-form-urlencoded, decoded piece by piece into memory of the
 * caller's. */
typedef struct prv_form {
    prv_str rest;
    char *out;      /* where the next decoded piece goes; as long as rest */
    bool malformed; /* a %-escape that is none, or a control byte: the iteration ended there */
} prv_form;

/* false: no memory. */
bool prv_form_begin(prv_form *form, const prv_env *env, prv_str body);
/* false at the end. */
bool prv_form_next(prv_form *form, prv_str *name, prv_str *value);
/* The value of the first field of that name; PRV_NONE: none, or no memory. For queries. */
prv_str prv_form_find(const prv_env *env, prv_str text, prv_str name);

/* ---- input.c: one body as a change of consent, or as a date of birth. */
typedef struct prv_consent_input {
    uint32_t grant;
    uint32_t refuse;
    bool everything;     /* refuse and DELETE: also what only another policy version names */
    prv_str return_path; /* validated, or empty */
    prv_str token;
    size_t n_fields; /* known fields as sent, to be shown again; the token is not among them */
    prv_field fields[128];
} prv_consent_input;

typedef struct prv_age_input {
    unsigned year, month, day;
    bool bad_date; /* no date, or not of the calendar: forms show the question again */
    prv_str return_path;
    prv_str token;
    size_t n_fields;
    prv_field fields[8];
} prv_age_input;

/*
 * Each returns PRV_OK, PRV_ERR_SYNTAX or PRV_ERR_VALUE (err.text is a sentence that names the
 * member) or PRV_ERR_NOMEM. `refused`: what the visitor refuses now; a legitimate interest that was
 * asked and not objected to is lifted only from there.
 */
prv_code prv_input_consent_form(const prv_env *env, const prv_policy *policy, prv_str body,
                                uint32_t refused, prv_consent_input *out, prv_error *err);
prv_code prv_input_consent_json(const prv_policy *policy, prv_str body, prv_consent_input *out,
                                prv_error *err);
prv_code prv_input_age_form(const prv_env *env, prv_str body, prv_age_input *out, prv_error *err);
prv_code prv_input_age_json(prv_str body, prv_age_input *out, prv_error *err);

/* ---- age.c */
/* Completed years on the day of `now` (UTC), -1: no date of the calendar, in the future, or before
 * 1900. Somebody born on 29 February grows a year older on 1 March in years without that day: the
 * later of the two readings. */
int prv_age_years(unsigned year, unsigned month, unsigned day, int64_t now);
/* The bounds that `years` gives among the thresholds of the policy and of the site's locations,
 * merged with what is known. false: the answer contradicts `known`. */
bool prv_age_answer(const prv_site *site, unsigned years, const prv_age *known, int64_t now,
                    prv_age *out);

#endif
