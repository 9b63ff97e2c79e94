/*
 * Where in a JSON text a value stands. jansson keeps no places for values, so the way to the value
 * is walked again over the text, only when a message needs it. The text has been accepted by
 * jansson; still no read leaves it.
 */
#include "compile.h"

static size_t skip_space(prv_str t, size_t i)
{
    while (i < t.n && (t.p[i] == ' ' || t.p[i] == '\t' || t.p[i] == '\n' || t.p[i] == '\r')) {
        i++;
    }
    return i;
}

/* i at the opening quote; the offset behind the closing one. */
static size_t skip_string(prv_str t, size_t i)
{
    for (i++; i < t.n && t.p[i] != '"'; i++) {
        if (t.p[i] == '\\') {
            i++;
        }
    }
    return i < t.n ? i + 1 : t.n;
}

static size_t skip_value(prv_str t, size_t i)
{
    size_t depth = 0;
    while (i < t.n) {
        char c = t.p[i];
        if (c == '"') {
            i = skip_string(t, i);
        } else if (c == '{' || c == '[') {
            depth++;
            i++;
        } else if (c == '}' || c == ']') {
            if (depth == 0) {
                return i;
            }
            depth--;
            i++;
        } else if (depth == 0 && c == ',') {
            return i;
        } else {
            i++;
            continue;
        }
        if (depth == 0) {
            return i;
        }
    }
    return t.n;
}

static unsigned hex4(prv_str t, size_t i)
{
    unsigned v = 0;
    for (size_t k = i; k < i + 4 && k < t.n; k++) {
        char c = t.p[k];
        unsigned digit = c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 32u) - 'a' + 10u;
        v = v * 16 + (digit & 15u);
    }
    return v;
}

/* The character after a backslash at *i, as UTF-8; moves *i behind the escape. */
static size_t unescape(prv_str t, size_t *i, unsigned char out[4])
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    char c = t.p[*i];
    *i += 1;
    if (c != 'u') {
        out[0] = (unsigned char)c;
        for (size_t k = 0; k < sizeof from - 1; k++) {
            if (from[k] == c) {
                out[0] = (unsigned char)to[k];
            }
        }
        return 1;
    }
    unsigned u = hex4(t, *i);
    *i += 4;
    if (u >= 0xD800 && u < 0xDC00) { /* jansson has made sure that the other half follows */
        u = 0x10000 + ((u - 0xD800) << 10) + ((hex4(t, *i + 2) - 0xDC00) & 0x3FF);
        *i += 6;
    }
    if (u < 0x80) {
        out[0] = (unsigned char)u;
        return 1;
    }
    if (u < 0x800) {
        out[0] = (unsigned char)(0xC0 | u >> 6);
        out[1] = (unsigned char)(0x80 | (u & 63));
        return 2;
    }
    if (u < 0x10000) {
        out[0] = (unsigned char)(0xE0 | u >> 12);
        out[1] = (unsigned char)(0x80 | (u >> 6 & 63));
        out[2] = (unsigned char)(0x80 | (u & 63));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | u >> 18);
    out[1] = (unsigned char)(0x80 | (u >> 12 & 63));
    out[2] = (unsigned char)(0x80 | (u >> 6 & 63));
    out[3] = (unsigned char)(0x80 | (u & 63));
    return 4;
}

/* Is the string whose opening quote is at i, once unescaped, `key`? */
static bool string_is(prv_str t, size_t i, const char *key)
{
    const unsigned char *k = (const unsigned char *)key;
    for (i++; i < t.n && t.p[i] != '"';) {
        unsigned char buf[4];
        size_t n = 1;
        buf[0] = (unsigned char)t.p[i++];
        if (buf[0] == '\\') {
            if (i >= t.n) {
                return false;
            }
            n = unescape(t, &i, buf);
        }
        for (size_t b = 0; b < n; b++) {
            if (*k++ != buf[b] || buf[b] == 0) {
                return false;
            }
        }
    }
    return *k == 0;
}

static size_t find_member(prv_str t, size_t i, const char *key, prv_part part)
{
    i = skip_space(t, i + 1);
    while (i < t.n && t.p[i] == '"') {
        size_t at = i;
        i = skip_space(t, skip_string(t, i));
        i = skip_space(t, i + 1); /* the colon */
        if (string_is(t, at, key)) {
            return part == PRV_AT_KEY ? at : i;
        }
        i = skip_space(t, skip_value(t, i));
        if (i >= t.n || t.p[i] != ',') {
            break;
        }
        i = skip_space(t, i + 1);
    }
    return t.n;
}

static size_t find_item(prv_str t, size_t i, size_t index)
{
    i = skip_space(t, i + 1);
    while (index > 0 && i < t.n) {
        i = skip_space(t, skip_value(t, i));
        i = skip_space(t, i + 1); /* the comma */
        index--;
    }
    return i;
}

size_t prv_json_find(prv_str text, const prv_node *node, prv_part part)
{
    if (node->up == NULL) {
        return skip_space(text, 0);
    }
    size_t at = prv_json_find(text, node->up, PRV_AT_VALUE);
    if (at >= text.n) {
        return text.n;
    }
    return node->key != NULL ? find_member(text, at, node->key, part)
                             : find_item(text, at, node->index);
}

void prv_json_place(prv_str text, size_t offset, unsigned *line, unsigned *column)
{
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < offset && i < text.n; i++) {
        if (text.p[i] == '\n') {
            *line += 1;
            *column = 1;
        } else if (((unsigned char)text.p[i] & 0xC0) != 0x80) {
            *column += 1;
        }
    }
}

size_t prv_json_too_deep(prv_str text, unsigned depth)
{
    unsigned open = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '"') {
            i = skip_string(text, i) - 1;
        } else if (c == '{' || c == '[') {
            if (++open > depth) {
                return i;
            }
        } else if ((c == '}' || c == ']') && open > 0) {
            open--;
        }
    }
    return text.n;
}
