/* JSON policy in, immutable compiled policy out (INTERFACE 2). The sections are in compile_*.c. */
#include "compile.h"

#include <stdio.h>
#include <string.h>

void *prv_compile_alloc(prv_compiler *c, size_t n, size_t size)
{
    void *p = n > SIZE_MAX / size ? NULL : prv_arena_get(c->arena, n * size);
    if (p == NULL) {
        *c->err = (prv_error){.code = PRV_ERR_NOMEM};
        snprintf(c->err->text, sizeof c->err->text, "no memory for the policy");
    }
    return p;
}

bool prv_compile_copy(prv_compiler *c, const char *text, prv_str *out)
{
    size_t n = strlen(text);
    char *p = prv_compile_alloc(c, n + 1, 1);
    if (p == NULL) {
        return false;
    }
    memcpy(p, text, n);
    *out = (prv_str){p, n};
    return true;
}

/* A message about the text before there are values. */
static prv_code text_error(prv_compiler *c, prv_code code, unsigned line, unsigned column,
                           const char *text)
{
    const char *name = c->name;
    if (strlen(name) > 256) {
        name += strlen(name) - 256;
    }
    *c->err = (prv_error){.code = code, .line = line, .column = column};
    snprintf(c->err->text, sizeof c->err->text, "%s:%u:%u: %s", name, line, column, text);
    return code;
}

static prv_code syntax_error(prv_compiler *c, json_error_t *error)
{
    if (error->text[0] == 0 || json_error_code(error) == json_error_out_of_memory) {
        *c->err = (prv_error){.code = PRV_ERR_NOMEM};
        snprintf(c->err->text, sizeof c->err->text, "no memory for the policy");
        return PRV_ERR_NOMEM;
    }
    for (char *p = error->text; *p != 0; p++) {
        *p = (unsigned char)*p < 0x20 || *p == 0x7F ? ' ' : *p;
    }
    if (json_error_code(error) == json_error_null_character) {
        snprintf(error->text, sizeof error->text, "\\u0000 is not allowed");
    }
    return text_error(c, PRV_ERR_SYNTAX, error->line > 0 ? (unsigned)error->line : 1,
                      error->column > 0 ? (unsigned)error->column : 1, error->text);
}

static prv_code parse(prv_compiler *c, json_t **root)
{
    unsigned line, column;
    char text[96];
    json_error_t error;
    size_t deep;
    memset(&error, 0, sizeof error);
    if (c->text.n > PRV_POLICY_FILE_MAX) {
        snprintf(text, sizeof text, "the policy has %zu bytes; expected at most %d", c->text.n,
                 PRV_POLICY_FILE_MAX);
        return text_error(c, PRV_ERR_VALUE, 1, 1, text);
    }
    if (c->text.n >= 3 && memcmp(c->text.p, "\xEF\xBB\xBF", 3) == 0) {
        return text_error(c, PRV_ERR_SYNTAX, 1, 1,
                          "the file begins with a byte order mark; expected {");
    }
    deep = prv_json_too_deep(c->text, PRV_POLICY_DEPTH_MAX);
    if (deep < c->text.n) {
        prv_json_place(c->text, deep, &line, &column);
        snprintf(text, sizeof text, "nested deeper than %d levels", PRV_POLICY_DEPTH_MAX);
        return text_error(c, PRV_ERR_VALUE, line, column, text);
    }
    *root =
        json_loadb(c->text.p != NULL ? c->text.p : "", c->text.n, JSON_REJECT_DUPLICATES, &error);
    return *root != NULL ? PRV_OK : syntax_error(c, &error);
}

/* `managers` and `rights` are of the format, and of a later version of this software. */
static bool check_members(const prv_node *root)
{
    static const char *const known[] = {
        "schema",        "policy", "purposes",  "vendors", "cookies", "unknown_cookies",
        "jurisdictions", "age",    "lifetimes", "strings", NULL};
    static const char *const later[] = {"managers", "rights"};
    prv_node node;
    int schema;
    if (!prv_node_is_object(root)) {
        return false;
    }
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        if (prv_node_get(root, later[i], &node)) {
            return prv_node_fail(&node, PRV_AT_KEY, PRV_ERR_UNSUPPORTED,
                                 "\"%s\" is not supported in this version", later[i]);
        }
    }
    return prv_node_members(root, known) && prv_node_need(root, "schema", &node) &&
           prv_read_int(&node, 1, 1, &schema);
}

