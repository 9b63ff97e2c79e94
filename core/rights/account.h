/* Changes of an account's record: as of any other, and then the pointer to it. */
#ifndef PRV_ACCOUNT_H
#define PRV_ACCOUNT_H

#include "change.h"

typedef struct prv_account_run {
    prv_request *rq;    /* the browser's, with the account known */
    prv_change change;  /* as asked for */
    prv_change_run run; /* of the account's record */
    bool binding;       /* the op under way writes the pointer */
    bool set_cookie;    /* the browser's cookie is another one now */
} prv_account_run;

/*
 * Begins a change of the account that rq knows, with a store. As prv_change_begin(); one round
 * more, which writes the pointer. After DONE and LOCAL rq->state is the new state, and
 * prv_request_own(rq) what the browser's cookie is made of. LOCAL: the account's record has not
 * heard of it; the browser's cookie carries it, and owes it to the account.
 */
prv_change_step prv_account_begin(prv_account_run *run, prv_request *rq, const prv_change *change,
                                  prv_op *op);
prv_change_step prv_account_feed(prv_account_run *run, const prv_reply *reply, prv_op *op);

#endif
