/*
 * A visitor's (or an operator's) change of the record, as pure steps: the same for the endpoints
 * and for privacyctl.
 */
#ifndef PRV_CHANGE_H
#define PRV_CHANGE_H

#include "../request/request.h"

typedef struct prv_change {
    uint32_t grant;
    uint32_t refuse;
    bool refuse_other; /* also what only another policy version names: a whole withdrawal */
    bool set_age;
    prv_age age;     /* the new bounds, whole */
    int restricted;  /* -1: leave, 0 lift, 1 set */
    uint8_t signals; /* at the choice */
    prv_region region;
    prv_str method; /* form api ops signal */
} prv_change;

typedef enum prv_change_step {
    PRV_CHANGE_WRITE,      /* carry out *op (a read first, then the write), feed the reply */
    PRV_CHANGE_DONE,       /* rq->state is the new state; token only, or stored */
    PRV_CHANGE_LOCAL,      /* it lowers, and the store is down: holds by the cookie, "stored": false
                              (202) */
    PRV_CHANGE_UNAVAILABLE /* it grants, and the store is down: nothing changed (503) */
} prv_change_step;

typedef struct prv_change_run {
    prv_change change;
    prv_request *rq;
    prv_state next;
    size_t name_len;
    char name[PRV_CHANGE_LEN]; /* the change's own */
    unsigned tries;
    bool partly; /* LOCAL: what would have raised was left out */
    /* private to change.c */
    bool reading; /* the op under way is the read */
    bool probing;           /* the op under way only asks whether the store is there */
    bool has_record_id;
    char record_id[PRV_ID_LEN];
    uint32_t stamp;     /* of the cache, from before the write was sent */
    uint32_t attempted; /* seq of a write whose outcome may be unknown */
    bool has_record;    /* read and readable; then these are its age and restriction as stored */
    bool record_restricted;
    prv_age record_age;
    prv_record_kept kept;
    char seen[PRV_SEEN_LEN]; /* of the record that was read last */
    bool has_seen;
} prv_change_run;

/*
 * Begins a change of rq's visitor. rq is READY. WRITE is answered at most four times (a read, three
 * writes). Without a store, and for a visitor who has no id and gets none by this change, nothing
 * is asked of the store. After DONE and LOCAL rq->state and rq->token are the new state and the
 * caller sets the cookie made of it.
 */
prv_change_step prv_change_begin(prv_change_run *run, prv_request *rq, const prv_change *change,
                                 prv_op *op);
prv_change_step prv_change_feed(prv_change_run *run, const prv_reply *reply, prv_op *op);
/*
 * The write alone, over the record as this request has read it: for changes that nobody waits for, and that are made
 * again by a later request where it was a conflict. rq->state becomes the new state. false: no memory, key or randomness.
 */
bool prv_change_over(prv_change_run *run, prv_request *rq, const prv_change *change, prv_op *op);

#endif