/* What Privacy-Consent says of a purpose on a row of INTERFACE 3. */
static bool format_member(prv_compiler *c, prv_purpose *purpose, unsigned row)
{
    char text[PRV_NAME_MAX + 32];
    const prv_str reason = prv_row_reason(row);
    if (prv_row_allows(row)) {
        snprintf(text, sizeof text, ", %s", purpose->name.p);
    } else {
        snprintf(text, sizeof text, ", %s=?0;r=%.*s", purpose->name.p, (int)reason.n, reason.p);
    }
    return prv_compile_copy(c, text, &purpose->member[row]);
}

static bool format_members(prv_compiler *c)
{
    prv_purpose *purposes = (prv_purpose *)c->policy->purposes;
    for (size_t i = 0; i < c->policy->n_purposes; i++) {
        size_t most = 0;
        for (unsigned row = 1; row < PRV_ROWS; row++) {
            if (row == PRV_ROW_BASIS_FIRM) {
                continue; /* not a choice: it is not told */
            }
            if (!format_member(c, &purposes[i], row)) {
                return false;
            }
            most = purposes[i].member[row].n > most ? purposes[i].member[row].n : most;
        }
        c->policy->members_max += most;
    }
    return true;
}

static bool format_link(prv_compiler *c)
{
    char text[2048 + 32];
    if (c->policy->url.n == 0) {
        return true;
    }
    snprintf(text, sizeof text, "<%s>; rel=\"privacy-policy\"", c->policy->url.p);
    return prv_compile_copy(c, text, &c->policy->link);
}

static bool keep_source(prv_compiler *c)
{
    char *text = prv_compile_alloc(c, c->text.n + 1, 1);
    if (text == NULL) {
        return false;
    }
    memcpy(text, c->text.p, c->text.n);
    c->policy->source_text = (prv_str){text, c->text.n};
    c->policy->digest = prv_fnv64(PRV_FNV64_SEED, c->text);
    c->policy->digest += c->policy->digest == 0; /* 0 is the empty policy's */
    return true;
}

static bool keep_warnings(prv_compiler *c)
{
    prv_str *warnings = prv_compile_alloc(c, c->n_warnings, sizeof *warnings);
    if (warnings == NULL) {
        return false;
    }
    for (size_t i = 0; i < c->n_warnings; i++) {
        warnings[i] = c->warnings[i];
    }
    c->policy->warnings = warnings;
    c->policy->n_warnings = c->n_warnings;
    return true;
}

static bool compile(prv_compiler *c, json_t *json)
{
    prv_node root = {c, NULL, NULL, 0, json};
    c->policy = prv_compile_alloc(c, 1, sizeof *c->policy);
    if (c->policy == NULL) {
        return false;
    }
    c->policy->arena = c->arena;
    return check_members(&root) && prv_compile_identity(&root) && prv_compile_purposes(&root) &&
           prv_compile_vendors(&root) && prv_compile_cookies(&root) &&
           prv_compile_jurisdictions(&root) && prv_compile_age(&root) &&
           prv_compile_lifetimes(&root) && prv_compile_strings(&root) && format_members(c) &&
           format_link(c) && keep_source(c) && keep_warnings(c);
}

prv_code prv_policy_compile_with(prv_str text, const char *name, const prv_memory *memory,
                                 prv_policy **out, prv_error *err)
{
    json_t *root = NULL;
    *out = NULL;
    *err = (prv_error){.code = PRV_OK};
    prv_arena *arena = prv_arena_new(memory);
    prv_compiler *c = arena != NULL ? prv_arena_get(arena, sizeof *c) : NULL;
    if (c == NULL) {
        prv_arena_free(arena);
        *err = (prv_error){.code = PRV_ERR_NOMEM};
        snprintf(err->text, sizeof err->text, "no memory for the policy");
        return PRV_ERR_NOMEM;
    }
    c->text = text;
    c->name = name;
    c->err = err;
    c->arena = arena;
    prv_code code = parse(c, &root);
    if (code == PRV_OK) {
        code = compile(c, root) ? PRV_OK : err->code;
    }
    json_decref(root);
    if (code != PRV_OK) {
        prv_arena_free(arena);
        return code;
    }
    *out = c->policy;
    return PRV_OK;
}

prv_code prv_policy_compile(prv_str text, const char *name, prv_policy **out, prv_error *err)
{
    return prv_policy_compile_with(text, name, &prv_memory_default, out, err);
}

void prv_policy_free(prv_policy *policy)
{
    if (policy != NULL) {
        prv_arena_free(policy->arena); /* NULL for the empty policy */
    }
}
