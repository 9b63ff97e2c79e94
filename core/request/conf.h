/*
 * What the directive parsers share. All of them run while configuration loads; each failure is one
 * sentence that names what was wrong and what is expected.
 */
#ifndef PRV_CONF_H
#define PRV_CONF_H

#include "request.h"
#include "view.h"

/* Fills err (may be NULL) and returns code. */
prv_code prv_conf_fail(prv_error *err, prv_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For "%.*s": at most 80 bytes of a view, so that a long argument leaves room for the sentence. */
#define PRV_CONF_SHOW(s) ((int)((s).n < 80 ? (s).n : 80)), ((s).p != NULL ? (s).p : "")

/* `key=value` to its parts; false: there is no `=`. */
bool prv_conf_option(prv_str arg, prv_str *key, prv_str *value);
/* Decimal digits only, at most `most`. */
bool prv_conf_number(prv_str text, uint64_t most, uint64_t *value);

#endif
