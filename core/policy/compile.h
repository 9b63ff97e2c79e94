/*
 * Private to this folder (and its unit test): the arena, the walk over parsed JSON that knows where
 * it is, and the sections of the compiler.
 */
#ifndef PRV_COMPILE_H
#define PRV_COMPILE_H

#include "policy.h"

#include <jansson.h>

#define PRV_POLICY_FILE_MAX 1048576 /* bytes; the sample has ten thousand */
#define PRV_POLICY_DEPTH_MAX 32     /* the format itself needs six */
#define PRV_NAME_MAX 64             /* policy ids, purposes, vendors, jurisdictions */
#define PRV_COOKIE_NAME_MAX 128     /* of a rule; bounds the work of one lookup */
#define PRV_TEXT_MAX 4096           /* bytes of one text that is shown */
#define PRV_LANGS_MAX 200           /* languages of one text */
#define PRV_VENDORS_MAX 1024
#define PRV_JURISDICTIONS_MAX 255 /* prv_decision.jurisdiction is one byte */
#define PRV_REGIONS_MAX 1024      /* of one list; four times as many in all jurisdictions */
#define PRV_WARNINGS_MAX 256      /* six for each purpose, and the lifetimes */

/* ---- arena.c: memory that is freed as a whole */
typedef struct prv_memory {
    void *ctx;
    void *(*get)(void *ctx, size_t n);
    void (*put)(void *ctx, void *p);
    size_t chunk; /* bytes asked for at a time; 0: each allocation alone, for the test that fails
                     each in turn */
} prv_memory;

typedef struct prv_arena prv_arena;
extern const prv_memory prv_memory_default;
prv_arena *prv_arena_new(const prv_memory *memory);
void prv_arena_free(prv_arena *arena);
/* Zeroed, aligned for any type; NULL: no memory. n may be 0. */
void *prv_arena_get(prv_arena *arena, size_t n);

/* ---- the compiler */
typedef struct prv_compiler {
    prv_str text;
    const char *name;
    prv_error *err;
    prv_arena *arena;
    prv_policy *policy;
    size_t n_warnings;
    prv_str warnings[PRV_WARNINGS_MAX];
} prv_compiler;

/* prv_policy_compile() over another allocator. */
prv_code prv_policy_compile_with(prv_str text, const char *name, const prv_memory *memory,
                                 prv_policy **out, prv_error *err);

/* n * size zeroed bytes for the policy; NULL: the error says PRV_ERR_NOMEM. */
void *prv_compile_alloc(prv_compiler *c, size_t n, size_t size);
/* A copy with a NUL behind it. */
bool prv_compile_copy(prv_compiler *c, const char *text, prv_str *out);

/* ---- node.c: a value and the way to it. Functions that return bool have set the error when they
 * return false. */
typedef struct prv_node {
    prv_compiler *c;
    const struct prv_node *up; /* NULL: the root */
    const char *key;           /* NULL: an array item, or the root */
    size_t index;
    json_t *value;
} prv_node;

typedef enum prv_part { PRV_AT_VALUE, PRV_AT_KEY } prv_part;

prv_node prv_node_item(const prv_node *array, size_t index);
prv_node prv_node_of(const prv_node *object, const char *key, json_t *value);
/* false: there is no such member (no error is set). */
bool prv_node_get(const prv_node *object, const char *key, prv_node *out);
/* `x-…` and `//`: members of nobody's business. */
bool prv_node_ignored(const char *key);

