/* privacyctl doctor: what its files share. */
#ifndef PRV_DOCTOR_H
#define PRV_DOCTOR_H

#include "../redis/ask.h"
#include "ctl.h"

typedef enum doctor_level {
    DOCTOR_OK,
    DOCTOR_WRONG,  /* exit status 1 */
    DOCTOR_UNSEEN  /* this user may not see it */
} doctor_level;

typedef struct doctor {
    ctl *c;
    void *list; /* json_t *: findings, with --json */
    size_t primary; /* of a cluster: the one that is looked at */
    size_t wrong, unseen;
} doctor;

/* One finding: what is so; and if wrong, why it matters here and what mends it (both may be NULL otherwise). */
void doctor_say(doctor *d, doctor_level level, const char *check, const char *why, const char *mend,
                const char *what, ...) __attribute__((format(printf, 6, 7)));
/* Asks; NULL when the connection is gone. */
const prv_answer *doctor_ask(doctor *d, const char *const *words, size_t n);
#define DOCTOR_ASK(d, ...)                                                                         \
    doctor_ask((d), (const char *const[]){__VA_ARGS__},                                            \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
/* Why there is no answer to use, for an UNSEEN. */
const char *doctor_reason(const doctor *d, const prv_answer *answer);

/* doctor_acl.c: may the node's user do what a node does? */
void doctor_permissions(doctor *d);
/* doctor_records.c: how a sample of the records is kept, and whether the keys vouch for them. */
void doctor_records(doctor *d);

#endif
