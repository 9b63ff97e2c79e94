/* A population: visitor i has always the same id, choice, record and cookie, so that programs that
 * never met agree on them. */
#ifndef PRV_VISITORS_H
#define PRV_VISITORS_H

#include "redis/script.h"
#include "request/request.h"
#include "state/zone.h"

#define PEOPLE_ARGS "POLICY KEYS TIME"
#define PEOPLE_N_ARGS 3

typedef struct people {
    prv_policy *policy;
    prv_keyring *keys;
    prv_site site;
    prv_env env;
    int64_t began; /* all choices were made in the ninety days before */
    bool live;     /* the zone is a running server's, so its link is heard as time goes */
    size_t used;   /* of memory, for one visitor at a time */
    char memory[65536];
} people;

/* argv: PEOPLE_ARGS. Ends the program with a sentence where something is wrong. */
void people_open(people *p, char **argv);
void people_close(people *p);

/* A grant as POST consent makes it: most accept all, a quarter choose, the others grant one
 * purpose. */
prv_state visitor_state(const people *p, uint64_t i);
prv_cache_key visitor_key(uint64_t i);
/* Of all entries of this policy and these keys. */
uint32_t visitor_tag(const people *p);
/* The write of visitor i's record, in people's memory until the next call. */
const prv_op *visitor_change(people *p, uint64_t i);
/* What a read of the record gives after that write. */
prv_reply visitor_reply(const prv_op *op);
/* `__Host-privacy=…`; the length. */
size_t visitor_cookie(const people *p, uint64_t i, char out[PRV_TOKEN_MAX + 32]);

/* A zone in which n visitors take half of the room. */
size_t zone_bytes_for(uint64_t n);
/* Fills it: n visitors, of which `sampled` as their first request does, with the fingerprint of their cookie. These are drawn
 * over all of them, in random order, into sample; how many of them have not been pushed out again by others. */
size_t zone_fill(people *p, prv_zone *zone, uint64_t n, uint32_t *sample, size_t sampled);

/* A request that carries only this cookie. True: nothing has to be read for it. */
bool visit(const people *p, prv_zone *zone, const prv_str *cookie, prv_request *rq, prv_op *op);

int64_t clock_ns(void);     /* monotonic */
int64_t processor_ns(void); /* of this thread */
__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *form, ...);

#endif