/* Always false. The sentence is preceded by file:line:column. */
bool prv_node_fail(const prv_node *node, prv_part part, prv_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool prv_node_warn(const prv_node *node, prv_part part, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define PRV_QUOTED 100
/* `text` in double quotes, shortened and without control bytes. */
const char *prv_quoted(const char *text, char out[PRV_QUOTED]);
#define PRV_PATH 200
/* `purposes.statistics.basis` or `cookies.statistics[3]`. */
const char *prv_node_path(const prv_node *node, char out[PRV_PATH]);

/* `is`, else the error says which type the value has and what was expected. */
bool prv_node_is(const prv_node *node, bool is, const char *expected);
bool prv_node_is_object(const prv_node *node);
bool prv_node_is_array(const prv_node *node);
/* An object whose members are all in `known` (ends with NULL) or ignored. */
bool prv_node_members(const prv_node *node, const char *const *known);
/* The member must be there. */
bool prv_node_need(const prv_node *object, const char *key, prv_node *out);
/* Members that are not ignored. */
size_t prv_node_count(const prv_node *object);

/* ---- read.c: values of each kind */
typedef struct prv_word {
    const char *word;
    int value;
} prv_word;

bool prv_read_bool(const prv_node *node, bool *out);
bool prv_read_int(const prv_node *node, int low, int high, int *out);
bool prv_read_word(const prv_node *node, const prv_word *words, int *out); /* ends with NULL */
bool prv_read_string(const prv_node *node, const char **out); /* the JSON string itself */
bool prv_read_text(const prv_node *node, prv_str *out);       /* shown to people */
bool prv_read_texts(const prv_node *node, prv_texts *out);
bool prv_read_version(const prv_node *node, prv_str *text, uint32_t *out);
bool prv_read_since(const prv_node *object, uint32_t *out); /* member `since`, else the policy's */
bool prv_read_date(const prv_node *node, prv_str *out);
bool prv_read_duration(const prv_node *node, int64_t low, int64_t high, const char *range,
                       int64_t *out);
bool prv_read_url(const prv_node *node, bool relative, prv_str *out);
bool prv_read_region(const prv_node *node, prv_part part, const char *text, prv_region *out);
bool prv_read_regions(const prv_node *node, const prv_region **out, size_t *n);
bool prv_read_hosts(const prv_node *node, const prv_str **out, size_t *n);
/* The name that is this member's key: a-z and digits, then also those of `more`; a purpose begins
 * with a letter. */
bool prv_read_name(const prv_node *node, const char *what, const char *more, prv_str *out);
/* The language tag that is this member's key, in lower case. */
bool prv_read_lang(const prv_node *node, prv_str *out);

/* `; did you mean "X"?` or an empty string: the nearest of n names. */
typedef struct prv_hint {
    char text[PRV_NAME_MAX + 24];
} prv_hint;
void prv_hint_init(prv_hint *hint);
/* Offers one more name; the first of the nearest stays. */
void prv_hint_offer(prv_hint *hint, unsigned *best, const char *wanted, prv_str name);

/* ---- json_pos.c */
/* Offset of the node's value or key in a text that jansson has accepted. */
size_t prv_json_find(prv_str text, const prv_node *node, prv_part part);
/* Line and column (characters, from 1) of an offset. */
void prv_json_place(prv_str text, size_t offset, unsigned *line, unsigned *column);
/* The offset at which brackets nest deeper than `depth`, or text.n. */
size_t prv_json_too_deep(prv_str text, unsigned depth);

/* ---- the sections: compile_*.c, in the order they run */
bool prv_compile_identity(const prv_node *root);
bool prv_compile_purposes(const prv_node *root);
bool prv_compile_vendors(const prv_node *root);
bool prv_compile_cookies(const prv_node *root);
bool prv_compile_jurisdictions(const prv_node *root);
bool prv_compile_age(const prv_node *root);
bool prv_compile_lifetimes(const prv_node *root);
bool prv_compile_strings(const prv_node *root);

/* What INTERFACE 2 shows, in seconds */
#define PRV_DAY INT64_C(86400)
#define PRV_LIFETIMES_DEFAULT                                                                      \
    {                                                                                              \
        .choice = 182 * PRV_DAY, .refusal = 395 * PRV_DAY, .maximum = PRV_LIFETIME_CAP,            \
        .history = 1825 * PRV_DAY, .age = 182 * PRV_DAY, .requests = 365 * PRV_DAY                 \
    }
#define PRV_TEN_YEARS (3650 * PRV_DAY)
#define PRV_LIFETIME_CAP (395 * PRV_DAY) /* ask again after at most 13 months */

/* ---- cookies.c: the index from name to rule */
typedef struct prv_cookie_index prv_cookie_index;
/* Room for n rules; NULL: the error is set. */
prv_cookie_index *prv_cookie_index_new(prv_compiler *c, size_t n);
/* Adds rules[at]; the index of the rule that has the same pattern, else -1. */
long prv_cookie_index_add(prv_cookie_index *index, const prv_cookie_rule *rules, size_t at);

/* FNV-1a 64 */
bool prv_str_is(prv_str a, const char *b);
bool prv_str_same(prv_str a, prv_str b);

#endif
