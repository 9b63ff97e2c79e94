/*
 * Small helpers on string views and bounded output, for the files of this folder. Nothing here
 * allocates but prv_out_open().
 */
#ifndef PRV_VIEW_H
#define PRV_VIEW_H

#include <string.h>

#include "../privacy.h"

static inline bool prv_view_equal(prv_str a, prv_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII only: header and attribute names have no other letters. */
static inline char prv_view_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static inline bool prv_view_iequal(prv_str a, prv_str b)
{
    if (a.n != b.n) {
        return false;
    }
    for (size_t i = 0; i < a.n; i++) {
        if (prv_view_lower(a.p[i]) != prv_view_lower(b.p[i])) {
            return false;
        }
    }
    return true;
}

static inline prv_str prv_view_from(prv_str s, size_t from)
{
    return (prv_str){s.p + from, s.n - from};
}

static inline bool prv_view_istarts(prv_str s, prv_str prefix)
{
    return s.n >= prefix.n && prv_view_iequal((prv_str){s.p, prefix.n}, prefix);
}

static inline bool prv_view_starts(prv_str s, prv_str prefix)
{
    return s.n >= prefix.n && prv_view_equal((prv_str){s.p, prefix.n}, prefix);
}

/* Without SP and HTAB at both ends. */
static inline prv_str prv_view_trim(prv_str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

/* Index of the first `c`, or s.n. */
static inline size_t prv_view_find(prv_str s, char c)
{
    const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;

    return at == NULL ? s.n : (size_t)(at - s.p);
}

/* Takes what stands before the next `sep` off *rest; false when nothing is left. */
static inline bool prv_view_split(prv_str *rest, char sep, prv_str *piece)
{
    if (rest->n == 0) {
        return false;
    }
    size_t end = prv_view_find(*rest, sep);
    *piece = (prv_str){rest->p, end};
    *rest = end < rest->n ? prv_view_from(*rest, end + 1) : (prv_str){rest->p + end, 0};
    return true;
}

/* HTAB is white space in fields, every other control byte voids a cookie. */
static inline bool prv_char_control(char c)
{
    unsigned char u = (unsigned char)c;

    return (u < 0x20 && u != '\t') || u == 0x7f;
}

/* Sixteen bytes that one instruction compares, where there is one (GCC and Clang). */
typedef unsigned char prv_block __attribute__((vector_size(16)));

static inline prv_block prv_block_controls(const char *p)
{
    prv_block b;

    memcpy(&b, p, sizeof(b));
    return (prv_block)(((b < 0x20) & (b != '\t')) | (b == 0x7f));
}

static inline bool prv_view_has_control(prv_str s)
{
    const size_t n = sizeof(prv_block);
    prv_block found = {0};
    uint64_t any[2];

    if (s.n < n) {
        for (size_t i = 0; i < s.n; i++) {
            if (prv_char_control(s.p[i])) {
                return true;
            }
        }
        return false;
    }
    for (size_t i = 0; i < s.n - n; i += n) {
        found |= prv_block_controls(s.p + i);
    }
    found |= prv_block_controls(s.p + s.n - n); /* overlaps the one before */
    memcpy(any, &found, sizeof(any));
    return (any[0] | any[1]) != 0;
}

static inline bool prv_char_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* RFC 9110 5.6.2 */
static inline bool prv_char_token(char c)
{
    return prv_char_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* RFC 3986 2.3 */
static inline bool prv_char_unreserved(char c)
{
    return prv_char_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* -1: no hex digit. */
static inline int prv_char_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = prv_view_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that stands at s.p[*i], %-decoded once; *i moves behind it. A `%` that starts no escape
 * is itself. */
static inline unsigned char prv_view_decode(prv_str s, size_t *i)
{
    char c = s.p[*i];

    if (c == '%' && s.n - *i >= 3) {
        int high = prv_char_hex(s.p[*i + 1]);
        int low = prv_char_hex(s.p[*i + 2]);
        if (high >= 0 && low >= 0) {
            *i += 3;
            return (unsigned char)(high * 16 + low);
        }
    }
    *i += 1;
    return (unsigned char)c;
}

/* Output of bounded length. With p == NULL it only counts, so that one function measures and
 * writes. */
typedef struct prv_out {
    char *p;
    size_t n;
    size_t cap;
} prv_out;

/* Reserves `cap` bytes from env; false: no memory. */
static inline bool prv_out_open(prv_out *out, const prv_env *env, size_t cap)
{
    out->p = env->alloc(env->ctx, cap > 0 ? cap : 1);
    out->n = 0;
    out->cap = cap;
    return out->p != NULL;
}

static inline void prv_out_put(prv_out *out, prv_str s)
{
    if (out->p != NULL && s.n > 0) {
        size_t room = out->cap - out->n;
        size_t n = s.n < room ? s.n : room;
        memcpy(out->p + out->n, s.p, n);
        out->n += n;
        return;
    }
    out->n += s.n;
}

static inline void prv_out_char(prv_out *out, char c)
{
    prv_out_put(out, (prv_str){&c, 1});
}

static inline prv_str prv_out_view(const prv_out *out)
{
    return (prv_str){out->p, out->n};
}

#endif
