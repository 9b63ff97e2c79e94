/* A JSON value together with the way to it: so that every message can say where. */
#include "compile.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

prv_node prv_node_item(const prv_node *array, size_t index)
{
    return (prv_node){array->c, array, NULL, index, json_array_get(array->value, index)};
}

prv_node prv_node_of(const prv_node *object, const char *key, json_t *value)
{
    return (prv_node){object->c, object, key, 0, value};
}

bool prv_node_get(const prv_node *object, const char *key, prv_node *out)
{
    *out = prv_node_of(object, key, json_object_get(object->value, key));
    return out->value != NULL;
}

bool prv_node_ignored(const char *key)
{
    return strncmp(key, "x-", 2) == 0 || strcmp(key, "//") == 0;
}

/* ---- messages */

const char *prv_quoted(const char *text, char out[PRV_QUOTED])
{
    size_t n = 0;
    out[n++] = '"';
    for (const char *p = text; *p != 0; p++) {
        if (n > PRV_QUOTED - 12 && ((unsigned char)*p & 0xC0) != 0x80) {
            memcpy(out + n, "...", 3);
            n += 3;
            break;
        }
        bool c1 = (unsigned char)p[0] == 0xC2 && (unsigned char)p[1] < 0xA0;
        if (*p == '"') {
            out[n++] = '\\';
        }
        out[n++] = (unsigned char)*p < 0x20 || *p == 0x7F || c1 ? '?' : *p;
        p += c1;
    }
    out[n++] = '"';
    out[n] = 0;
    return out;
}

static size_t path_write(const prv_node *node, char *out, size_t cap)
{
    if (node->up == NULL) {
        return 0;
    }
    size_t n = path_write(node->up, out, cap);
    char name[PRV_QUOTED];
    int wrote;
    if (node->key == NULL) {
        wrote = snprintf(out + n, cap - n, "[%zu]", node->index);
    } else {
        prv_quoted(node->key, name);
        size_t len = strlen(name);
        name[len - 1] = 0; /* without the quotes */
        wrote = snprintf(out + n, cap - n, "%s%s", n > 0 ? "." : "", name + 1);
    }
    return wrote < 0 || (size_t)wrote >= cap - n ? cap - 1 : n + (size_t)wrote;
}

const char *prv_node_path(const prv_node *node, char out[PRV_PATH])
{
    out[0] = 0;
    path_write(node, out, PRV_PATH);
    return out[0] != 0 ? out : "the policy file";
}

/* `file:line:column: ` and the sentence; a long file name keeps its end. */
static void sentence(const prv_node *node, prv_part part, unsigned place[2], char *out, size_t cap,
                     const char *format, va_list args) __attribute__((format(printf, 6, 0)));
static void sentence(const prv_node *node, prv_part part, unsigned place[2], char *out, size_t cap,
                     const char *format, va_list args)
{
    const prv_compiler *c = node->c;
    const char *name = c->name;
    if (strlen(name) > 256) {
        name += strlen(name) - 256;
    }
    prv_json_place(c->text, prv_json_find(c->text, node, part), &place[0], &place[1]);
    int n = snprintf(out, cap, "%s:%u:%u: ", name, place[0], place[1]);
    if (n > 0 && (size_t)n < cap) {
        vsnprintf(out + n, cap - (size_t)n, format, args);
    }
}

bool prv_node_fail(const prv_node *node, prv_part part, prv_code code, const char *format, ...)
{
    prv_error *err = node->c->err;
    unsigned place[2];
    va_list args;
    va_start(args, format);
    sentence(node, part, place, err->text, sizeof err->text, format, args);
    va_end(args);
    err->code = code;
    err->line = place[0];
    err->column = place[1];
    return false;
}

bool prv_node_warn(const prv_node *node, prv_part part, const char *format, ...)
{
    prv_compiler *c = node->c;
    char text[sizeof c->err->text];
    unsigned place[2];
    va_list args;
    va_start(args, format);
    sentence(node, part, place, text, sizeof text, format, args);
    va_end(args);
    if (c->n_warnings == PRV_WARNINGS_MAX) {
        return true;
    }
    return prv_compile_copy(c, text, &c->warnings[c->n_warnings++]);
}

/* ---- hints */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edit distance with swaps of neighbours counted once; both are at most PRV_NAME_MAX long. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
    unsigned rows[3][PRV_NAME_MAX + 1];
    for (unsigned j = 0; j <= m; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        unsigned *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned differs = a[i - 1] != b[j - 1];
            row[j] = min3(up[j] + 1, row[j - 1] + 1, up[j - 1] + differs);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                up2[j - 2] + 1 < row[j]) {
                row[j] = up2[j - 2] + 1;
            }
        }
    }
    return rows[n % 3][m];
}

