/* Values of each kind, checked where they enter. */
#include "compile.h"

#include <stdio.h>
#include <string.h>

static bool bad(const prv_node *node, const char *expected)
{
    char path[PRV_PATH], quoted[PRV_QUOTED];
    return prv_node_fail(node, PRV_AT_VALUE, PRV_ERR_VALUE, "%s is %s; expected %s",
                         prv_node_path(node, path),
                         prv_quoted(json_string_value(node->value), quoted), expected);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool prv_read_word(const prv_node *node, const prv_word *words, int *out)
{
    char list[256], expected[sizeof list + sizeof(prv_hint) + 16];
    const char *text = json_string_value(node->value);
    size_t n = 0;
    prv_hint hint;
    unsigned best = UINT32_MAX;
    prv_hint_init(&hint);
    for (const prv_word *w = words; w->word != NULL; w++) {
        if (text != NULL && strcmp(w->word, text) == 0) {
            *out = w->value;
            return true;
        }
        prv_hint_offer(&hint, &best, text != NULL ? text : "", (prv_str){w->word, strlen(w->word)});
        int wrote = snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? ", " : "", w->word);
        n += wrote > 0 && (size_t)wrote < sizeof list - n ? (size_t)wrote : 0;
    }
    snprintf(expected, sizeof expected, "%s%s%s", strchr(list, ',') != NULL ? "one of " : "", list,
             hint.text);
    return prv_node_is(node, text != NULL, expected) && bad(node, expected);
}

/* ---- names and text */

bool prv_read_name(const prv_node *node, const char *what, const char *more, prv_str *out)
{
    char quoted[PRV_QUOTED];
    const char *key = node->key;
    bool letter_first = strcmp(what, "purpose") == 0;
    bool ok = *key >= 'a' || (!letter_first && is_digit(*key));
    size_t n = 0;
    while (ok && key[n] != 0) {
        bool plain = (key[n] >= 'a' && key[n] <= 'z') || is_digit(key[n]);
        ok = (plain || (n > 0 && strchr(more, key[n]) != NULL)) && n < PRV_NAME_MAX;
        n++;
    }
    if (!ok) {
        return prv_node_fail(node, PRV_AT_KEY, PRV_ERR_VALUE,
                             "%s is no name of a %s; expected %s, then up to %d of a-z 0-9 %s",
                             prv_quoted(key, quoted), what, letter_first ? "a-z" : "a-z or a digit",
                             PRV_NAME_MAX - 1, more);
    }
    return prv_compile_copy(node->c, key, out);
}

bool prv_read_text(const prv_node *node, prv_str *out)
{
    const char *text;
    if (!prv_read_string(node, &text)) {
        return false;
    }
    if (*text == 0 || strlen(text) > PRV_TEXT_MAX) {
        char expected[48];
        snprintf(expected, sizeof expected, "1 to %d bytes of text", PRV_TEXT_MAX);
        return bad(node, expected);
    }
    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++) {
        bool c1 = p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0;
        if (*p < 0x20 || *p == 0x7F || c1) {
            return bad(node, "text without control characters");
        }
    }
    return prv_compile_copy(node->c, text, out);
}

