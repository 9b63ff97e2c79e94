/*
 * Words and numbers that header fields, variables and problem bodies share.
 */
#ifndef PRV_HEADERS_H
#define PRV_HEADERS_H

#include "request.h"
#include "view.h"

/* unknown, ok, under. Static. */
prv_str prv_age_word(prv_age_status age);
/* In decimal. */
void prv_out_number(prv_out *out, unsigned value);
/* `uri` as the value of a query parameter: RFC 3986 unreserved characters kept, all others as %XX.
 */
void prv_out_encoded(prv_out *out, prv_str uri);

#endif