void prv_hint_init(prv_hint *hint)
{
    hint->text[0] = 0;
}

void prv_hint_offer(prv_hint *hint, unsigned *best, const char *wanted, prv_str name)
{
    size_t n = strlen(wanted);
    if (n > PRV_NAME_MAX || name.n > PRV_NAME_MAX) {
        return;
    }
    unsigned d = distance(wanted, n, name.p, name.n);
    if (d <= 1 + name.n / 4 && d < *best && d < name.n) {
        *best = d;
        snprintf(hint->text, sizeof hint->text, "; did you mean \"%.*s\"?", (int)name.n, name.p);
    }
}

/* ---- shapes */

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    default:
        return "null";
    }
}

bool prv_node_is(const prv_node *node, bool is, const char *expected)
{
    char path[PRV_PATH];
    return is || prv_node_fail(node, PRV_AT_VALUE, PRV_ERR_VALUE, "%s is %s; expected %s",
                               prv_node_path(node, path), type_name(node->value), expected);
}

bool prv_node_is_object(const prv_node *node)
{
    return prv_node_is(node, json_is_object(node->value), "an object");
}

bool prv_node_is_array(const prv_node *node)
{
    return prv_node_is(node, json_is_array(node->value), "an array");
}

bool prv_read_string(const prv_node *node, const char **out)
{
    *out = json_string_value(node->value);
    return prv_node_is(node, *out != NULL, "a string");
}

bool prv_read_bool(const prv_node *node, bool *out)
{
    *out = json_is_true(node->value);
    return prv_node_is(node, json_is_boolean(node->value), "true or false");
}

bool prv_read_int(const prv_node *node, int low, int high, int *out)
{
    char path[PRV_PATH];
    if (!json_is_integer(node->value)) {
        return prv_node_is(node, false, "a whole number");
    }
    json_int_t v = json_integer_value(node->value);
    if (v < low || v > high) {
        char range[32];
        snprintf(range, sizeof range, low == high ? "%d" : "%d to %d", low, high);
        return prv_node_fail(node, PRV_AT_VALUE, PRV_ERR_VALUE,
                             "%s is %" JSON_INTEGER_FORMAT "; expected %s",
                             prv_node_path(node, path), v, range);
    }
    *out = (int)v;
    return true;
}

static bool unknown_member(const prv_node *member, const char *const *known)
{
    char path[PRV_PATH], quoted[PRV_QUOTED], list[256];
    prv_hint hint;
    unsigned best = UINT32_MAX;
    size_t n = 0;
    prv_hint_init(&hint);
    for (const char *const *k = known; *k != NULL; k++) {
        prv_hint_offer(&hint, &best, member->key, (prv_str){*k, strlen(*k)});
        int wrote = snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? ", " : "", *k);
        n += wrote > 0 && (size_t)wrote < sizeof list - n ? (size_t)wrote : 0;
    }
    return prv_node_fail(member, PRV_AT_KEY, PRV_ERR_VALUE, "%s is no member of %s%s%s%s",
                         prv_quoted(member->key, quoted), prv_node_path(member->up, path),
                         hint.text, hint.text[0] != 0 ? "" : "; expected one of ",
                         hint.text[0] != 0 ? "" : list);
}

bool prv_node_members(const prv_node *node, const char *const *known)
{
    const char *key;
    json_t *value;
    if (!prv_node_is_object(node)) {
        return false;
    }
    json_object_foreach(node->value, key, value)
    {
        const char *const *k = known;
        while (*k != NULL && strcmp(*k, key) != 0) {
            k++;
        }
        if (*k == NULL && !prv_node_ignored(key)) {
            prv_node member = prv_node_of(node, key, value);
            return unknown_member(&member, known);
        }
    }
    return true;
}

bool prv_node_need(const prv_node *object, const char *key, prv_node *out)
{
    char path[PRV_PATH];
    return prv_node_get(object, key, out) ||
           prv_node_fail(object, PRV_AT_VALUE, PRV_ERR_VALUE, "%s lacks the member \"%s\"",
                         prv_node_path(object, path), key);
}

size_t prv_node_count(const prv_node *object)
{
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object->value, key, value)
    {
        n += prv_node_ignored(key) ? 0 : 1;
    }
    return n;
}