bool prv_read_lang(const prv_node *node, prv_str *out)
{
    char tag[36], quoted[PRV_QUOTED];
    size_t n = 0, part = 0;
    bool ok = true;
    for (const char *p = node->key; ok && *p != 0; p++) {
        ok = n < sizeof tag - 1;
        if (*p == '-') {
            ok = ok && part > 0;
            part = 0;
        } else {
            ok = ok && ++part <= 8 && (is_alpha(*p) || (is_digit(*p) && n > part - 1));
        }
        if (ok) {
            tag[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
        }
    }
    if (!ok || part == 0 || n < 2) {
        return prv_node_fail(node, PRV_AT_KEY, PRV_ERR_VALUE,
                             "%s is no language tag; expected one such as en or pt-br",
                             prv_quoted(node->key, quoted));
    }
    tag[n] = 0;
    return prv_compile_copy(node->c, tag, out);
}

bool prv_read_texts(const prv_node *node, prv_texts *out)
{
    char path[PRV_PATH];
    const char *key;
    json_t *value;
    if (!prv_node_is_object(node)) {
        return false;
    }
    size_t n = prv_node_count(node);
    if (n == 0 || n > PRV_LANGS_MAX) {
        return prv_node_fail(node, PRV_AT_VALUE, PRV_ERR_VALUE,
                             "%s has %zu languages; expected 1 to %d", prv_node_path(node, path), n,
                             PRV_LANGS_MAX);
    }
    prv_str *langs = prv_compile_alloc(node->c, n, sizeof *langs);
    prv_str *texts = prv_compile_alloc(node->c, n, sizeof *texts);
    if (langs == NULL || texts == NULL) {
        return false;
    }
    n = 0;
    json_object_foreach(node->value, key, value)
    {
        prv_node member = prv_node_of(node, key, value);
        if (prv_node_ignored(key)) {
            continue;
        }
        if (!prv_read_lang(&member, &langs[n]) || !prv_read_text(&member, &texts[n])) {
            return false;
        }
        for (size_t i = 0; i < n; i++) {
            if (prv_str_same(langs[i], langs[n])) {
                return prv_node_fail(&member, PRV_AT_KEY, PRV_ERR_VALUE,
                                     "%s says the language %s twice", prv_node_path(node, path),
                                     langs[n].p);
            }
        }
        n++;
    }
    *out = (prv_texts){n, langs, texts};
    return true;
}

bool prv_read_url(const prv_node *node, bool relative, prv_str *out)
{
    const char *text;
    if (!prv_read_string(node, &text)) {
        return false;
    }
    bool absolute = strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0;
    const char *rest = absolute ? strstr(text, "://") + 3 : text;
    bool ok = absolute ? *rest != 0 && *rest != '/' : relative && text[0] == '/' && text[1] != '/';
    ok = ok && strlen(text) <= 2048;
    for (const char *p = text; ok && *p != 0; p++) {
        ok = *p > 0x20 && *p < 0x7F && strchr("\"'<>\\^`{|}", *p) == NULL;
    }
    if (!ok) {
        return bad(node, relative
                             ? "a URL with https:// or a path that begins with one /, in ASCII "
                               "without spaces, quotes and brackets"
                             : "a URL with https://, in ASCII without spaces, quotes and brackets");
    }
    return prv_compile_copy(node->c, text, out);
}

/* ---- versions, dates, durations */

bool prv_read_version(const prv_node *node, prv_str *text, uint32_t *out)
{
    const char *s;
    if (!prv_read_string(node, &s)) {
        return false;
    }
    *out = prv_version_parse((prv_str){s, strlen(s)});
    if (*out == 0) {
        return bad(node,
                   "a date of the calendar as YYYY-MM-DD, or YYYY-MM-DD.n with n from 1 to 255");
    }
    return text == NULL || prv_compile_copy(node->c, s, text);
}

bool prv_read_date(const prv_node *node, prv_str *out)
{
    const char *s;
    if (!prv_read_string(node, &s)) {
        return false;
    }
    if (strlen(s) != 10 || prv_version_parse((prv_str){s, 10}) == 0) {
        return bad(node, "a date of the calendar as YYYY-MM-DD");
    }
    return prv_compile_copy(node->c, s, out);
}

bool prv_read_since(const prv_node *object, uint32_t *out)
{
    char path[PRV_PATH], version[16];
    const prv_policy *policy = object->c->policy;
    prv_node node;
    if (!prv_node_get(object, "since", &node)) {
        *out = policy->since != 0 ? policy->since : policy->version;
        return true;
    }
    if (!prv_read_version(&node, NULL, out)) {
        return false;
    }
    if (*out > policy->version) {
        version[prv_version_format(policy->version, version)] = 0;
        return prv_node_fail(
            &node, PRV_AT_VALUE, PRV_ERR_VALUE,
            "%s is later than the policy's version %s, so no choice would ever count; "
            "expected that version or an earlier one",
            prv_node_path(&node, path), version);
    }
    return true;
}

bool prv_read_duration(const prv_node *node, int64_t low, int64_t high, const char *range,
                       int64_t *out)
{
    const char *s;
    if (!prv_read_string(node, &s)) {
        return false;
    }
    *out = prv_duration_parse((prv_str){s, strlen(s)});
    if (*out < low || *out > high) {
        char expected[96];
        snprintf(expected, sizeof expected, "a number with y, d, h, m or s, %s", range);
        return bad(node, expected);
    }
    return true;
}

/* ---- regions */

static const struct {
    const char *wrong;
    const char *right;
} region_slips[] = {
    {"UK", "GB, the code of the United Kingdom"},
    {"EL", "GR, the code of Greece"},
    {"EU", "the countries one by one, for EU is none"},
};

bool prv_read_region(const prv_node *node, prv_part part, const char *text, prv_region *out)
{
    char quoted[PRV_QUOTED];
    const char *expected = "ISO 3166 such as FR or US-CA";
    *out = prv_region_parse((prv_str){text, strlen(text)});
    for (size_t i = 0; i < sizeof region_slips / sizeof region_slips[0]; i++) {
        if (out->n >= 2 && memcmp(out->c, region_slips[i].wrong, 2) == 0) {
            expected = region_slips[i].right;
            out->n = 0;
        }
    }
    return out->n != 0 || prv_node_fail(node, part, PRV_ERR_VALUE, "%s is no region; expected %s",
                                        prv_quoted(text, quoted), expected);
}

bool prv_read_regions(const prv_node *node, const prv_region **out, size_t *n)
{
    char path[PRV_PATH];
    if (!prv_node_is_array(node)) {
        return false;
    }
    size_t count = json_array_size(node->value);
    if (count == 0 || count > PRV_REGIONS_MAX) {
        return prv_node_fail(node, PRV_AT_VALUE, PRV_ERR_VALUE,
                             "%s names %zu regions; expected 1 to %d", prv_node_path(node, path),
                             count, PRV_REGIONS_MAX);
    }
    prv_region *regions = prv_compile_alloc(node->c, count, sizeof *regions);
    if (regions == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        prv_node item = prv_node_item(node, i);
        const char *text;
        if (!prv_read_string(&item, &text) ||
            !prv_read_region(&item, PRV_AT_VALUE, text, &regions[i])) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (memcmp(&regions[k], &regions[i], sizeof regions[i]) == 0) {
                return prv_node_fail(&item, PRV_AT_VALUE, PRV_ERR_VALUE, "%s names %s twice",
                                     prv_node_path(node, path), regions[i].c);
            }
        }
    }
    *out = regions;
    *n = count;
    return true;
}

