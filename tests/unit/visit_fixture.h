/* What the tests of one request's state share: tokens and records from few words, and what the
 * store says to them. */
#ifndef PRV_VISIT_FIXTURE_H
#define PRV_VISIT_FIXTURE_H

#include "state_fixture.h"

#include <stdio.h>

#define DAY 86400

extern state_fixture visit_fix;
extern const prv_reply visit_absent, visit_unreadable, visit_unavailable;

typedef struct view {
    const char *id; /* NULL: none */
    uint32_t seq;
    const char *granted, *refused;
    bool stored, restricted;
    prv_age age;
} view;

prv_state visit_state(const view *v);
/* `__Host-privacy=<token>`, from the fixture's memory. */
prv_str visit_cookie(const view *v);
/* `form` with two `%.*s`. */
prv_str visit_format(const char *form, prv_str a, prv_str b);
prv_request visit_request(const prv_str *cookies, size_t n);
prv_step visit_begin(prv_request *rq);
/* A request with this one Cookie field, begun. */
prv_request visit_begun(prv_str cookie);
/* The reply that a record of `v` gives. */
prv_reply visit_reply(const view *v, prv_str *pairs);
/* A token, and what the store says to it; NULL: no record. */
prv_request visit_met(const view *token, const view *record);
void visit_expect(const prv_request *rq, const char *granted, const char *refused);

int visit_setup(void **state);
int visit_setup_store(void **state);

#endif
