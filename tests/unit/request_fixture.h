/*
 * What the tests of core/request share: a policy, a decision by purpose names, memory that can
 * fail, and a reader of tests/vectors/ files.
 */
#ifndef PRV_REQUEST_FIXTURE_H
#define PRV_REQUEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "request/request.h"

#define FIX_NOW_MS 1795446000000 /* 2026-11-23T15:00:00Z */

typedef struct fixture {
    prv_policy *compiled;
    prv_policy policy; /* a copy whose unknown_cookies a test may change */
    prv_site site;
    prv_env env;
    prv_request rq;
    prv_rules rules;
    prv_decision d;
    unsigned allocs;  /* made since fix_reset() */
    unsigned fail_at; /* 0: never; n: the n-th fails, and all after it */
    void *blocks[256];
} fixture;

prv_str fix_str(const char *text);
void fix_open(fixture *f);
void fix_close(fixture *f);
/* Frees what was allocated, everything denied but row 2, rules on, no cookies, not joined. */
void fix_reset(fixture *f);
/* Space-separated purpose names that the decision allows; rows 2 and 11 for them, 15 for all
 * others. */
void fix_allow(fixture *f, const char *names);
void fix_region(fixture *f, const char *region);
void fix_assert_str(prv_str got, const char *want, const char *what);

/* A vector file: cases are blocks of `key: value` lines, apart by empty lines; `#` begins a comment
 * line. In values \t, \\ and \xHH are escapes; the value runs from behind one space to the end of
 * the line. */
#define VEC_LINES 24
typedef struct vec_case {
    const char *file;
    unsigned line;
    size_t n;
    char *key[VEC_LINES];
    prv_str value[VEC_LINES];
} vec_case;
/* The i-th value of key, or p == NULL. */
prv_str vec_get(const vec_case *c, const char *key, size_t i);
bool vec_is(const vec_case *c, const char *key, const char *value);
/* A key that no test reads is a typo: fails the test. */
void vec_only(const vec_case *c, const char *const *keys, size_t n);
/* Calls run for each case of each *.txt file of tests/vectors/<area>; fails if there is none. */
void vec_each(const char *area, void (*run)(const vec_case *c, void *arg), void *arg);

#endif
