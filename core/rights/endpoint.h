/* What the files of the endpoints share. */
#ifndef PRV_ENDPOINT_H
#define PRV_ENDPOINT_H

#include "../content/content.h"
#include "account.h"
#include "form.h"

struct prv_endpoint {
    prv_request *rq;
    prv_rules rules; /* the location's, without gates: `age` speaks of the policy's minimum */
    prv_http http;
    prv_decision d; /* before a change, then after it */
    prv_str base;   /* where the endpoints are mounted, with the trailing slash */
    prv_str name;   /* the path below base */
    bool form;      /* the answer to a change is a redirect */
    bool age;       /* the change under way is an answer to the age page */
    prv_str return_path;
    prv_change_run run;
    prv_account_run account; /* instead of `run`, with an account and a store */
};

/* ---- respond.c. Each fills *response; without memory it becomes a static 503. */
void prv_respond_header(prv_response *response, prv_str name, prv_str value);
void prv_respond_problem(const prv_env *env, prv_response *response, int status, prv_str detail);
/* An answer that no cache keeps. A body of PRV_NONE means that there was no memory for it. */
void prv_respond_body(prv_response *response, int status, prv_str type, prv_str body);
void prv_respond_page(prv_response *response, int status, prv_str html);
void prv_respond_asset(prv_response *response, prv_str type, prv_str cache, prv_str body);
void prv_respond_redirect(const prv_env *env, prv_response *response, prv_str path);
void prv_respond_retry(const prv_env *env, prv_response *response, int status, uint32_t seconds,
                       prv_str detail);

/* ---- document.c: JSON from env.alloc; PRV_NONE: no memory */
/* GET consent. local: the store did not take it; partly: nor what was granted. */
prv_str prv_document_consent(const prv_endpoint *ep, bool local, bool partly);
prv_str prv_document_age(const prv_endpoint *ep, bool local);
prv_str prv_document_policy(const prv_endpoint *ep);

/* ---- origin.c */
typedef enum prv_origin { PRV_ORIGIN_OWN, PRV_ORIGIN_FOREIGN, PRV_ORIGIN_UNKNOWN } prv_origin;
/* Where a state-changing call comes from, by Sec-Fetch-Site, else Origin. UNKNOWN: neither field is
 * there. */
prv_origin prv_origin_check(const prv_site *site, const prv_http *http);
/* A form token: `<kid>.<expiry>.<mac>`, good for ten minutes, for this network and this visitor.
 * PRV_NONE: no key or memory. */
prv_str prv_form_token_make(const prv_request *rq, prv_str addr);
bool prv_form_token_valid(const prv_request *rq, prv_str addr, prv_str token);

/* ---- consent.c: the state-changing calls, once the method is known to be allowed. */
prv_ep_step prv_consent_call(prv_endpoint *ep, prv_op *op, prv_response *response);
prv_ep_step prv_age_call(prv_endpoint *ep, prv_op *op, prv_response *response);
prv_ep_step prv_change_answer(prv_endpoint *ep, prv_change_step step, prv_response *response);
/* A page's view of this endpoint. */
prv_page prv_endpoint_page(const prv_endpoint *ep);
void prv_endpoint_decide(prv_endpoint *ep);

#endif
