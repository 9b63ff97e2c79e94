/*
 * A visitor, a site and a store in memory, for the tests of core/rights and core/content: whole
 * calls as a binding makes them, with a store that can be down, lose its answer, or be changed by
 * somebody else between read and write.
 */
#ifndef PRV_RIGHTS_FIXTURE_H
#define PRV_RIGHTS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "content/content.h"
#include "rights/endpoint.h"

#define RIG_NOW_MS 1795446123456 /* 2026-11-23T15:02:03Z */
#define RIG_FIELDS 32

typedef struct rig {
    prv_policy *policy;
    prv_keyring *keys;
    prv_site site;
    prv_env env;
    prv_rules rules;
    void *zone_memory;
    prv_request rq;
    prv_http http; /* what the next call sends besides method, path and body */
    prv_response response;
    uint8_t signals;
    char jar[512];   /* our cookie, `name=value`; empty: none */
    char other[256]; /* other cookies that the visitor sends */

    /* the store */
    bool down;      /* nothing is answered */
    bool deaf;      /* writes happen, their answers are lost */
    unsigned rival; /* this many writes are preceded by somebody else's */
    unsigned reads, writes;
    bool wrong_type;
    size_t n_fields;
    char *names[RIG_FIELDS], *values[RIG_FIELDS];
    char key[160];
    int64_t expire_at;

    unsigned allocs, fail_at; /* fail_at 0: never; n: the n-th allocation fails, and all after it */
    void *blocks[4096];
    size_t n_blocks;
} rig;

#define RIG_POLICY rig_policy
extern const char rig_policy[];

void rig_open(rig *r, const char *policy, bool store);
void rig_close(rig *r);
/* One call; the answer's own cookie goes into the jar. The response lives until the next call. */
int rig_call(rig *r, const char *method, const char *path, const char *type, const char *body);
int rig_get(rig *r, const char *path);
int rig_json(rig *r, const char *path, const char *body);
int rig_form(rig *r, const char *path, const char *body);
prv_str rig_header(const rig *r, const char *name); /* the first, or PRV_NONE */
size_t rig_count(const rig *r, const char *name);
/* The body as a C string of the response's memory. */
const char *rig_body(rig *r);
bool rig_has(rig *r, const char *text);
const char *rig_field(const rig *r, const char *name); /* of the stored record, or NULL */
void rig_set(rig *r, const char *name, const char *value);
void rig_delete_record(rig *r);
prv_str rig_str(const char *text);
void rig_assert_has(rig *r, const char *text);
void rig_assert_lacks(rig *r, const char *text);

#endif