/* ---- hosts: `[*.]label.label[/path]` */

static bool host_ok(const char *text)
{
    const char *p = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    const char *label = p;
    for (;; p++) {
        if (is_alpha(*p) || is_digit(*p) || (*p == '-' && p > label)) {
            continue;
        }
        if (p == label || p - label > 63 || p[-1] == '-' || p - text > 253) {
            return false;
        }
        if (*p == 0) {
            return true;
        }
        if (*p == '/') {
            break;
        }
        if (*p != '.') {
            return false;
        }
        label = p + 1;
    }
    for (; *p != 0; p++) {
        if (*p <= 0x20 || *p >= 0x7F || strchr("\"'<>\\^`{|}*?#", *p) != NULL) {
            return false;
        }
    }
    return p - text <= 1024;
}

bool prv_read_hosts(const prv_node *node, const prv_str **out, size_t *n)
{
    if (!prv_node_is_array(node)) {
        return false;
    }
    size_t count = json_array_size(node->value);
    prv_str *hosts = prv_compile_alloc(node->c, count, sizeof *hosts);
    if (hosts == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        prv_node item = prv_node_item(node, i);
        const char *text;
        if (!prv_read_string(&item, &text)) {
            return false;
        }
        if (!host_ok(text)) {
            return bad(&item, "host, *.host or host/path, without a scheme and a port");
        }
        if (!prv_compile_copy(node->c, text, &hosts[i])) {
            return false;
        }
        for (char *p = (char *)hosts[i].p; *p != 0 && *p != '/';
             p++) { /* hosts fold, paths do not */
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
        }
    }
    *out = hosts;
    *n = count;
    return true;
}
