/* Small forms that the whole core shares: versions, durations, hashes, reasons, texts by language.
 */
#include "compile.h"

#include <string.h>

#define PRV_VERSION "0.1.0"

prv_str prv_version_string(void)
{
    return PRV_STR(PRV_VERSION);
}

bool prv_str_is(prv_str a, const char *b)
{
    return a.n == strlen(b) && (a.n == 0 || memcmp(a.p, b, a.n) == 0);
}

bool prv_str_same(prv_str a, prv_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

uint64_t prv_fnv64(uint64_t seed, prv_str bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        seed = (seed ^ (unsigned char)bytes.p[i]) * UINT64_C(1099511628211);
    }
    return seed;
}

uint16_t prv_purpose_hash(prv_str name)
{
    uint32_t hash = UINT32_C(2166136261);
    for (size_t i = 0; i < name.n; i++) {
        hash = (hash ^ (unsigned char)name.p[i]) * UINT32_C(16777619);
    }
    return (uint16_t)(hash >> 16 ^ (hash & 0xFFFF));
}

/* INTERFACE 3, the last column */
prv_str prv_row_reason(unsigned row)
{
    static const prv_str reasons[PRV_ROWS] = {
        {"ok", 2},        {"off", 3},         {"basis", 5},   {"unavailable", 11},
        {"anonymous", 9}, {"restricted", 10}, {"age", 3},     {"refused", 7},
        {"gpc", 3},       {"dnt", 3},         {"manager", 7}, {"granted", 7},
        {"manager", 7},   {"basis", 5},       {"default", 7}, {"none", 4}};
    return reasons[row < PRV_ROWS ? row : PRV_ROWS - 1];
}

/* ---- numbers */

/* Exactly n digits at p. */
static bool digits(const char *p, size_t n, unsigned *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
        *out = *out * 10 + (unsigned)(p[i] - '0');
    }
    return true;
}

static unsigned month_days(unsigned y, unsigned m)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

uint32_t prv_version_parse(prv_str text)
{
    unsigned y, m, d, n = 0;
    if (text.n < 10 || text.n > 14 || text.p[4] != '-' || text.p[7] != '-' ||
        !digits(text.p, 4, &y) || !digits(text.p + 5, 2, &m) || !digits(text.p + 8, 2, &d)) {
        return 0;
    }
    if (y == 0 || m < 1 || m > 12 || d < 1 || d > month_days(y, m)) {
        return 0;
    }
    if (text.n > 10 && (text.p[10] != '.' || text.n == 11 || text.p[11] == '0' ||
                        !digits(text.p + 11, text.n - 11, &n) || n > 255)) {
        return 0;
    }
    return ((y * 16 + m) * 32 + d) * 256 + n;
}

static size_t put_digits(char *out, unsigned value, unsigned width)
{
    for (unsigned i = width; i > 0; i--) {
        out[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    return width;
}

size_t prv_version_format(uint32_t version, char out[16])
{
    unsigned n = version & 255, d = version >> 8 & 31, m = version >> 13 & 15, y = version >> 17;
    if (version == 0) {
        return 0;
    }
    size_t len = put_digits(out, y % 10000, 4);
    out[len++] = '-';
    len += put_digits(out + len, m, 2);
    out[len++] = '-';
    len += put_digits(out + len, d, 2);
    if (n > 0) {
        out[len++] = '.';
        len += put_digits(out + len, n, n > 99 ? 3 : n > 9 ? 2 : 1);
    }
    return len;
}

int64_t prv_duration_parse(prv_str text)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'y', INT64_C(365) * 86400}};
    unsigned n;
    if (text.n < 2 || text.n > 10 || !digits(text.p, text.n - 1, &n)) { /* nine digits fit */
        return -1;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i].unit == text.p[text.n - 1]) {
            return n * units[i].seconds;
        }
    }
    return -1;
}

/* ---- texts by language (RFC 4647 3.4, lookup) */

typedef struct range {
    prv_str tag;
    unsigned q; /* thousandths */
} range;

static prv_str trim(prv_str s)
{
    while (s.n > 0 && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

/* `q=0.8`; what is malformed counts as 0: a preference that cannot be read is none. */
static unsigned read_q(prv_str s)
{
    s = trim(s);
    if (s.n < 3 || (*s.p | 0x20) != 'q' || s.p[1] != '=') {
        return 0;
    }
    unsigned q = s.p[2] == '1' ? 1000 : 0, unit = 100;
    for (size_t i = 4; i < s.n && i < 7 && s.p[3] == '.' && q < 1000; i++, unit /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return 0;
        }
        q += (unsigned)(s.p[i] - '0') * unit;
    }
    return q;
}

/* The next of a comma-separated list. */
static bool next_range(prv_str *rest, range *out)
{
    if (rest->n == 0) {
        return false;
    }
    const char *comma = memchr(rest->p, ',', rest->n);
    prv_str item = {rest->p, comma != NULL ? (size_t)(comma - rest->p) : rest->n};
    size_t used = item.n + (comma != NULL ? 1 : 0);
    rest->p += used;
    rest->n -= used;
    const char *semi = item.n > 0 ? memchr(item.p, ';', item.n) : NULL;
    out->q = 1000;
    if (semi != NULL) {
        size_t n = (size_t)(semi - item.p);
        out->q = read_q((prv_str){semi + 1, item.n - n - 1});
        item.n = n;
    }
    out->tag = trim(item);
    return true;
}

static bool same_fold(prv_str lang, prv_str tag, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = tag.p[i] >= 'A' && tag.p[i] <= 'Z' ? (char)(tag.p[i] | 0x20) : tag.p[i];
        if (lang.p[i] != c) {
            return false;
        }
    }
    return true;
}

/* The tag itself, then shorter and shorter ones; then any text whose tag is longer (en-gb for en).
 */
static long find_lang(const prv_texts *texts, prv_str tag)
{
    for (size_t n = tag.n; n > 0;) {
        for (size_t i = 0; i < texts->n; i++) {
            if (texts->lang[i].n == n && same_fold(texts->lang[i], tag, n)) {
                return (long)i;
            }
        }
        for (n--; n > 0 && tag.p[n] != '-'; n--) {
        }
    }
    for (size_t i = 0; tag.n > 0 && i < texts->n; i++) {
        prv_str lang = texts->lang[i];
        if (lang.n > tag.n && lang.p[tag.n] == '-' && same_fold(lang, tag, tag.n)) {
            return (long)i;
        }
    }
    return -1;
}

prv_str prv_texts_pick(const prv_texts *texts, prv_str accept_language)
{
    prv_str rest = accept_language;
    range r;
    unsigned best = 0, seen = 0;
    long pick = -1;
    while (seen++ < 32 && next_range(&rest, &r)) { /* more is no visitor's list */
        long found = r.q > best && r.tag.n <= 35 ? find_lang(texts, r.tag) : -1;
        if (found >= 0) {
            best = r.q;
            pick = found;
        }
    }
    if (pick < 0) {
        pick = find_lang(texts, PRV_STR("en"));
    }
    if (pick < 0 && texts->n > 0) {
        pick = 0;
    }
    return pick >= 0 ? texts->text[pick] : PRV_NONE;
}
